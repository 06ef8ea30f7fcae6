"""State: what every backend holds. Random traces against the model, races, and room that never evicts what lives."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.backends.memory import Memory
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.core.conditions import Advance, Below, Condition, Limit, Model, Once, Outcome, Quota, Seen
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.ports import State


class Bounded(State, Protocol):
    """A state that tells how many nonces it holds."""

    def __len__(self) -> int: ...


Make = Callable[..., Bounded]


def make_memory(**limits: Any) -> Bounded:
    return Memory(since=1, **limits)


FOLDER: list[Path] = []
OPEN: deque[SQLiteState] = deque()
NUMBER = count()


def make_sqlite(**limits: Any) -> Bounded:
    state = SQLiteState(FOLDER[0] / f"{next(NUMBER)}.db", busy=10, **limits)
    OPEN.append(state)
    if len(OPEN) > 10:
        OPEN.popleft().close()
    return state


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where files are made; all are closed at the end."""
    FOLDER.append(tmp_path_factory.mktemp("state"))
    yield
    for state in OPEN:
        state.close()
    OPEN.clear()
    FOLDER.clear()


BACKENDS: dict[str, Make] = {"memory": make_memory, "sqlite": make_sqlite}
each_backend = pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)


def settle(state: State, *conditions: Condition, at: int = 100, id: str = "r", **other: Any) -> Outcome:
    """One commit of a node that has seen nothing yet."""
    return drive(state.commit(conditions, at, id, None, **other))


def nonce(number: int, owner: str = "trader") -> tuple[str, bytes]:
    return owner, b"%d" % number


def fill(state: State, amount: int, *, owner: str = "trader", until: int = 200, at: int = 100, **other: Any) -> int:
    """Use so many nonces; return how many were accepted."""
    return sum(not settle(state, Once(nonce(n, owner), until), at=at, **other).failed for n in range(amount))


# the model


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


class Lift(NamedTuple):
    """One step of a trace: a number is stored unless a higher one is."""

    key: str
    value: int


TIMES = st.integers(0, 30)
NAMES = st.sampled_from(["halt", "ban", "epoch"])
VALUES = st.sampled_from([255, 256, 2**63 - 1, 2**63, 2**64, 2**127, 2**128 - 1])
ONCE = st.builds(Once, st.tuples(st.sampled_from(["ann", "bob"]), st.sampled_from([b"1", b"2", b"3"])), TIMES)
OWNERS = st.sampled_from(["ann", "bob"])
ADVANCE = st.builds(
    Advance, st.tuples(OWNERS, st.sampled_from([b"1", b"2"])), st.integers(0, 6) | VALUES, st.integers(1, 3)
)
BELOW = st.builds(Below, st.lists(NAMES, max_size=3).map(tuple), st.integers(-1, 3))
COMMITS = st.builds(
    Commit,
    st.lists(ONCE | ADVANCE | BELOW, max_size=4).map(tuple),
    TIMES,
    st.none() | st.tuples(st.booleans(), st.integers(-2, 1)),
    st.booleans(),
    st.booleans(),
)
WRITES = st.builds(Write, NAMES, st.integers(-1, 3), st.none() | TIMES) | st.builds(Lift, NAMES, st.integers(-1, 3))
TRACES = st.lists(COMMITS | WRITES, max_size=25)


def seen_by(commit: Commit, epoch: str, version: int) -> Seen | None:
    if commit.seen is None:
        return None
    same, ahead = commit.seen
    return (epoch if same else "another epoch", version + ahead)


def apart_from_epoch(outcome: Outcome) -> Outcome:
    """Each store has an epoch of its own; all else must be equal."""
    return outcome._replace(epoch="", usage=dict(outcome.usage))


def twice_in_one(commit: Commit) -> bool:
    keys = [(type(c), c.key) for c in commit.conditions if isinstance(c, (Once, Advance))]
    return len(keys) != len(set(keys))


def replay(make: Make, trace: list[Commit | Write | Lift]) -> None:
    """Run a trace on a store and on the model, and hold them against each other step by step."""
    state, model = make(), Model()
    epoch = settle(state, at=0).epoch
    for number, step in enumerate(trace):
        if isinstance(step, Write):
            assert drive(state.set(*step)) == model.set(*step)
            continue
        if isinstance(step, Lift):
            assert drive(state.lift(*step)) == model.lift(*step)
            continue
        conditions, at, _, denied, reserve = step
        id = f"request {number}"
        expected = model.commit(conditions, at, id, seen_by(step, model.epoch, model.version), denied)
        seen = seen_by(step, epoch, model.version)
        outcome = drive(state.commit(conditions, at, id, seen, denied=denied, reserve=reserve))
        assert outcome.epoch == epoch
        assert apart_from_epoch(outcome) == apart_from_epoch(expected)


@each_backend
@settings(max_examples=200, deadline=None)
@given(trace=TRACES.filter(lambda trace: not any(isinstance(step, Commit) and twice_in_one(step) for step in trace)))
def test_any_trace_means_what_the_model_says(make: Make, trace: list[Commit | Write | Lift]) -> None:
    replay(make, trace)


@each_backend
@pytest.mark.parametrize("until", [200, 300])
def test_one_message_twice_in_one_commit_means_what_the_model_says(make: Make, until: int) -> None:
    commit = Commit((Once(nonce(1), 200), Once(nonce(1), until)), 100, None, denied=False, reserve=False)
    replay(make, [commit])


@each_backend
@pytest.mark.parametrize("value", [5, 6])
def test_one_counter_twice_in_one_commit_means_what_the_model_says(make: Make, value: int) -> None:
    both = Commit((Advance(nonce(1), 5, 2), Advance(nonce(1), value, 2)), 100, None, denied=False, reserve=False)
    later = [both._replace(conditions=(Advance(nonce(1), value, 2),)) for value in (4, 5, 6, 7, 6)]
    replay(make, [both, *later])


@each_backend
def test_the_first_user_is_named_also_behind_a_message_that_is_too_late(make: Make) -> None:
    state = make()
    settle(state, Once(nonce(1), 200), id="first")
    assert settle(state, Once(nonce(2), 50), Once(nonce(1), 200), id="second").first == "first"


@each_backend
def test_the_kinds_it_says_it_supports_are_settled(make: Make) -> None:
    assert make().supports >= {Once, Advance, Below}


@each_backend
def test_a_kind_it_does_not_support_is_an_error_and_nothing_takes_effect(make: Make) -> None:
    state = make()
    with pytest.raises(TypeError, match=f"{type(state).__name__} cannot settle Quota"):
        settle(state, Once(nonce(1), 200), Quota("q", (Limit(1, 1),), 1))
    assert len(state) == 0


@each_backend
@pytest.mark.parametrize(("value", "width"), [(-1, 1), (2**128, 1), (5, 0)])
def test_a_value_that_no_counter_has_is_an_error_and_nothing_takes_effect(make: Make, value: int, width: int) -> None:
    state = make()
    with pytest.raises(ValueError, match="Advance takes values from 0 to"):
        settle(state, Once(nonce(1), 200), Advance(nonce(1), value, width))
    assert len(state) == 0


@each_backend
def test_a_time_beyond_all_calendars_is_remembered_for_good(make: Make) -> None:
    state = make()
    assert not settle(state, Once(nonce(1), 2**70)).failed
    assert settle(state, Once(nonce(1), 2**70), at=2**62).failed
    drive(state.set("ban", 1, 2**70))
    assert settle(state, Below(("ban",), 1), at=2**62).failed


@each_backend
@pytest.mark.parametrize(("ahead", "behind"), [(-1, False), (0, False), (1, True)])
def test_a_store_that_is_older_than_the_node_has_seen_settles_nothing(make: Make, ahead: int, behind: bool) -> None:
    state = make()
    drive(state.set("halt", 1))
    now = settle(state)
    outcome = drive(state.commit([Once(nonce(1), 200)], 100, "r", (now.epoch, now.version + ahead)))
    assert outcome.behind is behind
    assert bool(settle(state, Once(nonce(1), 200)).failed) is not behind


@each_backend
def test_a_store_of_another_epoch_settles_nothing(make: Make) -> None:
    state = make()
    assert drive(state.commit([Once(nonce(1), 200)], 100, "r", ("another epoch", 0))).behind
    assert not settle(state, Once(nonce(1), 200)).failed


@each_backend
def test_a_denied_request_spends_its_message(make: Make) -> None:
    state = make()
    assert not settle(state, Once(nonce(1), 200), denied=True, id="denied").failed
    assert settle(state, Once(nonce(1), 200)).first == "denied"


@each_backend
def test_a_number_stops_what_is_not_above_it_until_its_time(make: Make) -> None:
    state, below = make(), Below(("halt", "halt:acme"), 2)
    drive(state.set("halt:acme", 2, 200))
    assert settle(state, below, Once(nonce(1), 300)).failed == (below,)
    assert settle(state, below, Once(nonce(1), 300)).failed == (Once(nonce(1), 300), below)
    assert settle(state, Below(("halt:acme",), 3)).failed == ()
    assert settle(state, below, at=200).failed == ()


@each_backend
def test_a_lifted_number_never_falls_while_it_stands(make: Make) -> None:
    state = make()
    assert [drive(state.lift("key", value)) for value in (2, 5, 3)] == [1, 2, 3]
    assert settle(state, Below(("key",), 5)).failed
    assert not settle(state, Below(("key",), 6)).failed
    drive(state.set("key", 9, 200))
    settle(state, Once(nonce(1), 500), at=200)
    drive(state.lift("key", 4))  # the nine has expired
    assert not settle(state, Below(("key",), 5), at=200).failed


# exact, whoever races


@each_backend
def test_of_eight_threads_with_one_message_exactly_one_wins(make: Make) -> None:
    state, start = make(), threading.Barrier(8)
    wins: list[list[int]] = [[] for _ in range(8)]

    def race(place: int) -> None:
        start.wait()
        for number in range(300):
            if not settle(state, Once(nonce(number), 200), id=f"thread {place}").failed:
                wins[place].append(number)

    threads = [threading.Thread(target=race, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for won in wins for number in won) == list(range(300))


@each_backend
def test_of_fifty_tasks_with_one_message_exactly_one_wins_and_the_others_hear_which(make: Make) -> None:
    async def main() -> list[Outcome]:
        state = make()
        return await asyncio.gather(*(state.commit([Once(nonce(1), 200)], 100, f"task {n}", None) for n in range(50)))

    outcomes = asyncio.run(main())
    winners = [f"task {n}" for n, outcome in enumerate(outcomes) if not outcome.failed]
    assert len(winners) == 1
    assert {outcome.first for outcome in outcomes if outcome.failed} == set(winners)


@each_backend
def test_versions_are_counted_exactly_under_threads(make: Make) -> None:
    state, start = make(), threading.Barrier(8)

    def write() -> None:
        start.wait()
        for number in range(100):
            drive(state.set("halt", number))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert settle(state).version == 800


# room


@each_backend
def test_a_full_table_refuses_and_says_so(make: Make) -> None:
    state = make(capacity=100, per_key=100)
    assert fill(state, 90) == 90
    outcome = settle(state, Once(nonce(500), 200))
    assert outcome.failed == (Once(nonce(500), 200),)
    assert outcome.full
    assert outcome.first is None
    assert len(state) == 90


@each_backend
def test_a_full_table_never_forgets_what_lives(make: Make) -> None:
    state = make(capacity=100, per_key=100)
    fill(state, 90)
    assert fill(state, 2000, owner="flood") == 0
    for number in range(90):
        outcome = settle(state, Once(nonce(number), 200))
        assert (outcome.first, outcome.full) == ("r", False)


@each_backend
def test_the_last_tenth_is_for_those_who_have_a_reserve(make: Make) -> None:
    state = make(capacity=100, per_key=100)
    assert fill(state, 200) == 90
    assert fill(state, 200, owner="cancel", reserve=True) == 10
    assert settle(state, Once(nonce(1, "last"), 200), reserve=True).full


def advance(state: State, amount: int, *, owner: str = "trader", **other: Any) -> int:
    """Begin so many counters; return how many were accepted."""
    return sum(not settle(state, Advance(nonce(n, owner), 1), **other).failed for n in range(amount))


@each_backend
def test_counters_have_room_of_their_own_and_a_share_and_a_reserve(make: Make) -> None:
    state = make(capacity=100, per_key=50)
    fill(state, 45)
    assert advance(state, 60) == 45
    assert advance(state, 60, owner="other") == 45
    assert advance(state, 60, owner="third", reserve=True) == 10
    late = settle(state, Advance(nonce(1, "fourth"), 1), reserve=True)
    assert (late.failed, late.full) == ((Advance(nonce(1, "fourth"), 1),), True)


@each_backend
def test_a_full_table_of_counters_forgets_none_and_lets_them_go_on(make: Make) -> None:
    state = make(capacity=100, per_key=100)
    advance(state, 90)
    advance(state, 500, owner="flood")
    for number in range(90):
        old = settle(state, Advance(nonce(number), 1))
        assert (bool(old.failed), old.full) == (True, False)
        assert not settle(state, Advance(nonce(number), 2)).failed


@each_backend
def test_one_key_has_its_share_and_leaves_the_rest_to_others(make: Make) -> None:
    state = make(capacity=1000, per_key=20)
    assert fill(state, 100) == 18
    assert fill(state, 100, reserve=True) == 2  # the first 18 are seen, then come the two kept ones
    assert settle(state, Once(nonce(500), 200), reserve=True).full
    assert fill(state, 100, owner="other") == 18


@each_backend
def test_what_has_expired_makes_room(make: Make) -> None:
    state = make(capacity=100, per_key=50)
    assert fill(state, 45, until=200) == 45
    assert fill(state, 45, until=300, at=199) == 0
    assert fill(state, 45, until=300, at=200) == 45


@each_backend
def test_clearing_out_is_bounded_work_and_faster_than_filling(make: Make) -> None:
    state = make(capacity=10_000, per_key=10_000)
    fill(state, 9_000, until=200)
    sizes = [len(state)]
    while sizes[-1]:
        settle(state, at=200)
        sizes.append(len(state))
    steps = [before - after for before, after in pairwise(sizes)]
    assert len(steps) > 10  # not all at once
    assert min(steps[:-1]) > 1  # faster than one commit can bring new ones


@each_backend
def test_a_message_that_is_used_again_after_its_time_is_held_once(make: Make) -> None:
    state = make(capacity=10, per_key=10)
    for at in range(100, 200):
        assert not settle(state, Once(nonce(1), at + 1), at=at).failed
        assert len(state) == 1
    settle(state, at=500)
    assert len(state) == 0
    assert fill(state, 10, until=600, at=500) == 9


@each_backend
def test_a_message_that_is_used_again_before_it_was_cleared_out_is_remembered_for_its_new_time(make: Make) -> None:
    state = make()
    fill(state, 500, until=200)
    assert not settle(state, Once(nonce(99), 300), at=200, id="again").failed
    for _ in range(20):
        settle(state, at=299)
    assert len(state) == 1
    assert settle(state, Once(nonce(99), 400), at=299).first == "again"


@each_backend
@pytest.mark.parametrize("until", [-1, 0, 99, 100])
def test_a_time_that_has_passed_is_a_refusal_never_an_accept(make: Make, until: int) -> None:
    state = make()
    for _ in range(2):
        outcome = settle(state, Once(nonce(1), until))
        assert outcome.failed == (Once(nonce(1), until),)
        assert (outcome.first, outcome.full) == (None, False)
    assert len(state) == 0


@each_backend
def test_a_time_that_has_passed_by_the_highest_clock_seen_is_a_refusal(make: Make) -> None:
    state = make()
    settle(state, at=1000)
    assert settle(state, Once(nonce(1), 999), at=100).failed


@each_backend
def test_of_eight_threads_with_one_value_exactly_one_wins(make: Make) -> None:
    state, start = make(), threading.Barrier(8)
    wins: list[int] = []

    def use() -> None:
        start.wait()
        wins.extend(value for value in range(50) if not settle(state, Advance(nonce(1), value, 100)).failed)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == list(range(50))


@each_backend
def test_every_store_has_an_epoch_of_its_own(make: Make) -> None:
    assert settle(make()).epoch != settle(make()).epoch


@each_backend
@pytest.mark.parametrize(
    "limits", [{"per_key": 9}, {"capacity": 9, "per_key": 9}, {"capacity": 20, "per_key": 21}, {"capacity": 0}]
)
def test_limits_that_leave_no_room_are_an_error(make: Make, limits: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="capacity and per_key are numbers of nonces, at least 10"):
        make(**limits)
