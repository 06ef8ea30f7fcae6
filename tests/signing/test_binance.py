"""The `binance` dialect: its published example verifies, and no byte shifts over a boundary of what it signs."""

import pytest
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st
from support import BINA, FORM, NOW, make_guard, make_keys, make_request, sign

from tradeguard.checks.replay import Replay
from tradeguard.checks.signature import Signature
from tradeguard.core.decision import UNAUTHORIZED, Decision, Denial, Grant
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.request import Request
from tradeguard.signing.material import Hmac
from tradeguard.signing.rows import BINANCE
from tradeguard.signing.signer import Outgoing, Signer
from tradeguard.signing.verifier import Verifier

KEY = (b"x-mbx-apikey", b"bina")
EVERYTHING = Operations({f"{method} /**": "orders:write" for method in ("GET", "HEAD", "DELETE", "POST", "PUT")})

# "SIGNED Endpoint Example for POST /api/v3/order", Binance Spot API documentation
DOCUMENTED_SECRET = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
DOCUMENTED_TEXT = (
    b"symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
)
DOCUMENTED_SIGNATURE = b"c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"


def _proof_only(*more: object) -> Guard:
    """A guard that grants whatever has a valid signature, on every path and for every method."""
    signature = Signature(make_keys(), dialects=(BINANCE,), accept=("binance",))
    without = ("freshness", "scope") if more else ("freshness", "scope", "replay")
    return make_guard([signature, *more], operations=EVERYTHING, without=without)


def _request(method: str, query: bytes, body: bytes = b"", content_type: bytes = FORM) -> Request:
    kind = [(b"content-type", content_type)] if content_type else []
    return make_request(method, b"/v1/orders" + (b"?" + query if query else b""), body=body, headers=[KEY, *kind])


def _is_401(decision: Decision) -> bool:
    return isinstance(decision, Denial) and decision.public == UNAUTHORIZED


@pytest.mark.parametrize("in_form", [False, True])
def test_the_documented_example_verifies(in_form: bool, run: Run) -> None:
    text = DOCUMENTED_TEXT + b"&signature=" + DOCUMENTED_SIGNATURE
    request = _request("POST", b"", text) if in_form else _request("POST", text, content_type=b"")
    verifier = Verifier(BINANCE)
    claim = verifier.claim(request)
    assert claim is not None
    signed = verifier.read(request, claim, text if in_form else b"")
    assert signed.message == DOCUMENTED_TEXT
    assert signed.signed_at == 1_499_827_319_559_000_000
    assert signed.window.past == 5_000_000_000
    assert run(Hmac(DOCUMENTED_SECRET).verify(signed.message, signed.signature)) is True


def test_the_signer_makes_the_documented_signature() -> None:
    unsigned = Outgoing("POST", "api.binance.com", b"/api/v3/order", FORM, DOCUMENTED_TEXT.rpartition(b"&")[0])
    signed = Signer(BINANCE, "key", DOCUMENTED_SECRET).sign(unsigned, 1_499_827_319_559_000_000)
    assert signed.body == DOCUMENTED_TEXT + b"&signature=" + DOCUMENTED_SIGNATURE


# --- shifting boundaries -------------------------------------------------------------------------------------------

SIGNED = sign(BINA, "GET", b"/v1/orders?symbol=BTCUSDT&amount=10").target.partition(b"?")[2]
TEXT, _, SIGNATURE = SIGNED.rpartition(b"&signature=")
MARK = b"&signature=" + SIGNATURE


@pytest.mark.parametrize("method", ["POST", "PUT", "GET", "DELETE", "HEAD"])
@pytest.mark.parametrize(
    ("after_query", "after_form"),
    [(MARK, b""), (b"", MARK), (MARK, MARK)],
    ids=["in the query", "in the form", "in both"],
)
@pytest.mark.parametrize("content_type", [FORM, b"application/json", b""], ids=["form", "json", "no type"])
def test_no_k_bytes_shift_between_query_and_form(
    method: str, after_query: bytes, after_form: bytes, content_type: bytes, run: Run
) -> None:
    """Query and form are signed one after the other: every split of the signed text has the same MAC."""
    guard = _proof_only()
    granted: list[int] = []
    for k in range(len(TEXT) + 1):
        query, form = TEXT[:k] + after_query, TEXT[k:] + after_form
        if not isinstance(run(guard.admit(_request(method, query, form, content_type))), Denial):
            granted.append(k)
    if (after_query, after_form) == (MARK, b""):
        assert granted == [len(TEXT)]  # all of it in the query: the request as it was signed
    elif (after_query, after_form) == (b"", MARK) and method in ("POST", "PUT", "DELETE") and content_type == FORM:
        assert granted == [0]  # all of it in the form: the whole-content move, which the replay check refuses
    else:
        assert granted == []


@pytest.mark.parametrize("form_first", [True, False])
def test_the_whole_content_in_the_other_place_is_the_same_message_and_used_up(form_first: bool, run: Run) -> None:
    guard = _proof_only(Replay())
    requests = [_request("POST", SIGNED, content_type=b""), _request("POST", b"", SIGNED)]
    if form_first:
        requests.reverse()
    first, second = (run(guard.admit(request)) for request in requests)
    assert isinstance(first, Grant)
    assert isinstance(second, Denial)
    assert (second.code, second.status, second.executed) == ("replay.seen", 409, "unknown")
    assert second.members == {"first_request_id": requests[0].id}


def test_no_k_bytes_shift_between_path_and_query(run: Run) -> None:
    """The path is not signed; but what leaves the query for it, or comes from it, breaks the signature."""
    guard = _proof_only()
    assert isinstance(run(guard.admit(make_request("GET", b"/v1/orders?" + SIGNED, headers=[KEY]))), Grant)
    for k in range(1, len(SIGNED)):
        moved = b"/v1/orders" + SIGNED[:k].replace(b"=", b"%3D") + b"?" + SIGNED[k:]
        path = "/v1/orders" + SIGNED[:k].decode()
        assert _is_401(run(guard.admit(make_request("GET", moved, headers=[KEY], path=path))))
    for k in range(1, len(b"/v1/orders")):
        moved = b"/v1/orders"[:-k] + b"?" + b"/v1/orders"[-k:] + SIGNED
        assert _is_401(run(guard.admit(make_request("GET", moved, headers=[KEY]))))


@pytest.mark.parametrize("k", range(1, 65))
def test_no_k_bytes_shift_between_text_and_signature(k: int, run: Run) -> None:
    guard = _proof_only()
    for text, signature in ((TEXT + SIGNATURE[:k], SIGNATURE[k:]), (TEXT[:-k], TEXT[-k:] + SIGNATURE)):
        assert _is_401(run(guard.admit(_request("GET", text + b"&signature=" + signature, content_type=b""))))


@given(at=st.integers(0, len(SIGNED)), into=st.sampled_from([b"&", b"=", b"%26", b"+", b"0", b"&amount=1", b"%00"]))
def test_nothing_can_be_added_anywhere(at: int, into: bytes) -> None:
    text = SIGNED[:at] + into + SIGNED[at:]
    assert _is_401(drive(_proof_only().admit(_request("GET", text, content_type=b""))))


@given(at=st.integers(0, len(SIGNED) - 1), k=st.integers(1, 8))
def test_nothing_can_be_taken_away_anywhere(at: int, k: int) -> None:
    text = SIGNED[:at] + SIGNED[at + k :]
    assert _is_401(drive(_proof_only().admit(_request("GET", text, content_type=b""))))


def test_an_order_in_the_form_of_a_capture_in_the_query_needs_its_own_signature(run: Run) -> None:
    """A second set of parameters in the body of a signed query, which some frameworks would merge."""
    guard = _proof_only()
    for body in (b"amount=1000", b"amount=1000" + MARK, SIGNED):
        assert _is_401(run(guard.admit(_request("POST", SIGNED, body))))


def test_equal_reads_in_one_millisecond_pass_and_equal_orders_do_not(run: Run) -> None:
    reads, orders = make_guard(), make_guard()
    for number in range(5):
        assert isinstance(run(reads.admit(sign(BINA, "GET", b"/v1/orders?a=1", at=NOW))), Grant)
        decision = run(orders.admit(sign(BINA, "POST", b"/v1/orders?a=1", at=NOW)))
        assert isinstance(decision, Grant) == (number == 0)
