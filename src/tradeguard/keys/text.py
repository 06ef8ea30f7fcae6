"""Text: times, durations and base64 as operators write and read them."""

import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Final

from tradeguard.core.errors import ConfigError

_SECOND: Final = 1_000_000_000
_UNITS: Final = {"s": _SECOND, "m": 60 * _SECOND, "h": 3_600 * _SECOND, "d": 86_400 * _SECOND, "w": 604_800 * _SECOND}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?", re.ASCII
)
_URL_SAFE: Final = str.maketrans("-_", "+/", "=")
LATEST: Final = 253_402_300_799 * _SECOND
"""The last second of the year 9999, ns UTC: no time lies behind it."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> int:
    """Return ns of a duration such as 90d, 24h, 30m or 45s.

    Raises:
        ConfigError: it is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no duration; write 45s, 30m, 24h, 90d or 2w")
    return int(found[1]) * _UNITS[found[2]]


def parse_time(text: str, at: int) -> int:
    """Return ns UTC of a time: 2027-01-31, 2027-01-31T12:00:00Z, or a duration from `at` (ns UTC) on.

    Raises:
        ConfigError: it is none, or has no time zone.
    """
    text = text.strip()
    if _DURATION.fullmatch(text):
        return check_time(at + parse_duration(text))
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no time; write 2027-01-31, 2027-01-31T12:00:00Z or 90d") from None
    time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return check_time((time - _EPOCH) // timedelta(microseconds=1) * 1_000)


def check_time(at: int) -> int:
    """Return a time (ns UTC).

    Raises:
        ConfigError: it lies before 1970 or behind the year 9999.
    """
    if not 0 <= at <= LATEST:
        raise ConfigError("a time lies between 1970 and 9999")
    return at


def show_time(at: int | None) -> str:
    """Return a time (ns UTC) to the second, or - for none."""
    if at is None:
        return "-"
    if not 0 <= at <= LATEST:
        return str(at)
    return (_EPOCH + timedelta(seconds=at // _SECOND)).strftime("%Y-%m-%dT%H:%M:%SZ")


def decode_base64(text: str) -> bytes:
    """Read base64 of either alphabet (RFC 4648, 4 and 5), with or without padding.

    Raises:
        ValueError: it is none.
    """
    bare = text.translate(_URL_SAFE)
    return b64decode(bare + "=" * (-len(bare) % 4), validate=True)
