"""Signed just now? To the nanosecond at both edges of the window, by the receipt of the last byte."""

import pytest
from conftest import Run
from support import BINA, FORM, MS, NOW, SECOND, TRADER, StillClock, make_guard, make_request, sign

from tradeguard.checks.freshness import Freshness
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.request import Request

PAST, FUTURE = 5 * SECOND, 1 * SECOND


def _judge(run: Run, request: Request, at: int = NOW) -> tuple[str, dict[str, int]]:
    """Return what was decided, "granted" or the code, and the members of the answer."""
    decision = run(make_guard(runtime=StillClock(at)).admit(request))
    return ("granted", {}) if isinstance(decision, Grant) else (decision.code, dict(decision.members))


@pytest.mark.parametrize("body", [b"", b"amount=10"], ids=["no body", "a body"])
@pytest.mark.parametrize(
    ("age", "code", "offset_ms"),
    [
        (0, "granted", None),
        (PAST - 1, "granted", None),
        (PAST, "freshness.stale", -5_000),
        (PAST + 1, "freshness.stale", -5_001),
        (60 * SECOND, "freshness.stale", -60_000),
        (-FUTURE + 1, "granted", None),
        (-FUTURE, "granted", None),
        (-FUTURE - 1, "freshness.early", 1_000),
        (-60 * SECOND, "freshness.early", 60_000),
    ],
)
def test_the_edges_of_the_window(age: int, code: str, offset_ms: int | None, body: bytes, run: Run) -> None:
    """Past is half open, so that a nonce may be forgotten at its end; what is exactly 1 s ahead still passes."""
    at = NOW + age
    request = sign(TRADER, "POST", b"/v1/orders", body=body, at=NOW, arrived=at)
    members = {} if offset_ms is None else {"server_time": at // MS, "offset_ms": offset_ms}
    assert _judge(run, request, at) == (code, members)


@pytest.mark.parametrize("width_ms", [1, 5_000, 60_000])
def test_the_window_of_the_client_moves_the_past_edge_only(width_ms: int, run: Run) -> None:
    for age, code in (
        (width_ms * MS - 1, "granted"), (width_ms * MS, "freshness.stale"),
        (-FUTURE, "granted"), (-FUTURE - 1, "freshness.early"),
    ):  # fmt: skip
        at = NOW + age
        request = sign(BINA, "GET", b"/v1/orders?recvWindow=%d" % width_ms, at=NOW, arrived=at)
        assert _judge(run, request, at)[0] == code


@pytest.mark.parametrize(
    ("unit", "code"),
    [
        pytest.param(NOW // SECOND, "freshness.stale", id="seconds"),
        pytest.param(NOW // 1_000, "freshness.early", id="microseconds"),
        pytest.param(0, "freshness.stale", id="nothing"),
        pytest.param(10**18 - 1, "freshness.early", id="the largest number there is"),
    ],
)
def test_a_time_in_the_wrong_unit_is_told_by_how_much(unit: int, code: str, run: Run) -> None:
    found, members = _judge(run, sign(TRADER, at=unit * MS))
    assert found == code
    assert members["offset_ms"] == unit - NOW // MS


def test_the_time_that_counts_is_that_of_the_last_byte(run: Run) -> None:
    """Fresh at its head, stale when its body is complete."""
    request = sign(TRADER, "POST", b"/v1/orders", body=b"amount=10", content_type=FORM, at=NOW, arrived=NOW)
    assert _judge(run, request, NOW + PAST)[0] == "freshness.stale"


def test_the_refusal_comes_after_the_proof_and_helps(run: Run) -> None:
    decision = run(make_guard().admit(sign(TRADER, at=NOW - 7 * SECOND)))
    assert isinstance(decision, Denial)
    assert (decision.status, decision.public, decision.executed) == (401, "freshness.stale", False)
    forged = sign(TRADER, at=NOW - 7 * SECOND)
    other = make_request(
        "GET", b"/v1/time?", headers=[f for f in forged.headers.raw if f[0] != b"host"], path="/v1/time"
    )
    assert run(make_guard().admit(other)).public == "unauthorized"  # without a proof: no word about the time


def test_what_is_not_signed_has_no_age(run: Run) -> None:
    assert run(Freshness()(make_request())) is None
