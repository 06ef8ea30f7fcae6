"""Guards: rules on what is accepted, beyond what the frame asks, that keep the parts of a signed text apart.

`tradeguard.signing.shift` says which of them a row needs.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from tradeguard.signing.message import FORM, Facts, Part, compile_message, query_as
from tradeguard.signing.place import MOST
from tradeguard.signing.plain import is_plain
from tradeguard.signing.stamp import read_clock

_MOST: Final = 9  # digits by which clocks differ, from seconds to nanoseconds
_FRONT: Final = 6  # digits that times 10,000 s apart share, or that differ by one
_NEARLY: Final = 600_000_000_000  # ns; more than the window of any row whose nonce rises
_PAIR: Final = re.compile(rb"[^{\[<&=\s][^&=\s]*=")
_ESCAPED_BRACKET: Final = re.compile(rb"%(?:5[Bb]|7[Bb])")
_NAMED: Final = re.compile(rb"[A-Za-z0-9_.-]+=")
_NAMED_FORM: Final = re.compile(rb"[A-Za-z_]+[0-9]{0,8}=")  # no time has so few digits
_DIGIT_OR_ESCAPE: Final = frozenset({*(b"%d" % digit for digit in range(10)), b".", b"%"})
_NONE_OR_BRACKET: Final = frozenset({b"", b"{", b"["})
_BRACKET_OR_ESCAPE: Final = frozenset({b"{", b"[", b"%"})
_CURLY, _SQUARE, _QUESTION, _EQUALS, _PERCENT, _PLUS = (
    b"{[?=%+"  # as numbers, which `in` finds ten times faster than bytes
)
_METHODS: Final = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")  # none ends in another
_METHOD_AND_DIGIT: Final = re.compile(b"(?:%b)[0-9]" % b"|".join(_METHODS))
_SHIFTY: Final = b"&=#+"  # what must not come out of a percent-encoding


@dataclass(frozen=True, slots=True)
class Guard:
    """A rule on what is accepted, beyond what the frame asks: `holds` tells whether a request keeps it.

    `literal` tells whether it must stand at a path that the operations map has letter by letter.
    """

    name: str
    text: str
    holds: Callable[[Facts], bool]
    literal: Callable[[Facts], bool] | None = None


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
    lambda facts: _QUESTION in facts.target,
)
NAMED: Final = Guard(
    "named",
    "a body is a form that begins with a name and =, beside no query, and its path is one that the operations map has "
    "letter by letter; no path holds =",
    lambda facts: (
        _EQUALS not in facts.target.partition(b"?")[0]
        and (not facts.body or (_QUESTION not in facts.target and _NAMED.match(facts.body) is not None))
    ),
    lambda facts: bool(facts.body),
)
METHOD: Final = Guard(
    "method",
    "the method is a usual one, and the target holds none of these before a digit",
    lambda facts: facts.method in _METHODS and _METHOD_AND_DIGIT.search(facts.target) is None,
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
BODIES: Final[Mapping[str, Guard]] = {
    "json": Guard("json", "a body begins with { or [", lambda facts: facts.body[:1] in _NONE_OR_BRACKET),
    "form": Guard(
        "form", "a body begins with a name and =", lambda facts: not facts.body or _PAIR.match(facts.body) is not None
    ),
    "both": Guard(
        "both",
        "a body begins with { or [, or with a name and =",
        lambda facts: facts.body[:1] in _NONE_OR_BRACKET or _PAIR.match(facts.body) is not None,
    ),
    "none": NO_BODY,
}
"""What a row says that a body is, by that word."""
SAY_BODIES: Final = (OPENING, EITHER_OPENING, NAMED, JSON_OR_QUERY)
"""Guards that say what a body is, beside something else."""


@cache
def lacks(parts: tuple[Part, ...], literal: bytes) -> Guard:
    """Return the guard of parameters that a literal follows: it is found where they end, and nowhere before."""
    compose = compile_message(parts)
    return Guard(
        "lacks",
        f"parameters do not hold {literal.decode()}",
        lambda facts: ((text := compose(facts)) + literal).find(literal) == len(text),
    )


@cache
def once(parts: tuple[Part, ...]) -> Guard:
    """Return the guard of what a nonce follows: digits before it make it another reading of nearly the same time."""
    compose = compile_message(parts)
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
