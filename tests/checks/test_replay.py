"""Every message once, whatever became of it: refused, crowded out, late, or sent again in another dress."""

import threading
from typing import Any

import pytest
from conftest import Run
from support import (
    BINA,
    FORM,
    HOME,
    MS,
    NOW,
    READER,
    SECOND,
    TRADER,
    StillClock,
    make_checks,
    make_guard,
    make_request,
    sign,
)  # fmt: skip

from tradeguard.backends.memory import Memory
from tradeguard.checks.replay import Replay
from tradeguard.checks.source import Source
from tradeguard.core.conditions import Once, Outcome
from tradeguard.core.decision import Decision, Denial, Grant
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.request import Request

NONCE = b"n" * 16


def _again(request: Request, arrived: int = NOW, **headers: bytes) -> Request:
    """The very same bytes, sent once more; `headers` change some fields."""
    changed = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    fields = [(name, changed.pop(name, value)) for name, value in request.headers.raw if name != b"host"]
    return make_request(request.method, request.target, headers=[*fields, *changed.items()], arrived=arrived)


def _seen(decision: Decision, first: Request) -> bool:
    return (
        isinstance(decision, Denial)
        and (decision.code, decision.status, decision.executed) == ("replay.seen", 409, "unknown")
        and decision.members == {"first_request_id": first.id}
    )


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", b"/v1/orders"),
        ("POST", b"/v1/orders"),
        ("DELETE", b"/v1/orders/1"),
        ("GET", b"/v1/time"),
        ("POST", b"/v1/echo"),
    ],
    ids=["read", "order", "cancel", "public", "public post"],
)
def test_a_nonce_is_used_once_in_every_lane(method: str, target: bytes, run: Run) -> None:
    guard, first = make_guard(), sign(TRADER, method, target)
    assert isinstance(run(guard.admit(first)), Grant)
    for _ in range(3):
        assert _seen(run(guard.admit(_again(first))), first)


def test_a_nonce_belongs_to_its_key_and_is_not_bound_to_one_message(run: Run) -> None:
    guard, first = make_guard(), sign(TRADER, nonce=NONCE)
    assert isinstance(run(guard.admit(first)), Grant)
    assert isinstance(run(guard.admit(sign(READER, nonce=NONCE))), Grant)
    assert _seen(run(guard.admit(sign(TRADER, "POST", b"/v1/orders", nonce=NONCE, at=NOW + MS))), first)


def test_out_of_order_nonces_pass(run: Run) -> None:
    guard = make_guard()
    for offset in (0, -3, 1, -1, -4):
        assert isinstance(run(guard.admit(sign(TRADER, at=NOW + offset * SECOND))), Grant)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param(lambda: sign(TRADER, "POST", b"/v1/withdraw"), "scope.missing", id="scope"),
        pytest.param(lambda: sign(READER, "POST", b"/v1/orders"), "scope.missing", id="scope of another key"),
        pytest.param(lambda: sign(HOME, "POST", b"/v1/orders"), "network.outside", id="network"),
        pytest.param(lambda: sign(TRADER, "POST", b"/v1/nowhere"), "guard.unmapped", id="no such operation"),
        pytest.param(lambda: sign(TRADER, "POST", b"/v1/orders", at=NOW + 2 * SECOND), "freshness.early", id="early"),
    ],
)
def test_a_refused_message_is_used_up_all_the_same(request_: Any, code: str, run: Run) -> None:
    guard, first = make_guard(), request_()
    assert run(guard.admit(first)).code == code
    assert _seen(run(guard.admit(_again(first))), first)


def test_what_a_check_refused_does_not_come_back_when_the_check_would_pass_it(run: Run) -> None:
    """Refused as early, and sent again by a log reader once its time has come."""
    clock = StillClock(NOW)
    guard, first = make_guard(runtime=clock), sign(TRADER, "POST", b"/v1/orders", at=NOW + 3 * SECOND)
    assert run(guard.admit(first)).code == "freshness.early"
    clock.at = NOW + 3 * SECOND
    assert _seen(run(guard.admit(_again(first, arrived=clock.at))), first)


@pytest.mark.parametrize("seconds", [0, 1, 4.999999999])
def test_a_message_is_remembered_until_its_window_ends(seconds: float, run: Run) -> None:
    guard, first = make_guard(), sign(TRADER)
    assert isinstance(run(guard.admit(first)), Grant)
    assert _seen(run(guard.admit(_again(first, arrived=NOW + round(seconds * SECOND)))), first)


def test_after_its_window_it_is_too_old_instead_and_the_memory_is_free(run: Run) -> None:
    state = Memory(since=1)
    guard, first = make_guard(state=state), sign(TRADER)
    assert isinstance(run(guard.admit(first)), Grant)
    assert len(state) == 1
    late = run(guard.admit(_again(first, arrived=NOW + 5 * SECOND)))
    assert (late.code, late.executed) == ("freshness.stale", False)
    assert len(state) == 0


def test_the_store_has_the_last_word_on_the_time(run: Run) -> None:
    """Fresh by the clock of this request, but the store has seen a later time."""
    guard = make_guard()
    assert isinstance(run(guard.admit(sign(TRADER, at=NOW + 9 * SECOND, arrived=NOW + 9 * SECOND))), Grant)
    late = run(guard.admit(sign(TRADER, "POST", b"/v1/orders", at=NOW, arrived=NOW)))
    assert (late.code, late.status, late.executed) == ("replay.late", 401, False)


# --- without a nonce -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target"), [("POST", b"/v1/orders"), ("DELETE", b"/v1/orders/1"), ("POST", b"/v1/echo")]
)
def test_a_digest_is_used_once_in_every_lane_but_read(method: str, target: bytes, run: Run) -> None:
    guard, first = make_guard(), sign(BINA, method, target)
    assert isinstance(run(guard.admit(first)), Grant)
    assert _seen(run(guard.admit(_again(first))), first)
    assert isinstance(run(guard.admit(sign(BINA, method, target, at=NOW + MS))), Grant)


def test_equal_reads_of_one_millisecond_all_pass(run: Run) -> None:
    guard, first = make_guard(), sign(BINA, "GET", b"/v1/orders")
    assert all(isinstance(run(guard.admit(_again(first))), Grant) for _ in range(10))
    assert len(guard.state) == 0  # type: ignore[arg-type]


def test_a_read_that_an_attacker_turns_into_an_order_is_used_up_by_the_first(run: Run) -> None:
    """The dialect signs neither method nor path; the same signed text is one message wherever it is sent."""
    guard, read = make_guard(), sign(BINA, "GET", b"/v1/orders")
    text = read.target.partition(b"?")[2]
    assert isinstance(run(guard.admit(read)), Grant)
    as_order = [make_request("POST", b"/v1/orders?" + text, headers=[(b"x-mbx-apikey", b"bina")]) for _ in range(2)]
    as_form = make_request(
        "POST", b"/v1/echo", body=text, headers=[(b"x-mbx-apikey", b"bina"), (b"content-type", FORM)]
    )
    as_cancel = make_request("DELETE", b"/v1/orders/7?" + text, headers=[(b"x-mbx-apikey", b"bina")])
    assert isinstance(run(guard.admit(as_order[0])), Grant)
    for other in (as_order[1], as_form, as_cancel):
        assert _seen(run(guard.admit(other)), as_order[0])


def test_another_spelling_of_a_signature_is_not_another_message(run: Run) -> None:
    guard, first = make_guard(), sign(TRADER)
    assert isinstance(run(guard.admit(first)), Grant)
    signature = first.headers.one(b"tg-signature") or b""
    last = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(signature[-1:])
    unused = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last + 1 : last + 2]
    for other in (signature + b"=", signature + b" ", signature[:-1] + unused, signature + b"\t"):
        assert run(guard.admit(_again(first, tg_signature=other))).public == "unauthorized"


# --- the room for nonces -------------------------------------------------------------------------------------------


def test_a_full_memory_refuses_and_never_forgets_what_has_not_expired(run: Run) -> None:
    guard = make_guard(state=Memory(since=1, capacity=10, per_key=10))
    first = [sign(TRADER, "POST", b"/v1/orders") for _ in range(9)]
    assert all(isinstance(run(guard.admit(request)), Grant) for request in first)
    full = run(guard.admit(sign(TRADER, "POST", b"/v1/orders")))
    assert (full.code, full.status, full.retry_after, full.executed) == ("replay.full", 503, 1, False)
    assert all(_seen(run(guard.admit(_again(request))), request) for request in first)
    cancel = run(guard.admit(sign(TRADER, "DELETE", b"/v1/orders/1")))
    assert isinstance(cancel, Grant)  # the last tenth is kept for those who reduce their risk


def test_the_flood_of_one_key_leaves_room_for_others(run: Run) -> None:
    guard = make_guard(state=Memory(since=1, capacity=40, per_key=10))
    codes = {getattr(run(guard.admit(sign(TRADER))), "code", "granted") for _ in range(30)}
    assert codes == {"granted", "replay.full"}
    assert isinstance(run(guard.admit(sign(READER))), Grant)


@pytest.mark.parametrize(
    "ahead", [60 * SECOND, 365 * 86_400 * SECOND, NOW * 999], ids=["a minute", "a year", "microseconds"]
)
def test_messages_from_the_future_do_not_lock_the_key_out_for_good(ahead: int, run: Run) -> None:
    """A client that sends microseconds, or whose clock is off: once it is mended, its orders must pass."""
    clock = StillClock(NOW)
    guard = make_guard(state=Memory(since=1, capacity=100, per_key=20), runtime=clock)
    for _ in range(40):
        assert isinstance(run(guard.admit(sign(TRADER, "POST", b"/v1/orders", at=NOW + ahead))), Denial)
    clock.at = NOW + 2 * 60 * SECOND
    mended = run(guard.admit(sign(TRADER, "POST", b"/v1/orders", at=clock.at, arrived=clock.at)))
    assert isinstance(mended, Grant)


def test_strangers_fill_no_memory(run: Run) -> None:
    state = Memory(since=1)
    guard = make_guard([Source(pair=99), *make_checks()[1:]], state=state)
    for _ in range(20):
        forged = _again(sign(TRADER, "POST", b"/v1/orders"), tg_signature=b"A" * 43)
        assert run(guard.admit(forged)).public == "unauthorized"
    assert len(state) == 0


def test_of_many_at_once_exactly_one_passes() -> None:
    """Sixteen threads send the same message at the same time."""
    guard, first = make_guard(), sign(TRADER, "POST", b"/v1/orders")
    start, decisions = threading.Barrier(16), []

    def send(request: Request) -> None:
        start.wait()
        decisions.append(drive(guard.admit(request)))

    threads = [threading.Thread(target=send, args=(_again(first),)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(decision, Grant) for decision in decisions) == 1
    assert {decision.code for decision in decisions if isinstance(decision, Denial)} == {"replay.seen"}


# --- the check by itself -------------------------------------------------------------------------------------------


def _without_replay() -> Guard:
    return make_guard([check for check in make_checks() if not isinstance(check, Replay)], without=("replay",))


def test_without_the_check_a_replay_passes(run: Run) -> None:
    """What the check is for."""
    guard, first = _without_replay(), sign(TRADER, "POST", b"/v1/orders")
    assert isinstance(run(guard.admit(first)), Grant)
    assert isinstance(run(guard.admit(_again(first))), Grant)


def test_what_is_not_signed_has_no_condition() -> None:
    assert list(Replay().conditions(make_request())) == []


def test_its_denials_tell_seen_full_and_late_apart() -> None:
    once = Once(("trader", NONCE), NOW)
    outcomes = {"seen": Outcome((once,), NOW, "e", 0, first="ab"), "full": Outcome((once,), NOW, "e", 0, full=True),
                "late": Outcome((once,), NOW, "e", 0)}  # fmt: skip
    codes = {name: Replay().denial(once, outcome).code for name, outcome in outcomes.items()}
    assert codes == {"seen": "replay.seen", "full": "replay.full", "late": "replay.late"}
