"""Memory: state in this process.

Guarantee: within one process a message is accepted once. A restart forgets, so the guard refuses what was signed before
the start (the barrier). Two processes do not know of each other: give `Memory` a lock, so that only one answers.
"""

import heapq
import os
import secrets
import time
from collections.abc import Iterable, Mapping, Sized
from typing import Final

from tradeguard.backends.fork import Fence
from tradeguard.backends.lock import Lock
from tradeguard.backends.memory.meter import Meter, Meters
from tradeguard.backends.room import Room, check_advance, check_quota, check_refund
from tradeguard.core.conditions import (
    NO_USAGE,
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
    by_rank,
    longest,
)
from tradeguard.core.ports import Colour

_PURGE: Final = 64  # expired nonces dropped per commit: bounded work, and faster than they come
_Key = tuple[str, bytes]
_Meters = dict[str, Meter | None]


class Memory:
    """State in memory. It settles all four conditions.

    Args:
        capacity: most live nonces; 256 bytes each, about. The last tenth is kept for the cancel lane. As many keys may
            have advancing values, which live for ever.
        per_key: most of either for one key. The last tenth is kept for the cancel lane.
        meters: most quotas counted at once, by key or whatever they go by; 0.3 to 2 kB each. A new one is refused where
            all of them still count something.
        since: from when on it remembers, ns UTC; now by default.
        lock: a file that this process holds as long as it answers from this memory: a second process waits 2 s for it,
            as in a graceful reload. After a fork it belongs to whoever commits first, and the other one is refused.

    Raises:
        ConfigError: the numbers leave no room, or another process holds the lock; the text says which.
    """

    colour: Colour = "instant"
    supports: frozenset[type] = frozenset({Once, Advance, Below, Quota})

    def __init__(
        self,
        *,
        capacity: int = 1_000_000,
        per_key: int = 100_000,
        meters: int = 2_000_000,
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
        self._numbers: dict[str, Stored] = {}
        self._meters = Meters(meters)
        self._given: dict[tuple[str, str], dict[str, int]] = {}
        self._given_until: list[tuple[int, tuple[str, str]]] = []
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
        with self._fence.lock:
            if self._file is not None:
                self._file.claim()
            now = self._time = max(self._time, at)
            if seen is not None and (seen[0] != self._epoch or seen[1] > self._version):
                return Outcome((), now, self._epoch, self._version, behind=True)
            if self._expiry or self._given_until:
                self._purge(now)
            meters: _Meters = {}
            conditions = tuple(conditions)
            limits = self._room.limits(reserve)
            failed = [condition for condition in conditions if not self._holds(condition, now, limits, meters)]
            first, full, ready = self._explain(failed, now, meters) if failed else (None, False, 0)
            spends = not (failed or denied)
            for condition in conditions:
                if not failed or condition not in failed:
                    self._take(condition, request_id, now, meters, spends)
            usage = {key: meter.use() for key, meter in meters.items() if meter is not None} if meters else NO_USAGE
            ranked = by_rank(failed) if failed else ()
            return Outcome(ranked, now, self._epoch, self._version, usage, first, False, full, ready)

    async def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
        """Store a number for `Below`, until a time (ns UTC) or for good; return the new version."""
        with self._fence.lock:
            return self._store(key, Stored(value, until, record))

    async def lift(self, key: str, value: int) -> int:
        """Store a number for `Below`, for good, unless a higher one is stored; return the new version."""
        with self._fence.lock:
            return self._store(key, Stored(max(value, self._number(key, self._time, value)), None, b""))

    async def look(self, prefix: str) -> Look:
        """Return the numbers whose key begins with a prefix and that still hold."""
        with self._fence.lock:
            now = self._time
            living = {
                key: stored
                for key, stored in self._numbers.items()
                if key.startswith(prefix) and (stored.until is None or stored.until > now)
            }
            return Look(living, now, self._epoch, self._version)

    async def refund(self, charge: Charge, item: str, units: int, at: int) -> bool:
        """Give units of a charge back, once per item and never more than it cost; tell whether they counted."""
        check_refund(units)
        with self._fence.lock:
            if self._file is not None:
                self._file.claim()
            now = self._time = max(self._time, at)
            name, until = (charge.request_id, charge.quota.key), charge.time + longest(charge.quota)
            given = self._given.get(name, {})
            if item in given or sum(given.values()) + units > charge.quota.cost or until <= now:
                return False
            if not given:
                if len(self._given) >= self._room.capacity:
                    return False
                heapq.heappush(self._given_until, (until, name))
            self._given[name] = {**given, item: units}
            self._meters.give(charge, units)
            return True

    def close(self) -> None:
        """Let go of the lock, if there is one; the next use takes it again."""
        with self._fence.lock:
            self._let_go()

    def __len__(self) -> int:
        """Return how many nonces are held."""
        return len(self._once)

    def _store(self, key: str, stored: Stored) -> int:
        if self._file is not None:
            self._file.claim()
        self._numbers[key] = stored
        self._version += 1
        return self._version

    def _holds(self, condition: Condition, now: int, limits: tuple[int, int], meters: _Meters) -> bool:
        """Tell whether a condition holds; note the meters of quotas, brought up to date. Nothing takes effect yet."""
        if isinstance(condition, Quota):
            check_quota(condition, meters)
            meter = meters[condition.key] = self._meters.find(condition, now)
            fits = meter is not None and meter.fits(now, condition.cost)
            return fits or not (condition.cost and condition.enforced)
        if isinstance(condition, Once):
            if condition.until <= now:
                return False
            known = self._once.get(condition.key)
            return known[0] <= now if known is not None else _fits(self._once, self._held, condition.key, limits)
        if isinstance(condition, Below):
            return self._is_below(condition, now)
        check_advance(condition)
        return self._is_above(*condition, limits=limits)

    def _is_below(self, below: Below, now: int) -> bool:
        numbers, value = self._numbers, below.value
        for key in below.keys:
            stored = numbers.get(key)
            living = stored is not None and (stored.until is None or stored.until > now)
            if (stored.value if stored is not None and living else 0) >= value:
                return False
        return True

    def _is_above(self, key: _Key, value: int, width: int, *, limits: tuple[int, int]) -> bool:
        top = self._tops.get(key)
        if top is None:
            return _fits(self._tops, self._advancing, key, limits)
        return value not in top and (len(top) < width or value > top[-width])

    def _take(self, condition: Condition, request_id: str, now: int, meters: _Meters, spends: bool) -> None:
        """Let a condition that holds take effect."""
        if isinstance(condition, Quota):
            meter = meters[condition.key]
            if meter is not None and condition.cost and (spends or condition.binding):
                meter.take(now, condition.cost)
        elif isinstance(condition, Once):
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

    def _explain(self, failed: list[Condition], now: int, meters: _Meters) -> tuple[str | None, bool, int]:
        """Say why conditions failed: what was neither seen nor late nor below nor used up found no room."""
        first: str | None = None
        full, ready = False, 0
        for condition in failed:
            if isinstance(condition, Once):
                until, user = self._once.get(condition.key, (0, ""))
                if until > now:
                    first = first or user
                else:
                    full = full or condition.until > now
            elif isinstance(condition, Advance):
                full = full or condition.key not in self._tops
            elif isinstance(condition, Quota):
                meter = meters[condition.key]
                full = full or meter is None
                ready = max(ready, meter.ready(now, condition.cost) if meter is not None else 0)
        return first, full, ready

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
        while self._given_until and self._given_until[0][0] <= now:
            del self._given[heapq.heappop(self._given_until)[1]]

    def _number(self, key: str, now: int, absent: int) -> int:
        stored = self._numbers.get(key)
        if stored is None or (stored.until is not None and stored.until <= now):
            return absent
        return stored.value

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.release()


def _fits(entries: Sized, owned: Mapping[str, int], key: _Key, limits: tuple[int, int]) -> bool:
    """Tell whether there is room for one more, in all and for its owner."""
    room, share = limits
    return len(entries) < room and owned.get(key[0], 0) < share
