"""Mistakes: the texts that clients with a known error sign of the same request. Each is composed, none is guessed.

A mistake changes what a message is made of (its facts) or how it is made (its parts). A text that equals one of these,
or a signature over one, says exactly what is wrong.
"""

import json
from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final, NamedTuple
from urllib.parse import quote, quote_plus, unquote_to_bytes

from tradeguard.signing.cure import Changes, exchange, write_message
from tradeguard.signing.message import Facts, Part, bare, compile_message, flatten, in_one_line
from tradeguard.signing.row import Row
from tradeguard.signing.stamp import STAMPS

Message = tuple[Part, ...]
UNITS: Final = {
    "s": "whole seconds", "s.": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds",
    "iso-ms": "ISO 8601 with milliseconds", "iso-s": "ISO 8601 in seconds",
}  # fmt: skip
"""Units of time in words."""


class Mistake(NamedTuple):
    """What is wrong, in a sentence for the client's author, and the text that follows from it.

    `changes` are those of a row for which it would be no mistake.
    """

    says: str
    text: bytes
    changes: Changes


def find_mistakes(row: Row, message: Message, facts: Facts) -> tuple[Mistake, ...]:
    """Return the texts of one mistake each; what several make is told by the first of them, and cured by any."""
    found: dict[bytes, Mistake] = {}
    for mistake in chain(_by_facts(row, message, facts), _by_message(row, message, facts)):
        first = found.setdefault(mistake.text, mistake)
        if not first.changes:
            found[mistake.text] = first._replace(changes=mistake.changes)
    found.pop(compile_message(message)(facts), None)
    return tuple(found.values())


def _by_facts(row: Row, message: Message, facts: Facts) -> Iterator[Mistake]:
    compose = compile_message(message)
    for says, changed in _change_facts(row, facts):
        yield Mistake(says, compose(changed), {})
    for says, changed, mount in _change_path(row, facts):
        changes: Changes = _mounted(row, message, mount) if mount is not None else {}
        yield Mistake(says, compose(changed), changes)


def _by_message(row: Row, message: Message, facts: Facts) -> Iterator[Mistake]:
    for says, other in _change_message(message, facts):
        yield Mistake(says, compile_message(other)(facts), exchange(row, message, other))


def _mounted(row: Row, message: Message, mount: str) -> Changes:
    """Return what makes a row leave the beginning of the path out of what is signed."""
    at = next((at for at, part in enumerate(message) if part.name == "target"), None)
    if at is None:
        return {"mount": mount}
    below = (*message[:at], Part("path"), Part("?query"), *message[at + 1 :])
    return {"mount": mount, **exchange(row, message, below)}


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


def _change_path(row: Row, facts: Facts) -> Iterator[tuple[str, Facts, str | None]]:
    """Give other paths; where a mount of the row would make them, also that."""
    segments = facts.path.split(b"/")
    query = facts.target[len(facts.target.partition(b"?")[0]) :]
    for count in range(2, min(len(segments), 6)):
        path = b"/" + b"/".join(segments[count:])
        front = b"/".join(segments[:count]).decode("latin-1")
        says = f"The path is signed from its beginning; {front} is missing."
        yield says, facts._replace(path=path, target=path + query), row.mount + front
    if row.mount:
        says = f"The path is signed without {row.mount} in front."
        yield says, facts._replace(path=row.mount.encode() + facts.path), ""
    for says, path in (
        ("The path begins with a /.", facts.path.removeprefix(b"/")),
        ("A / at the end of the path is a byte like any other.", facts.path.rstrip(b"/")),
        ("A / at the end of the path is a byte like any other.", facts.path + b"/"),
        ("The path was decoded before it was signed: sign the bytes that go out.", unquote_to_bytes(facts.path)),
    ):
        yield says, facts._replace(path=path, target=path + query), None


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


def _change_message(message: Message, facts: Facts) -> Iterator[tuple[str, Message]]:
    for part in flatten(message):
        alone = any(one.parts == (part,) for one in message)
        for says, others in chain(_rewrite(part), _reform(part), _rehash(part)):
            yield says, _put(message, part, others)
        if bare(part.name) in _LEFT_OUT and not alone:
            yield _LEFT_OUT[bare(part.name)], _put(message, part, ())
    for at, part in enumerate(message):
        if part.parts:
            yield "The hash of this text stands here, not the text.", _put(message, part, part.parts)
        elif part.name == "literal" and part.text.strip():
            says = _tell_missing(message, at, facts)
            yield from ((says, other) for other in _mark(message, at))
            yield says, _put(message, part, ())


def _mark(message: Message, at: int) -> Iterator[Message]:
    """Give the message in which a text stands only where the part behind it is not empty, if there is a part for it."""
    part, after = message[at], message[at + 1 :][:1]
    mark = part.text.decode()[-1:]
    if after and after[0].name in ("query", "body", "text") and bare(mark + after[0].name) == after[0].name:
        before = (part._replace(text=part.text[:-1]),) if part.text[1:] else ()
        yield (*message[:at], *before, after[0]._replace(name=mark + after[0].name), *message[at + 2 :])


def _tell_missing(message: Message, at: int, facts: Facts) -> str:
    """Say where a text is missing, and whether that may be because nothing follows it here."""
    before, after = message[:at][-1:], message[at + 1 :][:1]
    where = [in_one_line(write_message(parts)) for parts in (before, after) if parts]
    place = (
        f"between {where[0]} and {where[1]}" if before and after else f"{'behind' if before else 'before'} {where[0]}"
    )
    says = f"The text {message[at].text.strip().decode()!r} is missing {place}; it stands there in every message."
    if after and not compile_message(after)(facts):
        return f"{says} The client may leave it out because {where[-1]} is empty in this request."
    return says


def _rewrite(part: Part) -> Iterator[tuple[str, Message]]:
    if bare(part.name) != part.name:
        says = f"The {part.name[:1]} before the {bare(part.name)} is signed too."
        yield says, (part._replace(name=bare(part.name)),)
    for says, names in _OTHERWISE.get(part.name, ()):
        yield says, tuple(part._replace(name=name) for name in names)
    if part.name == "authority":
        for scheme in (b"https://", b"http://"):
            yield "The host has no scheme in front.", (Part("literal", scheme), part)


def _reform(part: Part) -> Iterator[tuple[str, Message]]:
    """Give a query without a form that it has, or in one that it has not."""
    if part.name == "target":
        yield from ((says, (Part("path"), *parts)) for says, parts in _reform(Part("?query")))
    for form, (with_it, without) in _FORMS.items() if bare(part.name) in ("query", "text") else ():
        if form in part.forms:
            yield with_it, (part._replace(forms=tuple(one for one in part.forms if one != form)),)
        else:
            yield without, (part._replace(forms=(*part.forms, form)),)


def _rehash(part: Part) -> Iterator[tuple[str, Message]]:
    """Give another hash over the same, and the same hash over less."""
    for name in _HASHES if part.name in _HASHES else ():
        if name != part.name:
            yield f"The hash is {_HASHES[part.name]}; this is {_HASHES[name]}.", (part._replace(name=name),)
    for inner in part.parts if len(part.parts) > 1 else ():
        what = inner.text.decode() if inner.name == "literal" else f"the {inner.name}"
        rest = tuple(one for one in part.parts if one is not inner)
        yield f"The hash is over {what} too.", (part._replace(parts=rest),)


def _put(parts: Message, part: Part, others: Message) -> Message:
    """Return the parts with others in the place of one, also where that is inside of a hash."""
    found: list[Part] = []
    for one in parts:
        if one is part:
            found += others
        else:
            found.append(one._replace(parts=_put(one.parts, part, others)) if one.parts else one)
    return tuple(found)


_TO_URLS: Final = bytes.maketrans(b"+/", b"-_")
_MISSING: Final = {
    "key": "The key id", "time": "The time", "nonce": "The nonce", "width": "The window", "method": "The method",
    "authority": "The host", "content_type": "The Content-Type",
}  # fmt: skip
_LEFT_OUT: Final = {
    **{name: f"{what} is missing." for name, what in _MISSING.items()},
    "body": "The body is missing; it is signed too.",
    "query": "The query is missing; it is signed too.",
}
_OTHERWISE: Final = {
    "query": (("The query is signed without the ? before it.", ("?query",)),),
    "target": (
        ("The ? before the query is signed too.", ("path", "query")),
        ("The query is missing; it is signed too.", ("path",)),
    ),
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
    "spaced": (
        "A + in the query is signed as %20.",
        "The query is encoded in another way than it was sent (%20 or +): sign the bytes that go out.",
    ),
}
_HASHES: Final = {
    "sha256": "the 32 bytes of a SHA-256", "sha512": "the 64 bytes of a SHA-512",
    "sha256hex": "a SHA-256 in lower-case hex", "sha512hex": "a SHA-512 in lower-case hex",
}  # fmt: skip
