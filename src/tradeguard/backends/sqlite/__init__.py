"""SQLite: keys and state in files, durable, shared by the processes of one machine."""

from tradeguard.backends.sqlite.keys import SQLiteKeys
from tradeguard.backends.sqlite.state import SQLiteState

__all__ = ["SQLiteKeys", "SQLiteState"]
