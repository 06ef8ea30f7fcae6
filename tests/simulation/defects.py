"""Defects: venues that are wrong in one place each. The oracle must find each of them, by the promise it breaks."""

from collections.abc import Iterable
from typing import Any, Final

from simulation.store import Client, Step, Store
from simulation.venue import NODES, Process, Venue
from simulation.world import Moment

from tradeguard.backends.memory import Memory
from tradeguard.checks.halt import Halt
from tradeguard.core.breaker import Breaker
from tradeguard.core.commit import Standby
from tradeguard.core.conditions import Charge, Condition, Outcome, Quota, Seen
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.errors import BackendDown


class _ForgetfulStore(Store):
    def begin_anew(self, kept: int) -> None:
        epoch, since = self.epoch, self.since
        self.log = [step for step in self.log if step.method != "commit"]
        super().begin_anew(len(self.log))
        self.epoch, self.since = epoch, since


class Forgetful(Venue):
    """After a failover the store has no messages any more, and says that it is what it was."""

    def make_store(self, *, durable: bool) -> Store:
        return _ForgetfulStore(self.world, self.oracle, durable=durable)


class _TimelessClient(Client):
    since = property(lambda _: 1, lambda _, value: None)


class _TimelessBreaker(Breaker):
    barrier = property(lambda _: 0, lambda _, value: None)


class WithoutBarrier(Venue):
    """Nodes accept what was signed before the store, or they, began to remember."""

    def make_client(self, process: Process) -> Client:
        return _TimelessClient(self.network, self.store, process.node, process.now())

    def make_standby(self) -> Standby:
        return Standby(Memory(since=1), len(NODES), _TimelessBreaker())


class _Greedy(Standby):
    def shared(self, condition: Condition) -> Condition:
        return condition


class WholeShare(Venue):
    """A node that goes on alone has all of each quota, and not its share."""

    def make_standby(self) -> Standby:
        return _Greedy(Memory(since=1), len(NODES))


class _HastyClient(Client):
    async def commit(self, *asked: Any, **other: Any) -> Outcome:
        try:
            return await super().commit(*asked, **other)
        except BackendDown as error:
            raise BackendDown(str(error)) from error


class Hasty(Venue):
    """Where no answer comes, nodes say that nothing was done."""

    def make_client(self, process: Process) -> Client:
        return _HastyClient(self.network, self.store, process.node, process.now())


class _PatientClient(Client):
    async def commit(self, *asked: Any, **other: Any) -> Outcome:
        try:
            return await super().commit(*asked, **other)
        except BackendDown as error:
            if error.unknown:
                await Moment[None]()
            raise


class Patient(Venue):
    """Nodes wait for an answer for ever."""

    def make_client(self, process: Process) -> Client:
        return _PatientClient(self.network, self.store, process.node, process.now())


class _LooseStore(Store):
    def commit(
        self, conditions: Iterable[Condition], id: str, seen: Seen | None, denied: bool, reserve: bool
    ) -> tuple[Outcome, int]:
        loose = tuple(c._replace(enforced=False) if isinstance(c, Quota) else c for c in conditions)
        return super().commit(loose, id, seen, denied, reserve)


class Loose(Venue):
    """The store counts, and refuses nobody."""

    def make_store(self, *, durable: bool) -> Store:
        return _LooseStore(self.world, self.oracle, durable=durable)


class _LavishStore(Store):
    def refund(self, charge: Charge, item: str, units: int) -> bool:
        self.oracle.given_back(self.run, len(self.log), charge, item, units)
        return super()._do(Step("refund", (charge, item, units, self.clock()))) or True


class Lavish(Venue):
    """The store gives back once more for an order that has been given back for."""

    def make_store(self, *, durable: bool) -> Store:
        return _LavishStore(self.world, self.oracle, durable=durable)


class WithoutRecheck(Venue):
    """Orders are handed on without a last look, and nodes tell nobody that they have any."""

    def recheck(self, grant: Grant) -> Denial | None:
        return None

    def make_guard(self, process: Process) -> Any:
        guard = super().make_guard(process)
        for check in guard.checks:
            if isinstance(check, Halt):
                check.watch(frozenset())
                check.halts._flights.clear()
        return guard


class _Mute:
    def __init__(self, told: Any) -> None:
        self._told = told

    async def lift(self, _key: str, _value: int) -> int:
        self._told.lifted = True
        return 1


class Mute(Venue):
    """A revocation is confirmed before the state was told."""

    def issuers_state(self, state: Any) -> Any:
        return _Mute(state)


ALL: Final[tuple[tuple[type[Venue], str], ...]] = (
    (Forgetful, "once"),
    (WithoutBarrier, "once"),
    (WholeShare, "window"),
    (Loose, "window"),
    (Lavish, "refund"),
    (Hasty, "unknown"),
    (Patient, "answer"),
    (WithoutRecheck, "halt"),
    (Mute, "revoked"),
)
"""Each defect, and the promise that it breaks."""
