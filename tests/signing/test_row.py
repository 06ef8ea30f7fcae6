"""A row that contradicts itself is refused, and what a row covers follows from what it signs."""

from dataclasses import replace
from typing import Any

import pytest

from tradeguard.core.credential import Window
from tradeguard.core.errors import ConfigError
from tradeguard.signing.row import REQUIRED_COVERAGE, Header, Parameter, Row
from tradeguard.signing.rows import BINANCE, TG1

ALL_OF_TG1 = {"method", "path", "query", "body", "time", "nonce", "key", "host", "content-type"}


def test_tg1_covers_everything() -> None:
    assert TG1.coverage == ALL_OF_TG1
    assert TG1.coverage >= REQUIRED_COVERAGE


def test_binance_covers_query_body_and_time_only() -> None:
    assert BINANCE.coverage == {"query", "body", "time"}
    assert sorted(REQUIRED_COVERAGE - BINANCE.coverage) == ["method", "path"]


@pytest.mark.parametrize(
    ("part", "covers"),
    [
        ("label", set()),
        ("key", {"key"}),
        ("time", {"time"}),
        ("method", {"method"}),
        ("authority", {"host"}),
        ("target", {"path", "query"}),
        ("content_type", {"content-type"}),
        ("body_sha256", {"body"}),
    ],
)
def test_what_is_left_out_of_the_signed_text_is_not_covered(part: Any, covers: set[str]) -> None:
    row = replace(TG1, message=tuple(p for p in TG1.message if p != part))
    assert row.coverage == ALL_OF_TG1 - covers


@pytest.mark.parametrize(
    ("row", "change", "why"),
    [
        pytest.param(TG1, {"message": ("time", "wishes")}, "wishes", id="a part that there is not"),
        pytest.param(TG1, {"message": ("time",)}, "single part", id="a single part"),
        pytest.param(TG1, {"message": ()}, "single part", id="nothing signed at all"),
        pytest.param(TG1, {"algorithms": {"hmac-md5": b"MD5"}}, "hmac-md5", id="an algorithm that there is not"),
        pytest.param(TG1, {"separator": b""}, "separator", id="parts that could shift into each other"),
        pytest.param(
            TG1, {"time": Parameter(b"time")}, "both in headers", id="time in the text, signature in a header"
        ),
        pytest.param(
            TG1, {"signature": Parameter(b"sig")}, "both in headers", id="signature in the text, time in a header"
        ),
        pytest.param(
            BINANCE, {"message": ("label", "form"), "separator": b"\n"}, "in the signed text", id="query not signed"
        ),
        pytest.param(
            TG1, {"message": ("nonce", "query")}, "both in headers", id="a signed query with a header signature"
        ),
        pytest.param(
            TG1, {"message": ("nonce", "form")}, "both in headers", id="a signed form with a header signature"
        ),
        pytest.param(
            TG1, {"width": Parameter(b"recvWindow")}, "client's window", id="an unsigned window of the client"
        ),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(row: Row, change: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as raised:
        replace(row, **change)
    assert row.name in str(raised.value)


def test_a_nonce_that_is_read_but_not_signed_is_refused() -> None:
    """It would be the replay key: whoever captured one request could send it again under any number of new nonces."""
    with pytest.raises(ConfigError, match="nonce"):
        replace(TG1, message=tuple(part for part in TG1.message if part != "nonce"))


@pytest.mark.parametrize("separator", [b".", b"&", b"0", b" ", b"/"])
def test_a_separator_that_can_stand_inside_a_part_is_refused(separator: bytes) -> None:
    """`/a` + `.` + `b.c` is `/a.b` + `.` + `c`: bytes would move between target and content type unseen."""
    with pytest.raises(ConfigError, match="separator"):
        replace(TG1, separator=separator)


def test_a_body_that_carries_the_fields_but_is_not_signed_is_refused() -> None:
    """Time and signature would be read from a body that nobody signed, while the row says that it covers the time."""
    with pytest.raises(ConfigError):
        replace(BINANCE, message=("label", "query"), separator=b"\n")


def test_a_row_with_a_newline_and_everything_in_headers_is_taken() -> None:
    row = replace(TG1, name="mine", key=Header(b"x-key"), window=Window(1, 1), algorithms={"hmac-sha256": b"MINE"})
    assert row.coverage == ALL_OF_TG1
