"""The plan: its parts fit each other or it is refused; its mark changes with each of them and with nothing else."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from support import OPERATIONS, StillClock, make_checks

from tradeguard.backends.memory import Memory, MemoryKeys
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.conditions import Below
from tradeguard.core.decision import Denial
from tradeguard.core.errors import ConfigError
from tradeguard.core.plan import Plan
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.ports import Colour, Port, Runtime
from tradeguard.core.request import Request
from tradeguard.core.runtime import Loop, Threads
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED
from tradeguard.signing.place import Header
from tradeguard.signing.rows import KRAKEN, OKX, TG1

POLICY: dict[str, Any] = {
    "scopes": ["algo:run", "algo:stop"],
    "roles": {"desk": ["orders:read", "orders:write"], "view": ["market:read"]},
    "tiers": ["gold", "silver"],
}


class Ceiling:
    """A check with a setting."""

    def __init__(self, units: int) -> None:
        self.units = units

    async def __call__(self, _request: Request, /) -> Denial | None:
        return None


def plan(
    checks: Any = None, policy: Any = None, operations: Any = None, without: tuple[str, ...] = (), state: Any = None
) -> Plan:
    return Plan(
        make_checks() if checks is None else checks,
        Policy(**{**POLICY, **(policy or {})}),
        Operations({**OPERATIONS, **(operations or {})}),
        Memory(since=1) if state is None else state,
        without,
    )


def speaking(*rows: Any) -> Plan:
    """A plan with these dialects instead."""
    spoken = Signature(MemoryKeys(), dialects=rows, accept=[row.name for row in rows])
    return plan([spoken if isinstance(check, Signature) else check for check in make_checks()])


def test_it_holds_what_it_was_given() -> None:
    checks = make_checks()
    made = plan(checks)
    assert made.checks == tuple(checks)
    assert made.policy.tiers == {"gold", "silver"}
    assert made.operations.match("GET", "/v1/orders") is not None
    assert made.phases.judges


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"operations": {"GET /x": "no:such"}}, "operation 'GET /x': unknown scope 'no:such'"),
        (
            {"operations": {"GET /x": {"scopes": "orders:read", "assurance": 2}}},
            "asks for assurance 2; no check gives it",
        ),
        ({"checks": []}, "no check proves who is asking"),
        ({"checks": [check for check in make_checks() if not isinstance(check, Scope)]}, "the list has no scope check"),
        ({"without": ("scope",)}, "in the list and in without"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        plan(**parts)


@pytest.mark.parametrize("kinds", [frozenset({Below}), frozenset[type]()])
def test_a_state_that_cannot_settle_what_a_check_asks_is_refused(kinds: frozenset[type]) -> None:
    class Less(Memory):
        supports = kinds

    with pytest.raises(ConfigError, match=r"needs .*, which Less cannot settle"):
        plan(state=Less(since=1))


def test_each_port_waits_in_a_way_of_the_host() -> None:
    class Remote:
        def __init__(self, colour: Colour) -> None:
            self.colour: Colour = colour

    made, ports = plan(), list[Port]()
    cases: list[tuple[Runtime, Colour, bool]] = [
        (Loop(), "async", True), (Loop(), "blocking", False), (Loop(), "brief", True),
        (Threads(), "async", False), (Threads(), "blocking", True), (StillClock(), "async", True),
    ]  # fmt: skip
    for runtime, colour, fits in cases:
        ports = [Remote(colour)]
        if fits:
            made.check_colours(runtime, ports)
        else:
            with pytest.raises(ConfigError, match=f"Remote is {colour} and cannot wait in this host"):
                made.check_colours(runtime, ports)


# the mark


def test_the_mark_is_16_hex_digits_and_the_same_for_the_same_parts() -> None:
    assert plan().mark == plan(state=Memory(since=7)).mark
    assert len(plan().mark) == 16
    int(plan().mark, 16)


def test_the_order_of_sets_rows_and_roles_does_not_change_it() -> None:
    turned = {
        "scopes": POLICY["scopes"][::-1], "tiers": ("silver", "gold"),
        "roles": {"view": ["market:read"], "desk": ["orders:write", "orders:read"]},
    }  # fmt: skip
    assert plan(policy=turned).mark == plan().mark
    rows = dict(reversed(list(OPERATIONS.items())))
    made = Plan(make_checks(), Policy(**POLICY), Operations(rows), Memory(since=1))
    assert made.mark == plan().mark


@pytest.mark.parametrize("call", ["plan()", "speaking(TG1, OKX, KRAKEN, COINBASE_ADVANCED)"])
def test_it_is_the_same_in_another_process(call: str) -> None:
    """Addresses and the seed of the hashes differ from process to process; the events of all workers must not."""
    code = f"from test_plan import *; print({call}.mark)"
    command = [sys.executable, "-c", code]
    paths = {"PYTHONPATH": ":".join([*sys.path, __file__.rpartition("/")[0]])}
    marks = {
        subprocess.run(
            command, env={**paths, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert marks == {(plan() if call == "plan()" else speaking(TG1, OKX, KRAKEN, COINBASE_ADVANCED)).mark + "\n"}


def test_another_text_of_a_dialect_changes_it() -> None:
    marks = [
        speaking(TG1, row).mark
        for row in (OKX, replace(OKX, message="{time}\n{method}{target}\n{body}"), replace(OKX, key=Header(b"x-key")))
    ]
    assert len({*marks, speaking(TG1).mark}) == 4


CHANGES: dict[str, dict[str, Any]] = {
    "another limit": {"policy": {"body_bytes": 1_048_577}},
    "another time": {"policy": {"body_seconds": 9.0}},
    "a declared scope more": {"policy": {"scopes": ["algo:run", "algo:stop", "algo:see"]}},
    "a role wider": {
        "policy": {"roles": {"desk": ["orders:read", "orders:write", "orders:cancel"], "view": ["market:read"]}}
    },
    "a role renamed": {"policy": {"roles": {"desks": ["orders:read", "orders:write"], "view": ["market:read"]}}},
    "a tier less": {"policy": {"tiers": ["gold"]}},
    "an operation more": {"operations": {"GET /v1/more": "orders:read"}},
    "an operation's scope": {"operations": {"GET /v1/orders": "account:read"}},
    "an operation's lane": {"operations": {"POST /v1/withdraw": {"scopes": "funds:withdraw", "lane": "order"}}},
    "an operation's costs": {"operations": {"GET /v1/orders": {"scopes": "orders:read", "costs": {"weight": 2}}}},
    "a check more": {"checks": [*make_checks(), Ceiling(5)]},
    "a check less": {"checks": make_checks()[1:]},
    "the checks in another order": {"checks": [*make_checks()[1:], make_checks()[0]]},
}


@pytest.mark.parametrize("parts", CHANGES.values(), ids=CHANGES)
def test_every_part_of_the_policy_changes_it(parts: dict[str, Any]) -> None:
    assert plan(**parts).mark != plan().mark


def test_the_setting_of_a_check_changes_it() -> None:
    marks = {plan([*make_checks(), Ceiling(units)]).mark for units in (5, 6, 5)}
    assert len(marks) == 2
