"""Explain: holds a client's string-to-sign against the text that the server composes of the same request.

It takes no secret: where the texts part says what is wrong. With the secret, `verify` also says whether the signature
is over our text, over theirs, or over neither. A signature that would be right is never made here, and so never shown.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tradeguard.core.decision import Denial, Refused
from tradeguard.core.drive import drive
from tradeguard.core.frame import check_form, check_frame
from tradeguard.core.policy import Policy
from tradeguard.core.request import Request
from tradeguard.core.secret import Secret
from tradeguard.signing.advice import Place, advise, advise_else
from tradeguard.signing.algorithm import HMACS, signature_sizes
from tradeguard.signing.cure import exchange, tell_cure, write_message
from tradeguard.signing.fields import find_faults
from tradeguard.signing.lines import Line, find_mark, name_part, take_apart
from tradeguard.signing.material import PublicKey
from tradeguard.signing.message import Facts, Part, compile_message, in_one_line
from tradeguard.signing.mistakes import Mistake, find_mistakes
from tradeguard.signing.order import MOST, find_order, tell_unknown
from tradeguard.signing.place import FIELD
from tradeguard.signing.row import Row
from tradeguard.signing.sent import Sent, read_sent
from tradeguard.signing.spelt import (
    guess_secret,
    holds,
    is_broken,
    read_signature,
    tell_neither,
    tell_signature,
)
from tradeguard.signing.verifier import Verifier


class Difference(NamedTuple):
    """The first byte where the texts part: its offset, its line and column (from 1), and both lines there.

    `part` names what is signed there: a part of the row's message, or a parameter. Where a message has no lines, each
    of its parts counts as one.
    """

    offset: int
    line: int
    column: int
    part: str
    ours: bytes
    theirs: bytes


class Explanation(NamedTuple):
    """What the server signs, line by line, and where the client's text leaves that.

    `refusals` are what the server objects to before it looks at any signature, `faults` what is wrong with which field.
    Where a dialect takes several messages, `message` says in its notation which of them this is, the one nearest to the
    client's text, and `readings` are all. `mistakes` are what clients with a known error sign of this request.
    """

    text: bytes
    lines: tuple[tuple[str, bytes], ...]
    difference: Difference | None
    advice: tuple[str, ...]
    refusals: tuple[Denial, ...]
    faults: tuple[str, ...] = ()
    message: str = ""
    readings: tuple[bytes, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


class _Held(NamedTuple):
    """One message against the client's text."""

    row: Row
    message: tuple[Part, ...]
    lines: tuple[Line, ...]
    facts: Facts
    text: bytes
    theirs: bytes


class Verdict(NamedTuple):
    """Whether the request's signature is over our text, and over theirs; and what is wrong with it.

    `legible`: it has the length of a signature, so there was something to verify.
    """

    ours: bool
    theirs: bool
    advice: tuple[str, ...]
    legible: bool = True


def explain(row: Row, request: Request, theirs: bytes, algorithm: str = "") -> Explanation:
    """Compare a client's string-to-sign with ours.

    Args:
        row: the dialect.
        request: as the client sent it, its body at hand.
        theirs: their string-to-sign.
        algorithm: of the key, where neither the text nor the signature tells.
    """
    body = drive(request.body())
    sent = read_sent(row, request, body)
    algorithm = algorithm or _find_algorithm(row, sent, theirs)
    facts = _label(sent, algorithm)
    readings = tuple(compile_message(message)(facts) for message in row.messages)
    chosen = max(range(len(readings)), key=lambda index: (readings[index] == theirs, _common(readings[index], theirs)))
    message = row.messages[chosen]
    held = _Held(row, message, take_apart(message, facts), facts, readings[chosen], theirs)
    mistakes = find_mistakes(row, message, facts)
    difference = _compare(held)
    return Explanation(
        held.text,
        tuple(_name(held.lines, facts)),
        difference,
        tuple(_advise(held, difference, mistakes)) if difference is not None else (),
        tuple(_object(row, request, body)),
        tuple(find_faults(row, sent)),
        _note(row, message),
        readings,
        mistakes,
    )


def verify(row: Row, request: Request, explained: Explanation, theirs: bytes, key: Secret | PublicKey) -> Verdict:
    """Say what the request's signature is over.

    Args:
        row: the dialect.
        request: as the client sent it.
        explained: what `explain` made of it.
        theirs: their string-to-sign.
        key: the HMAC secret as the client holds it, or the public key.
    """
    sent = read_sent(row, request, drive(request.body()))
    algorithm = _algorithm_of(row, key)
    if not sent.signature:
        return Verdict(False, False, ("The request carries no signature.",), legible=False)
    if algorithm not in row.algorithms:
        return Verdict(False, False, (f"{row.name} has no {algorithm}; it has {', '.join(row.algorithms)}.",))
    misspelt = tell_signature(row, sent.signature)
    _, value = read_signature(row, sent.signature)
    if value is None:
        return Verdict(False, False, misspelt, legible=False)
    reading = next((one for one in (explained.text, *explained.readings) if holds(row, key, one, value)), None)
    over_theirs = holds(row, key, theirs, value)
    advice = [*misspelt]
    if over_theirs and reading is None:
        advice.append("The secret is right and signs the client's text: correct the text.")
    elif reading is None:
        advice += (
            _guess(row, key, explained, theirs, value)
            or [*_search(row, key, _label(sent, algorithm), value)]
            or tell_neither(row, key, value)
        )
    elif reading != explained.text:
        other = row.messages[explained.readings.index(reading)]
        advice.append(f"The signature is over another message that {row.name} takes: {_note(row, other)}.")
    return Verdict(reading is not None and not misspelt, over_theirs, tuple(dict.fromkeys(advice)))


def _label(sent: Sent, algorithm: str) -> Facts:
    return sent.facts._replace(algorithm=algorithm.upper().encode())


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


def _find_algorithm(row: Row, sent: Sent, theirs: bytes) -> str:
    """Go by the label in the client's text, else by the length of the signature, else by the row's first."""
    if "algorithm" in row.parts:
        first = theirs.partition(b"\n")[0]
        for algorithm in row.algorithms:
            if algorithm.upper().encode() in first:
                return algorithm
    value = read_signature(row, sent.signature)[1] or b""
    for algorithm in row.algorithms:
        if len(value) in signature_sizes(algorithm):
            return algorithm
    return next(iter(row.algorithms))


def _algorithm_of(row: Row, key: Secret | PublicKey) -> str:
    if not isinstance(key, Secret):
        return key.algorithm
    return next((algorithm for algorithm in row.algorithms if algorithm in HMACS), HMACS[0])


def _name(lines: tuple[Line, ...], facts: Facts) -> Iterator[tuple[str, bytes]]:
    """Give the lines by name; below a hash over several parts, what it is over."""
    for line in lines:
        yield line.name, line.value
        inner = line.part.parts if line.part is not None else ()
        for part in inner if len(inner) > 1 else ():
            yield f"{line.name}: {name_part(part)}", compile_message((part,))(facts)


def _note(row: Row, message: tuple[Part, ...]) -> str:
    return row.message if isinstance(row.message, str) else row.message[row.messages.index(message)]


def _common(ours: bytes, theirs: bytes) -> int:
    """Return how many bytes two texts begin with alike."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(ours), len(theirs)))


def _compare(held: _Held) -> Difference | None:
    ours, theirs, mark = held.text, held.theirs, find_mark(held.message)
    if ours == theirs:
        return None
    offset = _common(ours, theirs)
    index = _locate(held.lines, len(mark), offset, theirs)
    line = held.lines[index]
    if mark:
        end = theirs.find(mark, offset)
        piece = theirs[line.start : end if end >= 0 else len(theirs)]
    else:
        piece = _piece(held.lines[index:], ours, theirs)
    return Difference(offset, index + 1, offset - line.start + 1, line.name, line.value, piece)


def _locate(lines: tuple[Line, ...], gap: int, offset: int, theirs: bytes) -> int:
    """Return which line an offset is in; behind the last byte, that which what follows may belong to."""
    for place, line in enumerate(lines):
        if line.start <= offset < line.start + len(line.value) + gap:
            return place
    filled = [place for place, line in enumerate(lines) if line.value]
    return filled[-1] if filled and theirs[offset : offset + 1] in (b"?", b"/", b"&") else len(lines) - 1


def _piece(lines: tuple[Line, ...], ours: bytes, theirs: bytes) -> bytes:
    """Return what the client has in place of the first of these lines: up to where both texts go on alike."""
    start, rest = lines[0].start, ours[lines[0].start + len(lines[0].value) :]
    if theirs.endswith(rest) and len(theirs) - len(rest) >= start:
        return theirs[start : len(theirs) - len(rest)]
    after = next((line.value for line in lines[1:] if line.value), b"")
    end = theirs.find(after, start) if after else -1
    return theirs[start : end if end >= 0 else len(theirs)]


def _advise(held: _Held, found: Difference, mistakes: Sequence[Mistake]) -> Iterator[str]:
    """Say what fits: rules on the text and on its part, else a mistake that makes just this text, else what is left."""
    ours, theirs, mark = held.text, held.theirs, find_mark(held.message)
    if mark == b"\n":
        yield from _count(ours, theirs)
        yield from _swapped(held.lines, found)
    place = _place(held, found, mark)
    made = next((mistake for mistake in mistakes if mistake.text == theirs), None)
    said = [*advise(ours, theirs, place)]
    said = said or ([made.says] if made is not None else [*_reorder(held)])
    yield from said or advise_else(place)
    yield from tell_cure(held.row, made.changes) if made is not None else ()


def _reorder(held: _Held) -> Iterator[str]:
    """Say which parts in which order make up the client's text."""
    other = find_order(held.message, held.facts, lambda text: text == held.theirs)
    if other is not None:
        yield f"The client's text is {_quote(other)}; {held.row.name} has {_quote(held.message)}."
        yield from _take(held.row, held.message, other, held.facts)


def _place(held: _Held, found: Difference, mark: bytes) -> Place:
    if mark == b"&":
        return Place("parameters", held.text, held.theirs, held.facts.body, _is_formed(held.message))
    part = held.lines[found.line - 1].part
    name = found.part if found.part != "text" else "body" if held.facts.body else "query"
    formed = part is not None and bool(part.forms) and name == "query"
    return Place(name, found.ours, found.theirs.removesuffix(b"\r"), held.facts.body, formed)


def _is_formed(message: tuple[Part, ...]) -> bool:
    return any(part.forms for part in message)


def _count(ours: bytes, theirs: bytes) -> Iterator[str]:
    mine, others = (len(text.removesuffix(b"\n").split(b"\n")) for text in (ours, theirs))
    if mine != others:
        yield f"There are {mine} lines, and the client has {others}; what is empty is a line too."


def _swapped(lines: tuple[Line, ...], found: Difference) -> Iterator[str]:
    values = [line.value for line in lines]
    if found.theirs != found.ours and found.theirs and found.theirs in values[found.line :]:
        there = values.index(found.theirs, found.line)
        yield f"This belongs into line {there + 1} ({lines[there].name}): lines are missing before it, or swapped."


def _guess(row: Row, key: Secret | PublicKey, explained: Explanation, theirs: bytes, value: bytes) -> list[str]:
    """Say what else the signature is over, or how the client may have read its secret; nothing where nothing fits."""
    made = next((mistake for mistake in explained.mistakes if holds(row, key, mistake.text, value)), None)
    if made is not None:
        return [
            f"The secret is right, and the signed text has this mistake: {made.says}",
            *tell_cure(row, made.changes),
        ]
    return [*guess_secret(row, key, (*explained.readings, theirs), value)]


def _search(row: Row, key: Secret | PublicKey, facts: Facts, value: bytes) -> Iterator[str]:
    """Say which parts in which order the signature is over; for secrets alone, whose MACs cost little."""
    if not isinstance(key, Secret) or is_broken(row, key):
        return
    for message in row.messages:
        other = find_order(message, facts, lambda text: holds(row, key, text, value), MOST // len(row.messages))
        if other is not None:
            yield f"The secret is right, and the client signs {_quote(other)}; {row.name} has {_quote(message)}."
            yield from _take(row, message, other, facts)
            return


def _take(row: Row, message: tuple[Part, ...], other: tuple[Part, ...], facts: Facts) -> Iterator[str]:
    unknown = tell_unknown(other, facts)
    yield from (unknown,) if unknown else ()
    yield from tell_cure(row, exchange(row, message, other))


def _quote(message: tuple[Part, ...]) -> str:
    return in_one_line(write_message(message))
