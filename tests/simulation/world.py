"""World: the one clock, the one dice and the scheduler of a simulated run. No thread, no real time, nothing waits."""

import heapq
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from itertools import count
from random import Random
from typing import Any, Generic, TypeVar

from support import MS, NOW, SECOND

T = TypeVar("T")
START = NOW
Work = Coroutine[Any, Any, object]


class Moment(Generic[T]):
    """What will be known at some time. Only the first result counts."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._result: tuple[T | None, Exception | None] | None = None

    def resolve(self, value: T) -> None:
        self._end(value, None)

    def fail(self, error: Exception) -> None:
        self._end(None, error)

    def then(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def __await__(self) -> Generator[Any, Any, T]:
        if self._result is None:
            yield self
        assert self._result is not None
        value, error = self._result
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # without an error there is one

    def _end(self, value: T | None, error: Exception | None) -> None:
        if self._result is None:
            self._result = value, error
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()


class Life:
    """A process, as far as the scheduler knows: what runs in it ends with it."""

    def __init__(self) -> None:
        self.alive = True
        self._running: dict[int, Work] = {}

    def begin(self, work: Work) -> None:
        self._running[id(work)] = work

    def end(self, work: Work) -> None:
        self._running.pop(id(work), None)

    def kill(self) -> None:
        self.alive = False
        for work in list(self._running.values()):
            work.close()
        self._running.clear()


class World:
    """A run. `now` is the true time (ns UTC); `trace` says what happened, in ms since the start."""

    def __init__(self, seed: int) -> None:
        self.now, self.dice = START, Random(seed)
        self.trace: list[str] = []
        self._due: list[tuple[int, int, Callable[[], object]]] = []
        self._count = count()

    def at(self, when: int, do: Callable[[], object]) -> None:
        """Do something at a time."""
        heapq.heappush(self._due, (max(when, self.now), next(self._count), do))

    def after(self, delay: int, do: Callable[[], object]) -> None:
        """Do something after a delay, in ns."""
        self.at(self.now + delay, do)

    async def sleep(self, delay: int) -> None:
        """Wait, in ns."""
        moment = Moment[None]()
        self.after(delay, partial(moment.resolve, None))
        await moment

    def spawn(self, work: Work, life: Life) -> None:
        """Run a coroutine in a process, until it ends or the process does."""
        if life.alive:
            life.begin(work)
            self._step(work, life)
        else:
            work.close()

    def run(self, until: int, check: Callable[[], None]) -> None:
        """Let time pass, and check after every step."""
        while self._due and self._due[0][0] <= until:
            self.now, _, do = heapq.heappop(self._due)
            do()
            check()

    def note(self, text: str) -> None:
        """Write down what happened."""
        self.trace.append(f"{(self.now - START) / MS:10.3f}  {text}")

    def _step(self, work: Work, life: Life) -> None:
        if not life.alive:
            return
        try:
            moment = work.send(None)
        except StopIteration:
            life.end(work)
        else:
            assert isinstance(moment, Moment), f"{work} waits for something that is not of this world"
            moment.then(partial(self._step, work, life))


__all__ = ["MS", "SECOND", "START", "Life", "Moment", "World"]
