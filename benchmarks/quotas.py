"""Measure quotas in memory: two windows at once, beside a bare prototype and other limiters; and a million keys.

    python benchmarks/quotas.py [--rounds 9] [--calls 4000] [--keys 1000000]

Everything of one table is timed in the same run, in short bursts in random order; the figure is the fastest burst. The
limits are never reached: what is timed is the way of those who are let through.
"""

import argparse
import gc
import random
import resource
import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any

from tradeguard import Memory
from tradeguard.backends.memory.meter import Meter
from tradeguard.core.conditions import Quota
from tradeguard.core.drive import drive
from tradeguard.core.rate import parse_rate

RATE = "100000/second;1000000000/day"
STEP = 50_000  # ns between two requests of one key
START = 1_800_000_000_000_000_000
Hit = Callable[[], object]


class Prototype:
    """The floor: per key a ring of times for the second and 96 counts for the day; no answers, no bounds, no lock."""

    def __init__(self, amount: int = 1_000, day: int = 1_000_000_000) -> None:
        self.amount, self.day = amount, day
        self.keys: dict[str, list[Any]] = {}

    def hit(self, key: str, now: int) -> bool:
        """Take one unit out of both windows, or out of none."""
        kept = self.keys.get(key)
        if kept is None:
            kept = self.keys[key] = [array("q", [0] * self.amount), 0, deque[list[int]](), 0]
        ring, place, counts, total = kept
        slot = now // 900_000_000_000
        while counts and counts[0][0] < slot - 96:
            total -= counts.popleft()[1]
        if ring[place] > now - 1_000_000_000 or total >= self.day:
            return False
        ring[place] = now
        kept[1] = (place + 1) % len(ring)
        if counts and counts[-1][0] == slot:
            counts[-1][1] += 1
        else:
            counts.append([slot, 1])
        kept[3] = total + 1
        return True


def prototype() -> Hit:
    """Return the floor."""
    bare, at = Prototype(), START

    def hit() -> object:
        nonlocal at
        at += 2_000_000
        return bare.hit("requests:key:k1", at)

    return hit


def ours(text: str = RATE, step: int = STEP) -> Hit:
    """Return a whole commit of one quota: two windows, all or nothing, with use and times for the answer."""
    state, at, quota = Memory(since=1), START, Quota("requests:key:k1", parse_rate(text), 1)
    conditions = (quota,)

    def hit() -> object:
        nonlocal at
        at += step
        return not drive(state.commit(conditions, at, "r", None)).failed

    return hit


def meter(text: str = RATE, step: int = STEP) -> Hit:
    """Return what counts, alone: without the commit around it."""
    one, at = Meter(parse_rate(text)), START

    def hit() -> object:
        nonlocal at
        at += step
        if not one.fits(at, 1):
            return False
        one.take(at, 1)
        return one.use()

    return hit


def limits_of(strategy: str) -> Hit:
    """Return the limits library with one of its strategies: two limits, one after the other."""
    import limits  # noqa: PLC0415
    from limits import strategies  # noqa: PLC0415

    limiter: Any = getattr(strategies, strategy)(limits.storage.MemoryStorage())
    large = strategy != "MovingWindowRateLimiter"  # which keeps every hit of a day
    items = limits.parse_many(RATE if large else "100000/second;200000/day")

    def hit() -> object:
        return all(limiter.hit(item, "k1") for item in items)

    return hit


def pyrate() -> Hit:
    """Return pyrate-limiter: two rates, GCRA, in one step."""
    from pyrate_limiter import Limiter, Rate  # noqa: PLC0415
    from pyrate_limiter.abstracts.algorithm import GCRA  # noqa: PLC0415
    from pyrate_limiter.buckets.state_bucket import InMemoryStateStore, StateBucket  # noqa: PLC0415

    bucket: Any = StateBucket([Rate(100_000, 1_000), Rate(1_000_000_000, 86_400_000)], GCRA(), InMemoryStateStore())
    limiter = Limiter(bucket)
    return lambda: limiter.try_acquire("k1", blocking=False)


def throttled() -> Hit:
    """Return throttled-py: two rates, GCRA, one after the other."""
    from throttled import Throttled, per_day, per_sec, store  # noqa: PLC0415

    kept: Any = store.MemoryStore()
    quotas = (per_sec(100_000, burst=100_000), per_day(1_000_000_000, burst=1_000_000))
    pair: list[Any] = [Throttled(using="gcra", quota=quota, store=kept) for quota in quotas]
    return lambda: not any(one.limit(f"k1:{number}").limited for number, one in enumerate(pair))


SUBJECTS: dict[str, Callable[[], Hit]] = {
    "bare prototype: a ring and 96 counts": prototype,
    "tradeguard, the meter alone": meter,
    "tradeguard, 1000/second;1000000000/day (exact)": lambda: ours("1000/second;1000000000/day", 2_000_000),
    f"tradeguard, {RATE}": ours,
    "limits, fixed window": lambda: limits_of("FixedWindowRateLimiter"),
    "limits, sliding window": lambda: limits_of("SlidingWindowCounterRateLimiter"),
    "limits, moving window": lambda: limits_of("MovingWindowRateLimiter"),
    "pyrate-limiter, GCRA": pyrate,
    "throttled-py, GCRA": throttled,
}


def time_all(rounds: int, calls: int) -> dict[str, float]:
    """Return the fastest burst of each subject, in µs per call."""
    hits = {name: make() for name, make in SUBJECTS.items()}
    best = dict.fromkeys(hits, float("inf"))
    for _ in range(rounds):
        for name in random.sample(list(hits), len(hits)):
            hit = hits[name]
            began = time.perf_counter()
            for _ in range(calls):
                if not hit():
                    raise AssertionError(name)
            best[name] = min(best[name], (time.perf_counter() - began) / calls * 1e6)
    return best


def time_keys(keys: int, calls: int = 20_000) -> tuple[float, float, float]:
    """Return µs per commit with ten keys and with many, asked at random, and bytes per key."""
    times: list[float] = []
    size = 0.0
    for count in (10, keys):
        state, at, rate = Memory(since=1, meters=count), START, parse_rate("10/second;100000/day")
        quotas = [Quota(f"requests:key:tg_live_{number:020d}", rate, 1) for number in range(count)]
        asked = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for slot in range(3):
            at = START + slot * 900_000_000_000
            for quota in quotas:
                drive(state.commit((quota,), at, "r", None))
        size = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - asked) * 1024 / count
        some = random.choices(quotas, k=calls)
        gc.collect()
        best = float("inf")
        for _ in range(5):
            at += 1_000_000_000_000
            began = time.perf_counter()
            for quota in some:
                drive(state.commit((quota,), at, "r", None))
                at += 1_000
            best = min(best, (time.perf_counter() - began) / calls * 1e6)
        times.append(best)
    return times[0], times[1], size


def report(keys: int, rounds: int, calls: int = 4_000) -> list[str]:
    """Measure everything; return the lines of the section."""
    found = time_all(rounds, calls)
    few, many, size = time_keys(keys)
    bare, own = found["bare prototype: a ring and 96 counts"], found[f"tradeguard, {RATE}"]
    return [
        "",
        "## Quotas in memory",
        "",
        "Two windows of one key, one after the other; the limits are not reached. Ours is the whole commit: all or",
        "nothing, under a lock, with what the answer says about each window.",
        "",
        "| two windows | µs per request |",
        "|---|---|",
        *(f"| {name} | {micros:.2f} |" for name, micros in found.items()),
        "",
        "| ratio | measured | mark |",
        "|---|---|---|",
        f"| tradeguard, the meter alone / bare prototype | {found['tradeguard, the meter alone'] / bare:.1f} | 2.0 |",
        f"| tradeguard, the whole commit / bare prototype | {own / bare:.1f} | 2.0 |",
        f"| limits, sliding window / tradeguard | {found['limits, sliding window'] / own:.1f} | 5.0 |",
        f"| {keys:,} keys / 10 keys | {many / few:.2f} | 1.10 |",
        f"| bytes per key of `10/second;100000/day`, {keys:,} keys, 3 counts of the day each | {size:.0f} | 2,147 |",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure quotas in memory beside other limiters.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=4_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    arguments = parser.parse_args()
    print("\n".join(report(arguments.keys, arguments.rounds, arguments.calls)))


if __name__ == "__main__":
    main()
