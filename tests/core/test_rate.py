"""Rates: what they mean, and what is refused when they are made."""

from typing import Any

import pytest

from tradeguard.core.conditions import LARGEST, Limit
from tradeguard.core.errors import ConfigError
from tradeguard.core.rate import Rate, parse_rate, span

SECOND, DAY = 1_000_000_000, 86_400_000_000_000


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("10/second", [(10, 1)]),
        ("10/second;100000/day", [(10, 1), (100_000, 86_400)]),
        ("100000/day;10/second", [(10, 1), (100_000, 86_400)]),
        ("5 per 2 minutes", [(5, 120)]),
        ("1200/minute, 3/5 hour", [(1_200, 60), (3, 18_000)]),
    ],
)
def test_a_rate_is_read_as_the_limits_library_writes_it(text: str, windows: list[tuple[int, int]]) -> None:
    assert parse_rate(text) == tuple(Limit(amount, seconds * SECOND) for amount, seconds in windows)


@pytest.mark.parametrize(
    "text",
    ["", "10", "ten/second", "0/second", "-1/second", "10/0 second", "10/00second", "10 per 0 minutes", "10/fortnight",
     "1.5/second", "10/second;", "10/second;0/day", "10/-1 second", "10//second", ";", "10/second\n;x", "١٠/fortnight"],
)  # fmt: skip
def test_what_is_no_rate_is_refused_and_the_text_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigError, match='is no rate; write it as "10/second"'):
        parse_rate(text)


def test_what_is_no_text_is_refused_too() -> None:
    for text in (None, 5, b"10/second"):
        with pytest.raises((ConfigError, TypeError)):
            parse_rate(text)  # type: ignore[arg-type]


def test_two_windows_of_one_length_are_refused() -> None:
    with pytest.raises(ConfigError, match="two windows of one length"):
        parse_rate("10/minute;5/60 seconds")


def test_what_no_store_counts_exactly_is_refused() -> None:
    assert parse_rate(f"{LARGEST}/second")
    with pytest.raises(ConfigError, match="larger than what a store counts"):
        parse_rate(f"{LARGEST + 1}/second")
    with pytest.raises(ConfigError, match="larger than what a store counts"):
        parse_rate("10/day", burst=200_000)


def test_a_burst_makes_the_shortest_window_pace() -> None:
    assert parse_rate("100/day;10/second", burst=20) == (Limit(10, SECOND, 20), Limit(100, DAY))
    for burst in (-1, 1.5, True, "2"):
        with pytest.raises(ConfigError, match="burst is a whole number"):
            parse_rate("10/second", burst)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"lanes": ()}, "lanes is a collection of admin, cancel"),
        ({"lanes": "order"}, "lanes is a collection of"),
        ({"lanes": ["orders"]}, "lanes is a collection of"),
        ({"by": "ip"}, "by is one of key, account"),
        ({"lanes": ["public", "read"]}, "lane public stands alone"),
        ({"lanes": ["public"]}, "lane public stands alone, and goes by source"),
        ({"lanes": ["public"], "by": "source", "attempts": True}, "has one window"),
        ({"charge": "sometimes"}, 'charge is "request"'),
        ({"charge": "success", "attempts": True}, "where attempts do not count"),
        ({"share": 0}, "share is a percentage"),
        ({"share": 101}, "share is a percentage"),
        ({"share": 1.5}, "share is a percentage"),
        ({"header": "X MBX"}, "is no name of a field"),
        ({"header": "X\r\nSet-Cookie"}, "is no name of a field"),
        ({"cost": 11}, "that fits into its windows"),
        ({"cost": -1}, "that fits into its windows"),
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(fault: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Rate("10/second", **fault)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1s"), (10, "10s"), (60, "1m"), (90, "90s"), (3_600, "1h"), (86_400, "1d"), (604_800, "7d")],
)
def test_the_length_of_a_window_is_written_briefly(seconds: int, text: str) -> None:
    assert span(seconds * SECOND) == text
