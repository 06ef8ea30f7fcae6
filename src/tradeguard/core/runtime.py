"""How a host waits, and its clock: one small class per colour. The only core file that knows time and threads."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final, TypeVar, cast

from tradeguard.core.drive import drive
from tradeguard.core.ports import Colour, Ticket

T = TypeVar("T")
_log = logging.getLogger("tradeguard")


def request_id() -> str:
    """Return a new request id: 128 random bits in hex."""
    return os.urandom(16).hex()


class Clock:
    """Wall time that never steps back: the wall time of its start plus what the monotonic clock has run since.

    A step of the system clock (ns UTC) takes effect when the process restarts; a slew (NTP) at once.
    """

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset: Final = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        """Return the time, ns UTC."""
        return time.monotonic_ns() + self._offset


class Threads(Clock):
    """A host that gives each request a thread (WSGI). Waiting holds that thread."""

    colours: frozenset[Colour] = frozenset({"instant", "brief", "blocking"})

    async def wait(self, ticket: Ticket) -> None:
        """Hold the thread until the event is on record."""
        ticket.wait()

    def later(self, work: Coroutine[Any, Any, object]) -> None:
        """Do it now: this thread may wait."""
        try:
            drive(work)
        except Exception:
            _log.exception("what was left to do after an answer failed")

    async def within(self, _seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Do the work: a thread that waits cannot be interrupted; deadlines are tested when it is back."""
        return await work


class Loop(Clock):
    """A host with an event loop (ASGI, aiohttp). Waiting gives the loop to others."""

    colours: frozenset[Colour] = frozenset({"instant", "brief", "async"})

    def __init__(self) -> None:
        super().__init__()
        self._left: set[asyncio.Task[object]] = set()

    def later(self, work: Coroutine[Any, Any, object]) -> None:
        """Give it to the loop."""
        task = asyncio.get_running_loop().create_task(_logged(work))
        self._left.add(task)
        task.add_done_callback(self._left.discard)

    async def wait(self, ticket: Ticket) -> None:
        """Suspend until the event is on record."""
        if not ticket.done:
            loop, done = asyncio.get_running_loop(), asyncio.Event()
            ticket.then(lambda: loop.call_soon_threadsafe(done.set))
            await done.wait()
        ticket.wait()

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Do the work; interrupt it with TimeoutError when it has waited for `seconds`.

        Work that need not wait gets no timer: most bodies are there when they are asked for, and a timer costs more
        than reading them.
        """
        try:
            waiting = work.send(None)
        except StopIteration as done:
            return cast("T", done.value)
        async with asyncio.timeout(seconds):
            return await _Started(work, waiting)


async def _logged(work: Coroutine[Any, Any, object]) -> object:
    try:
        return await work
    except Exception:
        _log.exception("what was left to do after an answer failed")
        return None


class _Started(Awaitable[T]):
    """A coroutine that has run to its first wait already, awaited from there."""

    def __init__(self, work: Coroutine[Any, Any, T], waiting: object) -> None:
        self._work, self._waiting = work, waiting

    def __await__(self) -> Generator[Any, Any, T]:
        waiting = self._waiting
        while True:
            step: Callable[[], object]
            try:
                step = partial(self._work.send, (yield waiting))
            except BaseException as error:
                step = partial(self._work.throw, error)
            try:
                waiting = step()
            except StopIteration as done:
                return cast("T", done.value)


class Budget:
    """Bytes that the process holds for requests nobody has proved yet; exact under threads."""

    __slots__ = ("_free", "_lock")

    def __init__(self, size: int) -> None:
        self._free, self._lock = size, threading.Lock()

    @property
    def free(self) -> int:
        """How many bytes are left."""
        return self._free

    def take(self, amount: int) -> bool:
        """Take bytes out; False, and nothing taken, if there are not that many."""
        with self._lock:
            if amount > self._free:
                return False
            self._free -= amount
            return True

    def give(self, amount: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._free += amount
