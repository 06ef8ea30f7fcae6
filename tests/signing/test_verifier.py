"""The verifier reads each field once, in its one spelling, from its one place; or it refuses."""

import base64
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import BINA, FORM, MS, NOW, SECOND, TRADER, make_request, sign

from tradeguard.core.credential import Claim
from tradeguard.core.decision import UNAUTHORIZED, Refused
from tradeguard.core.frame import check_frame
from tradeguard.core.policy import Policy
from tradeguard.core.request import Request
from tradeguard.signing.encoding import encode_base64url
from tradeguard.signing.rows import BINANCE, KRAKEN_FUTURES_BARE, TG1
from tradeguard.signing.verifier import Signed, Verifier

TG, BN = Verifier(TG1), Verifier(BINANCE)
FIELDS = {b"tg-key": b"trader", b"tg-time": b"1795000000000", b"tg-nonce": b"n" * 16, b"tg-signature": b"A" * 43}
KEY = {b"x-mbx-apikey": b"bina"}
STAMP = b"timestamp=1795000000000"
HEX = b"ab" * 32


def _request(
    headers: dict[bytes, bytes], twice: Iterable[tuple[bytes, bytes]] = (), target: bytes = b"/v1/orders"
) -> Request:
    return make_request("GET", target, headers=[*headers.items(), *twice])


def _read(verifier: Verifier, request: Request, body: bytes = b"") -> Signed:
    check_frame(request, Policy())
    claim = verifier.claim(request)
    assert claim is not None
    return verifier.read(request, claim, body)


def _refusal(verifier: Verifier, request: Request, body: bytes = b"") -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        _read(verifier, request, body)
    assert refused.value.denial.public == UNAUTHORIZED
    return refused.value.denial.code, refused.value.denial.detail


def _query(text: bytes) -> Request:
    return make_request("GET", b"/v1/orders?" + text, headers=KEY.items())


def test_the_fields_as_they_should_be_are_read() -> None:
    """The measure for the refusals below: each of them changes one thing of this."""
    signed = _read(TG, _request(FIELDS))
    assert signed[:1] + signed[2:7] == ("hmac-sha256", bytes(32), NOW, b"n" * 16, TG1.window, "trader")
    signed = _read(BN, _query(b"a=1&" + STAMP + b"&signature=" + HEX))
    assert signed[:6] == ("hmac-sha256", b"a=1&" + STAMP, bytes.fromhex(HEX.decode()), NOW, None, BINANCE.window)


@pytest.mark.parametrize("field", [b"tg-time", b"tg-nonce", b"tg-signature"])
def test_a_missing_field_is_named(field: bytes) -> None:
    headers = {name: value for name, value in FIELDS.items() if name != field}
    assert _refusal(TG, _request(headers)) == ("place.field", field.decode())


@pytest.mark.parametrize("value", [b"same", b"other"])
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_stands_twice_is_refused(field: bytes, value: bytes) -> None:
    second = FIELDS[field] if value == b"same" else b"other-other-other"
    assert _refusal(TG, _request(FIELDS, [(field, second)])) == ("request.repeated", field.decode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"tg-key", b""),
        (b"tg-key", b"a,b"),
        (b"tg-key", b"a b"),
        (b"tg-key", b"k" * 129),
        (b"tg-key", b"tr\xc3\xa4der"),
        (b"tg-key", b"trader\xa0"),
        (b"tg-key", "\u212aey".encode()),
        (b"tg-time", b""),
        (b"tg-time", b"+1795000000000"),
        (b"tg-time", b"-1"),
        (b"tg-time", b"01795000000000"),
        (b"tg-time", b"1_795_000_000_000"),
        (b"tg-time", b" 1795000000000"),
        (b"tg-time", b"1795000000000 "),
        (b"tg-time", b"1795000000000.0"),
        (b"tg-time", b"1.795e12"),
        (b"tg-time", b"9" * 5_000),
        (b"tg-time", "١٧٩٥".encode()),
        (b"tg-time", b"infinity"),
        (b"tg-time", b"1795000000000,1795000000000"),
        (b"tg-nonce", b""),
        (b"tg-nonce", b"n" * 15),
        (b"tg-nonce", b"n" * 65),
        (b"tg-nonce", b"n" * 15 + b"="),
        (b"tg-nonce", b"n" * 15 + b"+"),
        (b"tg-nonce", b"n" * 15 + b"."),
        (b"tg-nonce", b" " + b"n" * 16),
        (b"tg-nonce", "é".encode() * 8),
        (b"tg-signature", b""),
        (b"tg-signature", b"A" * 43 + b"="),
        (b"tg-signature", b"A" * 42 + b"B"),
        (b"tg-signature", b"A" * 42),
        (b"tg-signature", b"A" * 44),
        (b"tg-signature", b"+" * 43),
        (b"tg-signature", b"A" * 5_000),
        (b"tg-signature", b"A" * 85 + b"B"),
        (b"tg-signature", b"A" * 86 + b"=="),
        (b"tg-signature", b"A" * 42 + b" "),
        (b"tg-signature", b"\xff" * 43),
        (b"tg-signature", b"A" * 20_000),
    ],
    ids=lambda value: f"{value[:16]!r}{value[-2:]!r} ({len(value)})",
)
def test_a_malformed_field_is_refused(field: bytes, value: bytes) -> None:
    assert _refusal(TG, _request({**FIELDS, field: value})) == ("place.field", field.decode())


@pytest.mark.parametrize("size", sorted({*range(70)} - {32, 64}))
def test_a_signature_of_another_length_has_no_algorithm(size: int) -> None:
    request = _request({**FIELDS, b"tg-signature": encode_base64url(bytes(size))})
    assert _refusal(TG, request) == ("place.field", "tg-signature")


def test_the_length_of_a_signature_names_the_algorithm() -> None:
    assert _read(TG, _request(FIELDS)).message.startswith(b"TG1-HMAC-SHA256\n")
    signed = _read(TG, _request({**FIELDS, b"tg-signature": b"A" * 86}))
    assert signed.algorithm == "ed25519"
    assert signed.message.startswith(b"TG1-ED25519\n")


def test_a_signature_without_a_key_is_refused_and_no_field_at_all_is_no_claim() -> None:
    with pytest.raises(Refused):
        TG.claim(_request({b"tg-signature": b"A" * 43}))
    assert TG.claim(_request({})) is None
    assert BN.claim(_request({}, target=b"/v1/orders?a=1")) is None


@pytest.mark.parametrize(
    ("verifier", "request_", "bare"),
    [
        pytest.param(TG, _request({b"tg-key": b"trader"}), True, id="tg1, key alone"),
        pytest.param(TG, _request(FIELDS), False, id="tg1, signed"),
        pytest.param(BN, _request(KEY), True, id="binance, key alone"),
        pytest.param(BN, _query(STAMP + b"&signature=" + HEX), False, id="binance, signed"),
        pytest.param(
            BN,
            make_request("POST", b"/v1/echo", body=b"a=1", headers=[*KEY.items(), (b"content-type", FORM)]),
            False,
            id="binance, perhaps in the form",
        ),
        pytest.param(
            BN,
            make_request(
                "POST", b"/v1/echo", body=b"{}", headers=[*KEY.items(), (b"content-type", b"application/json")]
            ),
            True,
            id="binance, not in JSON",
        ),
        pytest.param(BN, _query(b"mysignature=1"), True, id="binance, a name that only ends like it"),
        pytest.param(
            TG,
            make_request("DELETE", b"/v1/echo", body=b"{}", headers=[(b"tg-key", b"trader")]),
            True,
            id="tg1, key and body",
        ),
        pytest.param(
            BN,
            make_request("GET", b"/v1/time", headers=KEY.items(), version="2"),
            True,
            id="binance, key alone over HTTP/2, where a GET without a body announces no length",
        ),
    ],
)
def test_a_key_without_a_signature_is_bare(verifier: Verifier, request_: Request, bare: bool) -> None:
    check_frame(request_, Policy())
    claim = verifier.claim(request_)
    assert claim is not None
    assert claim.bare is bare


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(STAMP, id="no signature"),
        pytest.param(b"signature=" + HEX, id="nothing but a signature"),
        pytest.param(b"&signature=" + HEX, id="nothing before the signature but &"),
        pytest.param(b"a=1&signature=" + HEX, id="no time"),
        pytest.param(STAMP + b"&signature=" + HEX + b"&a=1", id="something after the signature"),
        pytest.param(STAMP + b"&signature=" + HEX.upper(), id="capital hex"),
        pytest.param(STAMP + b"&signature=" + HEX[:-2], id="a short signature"),
        pytest.param(STAMP + b"&signature=" + HEX + b"ab", id="a long signature"),
        pytest.param(STAMP + b"&signature=" + b"ab" * 2_000, id="a very long signature"),
        pytest.param(STAMP + b"&signature=%61b" + HEX[2:], id="an encoded signature"),
        pytest.param(STAMP + b"&signature=" + HEX + b"&signature=" + HEX, id="two signatures"),
        pytest.param(b"signature=" + HEX + b"&" + STAMP + b"&signature=" + HEX, id="two signatures, one in front"),
        pytest.param(STAMP + b"&%73ignature=" + HEX + b"&signature=" + HEX, id="a second, encoded signature"),
        pytest.param(STAMP + b"&%73ignature=" + HEX, id="an encoded name"),
        pytest.param(STAMP + b"&" + STAMP + b"&signature=" + HEX, id="two times"),
        pytest.param(STAMP + b"&timestamp=1&signature=" + HEX, id="two different times"),
        pytest.param(STAMP + b"&%74imestamp=1&signature=" + HEX, id="a second, encoded time"),
        pytest.param(b"%74imestamp=1795000000000&signature=" + HEX, id="an encoded time only"),
        pytest.param(STAMP + b"&timestam%70=1&signature=" + HEX, id="a time whose last letter is encoded"),
        pytest.param(STAMP + b"&%74%69%6d%65%73%74%61%6D%70=1&signature=" + HEX, id="a fully encoded time"),
        pytest.param(b"Timestamp=1795000000000&signature=" + HEX, id="a capital time"),
        pytest.param(b"timestamp&signature=" + HEX, id="a time without value"),
        pytest.param(b"timestamp=%31795000000000&signature=" + HEX, id="an encoded digit"),
        pytest.param(b"timestamp=1795000000000+&signature=" + HEX, id="a space after the time"),
        pytest.param(b"timestamp=" + b"1" * 5_000 + b"&signature=" + HEX, id="a time of 5,000 digits"),
        pytest.param(b"timestamp=-1&signature=" + HEX, id="a negative time"),
        pytest.param(STAMP + b"&recvWindow=5000&recvWindow=5000&signature=" + HEX, id="two windows"),
        pytest.param(STAMP + b"&recvWindow=1&%72ecvWindow=60000&signature=" + HEX, id="a second, encoded window"),
        pytest.param(STAMP + b"&recv%57indow=60000&signature=" + HEX, id="an encoded window"),
    ],
)
def test_a_malformed_text_is_refused(text: bytes) -> None:
    code, _ = _refusal(BN, make_request("GET", b"/v1/orders?" + text, headers=KEY.items()))
    assert code == "place.field"


@pytest.mark.parametrize("width", [b"1", b"5000", b"60000"])
def test_a_window_of_the_client_is_taken_up_to_the_cap(width: bytes) -> None:
    signed = _read(BN, _query(STAMP + b"&recvWindow=" + width + b"&signature=" + HEX))
    assert signed.window == (int(width) * MS, SECOND)


@pytest.mark.parametrize(
    "width",
    [b"0", b"60001", b"-1", b"", b"+5000", b"05000", b"5e3", b"5000.0", b"9" * 5_000, b"1_000", b"%35000", b"infinity"],
    ids=lambda width: repr(width[:9]),
)
def test_another_window_is_refused(width: bytes) -> None:
    code, detail = _refusal(BN, _query(STAMP + b"&recvWindow=" + width + b"&signature=" + HEX))
    assert (code, detail) == ("place.field", "the window is not between 1 and 60000")


@pytest.mark.parametrize(
    ("method", "target", "content_type"),
    [
        pytest.param("POST", b"/v1/orders?a=1", FORM, id="query and form at once"),
        pytest.param("POST", b"/v1/orders?" + STAMP + b"&signature=" + HEX, FORM, id="both signed"),
        pytest.param("GET", b"/v1/orders", FORM, id="a body on GET"),
        pytest.param("HEAD", b"/v1/orders", FORM, id="a body on HEAD"),
        pytest.param("DELETE", b"/v1/orders?a=1", FORM, id="a body and a query on DELETE"),
        pytest.param("POST", b"/v1/orders", b"application/json", id="a body that is no form"),
        pytest.param("POST", b"/v1/orders", b"multipart/form-data; boundary=x", id="a multipart form"),
        pytest.param("POST", b"/v1/orders", b"", id="a body of no type"),
        pytest.param("POST", b"/v1/orders", FORM + b"2", id="nearly a form"),
    ],
)
def test_query_xor_form_and_no_body_where_there_is_none(method: str, target: bytes, content_type: bytes) -> None:
    body = b"a=1&" + STAMP + b"&signature=" + HEX
    kind = [(b"content-type", content_type)] if content_type else []
    request = make_request(method, target, body=body, headers=[*KEY.items(), *kind])
    assert _refusal(BN, request, body)[0] == "source.boundary"


@pytest.mark.parametrize("content_type", [FORM, FORM.upper(), FORM + b"; charset=utf-8", b" " + FORM + b" ;q"])
def test_a_form_is_a_form_in_every_spelling_of_its_type(content_type: bytes) -> None:
    body = b"a=1&" + STAMP + b"&signature=" + HEX
    request = make_request("POST", b"/v1/orders", body=body, headers=[*KEY.items(), (b"content-type", content_type)])
    assert _read(BN, request, body).message == b"a=1&" + STAMP


def test_a_request_of_which_nothing_is_signed_is_refused() -> None:
    """The signature of nothing is one text for the life of the key, and would open every such request."""
    row = replace(KRAKEN_FUTURES_BARE, name="bare", message="{text}", mount="")
    headers = {b"apikey": b"bina", b"authent": base64.b64encode(b"s" * 64)}
    code, detail = _refusal(Verifier(row), _request(headers))
    assert (code, detail.partition(":")[0]) == ("source.boundary", "nothing is signed")
    assert _read(Verifier(row), _request(headers, target=b"/v1/orders?a=1")).message == b"a=1"


def test_names_that_only_look_like_fields_are_left_alone() -> None:
    text = b"mytimestamp=1&timestamps=2&t%69me=3&time+stamp=4&signatures=5&%zz=6&=7&&%=8&" + STAMP
    assert _read(BN, _query(text + b"&signature=" + HEX)).message == text


@given(st.lists(st.tuples(st.sampled_from([*FIELDS, b"content-type"]), st.binary(max_size=90)), max_size=6))
def test_whatever_stands_in_the_headers_is_read_or_refused(headers: list[tuple[bytes, bytes]]) -> None:
    request = make_request("GET", b"/v1/orders", headers=headers)
    request.authority = b"api.example"
    try:
        claim = TG.claim(request)
        signed = TG.read(request, claim, b"") if claim is not None else None
    except Refused as refused:
        assert refused.denial.public == UNAUTHORIZED
    else:
        assert signed is None or len(signed.signature) in (32, 64)


@given(
    st.lists(
        st.sampled_from([STAMP, b"&", b"=", b"signature=", HEX, b"recvWindow=", b"%74", b"+", b"\n", b"5"]), max_size=9
    ),
    st.booleans(),
)
def test_whatever_stands_in_the_text_is_read_or_refused(parts: list[bytes], in_form: bool) -> None:
    text = b"".join(parts)
    headers = [*KEY.items(), (b"content-type", FORM)]
    request = make_request("POST", b"/v1/orders" + (b"" if in_form else b"?" + text), headers=headers)
    try:
        signed = BN.read(request, Claim("binance", "bina"), text if in_form else b"")
    except Refused as refused:
        assert refused.denial.public == UNAUTHORIZED
    else:
        assert signed.message + b"&signature=" + HEX == text


def test_what_the_signers_make_is_read() -> None:
    for verifier, signer in ((TG, TRADER), (BN, BINA)):
        request = sign(signer, "GET", b"/v1/orders?symbol=BTC")
        assert _read(verifier, request).signed_at == NOW


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_tg1_has_no_body_where_there_is_none(method: str) -> None:
    request = sign(TRADER, method, b"/v1/orders/12", body=b"34")
    assert _refusal(TG, request, b"34") == ("source.boundary", f"a body on {method}")
