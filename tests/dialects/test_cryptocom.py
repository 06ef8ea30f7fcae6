"""Crypto.com: key, nonce and signature are members of the body, and the parameters are signed without separators."""

import json
from itertools import combinations, pairwise
from typing import Any

import pytest
from dialects.clocked import JSON, KEY_ID, ORDERS, Asked, Venue, by_hand, mac
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FORM, MS

from tradeguard.signing.message import flat
from tradeguard.signing.plain import is_plain
from tradeguard.signing.signer import Outgoing

TARGET = ORDERS["cryptocom"].target
METHOD = "private/create-order"
NONCE = "1795000000000"
ORDER: dict[str, Any] = {
    "instrument_name": "BTC_USDT",
    "price": "50000",
    "quantity": "1",
    "side": "BUY",
    "type": "LIMIT",
}


def sign(params: Any = None, *, nonce: Any = NONCE, id: Any = NONCE, method: Any = METHOD, **sent: Any) -> Outgoing:
    """A message by the recipe; `sent` are members that go out instead of what was signed, or beside it."""
    params = ORDER if params is None else params
    text = f"{method}{id}{KEY_ID}{flat(params)}{nonce}".encode("utf-8", "replace")
    body = {
        "id": id,
        "method": method,
        "params": params,
        "api_key": KEY_ID,
        "sig": mac(text, "sha256").hex(),
        "nonce": nonce,
    }
    return by_hand({}, Asked(TARGET, JSON, json.dumps({**body, **sent}, ensure_ascii=False).encode("utf-8", "replace")))


def of(*given: Any, **more: Any) -> str:
    return Venue("cryptocom").send(sign(*given, **more))


@pytest.mark.parametrize("nonce", [NONCE, int(NONCE)], ids=repr)
@pytest.mark.parametrize("id", ["17", 17, 0, 9_223_372_036_854_775_807], ids=repr)
def test_id_and_nonce_are_texts_or_numbers(nonce: Any, id: Any) -> None:
    assert of(nonce=nonce, id=id) == "granted"


@pytest.mark.parametrize("id", ["", "a", "-1", -1, 1.5, True, None, [], {}, "1_0", "\u0661", "01", "9" * 400], ids=repr)
def test_an_id_is_a_whole_number(id: Any) -> None:
    assert of(id=id) == "place.field"


def test_no_character_moves_between_method_and_id() -> None:
    """private/create-order + 17 is private/create-order1 + 7."""
    operations = {"POST /exchange/v1/private/create-order1": "orders:write"}
    out = sign(id="7", method="private/create-order1")
    assert json.loads(out.body)["sig"] == json.loads(sign(id="17").body)["sig"]
    assert of(id="17", sig=json.loads(out.body)["sig"]) == "granted"  # the honest one
    stolen = out._replace(target=b"/exchange/v1/private/create-order1")
    venue = Venue("cryptocom", operations={**operations, f"POST {TARGET.decode()}": "orders:write"})
    assert venue.send(stolen) == "place.field"  # no method has a digit in it


def test_the_key_stands_in_the_body_and_nowhere_else() -> None:
    assert of() == "granted"
    for key in ("", "k" * 400, "\u00e9", None, 5, [KEY_ID]):
        assert of(api_key=key) not in ("granted", "outage.fault"), key
    assert of(api_key="somebody-else") == "signature.unknown"


def test_a_body_that_is_no_json_object_carries_no_claim() -> None:
    venue, out = Venue("cryptocom"), sign()
    assert venue.send(out, content_type=FORM) == "proof.unclaimed"
    assert venue.send(out, content_type=b"") == "proof.unclaimed"
    for body in (b"", b"[]", b"null", b"{}", b'"x"', b"\xff", b"{" * 9_000, b'{"a":' * 9_000, b'{"id":1,"id":1}'):
        assert venue.send(out, body=body) not in ("granted", "outage.fault"), body[:9]


@pytest.mark.parametrize("extra", ["api_secret", "jsonrpc", "params2", "\u00e9"])
def test_a_member_that_is_not_signed_is_refused(extra: str) -> None:
    assert of(**{extra: 1}) == "source.boundary"


@pytest.mark.parametrize(
    "method", ["private/cancel-order", "create-order", "private/create-order/", "private/Create-order", "", 5, None]
)
def test_the_method_is_bound_to_the_path(method: Any) -> None:
    assert of(method=method) == "place.field"


def test_the_path_cannot_be_changed_either() -> None:
    venue = Venue("cryptocom", operations={"POST /exchange/v1/private/cancel-order": "orders:write"})
    assert venue.send(sign(), target=b"/exchange/v1/private/cancel-order") == "place.field"
    assert Venue("cryptocom").send(sign(), target=b"/private/create-order") == "source.boundary"
    assert Venue("cryptocom").send(sign(), target=TARGET + b"?price=1") == "source.boundary"


# --- parameters without separators ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {},
        ORDER,
        {
            **ORDER,
            "client_oid": "c5f682ed-7108-4f1c-b755-972fcdca0f02",
            "exec_inst": ["POST_ONLY"],
            "time_in_force": "GOOD_TILL_CANCEL",
        },
        {"client_oid": "a b c/d~*'()\u00e9"},
        {"contingency_type": "LIST", "order_list": [ORDER, {**ORDER, "exec_inst": ["POST_ONLY", "ISOLATED_MARGIN"]}]},
        {"order_id": 18342311, "limit": 5, "start_time": 1795000000000000000},
        {"strategy": "mine", "note": "x"},
    ],
    ids=str,
)
def test_honest_parameters_pass_at_any_depth(params: Any) -> None:
    assert of(params) == "granted"


@pytest.mark.parametrize(
    ("honest", "stolen"),
    [
        pytest.param(
            ORDER,
            {"instrument_name": "BTC_USDTprice50000", **{k: ORDER[k] for k in ("quantity", "side", "type")}},
            id="a price into a text",
        ),
        pytest.param(ORDER, {"instrument_name": "BTC_USDTprice50000quantity1sideBUYtypeLIMIT"}, id="all into a text"),
        pytest.param(ORDER, {"instrument_nameBTC_USDTprice50000quantity1sideBUYtypeLIMIT": ""}, id="all into a name"),
        pytest.param({"price": "5", "quantity": "1"}, {"price5quantity1": ""}, id="a value into a name"),
        pytest.param({"price": "5", "quantity": "1"}, {"price": "5quantity1"}, id="a name into a value"),
        pytest.param({"instrument_name": "BTC", "leverage": "10"}, {"instrument_name": "BTCleverage10"}, id="leverage"),
        pytest.param(
            {"order_list": [{"order_id": "1"}, {"order_id": "2"}]},
            {"order_list": [{"order_id": "1order_id2"}]},
            id="an order into another",
        ),
        pytest.param({"exec_inst": ["17", "18"]}, {"exec_inst": ["1718"]}, id="two texts of a list into one"),
        pytest.param(
            {"exec_inst": ["1", "718"]}, {"exec_inst": ["17", "18"]}, id="a digit into the next text of a list"
        ),
        pytest.param(
            {"exec_inst": ["POST_ONLY"]}, {"exec_ins": ["tPOST_ONLY"]}, id="a letter of a name into its value"
        ),
        pytest.param({"price": "5"}, {"pric": "e5"}, id="a price away"),
        pytest.param(
            {"instrument_name": "BTC", "new_price": "5"}, {"instrument_name": "BTCnew_", "price": "5"}, id="a prefix"
        ),
        pytest.param({"address_tag": "5"}, {"address": "_tag5"}, id="a suffix"),
        pytest.param({"order_list": [{"price": "5"}]}, {"order_list": "", "price": "5"}, id="out of a list"),
        pytest.param({"order_list": [{"price": "5"}]}, {"order_list": [], "price": "5"}, id="out of an empty list"),
        pytest.param({"note": "x", "price": "5"}, {"notexprice": "5"}, id="a price into a name of ones own"),
    ],
)
def test_no_two_orders_are_one_text(honest: Any, stolen: Any) -> None:
    """Both have the same signature: at most one of them is accepted."""
    signed, sent = sign(honest), sign(stolen)
    assert json.loads(signed.body)["sig"] == json.loads(sent.body)["sig"]
    taken = [params for params, out in ((honest, signed), (stolen, sent)) if Venue("cryptocom").send(out) == "granted"]
    assert len(taken) < 2


@pytest.mark.parametrize("params", ["", "price5", ["price", "5"], 5, None, True])
def test_parameters_are_an_object(params: Any) -> None:
    out = sign({})
    assert (
        Venue("cryptocom").send(out, body=json.dumps({**json.loads(out.body), "params": params}).encode())
        == "place.field"
    )


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\udfff":1}', '["\\ud800"]'])
def test_half_a_character_is_refused_and_breaks_nothing(text: str) -> None:
    for member in ("id", "params", "nonce", "method", "api_key", "sig"):
        body = json.dumps({**json.loads(sign().body), member: "HERE"}).replace('"HERE"', text).encode()
        assert Venue("cryptocom").send(sign(), body=body) == "place.field", member


def test_numbers_are_signed_as_they_were_written() -> None:
    out = sign({"price": 1})
    text = f"{METHOD}{NONCE}{KEY_ID}price1.50{NONCE}".encode()
    body = out.body.replace(b'"price": 1', b'"price": 1.50').replace(
        json.loads(out.body)["sig"].encode(), mac(text, "sha256").hex().encode()
    )
    assert Venue("cryptocom").send(out, body=body) == "granted"
    assert Venue("cryptocom").send(out, body=body.replace(b"1.50", b"1.5")) == "signature.wrong"


def test_no_digit_moves_between_parameters_and_nonce() -> None:
    at = 1_795_321_795_328 * MS
    honest, stolen = sign({"limit": 179532}, nonce="1795321795328"), sign({"limit": ""}, nonce="1795321795321795328")
    assert json.loads(honest.body)["sig"] == json.loads(stolen.body)["sig"]
    for out in (honest, stolen):
        assert Venue("cryptocom", at=at).send(out) == "source.boundary"
    assert Venue("cryptocom", at=at).send(sign({"limit": 179531}, nonce="1795321795328")) == "granted"


KNOWN = ("price", "new_price", "side", "exec_inst", "order_list", "stp_id", "page", "page_size")
VALUES = st.sampled_from(["5", "e5", "new_", "_size1", "x", "", "tA", "side", "A", 5, ["A"], ["A", "B"], ["1", "2"]])
PARAMS = st.dictionaries(st.sampled_from(KNOWN), VALUES, max_size=4)


@settings(max_examples=100)
@given(params=PARAMS, data=st.data())
def test_whatever_is_taken_has_one_reading(params: dict[str, Any], data: st.DataObject) -> None:
    """Another split of the same text is refused, or has the same parameters of the venue's and no further text."""
    other: dict[str, str] = {}
    text, at = flat(params), 0
    while at < len(text):
        name = data.draw(st.integers(at + 1, len(text)))
        end = data.draw(st.integers(name, len(text)))
        other[text[at:name]] = text[name:end]
        at = end
    if flat(other) == text and is_plain(params) and is_plain(other):
        assert other == {name: flat(value) for name, value in params.items()}


def test_all_other_splits_of_one_order_are_refused() -> None:
    text, taken = flat(ORDER), 0
    for ends in combinations(range(1, len(text)), 3):
        cuts = [0, *ends, len(text)]
        pieces = [text[a:b] for a, b in pairwise(cuts)]
        other = {pieces[0]: pieces[1], pieces[2]: pieces[3]}
        taken += flat(other) == text and is_plain(other)
    assert taken == 0
    assert is_plain(ORDER)
