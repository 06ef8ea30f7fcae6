"""Times and durations as operators write them: one meaning each, and everything else an error with the cure."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOW, SECOND

from tradeguard.core.errors import ConfigError
from tradeguard.keys.text import check_time, decode_base64, parse_duration, parse_time, show_time

DAY = 86_400 * SECOND


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("30m", 1_800), ("24h", 86_400), ("90d", 7_776_000), ("2w", 1_209_600), ("0s", 0), (" 1d ", 86_400)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds * SECOND


@pytest.mark.parametrize(
    "text",
    ["", "d", "1", "1 d", "-1d", "+1d", "1.5d", "1D", "1y", "1d1h", "1e3s", "1_0d", "٣d", "1d\n1d", "9" * 10 + "s"],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match="is no duration; write 45s, 30m, 24h, 90d or 2w"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31 12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
        (" 2027-01-31 ", datetime(2027, 1, 31, tzinfo=UTC)),
        ("1970-01-01", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_date_or_a_date_with_time_and_zone(text: str, time: datetime) -> None:
    assert parse_time(text, NOW) == int(time.timestamp()) * SECOND


def test_a_time_keeps_its_fraction() -> None:
    assert parse_time("2027-01-31T00:00:00.000001Z", NOW) - parse_time("2027-01-31", NOW) == 1_000


def test_a_duration_is_a_time_from_now_on() -> None:
    assert parse_time("90d", NOW) == NOW + 90 * DAY
    assert parse_time(" 45s ", NOW) == NOW + 45 * SECOND


@pytest.mark.parametrize(
    "text", ["2027-01-31T12:00:00", "2027-01-31 12:00", "2027-01-31T12", "20270131T120000", "2027W05T12"]
)
def test_a_time_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write Z for UTC|is no time"):
        parse_time(text, NOW)


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2027-02-30", "2027-13-01", "31.01.2027", "1800000000", "2027-01-31Z"]
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time; write 2027-01-31, 2027-01-31T12:00:00Z or 90d"):
        parse_time(text, NOW)


@settings(max_examples=200)
@given(text=st.text(max_size=30) | st.from_regex(r"[0-9TWZ:+. -]{1,28}", fullmatch=True))
def test_any_text_is_a_time_or_a_configuration_error(text: str) -> None:
    try:
        at = parse_time(text, NOW)
    except ConfigError as error:
        assert repr(text.strip()) in str(error)
    else:
        assert show_time(at)


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=ZONES)  # noqa: DTZ001


@settings(max_examples=200)
@given(moment=MOMENTS)
def test_what_is_shown_is_read_as_the_same_second(moment: datetime) -> None:
    at = parse_time(moment.isoformat(), NOW)
    assert at == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000
    assert parse_time(show_time(at), NOW) == at // SECOND * SECOND


def test_the_latest_time_is_the_last_second_of_the_year_9999() -> None:
    latest = parse_time("9999-12-31T23:59:59Z", NOW)
    assert check_time(latest) == latest
    assert show_time(latest) == "9999-12-31T23:59:59Z"
    assert check_time(0) == 0
    for time in (latest + 1, -1):
        with pytest.raises(ConfigError, match="a time lies between 1970 and 9999"):
            check_time(time)
        assert show_time(time) == str(time)


def test_no_time_is_shown_as_a_dash() -> None:
    assert show_time(None) == "-"
    assert show_time(0) == "1970-01-01T00:00:00Z"
    assert show_time(NOW) == "2026-11-18T11:06:40Z"


@pytest.mark.parametrize("text", ["999999999w", "999999999d"])
def test_a_time_that_no_calendar_has_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_time(text, NOW)


@pytest.mark.parametrize("at", [10**19, 10**30, -(10**30)])
def test_any_number_can_be_shown(at: int) -> None:
    assert show_time(at)


@pytest.mark.parametrize("text", ["-_8=", "-_8", "+/8=", "+/8", "-/8"])
def test_base64_is_read_in_either_alphabet_with_or_without_padding(text: str) -> None:
    assert decode_base64(text) == b"\xfb\xff"


@pytest.mark.parametrize("text", ["A", "A A=", "AA\n", "AA*=", "\xe9\xe9", "\u0661\u0661"])
def test_what_is_no_base64_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_base64(text)
