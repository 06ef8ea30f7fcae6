"""A row that contradicts itself is refused, and what a row covers follows from what it signs."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from tradeguard.core.credential import Window
from tradeguard.core.errors import ConfigError
from tradeguard.signing.message import Facts, compile_message, in_one_line, read_message, write_part
from tradeguard.signing.row import REQUIRED_COVERAGE, AuthParam, Field, Header, Parameter, Payload, Row
from tradeguard.signing.rows import BINANCE, KRAKEN_FUTURES_BARE, TG1

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
        pytest.param(TG1, {"key": Header(b"host")}, "host, which has another meaning", id="a header that is taken"),
        pytest.param(TG1, {"body": "repeat"}, "needs payload=", id="a body that repeats nothing"),
        pytest.param(TG1, {"key": Payload(b"id")}, "payload=", id="a member of no payload"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(row: Row, change: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as raised:
        replace(row, **change)
    assert row.name in str(raised.value)


def test_a_row_without_a_time_remembers_each_message_for_a_day() -> None:
    """Once forgotten it is good again: with five seconds every order could be sent again every five seconds."""
    with pytest.raises(ConfigError, match='past = "1d"'):
        replace(KRAKEN_FUTURES_BARE, window=Window(5_000_000_000, 0))


@pytest.mark.parametrize(
    ("body", "taken", "refused"),
    [
        ("json", [b"", b"{}", b"[1]"], [b"hello", b"a=1", b" {}", b"1", b"<a/>"]),
        ("form", [b"", b"a=1", b"a%5B%5D=1&b=2"], [b"hello", b'{"a":"b=1"}', b"[a=1]", b"&a=1", b"=1"]),
        ("both", [b"", b"{}", b"a=1"], [b"hello", b"=1", b" {}"]),
        ("none", [b""], [b"{}", b"a=1", b"x"]),
    ],
)
def test_what_a_row_says_of_bodies_is_enforced_where_nothing_could_shift_too(
    body: Any, taken: list[bytes], refused: list[bytes]
) -> None:
    row = replace(TG1, body=body)
    for text in (*taken, *refused):
        facts = Facts(method=b"POST", target=b"/a", body=text)
        assert all(guard.holds(facts) for guard in row.guards) == (text in taken), text


CLOCK: dict[str, Any] = {
    "time": None, "nonce": Header(b"x-nonce"), "form": "clock", "body": "json", "algorithms": {"hmac-sha256": "hex"},
}  # fmt: skip
TIMED: dict[str, Any] = {"nonce": None, "body": "json", "algorithms": {"hmac-sha256": "hex"}}


@pytest.mark.parametrize(
    ("change", "guards"),
    [
        pytest.param({**CLOCK, "message": "{nonce}{method}{target}{body}"}, ["opening"], id="a clock before a method"),
        pytest.param(
            {**CLOCK, "message": "{nonce}https://{authority}{path}"},
            ["no-query", "json"],
            id="a clock before a literal",
        ),
        pytest.param({**CLOCK, "message": "{nonce}{key}{method}{target}"}, ["json"], id="a clock, a key and a letter"),
        pytest.param(
            {**CLOCK, "message": "{path}7{nonce}"}, ["split", "no-query", "json"], id="a digit before a clock"
        ),
        pytest.param(
            {**CLOCK, "message": "{body}{key}{nonce}"}, ["split", "no-query", "json"], id="a key before a clock"
        ),
        pytest.param({**CLOCK, "message": "{path}\0{body}\0{nonce}"}, ["no-query", "json"], id="NUL between parts"),
        pytest.param({**TIMED, "message": "{method}{time}{body}"}, ["no-query", "json"], id="a time behind letters"),
        pytest.param(
            {**TIMED, "message": "{method}{time}{nonce}", "nonce": Header(b"n"), "form": "free"},
            ["no-query", "json"],
            id="a time of one length behind letters, and then letters or digits",
        ),
        pytest.param(
            {**TIMED, "message": "{method}{time}{nonce}", "nonce": Header(b"n"), "form": "free", "unit": "s."},
            None,
            id="a time with a fraction behind letters, and then letters or digits",
        ),
        pytest.param(
            {**TIMED, "message": "{method}\n{query:sorted}&at={time}"}, ["sorted", "json"], id="a literal in it"
        ),
        pytest.param(
            {**TIMED, "message": "{body}&at={time}"}, ["no-query", "json"], id="a literal that a body can hold"
        ),
        pytest.param({**TIMED, "message": "{time}#{path}{#text}"}, ["either", "json-or-query"], id="an optional text"),
        pytest.param({**TIMED, "message": "{time}#{path}{|body}"}, ["no-query", "json"], id="an optional body"),
        pytest.param({**TIMED, "message": "{time}{.text}", "unit": "s."}, None, id="a mark that a time can hold"),
        pytest.param({**TIMED, "message": "{time}{path}{&query}"}, None, id="a mark that a path can hold"),
        pytest.param({**TIMED, "message": "{time}\n{target}{#body}"}, None, id="a mark that a target can hold"),
        pytest.param({**TIMED, "message": "{time}\n{#text}{body}"}, None, id="a body behind a body"),
        pytest.param({**TIMED, "message": "{target}{method}{time}"}, ["method", "json"], id="a method behind a target"),
        pytest.param({**TIMED, "message": "{target}{method}\n{time}"}, None, id="a method and then no digit"),
        pytest.param({**TIMED, "message": "{target}{method}{path}{time}"}, None, id="a method and then a path"),
        pytest.param(
            {**TIMED, "message": "{path}{?query:decoded}{method}{time}"}, None, id="a method behind what is decoded"
        ),
        pytest.param(
            {**TIMED, "message": "{target}PUT1{method}{time}"}, None, id="a method behind a literal that holds one"
        ),
        pytest.param(
            {**TIMED, "message": "{path}{time}{body}", "mount": "/api/"}, ["no-query", "opening"], id="no slash"
        ),
        pytest.param({**TIMED, "message": "{method}{path}{time}", "mount": "/api/"}, None, id="letters and no slash"),
        pytest.param({**TIMED, "message": "{time}{path}{time}", "mount": "/api/", "unit": "s."}, None, id="digits"),
        pytest.param(
            {**TIMED, "message": "{time}{key}{query}", "unit": "s."}, ["letter", "json"], id="a key of digits"
        ),
    ],
)
def test_a_row_is_taken_with_the_guards_that_it_takes_or_not_at_all(
    change: dict[str, Any], guards: list[str] | None
) -> None:
    if guards is None:
        with pytest.raises(ConfigError, match="bytes could shift between"):
            replace(TG1, name="mine", **change)
    else:
        assert sorted(guard.name for guard in replace(TG1, name="mine", **change).guards) == sorted(guards)


def test_a_nonce_that_is_read_but_not_signed_is_refused() -> None:
    """It would be the replay key: whoever captured one request could send it again under any number of new nonces."""
    with pytest.raises(ConfigError, match="nonce"):
        replace(TG1, message=str(TG1.message).replace("{nonce}", "-"))


@pytest.mark.parametrize(
    ("message", "query", "body", "text"),
    [
        ("{#text}", b"a=1", b"", b"#a=1"),
        ("{#text}", b"", b"{}", b"#{}"),
        ("{#text}", b"", b"", b""),
        ("{#text:decoded}", b"a=%20", b"", b"#a= "),
        ("{&query:sorted}", b"b=1&a=2", b"", b"&a=2&b=1"),
        ("{&query:sorted}", b"", b"{}", b""),
        ("{?query}", b"a=1", b"{}", b"?a=1"),
        ("{|body}", b"a=1", b"{}", b"|{}"),
        ("{|body}", b"a=1", b"", b""),
        ("{sha256hex('-' ?query)}", b"a", b"", sha256(b"-?a").hexdigest().encode()),
    ],
)
def test_a_part_behind_a_mark_is_there_with_it_or_not_at_all(
    message: str, query: bytes, body: bytes, text: bytes
) -> None:
    parts = read_message(message)
    assert compile_message(parts)(Facts(query=query, body=body)) == text
    assert "".join(map(write_part, parts)) == message


def test_a_notation_is_shown_in_one_line() -> None:
    assert in_one_line("{path}\0{body}\n\x7f\t'\"\\é") == "{path}\\u0000{body}\\n\\u007f\\t'\"\\é"


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
