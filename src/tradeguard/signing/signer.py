"""The signer of a row: what a client does. It is compiled from the same row as the verifier."""

import hmac
import json
import secrets
import uuid
from base64 import b64decode, b64encode
from binascii import Error
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote_from_bytes

from tradeguard.core.errors import ConfigError
from tradeguard.core.secret import Secret
from tradeguard.signing.algorithm import HASHES, HMAC_SHA256
from tradeguard.signing.encoding import SPELLINGS, encode_base64, encode_base64url
from tradeguard.signing.message import FORM, Facts, compile_message
from tradeguard.signing.place import AuthParam, Field, Header, Parameter, Payload, Place
from tradeguard.signing.private import PrivateKey, find_public
from tradeguard.signing.private import sign as sign_with
from tradeguard.signing.row import Row

_WITH_BODY: Final = ("POST", "PUT", "PATCH")
_Fields = list[tuple[Place, bytes]]


class Outgoing(NamedTuple):
    """A request to be sent.

    `authority` is host and, unless it is the scheme's default, port; `target` is path and query exactly as they go out.
    `headers` are those that the signer adds.
    """

    method: str
    authority: str
    target: bytes
    content_type: bytes = b""
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Signer:
    """Signs requests with one key.

    Args:
        row: the dialect.
        key_id: names the key.
        key: the HMAC secret as the venue gave it out, or the private key.
        passphrase: of a dialect that has one.

    Raises:
        ConfigError: the dialect has no algorithm for such a key, its secret is base64 and this is none, or it has a
            passphrase and none is given.
    """

    def __init__(
        self, row: Row, key_id: str, key: Secret | bytes | PrivateKey, passphrase: Secret | str | None = None
    ) -> None:
        self.row, self.key_id = row, key_id
        self._algorithm = _find_algorithm(row, key)
        self._key = key if isinstance(key, PrivateKey) else _read_secret(row, key)
        self._phrase = Secret(passphrase) if isinstance(passphrase, str) else passphrase
        if row.passphrase is not None and self._phrase is None:
            raise ConfigError(f"dialect {row.name} has a passphrase; give the signer passphrase=")
        self._compose, self._encode = (
            compile_message(row.messages[0]),
            SPELLINGS[row.algorithms[self._algorithm]].encode,
        )

    def sign(self, request: Outgoing, at: int, nonce: bytes | None = None) -> Outgoing:
        """Return the request with its credential.

        Args:
            request: as it would go out unsigned. Where a dialect carries fields in the body, it is a JSON object or a
                form, and they are added to it.
            at: the time, ns UTC.
            nonce: as the row has it, a new one by default. Dialects without a nonce ignore it.

        Raises:
            ConfigError: the dialect cannot sign such a body.
        """
        row = self.row
        time = row.stamp.write(at + row.lifetime // 2) if row.time is not None else b""
        nonce = (nonce or self._make_nonce(at)) if row.nonce is not None else b""
        fields = self._fields(request, time, nonce)
        request, facts = self._fill(request, fields)
        facts = facts._replace(
            algorithm=self._algorithm.upper().encode(), key=(row.prefix + self.key_id).encode(), time=time, nonce=nonce
        )
        for guard in row.guards:
            if not guard.holds(facts):
                raise ConfigError(f"dialect {row.name}: {guard.text}")
        return self._add(request, fields, self._sign(facts), facts)

    def _make_nonce(self, at: int) -> bytes:
        form = self.row.form
        if form == "token":
            return encode_base64url(secrets.token_bytes(16))
        return str(uuid.uuid4()).encode() if form == "uuid" else b"%d" % (at // 1_000)

    def _fields(self, request: Outgoing, time: bytes, nonce: bytes) -> list[tuple[Place, bytes]]:
        """Return what goes out beside the signature, each with its place."""
        row = self.row
        path = request.target.partition(b"?")[0][len(row.mount) :]
        bound = {"path": path, "tail": path[1:], "nonce": nonce}
        fields: _Fields = [(row.key, (row.prefix + self.key_id).encode())]
        fields += [(row.time, time)] if row.time is not None else []
        fields += [(row.nonce, nonce)] if row.nonce is not None else []
        fields += [(place, bound[what]) for place, what in row.binds]
        fields += row.constants
        return fields + self._passphrase()

    def _passphrase(self) -> _Fields:
        """Return the passphrase: hashed under the secret where the row knows versions."""
        asked, phrase, key = self.row.passphrase, self._phrase, self._key
        if asked is None or phrase is None:
            return []
        if asked.version is None or not isinstance(key, Secret):
            return [(asked.place, phrase.reveal())]
        hashed = encode_base64(hmac.digest(key.reveal(), phrase.reveal(), "sha256"))
        return [(asked.version, b"2"), (asked.place, hashed)]

    def _fill(self, request: Outgoing, fields: _Fields) -> tuple[Outgoing, Facts]:
        """Put the fields that are signed where they stand, and tell what is signed."""
        row, query, form, payload = self.row, b"", b"", b""
        path = request.target.partition(b"?")[0]
        if row.mount and not path.startswith(row.mount.rstrip("/").encode() + b"/"):
            raise ConfigError(f"dialect {row.name} signs paths below {row.mount}, and this is {path.decode()}")
        document: dict[str, Any] = {}
        if row.payload is not None:
            carried = _named(fields, Payload) | _read_object(row, request.body)
            payload = b64encode(_write(carried))
            request = request._replace(body=b"", content_type=b"")
        elif _named(fields, Field):
            request, document = self._fill_body(request, _named(fields, Field))
        request, query, form = self._fill_text(request, fields)
        facts = Facts(
            method=request.method.encode(),
            authority=request.authority.lower().encode(),
            target=request.target,
            path=path[len(row.mount) :],
            query=query,
            content_type=request.content_type,
            body=request.body,
            form=form,
            payload=payload,
            document=document,
        )
        return request, facts

    def _fill_body(self, request: Outgoing, named: dict[str, Any]) -> tuple[Outgoing, dict[str, Any]]:
        """Add fields to a form or to a JSON object; a row that signs a member flat has the caller's object in it."""
        row = self.row
        holder = [part.argument for message in row.messages for part in message if part.name == "flat"]
        if row.body != "json" and request.content_type in (FORM, b""):
            text = b"&".join(f"{name}={value}".encode() for name, value in named.items())
            body = text + (b"&" if request.body else b"") + request.body
            return request._replace(body=body, content_type=FORM), {}
        given = _read_object(row, request.body)
        numbers = {part.argument: 1 for message in row.messages for part in message if part.name == "number"}
        document = {**numbers, **named, holder[0]: given} if holder else {**numbers, **given, **named}
        return request._replace(body=_write(document), content_type=b"application/json"), document

    def _fill_text(self, request: Outgoing, fields: _Fields) -> tuple[Outgoing, bytes, bytes]:
        """Add parameters to the query or the form; return both as they are signed."""
        row, (path, _, query) = self.row, request.target.partition(b"?")
        added = b"&".join(place.name + b"=" + _quote(text) for place, text in fields if isinstance(place, Parameter))
        if "form" in row.parts and request.body and (query or request.content_type != FORM):
            raise ConfigError(f"dialect {row.name} signs a query or a form body, not both and nothing else")
        if "form" in row.parts and request.content_type == FORM and (request.body or request.method in _WITH_BODY):
            form = request.body + (b"&" if request.body and added else b"") + added
            return request._replace(body=form), query, form
        if added:
            query += (b"&" if query else b"") + added
            request = request._replace(target=path + b"?" + query)
        return request, query, b""

    def _add(self, request: Outgoing, fields: _Fields, signature: bytes, facts: Facts) -> Outgoing:
        """Put the signature where it stands, and the fields that are headers beside it."""
        row, place = self.row, self.row.signature
        everything = [*fields, (place, signature)]
        if isinstance(place, Parameter):
            if not (facts.form or facts.query):
                raise ConfigError(f"dialect {row.name} has its signature behind other parameters, and there are none")
            mark = b"&" + place.name + b"=" + _quote(signature)
            if facts.form:
                request = request._replace(body=request.body + mark)
            else:
                request = request._replace(target=request.target + mark)
        elif isinstance(place, Field):
            body = _write({**facts.document, place.name.decode(): signature.decode()})
            request = request._replace(body=body)
        added = [(where.name, text) for where, text in everything if isinstance(where, Header)]
        if row.scheme:
            given = b",".join(where.name + b"=" + text for where, text in everything if isinstance(where, AuthParam))
            added.append((b"authorization", row.scheme + b" " + given))
        if row.payload is not None:
            added.append((row.payload.name, facts.payload))
        return request._replace(headers=(*request.headers, *added))

    def _sign(self, facts: Facts) -> bytes:
        message, key = self._compose(facts), self._key
        if isinstance(key, PrivateKey):
            return self._encode(sign_with(key, message))
        return self._encode(hmac.digest(key.reveal(), message, HASHES[self._algorithm]))


def _find_algorithm(row: Row, key: Secret | bytes | PrivateKey) -> str:
    if isinstance(key, PrivateKey):
        asked = find_public(key).algorithm
    else:
        asked = next((name for name in row.algorithms if name in HASHES), HMAC_SHA256)
    if asked not in row.algorithms:
        raise ConfigError(f"dialect {row.name} has no {asked}; use {', '.join(row.algorithms)}")
    return asked


def _read_secret(row: Row, key: Secret | bytes) -> Secret:
    """Return the HMAC key that a client's secret stands for."""
    secret = key if isinstance(key, Secret) else Secret(key)
    if row.secret != "base64":  # noqa: S105 - how it is spelt, not one
        return secret
    try:
        return Secret(b64decode(secret.reveal(), validate=True))
    except Error:
        raise ConfigError(f"the secret of a key of dialect {row.name} is base64") from None


def _named(fields: _Fields, kind: type[Field] | type[Payload]) -> dict[str, Any]:
    """Return the fields of one kind as members: whole numbers as numbers."""
    found: dict[str, Any] = {}
    for place, text in fields:
        if isinstance(place, kind):
            found[place.name.decode()] = int(text) if text.isdigit() else text.decode()
    return found


def _read_object(row: Row, body: bytes) -> dict[str, Any]:
    try:
        value: Any = json.loads(body or b"{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError(f"dialect {row.name} carries its fields in a JSON object, and the body is none")
    return cast("dict[str, Any]", value)


def _write(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _quote(text: bytes) -> bytes:
    return quote_from_bytes(text, safe="-._~").encode()
