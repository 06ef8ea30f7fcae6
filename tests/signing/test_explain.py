"""Where a client's string-to-sign leaves ours: the text is the verifier's own, and every known mistake is named."""

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import BINA, EDWARD, FORM, MS, NOW, PRIVATE, SECRET, TRADER, make_request, sign

from tradeguard.core.drive import drive
from tradeguard.core.frame import check_frame
from tradeguard.core.policy import Policy
from tradeguard.core.request import Headers, Request
from tradeguard.core.secret import Secret
from tradeguard.signing.explain import Explanation, explain, verify
from tradeguard.signing.material import Ed25519
from tradeguard.signing.rows import BINANCE, TG1
from tradeguard.signing.sent import read_sent
from tradeguard.signing.signer import Signer
from tradeguard.signing.verifier import Verifier

LINES = ["label", "key", "time", "nonce", "method", "authority", "target", "content_type", "body_sha256"]
BODY = b'{"symbol":"BTC-USD","limit":1}'
JSON = b"application/json"
ED_PUBLIC = Ed25519(PRIVATE.public_key().public_bytes_raw())
ED = Signer(TG1, "edward", PRIVATE)


def order(signer: Signer = TRADER) -> Request:
    return sign(signer, "POST", b"/v1/orders?dry=%2F&a=1", body=BODY, content_type=JSON, path="/v1/orders")


def text_of(request: Request) -> bytes:
    """What the verifier composes."""
    row = BINANCE if b"x-mbx-apikey" in request.headers else TG1
    check_frame(request, Policy())
    claim = Verifier(row).claim(request)
    assert claim is not None
    return Verifier(row).read(request, claim, drive(request.body())).message


def change(request: Request, **fields: bytes) -> Request:
    """The same request with other header fields: `tg_key=b"x"`."""
    names = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    request.headers = Headers([field for field in request.headers.raw if field[0] not in names] + list(names.items()))
    return request


def held(theirs: Callable[[bytes], bytes], request: Request | None = None) -> Explanation:
    request = request or order()
    return explain(TG1, request, theirs(text_of(request)))


def put(part: str, value: bytes) -> Callable[[bytes], bytes]:
    """Exchange one line of the text."""

    def exchange(text: bytes) -> bytes:
        lines = text.split(b"\n")
        lines[LINES.index(part)] = value
        return b"\n".join(lines)

    return exchange


# --- the text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signer", [TRADER, EDWARD])
def test_an_honest_clients_text_is_the_same(signer: Signer) -> None:
    request = order(signer)
    explained = explain(TG1, request, text_of(request))
    assert explained.difference is None
    assert (explained.advice, explained.refusals, explained.faults) == ((), (), ())
    assert [part for part, _ in explained.lines] == LINES
    assert b"\n".join(value for _, value in explained.lines) == explained.text


@settings(max_examples=60)
@given(
    st.sampled_from(["GET", "POST", "DELETE"]),
    st.text("abz019-._~=&%+2F", max_size=30).map(str.encode),
    st.binary(max_size=40),
    st.sampled_from([b"", JSON, FORM]),
    st.sampled_from([TRADER, ED]),
)
def test_the_text_is_the_one_that_the_verifier_composes(
    method: str, query: bytes, body: bytes, kind: bytes, signer: Signer
) -> None:
    body = b"" if method in TG1.bodyless else body
    request = sign(signer, method, b"/v1/orders?" + query, body=body, content_type=kind)
    composed = text_of(request)
    assert explain(TG1, request, b"").text == composed
    assert explain(TG1, request, composed).difference is None


@settings(max_examples=60)
@given(st.booleans(), st.lists(st.text("abz019-._~%+2F", max_size=8).map(lambda v: f"a{v}={v}".encode()), max_size=5))
def test_the_text_of_parameters_is_the_verifiers_too(form: bool, parameters: list[bytes]) -> None:
    text = b"&".join(parameters)
    request = (
        sign(BINA, "POST", b"/v1/orders", body=text, content_type=FORM)
        if form
        else sign(BINA, "GET", b"/v1/orders?" + text)
    )
    composed = text_of(request)
    explained = explain(BINANCE, request, composed)
    assert (explained.text, explained.difference, explained.refusals) == (composed, None, ())


@settings(max_examples=100)
@given(st.binary(max_size=60), st.sampled_from([TG1, BINANCE]), st.binary(max_size=30), st.binary(max_size=30))
def test_nothing_that_is_sent_in_makes_it_stumble(theirs: bytes, row: object, body: bytes, value: bytes) -> None:
    assert row in (TG1, BINANCE)
    chosen = TG1 if row is TG1 else BINANCE
    headers = [(chosen.key.name, value), (b"tg-signature", value), (b"host", value), (b"content-type", value)]
    request = make_request("POST", b"/a?" + value.hex().encode(), body=body, headers=headers)
    explained = explain(chosen, request, theirs)
    assert (explained.difference is None) is (explained.text == theirs)
    verify(chosen, request, explained, theirs, Secret(SECRET))


# --- the difference ------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.data())
def test_the_difference_is_the_first_byte_that_differs(data: st.DataObject) -> None:
    ours = text_of(order())
    at = data.draw(st.integers(0, len(ours) - 1))
    theirs = ours[:at] + bytes([ours[at] ^ 1]) + data.draw(st.binary(max_size=9))
    found = explain(TG1, order_with(ours), theirs).difference
    assert found is not None
    assert (found.offset, ours[:at].count(b"\n") + 1) == (at, found.line)
    before = sum(len(line) + 1 for line in ours.split(b"\n")[: found.line - 1])
    assert before + found.column - 1 == at
    assert found.ours == ours.split(b"\n")[found.line - 1]


def order_with(text: bytes) -> Request:
    """The order whose text this is: its nonce is random."""
    request = order()
    return change(request, tg_nonce=text.split(b"\n")[3])


def test_a_text_that_ends_early_or_late_differs_at_its_end() -> None:
    ours = text_of(request := order())
    for theirs, offset in ((ours[:-1], len(ours) - 1), (ours + b"x", len(ours)), (b"", 0)):
        found = explain(TG1, request, theirs).difference
        assert found is not None
        assert found.offset == offset


SHA = hashlib.sha256(BODY)
MISTAKES: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("a newline at the end", lambda t: t + b"\n", "newline stands at the end"),
    ("crlf", lambda t: t.replace(b"\n", b"\r\n"), "CR LF"),
    ("a byte order mark", lambda t: b"\xef\xbb\xbf" + t, "byte order mark"),
    ("utf-16", lambda t: t.decode().encode("utf-16"), "UTF-16"),
    ("backslash n", lambda t: t.replace(b"\n", b"\\n"), "two characters"),
    ("quoted", lambda t: b'"' + t + b'"', "quotation marks"),
    ("empty", lambda _: b"", "is empty"),
    ("joined by nothing", lambda t: t.replace(b"\n", b""), "joined by something else"),
    ("a line is missing", lambda t: b"\n".join(t.split(b"\n")[:4] + t.split(b"\n")[5:]), "There are 9 lines"),
    ("a line is missing, told where", lambda t: b"\n".join(t.split(b"\n")[:4] + t.split(b"\n")[5:]), "line 6"),
    ("swapped", lambda t: put("method", b"api.example")(put("authority", b"POST")(t)), "into line 6 (authority)"),
    ("label", put("label", b"TG2-HMAC-SHA256"), "another algorithm"),
    ("key", put("key", b"other"), "another key id"),
    ("time in seconds", put("time", str(NOW // (1000 * MS)).encode()), "in seconds"),
    ("another time", put("time", b"1"), "read the clock once"),
    ("another nonce", put("nonce", b"n" * 16), "draw it once"),
    ("lower-case method", put("method", b"post"), "upper case"),
    ("port", put("authority", b"api.example:443"), "port belongs"),
    ("scheme", put("authority", b"https://api.example"), "no scheme"),
    ("upper-case host", put("authority", b"API.example"), "lower case"),
    ("slash", put("authority", b"api.example/"), "no / behind"),
    ("another host", put("authority", b"10.0.0.1"), "another host"),
    ("url", put("target", b"https://api.example/v1/orders?dry=%2F&a=1"), "no scheme and host"),
    ("no query", put("target", b"/v1/orders"), "query belongs"),
    ("fragment", put("target", b"/v1/orders?dry=%2F&a=1#top"), "never sent"),
    ("prefix", put("target", b"/orders?dry=%2F&a=1"), "prefix"),
    ("slash behind the path", put("target", b"/v1/orders/?dry=%2F&a=1"), "byte like any other"),
    ("sorted", put("target", b"/v1/orders?a=1&dry=%2F"), "not sorted"),
    ("lower hex", put("target", b"/v1/orders?dry=%2f&a=1"), "hex digits of percent-encoding"),
    ("decoded", put("target", b"/v1/orders?dry=/&a=1"), "encoded in another way"),
    ("no content type", put("content_type", b""), "was sent, so it is signed"),
    ("charset", put("content_type", b"application/json; charset=utf-8"), "exactly as sent"),
    ("upper-case hash", put("body_sha256", SHA.hexdigest().upper().encode()), "lower-case hex."),
    ("base64 hash", put("body_sha256", b64encode(SHA.digest())), "not in base64"),
    ("the body", put("body_sha256", BODY), "not the body"),
    ("no hash", put("body_sha256", b""), "has a hash too"),
    ("hash of nothing", put("body_sha256", hashlib.sha256(b"").hexdigest().encode()), "of an empty body"),
    ("json again", put("body_sha256", hashlib.sha256(json.dumps(json.loads(BODY)).encode()).hexdigest().encode()),
     "written in another way"),
    ("sorted json", put("body_sha256", hashlib.sha256(b'{"limit":1,"symbol":"BTC-USD"}').hexdigest().encode()),
     "written in another way"),
    ("another line end", put("body_sha256", hashlib.sha256(BODY + b"\n").hexdigest().encode()), "another line end"),
    ("hashed twice", put("body_sha256", hashlib.sha256(SHA.hexdigest().encode()).hexdigest().encode()), "once more"),
    ("sha-512", put("body_sha256", hashlib.sha512(BODY).hexdigest().encode()), "length of a SHA-256"),
]  # fmt: skip


@pytest.mark.parametrize(("theirs", "advice"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_a_common_mistake_is_named(theirs: Callable[[bytes], bytes], advice: str) -> None:
    explained = held(theirs)
    assert explained.difference is not None
    assert any(advice in line for line in explained.advice), explained.advice


def test_a_query_that_was_appended_after_signing_is_named() -> None:
    request = sign(TRADER, "GET", b"/v1/orders")
    found = held(put("target", b"/v1/orders?limit=5"), request)
    assert any("was not sent" in line for line in found.advice)
    assert any("line stays empty" in line for line in held(put("content_type", JSON), request).advice)


def test_where_no_rule_fits_nothing_is_made_up() -> None:
    assert held(put("target", b"/v2/else")).advice == ()


PARAMETERS = b"symbol=BTC%2FUSD&side=BUY"


@pytest.mark.parametrize(
    ("theirs", "advice"),
    [
        (lambda t: b"?" + t, "without it"),
        (lambda t: b"/v1/orders?" + t, "path is not signed"),
        (lambda t: t + b"&signature=abc", "signature itself"),
        (lambda _: PARAMETERS, "appended"),
        (lambda t: b"&".join(sorted(t.split(b"&"))), "not sorted"),
        (lambda t: t.replace(b"%2F", b"/"), "encoded in another way"),
        (lambda t: t.replace(b"%2F", b"%2f"), "hex digits"),
        (lambda _: b'{"symbol":"BTC/USD"}', "not JSON"),
    ],
)
def test_a_common_mistake_with_parameters_is_named(theirs: Callable[[bytes], bytes], advice: str) -> None:
    request = sign(BINA, "POST", b"/v1/orders", body=PARAMETERS, content_type=FORM)
    explained = explain(BINANCE, request, theirs(text_of(request)))
    assert explained.difference is not None
    assert any(advice in line for line in explained.advice), explained.advice


def test_a_difference_among_parameters_names_the_parameter() -> None:
    request = sign(BINA, "POST", b"/v1/orders", body=PARAMETERS, content_type=FORM)
    found = explain(BINANCE, request, text_of(request).replace(b"side=BUY", b"side=SELL")).difference
    assert found is not None
    assert (found.part, found.line, found.column, found.ours, found.theirs) == ("side", 2, 6, b"side=BUY", b"side=SELL")


# --- what is refused before any signature --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "codes"),
    [
        (lambda: make_request("GET", b"/v1/orders"), ["place.field"]),
        (lambda: change(order(), tg_nonce=b"short"), ["place.field"]),
        (lambda: change(order(), tg_signature=b"ab" * 32), ["place.field"]),
        (lambda: make_request("GET", b"/v1//orders"), ["frame.path", "place.field"]),
        (lambda: change(order(), host=b"a b"), ["frame.host"]),
        (lambda: sign(TRADER, "GET", b"/v1/orders", body=b"x"), ["source.boundary"]),
    ],
)
def test_what_the_server_objects_to_is_told(request_: Callable[[], Request], codes: list[str]) -> None:
    explained = explain(TG1, request_(), b"")
    assert [denial.code for denial in explained.refusals] == codes
    assert explained.text  # and composed all the same, as far as it goes


# --- with the secret -----------------------------------------------------------------------------------------------


def _verify(request: Request, theirs: bytes, key: Secret | Ed25519) -> tuple[bool, bool, str]:
    row = BINANCE if b"x-mbx-apikey" in request.headers else TG1
    ours, over, advice, _ = verify(row, request, explain(row, request, theirs), theirs, key)
    return ours, over, " ".join(advice)


def test_a_signature_is_over_our_text_over_theirs_or_over_neither() -> None:
    request = order()
    text = text_of(request)
    assert _verify(request, text, Secret(SECRET)) == (True, True, "")
    assert _verify(request, b"else", Secret(SECRET)) == (True, False, "")
    change(request, tg_time=b"1")
    for key, over, said in ((SECRET, True, "correct the text"), (b"w" * 32, False, "another secret")):
        ours, theirs, advice = _verify(request, text, Secret(key))
        assert (ours, theirs) == (False, over)
        assert said in advice


def test_ed25519_is_verified_with_the_public_key() -> None:
    request = order(ED)
    assert _verify(request, text_of(request), ED_PUBLIC) == (True, True, "")
    assert not _verify(change(request, tg_time=b"1"), b"", ED_PUBLIC)[0]


def test_parameters_are_verified_too() -> None:
    request = sign(BINA, "GET", b"/v1/orders")
    assert _verify(request, text_of(request), Secret(b"binance-secret" * 3)) == (True, True, "")


@pytest.mark.parametrize(
    ("spell", "advice"),
    [
        (lambda raw: raw.hex().encode(), "The signature is in hex; tg1 has base64url."),
        (lambda raw: raw.hex().upper().encode(), "upper-case hex"),
        (b64encode, "base64"),
        (lambda raw: b"\xff" * 9, "neither hex nor base64"),
        (lambda raw: b"", "no signature"),
    ],
)
def test_a_signature_in_another_spelling_is_told(spell: Callable[[bytes], bytes], advice: str) -> None:
    request = order()
    text = text_of(request)
    change(request, tg_signature=spell(hmac.digest(SECRET, text, "sha256")))
    ours, _, told = _verify(request, text, Secret(SECRET))
    assert not ours
    assert advice in told


@pytest.mark.parametrize(
    ("secret", "used", "advice"),
    [
        (b"ab" * 32, bytes.fromhex("ab" * 32), "read as hex"),
        (b64encode(b"k" * 33), b"k" * 33, "read as base64"),
        (b"s" * 32, b"s" * 32 + b"\n", "newline behind it"),
        (b"s" * 32, hashlib.sha256(b"s" * 32).digest(), "SHA-256 of its secret"),
    ],
)
def test_a_secret_that_the_client_reads_otherwise_is_told(secret: bytes, used: bytes, advice: str) -> None:
    request = order(Signer(TG1, "trader", used))
    assert advice in _verify(request, text_of(request), Secret(secret))[2]


def test_the_signature_is_found_where_the_row_has_it() -> None:
    assert read_sent(TG1, make_request(), b"").signature == b""
    for target, form in ((b"/a?signature=xy", b""), (b"/a", b"a=1&signature=xy")):
        assert read_sent(BINANCE, make_request("POST", target, body=form), form).signature == b"xy"


def test_no_secret_is_in_what_is_told() -> None:
    request = order()
    explained = explain(TG1, request, b"else")
    verdict = verify(TG1, request, explained, b"else", Secret(b"wrong-secret-0123456789"))
    assert b"wrong-secret" not in repr((explained, verdict)).encode()
