"""RoomConformance: what a store with limits holds: it refuses when it is full, and never forgets what still counts."""

from itertools import pairwise
from typing import Any, Protocol, cast

from tradeguard.core.conditions import Advance, Once
from tradeguard.core.errors import ConfigError
from tradeguard.core.ports import State
from tradeguard.testing.state import StateSuite, nonce
from tradeguard.testing.suite import pytest


class Bounded(State, Protocol):
    """A state that tells how many nonces it holds."""

    def __len__(self) -> int: ...


class RoomConformance(StateSuite):
    """Holds a store against its limits. Set `make` to what takes `capacity` and `per_key` and returns an empty store.

    The store tells by `len` how many nonces it holds. A tenth of either limit is kept for who has a reserve.
    """

    def make_bounded(self, **limits: Any) -> Bounded:
        """Return an empty store, as one that has a length."""
        return cast("Bounded", self.make(**limits))

    def advance(self, state: State, amount: int, *, owner: str = "trader", **other: Any) -> int:
        """Begin so many counters; return how many were accepted."""
        return sum(not self.settle(state, Advance(nonce(n, owner), 1), **other).failed for n in range(amount))

    def test_a_full_table_refuses_and_says_so(self) -> None:
        """Where there is no room, a message is refused with `full`, and not as seen."""
        state = self.make_bounded(capacity=100, per_key=100)
        assert self.fill(state, 90) == 90
        outcome = self.settle(state, Once(nonce(500), 200))
        assert outcome.failed == (Once(nonce(500), 200),)
        assert outcome.full
        assert outcome.first is None
        assert len(state) == 90

    def test_a_full_table_never_forgets_what_lives(self) -> None:
        """A flood displaces no message that still counts."""
        state = self.make(capacity=100, per_key=100)
        self.fill(state, 90)
        assert self.fill(state, 2000, owner="flood") == 0
        for number in range(90):
            outcome = self.settle(state, Once(nonce(number), 200))
            assert (outcome.first, outcome.full) == ("r", False)

    def test_the_last_tenth_is_for_those_who_have_a_reserve(self) -> None:
        """`reserve=True` opens the room that is kept for cancels."""
        state = self.make(capacity=100, per_key=100)
        assert self.fill(state, 200) == 90
        assert self.fill(state, 200, owner="cancel", reserve=True) == 10
        assert self.settle(state, Once(nonce(1, "last"), 200), reserve=True).full

    def test_counters_have_room_of_their_own_and_a_share_and_a_reserve(self) -> None:
        """`Advance` has the same limits as `Once`, counted apart."""
        state = self.make(capacity=100, per_key=50)
        self.fill(state, 45)
        assert self.advance(state, 60) == 45
        assert self.advance(state, 60, owner="other") == 45
        assert self.advance(state, 60, owner="third", reserve=True) == 10
        late = self.settle(state, Advance(nonce(1, "fourth"), 1), reserve=True)
        assert (late.failed, late.full) == ((Advance(nonce(1, "fourth"), 1),), True)

    def test_a_full_table_of_counters_forgets_none_and_lets_them_go_on(self) -> None:
        """A counter that is held goes on when the table is full."""
        state = self.make(capacity=100, per_key=100)
        self.advance(state, 90)
        self.advance(state, 500, owner="flood")
        for number in range(90):
            old = self.settle(state, Advance(nonce(number), 1))
            assert (bool(old.failed), old.full) == (True, False)
            assert not self.settle(state, Advance(nonce(number), 2)).failed

    def test_one_key_has_its_share_and_leaves_the_rest_to_others(self) -> None:
        """No key takes more than `per_key`, whoever else has room."""
        state = self.make(capacity=1000, per_key=20)
        assert self.fill(state, 100) == 18
        assert self.fill(state, 100, reserve=True) == 2  # the first 18 are seen, then come the two kept ones
        assert self.settle(state, Once(nonce(500), 200), reserve=True).full
        assert self.fill(state, 100, owner="other") == 18

    def test_what_has_expired_makes_room(self) -> None:
        """At its `until`, and not before, a message gives its room back."""
        state = self.make(capacity=100, per_key=50)
        assert self.fill(state, 45, until=200) == 45
        assert self.fill(state, 45, until=300, at=199) == 0
        assert self.fill(state, 45, until=300, at=200) == 45

    def test_clearing_out_is_bounded_work_and_faster_than_filling(self) -> None:
        """A commit clears out more than it brings, and never all at once."""
        state = self.make_bounded(capacity=10_000, per_key=10_000)
        self.fill(state, 9_000, until=200)
        sizes = [len(state)]
        while sizes[-1]:
            self.settle(state, at=200)
            sizes.append(len(state))
        steps = [before - after for before, after in pairwise(sizes)]
        assert len(steps) > 10  # not all at once
        assert min(steps[:-1]) > 1  # faster than one commit can bring new ones

    def test_a_message_that_is_used_again_after_its_time_is_held_once(self) -> None:
        """What expired leaves nothing behind that is counted twice."""
        state = self.make_bounded(capacity=10, per_key=10)
        for at in range(100, 200):
            assert not self.settle(state, Once(nonce(1), at + 1), at=at).failed
            assert len(state) == 1
        self.settle(state, at=500)
        assert len(state) == 0
        assert self.fill(state, 10, until=600, at=500) == 9

    def test_a_message_that_is_used_again_before_it_was_cleared_out_is_remembered_for_its_new_time(self) -> None:
        """Clearing out an old use does not forget the new one."""
        state = self.make_bounded()
        self.fill(state, 500, until=200)
        assert not self.settle(state, Once(nonce(99), 300), at=200, id="again").failed
        for _ in range(20):
            self.settle(state, at=299)
        assert len(state) == 1
        assert self.settle(state, Once(nonce(99), 400), at=299).first == "again"

    def test_what_is_refused_is_not_held(self) -> None:
        """A refused message takes no room."""
        state = self.make_bounded()
        for until in (-1, 0, 99, 100):
            self.settle(state, Once(nonce(1), until))
        with pytest.raises(ValueError, match="Advance takes values from 0 to"):
            self.settle(state, Once(nonce(1), 200), Advance(nonce(1), -1))
        assert len(state) == 0

    @pytest.mark.parametrize(
        "limits", [{"per_key": 9}, {"capacity": 9, "per_key": 9}, {"capacity": 20, "per_key": 21}, {"capacity": 0}]
    )
    def test_limits_that_leave_no_room_are_an_error(self, limits: dict[str, int]) -> None:
        """Limits below 10, or a share above the whole, are a `ConfigError`."""
        with pytest.raises(ConfigError, match="capacity and per_key are numbers of nonces, at least 10"):
            self.make(**limits)
