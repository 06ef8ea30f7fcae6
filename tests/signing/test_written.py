"""A row as it is written down: every built-in row comes back the same, and whatever is wrong is told at once."""

import json
import tomllib
from dataclasses import fields, replace
from typing import Any

import pytest
from dialects.captured import captures, material_of, named, read, request_of, row_of, verifies
from hypothesis import given
from hypothesis import strategies as st

from tradeguard.core.errors import ConfigError
from tradeguard.signing.place import AuthParam, Header
from tradeguard.signing.refusal import fill
from tradeguard.signing.row import Passphrase, Row
from tradeguard.signing.rows import ROWS
from tradeguard.signing.written import TAKEN, RowError, read_document, read_row, row_schema, write_row

ACME: dict[str, Any] = {
    "algorithms": {"hmac-sha256": "hex"},
    "message": "{time}{method}{target}{body}",
    "key": {"header": "X-Acme-Key"},
    "signature": {"header": "X-Acme-Signature"},
    "time": {"header": "X-Acme-Time"},
    "window": {"past": "30s", "future": "500ms"},
    "body": "json",
}
REFUSE: dict[str, Any] = {
    "media_type": "application/json",
    "codes": {"unauthorized": {"status": 401, "body": {"code": 7, "what": "who?"}}},
    "statuses": {"429": {"body": ["slow", "down"]}},
    "unknown": {"status": 504, "body": {}},
    "rejected": {"body": {}},
    "down": {"body": {}},
}


def through_text(row: Row) -> Row:
    """The row after it was written as JSON and read again, under a name of its own."""
    return read_row(f"my-{row.name}", json.loads(json.dumps(write_row(row))))


def faults(written: object, name: str = "acme") -> dict[str, str]:
    with pytest.raises(RowError) as caught:
        read_row(name, written)
    assert len(str(caught.value).splitlines()) == 1 + len(caught.value.faults)
    return {".".join(map(str, path)): text for path, text in caught.value.faults}


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_every_row_comes_back_as_it_was(row: Row) -> None:
    back = replace(through_text(row), name=row.name)
    for field in fields(Row):
        if field.name not in ("refuse", "guards", "challenge"):
            assert getattr(back, field.name) == getattr(row, field.name), field.name
    assert [(guard.name, guard.text) for guard in back.guards] == [(guard.name, guard.text) for guard in row.guards]
    assert back.collision == row.collision
    assert back.bound == row.bound
    assert fill(back.clock, 1_795_000_000_123_456_789) == fill(row.clock, 1_795_000_000_123_456_789)


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.refuse is not None], ids=lambda row: row.name)
def test_every_refusal_comes_back_as_it_was(row: Row) -> None:
    back, refuse = through_text(row).refuse, row.refuse
    assert back is not None
    assert refuse is not None
    for field in fields(refuse):
        assert getattr(back, field.name) == getattr(refuse, field.name)


@pytest.mark.parametrize("capture", captures(), ids=named)
def test_what_unmodified_clients_sent_verifies_with_a_row_that_was_written_down(capture: Any) -> None:
    row = replace(through_text(row_of(capture)), name=row_of(capture).name)
    assert verifies(material_of(capture), read(row, request_of(capture)))


def test_a_row_is_written_by_hand() -> None:
    row = read_row("acme", ACME)
    assert (row.key, row.time) == (Header(b"x-acme-key"), Header(b"x-acme-time"))
    assert (row.window.past, row.window.future) == (30_000_000_000, 500_000_000)
    assert row.challenge == 'acme realm="api"'
    assert write_row(row) == {
        **ACME,
        **{name: {"header": ACME[name]["header"].lower()} for name in ("key", "signature", "time")},
    }


def test_its_refusals_and_its_clock_are_written_by_hand() -> None:
    row = read_row("acme", {**ACME, "refuse": REFUSE, "clock": {"now": "$s", "all": ["{ms}"]}})
    assert row.refuse is not None
    assert row.refuse.codes["unauthorized"].status == 401
    assert row.refuse.statuses[429].body == ["slow", "down"]
    assert fill(row.clock, 1_795_000_000_000_000_000) == {"now": 1_795_000_000, "all": ["1795000000000"]}
    assert write_row(row)["refuse"] == REFUSE


def test_everything_else_that_a_row_has_is_written_by_hand() -> None:
    row = read_row(
        "acme",
        {
            **ACME,
            "message": ["{time}{method}{target}{body}", "{time}{method}{path}{?query:decoded}{body}"],
            "key": {"auth": "id"},
            "scheme": "ACME-1",
            "passphrase": {"place": {"header": "X-P"}, "version": {"header": "X-V"}},
            "constants": [{"header": "X-Acme-Version", "value": "2"}],
            "bodyless": ["GET", "HEAD"],
            "logins": ["/v1/login"],
        },
    )
    assert (row.key, row.scheme) == (AuthParam(b"id"), b"acme-1")
    assert row.passphrase == Passphrase(place=Header(b"x-p"), version=Header(b"x-v"))
    assert row.constants == ((Header(b"x-acme-version"), b"2"),)
    assert row.logins == {"/v1/login"}
    assert len(row.messages) == 2
    assert read_row("acme", {**ACME, "passphrase": {"header": "X-P"}}).passphrase == Passphrase(place=Header(b"x-p"))


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_of_a_built_in_dialect_is_refused(name: str) -> None:
    assert "built-in" in faults(ACME, name)[""]


@pytest.mark.parametrize("name", ["", "Acme", "9acme", "acme_1", "a" * 33, 'acme" realm="x', "acmé", "a\n"])
def test_a_name_that_nobody_can_write_everywhere_is_refused(name: str) -> None:
    assert "a letter first" in faults(ACME, name)[""]


def test_all_faults_come_at_once_each_with_its_key() -> None:
    wrong = {
        "algorithms": {"hmac-sha25": "hexx"},
        "mesage": "x",
        "key": {"heder": "X"},
        "time": {"header": "a", "parameter": "b"},
        "window": {"past": 5},
        "signature": "x",
        "refuse": {**REFUSE, "unknown": {"body": 3}},
        "clock": {"a": [float("nan")]},
    }
    found = faults(wrong)
    assert found["algorithms.hmac-sha25"].endswith("did you mean hmac-sha256?")
    assert found["mesage"] == "no such key; did you mean message?"
    assert found["message"].startswith("missing")
    assert found["key.heder"].endswith("did you mean header?")
    assert "one key" in found["time"]
    assert "duration" in found["window.past"]
    assert "missing" in found["window.future"]
    assert "table" in found["signature"]
    assert "table or a list" in found["refuse.unknown.body"]
    assert "JSON" in found["clock.a.0"]
    assert len(found) == 10


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        ({"algorithms": {}}, "algorithms", "not be empty"),
        ({"algorithms": {"ed25519": "hex", "hmac-sha512": "hex"}}, "", "look like those of"),
        ({"message": "{path}{body}", "time": None, "body": "any"}, "", "bytes could shift between {path} and {body}"),
        ({"message": "{time}{memo}{target}{body}"}, "", "cannot be signed; the page on new venues lists what can"),
        ({"message": "{time}{verb}{target}{body}"}, "", "did you mean {method}?"),
        ({"message": "{timestamp}{method}{target}{body}"}, "", "did you mean {time}?"),
        ({"message": "{time}{METHOD}{target}{body}"}, "", "did you mean {method}?"),
        ({"message": "{time}{method}{host}{target}{body}"}, "", "did you mean {authority}?"),
        ({"message": "{time}{method}{requestPath}{body}"}, "", "did you mean {target} or {path}?"),
        ({"message": "{time}{method}{request_uri}{body}"}, "", "did you mean {target} or {path}?"),
        ({"message": "{time}{method}{#path}{body}"}, "", "behind a mark is {query} or {body} or {text}"),
        ({"message": "{time}{method}{path:sorted}{body}"}, "", "(sorted, decoded, spaced) is {query} or {text}"),
        ({"message": "{time}\n{text}", "body": "any"}, "", 'say body = "json", "form" or "both"'),
        ({"message": "{time}\ud800{method}{target}{body}"}, "message", "half of one"),
        ({"clock": {"a\0": 1}}, "clock.a\0", "without NUL"),
        ({"message": "{time}{methd}{target}{body}"}, "", "cannot be signed; did you mean {method}?"),
        ({"message": "{time}{method}{target}{sha256}"}, "", "say what it is over, such as {sha256(body)}"),
        ({"message": []}, "message", "not empty"),
        ({"message": "{method}{target}{body}"}, "", "the time is not signed"),
        ({"key": {"auth": "id"}}, "", "need scheme="),
        ({"key": {"auth": "ID"}}, "key.auth", "lower case"),
        ({"key": {"header": "X Key"}}, "key.header", "header field"),
        ({"key": {"header": "X-Key\n"}}, "key.header", "header field"),
        ({"time": {"parameter": "a&b"}}, "time.parameter", "parameter"),
        ({"window": {"past": "30 s", "future": "1s"}}, "window.past", "duration"),
        ({"window": {"past": "2d", "future": "1s"}}, "window.past", "at most 1d"),
        ({"window": {"past": "1s", "future": "1s", "now": "1s"}}, "window.now", "no such key"),
        ({"unit": "min"}, "unit", "must be one of"),
        ({"nonce_width": True}, "nonce_width", "whole number"),
        ({"bodyless": "GET"}, "bodyless", "must be a list"),
        ({"bodyless": ["get"]}, "bodyless.0", "in capitals"),
        ({"challenge": "acme\r\nset-cookie: a=b"}, "challenge", "line of ASCII"),
        ({"passphrase": {"parameter": "p"}}, "passphrase.parameter", "only a header will do"),
        ({"passphrase": {"version": {"header": "v"}}}, "passphrase.place", "missing"),
        ({"mount": "api"}, "mount", "begins with /"),
        ({"mount": "/api?"}, "mount", "begins with /"),
        ({"mount": "/v1/", "binds": [{"parameter": "p", "is": "tail"}]}, "", 'bind it to "path"'),
        ({"constants": [{"header": "x"}]}, "constants.0.value", "missing"),
        ({"constants": [{"header": "x", "value": "a\nb"}]}, "constants.0.value", "line of ASCII"),
        ({"binds": [{"field": "x", "is": "body"}]}, "binds.0.is", "must be one of"),
        ({"refuse": {**REFUSE, "codes": {}}}, "refuse", "unauthorized"),
        ({"refuse": {**REFUSE, "statuses": {"99": {"body": {}}}}}, "refuse.statuses.99", "a status"),
        ({"scheme": "acme"}, "", "need scheme=, and nothing else does"),
        ({"payload": {"header": "X-Payload"}}, "", "need payload="),
        ({"signature": {"field": "sig"}}, "", "inside of {body}, which it signs"),
        ({"name": "acme"}, "name", "no such key"),
        ({"messages": []}, "messages", "did you mean message?"),
        ({"guards": []}, "guards", "no such key"),
    ],
)
def test_what_no_row_can_be_says_why(change: dict[str, Any], key: str, says: str) -> None:
    written = {name: value for name, value in {**ACME, **change}.items() if value is not None}
    assert says in faults(written)[key]


def test_a_body_that_could_shift_is_told_the_cure_that_works() -> None:
    found = faults({name: value for name, value in ACME.items() if name != "body"})[""]
    assert found.startswith("bytes could shift between {target} and {body}: nobody can change what clients sign")
    assert found.endswith('so say what a body is: body = "json" or "form"')
    assert read_row("acme", ACME).guards
    assert faults({**ACME, "body": "any"})[""] == found
    timed = {**ACME, "message": "{method}{target}{time}{body}"}
    assert faults({**timed, "body": "any"})[""].endswith('body = "json" or "form" or "both"')
    assert [read_row("acme", {**timed, "body": body}).guards[0].name for body in ("json", "form")] == ["opening"] * 2


def test_what_shifts_whatever_a_body_is_says_that_no_row_can_express_it_and_names_the_neighbours() -> None:
    found = faults({**ACME, "message": "{time}\n{method}{path}{query:sorted}{authority}"})[""]
    assert found.startswith("bytes could shift between {query:sorted} and {authority}: no row can express it, unless")


@pytest.mark.parametrize("written", [None, "x", 3, [], [("key", 1)]])
def test_what_is_no_table_is_refused(written: object) -> None:
    assert faults(written) == {"": "must be a table"}


def test_a_document_has_rows_under_their_names_or_one_with_its_name() -> None:
    assert list(read_document({"dialects": {"acme": ACME, "other": ACME}})) == ["acme", "other"]
    assert list(read_document({"name": "acme", **ACME})) == ["acme"]
    for nothing in ({}, ACME, {"name": 5}):
        with pytest.raises(ConfigError, match="describes no dialect"):
            read_document(nothing)


def test_the_schema_explains_every_key_and_knows_those_that_are_needed() -> None:
    schema = row_schema()
    given = {field.name for field in fields(Row) if field.init} - {"name"}
    assert set(schema["properties"]) == given
    assert schema["required"] == ["algorithms", "message", "key", "signature", "window"]
    assert all(member["description"] for member in schema["properties"].values())
    json.dumps(schema)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ACME, "header", "past", "x"]), inner, max_size=5)
), max_leaves=12))  # fmt: skip
def test_whatever_is_written_it_is_a_row_or_a_refusal_that_says_why(written: object) -> None:
    for table in (written, {**ACME, "refuse": written}, {**ACME, "clock": written}, {**ACME, "message": written}):
        try:
            row = read_row("acme", table)
        except RowError as error:
            assert all(fault.text for fault in error.faults)
        else:
            assert write_row(read_row("acme", write_row(row))) == write_row(row)


def test_toml_is_read_as_it_is_written() -> None:
    text = """
    [dialects.acme]
    algorithms = { "hmac-sha256" = "hex", ed25519 = "base64" }
    message = "{time}\\n{method}\\n{target}\\n{body}"
    key = { header = "X-Acme-Key" }
    signature = { header = "X-Acme-Signature" }
    time = { header = "X-Acme-Time" }
    window = { past = "30s", future = "5s" }
    """
    row = read_document(tomllib.loads(text))["acme"]
    assert row.coverage >= {"method", "path", "query", "body", "time"}
    assert row.guards == ()
