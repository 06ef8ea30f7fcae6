"""Memory: state, keys, tables and journal inside this process. Exact for threads and tasks, bounded, not kept."""

from tradeguard.backends.memory.failures import MemoryDistinct, MemoryFailures
from tradeguard.backends.memory.journal import MemoryJournal
from tradeguard.backends.memory.keys import MemoryKeys
from tradeguard.backends.memory.state import Memory
from tradeguard.backends.memory.table import MemoryRecent, MemoryTable

__all__ = ["Memory", "MemoryDistinct", "MemoryFailures", "MemoryJournal", "MemoryKeys", "MemoryRecent", "MemoryTable"]
