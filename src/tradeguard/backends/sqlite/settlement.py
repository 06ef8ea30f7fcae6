"""Settlement: what one commit finds and changes in a state file, inside one transaction."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from tradeguard.backends.room import Room
from tradeguard.backends.sqlite.counter import LATEST
from tradeguard.backends.sqlite.database import Connection
from tradeguard.backends.sqlite.meters import Meters
from tradeguard.core.conditions import (
    NO_USAGE,
    Advance,
    Charge,
    Condition,
    Once,
    Outcome,
    Quota,
    Seen,
    Usage,
    by_rank,
)

_WIDTH: Final = 16  # bytes of an advancing value
_PURGE: Final = 32  # expired nonces dropped per commit: bounded work, and faster than they come
_HOLD: Final = (
    "INSERT INTO held VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET nonces = excluded.nonces, tops = excluded.tops"
)
_USE: Final = (
    "INSERT INTO once VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until, request = excluded.request"
)

Key = tuple[str, bytes]


class Settlement:
    """One transaction. `now` is the highest time of the file, of this process and of this commit.

    Args:
        connection: it is in the transaction.
        highest: time of this process and this commit, ns UTC.
        room: for messages, values and refunds.
        meters: most of them.
        reserve: whether it may use the room kept for cancels.
        writes: whether the transaction may write.
    """

    def __init__(
        self,
        connection: Connection,
        highest: int,
        room: Room,
        meters: int,
        *,
        reserve: bool = False,
        writes: bool = True,
    ) -> None:
        self._run, self._room, self._reserve = connection.execute, room, reserve
        row = self._run("SELECT epoch, version, time, nonces, tops, meters, refunds FROM store").fetchone()
        self._epoch, self._version, time, self._nonces, self._tops, *counts = row
        self.now: int = max(time, highest)
        self._meters = Meters(self._run, self.now, meters, *counts, writes=writes)
        self._users: dict[Key, tuple[int, str] | None] = {}
        self._top: dict[Key, list[int]] = {}
        self._held: dict[str, list[int]] = {}
        self._changed = False

    def is_behind(self, seen: Seen | None) -> bool:
        """Tell whether a node has seen more than this file has."""
        return seen is not None and (seen[0] != self._epoch or seen[1] > self._version)

    def has_expired(self) -> bool:
        """Tell whether there is something to purge."""
        return self._run("SELECT 1 FROM once WHERE until <= ? LIMIT 1", (self.now,)).fetchone() is not None

    def purge(self) -> None:
        """Drop some nonces whose time has passed."""
        query = "SELECT owner, item FROM once WHERE until <= ? ORDER BY until LIMIT ?"
        expired = self._run(query, (self.now, _PURGE)).fetchall()
        for key in expired:
            self._run("DELETE FROM once WHERE owner = ? AND item = ?", key)
        for owner, amount in Counter(owner for owner, _ in expired).items():
            self._owned(owner)[0] -= amount
        self._nonces -= len(expired)
        self._changed = bool(expired)

    def holds(self, condition: Condition) -> bool:
        """Tell whether a condition holds, before anything of its commit takes effect."""
        if isinstance(condition, Once):
            return condition.until > self.now and self._is_free(condition.key)
        if isinstance(condition, Advance):
            return self._is_above(*condition)
        if isinstance(condition, Quota):
            return self._meters.holds(condition)
        return all(self._number(key) < condition.value for key in condition.keys)

    def outcome(self, failed: Iterable[Condition] = (), *, behind: bool = False) -> Outcome:
        """Return what the commit comes to; ask before anything of it takes effect."""
        failed = by_rank(failed)
        first = next((user for user in map(self._first, failed) if user is not None), None)
        full = any(self._lacks_room(condition) for condition in failed)
        ready = max((self._meters.ready(condition) for condition in failed if isinstance(condition, Quota)), default=0)
        return Outcome(failed, self.now, self._epoch, self._version, NO_USAGE, first, behind, full, ready)

    def usage(self) -> Usage:
        """Return how full the quotas are that were asked for, after all that took effect."""
        return self._meters.usage()

    def take(self, condition: Condition, request_id: str, *, spends: bool) -> None:
        """Let a condition that holds take effect; `spends` tells whether quotas are spent that do not bind."""
        if isinstance(condition, Once):
            self._use(condition, request_id)
        elif isinstance(condition, Advance):
            self._advance(*condition)
        elif isinstance(condition, Quota) and (spends or condition.binding):
            self._meters.take(condition)

    def refund(self, charge: Charge, item: str, units: int) -> bool:
        """Give units of a charge back; tell whether they counted."""
        return self._meters.give(charge, item, units, self._room.capacity)

    def store(self) -> None:
        """Write down how much is held and what time it is, where anything has changed."""
        for owner, (nonces, tops) in self._held.items():
            if nonces or tops:
                self._run(_HOLD, (owner, nonces, tops))
            else:
                self._run("DELETE FROM held WHERE owner = ?", (owner,))
        meters = self._meters
        meters.store()
        if self._changed or meters.changed:
            query = "UPDATE store SET time = ?, nonces = ?, tops = ?, meters = ?, refunds = ?"
            self._run(query, (self.now, self._nonces, self._tops, meters.held, meters.refunds))

    # messages

    def _is_free(self, key: Key) -> bool:
        user = self._user(key)
        if user is not None:
            return user[0] <= self.now
        return self._room.has(self._nonces, self._owned(key[0])[0], self._reserve)

    def _use(self, once: Once, request_id: str) -> None:
        key, until = once
        if self._user(key) is None:
            self._nonces += 1
            self._owned(key[0])[0] += 1
        self._run(_USE, (*key, min(until, LATEST), request_id))
        self._users[key] = (until, request_id)
        self._changed = True

    def _user(self, key: Key) -> tuple[int, str] | None:
        if key not in self._users:
            query = "SELECT until, request FROM once WHERE owner = ? AND item = ?"
            self._users[key] = self._run(query, key).fetchone()
        return self._users[key]

    def _first(self, condition: Condition) -> str | None:
        """The request that used a message which is still remembered."""
        user = self._user(condition.key) if isinstance(condition, Once) else None
        return user[1] if user is not None and user[0] > self.now else None

    # values

    def _is_above(self, key: Key, value: int, width: int) -> bool:
        top = self._tops_of(key)
        if not top:
            return self._room.has(self._tops, self._owned(key[0])[1], self._reserve)
        return value not in top and (len(top) < width or value > top[-width])

    def _advance(self, key: Key, value: int, width: int) -> None:
        top = self._tops_of(key)
        if not top:
            self._tops += 1
            self._owned(key[0])[1] += 1
        self._top[key] = sorted([*top, value])[-width:]
        packed = b"".join(value.to_bytes(_WIDTH, "big") for value in self._top[key])
        self._run("INSERT INTO advance VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET top = excluded.top", (*key, packed))
        self._changed = True

    def _tops_of(self, key: Key) -> list[int]:
        if key not in self._top:
            row = self._run("SELECT top FROM advance WHERE owner = ? AND item = ?", key).fetchone()
            packed: bytes = b"" if row is None else row[0]
            values = (packed[place : place + _WIDTH] for place in range(0, len(packed), _WIDTH))
            self._top[key] = [int.from_bytes(value, "big") for value in values]
        return self._top[key]

    # the rest

    def _lacks_room(self, condition: Condition) -> bool:
        if isinstance(condition, Once):
            user = self._user(condition.key)
            return condition.until > self.now and (user is None or user[0] <= self.now)
        if isinstance(condition, Quota):
            return not self._meters.has_room(condition)
        return isinstance(condition, Advance) and not self._tops_of(condition.key)

    def _owned(self, owner: str) -> list[int]:
        """How many messages and values an owner has."""
        if owner not in self._held:
            row = self._run("SELECT nonces, tops FROM held WHERE owner = ?", (owner,)).fetchone()
            self._held[owner] = [0, 0] if row is None else list(row)
        return self._held[owner]

    def _number(self, key: str) -> int:
        row = self._run("SELECT value, until FROM number WHERE key = ?", (key,)).fetchone()
        return 0 if row is None or (row[1] is not None and row[1] <= self.now) else row[0]
