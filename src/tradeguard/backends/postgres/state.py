"""Postgres: shared memory on a PostgreSQL server. A commit is one call of one function in one transaction.

Guarantee: over all nodes a message is accepted once, and no rolling window holds more than its limit; time is the
server's. What was answered survives a crash of the server. docs/howto/postgres.md has the table.

A key's commits wait for each other, each until the one before is on the disk; those of different keys do not.
"""

from collections.abc import Callable, Iterable

from tradeguard.backends.postgres.names import LATEST, check_schema, clamp, pack, shorten, unpack
from tradeguard.backends.postgres.packing import pack_conditions, read_outcome
from tradeguard.backends.postgres.pool import Loops, Server, Threads
from tradeguard.backends.postgres.wire import (
    Parameter,
    Row,
    binary,
    boolean,
    integer,
    integers,
    read_binaries,
    read_integer,
    read_integers,
    text,
)
from tradeguard.backends.room import Room, check_conditions, check_refund
from tradeguard.core.conditions import (
    Advance,
    Below,
    Charge,
    Condition,
    Look,
    Once,
    Outcome,
    Quota,
    Seen,
    Stored,
    longest,
)
from tradeguard.core.errors import BackendDown
from tradeguard.core.ports import Colour

_LONGEST = 1_000  # bytes of a number's key


class _State:
    """What both colours share: all but how they wait."""

    supports: frozenset[type] = frozenset({Once, Advance, Below, Quota})
    since = 0
    """It remembers for good."""

    _serve: Callable[[str, int, float], Server]

    def __init__(
        self,
        conninfo: str,
        *,
        schema: str = "tradeguard",
        capacity: int = 1_000_000,
        per_key: int = 100_000,
        size: int = 16,
        deadline: float = 0.05,
    ) -> None:
        self._server = self._serve(conninfo, size, deadline)
        self._room, self._schema = Room(capacity, per_key), check_schema(schema)
        self._limits, self._patience = integers([capacity, per_key]), integer(max(1, int(deadline * 800)))
        self._queries: dict[tuple[str, int], bytes] = {}
        self._written = ("", 0)

    async def commit(
        self,
        conditions: Iterable[Condition],
        at: int,
        request_id: str,
        seen: Seen | None,
        denied: bool = False,
        reserve: bool = False,
    ) -> Outcome:
        """Settle the conditions in one transaction; see `tradeguard.core.conditions`. Time is the server's, not `at`.

        Raises:
            BackendDown: it does not answer; `unknown` where the commit may have taken effect.
        """
        conditions = tuple(conditions)
        check_conditions(conditions, self, self.supports)
        packed = pack_conditions(conditions)
        epoch, written = self._written
        row = await self._one(
            "commit",
            text(None if seen is None else _plain(seen[0])),
            integer(None if seen is None else clamp(seen[1])),
            integer(written if seen is not None and seen[0] == epoch else 0),
            binary(pack(request_id)),
            boolean(denied),
            boolean(reserve),
            self._limits,
            *packed.parameters,
        )
        outcome, written = read_outcome(row, packed)
        if not outcome.behind:
            known = self._written[1] if self._written[0] == outcome.epoch else 0
            self._written = outcome.epoch, max(written, known)
        return outcome

    async def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
        """Store a number for `Below`, until a time (ns UTC) or for good; return the new version."""
        return await self._set(key, value, until, record, lift=False)

    async def lift(self, key: str, value: int) -> int:
        """Store a number for `Below`, for good, unless a higher one is stored; return the new version."""
        return await self._set(key, value, None, b"", lift=True)

    async def look(self, prefix: str) -> Look:
        """Return the numbers whose key begins with a prefix and that still hold."""
        begin = pack(prefix)
        epoch, figures, keys, stored, records = await self._one("look", binary(begin), binary(_after(begin)))
        try:
            time, version = read_integers(figures)
            numbers, texts = read_integers(stored), read_binaries(records)
            rows = zip(read_binaries(keys), numbers[::3], numbers[1::3], numbers[2::3], texts, strict=True)
            living = {unpack(k): Stored(value, until if ends else None, text) for k, value, until, ends, text in rows}
            return Look(living, time, (epoch or b"").decode("ascii"), version)
        except ValueError as error:
            raise BackendDown("PostgreSQL gave an answer that makes no sense") from error

    async def refund(self, charge: Charge, item: str, units: int, at: int) -> bool:
        """Give units of a charge back, once per item and never more than it cost; tell whether they counted."""
        check_refund(units)
        quota, spent, request_id = charge
        windows = [(limit.period, limit.edge(spent)) for limit in quota.windows if not limit.burst]
        row = await self._one(
            "refund",
            binary(shorten(pack(request_id))),
            binary(shorten(pack(quota.key))),
            boolean(not quota.enforced),
            integer(quota.cost),
            integer(clamp(spent + longest(quota))),
            binary(shorten(pack(item))),
            integer(units),
            integers([clamp(number) for window in windows for number in window], 2),
        )
        return row[0] == b"\x01"

    async def size(self) -> int:
        """Return how many nonces are held."""
        return read_integer((await self._one("size"))[0])

    def close(self) -> None:
        """Close the connections; the next use opens them again."""
        self._server.close()

    async def _set(self, key: str, value: int, until: int | None, record: bytes, *, lift: bool) -> int:
        name = pack(key)
        if abs(value) > LATEST:
            raise ValueError("a number for Below lies between -(2**63 - 1) and 2**63 - 1")
        if len(name) > _LONGEST:
            raise ValueError(f"the key of a number has at most {_LONGEST} bytes")
        last = integer(None if until is None else clamp(until))
        return read_integer(
            (await self._one("set", binary(name), integer(value), last, binary(record), boolean(lift)))[0]
        )

    async def _one(self, function: str, *parameters: Parameter) -> Row:
        """Call a function that answers with one row."""
        query = self._queries.get((function, len(parameters)))
        if query is None:
            places = ",".join(f"${number}" for number in range(1, len(parameters) + 2))
            query = b"SELECT * FROM %s.%s(%s)" % (self._schema, function.encode(), places.encode())
            self._queries[function, len(parameters)] = query
        rows = await self._server.ask(query, (self._patience, *parameters))
        if len(rows) != 1:
            raise BackendDown("PostgreSQL gave an answer that makes no sense", unknown=True)
        return rows[0]


class Postgres(_State):
    """Shared memory on a PostgreSQL server, for hosts with an event loop. It settles all four conditions.

    Call `migrate` once before. Nothing is kept in the session, so PgBouncer in transaction mode will do.

    Args:
        conninfo: a connection string or URL of libpq, for a role that `migrate` was told.
        schema: as it was given to `migrate`.
        capacity: most live nonces; 250 bytes each, about. The last tenth is kept for the cancel lane. As many keys may
            have advancing values, which live for ever.
        per_key: most of either for one key. The last tenth is kept for the cancel lane.
        size: most connections per process and event loop.
        deadline: seconds for a call, with all its waiting; then `BackendDown`.

    Raises:
        ConfigError: the arguments are wrong; the text says which.
    """

    colour: Colour = "async"
    _serve = Loops


class BlockingPostgres(_State):
    """Shared memory on a PostgreSQL server, for hosts that give each request a thread. See `Postgres`.

    Args:
        conninfo: a connection string or URL of libpq, for a role that `migrate` was told.
        schema: as it was given to `migrate`.
        capacity: most live nonces. per_key: most of one key.
        size: most connections per process.
        deadline: seconds for a call, with all its waiting; then `BackendDown`.

    Raises:
        ConfigError: the arguments are wrong; the text says which.
    """

    colour: Colour = "blocking"
    _serve = Threads


def _after(prefix: bytes) -> bytes | None:
    """Return the first key that no longer begins with a prefix; None where every later one does."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else None


def _plain(epoch: str) -> str:
    """Return an epoch that can be sent: one that never was ours stays different."""
    return epoch if epoch.isascii() and "\0" not in epoch else "?"
