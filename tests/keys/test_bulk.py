"""Many keys at once: every bad line told, every good one in, nothing twice or half done, and the same when dry."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOW, StillClock

from tradeguard.backends.memory import MemoryJournal, MemoryKeys
from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.event import Event, Written
from tradeguard.core.key import KeyRecord
from tradeguard.core.ports import KeyAdmin
from tradeguard.core.secret import Secret
from tradeguard.keys.bulk import Fault, Report, export_records, import_lines
from tradeguard.keys.cache import CachedKeys
from tradeguard.keys.codec import describe
from tradeguard.keys.issuer import Issuer
from tradeguard.keys.lines import Line, Reading, read_lines
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer
from tradeguard.signing.material import Hmac


def issuer(keys: KeyAdmin | None = None, journal: Any = None) -> Issuer:
    keys = MemoryKeys() if keys is None else keys
    return Issuer(keys, journal or MemoryJournal(), runtime=StillClock())


@pytest.fixture
def filed(tmp_path: Path) -> Iterator[CachedKeys]:
    """Keys as a server has them."""
    sealer = LocalSealer(MasterKeys([MasterKey(Secret(b"m" * 32))]))
    cache = CachedKeys(SealedKeys(SQLiteKeys(tmp_path / "keys.db", busy=5.0), sealer))
    yield cache
    cache.close()


def record(id: str, secret: str | None = None, **fields: Any) -> KeyRecord:
    given: dict[str, Any] = {"scopes": {"orders:read"}, "owner": "ann", "dialect": "tg1", **fields}
    return KeyRecord(id=id, material=Hmac(f"the long secret of {secret or id}"), **given)


def lines(*records: KeyRecord | str) -> list[Line]:
    """Lines with those records; a text is the reason why there is none."""
    return [
        Line(number, None, each) if isinstance(each, str) else Line(number, each)
        for number, each in enumerate(records, 2)
    ]


def bring(to: Issuer, given: Iterable[Line], **options: Any) -> Report:
    return drive(import_lines(to, given, **{"actor": "ops", **options}))


def ids(keys: KeyAdmin) -> list[str]:
    return [each.id for each in drive(keys.list())]


def test_good_lines_go_in_and_bad_ones_are_told(run: Run) -> None:
    to = issuer()
    given = lines(record("a"), "no CSV", record("b"), record("c", scopes={"no:such"}), record("d", owner=""))
    report = run(import_lines(to, given, actor="ops", reason="moved", batch=2))
    assert (report.read, report.imported, report.present, report.bad) == (5, 2, 0, 3)
    assert [fault.line for fault in report.faults] == [3, 5, 6]
    assert report.faults[0] == Fault(3, "no CSV")
    assert "unknown scope 'no:such'" in report.faults[1].reason
    assert "owner" in report.faults[2].reason
    assert ids(to.keys) == ["a", "b"]
    stored = run(to.keys.find("a"))
    assert (stored.actor, stored.reason) == ("ops", "moved")


def test_what_is_stored_already_is_left_alone() -> None:
    to = issuer()
    bring(to, lines(record("a"), record("b")))
    drive(to.revoke("b", actor="ops"))
    report = bring(to, lines(record("a", scopes={"orders:*"}), record("b"), record("c")))
    assert (report.read, report.imported, report.present, report.bad) == (3, 1, 2, 0)
    assert drive(to.find("a")).scopes == {"orders:read"}
    assert drive(to.find("b")).state == "revoked"


def test_what_is_stored_already_may_not_stand_twice_either() -> None:
    to = issuer()
    bring(to, lines(record("a")))
    report = bring(to, lines(record("a"), record("a"), record("b", "a")))
    assert (report.present, report.imported) == (1, 0)
    assert report.faults == [
        Fault(3, "key a: line 2 has the same id"),
        Fault(4, "key b: line 2 has the same secret"),
    ]


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize("dry_run", [False, True])
def test_an_id_or_secret_that_stands_twice_is_told(batch: int, dry_run: bool) -> None:
    given = lines(record("a"), record("b"), record("a", "other"), record("c", "b"), record("a"), record("d"))
    report = bring(issuer(), given, batch=batch, dry_run=dry_run)
    assert (report.imported, report.present, report.bad) == (3, 0, 3)
    assert report.faults == [
        Fault(4, "key a: line 2 has the same id"),
        Fault(5, "key c: line 3 has the same secret"),
        Fault(6, "key a: line 2 has the same id"),
    ]


@pytest.mark.parametrize("batch", [1, 100])
def test_a_bad_line_does_not_stand_in_the_way_of_a_good_one(batch: int) -> None:
    to = issuer()
    report = bring(to, lines(record("a", owner=""), record("a"), record("b", "a")), batch=batch)
    assert (report.imported, report.bad) == (1, 2)
    assert [fault.line for fault in report.faults] == [2, 4]
    assert ids(to.keys) == ["a"]


@pytest.mark.parametrize("batch", [1, 100])
def test_an_id_or_secret_that_another_key_has_is_told(batch: int) -> None:
    to = issuer()
    bring(to, lines(record("a"), record("b")))
    report = bring(to, lines(record("a", "new"), record("c", "b"), record("d")), batch=batch)
    assert report.faults == [
        Fault(2, "key a exists, with another secret"), Fault(3, "key c has the secret of key b"),
    ]  # fmt: skip
    assert ids(to.keys) == ["a", "b", "d"]


def test_what_somebody_else_stores_meanwhile_is_told_and_the_rest_of_the_batch_goes_in() -> None:
    class Racing(MemoryKeys):
        raced = False

        async def put(self, records: Sequence[KeyRecord], /) -> None:
            if not self.raced:
                self.raced = True
                self.put_now(record("b"), record("x", "c"))
            self.put_now(*records)

    to = issuer(Racing())
    report = bring(to, lines(record("a"), record("b"), record("c"), record("d")))
    assert (report.imported, report.bad) == (2, 2)
    assert [fault.line for fault in report.faults] == [3, 4]
    assert ids(to.keys) == ["a", "b", "d", "x"]


def test_a_key_that_expires_while_it_is_imported_is_told_and_the_rest_goes_in() -> None:
    clock = StillClock()

    class Slow(MemoryKeys):
        async def find(self, id: str, /) -> KeyRecord | None:
            if id == "b":
                clock.at += 10
            return await super().find(id)

    to = Issuer(Slow(), MemoryJournal(), runtime=clock)
    report = bring(to, lines(record("a", expires=NOW + 5), record("b"), record("c")))
    assert (report.imported, report.bad) == (2, 1)
    assert ids(to.keys) == ["b", "c"]
    assert "it would end before it begins" in report.faults[0].reason


def test_without_an_actor_no_line_goes_in() -> None:
    to = issuer()
    report = bring(to, lines(record("a")), actor="")
    assert (report.imported, report.bad, ids(to.keys)) == (0, 1, [])
    assert "actor" in report.faults[0].reason


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_has_at_least_one_key(batch: int) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        bring(issuer(), lines(record("a")), batch=batch)


def test_every_imported_key_has_an_event_and_a_dry_run_has_none() -> None:
    journal = MemoryJournal()
    to = issuer(journal=journal)
    bring(to, lines(record("a"), "bad", record("b")), dry_run=True)
    assert not journal.events
    assert ids(to.keys) == []
    bring(to, lines(record("a"), "bad", record("b")))
    assert [(event.code, event.key_id, event.actor) for event in journal.events] == [
        ("keys.imported", "a", "ops"), ("keys.imported", "b", "ops"),
    ]  # fmt: skip


def test_progress_is_told_after_each_batch() -> None:
    seen: list[tuple[int, int]] = []
    given = lines(*(record(f"k{number}") for number in range(5)))
    bring(issuer(), given, batch=2, progress=lambda report: seen.append((report.read, report.imported)))
    assert seen == [(2, 2), (4, 4), (5, 5)]


def test_the_first_faults_are_kept_and_all_are_counted() -> None:
    report = bring(issuer(), (Line(number, None, "bad") for number in range(10_050)))
    assert (report.bad, len(report.faults)) == (10_050, 10_000)


def test_only_a_batch_of_the_file_is_held() -> None:
    taken = 0

    def endless() -> Iterator[Line]:
        nonlocal taken
        while True:
            taken += 1
            yield Line(taken, record(f"k{taken}"))

    def stop(report: Report) -> None:
        assert taken == report.read
        if report.read == 30:
            raise KeyboardInterrupt

    to = issuer()
    with pytest.raises(KeyboardInterrupt):
        bring(to, endless(), batch=10, progress=stop)
    assert len(ids(to.keys)) == 30


# a file of 2,000 with 50 bad ones


BAD = [
    "{bad}", '{"id": "k0"}', '{"id": "a b", "secret": "0123456789abcdef", "owner": "o"}',
    '{"id": "bad1", "secret": "short", "owner": "o"}', '{"id": "bad2", "secret": "0123456789abcdef", "scope": []}',
    '{"id": "bad3", "secret": "0123456789abcdeX", "owner": "o", "scopes": ["no:such"]}',
    '{"id": "bad4", "secret": "0123456789abcdeY", "owner": "o", "networks": ["office"], "scopes": ["orders:read"]}',
    '{"id": "bad5", "secret": "0123456789abcdeZ", "owner": "o", "scopes": ["funds:withdraw"]}',
    '{"id": "k0", "secret": "0123456789abcdef-another", "owner": "o", "scopes": ["orders:read"]}',
    '{"id": "twin", "secret": "the secret of k0", "owner": "o", "scopes": ["orders:read"]}',
]  # fmt: skip


def big_file() -> tuple[str, list[int]]:
    """A file of 2,000 lines, and the numbers of the 50 that are bad."""
    good = iter(range(2_000))
    text: list[str] = []
    for number in range(2_000):
        if number % 40 == 39:
            text.append(BAD[number // 40 % len(BAD)])
            continue
        id = f"k{next(good)}"
        fields = {"id": id, "secret": f"the secret of {id}", "owner": "ann", "scopes": ["orders:read"]}
        text.append(json.dumps(fields))
    return "\n".join(text) + "\n", [number + 1 for number in range(2_000) if number % 40 == 39]


def read(text: str) -> Iterator[Line]:
    return read_lines(io.StringIO(text), "jsonl", Reading(at=NOW))


def test_of_2000_lines_the_50_bad_ones_are_told_and_1950_go_in(filed: CachedKeys) -> None:
    text, bad = big_file()
    to = issuer(filed)
    dry = bring(to, read(text), dry_run=True)
    assert ids(filed) == []
    real = bring(to, read(text))
    assert dry == real
    assert (real.read, real.imported, real.present, real.bad) == (2_000, 1_950, 0, 50)
    assert [fault.line for fault in real.faults] == bad
    assert "0123456789abcde" not in str(real.faults)
    assert "the secret of" not in str(real.faults)
    again = bring(to, read(text))
    assert (again.imported, again.present, again.bad) == (0, 1_950, 50)


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_run_that_was_stopped_is_carried_on_by_running_it_again(filed: CachedKeys, stop_at: int) -> None:
    text, bad = big_file()

    class Failing(MemoryJournal):
        events_left = stop_at * 500 + 7

        def append(self, event: Event, /) -> Written:
            self.events_left -= 1
            return super().append(event) if self.events_left > 0 else Written(BackendDown("no space left on device"))

    with pytest.raises(BackendDown, match="no space left"):
        bring(issuer(filed, Failing()), read(text))
    stored = len(drive(filed.list("", 5_000)))
    whole = stop_at * 500
    assert stored == whole - len([number for number in bad if number <= whole])  # whole batches only
    report = bring(issuer(filed), read(text))
    assert (report.present, report.imported, report.bad) == (stored, 1_950 - stored, 50)
    assert len(drive(filed.list("", 5_000))) == 1_950


NAMES = st.sampled_from(["a", "b", "c", "d"])
ENTRIES = st.lists(st.tuples(NAMES, NAMES, st.sampled_from(["ann", "ann", "ann", ""])), max_size=12)


@settings(max_examples=150)
@given(before=ENTRIES, entries=ENTRIES, batch=st.integers(1, 5))
def test_a_dry_run_reports_what_the_run_then_does(
    before: list[tuple[str, str, str]], entries: list[tuple[str, str, str]], batch: int
) -> None:
    to = issuer()
    bring(to, lines(*(record(id, secret, owner=owner) for id, secret, owner in before)))
    given = lines(*(record(id, secret, owner=owner) for id, secret, owner in entries))
    stored = ids(to.keys)
    dry = bring(to, given, batch=batch, dry_run=True)
    assert ids(to.keys) == stored
    real = bring(to, given, batch=batch)
    assert dry == real
    assert real.read == real.imported + real.present + real.bad == len(entries)
    assert len(ids(to.keys)) == len(stored) + real.imported


# out again


async def collect(keys: KeyAdmin, batch: int) -> list[dict[str, Any]]:
    return [fields async for fields in export_records(keys, batch)]


def test_every_key_goes_out_without_its_secret(filed: CachedKeys, run: Run) -> None:
    bring(issuer(filed), lines(*(record(f"k{number}", scopes={"orders:*"}) for number in range(7))))
    drive(filed.touch({"k3": NOW}))
    out = run(collect(filed, 3))
    assert [fields["id"] for fields in out] == [f"k{number}" for number in range(7)]
    assert [fields["last_used"] for fields in out] == [None, None, None, NOW, None, None, None]
    expected = describe(drive(issuer(filed).find("k0")))
    assert out[0] == {**expected, "last_used": None}
    assert "long secret" not in str(out)
    assert run(collect(MemoryKeys(), 3)) == []
