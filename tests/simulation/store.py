"""Store: the shared state as a server (the real one of memory behind it) that restarts, fails over and forgets.

It behaves as a Redis does: its own clock; a new epoch, and a new `since`, whenever it comes back as something that may
have forgotten. A durable one comes back from a restart as what it was, as PostgreSQL does.
"""

from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Any, Final, NamedTuple

from simulation.network import Network, Server
from simulation.oracle import Oracle
from simulation.world import SECOND, START, World

from tradeguard.backends.memory import Memory
from tradeguard.core.conditions import Advance, Below, Charge, Condition, Look, Once, Outcome, Quota, Seen
from tradeguard.core.drive import drive
from tradeguard.core.ports import Colour

ALL: Final = frozenset[type]({Once, Advance, Below, Quota})


class Step(NamedTuple):
    """One thing that took effect: enough to do it again on a copy."""

    method: str
    arguments: tuple[Any, ...]

    def do(self, memory: Memory) -> Coroutine[Any, Any, Any]:
        work: Coroutine[Any, Any, Any] = getattr(memory, self.method)(*self.arguments)
        return work


class Store(Server):
    """The server. `run` counts what it was so far: another run is another store."""

    def __init__(self, world: World, oracle: Oracle, *, durable: bool) -> None:
        super().__init__("store")
        self.world, self.oracle, self.durable = world, oracle, durable
        self.run, self.since, self.back = 0, START - 10 * SECOND, 0
        self.log: list[Step] = []
        self._begin(0, self.since)

    def clock(self) -> int:
        """The time here; it may have been set back."""
        return self.world.now - self.back

    def begin_anew(self, kept: int) -> None:
        """Come back as a copy that has the first `kept` steps: as another store."""
        self.up = True
        self._begin(kept, self.clock())

    def come_back(self) -> None:
        """Come back after a restart with everything."""
        self.up = True
        if not self.durable:
            self._begin(len(self.log), self.clock())

    def _begin(self, kept: int, since: int) -> None:
        self.log, self.run, self.since = self.log[:kept], self.run + 1, since
        self.epoch, self.memory = f"epoch {self.run}", Memory(since=1)
        for step in self.log:
            drive(step.do(self.memory))
        self._inner = drive(self.memory.look("")).epoch
        self.oracle.begun(self.run, kept)

    def commit(
        self, conditions: tuple[Condition, ...], id: str, seen: Seen | None, denied: bool, reserve: bool
    ) -> tuple[Outcome, int]:
        if seen is not None:
            seen = (self._inner if seen[0] == self.epoch else "another", seen[1])
        at = self.clock()
        outcome = drive(self.memory.commit(conditions, at, id, seen, denied, reserve))
        if not outcome.behind:
            self.log.append(Step("commit", (conditions, at, id, None, denied, reserve)))
            self.oracle.settled(self.run, len(self.log), conditions, id, denied, outcome)
        return outcome._replace(epoch=self.epoch), self.since

    def set(self, key: str, value: int, until: int | None, record: bytes) -> int:
        return int(self._do(Step("set", (key, value, until, record))))

    def lift(self, key: str, value: int) -> int:
        version = int(self._do(Step("lift", (key, value))))
        self.oracle.lifted(len(self.log), key)
        return version

    def look(self, prefix: str) -> Look:
        return drive(self.memory.look(prefix))._replace(epoch=self.epoch)

    def refund(self, charge: Charge, item: str, units: int) -> bool:
        counted = bool(self._do(Step("refund", (charge, item, units, self.clock()))))
        if counted:
            self.oracle.given_back(self.run, len(self.log), charge, item, units)
        return counted

    def _do(self, step: Step) -> Any:
        self.log.append(step)
        return drive(step.do(self.memory))


class Client:
    """The store as one process sees it, over the network."""

    colour: Colour = "async"
    supports = ALL

    def __init__(self, network: Network, store: Store, source: str, now: int) -> None:
        self._network, self._store, self._source = network, store, source
        self.since = now

    async def commit(
        self,
        conditions: Iterable[Condition],
        at: int,
        request_id: str,
        seen: Seen | None,
        denied: bool = False,
        reserve: bool = False,
    ) -> Outcome:
        work = partial(self._store.commit, tuple(conditions), request_id, seen, denied, reserve)
        outcome, self.since = await self._network.call(self._source, self._store, work)
        return outcome

    async def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
        return await self._network.call(self._source, self._store, partial(self._store.set, key, value, until, record))

    async def lift(self, key: str, value: int) -> int:
        return await self._network.call(self._source, self._store, partial(self._store.lift, key, value))

    async def look(self, prefix: str) -> Look:
        return await self._network.call(self._source, self._store, partial(self._store.look, prefix))

    async def refund(self, charge: Charge, item: str, units: int, at: int) -> bool:
        return await self._network.call(self._source, self._store, partial(self._store.refund, charge, item, units))
