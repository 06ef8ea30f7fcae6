"""Tables of fixed size: what this node counts and remembers of those who ask, whoever they are."""

import threading
from itertools import islice
from typing import Final

from tradeguard.core.errors import ConfigError

_SAMPLE: Final = 8  # entries compared for an eviction


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
