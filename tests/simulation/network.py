"""Network: calls that are late, lost on the way there or back, or cut off; servers that stop, hang and come back."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from simulation.world import MS, Moment, World

from tradeguard.core.errors import BackendDown, TradeguardError

T = TypeVar("T")
DEADLINE = 50 * MS


class Server:
    """Something that is called. While it hangs, what reaches it waits; when it stops, that is gone."""

    def __init__(self, name: str) -> None:
        self.name, self.up, self.hangs, self.stops = name, True, False, 0
        self._waiting: list[Callable[[], None]] = []

    def receive(self, work: Callable[[], None]) -> None:
        if self.hangs:
            self._waiting.append(work)
        elif self.up:
            work()

    def hang(self) -> None:
        self.hangs = True

    def thaw(self) -> None:
        self.hangs = False
        waiting, self._waiting = self._waiting, []
        for work in waiting:
            work()

    def stop(self) -> None:
        self.up, self.hangs, self.stops = False, False, self.stops + 1
        self._waiting.clear()


class Network:
    """Between those who call and servers. `loss` and `slow` are the shares of what is lost or late."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cuts: set[tuple[str, str]] = set()
        self.loss, self.slow = 0.0, 0.02

    def call(self, source: str, server: Server, work: Callable[[], T]) -> Moment[T]:
        """Run something on a server; its result, or that there was none, comes later."""
        world, answer = self._world, Moment[T]()
        if not server.up and (source, server.name) not in self.cuts:
            world.after(self.delay(), partial(answer.fail, BackendDown("connection refused")))
            return answer
        world.after(DEADLINE, partial(answer.fail, BackendDown("no answer in time", unknown=True)))
        self._send(source, server, lambda: server.receive(partial(self._serve, source, server, work, answer)))
        return answer

    def delay(self) -> int:
        """Return how long something is on its way, in ns."""
        dice = self._world.dice
        return dice.randrange(20 * MS, 200 * MS) if dice.random() < self.slow else dice.randrange(MS // 10, 3 * MS)

    def _serve(self, source: str, server: Server, work: Callable[[], T], answer: Moment[T]) -> None:
        try:
            back = partial(answer.resolve, work())
        except TradeguardError as error:
            back = partial(answer.fail, error)
        self._send(source, server, back)

    def _send(self, source: str, server: Server, deliver: Callable[[], None]) -> None:
        """Deliver after a while, unless it is lost, or the way is cut then or the connection gone with the server."""
        way, stops = (source, server.name), server.stops

        def arrive() -> None:
            if way not in self.cuts and stops == server.stops:
                deliver()

        if self._world.dice.random() >= self.loss:
            self._world.after(self.delay(), arrive)
