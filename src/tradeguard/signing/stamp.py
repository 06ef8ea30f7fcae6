"""Stamps: the time of a message as text, in the unit that a dialect has. One text for one time, or refused."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

Unit = Literal["s", "s.", "ms", "us", "ns", "iso-ms", "iso-s"]
_COLON, _POINT, _ZULU = b":.Z"  # as numbers, which `in` finds ten times faster than bytes
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FRACTION: Final = re.compile(rb"([1-9][0-9]{9})(?:\.([0-9]{1,9}))?")
_SECOND: Final = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_ISO_MS: Final = 24  # bytes of `2026-11-22T17:21:37.123Z`
_LONGEST: Final = 19  # digits
_CLOCK: Final = {digits: 10 ** (19 - digits) for digits in range(10, 20)}  # digits -> ns of the last one, until 2286


@dataclass(frozen=True, slots=True)
class Stamp:
    """One unit: `read` gives ns UTC or None, `write` the text of a time, `grain` its last digit in ns.

    `size` is the length of every text of these years, 0 where it varies. A number of another length is read all the
    same, so that who has the wrong unit is told by how much.
    """

    read: Callable[[bytes], int | None]
    write: Callable[[int], bytes]
    grain: int
    size: int


def read_clock(text: bytes) -> int | None:
    """Read a nonce that is the reading of a clock: seconds or any decimal part of them, by the number of its digits."""
    unit = _CLOCK.get(len(text))
    return int(text) * unit if unit is not None and text.isdigit() and text[:1] != b"0" else None


def _whole(digits: int) -> Stamp:
    unit = _CLOCK[digits]

    def read(text: bytes) -> int | None:
        plain = text.isdigit() and len(text) <= _LONGEST and (text[:1] != b"0" or len(text) == 1)
        return int(text) * unit if plain else None

    return Stamp(read, lambda at: b"%d" % (at // unit), unit, digits)


def _read_fraction(text: bytes) -> int | None:
    if len(text) == 10 and text.isdigit() and text[:1] != b"0":
        return int(text) * 1_000_000_000
    match = _FRACTION.fullmatch(text)
    return int(match[1]) * 1_000_000_000 + int((match[2] or b"").ljust(9, b"0")) if match is not None else None


def _read_iso_ms(text: bytes) -> int | None:
    if len(text) != _ISO_MS:
        text = text.replace(b"%3A", b":") if _COLON not in text else b""
    if len(text) != _ISO_MS or text[19] != _POINT or text[23] != _ZULU:
        return None
    second, milli = _read_second(text[:19]), text[20:23]
    return second + int(milli) * 1_000_000 if second is not None and milli.isdigit() else None


def _read_iso_s(text: bytes) -> int | None:
    return _read_second(text.replace(b"%3A", b":")) if text.count(b":") in (0, 2) else None


@lru_cache(64)
def _read_second(text: bytes) -> int | None:
    """Read `2026-11-22T17:21:37`; many are sent within one second."""
    if not _SECOND.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.decode()).replace(tzinfo=UTC)
    except ValueError:
        return None
    return (moment - _EPOCH) // _MICROSECOND * 1_000


def _iso(at: int, timespec: str) -> bytes:
    moment = _EPOCH + timedelta(microseconds=at // 1_000)
    return moment.replace(tzinfo=None).isoformat(timespec=timespec).encode()


STAMPS: Final[dict[str, Stamp]] = {
    "s": _whole(10),
    "s.": Stamp(_read_fraction, lambda at: b"%d" % (at // 1_000_000_000), 1_000_000_000, 0),
    "ms": _whole(13),
    "us": _whole(16),
    "ns": _whole(19),
    "iso-ms": Stamp(_read_iso_ms, lambda at: _iso(at, "milliseconds") + b"Z", 1_000_000, 24),
    "iso-s": Stamp(_read_iso_s, lambda at: _iso(at, "seconds"), 1_000_000_000, 19),
}
"""Every unit by name. "s." is seconds with or without a fraction."""
