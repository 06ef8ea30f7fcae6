"""Gemini: a JSON object in base64 is signed, and says which path it is for; a body says nothing else."""

import base64
import json
from typing import Any

import pytest
from dialects.clocked import KEY_ID, ORDERS, Asked, Venue, by_hand, mac
from support import FORM

from tradeguard.signing.signer import Outgoing

PATH = ORDERS["gemini"].target
NONCE = "1795000000000"
ORDER: dict[str, Any] = {
    "request": "/v1/order/new",
    "nonce": NONCE,
    "symbol": "btcusd",
    "amount": "0.01",
    "n": 1,
    "b": True,
}


def sign(payload: Any, body: bytes = b"", content_type: bytes = b"text/plain", target: bytes = PATH) -> Outgoing:
    """A message by the recipe; a payload in bytes goes out as it is."""
    if not isinstance(payload, bytes):
        payload = base64.b64encode(json.dumps(payload).encode())
    headers = {
        b"x-gemini-apikey": KEY_ID.encode(),
        b"x-gemini-payload": payload,
        b"x-gemini-signature": mac(payload, "sha384").hex().encode(),
    }
    return by_hand(headers, Asked(target, content_type, body))


LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def of(text: bytes) -> bytes:
    return base64.b64encode(text)


@pytest.mark.parametrize("nonce", [NONCE, int(NONCE)], ids=repr)
def test_the_nonce_is_a_text_or_a_number(nonce: Any) -> None:
    assert Venue("gemini").send(sign({**ORDER, "nonce": nonce})) == "granted"


WHOLE = b'{"n": 1, "b": true, "amount": "0.01", "symbol":"btcusd"}'


@pytest.mark.parametrize(
    "body", [b"", WHOLE, WHOLE.replace(b"{", b'{"nonce":"%s",' % NONCE.encode()), json.dumps(ORDER).encode()]
)
def test_a_body_repeats_the_payload_but_for_its_fields(body: bytes) -> None:
    assert Venue("gemini").send(sign(ORDER, body)) == "granted"


@pytest.mark.parametrize("left_out", ["symbol", "amount", "n", "b"])
def test_nothing_of_an_order_can_be_left_out_of_its_body(left_out: str) -> None:
    body = json.dumps({name: value for name, value in ORDER.items() if name != left_out}).encode()
    assert Venue("gemini").send(sign(ORDER, body)) == "source.boundary"
    assert Venue("gemini").send(sign(ORDER, b"{}")) == "source.boundary"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(WHOLE.replace(b"btcusd", b"ethusd"), id="another value"),
        pytest.param(WHOLE.replace(b"}", b',"side":"sell"}'), id="a further member"),
        pytest.param(WHOLE.replace(b"}", b',"symbol":"btcusd"}'), id="a member twice"),
        pytest.param(WHOLE.replace(b'"0.01"', b"0.01"), id="a number for a text"),
        pytest.param(WHOLE.replace(b'"n": 1', b'"n": true'), id="true for one"),
        pytest.param(WHOLE.replace(b'"n": 1', b'"n": 1.0'), id="one with a fraction"),
        pytest.param(WHOLE.replace(b'"b": true', b'"b": 1'), id="one for true"),
        pytest.param(b'["symbol"]', id="a list"),
        pytest.param(b"symbol=btcusd", id="a form"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b" " + WHOLE, id="a space before"),
    ],
)
def test_a_body_that_says_anything_else_is_refused(body: bytes) -> None:
    assert Venue("gemini").send(sign(ORDER, body)) in ("source.boundary", "place.field")


def test_lists_and_objects_are_compared_member_by_member() -> None:
    payload = {"request": "/v1/order/new", "nonce": NONCE, "options": ["a", {"x": 1}]}
    assert Venue("gemini").send(sign(payload, b'{"options": ["a", {"x": 1}]}')) == "granted"
    for other in (b'["a"]', b'["a", {"x": true}]', b'["a", {"x": 1, "y": 2}]', b'["a", {}]', b'{"a": 1}', b'"a"'):
        assert Venue("gemini").send(sign(payload, b'{"options": ' + other + b"}")) == "source.boundary", other


@pytest.mark.parametrize(
    "said", ["/v1/order/cancel", "/v1/order/new?x=1", "v1/order/new", "/V1/order/new", None, 5, "/v1/order/n\u00e9w"]
)
def test_the_payload_is_bound_to_the_path(said: Any) -> None:
    assert Venue("gemini").send(sign({**ORDER, "request": said})) == "place.field"


def test_it_cannot_be_sent_to_another_path_or_with_a_query() -> None:
    operations = {"POST /v1/order/new": "orders:write", "POST /v1/order/cancel": "orders:write"}
    venue = Venue("gemini", operations=operations)
    assert venue.send(sign(ORDER), target=b"/v1/order/cancel") == "place.field"
    assert venue.send(sign(ORDER), target=PATH + b"?symbol=ethusd") == "source.boundary"
    assert venue.send(sign(ORDER)) == "granted"


GOOD = base64.b64encode(json.dumps(ORDER | {"pad": "xx"}).encode())


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(
            of(b'{"request":"/v1/order/new","nonce":"1795000000000","nonce":"1795000000001"}'), id="a member twice"
        ),
        pytest.param(of(b'{"request":"/v1/order/new","request":"/v1/x","nonce":"1795000000000"}'), id="two paths"),
        pytest.param(of(b'[{"request":"/v1/order/new"}]'), id="a list"),
        pytest.param(of(b'{"request":"/v1/order/new","nonce":NaN}'), id="no number"),
        pytest.param(of(b'{"request":"/v1/order/new","nonce":1795000000000.0}'), id="a fraction"),
        pytest.param(of(b'{"request":"/v1/order/new","nonce":"1795000000000","a":"\\ud800"}'), id="half a character"),
        pytest.param(of(b"\xff\xfe"), id="no text"),
        pytest.param(of(b'{"a":' * 99), id="too deep"),
        pytest.param(of(b'{"request":"/v1/order/new","nonce":' + b"9" * 5_000 + b"}"), id="a huge number"),
        pytest.param(b"", id="nothing"),
        pytest.param(GOOD + b"\x21", id="with a character that base64 has not"),
        pytest.param(GOOD.rstrip(b"=") + b"-_", id="base64url"),
        pytest.param(b"e30", id="without its padding"),
    ],
)
def test_a_payload_that_is_read_in_two_ways_or_none_is_refused_although_it_is_signed(payload: bytes) -> None:
    assert Venue("gemini").send(sign(payload)) == "place.field"


def test_a_payload_has_one_spelling_in_base64() -> None:
    text = json.dumps(ORDER).encode()
    payload = of(text + b" " * ((2 - len(text)) % 3))  # ends in one =: two bits of what is before it say nothing
    other = payload[:-2] + LETTERS[LETTERS.index(payload[-2:-1]) + 1 :][:1] + b"="
    assert other != payload
    assert base64.b64decode(other) == base64.b64decode(payload)
    assert Venue("gemini").send(sign(payload)) == "granted"
    assert Venue("gemini").send(sign(other)) == "place.field"


def test_the_payload_cannot_be_changed_after_it_was_signed() -> None:
    out = sign(ORDER)
    payload = base64.b64encode(json.dumps({**ORDER, "amount": "9"}).encode())
    changed = {name: payload if name == b"x-gemini-payload" else value for name, value in out.headers}
    assert Venue("gemini").send(out._replace(headers=tuple(changed.items()))) == "signature.wrong"
    assert Venue("gemini").send(out._replace(content_type=FORM)) == "granted"  # the body is empty, whatever its type is


def test_a_credential_is_whole_or_none() -> None:
    out = sign(ORDER)
    for missing, _ in out.headers:
        left = tuple(field for field in out.headers if field[0] != missing)
        assert Venue("gemini").send(out._replace(headers=left)) not in ("granted", "outage.fault"), missing
