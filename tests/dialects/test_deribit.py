"""The `deribit` dialect: all fields stand in Authorization, in any order; nonces may be equal, messages may not."""

import hmac
from itertools import permutations
from typing import Any

import pytest
from dialects.ours import HOST, SECRET, code_of, decide, guard_of, key_of, signed
from support import NOW, make_request

from tradeguard.core.drive import drive
from tradeguard.signing.rows import DERIBIT
from tradeguard.signing.signer import Outgoing

KEY = key_of(DERIBIT).encode()
TIME = b"%d" % (NOW // 1_000_000)
TARGET = b"/api/v2/private/buy?amount=10"
OPERATIONS = {
    "GET /api/v2/private/buy": {"scopes": "orders:write", "lane": "order"},
    "GET /api/v2/private/get": {"scopes": "orders:read", "lane": "read"},
    "POST /api/v2": {"scopes": "orders:write", "lane": "order"},
    "GET /api/v2/public/time": {"lane": "public"},
}


def fields_of(target: bytes = TARGET, nonce: bytes = b"7", time: bytes = TIME) -> dict[bytes, bytes]:
    text = b"\n".join([time, nonce, b"GET", target, b"", b""])
    return {b"id": KEY, b"ts": time, b"sig": hmac.digest(SECRET, text, "sha256").hex().encode(), b"nonce": nonce}


def made(value: bytes, target: bytes = TARGET) -> Outgoing:
    return Outgoing("GET", HOST, target, headers=((b"authorization", value),))


def joined(fields: dict[bytes, bytes], mark: bytes = b"%s=%s", between: bytes = b",") -> bytes:
    return between.join(mark % pair for pair in fields.items())


def ask(value: bytes, target: bytes = TARGET) -> str:
    return decide(guard_of(DERIBIT, operations=OPERATIONS), made(value, target))


def test_the_parameters_stand_in_any_order() -> None:
    for order in permutations(fields_of().items()):
        assert ask(b"deri-hmac-sha256 " + joined(dict(order))) == "granted"


@pytest.mark.parametrize(
    "value",
    [
        b"deri-hmac-sha256 " + joined(fields_of(), b'%s="%s"'),
        b"deri-hmac-sha256 " + joined(fields_of(), between=b", "),
        b"DERI-HMAC-SHA256 " + joined(fields_of()),
    ],
    ids=["quotes", "spaces", "capitals"],
)
def test_what_rfc_9110_takes_for_the_same_is_the_same(value: bytes) -> None:
    assert ask(value) == "granted"


@pytest.mark.parametrize("name", [b"id", b"ts", b"sig", b"nonce"])
def test_no_parameter_is_missing_or_stands_twice(name: bytes) -> None:
    fields = fields_of()
    text = joined(fields)
    assert ask(b"deri-hmac-sha256 " + joined({k: v for k, v in fields.items() if k != name})) == "place.field"
    for more in (name + b"=" + fields[name], name + b"=1", name + b'="1"', name.upper() + b"=1", name + b"="):
        assert ask(b"deri-hmac-sha256 " + text + b"," + more) == "place.field"


@pytest.mark.parametrize(
    "value",
    [
        b"deri-hmac-sha256",
        b"deri-hmac-sha256 ",
        b"deri-hmac-sha256 id",
        b"deri-hmac-sha256 " + joined(fields_of(), b'%s="%s'),
        b"deri-hmac-sha256 " + joined(fields_of(), b"%s='%s'"),
        b"deri-hmac-sha256 " + joined(fields_of(), between=b";"),
        b"deri-hmac-sha256 " + joined(fields_of()) + b",",
        b"deri-hmac-sha256 " + joined({**fields_of(), b"sig": fields_of()[b"sig"].upper()}),
        b"deri-hmac-sha256 " + joined({**fields_of(), b"nonce": b"n" * 65}),
        b"deri-hmac-sha256 " + joined({**fields_of(), b"nonce": b"a.b"}),
    ],
)
def test_a_malformed_credential_is_refused(value: bytes) -> None:
    assert ask(value) == "place.field"


@pytest.mark.parametrize(
    "scheme", [b"Bearer", b"Basic", b"deri-hmac-sha512", b"deri-hmac-sha256,", b"xderi-hmac-sha256"]
)
def test_another_scheme_is_no_credential(scheme: bytes) -> None:
    public = made(scheme + b" " + joined(fields_of()), b"/api/v2/public/time")
    assert decide(guard_of(DERIBIT, operations=OPERATIONS), public) == "granted"
    assert ask(scheme + b" " + joined(fields_of())) != "granted"


def test_two_credentials_are_refused() -> None:
    value = b"deri-hmac-sha256 " + joined(fields_of())
    for other in (value, b"Bearer abc"):
        request = make_request("GET", TARGET, headers=[(b"authorization", value), (b"authorization", other)])
        assert code_of(drive(guard_of(DERIBIT, operations=OPERATIONS).admit(request))) == "request.repeated"


def test_orders_of_one_millisecond_with_one_nonce_pass_if_they_differ() -> None:
    """ccxt's nonce is its clock: a burst has it twice, and the texts differ."""
    guard = guard_of(DERIBIT, operations=OPERATIONS)
    for amount in (b"10", b"20"):
        target = b"/api/v2/private/buy?amount=" + amount
        value = b"deri-hmac-sha256 " + joined(fields_of(target, TIME))
        assert [decide(guard, made(value, target)) for _ in range(2)] == ["granted", "replay.seen"]


def test_equal_orders_of_one_millisecond_pass_if_their_nonces_differ() -> None:
    guard = guard_of(DERIBIT, operations=OPERATIONS)
    for nonce in (b"1", b"2", b"a_b-C"):
        value = b"deri-hmac-sha256 " + joined(fields_of(nonce=nonce))
        assert [decide(guard, made(value)) for _ in range(2)] == ["granted", "replay.seen"]


def test_equal_reads_pass() -> None:
    guard, target = guard_of(DERIBIT, operations=OPERATIONS), b"/api/v2/private/get?a=1"
    value = b"deri-hmac-sha256 " + joined(fields_of(target))
    assert [decide(guard, made(value, target)) for _ in range(3)] == ["granted"] * 3


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("method", "PUT"),
        ("target", b"/api/v2?a=1"),
        ("target", b"/api/v2?"),
        ("body", b"{}"),
        ("body", b"\n"),
        ("body", b""),
    ],
)
def test_every_line_is_signed(change: str, value: Any) -> None:
    order = signed(DERIBIT, "POST", b"/api/v2", b'{"method":"private/buy"}', b"application/json")
    guard = guard_of(DERIBIT)
    assert decide(guard, order._replace(**{change: value})) == "signature.wrong"
    assert decide(guard, order) == "granted"


def test_no_byte_moves_over_a_line() -> None:
    """Body and target, nonce and time: a newline stands in none but the body, which is the last."""
    order = signed(DERIBIT, "POST", b"/api/v2", b"a\n\nb", b"text/plain")
    for target, body in ((b"/api/v2%0Aa", b"\nb"), (b"/api/v2", b"a\n\nb\n"), (b"/api/v2", b"\na\n\nb")):
        code = decide(guard_of(DERIBIT), order._replace(target=target, body=body))
        assert code in ("signature.wrong", "frame.path")
