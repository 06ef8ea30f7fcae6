"""Fields: which field of a request is missing, stands twice or is malformed: what was found, and what the row takes.

For the operator's tools only: it says of all fields at once what the verifier refuses for the first of them.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from tradeguard.core.key import is_key_id
from tradeguard.signing.cure import tell_cure
from tradeguard.signing.encoding import decode_number
from tradeguard.signing.mistakes import UNITS
from tradeguard.signing.place import AuthParam, Field, Header, Parameter, Payload, Place
from tradeguard.signing.row import Row
from tradeguard.signing.sent import Sent
from tradeguard.signing.spelt import tell_signature
from tradeguard.signing.stamp import STAMPS, read_clock
from tradeguard.signing.verifier import NONCES

_TOKEN: Final = "of A-Za-z0-9_-"  # noqa: S105 - how it is spelt
_NONCES: Final[Mapping[str, str]] = {
    "token": f"a token has 16 to 64 {_TOKEN}",
    "uuid": "a UUID has 36, in lower case",
    "free": f"the row takes 1 to 64 {_TOKEN}",
    "clock": "the reading of a clock has 10 to 19 digits",
}
_WHERE: Final[Mapping[type[Place], str]] = {
    Header: "header {}", Parameter: "parameter {}", Field: "member {} of the body",
    AuthParam: "parameter {} of Authorization", Payload: "member {} of the payload",
}  # fmt: skip


def find_faults(row: Row, sent: Sent) -> Iterator[str]:
    """Say what is wrong with each field of a request, and how a row of one's own takes it.

    Args:
        row: the dialect.
        sent: what the request carries.
    """
    yield from _find_key(row, sent)
    if row.time is not None:
        yield from _find_time(row, row.time, sent)
    if row.nonce is not None:
        yield from _find_nonce(row, row.nonce, sent)
    if row.width is not None and sent.fields[row.width]:
        yield from _find_width(row, row.width, sent)
    if row.passphrase is not None:
        yield from _count(row.passphrase.place, sent, "the passphrase")
    for place, what in row.binds:
        yield from _find_bound(place, what, sent)
    yield from _count(row.signature, sent, "the signature")
    if len(sent.fields[row.signature]) == 1:
        yield from tell_signature(row, sent.signature)


def _count(place: Place, sent: Sent, what: str) -> Iterator[str]:
    """Say where a field does not stand once; only then."""
    found = sent.fields[place]
    if not found or found == (b"",):
        yield f"{_say(place)} is {'empty' if found else 'missing'}; {what} stands there."
    elif len(found) > 1:
        yield f"{_say(place)} stands {len(found)} times; {what} stands there once."


def _find_key(row: Row, sent: Sent) -> Iterator[str]:
    faults = [*_count(row.key, sent, f"{row.prefix!r} and the key id" if row.prefix else "the key id")]
    yield from faults
    value = sent.fields[row.key][0] if not faults else b""
    prefix = row.prefix.encode()
    if value and not (value.startswith(prefix) and is_key_id(value.removeprefix(prefix))):
        front = f"{row.prefix!r} and behind it a key id," if row.prefix else "a key id,"
        yield f"{_say(row.key)} has {_measure(value)}; it is {front} 1 to 128 {_TOKEN}."


def _find_time(row: Row, place: Place, sent: Sent) -> Iterator[str]:
    faults = [*_count(place, sent, f"the time in {UNITS[row.unit]}")]
    yield from faults
    text, size = sent.facts.time, row.stamp.size
    if faults or _is_time(text, row.unit):
        return
    other = next((unit for unit in STAMPS if _is_time(text, unit)), "")
    looks = f", which is a time in {UNITS[other]}" if other else ""
    usual = f" ({size} {'digits' if not row.unit.startswith('iso') else 'characters'})" if size else ""
    yield f"{_say(place)} has {_measure(text)}{looks}; {row.name} has it in {UNITS[row.unit]}{usual}."
    yield from tell_cure(row, {"unit": other} if other else {})


def _is_time(text: bytes, unit: str) -> bool:
    """Tell whether a text is a time of our days in a unit."""
    stamp = STAMPS[unit]
    return stamp.read(text) is not None and not (text.isdigit() and stamp.size and len(text) != stamp.size)


def _find_nonce(row: Row, place: Place, sent: Sent) -> Iterator[str]:
    faults = [*_count(place, sent, "the nonce")]
    yield from faults
    text = sent.facts.nonce
    if faults or _is_nonce(row.form, text):
        return
    others = () if row.form == "clock" else ("token", "free")
    other = next((form for form in others if form != row.form and _is_nonce(form, text)), "")
    yield f"{_say(place)} has {_measure(text)}; {_NONCES[row.form]}."
    yield from tell_cure(row, {"form": other} if other else {})


def _is_nonce(form: str, text: bytes) -> bool:
    return read_clock(text) is not None if form == "clock" else bool(NONCES[form](text))


def _find_width(row: Row, place: Place, sent: Sent) -> Iterator[str]:
    yield from _count(place, sent, "the window")
    most = row.widest // row.stamp.grain
    if not 0 < (decode_number(sent.facts.width) or 0) <= most:
        yield f"{_say(place)} is a window of 1 to {most}, in digits alone; it has {_measure(sent.facts.width)}."


def _find_bound(place: Place, what: str, sent: Sent) -> Iterator[str]:
    says = {"path": "the path of the request", "tail": "the path without its first /", "nonce": "the nonce once more"}
    faults = [*_count(place, sent, says[what])]
    yield from faults
    facts = sent.facts
    asked = {"path": facts.path, "tail": facts.path[1:], "nonce": facts.nonce}[what]
    if not faults and sent.fields[place] != (asked,):
        yield f"{_say(place)} has another text than it must: it says {says[what]}."


def _measure(text: bytes) -> str:
    return f"{len(text)} {'digits' if text.isdigit() else 'characters'}"


def _say(place: Place) -> str:
    return _WHERE[type(place)].format(place.name.decode())
