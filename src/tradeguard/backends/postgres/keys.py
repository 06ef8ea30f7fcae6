"""PostgresKeys: rows of keys on a PostgreSQL server, shared by the machines of a venue.

Guarantee: what `put` has stored is on the server's disk, and all processes find it at once; who follows the changes
misses none, whatever order they are committed in. A database writer can change rows; the `mac` in each says so to
whoever made it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tradeguard.backends.postgres.names import check_schema, clamp, pack, unpack
from tradeguard.backends.postgres.pool import Loops, Server, Threads
from tradeguard.backends.postgres.wire import (
    Failed,
    Parameter,
    Row,
    binaries,
    binary,
    integer,
    integers,
    read_binaries,
    read_integer,
)
from tradeguard.core.errors import BackendDown, KeyConflict
from tradeguard.core.key import Changes, KeyRow, Mark
from tradeguard.core.ports import Colour

_CHANGES: Final = 10_000  # more changed ids than this are told as "anything"
_CONFLICT: Final = "TG409"
_REASONS: Final = {
    "holder": "key {id} has the secret of key {what}: what one signed, the other would accept",
    "unknown": "key {id} is not known, so there is no version {before} to follow",
    "exists": "key {id} exists; give the new one an id of its own",
    "version": "key {id} was changed meanwhile: version {what} is stored; look again",
    "secret": "key {id} keeps the secret that it was made with; rotate it instead",
}


class _Keys:
    """What both colours share: all but how they wait."""

    _serve: Callable[[str, int, float], Server]

    def __init__(self, conninfo: str, *, schema: str = "tradeguard", size: int = 4, deadline: float = 1.0) -> None:
        self._server, self._schema = self._serve(conninfo, size, deadline), check_schema(schema)
        self._patience = integer(max(1, int(deadline * 800)))

    async def get(self, id: str, /) -> KeyRow | None:
        """Return the row of a key id, or None."""
        rows = await self._call(b"key_get", binary(pack(id)))
        return _read(rows[0]) if rows else None

    async def put(self, rows: Sequence[KeyRow], /) -> None:
        """Store new rows (version 1) and next versions of known ones: all of them, or none; durable.

        Raises:
            KeyConflict: an id or a secret is taken, or the version before is not the stored one.
            BackendDown: not stored; or `unknown`, and it may be.
        """
        if not rows:
            return
        marks, fields = binaries([row.fingerprint for row in rows]), binaries([row.fields for row in rows])
        sealed, macs = binaries([row.sealed for row in rows]), binaries([row.mac for row in rows])
        ids, versions = binaries([pack(row.id) for row in rows]), integers([clamp(row.version) for row in rows])
        try:
            await self._call(b"key_put", ids, versions, marks, fields, sealed, macs)
        except BackendDown as error:
            cause = error.__cause__
            if isinstance(cause, Failed) and cause.state == _CONFLICT:
                raise _conflict(cause.text, rows) from None
            raise

    async def page(self, after: str, limit: int, /) -> list[KeyRow]:
        """Return at most `limit` rows by id, after one."""
        return [_read(row) for row in await self._call(b"key_page", binary(pack(after)), integer(max(0, limit)))]

    async def holder(self, fingerprint: bytes, /) -> str | None:
        """Return the id of the row that has this fingerprint, or None."""
        rows = await self._call(b"key_holder", binary(fingerprint))
        return unpack(rows[0][0]) if rows and rows[0][0] is not None else None

    async def changes(self, mark: Mark | None, /) -> Changes:
        """Tell which ids have changed since a mark; None for ids where it may be any.

        It may be any where the mark is of another store, or of a later state of this one (a copy was restored), where
        there is no mark yet, and where there are more than 10,000.
        """
        number = None if mark is None else clamp(mark.number)
        [(epoch, latest, ids)] = await self._call(b"key_changes", integer(number), integer(_CHANGES))
        now = Mark((epoch or b"").decode("ascii"), read_integer(latest))
        if mark is None or mark.epoch != now.epoch or mark.number > now.number:
            return Changes(now, None)
        names = read_binaries(ids)
        return Changes(now, tuple(map(unpack, names)) if len(names) <= _CHANGES else None)

    async def touch(self, uses: Mapping[str, int], /) -> None:
        """Keep when keys were last used, ns UTC by id; an earlier time than the kept one changes nothing."""
        if uses:
            times = integers([clamp(at) for at in uses.values()])
            await self._call(b"key_touch", binaries([pack(id) for id in uses]), times)

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return when keys were last used, ns UTC; those that never were are left out."""
        rows = await self._call(b"key_uses", binaries([pack(id) for id in ids]))
        return {unpack(id or b""): read_integer(at) for id, at in rows}

    async def keep(self, name: str, value: bytes | None = None, /) -> bytes | None:
        """Return what is kept under a name; where nothing is, keep `value` first. All callers get the same."""
        [(kept,)] = await self._call(b"key_keep", binary(pack(name)), binary(value))
        return kept

    def close(self) -> None:
        """Close the connections; the next use opens them again."""
        self._server.close()

    async def _call(self, function: bytes, *parameters: Parameter) -> list[Row]:
        places = ",".join(f"${number}" for number in range(1, len(parameters) + 2)).encode()
        query = b"SELECT * FROM %s.%s(%s)" % (self._schema, function, places)
        return await self._server.ask(query, (self._patience, *parameters))


class PostgresKeys(_Keys):
    """A `KeyTable` on a PostgreSQL server, for hosts with an event loop. Call `migrate` once before.

    Args:
        conninfo: a connection string or URL of libpq, for a role that `migrate` was told in `keys`.
        schema: as it was given to `migrate`.
        size: most connections per process and event loop.
        deadline: seconds for a call, with all its waiting; then `BackendDown`.

    Raises:
        ConfigError: the arguments are wrong; the text says which.
    """

    colour: Colour = "async"
    _serve = Loops


class BlockingPostgresKeys(_Keys):
    """A `KeyTable` on a PostgreSQL server, for threads and for the command line. See `PostgresKeys`.

    Args:
        conninfo: a connection string or URL of libpq, for a role that `migrate` was told in `keys`.
        schema: as it was given to `migrate`.
        size: most connections per process.
        deadline: seconds for a call, with all its waiting; then `BackendDown`.

    Raises:
        ConfigError: the arguments are wrong; the text says which.
    """

    colour: Colour = "blocking"
    _serve = Threads


def _read(row: Row) -> KeyRow:
    id, version, fingerprint, fields, sealed, mac = row
    if id is None or fingerprint is None or fields is None or sealed is None or mac is None:
        raise BackendDown("PostgreSQL gave an answer that makes no sense")
    return KeyRow(unpack(id), read_integer(version), fingerprint, fields, sealed, mac)


def _conflict(text: str, rows: Sequence[KeyRow]) -> KeyConflict:
    """Say what the function found: the place of the row, a word, and what belongs to it."""
    place, reason, *rest = text.split()
    row, what = rows[int(place)], rest[0] if rest else ""
    if reason == "holder":
        what = unpack(bytes.fromhex(what))
    return KeyConflict(_REASONS[reason].format(id=row.id, what=what, before=row.version - 1))
