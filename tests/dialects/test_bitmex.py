"""The `bitmex` dialect: how far ahead a client may let its messages expire, and what stands in their bodies."""

import hmac
from typing import Any

import pytest
from dialects.captured import captures, material_of, read, request_of, row_of, verifies
from dialects.ours import HOST, SECRET, decide, guard_of, key_of, signed
from support import FORM, NOW, SECOND

from tradeguard.signing.refusal import fill
from tradeguard.signing.rows import BITMEX
from tradeguard.signing.signer import Outgoing

JSON = b"application/json"
SOON = b"%d" % (NOW // SECOND + 5)
KEY = key_of(BITMEX).encode()


def made(
    method: str, target: bytes, body: bytes = b"", kind: bytes = b"", *, expires: bytes = SOON, text: bytes = b""
) -> Outgoing:
    """A request; its signature is over `text` where that is given."""
    text = text or method.encode() + target + expires + body
    signature = hmac.digest(SECRET, text, "sha256").hex().encode()
    head = ((b"api-key", KEY), (b"api-expires", expires), (b"api-signature", signature))
    return Outgoing(method, HOST, target, kind, body, head)


@pytest.mark.parametrize(
    ("ahead", "code"),
    [
        (1, "granted"),
        (5, "granted"),
        (60, "granted"),
        (65, "granted"),
        (66, "freshness.early"),
        (86_400, "freshness.early"),
        (0, "freshness.stale"),
        (-1, "freshness.stale"),
    ],
)
def test_a_message_expires_within_a_minute(ahead: int, code: str) -> None:
    expires = b"%d" % (NOW // SECOND + ahead)
    assert decide(guard_of(BITMEX), made("GET", b"/api/v1/order", expires=expires)) == code


@pytest.mark.parametrize("expires", [b"1795000005000", b"179500000", b"01795000005", b"1795000005.0", b"9999999999999"])
def test_milliseconds_or_any_other_length_are_refused(expires: bytes) -> None:
    """ccxt gives the WebSocket milliseconds where seconds are meant: that message would be good for 56,000 years."""
    assert decide(guard_of(BITMEX), made("GET", b"/api/v1/order", expires=expires)) == "place.field"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("target", [b"/realtime", b"/realtime?subscribe=order"])
def test_what_is_signed_for_a_login_is_no_request(method: str, target: bytes) -> None:
    assert decide(guard_of(BITMEX), made(method, target)) == "source.boundary"


@pytest.mark.parametrize(
    ("method", "kind", "body"),
    [
        ("POST", FORM, b"symbol=XBTUSD&text=a+b"),
        ("POST", JSON, b'{"symbol":"XBTUSD"}'),
        ("DELETE", JSON, b'{"orderID":"17"}'),
        ("DELETE", JSON, b'["17"]'),
        ("PUT", FORM, b"orderID=17"),
    ],
)
def test_a_body_is_a_form_or_json_and_is_signed(method: str, kind: bytes, body: bytes) -> None:
    guard, out = guard_of(BITMEX), made(method, b"/api/v1/order", body, kind)
    assert decide(guard, out._replace(body=body[:-1] + b"9")) == "signature.wrong"
    assert decide(guard, out._replace(body=b"")) == "signature.wrong"
    assert decide(guard, out) == "granted"


@pytest.mark.parametrize("body", [b"1=2", b" {}", b'"x"', b"\n", b"%61=1", b"a"])
def test_another_body_is_refused(body: bytes) -> None:
    assert decide(guard_of(BITMEX), made("POST", b"/api/v1/order", body, FORM)) == "source.boundary"


def test_a_form_stands_beside_no_query() -> None:
    for target in (b"/api/v1/order?a=1", b"/api/v1/order?", b"/api/v1/o=1"):
        assert decide(guard_of(BITMEX), made("POST", target, b"b=2", FORM)) == "source.boundary"
    assert decide(guard_of(BITMEX), made("POST", b"/api/v1/order?a=1", b"{}", JSON)) == "granted"


@pytest.mark.parametrize(
    ("target", "body", "kind"),
    [
        (b"/api/v1/order?count=5", b"", b""),
        (b"/api/v1/order/1795000003", b"", b""),
        (b"/api/v1/order/1795000003abc", b"", b""),
        (b"/api/v1/order/1795000003abc?x=1", b"", b""),
        (b"/api/v1/order", b"symbol=XBTUSD&price=1795000004", FORM),
        (b"/api/v1/order", b'{"clOrdID":"1795000004"}', JSON),
        (b"/api/v1/order?from=1795000004", b'{"a":[1795000003]}', JSON),
    ],
)
def test_no_byte_moves_between_target_expiry_and_body(target: bytes, body: bytes, kind: bytes) -> None:
    """Of all splits of the signed text into target, ten digits and body, only the one that was meant passes."""
    text = target + SOON + body
    granted: set[tuple[bytes, bytes]] = set()
    for k in range(1, len(text) - 9):
        for type_ in (kind, FORM, JSON):
            moved = made("DELETE", text[:k], text[k + 10 :], type_, expires=text[k : k + 10], text=b"DELETE" + text)
            if decide(guard_of(BITMEX), moved) == "granted":
                granted.add((moved.target, moved.body))
    assert granted == {(target, body)}


def test_a_body_on_get_is_refused() -> None:
    assert decide(guard_of(BITMEX), made("GET", b"/api/v1/order", b"{}", JSON)).endswith(".boundary")


def test_equal_reads_in_one_second_pass_and_equal_orders_do_not() -> None:
    guard = guard_of(BITMEX)
    read_, order = signed(BITMEX, "GET", b"/api/v1/order"), signed(BITMEX, "POST", b"/api/v1/order", b"{}", JSON)
    assert [decide(guard, read_) for _ in range(2)] == ["granted"] * 2
    assert [decide(guard, order) for _ in range(2)] == ["granted", "replay.seen"]


def test_what_both_clients_put_into_bodies_is_read_as_they_signed_it() -> None:
    found = [capture for capture in captures() if capture["venue"] == "bitmex" and request_of(capture).method != "GET"]
    kinds = {request_of(capture).headers.one(b"content-type") for capture in found}
    assert kinds == {JSON, FORM}
    for capture in found:
        assert verifies(material_of(capture), read(row_of(capture), request_of(capture)))


def test_everybody_is_told_the_time_in_the_venue_s_words() -> None:
    guard = guard_of(BITMEX, operations={"GET /api/v1": {"lane": "public", "answer": "time"}})
    assert decide(guard, Outgoing("GET", HOST, b"/api/v1")) == "granted"
    told: Any = fill(BITMEX.clock, NOW + 1_500_000)
    assert told["timestamp"] == NOW // 1_000_000 + 1
