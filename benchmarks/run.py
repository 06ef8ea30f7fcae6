"""Measure tradeguard beside the bare application and a naive stack, interleaved; write results.md.

    python benchmarks/run.py [--rounds 9] [--requests 400] [--seconds 1.5] [--keys 1000000] [--asked 2000]
    make bench

Everything of one table is timed in the same run, in short bursts in random order, so that the noise of the machine hits
all alike. The figure is the fastest burst. Read the ratios, not the microseconds.
"""

import argparse
import asyncio
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dialects
import frameworks
import keys
import quotas
import stores
import subjects
from subjects import WRONG, environ, make_guard, make_wsgi, naive, tg1_headers

from tradeguard import ASGI, Source
from tradeguard.backends.memory import MemoryFailures

HERE = Path(__file__).parent
Burst = Callable[[int], float]


@dataclass
class Row:
    """One subject: how to time a burst of n requests (s), and what came out (µs per request)."""

    name: str
    burst: Burst
    times: list[float] = field(default_factory=list[float])

    @property
    def best(self) -> float:
        """The fastest burst."""
        return min(self.times)


def asgi(app: Any, headers: Callable[[], Any], status: int = 200) -> Burst:
    """Time an ASGI application in-process, on one event loop."""

    def burst(count: int) -> float:
        took, seen = run_loop(timed(app, [naive.http_scope(headers()) for _ in range(count)]))
        assert seen == {status}, seen
        return took

    return burst


async def timed(app: Any, scopes: list[dict[str, Any]]) -> tuple[float, set[int]]:
    """Ask for each scope in turn; return how long it took (s), and what was answered."""
    seen: set[int] = set()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": naive.BODY, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.add(message["status"])

    began = time.perf_counter()
    for scope in scopes:
        await app(scope, receive, send)
    return time.perf_counter() - began, seen


def settle(app: Any) -> None:
    """Ask until it answers: state in a new file refuses what was signed before its first second was over."""
    for _ in range(100):
        if run_loop(timed(app, [naive.http_scope(tg1_headers())]))[1] == {200}:
            return
        time.sleep(0.1)
    raise RuntimeError("the guarded application answers nothing")


def run_loop(work: Coroutine[Any, Any, tuple[float, set[int]]]) -> tuple[float, set[int]]:
    """Run on the one loop of this benchmark."""
    return LOOP.run_until_complete(work)


LOOP = asyncio.new_event_loop()


def wsgi(app: Any) -> Burst:
    """Time a WSGI application in-process."""

    def burst(count: int) -> float:
        environs, seen = [environ(tg1_headers()) for _ in range(count)], set[str]()
        began = time.perf_counter()
        for env in environs:
            response = app(env, lambda status, _fields, _exc=None: seen.add(status))
            b"".join(response)
            if hasattr(response, "close"):
                response.close()
        took = time.perf_counter() - began
        assert seen == {"200 OK"}, seen
        return took

    return burst


def gated() -> Burst:
    """A source that has failed until it must wait for a quarter of an hour."""
    table = MemoryFailures()
    for _ in range(20):
        table.add(("127.0.0.1",), time.time_ns(), 1)
    return asgi(ASGI(naive.bare_app, guard=make_guard(Source(table=table))), tg1_headers, 429)


def in_process() -> list[Row]:
    """The subjects of the in-process table."""
    guarded = ASGI(naive.bare_app, guard=make_guard())
    durable = ASGI(naive.bare_app, guard=make_guard(durable=True))
    settle(durable)
    refusing = ASGI(naive.bare_app, guard=make_guard(Source(pair=10**9, address=10**9)))  # never closes
    return [
        Row("bare ASGI", asgi(naive.bare_app, naive.signed_headers)),
        Row("naive stack", asgi(subjects.make_naive(), naive.signed_headers)),
        Row("tradeguard, granted", asgi(guarded, tg1_headers)),
        Row("tradeguard, granted, SQLite keys and state", asgi(durable, tg1_headers)),
        Row("tradeguard, bad signature", asgi(refusing, lambda: tg1_headers(WRONG), 401)),
        Row("tradeguard, gated source", gated()),
        Row("bare WSGI", wsgi(subjects.wsgi_bare)),
        Row("tradeguard, WSGI", wsgi(make_wsgi())),
    ]


def measure(rows: list[Row], rounds: int, count: int) -> None:
    """Time all rows, interleaved."""
    for done in range(rounds):
        print(f"\rin-process {done + 1}/{rounds}", end="", file=sys.stderr, flush=True)
        for row in random.sample(rows, len(rows)):
            row.times.append(row.burst(count) / count * 1e6)
    print(file=sys.stderr)


EVERYTHING = "from tradeguard import ASGI, Freshness, Guard, Journal, Memory, Network, Replay, Scope, Signature"


def import_time(code: str) -> float:
    """Return what an import adds to the start of an interpreter, in ms (median of differences)."""
    return statistics.median((timed_python(code) - timed_python("pass")) * 1e3 for _ in range(15))


def timed_python(code: str) -> float:
    """Return how long an interpreter takes for some code, in s."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


async def load(port: int, requests: list[bytes], seconds: float, connections: int = 16) -> float:
    """Send requests over keep-alive connections for a while; return requests per second."""
    done, end = 0, time.perf_counter() + seconds

    async def one() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end and requests:
            writer.write(requests.pop())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readuntil(b'{"ok":true}' if b"chunked" not in head else b"0\r\n\r\n")
            done += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return done / (time.perf_counter() - began)


def serve_and_load(name: str, seconds: float) -> float:
    """Run one subject under uvicorn in a process of its own and load it; return requests per second."""
    process = subprocess.Popen([sys.executable, HERE / "serve.py", name], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        time.sleep(0.5)
        count = int(seconds * 15_000)
        headers = naive.signed_headers if name == "naive" else lambda: tg1_headers(host=f"127.0.0.1:{port}")
        requests = [wire(headers(), port) for _ in range(count)]
        return asyncio.run(load(port, requests, seconds))
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def wire(headers: list[tuple[bytes, bytes]], port: int) -> bytes:
    """Return a request as it goes over the wire."""
    fields = [(n, b"127.0.0.1:%d" % port if n == b"host" else v) for n, v in headers]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    return b"POST /orders HTTP/1.1\r\n" + lines + b"\r\n" + naive.BODY


def under_uvicorn(rounds: int, seconds: float) -> dict[str, list[float]]:
    """Requests per second of each subject, interleaved."""
    found: dict[str, list[float]] = {name: [] for name in subjects.SERVED}
    for done in range(rounds):
        print(f"\runder uvicorn {done + 1}/{rounds}", end="", file=sys.stderr, flush=True)
        for name in random.sample(sorted(found), len(found)):
            found[name].append(serve_and_load(name, seconds))
    print(file=sys.stderr)
    return found


def report(rows: list[Row], served: dict[str, list[float]], arguments: argparse.Namespace) -> str:
    """Return results.md."""
    by_name = {row.name: row.best for row in rows}
    asgi_added = by_name["tradeguard, granted"] - by_name["bare ASGI"]
    naive_added = by_name["naive stack"] - by_name["bare ASGI"]
    lines = [
        "# Results",
        "",
        f"Written by `make bench` on {platform.machine()}, Python {platform.python_version()}: {arguments.rounds}",
        f"interleaved rounds of {arguments.requests} requests, the fastest burst of each. Read the ratios: the machine",
        "is shared and noisy.",
        "",
        f"One signed order, {len(naive.BODY)} bytes: key, source, signature, freshness, network, scope, nonce, two",
        "quotas with their header fields, intent and outcome in a journal file.",
        "",
        "| in-process | µs per request | over bare |",
        "|---|---|---|",
    ]
    for row in rows:
        base = by_name["bare WSGI" if "WSGI" in row.name else "bare ASGI"]
        lines.append(f"| {row.name} | {row.best:.1f} | {row.best - base:.1f} |")
    granted = by_name["tradeguard, granted"]
    best = {name: max(values) for name, values in served.items()}
    lines += [
        "",
        "| ratio | measured | mark |",
        "|---|---|---|",
        f"| added time, tradeguard / naive stack | {asgi_added / naive_added:.2f} | 0.17 |",
        f"| a bad signature / a grant | {by_name['tradeguard, bad signature'] / granted:.2f} | 1.00 |",
        f"| a gated source / a grant | {by_name['tradeguard, gated source'] / granted:.3f} | 0.050 |",
        f"| requests per second under uvicorn, tradeguard / bare | {best['tradeguard'] / best['bare']:.2f} | 0.60 |",
        f"| requests per second under uvicorn, naive stack / bare | {best['naive'] / best['bare']:.2f} | |",
        f"| import tradeguard | {import_time('import tradeguard'):.0f} ms | 60 ms |",
        f"| the same, and every name of an ASGI host used | {import_time(EVERYTHING):.0f} ms | |",
        "",
        "| under uvicorn, 16 connections | requests per second, best of rounds |",
        "|---|---|",
        *(f"| {name} | {value:.0f} |" for name, value in best.items()),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure everything and write results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds")
    parser.add_argument("--requests", type=int, default=400, help="requests in a burst")
    parser.add_argument("--seconds", type=float, default=1.5, help="of load per subject and round under uvicorn")
    parser.add_argument("--keys", type=int, default=1_000_000, help="in the store of many keys, at least 200,000")
    parser.add_argument("--asked", type=int, default=2_000, help="times that each framework is asked, bare and guarded")
    parser.add_argument("--output", type=Path, default=HERE / "results.md")
    arguments = parser.parse_args()
    rows = in_process()
    measure(rows, arguments.rounds, arguments.requests)
    served = under_uvicorn(min(arguments.rounds, 4), arguments.seconds)
    text = report(rows, served, arguments) + "\n".join(keys.report(arguments.keys, 200_000, arguments.rounds))
    text += "\n" + "\n".join(quotas.report(arguments.keys, arguments.rounds))
    text += "\n" + "\n".join(stores.report(rounds=5, requests=400, rate=300, seconds=5))
    text += "\n" + "\n".join(frameworks.report(arguments.asked))
    text += "\n" + "\n".join(dialects.report(6 * arguments.rounds))  # its bursts are short
    arguments.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
