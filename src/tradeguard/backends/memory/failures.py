"""Failures: who keeps failing, and with how many others; counted on this node in tables of fixed size."""

import os
import secrets
import threading
from hashlib import blake2b
from math import log
from typing import Final

from tradeguard.backends.memory.ranked import Key, Ranked
from tradeguard.core.lockout import Failure, count_at, level_of, wait_for

_TOLD: Final = 900_000_000_000  # ns within which somebody is locked anew without a word
_EXACT: Final = 32  # distinct items that are kept one by one
_BITS: Final = 1024  # of the bitmap for more
_TEXT: Final = 128  # characters of a name or an item by which it is told from others


class _Entry:
    """Who fails: how often (its level, see `tradeguard.core.lockout`), and until when he waits."""

    __slots__ = ("rank", "told", "until")

    def __init__(self) -> None:
        self.rank = self.until = self.told = 0


class MemoryFailures:
    """Failures by name, and until when each name is locked.

    Where the table is full, who has failed least makes room: nobody gets rid of his own count by failing under other
    names, unless each of these has failed as often.

    Args:
        size: most names; 200 to 300 bytes each.
        salt: what the waits are diced with; random by default.

    `latest` is until when the last of all is locked, ns UTC.

    Raises:
        ConfigError: the size is below 8.
    """

    def __init__(self, size: int = 65_536, *, salt: bytes = b"") -> None:
        self._ranked, self._lock = Ranked[_Entry](size, "MemoryFailures"), threading.Lock()
        self._salt = salt or secrets.token_bytes(16)  # beside it, Python hashes texts with a secret of the process
        self._entries = self._ranked.entries
        self._node = secrets.token_hex(8)
        self.latest = 0

    @property
    def node(self) -> str:
        """A name for this process, unlike that of any other."""
        return f"{self._node}-{os.getpid()}"

    def until(self, name: Key) -> int:
        """Return until when a name is locked, ns UTC; 0 for one that never was."""
        entry = self._entries.get(name)
        return 0 if entry is None else entry.until

    def add(self, name: Key, at: int, free: int, heard: float = 0.0) -> Failure:
        """Count a failure, and lock the name for as long as its count asks for.

        Args:
            name: who fails.
            at: when, ns UTC.
            free: how many failures cost nothing.
            heard: how many failures other nodes have counted.
        """
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                entry, own = _Entry(), 1.0
                entry.rank = at
                self._ranked.add(name, entry)
            else:
                own = count_at(entry.rank, at) + 1.0
                entry.rank = level_of(own, at)
            total = own + heard
            return (
                self._lock_out(name, entry, total, free, at) if total > free else Failure(total, entry.rank, 0, False)
            )

    def _lock_out(self, name: Key, entry: _Entry, total: float, free: int, at: int) -> Failure:
        wait = wait_for(total, free, hash((self._salt, name, entry.rank)))
        news = wait > 0 and entry.told <= at
        if news:
            entry.told = at + _TOLD
        if wait:
            entry.until = max(entry.until, at + wait)
            self.latest = max(self.latest, entry.until)
        return Failure(total, entry.rank, entry.until, news)

    def clear(self, name: Key, at: int) -> float:
        """Forget the failures of a name; return how many they were at a time (ns UTC), 0 where it was never locked."""
        entry = self._entries.get(name)
        if entry is None:
            return 0.0
        with self._lock:
            count = count_at(entry.rank, at) if entry.told else 0.0
            entry.rank = entry.until = entry.told = 0
            return count

    def __contains__(self, name: Key) -> bool:
        entry = self._entries.get(name)
        return entry is not None and entry.rank > 0

    def __len__(self) -> int:
        """Return how many names are held."""
        return len(self._ranked.entries)


class _Items:
    """The distinct items of one name: exact up to 32 within `life`; above, estimated by a linear counter.

    (Whang, Vander-Zanden, Taylor 1990: of m bits z are still 0, so that about -m ln(z / m) items have come.)
    """

    __slots__ = ("bits", "kept", "rank", "since")

    def __init__(self) -> None:
        self.rank, self.bits, self.since = 0, 0, 0
        self.kept: dict[str, int] = {}

    def add(self, item: str, at: int, life: int, salt: bytes) -> int:
        if self.bits and at - self.since >= life:
            self.bits = 0
            self.kept.clear()
        if not self.bits:
            if item not in self.kept and len(self.kept) >= _EXACT:
                self.kept = {kept: seen for kept, seen in self.kept.items() if at - seen < life}
            if item in self.kept or len(self.kept) < _EXACT:
                self.kept[item] = at
                return 1 if len(self.kept) == 1 else sum([at - seen < life for seen in self.kept.values()])
            self.since = at
            for kept in self.kept:
                self.bits |= _bit(kept, salt)
        self.bits |= _bit(item, salt)
        empty = max(1, _BITS - self.bits.bit_count())
        return max(_EXACT + 1, round(-_BITS * log(empty / _BITS)))


def _bit(item: str, salt: bytes) -> int:
    digest = blake2b(item.encode("utf-8", "replace"), digest_size=8, key=salt).digest()
    return 1 << int.from_bytes(digest, "big") % _BITS


class MemoryDistinct:
    """How many distinct items came with a name lately: one source with how many keys, one key from how many sources.

    Args:
        life: how long an item counts, in ns.
        size: most names; up to 8 kB each, where somebody writes long key ids. Where it is full, the name with fewest
            items makes room.

    Raises:
        ConfigError: the size is below 8.
    """

    def __init__(self, life: int, size: int = 4_096) -> None:
        self._ranked, self._lock, self._life = Ranked[_Items](size, "MemoryDistinct"), threading.Lock(), life
        self._salt = secrets.token_bytes(16)

    def add(self, name: str, item: str, at: int) -> int:
        """Take note of an item at a time (ns UTC); return how many distinct ones there are."""
        name, item = name[:_TEXT], item[:_TEXT]
        with self._lock:
            known = self._ranked.entries.get((name,))
            items = _Items() if known is None else known
            count = items.add(item, at, self._life, self._salt)
            items.rank = at // self._life + count
            if known is None:
                self._ranked.add((name,), items)
            return count

    def __len__(self) -> int:
        """Return how many names are held."""
        return len(self._ranked.entries)
