"""Live: what is open for longer than its request is looked at again, also while it is idle, and cut off if need be.

One watcher per event loop: a timer, and a task while it looks, for all streams and WebSockets of all guards. There is
none while nothing is open. Four times a second it asks `Guard.review` about each, renews the leases of connections that
are due, and ends those that may not go on: by cancelling the task that serves them, as `asyncio.timeout` does. What
that means on the wire is the adapter's business: a close frame, or a message that stays incomplete.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final, cast
from weakref import WeakKeyDictionary

from tradeguard.adapters.passage import Passage
from tradeguard.core.body import LARGE
from tradeguard.core.decision import Denial, register
from tradeguard.core.errors import BackendDown
from tradeguard.core.lease import Lease

LOST = register(
    "live.lost",
    status=503,
    text="The service can no longer count this connection. Connect again.",
    hint="The lease of a connection was not renewed in time: the state store was lost, or this process stood still.",
)
EVERY: Final = 0.25
"""Seconds between two looks."""
POLICY_VIOLATION: Final = 1008
"""The code of a close frame (RFC 6455, 7.4.1), with the public code of the denial as its reason."""
TOO_BIG: Final = 1009
_AT_ONCE: Final = 256  # looked at before the loop serves others; renewed together
_log = logging.getLogger("tradeguard")


def close_code(denial: Denial) -> int:
    """Return the code of the close frame for a denial."""
    return TOO_BIG if denial.code == LARGE else POLICY_VIOLATION


class Stream:
    """One response that is being sent, or one WebSocket, in the task that serves it.

    Args:
        passage: of its request. Its `denial` is why it was cut off.
        begun: tells whether a response has begun; nothing is cut off before.
        abort: ends the connection of whoever does not stop when cut off; None where the host has no way to.
    """

    __slots__ = ("_abort", "_before", "_begun", "_cuts", "_task", "_undone", "_watch", "passage")

    def __init__(
        self, passage: Passage, begun: Callable[[], bool] = lambda: True, abort: Callable[[], object] | None = None
    ) -> None:
        self.passage, self._begun, self._abort = passage, begun, abort
        task = asyncio.current_task()
        assert task is not None  # who serves a request is one
        self._task, self._before, self._watch = task, task.cancelling(), cast("Watch | None", None)
        self._cuts = self._undone = 0

    @property
    def is_open(self) -> bool:
        """Whether it is looked at."""
        return self._watch is not None

    @property
    def is_cut(self) -> bool:
        """Whether the watcher has ended it."""
        return self._cuts > 0

    @property
    def lease(self) -> Lease | None:
        """What it holds while it is open."""
        return self.passage.request.lease

    def open(self) -> None:
        """Let it be looked at from now on."""
        if self._watch is None:
            self._watch = Watch.here()
            self._watch.streams.add(self)
            self._watch.begin()

    def close(self) -> bool:
        """Let it be looked at no more; tell whether it was the watcher that ended it, and nobody else besides."""
        if self._watch is not None:
            self._watch.streams.discard(self)
            self._watch = None
        while self._undone < self._cuts:
            self._undone += 1
            self._task.uncancel()
        return self.is_cut and self._task.cancelling() <= self._before

    def cut(self, denial: Denial) -> None:
        """End it, and again if it goes on all the same."""
        if self._watch is not None and self._begun():
            self.passage.denial = self.passage.denial or denial
            if self.is_cut and self._abort is not None:
                self._abort()
            self._cuts += 1
            self._task.cancel(denial.public)


class Watch:
    """The watcher of one event loop. `streams` are those that are open."""

    _all: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, "Watch"]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.streams: set[Stream] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking = self._renewing = False

    @classmethod
    def here(cls) -> "Watch":
        """Return the watcher of the running loop."""
        loop = asyncio.get_running_loop()
        watch = cls._all.get(loop)
        if watch is None:
            watch = cls._all[loop] = Watch()
        return watch

    @property
    def is_idle(self) -> bool:
        """Whether there is no watcher: no timer runs, and no task."""
        return self._timer is None and not self._tasks

    def begin(self) -> None:
        """Look again in a while, unless that is so already."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._wake)

    async def look(self) -> None:
        """Look at all that is open, once."""
        due: list[Stream] = []
        for number, stream in enumerate(list(self.streams), 1):
            if stream.lease is not None and stream.lease.is_due(_now(stream)):
                due.append(stream)
            denial = _overdue(stream) or await stream.passage.guard.review(stream.passage.request)
            if denial is not None:
                stream.cut(denial)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        if due and not self._renewing:
            self._renewing = True
            self._start(self._renew(due))

    def _wake(self) -> None:
        self._timer = None
        if self.streams and not self._looking:
            self._looking = True
            self._start(self._turn())

    async def _turn(self) -> None:
        try:
            await self.look()
        except Exception:
            _log.exception("the look at open streams failed")
        finally:
            self._looking = False
        if self.streams:
            self.begin()

    async def _renew(self, due: list[Stream]) -> None:
        try:
            for place in range(0, len(due), _AT_ONCE):
                await asyncio.gather(*(_renew_one(stream) for stream in due[place : place + _AT_ONCE]))
        finally:
            self._renewing = False

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _now(stream: Stream) -> int:
    return stream.passage.guard.runtime.now()


def _overdue(stream: Stream) -> Denial | None:
    lease = stream.lease
    return Denial(LOST) if lease is not None and lease.is_over(_now(stream)) else None


async def _renew_one(stream: Stream) -> None:
    """Renew a lease. What fails is tried again with the next look, until the lease is over."""
    guard, lease = stream.passage.guard, stream.lease
    try:
        if lease is not None and stream.is_open and not await lease.renew(guard.state, guard.runtime.now):
            _log.warning("the lease of connection %s found no room in the state store", stream.passage.request.id)
    except BackendDown as error:
        _log.warning("the lease of connection %s is not renewed: %s", stream.passage.request.id, error)
    except Exception:
        _log.exception("the lease of connection %s is not renewed", stream.passage.request.id)
