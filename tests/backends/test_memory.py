"""Memory: its table, keys and journal. The state is held by tests/ports/test_state.py."""

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SECRET

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys, MemoryRecent, MemoryTable
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError, KeyConflict
from tradeguard.core.event import Event
from tradeguard.core.key import KeyRecord
from tradeguard.core.ports import Closing, Following, KeyAdmin
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
    with pytest.raises(ConfigError, match=r"key k: unknown scope 'orders:write:algo'; .*declare in policy.scopes"):
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


def next_of(record: KeyRecord, **fields: Any) -> KeyRecord:
    return replace(record, version=record.version + 1, **fields)


def other(number: int) -> bytes:
    return b"%032d" % number


def test_keys_are_a_store_that_can_be_changed_and_followed() -> None:
    keys = MemoryKeys()
    assert isinstance(keys, KeyAdmin)
    assert isinstance(keys, Following)
    assert not isinstance(keys, Closing)


def test_the_next_version_of_a_key_takes_its_place() -> None:
    keys, first = MemoryKeys([make_record()]), make_record()
    drive(keys.put([next_of(first, state="suspended")]))
    stored = drive(keys.find("k"))
    assert stored is not None
    assert (stored.version, stored.state) == (2, "suspended")
    with pytest.raises(KeyConflict, match="key k was changed meanwhile: version 2 is stored"):
        drive(keys.put([next_of(first, state="revoked")]))
    with pytest.raises(KeyConflict, match="keeps the secret that it was made with"):
        drive(keys.put([replace(first, version=3, material=Hmac(other(3)))]))
    assert drive(keys.find("k")) is stored


BATCHES: dict[str, tuple[list[KeyRecord], str]] = {
    "an id twice": ([make_record("a", other(1)), make_record("a", other(2))], "key a exists"),
    "an id twice, with one secret": ([make_record("a", other(1)), make_record("a", other(1))], "key a exists"),
    "a secret twice": ([make_record("a", other(1)), make_record("b", other(1))], "key b has the secret of key a"),
    "an unknown version": ([make_record("a", other(1)), replace(make_record("b", other(2)), version=2)], "not known"),
    "a taken secret": ([make_record("a", other(1)), make_record("b")], "key b has the secret of key k"),
    "a taken id": ([make_record("a", other(1)), make_record("k", other(2))], "key k exists"),
    "a scope nobody declared": ([make_record("a", other(1)), make_record("b", other(2), "no:such")], "unknown scope"),
}


@pytest.mark.parametrize(("batch", "why"), BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("turn", [1, -1])
def test_of_a_batch_all_is_stored_or_nothing(batch: list[KeyRecord], why: str, turn: int) -> None:
    keys = MemoryKeys([make_record()])
    before = drive(keys.changes(None)).mark
    with pytest.raises(ConfigError, match=why if turn == 1 else None):
        drive(keys.put(batch[::turn]))
    assert [record.id for record in drive(keys.list())] == ["k"]
    assert drive(keys.changes(before)).ids == ()
    drive(keys.put([make_record("a", other(1)), make_record("c", other(2))]))  # nothing of it is taken


def test_two_versions_of_a_key_in_one_batch_follow_each_other() -> None:
    keys, first = MemoryKeys(), make_record()
    drive(keys.put([first, second := next_of(first), next_of(second, state="revoked")]))
    assert (drive(keys.find("k")) or first).version == 3


def test_keys_are_listed_by_id_and_page_by_page() -> None:
    keys = MemoryKeys([make_record(id, other(number)) for number, id in enumerate(["c", "a", "B", "b", "a1"])])
    assert [record.id for record in drive(keys.list())] == ["B", "a", "a1", "b", "c"]
    assert [record.id for record in drive(keys.list("a", 2))] == ["a1", "b"]
    assert [record.id for record in drive(keys.list("aa"))] == ["b", "c"]
    assert drive(keys.list("c")) == []


def test_the_holder_of_a_secret_is_found() -> None:
    keys = MemoryKeys([make_record()])
    assert drive(keys.holder(Hmac(SECRET))) == "k"
    assert drive(keys.holder(Hmac(SECRET + bytes(4)))) == "k"  # the same secret to HMAC
    assert drive(keys.holder(Hmac(other(1)))) is None
    assert (
        drive(keys.holder(Ed25519(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))))
        is None
    )


def test_changes_are_told_once_each_from_a_mark_on() -> None:
    keys = MemoryKeys([make_record()])
    first = drive(keys.changes(None))
    assert first.ids is None
    assert drive(keys.changes(first.mark)) == (first.mark, ())
    drive(keys.put([next_of(make_record()), make_record("a", other(1))]))
    drive(keys.put([next_of(next_of(make_record()))]))
    second = drive(keys.changes(first.mark))
    assert second.ids == ("k", "a")
    assert second.mark != first.mark
    assert drive(keys.changes(second.mark)).ids == ()
    assert drive(keys.changes(first.mark)) == second  # a mark can be asked for again


def test_of_a_mark_of_another_store_anything_may_have_changed() -> None:
    keys, others = MemoryKeys([make_record()]), MemoryKeys([make_record()])
    mark = drive(others.changes(None)).mark
    assert drive(keys.changes(mark)).ids is None
    assert drive(keys.changes(mark)).mark != mark


def test_the_latest_use_is_kept() -> None:
    keys = MemoryKeys([make_record()])
    assert drive(keys.uses(["k", "none"])) == {}
    drive(keys.touch({"k": 5}))
    drive(keys.touch({"k": 3, "a": 1}))
    assert drive(keys.uses(["k", "a", "none"])) == {"k": 5, "a": 1}
    keys.used(make_record(), 9)
    assert drive(keys.uses(["k"])) == {"k": 9}


def test_a_key_stands_as_its_record_says_now() -> None:
    keys = MemoryKeys([replace(make_record(), expires=AT + 1)])
    assert keys.stands("k", AT)
    assert not keys.stands("k", AT + 1)
    assert not keys.stands("none", AT)
    drive(keys.put([replace(make_record(), version=2, state="revoked")]))
    assert not keys.stands("k", AT)


def test_there_is_nothing_to_renew() -> None:
    MemoryKeys().renew()


def test_of_eight_threads_that_change_one_key_exactly_one_succeeds() -> None:
    keys, start, changed = MemoryKeys([make_record()]), threading.Barrier(8), list[int]()

    def suspend(place: int) -> None:
        record = next_of(make_record(), state="suspended", reason=str(place))
        start.wait()
        try:
            keys.put_now(record)
        except KeyConflict:
            return
        changed.append(place)

    threads = [threading.Thread(target=suspend, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = drive(keys.find("k"))
    assert stored is not None
    assert [stored.reason] == [str(place) for place in changed]
    assert stored.version == 2


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
