"""The breaker: when a store is asked, and when a barrier is raised."""

import pytest

from tradeguard.core.breaker import Breaker
from tradeguard.core.errors import ConfigError


def opened(at: int = 100) -> Breaker:
    breaker = Breaker(failures=2, pause=10)
    assert [breaker.failed(at - 1), breaker.failed(at)] == [False, True]
    return breaker


def test_it_opens_after_several_failures_in_a_row_and_raises_a_barrier() -> None:
    breaker = Breaker(failures=3, pause=10)
    assert [breaker.failed(1), breaker.failed(2), breaker.answered(3), breaker.failed(4), breaker.failed(5)] == [
        False
    ] * 5
    assert (breaker.is_open, breaker.barrier) == (False, 0)
    assert breaker.failed(6)
    assert (breaker.is_open, breaker.barrier, breaker.opened) == (True, 6, 1)


def test_while_it_is_open_one_is_let_through_per_pause() -> None:
    breaker = opened()
    assert [breaker.asks(at) for at in (100, 109, 110, 110, 119, 120)] == [False, False, True, False, False, True]


def test_each_try_that_fails_makes_the_pause_longer_up_to_a_limit() -> None:
    breaker, at, waits = opened(), 100, []
    for _ in range(7):
        wait = next(wait for wait in range(1, 1_000) if breaker.asks(at + wait))
        waits.append(wait)
        at += wait
        assert not breaker.failed(at)
    assert waits == [10, 20, 40, 80, 80, 80, 80]


def test_those_that_were_under_way_when_it_opened_do_not_make_the_pause_longer() -> None:
    breaker = opened()
    for _ in range(64):
        breaker.failed(101)
    assert breaker.asks(110)


def test_an_answer_closes_it_with_a_barrier_and_the_pause_is_short_again() -> None:
    breaker = opened()
    assert breaker.asks(110)
    breaker.failed(110)
    assert breaker.answered(130)
    assert (breaker.is_open, breaker.barrier) == (False, 130)
    assert breaker.asks(131)
    breaker.failed(140)
    assert breaker.failed(141)
    assert breaker.asks(151)


def test_a_barrier_never_moves_back() -> None:
    breaker = opened(100)
    breaker.answered(50)
    assert breaker.barrier == 100


def test_an_answer_while_it_is_closed_changes_nothing() -> None:
    breaker = Breaker()
    assert not breaker.answered(5)
    assert (breaker.barrier, breaker.asks(5)) == (0, True)


@pytest.mark.parametrize("numbers", [{"failures": 0}, {"pause": 0}, {"pause": -1}])
def test_numbers_below_one_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="both at least 1"):
        Breaker(**numbers)
