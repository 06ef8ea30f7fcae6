"""A guarded application as gunicorn loads it: `gunicorn workers:make_app()`, its stores in the folder $STORES.

They wait long for each other: a test machine may be busy, and that is not what is tested.
"""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # support.py

from support import OPERATIONS

from tradeguard import (
    WSGI,
    CachedKeys,
    Freshness,
    Guard,
    Journal,
    LocalSealer,
    Memory,
    Operations,
    Replay,
    Scope,
    SealedKeys,
    Signature,
    Source,
    SQLiteKeys,
    SQLiteState,
)
from tradeguard.secrets.master import load_master_keys


def open_keys(folder: Path) -> CachedKeys:
    """The key store that all workers share."""
    sealer = LocalSealer(load_master_keys(f"file:{folder}/master.key"))
    return CachedKeys(SealedKeys(SQLiteKeys(folder / "keys.db", busy=2), sealer))


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Tell which worker answered."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]


def make_app(backend: str = "sqlite") -> WSGI:
    """The guarded application."""
    folder = Path(os.environ["STORES"])
    state = (
        SQLiteState(folder / "state.db", busy=2)
        if backend == "sqlite"
        else Memory(since=1, lock=folder / "memory.lock")
    )
    guard = Guard(
        [Source(), Signature(open_keys(folder)), Freshness(), Scope(), Replay()],
        operations=Operations(OPERATIONS),
        state=state,
        journal=Journal(folder / "audit.jsonl"),
    )
    return WSGI(app, guard=guard)
