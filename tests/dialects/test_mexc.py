"""The `mexc` and `mexc-contract` dialects: what is not signed is not carried, and a list is a body."""

import hmac
import time

import pytest
from dialects.captured import captures, material_of, read, request_of, row_of, verifies
from dialects.ours import HOST, SECRET, decide, guard_of, key_of, sent, signed, signer_of
from dialects.served import serving
from dialects.venues import make_ccxt
from support import FORM, NOW

from tradeguard.core.decision import Grant
from tradeguard.core.drive import drive
from tradeguard.signing.rows import KRAKEN_FUTURES_BARE, MEXC, MEXC_CONTRACT
from tradeguard.signing.signer import Outgoing

JSON = b"application/json"
TIME = b"%d" % (NOW // 1_000_000)
SPOT = signed(MEXC, "POST", b"/api/v3/order?symbol=BTCUSDT&newClientOrderId=a%20b")
READ = signed(MEXC_CONTRACT, "GET", b"/api/v1/private/order?page_size=5&page_num=1")
CANCEL = signed(MEXC_CONTRACT, "POST", b"/api/v1/private/order/cancel", b'["17"]', JSON)


@pytest.mark.parametrize("kind", [FORM, JSON, b""])
@pytest.mark.parametrize("body", [b"quantity=100", b'{"quantity":100}', b"{}", b" "])
def test_no_body_stands_beside_the_query_of_spot(body: bytes, kind: bytes) -> None:
    assert decide(guard_of(MEXC), SPOT) == "granted"
    assert decide(guard_of(MEXC), SPOT._replace(body=body, content_type=kind)) == "source.boundary"


def spaced(query: bytes, text: bytes) -> Outgoing:
    stamp = b"&timestamp=" + TIME
    signature = hmac.digest(SECRET, text + stamp, "sha256").hex().encode()
    head = ((b"x-mexc-apikey", key_of(MEXC).encode()),)
    return Outgoing("POST", HOST, b"/o?" + query + stamp + b"&signature=" + signature, headers=head)


@pytest.mark.parametrize(
    ("query", "text", "code"),
    [
        (b"a=x+y", b"a=x%20y", "granted"),  # pymexc
        (b"a=x%20y", b"a=x%20y", "granted"),  # ccxt
        (b"a=x+y", b"a=x+y", "granted"),
        (b"a=x%2By", b"a=x%2By", "granted"),
        (b"a=x%20y", b"a=x+y", "signature.wrong"),
        (b"a=x%2By", b"a=x+y", "signature.wrong"),
        (b"a=x%2By", b"a=x%20y", "signature.wrong"),
        (b"a=x y", b"a=x%20y", "frame.target"),
    ],
)
def test_a_space_may_be_sent_as_plus_and_a_plus_never_as_a_space(query: bytes, text: bytes, code: str) -> None:
    assert decide(guard_of(MEXC), spaced(query, text)) == code


def test_both_spellings_of_a_space_are_one_message() -> None:
    guard = guard_of(MEXC)
    assert decide(guard, spaced(b"a=x%20y", b"a=x%20y")) == "granted"
    assert decide(guard, spaced(b"a=x+y", b"a=x%20y")) == "replay.seen"


def test_what_pymexc_sends_is_read_as_it_signed_it() -> None:
    (capture,) = [one for one in captures() if one["client"].startswith("pymexc spot") and one["call"] == "tricky"]
    assert b"=a+b+c" in request_of(capture).target
    assert verifies(material_of(capture), read(row_of(capture), request_of(capture)))


@pytest.mark.parametrize("text", [b"a=1&signature=%s&b=2", b"signature=%s&a=1", b"a=1&signature=%s&signature=%s"])
def test_a_signature_of_spot_is_the_last_parameter_and_stands_once(text: bytes) -> None:
    signature = SPOT.target.rpartition(b"=")[2]
    attack = SPOT._replace(target=b"/o?timestamp=" + TIME + b"&" + text.replace(b"%s", signature))
    assert decide(guard_of(MEXC), attack) == "place.field"


def test_a_list_is_a_body_of_contract_and_is_signed() -> None:
    assert decide(guard_of(MEXC_CONTRACT), CANCEL._replace(body=b'["18"]')) == "signature.wrong"
    assert decide(guard_of(MEXC_CONTRACT), CANCEL) == "granted"


def test_the_query_of_contract_is_signed_sorted_and_may_stand_in_any_order() -> None:
    swapped = READ._replace(target=b"/api/v1/private/order?page_num=1&page_size=5")
    assert [decide(guard_of(MEXC_CONTRACT), out) for out in (READ, swapped)] == ["granted"] * 2
    for query in (b"page_num=1&page_num=1&page_size=5", b"page_num=1&page_size=5&", b"page_num=1&&page_size=5"):
        changed = READ._replace(target=b"/api/v1/private/order?" + query)
        assert decide(guard_of(MEXC_CONTRACT), changed) in ("source.boundary", "signature.wrong")


@pytest.mark.parametrize("kind", [FORM, JSON, b""])
def test_a_captured_query_of_contract_is_no_body(kind: bytes) -> None:
    moved = READ._replace(method="POST", target=b"/o", body=b"page_num=1&page_size=5", content_type=kind)
    assert decide(guard_of(MEXC_CONTRACT), moved) == "source.boundary"


def test_a_captured_body_of_contract_is_no_query() -> None:
    order = signed(MEXC_CONTRACT, "POST", b"/o", b'{"a":"1&~"}', JSON)
    for query in (b'{"a":"1&~"}', b'~"}&{"a":"1'):
        moved = order._replace(method="GET", target=b"/o?" + query, body=b"", content_type=b"")
        assert decide(guard_of(MEXC_CONTRACT), moved) == "source.boundary"
    listed = CANCEL._replace(method="GET", target=b'/o?["17"]', body=b"", content_type=b"")
    assert decide(guard_of(MEXC_CONTRACT), listed) == "source.boundary"


@pytest.mark.parametrize("target", [b"/o?", b"/o?a=1"])
def test_a_query_beside_a_body_of_contract_is_refused(target: bytes) -> None:
    assert decide(guard_of(MEXC_CONTRACT), CANCEL._replace(target=target)) == "source.boundary"


def test_contract_and_kraken_futures_name_the_key_alike_and_stand_in_one_guard() -> None:
    ours = (MEXC_CONTRACT, KRAKEN_FUTURES_BARE)
    secret = b"YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBjaGFyYWN0ZXJz"  # SECRET in base64
    other = type(signer_of(MEXC_CONTRACT))(KRAKEN_FUTURES_BARE, key_of(KRAKEN_FUTURES_BARE), secret)
    theirs = other.sign(Outgoing("GET", HOST, b"/derivatives/api/v3/accounts"), NOW)
    for order in (ours, ours[::-1]):
        guard = guard_of(*order)
        for row, out in ((MEXC_CONTRACT, READ), (KRAKEN_FUTURES_BARE, theirs)):
            decision = drive(guard.admit(request := sent(out)))
            assert isinstance(decision, Grant)
            assert request.credential is not None
            assert request.credential.dialect == row.name
        both = READ._replace(headers=(*READ.headers, (b"authent", dict(theirs.headers)[b"authent"])))
        assert decide(guard, both) == "signature.ambiguous"
        bare = READ._replace(headers=((b"apikey", key_of(MEXC_CONTRACT).encode()),))
        assert decide(guard, bare) == "signature.missing"


def test_ccxt_reads_the_clock_of_contract_when_it_asks_for_swaps() -> None:
    with serving("mexc-contract", situation="stale", clock="/api/v1/contract/ping") as venue:
        client = make_ccxt("mexc-contract", venue.url, venue.credentials.key_id, venue.credentials.secret)
        before = time.time_ns() // 1_000_000
        told = client.fetch_time({"type": "swap"}) - 3_600_000  # our clock is an hour ahead
        assert before <= told <= time.time_ns() // 1_000_000


def test_a_login_to_the_websocket_of_contract_is_a_read_without_parameters() -> None:
    """Documented, since nothing tells them apart: both sign the key and the time, and nothing else."""
    login = hmac.digest(SECRET, key_of(MEXC_CONTRACT).encode() + TIME, "sha256").hex().encode()
    head = ((b"apikey", key_of(MEXC_CONTRACT).encode()), (b"request-time", TIME), (b"signature", login))
    guard = guard_of(MEXC_CONTRACT)
    assert decide(guard, Outgoing("GET", HOST, b"/api/v1/private/account/assets", headers=head)) == "granted"
    for target, body in ((b"/o?a=1", b""), (b"/o", b"{}"), (b"/o", b"[]")):
        assert decide(guard, Outgoing("POST", HOST, target, JSON, body, head)) == "signature.wrong"
