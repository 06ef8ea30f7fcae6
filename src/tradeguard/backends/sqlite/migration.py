"""Migration: a numbered step from one schema of a file to the next, and which libraries may use the file after it."""

import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import NamedTuple

_HEAD = re.compile(r"-- oldest: (\d+)\n")
_NAME = re.compile(r"([a-z]+)_(\d{4})\.sql")


class Migration(NamedTuple):
    """The step to schema `number`. A library that knows `oldest` or later may go on using the file after it."""

    number: int
    oldest: int
    script: str


def load(kind: str) -> tuple[Migration, ...]:
    """Return the migrations of a kind of file, in order; they stand beside this file as `<kind>_<number>.sql`."""
    found: list[Migration] = []
    for entry in resources.files("tradeguard.backends.sqlite").joinpath("migrations").iterdir():
        name = _NAME.fullmatch(entry.name)
        if name is not None and name[1] == kind:
            script = entry.read_text(encoding="utf-8")
            head = _HEAD.match(script)
            assert head is not None, entry.name
            found.append(Migration(int(name[2]), int(head[1]), script))
    return tuple(sorted(found))


def schema(connection: sqlite3.Connection) -> int:
    """Return the number of the file's latest migration; 0 for a new file."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


def oldest(connection: sqlite3.Connection) -> int:
    """Return the oldest schema whose library may use the file."""
    (number,) = connection.execute("SELECT max(oldest) FROM migration").fetchone()
    return int(number)


def apply(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Take the file to the latest schema, inside the caller's transaction."""
    current = schema(connection)
    for migration in migrations:
        if migration.number > current:
            for statement in _split(migration.script):
                connection.execute(statement)
            row = (migration.number, migration.oldest, time.time_ns())
            connection.execute("INSERT INTO migration VALUES (?, ?, ?)", row)
            connection.execute(f"PRAGMA user_version = {migration.number:d}")


def _split(script: str) -> Iterator[str]:
    """Cut a script into its statements: `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
