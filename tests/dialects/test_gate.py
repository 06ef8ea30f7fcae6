"""The `gate` dialect: seconds with a fraction, a query and a body at once, and two readings of one query."""

import hashlib
import hmac
from typing import Any

import pytest
from dialects.captured import captures, material_of, read, request_of, row_of, verifies
from dialects.ours import HOST, SECRET, decide, guard_of, key_of, signed
from support import NOW, SECOND

from tradeguard.signing.rows import GATE
from tradeguard.signing.signer import Outgoing

JSON = b"application/json"
PATCH = signed(GATE, "PATCH", b"/api/v4/spot/orders/17?amount=0.01", b'{"amount":"0.01"}', JSON)


def made(query: bytes, text: bytes, time: bytes = b"1795000000") -> Outgoing:
    """A read whose signature is over another text of its query."""
    lines = [b"GET", b"/o", text, hashlib.sha512(b"").hexdigest().encode(), time]
    signature = hmac.digest(SECRET, b"\n".join(lines), "sha512").hex().encode()
    head = ((b"key", key_of(GATE).encode()), (b"timestamp", time), (b"sign", signature))
    return Outgoing("GET", HOST, b"/o?" + query, headers=head)


@pytest.mark.parametrize(
    ("time", "code"),
    [
        (b"1795000000", "granted"),
        (b"1795000000.8170488", "granted"),
        (b"1795000000.817048812", "granted"),
        (b"1795000000.", "place.field"),
        (b"1795000000.8170488129", "place.field"),
        (b"1.795e9", "place.field"),
        (b"1795000000,5", "place.field"),
        (b"+1795000000", "place.field"),
        (b"0x6afd2ec0", "place.field"),
        (b"1795000000000", "place.field"),
        (b"1794999939.9", "freshness.stale"),
        (b"1795000060.5", "freshness.early"),
        (b"1795000004.5", "granted"),
    ],
)
def test_a_time_is_seconds_with_or_without_a_fraction(time: bytes, code: str) -> None:
    assert decide(guard_of(GATE), made(b"a=1", b"a=1", time)) == code


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("method", "PUT"),
        ("target", b"/api/v4/spot/orders/18?amount=0.01"),
        ("target", b"/api/v4/spot/orders/17?amount=0.02"),
        ("target", b"/api/v4/spot/orders/17"),
        ("target", b"/api/v4/spot/orders/17?amount=0.01&a=b"),
        ("body", b'{"amount":"0.02"}'),
        ("body", b""),
    ],
)
def test_query_and_body_of_a_patch_are_both_signed(change: str, value: Any) -> None:
    guard = guard_of(GATE)
    assert decide(guard, PATCH._replace(**{change: value})) == "signature.wrong"
    assert decide(guard, PATCH) == "granted"


@pytest.mark.parametrize(
    ("query", "text", "code"),
    [
        (b"a=x%20y", b"a=x y", "granted"),  # ccxt
        (b"a=x+y", b"a=x y", "granted"),  # gate-api
        (b"a=x%20y", b"a=x%20y", "granted"),  # as it was sent
        (b"a=x+y", b"a=x+y", "granted"),
        (b"a=1%26b=2", b"a=1&b=2", "source.boundary"),
        (b"a%3D1", b"a=1", "source.boundary"),
        (b"a=x%2By", b"a=x+y", "source.boundary"),
        (b"a=%2520", b"a=%20", "source.boundary"),
        (b"a=x%0A1", b"a=x\n1", "source.boundary"),
        (b"a=%ff", b"a=\xff", "source.boundary"),
        (b"a=%E2%80%A8", "a=\u2028".encode(), "source.boundary"),
        (b"a=x%23y", b"a=x#y", "source.boundary"),
        (b"a=1&b=2", b"b=2&a=1", "signature.wrong"),
        (b"a=x%20y", b"a=x+y", "signature.wrong"),
    ],
)
def test_a_query_is_read_decoded_or_as_it_was_sent_if_both_say_the_same(query: bytes, text: bytes, code: str) -> None:
    assert decide(guard_of(GATE), made(query, text)) == code


def test_a_line_cannot_be_ended_from_inside() -> None:
    for target in (b"/o%0Aa=1", b"/o?a%0A=1", b"/o?a=1%0A%0A"):
        assert decide(guard_of(GATE), made(b"a=1", b"a=1")._replace(target=target)) in ("frame.path", "source.boundary")


def test_equal_orders_in_one_second_are_one_and_with_a_fraction_they_are_two() -> None:
    guard = guard_of(GATE)
    order = signed(GATE, "POST", b"/o", b"{}", JSON)
    assert [decide(guard, order) for _ in range(2)] == ["granted", "replay.seen"]
    assert GATE.collision == SECOND


def test_what_both_clients_send_of_odd_characters_is_read_as_they_signed_it() -> None:
    tricky = [capture for capture in captures() if capture["venue"] == "gate" and capture["call"] == "tricky-query"]
    assert len({capture["client"] for capture in tricky}) == 2
    for capture in tricky:
        assert verifies(material_of(capture), read(row_of(capture), request_of(capture)))


def test_a_read_of_yesterday_is_stale() -> None:
    assert decide(guard_of(GATE), signed(GATE, "GET", b"/o", at=NOW - 86_400 * SECOND)) == "freshness.stale"
