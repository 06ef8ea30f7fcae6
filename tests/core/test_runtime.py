"""The runtimes: a clock that never steps back, two ways of waiting for a ticket, an exact budget, and ready tickets."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown
from tradeguard.core.event import WRITTEN, Event, Written
from tradeguard.core.ports import Runtime
from tradeguard.core.runtime import Budget, Clock, Loop, Threads, request_id

HOUR = 3_600_000_000_000


class Pending:
    """A ticket that is done when `finish` is called, from whatever thread."""

    def __init__(self, error: BackendDown | None = None) -> None:
        self._error, self._event = error, threading.Event()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def done(self) -> bool:
        return self._event.is_set()

    def then(self, callback: Callable[[], object], /) -> None:
        self._callbacks.append(callback)

    def wait(self) -> None:
        self._event.wait()
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        self._event.set()
        for callback in self._callbacks:
            callback()


def wait_on_loop(ticket: Pending) -> list[str]:
    """Wait for a ticket that another thread finishes; return what the loop did, in its order."""
    steps: list[str] = []

    async def waiter() -> None:
        try:
            await Loop().wait(ticket)
            steps.append("on record")
        except BackendDown as error:
            steps.append(str(error))

    async def main() -> None:
        task = asyncio.create_task(waiter())
        await asyncio.sleep(0)
        steps.append("others run")
        thread = threading.Thread(target=ticket.finish)
        thread.start()
        await task
        thread.join()

    asyncio.run(main())
    return steps


def test_request_ids_are_128_random_bits_in_hex() -> None:
    ids = {request_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(id) == 32 and int(id, 16) >= 0 for id in ids)


@pytest.mark.parametrize("clock", [Clock(), Threads(), Loop()], ids=["clock", "threads", "loop"])
def test_the_clock_is_wall_time_and_never_steps_back(clock: Clock) -> None:
    assert abs(clock.now() - time.time_ns()) < HOUR
    readings = [clock.now() for _ in range(1000)]
    assert readings == sorted(readings)


@pytest.mark.parametrize(
    ("runtime", "colours"),
    [(Threads(), {"instant", "brief", "blocking"}), (Loop(), {"instant", "brief", "async"})],
    ids=["threads", "loop"],
)
def test_a_runtime_says_what_can_wait_in_it(runtime: Runtime, colours: set[str]) -> None:
    assert runtime.colours == colours


def test_a_thread_waits_for_a_ticket() -> None:
    drive(Threads().wait(WRITTEN))
    ticket = Pending()
    thread = threading.Thread(target=ticket.finish)
    thread.start()
    drive(Threads().wait(ticket))
    thread.join()
    assert ticket.done


def test_a_task_waits_for_a_ticket_and_leaves_the_loop_to_others() -> None:
    assert wait_on_loop(Pending()) == ["others run", "on record"]


def test_a_task_learns_that_an_event_is_lost() -> None:
    assert wait_on_loop(Pending(BackendDown("disk full"))) == ["others run", "disk full"]


def test_a_task_does_not_suspend_for_a_ticket_that_is_done() -> None:
    drive(Loop().wait(WRITTEN))


@pytest.mark.parametrize("runtime", [Threads(), Loop()], ids=["threads", "loop"])
def test_a_lost_event_is_raised_to_who_waits_for_it(runtime: Runtime) -> None:
    with pytest.raises(BackendDown, match="disk full"):
        drive(runtime.wait(Written(BackendDown("disk full"))))


async def count(steps: int) -> int:
    """Give the loop to others so many times."""
    for _ in range(steps):
        await asyncio.sleep(0)
    return steps


def test_a_thread_is_not_interrupted() -> None:
    assert drive(Threads().within(0.0, count(0))) == 0


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_work_that_is_done_in_time_gives_its_result(steps: int) -> None:
    assert asyncio.run(Loop().within(60.0, count(steps))) == steps


def test_work_that_need_not_wait_needs_no_loop() -> None:
    assert drive(Loop().within(60.0, count(0))) == 0


def test_a_task_that_waits_too_long_is_interrupted_where_it_waits() -> None:
    places: list[int] = []

    async def work() -> None:
        await count(3)
        try:
            await asyncio.Event().wait()
        finally:
            places.append(3)

    with pytest.raises(TimeoutError):
        asyncio.run(Loop().within(0.01, work()))
    assert places == [3]


@pytest.mark.parametrize("steps", [0, 3])
def test_an_exception_of_the_work_comes_through(steps: int) -> None:
    async def work() -> None:
        await count(steps)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        asyncio.run(Loop().within(60.0, work()))


@pytest.mark.parametrize("steps", [1, 3])
def test_who_cancels_from_outside_cancels_the_work(steps: int) -> None:
    places: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            places.append("cancelled")
            raise

    async def main() -> None:
        task = asyncio.create_task(Loop().within(60.0, work()))
        await count(steps)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert places == ["cancelled"]


def test_work_may_answer_an_exception_of_what_it_waits_for() -> None:
    async def work() -> str:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ConnectionResetError())
        try:
            await future
        except ConnectionResetError:
            await count(2)
        return "answered"

    assert asyncio.run(Loop().within(60.0, work())) == "answered"


# the budget


def test_a_budget_gives_what_it_has_and_takes_it_back() -> None:
    budget = Budget(10)
    assert budget.take(4)
    assert not budget.take(7)
    assert budget.free == 6
    assert budget.take(6)
    assert not budget.take(1)
    assert budget.take(0)
    budget.give(10)
    assert budget.free == 10


def test_a_budget_is_exact_under_threads() -> None:
    budget, start = Budget(1000), threading.Barrier(8)
    taken = [0] * 8

    def take(place: int) -> None:
        start.wait()
        for _ in range(1000):
            if budget.take(3):
                taken[place] += 3

    threads = [threading.Thread(target=take, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 999
    assert budget.free == 1


def test_a_budget_is_whole_again_after_threads_took_and_gave() -> None:
    budget, start = Budget(50), threading.Barrier(8)

    def churn() -> None:
        start.wait()
        for amount in range(1000):
            if budget.take(amount % 20):
                budget.give(amount % 20)

    threads = [threading.Thread(target=churn) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.free == 50


# events and their ready tickets


def test_a_written_event_is_done_and_calls_back_at_once() -> None:
    called: list[bool] = []
    assert WRITTEN.done
    WRITTEN.then(lambda: called.append(True))
    assert called == [True]
    WRITTEN.wait()


def test_an_event_needs_no_more_than_its_kind_and_time() -> None:
    event = Event("gap", 1)
    assert (event.kind, event.at, event.proven, event.status) == ("gap", 1, False, 0)
    assert set(event[7:]) | {event.request_id, event.code, event.method} == {""}
