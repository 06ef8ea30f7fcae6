"""Looking: an application is imported to read its routes, maybe before its configuration exists or far from its keys.

While that lasts, whatever is built from a configuration file is built from none: it opens no file, and refuses all.
"""

from collections.abc import Generator
from contextlib import contextmanager
from threading import Event
from typing import Final

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations

_looking: Final = Event()  # of the process: an application may be built in a thread


@contextmanager
def only_look() -> Generator[None]:
    """Open no configuration until the block ends. It is for who imports an application and does not serve it."""
    _looking.set()
    try:
        yield
    finally:
        _looking.clear()


def is_looking() -> bool:
    """Tell whether an application is only looked at."""
    return _looking.is_set()


def make_stand_in() -> Guard:
    """Return a guard that knows no key and no operation, so that it refuses everything."""
    checks = [Source(), Signature(MemoryKeys([])), Freshness(), Network(), Scope(), Replay()]
    return Guard(checks, operations=Operations({}), state=Memory(), journal=MemoryJournal())
