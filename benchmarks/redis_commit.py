"""Measure a commit over Redis beside a bare script over the same connections, interleaved.

    python benchmarks/redis_commit.py [--rounds 15] [--calls 300]

It starts a redis-server of its own on a free port. The commit settles Once, Below and two quotas (10,000,000 per second
and per day, so that none refuses); the bare script is `return 1`, by the same pipeline, and by redis-py's own client.
The figure is the median of a call's time: one at a time, and with 64 in flight (per call: the round's time by its
calls). `server` is the mean time that the server says it took for a script, one at a time, in the best round; the
rest of a call is the client's, the network's and the loop's. Read the ratios, not the microseconds.
"""

import argparse
import asyncio
import itertools
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from redis.asyncio import Redis as Client

from tradeguard.backends.redis import Redis
from tradeguard.backends.redis.script import Script
from tradeguard.core.conditions import Below, Limit, Once, Quota

FLIGHT = 64
SECOND = 1_000_000_000
WINDOWS = (Limit(10_000_000, SECOND), Limit(10_000_000, 86_400 * SECOND))
Call = Callable[[], Awaitable[object]]


@dataclass
class Subject:
    """What is measured, and what came out, µs."""

    name: str
    call: Call
    alone: list[float] = field(default_factory=list[float])
    flight: list[float] = field(default_factory=list[float])
    server: list[float] = field(default_factory=list[float])


async def time_alone(call: Call, calls: int) -> list[float]:
    """Return the time of each of so many calls, one after the other."""
    times: list[float] = []
    for _ in range(calls):
        began = time.perf_counter()
        await call()
        times.append((time.perf_counter() - began) * 1e6)
    return times


async def time_flight(call: Call, calls: int) -> float:
    """Return the time per call with 64 callers at once."""

    async def caller() -> None:
        for _ in range(calls // FLIGHT + 1):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(FLIGHT)))
    return (time.perf_counter() - began) * 1e6 / (FLIGHT * (calls // FLIGHT + 1))


async def told_by_server(client: Client) -> float:
    """Return how long a script took in the server since its counts were reset, µs."""
    stats = await client.info("commandstats")
    return float(stats["cmdstat_evalsha"]["usec_per_call"])


async def measure(url: str, rounds: int, calls: int) -> list[Subject]:
    """Time all subjects in random order, round after round."""
    state = Redis(url, name="bench", capacity=10_000_000, per_key=10_000_000, deadline=5)
    number = itertools.count()
    below = Below(("halt", "halt:acme", "key:1"), 2)

    async def commit() -> None:
        now = time.time_ns()
        once = Once(("trader", b"%032d" % next(number)), now + 60 * SECOND)
        quotas = Quota("orders:trader", WINDOWS[:1], 1), Quota("daily:trader", WINDOWS[1:], 1)
        outcome = await state.commit((once, below, *quotas), now, f"request-{now}", None)
        assert not outcome.failed

    bare, line = Script("return 1").call([b"{tradeguard:bench}:store"], []), state._line
    client = Client.from_url(url)
    script = client.register_script("return 1")

    async def client_call() -> None:
        await script()

    subjects = [
        Subject("commit: Once + Below + 2 quotas", commit),
        Subject("return 1, same pipeline", lambda: line.call(bare)),
        Subject("return 1, redis-py client", client_call),
    ]
    for subject in subjects:
        await time_alone(subject.call, 50)
    for _ in range(rounds):
        for subject in random.sample(subjects, len(subjects)):
            await client.config_resetstat()
            subject.alone += await time_alone(subject.call, calls)
            subject.server.append(await told_by_server(client))
            subject.flight.append(await time_flight(subject.call, 4 * calls))
    state.close()
    await client.aclose()
    return subjects


def main() -> None:
    """Start a server, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=300)
    told = parser.parse_args()
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is missing: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            program,
            "--port",
            f"{port}",
            "--bind",
            "127.0.0.1",
            "--dir",
            folder,
            "--save",
            "",
            "--logfile",
            "log",
        ]
        server = subprocess.Popen(command)
        try:
            time.sleep(0.5)
            subjects = asyncio.run(measure(f"redis://127.0.0.1:{port}/0", told.rounds, told.calls))
        finally:
            server.kill()
            server.wait()
    base = subjects[1]
    print(f"{'':34}{'server':>12}{'p50 alone':>12}{'ratio':>8}{'64 in flight':>14}{'ratio':>8}")
    for subject in subjects:
        alone, flight = (statistics.median(times) for times in (subject.alone, subject.flight))
        ratios = alone / statistics.median(base.alone), flight / statistics.median(base.flight)
        told_us = min(subject.server)
        print(f"{subject.name:34}{told_us:9.1f} us{alone:9.1f} us{ratios[0]:8.2f}{flight:11.1f} us{ratios[1]:8.2f}")


if __name__ == "__main__":
    main()
