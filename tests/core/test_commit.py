"""The commit while the shared state is lost: what still passes, what is refused, and what can be used twice."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from conftest import Run
from support import MS, NOW, OPERATIONS, SECOND, TRADER, StillClock, make_checks, make_guard, make_keys, sign

from tradeguard.backends.memory import Memory, MemoryJournal
from tradeguard.checks.quota import Quotas
from tradeguard.core.breaker import Breaker
from tradeguard.core.commit import Standby
from tradeguard.core.conditions import Advance, Condition, Limit, Outcome, Quota
from tradeguard.core.decision import Decision, Denial, Grant
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.policy import Operations
from tradeguard.core.rate import Rate
from tradeguard.core.request import Request

ORDER, READ, CANCEL = ("POST", b"/v1/orders"), ("GET", b"/v1/orders"), ("DELETE", b"/v1/orders/1")
TABLE: list[tuple[tuple[str, bytes], str]] = [
    (ORDER, "commit.lost"),
    (("POST", b"/v1/withdraw"), "commit.lost"),
    (("PUT", b"/v1/keys"), "commit.lost"),
    (("GET", b"/v1/nothing"), "guard.unmapped"),
    (READ, ""),
    (CANCEL, ""),
    (("GET", b"/v1/time"), ""),
]


class Shared(Memory):
    """A shared store that is lost and comes back when a test says so."""

    def __init__(self) -> None:
        super().__init__(since=1)
        self.lost: BackendDown | None = None
        self.asked = 0

    async def commit(self, conditions: Iterable[Condition], *about: Any, **other: Any) -> Outcome:
        self.asked += 1
        if self.lost is not None:
            raise self.lost
        return await super().commit(conditions, *about, **other)


class Node:
    """One of several nodes over a shared store, on a clock that a test moves."""

    def __init__(self, run: Run, shared: Shared, *, nodes: int = 2, checks: Iterable[object] = ()) -> None:
        self.run, self.clock, self.shared = run, StillClock(), shared
        self.breaker = Breaker(failures=2, pause=100 * MS)
        self.journal = MemoryJournal()
        operations = {**OPERATIONS, "PUT /v1/keys": {"scopes": "orders:write", "lane": "admin"}}
        operations["POST /v1/withdraw"] = {"scopes": "orders:write", "lane": "funds"}
        self.guard = make_guard(
            [*make_checks(), *checks],
            state=shared,
            standby=Standby(Memory(since=1), nodes, self.breaker),
            runtime=self.clock,
            journal=self.journal,
            operations=Operations(operations),
        )

    def send(self, request: Request) -> str:
        """The code of a denial; empty for a grant."""
        decision: Decision = self.run(self.guard.admit(request))
        self.decision = decision
        return "" if isinstance(decision, Grant) else decision.code

    def ask(self, method: str = "GET", target: bytes = b"/v1/orders", *, ago: int = 0) -> str:
        """Sign a request `ago` ns ago and send it now."""
        return self.send(sign(TRADER, method, target, at=self.clock.at - ago, arrived=self.clock.at))

    def lose(self) -> None:
        """Lose the store, and let the node find out."""
        self.shared.lost = BackendDown("connection refused")
        assert [self.ask() for _ in range(2)] == ["outage.down"] * 2
        assert self.breaker.is_open
        self.clock.at += 2 * SECOND
        while self.breaker.asks(self.clock.at):  # the tries of the meantime
            self.breaker.failed(self.clock.at)


@pytest.mark.parametrize(("row", "code"), TABLE)
def test_while_the_store_is_lost_reads_and_cancels_pass_and_orders_funds_and_admin_do_not(
    row: tuple[str, bytes], code: str, run: Run
) -> None:
    node = Node(run, Shared())
    node.lose()
    asked = node.shared.asked
    assert node.ask(*row) in (code, "commit.lost")
    assert node.shared.asked == asked  # nobody waits for it
    if code == "commit.lost":
        assert isinstance(node.decision, Denial)
        assert (node.decision.status, node.decision.retry_after, node.decision.executed) == (503, 1, False)


def test_without_a_standby_nothing_passes(run: Run) -> None:
    shared = Shared()
    shared.lost = BackendDown("connection refused")
    guard = make_guard(state=shared)
    for method, target in (ORDER, READ, CANCEL):
        decision = run(guard.admit(sign(TRADER, method, target)))
        assert isinstance(decision, Denial)
        assert decision.code == "outage.down"


def test_before_it_is_known_to_be_lost_a_request_is_refused_and_one_that_may_have_settled_says_so(run: Run) -> None:
    node = Node(run, Shared())
    node.shared.lost = BackendDown("timed out", unknown=True)
    assert node.ask() == "commit.unsure"
    assert isinstance(node.decision, Denial)
    assert node.decision.executed == "unknown"
    assert not node.breaker.is_open


def test_a_message_is_used_once_also_while_the_store_is_lost(run: Run) -> None:
    node = Node(run, Shared())
    node.lose()
    nonce = b"n" * 16
    for expected in ("", "replay.seen", "replay.seen"):
        assert node.send(sign(TRADER, *CANCEL, nonce=nonce, at=node.clock.at, arrived=node.clock.at)) == expected


def test_what_was_used_before_the_store_was_lost_cannot_be_used_again(run: Run) -> None:
    node = Node(run, Shared())
    old = sign(TRADER, *CANCEL, nonce=b"n" * 16, at=NOW)
    assert node.send(old) == ""
    node.lose()
    assert node.send(sign(TRADER, *CANCEL, nonce=b"n" * 16, at=NOW, arrived=node.clock.at)) == "commit.barrier"


def test_what_was_used_here_while_the_store_was_lost_cannot_be_used_when_it_is_back(run: Run) -> None:
    node = Node(run, Shared())
    node.lose()
    signed = node.clock.at
    assert node.send(sign(TRADER, *CANCEL, nonce=b"n" * 16, at=signed, arrived=signed)) == ""
    node.shared.lost = None
    node.clock.at += SECOND
    assert node.ask(*READ) == "commit.barrier"  # it was signed just when the store came back
    assert not node.breaker.is_open
    again = sign(TRADER, *CANCEL, nonce=b"n" * 16, at=signed, arrived=node.clock.at)
    assert node.send(again) == "commit.barrier"
    node.clock.at += 2 * SECOND
    assert node.ask(*ORDER) == ""


def test_both_are_on_record(run: Run) -> None:
    node = Node(run, Shared())
    node.lose()
    node.shared.lost = None
    node.clock.at += 3 * SECOND
    node.ask()
    texts = [event.detail for event in node.journal.events if event.kind == "store"]
    assert texts == ["the shared state is lost: orders, funds and admin are refused", "the shared state answers again"]


def test_all_nodes_together_stay_below_the_quota_while_the_store_is_lost_and_over_flaps(run: Run) -> None:
    shared = Shared()
    nodes = [Node(run, shared, nodes=3, checks=[Quotas({"requests": "10/hour"})]) for _ in range(3)]
    granted = 0
    for _ in range(3):
        shared.lost = BackendDown("connection refused")
        for node in nodes:
            for _ in range(2):
                node.ask()
            node.clock.at += 3 * SECOND
            granted += sum(not node.ask() for _ in range(12))
        shared.lost = None
        for node in nodes:
            node.breaker.answered(node.clock.at)
    assert granted == 9


def test_a_revoked_key_stays_revoked_while_the_store_is_lost(run: Run) -> None:
    class Keys:
        """Keys that this node follows: it has heard that the key was revoked."""

        colour, ended = "instant", False

        def __init__(self) -> None:
            self.find = make_keys().find

        def stands(self, _id: str, _at: int) -> bool:
            return not self.ended

        def used(self, *_: object) -> None: ...

        def renew(self) -> None: ...

    keys = Keys()
    node = Node(run, Shared())
    node.guard.adopt(make_checks(keys), operations=node.guard.operations, policy=node.guard.policy)  # type: ignore[arg-type]
    node.lose()
    assert node.ask(*CANCEL) == ""
    keys.ended = True
    assert node.ask(*CANCEL) == "signature.revoked"


def test_a_monotonic_nonce_has_no_floor_here_and_is_refused(run: Run) -> None:
    class Monotonic:
        """A check of a dialect with monotonic nonces."""

        name, kinds = "monotonic", frozenset({Advance})

        def conditions(self, _request: Request) -> Iterable[Condition]:
            return [Advance(("trader", b"nonce"), 1)]

        def denial(self, _condition: Condition, _outcome: Outcome) -> Denial:
            raise AssertionError

    node = Node(run, Shared(), checks=[Monotonic()])
    node.lose()
    assert node.ask(*CANCEL) == "commit.lost"


def test_a_node_goes_on_with_another_store_behind_a_barrier(run: Run) -> None:
    node = Node(run, Shared())
    old = sign(TRADER, *ORDER, nonce=b"n" * 16, at=NOW)
    assert node.send(old) == ""
    vars(node.shared).update(vars(Memory(since=1)))  # flushed
    node.clock.at += SECOND
    assert node.ask(*ORDER) == "commit.behind"
    assert node.ask(*ORDER) == "commit.barrier"
    node.clock.at += 2 * SECOND
    assert node.ask(*ORDER) == ""
    assert node.send(sign(TRADER, *ORDER, nonce=b"n" * 16, at=NOW, arrived=node.clock.at)) == "commit.barrier"
    [event] = [event for event in node.journal.events if event.kind == "store"]
    assert "another one" in event.detail


class Waiting(Shared):
    """A shared store that answers when several have asked."""

    def __init__(self, several: int) -> None:
        super().__init__()
        self.all_asked = asyncio.Barrier(several)

    async def commit(self, conditions: Iterable[Condition], *about: Any, **other: Any) -> Outcome:
        outcome = await super().commit(conditions, *about, **other)
        await self.all_asked.wait()
        return outcome


def test_of_many_in_flight_when_the_store_is_replaced_none_takes_the_new_one_for_an_older_copy() -> None:
    async def main() -> None:
        node = Node(asyncio.run, Waiting(1))
        assert isinstance(await node.guard.admit(sign(TRADER, *ORDER)), Grant)
        vars(node.shared).update({**vars(Memory(since=1)), "all_asked": asyncio.Barrier(3)})
        decisions = await asyncio.gather(*(node.guard.admit(sign(TRADER, *ORDER)) for _ in range(3)))
        assert [decision.code for decision in decisions if isinstance(decision, Denial)] == ["commit.behind"] * 3
        [event] = [event for event in node.journal.events if event.kind == "store"]
        assert "another one" in event.detail

    asyncio.run(main())


def test_a_copy_that_was_put_back_is_told_once(run: Run) -> None:
    node = Node(run, Shared())
    copy = dict(vars(node.shared))
    run(node.shared.set("halt", 0))
    assert node.ask(*ORDER) == ""
    vars(node.shared).update(copy)
    assert [node.ask(*ORDER) for _ in range(5)] == ["commit.behind"] * 5
    assert len([event for event in node.journal.events if event.kind == "store"]) == 1


@pytest.mark.parametrize(
    ("limit", "nodes", "part"),
    [
        (Limit(10, SECOND), 3, Limit(3, SECOND)),
        (Limit(2, SECOND), 3, Limit(0, SECOND)),
        (Limit(10, SECOND, 6), 3, Limit(3, SECOND, 2)),
        (Limit(10, SECOND, 2), 3, Limit(0, SECOND)),
        (Limit(2, SECOND, 6), 3, Limit(0, SECOND)),
        (Limit(7, SECOND), 1, Limit(7, SECOND)),
    ],
)
def test_a_node_has_its_part_of_every_window_rounded_down(limit: Limit, nodes: int, part: Limit) -> None:
    standby = Standby(Memory(since=1), nodes)
    assert standby.shared(Quota("q", (limit,), 1)) == Quota("q", (part,), 1)


@pytest.mark.parametrize("nodes", [0, -1, 1.5, True])
def test_the_number_of_nodes_is_declared(nodes: Any) -> None:
    with pytest.raises(ConfigError, match="the most nodes that there will be"):
        Standby(Memory(since=1), nodes)


def test_a_standby_that_may_be_lost_too_is_refused() -> None:
    class Elsewhere(Memory):
        colour = "blocking"

    with pytest.raises(ConfigError, match="may be lost too"):
        Standby(Elsewhere(since=1), 1)


def test_a_rate_that_leaves_a_node_nothing_refuses_and_says_no_time(run: Run) -> None:
    node = Node(
        run,
        Shared(),
        nodes=5,
        checks=[Quotas({"requests": Rate("3/minute"), "c": Rate("50/minute", lanes=("cancel",))})],
    )
    node.lose()
    assert node.ask() == "quota.exceeded"
    assert isinstance(node.decision, Denial)
    assert node.decision.retry_after is None
    assert node.ask(*CANCEL) == ""
