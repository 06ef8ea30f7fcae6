"""Fuzz the engine of dialects: any head, target and body against every row are read or refused, and never forged.

An input is the row's name, method, target and body, then names and values of headers. The corpus is signed here, with
one key of each dialect, so that whatever verifies must say what one of its requests says in the parts that are covered.
"""

import json
import sys
from base64 import b64decode, b64encode
from typing import Any
from urllib.parse import unquote_to_bytes

from harness import join, main, pairs, split

from tradeguard.core.credential import Claim
from tradeguard.core.decision import UNAUTHORIZED, Refused
from tradeguard.core.drive import drive
from tradeguard.core.frame import check_frame
from tradeguard.core.policy import Policy
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.signing.material import Hmac
from tradeguard.signing.message import FORM
from tradeguard.signing.place import AuthParam, Field, Header, Parameter, Payload, Place
from tradeguard.signing.row import Row
from tradeguard.signing.rows import ROWS
from tradeguard.signing.signer import Outgoing, Signer
from tradeguard.signing.verifier import Signed, Verifier

NOW = 1_795_000_000_000_000_000  # ns UTC
SECRET = b"a secret of thirty-two characters"
HOST = "api.example"
VERIFIERS = {name: Verifier(row) for name, row in ROWS.items()}
MATERIALS = {
    name: Hmac(SECRET, next(one for one in row.algorithms if one.startswith("hmac"))) for name, row in ROWS.items()
}
ROOTS = {"kraken": b"/0/private", "cryptocom": b"/exchange/v1/private"}
STEPS = 60_000  # most calls that one input may take: a quadratic step over 4 KiB would take far more


def outgoing(row: Row) -> list[Outgoing]:
    """What a client sends."""
    root = row.mount.encode() if row.name.startswith("kraken-f") else ROOTS.get(row.name, b"/v1")
    found = (
        [] if "query" not in row.coverage else [Outgoing("GET", HOST, root + b"/orders?symbol=BTC&limit=1&id=a%20b")]
    )
    if row.body == "form" or "form" in row.parts or row.name == "kraken":
        found.append(Outgoing("POST", HOST, root + b"/order", FORM, b"pair=BTC&volume=1&id=a%20b"))
    elif row.body != "none":
        body = b'{"side":"BUY","quantity":"1","client_oid":"a b"}'
        found.append(Outgoing("POST", HOST, root + b"/order", b"application/json", body))
    return found


def entries(row: Row) -> list[bytes]:
    """The corpus of a row."""
    secret = b64encode(SECRET) if row.secret == "base64" else SECRET
    signer = Signer(row, "ann", secret, "a passphrase" if row.passphrase is not None else None)
    found: list[bytes] = []
    for request in outgoing(row):
        out = signer.sign(request, NOW)
        headers = [(b"host", HOST.encode()), *out.headers]
        headers += [(b"content-type", out.content_type)] if out.content_type else []
        fields = [text for pair in headers for text in pair]
        found.append(join(row.name.encode(), out.method.encode(), out.target, out.body, *fields))
    return found


CORPUS = [entry for row in ROWS.values() for entry in entries(row)]
TOKENS = [
    b"%26", b"%3D", b"%2B", b"%25", b"%7B", b"%5b", b"%00", b"+", b"&&", b"a=1&a=2", b"?", b"{", b"[[[[[[[[",
    b'{"a":' * 20,
    b"signature=", b"&Signature=", b"timestamp=1795000000000", b'"nonce":1795000000000000', b'"nonce":"1795000000000"',
    b"1795000000", b"1795000000000", b"0", b"-1", b"1e9", b"9" * 30, b"NaN", b"null", b"true", b'"\\ud800"',
    b"\xc3\xa9",
    b"deri-hmac-sha256 id=ann,ts=1795000000000", b",", b'"', b"BITSTAMP ", b"application/x-www-form-urlencoded",
    b"/api/v3",
    b"GET", b"DELETE", b"/realtime", b"/users/self/verify", b"recvWindow=60001", b"&recvWindow=1",
]  # fmt: skip


def make_request(data: bytes) -> tuple[str, bytes, Request]:
    """Read an input."""
    name, method, target, body, *fields = split(data, 4)
    request = Request(
        id="fuzz",
        method=method.decode("latin-1"),
        target=target,
        path=target.partition(b"?")[0].decode("latin-1"),
        headers=Headers([(key.lower(), value) for key, value in pairs(fields)]),
        peer=Peer(),
        arrived=NOW,
        body=body,
    )
    return name.decode("latin-1"), body, request


def counted(work: Any) -> Any:
    """Do it, and hold it to a number of calls."""
    steps = 0

    def step(_frame: object, event: str, _arg: object) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    sys.setprofile(step)
    try:
        return work()
    finally:
        sys.setprofile(None)
        assert steps < STEPS, f"{steps} calls"


def look(data: bytes) -> tuple[str, Request, Claim, Signed] | str:
    """Put an input to its row; a word where it is refused, or none of the row's."""
    name, body, request = make_request(data)
    for verifier in VERIFIERS.values():  # none of them may fail at another's head
        verifier.speaks(request)
    if name not in VERIFIERS:
        return "unknown"
    verifier = VERIFIERS[name]
    try:
        check_frame(request, Policy())
        claim = verifier.claim(request)
        if claim is None:
            verifier.check_absent(request)
            return "unclaimed"
        return "bare" if claim.bare else (name, request, claim, verifier.read(request, claim, body))
    except Refused as refused:
        denial = refused.denial
    assert denial.code.startswith("frame.") or denial.public == UNAUTHORIZED, denial
    return denial.code


def fuzz_dialects(data: bytes) -> str:
    """Return `verified`, `wrong`, `unclaimed`, `bare`, `unknown` or the code of the refusal."""
    found = counted(lambda: look(data))
    if isinstance(found, str):
        return found
    name, request, _, signed = found
    material = MATERIALS[name]
    assert 0 < signed.window.past <= 86_400_000_000_000
    texts = (signed.message, *signed.others)
    if signed.algorithm != material.algorithm or not any(
        drive(material.verify(text, signed.signature)) for text in texts
    ):
        return "wrong"
    row = ROWS[name]
    assert say(row, request) in HONEST[name], (say(row, request), HONEST[name])
    return "verified"


# --- what a request says -------------------------------------------------------------------------------------------


def say(row: Row, request: Request) -> dict[str, Any]:
    """What stands in the parts that a row covers: equal for the spellings that it takes for one."""
    path, _, query = request.target.partition(b"?")
    body = drive(request.body())
    if isinstance(row.signature, Parameter):
        query, body = (cut(text, row.signature.name) for text in (query, body))
        if "form" in row.parts:
            query, body = query or body, b""  # parameters mean the same in either
    if "text" in row.parts and body[:1] not in (b"{", b"["):
        query, body = query or body, b""
    said: dict[str, Any] = {
        "method": request.method, "path": path, "query": spelt(row, query), "host": request.authority,
        "content-type": request.headers.one(b"content-type") or b"", "body": body,
    }  # fmt: skip
    if row.payload is not None:
        said["body"] = request.headers.one(row.payload.name)
    elif "flat" in row.parts:
        said["body"] = as_text({key: value for key, value in json.loads(body).items() if key != "sig"})
    for what in ("key", "time", "nonce"):
        place: Place | None = getattr(row, what)
        said[what] = value_of(request, place) if place is not None else None
    said["time"] = said["time"] or said["nonce"]
    return {part: value for part, value in said.items() if part in row.coverage}


def spelt(row: Row, query: bytes) -> list[bytes]:
    """A query with one spelling for all that its row takes for one."""
    forms = {form for message in row.messages for part in message for form in part.forms}
    pieces = query.split(b"&")
    if "decoded" in forms:
        pieces = [unquote_to_bytes(piece.replace(b"+", b" ")) for piece in pieces]
    if "spaced" in forms:
        pieces = [piece.replace(b"+", b"%20") for piece in pieces]
    return sorted(pieces) if "sorted" in forms else pieces


def cut(text: bytes, name: bytes) -> bytes:
    """Parameters without one."""
    return b"&".join(piece for piece in text.split(b"&") if not piece.startswith(name + b"="))


def as_text(value: Any) -> Any:
    """A JSON value in which 1 and "1" are one, since they are signed alike."""
    if isinstance(value, dict):
        return {key: as_text(inner) for key, inner in value.items()}
    return [as_text(inner) for inner in value] if isinstance(value, list) else json.dumps(value).strip('"')


def value_of(request: Request, place: Place) -> bytes | None:
    """A field that verified, so that it stands there once."""
    if isinstance(place, Header):
        return request.headers.one(place.name)
    if isinstance(place, AuthParam):
        given = (request.headers.one(b"authorization") or b"").partition(b" ")[2]
        return (
            dict(piece.strip(b" ").partition(b"=")[::2] for piece in given.split(b",")).get(place.name, b"").strip(b'"')
        )
    body = drive(request.body())
    if isinstance(place, Field) and body[:1] == b"{":
        return str(json.loads(body).get(place.name.decode())).encode()
    if isinstance(place, Payload):
        texts = [value for name, value in request.headers.raw if name.endswith(b"payload")]
        return str(json.loads(b64decode(texts[0])).get(place.name.decode())).encode()
    text = request.target.partition(b"?")[2] + b"&" + body
    return dict(piece.partition(b"=")[::2] for piece in text.split(b"&")).get(place.name)


HONEST: dict[str, list[dict[str, Any]]] = {name: [] for name in ROWS}
for _entry in CORPUS:
    _name, _body, _request = make_request(_entry)
    check_frame(_request, Policy())
    HONEST[_name].append(say(ROWS[_name], _request))


if __name__ == "__main__":
    main(fuzz_dialects, CORPUS, TOKENS)
