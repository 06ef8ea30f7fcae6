"""Explain: holds a client's string-to-sign against the text that the server composes of the same request.

It takes no secret: where the texts part says what is wrong. With the secret, `verify` also says whether the signature
is over our text, over theirs, or over neither.
"""

import hmac
from base64 import b64decode
from binascii import Error, unhexlify
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from tradeguard.core.decision import Denial, Refused
from tradeguard.core.drive import drive
from tradeguard.core.frame import check_form, check_frame
from tradeguard.core.policy import Policy
from tradeguard.core.request import Request
from tradeguard.core.secret import Secret
from tradeguard.signing.advice import Place, advise
from tradeguard.signing.material import ED25519, HMAC_SHA256, SIGNATURE_BYTES, Ed25519
from tradeguard.signing.message import Facts, compile_digest, compile_message
from tradeguard.signing.row import Header, Row
from tradeguard.signing.verifier import FIELD, Verifier


class Difference(NamedTuple):
    """The first byte where the texts part: its offset, its line and column (from 1), and both lines there.

    `part` names what is signed there: a part of the row's message, or a parameter.
    """

    offset: int
    line: int
    column: int
    part: str
    ours: bytes
    theirs: bytes


class Explanation(NamedTuple):
    """What the server signs, line by line, and where the client's text leaves that.

    `refusals` are what the server objects to before it looks at any signature.
    """

    text: bytes
    lines: tuple[tuple[str, bytes], ...]
    difference: Difference | None
    advice: tuple[str, ...]
    refusals: tuple[Denial, ...]


class Verdict(NamedTuple):
    """Whether the request's signature is over our text, and over theirs; and what is wrong with it."""

    ours: bool
    theirs: bool
    advice: tuple[str, ...]


def explain(row: Row, request: Request, theirs: bytes, algorithm: str = "") -> Explanation:
    """Compare a client's string-to-sign with ours.

    Args:
        row: the dialect.
        request: as the client sent it, its body at hand.
        theirs: their string-to-sign.
        algorithm: of the key, where neither the text nor the signature tells.
    """
    body = drive(request.body())
    refusals = tuple(_object(row, request, body))
    text = _compose(row, request, body, algorithm or _find_algorithm(row, request, body, theirs))
    lines = _name_lines(row, text)
    difference = _compare(row, text, theirs, lines)
    advice = tuple(_advise(row, difference, text, theirs, body)) if difference is not None else ()
    return Explanation(text, lines, difference, advice, refusals)


def verify(row: Row, request: Request, explained: Explanation, theirs: bytes, key: Secret | Ed25519) -> Verdict:
    """Say what the request's signature is over.

    Args:
        row: the dialect.
        request: as the client sent it.
        explained: what `explain` made of it.
        theirs: their string-to-sign.
        key: the HMAC secret, or the Ed25519 public key.
    """
    text = find_signature(row, request, drive(request.body()))
    if text is None:
        return Verdict(False, False, ("The request carries no signature.",))
    spelling, value = _read_signature(row, text)
    if value is None:
        return Verdict(False, False, (f"The signature is neither hex nor base64; {row.name} has {row.encoding}.",))
    ours, over_theirs = _holds(key, explained.text, value), _holds(key, theirs, value)
    advice = [] if spelling == row.encoding else [f"The signature is in {spelling}; {row.name} has {row.encoding}."]
    if over_theirs and not ours:
        advice.append("The secret is right and signs the client's text: correct the text.")
    elif not ours:
        advice += _guess_secret(key, (explained.text, theirs), value)
    return Verdict(ours and spelling == row.encoding, over_theirs, tuple(advice))


def find_signature(row: Row, request: Request, body: bytes) -> bytes | None:
    """Return the signature that a request carries, as it is spelt."""
    if isinstance(row.signature, Header):
        value = request.headers.note(row.signature.name).encode("latin-1")
    else:
        value = _split_text(row, request, body)[1]
    return value or None


def _object(row: Row, request: Request, body: bytes) -> Iterator[Denial]:
    """Give what frame, claim and fields are refused for."""
    try:
        check_frame(request, Policy())
        check_form(request, body)
    except Refused as refused:
        yield refused.denial
    verifier = Verifier(row)
    try:
        claim = verifier.claim(request)
        if claim is None:
            yield Denial(FIELD, detail=row.key.name.decode())
        else:
            verifier.read(request, claim, body)
    except Refused as refused:
        yield refused.denial


def _compose(row: Row, request: Request, body: bytes, algorithm: str) -> bytes:
    """Compose the text as the verifier does, from whatever fields there are."""
    note, in_headers = request.headers.note, isinstance(row.time, Header)
    signed, _ = (b"", b"") if in_headers else _split_text(row, request, body)
    facts = Facts(
        row.algorithms[algorithm],
        note(row.key.name).encode("latin-1"),
        note(row.time.name).encode("latin-1"),
        note(row.nonce.name).encode("latin-1") if row.nonce is not None else b"",
        request.method.encode(),
        request.authority or note(b"host").lower().encode("latin-1"),
        request.target,
        note(b"content-type").encode("latin-1"),
        compile_digest(row)(body),
        b"" if body else signed,
        signed if body else b"",
    )
    return compile_message(row)(facts)


def _split_text(row: Row, request: Request, body: bytes) -> tuple[bytes, bytes]:
    """Return the signed parameters and the signature behind them."""
    text, mark = body or request.target.partition(b"?")[2], row.signature.name + b"="
    signed, found, signature = text.rpartition(b"&" + mark)
    if found:
        return signed, signature
    return (b"", text[len(mark) :]) if text.startswith(mark) else (text, b"")


def _find_algorithm(row: Row, request: Request, body: bytes, theirs: bytes) -> str:
    """Go by the label in the client's text, else by the length of the signature, else by the row's first."""
    first = theirs.partition(b"\n")[0].rstrip(b"\r")
    signature = find_signature(row, request, body)
    value = _read_signature(row, signature)[1] if signature is not None else None
    for algorithm, label in row.algorithms.items():
        if label and label == first:
            return algorithm
    sizes = {SIGNATURE_BYTES[algorithm]: algorithm for algorithm in row.algorithms}
    return sizes.get(len(value or b""), next(iter(row.algorithms)))


def _name_lines(row: Row, text: bytes) -> tuple[tuple[str, bytes], ...]:
    if row.separator:
        return tuple(zip(row.message, text.split(row.separator, len(row.message) - 1), strict=True))
    return tuple((_show_name(parameter), parameter) for parameter in text.split(b"&"))


def _show_name(parameter: bytes) -> str:
    return parameter.partition(b"=")[0].decode("ascii", "backslashreplace")


def _compare(row: Row, ours: bytes, theirs: bytes, lines: tuple[tuple[str, bytes], ...]) -> Difference | None:
    if ours == theirs:
        return None
    pairs = enumerate(zip(ours, theirs, strict=False))
    offset = next((place for place, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
    mark = row.separator or b"&"
    line, start = ours.count(mark, 0, offset), ours.rfind(mark, 0, offset) + 1
    part, value = lines[line]
    their_lines = theirs.split(mark)
    return Difference(offset, line + 1, offset - start + 1, part, value, their_lines[min(line, len(their_lines) - 1)])


def _advise(row: Row, found: Difference, ours: bytes, theirs: bytes, body: bytes) -> Iterator[str]:
    if not row.separator:
        yield from advise(ours, theirs, Place("query", ours, theirs, body))
        return
    lines, their_lines = ours.split(row.separator), theirs.split(row.separator)
    if len(their_lines) != len(lines):
        yield f"There are {len(lines)} lines, and the client has {len(their_lines)}; what is empty is a line too."
    at = found.line - 1
    if found.theirs != found.ours and found.theirs and found.theirs in lines[at + 1 :]:
        there = lines.index(found.theirs, at + 1)
        yield f"This belongs into line {there + 1} ({row.message[there]}): lines are missing before it, or swapped."
    yield from advise(ours, theirs, Place(found.part, found.ours, found.theirs.removesuffix(b"\r"), body))


def _read_signature(row: Row, text: bytes) -> tuple[str, bytes | None]:
    """Read a signature in whichever spelling it is; the row's own first."""
    for spelling in (row.encoding, *_SPELLINGS):
        value = _SPELLINGS[spelling](text)
        if value is not None and len(value) in SIGNATURE_BYTES.values():
            return spelling, value
    return "", None


def _holds(key: Secret | Ed25519, text: bytes, signature: bytes) -> bool:
    if isinstance(key, Ed25519):
        return drive(key.verify(text, signature))
    return hmac.compare_digest(hmac.digest(key.reveal(), text, sha256), signature)


def _guess_secret(key: Secret | Ed25519, texts: tuple[bytes, ...], signature: bytes) -> Iterator[str]:
    """Say how the client may have read its secret, or that it is another."""
    if isinstance(key, Secret):
        for text, value in _readings(key.reveal()):
            if any(_holds(Secret(value), signed, signature) for signed in texts):
                yield f"The client signs with {text}; the secret is used as the bytes of its text."
                return
    kind = ED25519 if isinstance(key, Ed25519) else HMAC_SHA256
    yield f"The signature is over neither text under {kind}: another secret, another algorithm, or yet another text."


def _readings(secret: bytes) -> Iterator[tuple[str, bytes]]:
    yield "its secret and a newline behind it", secret + b"\n"
    yield "the SHA-256 of its secret", sha256(secret).digest()
    for spelling, read in _SPELLINGS.items():
        value = read(secret)
        if value is not None:
            yield f"its secret read as {spelling}", value


def _read_hex(text: bytes) -> bytes | None:
    try:
        return unhexlify(text)
    except Error:
        return None


def _read_base64(text: bytes) -> bytes | None:
    """Read either alphabet, with or without padding, and percent-encoded as in a query."""
    text = unquote_to_bytes(text).translate(_TO_BASE64).rstrip(b"=")
    try:
        return b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except Error:
        return None


_TO_BASE64: Final = bytes.maketrans(b"-_", b"+/")
_SPELLINGS: Final[Mapping[str, Callable[[bytes], bytes | None]]] = {
    "hex": lambda text: _read_hex(text) if text == text.lower() else None,
    "upper-case hex": _read_hex,
    "base64url": lambda text: _read_base64(text) if not set(text) & set(b"+/=%") else None,
    "base64": _read_base64,
}
"""How signatures and secrets are spelt, the stricter before the laxer of two."""
