"""Tables of fixed size: whoever fails least makes room, distinct items are counted in bounded room, one is first."""

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOW, SECOND

from tradeguard.backends.memory import MemoryDistinct, MemoryFailures, MemoryRecent, MemoryTable
from tradeguard.core.errors import ConfigError
from tradeguard.core.lockout import HALF_LIFE

LIFE = 600 * SECOND


def test_failures_add_up_decay_and_lock() -> None:
    table = MemoryFailures()
    for count in (1, 2, 3):
        failure = table.add(("a",), NOW, 3)
        assert failure.total == pytest.approx(count)
        assert (failure.until, failure.news) == (0, False)
    failure = table.add(("a",), NOW, 3)
    assert failure.news
    assert NOW + 1.6 * SECOND <= failure.until == table.until(("a",)) == table.latest <= NOW + 2.4 * SECOND
    assert not table.add(("a",), NOW, 3).news
    assert table.add(("a",), NOW + HALF_LIFE, 3).total == pytest.approx(3.5)


def test_what_others_count_adds_to_the_wait_and_not_to_the_own_level() -> None:
    table, alone = MemoryFailures(salt=b"x"), MemoryFailures(salt=b"x")
    assert table.add(("a",), NOW, 3, 5.0).total == pytest.approx(6)
    assert table.until(("a",)) > NOW
    assert alone.add(("a",), NOW, 3).level == table.add(("b",), NOW, 3, 5.0).level


def test_a_lock_is_never_shortened_by_a_later_failure() -> None:
    table = MemoryFailures()
    for _ in range(20):
        table.add(("a",), NOW, 1)
    before = table.until(("a",))
    table.add(("a",), NOW, 100)
    assert table.until(("a",)) == before


def test_clearing_forgets_a_name_and_says_whether_it_was_locked() -> None:
    table = MemoryFailures()
    assert table.clear(("a",), NOW) == 0
    table.add(("a",), NOW, 3)
    assert table.clear(("a",), NOW) == 0
    assert ("a",) not in table
    for _ in range(4):
        table.add(("a",), NOW, 3)
    assert table.clear(("a",), NOW) == pytest.approx(4)
    assert table.until(("a",)) == 0
    assert table.add(("a",), NOW, 3).total == 1


@pytest.mark.parametrize("size", [8, 64, 1000])
def test_nobody_sprays_his_count_away(size: int) -> None:
    """Half of the table is an attacker's own, the oldest; whatever he sprays makes room for itself."""
    table = MemoryFailures(size)
    own = [(f"own {number}",) for number in range(size // 2)]
    for name in own:
        for _ in range(3):
            table.add(name, NOW, 1)
    for number in range(20 * size):
        table.add((f"spray {number}",), NOW + number, 1)
    assert all(table.until(name) > NOW for name in own)
    assert len(table) == size


def test_the_old_sample_of_eight_would_have_let_him() -> None:
    """Nine debts that are the oldest of a full table: the smallest of all goes, and not the smallest of the oldest."""
    table = MemoryTable(64)
    for number in range(9):
        table.add((f"own {number}",), 1_000_000, NOW)
    for number in range(10_000):
        table.add((f"spray {number}",), 1, NOW)
    assert all(table.drained((f"own {number}",)) == NOW + 1_000_000 for number in range(9))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), max_size=300))
def test_who_is_evicted_is_the_lowest_of_all(steps: list[tuple[int, int]]) -> None:
    """Against a model that looks through the whole table each time."""
    table, model = MemoryTable(8), dict[int, int]()
    for number, cost in steps:
        if number not in model and len(model) == 8:
            lowest = min(model.values())
            kept = {key for key, debt in model.items() if debt > lowest}
            table.add((str(number),), cost, NOW)
            held = {int(key[0]) for key in table._ranked.entries}
            assert kept < held
            [gone] = model.keys() - held
            assert model.pop(gone) == lowest
        else:
            table.add((str(number),), cost, NOW)
        model[number] = max(model.get(number, 0), NOW) + cost
    assert {int(key[0]): debt.rank for key, debt in table._ranked.entries.items()} == model


def test_clearing_and_failing_for_ever_grows_nothing() -> None:
    table = MemoryFailures(8)
    for number in range(10_000):
        table.add((f"name {number % 12}",), NOW + number, 3)
        table.clear((f"name {number % 5}",), NOW)
    assert len(table) == 8
    assert len(table._ranked._heap) == 8


@pytest.mark.parametrize("count", [1, 5, 6, 21, 32])
def test_few_distinct_items_are_counted_exactly(count: int) -> None:
    items = MemoryDistinct(LIFE)
    for repeat in range(3):
        counts = [items.add("name", f"item {number}", NOW + repeat) for number in range(count)]
    assert counts[-1] == count
    assert items.add("name", "item 0", NOW + LIFE) <= count


@pytest.mark.parametrize("count", [33, 100, 1_000, 3_000])
def test_many_distinct_items_are_estimated_within_a_tenth(count: int) -> None:
    items = MemoryDistinct(LIFE)
    for number in range(count):
        estimate = items.add("name", f"item {number}", NOW)
    assert estimate == pytest.approx(count, rel=0.15, abs=2)


def test_items_count_for_their_life() -> None:
    items = MemoryDistinct(LIFE)
    for number in range(10):
        items.add("name", f"item {number}", NOW + number)
    assert items.add("name", "late", NOW + LIFE + 4) == 6
    for number in range(100):
        items.add("many", f"item {number}", NOW)
    assert items.add("many", "late", NOW + LIFE) == 1


def test_whoever_fails_with_most_is_kept_however_many_come() -> None:
    items = MemoryDistinct(LIFE, 8)
    for number in range(6):
        items.add("attacker", f"key {number}", NOW)
    for number in range(1_000):
        items.add(f"spray {number}", "key", NOW)
    assert items.add("attacker", "key 6", NOW) == 7
    assert len(items) == 8


def test_what_is_kept_of_a_name_is_bounded() -> None:
    items = MemoryDistinct(LIFE)
    for number in range(10_000):
        items.add("x" * 10_000, "y" * 10_000 + str(number), NOW)
        items.add("many", str(number), NOW)
    assert all(len(entry.kept) <= 32 for entry in items._ranked.entries.values())
    assert all(len(name[0]) <= 128 for name in items._ranked.entries)


@pytest.mark.parametrize("make", [MemoryFailures, lambda size: MemoryDistinct(LIFE, size)])
@pytest.mark.parametrize("size", [-1, 0, 7])
def test_a_table_that_is_too_small_is_an_error(make: Any, size: int) -> None:
    with pytest.raises(ConfigError, match="at least 8"):
        make(size)


def test_of_many_at_once_one_is_first() -> None:
    recent, start, firsts = MemoryRecent(LIFE), threading.Barrier(8), list[int]()

    def ask() -> None:
        start.wait()
        for number in range(500):
            if recent.first((str(number),), NOW):
                firsts.append(number)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(firsts) == list(range(500))


def test_first_is_recent_for_its_life_and_no_longer_however_often_it_is_asked_for() -> None:
    recent = MemoryRecent(LIFE)
    assert recent.first(("a",), NOW)
    assert not any(recent.first(("a",), NOW + step * SECOND) for step in range(600))
    assert recent.first(("a",), NOW + LIFE)
