"""Measure commits on PostgreSQL: p50 beside `SELECT 1`, one at a time and 16 in flight, in one interleaved run.

    python benchmarks/postgres_commit.py [--rounds 20] [--calls 100]

It starts a server of its own in a temporary folder, with everything as it comes but the port: what is answered is on
the disk. A commit is Once + Below of three numbers + two quotas of two windows and one; where 16 are in flight, each is
of a key of its own. The second table compares the two ways of waiting for each other that a commit could use.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from backends.postgres_server import Server, serving

from tradeguard.backends.postgres import Postgres, migrate
from tradeguard.core.conditions import Below, Limit, Once, Quota

SECOND, FLIGHT = 1_000_000_000, 16
NUMBER = count()
Ask = Callable[[int], Coroutine[Any, Any, object]]
LOCKS = {
    "3 row locks": "SELECT FROM tradeguard.held WHERE owner IN ('a', 'b', 'c') ORDER BY owner FOR UPDATE",
    "3 advisory locks": "SELECT pg_advisory_xact_lock(id) FROM unnest(ARRAY[1, 2, 3]::bigint[]) AS id",
}


def committing(state: Postgres) -> Ask:
    """Return what makes one commit; `place` says whose."""
    minute, second = (Limit(10**6, 60 * SECOND), Limit(900, SECOND)), (Limit(900, SECOND),)

    async def ask(place: int) -> object:
        conditions = (
            Once((f"k{place}", b"%d" % next(NUMBER)), time.time_ns() + 30 * SECOND),
            Below(("halt", f"halt:{place}", f"key:{place}"), 2),
            Quota(f"orders:{place}", minute, 1),
            Quota(f"requests:{place}", second, 1),
        )
        return await state.commit(conditions, 0, "request", None)

    return ask


async def time_calls(ask: Ask, calls: int, flight: int) -> list[float]:
    """Return how long each call took, in µs, with so many in flight."""
    took: list[float] = []

    async def go(place: int) -> None:
        for _ in range(calls // flight):
            began = time.perf_counter()
            await ask(place)
            took.append((time.perf_counter() - began) * 1e6)

    await asyncio.gather(*map(go, range(flight)))
    return took


async def measure(server: Server, rounds: int, calls: int) -> dict[str, list[float]]:
    """Return the times of all calls by what was called."""
    state = Postgres(server.dsn(), deadline=10, size=FLIGHT)

    async def select(_: int) -> object:
        return await state._server.ask(b"SELECT 1::bigint", ())

    async def read(place: int) -> object:
        return await state.commit([Below(("halt", f"key:{place}"), 2)], 0, "request", None)

    asks = {"SELECT 1": select, "commit of numbers only": read, "commit": committing(state)}
    took: dict[str, list[float]] = {f"{name}, {flight}": [] for flight in (1, FLIGHT) for name in asks}
    work = [(name, flight) for name in asks for flight in (1, FLIGHT)]
    for turn in range(rounds + 2):
        random.shuffle(work)
        for name, flight in work:
            times = await time_calls(asks[name], calls, flight)
            took[f"{name}, {flight}"] += times if turn > 1 else []
    state.close()
    return took


def time_locks(server: Server) -> dict[str, float]:
    """Return how long the server takes for the locks of a commit, in µs, without waiting for its disk."""
    server.run("ALTER ROLE postgres SET synchronous_commit = off")
    server.run("INSERT INTO tradeguard.held SELECT convert_to(n, 'UTF8'), 0, 0 FROM unnest(ARRAY['a','b','c']) AS n")
    took: dict[str, list[float]] = {name: [] for name in LOCKS}
    for _ in range(9):
        for name, query in LOCKS.items():
            began = time.perf_counter()
            server.run(
                f"DO $$ BEGIN FOR n IN 1..500 LOOP PERFORM * FROM ({query}) AS q; COMMIT; END LOOP; END $$"
                if "advisory" in name
                else f"DO $$ DECLARE r record; BEGIN FOR n IN 1..500 LOOP FOR r IN {query} LOOP END LOOP; COMMIT; "
                "END LOOP; END $$"
            )
            took[name].append((time.perf_counter() - began) / 500 * 1e6)
    return {name: min(times) for name, times in took.items()}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--calls", type=int, default=96)
    asked = options.parse_args()
    with serving(fsync="on") as server:
        migrate(server.dsn())
        took = asyncio.run(measure(server, asked.rounds, asked.calls))
        locks = time_locks(server)
    print("| in flight | what | p50 µs | / SELECT 1 | p99 µs |\n|---|---|---|---|---|")
    for name, times in took.items():
        what, flight = name.rsplit(", ", 1)
        middle, floor = statistics.median(times), statistics.median(took[f"SELECT 1, {flight}"])
        print(f"| {flight} | {what} | {middle:.0f} | {middle / floor:.1f} | {sorted(times)[-len(times) // 100]:.0f} |")
    print("\n| locks and commit, in the server | µs |\n|---|---|")
    for name, took_us in locks.items():
        print(f"| {name} | {took_us:.1f} |")


if __name__ == "__main__":
    main()
