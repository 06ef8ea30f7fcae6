"""The body: read within its size, its time and the budget of unproven bytes, by threads and by tasks."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any

import pytest
from support import NOW, SECOND, StillClock

from tradeguard.core.body import Chunk, Reader
from tradeguard.core.decision import Denial, Refused
from tradeguard.core.drive import drive
from tradeguard.core.policy import Policy
from tradeguard.core.runtime import Budget, Loop, Threads

POLICY = Policy(body_bytes=10, body_seconds=2, unproven_bytes=20)
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Sender:
    """Hands out chunks one by one; each takes its time on the still clock. It counts how many were asked for."""

    def __init__(self, chunks: Iterable[bytes], clock: StillClock | None = None, takes: int = 0) -> None:
        self.chunks, self.clock, self.takes, self.asked = list(chunks), clock, takes, 0

    async def __call__(self) -> tuple[bytes, bool]:
        if self.clock is not None:
            self.clock.at += self.takes
        self.asked += 1
        return self.chunks[self.asked - 1], self.asked < len(self.chunks)


def make_reader(chunk: Chunk, *, budget: Budget | None = None, clock: StillClock | None = None) -> Reader:
    return Reader(chunk, POLICY, budget if budget is not None else Budget(20), clock or StillClock(), NOW)


def refusal(run: Run, reader: Reader, declared: int | None) -> Denial:
    with pytest.raises(Refused) as refused:
        run(reader.read(declared))
    return refused.value.denial


@pytest.mark.parametrize(
    ("chunks", "declared"),
    [
        ([b"abc"], 3),
        ([b"abc"], None),
        ([b"a", b"", b"bc"], 3),
        ([b"a", b"bc", b""], None),
        ([b""], None),
        ([b"0123456789"], 10),
        ([b"01234", b"56789"], None),
    ],
)
def test_chunks_become_one_body(run: Run, chunks: list[bytes], declared: int | None) -> None:
    sender = Sender(chunks)
    assert run(make_reader(sender).read(declared)) == b"".join(chunks)
    assert sender.asked == len(chunks)


def test_a_body_that_is_announced_as_none_is_not_waited_for(run: Run) -> None:
    sender = Sender([b"abc"])
    assert run(make_reader(sender).read(0)) == b""
    assert sender.asked == 0


@pytest.mark.parametrize(
    ("chunks", "declared", "detail"),
    [([b"ab"], 3, "2 of 3 bytes"), ([b""], 1, "0 of 1 bytes"), ([b"ab", b"cd"], 3, "4 of 3 bytes")],
)
def test_a_body_is_as_long_as_announced(run: Run, chunks: list[bytes], declared: int, detail: str) -> None:
    denial = refusal(run, make_reader(Sender(chunks)), declared)
    assert (denial.code, denial.status, denial.detail) == ("body.short", 400, detail)


@pytest.mark.parametrize("chunks", [[b"0123456789x"], [b"01234", b"56789x"], [b"0123456789", b"x"]])
@pytest.mark.parametrize("declared", [None, 10])
def test_a_body_is_no_larger_than_the_policy_allows(run: Run, chunks: list[bytes], declared: int | None) -> None:
    budget = Budget(20)
    reader = make_reader(Sender([*chunks, b"never asked for"]), budget=budget)
    denial = refusal(run, reader, declared)
    assert (denial.code, denial.status) == ("body.large", 413)
    reader.release()
    assert budget.free == 20


@pytest.mark.parametrize(
    ("takes", "chunks", "late"),
    [(SECOND, 2, False), (SECOND, 3, True), (2 * SECOND, 1, False), (2 * SECOND + 1, 1, True)],
)
def test_the_deadline_is_tested_between_chunks_and_after_the_last(
    run: Run, takes: int, chunks: int, late: bool
) -> None:
    clock = StillClock()
    reader = make_reader(Sender([b"a"] * chunks, clock, takes), clock=clock)
    if late:
        denial = refusal(run, reader, None)
        assert (denial.code, denial.status) == ("body.slow", 408)
    else:
        assert run(reader.read(None)) == b"a" * chunks


def test_the_deadline_counts_from_the_head(run: Run) -> None:
    clock = StillClock()
    reader = make_reader(Sender([b"a"], clock, SECOND), clock=clock)
    clock.at += SECOND + 1
    assert refusal(run, reader, 1).code == "body.slow"


def test_bytes_are_counted_as_they_arrive_and_refused_where_none_are_left(run: Run) -> None:
    budget = Budget(20)
    first = make_reader(Sender([b"01234", b"56789"]), budget=budget)
    second = make_reader(Sender([b"01234", b"567"]), budget=budget)
    third = make_reader(Sender([b"a", b"b", b"c"]), budget=budget)
    run(first.read(10))
    run(second.read(8))
    assert budget.free == 2
    denial = refusal(run, third, None)
    assert (denial.code, denial.status, denial.retry_after) == ("body.budget", 503, 1)
    assert budget.free == 0
    for reader in (first, second, third):
        reader.release()
    assert budget.free == 20


def test_bytes_are_given_back_once(run: Run) -> None:
    budget = Budget(20)
    reader = make_reader(Sender([b"abc"]), budget=budget)
    run(reader.read(3))
    assert budget.free == 17
    reader.release()
    reader.release()
    assert budget.free == 20


def test_a_reader_that_read_nothing_gives_nothing_back() -> None:
    budget = Budget(20)
    make_reader(Sender([]), budget=budget).release()
    assert budget.free == 20


def test_what_the_connection_raises_comes_through_and_the_bytes_come_back(run: Run) -> None:
    budget, sender = Budget(20), Sender([b"abc", b"def"])

    async def broken() -> tuple[bytes, bool]:
        if sender.asked:
            raise ConnectionResetError
        return await sender()

    reader = make_reader(broken, budget=budget)
    with pytest.raises(ConnectionResetError):
        run(reader.read(None))
    assert budget.free == 17
    reader.release()
    assert budget.free == 20


def test_an_event_loop_interrupts_a_chunk_that_never_comes() -> None:
    policy, budget = Policy(body_bytes=10, body_seconds=0.02), Budget(20)
    interrupted: list[bool] = []
    sender = Sender([b"abc", b""])

    async def stall() -> tuple[bytes, bool]:
        if sender.asked == 0:
            return await sender()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            interrupted.append(True)
            raise
        raise AssertionError("an event that nobody sets")

    runtime = Loop()
    reader = Reader(stall, policy, budget, runtime, runtime.now())
    denial = refusal(asyncio.run, reader, 10)
    assert (denial.code, denial.status) == ("body.slow", 408)
    assert interrupted == [True]
    reader.release()
    assert budget.free == 20


def test_a_thread_reads_without_a_loop() -> None:
    runtime = Threads()
    reader = Reader(Sender([b"a", b"b"]), POLICY, Budget(20), runtime, runtime.now())
    assert drive(reader.read(2)) == b"ab"


@pytest.mark.parametrize(
    ("sizes", "takes", "late"),
    [
        ([100] * 4, SECOND, True),  # 300 B at 3 s: 1 s beyond the grace earns 500 B
        ([500] * 4, SECOND, False),
        ([1, 1], 2 * SECOND, True),
        ([1], 2 * SECOND, False),
        ([1000], 4 * SECOND, False),
        ([999], 4 * SECOND, True),
    ],
)
def test_after_two_seconds_a_body_keeps_a_minimum_rate(run: Run, sizes: list[int], takes: int, late: bool) -> None:
    clock, policy = StillClock(), Policy(body_seconds=60, body_bytes_per_second=500)
    sender = Sender([b"x" * size for size in sizes], clock, takes)
    reader = Reader(sender, policy, Budget(10_000), clock, NOW)
    if late:
        denial = refusal(run, reader, None)
        assert (denial.code, denial.status) == ("body.slow", 408)
    else:
        assert len(run(reader.read(None))) == sum(sizes)


def test_a_rate_of_0_leaves_the_deadline_alone(run: Run) -> None:
    clock = StillClock()
    policy = Policy(body_seconds=60, body_bytes_per_second=0)
    assert run(Reader(Sender([b"x"], clock, 60 * SECOND), policy, Budget(10), clock, NOW).read(1)) == b"x"


def test_the_minimum_rate_interrupts_a_wait_before_the_deadline_does() -> None:
    waits: list[float] = []

    class Watching(StillClock):
        async def within(self, seconds: float, work: Coroutine[Any, Any, Any]) -> Any:
            waits.append(seconds)
            return await work

    clock = Watching()
    policy = Policy(body_seconds=5, body_bytes_per_second=500)
    drive(Reader(Sender([b"x" * 1000, b"x" * 1000, b""]), policy, Budget(10_000), clock, NOW).read(None))
    assert waits == [2.0, 4.0, 5.0]


class Trickle:
    """A sender that gives the loop away until it is woken, and then sends a byte; it never ends."""

    def __await__(self) -> Generator[None, None, None]:
        yield

    async def __call__(self) -> tuple[bytes, bool]:
        await self
        return b"x", True


def test_ten_thousand_slow_bodies_are_refused_in_time_and_hold_no_more_than_the_budget() -> None:
    clock, budget, policy = StillClock(), Budget(15_000), Policy()
    readers = [Reader(Trickle(), policy, budget, clock, NOW) for _ in range(10_000)]
    waiting = {number: reader.read(1_000_000) for number, reader in enumerate(readers)}
    codes: Counter[str] = Counter()
    for _ in range(10):
        for number, reading in list(waiting.items()):
            try:
                reading.send(None)
            except Refused as refused:
                codes[refused.denial.code] += 1
                del waiting[number]
                readers[number].release()
        assert 0 <= budget.free <= 15_000
        clock.at += SECOND
    assert waiting == {}
    assert set(codes) == {"body.slow", "body.budget"}
    assert codes["body.slow"] >= 5_000
    assert budget.free == 15_000
