"""SQLite files: made privately, recognised, migrated once, shared with other versions, and never lost by a fork."""

import ctypes
import os
import resource
import shutil
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tradeguard.backends.sqlite import SQLiteKeys, SQLiteState, database
from tradeguard.backends.sqlite.database import Database, check_library
from tradeguard.backends.sqlite.keys import KIND
from tradeguard.backends.sqlite.migration import Migration, load
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.key import KeyRow

KEYS = load("keys")
LATEST = KEYS[-1].number
FRIENDLY = Migration(LATEST + 1, 1, "CREATE TABLE extra (a INTEGER) STRICT;\nINSERT INTO extra VALUES (1);\n")
BREAKING = Migration(LATEST + 1, LATEST + 1, "ALTER TABLE key RENAME TO keys;\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


def row(id: str, fields: bytes = b"fields") -> KeyRow:
    return KeyRow(id, 1, id.encode(), fields, b"sealed", b"mac")


def put(keys: SQLiteKeys, *ids: str) -> None:
    drive(keys.put([row(id) for id in ids]))


def ids(keys: SQLiteKeys) -> list[str]:
    return [found.id for found in drive(keys.page("", 100_000))]


def make(path: Path, *names: str) -> None:
    """A keys file with these keys, closed."""
    keys = SQLiteKeys(path, busy=5)
    put(keys, *names)
    keys.close()


def in_child(work: Callable[[], object], fork: Callable[[], int] = os.fork) -> str:
    """Run it in a forked process; return what it came to, as text."""
    source, sink = os.pipe()
    pid = fork()
    if pid == 0:
        try:
            text = repr(work())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(sink, text.encode())
        os._exit(0)
    os.close(sink)
    with os.fdopen(source) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def hold(base: Database) -> tuple[threading.Thread, threading.Event]:
    """Start a thread that is in a transaction until the event is set."""
    entered, leave = threading.Event(), threading.Event()

    def work(_: object) -> None:
        entered.set()
        leave.wait()

    holder = threading.Thread(target=base.write, args=(work,))
    holder.start()
    entered.wait()
    return holder, leave


def check_whole(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


# made


def test_the_file_and_what_stands_beside_it_are_for_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        keys = SQLiteKeys(path)
        put(keys, "a")
    finally:
        os.umask(before)
    beside = sorted(path.parent.iterdir())
    assert [one.name for one in beside] == ["keys.db", "keys.db-shm", "keys.db-wal"]
    assert {one.stat().st_mode & 0o777 for one in beside} == {0o600}
    keys.close()


@pytest.mark.parametrize("name", ["a b.db", "a?mode=ro.db", "a#b.db", "50%41.db", "ü.db"])
def test_any_name_is_the_name_of_the_file(tmp_path: Path, name: str) -> None:
    make(tmp_path / name, "a")
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    path.touch()
    make(path, "a")
    keys = SQLiteKeys(path)
    assert ids(keys) == ["a"]
    keys.close()


def test_each_file_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    tables = [SQLiteKeys(tmp_path / name) for name in ("a.db", "b.db")]
    assert len({drive(table.changes(None)).mark.epoch for table in tables}) == 2
    for table in tables:
        table.close()


def test_an_old_sqlite_is_named() -> None:
    check_library((3, 37, 0))
    with pytest.raises(ConfigError, match=r"SQLite 3\.37 or newer is needed, this Python has 3\.36\.9"):
        check_library((3, 36, 9))


# refused


def make_foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()


def make_marked(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 77")
    connection.close()


def make_state(path: Path) -> None:
    SQLiteState(path).close()


def make_text(path: Path) -> None:
    path.write_text("these are not the keys you are looking for\n" * 100)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_headless(path: Path) -> None:
    make(path, "a")
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])


def make_dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (make_foreign, "is a SQLite file of something else; name another file"),
    (make_marked, "is a SQLite file of something else; name another file"),
    (make_state, "is a SQLite file of something else; name another file"),
    (make_text, "it is damaged; restore it from a backup"),
    (make_headless, "it is damaged; restore it from a backup"),
    (make_folder, "is not a file; name a file"),
    (make_dangling, "is gone; bring it back"),
]


@pytest.mark.parametrize(("spoil", "reason"), REFUSED, ids=[spoil.__name__ for spoil, _ in REFUSED])
def test_what_is_not_a_keys_file_is_refused_and_left_alone(
    path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigError, match=reason) as caught:
        SQLiteKeys(path)
    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("size", [99, 511, 512, 4096, 8192, 20_000])
def test_a_truncated_file_is_refused(path: Path, size: int) -> None:
    make(path, *(f"k{number}" for number in range(500)))
    os.truncate(path, size)
    with pytest.raises(ConfigError, match="it is damaged; restore it from a backup"):
        SQLiteKeys(path)
    assert path.stat().st_size == size


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; name a file in a folder that exists"):
        SQLiteKeys(tmp_path / "missing" / "keys.db")


@pytest.mark.parametrize(("backend", "instead"), [(SQLiteKeys, "MemoryKeys"), (SQLiteState, "Memory")])
def test_the_name_that_means_memory_to_sqlite_makes_no_file(
    backend: type, instead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"for memory there is {instead}$"):
        backend(":memory:")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o777), (0o000, 0o777), (0o666, 0o555)])
def test_what_this_user_may_not_write_is_refused(open_folder: Path, file: int, folder: int) -> None:
    path = open_folder / "keys.db"
    make(path, "a")
    path.chmod(file)
    open_folder.chmod(folder)

    def use() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        SQLiteKeys(path)

    assert "it is read-only; let this user write to the file and to its folder" in in_child(use)


def test_a_file_that_another_process_keeps_is_refused_after_a_while(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path, "a")
    other = sqlite3.connect(path)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("CREATE TABLE theirs (a)")
    monkeypatch.setattr(database, "_PATIENCE", 0.05)
    with pytest.raises(ConfigError, match=r"another process is writing to it, for longer than we wait \(SQLITE_BUSY\)"):
        SQLiteKeys(path)
    other.close()
    make(path, "b")


# at run time


def test_who_finds_the_file_busy_gives_up_soon_and_has_stored_nothing(path: Path) -> None:
    keys = SQLiteKeys(path)
    put(keys, "a")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BackendDown, match="another process is writing to it") as caught:
        put(keys, "b")
    assert not caught.value.unknown
    assert ids(keys) == ["a"]  # who reads does not wait
    other.execute("ROLLBACK")
    other.close()
    put(keys, "b")
    assert ids(keys) == ["a", "b"]
    keys.close()


def test_who_waits_for_another_thread_gives_up_too(path: Path) -> None:
    base = Database(path, KIND, busy=0.001)
    holder, leave = hold(base)
    with pytest.raises(BackendDown, match="other threads of this process keep it busy"):
        base.read(lambda connection: connection.execute("SELECT 1"))
    leave.set()
    holder.join()
    base.close()


def test_a_page_that_is_damaged_is_named_at_run_time(path: Path) -> None:
    make(path, *(f"k{number:04}" for number in range(1000)))
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xa5" * (len(whole) - 8192))
    keys = SQLiteKeys(path)
    with pytest.raises(BackendDown, match="it is damaged; restore it from a backup"):
        ids(keys)
    path.write_bytes(whole)
    keys.close()
    assert len(ids(keys)) == 1000
    keys.close()


def test_a_file_that_is_moved_away_is_not_made_anew_and_is_used_again_when_it_is_back(path: Path) -> None:
    keys, aside = SQLiteKeys(path), path.with_name("aside")
    put(keys, "a")
    path.rename(aside)
    for _ in range(2):
        with pytest.raises(BackendDown, match="was moved or replaced while it was in use; bring it back"):
            put(keys, "b")
    assert not path.exists()
    aside.rename(path)
    put(keys, "b")
    assert ids(keys) == ["a", "b"]
    keys.close()


def test_a_file_that_is_gone_is_not_made_anew_at_run_time(path: Path) -> None:
    keys = SQLiteKeys(path)
    keys.close()
    path.unlink()
    with pytest.raises(BackendDown, match="is gone; bring it back, or restart to begin a new one"):
        put(keys, "b")
    assert not path.exists()


def test_a_file_that_was_put_in_its_place_does_not_get_the_log_of_the_old_one(path: Path) -> None:
    make(path.with_name("copy"), "copied")
    keys = SQLiteKeys(path)
    put(keys, "a")
    mark = drive(keys.changes(None)).mark
    path.with_name("copy").rename(path)
    for _ in range(2):
        with pytest.raises(BackendDown, match="stop all who use it, remove the -wal and -shm files beside it"):
            ids(keys)
        with pytest.raises(BackendDown, match="was moved or replaced"):
            put(keys, "b")
    keys.close()
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink()
    assert ids(keys) == ["copied"]
    assert drive(keys.changes(mark)).ids is None
    keys.close()


def test_a_full_disk_stores_nothing_and_goes_on_when_there_is_room(path: Path) -> None:
    keys = SQLiteKeys(path)
    put(keys, "a")

    def fill() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with pytest.raises(BackendDown, match=r"SQLITE_(FULL|IOERR)"):
            drive(keys.put([row(f"k{number}", b"f" * 1000) for number in range(200)]))
        return "down"

    assert in_child(fill) == "'down'"
    assert ids(keys) == ["a"]
    put(keys, "b")
    keys.close()
    check_whole(path)


def test_a_commit_that_fails_may_have_taken_effect(path: Path) -> None:
    script = (
        "CREATE TABLE migration (number INTEGER PRIMARY KEY, oldest INTEGER, at INTEGER);\n"
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);\n"
        "CREATE TABLE child (of INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);\n"
    )
    strict = lambda connection: connection.execute("PRAGMA foreign_keys = ON") and None  # noqa: E731
    base = Database(path, KIND, migrations=[Migration(1, 1, script)], opened=strict)
    with pytest.raises(BackendDown, match="FOREIGN KEY") as caught:
        base.write(lambda connection: connection.execute("INSERT INTO child VALUES (1)"))
    assert caught.value.unknown
    assert base.read(lambda connection: connection.execute("SELECT * FROM child").fetchall()) == []
    base.close()


def test_what_raises_stores_nothing_and_passes_through(path: Path) -> None:
    base = Database(path, KIND)

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO kept VALUES ('a', x'00')")
        raise KeyboardInterrupt

    for run in (base.write, base.read):
        with pytest.raises(KeyboardInterrupt):
            run(work)
    assert base.read(lambda connection: connection.execute("SELECT * FROM kept").fetchall()) == []
    base.close()


# migrations


def test_migrations_stand_in_order_and_say_who_may_go_on() -> None:
    for kind in ("keys", "state"):
        migrations = load(kind)
        assert [one.number for one in migrations] == list(range(1, len(migrations) + 1))
        assert all(1 <= one.oldest <= one.number for one in migrations)


def test_an_older_library_goes_on_with_a_file_that_a_newer_one_has_extended(path: Path) -> None:
    old = SQLiteKeys(path)
    put(old, "before")
    new = SQLiteKeys(path, migrations=[*KEYS, FRIENDLY])
    put(new, "new")
    put(old, "old")
    again = SQLiteKeys(path)
    put(again, "again")
    for keys in (old, new, again):
        assert ids(keys) == ["again", "before", "new", "old"]
        keys.close()


def test_an_older_library_stops_where_a_newer_one_has_changed_what_it_needs(path: Path) -> None:
    old = SQLiteKeys(path)
    put(old, "a")
    SQLiteKeys(path, migrations=[*KEYS, BREAKING]).close()
    reason = rf"was made by a newer tradeguard \(schema {LATEST + 1}, this one knows {LATEST}\); upgrade this one"
    for _ in range(2):
        with pytest.raises(BackendDown, match=reason):
            put(old, "b")
        with pytest.raises(BackendDown, match=reason):
            ids(old)
    old.close()
    with pytest.raises(BackendDown, match=reason):
        ids(old)
    with pytest.raises(ConfigError, match=reason):
        SQLiteKeys(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT id FROM keys").fetchall() == [("a",)]
    connection.close()


def test_a_migration_that_breaks_what_is_older_still_does_so_after_a_friendly_one(path: Path) -> None:
    SQLiteKeys(path, migrations=[*KEYS, BREAKING, FRIENDLY._replace(number=LATEST + 2)]).close()
    with pytest.raises(ConfigError, match="was made by a newer tradeguard"):
        SQLiteKeys(path)


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    make(path, "a")
    broken = FRIENDLY._replace(script=FRIENDLY.script + "INSERT INTO missing VALUES (1);\n")
    with pytest.raises(ConfigError, match="no such table: missing"):
        SQLiteKeys(path, migrations=[*KEYS, broken])
    keys = SQLiteKeys(path, migrations=[*KEYS, FRIENDLY])
    assert ids(keys) == ["a"]
    keys.close()


def test_an_older_copy_that_was_written_into_the_file_is_migrated_too(path: Path) -> None:
    make(path, "a")
    keys = SQLiteKeys(path, migrations=[*KEYS, FRIENDLY])
    put(keys, "b")
    other = sqlite3.connect(path)
    other.executescript(
        f"BEGIN; DROP TABLE extra; DELETE FROM migration WHERE number > {LATEST}; DELETE FROM key WHERE id = 'b'; "
        f"PRAGMA user_version = {LATEST}; COMMIT"
    )
    with pytest.raises(BackendDown, match="an older copy was put in its place; it is opened again"):
        put(keys, "c")
    put(keys, "c")
    assert other.execute("SELECT a FROM extra").fetchall() == [(1,)]
    other.close()
    keys.close()
    assert ids(keys) == ["a", "c"]
    keys.close()


@pytest.mark.parametrize("existing", [False, True])
def test_of_eight_processes_that_open_at_once_one_makes_and_migrates(path: Path, existing: bool) -> None:
    if existing:
        make(path, "a")
    source, sink = os.pipe()
    children: list[int] = []
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            os.close(sink)
            os.read(source, 1)  # all begin when the parent closes its end
            keys = SQLiteKeys(path, busy=10, migrations=[*KEYS, FRIENDLY])
            put(keys, f"p{number}")
            os._exit(0)
        children.append(pid)
    os.close(sink)
    assert {os.waitpid(pid, 0)[1] for pid in children} == {0}
    os.close(source)
    keys = SQLiteKeys(path)
    assert set(ids(keys)) >= {f"p{number}" for number in range(8)}
    keys.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT * FROM extra").fetchall() == [(1,)]
    connection.close()


# forks


def test_what_a_child_stores_stays_when_the_parent_closes(path: Path) -> None:
    keys = SQLiteKeys(path, busy=5)
    put(keys, "before")
    gate, opener = os.pipe()
    ready, teller = os.pipe()
    pid = os.fork()
    if pid == 0:
        put(keys, "child")
        os.write(teller, b"1")
        os.read(gate, 1)
        put(keys, "child after parent")
        os._exit(0)
    os.read(ready, 1)
    put(keys, "parent")
    keys.close()
    os.write(opener, b"1")
    assert os.waitpid(pid, 0)[1] == 0
    assert set(ids(keys)) == {"before", "child", "child after parent", "parent"}
    keys.close()
    check_whole(path)
    for end in (gate, opener, ready, teller):
        os.close(end)


def test_a_fork_in_the_middle_of_other_threads_work_loses_nothing(path: Path) -> None:
    keys, stop = SQLiteKeys(path, busy=10), threading.Event()
    stored: list[str] = []

    def write() -> None:
        while not stop.is_set():
            put(keys, name := f"t{len(stored)}")
            stored.append(name)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        results = [in_child(partial(put, keys, f"c{number}")) for number in range(20)]
    finally:
        stop.set()
        thread.join()
    assert results == ["None"] * 20
    assert set(ids(keys)) == {*stored, *(f"c{number}" for number in range(20))}
    keys.close()
    check_whole(path)


def test_a_child_of_a_fork_that_python_was_not_told_of_refuses(path: Path) -> None:
    keys = SQLiteKeys(path)
    put(keys, "a")
    fork = ctypes.PyDLL(None).fork

    def reopen() -> None:
        keys.close()
        put(keys, "b")

    for work in (lambda: ids(keys), lambda: put(keys, "b"), reopen):
        text = in_child(work, fork)
        assert text.startswith("BackendDown: keys file")
        assert "was forked by something that did not tell Python; call close() before it forks" in text
    put(keys, "b")
    assert ids(keys) == ["a", "b"]
    keys.close()


def test_a_fork_does_not_wait_for_ever_for_a_transaction(path: Path) -> None:
    base = Database(path, KIND)
    holder, leave = hold(base)
    text = in_child(lambda: base.read(lambda connection: connection.execute("SELECT 1").fetchone()))
    leave.set()
    holder.join()
    assert "was forked by something that did not tell Python" in text
    assert base.read(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    base.close()


def test_a_database_that_is_gone_leaves_no_work_for_forks(path: Path) -> None:
    SQLiteKeys(path).close()
    assert in_child(lambda: 1) == "1"
