"""StateConformance: what every store of shared memory holds. Random traces against the model; races; failing closed.

It commits conditions of time 0 to 300 ns, so a store must take the time it is told: one with a clock of its own is
given it by the test.
"""

import asyncio
from typing import Any, NamedTuple

from tradeguard.core.conditions import (
    Advance,
    Below,
    Charge,
    Condition,
    Limit,
    Model,
    Once,
    Outcome,
    Quota,
    Seen,
)
from tradeguard.core.ports import State
from tradeguard.testing.suite import SETTINGS, Suite, given, pytest, settings, st


def nonce(number: int, owner: str = "trader") -> tuple[str, bytes]:
    """Return the key of a `Once` or an `Advance`."""
    return owner, b"%d" % number


class Commit(NamedTuple):
    """One step of a trace. `seen` is how the node's view differs from the store's: None for none at all."""

    conditions: tuple[Condition, ...]
    at: int
    seen: tuple[bool, int] | None
    denied: bool
    reserve: bool


class Write(NamedTuple):
    """One step of a trace: a number is stored."""

    key: str
    value: int
    until: int | None
    record: bytes = b""


class Lift(NamedTuple):
    """One step of a trace: a number is stored unless a higher one is."""

    key: str
    value: int


class Refund(NamedTuple):
    """One step of a trace: units are given back to the charge of an earlier step, counted from the last."""

    back: int
    item: str
    units: int
    at: int


Step = Commit | Write | Lift | Refund
Trace = list[Step]
TIMES = st.integers(0, 30)
NAMES = st.sampled_from(["halt", "ban", "epoch"])
VALUES = st.sampled_from([255, 256, 2**63 - 1, 2**63, 2**64, 2**127, 2**128 - 1])
OWNERS = st.sampled_from(["ann", "bob"])
EDGES = st.sampled_from([2**53 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**70])
ONCE = st.builds(Once, st.tuples(OWNERS, st.sampled_from([b"1", b"2", b"3"])), TIMES | EDGES)
ADVANCE = st.builds(
    Advance, st.tuples(OWNERS, st.sampled_from([b"1", b"2"])), st.integers(0, 6) | VALUES, st.integers(1, 3)
)
NUMBERS = st.integers(-1, 3) | st.sampled_from([2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63 - 1)])
BELOW = st.builds(Below, st.lists(NAMES, max_size=3).map(tuple), NUMBERS)
COMMITS = st.builds(
    Commit,
    st.lists(ONCE | ADVANCE | BELOW, max_size=4).map(tuple),
    TIMES,
    st.none() | st.tuples(st.booleans(), st.integers(-2, 1)),
    st.booleans(),
    st.booleans(),
)
WRITES = st.builds(Write, NAMES, NUMBERS, st.none() | TIMES, st.sampled_from([b"", b"\x00signed"])) | st.builds(
    Lift, NAMES, NUMBERS
)

LATER = st.integers(0, 90_000) | st.integers(0, 90_000) | st.sampled_from([2**50, 2**50 + 90_000])  # clocks step
WINDOWS = st.sampled_from(
    [
        (Limit(3, 5_000), Limit(5, 20_000)),
        (Limit(3, 5_000, burst=2), Limit(1_500, 60_000)),
        (Limit(1_001, 5_000),),
        (Limit(7, 9_000, burst=7),),
        (Limit(2**53 - 1, 60_000), Limit(1, 1_000)),
        (Limit(3, 90_000, coarse=True),),
    ]
)
QUOTAS = st.builds(
    Quota,
    st.sampled_from(["orders:ann", "orders:bob", "requests:ann"]),
    WINDOWS,
    st.integers(0, 4) | st.sampled_from([400, 900, 1_500, 2**53 - 1]),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
)
CHARGES = st.builds(
    Commit,
    st.lists(QUOTAS | ONCE, max_size=3).map(tuple),
    LATER,
    st.none(),
    st.sampled_from([False, False, False, True]),
    st.booleans(),
)
REFUNDS = st.builds(Refund, st.integers(0, 5), st.sampled_from(["a", "b", "c"]), st.integers(1, 3), LATER)


def _seen_by(commit: Commit, epoch: str, version: int) -> Seen | None:
    if commit.seen is None:
        return None
    same, ahead = commit.seen
    return (epoch if same else "another epoch", version + ahead)


def _apart_from_epoch(outcome: Outcome) -> Outcome:
    """Each store has an epoch of its own; all else must be equal."""
    return outcome._replace(epoch="", usage=dict(outcome.usage))


def _twice_in_one(step: Step) -> bool:
    conditions = step.conditions if isinstance(step, Commit) else ()
    keys = [(type(c), c.key) for c in conditions if isinstance(c, (Once, Advance, Quota))]
    return len(keys) != len(set(keys))


TRACES = st.lists((COMMITS | WRITES).filter(lambda step: not _twice_in_one(step)), max_size=25)
SPENDING = st.lists((CHARGES | CHARGES | REFUNDS).filter(lambda step: not _twice_in_one(step)), max_size=30)


class StateSuite(Suite):
    """What the suites of stores share."""

    @staticmethod
    def make(**limits: Any) -> State:
        """Return an empty store; a class that is tested says how."""
        raise NotImplementedError("make = staticmethod(lambda **limits: MyState(**limits))")

    def settle(self, state: State, *conditions: Condition, at: int = 100, id: str = "r", **other: Any) -> Outcome:
        """Make one commit of a node that has seen nothing yet."""
        return self.run(state, state.commit(conditions, at, id, None, **other))

    def fill(self, state: State, amount: int, *, owner: str = "trader", until: int = 200, **other: Any) -> int:
        """Use so many nonces; return how many were accepted."""
        return sum(not self.settle(state, Once(nonce(n, owner), until), **other).failed for n in range(amount))


class StateConformance(StateSuite):
    """Holds a store against the model. Set `make` to what returns an empty store; it is given no limits here."""

    def _replay(self, trace: Trace) -> None:
        """Run a trace on a store and on the model, and hold them against each other step by step."""
        state, model = self.make(), Model()
        epoch = self.settle(state, at=0).epoch
        charges: list[Charge] = []
        for number, step in enumerate(trace):
            if isinstance(step, Write):
                assert self.run(state, state.set(*step)) == model.set(*step)
            elif isinstance(step, Lift):
                assert self.run(state, state.lift(*step)) == model.lift(*step)
            elif isinstance(step, Refund):
                self._refund(state, model, step, charges)
            else:
                charges += self._commit(state, model, step, epoch, f"request {number}")
            look, expected = self.run(state, state.look("")), model.look("")
            assert (dict(look.numbers), look.version) == (dict(expected.numbers), expected.version)

    def _refund(self, state: State, model: Model, step: Refund, charges: list[Charge]) -> None:
        back, item, units, at = step
        if back < len(charges):
            charge = charges[-1 - back]
            assert self.run(state, state.refund(charge, item, units, at)) is model.refund(charge, item, units, at)

    def _commit(self, state: State, model: Model, step: Commit, epoch: str, id: str) -> list[Charge]:
        conditions, at, _, denied, reserve = step
        seen = _seen_by(step, epoch, model.version)
        expected = model.commit(conditions, at, id, _seen_by(step, model.epoch, model.version), denied)
        outcome = self.run(state, state.commit(conditions, at, id, seen, denied=denied, reserve=reserve))
        assert outcome.epoch == epoch
        assert _apart_from_epoch(outcome) == _apart_from_epoch(expected)
        spent = [c for c in conditions if isinstance(c, Quota) and c.cost and c not in outcome.failed]
        return [Charge(c, outcome.time, id) for c in spent if c.binding or not (outcome.failed or denied)]

    @settings(SETTINGS, max_examples=200)
    @given(trace=TRACES)
    def test_any_trace_means_what_the_model_says(self, trace: Trace) -> None:
        """Any sequence of commits and writes comes out as `core/conditions.py` says."""
        self._replay(trace)

    @settings(SETTINGS, max_examples=300)
    @given(trace=SPENDING)
    def test_any_trace_of_quotas_means_what_the_model_says(self, trace: Trace) -> None:
        """Quotas of all kinds, refunds and clocks that step: the store tells what the model tells, to the unit."""
        if Quota not in self.make().supports:
            pytest.skip("it settles no quotas")
        self._replay(trace)

    @pytest.mark.parametrize("until", [200, 300])
    def test_one_message_twice_in_one_commit_means_what_the_model_says(self, until: int) -> None:
        """A commit that names a message twice is settled as the model does it."""
        both = (Once(nonce(1), 200), Once(nonce(1), until))
        self._replay([Commit(both, 100, None, denied=False, reserve=False)])

    @pytest.mark.parametrize("value", [5, 6])
    def test_one_counter_twice_in_one_commit_means_what_the_model_says(self, value: int) -> None:
        """A commit that advances a counter twice is settled as the model does it."""
        both = Commit((Advance(nonce(1), 5, 2), Advance(nonce(1), value, 2)), 100, None, denied=False, reserve=False)
        later = [both._replace(conditions=(Advance(nonce(1), value, 2),)) for value in (4, 5, 6, 7, 6)]
        self._replay([both, *later])

    def test_the_first_user_is_named_also_behind_a_message_that_is_too_late(self) -> None:
        """`first` is found whatever else in the commit failed."""
        state = self.make()
        self.settle(state, Once(nonce(1), 200), id="first")
        assert self.settle(state, Once(nonce(2), 50), Once(nonce(1), 200), id="second").first == "first"

    def test_the_kinds_that_the_library_needs_are_settled(self) -> None:
        """`supports` has at least `Once`, `Advance` and `Below`."""
        assert self.make().supports >= {Once, Advance, Below}

    def test_a_kind_it_does_not_support_is_an_error_and_nothing_takes_effect(self) -> None:
        """What cannot be settled is a `TypeError`, before anything is stored."""
        state = self.make()
        if Quota in state.supports:
            pytest.skip("it settles every kind")
        with pytest.raises(TypeError, match=f"{type(state).__name__} cannot settle Quota"):
            self.settle(state, Once(nonce(1), 200), Quota("q", (Limit(1, 1),), 1))
        assert not self.settle(state, Once(nonce(1), 200)).failed

    @pytest.mark.parametrize(("value", "width"), [(-1, 1), (2**128, 1), (5, 0)])
    def test_a_value_that_no_counter_has_is_an_error_and_nothing_takes_effect(self, value: int, width: int) -> None:
        """A counter outside 0 to 2**128 - 1, or a width below 1, is a `ValueError`, before anything is stored."""
        state = self.make()
        with pytest.raises(ValueError, match="Advance takes values from 0 to"):
            self.settle(state, Once(nonce(1), 200), Advance(nonce(1), value, width))
        assert not self.settle(state, Once(nonce(1), 200)).failed

    def test_a_time_beyond_all_calendars_is_remembered_for_good(self) -> None:
        """A time above 64 bits is as good as for ever, and no overflow."""
        state = self.make()
        assert not self.settle(state, Once(nonce(1), 2**70)).failed
        assert self.settle(state, Once(nonce(1), 2**70), at=2**62).failed
        self.run(state, state.set("ban", 1, 2**70))
        assert self.settle(state, Below(("ban",), 1), at=2**62).failed

    @pytest.mark.parametrize(("ahead", "behind"), [(-1, False), (0, False), (1, True)])
    def test_a_store_that_is_older_than_the_node_has_seen_settles_nothing(self, ahead: int, behind: bool) -> None:
        """A restored copy is `behind`, and nothing takes effect in it."""
        state = self.make()
        self.run(state, state.set("halt", 1))
        now = self.settle(state)
        seen = (now.epoch, now.version + ahead)
        assert self.run(state, state.commit([Once(nonce(1), 200)], 100, "r", seen)).behind is behind
        assert bool(self.settle(state, Once(nonce(1), 200)).failed) is not behind

    def test_a_store_of_another_epoch_settles_nothing(self) -> None:
        """A store that was emptied or exchanged is `behind`."""
        state = self.make()
        assert self.run(state, state.commit([Once(nonce(1), 200)], 100, "r", ("another epoch", 0))).behind
        assert not self.settle(state, Once(nonce(1), 200)).failed

    def test_every_store_has_an_epoch_of_its_own(self) -> None:
        """Two new stores can be told apart."""
        assert self.settle(self.make()).epoch != self.settle(self.make()).epoch

    def test_a_denied_request_spends_its_message(self) -> None:
        """`Once` takes effect although a judge refused, so that the message cannot come again."""
        state = self.make()
        assert not self.settle(state, Once(nonce(1), 200), denied=True, id="denied").failed
        assert self.settle(state, Once(nonce(1), 200)).first == "denied"

    def test_a_number_stops_what_is_not_above_it_until_its_time(self) -> None:
        """`Below` fails while one of its numbers stands at the value or above, and passes from its `until` on."""
        state, below = self.make(), Below(("halt", "halt:acme"), 2)
        self.run(state, state.set("halt:acme", 2, 200))
        assert self.settle(state, below, Once(nonce(1), 300)).failed == (below,)
        assert self.settle(state, below, Once(nonce(1), 300)).failed == (Once(nonce(1), 300), below)
        assert self.settle(state, Below(("halt:acme",), 3)).failed == ()
        assert self.settle(state, below, at=200).failed == ()

    def test_a_lifted_number_never_falls_while_it_stands(self) -> None:
        """`lift` keeps the highest number; one that has expired counts for nothing."""
        state = self.make()
        assert [self.run(state, state.lift("key", value)) for value in (2, 5, 3)] == [1, 2, 3]
        assert self.settle(state, Below(("key",), 5)).failed
        assert not self.settle(state, Below(("key",), 6)).failed
        self.run(state, state.set("key", 9, 200))
        self.settle(state, Once(nonce(1), 500), at=200)
        self.run(state, state.lift("key", 4))  # the nine has expired
        assert not self.settle(state, Below(("key",), 5), at=200).failed

    @pytest.mark.parametrize("until", [-1, 0, 99, 100])
    def test_a_time_that_has_passed_is_a_refusal_never_an_accept(self, until: int) -> None:
        """`Once` with an `until` that is not in the future is refused each time."""
        state = self.make()
        for _ in range(2):
            outcome = self.settle(state, Once(nonce(1), until))
            assert outcome.failed == (Once(nonce(1), until),)
            assert (outcome.first, outcome.full) == (None, False)

    def test_a_time_that_has_passed_by_the_highest_clock_seen_is_a_refusal(self) -> None:
        """A node whose clock is behind cannot revive what expired for another."""
        state = self.make()
        self.settle(state, at=1000)
        assert self.settle(state, Once(nonce(1), 999), at=100).failed

    def test_of_many_with_one_message_exactly_one_wins_and_the_others_hear_which(self) -> None:
        """Of several commits of one message at once, one is accepted; the others get its request id."""
        state = self.make()

        async def use(place: int) -> list[str | None]:
            return [(await state.commit([Once(nonce(n), 200)], 100, f"{place}", None)).first for n in range(300)]

        for firsts in zip(*self.race(state, use), strict=True):
            [winner] = [place for place, first in enumerate(firsts) if first is None]
            assert set(firsts) == {None, f"{winner}"}

    def test_of_fifty_tasks_on_one_loop_exactly_one_wins(self) -> None:
        """The same for tasks of one event loop."""
        state = self.make()
        if state.colour == "blocking":
            pytest.skip("it would hold the loop")

        async def main() -> list[Outcome]:
            return await asyncio.gather(*(state.commit([Once(nonce(1), 200)], 100, f"{n}", None) for n in range(50)))

        outcomes = self.on_loop(main())
        [winner] = [f"{n}" for n, outcome in enumerate(outcomes) if not outcome.failed]
        assert {outcome.first for outcome in outcomes if outcome.failed} == {winner}

    def test_of_many_with_one_value_exactly_one_wins(self) -> None:
        """Of several that advance to one value at once, one is accepted."""
        state = self.make()

        async def use(_: int) -> list[int]:
            conditions = [Advance(nonce(1), value, 100) for value in range(50)]
            return [c.value for c in conditions if not (await state.commit([c], 100, "r", None)).failed]

        assert sorted(value for won in self.race(state, use) for value in won) == list(range(50))

    def test_versions_are_counted_exactly_however_many_write(self) -> None:
        """Every `set` adds one to the version, also at once with others."""
        state = self.make()

        async def write(_: int) -> None:
            for number in range(100):
                await state.set("halt", number)

        self.race(state, write)
        assert self.settle(state).version == 800
