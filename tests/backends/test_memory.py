"""Memory: its table, keys and journal. The state is held by tests/ports/test_state.py."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SECRET

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys, MemoryRecent, MemoryTable
from tradeguard.core.conditions import Condition, Limit, Quota
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.event import Event
from tradeguard.core.key import KeyRecord
from tradeguard.core.principal import SCOPES
from tradeguard.signing.material import Ed25519, Hmac

AT = 1_000


def make_record(id: str = "k", secret: bytes = SECRET, scope: str = "orders:read") -> KeyRecord:
    return KeyRecord(id=id, dialect="tg1", material=Hmac(secret), scopes={scope})


# the state: what is its own


def test_it_remembers_from_its_start_on() -> None:
    before = time.time_ns()
    assert before <= Memory().since <= time.time_ns()
    assert Memory(since=7).since == 7


@pytest.mark.parametrize("condition", [Quota("q", (Limit(1, 1),), 1)], ids=["quota"])
def test_a_condition_it_does_not_support_is_an_error_not_a_pass(condition: Condition) -> None:
    with pytest.raises(TypeError, match=f"Memory cannot settle {type(condition).__name__}"):
        drive(Memory(since=1).commit([condition], AT, "r", None))


# the table


def test_debts_add_up_and_drain_with_time() -> None:
    table = MemoryTable()
    assert table.add(("a",), 10, AT) == AT + 10
    assert table.add(("a",), 10, AT) == AT + 20
    assert table.add(("a",), 10, AT + 15) == AT + 30  # 5 were left
    assert table.add(("a",), 10, AT + 500) == AT + 510  # nothing was left
    assert table.drained(("a",)) == AT + 510


def test_a_key_without_a_debt_is_drained() -> None:
    table = MemoryTable()
    table.add(("a",), 10, AT)
    assert table.drained(("b",)) == 0
    assert table.drained(("a", "b")) == 0


def test_the_table_keeps_its_size_under_a_flood() -> None:
    table = MemoryTable(16)
    sizes = set()
    for number in range(5000):
        table.add((f"flood {number}",), 1, AT + number)
        sizes.add(len(table))
    assert max(sizes) == len(table) == 16


@pytest.mark.parametrize("size", [8, 64, 1000])
def test_a_flood_of_small_debts_does_not_free_a_large_one(size: int) -> None:
    table = MemoryTable(size)
    table.add(("worst",), 1_000_000, AT)
    for number in range(20 * size):
        table.add((f"flood {number}",), 1, AT)
    assert table.drained(("worst",)) == AT + 1_000_000
    assert len(table) == size


def test_a_newcomer_to_a_full_table_is_counted() -> None:
    table = MemoryTable(8)
    for number in range(8):
        table.add((f"old {number}",), 100, AT)
    table.add(("new",), 1, AT)
    assert table.add(("new",), 1, AT) == AT + 2


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.integers(0, 100)), max_size=30))
def test_a_table_with_room_is_exact(steps: list[tuple[str, int, int]]) -> None:
    table, debts = MemoryTable(8), dict.fromkeys("abc", 0)
    for key, cost, at in steps:
        debts[key] = max(debts[key], at) + cost
        assert table.add((key,), cost, at) == debts[key]
    assert {key: table.drained((key,)) for key in "abc"} == debts


def test_the_table_is_exact_under_threads() -> None:
    table, start = MemoryTable(16), threading.Barrier(8)

    def fail() -> None:
        start.wait()
        for number in range(1000):
            table.add(("same",), 1, AT)
            table.add((f"flood {number}",), 1, AT)

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.drained(("same",)) == AT + 8000
    assert len(table) == 16


@pytest.mark.parametrize("size", [-1, 0, 7])
def test_a_table_that_is_too_small_is_an_error(size: int) -> None:
    with pytest.raises(ConfigError, match="MemoryTable: size is a number of keys, at least 8"):
        MemoryTable(size)


# the keys


def test_a_key_is_found_by_its_id() -> None:
    record = make_record()
    keys = MemoryKeys([record])
    assert drive(keys.find("k")) is record
    assert drive(keys.find("K")) is None
    assert drive(keys.find("")) is None


def test_a_second_key_with_the_same_id_is_refused() -> None:
    keys = MemoryKeys([make_record()])
    with pytest.raises(ConfigError, match="key k exists; give the new one an id of its own"):
        keys.put_now(make_record(secret=b"another secret of 32 bytes......"))


def test_a_second_key_with_the_same_secret_is_refused_and_not_kept() -> None:
    keys = MemoryKeys([make_record("first")])
    with pytest.raises(ConfigError, match="key second has the secret of key first"):
        keys.put_now(make_record("second"))
    assert drive(keys.find("second")) is None


def test_an_id_that_was_refused_for_its_secret_can_be_added_with_another() -> None:
    keys = MemoryKeys([make_record("first")])
    with pytest.raises(ConfigError):
        keys.put_now(make_record("second"))
    keys.put_now(make_record("second", b"another secret of 32 bytes......"))
    assert drive(keys.find("second")) is not None


def test_one_point_as_a_public_key_and_as_a_secret_are_two_things() -> None:
    point = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032, 7.1, test 1
    keys = MemoryKeys([make_record("secret", point)])
    keys.put_now(KeyRecord(id="public", dialect="tg1", material=Ed25519(point), scopes={"orders:read"}))
    assert drive(keys.find("public")) is not None


def test_an_undeclared_scope_is_refused_and_the_key_not_kept() -> None:
    keys = MemoryKeys()
    with pytest.raises(ConfigError, match="key k: unknown scope 'orders:write:algo'; declare it"):
        keys.put_now(make_record(scope="orders:write:algo"))
    assert drive(keys.find("k")) is None
    declared = MemoryKeys(scopes=SCOPES | {"orders:write:algo"})
    declared.put_now(make_record(scope="orders:write:algo"))
    assert drive(declared.find("k")) is not None


def test_of_eight_threads_that_add_one_secret_exactly_one_succeeds() -> None:
    keys, start, added = MemoryKeys(), threading.Barrier(8), []

    def add(place: int) -> None:
        record = make_record(f"key{place}")
        start.wait()
        try:
            keys.put_now(record)
        except ConfigError:
            return
        added.append(place)

    threads = [threading.Thread(target=add, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(added) == 1


# the journal


def test_the_journal_keeps_the_latest_events() -> None:
    journal = MemoryJournal(size=3)
    for number in range(5):
        ticket = journal.append(Event("outcome", number))
        assert ticket.done
        ticket.wait()
    journal.flush()
    assert [event.at for event in journal.events] == [2, 3, 4]


def test_the_journal_counts_what_gets_no_event() -> None:
    journal = MemoryJournal()
    for code in ("source.address", "source.address", "source.pair"):
        journal.count(code, 1)
    assert journal.counts == {"source.address": 2, "source.pair": 1}
    assert not journal.events


def test_a_name_is_recent_for_its_life_and_renewed_when_half_of_it_is_over() -> None:
    recent = MemoryRecent(100)
    recent.note(("a",), 0)
    assert recent.has(("a",), 99)
    assert not recent.has(("a",), 100)
    recent.note(("a",), 49)  # known well enough
    assert not recent.has(("a",), 100)
    recent.note(("a",), 50)
    assert recent.has(("a",), 149)


def test_the_name_that_was_not_heard_of_for_longest_makes_room() -> None:
    recent = MemoryRecent(100, size=2)
    for name, at in (("a", 0), ("b", 1), ("a", 60), ("c", 61)):
        recent.note((name,), at)
    assert len(recent) == 2
    assert [recent.has((name,), 61) for name in "abc"] == [True, False, True]


@pytest.mark.parametrize(("life", "size"), [(0, 1), (1, 0)])
def test_a_memory_of_nothing_is_refused(life: int, size: int) -> None:
    with pytest.raises(ConfigError, match="both at least 1"):
        MemoryRecent(life, size)
