"""SQLiteState: what requests have used up, in a SQLite file, shared by all workers of one machine.

Guarantee: a message is accepted once by all processes that share the file, also after they were killed and started
again: what a commit has answered survives the death of the process. It need not survive power loss, so a file that was
written before the machine started refuses, as memory does, what was signed before it was opened again (`since`); what
quotas had counted in the last moments before a power loss may be missing then, and never a part of a commit. Numbers
for `Below` survive power loss too.
"""

import logging
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Final, NamedTuple

from tradeguard.backends.room import Room, check_conditions, check_refund
from tradeguard.backends.sqlite.counter import LATEST
from tradeguard.backends.sqlite.database import Connection, Database, Kind
from tradeguard.backends.sqlite.migration import Migration
from tradeguard.backends.sqlite.settlement import Settlement
from tradeguard.core.conditions import Advance, Below, Charge, Condition, Look, Once, Outcome, Quota, Seen, Stored
from tradeguard.core.errors import ConfigError
from tradeguard.core.ports import Colour

KIND: Final = Kind(  # "tgs1"
    "state", 0x7467_7331, "move it away: a new one refuses what was signed before it", "Memory"
)
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SECOND: Final = 1_000_000_000
_PURGE: Final = 64  # expired numbers dropped per `set`
_LOOK: Final = (
    "SELECT key, value, until, coalesce(record, x'') FROM number LEFT JOIN record USING (key) "
    "WHERE key >= ? ORDER BY key"
)
_log = logging.getLogger("tradeguard")


class _Ask(NamedTuple):
    conditions: tuple[Condition, ...]
    at: int
    request_id: str
    seen: Seen | None
    denied: bool
    reserve: bool

    @property
    def changes(self) -> bool:
        """Whether it takes effect where all of it holds."""
        return any(_changes(condition, self.denied) for condition in self.conditions)


class SQLiteState:
    """State in a file. It settles all four conditions.

    Args:
        path: the file; made with mode 0600 where it does not exist. Its folder must, on a local disk.
        capacity: most live nonces; 150 bytes each, about. The last tenth is kept for the cancel lane. As many keys
            may have advancing values, which live for ever.
        per_key: most of either for one key. The last tenth is kept for the cancel lane.
        meters: most quotas counted at once, by key or whatever they go by; 0.3 to 30 kB a window. A new one is refused
            where all of them still count something.
        busy: seconds to wait for others who use it, before `BackendDown`.
        boot_id: where the machine says which of its starts this is. Where it does not, each commit waits for the disk.
        migrations: other than those of this library; for tests of upgrades.

    Raises:
        ConfigError: the file cannot be used; the text says why and what to do.
    """

    colour: Colour = "brief"
    supports: frozenset[type] = frozenset({Once, Advance, Below, Quota})

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        capacity: int = 1_000_000,
        per_key: int = 100_000,
        meters: int = 2_000_000,
        busy: float = 0.005,
        boot_id: Path = BOOT_ID,
        migrations: Sequence[Migration] | None = None,
    ) -> None:
        if meters < 1:
            raise ConfigError("meters is a number of quotas, at least 1")
        self._room, self._meters = Room(capacity, per_key), meters
        self._boot = _read_boot(boot_id)
        self._time, self.since = 0, 0
        self._database = Database(
            path,
            KIND,
            busy=busy,
            synchronous="NORMAL" if self._boot else "FULL",
            migrations=migrations,
            opened=self._begin,
        )
        self._compare_clocks()

    async def commit(
        self,
        conditions: Iterable[Condition],
        at: int,
        request_id: str,
        seen: Seen | None,
        denied: bool = False,
        reserve: bool = False,
    ) -> Outcome:
        """Settle the conditions in one transaction; see `tradeguard.core.conditions`."""
        conditions = tuple(conditions)
        check_conditions(conditions, self, self.supports)
        ask = _Ask(conditions, at, request_id, seen, denied, reserve)
        if not ask.changes:
            outcome = self._database.read(lambda connection: self._look(ask, connection))
            if outcome is not None:
                return outcome
        return self._database.write(lambda connection: self._settle(ask, connection))

    async def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
        """Store a number for `Below`, until a time (ns UTC) or for good; it survives power loss. Return the version."""
        _check_number(value)
        stored = Stored(value, until, record)
        return self._database.write(partial(self._set, key, stored), durable=True)

    async def lift(self, key: str, value: int) -> int:
        """Store a number for `Below` as `set` does, for good, unless a higher one is stored. Return the version."""
        _check_number(value)
        return self._database.write(partial(self._lift, key, value), durable=True)

    async def look(self, prefix: str) -> Look:
        """Return the numbers whose key begins with a prefix and that still hold."""
        return self._database.read(partial(self._list, prefix))

    async def refund(self, charge: Charge, item: str, units: int, at: int) -> bool:
        """Give units of a charge back, once per item and never more than it cost; tell whether they counted."""
        check_refund(units)
        return self._database.write(partial(self._refund, charge, item, units, at))

    def __len__(self) -> int:
        """Return how many nonces are held."""
        return int(self._database.read(lambda c: c.execute("SELECT nonces FROM store").fetchone())[0])

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        self._database.close()

    def _look(self, ask: _Ask, connection: Connection) -> Outcome | None:
        """Settle what changes nothing; None where there is something to purge."""
        settlement = self._start(connection, ask.at, reserve=ask.reserve, writes=False)
        if settlement.is_behind(ask.seen):
            return settlement.outcome(behind=True)
        if settlement.has_expired():
            return None
        outcome = settlement.outcome([condition for condition in ask.conditions if not settlement.holds(condition)])
        return outcome._replace(usage=settlement.usage())

    def _settle(self, ask: _Ask, connection: Connection) -> Outcome:
        settlement = self._start(connection, ask.at, reserve=ask.reserve)
        if settlement.is_behind(ask.seen):
            return settlement.outcome(behind=True)
        settlement.purge()
        failed = [condition for condition in ask.conditions if not settlement.holds(condition)]
        outcome = settlement.outcome(failed)
        spends = not (failed or ask.denied)
        for condition in ask.conditions:
            if condition not in failed:
                settlement.take(condition, ask.request_id, spends=spends)
        settlement.store()
        return outcome._replace(usage=settlement.usage())

    def _refund(self, charge: Charge, item: str, units: int, at: int, connection: Connection) -> bool:
        settlement = self._start(connection, at)
        given = settlement.refund(charge, item, units)
        settlement.store()
        return given

    def _start(self, connection: Connection, at: int, *, reserve: bool = False, writes: bool = True) -> Settlement:
        highest = max(self._time, at)
        settlement = Settlement(connection, highest, self._room, self._meters, reserve=reserve, writes=writes)
        self._time = settlement.now
        return settlement

    def _set(self, key: str, stored: Stored, connection: Connection) -> int:
        run, (value, until, record) = connection.execute, stored
        run("UPDATE store SET version = version + 1, time = max(time, ?)", (self._time,))
        version, now = run("SELECT version, time FROM store").fetchone()
        expired = "SELECT key FROM number WHERE until <= ? LIMIT ?"
        run(f"DELETE FROM number WHERE key IN ({expired})", (now, _PURGE))  # noqa: S608
        last = None if until is None else max(-LATEST, min(until, LATEST))
        run("INSERT OR REPLACE INTO number VALUES (?, ?, ?)", (key, value, last))
        if record:
            run("INSERT INTO record VALUES (?, ?)", (key, record))
        return int(version)

    def _lift(self, key: str, value: int, connection: Connection) -> int:
        living = (
            "SELECT value FROM number WHERE key = ? AND (until IS NULL OR until > (SELECT max(time, ?) FROM store))"
        )
        known = connection.execute(living, (key, self._time)).fetchone()
        return self._set(key, Stored(value if known is None else max(value, known[0]), None, b""), connection)

    def _list(self, prefix: str, connection: Connection) -> Look:
        epoch, version, time = connection.execute("SELECT epoch, version, time FROM store").fetchone()
        now, living = max(time, self._time), dict[str, Stored]()
        with closing(connection.execute(_LOOK, (prefix,))) as rows:
            for key, *stored in takewhile(lambda row: row[0].startswith(prefix), rows):
                found = Stored(*stored)
                if found.until is None or found.until > now:
                    living[key] = found
        return Look(living, now, epoch, version)

    def _begin(self, connection: Connection) -> None:
        """Begin to remember, where the file is new or the machine has started since it was last opened."""
        (boot,) = connection.execute("SELECT boot FROM store").fetchone()
        if boot != self._boot:
            query = "UPDATE store SET boot = ?, since = max(since, ?) WHERE boot IS NOT ?"
            connection.execute(query, (self._boot, time.time_ns(), self._boot))
        (self.since,) = connection.execute("SELECT since FROM store").fetchone()

    def _compare_clocks(self) -> None:
        (highest,) = self._database.read(lambda c: c.execute("SELECT time FROM store").fetchone())
        behind = highest - time.time_ns()
        if behind > _SECOND:
            _log.critical(
                "state file %s: the clock is %d s behind the latest request it has seen; requests are refused until it "
                "catches up. If it had been wrong before, remove the file: a new one begins with a barrier",
                self._database.path,
                behind // _SECOND,
            )


def _changes(condition: Condition, denied: bool) -> bool:
    if isinstance(condition, Quota):
        return condition.cost > 0 and (condition.binding or not denied)
    return not isinstance(condition, Below)


def _check_number(value: int) -> None:
    if abs(value) > LATEST:
        raise ValueError("a number for Below lies between -(2**63 - 1) and 2**63 - 1")


def _read_boot(path: Path) -> str:
    """Return the id of this start of the machine; empty where it has none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
