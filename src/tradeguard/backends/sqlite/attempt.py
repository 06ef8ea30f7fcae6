"""Attempt: to try again while another process is in the way, and to say what SQLite's errors mean."""

import sqlite3
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
_SLEEPS: Final = (0.000_05, 0.000_5)  # the first and the longest nap between two tries, seconds
_BUSY: Final = "another process is writing to it, for longer than we wait"
CURES: Final = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_READONLY: "it is read-only; let this user write to the file and to its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; let this user write to the file and to its folder",
    sqlite3.SQLITE_FULL: "the disk is full; make room",
    sqlite3.SQLITE_IOERR: "the disk does not answer as it should; see the system's log",
}


def until(deadline: float, work: Callable[[], T]) -> T:
    """Try until it works or the deadline (monotonic) is over, in short naps: SQLite's own are longer than our waits."""
    nap, longest = _SLEEPS
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(nap)
        nap = min(2 * nap, longest)


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction, if there is one."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def is_busy(error: sqlite3.DatabaseError) -> bool:
    """Tell whether another process was in the way."""
    return CURES.get(_code(error)) == _BUSY


def explain(error: sqlite3.DatabaseError, damaged: str) -> str:
    """Say what is wrong and what to do; `damaged` is the cure for a file that is."""
    code, name = _code(error), getattr(error, "sqlite_errorname", type(error).__name__)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"it is damaged; {damaged} ({name})"
    return f"{CURES.get(code, str(error))} ({name})"


def _code(error: sqlite3.DatabaseError) -> int:
    """Return the primary result code; 0 for an error of Python's module itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
