"""Kraken Spot: the nonce stands in the body, once, and nothing stands in the query."""

import base64
import hashlib
import os
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from dialects.clocked import JSON, KEY_ID, ORDERS, Asked, Venue, by_hand, mac
from dialects.sdk import BESIDE
from dialects.served import serving
from support import FORM, NOW, SECOND

from tradeguard.signing.refusal import fill
from tradeguard.signing.rows import KRAKEN
from tradeguard.signing.signer import Outgoing

PATH = ORDERS["kraken"].target
NONCE = b"1795000000000"
FORMED = b"nonce=" + NONCE + b"&pair=XBTUSD"


def sign(body: bytes, content_type: bytes = FORM, target: bytes = PATH, nonce: bytes = NONCE) -> Outgoing:
    """A message by Kraken's own recipe: the signer would add a nonce to the body."""
    text = target.partition(b"?")[0] + hashlib.sha256(nonce + body).digest()
    headers = {b"api-key": KEY_ID.encode(), b"api-sign": base64.b64encode(mac(text, "sha512"))}
    return by_hand(headers, Asked(target, content_type, body))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(FORM, FORMED, id="first in a form, as ccxt does"),
        pytest.param(FORM, b"pair=XBTUSD&nonce=" + NONCE, id="last in a form, as krakenex does"),
        pytest.param(FORM + b"; charset=utf-8", b"pair=a+b&nonce=" + NONCE, id="python-kraken-sdk"),
        pytest.param(JSON, b'{"nonce":"' + NONCE + b'","orders":["17"]}', id="a text in JSON"),
        pytest.param(JSON, b'{"orders": ["17"], "nonce": ' + NONCE + b"}", id="a number in JSON"),
        pytest.param(FORM, FORMED + b"&otp=123456", id="with a second factor of the venue's"),
    ],
)
def test_the_nonce_stands_anywhere_in_a_form_or_a_json_object(content_type: bytes, body: bytes) -> None:
    assert Venue("kraken").send(sign(body, content_type)) == "granted"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(FORM, FORMED + b"&nonce=" + NONCE, id="twice in a form"),
        pytest.param(FORM, FORMED + b"&nonc%65=1795000000001", id="a second time, encoded"),
        pytest.param(FORM, b"nonce=%31795000000000", id="with an encoded digit"),
        pytest.param(FORM, b"nonce=+" + NONCE, id="behind a space"),
        pytest.param(FORM, b"Nonce=" + NONCE, id="in another case"),
        pytest.param(FORM, b"pair=XBTUSD", id="missing"),
        pytest.param(JSON, b'{"nonce":"' + NONCE + b'","nonce":"1795000000001"}', id="twice in JSON"),
        pytest.param(JSON, b'{"nonce":"' + NONCE + b'","n\\u006fnce":"1795000000001"}', id="twice in JSON, encoded"),
        pytest.param(JSON, b'{"nonce":1795000000000.0}', id="a fraction"),
        pytest.param(JSON, b'{"nonce":true}', id="a boolean"),
        pytest.param(JSON, b'{"nonce":["' + NONCE + b'"]}', id="in a list"),
        pytest.param(JSON, b'[{"nonce":"' + NONCE + b'"}]', id="not in an object"),
        pytest.param(b"", FORMED, id="in a form that is not said to be one"),
        pytest.param(JSON, FORMED, id="in a form that is said to be JSON"),
        pytest.param(FORM, b'{"nonce":"' + NONCE + b'","a":"&pair=XBTUSD&b"}', id="in JSON that is said to be a form"),
    ],
)
def test_a_nonce_that_could_be_read_in_two_ways_is_refused_although_it_is_signed(
    content_type: bytes, body: bytes
) -> None:
    assert Venue("kraken").send(sign(body, content_type)) in ("place.field", "source.boundary")


@pytest.mark.parametrize("query", [b"?nonce=" + NONCE, b"?pair=ETHUSD", b"?"])
def test_there_is_no_query_beside_the_body(query: bytes) -> None:
    assert Venue("kraken").send(sign(FORMED), target=PATH + query) == "source.boundary"


def test_the_nonce_is_not_taken_from_the_query_either() -> None:
    venue = Venue("kraken")
    assert venue.send(sign(b"pair=XBTUSD"), target=PATH + b"?nonce=" + NONCE) in ("place.field", "source.boundary")


def test_no_digit_moves_from_the_nonce_into_the_body() -> None:
    """The hash is over nonce and body: 179500000000 and 0nonce=... would be the same text."""
    short = NONCE[:-1]
    out = sign(NONCE[-1:] + b"&nonce=" + short, nonce=short)
    assert Venue("kraken").send(out) == "source.boundary"


@pytest.mark.parametrize("change", [{"target": b"/0/private/CancelAll"}, {"body": FORMED.replace(b"XBT", b"ETH")}])
def test_what_is_signed_cannot_be_changed(change: dict[str, bytes]) -> None:
    operations = {"POST /0/private/AddOrder": "orders:write", "POST /0/private/CancelAll": "orders:write"}
    venue = Venue("kraken", operations=operations)
    assert venue.send(sign(FORMED), **change) == "signature.wrong"
    assert venue.send(sign(FORMED)) == "granted"


# --- what its clients are told ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("situation", "text", "error"),
    [
        ("bad-key", "EAPI:Invalid key", "KrakenInvalidAPIKeyError"),
        ("bad-signature", "EAPI:Invalid key", "KrakenInvalidAPIKeyError"),
        ("stale", "EAPI:Invalid nonce", "KrakenInvalidNonceError"),
        ("replay", "EGeneral:Invalid arguments:nonce", "KrakenInvalidArgumentsError"),
        ("permission", "EGeneral:Permission denied", "KrakenPermissionDeniedError"),
    ],
)
def test_its_other_clients_understand_refusals_too(situation: str, text: str, error: str) -> None:
    """krakenex hands the body on; python-kraken-sdk raises, and looks for errors at status 200 only."""
    if not BESIDE.exists() and "CI" not in os.environ:
        pytest.skip(f"{BESIDE} is missing: make test")
    with serving("kraken", situation=situation, client="krakenex") as served:
        (outcome,) = served.ask(("order",))
    assert (outcome["raised"], outcome["value"]["error"]) == ([], [text])
    with serving("kraken", situation=situation, client="python-kraken-sdk spot") as served:
        (outcome,) = served.ask(("order",))
    assert outcome["raised"][:1] == [error]


def test_the_clock_is_told_as_kraken_tells_it() -> None:
    assert fill(KRAKEN.clock, NOW) == {
        "error": [],
        "result": {"unixtime": NOW // SECOND, "rfc1123": "Wed, 18 Nov 2026 11:06:40 +0000"},
    }
    assert fill("{rfc1123}", 1_591_502_873 * SECOND) == format_datetime(datetime.fromtimestamp(1_591_502_873, UTC))
