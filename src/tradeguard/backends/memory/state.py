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
from tradeguard.backends.room import Room, check_conditions
from tradeguard.core.conditions import NO_USAGE, Advance, Below, Condition, Once, Outcome, Seen, by_rank
from tradeguard.core.ports import Colour

_PURGE: Final = 64  # expired nonces dropped per commit: bounded work, and faster than they come
_Key = tuple[str, bytes]


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
            return condition.value not in top and (
                len(top) < condition.width or condition.value > top[-condition.width]
            )
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
