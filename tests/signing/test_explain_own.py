"""Explain for rows of one's own: what was found in each field, and what the row would say."""

import hmac
import re
import tomllib
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import make_request

from tradeguard.core.decision import Refused
from tradeguard.core.request import Request
from tradeguard.core.secret import Secret
from tradeguard.signing.cure import write_message
from tradeguard.signing.explain import Explanation, Verdict, explain, verify
from tradeguard.signing.message import read_message
from tradeguard.signing.row import Row
from tradeguard.signing.rows import ROWS
from tradeguard.signing.stamp import STAMPS
from tradeguard.signing.verifier import Verifier
from tradeguard.signing.written import read_row

NOW = 1_795_000_000_123_456_789
TIME = "1795000000123"
SECRET = b"a secret of acme: no base64"
NONCE = "GQklvY9sMvgwkkg6"
JSON = b'{"side":"buy"}'
TABLE: dict[str, Any] = {
    "algorithms": {"hmac-sha256": "hex"},
    "message": "{time}{method}{target}{body}",
    "key": {"header": "X-KEY"},
    "signature": {"header": "X-SIGN"},
    "time": {"header": "X-TIME"},
    "unit": "ms",
    "window": {"past": "60s", "future": "5s"},
    "body": "json",
}
WITH_NONCE = {"message": "{time}\n{nonce}\n{method}{target}{body}", "nonce": {"header": "X-NONCE"}}


def acme(**changes: Any) -> Row:
    return read_row("acme", TABLE | changes)


def mac(text: str, secret: bytes = SECRET, name: str = "sha256") -> bytes:
    return hmac.digest(secret, text.encode(), name)


def send(signature: str, target: str = "/v1/o?a=1", body: bytes = JSON, **headers: str | None) -> Request:
    """A request with these header fields: `x_time=None` leaves one out."""
    fields = {"x_key": "k", "x_time": TIME, "x_sign": signature} | headers
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items() if value is not None]
    return make_request("POST" if body else "GET", target.encode(), body=body, headers=raw)


def judge(row: Row, request: Request, secret: bytes = SECRET) -> tuple[Explanation, Verdict]:
    explained = explain(row, request, explain(row, request, b"").text)
    return explained, verify(row, request, explained, explained.text, Secret(secret))


def said(row: Row, request: Request, secret: bytes = SECRET) -> str:
    explained, verdict = judge(row, request, secret)
    return "\n".join((*explained.faults, *verdict.advice))


def mend(table: dict[str, Any], told: str) -> Row:
    """The row with what the first cure says written into it."""
    found = re.search(r"the row says (.*)\.$", told, re.MULTILINE)
    assert found is not None, told
    lines = re.split(r" and (?=[a-z]+ = )", found[1])
    return read_row("acme", TABLE | table | tomllib.loads("\n".join(lines)))


# --- what the row's author would write ---------------------------------------------------------------------------

ENCODED = b64encode(b"what the text of it stands for")
DECODED = b"what the text of it stands for"
PLAIN = f"{TIME}POST/v1/o?a=1" + JSON.decode()
UNSORTED = "/v1/o?b=2&a=b%20c"
CURES: list[tuple[str, dict[str, Any], Request, bytes, str]] = [
    ("the path without its beginning", {}, send(mac(PLAIN).hex(), "/api/v1/o?a=1"), SECRET, "/api is missing"),
    ("the same where the path is a part", {"message": "{time}{method}{path}{?query}{body}"},
     send(mac(PLAIN).hex(), "/api/v1/o?a=1"), SECRET, 'says mount = "/api".'),
    ("a longer mount", {"message": "{time}{method}{path}{?query}{body}", "mount": "/api"},
     send(mac(PLAIN).hex(), "/api/spot/v1/o?a=1"), SECRET, 'mount = "/api/spot"'),
    ("a mount that is signed", {"message": "{time}{method}{path}{?query}{body}", "mount": "/v1"},
     send(mac(PLAIN).hex()), SECRET, 'mount = ""'),
    ("a secret that is decoded", {}, send(mac(PLAIN, DECODED).hex()), ENCODED, "secret read as base64"),
    ("a secret that is not", {"secret": "base64"}, send(mac(PLAIN, ENCODED).hex()), ENCODED, "secret as text"),
    ("a secret that is no base64", {"secret": "base64"}, send(mac(PLAIN).hex()), SECRET, "is no base64"),
    ("upper-case hex", {}, send(mac(PLAIN).hex().upper()), SECRET, "in upper-case hex; acme has hex."),
    ("lower-case hex", {"algorithms": {"hmac-sha256": "upper-hex"}}, send(mac(PLAIN).hex()), SECRET,
     "in hex; acme has upper-case hex."),
    ("base64 of hex", {}, send(b64encode(mac(PLAIN).hex().encode()).decode()), SECRET, "in base64 of its hex"),
    ("base64", {}, send(b64encode(mac(PLAIN)).decode()), SECRET, "in base64; acme has hex."),
    ("another hash", {}, send(b64encode(mac(PLAIN, name="sha512")).decode()), SECRET,
     "88 characters, base64 of 64 bytes; acme has hex of 32 bytes (64 characters)"),
    ("no ? before the query", {}, send(mac(PLAIN.replace("?", "")).hex()), SECRET, "The ? before the query"),
    ("a ? before the query", {"message": "{time}{method}{path}{query}{body}"}, send(mac(PLAIN).hex()), SECRET,
     "without the ? before it"),
    ("a sorted query", {}, send(mac(f"{TIME}POST/v1/o?a=b%20c&b=2" + JSON.decode()).hex(), UNSORTED), SECRET,
     "not sorted"),
    ("a decoded query", {}, send(mac(f"{TIME}POST/v1/o?b=2&a=b c" + JSON.decode()).hex(), UNSORTED), SECRET,
     "was decoded"),
    ("a text that is nowhere", {"message": "{time}#{method}{target}{body}"}, send(mac(PLAIN).hex()), SECRET,
     "'#' is missing between {time} and {method}"),
    ("a mark before nothing", {"message": "{time}\n{method}\n{path}\n#{text}"},
     send(mac(f"{TIME}\nGET\n/v1/o\n").hex(), "/v1/o", b""), SECRET, "because {text} is empty in this request"),
    ("a hash in hex", {"message": "{time}\n{method}\n{target}\n{sha256(body)}"},
     send(mac(f"{TIME}\nGET\n/v1/o\n" + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").hex(),
          "/v1/o", b""), SECRET, "this is a SHA-256 in lower-case hex"),
    ("a nonce of its own", WITH_NONCE, send(mac(f"{TIME}\n0123456789\nPOST/v1/o?a=1" + JSON.decode()).hex(),
     x_nonce="0123456789"), SECRET, "header x-nonce has 10 digits; a token has 16 to 64 of A-Za-z0-9_-."),
    ("no UUID", WITH_NONCE | {"form": "uuid"},
     send(mac(f"{TIME}\n{NONCE}\nPOST/v1/o?a=1" + JSON.decode()).hex(), x_nonce=NONCE), SECRET, "a UUID has 36"),
    ("seconds", {}, send(mac(PLAIN.replace(TIME, TIME[:10])).hex(), x_time=TIME[:10]), SECRET,
     "header x-time has 10 digits, which is a time in whole seconds; acme has it in milliseconds (13 digits)."),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "request_", "secret", "found"), [case[1:] for case in CURES],
                         ids=[case[0] for case in CURES])  # fmt: skip
def test_a_row_that_says_what_is_advised_takes_the_request(
    changes: dict[str, Any], request_: Request, secret: bytes, found: str
) -> None:
    told = said(acme(**changes), request_, secret)
    assert found in told
    explained, verdict = judge(mend(changes, told), request_, secret)
    assert (explained.refusals, explained.faults, verdict.ours, verdict.advice) == ((), (), True, ())


def test_what_no_row_can_say_is_told_with_the_reason() -> None:
    told = said(acme(), send(mac(f"{TIME}/v1/oPOST" + JSON.decode()).hex(), "/v1/o"))
    assert "the client signs {time}{target}{method}{body}; acme has {time}{method}{target}{body}." in told
    assert 'a row cannot say message = "{time}{target}{method}{body}" (bytes could shift between' in told
    assert "Where a query would stand, this request does not tell: it has none." in told


def test_clients_of_a_dialect_of_the_table_are_to_follow_it() -> None:
    row = replace(acme(), name="okx")
    for request in (send(mac(PLAIN).hex().upper()), send(mac(PLAIN).hex(), "/api/v1/o?a=1"), send(mac("POST").hex())):
        assert "the row" not in said(row, request)
        assert "a row" not in said(row, request)
        assert said(row, request)


def test_a_secret_that_is_no_base64_is_told_where_nothing_else_is() -> None:
    told = said(acme(secret="base64"), send(mac("else").hex()))
    assert "The secret is no base64, as which acme reads it: it is another one, or a part of one." in told


def test_the_advice_on_a_text_has_the_cure_too() -> None:
    row, request = acme(message="{time}{method}{path}{?query}{body}"), send("", "/api/v1/o?a=1")
    advice = explain(row, request, PLAIN.encode()).advice
    assert "The prefix under which the API is mounted belongs to the path." in advice
    assert advice[-1] == 'If the venue\'s clients all do this, the row says mount = "/api".'


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_a_message_is_written_as_it_is_read(row: Row) -> None:
    texts = (row.message,) if isinstance(row.message, str) else row.message
    assert tuple(write_message(message) for message in row.messages) == texts
    assert tuple(read_message(write_message(message)) for message in row.messages) == row.messages


# --- the fields ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "headers", "fault"),
    [
        ({}, {"x_time": None}, "header x-time is missing; the time in milliseconds stands there."),
        ({}, {"x_time": ""}, "header x-time is empty; the time in milliseconds stands there."),
        ({}, {"x_key": None}, "header x-key is missing; the key id stands there."),
        ({}, {"x_key": "a b"}, "header x-key has 3 characters; it is a key id, 1 to 128 of A-Za-z0-9_-."),
        ({"prefix": "ACME "}, {"x_key": "k"}, "it is 'ACME ' and behind it a key id,"),
        ({}, {"x_time": "soon"}, "header x-time has 4 characters; acme has it in milliseconds (13 digits)."),
        ({"unit": "iso-ms"}, {}, "which is a time in milliseconds; acme has it in ISO 8601 with milliseconds (24 ch"),
        (WITH_NONCE, {"x_nonce": None}, "header x-nonce is missing; the nonce stands there."),
        (WITH_NONCE, {"x_nonce": "n" * 65}, "header x-nonce has 65 characters; a token has 16 to 64"),
        (WITH_NONCE, {"x_nonce": "a+b/" * 5}, "header x-nonce has 20 characters; a token has 16 to 64 of A-Za-z0-9_-."),
        ({}, {"x_sign": None}, "header x-sign is missing; the signature stands there."),
        ({}, {"x_sign": "ab" * 30}, "60 characters, hex of 30 bytes; acme has hex of 32 bytes (64 characters)."),
        ({}, {"x_sign": "~" * 9}, "has 9 characters and is neither hex nor base64; acme has hex of 32 bytes"),
        ({}, {"x_sign": "aB" * 32}, "in hex in upper and lower case; acme has hex."),
        ({"algorithms": {"hmac-sha256": "base64"}}, {"x_sign": b64encode(bytes(32)).decode().rstrip("=")},
         "has 43 characters; base64 of 32 bytes has 44: mind the = at its end."),
        ({"algorithms": {"hmac-sha256": "base64"}}, {"x_sign": b64encode(bytes(32)).decode().replace("=", "%3D")},
         "The signature is percent-encoded"),
        ({"algorithms": {"hmac-sha256": "base64"}}, {"x_sign": b64encode(b"\xff" * 32).decode().replace("/", "_")},
         "not in the one spelling that base64 has"),
        ({"width": {"header": "X-WINDOW"}, "widest": "60s", "message": "{time}\n{width}\n{method}{target}{body}"},
         {"x_window": "60001"}, "header x-window is a window of 1 to 60000, in digits alone; it has 5 digits."),
        ({"passphrase": {"header": "X-PHRASE"}}, {}, "header x-phrase is missing; the passphrase stands there."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_field_and_what_the_row_takes_is_told(
    changes: dict[str, Any], headers: dict[str, str | None], fault: str
) -> None:
    explained = explain(acme(**changes), send("ab" * 32, "/v1/o?a=1", JSON, **headers), b"")
    assert explained.refusals
    assert any(fault in one for one in explained.faults), explained.faults


def test_a_field_that_stands_twice_is_counted() -> None:
    row = acme(key={"parameter": "key"}, time={"parameter": "t"})
    explained = explain(row, send("ab" * 32, f"/v1/o?key=k&t={TIME}&t={TIME}"), b"")
    assert explained.faults == ("parameter t stands 2 times; the time in milliseconds stands there once.",)
    assert [denial.detail for denial in explained.refusals] == ["t stands twice or is encoded"]


def test_a_signature_in_a_query_with_a_plus_is_to_be_encoded() -> None:
    row = ROWS["htx"]
    signature = b64encode(b"\xfb" * 32).decode()
    request = make_request("GET", f"/a?Signature={signature}".encode())
    assert any("percent-encode the signature (%2B)" in fault for fault in explain(row, request, b"").faults)


def test_a_field_that_is_bound_to_the_request_is_told() -> None:
    payload = b64encode(b'{"request":"/v2/else","nonce":1795000000123}')
    headers = [(b"x-gemini-apikey", b"k"), (b"x-gemini-payload", payload), (b"x-gemini-signature", b"ab" * 48)]
    faults = explain(ROWS["gemini"], make_request("POST", b"/v1/o", headers=headers), b"").faults
    assert faults == ("member request of the payload has another text than it must: it says the path of the request.",)


@settings(max_examples=300)
@given(
    st.sampled_from(["token", "uuid", "free", "clock"]),
    st.one_of(
        st.text("abcdef0123456789-", min_size=1, max_size=70),
        st.text("0123456789", min_size=8, max_size=21),
        st.uuids().map(str),
    ),
)
def test_a_nonce_has_a_fault_exactly_where_the_verifier_refuses_it(form: str, nonce: str) -> None:
    changes = {"message": "{nonce}\n{method}{target}{body}", "nonce": {"header": "X-NONCE"}, "form": form}
    row = acme(**WITH_NONCE, form=form) if form != "clock" else read_row("acme", {
        name: value for name, value in (TABLE | changes).items() if name not in ("time", "unit")
    })  # fmt: skip
    agree(row, send("ab" * 32, x_nonce=nonce))


@settings(max_examples=300)
@given(
    st.sampled_from([*STAMPS]),
    st.one_of(
        st.sampled_from([*STAMPS]).map(lambda unit: STAMPS[unit].write(NOW).decode()),
        st.text("0123456789.:TZ-", min_size=1, max_size=26),
        st.text("0123456789", min_size=10, max_size=20),
    ),
)
def test_a_time_has_a_fault_wherever_the_verifier_refuses_it(unit: str, time: str) -> None:
    row, request = acme(unit=unit), send("ab" * 32, x_time=time)
    if refuses(row, request):
        agree(row, request)
    elif not time.isdigit() or len(time) == STAMPS[unit].size:
        assert explain(row, request, b"").faults == ()


def refuses(row: Row, request: Request) -> bool:
    verifier = Verifier(row)
    try:
        claim = verifier.claim(request)
        assert claim is not None
        verifier.read(request, claim, JSON)
    except Refused:
        return True
    return False


def agree(row: Row, request: Request) -> None:
    assert bool(explain(row, request, b"").faults) is refuses(row, request)
