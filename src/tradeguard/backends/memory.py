"""Memory: state, keys, table and journal inside this process. Exact for threads and tasks, bounded, gone at its end.

Guarantee: within one process a message is accepted once. A restart forgets, so the guard refuses what was signed before
the start (the barrier). Two processes do not know of each other: do not run several workers on it.
"""

import heapq
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from tradeguard.core.conditions import NO_USAGE, Below, Condition, Once, Outcome, Seen, by_rank
from tradeguard.core.errors import ConfigError
from tradeguard.core.event import WRITTEN, Event, Written
from tradeguard.core.key import KeyRecord
from tradeguard.core.ports import Colour
from tradeguard.core.principal import SCOPES, Scope, check_scopes

_PURGE: Final = 64  # expired nonces dropped per commit: bounded work, and faster than they come
_SAMPLE: Final = 8  # entries compared for an eviction


class Memory:
    """State in memory. It settles `Once` and `Below`.

    Args:
        capacity: most live nonces; 256 bytes each, about. The last tenth is kept for the cancel lane.
        per_key: most live nonces of one key. The last tenth is kept for the cancel lane.
        since: from when on it remembers, ns UTC; now by default.
    """

    colour: Colour = "instant"
    supports: frozenset[type] = frozenset({Once, Below})

    def __init__(self, *, capacity: int = 1_000_000, per_key: int = 100_000, since: int | None = None) -> None:
        if not 10 <= per_key <= capacity:
            raise ConfigError(
                "Memory: capacity and per_key are numbers of nonces, at least 10, per_key not above capacity"
            )
        self.since = time.time_ns() if since is None else since
        self._epoch, self._version, self._time = secrets.token_hex(8), 0, 0
        self._capacity, self._per_key, self._lock = capacity, per_key, threading.Lock()
        self._once: dict[tuple[str, bytes], tuple[int, str]] = {}
        self._expiry: list[tuple[int, tuple[str, bytes]]] = []
        self._held: dict[str, int] = {}
        self._numbers: dict[str, tuple[int, int | None]] = {}

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
        with self._lock:
            now = self._time = max(self._time, at)
            if seen is not None and (seen[0] != self._epoch or seen[1] > self._version):
                return Outcome((), now, self._epoch, self._version, behind=True)
            self._purge(now)
            conditions = tuple(conditions)
            failed = [condition for condition in conditions if not self._holds(condition, now, reserve)]
            outcome = self._explain(failed, now) if failed else Outcome((), now, self._epoch, self._version)
            for condition in conditions:
                if isinstance(condition, Once) and condition not in failed:
                    self._remember(condition, request_id)
            return outcome

    async def set(self, key: str, value: int, until: int | None = None) -> int:
        """Store a number for `Below`, until a time (ns UTC) or for good; return the new version."""
        with self._lock:
            self._numbers[key] = (value, until)
            self._version += 1
            return self._version

    def __len__(self) -> int:
        """Return how many nonces are held."""
        return len(self._once)

    def _holds(self, condition: Condition, now: int, reserve: bool) -> bool:
        if isinstance(condition, Once):
            known = self._once.get(condition.key)
            if known is None:
                return condition.until > now and not self._is_full(condition.key[0], reserve)
            return condition.until > now and known[0] <= now
        if isinstance(condition, Below):
            return all(self._number(key, now) < condition.value for key in condition.keys)
        raise TypeError(f"Memory cannot settle {type(condition).__name__}")

    def _remember(self, once: Once, request_id: str) -> None:
        key, until = once
        if key not in self._once:
            self._held[key[0]] = self._held.get(key[0], 0) + 1
        self._once[key] = (until, request_id)
        heapq.heappush(self._expiry, (until, key))

    def _is_full(self, owner: str, reserve: bool) -> bool:
        room, share = self._capacity, self._per_key
        if not reserve:
            room, share = room - room // 10, share - share // 10
        return len(self._once) >= room or self._held.get(owner, 0) >= share

    def _explain(self, failed: list[Condition], now: int) -> Outcome:
        """Say why conditions failed: a `Once` that was neither seen nor expired found no room."""
        first: str | None = None
        full = False
        for condition in failed:
            if isinstance(condition, Once):
                until, user = self._once.get(condition.key, (0, ""))
                if until > now:
                    first = first or user
                else:
                    full = full or condition.until > now
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
        ConfigError: see `add`.
    """

    colour: Colour = "instant"

    def __init__(self, records: Iterable[KeyRecord] = (), *, scopes: frozenset[Scope] = SCOPES) -> None:
        self._records: dict[str, KeyRecord] = {}
        self._owners: dict[bytes, str] = {}
        self._salt, self._lock, self._scopes = secrets.token_bytes(32), threading.Lock(), scopes
        for record in records:
            self.add(record)

    async def find(self, id: str, /) -> KeyRecord | None:
        """Return the record of a key id, or None."""
        return self._records.get(id)

    def add(self, record: KeyRecord) -> None:
        """Add a record.

        Raises:
            ConfigError: its id is taken, its secret belongs to another key, or it has a scope that nobody declared.
        """
        check_scopes(record.principal.scopes, self._scopes, f"key {record.id}")
        fingerprint = record.material.fingerprint(self._salt)
        with self._lock:
            if record.id in self._records:
                raise ConfigError(f"key {record.id} exists; give the new one an id of its own")
            owner = self._owners.setdefault(fingerprint, record.id)
            if owner != record.id:
                raise ConfigError(
                    f"key {record.id} has the secret of key {owner}: what one signed, the other would accept"
                )
            self._records[record.id] = record


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
