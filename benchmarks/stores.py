"""Measure requests over Redis beside the naive stack, and the order path in an open loop, also while Redis is lost.

    python benchmarks/stores.py [--rounds 5] [--requests 400] [--rate 300] [--seconds 5]

It starts a redis-server of its own. In the open loop a request is sent when its time has come, whether or not those
before it were answered, and its latency is counted from that time: no wait is left out (wrk2's way).
"""

import argparse
import asyncio
import contextlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import subjects
from subjects import naive, tg1_headers

from tradeguard import ASGI, Redis
from tradeguard.backends.memory import Memory
from tradeguard.core.commit import Standby

HERE = Path(__file__).parent
LOST = 1.0  # seconds that the store does not answer


@contextlib.contextmanager
def serve_redis() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a redis-server on a free port; give its URL and process."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("stores.py needs redis-server: apt-get install redis-server")
    with socket.socket() as probe, tempfile.TemporaryDirectory(prefix="tradeguard-bench-") as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        quiet = ["--save", "", "--maxmemory-policy", "noeviction", "--loglevel", "warning", "--dir", folder]
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", *quiet], stdout=subprocess.DEVNULL
        )
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield f"redis://127.0.0.1:{port}/0", process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(10)


async def ask(app: Any, headers: list[tuple[bytes, bytes]]) -> int:
    """Ask an ASGI application in-process; return the status."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": naive.BODY, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await app(naive.http_scope(headers), receive, send)
    return status


async def time_burst(app: Any, make: Any, count: int, flying: int) -> float:
    """Return µs per request, of `count` requests with so many in flight."""
    ready = [make() for _ in range(count)]

    async def work() -> None:
        while ready:
            status = await ask(app, ready.pop())
            assert status == 200, status

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(flying)))
    return (time.perf_counter() - began) / count * 1e6


async def over_redis(url: str, rounds: int, count: int) -> dict[tuple[str, int], float]:
    """Return the fastest burst of each subject, one at a time and 64 in flight, interleaved."""
    naive.log_to(str(subjects.FOLDER / "audit.log"))
    state = naive.RedisState(url)
    record = {**naive.RECORD, "active": True}
    import json  # noqa: PLC0415

    await state.redis.set("naive:key:k1", json.dumps(record))
    guard = subjects.make_guard(state=Redis(url, deadline=5))
    apps: dict[str, tuple[Any, Any]] = {
        "bare": (naive.bare_app, naive.signed_headers),
        "naive": (naive.NaiveGuard(naive.bare_app, state), naive.signed_headers),
        "tradeguard": (ASGI(naive.bare_app, guard=guard), tg1_headers),
    }
    while await ask(apps["tradeguard"][0], tg1_headers()) != 200:  # noqa: ASYNC110 - the barrier of its first second
        await asyncio.sleep(0.1)
    best: dict[tuple[str, int], float] = {}
    for _ in range(rounds):
        for name, flying in random.sample([(name, flying) for name in apps for flying in (1, 64)], 2 * len(apps)):
            took = await time_burst(*apps[name], count, flying)
            best[name, flying] = min(best.get((name, flying), took), took)
    return best


class Loop(NamedTuple):
    """What an open loop came to: latencies in ms, and how often which status was answered."""

    latencies: list[float]
    statuses: Counter[str]

    def at(self, share: float) -> float:
        """Return a percentile in ms."""
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


async def open_loop(port: int, make: Any, rate: int, seconds: float, lose: Any = None) -> Loop:
    """Send at a fixed rate over as many connections as it takes; `lose` is called in the middle."""
    loop = Loop([], Counter())
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    begin = time.perf_counter() + 0.2

    async def one(at: float) -> None:
        await asyncio.sleep(at - time.perf_counter())
        reader, writer = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
        headers = [(n, b"127.0.0.1:%d" % port if n == b"host" else v) for n, v in make(port)]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        writer.write(b"POST /orders HTTP/1.1\r\n" + lines + b"\r\n" + naive.BODY)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"")
        if length:
            await reader.readexactly(int(length.split(b":")[1]))
        else:
            await reader.readuntil(b"0\r\n\r\n")
        loop.latencies.append((time.perf_counter() - at) * 1e3)
        loop.statuses[head.split(b" ")[1].decode()] += 1
        free.append((reader, writer))

    async def middle() -> None:
        await asyncio.sleep(begin + seconds / 2 - time.perf_counter())
        lose(signal.SIGSTOP)
        await asyncio.sleep(LOST)
        lose(signal.SIGCONT)

    works = [one(begin + number / rate) for number in range(int(rate * seconds))]
    await asyncio.gather(*works, *([middle()] if lose is not None else []))
    for _, writer in free:
        writer.close()
    return loop


def serve_and_ask(name: str, url: str, rate: int, seconds: float, lose: Any = None) -> Loop:
    """Run a subject under uvicorn in a process of its own, and an open loop against it."""
    process = subprocess.Popen([sys.executable, HERE / "serve.py", name, url], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        time.sleep(2)  # the barrier of its first second
        make = naive_headers if name == "naive" else headers_for
        return asyncio.run(open_loop(port, make, rate, seconds, lose))
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def headers_for(port: int) -> list[tuple[bytes, bytes]]:
    """Return the header of a new order to a port."""
    return tg1_headers(host=f"127.0.0.1:{port}")


def naive_headers(_port: int) -> list[tuple[bytes, bytes]]:
    """Return the header of a new order as the yardstick has it signed."""
    return list(naive.signed_headers())


def make_redis_app(url: str) -> ASGI:
    """Return the guarded application over Redis, with a standby."""
    standby = Standby(Memory(), nodes=1)
    return ASGI(naive.bare_app, guard=subjects.make_guard(state=Redis(url), standby=standby))


def report(rounds: int, requests: int, rate: int, seconds: float) -> list[str]:
    """Measure everything; return the lines of the section."""
    with serve_redis() as (url, process):
        best = asyncio.run(over_redis(url, rounds, requests))
        loops = {name: serve_and_ask(name, url, rate, seconds) for name in ("bare", "naive", "tradeguard", "redis")}
        loops["redis, lost for a second"] = serve_and_ask("redis", url, rate, seconds, process.send_signal)
    added = {key: best[key] - best["bare", key[1]] for key in best}
    lines = [
        "",
        "## Over Redis",
        "",
        "| one order, in-process | one at a time, µs | 64 in flight, µs |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {best[name, 1]:.0f} | {best[name, 64]:.0f} |" for name in ("bare", "naive", "tradeguard")]
    lines += ["", "| ratio | measured | mark |", "|---|---|---|"]
    for flying, text, mark in ((1, "one at a time", "0.25"), (64, "64 in flight", "0.20")):
        ratio = added["tradeguard", flying] / added["naive", flying]
        lines.append(f"| added time, tradeguard / naive stack, {text} | {ratio:.2f} | {mark} |")
    lines += [
        "",
        f"Orders under uvicorn in an open loop, {rate} a second for {seconds:.0f} s; latency from when each was due.",
        "",
        "| orders | p50 ms | p99 ms | p99.9 ms | answers |",
        "|---|---|---|---|---|",
    ]
    for name, loop in loops.items():
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(loop.statuses.items()))
        lines.append(f"| {name} | {loop.at(0.5):.1f} | {loop.at(0.99):.1f} | {loop.at(0.999):.1f} | {answers} |")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure requests over Redis, and the order path in an open loop.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--rate", type=int, default=300, help="orders a second in the open loop")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each open loop")
    given = parser.parse_args()
    print("\n".join(report(given.rounds, given.requests, given.rate, given.seconds)))


if __name__ == "__main__":
    main()
