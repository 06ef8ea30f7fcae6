"""The `bitstamp` dialect: everything is signed, host and content type too; a nonce is good once, for reads too."""

import hmac
from typing import Any

import pytest
from dialects.captured import body_of, captures, material_of, read, request_of, row_of, verifies
from dialects.ours import HOST, SECRET, decide, guard_of, key_of, signed
from support import FORM, NOW

from tradeguard.signing.rows import BITSTAMP
from tradeguard.signing.signer import Outgoing

KEY = b"BITSTAMP " + key_of(BITSTAMP).encode()
NONCE = b"6f1f6e1c-0a49-4f6b-9d0e-1f2a3b4c5d6e"
TIME = b"%d" % (NOW // 1_000_000)
READ = signed(BITSTAMP, "GET", b"/api/v2/fees/?pair=btcusd")
ORDER = signed(BITSTAMP, "POST", b"/api/v2/buy/btcusd/", b"amount=1&price=2", FORM)


def made(
    method: str = "POST", target: bytes = b"/o/", body: bytes = b"a=1", kind: bytes = FORM,
    *, nonce: bytes = NONCE, key: bytes = KEY, time: bytes = TIME, host: bytes = HOST.encode(),
) -> Outgoing:  # fmt: skip
    """A request that is signed as it stands."""
    text = key + method.encode() + host + target + kind + nonce + time + b"v2" + body
    signature = hmac.digest(SECRET, text, "sha256").hex().encode()
    names = (b"x-auth", b"x-auth-nonce", b"x-auth-timestamp", b"x-auth-version", b"x-auth-signature")
    head = tuple(zip(names, (key, nonce, time, b"v2", signature), strict=True))
    return Outgoing(method, HOST, target, kind, body, head)


def test_an_honest_request_passes() -> None:
    assert [decide(guard_of(BITSTAMP), out) for out in (READ, ORDER, made())] == ["granted"] * 3


@pytest.mark.parametrize("out", [READ, ORDER], ids=["read", "order"])
def test_a_nonce_is_good_once_for_reads_too(out: Outgoing) -> None:
    guard = guard_of(BITSTAMP)
    assert [decide(guard, out) for _ in range(2)] == ["granted", "replay.seen"]


def test_a_nonce_is_good_once_whatever_else_is_signed_with_it() -> None:
    guard = guard_of(BITSTAMP)
    assert decide(guard, made(body=b"a=1")) == "granted"
    assert decide(guard, made(body=b"a=2")) == "replay.seen"
    assert decide(guard, made(nonce=NONCE.replace(b"6f", b"70"))) == "granted"


@pytest.mark.parametrize(
    "nonce",
    [
        NONCE.upper(),
        NONCE.replace(b"-", b""),
        b"{" + NONCE + b"}",
        NONCE[:-1],
        NONCE + b"0",
        b"urn:uuid:" + NONCE,
        b"1" * 36,
    ],
    ids=["capitals", "no dashes", "braces", "short", "long", "urn", "digits"],
)
def test_a_nonce_has_one_spelling(nonce: bytes) -> None:
    """An upper-case one would be another nonce, and good once more, if a store or a proxy took them for equal."""
    assert decide(guard_of(BITSTAMP), made(nonce=nonce)) == "place.field"


@pytest.mark.parametrize(
    "key",
    [KEY[9:], b"bitstamp" + KEY[8:], b"BITSTAMP  " + KEY[9:], b"BITSTAMP",
     b"BITSTAMP ", b"BITSTAMP\t" + KEY[9:], b"Bearer " + KEY[9:]],
)  # fmt: skip
def test_a_key_stands_behind_its_prefix(key: bytes) -> None:
    assert decide(guard_of(BITSTAMP), made(key=key)) == "place.field"


def test_the_content_type_is_signed_and_is_that_of_a_form() -> None:
    for kind in (b"", b"application/json", FORM + b"; charset=utf-8", FORM.upper()):
        assert decide(guard_of(BITSTAMP), made(kind=kind)) == "source.boundary"
        assert decide(guard_of(BITSTAMP), ORDER._replace(content_type=kind)) == "source.boundary"


def test_without_a_body_there_is_no_content_type() -> None:
    assert decide(guard_of(BITSTAMP), made(body=b"", kind=b"")) == "granted"
    assert decide(guard_of(BITSTAMP), made(body=b"", kind=FORM)) == "source.boundary"
    assert decide(guard_of(BITSTAMP), made("GET", body=b"", kind=FORM)) == "source.boundary"


def test_no_byte_moves_between_query_and_content_type() -> None:
    out = made("POST", b"/o/?q=" + FORM, b"", b"")
    assert decide(guard_of(BITSTAMP), out) == "source.boundary"
    for k in range(1, len(FORM)):
        moved = made()._replace(target=b"/o/" + FORM[:k], content_type=FORM[k:])
        assert decide(guard_of(BITSTAMP), moved) in ("source.boundary", "frame.path")


@pytest.mark.parametrize(
    ("host", "sent", "scheme", "code"),
    [
        (b"api.example", b"api.example", "https", "granted"),
        (b"api.example:8443", b"api.example:8443", "https", "granted"),
        (b"api.example", b"api.example:443", "https", "granted"),
        (b"api.example", b"API.EXAMPLE", "https", "granted"),
        (b"api.example:8443", b"api.example", "https", "signature.wrong"),
        (b"api.example", b"api.example:8443", "https", "signature.wrong"),
        (b"api.example", b"api.example:80", "https", "signature.wrong"),
        (b"api.example", b"other.example", "https", "signature.wrong"),
    ],
)
def test_the_host_is_signed_with_its_port(host: bytes, sent: bytes, scheme: str, code: str) -> None:
    assert decide(guard_of(BITSTAMP), made(host=host), [(b"host", sent)], scheme=scheme) == code


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("method", "PUT"),
        ("target", b"/api/v2/sell/btcusd/"),
        ("target", b"/api/v2/buy/btcusd/?a=1"),
        ("target", b"/api/v2/buy/btcusd"),
        ("body", b"amount=2&price=2"),
    ],
)
def test_everything_is_signed(change: str, value: Any) -> None:
    guard = guard_of(BITSTAMP)
    assert decide(guard, ORDER._replace(**{change: value})) in ("signature.wrong", "frame.path")
    assert decide(guard, ORDER) == "granted"


@pytest.mark.parametrize("time", [TIME[:10], TIME + b"000", b"0" + TIME[1:]])
def test_a_time_is_thirteen_digits(time: bytes) -> None:
    assert decide(guard_of(BITSTAMP), made(time=time)) == "place.field"


@pytest.mark.parametrize(("off", "code"), [(-150_001, "stale"), (150_001, "early")])
def test_a_time_is_at_most_150_seconds_off(off: int, code: str) -> None:
    time = b"%d" % (NOW // 1_000_000 + off)
    assert decide(guard_of(BITSTAMP), made(time=time)) == f"freshness.{code}"


def test_what_ccxt_sends_is_read_as_it_signed_it() -> None:
    found = [capture for capture in captures() if capture["venue"] == "bitstamp"]
    assert b"foo=bar" in {body_of(capture) for capture in found}  # where it has nothing to say
    for capture in found:
        request = request_of(capture, scheme="https")
        assert verifies(material_of(capture), read(row_of(capture), request))
