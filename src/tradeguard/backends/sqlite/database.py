"""Database: one SQLite file of this library, and the connection of a process to it.

The rules:

1.  The file is made with mode 0600 before SQLite touches it; WAL and shared memory beside it inherit the mode. Its
    application id tells our files from others, and one kind from another.
2.  A file that exists is never opened but by SQLite: closing any other descriptor on it would drop SQLite's locks
    (https://www.sqlite.org/howtocorrupt.html, 2.2).
3.  The connection is closed just before a fork. One that is carried over makes SQLite believe, in the child, that it
    holds locks which only the parent holds, also in connections that the child opens itself: when the parent then
    closes, it deletes the WAL under the child's feet, and what the child was told is stored is lost. Where a fork did
    not tell Python, the child keeps what it inherited untouched and refuses to use the file.
4.  At run time the wait for other processes is bounded by `busy`, that for other threads by a hundred times `busy` (an
    event loop has none). Opening for the first time, and migrating, wait up to 5 s.
5.  Each transaction looks whether the file is still the one at its path and its schema one that we may use. A file that
    was put in its place is not opened: the WAL of the old one would be taken for its own.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar
from urllib.parse import quote

from tradeguard.backends.fork import Fence
from tradeguard.backends.sqlite import migration
from tradeguard.backends.sqlite.attempt import CURES, explain, is_busy, roll_back, until
from tradeguard.backends.sqlite.migration import Migration
from tradeguard.core.errors import BackendDown, ConfigError

T = TypeVar("T")
Connection = sqlite3.Connection
Level = Literal["FULL", "NORMAL"]
_PATIENCE: Final = 5.0  # seconds that a first opening and migrations wait for others
_LEAST: Final = (3, 37)  # the first SQLite that has STRICT tables
_LOG: Final = 10_000  # pages (40 MB) of the WAL before they go into the file: a page that changes often goes there once
_QUEUE: Final = 100  # times `busy`: how long threads of one process wait for each other
_MOVED: Final = (
    "moved or replaced while it was in use; bring it back, or stop all who use it, remove the -wal and -shm files "
    "beside it, and start again"
)
_inherited: dict[tuple[int, int], list[Connection]] = {}  # by file; kept, so that they are never finalised
_making = threading.Lock()  # no thread opens a file while another still holds the descriptor that made it
os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)


class Kind(NamedTuple):
    """What a file is for; `damaged` is the cure where it is, `in_memory` what does the same without a file."""

    name: str
    application_id: int
    damaged: str
    in_memory: str


class Database:
    """The connection to one file: used by one thread at a time, opened again after `close` and after a fork.

    Args:
        path: the file; made where it does not exist. Its folder must.
        kind: what it is for.
        busy: seconds to wait for other processes. Threads of this one wait for each other a hundred times as long:
            where processor time is short, each statement of the one that has the connection waits for its turn.
        synchronous: "FULL": what is committed survives power loss. "NORMAL": it survives the death of the process.
        migrations: other than those of this library.
        opened: called with each new connection, in no transaction; and again where another process was in the way.

    Raises:
        ConfigError: the file cannot be used; the text says why and what to do.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kind: Kind,
        *,
        busy: float = 0.005,
        synchronous: Level = "FULL",
        migrations: Sequence[Migration] | None = None,
        opened: Callable[[Connection], None] | None = None,
    ) -> None:
        check_library(sqlite3.sqlite_version_info)
        if os.fspath(path) == ":memory:":
            raise ConfigError(f"the {kind.name} would be a file called :memory:; for memory there is {kind.in_memory}")
        self.path, self._kind, self._busy = Path(path).absolute(), kind, busy
        self._name = f"{kind.name} file {self.path}"
        self._synchronous, self._opened = synchronous, opened
        self._migrations = migration.load(kind.name) if migrations is None else tuple(migrations)
        self._connection: Connection | None = None
        self._file, self._pid, self._schema, self._level = (0, 0), 0, 0, ""
        with _making:
            self._make()
        self._open(_PATIENCE)
        self._fence = Fence(self._let_go)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that stores nothing, on one state of the file; it may be run again.

        Raises:
            BackendDown: the file cannot be read now.
        """
        with self._using() as connection:
            deadline = time.monotonic() + self._busy
            return until(deadline, lambda: self._look(connection, work))

    def write(self, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        """Run `work` once in a transaction: all that it changes is stored, or nothing where it raises.

        Args:
            work: what to do.
            durable: survive power loss, whatever `synchronous` is.

        Raises:
            BackendDown: nothing was stored; where it is `unknown`, it may have been.
        """
        with self._using() as connection:
            self._synchronize(connection, "FULL" if durable else self._synchronous)
            deadline = time.monotonic() + self._busy
            until(deadline, lambda: connection.execute("BEGIN IMMEDIATE"))
            self._check_schema(connection)
            result = work(connection)
            try:
                connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                self._let_go()
                raise BackendDown(self._explain(error), unknown=True) from error
            return result

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._fence.lock:
            self._let_go()

    # one transaction

    @contextmanager
    def _using(self) -> Generator[Connection]:
        """Hold the connection; what goes wrong ends its transaction and is explained."""
        lock = self._fence.lock
        if not lock.acquire(timeout=_QUEUE * self._busy):
            raise BackendDown(f"{self._name}: other threads of this process keep it busy")
        try:
            yield self._current()
        except sqlite3.DatabaseError as error:
            self._recover(keep=is_busy(error))
            raise BackendDown(self._explain(error)) from error
        except BaseException:
            self._recover(keep=True)
            raise
        finally:
            lock.release()

    def _look(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        connection.execute("BEGIN")
        try:
            self._check_schema(connection)
            return work(connection)
        finally:
            roll_back(connection)

    def _recover(self, *, keep: bool) -> None:
        """End a transaction that failed; a connection that may be broken is not kept."""
        if not keep:
            self._let_go()
        elif self._connection is not None:
            roll_back(self._connection)

    def _synchronize(self, connection: Connection, level: str) -> None:
        if level != self._level:
            connection.execute(f"PRAGMA synchronous = {level}")
            self._level = level

    def _check_schema(self, connection: Connection) -> None:
        """Go on with a file that a newer library has migrated meanwhile, if that one says we may."""
        schema = migration.schema(connection)
        if schema == self._schema:
            return
        if schema < self._schema:
            self._schema = -1  # the next use opens it anew, and migrates it
            raise BackendDown(f"{self._name}: an older copy was put in its place; it is opened again")
        reason = self._outgrown(connection, schema)
        if reason:
            raise BackendDown(reason)
        self._schema = schema

    # opening and closing

    def _current(self) -> Connection:
        """Return the connection, a new one where there is none or it cannot be used."""
        if self._connection is not None:
            if self._pid != os.getpid():
                self._disown()
            elif self._schema < 0:
                self._let_go()
            elif _identify(self.path) != self._file:
                raise BackendDown(f"{self._name} was {_MOVED}")
        if self._connection is None:
            try:
                self._open(self._busy)
            except ConfigError as error:
                raise BackendDown(str(error)) from error
        assert self._connection is not None
        return self._connection

    def _let_go(self) -> None:
        if self._connection is not None and self._pid != os.getpid():
            self._disown()
        elif self._connection is not None:
            self._connection.close()
            self._connection = None

    def _disown(self) -> None:
        """Keep a connection of another process for good, unused: closing it here would be as wrong as using it."""
        assert self._connection is not None
        _inherited.setdefault(self._file, []).append(self._connection)
        self._connection = None

    def _make(self) -> None:
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise ConfigError(
                f"{self._name}: {error.strerror}; name a file in a folder that exists and that this user may write to"
            ) from None

    def _open(self, patience: float) -> None:
        self._file = self._check_file()
        deadline = time.monotonic() + patience
        connection: Connection | None = None
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode=rw", 0, isolation_level=None, check_same_thread=False, uri=True
            )
            self._prepare(connection, deadline)
            self._connection, self._pid = connection, os.getpid()
        except sqlite3.DatabaseError as error:
            raise ConfigError(self._explain(error)) from error
        finally:
            if connection is not None and self._connection is None:
                connection.close()

    def _check_file(self) -> tuple[int, int]:
        """Look at the file from outside; return what identifies it."""
        file = _identify(self.path)
        if file is None:
            raise ConfigError(f"{self._name} is gone; bring it back, or restart to begin a new one")
        if not self.path.is_file():
            raise ConfigError(f"{self._name} is not a file; name a file")
        if not (os.access(self.path, os.R_OK | os.W_OK) and os.access(self.path.parent, os.W_OK | os.X_OK)):
            raise ConfigError(f"{self._name}: {CURES[sqlite3.SQLITE_READONLY]}")
        if file in _inherited:
            raise ConfigError(
                f"{self._name} was open when this process was forked by something that did not tell Python; call "
                "close() before it forks, or load the application in each worker"
            )
        return file

    def _prepare(self, connection: Connection, deadline: float) -> None:
        self._recognise(connection, deadline)
        until(deadline, lambda: connection.execute("PRAGMA journal_mode = WAL"))
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG:d}")
        self._level = ""
        self._synchronize(connection, "FULL")
        if migration.schema(connection) < self._migrations[-1].number:
            self._migrate(connection, deadline)
        self._schema = migration.schema(connection)
        reason = self._outgrown(connection, self._schema)
        if reason:
            raise ConfigError(reason)
        opened = self._opened
        if opened is not None:
            until(deadline, lambda: opened(connection))

    def _recognise(self, connection: Connection, deadline: float) -> None:
        """Refuse a file that is not ours. One without an id and without tables is a new one."""
        found, tables = until(deadline, lambda: _describe(connection))
        if found != self._kind.application_id and (found or tables):
            raise ConfigError(f"{self._name} is a SQLite file of something else; name another file")

    def _migrate(self, connection: Connection, deadline: float) -> None:
        until(deadline, lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            migration.apply(connection, self._migrations)
            connection.execute(f"PRAGMA application_id = {self._kind.application_id:d}")
            connection.execute("COMMIT")
        finally:
            roll_back(connection)

    def _outgrown(self, connection: Connection, schema: int) -> str:
        """Return why this library may not use a file of that schema; empty if it may."""
        ours = self._migrations[-1].number
        if schema <= ours or migration.oldest(connection) <= ours:
            return ""
        return (
            f"{self._name} was made by a newer tradeguard (schema {schema}, this one knows {ours}); "
            "upgrade this one, or name another file"
        )

    def _explain(self, error: sqlite3.DatabaseError) -> str:
        return f"{self._name}: {explain(error, self._kind.damaged)}"


def check_library(version: tuple[int, ...]) -> None:
    """Raise `ConfigError` where the SQLite that Python was built with is too old."""
    if version < _LEAST:
        raise ConfigError(
            f"SQLite {'.'.join(map(str, _LEAST))} or newer is needed, this Python has "
            f"{'.'.join(map(str, version))}; use a Python that was built with a newer one"
        )


def _describe(connection: Connection) -> tuple[int, int]:
    """Return the application id of a file and how much it holds, both of one moment."""
    connection.execute("BEGIN")
    try:
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return found, tables
    finally:
        roll_back(connection)


def _identify(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
