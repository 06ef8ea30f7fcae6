"""Order: the parts of a row in every order, held against a signature or a text. It is the last thing that is tried.

A row's author who knows what is signed, and not in which order or joined by what, has the notation from one request.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, permutations
from typing import Final, NamedTuple

from tradeguard.signing.lines import find_mark, group_parts
from tradeguard.signing.message import Facts, Part, bare, compile_message

Message = tuple[Part, ...]
MOST: Final = 5_040
"""How many texts are tried: all orders of seven parts."""
_BYTES: Final = 1 << 27  # of all these texts together, so that a long body is not signed 5,040 times
_AGAIN: Final = 20  # orders that are looked at for each text that is tried: what is empty makes many of them one text
_NEWLINE: Final = Part("literal", b"\n")
_PATH, _QUERY, _MARKED = Part("path"), Part("query"), Part("?query")
_REWRITTEN: Final = {"target": ((_PATH, _MARKED), (_PATH, _QUERY)), "?query": ((_QUERY,),), "query": ((_MARKED,),)}
_ADDED: Final = (Part("key"), Part("body"), _MARKED)
_HOLDING: Final = {"body": {"body", "text"}, "?query": {"target", "query", "text"}}


_VARYING: Final = {
    "query": "a query", "body": "a body", "text": "a body or a query", "width": "a window",
    "content_type": "a Content-Type",
}  # fmt: skip


class _Unit(NamedTuple):
    """What keeps together: a part, or a line of them; and its text in this request."""

    parts: Message
    text: bytes


class _Order(NamedTuple):
    """Units one behind the other, with a newline between them or with nothing."""

    units: Sequence[_Unit]
    newlines: bool

    def text(self) -> bytes:
        """Return the text of all."""
        return (b"\n" if self.newlines else b"").join([unit.text for unit in self.units])

    def message(self) -> Message:
        """Return the parts of all."""
        first, *others = [unit.parts for unit in self.units]
        between = (_NEWLINE,) if self.newlines else ()
        return (*first, *(part for parts in others for part in (*between, *parts)))


def find_order(message: Message, facts: Facts, fits: Callable[[bytes], bool], most: int = MOST) -> Message | None:
    """Return the parts in the order in which they make up a text, or None; perhaps fewer, or one more.

    Args:
        message: of the row.
        facts: of the request.
        fits: tells whether a text is the one.
        most: how often that is asked; less often for long texts.
    """
    if find_mark(message) == b"&":
        return None  # one part alone
    seen = {hash(b"")}
    most = min(most, _BYTES // (len(compile_message(message)(facts)) + 1))
    for order in islice(_arrange(message, facts), _AGAIN * most):
        text = order.text()
        if hash(text) in seen:
            continue
        if len(seen) > most:
            return None
        seen.add(hash(text))
        if fits(text):
            return order.message()
    return None


def tell_unknown(message: Message, facts: Facts) -> str:
    """Say which parts are empty in this request, so that nothing tells where they stand; empty where none is."""
    names = [name for name, text in _name_varying(message, facts) if not text]
    return f"Where {' and '.join(names)} would stand, this request does not tell: it has none." if names else ""


def _name_varying(message: Message, facts: Facts) -> Iterator[tuple[str, bytes]]:
    for part in message:
        if part.name == "target":
            yield "a query", facts.target.partition(b"?")[2]
        elif bare(part.name) in _VARYING:
            yield _VARYING[bare(part.name)], compile_message((part,))(facts)


def _arrange(message: Message, facts: Facts) -> Iterator[_Order]:
    """Give the parts otherwise, the likelier first: rewritten, in every order, fewer, more, joined otherwise."""
    marked = find_mark(message) == b"\n"
    written = [_measure(pool, facts) for pool in _rewrite(message)]
    more = [_measure((*pool, *added), facts) for pool in _rewrite(message) for added in _add(message)]
    for newlines in (marked, not marked):
        yield from (_Order(pool, newlines) for pool in (*written, *more))
    yield from _permute(written, marked)
    yield from _choose(written, marked)
    yield from _permute(more, marked)
    yield from _permute([*written, *more], not marked)
    yield from _choose(more, marked)


def _permute(pools: Iterable[Sequence[_Unit]], newlines: bool) -> Iterator[_Order]:
    return (_Order(units, newlines) for pool in pools for units in permutations(pool))


def _choose(pools: Iterable[Sequence[_Unit]], newlines: bool) -> Iterator[_Order]:
    """Give fewer parts of each pool, in every order."""
    for pool in pools:
        for size in range(len(pool) - 1, 0, -1):
            yield from (_Order(units, newlines) for units in permutations(pool, size))


def _measure(message: Iterable[Part], facts: Facts) -> list[_Unit]:
    return [_Unit(parts, compile_message(parts)(facts)) for parts in group_parts((*message,))]


def _rewrite(message: Message) -> Iterator[Message]:
    """Give the parts as they are, and with the query written otherwise."""
    yield message
    for at, part in enumerate(message):
        for others in () if part.forms else _REWRITTEN.get(part.name, ()):
            yield (*message[:at], *others, *message[at + 1 :])


def _add(message: Message) -> Iterator[Message]:
    """Give what clients often sign besides."""
    names = {bare(part.name) for part in message}
    mark = (_NEWLINE,) if find_mark(message) else ()
    for part in _ADDED:
        if not names & _HOLDING.get(part.name, {part.name}):
            yield (*mark, part)
