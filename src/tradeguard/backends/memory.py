"""Memory: state, keys, table and journal inside this process. Exact for threads and tasks, bounded, gone at its end.

Guarantee: within one process a message is accepted once. A restart forgets, so the guard refuses what was signed before
the start (the barrier). Two processes do not know of each other: give `Memory` a lock, so that only one answers.
"""

import heapq
import os
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence, Sized
from itertools import islice
from typing import Final

from tradeguard.backends.fork import Fence
from tradeguard.backends.lock import Lock
from tradeguard.backends.room import Room, check_conditions
from tradeguard.core.conditions import NO_USAGE, Advance, Below, Condition, Once, Outcome, Seen, by_rank
from tradeguard.core.errors import ConfigError
from tradeguard.core.event import WRITTEN, Event, Written
from tradeguard.core.key import Changes, KeyRecord, Mark, Material, check_next
from tradeguard.core.ports import Colour
from tradeguard.core.principal import SCOPES, Scope, check_scopes

_PURGE: Final = 64  # expired nonces dropped per commit: bounded work, and faster than they come
_Key = tuple[str, bytes]
_SAMPLE: Final = 8  # entries compared for an eviction


class Memory:
    """State in memory. It settles `Once`, `Advance` and `Below`.

    Args:
        capacity: most live nonces; 256 bytes each, about. The last tenth is kept for the cancel lane. As many keys may
            have advancing values, which live for ever.
        per_key: most of either for one key. The last tenth is kept for the cancel lane.
        since: from when on it remembers, ns UTC; now by default.
        lock: a file that this process holds as long as it answers from this memory: a second process waits 2 s for it,
            as in a graceful reload. After a fork it belongs to whoever commits first, and the other one is refused.

    Raises:
        ConfigError: the numbers leave no room, or another process holds the lock; the text says which.
    """

    colour: Colour = "instant"
    supports: frozenset[type] = frozenset({Once, Advance, Below})

    def __init__(
        self,
        *,
        capacity: int = 1_000_000,
        per_key: int = 100_000,
        since: int | None = None,
        lock: str | os.PathLike[str] | None = None,
    ) -> None:
        self._room = Room(capacity, per_key)
        self._since = time.time_ns() if since is None else since
        self._epoch, self._version, self._time = secrets.token_hex(8), 0, 0
        self._once: dict[_Key, tuple[int, str]] = {}
        self._expiry: list[tuple[int, _Key]] = []
        self._held: dict[str, int] = {}
        self._tops: dict[_Key, list[int]] = {}
        self._advancing: dict[str, int] = {}
        self._numbers: dict[str, tuple[int, int | None]] = {}
        self._file = None if lock is None else Lock(lock)
        self._fence = Fence(self._let_go)

    @property
    def since(self) -> int:
        """From when on it remembers, ns UTC."""
        return self._since if self._file is None else max(self._since, self._file.since)

    async def commit(
        self,
        conditions: Iterable[Condition],
        at: int,
        request_id: str,
        seen: Seen | None,
        denied: bool = False,
        reserve: bool = False,
    ) -> Outcome:
        """Settle the conditions in one step; see `tradeguard.core.conditions`."""
        conditions = tuple(conditions)
        check_conditions(conditions, self, self.supports)
        with self._fence.lock:
            if self._file is not None:
                self._file.claim()
            now = self._time = max(self._time, at)
            if seen is not None and (seen[0] != self._epoch or seen[1] > self._version):
                return Outcome((), now, self._epoch, self._version, behind=True)
            self._purge(now)
            failed = [condition for condition in conditions if not self._holds(condition, now, reserve)]
            outcome = self._explain(failed, now) if failed else Outcome((), now, self._epoch, self._version)
            for condition in conditions:
                if condition not in failed:
                    self._take(condition, request_id)
            return outcome

    async def set(self, key: str, value: int, until: int | None = None) -> int:
        """Store a number for `Below`, until a time (ns UTC) or for good; return the new version."""
        with self._fence.lock:
            return self._store(key, value, until)

    async def lift(self, key: str, value: int) -> int:
        """Store a number for `Below`, for good, unless a higher one is stored; return the new version."""
        with self._fence.lock:
            known, until = self._numbers.get(key, (value, None))
            living = until is None or until > self._time
            return self._store(key, max(value, known) if living else value, None)

    def close(self) -> None:
        """Let go of the lock, if there is one; the next use takes it again."""
        with self._fence.lock:
            self._let_go()

    def __len__(self) -> int:
        """Return how many nonces are held."""
        return len(self._once)

    def _store(self, key: str, value: int, until: int | None) -> int:
        if self._file is not None:
            self._file.claim()
        self._numbers[key] = (value, until)
        self._version += 1
        return self._version

    def _holds(self, condition: Condition, now: int, reserve: bool) -> bool:
        if isinstance(condition, Once):
            known = self._once.get(condition.key)
            if known is not None:
                return condition.until > now and known[0] <= now
            return condition.until > now and self._has_room(self._once, self._held, condition.key, reserve)
        if isinstance(condition, Advance):
            top = self._tops.get(condition.key)
            if top is None:
                return self._has_room(self._tops, self._advancing, condition.key, reserve)
            return condition.value not in top and (len(top) < condition.width or condition.value > top[0])
        assert isinstance(condition, Below)  # `check_conditions` knows no other
        return all(self._number(key, now) < condition.value for key in condition.keys)

    def _take(self, condition: Condition, request_id: str) -> None:
        """Let a condition that holds take effect."""
        if isinstance(condition, Once):
            self._remember(condition, request_id)
        elif isinstance(condition, Advance):
            key, value, width = condition
            if key not in self._tops:
                self._advancing[key[0]] = self._advancing.get(key[0], 0) + 1
            self._tops[key] = sorted([*self._tops.get(key, ()), value])[-width:]

    def _remember(self, once: Once, request_id: str) -> None:
        key, until = once
        if key not in self._once:
            self._held[key[0]] = self._held.get(key[0], 0) + 1
        self._once[key] = (until, request_id)
        heapq.heappush(self._expiry, (until, key))

    def _has_room(self, entries: Sized, owned: Mapping[str, int], key: _Key, reserve: bool) -> bool:
        return self._room.has(len(entries), owned.get(key[0], 0), reserve)

    def _explain(self, failed: list[Condition], now: int) -> Outcome:
        """Say why conditions failed: what was neither seen nor late nor below found no room."""
        first: str | None = None
        full = False
        for condition in failed:
            if isinstance(condition, Once):
                until, user = self._once.get(condition.key, (0, ""))
                if until > now:
                    first = first or user
                else:
                    full = full or condition.until > now
            elif isinstance(condition, Advance):
                full = full or condition.key not in self._tops
        return Outcome(by_rank(failed), now, self._epoch, self._version, NO_USAGE, first, False, full)

    def _purge(self, now: int) -> None:
        for _ in range(_PURGE):
            if not self._expiry or self._expiry[0][0] > now:
                return
            _, key = heapq.heappop(self._expiry)
            entry = self._once.get(key)
            if entry is not None and entry[0] <= now:
                del self._once[key]
                self._held[key[0]] -= 1
                if not self._held[key[0]]:
                    del self._held[key[0]]

    def _number(self, key: str, now: int) -> int:
        value, until = self._numbers.get(key, (0, None))
        return 0 if until is not None and until <= now else value

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.release()


class MemoryTable:
    """Counters of this node: a fixed number of them, whoever fails.

    A debt is kept as the time at which it is drained. Where the table is full, the smallest of a few old debts makes
    room, so that a flood of new failures does not free those who fail most.

    Args:
        size: most keys.
    """

    def __init__(self, size: int = 65_536) -> None:
        if size < _SAMPLE:
            raise ConfigError(f"MemoryTable: size is a number of keys, at least {_SAMPLE}")
        self._size, self._lock = size, threading.Lock()
        self._drained: dict[tuple[str, ...], int] = {}

    def add(self, key: tuple[str, ...], cost: int, at: int) -> int:
        """Add `cost` ns of debt; return when the key's debt is drained, ns UTC."""
        with self._lock:
            drained = max(self._drained.get(key, 0), at) + cost
            if key not in self._drained and len(self._drained) >= self._size:
                oldest = islice(self._drained, _SAMPLE)
                del self._drained[min(oldest, key=self._drained.__getitem__)]
            self._drained[key] = drained
            return drained

    def drained(self, key: tuple[str, ...]) -> int:
        """Return when the key's debt is drained, ns UTC; 0 for a key without one."""
        return self._drained.get(key, 0)

    def __len__(self) -> int:
        """Return how many keys are held."""
        return len(self._drained)


class MemoryRecent:
    """Who did something a while ago: a fixed number of names, of which the longest unheard of makes room.

    Args:
        life: how long a name is recent, in ns.
        size: most names.
    """

    def __init__(self, life: int, size: int = 65_536) -> None:
        if life < 1 or size < 1:
            raise ConfigError("MemoryRecent: life is in ns and size a number of names, both at least 1")
        self._life, self._size, self._lock = life, size, threading.Lock()
        self._until: dict[tuple[str, ...], int] = {}

    def note(self, name: tuple[str, ...], at: int) -> None:
        """Remember a name from `at` (ns UTC) on; cheap while it is known well enough."""
        if self._until.get(name, 0) - at > self._life // 2:
            return
        with self._lock:
            self._until.pop(name, None)
            if len(self._until) >= self._size:
                del self._until[next(iter(self._until))]
            self._until[name] = at + self._life

    def has(self, name: tuple[str, ...], at: int) -> bool:
        """Tell whether a name is recent at a time, ns UTC."""
        return self._until.get(name, 0) > at

    def __len__(self) -> int:
        """Return how many names are held."""
        return len(self._until)


class MemoryKeys:
    """Key records in memory.

    Args:
        records: to begin with.
        scopes: the names a key may hold: `Policy.vocabulary` where the policy declares more than the shared ones.

    Raises:
        ConfigError: see `put`.
    """

    colour: Colour = "instant"

    def __init__(self, records: Iterable[KeyRecord] = (), *, scopes: frozenset[Scope] = SCOPES) -> None:
        self._records: dict[str, KeyRecord] = {}
        self._owners: dict[bytes, str] = {}
        self._changed: list[str] = []
        self._used: dict[str, int] = {}
        self._salt, self._lock, self._scopes = secrets.token_bytes(32), threading.Lock(), scopes
        self._epoch = secrets.token_hex(8)
        self.put_now(*records)

    async def find(self, id: str, /) -> KeyRecord | None:
        """Return the record of a key id, or None."""
        return self._records.get(id)

    async def put(self, records: Sequence[KeyRecord], /) -> None:
        """Store new keys (version 1) and next versions of known ones: all of them, or none.

        Raises:
            KeyConflict: an id or a secret is taken, or the version before is not the stored one.
            ConfigError: a scope that nobody declared.
        """
        self.put_now(*records)

    def put_now(self, *records: KeyRecord) -> None:
        """Do what `put` does, without a loop."""
        marks = [record.material.fingerprint(self._salt) for record in records]
        with self._lock:
            fresh: dict[bytes, str] = {}
            batch: dict[str, KeyRecord] = {}
            for record, mark in zip(records, marks, strict=True):
                check_scopes(record.principal.scopes, self._scopes, f"key {record.id}")
                stored = batch.get(record.id) or self._records.get(record.id)
                check_next(record, stored, self._owners.get(mark, fresh.get(mark)))
                fresh[mark], batch[record.id] = record.id, record
            self._owners |= fresh
            self._records |= batch
            self._changed += [record.id for record in records]

    async def list(self, after: str = "", limit: int = 1000) -> list[KeyRecord]:
        """Return the next records by id, after one."""
        return [self._records[id] for id in sorted(id for id in self._records if id > after)[:limit]]

    async def holder(self, material: Material, /) -> str | None:
        """Return the id of the key that has this material, or None."""
        return self._owners.get(material.fingerprint(self._salt))

    async def changes(self, mark: Mark | None, /) -> Changes:
        """Tell what has changed since a mark; None asks for a first mark."""
        latest = Mark(self._epoch, len(self._changed))
        if mark is None or mark.epoch != self._epoch:
            return Changes(latest, None)
        return Changes(latest, tuple(dict.fromkeys(self._changed[mark.number : latest.number])))

    async def touch(self, uses: Mapping[str, int], /) -> None:
        """Keep when keys were last used, ns UTC."""
        for id, at in uses.items():
            self._used[id] = max(at, self._used.get(id, 0))

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return when keys were last used, ns UTC."""
        return {id: self._used[id] for id in ids if id in self._used}

    def stands(self, id: str, at: int, /) -> bool:
        """Tell whether a key verifies at a time, ns UTC."""
        record = self._records.get(id)
        return record is not None and record.usable(at)

    def used(self, record: KeyRecord, at: int, /) -> None:
        """Take note that a key was used."""
        self._used[record.id] = at

    def renew(self) -> None:
        """Nothing here is older than it should be."""


class MemoryJournal:
    """A list of the latest events, for tests and for trying things out. Nothing of it survives the process.

    Args:
        size: most events kept; the oldest go first.
    """

    colour: Colour = "instant"

    def __init__(self, size: int = 100_000) -> None:
        self.events: deque[Event] = deque(maxlen=size)
        self.counts: Counter[str] = Counter()

    def append(self, event: Event, /) -> Written:
        """Keep an event."""
        self.events.append(event)
        return WRITTEN

    def count(self, code: str, _at: int, /) -> None:
        """Count a refusal that gets no event."""
        self.counts[code] += 1

    def flush(self) -> None:
        """Nothing is held back."""
