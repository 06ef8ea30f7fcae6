"""One attempt: time, nonce, origin, and what an earlier one left."""

import pytest
from support import BINA, TRADER

from tradeguard.clients.attempt import Attempts, read_all
from tradeguard.core.errors import ConfigError
from tradeguard.signing.example import make_example_signer
from tradeguard.signing.message import FORM
from tradeguard.signing.row import Parameter
from tradeguard.signing.rows import ROWS
from tradeguard.signing.signer import Outgoing

GET = Outgoing("GET", "", b"/v1/orders?a=1")


def test_each_attempt_is_a_message_of_its_own() -> None:
    attempts = Attempts(TRADER)
    fields = [dict(attempts.sign("https://api.example/", GET).headers) for _ in range(100)]
    assert len({field[b"tg-nonce"] for field in fields}) == len({field[b"tg-signature"] for field in fields}) == 100
    assert int(fields[0][b"tg-time"]) <= int(fields[-1][b"tg-time"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("https://api.example", "https://other.example"),
        ("https://api.example", "http://api.example"),
        ("https://api.example", "https://api.example:8443"),
        ("https://api.example", "https://api.example.evil.example"),
        ("https://api.example", "https://api.example@evil.example"),
        ("http://[::1]:80", "http://[::1]:8080"),
    ],
)
def test_nothing_is_signed_for_a_second_origin(first: str, second: str) -> None:
    for attempts in (Attempts(TRADER), Attempts(TRADER, first)):
        attempts.sign(first + "/x", GET)
        with pytest.raises(ConfigError, match="nothing is signed for"):
            attempts.sign(second + "/x", GET)


def test_a_given_origin_holds_from_the_first_request_on() -> None:
    with pytest.raises(ConfigError, match=r"nothing is signed for https://api\.example"):
        Attempts(TRADER, "https://other.example").sign("https://api.example/", GET)


def test_the_refusal_of_an_origin_shows_no_password() -> None:
    with pytest.raises(ConfigError) as refused:
        Attempts(TRADER, "https://api.example").sign("https://user:hunter2@evil.example/", GET)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "same",
    [
        "https://API.example:443/y",
        "https://user:secret@api.example/",
        "wss://api.example/stream",
        "HTTPS://api.example",
    ],
)
def test_one_origin_has_many_spellings(same: str) -> None:
    attempts = Attempts(TRADER, "https://api.example")
    assert attempts.sign(same, GET).authority == "api.example"


@pytest.mark.parametrize("url", ["api.example", "ftp://api.example", "https://", "", "/v1/orders"])
def test_what_is_no_origin_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(ConfigError, match="write https://host"):
        Attempts(TRADER, url)


@pytest.mark.parametrize(
    ("url", "host", "authority"),
    [
        ("https://api.example/", "", "api.example"),
        ("https://api.example/", "Edge.Example:443", "edge.example"),
        ("http://api.example/", "edge.example:443", "edge.example:443"),
        ("http://[::80]/", "", "[::80]"),
        ("http://[::1]:80/", "[::1]:80", "[::1]"),
    ],
)
def test_the_authority_is_the_host_field_without_the_default_port(url: str, host: str, authority: str) -> None:
    assert Attempts(TRADER).sign(url, GET._replace(authority=host)).authority == authority


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        Outgoing("GET", "", b"/v1/orders"),
        Outgoing("GET", "", b"/v1/orders?signature=mine&x=1"),
        Outgoing("POST", "", b"/v1/orders", FORM, b"a=1"),
        Outgoing("POST", "", b"/v1/orders", FORM, b""),
    ],
)
def test_an_attempt_that_is_signed_again_carries_one_credential(request_: Outgoing) -> None:
    attempts, request = Attempts(BINA), request_
    for _ in range(3):
        signed = attempts.sign("https://api.example", request)
        text = signed.target + signed.body
        assert text.count(b"timestamp=") == 1
        assert text.count(b"&signature=") == 1
        request = request_._replace(target=signed.target, body=signed.body)


def test_a_body_that_only_looks_signed_is_left_alone_by_a_dialect_of_headers() -> None:
    request = Outgoing("POST", "", b"/v1/orders", FORM, b"timestamp=1&signature=ff")
    assert Attempts(TRADER).sign("https://api.example", request).body == request.body


def test_a_value_is_read_whatever_it_is(tmp_path: object) -> None:
    assert read_all(None) == read_all(b"") == read_all("") == read_all(iter(())) == b""
    assert read_all("é") == read_all(["é"]) == "é".encode()
    assert read_all(part for part in (b"a", "b")) == b"ab"


# --- dialects that put fields into the target or the body -------------------------------------------------------------


class Own:
    """What a client keeps of one request."""


PLACED = {
    "htx": Outgoing("POST", "", b"/v1/order?a=1", b"application/json", b'{"qty":"1"}'),
    "mexc": Outgoing("POST", "", b"/v1/order?a=1"),
    "kraken": Outgoing("POST", "", b"/0/private/AddOrder", FORM, b"pair=XBTUSD"),
    "cryptocom": Outgoing("POST", "", b"/exchange/v1/private/order", b"application/json", b'{"qty":"1"}'),
    "gemini": Outgoing("POST", "", b"/v1/order/new", b"text/plain", b'{"qty":"1"}'),
}


@pytest.mark.parametrize("name", PLACED)
def test_an_attempt_of_the_same_request_is_signed_from_what_it_was_at_first(name: str) -> None:
    attempts, own = Attempts(make_example_signer(ROWS[name], next(iter(ROWS[name].algorithms)))), Own()
    signed = [PLACED[name]]
    for _ in range(3):
        request = PLACED[name]._replace(
            target=signed[-1].target, body=signed[-1].body, content_type=signed[-1].content_type
        )
        signed.append(attempts.sign("https://api.example", request, own))
    assert {len(one.target + one.body) for one in signed[1:]} == {len(signed[1].target + signed[1].body)}
    assert {one.content_type for one in signed[1:]} == {signed[1].content_type}
    payloads = {len(value) for one in signed[1:] for key, value in one.headers if key == b"x-gemini-payload"}
    assert len(payloads) == (name == "gemini")


def test_what_the_caller_changes_between_two_attempts_stays_changed() -> None:
    attempts, own = Attempts(make_example_signer(ROWS["cryptocom"], "hmac-sha256")), Own()
    attempts.sign("https://api.example", PLACED["cryptocom"], own)
    other = PLACED["cryptocom"]._replace(body=b'{"qty":"2"}')
    assert b'"params":{"qty":"2"}' in attempts.sign("https://api.example", other, own).body


def test_two_requests_are_not_taken_for_each_other() -> None:
    attempts = Attempts(make_example_signer(ROWS["cryptocom"], "hmac-sha256"))
    first, second = Own(), Own()
    signed = attempts.sign("https://api.example", PLACED["cryptocom"], first)
    nested = attempts.sign("https://api.example", PLACED["cryptocom"]._replace(body=signed.body), second)
    assert nested.body.count(b'"params"') == 2


@pytest.mark.parametrize("name", ["htx", "mexc"])
def test_the_parameters_of_an_attempt_that_came_another_way_are_taken_out(name: str) -> None:
    row = ROWS[name]
    attempts, request = Attempts(make_example_signer(row, "hmac-sha256")), PLACED[name]
    for _ in range(3):
        signed = attempts.sign("https://api.example", request)
        for place in (row.key, row.time, row.signature):
            assert not isinstance(place, Parameter) or signed.target.count(b"&" + place.name + b"=") == 1
        assert signed.target.startswith(b"/v1/order?a=1&")
        request = request._replace(target=signed.target)


def test_a_query_that_only_looks_like_part_of_a_credential_is_left_alone() -> None:
    attempts = Attempts(make_example_signer(ROWS["mexc"], "hmac-sha256"))
    request = PLACED["mexc"]._replace(target=b"/v1/order?signature=mine&b=2")
    assert attempts.sign("https://api.example", request).target.startswith(b"/v1/order?signature=mine&b=2&timestamp=")
