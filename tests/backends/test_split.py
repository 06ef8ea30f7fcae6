"""Split: what two stores settle together is what one would, but for the moment between the two."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tradeguard.backends.limits import LimitsQuotas
from tradeguard.backends.memory import Memory
from tradeguard.backends.split import Split
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.core.conditions import Advance, Below, Charge, Condition, Limit, Once, Outcome, Quota
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.ports import Colour, State
from tradeguard.testing import RoomConformance, StateConformance

SECOND = 1_000_000_000
ONCE = Once(("ann", b"1"), 200)
QUOTA = Quota("q", (Limit(2, SECOND), Limit(5, 60 * SECOND)), 1)
NUMBER = count()


class _Split(Split):
    """A split of two memories that tells how many nonces it holds, as the suite asks."""

    def __init__(self, **limits: int) -> None:
        self.memory = Memory(since=1, **limits)  # type: ignore[arg-type]
        super().__init__(self.memory, Memory(since=1))

    def __len__(self) -> int:
        return len(self.memory)


class TestSplit(StateConformance, RoomConformance):
    make = staticmethod(_Split)


class Down(Memory):
    """A store that is down."""

    async def commit(self, *_: object, **__: object) -> Outcome:
        raise BackendDown("it is down")


class Coloured(Memory):
    def __init__(self, colour: Colour) -> None:
        super().__init__()
        self.colour = colour


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Memory, SQLiteState]]:
    quotas = SQLiteState(tmp_path / "state.db")
    yield Memory(since=1), quotas
    quotas.close()


def settle(state: State, *conditions: Condition, at: int = 100, denied: bool = False) -> Outcome:
    return drive(state.commit(conditions, at, "r", None, denied))


def used(state: State, quota: Quota = QUOTA) -> list[int]:
    return [use.used for use in settle(state, quota._replace(cost=0)).usage[quota.key]]


def test_each_store_gets_its_own(stores: tuple[Memory, SQLiteState]) -> None:
    first, second = stores
    split = Split(first, second)
    assert not settle(split, QUOTA, ONCE, Below(("halt",), 1)).failed
    assert (len(first), len(second)) == (1, 0)
    assert (used(first), used(second), used(split)) == ([0, 0], [1, 1], [1, 1])
    assert drive(split.set("halt", 1, None, b"signed")) == 1
    assert drive(split.lift("halt", 0)) == 2
    assert drive(split.look("")).numbers == drive(first.look("")).numbers != {}
    assert drive(second.look("")).numbers == {}
    assert split.since == 1
    assert drive(split.refund(Charge(QUOTA, 100, "r"), "fill", 1, 100))
    assert used(second) == [0, 0]


@pytest.mark.parametrize("why", ["denied", "seen", "halted", "late"])
def test_no_quota_is_spent_where_anything_else_failed(stores: tuple[Memory, SQLiteState], why: str) -> None:
    split = Split(*stores)
    drive(split.set("halt", 1))
    settle(split, Once(("ann", b"seen"), 200))
    conditions: dict[str, Condition] = {
        "denied": ONCE,
        "seen": Once(("ann", b"seen"), 200),
        "halted": Below(("halt",), 1),
        "late": Once(("ann", b"2"), 50),
    }
    binding = Quota("attempts", (Limit(2, SECOND),), 1, binding=True)
    outcome = settle(split, conditions[why], QUOTA, binding, denied=why == "denied")
    assert bool(outcome.failed) is (why != "denied")
    assert (used(split), used(split, binding)) == ([0, 0], [1])


def test_a_quota_that_fails_has_used_the_message(stores: tuple[Memory, SQLiteState]) -> None:
    split, huge = Split(*stores), QUOTA._replace(cost=3)
    outcome = settle(split, huge, ONCE)
    assert (outcome.failed, used(split)) == ((huge,), [0, 0])
    assert settle(split, huge, ONCE).failed == (ONCE, huge)


def test_where_a_node_has_seen_more_nothing_takes_effect(stores: tuple[Memory, SQLiteState]) -> None:
    split = Split(*stores)
    assert drive(split.commit([ONCE, QUOTA], 100, "r", ("another", 0))).behind
    assert (used(split), len(stores[0])) == ([0, 0], 0)


def test_where_the_quotas_are_down_it_is_not_known_what_took_effect() -> None:
    first = Memory(since=1)
    split = Split(first, Down())
    with pytest.raises(BackendDown, match="it is down") as caught:
        settle(split, ONCE, QUOTA)
    assert caught.value.unknown
    assert len(first) == 1
    assert not settle(split, Advance(("ann", b"1"), 1)).failed  # who asks for none does not need them


def test_where_the_first_is_down_no_quota_is_spent() -> None:
    quotas = Memory(since=1)
    with pytest.raises(BackendDown) as caught:
        settle(Split(Down(), quotas), ONCE, QUOTA)
    assert not caught.value.unknown
    assert used(quotas) == [0, 0]


def test_what_one_of_them_would_refuse_is_refused_before_anything_takes_effect() -> None:
    first = Memory(since=1)
    for wrong in (QUOTA._replace(cost=-1), QUOTA._replace(cost=2**53)):
        with pytest.raises(ValueError, match="a quota's cost"):
            settle(Split(first, Memory(since=1)), ONCE, wrong)
    with pytest.raises(ValueError, match=r"asks for quota 'q' once"):
        settle(Split(first, Memory(since=1)), ONCE, QUOTA, QUOTA)
    assert len(first) == 0


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("instant", "instant", "instant"),
        ("brief", "instant", "brief"),
        ("instant", "async", "async"),
        ("brief", "blocking", "blocking"),
    ],
)
def test_it_waits_as_the_slower_of_both_does(first: Colour, second: Colour, both: Colour) -> None:
    for pair in ((first, second), (second, first)):
        assert Split(*map(Coloured, pair)).colour == both


@pytest.mark.parametrize("pair", [("async", "blocking"), ("blocking", "async")])
def test_two_that_no_host_waits_for_are_refused(pair: tuple[Colour, Colour]) -> None:
    with pytest.raises(ConfigError, match=r"no host waits for an? .* take both of one kind"):
        Split(*map(Coloured, pair))


def test_a_store_that_settles_no_quotas_is_refused() -> None:
    quotas = Memory()
    quotas.supports = frozenset({Once})
    with pytest.raises(ConfigError, match="Memory settles no quotas; name a store that does"):
        Split(Memory(), quotas)


def test_closing_lets_go_of_both(tmp_path: Path) -> None:
    made: Callable[[str], SQLiteState] = lambda name: SQLiteState(tmp_path / name)  # noqa: E731
    stores = made("a"), made("b")
    split = Split(*stores)
    settle(split, ONCE, QUOTA)
    split.close()
    assert all(store._database._connection is None for store in stores)
    assert settle(split, ONCE).first == "r"
    split.close()
    Split(Memory(), LimitsQuotas("memory://")).close()
