"""SQLiteKeys: rows of keys in a SQLite file, durable, shared by the processes of one machine.

Guarantee: what `put` has stored survives power loss, and all processes find it at once. A database writer can change
rows; the `mac` in each says so to whoever made it.
"""

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tradeguard.backends.sqlite.database import Connection, Database, Kind
from tradeguard.backends.sqlite.migration import Migration
from tradeguard.core.errors import KeyConflict
from tradeguard.core.key import Changes, KeyRow, Mark
from tradeguard.core.ports import Colour

KIND: Final = Kind("keys", 0x7467_6B31, "restore it from a backup", "MemoryKeys")  # "tgk1"
_COLUMNS: Final = "id, version, fingerprint, fields, sealed, mac"
_CHANGES: Final = 10_000  # more changed ids than this are told as "anything"
_BATCH: Final = 500  # rows that are held at a time
_CACHES: Final = (16_384, 65_536)  # KiB of pages that reader and writer keep at most: random ids touch many


class SQLiteKeys:
    """A `KeyTable` in a file. It opens two connections: who reads does not wait for who writes.

    Args:
        path: the file; made with mode 0600 where it does not exist. Its folder must.
        busy: seconds to wait for others who use it, before `BackendDown`.
        migrations: other than those of this library; for tests of upgrades.

    Raises:
        ConfigError: the file cannot be used; the text says why and what to do.
    """

    colour: Colour = "brief"

    def __init__(
        self, path: str | os.PathLike[str], *, busy: float = 0.005, migrations: Sequence[Migration] | None = None
    ) -> None:
        self._writer = Database(path, KIND, busy=busy, migrations=migrations, opened=_tune_writer)
        self._reader = Database(path, KIND, busy=busy, migrations=migrations, opened=_tune_reader)

    async def get(self, id: str, /) -> KeyRow | None:
        """Return the row of a key id, or None."""
        return self._reader.read(lambda connection: _get(connection, id))

    async def put(self, rows: Sequence[KeyRow], /) -> None:
        """Store new rows (version 1) and next versions of known ones: all of them, or none; durable.

        Raises:
            KeyConflict: an id or a secret is taken, or the version before is not the stored one.
            BackendDown: not stored; or `unknown`, and it may be.
        """
        if rows:
            self._writer.write(lambda connection: _put(connection, rows))

    async def page(self, after: str, limit: int, /) -> list[KeyRow]:
        """Return at most `limit` rows by id, after one."""
        query = f"SELECT {_COLUMNS} FROM key WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
        return self._reader.read(lambda c: [KeyRow(*row) for row in c.execute(query, (after, max(0, limit)))])

    async def holder(self, fingerprint: bytes, /) -> str | None:
        """Return the id of the row that has this fingerprint, or None."""
        return self._reader.read(lambda connection: _holder(connection, fingerprint))

    async def changes(self, mark: Mark | None, /) -> Changes:
        """Tell which ids have changed since a mark; None for ids where it may be any.

        It may be any where the mark is of another file, or of a later state of this one (a copy was restored), where
        there is no mark yet, and where there are more than 10,000.
        """
        return self._reader.read(lambda connection: _changes(connection, mark))

    async def touch(self, uses: Mapping[str, int], /) -> None:
        """Keep when keys were last used, ns UTC by id; an earlier time than the kept one changes nothing."""
        query = "INSERT INTO use VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at WHERE at < excluded.at"
        if uses:
            self._writer.write(lambda connection: connection.executemany(query, list(uses.items())) and None)

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return when keys were last used, ns UTC; those that never were are left out."""
        return self._reader.read(lambda connection: dict(_uses(connection, ids)))

    async def keep(self, name: str, value: bytes | None = None, /) -> bytes | None:
        """Return what is kept under a name; where nothing is, keep `value` first. All callers get the same."""
        kept = self._reader.read(lambda connection: _kept(connection, name))
        if kept is None and value is not None:
            return self._writer.write(lambda connection: _keep(connection, name, value))
        return kept

    async def reseal(
        self,
        change: Callable[[KeyRow], KeyRow],
        change_kept: Callable[[str, bytes], bytes],
        told: Callable[[int, int], None] = lambda _done, _all: None,
        /,
    ) -> int:
        """Exchange what is sealed, in all rows and in what is kept: all of it, or nothing; durable.

        Others who write wait meanwhile, or hear that the file is busy. Nobody who follows the store hears of it: of a
        row only `sealed` and `mac` are exchanged.

        Args:
            change: returns the row to store; the same one where nothing is to be done.
            change_kept: returns the value to keep under a name.
            told: hears how many rows are done, of how many.

        Returns:
            How many rows were changed.

        Raises:
            BackendDown: not stored; or `unknown`, and it may be.
        """

        def work(connection: Connection) -> int:
            amount = _reseal(connection, change, told)
            for name, value in connection.execute("SELECT name, value FROM kept").fetchall():
                connection.execute("UPDATE kept SET value = ? WHERE name = ?", (change_kept(name, value), name))
            return amount

        return self._writer.write(work)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        self._reader.close()
        self._writer.close()


def _tune_reader(connection: Connection) -> None:
    connection.execute(f"PRAGMA cache_size = -{_CACHES[0]:d}")


def _tune_writer(connection: Connection) -> None:
    connection.execute(f"PRAGMA cache_size = -{_CACHES[1]:d}")


def _get(connection: Connection, id: str) -> KeyRow | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM key WHERE id = ?", (id,)).fetchone()  # noqa: S608
    return None if row is None else KeyRow(*row)


def _holder(connection: Connection, fingerprint: bytes) -> str | None:
    row = connection.execute("SELECT id FROM key WHERE fingerprint = ?", (fingerprint,)).fetchone()
    return None if row is None else row[0]


def _put(connection: Connection, rows: Sequence[KeyRow]) -> None:
    (number,) = connection.execute("SELECT number FROM store").fetchone()
    for row in rows:
        number += 1
        if row.version == 1:
            _insert(connection, row, number)
        else:
            _replace(connection, row, number)
    connection.execute("UPDATE store SET number = ?", (number,))


def _insert(connection: Connection, row: KeyRow, number: int) -> None:
    try:
        connection.execute("INSERT INTO key VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, number))
    except sqlite3.IntegrityError:
        taken = connection.execute("SELECT 1 FROM key WHERE id = ?", (row.id,)).fetchone()
        if taken is not None:
            raise KeyConflict(f"key {row.id} exists; give the new one an id of its own") from None
        owner = _holder(connection, row.fingerprint)
        raise KeyConflict(
            f"key {row.id} has the secret of key {owner}: what one signed, the other would accept"
        ) from None


def _replace(connection: Connection, row: KeyRow, number: int) -> None:
    id, version, fingerprint, fields, sealed, mac = row
    done = connection.execute(
        "UPDATE key SET version = ?, fields = ?, sealed = ?, mac = ?, number = ? "
        "WHERE id = ? AND version = ? AND fingerprint = ?",
        (version, fields, sealed, mac, number, id, version - 1, fingerprint),
    )
    if done.rowcount == 1:
        return
    stored = connection.execute("SELECT version FROM key WHERE id = ?", (id,)).fetchone()
    if stored is None:
        raise KeyConflict(f"key {id} is not known, so there is no version {version - 1} to follow")
    if stored[0] != version - 1:
        raise KeyConflict(f"key {id} was changed meanwhile: version {stored[0]} is stored; look again")
    raise KeyConflict(f"key {id} keeps the secret that it was made with; rotate it instead")


def _reseal(connection: Connection, change: Callable[[KeyRow], KeyRow], told: Callable[[int, int], None]) -> int:
    (every,) = connection.execute("SELECT count(*) FROM key").fetchone()
    after, done, amount = "", 0, 0
    query = f"SELECT {_COLUMNS} FROM key WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
    while rows := [KeyRow(*row) for row in connection.execute(query, (after, _BATCH))]:
        changed = [new for new, row in zip(map(change, rows), rows, strict=True) if new != row]
        values = [(row.sealed, row.mac, row.id) for row in changed]
        connection.executemany("UPDATE key SET sealed = ?, mac = ? WHERE id = ?", values)
        after, done, amount = rows[-1].id, done + len(rows), amount + len(changed)
        told(done, every)
    return amount


def _changes(connection: Connection, mark: Mark | None) -> Changes:
    latest = Mark(*connection.execute("SELECT epoch, number FROM store").fetchone())
    if mark is None or mark.epoch != latest.epoch or mark.number > latest.number:
        return Changes(latest, None)
    query = "SELECT id FROM key WHERE number > ? ORDER BY number LIMIT ?"
    ids = tuple(id for (id,) in connection.execute(query, (mark.number, _CHANGES + 1)))
    return Changes(latest, ids if len(ids) <= _CHANGES else None)


def _uses(connection: Connection, ids: Sequence[str]) -> list[tuple[str, int]]:
    found = [connection.execute("SELECT id, at FROM use WHERE id = ?", (id,)).fetchone() for id in ids]
    return [row for row in found if row is not None]


def _kept(connection: Connection, name: str) -> bytes | None:
    row = connection.execute("SELECT value FROM kept WHERE name = ?", (name,)).fetchone()
    return None if row is None else row[0]


def _keep(connection: Connection, name: str, value: bytes) -> bytes:
    connection.execute("INSERT INTO kept VALUES (?, ?) ON CONFLICT DO NOTHING", (name, value))
    kept = _kept(connection, name)
    assert kept is not None
    return kept
