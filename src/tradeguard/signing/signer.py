"""The signer of a row: what a client does. It is compiled from the same row as the verifier."""

import hashlib
import hmac
import secrets
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tradeguard.core.errors import ConfigError
from tradeguard.core.secret import Secret
from tradeguard.signing.encoding import encode_base64url, encode_hex
from tradeguard.signing.material import ED25519, HMAC_SHA256
from tradeguard.signing.message import FORM, Facts, compile_digest, compile_message
from tradeguard.signing.row import Header, Row


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
        key: the HMAC secret, or the Ed25519 private key.

    Raises:
        ConfigError: the dialect has no algorithm for such a key.
    """

    def __init__(self, row: Row, key_id: str, key: Secret | bytes | Ed25519PrivateKey) -> None:
        self.row, self.key_id = row, key_id
        self._key = Secret(key) if isinstance(key, bytes) else key
        self._algorithm = ED25519 if isinstance(key, Ed25519PrivateKey) else HMAC_SHA256
        if self._algorithm not in row.algorithms:
            raise ConfigError(f"dialect {row.name} has no {self._algorithm}; use {', '.join(row.algorithms)}")
        self._compose, self._hash = compile_message(row), compile_digest(row)
        self._encode = encode_base64url if row.encoding == "base64url" else encode_hex

    def sign(self, request: Outgoing, at: int, nonce: bytes | None = None) -> Outgoing:
        """Return the request with its credential.

        Args:
            request: as it would go out unsigned.
            at: the time, ns UTC.
            nonce: 16 to 64 of `A-Za-z0-9_-`; a random one by default. Dialects without a nonce ignore it.

        Raises:
            ConfigError: the dialect cannot sign such a body.
        """
        time = str(at // self.row.unit).encode()
        nonce = nonce or encode_base64url(secrets.token_bytes(16))
        return (
            self._in_headers(request, time, nonce)
            if isinstance(self.row.time, Header)
            else self._in_text(request, time)
        )

    def _in_headers(self, request: Outgoing, time: bytes, nonce: bytes) -> Outgoing:
        signature = self._sign(self._facts(request, time, nonce))
        row = self.row
        added = [(row.key.name, self.key_id.encode()), (row.time.name, time), (row.signature.name, signature)]
        if row.nonce is not None:
            added.insert(2, (row.nonce.name, nonce))
        return request._replace(headers=(*request.headers, *added))

    def _in_text(self, request: Outgoing, time: bytes) -> Outgoing:
        row, (path, _, query) = self.row, request.target.partition(b"?")
        form = request.content_type == FORM and request.method not in row.bodyless
        if (query and request.body) or (request.body and not form):
            raise ConfigError(f"dialect {row.name} signs a query or a form body, not both and nothing else")
        text = request.body if form else query
        text += (b"&" if text else b"") + row.time.name + b"=" + time
        facts = self._facts(request, time, b"", query=b"" if form else text, form=text if form else b"")
        text += b"&" + row.signature.name + b"=" + self._sign(facts)
        return request._replace(
            target=request.target if form else path + b"?" + text,
            body=text if form else request.body,
            headers=(*request.headers, (row.key.name, self.key_id.encode())),
        )

    def _facts(self, request: Outgoing, time: bytes, nonce: bytes, query: bytes = b"", form: bytes = b"") -> Facts:
        return Facts(
            self.row.algorithms[self._algorithm],
            self.key_id.encode(),
            time,
            nonce,
            request.method.encode(),
            request.authority.lower().encode(),
            request.target,
            request.content_type,
            self._hash(request.body),
            query,
            form,
        )

    def _sign(self, facts: Facts) -> bytes:
        message = self._compose(facts)
        if isinstance(self._key, Ed25519PrivateKey):
            return self._encode(self._key.sign(message))
        return self._encode(hmac.digest(self._key.reveal(), message, hashlib.sha256))
