"""Ranked: a table of fixed size in which whoever ranks lowest makes room."""

import heapq
from typing import Final, Generic, Protocol, TypeVar

from tradeguard.core.errors import ConfigError

LEAST: Final = 8
"""The smallest size of a table."""
Key = tuple[str, ...]


class Rank(Protocol):
    """What is ranked. `rank` grows; what falls nevertheless is evicted later than it could be."""

    rank: int


E = TypeVar("E", bound=Rank)


class Ranked(Generic[E]):
    """Entries by key, of which the lowest makes room for a new one. Whoever uses it holds a lock.

    The heap knows each entry by the rank it had when it was last looked at. What has risen since is put back when it
    comes up, so that every rise costs one step once, however often somebody sprays new keys.

    Args:
        size: most entries.
        owner: whose size it is, for the error.

    Raises:
        ConfigError: the size is below 8.
    """

    __slots__ = ("_heap", "_size", "_turn", "entries")

    def __init__(self, size: int, owner: str) -> None:
        if size < LEAST:
            raise ConfigError(f"{owner}: size is a number of keys, at least {LEAST}")
        self._size, self._turn = size, 0
        self.entries: dict[Key, E] = {}
        self._heap: list[tuple[int, int, Key]] = []

    def add(self, key: Key, entry: E) -> None:
        """Take in an entry under a key that is not known; the lowest makes room."""
        if len(self.entries) >= self._size:
            self._evict()
        self.entries[key] = entry
        self._turn += 1
        heapq.heappush(self._heap, (entry.rank, self._turn, key))

    def _evict(self) -> None:
        while True:
            rank, turn, key = self._heap[0]
            now = self.entries[key].rank
            if now <= rank:
                heapq.heappop(self._heap)
                del self.entries[key]
                return
            heapq.heapreplace(self._heap, (now, turn, key))
