"""A clock that stands still, and a guard that goes by it, in whatever host it is put."""

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.ports import Colour, Runtime, Ticket
from tradeguard.core.runtime import Loop, Threads
from tradeguard.testing.loopback import only_here

only_here()
T = TypeVar("T")
START: Final = 1_795_000_000_000_000_000
"""Where a clock stands at first: ns UTC, in November 2026."""
_SECOND: Final = 1_000_000_000


class StillClock:
    """A runtime whose clock moves when it is told to. Nothing in it waits, so ports of every colour fit.

    Args:
        at: where it stands, ns UTC.
    """

    colours: frozenset[Colour] = frozenset({"instant", "brief", "blocking", "async"})

    def __init__(self, at: int = START) -> None:
        self.at = at

    def now(self) -> int:
        """Return where it stands, ns UTC."""
        return self.at

    def move(self, *, seconds: int = 0, ns: int = 0) -> int:
        """Let time pass; return where it stands now, ns UTC.

        Raises:
            ConfigError: it would step back, which no clock of a guard does.
        """
        step = seconds * _SECOND + ns
        if step < 0:
            raise ConfigError("a guard's clock never steps back; make a new one that stands earlier")
        self.at += step
        return self.at

    async def wait(self, ticket: Ticket) -> None:
        """Wait for an event to be on record."""
        ticket.wait()

    def later(self, work: Coroutine[Any, Any, object]) -> None:
        """Do it now."""
        drive(work)

    async def within(self, _seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Do the work; the deadline never comes."""
        return await work


class StillGuard(Guard):
    """A guard that goes by a still clock, also where a host brings the real one. Otherwise it decides as any other.

    Args:
        checks: as for `Guard`.
        clock: which it goes by.
        parts: as for `Guard`; `operations`, `state` and `journal` at least.
    """

    def __init__(self, checks: list[object], clock: StillClock, **parts: Any) -> None:
        self._clock = clock
        super().__init__(checks, **parts)

    def bind(self, runtime: Runtime, serves: Callable[[Operations], None] = lambda _: None) -> None:
        """Take the host's way of waiting, and keep the clock."""
        if isinstance(runtime, Loop):
            runtime = _StillLoop(self._clock)
        elif isinstance(runtime, Threads):
            runtime = _StillThreads(self._clock)
        super().bind(runtime, serves)

    @property
    def runtime(self) -> Runtime:
        """The host's way of waiting; without a host, the still clock itself."""
        return self._runtime or self._clock


class _StillLoop(Loop):
    def __init__(self, clock: StillClock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> int:
        return self._clock.at


class _StillThreads(Threads):
    def __init__(self, clock: StillClock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> int:
        return self._clock.at
