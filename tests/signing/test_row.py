"""A row that contradicts itself is refused, and what a row covers follows from what it signs."""

from dataclasses import replace
from typing import Any

import pytest

from tradeguard.core.credential import Window
from tradeguard.core.errors import ConfigError
from tradeguard.signing.row import REQUIRED_COVERAGE, AuthParam, Field, Header, Parameter, Payload, Row
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
        ("TG1-{algorithm}", set[str]()),
        ("{key}", {"key"}),
        ("{time}", {"time"}),
        ("{method}", {"method"}),
        ("{authority}", {"host"}),
        ("{target}", {"path", "query"}),
        ("{content_type}", {"content-type"}),
        ("{sha256hex(body)}", {"body"}),
    ],
)
def test_what_is_left_out_of_the_signed_text_is_not_covered(part: str, covers: set[str]) -> None:
    change: dict[str, Any] = {"message": str(TG1.message).replace(part, "-")}
    if part == "{time}":
        change |= {"time": None}
        change |= {"form": "clock"}
    row = replace(TG1, **change)
    assert row.coverage == ALL_OF_TG1 - (covers - {"time"})


@pytest.mark.parametrize(
    ("row", "change", "why"),
    [
        pytest.param(TG1, {"message": "{nonce}\n{time}\n{wishes}"}, "wishes", id="a part that there is not"),
        pytest.param(TG1, {"message": "{nonce} {time} {sha256(}"}, "sha256", id="a part that is not closed"),
        pytest.param(
            TG1, {"message": "", "nonce": None, "time": None}, "nothing is signed", id="nothing signed at all"
        ),
        pytest.param(TG1, {"algorithms": {"hmac-md5": "hex"}}, "hmac-md5", id="an algorithm that there is not"),
        pytest.param(TG1, {"algorithms": {}}, "no algorithm", id="no algorithm"),
        pytest.param(TG1, {"time": Field(b"time"), "message": "{nonce}"}, "time", id="an unsigned time in the body"),
        pytest.param(TG1, {"time": Parameter(b"t"), "message": "{nonce}"}, "time", id="an unsigned time in the query"),
        pytest.param(
            TG1, {"signature": Parameter(b"sig")}, "signed query", id="signature in a query that is not signed"
        ),
        pytest.param(BINANCE, {"message": "{form}"}, "time", id="query not signed"),
        pytest.param(TG1, {"message": "{nonce}\n{time}\n{form}"}, "beside", id="a signed form with a header signature"),
        pytest.param(TG1, {"width": Header(b"window")}, "window|width", id="an unsigned window of the client"),
        pytest.param(TG1, {"form": "clock"}, "clock", id="two times"),
        pytest.param(TG1, {"key": AuthParam(b"id")}, "scheme", id="a parameter of no scheme"),
        pytest.param(TG1, {"body": "repeat"}, "needs payload=", id="a body that repeats nothing"),
        pytest.param(TG1, {"key": Payload(b"id")}, "payload=", id="a member of no payload"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(row: Row, change: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as raised:
        replace(row, **change)
    assert row.name in str(raised.value)


def test_a_nonce_that_is_read_but_not_signed_is_refused() -> None:
    """It would be the replay key: whoever captured one request could send it again under any number of new nonces."""
    with pytest.raises(ConfigError, match="nonce"):
        replace(TG1, message=str(TG1.message).replace("{nonce}", "-"))


@pytest.mark.parametrize("separator", ["", "&", "0", "/", "="])
def test_a_separator_that_can_stand_inside_a_part_is_refused(separator: str) -> None:
    """`/a` + `&` + `b&c` is `/a&b` + `&` + `c`: bytes would move between target and nonce unseen."""
    with pytest.raises(ConfigError, match=r"shift between \{target\} and \{nonce\}"):
        replace(TG1, message="{time}\n{target}" + separator + "{nonce}" + separator + "{body}")


@pytest.mark.parametrize("separator", ["\n", "\t", " "])
def test_a_separator_that_no_part_before_it_can_hold_is_taken(separator: str) -> None:
    row = replace(TG1, message="{time}\n{target}" + separator + "{nonce}" + separator + "{body}")
    assert row.guards == ()


def test_a_row_with_a_newline_and_everything_in_headers_is_taken() -> None:
    row = replace(TG1, name="mine", key=Header(b"x-key"), window=Window(1, 1), algorithms={"hmac-sha256": "hex"})
    assert row.coverage == ALL_OF_TG1
