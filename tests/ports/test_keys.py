"""Keys: what every table of key rows holds: all or nothing, exact under races, and nothing missed by who follows it."""

import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.core.drive import drive
from tradeguard.core.errors import KeyConflict
from tradeguard.core.key import Changes, KeyRow, Mark
from tradeguard.core.ports import KeyTable

Make = Callable[[], KeyTable]
FOLDER: list[Path] = []
NUMBER = count()


def make_sqlite() -> KeyTable:
    return SQLiteKeys(FOLDER[0] / f"{next(NUMBER)}.db", busy=10)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where files are made."""
    FOLDER.append(tmp_path_factory.mktemp("keys"))
    yield
    FOLDER.clear()


@pytest.fixture(params=[make_sqlite], ids=["sqlite"])
def table(request: pytest.FixtureRequest) -> Iterator[KeyTable]:
    """An empty table of each kind."""
    made: KeyTable = request.param()
    yield made
    made.close()


def row(id: str, version: int = 1, fingerprint: bytes | None = None, fields: bytes = b"fields") -> KeyRow:
    return KeyRow(id, version, fingerprint or id.encode(), fields, b"sealed", b"mac")


def put(table: KeyTable, *rows: KeyRow) -> None:
    drive(table.put(rows))


def ids(table: KeyTable) -> list[str]:
    return [found.id for found in drive(table.page("", 1000))]


def since(table: KeyTable, mark: Mark | None) -> Changes:
    return drive(table.changes(mark))


def mark_of(table: KeyTable) -> Mark:
    return since(table, None).mark


# rows


def test_what_was_put_is_found_byte_for_byte(table: KeyTable) -> None:
    wanted = KeyRow("Az09_-", 1, bytes(range(256)), b"\x00\xff", b"", b"'; DROP TABLE key")
    put(table, wanted)
    assert drive(table.get("Az09_-")) == wanted


@pytest.mark.parametrize("id", ["", "a ", "A", "b", "%", "a%"])
def test_only_the_exact_id_is_found(table: KeyTable, id: str) -> None:
    put(table, row("a"))
    assert drive(table.get(id)) is None


def test_a_next_version_takes_the_place_of_the_one_before(table: KeyTable) -> None:
    put(table, row("a"))
    put(table, row("a", 2, fields=b"two"))
    assert drive(table.get("a")) == row("a", 2, fields=b"two")
    assert ids(table) == ["a"]


def test_versions_may_follow_each_other_in_one_put(table: KeyTable) -> None:
    put(table, row("a"), row("a", 2), row("b"), row("a", 3))
    assert [found.version for found in drive(table.page("", 9))] == [3, 1]


def test_nothing_to_put_is_no_change(table: KeyTable) -> None:
    mark = mark_of(table)
    put(table)
    assert since(table, mark) == Changes(mark, ())


CONFLICTS = [
    ([row("a", fingerprint=b"new")], "key a exists; give the new one an id of its own"),
    ([row("c", fingerprint=b"b")], "key c has the secret of key b"),
    ([row("a", 2)], "key a was changed meanwhile: version 2 is stored; look again"),
    ([row("a", 4)], "key a was changed meanwhile: version 2 is stored; look again"),
    ([row("a", 3, fingerprint=b"other")], "key a keeps the secret that it was made with; rotate it instead"),
    ([row("a", 3, fingerprint=b"b")], "key a keeps the secret that it was made with; rotate it instead"),
    ([row("c", 2)], "key c is not known, so there is no version 1 to follow"),
    ([row("c", 0)], "key c is not known, so there is no version -1 to follow"),
    ([row("c"), row("c", fingerprint=b"new")], "key c exists"),
    ([row("c"), row("d", fingerprint=b"c")], "key d has the secret of key c"),
]


@pytest.mark.parametrize(("rows", "reason"), CONFLICTS)
@pytest.mark.parametrize("place", ["alone", "first", "last"])
def test_a_conflict_says_why_and_nothing_is_put(table: KeyTable, rows: list[KeyRow], reason: str, place: str) -> None:
    put(table, row("a"), row("a", 2), row("b"))
    mark, before = mark_of(table), drive(table.page("", 9))
    good = [] if place == "alone" else [row("x"), row("b", 2)]
    with pytest.raises(KeyConflict, match=reason):
        put(table, *(good + rows if place == "last" else rows + good))
    assert drive(table.page("", 9)) == before
    assert since(table, mark) == Changes(mark, ())


def test_of_two_who_make_the_same_next_version_one_hears_of_the_other(table: KeyTable) -> None:
    put(table, row("a"))
    put(table, row("a", 2, fields=b"mine"))
    with pytest.raises(KeyConflict, match="version 2 is stored"):
        put(table, row("a", 2, fields=b"yours"))
    assert drive(table.get("a")) == row("a", 2, fields=b"mine")


def test_the_holder_of_a_secret_is_found_by_its_fingerprint(table: KeyTable) -> None:
    put(table, row("a", fingerprint=b"\x00one"), row("b", fingerprint=b"two"))
    put(table, row("b", 2, fingerprint=b"two"))
    assert drive(table.holder(b"\x00one")) == "a"
    assert drive(table.holder(b"two")) == "b"
    assert drive(table.holder(b"three")) is None


# pages


def test_pages_go_through_all_rows_once_by_id(table: KeyTable) -> None:
    names = ["10", "9", "A", "Z", "_", "a", "b", "-"]
    put(table, *map(row, names))
    found: list[str] = []
    while page := drive(table.page(found[-1] if found else "", 3)):
        assert len(page) <= 3
        found += [one.id for one in page]
    assert found == sorted(names)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_nothing_is_empty(table: KeyTable, limit: int) -> None:
    put(table, row("a"))
    assert drive(table.page("", limit)) == []


# changes


def test_who_has_no_mark_gets_one_and_must_look_at_everything(table: KeyTable) -> None:
    put(table, row("a"))
    assert since(table, None).ids is None
    assert since(table, mark_of(table)).ids == ()


def test_what_changed_since_a_mark_is_told_once(table: KeyTable) -> None:
    put(table, row("a"), row("b"), row("c"))
    mark = mark_of(table)
    put(table, row("b", 2), row("d"))
    put(table, row("b", 3))
    changes = since(table, mark)
    assert sorted(changes.ids or ()) == ["b", "d"]
    assert since(table, changes.mark) == Changes(changes.mark, ())


def test_a_mark_of_another_table_or_of_the_future_means_that_anything_may_have_changed(table: KeyTable) -> None:
    put(table, row("a"))
    mark = mark_of(table)
    assert since(table, Mark("another", mark.number)) == Changes(mark, None)
    assert since(table, mark._replace(number=mark.number + 1)) == Changes(mark, None)


@pytest.mark.parametrize(("amount", "told"), [(10_000, True), (10_001, False)])
def test_more_than_ten_thousand_changes_are_told_as_anything(table: KeyTable, amount: int, told: bool) -> None:
    mark = mark_of(table)
    put(table, *(row(f"k{number}") for number in range(amount)))
    changes = since(table, mark)
    assert (changes.ids is not None) is told
    assert since(table, changes.mark).ids == ()


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(st.lists(st.sampled_from("abcde"), max_size=4, unique=True), max_size=12), start=st.integers(0, 12)
)
@pytest.mark.parametrize("make", [make_sqlite], ids=["sqlite"])
def test_who_follows_from_any_point_hears_of_every_change(make: Make, steps: list[list[str]], start: int) -> None:
    table, versions, changed = make(), dict.fromkeys("abcde", 0), set[str]()
    mark = mark_of(table)
    for number, names in enumerate(steps):
        if number == start:
            mark, changed = mark_of(table), set()
        for name in names:
            versions[name] += 1
        put(table, *(row(name, versions[name]) for name in names))
        changed |= set(names)
    told = since(table, mark).ids
    assert told is not None
    assert len(told) == len(set(told))
    assert set(told) == changed
    table.close()


# uses and small values


def test_the_latest_use_counts(table: KeyTable) -> None:
    put(table, row("a"), row("b"), row("c"))
    drive(table.touch({"a": 5, "b": 2**62}))
    drive(table.touch({"a": 3, "b": 1, "c": 1}))
    assert drive(table.uses(["a", "b", "c", "d"])) == {"a": 5, "b": 2**62, "c": 1}
    drive(table.touch({"a": 6}))
    assert drive(table.uses(["a"])) == {"a": 6}
    assert drive(table.uses([])) == {}


def test_a_use_is_no_change_of_a_key(table: KeyTable) -> None:
    put(table, row("a"))
    mark = mark_of(table)
    drive(table.touch({"a": 5}))
    drive(table.touch({}))
    assert since(table, mark).ids == ()


@pytest.mark.parametrize("value", [b"one", b"", bytes(range(256))])
def test_the_first_value_of_a_name_is_kept(table: KeyTable, value: bytes) -> None:
    assert drive(table.keep("salt")) is None
    assert drive(table.keep("salt", value)) == value
    assert drive(table.keep("salt", b"another")) == value
    assert drive(table.keep("salt")) == value
    assert drive(table.keep("other")) is None


# races


def race(work: Callable[[int], object]) -> list[object]:
    """Run it in eight threads at once; return what each came to."""
    results: list[object] = [None] * 8
    start = threading.Barrier(8)

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = work(number)
        except KeyConflict as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_eight_threads_with_one_next_version_exactly_one_wins(table: KeyTable) -> None:
    put(table, row("a"))
    results = race(lambda number: put(table, row("a", 2, fields=b"%d" % number)))
    assert sum(result is None for result in results) == 1
    stored = drive(table.get("a"))
    assert stored is not None
    assert results[int(stored.fields)] is None


def test_of_eight_threads_with_one_secret_exactly_one_wins(table: KeyTable) -> None:
    results = race(lambda number: put(table, row(f"k{number}", fingerprint=b"shared")))
    assert ids(table) == [f"k{results.index(None)}"]
    assert results.count(None) == 1


def test_of_eight_threads_that_keep_a_value_all_get_the_same(table: KeyTable) -> None:
    results = race(lambda number: drive(table.keep("salt", b"%d" % number)))
    assert len(set(results)) == 1
    assert drive(table.keep("salt")) == results[0]


def test_what_is_let_go_of_is_opened_again_by_the_next_use(table: KeyTable) -> None:
    put(table, row("a"))
    table.close()
    table.close()
    assert ids(table) == ["a"]
