"""Mistakes: the texts that clients with a known error sign of the same request. Each is composed, none is guessed.

A mistake changes what a message is made of (its facts) or how it is made (its parts). A text that equals one of these,
or a signature over one, says exactly what is wrong.
"""

import json
from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote, quote_plus, unquote_to_bytes

from tradeguard.signing.message import Facts, Part, compile_message, flatten
from tradeguard.signing.row import Row
from tradeguard.signing.stamp import STAMPS

Message = tuple[Part, ...]
UNITS: Final = {
    "s": "whole seconds", "s.": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds",
    "iso-ms": "ISO 8601 with milliseconds", "iso-s": "ISO 8601 in seconds",
}  # fmt: skip
"""Units of time in words."""


class Mistake(NamedTuple):
    """What is wrong, in a sentence for the client's author, and the text that follows from it."""

    says: str
    text: bytes


def find_mistakes(row: Row, message: Message, facts: Facts) -> Iterator[Mistake]:
    """Give the texts of one mistake each."""
    ours = compile_message(message)(facts)
    for says, changed in _change_facts(row, facts):
        text = compile_message(message)(changed)
        if text != ours:
            yield Mistake(says, text)
    for says, other in _change_message(message):
        text = compile_message(other)(facts)
        if text != ours:
            yield Mistake(says, text)


def write_json(body: bytes) -> Iterator[bytes]:
    """Give the ways in which common clients write the same JSON."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return
    for separators in ((",", ":"), (", ", ": ")):
        for ascii_only in (True, False):
            for in_order in (False, True):
                try:
                    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only, sort_keys=in_order)
                    yield text.encode()
                except (ValueError, RecursionError):
                    continue
    yield json.dumps(value, indent=2).encode()


def _change_facts(row: Row, facts: Facts) -> Iterator[tuple[str, Facts]]:
    for says, method in (
        ("The method is in upper case.", facts.method.lower()),
        ("The method is in upper case.", facts.method.title()),
    ):
        yield says, facts._replace(method=method)
    yield from _change_time(row, facts)
    yield from _change_query(facts)
    yield from _change_path(row, facts)
    yield from _change_host(facts)
    yield from _change_body(facts)
    for name, what in _MISSING.items():
        nothing: dict[str, Any] = {name: b""}
        yield f"{what} is missing.", facts._replace(**nothing)


def _change_time(row: Row, facts: Facts) -> Iterator[tuple[str, Facts]]:
    at = row.stamp.read(facts.time)
    for unit, stamp in STAMPS.items():
        if at is not None and unit != row.unit:
            says = f"This time is in {UNITS[unit]}; {row.name} has it in {UNITS[row.unit]}, as it was sent."
            yield says, facts._replace(time=stamp.write(at))


def _change_query(facts: Facts) -> Iterator[tuple[str, Facts]]:
    query = facts.form or facts.query or facts.target.partition(b"?")[2]
    plain = unquote_to_bytes(query.replace(b"+", b" "))
    again = [parameter.partition(b"=") for parameter in query.split(b"&")]
    for says, changed in (
        ("The query is missing; it is signed too.", b""),
        ("The query was decoded before it was signed: sign the bytes that go out.", plain),
        ("The query is encoded in another way than it was sent (%20 or +): sign the bytes that go out.",
         _encode(again, quote)),
        ("The query is encoded in another way than it was sent (%20 or +): sign the bytes that go out.",
         _encode(again, quote_plus)),
        ("The parameters stand in the order in which they are sent, not sorted.", b"&".join(sorted(query.split(b"&")))),
    ):  # fmt: skip
        target = facts.target.partition(b"?")[0] + (b"?" + changed if changed else b"")
        yield says, facts._replace(form=changed) if facts.form else facts._replace(query=changed, target=target)


def _encode(parameters: Iterable[tuple[bytes, bytes, bytes]], write: Callable[..., str]) -> bytes:
    def spell(text: bytes) -> bytes:
        return write(unquote_to_bytes(text.replace(b"+", b" ")), safe="").encode()

    return b"&".join(spell(name) + mark + spell(value) for name, mark, value in parameters)


def _change_path(row: Row, facts: Facts) -> Iterator[tuple[str, Facts]]:
    segments = facts.path.split(b"/")
    query = facts.target[len(facts.target.partition(b"?")[0]) :]
    for count in range(2, min(len(segments), 6)):
        path = b"/" + b"/".join(segments[count:])
        says = f"The path is signed from its beginning; {b'/'.join(segments[:count]).decode('latin-1')} is missing."
        yield says, facts._replace(path=path, target=path + query)
    if row.mount:
        says = f"The path is signed without {row.mount} in front."
        yield says, facts._replace(path=row.mount.encode() + facts.path)
    for says, path in (
        ("The path begins with a /.", facts.path.removeprefix(b"/")),
        ("A / at the end of the path is a byte like any other.", facts.path.rstrip(b"/")),
        ("A / at the end of the path is a byte like any other.", facts.path + b"/"),
        ("The path was decoded before it was signed: sign the bytes that go out.", unquote_to_bytes(facts.path)),
    ):
        yield says, facts._replace(path=path, target=path + query)


def _change_host(facts: Facts) -> Iterator[tuple[str, Facts]]:
    host, colon, port = facts.authority.rpartition(b":")
    says = "The port belongs to the host as the client sends it in Host, unless it is 80 for http or 443 for https."
    if colon and port.isdigit():
        yield says, facts._replace(authority=host)
    for port in (b":443", b":80"):
        yield says, facts._replace(authority=facts.authority + port)
    for scheme in (b"https://", b"http://"):
        yield "The host has no scheme in front.", facts._replace(authority=scheme + facts.authority)
    kind = facts.content_type.partition(b";")[0].strip().lower()
    yield "The Content-Type is signed exactly as sent, with its parameters.", facts._replace(content_type=kind)


def _change_body(facts: Facts) -> Iterator[tuple[str, Facts]]:
    body = facts.body
    for says, changed in (
        ("The body is missing; it is signed too.", b""),
        ("There was no body, and {} is signed: without a body nothing stands here.", body or b"{}"),
        ("The body is signed with another line end than it was sent.", body + b"\n"),
        ("The body is signed with another line end than it was sent.", body.rstrip()),
        *(("The body is the same JSON written in another way: serialise once, and sign and send those bytes.", text)
          for text in write_json(body)),
    ):  # fmt: skip
        yield says, facts._replace(body=changed)
    for says, payload in (
        ("The base64 that is sent is signed, not the JSON in it.", _from_base64(facts.payload)),
        ("The payload is base64 with its padding.", facts.payload.rstrip(b"=")),
        ("The payload is standard base64, not that of URLs.", facts.payload.translate(_TO_URLS)),
    ):
        yield says, facts._replace(payload=payload)


def _from_base64(text: bytes) -> bytes:
    try:
        return b64decode(text)
    except Error:
        return b""


def _change_message(message: Message) -> Iterator[tuple[str, Message]]:
    parts = tuple(flatten(message))
    for part in parts:
        if part.name in _OTHERWISE:
            says, name = _OTHERWISE[part.name]
            yield says, _map(message, _swap(part, part._replace(name=name)))
        if part.name in ("query", "?query", "text"):
            yield from ((says, _map(message, _swap(part, other))) for says, other in _reform(part))
        if part.parts:
            yield from ((says, _map(message, _swap(part, other))) for says, other in _rehash(part))
    for at, part in enumerate(message):
        if part.parts:
            yield "The hash of this text stands here, not the text.", (*message[:at], *part.parts, *message[at + 1 :])
        elif part.name == "literal" and part.text.strip():
            says = f"The text {part.text.strip().decode()!r} is missing; it stands there in every message."
            yield says, (*message[:at], *message[at + 1 :])


def _reform(part: Part) -> Iterator[tuple[str, Part]]:
    """Give a query without a form that it has, or in one that it has not."""
    for form, (with_it, without) in _FORMS.items():
        if form in part.forms:
            yield with_it, part._replace(forms=tuple(one for one in part.forms if one != form))
        else:
            yield without, part._replace(forms=(*part.forms, form))


def _rehash(part: Part) -> Iterator[tuple[str, Part]]:
    """Give another hash over the same, and the same hash over less."""
    for name in _HASHES:
        if name != part.name:
            yield f"The hash is {_HASHES[part.name]}; this is {_HASHES[name]}.", part._replace(name=name)
    for inner in part.parts if len(part.parts) > 1 else ():
        what = inner.text.decode() if inner.name == "literal" else f"the {inner.name}"
        rest = tuple(one for one in part.parts if one is not inner)
        yield f"The hash is over {what} too.", part._replace(parts=rest)


def _swap(part: Part, other: Part) -> Callable[[Part], Part]:
    """Return what puts another part in the place of one."""
    return lambda one: other if one is part else one


def _map(parts: Message, change: Callable[[Part], Part]) -> Message:
    """Return the parts changed, those inside of hashes too."""
    found: list[Part] = []
    for part in parts:
        changed = change(part)
        whole = changed is part and bool(part.parts)
        found.append(part._replace(parts=_map(part.parts, change)) if whole else changed)
    return tuple(found)


_TO_URLS: Final = bytes.maketrans(b"+/", b"-_")
_MISSING: Final = {
    "key": "The key id", "time": "The time", "nonce": "The nonce", "width": "The window", "method": "The method",
    "authority": "The host", "content_type": "The Content-Type",
}  # fmt: skip
_OTHERWISE: Final = {
    "?query": ("The ? before the query is signed too.", "query"),
    "query": ("The query is signed without the ? before it.", "?query"),
}
_FORMS: Final = {
    "decoded": (
        "The query is signed decoded: its percent-encoding is taken away first.",
        "The query was decoded before it was signed: sign the bytes that go out.",
    ),
    "sorted": (
        "The parameters are sorted by name before they are signed.",
        "The parameters stand in the order in which they are sent, not sorted.",
    ),
}
_HASHES: Final = {
    "sha256": "the 32 bytes of a SHA-256", "sha512": "the 64 bytes of a SHA-512",
    "sha256hex": "a SHA-256 in lower-case hex", "sha512hex": "a SHA-512 in lower-case hex",
}  # fmt: skip
