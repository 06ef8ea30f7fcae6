"""One node of a venue that places orders as fast as it can: `python orders.py FOLDER NAME STORE`, until its stdin
ends. STORE is the path of a file of SQLite, or the URL of a Redis.

A grant waits in a queue of the node's own, is rechecked, and handed on: then the time (ns, of the clock that all
processes share) goes into FOLDER/NAME.
"""

import os
import select
import sys
import time
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # support.py

from halts.operators import operators
from support import TRADER, make_checks, make_guard, sign

from tradeguard.backends.memory import MemoryJournal
from tradeguard.backends.redis import BlockingRedis
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.checks.halt import Halt
from tradeguard.core.decision import Grant
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.request import Request
from tradeguard.core.runtime import Threads
from tradeguard.halts.view import Halts

QUEUE = 20


def open_store(store: str) -> SQLiteState | BlockingRedis:
    """Open the store that the nodes share. It waits long: a test machine may be busy."""
    return BlockingRedis(store, deadline=2, opening=5) if "://" in store else SQLiteState(store, busy=2)


def main(folder: Path, name: str, store: str) -> None:
    """Place orders."""
    keys, state = operators(), open_store(store)
    journal = MemoryJournal(1_000)
    halts = Halts(state, keys, journal=journal)
    guard = make_guard([*make_checks(keys), Halt(halts)], state=state, journal=journal, runtime=Threads())
    handed_on = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    waiting: deque[tuple[Request, Grant]] = deque()
    while not select.select([0], [], [], 0)[0]:
        now = time.time_ns()
        request = sign(TRADER, "POST", at=now, arrived=now)
        decision = drive(guard.admit(request))
        if isinstance(decision, Grant):
            waiting.append((request, decision))
        while len(waiting) > QUEUE or (waiting and not isinstance(decision, Grant)):
            hand_on(guard, *waiting.popleft(), handed_on)
        time.sleep(0.001)
    guard.close()


def hand_on(guard: Guard, request: Request, grant: Grant, file: int) -> None:
    """Hand an order on, if its grant still stands."""
    if grant.recheck() is None:
        os.write(file, b"%d\n" % time.monotonic_ns())
        guard.finish(request, 200)
    else:
        guard.finish(request, 503)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
