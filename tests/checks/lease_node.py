"""One node of a venue that holds WebSockets open: `python lease_node.py STATE MOST LEASE`, told by its stdin.

`open` asks for a connection and prints "open" or the code of the denial, `close` ends one; those that are open are
renewed by the watcher, as in a server.
"""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # support.py

from support import TRADER, make_checks, make_guard, sign

from tradeguard.adapters.live import Stream
from tradeguard.adapters.passage import Passage
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.checks.connections import Connections
from tradeguard.checks.replay import Replay
from tradeguard.core.decision import Denial
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.runtime import Loop


async def hold(guard: Guard, passage: Passage) -> None:
    """Keep a connection open, as long as it may."""
    stream = Stream(passage)
    stream.open()
    try:
        await asyncio.Event().wait()
    finally:
        cut = stream.close()
        passage.finish(101)
        if cut and passage.denial is not None:
            print(passage.denial.code, flush=True)


async def main(path: str, most: int, lease: int) -> None:
    """Do as told, until the end of stdin."""
    operations = Operations({"WS /v1/stream": {"scopes": "orders:read", "lane": "read"}})
    checks = [check for check in make_checks() if not isinstance(check, Replay)]  # a new file has a barrier
    checks.append(Connections(key=most, lease=lease))
    state = SQLiteState(path, busy=5)
    guard = make_guard(checks, state=state, operations=operations, runtime=Loop(), without=("replay",))
    held = list[asyncio.Task[None]]()
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if line == "close":
            held.pop().cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # what is given back is given back by then: SQLite does not suspend
            print("closed", flush=True)
            continue
        now = time.time_ns()
        request = sign(TRADER, target=b"/v1/stream", at=now, arrived=now, kind="websocket")
        decision = await guard.admit(request)
        if isinstance(decision, Denial):
            print(decision.code, flush=True)
        else:
            held.append(asyncio.create_task(hold(guard, Passage(guard, request, decision))))
            await asyncio.sleep(0)
            print("open", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
