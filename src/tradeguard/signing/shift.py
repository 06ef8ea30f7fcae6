"""Shift: what keeps a byte of one signed part from passing for a byte of the next.

Where two parts of varying length stand side by side with nothing between them, one signed text has several readings:
`/orders/12` + `34` is `/orders/1234`, with the same MAC. A part has one end if what follows it cannot be part of it.
So for each part of a message:

1.  the key and the algorithm are fixed: another key has another secret; a key ends what stands before it if that is
    digits, for anything else could hold the key's text; where any number of digits makes a time, it ends nothing, for
    a key can be digits too;
2.  times of one length and hashes are fixed by their length; a nonce that is a clock's reading by its first digits, for
    any other split of the digits gives another time, and where it gives nearly the same (once in 10^7) a guard refuses;
3.  a part has an end where the next literal, or the next part that is never empty, begins with a byte that neither it
    holds nor what is between; a time begins with a digit, and a part with a mark, such as {?query}, with the mark; or
    where all that follows it is of fixed length;
4.  everything else takes a guard, a rule on what is accepted, that makes 3 true; or the row is refused.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from tradeguard.core.errors import ConfigError
from tradeguard.signing.guards import (
    DECODED,
    DECODED_OPENING,
    EITHER,
    EITHER_OPENING,
    FLAT,
    JSON_OR_QUERY,
    LETTER,
    LITERAL,
    METHOD,
    NAMED,
    OPENING,
    QUERY_NOT_JSON,
    SORTED,
    TWICE_DECODED,
    TYPED,
    Guard,
    lacks,
    once,
)
from tradeguard.signing.message import Part, bare, flatten, write_part

_DIGITS: Final = frozenset(b"0123456789")
_UPPER: Final = frozenset(range(65, 91))
_LOWER: Final = frozenset(range(97, 123))
_LETTERS: Final = _UPPER | _LOWER
_TOKEN: Final = _LETTERS | _DIGITS | frozenset(b"_-")
_PRINTABLE: Final = frozenset(range(33, 127))
_ANY: Final = frozenset(range(256))
_PATH: Final = _PRINTABLE - frozenset(b'?#"<>\\^`{|}[]')
_CONTROL: Final = frozenset({*range(32), 127})
_NAME: Final = re.compile("[A-Za-z0-9_.-]+")
_BYTES: Final = {
    "time": _DIGITS | frozenset(b"."), "nonce": _TOKEN, "width": _DIGITS, "method": _UPPER,
    "content_type": _ANY - frozenset(b"\r\n\0"),
    "authority": _LOWER | _DIGITS | frozenset(b"[]:.-_"), "path": _PATH, "target": _PRINTABLE, "query": _PRINTABLE,
    "text": _ANY, "form": _ANY, "body": _ANY, "payload": _PRINTABLE, "flat": _ANY,
    "field": _LETTERS | frozenset(b"/-_"), "number": _DIGITS,
}  # fmt: skip
_FIRST: Final = {"target": frozenset(b"/"), "path": frozenset(b"/"), "time": _DIGITS, "flat": _LETTERS}
_NEVER_EMPTY: Final = frozenset({"target", "path", "time", "nonce", "method", "authority", "field", "number"})


_BODIES: Final = ("json", "form", "both")
_OPENINGS: Final = {"json": OPENING, "form": EITHER_OPENING, "both": EITHER_OPENING}
_PARAMETERS: Final = ("text", "query", "body", "form")


class Shape(NamedTuple):
    """What of a row decides how its parts can shift.

    `body` is what bodies it has; `fixed` names its parts of one length; `rising` says that its nonce is a clock's
    reading, `fractions` that its times may have some, `rootless` that its paths are signed without their first slash.
    """

    body: str
    fixed: frozenset[str]
    rising: bool
    fractions: bool = False
    rootless: bool = False


class _Shift(ConfigError):
    """Two parts shift into each other, and no guard is known for them."""

    def __init__(self, first: Part, second: Part) -> None:
        super().__init__(f"bytes could shift between {write_part(first)} and {write_part(second)}")


def find_guards(messages: Iterable[tuple[Part, ...]], shape: Shape) -> tuple[Guard, ...]:
    """Return the guards that give each part of the messages one end.

    Raises:
        ConfigError: two parts shift into each other and no guard is known for them, naming them and the cure.
    """
    texts = tuple(messages)
    try:
        return _find(texts, shape)
    except _Shift as shift:
        held = [f'"{body}"' for body in _BODIES if body != shape.body and _holds(texts, shape._replace(body=body))]
        body = f"nobody can change what clients sign, so say what a body is: body = {' or '.join(held)}"
        between = "no row can express it, unless the venue has something between them that the first cannot hold"
        raise ConfigError(f"{shift}: {body if held else between}") from None


def leans_on_time(message: tuple[Part, ...], shape: Shape) -> bool:
    """Tell whether only the length of the time says where it, or what stands before it, ends."""
    for place, part in enumerate(message):
        if part.name == "time":
            before, after = message[:place][::-1], message[place + 1 :]
            if len(before) > 1 and before[0].name == "literal" and before[0].text[0] in _bytes_of(before[1], shape):
                before = before[1:]
            if any(other.name not in ("literal", "key", "algorithm") for other in before[:1]):
                return True
            if any(other.name not in ("literal", "key", "method") for other in after[:1]):
                return True
    return False


def _find(texts: tuple[tuple[Part, ...], ...], shape: Shape) -> tuple[Guard, ...]:
    if len({tuple(_formless(message)) for message in texts}) > 1:
        raise ConfigError(
            "the texts of its message differ in more than the form of the query: one can pass for another"
        )
    found: list[Guard] = []
    for message in texts:
        found += [*_between(message, shape), *_inside(message, len(texts) > 1, shape.body)]
        for part in flatten(message):
            found += _between(part.parts, shape)
    if OPENING in found or EITHER_OPENING in found:
        found = [DECODED_OPENING if guard is DECODED else guard for guard in found]
    return tuple(dict.fromkeys(found))


def _holds(texts: tuple[tuple[Part, ...], ...], shape: Shape) -> bool:
    try:
        _find(texts, shape)
    except ConfigError:
        return False
    return True


def _formless(parts: Iterable[Part]) -> Iterator[Part]:
    """Give parts as they would be if no query had another form; a target is a path and a query."""
    for part in parts:
        if part.name == "target":
            yield from (Part("path"), Part("?query"))
        else:
            yield part._replace(forms=(), parts=tuple(_formless(part.parts)))


def find_run(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return two paths of which one goes on as a parameter's name could, /order and /orders: LITERAL and NAMED fail so.

    Args:
        paths: of the operations map; those with parameters count for nothing: no query and no form stands beside them.
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
    if any(bare(part.name) == "text" for part in parts):
        if body == "any":
            raise ConfigError(
                '{text} is a body or a query, and nothing tells which: say body = "json", "form" or "both"'
            )
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
    held = _bytes_of(part, shape)
    if shape.rising and held & _DIGITS:
        yield from _once(part, rest)
    for place, after in enumerate(rest):
        if _all_fixed(rest[place:], shape) or _begins_apart(after, part, held, shape):
            return
        if _all_fixed((after,), shape):
            if after.name == "literal" and _is_text(part, rest[:place]):
                yield lacks((part, *rest[:place]), after.text)
                return
        elif _first_of(after, shape) & held:
            guard = _guard_of(part, rest, place, shape)
            yield guard
            if guard is TYPED or _is_never_empty(after, shape):
                return
        if not (after.name == "key" and held <= _BYTES["time"]):
            held |= _bytes_of(after, shape)


def _begins_apart(after: Part, part: Part, held: frozenset[int], shape: Shape) -> bool:
    """Tell whether what follows a part ends it: by a first byte that stands in nothing before it, or as a key."""
    loose = (part.name == "nonce" and shape.rising) or (part.name == "time" and shape.fractions)
    if after.name == "key" and held <= _BYTES["time"]:
        return not loose  # where it is digits, the key may be the end of the part and then the key once more
    return _is_never_empty(after, shape) and not _first_of(after, shape) & held


def _is_text(part: Part, between: tuple[Part, ...]) -> bool:
    return part.name == "text" and not part.forms and all(one.name == "nonce" for one in between)


def _guard_of(part: Part, rest: tuple[Part, ...], place: int, shape: Shape) -> Guard:
    """Return the guard that separates a part from the one at a place behind it.

    Raises:
        _Shift: none is known.
    """
    guard = _guard(part, rest[: place + 1], rest[place + 1 :], shape)
    if guard is None or (guard is TYPED and not _ends_typed(part, rest[place + 1 :], shape)):
        nearest = part if not place or _is_fixed(rest[place - 1], shape) else rest[place - 1]
        raise _Shift(nearest, rest[place])
    return guard


def _once(part: Part, rest: tuple[Part, ...]) -> Iterator[Guard]:
    """Give the guard of a part that a rising nonce follows, with nothing between them but what may be digits."""
    for place, after in enumerate(rest):
        if after.name == "nonce":
            yield once((part, *rest[:place]))
        if after.name != "key" and not (after.name == "literal" and after.text.isdigit()):
            return


def _guard(part: Part, to: tuple[Part, ...], rest: tuple[Part, ...], shape: Shape) -> Guard | None:
    """Return the guard that separates a part from the last of those that follow it, if one is known."""
    pair = part.name, to[-1].name
    decoded = any("decoded" in one.forms for one in (part, *to))
    if pair[0] == "content_type" or (pair[1] == "content_type" and _in_target(part)):
        return None if decoded or pair[1] in ("authority", "field") else TYPED
    if pair[1] == "body" and shape.body in _OPENINGS and bare(pair[0]) not in ("body", "form", "text", "flat"):
        # a form has no such first byte: a time stands before it, and the query has its question mark
        if shape.body == "form" and all(_in_target(one) for one in (part, *to[:-1])):
            return NAMED
        timed = to[-2:-1] == (Part("time"),) and "time" in shape.fixed and pair[0] in ("target", "path", "?query")
        return _OPENINGS[shape.body] if shape.body == "json" or timed else None
    if pair[1] == "method" and all(_in_target(one) for one in (part, *to[:-1])) and not decoded:
        dated = rest[:1] and (rest[0].name == "time" or (rest[0].name == "nonce" and shape.rising))
        return METHOD if dated else None
    if (pair[0] in ("width", "time") or (pair[0] == "nonce" and shape.rising)) and pair[1] in _PARAMETERS:
        return LETTER
    return {("query", "form"): EITHER, ("path", "query"): LITERAL}.get(pair)


def _in_target(part: Part) -> bool:
    return bare(part.name) in ("path", "query", "target")


def _ends_typed(part: Part, rest: Iterable[Part], shape: Shape) -> bool:
    """Tell whether a part has its end where the content type is empty too: then there is no body, and all is fixed."""
    return part.name == "content_type" or _all_fixed((after for after in rest if after.name != "body"), shape)


def _all_fixed(parts: Iterable[Part], shape: Shape) -> bool:
    return all(_is_fixed(part, shape) or (part.name == "nonce" and shape.rising) for part in parts)


def _is_fixed(part: Part, shape: Shape) -> bool:
    return part.name in ("literal", "key", "algorithm") or bool(part.parts) or part.name in shape.fixed


def _is_never_empty(part: Part, shape: Shape) -> bool:
    if part.name == "path":
        return not shape.rootless
    return part.name in _NEVER_EMPTY or _is_fixed(part, shape)


def _bytes_of(part: Part, shape: Shape) -> frozenset[int]:
    if part.name in ("literal", "key", "algorithm") or part.parts:
        return frozenset(part.text) if part.name == "literal" else _ANY if part.parts else _TOKEN
    if part.name == "nonce" and shape.rising:
        return _DIGITS
    name = bare(part.name)
    mark = frozenset(part.name[: len(part.name) - len(name)].encode())
    return mark | ((_ANY - _CONTROL) if "decoded" in part.forms else _BYTES[name])


def _first_of(part: Part, shape: Shape) -> frozenset[int]:
    """Return the bytes that a part can begin with, where it is not empty."""
    if part.name == "literal":
        return frozenset(part.text[:1])
    if bare(part.name) != part.name:
        return frozenset(part.name[:1].encode())
    if part.name == "path" and shape.rootless:
        return _PATH
    return _FIRST.get(part.name, _bytes_of(part, shape))
