"""Shift: what keeps a byte of one signed part from passing for a byte of the next.

Where two parts of varying length stand side by side with nothing between them, one signed text has several readings:
`/orders/12` + `34` is `/orders/1234`, with the same MAC. A part has one end if what follows it cannot be part of it.
So for each part of a message:

1.  the key and the algorithm are fixed: another key has another secret; a key ends what stands before it if that is
    digits, for anything else could hold the key's text;
2.  times of one length and hashes are fixed by their length; a nonce that is a clock's reading by its first digits, for
    any other split of the digits gives another time, and where it gives nearly the same (once in 10^7) a guard refuses;
3.  a part has an end where the next literal begins with a byte that it does not hold, or where all that follows it is
    of fixed length, or where the next part that varies begins with a byte that neither it holds nor what is between;
4.  everything else takes a guard, a rule on what is accepted, that makes 3 true; or the row is refused.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from tradeguard.core.errors import ConfigError
from tradeguard.signing.message import FORM, Facts, Part, compile_message, flatten, query_as
from tradeguard.signing.place import MOST
from tradeguard.signing.plain import is_plain
from tradeguard.signing.stamp import read_clock

_DIGITS: Final = frozenset(b"0123456789")
_UPPER: Final = frozenset(range(65, 91))
_LOWER: Final = frozenset(range(97, 123))
_LETTERS: Final = _UPPER | _LOWER
_TOKEN: Final = _LETTERS | _DIGITS | frozenset(b"_-")
_PRINTABLE: Final = frozenset(range(33, 127))
_ANY: Final = frozenset(range(256))
_PATH: Final = _PRINTABLE - frozenset(b'?#"<>\\^`{|}[]')
_CONTROL: Final = frozenset({*range(32), 127})
_MOST: Final = 9  # digits by which clocks differ, from seconds to nanoseconds
_FRONT: Final = 6  # digits that times 10,000 s apart share, or that differ by one
_NEARLY: Final = 600_000_000_000  # ns; more than the window of any row whose nonce rises
_ESCAPED_BRACKET: Final = re.compile(rb"%(?:5[Bb]|7[Bb])")
_NAME: Final = re.compile("[A-Za-z0-9_.-]+")
_NAMED: Final = re.compile(rb"[A-Za-z0-9_.-]+=")
_NAMED_FORM: Final = re.compile(rb"[A-Za-z_]+[0-9]{0,8}=")  # no time has so few digits
_DIGIT_OR_ESCAPE: Final = frozenset({*(b"%d" % digit for digit in range(10)), b".", b"%"})
_NONE_OR_BRACKET: Final = frozenset({b"", b"{", b"["})
_BRACKET_OR_ESCAPE: Final = frozenset({b"{", b"[", b"%"})
_CURLY, _SQUARE, _QUESTION, _EQUALS, _PERCENT, _PLUS = (
    b"{[?=%+"  # as numbers, which `in` finds ten times faster than bytes
)
_SHIFTY: Final = b"&=#+"  # what must not come out of a percent-encoding
_BYTES: Final = {
    "time": _DIGITS | frozenset(b"."), "nonce": _TOKEN, "width": _DIGITS, "method": _UPPER,
    "content_type": _ANY - frozenset(b"\r\n\0"),
    "authority": _LOWER | _DIGITS | frozenset(b"[]:.-_"), "path": _PATH, "target": _PRINTABLE, "query": _PRINTABLE,
    "?query": _PRINTABLE, "text": _ANY, "form": _ANY, "body": _ANY, "payload": _PRINTABLE, "flat": _ANY,
    "field": _LETTERS | frozenset(b"/-_"), "number": _DIGITS,
}  # fmt: skip
_FIRST: Final = {"target": frozenset(b"/"), "path": frozenset(b"/"), "?query": frozenset(b"?"), "flat": _LETTERS}
_NEVER_EMPTY: Final = frozenset({"target", "path", "time", "nonce", "method", "authority", "field", "number"})


@dataclass(frozen=True, slots=True)
class Guard:
    """A rule on what is accepted, beyond what the frame asks: `holds` tells whether a request keeps it."""

    name: str
    text: str
    holds: Callable[[Facts], bool]


class Shape(NamedTuple):
    """What of a row decides how its parts can shift: what bodies it has, and which of its parts are of one length."""

    body: str
    fixed: frozenset[str]
    rising: bool


OPENING: Final = Guard(
    "opening",
    "a body begins with { or [, and the target holds neither",
    lambda facts: facts.body[:1] in _NONE_OR_BRACKET and _CURLY not in facts.target and _SQUARE not in facts.target,
)
EITHER_OPENING: Final = Guard(
    "opening",
    "a body begins with { or [, and the target holds neither; or it is a form that begins with a plain name and =, "
    "and there is no query; no path holds =",
    lambda facts: (
        (OPENING.holds(facts) or (_NAMED_FORM.match(facts.body) is not None and _QUESTION not in facts.target))
        and _EQUALS not in facts.target.partition(b"?")[0]
    ),
)
LETTER: Final = Guard(
    "letter",
    "what follows digits does not begin with one, nor with an encoding of one",
    lambda facts: not any(piece[:1] in _DIGIT_OR_ESCAPE for piece in (facts.body, *facts.query.split(b"&"))),
)
JSON_OR_QUERY: Final = Guard(
    "json-or-query",
    "a body begins with { or [, and no parameter of a query does, encoded or not",
    lambda facts: (
        facts.body[:1] in (b"{", b"[")
        if facts.body
        else not any(parameter[:1] in _BRACKET_OR_ESCAPE for parameter in facts.query.split(b"&"))
    ),
)
QUERY_NOT_JSON: Final = Guard(
    "json-or-query",
    "no parameter of a query begins with { or [, encoded or not",
    lambda facts: bool(facts.body) or JSON_OR_QUERY.holds(facts),
)
EITHER: Final = Guard(
    "either", "a query or a body, never both", lambda facts: not (facts.body and _QUESTION in facts.target)
)
TYPED: Final = Guard(
    "typed",
    "a body is a form, without a body there is no content type, and the target does not hold one",
    lambda facts: facts.content_type == (FORM if facts.body else b"") and FORM not in facts.target,
)
LITERAL: Final = Guard(
    "literal",
    "a query begins with a name and =, beside a path that the operations map has letter by letter; no path holds = & %",
    lambda facts: (
        not (frozenset(facts.path) & frozenset(b"=&%"))
        and (_QUESTION not in facts.target or _NAMED.match(facts.query) is not None)
    ),
)
NO_QUERY: Final = Guard("no-query", "no query: it would not be signed", lambda facts: _QUESTION not in facts.target)
NO_BODY: Final = Guard("no-body", "no body: it would not be signed", lambda facts: not facts.body)
SORTED: Final = Guard(
    "sorted", "no parameter of the query stands twice", lambda facts: _names_once(facts.query.split(b"&"))
)
DECODED: Final = Guard(
    "decoded",
    "no encoding in the query hides one of & = # + or a control character",
    lambda facts: _PERCENT not in facts.query or _decodes_plainly(facts.query),
)
DECODED_OPENING: Final = Guard(
    "decoded",
    "no encoding in the query hides one of & = # + { [ or a control character",
    lambda facts: DECODED.holds(facts) and _ESCAPED_BRACKET.search(facts.query) is None,
)
TWICE_DECODED: Final = Guard(
    "decoded-once", "no encoding in the query hides a %", lambda facts: b"%25" not in facts.query
)
FLAT: Final = Guard(
    "flat",
    "the names of the venue's parameters stand where these begin and nowhere else, nothing is empty, and texts in one "
    "list are words in capitals",
    lambda facts: is_plain(facts.document.get("params") or {}),
)


_OPENINGS: Final = {"json": OPENING, "both": EITHER_OPENING}
_IN_TARGET: Final = ("path", "query", "?query", "target")
_PARAMETERS: Final = ("text", "query", "body", "form")


def find_guards(messages: Iterable[tuple[Part, ...]], shape: Shape) -> tuple[Guard, ...]:
    """Return the guards that give each part of the messages one end.

    Raises:
        ConfigError: two parts shift into each other and no guard is known for them, naming them.
    """
    found: dict[str, Guard] = {}
    texts = tuple(messages)
    if len({tuple(_formless(message)) for message in texts}) > 1:
        raise ConfigError(
            "the texts of its message differ in more than the form of the query: one can pass for another"
        )
    for message in texts:
        for guard in (*_between(message, shape), *_inside(message, len(texts) > 1, shape.body)):
            found[guard.name] = guard
        for part in flatten(message):
            for guard in _between(part.parts, shape):
                found[guard.name] = guard
    if "decoded" in found and "opening" in found:
        found["decoded"] = DECODED_OPENING
    return tuple(found.values())


def _formless(parts: Iterable[Part]) -> Iterator[Part]:
    """Give parts as they would be if no query had another form; a target is a path and a query."""
    for part in parts:
        if part.name == "target":
            yield from (Part("path"), Part("?query"))
        else:
            yield part._replace(forms=(), parts=tuple(_formless(part.parts)))


def find_run(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return two paths of which one goes on as the name of a parameter could: /order and /orders, and so LITERAL fails.

    Args:
        paths: of the operations map; those with parameters count for nothing, since a query never stands beside them.
    """
    plain = sorted({path for path in paths if not frozenset(path) & frozenset("{*")})
    for place, path in enumerate(plain):
        for other in plain[place + 1 :]:
            if other.startswith(path) and _NAME.fullmatch(other[len(path) :]):
                return path, other
    return None


def _inside(message: tuple[Part, ...], several: bool, body: str) -> Iterator[Guard]:
    """Give the guards of the forms that a query may have before it is signed.

    Raises:
        ConfigError: nothing tells a body from a query.
    """
    parts = tuple(flatten(message))
    if any(part.name == "text" for part in parts):
        if body == "any":
            raise ConfigError('{text} is a body or a query, and nothing tells which: say body="json", for example')
        yield EITHER
        yield from {"json": (JSON_OR_QUERY,), "both": (QUERY_NOT_JSON,)}.get(body, ())
    if any(part.name == "flat" for part in parts):
        yield FLAT
    if any("sorted" in part.forms for part in parts):
        yield SORTED
    if any("decoded" in part.forms for part in parts):
        yield DECODED
        if several:
            yield TWICE_DECODED


def _between(parts: tuple[Part, ...], shape: Shape) -> Iterator[Guard]:
    for place, part in enumerate(parts):
        if not _is_fixed(part, shape):
            yield from _end(part, parts[place + 1 :], shape)


def _end(part: Part, rest: tuple[Part, ...], shape: Shape) -> Iterator[Guard]:
    """Give the guards that end a part of varying length (rules 3 and 4)."""
    held = _bytes_of(part)
    if shape.rising and rest and rest[0].name == "nonce" and held & _DIGITS:
        yield _once(part)
    for place, after in enumerate(rest):
        if _all_fixed(rest[place:], shape) or (after.name == "key" and held <= _BYTES["time"]):
            return
        if _is_fixed(after, shape) or (after.name == "nonce" and shape.rising):
            if after.name == "literal" and (after.text[0] not in held or (part.name == "text" and not part.forms)):
                yield from () if after.text[0] not in held else (_lacks(after.text),)
                return
            held |= _bytes_of(after)
            continue
        if _first_of(after) & held:
            guard = _guard(part, rest[: place + 1], shape)
            if guard is None or (guard is TYPED and not _ends_typed(part, rest[place + 1 :], shape)):
                raise ConfigError(
                    f"bytes could shift between {{{part.name}}} and {{{after.name}}}: put something between them that "
                    "the first cannot hold, such as a newline"
                )
            yield guard
            if guard is TYPED:
                return
        if after.name in _NEVER_EMPTY:
            return
        held |= _bytes_of(after)


def _guard(part: Part, to: tuple[Part, ...], shape: Shape) -> Guard | None:
    """Return the guard that separates a part from the last of those that follow it, if one is known."""
    pair = part.name, to[-1].name
    if pair[0] == "content_type" or (pair[1] == "content_type" and pair[0] in _IN_TARGET):
        decoded = "decoded" in part.forms or "decoded" in to[-1].forms
        return None if decoded or pair[1] in ("authority", "field") else TYPED
    if pair[1] == "body" and shape.body in _OPENINGS and pair[0] not in ("body", "form", "text", "flat"):
        # a form has no such first byte: a time stands before it, and the query has its question mark
        timed = to[-2:-1] == (Part("time"),) and "time" in shape.fixed and pair[0] in ("target", "path", "?query")
        return _OPENINGS[shape.body] if shape.body == "json" or timed else None
    if (pair[0] in ("width", "time") or (pair[0] == "nonce" and shape.rising)) and pair[1] in _PARAMETERS:
        return LETTER
    return {("query", "form"): EITHER, ("path", "query"): LITERAL}.get(pair)


def _ends_typed(part: Part, rest: Iterable[Part], shape: Shape) -> bool:
    """Tell whether a part has its end where the content type is empty too: then there is no body, and all is fixed."""
    return part.name == "content_type" or _all_fixed((after for after in rest if after.name != "body"), shape)


def _lacks(literal: bytes) -> Guard:
    """Return the guard of parameters that a literal follows, after which the next part begins."""
    text = literal.decode()
    return Guard("lacks", f"parameters do not hold {text}", lambda facts: literal not in (facts.body or facts.query))


def _once(part: Part) -> Guard:
    """Return the guard of what a nonce follows: digits before it make it another reading of nearly the same time."""
    compose = compile_message((part,))
    return Guard(
        "split",
        "digits before the nonce, or fewer of its own, do not read as nearly the same time",
        lambda facts: _splits_once(compose(facts), facts.nonce),
    )


def _splits_once(text: bytes, nonce: bytes) -> bool:
    at = read_clock(nonce)
    if at is None or not _repeats(text[-_MOST:] + nonce, int(nonce[:_FRONT]), len(text[-_MOST:])):
        return True
    before = len(text) - len(text.rstrip(b"0123456789"))
    others = [text[-more:] + nonce for more in range(1, min(before, _MOST) + 1)]
    others += [nonce[less:] for less in range(1, _MOST + 1)]
    return all(abs((read_clock(other) or 0) - at) > _NEARLY for other in others)


def _repeats(text: bytes, front: int, place: int) -> bool:
    """Tell whether a text holds, beside the front of a time at a place, that of one that could be nearly the same."""
    same, apart = b"%d" % front, b"%d" % (front - 1) in text or b"%d" % (front + 1) in text
    return apart or text.find(same) < place or text.find(same, place + 1) >= 0


def _all_fixed(parts: Iterable[Part], shape: Shape) -> bool:
    return all(_is_fixed(part, shape) or (part.name == "nonce" and shape.rising) for part in parts)


def _is_fixed(part: Part, shape: Shape) -> bool:
    return part.name in ("literal", "key", "algorithm") or bool(part.parts) or part.name in shape.fixed


def _bytes_of(part: Part) -> frozenset[int]:
    if part.name in ("literal", "key", "algorithm") or part.parts:
        return frozenset(part.text) if part.name == "literal" else _ANY if part.parts else _TOKEN
    return (_ANY - _CONTROL) if "decoded" in part.forms else _BYTES[part.name]


def _first_of(part: Part) -> frozenset[int]:
    return _FIRST.get(part.name, _bytes_of(part))


def _names_once(parameters: list[bytes]) -> bool:
    if len(parameters) > MOST:
        return False
    names = [parameter.partition(b"=")[0] for parameter in parameters]
    if _PERCENT in (joined := b"".join(names)) or _PLUS in joined:
        names = [query_as(("decoded",), name) for name in names]
    return len(set(names)) == len(names)


def _decodes_plainly(query: bytes) -> bool:
    """Tell whether decoding leaves the structure alone: what is decoded is UTF-8 text that needs no encoding."""
    for piece in query.replace(b"=", b"&").split(b"&"):
        if _PERCENT in piece:
            plain = query_as(("decoded",), piece.replace(b"+", b" "))
            if any(byte in plain for byte in _SHIFTY) or not _is_text(plain):
                return False
    return True


def _is_text(plain: bytes) -> bool:
    try:
        return plain.decode().isprintable()
    except UnicodeDecodeError:
        return False
