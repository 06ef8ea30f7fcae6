"""Lease: never more connections than there may be, whatever happens to nodes, and in whatever order."""

import contextlib
import random
from typing import Any

import pytest
from support import NOW, SECOND

from tradeguard.backends.memory import Memory
from tradeguard.core.conditions import EXACT, Charge, Outcome, Quota
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown
from tradeguard.core.lease import Lease, opening, slack

LENGTH = 30 * SECOND


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> int:
        return self.at


class Flaky(Memory):
    """A state that is down, or whose answers are lost, when a test says so; and that is looked at in between."""

    def __init__(self) -> None:
        super().__init__(since=1)
        self.down = self.mute = False
        self.between: list[int] = []

    async def commit(self, *about: Any, **other: Any) -> Outcome:
        if self.down:
            raise BackendDown("down")
        outcome = await super().commit(*about, **other)
        if self.mute:
            raise BackendDown("the answer is lost", unknown=True)
        return outcome

    async def refund(self, *about: Any) -> bool:
        if self.down or self.mute:
            raise BackendDown("down")
        return await super().refund(*about)


def ask(state: Memory, most: int, at: int, id: str, key: str = "connections.key:trader") -> Lease | None:
    """Open a connection as a handshake does."""
    quota = Quota(key, (opening(most, LENGTH),), 1)
    outcome = drive(state.commit([quota], at, id, None))
    return None if outcome.failed else Lease([Charge(quota, outcome.time, id)], id, at)


def used(state: Memory, most: int, at: int) -> int:
    """How many units the store counts."""
    quota = Quota("connections.key:trader", (opening(most, LENGTH),), 0)
    return drive(state.commit([quota], at, "look", None)).usage[quota.key][0].used


@pytest.mark.parametrize("most", [1, 20, 250, 251, 2_000])
def test_exactly_so_many_are_let_in_and_as_many_again_as_leave(most: int) -> None:
    state = Memory(since=1)
    leases = [ask(state, most, NOW + n * 1_000, f"{n}") for n in range(most + 5)]
    assert [lease is not None for lease in leases] == [True] * most + [False] * 5
    for lease in leases[: most // 2 + 1]:
        assert lease is not None
        drive(lease.end(state, NOW + SECOND))
    again = [ask(state, most, NOW + SECOND + n * 1_000, f"again {n}") for n in range(most)]
    assert [lease is not None for lease in again].count(True) == most // 2 + 1


@pytest.mark.parametrize("most", [1, 3, 250, 251, 2_000])
def test_a_full_house_renews_for_ever_and_lets_nobody_in_meanwhile(most: int) -> None:
    """Also between the two steps of a renewal: the new unit is taken before the old one is given back."""
    state, clock, tried = Flaky(), Clock(), list[bool]()

    class Peeking(Flaky):
        async def refund(self, *about: Any) -> bool:
            tried.append(ask(self, most, clock.at, f"peek {len(tried)}") is not None)
            given = await super().refund(*about)
            tried.append(ask(self, most, clock.at, f"peek {len(tried)}") is not None)
            return given

    state = Peeking()
    leases = [ask(state, most, clock.at + n * 1_000, f"{n}") for n in range(most)]
    for turn in range(6):
        clock.at += LENGTH // 2 + most * 1_000
        for n, lease in enumerate(leases):
            assert lease is not None
            assert lease.is_due(clock.at)
            assert not lease.is_over(clock.at)
            assert drive(lease.renew(state, clock.now))
            if n < 5:
                assert ask(state, most, clock.at, f"between {turn} {n}") is None
        assert used(state, most, clock.at) == most
    assert tried
    assert not any(tried)


def test_what_a_killed_node_held_runs_out_and_not_before() -> None:
    state = Memory(since=1)
    assert all(ask(state, 3, NOW, f"{n}") for n in range(3))
    assert ask(state, 3, NOW + LENGTH - 1, "early") is None
    assert all(ask(state, 3, NOW + LENGTH, f"late {n}") for n in range(3))
    assert ask(state, 3, NOW + LENGTH, "late") is None


def test_a_lease_that_cannot_be_renewed_is_over_before_its_units_run_out() -> None:
    state, clock = Flaky(), Clock()
    lease = ask(state, 1, clock.at, "first")
    assert lease is not None
    state.down = True
    while not lease.is_over(clock.at):
        if lease.is_due(clock.at):
            with pytest.raises(BackendDown):
                drive(lease.renew(state, clock.now))
        clock.at += LENGTH // 100
    state.down = False
    assert used(state, 1, clock.at) == 1
    assert clock.at - NOW < LENGTH


@pytest.mark.parametrize("when", ["commit", "refund"])
def test_a_connection_that_ends_while_it_is_renewed_leaves_nothing(when: str) -> None:
    clock = Clock()

    class Ending(Memory):
        lease: Lease

        async def commit(self, *about: Any, **other: Any) -> Outcome:
            outcome = await super().commit(*about, **other)
            if when == "commit" and about[2] == "first.1":
                await self.lease.end(self, clock.at)
            return outcome

        async def refund(self, charge: Charge, *about: Any) -> bool:
            given = await super().refund(charge, *about)
            if when == "refund" and charge.request_id == "first" and given:
                await self.lease.end(self, clock.at)
            return given

    state = Ending(since=1)
    other, lease = ask(state, 2, clock.at, "other"), ask(state, 2, clock.at + 1_000, "first")
    assert other is not None
    assert lease is not None
    state.lease = lease
    clock.at += LENGTH // 2
    drive(lease.renew(state, clock.now))
    assert used(state, 2, clock.at) == 1  # that of the other one
    drive(lease.end(state, clock.at))
    assert used(state, 2, clock.at) == 1


def test_the_slack_holds_two_units_of_each_connection_and_counts_alike() -> None:
    for most in (1, 249, 250, 251, 1_000, 10_000):
        limit = opening(most, LENGTH)
        assert slack(most) >= 4 * most
        assert limit.grain == limit._replace(amount=slack(most)).grain
        assert (slack(most) <= EXACT) == (not limit.coarse)


class Venue:
    """Four nodes over one state, and what a random schedule does to them."""

    def __init__(self, seed: int) -> None:
        self.dice, self.state, self.clock = random.Random(seed), Flaky(), Clock()
        self.most = self.dice.choice([1, 2, 5, 20])
        self.nodes: list[dict[str, Lease]] = [{} for _ in range(4)]
        self.opened = self.full = self.turns = 0

    def step(self) -> None:
        """Let time pass, let the watchers look, and do one thing on one node."""
        dice, at = self.dice, self.clock.at + self.dice.choice([0, 1_000, LENGTH // 200, LENGTH // 50])
        self.clock.at, self.turns = at, self.turns + 1
        if dice.random() < 0.02:
            self.state.down, self.state.mute = dice.random() < 0.4, dice.random() < 0.2
        for node in self.nodes:
            for id in [id for id, lease in node.items() if lease.is_over(at)]:
                attempt(node.pop(id).end(self.state, at))
        acts = (self.open, self.close, self.kill, self.renew)
        dice.choices(acts, (50, 10, 1, 39))[0](dice.choice(self.nodes))

    def open(self, node: dict[str, Lease]) -> None:
        """Send a handshake."""
        with contextlib.suppress(BackendDown):
            lease = ask(self.state, self.most, self.clock.at, f"{self.turns}")
            self.opened, self.full = self.opened + (lease is not None), self.full + (lease is None)
            if lease is not None:
                node[f"{self.turns}"] = lease

    def close(self, node: dict[str, Lease]) -> None:
        """End a connection."""
        if node:
            attempt(node.pop(self.dice.choice(list(node))).end(self.state, self.clock.at))

    def kill(self, node: dict[str, Lease]) -> None:
        """Nothing is given back."""
        node.clear()

    def renew(self, node: dict[str, Lease]) -> None:
        """Renew what is due."""
        for lease in node.values():
            if lease.is_due(self.clock.at):
                attempt(lease.renew(self.state, self.clock.now))


def attempt(work: Any) -> None:
    """What a watcher does: what fails is tried again later."""
    with contextlib.suppress(BackendDown):
        drive(work)


@pytest.mark.parametrize("seed", range(40))
def test_never_more_than_most_are_open_whatever_happens(seed: int) -> None:
    """Opening, closing, renewing, killed nodes, lost answers, a state that is down: at random, on four nodes."""
    venue = Venue(seed)
    for _ in range(1_500):
        venue.step()
        assert sum(len(node) for node in venue.nodes) <= venue.most
    assert venue.opened > venue.most  # the schedule has let somebody in again
    assert venue.full
