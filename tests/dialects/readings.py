"""Readings: every way in which a signed text can be taken apart again under a row, by brute force.

It knows the notation of messages and nothing of guards: whatever it finds is built into a request and goes through the
real verifier. Of two different requests with one signed text `tradeguard.signing.shift` promises that there are none.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256, sha512
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote_from_bytes, unquote_to_bytes

from support import FORM, make_request

from tradeguard.core.decision import Refused
from tradeguard.core.drive import drive
from tradeguard.core.frame import check_frame
from tradeguard.core.policy import Policy
from tradeguard.core.request import Request
from tradeguard.signing.encoding import SPELLINGS
from tradeguard.signing.message import Facts, Part, bare, compile_message, flatten
from tradeguard.signing.row import Header, Row
from tradeguard.signing.verifier import Signed, Verifier

Values = Mapping[str, bytes]
KEY = b"key1"


class How(NamedTuple):
    """Under which row and key a text is read, and which texts stand under its hashes, by their digest."""

    row: Row
    build: Callable[[Values], Request]
    hashed: Mapping[bytes, bytes]
    key: bytes = KEY
    algorithm: bytes = b"HMAC-SHA256"


_DIGESTS = {
    "sha256": lambda text: sha256(text).digest(), "sha512": lambda text: sha512(text).digest(),
    "sha256hex": lambda text: sha256(text).hexdigest().encode(),
    "sha512hex": lambda text: sha512(text).hexdigest().encode(),
}  # fmt: skip
_FORMS = {
    "time": re.compile(rb"[0-9.:TZ-]+"), "width": re.compile(rb"[0-9]*"), "nonce": re.compile(rb"[A-Za-z0-9_-]+"),
    "method": re.compile(rb"[A-Z]+"), "path": re.compile(rb"/[!-~]*"), "authority": re.compile(rb"[a-z0-9.:-]+"),
}  # fmt: skip
_ROOTLESS = re.compile(rb"[!-~]*")


def build(row: Row, values: Values) -> Request:
    """The request of which these are the parts; every field of the row is a header."""
    target = row.mount.encode() + values.get("path", b"/a") + (b"?" + values["query"] if values.get("query") else b"")
    body = values.get("body", b"")
    places = {"key": row.key, "time": row.time, "nonce": row.nonce, "width": row.width}
    given: dict[bytes, bytes] = {}
    key = values.get("key", KEY)
    for name, place in places.items():
        if isinstance(place, Header):
            given[place.name] = key if name == "key" else values.get(name, b"")
    if isinstance(row.width, Header) and not values.get("width"):
        del given[row.width.name]  # it may be left out
    assert isinstance(row.signature, Header)
    given[row.signature.name] = SPELLINGS[row.algorithms["hmac-sha256"]].encode(bytes(32))
    kind = values.get("content_type", FORM if body and body[:1] not in b"{[" else b"application/json" if body else b"")
    if kind:
        given[b"content-type"] = kind
    given[b"host"] = values.get("authority", b"api.example")
    return make_request(values.get("method", b"POST").decode("latin-1"), target, body=body, headers=given.items())


def read(row: Row, request: Request) -> Signed | None:
    """What a request says was signed, if it is taken and fresh when it arrives."""
    verifier, body = Verifier(row), drive(request.body())
    try:
        check_frame(request, Policy())
        claim = verifier.claim(request)
        signed = verifier.read(request, claim, body) if claim is not None and not claim.bare else None
    except Refused:
        return None
    if signed is None or not -signed.window.future <= request.arrived - signed.signed_at < signed.window.past:
        return None
    return signed


def readings(how: How, text: bytes) -> Iterator[Request]:
    """Every request that could have this signed text."""
    for message in how.row.messages:
        for values in split(how, message, text, {}):
            methods = [values["method"]] if "method" in values else [b"POST", b"GET"]
            for method in methods:
                yield how.build({**values, "method": method})


def split(how: How, parts: tuple[Part, ...], text: bytes, values: Values) -> Iterator[Values]:
    """Every way to take a text apart into these parts."""
    if not parts:
        if not text:
            yield values
        return
    part, rest = parts[0], parts[1:]
    for length in lengths(how, part, text):
        for taken in take(how, part, text[:length], values):
            yield from split(how, rest, text[length:], taken)


def lengths(how: How, part: Part, text: bytes) -> range:
    """How long a part can be."""
    fixed: dict[str, int] = {"literal": len(part.text), "key": len(how.key), "algorithm": len(how.algorithm)}
    if how.row.exact and how.row.stamp.size:
        fixed["time"] = how.row.stamp.size
    size = len(_DIGESTS[part.name](b"")) if part.parts else fixed.get(part.name)
    if size is not None:
        return range(size, size + 1) if len(text) >= size else range(0)
    return range(len(text) + 1)


def take(how: How, part: Part, piece: bytes, values: Values) -> Iterator[Values]:
    """What a part says, if it can be this."""
    name = part.name
    if part.parts:
        if piece in how.hashed:
            yield from split(how, part.parts, how.hashed[piece], values)
    elif name in ("literal", "key", "algorithm"):
        if piece == {"literal": part.text, "key": how.key, "algorithm": how.algorithm}[name]:
            yield values
    elif bare(name) != name:
        yield from take_marked(how, part, piece, values)
    elif name in ("target", "text", "query"):
        yield from take_text(how.row, part, piece, values)
    elif name == "path" and how.row.mount.endswith("/"):
        yield from agree(values, {"path": piece}) if _ROOTLESS.fullmatch(piece) else ()
    elif name not in _FORMS or _FORMS[name].fullmatch(piece):
        yield from agree(values, {"body" if name == "form" else name: piece})


def take_marked(how: How, part: Part, piece: bytes, values: Values) -> Iterator[Values]:
    """What a part behind a mark says: nothing, or the mark and what the part says without it."""
    name = bare(part.name)
    if piece[:1] == part.name[:1].encode() and len(piece) > 1:
        yield from take(how, part._replace(name=name), piece[1:], values)
    elif not piece:
        yield from agree(values, {"query": b"", "body": b""} if name == "text" else {name: b""})


def take_text(row: Row, part: Part, piece: bytes, values: Values) -> Iterator[Values]:
    """Targets, queries and bodies that are signed as this."""
    if part.name == "target":
        path, _, query = piece.partition(b"?")
        mount = row.mount.encode()
        if path[:1] == b"/" and path.startswith(mount):
            yield from agree(values, {"path": path[len(mount) :], "query": query})
        return
    if part.name == "text":
        yield from agree(values, {"body": piece, "query": b""})
    for raw in dict.fromkeys(encodings(part, piece)):
        yield from agree(values, {"query": raw, **({"body": b""} if part.name == "text" else {})})


def encodings(part: Part, piece: bytes) -> Iterator[bytes]:
    """Queries that have this form."""
    yield piece
    if "decoded" in part.forms:
        yield quote_from_bytes(piece, safe="&=").encode()
        yield quote_from_bytes(piece, safe="=").encode()
        yield quote_from_bytes(piece, safe="&").encode()
    if "spaced" in part.forms:
        yield piece.replace(b"%20", b"+")


def agree(values: Values, new: Values) -> Iterator[Values]:
    """Both together, unless one contradicts the other."""
    if all(values.get(name, value) == value for name, value in new.items()):
        yield {**values, **new}


def meaning(row: Row, request: Request) -> tuple[Any, ...]:
    """What of a request is signed, so that two spellings of one thing are equal."""
    path, _, query = request.target.partition(b"?")
    body = drive(request.body())
    said: dict[str, Any] = {
        "method": request.method, "path": path, "query": means(row, query), "body": body, "host": request.authority,
        "content-type": request.headers.one(b"content-type"),
        "time": row.time and request.headers.one(row.time.name),
        "nonce": row.nonce and request.headers.one(row.nonce.name),
        "key": KEY,
    }  # fmt: skip
    if "body" in row.coverage and any(part.name == "flat" for part in _all(row)):
        said["body"] = json.loads(body or b"{}", parse_int=str, parse_float=str)
    json_body = body[:1] in (b"{", b"[") and row.body != "form"
    if any(bare(part.name) == "text" for part in _all(row)) and not json_body:
        said["query"], said["body"] = means(row, query or body), b""  # parameters in the query, or the same in a form
    return tuple(said[name] for name in sorted(row.coverage))


def means(row: Row, query: bytes) -> Any:
    """A query as its form makes it: equal for all spellings that the row takes for one."""
    forms = {form for part in _all(row) for form in part.forms}
    if "sorted" in forms:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        return sorted(pairs) if len({name for name, _ in pairs}) == len(pairs) else pairs
    if "decoded" in forms:
        return [unquote_to_bytes(piece.replace(b"+", b" ")) for piece in query.replace(b"&", b"=&=").split(b"=")]
    return query.replace(b"+", b"%20") if "spaced" in forms else query


def _all(row: Row) -> Iterator[Part]:
    for message in row.messages:
        yield from flatten(message)


def hashed(row: Row, facts: Facts) -> dict[bytes, bytes]:
    """The texts under the hashes of a message, by their digest."""
    found: dict[bytes, bytes] = {}
    for part in _all(row):
        if part.parts:
            inner = compile_message(part.parts)(facts)
            found[_DIGESTS[part.name](inner)] = inner
    return found


def facts_of(row: Row, request: Request, key: bytes = KEY) -> Facts:
    """What a request of which all fields are headers says."""
    path, _, query = request.target.partition(b"?")
    fields = {name: getattr(row, name) for name in ("time", "nonce", "width")}
    given: dict[str, Any] = {
        name: request.headers.one(place.name) or b"" for name, place in fields.items() if isinstance(place, Header)
    }
    return Facts(
        algorithm=b"HMAC-SHA256", key=key, method=request.method.encode(), authority=request.authority,
        target=request.target, path=path[len(row.mount) :], query=query, body=drive(request.body()),
        content_type=request.headers.one(b"content-type") or b"", **given,
    )  # fmt: skip


def another(how: How, text: bytes, most: int = 100_000) -> Request | None:
    """Another request with the same signed text that the row takes, if there is one."""
    first: tuple[Any, ...] | None = None
    for request in itertools.islice(readings(how, text), most):
        found = read(how.row, request)
        if found is None or text not in (found.message, *found.others):
            continue
        said = meaning(how.row, request)
        if first is None:
            first = said
        elif said != first:
            return request
    return None
