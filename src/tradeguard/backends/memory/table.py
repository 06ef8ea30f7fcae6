"""Tables of fixed size: what this node counts and remembers of those who ask, whoever they are."""

import threading

from tradeguard.backends.memory.ranked import Key, Ranked
from tradeguard.core.errors import ConfigError


class _Debt:
    """A debt, ranked by when it is drained."""

    __slots__ = ("rank",)

    def __init__(self) -> None:
        self.rank = 0


class MemoryTable:
    """Counters of this node: a fixed number of them, whoever asks.

    A debt is kept as the time at which it is drained. Where the table is full, the smallest debt makes room, so that
    a flood of new ones does not free those who owe most.

    Args:
        size: most keys.

    Raises:
        ConfigError: the size is below 8.
    """

    def __init__(self, size: int = 65_536) -> None:
        self._ranked, self._lock = Ranked[_Debt](size, "MemoryTable"), threading.Lock()

    def add(self, key: Key, cost: int, at: int) -> int:
        """Add `cost` ns of debt; return when the key's debt is drained, ns UTC."""
        with self._lock:
            debt = self._ranked.entries.get(key)
            known = debt is not None
            debt = debt if debt is not None else _Debt()
            debt.rank = max(debt.rank, at) + cost
            if not known:
                self._ranked.add(key, debt)
            return debt.rank

    def drained(self, key: Key) -> int:
        """Return when the key's debt is drained, ns UTC; 0 for a key without one."""
        debt = self._ranked.entries.get(key)
        return 0 if debt is None else debt.rank

    def __len__(self) -> int:
        """Return how many keys are held."""
        return len(self._ranked.entries)


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
        self._until: dict[Key, int] = {}

    def note(self, name: Key, at: int) -> None:
        """Remember a name from `at` (ns UTC) on; cheap while it is known well enough."""
        if self._until.get(name, 0) - at > self._life // 2:
            return
        with self._lock:
            self._until.pop(name, None)
            self._put(name, at)

    def first(self, name: Key, at: int) -> bool:
        """Tell whether a name is not recent at a time (ns UTC), and remember it: of many who ask at once, one is first.

        It is recent for `life` from then on, however often it is asked for.
        """
        with self._lock:
            if self._until.get(name, 0) > at:
                return False
            self._until.pop(name, None)
            self._put(name, at)
            return True

    def has(self, name: Key, at: int) -> bool:
        """Tell whether a name is recent at a time, ns UTC."""
        return self._until.get(name, 0) > at

    def __len__(self) -> int:
        """Return how many names are held."""
        return len(self._until)

    def _put(self, name: Key, at: int) -> None:
        if len(self._until) >= self._size:
            del self._until[next(iter(self._until))]
        self._until[name] = at + self._life
