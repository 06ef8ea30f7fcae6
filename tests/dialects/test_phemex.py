"""The `phemex` dialect: nothing parts path and query, so the operations map must; and no message is good for long."""

import hmac
from typing import Any

import pytest
from dialects.ours import HOST, SECRET, decide, guard_of, key_of, signed
from support import FORM, NOW, SECOND

from tradeguard.core.errors import ConfigError
from tradeguard.signing.refusal import fill
from tradeguard.signing.rows import PHEMEX
from tradeguard.signing.signer import Outgoing

JSON = b"application/json"
PATHS = ("/orders", "/orders/active", "/orders/{id}", "/spot/orders", "/spot", "/{venue}/o/{id}")
MAP = {
    f"{method} {path}": {"scopes": "orders:write", "lane": "read" if method == "GET" else "order"}
    for path in PATHS
    for method in ("GET", "POST", "PUT", "DELETE")
}
KEY = key_of(PHEMEX).encode()


def made(target: bytes, text: bytes, expires: bytes = b"%d" % (NOW // SECOND + 60), method: str = "GET") -> Outgoing:
    """A request whose signature is over a text."""
    signature = hmac.digest(SECRET, text, "sha256").hex().encode()
    names = (b"x-phemex-access-token", b"x-phemex-request-expiry", b"x-phemex-request-signature")
    return Outgoing(method, HOST, target, headers=tuple(zip(names, (KEY, expires, signature), strict=True)))


@pytest.mark.parametrize(
    "target", [b"/orders?symbol=x", b"/orders", b"/orders/17", b"/orders/active?symbol=x&id=a&id=b"]
)
def test_an_honest_request_passes(target: bytes) -> None:
    assert decide(guard_of(PHEMEX, operations=MAP), signed(PHEMEX, "GET", target)) == "granted"


@pytest.mark.parametrize(
    ("target", "moved"),
    [
        (b"/orders?symbol=x", b"/ordersymbol=x"),
        (b"/orders?symbol=x", b"/orderssymbol=x"),
        (b"/orders?symbol=x", b"/orderssymbol%3Dx"),
        (b"/orders?symbol=x", b"/orders??symbol=x"),
        (b"/orders?symbol=x", b"/o?rderssymbol=x"),
        (b"/orders/active?symbol=x", b"/orders?/activesymbol=x"),
        (b"/orders/active?symbol=x", b"/orders/activ?esymbol=x"),
        (b"/orders/active?symbol=x", b"/orders/?activesymbol=x"),
        (b"/orders/17", b"/orders?/17"),
        (b"/orders/17", b"/orders/?17"),
        (b"/orders/17", b"/orders/1?7"),
        (b"/orders/active", b"/orders?/active"),
        (b"/spot/orders?a=1", b"/spot?/ordersa=1"),
        (b"/x/o/17", b"/x?/o/17"),
        (b"/orders/17", b"/orders/17?"),
        (b"/orders", b"/orders?"),
    ],
)
def test_no_byte_moves_between_path_and_query(target: bytes, moved: bytes) -> None:
    out = signed(PHEMEX, "GET", target)
    for method in ("GET", "DELETE", "PUT"):  # the method is not signed
        code = decide(guard_of(PHEMEX, operations=MAP), out._replace(method=method, target=moved))
        assert code in ("source.boundary", "guard.unmapped", "signature.wrong", "frame.path"), moved


def test_every_split_of_a_signed_text_is_refused_but_the_one_that_was_meant() -> None:
    for honest in (b"/orders?symbol=x&side=1", b"/orders/active?id=1", b"/orders/17", b"/spot/orders?a=b"):
        out, text = signed(PHEMEX, "GET", honest), honest.replace(b"?", b"")
        granted = [
            target
            for k in range(1, len(text) + 1)
            for target in {text[:k] + b"?" + text[k:], text}
            if decide(guard_of(PHEMEX, operations=MAP), out._replace(target=target)) == "granted"
        ]
        assert set(granted) == {honest}


def test_a_query_stands_beside_a_plain_path_only() -> None:
    for target in (b"/orders/17?a=1", b"/x/o/17?a=1"):
        assert decide(guard_of(PHEMEX, operations=MAP), signed(PHEMEX, "GET", target)) == "source.boundary"
    assert decide(guard_of(PHEMEX), signed(PHEMEX, "GET", b"/orders?a=1")) == "source.boundary"  # its row is GET /**


@pytest.mark.parametrize(
    ("one", "two"),
    [("GET /order", "DELETE /orders"), ("GET /v1/orders/", "GET /v1/orders/all"), ("GET /a", "GET /a-b")],
)
def test_a_map_in_which_one_path_goes_on_as_a_parameter_could_is_refused_at_the_start(one: str, two: str) -> None:
    """DELETE /order?symbol=x and DELETE /orders?ymbol=x have one signature: cancel one, cancel all."""
    rows = {row: {"scopes": "orders:write", "lane": "order"} for row in (one, two)}
    with pytest.raises(ConfigError, match="can pass for"):
        guard_of(PHEMEX, operations=rows)


@pytest.mark.parametrize("ahead", [1, 30, 60, 65])
def test_a_message_expires_within_a_minute(ahead: int) -> None:
    expires = b"%d" % (NOW // SECOND + ahead)
    assert decide(guard_of(PHEMEX), made(b"/orders", b"/orders" + expires, expires)) == "granted"


@pytest.mark.parametrize(
    ("ahead", "code"),
    [(0, "freshness.stale"), (-1, "freshness.stale"), (66, "freshness.early"), (86_400, "freshness.early")],
)
def test_an_expiry_beyond_that_is_refused(ahead: int, code: str) -> None:
    expires = b"%d" % (NOW // SECOND + ahead)
    assert decide(guard_of(PHEMEX), made(b"/orders", b"/orders" + expires, expires)) == code


@pytest.mark.parametrize("expires", [b"1795000060000", b"179500006", b"01795000060", b"17950000600"])
def test_an_expiry_has_ten_digits_for_its_end_is_told_by_nothing_else(expires: bytes) -> None:
    assert decide(guard_of(PHEMEX), made(b"/orders", b"/orders" + expires, expires)) == "place.field"


def test_no_digit_moves_between_query_and_expiry() -> None:
    expires = b"%d" % (NOW // SECOND + 60)
    out = made(b"/orders?limit=1", b"/orderslimit=1" + expires, expires)
    assert decide(guard_of(PHEMEX, operations=MAP), out) == "granted"
    for query, time in ((b"limit=", b"1" + expires[:-1]), (b"limit=" + expires[:1], expires[1:])):
        moved = made(b"/orders?" + query, b"/orderslimit=1" + expires, time)
        assert decide(guard_of(PHEMEX, operations=MAP), moved) != "granted"


def test_the_method_is_not_signed_and_a_message_is_used_up_whatever_it_was() -> None:
    guard, out = guard_of(PHEMEX, operations=MAP), signed(PHEMEX, "PUT", b"/spot/orders?orderID=17")
    assert decide(guard, out) == "granted"
    assert decide(guard, out._replace(method="DELETE")) == "replay.seen"


@pytest.mark.parametrize("body", [b"a=1", b"1", b'"x"', b" {}", b"null"])
def test_a_body_is_an_object_or_a_list(body: bytes) -> None:
    out = signed(PHEMEX, "POST", b"/orders", b"{}", JSON)
    for kind in (JSON, FORM):
        attack = decide(guard_of(PHEMEX), out._replace(body=body, content_type=kind))
        assert attack == "source.boundary"


def test_everybody_is_told_the_time_in_the_venue_s_words() -> None:
    guard = guard_of(PHEMEX, operations={"GET /public/time": {"lane": "public", "answer": "time"}})
    assert decide(guard, Outgoing("GET", HOST, b"/public/time")) == "granted"
    told: Any = fill(PHEMEX.clock, NOW + 1_500_000)
    assert told["data"]["serverTime"] == NOW // 1_000_000 + 1
