"""What this key may do: exact names, one wildcard, and nothing ever implies a withdrawal."""

from collections.abc import Iterable

import pytest
from conftest import Run
from support import SECRET, TRADER, make_guard, make_request, sign

from tradeguard.backends.memory import MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Operations, Policy
from tradeguard.signing.material import Hmac

DECLARED = ("funds:*", "orders:write:algo:twap", "orderss:write", "orders", "keys:*", "*:*")
POLICY = Policy(scopes=DECLARED)


def _ask(run: Run, held: Iterable[str], needed: Iterable[str], lane: str = "order") -> str:
    record = KeyRecord(id="trader", dialect="tg1", material=Hmac(SECRET), scopes=held)
    signature = Signature(MemoryKeys([record], scopes=POLICY.vocabulary))
    operations = Operations({"POST /v1/do": {"scopes": list(needed), "lane": lane}})
    guard = make_guard([signature, Freshness(), Scope(), Replay()], operations=operations, policy=POLICY)
    decision = run(guard.admit(sign(TRADER, "POST", b"/v1/do")))
    return "granted" if isinstance(decision, Grant) else f"{decision.code} {decision.members['scope']}"


@pytest.mark.parametrize(
    ("held", "needed"),
    [
        (["orders:write"], ["orders:write"]),
        (["orders:write", "orders:read"], ["orders:read", "orders:write"]),
        (["orders:*"], ["orders:write"]),
        (["orders:*"], ["orders:read", "orders:cancel"]),
        (["orders:*"], ["orders:write:margin"]),
        (["orders:*"], ["orders:write:algo:twap"]),
        (["orders:*"], ["orders:*"]),
        (["funds:withdraw"], ["funds:withdraw"]),
        (["funds:*"], ["funds:transfer"]),
        (["funds:*"], ["funds:address:write"]),
    ],
)
def test_covered(held: list[str], needed: list[str], run: Run) -> None:
    assert _ask(run, held, needed) == "granted"


@pytest.mark.parametrize(
    ("held", "needed", "missing"),
    [
        ([], ["orders:write"], "orders:write"),
        (["orders:write"], ["orders:write:margin"], "orders:write:margin"),
        (["orders:write:margin"], ["orders:write"], "orders:write"),
        (["orders:write"], ["orders:read"], "orders:read"),
        (["orders:write"], ["orders:*"], "orders:*"),
        (["orders:*"], ["orderss:write"], "orderss:write"),
        (["orders:*"], ["orders"], "orders"),
        (["orders"], ["orders:write"], "orders:write"),
        (["orders:*"], ["funds:withdraw"], "funds:withdraw"),
        (["funds:*"], ["funds:withdraw"], "funds:withdraw"),
        (["*:*"], ["funds:withdraw"], "funds:withdraw"),
        (["*:*"], ["orders:write"], "orders:write"),
        (["funds:*", "orders:*", "keys:*"], ["funds:transfer", "funds:withdraw"], "funds:withdraw"),
        (["orders:write"], ["orders:write", "keys:admin", "audit:read"], "audit:read"),
    ],
)
def test_not_covered_and_named(held: list[str], needed: list[str], missing: str, run: Run) -> None:
    assert _ask(run, held, needed) == f"scope.missing {missing}"


@pytest.mark.parametrize("lane", ["read", "order", "cancel", "funds", "admin"])
def test_no_lane_goes_without_its_scope(lane: str, run: Run) -> None:
    assert _ask(run, ["orders:read"], ["orders:cancel"], lane) == "scope.missing orders:cancel"
    assert _ask(run, ["orders:cancel"], ["orders:cancel"], lane) == "granted"


def test_an_unknown_scope_is_refused_where_keys_and_operations_are_read() -> None:
    with pytest.raises(ConfigError, match="unknown scope 'orders:wirte'"):
        MemoryKeys([KeyRecord(id="k", dialect="tg1", material=Hmac(SECRET), scopes={"orders:wirte"})])
    with pytest.raises(ConfigError, match="unknown scope 'orders:wirte'"):
        make_guard(operations=Operations({"POST /v1/do": "orders:wirte"}))


def test_the_refusal_is_a_403_that_was_not_executed(run: Run) -> None:
    decision = run(make_guard().admit(sign(TRADER, "POST", b"/v1/withdraw")))
    assert isinstance(decision, Denial)
    assert (decision.status, decision.executed, decision.members) == (403, False, {"scope": "funds:withdraw"})


def test_a_public_operation_takes_none_and_an_unmapped_one_is_not_judged_here(run: Run) -> None:
    request = make_request()
    assert run(Scope()(request)) is None
    request.operation = make_guard().operations.match("GET", "/v1/time")
    assert run(Scope()(request)) is None
    assert run(make_guard().admit(sign(TRADER, "GET", b"/v1/nowhere"))).code == "guard.unmapped"


def test_without_a_principal_nothing_is_held(run: Run) -> None:
    request = make_request("POST", b"/v1/orders")
    request.operation = make_guard().operations.match("POST", "/v1/orders")
    denial = run(Scope()(request))
    assert denial is not None
    assert denial.code == "scope.missing"
