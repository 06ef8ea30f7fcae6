"""What the signer of each row sends, its verifier takes: every algorithm, every kind of request, and no change."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support import FORM, MS, NOW, make_request

from tradeguard.core.decision import Refused
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import check_frame
from tradeguard.core.key import Material
from tradeguard.core.policy import Policy
from tradeguard.core.request import Request
from tradeguard.signing.algorithm import PAIRS
from tradeguard.signing.material import Hmac
from tradeguard.signing.place import Field
from tradeguard.signing.private import PrivateKey, find_public, make_private_key
from tradeguard.signing.row import Row
from tradeguard.signing.rows import OKX, ROWS
from tradeguard.signing.signer import Outgoing, Signer
from tradeguard.signing.stamp import STAMPS, Unit
from tradeguard.signing.verifier import Signed, Verifier

HOST = "api.example"
RAW = bytes(range(32))
PHRASE = "open sesame"
KEYS: dict[str, PrivateKey] = {algorithm: make_private_key(algorithm) for algorithm in PAIRS}
PAIRED = [(row, algorithm) for row in ROWS.values() for algorithm in row.algorithms]
TRICKY = "a%20b%20c%2Fd~%2A%27%28%29%C3%A9"  # a b c/d~*'()é
TRICKY_JSON = """{"symbol":"BTC-USD","note":"a b c/d~*'()é","n":0.1,"list":["17"]}"""


def names(value: object) -> str:
    return value.name if isinstance(value, Row) else str(value)


def make_pair(row: Row, algorithm: str) -> tuple[Signer, Material]:
    """The two ends of a key: what its client has, and what the venue keeps."""
    phrase = PHRASE if row.passphrase is not None else None
    if algorithm in PAIRS:
        return Signer(row, "client", KEYS[algorithm], phrase), find_public(KEYS[algorithm])
    secret = b64encode(RAW) if row.secret == "base64" else b"a-secret-as-the-venue-gave-it-out"
    raw = RAW if row.secret == "base64" else secret
    return Signer(row, "client", secret, phrase), Hmac(raw, algorithm)


def in_body(row: Row) -> bool:
    return any(isinstance(place, Field) for place in row.places)


def requests_of(row: Row) -> Iterator[tuple[str, Outgoing]]:
    """What a client of the row sends: rows whose fields stand in the body are asked by POST alone."""
    path = f"{row.mount}/private/orders"  # a row that signs the path as a word has no digits in it
    ask = "POST" if in_body(row) else "GET"
    yield "read", Outgoing(ask, HOST, path.encode())
    if "query" in row.coverage and not in_body(row):
        yield "query", Outgoing(ask, HOST, f"{path}?symbol=BTC-USD&limit=5".encode())
        yield "tricky query", Outgoing(ask, HOST, f"{path}?symbol={TRICKY}&z=1".encode())
        yield "cancel by query", Outgoing("DELETE", HOST, f"{path}?id=17".encode())
    yield "cancel", Outgoing("POST", HOST, f"{path}/cancel".encode())
    if not in_body(row):
        yield "cancel one", Outgoing("DELETE", HOST, f"{path}/17".encode())
    yield "empty order", Outgoing("POST", HOST, path.encode())
    if row.body == "none":
        yield "order", Outgoing("POST", HOST, f"{path}?side=BUY&note={TRICKY}".encode())
    if row.body in ("form", "both", "any"):
        yield "order form", Outgoing("POST", HOST, path.encode(), FORM, f"side=BUY&note={TRICKY}".encode())
    if row.body in ("json", "both", "any", "repeat") and "form" not in row.parts and not row.name.startswith("kraken"):
        yield "order JSON", Outgoing("POST", HOST, path.encode(), b"application/json", TRICKY_JSON.encode())


CASES = [
    pytest.param(row, algorithm, out, id=f"{row.name}-{algorithm}-{what}")
    for row, algorithm in PAIRED
    for what, out in requests_of(row)
]


def received(out: Outgoing, at: int = NOW) -> Request:
    """What arrives of it."""
    kind = [(b"content-type", out.content_type)] if out.content_type else []
    headers = [(b"host", out.authority.encode()), *kind, *out.headers]
    return make_request(out.method, out.target, body=out.body, headers=headers, arrived=at, scheme="https")


def read(row: Row, out: Outgoing) -> Signed:
    request, verifier = received(out), Verifier(row)
    check_frame(request, Policy())
    claim = verifier.claim(request)
    assert claim is not None
    assert not claim.bare
    return verifier.read(request, claim, out.body)


def holds(row: Row, material: Material, out: Outgoing) -> bool:
    try:
        signed = read(row, out)
    except Refused:
        return False
    return any(drive(material.verify(text, signed.signature)) for text in (signed.message, *signed.others))


@pytest.mark.parametrize(("row", "algorithm", "out"), CASES)
def test_what_the_signer_sends_the_verifier_takes(row: Row, algorithm: str, out: Outgoing) -> None:
    signer, material = make_pair(row, algorithm)
    sent = signer.sign(out, NOW)
    signed = read(row, sent)
    assert holds(row, material, sent)
    assert (signed.algorithm, signed.key_id) == (algorithm, "client")
    assert -signed.window.future <= NOW - signed.signed_at < signed.window.past
    assert (signed.phrase is not None) == (row.passphrase is not None)


@pytest.mark.parametrize(("row", "algorithm", "out"), CASES)
def test_the_caller_s_own_part_of_it_is_sent_as_it_was(row: Row, algorithm: str, out: Outgoing) -> None:
    sent = make_pair(row, algorithm)[0].sign(out, NOW)
    assert (sent.method, sent.authority) == (out.method, out.authority)
    path, _, query = out.target.partition(b"?")
    assert sent.target.partition(b"?")[0] == path
    assert query in sent.target
    if out.content_type == FORM:
        assert out.body in sent.body + sent.target


@pytest.mark.parametrize(("row", "algorithm"), PAIRED, ids=names)
def test_what_is_covered_cannot_be_changed_after_it_was_signed(row: Row, algorithm: str) -> None:
    signer, material = make_pair(row, algorithm)
    for what, out in requests_of(row):
        sent = signer.sign(out, NOW)
        for part, changed in changes(sent):
            if part in row.coverage:
                assert not holds(row, material, changed), (what, part)


def changes(sent: Outgoing) -> Iterator[tuple[str, Outgoing]]:
    """A request with one part changed, by whoever holds it."""
    path, mark, query = sent.target.partition(b"?")
    yield "method", sent._replace(method="PUT" if sent.method != "PUT" else "POST")
    yield "host", sent._replace(authority="other.example")
    yield "path", sent._replace(target=path + b"x" + mark + query)
    yield "query", sent._replace(target=sent.target + (b"&" if query else b"?") + b"x=1")
    if sent.body:
        told = sent.body.replace(b"BUY", b"SEL")
        yield (
            "body",
            sent._replace(body=told if told != sent.body else sent.body.replace(b"{", b'{"x":1,', 1) + b"&x=1"),
        )


@pytest.mark.parametrize("row", ROWS.values(), ids=names)
def test_a_nonce_is_random_or_rises_with_the_clock(row: Row) -> None:
    signer, _ = make_pair(row, next(iter(row.algorithms)))
    _, out = next(requests_of(row))
    first, second = (read(row, signer.sign(out, at)) for at in (NOW, NOW + MS))
    assert (first.nonce is None) == (row.nonce is None or row.form in ("free", "clock"))
    assert first.nonce is None or first.nonce != second.nonce
    assert (first.rises is None) == (row.form != "clock")
    assert first.rises is None or (second.rises or 0) > first.rises


@pytest.mark.parametrize("unit", [unit for unit, stamp in STAMPS.items() if stamp.size])
def test_a_row_of_ones_own_may_have_any_unit_and_one_length_of_it(unit: Unit) -> None:
    """Where nothing but its length says where a time ends: what stands before it is signed without a boundary."""
    row = replace(OKX, name="acme", unit=unit, passphrase=None, message="{method}{target}{time}{body}")
    signer, material = make_pair(row, "hmac-sha256")
    sent = signer.sign(Outgoing("GET", HOST, b"/v1/orders"), NOW)
    assert holds(row, material, sent)
    time = dict(sent.headers)[b"ok-access-timestamp"]
    for other in (time + b"0", time[:-1], b"0" + time, time + b" ", b"+" + time):
        headers = tuple((name, other if value == time else value) for name, value in sent.headers)
        with pytest.raises(Refused, match="field"):
            read(row, sent._replace(headers=headers))


@pytest.mark.parametrize("algorithm", PAIRS)
def test_a_row_of_ones_own_may_have_any_pair_of_keys(algorithm: str) -> None:
    row = replace(OKX, name="acme", passphrase=None, algorithms={algorithm: "base64"})
    for _, out in requests_of(row):
        signer, material = make_pair(row, algorithm)
        assert holds(row, material, signer.sign(out, NOW))


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.passphrase is not None], ids=names)
def test_a_row_with_a_passphrase_has_no_signer_without_one(row: Row) -> None:
    with pytest.raises(ConfigError, match="passphrase"):
        Signer(row, "client", b64encode(RAW))


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.secret == "base64"], ids=names)
def test_a_secret_that_is_no_base64_is_refused(row: Row) -> None:
    with pytest.raises(ConfigError, match="base64"):
        Signer(row, "client", b"no base64 at all!", PHRASE if row.passphrase else None)


@pytest.mark.parametrize("row", ROWS.values(), ids=names)
def test_what_is_signed_an_hour_ago_says_so(row: Row) -> None:
    if row.timeless:
        return
    signer, _ = make_pair(row, next(iter(row.algorithms)))
    _, out = next(requests_of(row))
    signed = read(row, signer.sign(out, NOW - 3_600_000 * MS))
    assert NOW - signed.signed_at >= signed.window.past
