"""The `bybit` dialect: neither digits nor brackets move between window, query and body, and no encoding hides a `&`."""

import hmac
from urllib.parse import unquote_to_bytes

import pytest
from dialects.captured import captures, material_of, read, request_of, row_of, verifies
from dialects.ours import HOST, SECRET, code_of, decide, guard_of, key_of
from hypothesis import given
from hypothesis import strategies as st
from support import FORM, NOW, make_request

from tradeguard.core.drive import drive
from tradeguard.signing.rows import BYBIT
from tradeguard.signing.signer import Outgoing

JSON = b"application/json"
KEY, TIME = key_of(BYBIT).encode(), b"%d" % (NOW // 1_000_000)
ORDER = b'{"category":"spot","symbol":"BTCUSDT"}'


def made(method: str, target: bytes, body: bytes = b"", kind: bytes = b"", *, width: bytes, text: bytes) -> Outgoing:
    """A request whose signature is over `text`, sent with that window (none for b"")."""
    signature = hmac.digest(SECRET, TIME + KEY + width + text, "sha256").hex().encode()
    fields = [(b"x-bapi-api-key", KEY), (b"x-bapi-timestamp", TIME), (b"x-bapi-sign", signature)]
    fields += [(b"x-bapi-recv-window", width)] if width else []
    return Outgoing(method, HOST, target, kind, body, tuple(fields))


QUERY = made("GET", b"/v5/order?category=spot", width=b"5000", text=b"category=spot")
BODY = made("POST", b"/v5/order", ORDER, JSON, width=b"5000", text=ORDER)
BARE = made("GET", b"/v5/order?category=spot", width=b"", text=b"category=spot")


@pytest.mark.parametrize("honest", [QUERY, BODY, BARE], ids=["query", "body", "no window"])
def test_an_honest_request_passes(honest: Outgoing) -> None:
    assert decide(guard_of(BYBIT), honest) == "granted"


@pytest.mark.parametrize(
    ("window", "query"),
    [(b"500", b"0category=spot"), (b"5", b"000category=spot"), (b"500", b"%30category=spot"),
     (b"5", b"%3000category=spot"), (b"500", b"0%63ategory=spot")],
)  # fmt: skip
def test_no_digit_of_the_window_moves_into_the_query(window: bytes, query: bytes) -> None:
    changed = [(b"x-bapi-recv-window", window)]
    assert decide(guard_of(BYBIT), QUERY._replace(target=b"/v5/order?" + query), changed) == "source.boundary"


def test_nor_does_the_whole_window() -> None:
    fields = tuple(field for field in QUERY.headers if field[0] != b"x-bapi-recv-window")
    for query in (b"5000category=spot", b"%35000category=spot"):
        moved = QUERY._replace(target=b"/v5/order?" + query, headers=fields)
        assert decide(guard_of(BYBIT), moved) == "source.boundary"


def test_no_digit_of_a_body_moves_into_the_window() -> None:
    text = b"5000[17]"
    attack = made("POST", b"/v5/order", b"0[17]", JSON, width=b"500", text=b"0[17]")
    assert decide(guard_of(BYBIT), attack) == "source.boundary"
    assert decide(guard_of(BYBIT), made("POST", b"/o", b"[17]", JSON, width=b"5000", text=text[4:])) == "granted"


@pytest.mark.parametrize("kind", [FORM, JSON, b""])
def test_a_captured_query_is_no_body(kind: bytes) -> None:
    moved = QUERY._replace(method="POST", target=b"/v5/order", body=b"category=spot", content_type=kind)
    assert decide(guard_of(BYBIT), moved) == "source.boundary"


@pytest.mark.parametrize(
    "query", [ORDER, ORDER.replace(b"{", b"%7B"), b"%7b" + ORDER[1:].replace(b'"', b"%22")], ids=["raw", "%7B", "%7b"]
)
def test_a_captured_order_is_no_query_of_a_read(query: bytes) -> None:
    """Reads are not single-use, so one order would read whatever its key may read, for five seconds."""
    moved = BODY._replace(method="GET", target=b"/v5/order?" + query, body=b"", content_type=b"")
    assert decide(guard_of(BYBIT), moved) == "source.boundary"


@pytest.mark.parametrize("target", [b"/v5/order?", b"/v5/order?qty=9"])
def test_a_query_beside_a_body_is_refused(target: bytes) -> None:
    assert decide(guard_of(BYBIT), BODY._replace(target=target)) == "source.boundary"


@pytest.mark.parametrize(
    ("text", "query"),
    [(b"a=1&b=2", b"a=1%26b=2"), (b"a=1&b=2", b"a%3D1&b=2"), (b"a=1 2", b"a=1%2B2"), (b"a=1+2", b"a=1%2B2"),
     (b"a=%26", b"a=%2526"), (b"a=x\ny", b"a=x%0Ay")],
)  # fmt: skip
def test_decoding_leaves_the_structure_of_a_query_alone(text: bytes, query: bytes) -> None:
    attack = made("GET", b"/v5/order?" + query, width=b"5000", text=text)
    assert decide(guard_of(BYBIT), attack) == "source.boundary"


def test_what_clients_send_of_odd_characters_is_read_as_they_signed_it() -> None:
    tricky = [capture for capture in captures() if capture["venue"] == "bybit" and capture["call"] == "tricky-query"]
    assert {capture["client"].split()[0] for capture in tricky} == {"ccxt", "pybit"}
    for capture in tricky:
        assert b"%20" in request_of(capture).target
        assert verifies(material_of(capture), read(row_of(capture), request_of(capture)))


@pytest.mark.parametrize("width", [b"0", b"60001", b"05000", b"+5000", b"5e3", b"5000.0", b""])
def test_a_window_is_a_number_of_at_most_a_minute(width: bytes) -> None:
    changed = [(b"x-bapi-recv-window", width)]
    assert decide(guard_of(BYBIT), made("GET", b"/o", width=width, text=b""), changed) == "place.field"


@pytest.mark.parametrize("time", [TIME[:10], TIME + b"000", TIME[:12], b"0" + TIME])
def test_no_digit_of_the_time_moves_behind_it(time: bytes) -> None:
    """The key stands behind it, and another key has another secret."""
    for key in (KEY, b"000" + KEY, b"0" + KEY):
        fields = [(b"x-bapi-timestamp", time), (b"x-bapi-api-key", key)]
        assert decide(guard_of(BYBIT), QUERY, fields) in ("signature.wrong", "signature.unknown", "place.field")


def test_the_same_order_at_another_path_or_by_another_method_is_the_same_message() -> None:
    guard = guard_of(BYBIT)
    assert decide(guard, BODY) == "granted"
    for change in ({"target": b"/v5/order/cancel-all"}, {"method": "PUT"}):
        assert decide(guard, BODY._replace(**change)) == "replay.seen"


def test_a_login_to_the_websocket_is_no_request() -> None:
    """It signs GET/realtime and an expiry, which begins with no time of thirteen digits and no key."""
    text = b"GET/realtime%d" % (NOW // 1_000_000 + 10_000)
    signature = hmac.digest(SECRET, text, "sha256").hex().encode()
    fields = [(b"x-bapi-api-key", KEY), (b"x-bapi-timestamp", TIME), (b"x-bapi-sign", signature)]
    request = make_request("GET", b"/realtime", headers=fields)
    assert code_of(drive(guard_of(BYBIT).admit(request))) == "signature.wrong"


@given(
    width=st.integers(0, 8),
    encoded=st.sets(st.integers(0, 40)),
    into=st.sampled_from(["query", "json", "form", "raw body"]),
    honest=st.sampled_from([QUERY, BODY, BARE]),
)
def test_no_other_request_has_the_text_of_an_honest_one(
    width: int, encoded: set[int], into: str, honest: Outgoing
) -> None:
    """Window and text, split and encoded anywhere, in a query or a body: what passes says the same."""
    window = dict(honest.headers).get(b"x-bapi-recv-window", b"")
    query = honest.target.partition(b"?")[2]
    text = window + (honest.body or query)
    rest = text[width:]
    spelt = b"".join(b"%%%02X" % byte if at in encoded else b"%c" % byte for at, byte in enumerate(rest))
    fields = [field for field in honest.headers if field[0] != b"x-bapi-recv-window"]
    fields += [(b"x-bapi-recv-window", text[:width])] if width else []
    kind = {"json": JSON, "form": FORM}.get(into, b"")
    out = Outgoing("GET", HOST, b"/v5/order?" + spelt, headers=tuple(fields))
    if into != "query":
        out = Outgoing("POST", HOST, b"/v5/order", kind, rest, tuple(fields))
    if decide(guard_of(BYBIT), out) == "granted":
        assert text[:width] == window
        assert (out.body, unquote_to_bytes(out.target.partition(b"?")[2])) == (honest.body, query)
