"""Bitfinex v2: /api, path, nonce and body in one text without separators; refusals that are arrays."""

import json
import os
from typing import Any

import pytest
from dialects.clocked import JSON, KEY_ID, ORDERS, Asked, Venue, by_hand, mac
from dialects.sdk import BESIDE
from dialects.served import serving
from support import FORM, MS

from tradeguard.adapters.answer import refuse
from tradeguard.core.decision import Denial
from tradeguard.signing.rows import BITFINEX
from tradeguard.signing.signer import Outgoing

PATH = ORDERS["bitfinex"].target
NONCE = b"1795000000000"
BODY = b'{"symbol":"tBTCUSD","cid":17}'
ID = "0" * 31 + "1"


def sign(body: bytes = BODY, nonce: bytes = NONCE, path: bytes = PATH, **sent: Any) -> Outgoing:
    """A message by the recipe; `sent` says what goes out instead."""
    signature = mac(b"/api" + path + nonce + body, "sha384").hex().encode()
    headers = {b"bfx-apikey": KEY_ID.encode(), b"bfx-nonce": nonce, b"bfx-signature": signature}
    return by_hand(headers, Asked(path, JSON, body))._replace(**sent)


@pytest.mark.parametrize(
    "body", [BODY, b'{"id": [17], "note": "\\u00e9"}', '{"note":"é"}'.encode(), b"[1]", b"{}", b""]
)
def test_a_body_is_json_or_empty(body: bytes) -> None:
    assert Venue("bitfinex").send(sign(body)) == "granted"


@pytest.mark.parametrize("body", [b"symbol=tBTCUSD", b"17", b" {}", b"null"])
def test_nothing_else_is_a_body_although_it_is_signed(body: bytes) -> None:
    assert Venue("bitfinex").send(sign(body)) == "source.boundary"


def test_no_digit_moves_between_nonce_and_body() -> None:
    """Path, nonce and body are one text: the last digits of the nonce could begin the body."""
    stolen = sign(NONCE[-3:] + BODY, NONCE[:-3])
    assert dict(stolen.headers)[b"bfx-signature"] == dict(sign().headers)[b"bfx-signature"]
    assert Venue("bitfinex").send(stolen) == "source.boundary"


@pytest.mark.parametrize(
    "stolen",
    [
        pytest.param(sign(path=PATH + NONCE[:3], nonce=NONCE[3:]), id="from the nonce into the path"),
        pytest.param(sign(b"", path=PATH + NONCE + BODY[:1]), id="a body into the path"),
        pytest.param(sign(b"{}", path=PATH + b"?x={}", nonce=NONCE), id="a query"),
    ],
)
def test_nothing_moves_between_path_and_nonce(stolen: Outgoing) -> None:
    target = stolen.target.partition(b"?")[0].decode()
    operations = {f"POST {PATH.decode()}": "orders:write", "POST /v2/auth/{a}/{b}/{c}": "orders:write"}
    assert Venue("bitfinex", operations=operations).send(stolen) not in ("granted", "outage.fault"), target


def test_a_path_that_ends_in_the_digits_of_the_time_is_refused() -> None:
    at = 1_795_321_795_328 * MS
    out = sign(b"", b"1795321795328", b"/v2/auth/r/order/179532")
    stolen = sign(b"", b"1795321795321795328", b"/v2/auth/r/order/")
    assert dict(out.headers)[b"bfx-signature"] == dict(stolen.headers)[b"bfx-signature"]
    operations = {"POST /v2/auth/r/order/{id}": "orders:write"}
    assert Venue("bitfinex", at=at, operations=operations).send(out) == "source.boundary"
    fine = sign(b"", b"1795321795328", b"/v2/auth/r/order/179531")
    assert Venue("bitfinex", at=at, operations=operations).send(fine) == "granted"


@pytest.mark.parametrize(
    "change",
    [{"target": b"/v2/auth/w/order/cancel"}, {"body": BODY + b" "}, {"target": b"/api" + PATH}],
)
def test_what_is_signed_cannot_be_changed(change: dict[str, bytes]) -> None:
    operations = {f"POST {path}": "orders:write" for path in ("/v2/auth/w/order/submit", "/v2/auth/w/order/cancel")}
    venue = Venue("bitfinex", operations={**operations, f"POST /api{PATH.decode()}": "orders:write"})
    assert venue.send(sign(), **change) == "signature.wrong"
    assert venue.send(sign(), target=PATH + b"?x=1") == "source.boundary"
    assert venue.send(sign()) == "granted"


# --- refusals --------------------------------------------------------------------------------------------------------


def told(denial: Denial) -> tuple[int, dict[bytes, bytes], Any]:
    answer = refuse(denial, ID, challenge="c", shape=BITFINEX)
    fields = dict(answer.fields)
    assert fields[b"content-length"] == b"%d" % len(answer.body)
    assert fields[b"x-request-id"] == ID.encode()
    return answer.status, fields, json.loads(answer.body)


def test_an_array_is_the_whole_body_and_the_rest_stands_in_the_head() -> None:
    status, fields, body = told(Denial("signature.wrong"))
    assert (status, body) == (500, ["error", 10100, "apikey: invalid"])
    assert fields[b"tradeguard-code"] == b"unauthorized"
    status, _, body = told(Denial("freshness.stale", members={"server_time": 7, "offset_ms": -9}))
    assert (status, body) == (500, ["error", 10114, "nonce: small"])


@pytest.mark.parametrize(
    ("code", "executed"),
    [("replay.behind", b"unknown"), ("commit.unsure", b"unknown"), ("scope.missing", None), ("outage.down", None)],
)
def test_a_field_says_whether_it_may_have_been_carried_out(code: str, executed: bytes | None) -> None:
    assert told(Denial(code))[1].get(b"tradeguard-executed") == executed


def test_a_form_is_no_body() -> None:
    assert Venue("bitfinex").send(sign(b"a=1", content_type=FORM)) == "source.boundary"


@pytest.mark.parametrize(
    ("situation", "error"),
    [
        ("bad-key", "InvalidCredentialError"),
        ("bad-signature", "InvalidCredentialError"),
        ("replay", "RequestParameterError"),
        ("permission", "GenericError"),
    ],
)
def test_bitfinex_s_own_client_understands_refusals_too(situation: str, error: str) -> None:
    if not BESIDE.exists() and "CI" not in os.environ:
        pytest.skip(f"{BESIDE} is missing: make test")
    with serving("bitfinex", situation=situation, client="bitfinex-api-py") as served:
        (outcome,) = served.ask(("order",))
    assert outcome["raised"][:1] == [error]
