"""Explain for every dialect: the text is the verifier's own on every capture, and usual mistakes are named."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest
from clients.dialects import CASES, path_of
from dialects.captured import Capture, captures, material_of, named, read, request_of, row_of
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FORM, NOW, make_request

from tradeguard.core.request import Headers, Request
from tradeguard.core.secret import Secret
from tradeguard.signing.example import EXAMPLE_PHRASE, EXAMPLE_SECRET, example_secret, make_example_signer
from tradeguard.signing.explain import Verdict, explain, verify
from tradeguard.signing.material import HMACS
from tradeguard.signing.row import Row
from tradeguard.signing.rows import ROWS
from tradeguard.signing.signer import Outgoing, Signer

every_capture = pytest.mark.parametrize("capture", captures(), ids=named)
JSON = b"application/json"
ORDER = b'{"symbol":"BTC-USD","qty":"1.50"}'
TEXT = b"symbol=BTC-USD&qty=1.50"
BODIES: dict[str, tuple[bytes, bytes]] = dict.fromkeys(
    ("binance", "bitstamp", "kraken", "kraken-futures", "kraken-futures-bare"), (FORM, TEXT)
)


def key_of(capture: Capture) -> Any:
    """What the operator gives: the secret as the customer has it, or the public key."""
    return Secret(capture["secret"]) if capture["algorithm"] in HMACS else material_of(capture)


# --- the text ------------------------------------------------------------------------------------------------------


@every_capture
def test_the_text_of_what_real_clients_sent_is_the_verifiers_and_their_signature_is_over_it(capture: Capture) -> None:
    row, request = row_of(capture), request_of(capture)
    signed = read(row, request)
    for text in (signed.message, *signed.others):
        explained = explain(row, request, text)
        assert (explained.text, explained.difference, explained.advice) == (text, None, ())
        assert (explained.refusals, explained.faults) == ((), ())
        verdict = verify(row, request, explained, text, key_of(capture))
        assert verdict.ours, verdict
    assert verify(row, request, explain(row, request, b""), b"", key_of(capture)).ours


@every_capture
def test_the_lines_make_up_the_text(capture: Capture) -> None:
    row, request = row_of(capture), request_of(capture)
    explained = explain(row, request, b"")
    pieces = [value for name, value in explained.lines if ": " not in name]
    assert (
        explained.text in (mark.join(pieces) for mark in (b"", b"\n", b"&")) or row.message == "/api{path}{nonce}{body}"
    )


@every_capture
def test_every_known_mistake_gets_an_advice_and_the_signature_over_it_is_recognised(capture: Capture) -> None:
    row, request = row_of(capture), request_of(capture)
    first = explain(row, request, b"")
    assert first.mistakes
    for says, text, _ in first.mistakes:
        if text in first.readings:
            continue
        explained = explain(row, request, text)
        assert explained.difference is not None
        assert explained.advice, says


def test_which_of_several_messages_it_is_is_told() -> None:
    row = ROWS["kucoin"]
    request = sign_for(row, "GET", b"/v1/order?a=b%20c")
    decoded, raw = explain(row, request, b"").readings
    assert explain(row, request, decoded).message == row.message[0]
    assert explain(row, request, raw).message == row.message[1]
    assert explain(row, request, raw).difference is None
    verdict = verify(row, request, explain(row, request, raw), raw, Secret(EXAMPLE_SECRET))
    assert (verdict.ours, verdict.theirs) == (True, False)
    assert "another message that kucoin takes" in verdict.advice[0]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([*ROWS.values()]),
    st.sampled_from(
        [
            b"",
            b"{",
            b'{"a":',
            b'{"nonce":{},"params":[[]],"sig":1e5}',
            b"[" * 2_000,
            b"a&nonce=x&a",
            b"\xff",
            b'{"method":"\\ud800","nonce":"\\ud800","id":1,"params":{"a":"\\ud800"}}',
        ]
    ),
    st.binary(max_size=40),
    st.binary(max_size=40),
)
def test_nothing_that_is_sent_in_makes_it_stumble(row: Row, body: bytes, value: bytes, theirs: bytes) -> None:
    names = {place.name.lower() for place in row.places} | {b"authorization", b"host", b"content-type"}
    names |= {row.payload.name} if row.payload is not None else set()
    target = b"/%s?%s" % (value.hex().encode(), b"&".join(name + b"=%zz" for name in names))
    request = make_request("POST", target, body=body, headers=[(name, value) for name in names])
    explained = explain(row, request, theirs)
    assert (explained.difference is None) is (explained.text == theirs)
    assert verify(row, request, explained, theirs, Secret(b"no such secret at all")).ours is False


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_half_of_a_character_in_a_body_is_signed_by_nobody(row: Row) -> None:
    halves = b'{"method":"\\ud800","nonce":"\\ud800","id":1,"params":{"a":"\\ud800"}}'
    explained = explain(row, make_request("POST", b"/v1/orders", body=halves), b"")
    assert explained.refusals
    assert explained.faults


# --- mistakes ------------------------------------------------------------------------------------------------------


def sign_for(row: Row, method: str = "POST", target: bytes = b"", signer: Any = None, body: bytes = b"") -> Request:
    """A signed request of a dialect."""
    signer = signer or make_example_signer(row, next(name for name in row.algorithms if name in HMACS))
    kind, usual = BODIES.get(row.name, (JSON, ORDER)) if method == "POST" else (b"", b"")
    out = Outgoing(method, "api.example", target or path_of(row).encode(), kind, body or usual)
    out = out._replace(body=b"", content_type=b"") if row.name == "mexc" else out
    signed = signer.sign(out, NOW)
    fields = [(b"content-type", signed.content_type)] if signed.content_type else []
    return make_request(method, signed.target, body=signed.body, headers=[*fields, *signed.headers])


def change(name: str, value: bytes, request: Request) -> Request:
    """The request with another header field."""
    request.headers = Headers([field for field in request.headers.raw if field[0] != name.encode()]
                              + [(name.encode(), value)])  # fmt: skip
    return request


Exchange = Callable[[bytes], bytes]
GET = b"/v1/order?symbol=BTC%20USD&limit=10"
MISTAKES: list[tuple[str, str, bytes, Exchange, str]] = [
    ("okx", "POST", b"", lambda t: t.replace(b"2026-11-18T", b"x"), "another time"),
    ("okx", "POST", b"", lambda t: str(NOW // 10**6).encode() + t[24:], "in milliseconds; okx has it in ISO 8601"),
    ("okx", "POST", b"", lambda t: str(NOW // 10**9).encode() + t[24:], "in whole seconds"),
    ("okx", "POST", b"", lambda t: t.replace(b"POST", b"post"), "upper case"),
    ("okx", "POST", b"", lambda t: t.replace(b'":"', b'": "').replace(b',"', b', "'), "same JSON"),
    ("okx", "POST", b"", lambda t: t.replace(ORDER, b""), "body is signed too"),
    ("okx", "GET", GET, lambda t: t + b"{}", "There is no body"),
    ("okx", "GET", GET, lambda t: t.replace(b"%20", b" "), "encoded in another way"),
    ("okx", "GET", GET, lambda t: t.partition(b"?")[0], "query belongs"),
    ("okx", "GET", b"/v1/order", lambda t: t + b"?limit=5", "not sent"),
    ("bybit", "POST", b"", lambda t: str(NOW // 10**9).encode() + t[13:], "in seconds"),
    ("bitvavo", "POST", b"", lambda t: t.replace(b"/v1", b""), "prefix"),
    ("bitmex", "GET", GET, lambda t: t.replace(b"GET", b""), "method is missing"),
    ("bitstamp", "POST", b"", lambda t: t.replace(b"api.example", b""), "host is missing"),
    ("bitstamp", "POST", b"", lambda t: t.replace(b"v2", b""), "stands there in every message"),
    ("bitstamp", "POST", b"", lambda t: t.replace(b"BITSTAMP ", b""), "another key id"),
    ("phemex", "GET", GET, lambda t: t.replace(b"symbol", b"?symbol"), "without the ? before it"),
    ("bitget", "GET", GET, lambda t: t.replace(b"?", b""), "? before the query is signed"),
    ("bitget", "GET", GET, lambda t: t.replace(b"limit=10&symbol=BTC USD", b"symbol=BTC USD&limit=10"),
     "sorted by name"),
    ("bitget", "GET", GET, lambda t: t.replace(b"BTC USD", b"BTC%20USD"), "signed decoded"),
    ("gate", "POST", b"", lambda t: t.replace(hashlib.sha512(ORDER).hexdigest().encode(),
                                              hashlib.sha256(ORDER).hexdigest().encode()),
     "a SHA-512 in lower-case hex"),
    ("gate", "POST", b"", lambda t: t.replace(hashlib.sha512(ORDER).hexdigest().encode(), ORDER), "not the text"),
    ("deribit", "POST", b"", lambda t: t[:-1], "newline at the end is missing"),
    ("deribit", "POST", b"", lambda t: t.replace(b"\n", b""), "joined by something else"),
    ("htx", "POST", b"", lambda t: t.replace(b"api.example", b"API.example"), "lower case"),
    ("htx", "POST", b"", lambda t: t.replace(b"%3A", b":"), "was decoded"),
    ("gemini", "POST", b"", base64.b64decode, "not the JSON"),
    ("bitfinex", "POST", b"", lambda t: t.removeprefix(b"/api"), "every message"),
    ("mexc", "POST", b"/v1/order?b=1&a=2", lambda t: b"&".join(sorted(t.split(b"&"))), "not sorted"),
    ("kraken-futures", "POST", b"", lambda _: hashlib.sha256(TEXT + b"%d" % (NOW // 10**3) + b"/order").digest(),
     "hash is over /api/v3 too"),
    ("kraken", "POST", b"", lambda t: t[:9] + t[9:].hex().encode(), "32 bytes of a SHA-256; this is a SHA-256 in"),
    ("kraken", "POST", b"", lambda t: t[:9] + hashlib.sha256(b"nonce=%d&" % (NOW // 10**3) + TEXT).digest(),
     "The nonce is missing."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "method", "target", "exchange", "advice"), MISTAKES)
def test_a_usual_mistake_is_named(name: str, method: str, target: bytes, exchange: Exchange, advice: str) -> None:
    row = ROWS[name]
    request = sign_for(row, method, target)
    ours = explain(row, request, b"").text
    theirs = exchange(ours)
    assert theirs != ours
    explained = explain(row, request, theirs)
    assert explained.difference is not None
    assert any(advice in line for line in explained.advice), explained.advice


# --- with the secret -------------------------------------------------------------------------------------------------


def judged(row: Row, request: Request, key: Any = None, theirs: bytes | None = None) -> Verdict:
    explained = explain(row, request, theirs if theirs is not None else explain(row, request, b"").text)
    return verify(row, request, explained, theirs or explained.text, key or Secret(example_secret(row)))


def test_a_secret_that_is_base64_and_was_used_as_text_is_told() -> None:
    row = ROWS["coinbase-exchange"]
    text = base64.b64encode(example_secret(row))  # what decodes to the text of the secret
    verdict = judged(row, sign_for(row, signer=Signer(row, "k", text, EXAMPLE_PHRASE)))
    assert not verdict.ours
    assert "The client signs with its secret as text; the secret is the base64 of the key: decode it." in verdict.advice


def test_a_secret_that_is_text_and_was_decoded_is_told() -> None:
    row = ROWS["okx"]
    request = sign_for(row, signer=Signer(row, "k", EXAMPLE_SECRET, EXAMPLE_PHRASE))
    verdict = judged(row, request, Secret(base64.b64encode(EXAMPLE_SECRET)))
    assert "its secret read as base64" in verdict.advice[0]
    assert "the secret is used as the bytes of its text" in verdict.advice[0]


@pytest.mark.parametrize(
    ("name", "spell", "advice"),
    [
        ("okx", lambda mac: mac.hex().encode(), "in hex; okx has base64."),
        ("okx", lambda mac: base64.b64encode(mac.hex().encode()), "in base64 of its hex; okx has base64."),
        ("bybit", base64.b64encode, "in base64; bybit has hex."),
        ("bitvavo", lambda mac: mac.hex().upper().encode(), "in upper-case hex; bitvavo has hex."),
    ],
)
def test_a_signature_in_another_spelling_is_told(name: str, spell: Callable[[bytes], bytes], advice: str) -> None:
    row = ROWS[name]
    request = sign_for(row)
    text = explain(row, request, b"").text
    change(row.signature.name.decode(), spell(hmac.digest(EXAMPLE_SECRET, text, "sha256")), request)
    verdict = judged(row, request)
    assert not verdict.ours
    assert any(advice in line for line in verdict.advice), verdict.advice


def test_another_hash_is_told() -> None:
    row = ROWS["bitfinex"]
    request = sign_for(row)
    text = explain(row, request, b"").text
    change("bfx-signature", hmac.digest(EXAMPLE_SECRET, text, "sha512").hex().encode(), request)
    assert judged(row, request).advice == (
        "The signature has 128 characters, hex of 64 bytes; bitfinex has hex of 48 bytes (96 characters).",
        "The client signs with hmac-sha512; bitfinex has hmac-sha384.",
    )


def test_a_mistake_that_only_the_signature_shows_is_told() -> None:
    row = ROWS["okx"]
    request = sign_for(row)
    text = explain(row, request, b"").text.replace(b"POST", b"post")
    change("ok-access-sign", base64.b64encode(hmac.digest(EXAMPLE_SECRET, text, "sha256")), request)
    assert judged(row, request).advice == (
        "The secret is right, and the signed text has this mistake: The method is in upper case.",
    )


@pytest.mark.parametrize(("row", "algorithm"), [case for case in CASES if isinstance(case[0], Row)],
                         ids=lambda value: getattr(value, "name", value))  # fmt: skip
def test_no_signature_that_would_be_right_is_ever_shown(row: Row, algorithm: str) -> None:
    """Attack: whoever can ask the tool must not get a signature of it."""
    if algorithm not in HMACS:
        return
    request = sign_for(row)
    text = explain(row, request, b"").text
    mac = hmac.digest(EXAMPLE_SECRET, text, algorithm.removeprefix("hmac-"))
    if row.in_text:
        request.target = request.target.replace(request.target.rpartition(b"=")[2], b"ab" * 32)
    else:
        change(row.signature.name.decode(), b"ab" * 32, request)
    told = repr((explain(row, request, text), judged(row, request)))
    for shown in (mac.hex(), base64.b64encode(mac).decode(), repr(mac)[2:-1], EXAMPLE_SECRET.decode()):
        assert shown not in told


def test_what_an_unknown_algorithm_of_a_key_means_is_told() -> None:
    row = ROWS["okx"]
    [capture] = [one for one in captures() if one["venue"] == "binance" and one["algorithm"] == "ed25519"][:1]
    verdict: Verdict = judged(row, sign_for(row), material_of(capture))
    assert verdict.advice == ("okx has no ed25519; it has hmac-sha256.",)
