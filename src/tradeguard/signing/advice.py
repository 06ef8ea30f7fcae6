"""Advice: what is commonly wrong where a client's string-to-sign leaves ours. Every rule is tried, none is guessed.

A rule compares what stands at the difference with what a known mistake would have made of our bytes there.
"""

from base64 import b64decode, b64encode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from tradeguard.signing.mistakes import write_json


class Place(NamedTuple):
    """Where two texts part: the signed part, what we have there, what the client has, and the body that was sent.

    `formed`: a query that is signed in another form than it was sent.
    """

    part: str
    ours: bytes
    theirs: bytes
    body: bytes
    formed: bool = False


Rule = tuple[str, Callable[[Place], bool]]


def _holds_hash(text: bytes) -> bool:
    """Tell whether raw bytes of a hash stand in a text: a newline among them joins nothing."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return True
    return False


def _same_parameters(place: Place) -> bool:
    ours, theirs = ((text.rpartition(b"?")[2]).split(b"&") for text in (place.ours, place.theirs))
    return ours != theirs and sorted(ours) == sorted(theirs)


_TEXT: Final[tuple[tuple[str, Callable[[bytes, bytes], bool]], ...]] = (
    ("The text is empty.", lambda _, theirs: not theirs),
    ("The text begins with a byte order mark; write it without one.", lambda _, t: t.startswith(b"\xef\xbb\xbf")),
    ("The text is UTF-16; sign UTF-8.", lambda _, theirs: theirs[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in theirs),
    ("Lines end with CR LF; they end with LF alone.", lambda _, theirs: b"\r\n" in theirs),
    ("A newline stands at the end; nothing follows the last byte. (If only the file has it, the text may be right.)",
     lambda ours, theirs: len(theirs) > len(ours) and theirs.rstrip(b"\r\n") == ours.rstrip(b"\r\n")),
    ("The newline at the end is missing; it is signed too.", lambda ours, theirs: theirs + b"\n" == ours),
    ("The two characters \\ and n stand for each newline; they must be the one byte 0x0A.",
     lambda ours, theirs: theirs.replace(b"\\n", b"\n") == ours),
    ("The text is in quotation marks.", lambda ours, theirs: theirs.strip(b"\"'") == ours),
    ("The lines are joined by something else than a newline, or by nothing.",
     lambda ours, theirs: b"\n" in ours and b"\n" not in theirs and not _holds_hash(ours)),
)  # fmt: skip

_PARTS: Final[Mapping[str, tuple[Rule, ...]]] = {
    "time": (("This time is in seconds.", lambda p: p.ours.isdigit() and p.ours[:10] == p.theirs != p.ours),),
    "method": (("The method is in upper case.", lambda p: p.theirs.upper() == p.ours),),
    "authority": (
        ("The host has no scheme in front.", lambda p: b"://" in p.theirs),
        ("The host is in lower case.", lambda p: p.theirs.lower() == p.ours),
        ("The host has no / behind it.", lambda p: p.theirs.rstrip(b"/") == p.ours),
        ("The port belongs to the host as the client sends it in Host, unless it is 80 for http or 443 for https.",
         lambda p: _host(p.theirs) == _host(p.ours)),
    ),
    "target": (
        ("The target has no scheme and host.", lambda p: b"://" in p.theirs),
        ("The query belongs to the target.", lambda p: p.theirs == p.ours.partition(b"?")[0]),
        ("A query was signed that was not sent; clients often append it after signing.",
         lambda p: p.theirs.partition(b"?")[0] == p.ours),
        ("A fragment (#...) is never sent.", lambda p: p.theirs.partition(b"#")[0] == p.ours),
        ("The prefix under which the API is mounted belongs to the target.",
         lambda p: len(p.theirs) > 1 and p.ours.endswith(p.theirs)),
        ("A / at the end of the path is a byte like any other.", lambda p: _slash(p.theirs) == _slash(p.ours)),
        ("The parameters stand in the order in which they are sent, not sorted.", _same_parameters),
    ),
    "content_type": (
        ("A Content-Type was sent, so it is signed; many clients add one by themselves.", lambda p: not p.theirs),
        ("No Content-Type was sent: its line stays empty.", lambda p: not p.ours),
        ("The Content-Type is signed exactly as sent, with upper and lower case and with its parameters.",
         lambda p: _kind(p.theirs) == _kind(p.ours)),
    ),
    "body_sha256": (
        ("The hash is in lower-case hex.", lambda p: p.theirs.lower() == p.ours),
        ("The hash is in lower-case hex, not in base64.",
         lambda p: p.theirs.rstrip(b"=") in _base64(bytes.fromhex(p.ours.decode()))),
        ("The hash of the body stands here, not the body.", lambda p: p.body != b"" and p.theirs == p.body),
        ("An empty body has a hash too: e3b0c442...b855.", lambda p: not p.theirs),
        ("This is the hash of an empty body, but a body was sent.", lambda p: p.theirs == _hash(b"")),
        ("This is the hash of the body with another line end.",
         lambda p: p.theirs in (_hash(p.body + b"\n"), _hash(p.body.rstrip()), _hash(p.body + b"\r\n"))),
        ("This is the hash of the same JSON written in another way: serialise once, and sign and send those bytes.",
         lambda p: p.theirs in map(_hash, write_json(p.body))),
        ("This is the hash of the body hashed once more.", lambda p: p.theirs == _hash(p.ours)),
        ("This has not the length of a SHA-256.", lambda p: len(p.theirs) != len(p.ours)),
    ),
    "path": (
        ("The query does not belong to the path here.", lambda p: p.theirs.partition(b"?")[0] == p.ours),
        ("The path has no scheme and host.", lambda p: b"://" in p.theirs),
        ("The prefix under which the API is mounted belongs to the path.",
         lambda p: len(p.theirs) > 1 and p.ours.endswith(p.theirs)),
        ("A / at the end of the path is a byte like any other.", lambda p: _slash(p.theirs) == _slash(p.ours)),
    ),
    "body": (
        ("There is no body, so nothing stands here.", lambda p: not p.ours and p.theirs in (b"{}", b"null", b"[]")),
        ("The body is signed too, exactly as it is sent.", lambda p: not p.theirs),
        ("The body is signed with another line end than it was sent.", lambda p: p.theirs.rstrip() == p.ours.rstrip()),
        ("The body is the same JSON written in another way: serialise once, and sign and send those bytes.",
         lambda p: p.theirs in write_json(p.ours)),
        ("The hash of the body stands here, and the body itself is signed.", lambda p: p.theirs == _hash(p.ours)),
    ),
    "payload": (
        ("The base64 that is sent is signed, not the JSON in it.", lambda p: p.theirs == _from_base64(p.ours)),
        ("This is the base64 of other bytes than were sent: encode once, sign and send that.", lambda _: True),
    ),
    "literal": (("This text stands there in every message.", lambda _: True),),
    "query": (
        ("The query is signed without the ? before it.", lambda p: p.theirs == b"?" + p.ours),
        ("The ? before the query is signed too.", lambda p: b"?" + p.theirs == p.ours),
        ("The parameters stand in the order in which they are sent, not sorted.", _same_parameters),
    ),
    "parameters": (
        ("The text begins behind the ?, without it.", lambda p: p.theirs.lstrip(b"?") == p.ours),
        ("The path is not signed.", lambda p: p.theirs.startswith(b"/")),
        ("The signature itself is not signed.", lambda p: p.theirs.startswith(p.ours + b"&")),
        ("The text is signed as it is sent: something was appended to it after signing.",
         lambda p: p.theirs != b"" and p.ours.startswith(p.theirs + b"&")),
        ("The parameters stand in the order in which they are sent, not sorted.", _same_parameters),
        ("The body is a form (a=1&b=2), not JSON.", lambda p: p.theirs.lstrip()[:1] == b"{"),
    ),
}  # fmt: skip

_ENCODED: Final[tuple[Rule, ...]] = (
    ("The hex digits of percent-encoding are signed in the case in which they are sent.",
     lambda p: b"%" in p.theirs and p.theirs.lower() == p.ours.lower()),
    ("This is encoded in another way than it was sent (%20 or +, encoded or not): sign the bytes that go out.",
     lambda p: _decode(p.theirs) == _decode(p.ours)),
)  # fmt: skip


_ELSE: Final[Mapping[str, str]] = {
    "label": "This names another algorithm, or another version of the dialect.",
    "key": "This is another key id than the one that was sent.",
    "nonce": "This is another nonce than the one that was sent: draw it once, use it in both.",
    "time": "This is another time than the one that was sent: read the clock once, use it in both.",
    "width": "This is another window than the one that was sent.",
    "authority": "This is another host than the Host header has; a proxy may rewrite it.",
}


def advise(ours: bytes, theirs: bytes, place: Place) -> Iterator[str]:
    """Say what may be wrong where two texts part; nothing where no rule fits.

    Args:
        ours: the whole text as the server has it.
        theirs: as the client has it.
        place: where they part.
    """
    yield from (text for text, holds in _TEXT if holds(ours, theirs))
    rules = () if place.formed else _PARTS.get(place.part, ())
    if place.part in ("target", "query", "parameters") and not place.formed:
        rules = (*_ENCODED, *rules)
    yield from [text for text, holds in rules if holds(place)][:1]


def advise_else(place: Place) -> Iterator[str]:
    """Say what is left to say of a part where no rule fits."""
    if place.part in _ELSE:
        yield _ELSE[place.part]


def _host(authority: bytes) -> bytes:
    return authority.rpartition(b":")[0] if authority.rpartition(b":")[2].isdigit() else authority


def _slash(target: bytes) -> tuple[bytes, bytes]:
    path, _, query = target.partition(b"?")
    return path.rstrip(b"/"), query


def _kind(content_type: bytes) -> bytes:
    return content_type.partition(b";")[0].strip().lower()


def _decode(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _base64(digest: bytes) -> tuple[bytes, bytes]:
    return b64encode(digest).rstrip(b"="), urlsafe_b64encode(digest).rstrip(b"=")


def _from_base64(text: bytes) -> bytes:
    try:
        return b64decode(text)
    except Error:
        return b""


def _hash(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode()
