"""What the signer sends, the verifier takes; what the dialect cannot say, the signer refuses."""

from dataclasses import replace

import pytest
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st
from support import BINA, EDWARD, FORM, HOME, MS, NOW, PRIVATE, SECRET, TRADER, make_guard, sign

from tradeguard.core.decision import Grant
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import check_frame
from tradeguard.core.policy import Policy
from tradeguard.core.secret import Secret
from tradeguard.signing.rows import BITMEX, TG1
from tradeguard.signing.signer import Outgoing, Signer
from tradeguard.signing.verifier import Verifier

NONCE = b"n" * 16
QUERY = st.text("abcXYZ019-._~!$'()*,:@/+%2520&=", max_size=60).map(str.encode)


def test_a_dialect_without_the_algorithm_of_the_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="bitmex has no ed25519; use hmac-sha256"):
        Signer(BITMEX, "bina", PRIVATE)


def test_bytes_and_secret_sign_alike_and_the_secret_is_in_no_text_of_the_signer() -> None:
    out = Outgoing("GET", "api.example", b"/v1/orders")
    signer = Signer(TG1, "trader", Secret(SECRET))
    assert signer.sign(out, NOW, NONCE) == TRADER.sign(out, NOW, NONCE)
    assert SECRET.decode() not in repr(vars(signer))


def test_a_nonce_is_random_unless_it_is_given() -> None:
    out = Outgoing("GET", "api.example", b"/v1/orders")
    drawn = {dict(TRADER.sign(out, NOW).headers)[b"tg-nonce"] for _ in range(50)}
    assert len(drawn) == 50
    assert {len(nonce) for nonce in drawn} == {22}  # 16 bytes
    assert dict(TRADER.sign(out, NOW, NONCE).headers)[b"tg-nonce"] == NONCE


def test_headers_of_the_caller_stay() -> None:
    out = Outgoing("GET", "api.example", b"/v1/orders", headers=((b"accept", b"*/*"),))
    assert TRADER.sign(out, NOW).headers[0] == (b"accept", b"*/*")
    assert BINA.sign(out, NOW).headers == ((b"accept", b"*/*"), (b"x-mbx-apikey", b"bina"))


def test_a_capital_host_is_signed_in_lower_case() -> None:
    small, capital = (
        TRADER.sign(Outgoing("GET", host, b"/"), NOW, NONCE).headers for host in ("api.example", "API.Example")
    )
    assert small == capital


@pytest.mark.parametrize(
    ("method", "target", "content_type", "body", "out_target", "out_body"),
    [
        ("GET", b"/o", b"", b"", b"/o?timestamp=%d&signature=", b""),
        ("GET", b"/o?a=1", b"", b"", b"/o?a=1&timestamp=%d&signature=", b""),
        ("POST", b"/o?a=1", b"", b"", b"/o?a=1&timestamp=%d&signature=", b""),
        ("POST", b"/o", FORM, b"a=1", b"/o", b"a=1&timestamp=%d&signature="),
        ("POST", b"/o", FORM, b"", b"/o", b"timestamp=%d&signature="),
        ("DELETE", b"/o?a=1", FORM, b"", b"/o?a=1&timestamp=%d&signature=", b""),
    ],
)
def test_binance_stands_last_in_the_query_or_in_the_form(
    method: str, target: bytes, content_type: bytes, body: bytes, out_target: bytes, out_body: bytes
) -> None:
    signed = BINA.sign(Outgoing(method, "api.example", target, content_type, body), NOW)
    in_form = bool(out_body)
    start = (out_body if in_form else out_target) % (NOW // MS)
    text = signed.body if in_form else signed.target
    assert text[:-64] == start
    assert signed.target == out_target if in_form else signed.body == body


@pytest.mark.parametrize("signer", [TRADER, EDWARD, HOME, BINA], ids=lambda signer: signer.key_id)
def test_what_is_signed_is_granted(signer: Signer, run: Run) -> None:
    request = sign(signer, "POST", b"/v1/orders", body=b"side=buy", content_type=FORM, address="203.0.113.9")
    decision = run(make_guard().admit(request))
    assert isinstance(decision, Grant)
    assert decision.principal is not None
    assert decision.principal.key_id == signer.key_id


@given(query=QUERY)
def test_every_query_is_signed_as_it_is_sent(query: bytes) -> None:
    for signer in (TRADER, BINA):
        request = sign(signer, "GET", b"/v1/orders?" + query if query else b"/v1/orders")
        assert isinstance(drive(make_guard().admit(request)), Grant)


@given(body=st.binary(max_size=200), content_type=st.sampled_from([b"", b"application/json", b"text/plain; charset=x"]))
def test_every_body_is_signed_as_it_is_sent(body: bytes, content_type: bytes) -> None:
    request = sign(TRADER, "POST", b"/v1/orders", body=body, content_type=content_type)
    assert isinstance(drive(make_guard().admit(request)), Grant)


def test_a_dialect_without_a_nonce_sends_and_reads_none() -> None:
    row = replace(TG1, name="plain", nonce=None, message=str(TG1.message).replace("{nonce}", "-"))
    request = sign(Signer(row, "trader", SECRET), nonce=NONCE)
    assert b"tg-nonce" not in request.headers
    check_frame(request, Policy())
    verifier = Verifier(row)
    claim = verifier.claim(request)
    assert claim is not None
    assert verifier.read(request, claim, b"").nonce is None


@pytest.mark.parametrize(
    ("target", "content_type", "body"),
    [(b"/v1/orders?a=1", FORM, b"b=2"), (b"/v1/orders", b"application/json", b"{}")],
    ids=["query and form", "JSON"],
)
def test_what_binance_cannot_sign_is_refused_at_once(target: bytes, content_type: bytes, body: bytes) -> None:
    with pytest.raises(ConfigError, match="signs a query or a form"):
        BINA.sign(Outgoing("POST", "api.example", target, content_type, body), NOW)
