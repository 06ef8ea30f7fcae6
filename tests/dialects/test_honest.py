"""Honest clients are never refused: skewed clocks, many at once, bursts of equal reads, orders that overtake others.

One guard takes the requests of all dialects at once. A slice of it runs every time; 10^5 of them in the soak run.
"""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, time_ns

import pytest
from dialects.attacks import DIALECTS, NAMES, Sample, code_of, guard_of, outgoing, record_of, signed
from support import FORM, MS, SECOND

from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord
from tradeguard.core.ports import Colour
from tradeguard.signing.dialect import Dialect
from tradeguard.signing.row import Row
from tradeguard.signing.signer import Outgoing

TRICKY = "a b c/d~*'()é"
STEP = 100_000  # ns between two nonces that rise
SPELT = b"a%20b%20c%2Fd~%2A%27%28%29%C3%A9"


def skews(dialect: Dialect) -> tuple[int, ...]:
    """How far the clocks of clients are off, in ns: ahead and behind, inside of the window, with a second to arrive."""
    if not isinstance(dialect, Row):
        return (-2 * SECOND, 0, 60 * SECOND)
    if dialect.timeless:
        return (0,)
    past, future = dialect.window.past, dialect.window.future
    if dialect.lifetime:  # they sign for the middle of what there is
        return (-(future * 9) // 10, 0, (past - dialect.lifetime // 2) * 9 // 10)
    return (-(future * 9) // 10 if future > SECOND else -future // 2, 0, (past - SECOND) * 9 // 10)


def tricky(dialect: Dialect, number: int) -> Outgoing:
    """An order with a client's own id, in which all is that needs encoding."""
    sent, mark = outgoing(dialect, "order"), f"{TRICKY}{number}"
    if sent.content_type == FORM:
        return sent._replace(body=sent.body + b"&client_oid=" + SPELT + b"%d" % number)
    if dialect.name == "htx":  # the body is not signed; orders to one path within a second: see below
        sent = sent._replace(target=sent.target + b"/%d" % number)
    if sent.body:
        return sent._replace(body=sent.body[:-1] + f',"client_oid":"{mark}"}}'.encode())
    return sent._replace(target=sent.target + b"&client_oid=" + SPELT + b"%d" % number)


def traffic(dialect: Dialect, dice: random.Random, now: int, skew: int, numbers: range) -> Iterator[Sample]:
    """What clients of a dialect send in one moment: bursts of equal reads, and orders that differ; in any order."""
    found: list[Sample] = []
    rises = isinstance(dialect, Row) and dialect.form == "clock"
    for number in numbers:
        at = now - skew + (number * STEP if rises else number % 200 * MS)
        if dialect.name == "kraken-futures-bare" or number % 2:
            sent = tricky(dialect, number)
            found.append(signed(dialect, sent=sent, at=at)._replace(at=now))
        else:
            sent = outgoing(dialect, "read")
            one = signed(dialect, sent=sent, at=at)._replace(at=now)
            burst = one if sent.method == "GET" else one._replace()
            found += [burst, burst] if sent.method == "GET" and not _single(dialect) else [one]
    if rises:  # no further apart than the width
        for start in range(0, len(found), 30):
            piece = found[start : start + 30]
            dice.shuffle(piece)
            yield from piece
    else:
        dice.shuffle(found)
        yield from found


def _single(dialect: Dialect) -> bool:
    """Whether each request has a random nonce, so that two of them are never equal."""
    return not isinstance(dialect, Row) or (dialect.nonce is not None and dialect.form in ("token", "uuid"))


class Ring:
    """The keys of all dialects, which have one secret here: no real store takes that."""

    colour: Colour = "instant"

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._records = {sample.key_id: record_of(sample) for sample in samples}

    async def find(self, id: str, /) -> KeyRecord | None:
        return self._records.get(id)


def everyone(now: int) -> tuple[Sample, ...]:
    """A read and an order of each dialect."""
    return tuple(signed(dialect, kind, at=now)._replace(at=now) for dialect in DIALECTS for kind in ("order", "read"))


def make_guard(now: int) -> Guard:
    samples = everyone(now)
    return guard_of(*samples, at=now, keys=Ring(samples))


def run(count: int, seed: int, now: int) -> tuple[Counter[str], float]:
    """Send so many requests of every dialect, from four threads at once; count the refusals by code."""
    dice, guard, came = random.Random(seed), make_guard(now), Counter[str]()
    lock = threading.Lock()
    started = perf_counter()
    per = max(2, count // len(DIALECTS))

    def send(dialect: Dialect) -> None:
        own = random.Random(dice.random())
        skew = own.choice(skews(dialect))  # one key has one clock
        for first in range(0, per, 200):
            for sample in traffic(dialect, own, now, skew, range(first, min(first + 200, per))):
                code = code_of(drive(guard.admit(sample.request())))
                with lock:
                    came[f"{dialect.name} {code}" if code else "granted"] += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, DIALECTS))
    return came, perf_counter() - started


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_honest_requests_of_all_dialects_are_taken_from_threads(seed: int) -> None:
    came, _ = run(1_200, seed, 1_795_000_000 * SECOND)
    granted = came.pop("granted")
    assert granted >= 1_100
    assert came == {}


@pytest.mark.soak
def test_a_hundred_thousand_honest_requests_are_taken() -> None:
    came, seconds = run(82_000, 7, time_ns())
    print(f"\n{sum(came.values())} requests, {seconds:.0f} s: {dict(came)}")
    granted = came.pop("granted")
    assert granted >= 100_000
    assert came == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_burst_of_equal_reads_and_of_unequal_orders_in_one_moment_is_taken(name: str) -> None:
    """Ten in one millisecond, from tasks on one loop: equal reads have equal signatures, unequal orders have not."""
    now = 1_795_000_000 * SECOND
    dialect = next(one for one in DIALECTS if one.name == name)
    guard = guard_of(signed(dialect, at=now), signed(dialect, "read", at=now), at=now)
    rises = isinstance(dialect, Row) and dialect.form == "clock"
    read = outgoing(dialect, "read")
    step = MS if rises else 0  # clients whose nonce rises let it rise
    reads = [signed(dialect, sent=read, at=now + place * step) for place in range(10)]
    orders = [signed(dialect, sent=tricky(dialect, place), at=now + (20 + place) * step) for place in range(10)]
    if name == "kraken-futures-bare":
        orders = [one._replace(at=now) for one in orders]

    async def send() -> list[str]:
        requests = [one._replace(at=now + SECOND).request() for one in (*reads, *orders)]
        return [code_of(decision) for decision in await asyncio.gather(*map(guard.admit, requests))]

    assert asyncio.run(send()) == [""] * 20


def test_the_measure_of_the_above() -> None:
    """A clock beyond the window, and an order that is sent twice, are refused in the same traffic."""
    now = 1_795_000_000 * SECOND
    guard = make_guard(now)
    order = everyone(now)[0]
    late = signed(order.dialect, at=now - 3_600 * SECOND)._replace(at=now)
    codes = [code_of(drive(guard.admit(one.request()))) for one in (order, order, late)]
    assert codes == ["", "replay.seen", "freshness.stale"]


def test_two_orders_of_htx_to_one_path_in_one_second_are_one_message() -> None:
    """What it signs has no body and whole seconds. To tell them apart by their bodies would let a capture be sent with
    any number of other bodies, so the second is refused as a replay; that is the row's collision window."""
    now = 1_795_000_000 * SECOND
    htx = next(one for one in DIALECTS if one.name == "htx")
    guard = guard_of(signed(htx, at=now), at=now)
    sent = [outgoing(htx, "order", str(place)) for place in range(4)]
    orders = [signed(htx, sent=one, at=now + place * SECOND // 2) for place, one in enumerate(sent)]
    codes = [code_of(drive(guard.admit(one._replace(at=now + SECOND).request()))) for one in orders]
    assert codes == ["", "replay.seen", "", "replay.seen"]
    assert isinstance(htx, Row)
    assert htx.collision == SECOND
