"""SQLiteState: it outlives processes, says when it may have forgotten, and never answers what it could not store."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import NOW, TRADER, StillClock, make_guard, sign

from tradeguard.backends.sqlite import SQLiteState
from tradeguard.backends.sqlite.migration import Migration, load
from tradeguard.core.conditions import Advance, Below, Condition, Once, Outcome
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError

HOUR = 3_600_000_000_000
KEY = ("trader", b"nonce")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[SQLiteState]:
    made = SQLiteState(path, busy=1)
    yield made
    made.close()


def settle(state: SQLiteState, *conditions: Condition, at: int = 100, id: str = "r", seen: object = None) -> Outcome:
    return drive(state.commit(conditions, at, id, seen))  # type: ignore[arg-type]


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    rows = connection.execute(query).fetchall()
    connection.commit()
    connection.close()
    return rows


def boot_file(path: Path, text: str) -> Path:
    file = path.with_name("boot_id")
    file.write_text(text)
    return file


# restarts


def test_everything_is_there_after_a_restart(path: Path, state: SQLiteState) -> None:
    settle(state, Once(KEY, 200), Advance(KEY, 2**127, 2), id="first")
    settle(state, Advance(KEY, 7, 2))
    drive(state.set("halt", 3))
    before = settle(state, at=150)
    state.close()
    again = SQLiteState(path)
    outcome = settle(again, Once(KEY, 200), Advance(KEY, 7, 2), Below(("halt",), 3), at=50, seen=before[2:4])
    assert [type(condition) for condition in outcome.failed] == [Once, Advance, Below]
    assert (outcome.first, outcome.epoch, outcome.version, len(again)) == ("first", before.epoch, 1, 1)
    assert not settle(again, Advance(KEY, 8, 2)).failed
    again.close()


def test_time_goes_on_from_the_highest_that_stored_something(path: Path, state: SQLiteState) -> None:
    settle(state, Once(KEY, 1000), at=500)
    state.close()
    again = SQLiteState(path)
    assert settle(again, at=100).time == 500
    assert settle(again, Once(("trader", b"late"), 500), at=100).failed
    again.close()


def test_a_number_survives_power_loss_and_other_commits_do_not_wait_for_the_disk(state: SQLiteState) -> None:
    def level() -> int:
        return int(state._database.read(lambda connection: connection.execute("PRAGMA synchronous").fetchone())[0])

    settle(state, Once(KEY, 200))
    assert level() == 1  # NORMAL
    for store in (state.set, state.lift):
        drive(store("halt", 1))
        assert level() == 2  # FULL
    settle(state, Once(("trader", b"2"), 200))
    assert level() == 1


def test_a_process_that_runs_on_hears_of_numbers_and_time_of_another(path: Path, state: SQLiteState) -> None:
    other = SQLiteState(path)
    drive(other.set("halt", 3, 700))
    settle(other, Once(KEY, 1000), at=500, id="other")
    outcome = settle(state, Once(KEY, 1000), Below(("halt",), 3), at=100)
    assert (outcome.first, outcome.time, outcome.version, len(outcome.failed)) == ("other", 500, 1, 2)
    assert not settle(state, Below(("halt",), 3), at=700).failed
    other.close()


def test_what_changes_nothing_writes_nothing(path: Path, state: SQLiteState) -> None:
    settle(state, Once(KEY, 10_000))
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size
    for at in range(200, 300):
        settle(state, at=at)
        settle(state, Below(("halt",), 1), at=at)
        assert settle(state, Once(KEY, 10_000), at=at).failed
        assert settle(state, Once(KEY, 20_000), at=at, seen=("another", 0)).behind
    assert log.stat().st_size == size
    assert settle(state, at=0).time == 299


def test_numbers_that_have_expired_make_room(path: Path, state: SQLiteState) -> None:
    for number in range(100):
        drive(state.set(f"ban:{number}", 1, 500))
    drive(state.set("ban:for good", 1))
    settle(state, Once(KEY, 1000), at=500)
    for _ in range(3):
        drive(state.set("halt", 1))
    assert ask(path, "SELECT key FROM number ORDER BY key") == [("ban:for good",), ("halt",)]


@pytest.mark.parametrize("value", [2**63, -(2**63)])
def test_a_number_that_a_file_cannot_hold_is_an_error(state: SQLiteState, value: int) -> None:
    with pytest.raises(ValueError, match="a number for Below lies between"):
        drive(state.set("halt", value))
    with pytest.raises(ValueError, match="a number for Below lies between"):
        drive(state.lift("halt", value))
    assert drive(state.set("halt", value // 2)) == 1


def test_counts_stay_right_over_restarts_and_purges(path: Path) -> None:
    state = SQLiteState(path, capacity=100, per_key=20)
    for number in range(18):
        assert not settle(state, Once(("ann", b"%d" % number), 200)).failed
    state.close()
    state = SQLiteState(path, capacity=100, per_key=20)
    assert settle(state, Once(("ann", b"more"), 200)).full
    settle(state, at=200)
    assert len(state) == 0
    assert ask(path, "SELECT count(*) FROM held") == [(0,)]
    assert not settle(state, Once(("ann", b"more"), 300), at=200).failed
    state.close()


# since


def test_it_remembers_from_the_making_of_its_file_on(path: Path) -> None:
    before = time.time_ns()
    state = SQLiteState(path)
    since = state.since
    assert before <= since <= time.time_ns()
    state.close()
    again = SQLiteState(path)
    assert again.since == since
    settle(again)
    assert again.since == since
    again.close()


def test_after_a_start_of_the_machine_it_remembers_from_its_opening_on(path: Path) -> None:
    first = SQLiteState(path, boot_id=boot_file(path, "boot 1\n"))
    settle(first, Once(KEY, 200))
    first.close()
    before = time.time_ns()
    others = [SQLiteState(path, boot_id=boot_file(path, "boot 2\n")) for _ in range(2)]
    assert others[0].since == others[1].since
    assert first.since < before <= others[0].since <= time.time_ns()
    assert settle(others[0], Once(KEY, 200)).failed  # what is still there counts
    for state in others:
        state.close()


def test_without_a_boot_id_every_commit_waits_for_the_disk(path: Path) -> None:
    nowhere = path.with_name("nowhere")
    state = SQLiteState(path, boot_id=nowhere)
    since = state.since
    assert since > 0
    settle(state, Once(KEY, 200))
    assert state._database.read(lambda connection: connection.execute("PRAGMA synchronous").fetchone()) == (2,)
    state.close()
    again = SQLiteState(path, boot_id=nowhere)
    assert again.since == since
    again.close()
    known = SQLiteState(path, boot_id=boot_file(path, "boot 1"))
    assert known.since > since
    known.close()


def test_a_guard_knows_after_a_restart_what_was_used_before_it(path: Path) -> None:
    at = time.time_ns() + 10 * HOUR  # long after the file was made: no barrier

    def admit() -> Grant | Denial:
        state = SQLiteState(path)
        guard = make_guard(state=state, runtime=StillClock(at))
        order = sign(TRADER, "POST", b"/v1/orders", body=b"{}", at=at, nonce=b"n" * 16, arrived=at)
        decision = drive(guard.admit(order))
        state.close()
        return decision

    assert isinstance(admit(), Grant)
    again = admit()
    assert isinstance(again, Denial)
    assert (again.status, again.code) == (409, "replay.seen")


@pytest.mark.parametrize(("ahead", "said"), [(HOUR, True), (5_000_000_000, True), (0, False), (-HOUR, False)])
def test_a_clock_that_was_set_back_is_told_with_its_cure(
    path: Path, caplog: pytest.LogCaptureFixture, ahead: int, said: bool
) -> None:
    state = SQLiteState(path)
    settle(state, Once(KEY, NOW * 2), at=time.time_ns() + ahead)
    state.close()
    with caplog.at_level(logging.CRITICAL, "tradeguard"):
        SQLiteState(path).close()
    assert [record.levelname for record in caplog.records] == ["CRITICAL"] * said
    assert ("requests are refused until it catches up" in caplog.text) is said
    assert ("remove the file: a new one begins with a barrier" in caplog.text) is said


# outages


def test_a_busy_file_is_an_outage_before_anything_took_effect(path: Path) -> None:
    state = SQLiteState(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for condition in (Once(KEY, 200), Advance(KEY, 1)):
        with pytest.raises(BackendDown, match=r"state file .* another process is writing") as caught:
            settle(state, condition)
        assert not caught.value.unknown
    with pytest.raises(BackendDown):
        drive(state.set("halt", 1))
    assert not settle(state, Below(("halt",), 1)).failed  # who only looks does not wait
    other.close()
    assert not settle(state, Once(KEY, 200), Advance(KEY, 1)).failed
    state.close()


def test_a_damaged_file_names_its_cure(path: Path) -> None:
    path.write_bytes(b"\xff" * 8192)
    with pytest.raises(ConfigError, match="it is damaged; move it away: a new one refuses what was signed before it"):
        SQLiteState(path)


def test_a_file_that_was_made_anew_is_behind_what_the_node_has_seen(path: Path) -> None:
    state = SQLiteState(path)
    drive(state.set("halt", 1))
    seen = settle(state)[2:4]
    state.close()
    path.unlink()
    SQLiteState(path).close()
    assert settle(state, Once(KEY, 200), seen=seen).behind
    assert len(state) == 0
    state.close()


def test_an_older_library_goes_on_beside_a_newer_one(path: Path, state: SQLiteState) -> None:
    settle(state, Once(KEY, 200))
    extra = Migration(load("state")[-1].number + 1, 1, "CREATE TABLE quota (key TEXT PRIMARY KEY) STRICT;\n")
    newer = SQLiteState(path, migrations=[*load("state"), extra])
    assert settle(newer, Once(KEY, 200)).failed
    assert settle(state, Once(KEY, 200)).failed
    newer.close()


# exact, whichever process


def test_of_four_processes_with_the_same_messages_exactly_one_uses_each(path: Path) -> None:
    SQLiteState(path).close()
    source, sink = os.pipe()
    start, go = os.pipe()
    children: list[int] = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os.read(start, 1)
            state = SQLiteState(path, busy=10)
            for number in range(100):
                once, advance = Once(("k", b"%d" % number), 200), Advance(("k", b"top"), number, 1000)
                failed = settle(state, once, advance).failed
                won = b"o" * (once not in failed) + b"a" * (advance not in failed)
                os.write(sink, b"".join(b"%c%d " % (kind, number) for kind in won))
            os._exit(0)
        children.append(pid)
    for end in (sink, start, go):
        os.close(end)
    with os.fdopen(source) as pipe:
        wins = pipe.read().split()
    assert {os.waitpid(pid, 0)[1] for pid in children} == {0}
    assert sorted(wins) == sorted(f"{kind}{number}" for number in range(100) for kind in "oa")


def test_a_child_and_its_parent_share_what_is_used(state: SQLiteState) -> None:
    settle(state, Once(KEY, 200), id="parent")
    pid = os.fork()
    if pid == 0:
        seen = settle(state, Once(KEY, 200)).first == "parent"
        settle(state, Once(("trader", b"child's"), 200), id="child")
        os._exit(0 if seen else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert settle(state, Once(("trader", b"child's"), 200)).first == "child"
