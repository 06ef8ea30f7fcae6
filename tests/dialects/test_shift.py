"""No byte moves from one signed part into another: every signed text is taken apart again in all ways there are.

First for what clients really send; then for rows made by chance: whatever `Row` takes must have one reading.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from dialects.attacks import BY_NAME, HOST, Sample, ask, guard_of, operations_of, samples, signed
from dialects.readings import KEY, How, Values, another, build, facts_of, hashed, read, readings
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FORM, SECOND

from tradeguard.backends.memory import MemoryKeys
from tradeguard.checks.signature import Signature
from tradeguard.core.credential import Window
from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.request import Request
from tradeguard.signing.row import Header, Row
from tradeguard.signing.rows import BITMEX, BITSTAMP, BYBIT, KUCOIN, OKX
from tradeguard.signing.signer import Outgoing

IN_HEADERS = [
    "tg1", "bitfinex", "bitget", "bitmex", "bitstamp", "bitvavo", "bybit", "coinbase-exchange", "gate",
    "kraken-futures", "kraken-futures-bare", "kucoin", "mexc-contract", "okx", "phemex",
]  # fmt: skip
JSON = b"application/json"


# --- what clients send ---------------------------------------------------------------------------------------------


def rebuild(sample: Sample) -> Callable[[Values], Request]:
    """What makes the request of other parts, with all the other fields of this one."""
    row = sample.dialect
    assert isinstance(row, Row)
    path, _, query = sample.target.partition(b"?")
    operations = operations_of([sample])

    def make(values: Values) -> Request:
        said = {"path": path[len(row.mount) :], "query": query, "body": sample.body, **values}
        target = row.mount.encode() + said["path"] + (b"?" + said["query"] if said["query"] else b"")
        made = sample._replace(method=said["method"].decode("latin-1"), target=target, body=said["body"])
        for name, place in (("time", row.time), ("nonce", row.nonce), ("width", row.width)):
            if name in values and isinstance(place, Header):
                made = made.having(place.name, values[name] or None)
        if "content_type" in values:
            made = made.having(b"content-type", values["content_type"] or None)
        request = (made.having(b"host", said["authority"]) if "authority" in said else made).request()
        request.operation = operations.match(request.method, request.path)
        return request

    return make


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "sample", [one for one in samples() if one.dialect.name in IN_HEADERS], ids=lambda sample: sample.name
)
def test_what_a_client_signed_has_one_reading(sample: Sample) -> None:
    row = sample.dialect
    assert isinstance(row, Row)
    request = sample.request()
    found = read(row, request)
    assert found is not None
    key = (row.prefix + sample.key_id).encode()
    how = How(row, rebuild(sample), hashed(row, facts_of(row, request, key)), key, found.algorithm.upper().encode())
    texts = (found.message, *found.others)
    assert any(read(row, reading) for text in texts for reading in readings(how, text)), "the request itself is found"
    assert [another(how, text) for text in texts] == [None] * len(texts)


MOVES = [
    ("okx", "order", b"/v1/create-order", b'1234{"a":1}'),
    ("okx", "order", b'/v1/create-order{"side":"BUY","quantity":"1"}', b""),
    ("okx", "order", b'/v1/create-order?{"side":"BUY","quantity":"1"}', b""),
    ("kucoin", "order", b"/v1/create-order?%7B%22side%22:%22BUY%22,%22quantity%22:%221%22%7D", b""),
    ("bybit", "order", b'/v1/create-order?{"side":"BUY","quantity":"1"}', b""),
    ("bybit", "order", b"/v1/create-order?%7B%22side%22:%22BUY%22,%22quantity%22:%221%22%7D", b""),
    ("mexc-contract", "order", b'/v1/create-order?{"side":"BUY","quantity":"1"}', b""),
    ("bybit", "read", b"/v1/orders", b"symbol=BTC&limit=1"),
    ("mexc-contract", "read", b"/v1/orders", b"limit=1&symbol=BTC"),
    ("gate", "order", b"/v1/create-order?", b'{"side":"BUY","quantity":"1"} '),
]


@pytest.mark.parametrize(
    ("name", "kind", "target", "body"), MOVES, ids=[f"{n} {m[0]} {m[1]}" for n, m in enumerate(MOVES)]
)
def test_a_moved_body_or_query_is_refused(name: str, kind: str, target: bytes, body: bytes) -> None:
    sample = signed(BY_NAME[name], kind)
    for method in ("GET", "POST", "PUT", "DELETE"):
        moved = sample._replace(method=method, target=target, body=body).having(b"content-type", JSON)
        assert ask(guard_of(sample), moved.request()) in (
            "source.boundary",
            "signature.wrong",
            "frame.path",
            "frame.target",
        )


# --- parameters that are signed in another form than they are sent -------------------------------------------------

TRICKY = b"a%20b%20c%2Fd~%2A%27%28%29%C3%A9"
DECODED = ["bitget", "bybit", "gate", "kucoin"]


@pytest.mark.parametrize(
    "escape", ["%26", "%3D", "%3d", "%23", "%2B", "%2b", "%25", "%00", "%0A", "%0d", "%1F", "%7F", "%C2%85", "%FF"]
)
@pytest.mark.parametrize("name", DECODED)
def test_an_encoding_that_changes_the_structure_is_refused(name: str, escape: str) -> None:
    """Before the signature: who signs such a query himself is refused as well, and so nobody can make him sign one."""
    sample = signed(BY_NAME[name], "read")
    path, _, query = sample.target.partition(b"?")
    for text in (b"x" + escape.encode() + b"y=2", b"x=1" + escape.encode() + b"y", b"x=" + escape.encode()):
        moved = sample._replace(target=path + b"?" + query + b"&" + text)
        code = ask(guard_of(sample), moved.request())
        assert code == "source.boundary" or (name == "bitget" and escape == "%25" and code == "signature.wrong"), code


@pytest.mark.parametrize("name", DECODED)
@pytest.mark.parametrize("value", [TRICKY, b"a+b", b"a%20b", b"a~b", b"%E2%82%AC", b"a%3Ab", b"a%3ab", b"1%2F2"])
def test_an_honest_value_passes_in_every_spelling(name: str, value: bytes) -> None:
    row = BY_NAME[name]
    sent = Outgoing("GET", HOST, b"/v1/orders?id=" + value + b"&limit=1")
    sample = signed(row, sent=sent)
    assert ask(guard_of(sample), sample.request()) == ""


@pytest.mark.parametrize("name", ["bitget", "gate", "kucoin"])
def test_another_encoding_of_the_same_text_is_the_same_request_and_of_another_text_is_not(name: str) -> None:
    sample = signed(BY_NAME[name], sent=Outgoing("GET", HOST, b"/v1/orders?id=a%20b&limit=1"))
    for query, code in ((b"id=a+b&limit=1", ""), (b"id=%61%20b&limit=1", ""), (b"id=ab&limit=1", "signature.wrong"),
                        (b"id=a%2520b&limit=1", None), (b"id=a%20b%26limit=1", None)):  # fmt: skip
        found = ask(guard_of(sample), sample._replace(target=b"/v1/orders?" + query).request())
        assert found in (("source.boundary", "signature.wrong") if code is None else (code,))


@pytest.mark.parametrize("name", ["bitget", "mexc-contract", "htx"])
@pytest.mark.parametrize("query", [b"a=1&a=2", b"a=2&a=1", b"a=1&%61=2", b"a=1&a", b"a=1&&b=2&"])
def test_a_sorted_query_with_a_name_twice_is_refused(name: str, query: bytes) -> None:
    sample = signed(BY_NAME[name], "read")
    path, _, rest = sample.target.partition(b"?")
    assert (
        ask(guard_of(sample), sample._replace(target=path + b"?" + query + b"&" + rest).request()) == "source.boundary"
    )


# --- bodies whose members are signed without what stands between them ----------------------------------------------


def _cryptocom(**members: Any) -> Sample:
    """A request that is signed over whatever is in it: as a client would that does not care."""
    import hmac
    import json

    from tradeguard.signing.message import flat

    base = signed(BY_NAME["cryptocom"])
    document = {**json.loads(base.body), **members}
    text = (
        document["method"]
        + str(document["id"])
        + document["api_key"]
        + flat(document["params"])
        + document["nonce"].__str__()
    )
    document["sig"] = hmac.digest(b"a secret of thirty-two characters", text.encode(), "sha256").hex()
    return base._replace(body=json.dumps(document).encode())


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"params": {"instrument_name": "BTCprice1"}}, id="a parameter folded into a text"),
        pytest.param({"params": {"client_oid": "xquantity1side1"}}, id="two parameters folded into an id"),
        pytest.param({"params": {"exec_inst": ["a1", "2b"]}}, id="items that shift into each other"),
        pytest.param({"params": "side1"}, id="a text in place of parameters"),
        pytest.param({"params": ["side", "1"]}, id="a list in place of parameters"),
        pytest.param({"params": {"SIDE": "1"}}, id="a name in capitals"),
        pytest.param({"params": {"side1": "x"}}, id="a name that ends in a value"),
        pytest.param({"id": "1a"}, id="an id that is no number"),
        pytest.param({"id": True}, id="an id that is true"),
        pytest.param({"extra": 1}, id="a member that is not signed"),
    ],
)
def test_flat_parameters_that_could_be_others_are_refused(members: dict[str, Any]) -> None:
    honest = _cryptocom(params={"instrument_name": "BTC_USD", "side": "BUY", "client_oid": "a b c/d~*'()é"})
    assert ask(guard_of(honest), honest.request()) == ""
    sample = _cryptocom(**members)
    assert ask(guard_of(sample), sample.request()) in (
        "source.boundary",
        "verifier.field",
        "place.field",
        "credential.field",
    )


def test_the_tail_of_a_method_does_not_become_an_id() -> None:
    """private/order1 + 23 and private/order + 123 are one text."""
    sample = signed(BY_NAME["cryptocom"], sent=Outgoing("POST", HOST, b"/exchange/v1/private/order1", JSON, b"{}"))
    assert ask(guard_of(sample), sample.request()) in ("source.boundary", "place.field", "verifier.field")


# --- rows made by chance -------------------------------------------------------------------------------------------

PARTS = [
    "{time}", "{method}", "{target}", "{path}", "{query}", "{?query}", "{body}", "{key}", "{nonce}", "{width}",
    "{text}", "{authority}", "{content_type}", "{sha256hex(body)}", "{sha256(nonce body)}", "{sha256(text nonce path)}",
    "{query:decoded}", "{?query:decoded}", "{query:sorted}", "{?query:sorted,decoded}", "{text:decoded}",
    "{sha256(target body)}", "{#text}", "{&query}", "{|body}", "{.text}", "{?body}", "{#text:decoded}",
    "{@query:sorted}", "{target}{method}{time}", "{method}{time}", "{nonce}{key}", "{key}{nonce}",
]  # fmt: skip
SEPARATORS = ["", "", "", "", "\n", "&", "-", "v2", "/", "--", "7", "#", "\0", "PUT1"]
KEYS = [b"key1", b"key1", b"7", b"77", b"79500"]


def make_row(dice: random.Random) -> Row | None:
    """A row of a few parts in any order; None where it is refused."""
    names = dice.sample(PARTS, dice.randint(1, 6))
    message = "".join(dice.choice(SEPARATORS) + name for name in names)
    message += dice.choice(["", "", "\n", "v2"])
    form: Any = dice.choice(["token", "uuid", "free", "clock"]) if "nonce" in message else "token"
    made: dict[str, Any] = {
        "name": "chance", "algorithms": {"hmac-sha256": "hex"}, "message": message, "key": Header(b"k"),
        "signature": Header(b"s"), "window": Window(60 * SECOND, 60 * SECOND), "form": form,
        "unit": dice.choice(["s", "ms", "s."]), "body": dice.choice(["any", "json", "form", "both", "none"]),
        "bodyless": dice.choice([frozenset({"GET", "HEAD", "DELETE"}), frozenset({"GET"}), frozenset[str]()]),
        "nonce": Header(b"n") if "nonce" in message else None, "time": Header(b"t") if "{time}" in message else None,
        "width": Header(b"w") if "{width}" in message else None, "widest": 60 * SECOND,
        "mount": dice.choice(["", "", "", "/m", "/m/"]),
    }  # fmt: skip
    try:
        row = Row(**made)
    except ConfigError:
        return None
    return None if any(guard.literal for guard in row.guards) else row  # what parts path and query there is the map


def make_values(dice: random.Random, row: Row) -> Values:
    """Parts of a request that look like other parts."""
    odd = dice.choice([b"1795000000", b"1795000000000", b"7", b"v2", b"ab", b"{}", b"-", b"GET"])
    body = dice.choice([
        b"", b"{}", b'{"a":1}', b"a=1", b"a=1&b=2", b"1", b"[1]", b"a=" + odd, b"7=1", b"a=b&c=key1", b"{}1795000000",
        b"a1795000000b=1", b"ab?=1", b"/x", b"a\nb", b"a=1-", b'{"k":"key1"}', b".5[1]",
    ])  # fmt: skip
    query = dice.choice([
        b"", b"a=1", b"a=1&b=2", b"x", b"a=" + odd, odd + b"=1", b'a={"b":1}', b"a=%7B%22b%22%3A1%7D", b"a=%7B%7D",
        b"a=x%20y", b"&a=key1", b"key1=1", b"1", b"a=1/x", b"a=-", b"a=%41", b"a=%5B1%5D", b"{}", b".5=1",
        b"GET1795000000", b"a=POST1", b"a#b=1", b"a=--", b"a=7", b"a=PUT1",
    ])  # fmt: skip
    path = dice.choice(
        [
            b"/a",
            b"/a/1",
            b"/",
            b"/1795000000",
            b"/a=1",
            b"/GET",
            b"/a-b",
            b"/v2",
            b"/a/b&c=1",
            b"/key1",
            b"/GET",
            b"/GET1795000000",
            b"/aPOST1",
            b"/PUT1795000000000",
            b"/a#b",
            b"/.5",
            b"/7",
        ]
    )
    path = path[1:] if row.mount.endswith("/") else path
    time = {"s": b"1795000000", "ms": b"1795000000000", "s.": dice.choice([b"1795000000", b"1795000000.5"])}[row.unit]
    nonces = {
        "token": [b"n" * 16], "uuid": [b"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"], "free": [b"1795000000000", b"x1"],
        "clock": [b"1795000000", b"1795000000000", b"17950000795000001"],
    }  # fmt: skip
    return {
        "time": time, "nonce": dice.choice(nonces[row.form]), "width": dice.choice([b"5", b"50", b"5000"]),
        "method": dice.choice([b"POST", b"GET", b"DELETE", b"PUT"]), "path": path, "query": query, "body": body,
        "authority": b"api.example", "content_type": dice.choice([b"", FORM, JSON]),
    }  # fmt: skip


def check_row(dice: random.Random) -> bool | None:
    """Try one row: None where there was nothing to try."""
    row = make_row(dice)
    if row is None:
        return None
    key = dice.choice(KEYS)
    for _ in range(20):
        request = build(row, {**make_values(dice, row), "key": key})
        found = read(row, request)
        if found is None:
            continue
        texts = hashed(row, facts_of(row, request, key))
        how = How(row, lambda values: build(row, {**values, "key": key}), texts, key)
        for text in (found.message, *found.others):
            other = another(how, text, 20_000) if len(text) < 170 else None
            assert other is None, (row.message, row.body, row.unit, row.form, row.guards, request.target, other)
    return True


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_row_is_taken_has_one_reading(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(4):
        check_row(dice)


@pytest.mark.soak
def test_many_rows_have_one_reading() -> None:
    dice = random.Random(6)
    done = [check_row(dice) for _ in range(40_000)]
    assert sum(map(bool, done)) > 2_500


@pytest.mark.parametrize(
    ("row", "change"),
    [
        pytest.param(OKX, {"message": "{time}\n{query}{key}{path}"}, id="a key that a query can hold"),
        pytest.param(
            OKX,
            {"message": "{time}\n{query}&{key}&{body}", "body": "any"},
            id="a key between ends that a query can hold",
        ),
        pytest.param(BITMEX, {"message": "{time}{method}{target}{body}"}, id="a form right behind the target"),
        pytest.param(
            BITSTAMP, {"message": "{key}{nonce}{time}{content_type}{authority}{path}"}, id="a type before a host"
        ),
        pytest.param(
            BITSTAMP,
            {"message": "{nonce}{time}{path}{?query:decoded}{content_type}{body}"},
            id="a decoded query before a type",
        ),
        pytest.param(BITSTAMP, {"message": "{nonce}{time}{target}{content_type}{method}"}, id="a method behind a type"),
        pytest.param(
            OKX,
            {"message": "{time}\n{method}{width}{query}", "width": Header(b"w"), "widest": 9},
            id="a width that may be left out",
        ),
        pytest.param(
            BYBIT, {"message": "{time}{key}{text:decoded}/{content_type}"}, id="a decoded text before a literal"
        ),
        pytest.param(BYBIT, {"body": "any"}, id="a text that is a body or a query"),
        pytest.param(KUCOIN, {"message": ("{time}\n{target}\n{body}", "{time}\n{body}\n{target}")}, id="two orders"),
        pytest.param(
            OKX,
            {"message": "{time}\n{nonce}{query}", "nonce": Header(b"n"), "form": "free"},
            id="letters before letters",
        ),
    ],
)
def test_a_row_with_two_readings_is_refused(row: Row, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(row, **change)


PLAIN: dict[str, Any] = {
    "name": "plain", "algorithms": {"hmac-sha256": "hex"}, "key": Header(b"k"), "signature": Header(b"s"),
    "window": Window(90 * SECOND, 90 * SECOND),
}  # fmt: skip
CLOCK = {**PLAIN, "nonce": Header(b"n"), "form": "clock"}
TIMED = {**PLAIN, "time": Header(b"t")}
FREE = {**TIMED, "nonce": Header(b"n"), "form": "free"}


@pytest.mark.parametrize(
    ("row", "key", "one", "other"),
    [
        pytest.param(
            {**FREE, "message": "{target}{method}{time}{nonce}"},
            KEY,
            {"path": b"/a", "method": b"PUT", "time": b"1795000000000", "nonce": b"PUT1795000000000x"},
            {"path": b"/aPUT1795000000000", "method": b"PUT", "time": b"1795000000000", "nonce": b"x"},
            id="a target that goes on behind the method",
        ),
        pytest.param(
            {**FREE, "message": "{time}\n{text}--{nonce}", "body": "form"},
            KEY,
            {"body": b"a=1", "time": b"1795000000000", "nonce": b"-x"},
            {"body": b"a=1-", "time": b"1795000000000", "nonce": b"x"},
            id="a separator that begins in the text",
        ),
        pytest.param(
            {**CLOCK, "message": "{path}7{nonce}"},
            KEY,
            {"path": b"/a", "nonce": b"1795000071795000001"},
            {"path": b"/a717950000", "nonce": b"1795000001"},
            id="a digit before a clock",
        ),
        pytest.param(
            {**CLOCK, "message": "{body}{key}{nonce}", "window": Window(200 * SECOND, 200 * SECOND)},
            b"95000",
            {"body": b"a=1", "nonce": b"17950001795000001"},
            {"body": b"a=19500017", "nonce": b"1795000001"},
            id="a key of digits before a clock",
        ),
        pytest.param(
            {**TIMED, "message": "{time}{key}{query}", "unit": "s."},
            b"7",
            {"time": b"1795000000.1", "query": b"7=1"},
            {"time": b"1795000000.17", "query": b"=1"},
            id="a key of digits behind a fraction",
        ),
        pytest.param(
            {**CLOCK, "message": "{nonce}{key}{query}"},
            b"7",
            {"nonce": b"1795000000000", "query": b"7=1"},
            {"nonce": b"17950000000007", "query": b"=1"},
            id="a key of digits behind a clock",
        ),
    ],
)
def test_of_two_requests_with_one_text_one_is_refused(
    row: dict[str, Any], key: bytes, one: Values, other: Values
) -> None:
    made = Row(**row)
    loose = replace(made)
    object.__setattr__(loose, "guards", ())
    requests = [build(made, {**values, "key": key}) for values in (one, other)]
    texts = [found.message if (found := read(loose, request)) is not None else None for request in requests]
    assert texts[0] == texts[1] is not None, "without its guards the row takes both"
    assert None in [read(made, request) for request in requests]


FORMS = Row(**{**CLOCK, "message": "{nonce}https://{authority}{target}{body}", "body": "form"})


@pytest.mark.parametrize(
    ("path", "query", "body", "taken"),
    [
        pytest.param(b"/v1/orders", b"", b"pair=btc&a=1", True, id="a form at a path that the map has"),
        pytest.param(b"/v1/orders", b"pair=btc", b"", True, id="a query"),
        pytest.param(b"/v1/orders/7", b"", b"", True, id="no form at a path with a parameter"),
        pytest.param(b"/v1/orders/7", b"", b"pair=btc", False, id="a form at a path with a parameter"),
        pytest.param(b"/v1/orders/7pai", b"", b"r=btc", False, id="a form that went on in the path"),
        pytest.param(b"/v1/orders/7pair=btc", b"", b"", False, id="a form in the path"),
        pytest.param(b"/v1/orders", b"pair=btc", b"a=1", False, id="a query and a form"),
        pytest.param(b"/v1/orders", b"", b"&a=1", False, id="a form without a name"),
        pytest.param(b"/v1/orders", b"", b'{"a":1}', False, id="JSON"),
        pytest.param(b"/v1/orders", b"", b"?a=1", False, id="a form that is a query"),
    ],
)
def test_a_form_right_behind_a_path_takes_a_path_that_the_map_has_letter_by_letter(
    path: bytes, query: bytes, body: bytes, taken: bool
) -> None:
    operations = Operations({
        "POST /v1/orders": {"scopes": "orders:write", "lane": "order"},
        "POST /v1/orders/{id}": {"scopes": "orders:write", "lane": "order"},
    })  # fmt: skip
    request = build(FORMS, {"path": path, "query": query, "body": body, "nonce": b"1795000000000"})
    request.operation = operations.match("POST", request.path)
    assert (read(FORMS, request) is not None) == taken


def test_two_paths_of_which_one_goes_on_as_a_form_could_are_refused() -> None:
    operations = Operations({
        "POST /v1/order": {"scopes": "orders:write", "lane": "order"},
        "POST /v1/orders": {"scopes": "orders:write", "lane": "order"},
    })  # fmt: skip
    signature = Signature(MemoryKeys([]), dialects=(FORMS,), accept=("plain",))
    with pytest.raises(ConfigError, match="/v1/order with parameters can pass for /v1/orders with others"):
        signature.check_plan(Policy(), operations)


def test_the_search_finds_what_guards_are_for() -> None:
    """The measure of all above: without its guards a row has two readings, and the search finds the second."""
    for name in ("okx", "bybit", "phemex", "bitvavo", "kucoin"):
        sample = signed(BY_NAME[name], "order", sent=Outgoing("POST", HOST, b"/v1/orders/12", JSON, b'{"a":1}'))
        row = sample.dialect
        assert isinstance(row, Row)
        loose = replace(row, bodyless=frozenset())
        object.__setattr__(loose, "guards", ())
        message = read(row, sample.request())
        assert message is not None
        how = How(loose, rebuild(sample), {}, sample.key_id.encode())
        assert another(how, message.message) is not None, name
