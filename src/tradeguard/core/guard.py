"""The guard: takes a request through its phases, in their order, and decides.

    frame, operation, claim, gate, body, proof  -- the proof line --  judge, commit, intent, handler, finish

Before the proof line every refusal that depends on who is claimed is one and the same 401. The guard owns the phases;
the list of checks fills gate, proof, judge and commit. A check's phase follows from what it implements.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from tradeguard.core.body import LARGE, Chunk, Reader
from tradeguard.core.commit import Committer, Standby
from tradeguard.core.conditions import Condition
from tradeguard.core.decision import Decision, Denial, Grant, Refused, register
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import check_form, check_frame
from tradeguard.core.outage import FAULT, explain
from tradeguard.core.phases import Phases
from tradeguard.core.plan import Plan
from tradeguard.core.policy import HANDSHAKE, Lane, Operation, Operations, Policy
from tradeguard.core.ports import Closing, Conditional, Journal, Runtime, State
from tradeguard.core.premises import meet
from tradeguard.core.principal import Principal
from tradeguard.core.proof import find_proof, prove
from tradeguard.core.receipt import read_receipt
from tradeguard.core.record import Record
from tradeguard.core.request import Peer, Request
from tradeguard.core.runtime import Budget, Loop, Threads

UNMAPPED = register(
    "guard.unmapped",
    status=404,
    text="There is no such operation.",
    hint="No row of the operations map matches method and path; add one if it should.",
)
_GIVEN_UP: Final = Denial(FAULT)  # what stands where the host stops waiting
_INTENT: Final[frozenset[Lane]] = frozenset({"order", "funds", "admin"})
_log = logging.getLogger("tradeguard")


class Guard:
    """Decides about requests. Built once, from a list of checks that is the policy; shared by threads and tasks.

    Args:
        checks: proofs, judges, gates and whatever has conditions; the order ranks judges and equal failures.
        operations: what each request is.
        state: shared memory for the commit.
        journal: where events are kept.
        policy: limits and declared scopes.
        runtime: how the host waits; an adapter brings its own.
        without: the required checks that are left out on purpose, by name.
        standby: what settles reads and cancels while the state is lost; None: nothing passes then.

    Raises:
        ConfigError: a required check is missing, doubled or cannot work with what else was given.
    """

    def __init__(
        self,
        checks: Iterable[object],
        *,
        operations: Operations,
        state: State,
        journal: Journal,
        policy: Policy | None = None,
        runtime: Runtime | None = None,
        without: Sequence[str] = (),
        standby: Standby | None = None,
    ) -> None:
        self.state, self.journal = state, journal
        self._without = without
        self._plan = Plan(checks, policy or Policy(), operations, state, without)
        self._budget = Budget(self.policy.unproven_bytes)
        self._committer = Committer(state, standby, journal)
        self._runtime: Runtime | None = None
        self._serves: tuple[Callable[[Operations], None], ...] = ()
        self._record = Record(journal, state)
        self._record.show_flights(self._plan)
        if runtime is not None:
            self.bind(runtime)

    def bind(self, runtime: Runtime, serves: Callable[[Operations], None] = lambda _: None) -> None:
        """Take the host's way of waiting; an adapter calls this when it is built.

        Args:
            runtime: how the host waits.
            serves: raises `ConfigError` for operations that the host cannot route as the map does.

        Raises:
            ConfigError: a port cannot wait that way, the host cannot route an operation, or the guard serves another
                kind of host already.
        """
        if self._runtime is not None and type(self._runtime) is not type(runtime):
            raise ConfigError("a guard serves one kind of host; build a second guard over the same state and keys")
        self._plan.check_colours(runtime, (self.state, self.journal, *self._committer.ports))
        serves(self._plan.operations)
        self._runtime, self._serves = self._runtime or runtime, (*self._serves, serves)

    @property
    def runtime(self) -> Runtime:
        """The host's way of waiting.

        Raises:
            ConfigError: no adapter has brought one yet.
        """
        if self._runtime is None:
            raise ConfigError("this guard has no runtime: hand it to an adapter, or pass runtime=Loop() or Threads()")
        return self._runtime

    def adopt(self, checks: Iterable[object], *, operations: Operations, policy: Policy) -> None:
        """Decide by another plan from the next request on; those in flight are decided by the one they began with.

        State, journal and runtime stay, and so does the budget for unproven bodies.

        Raises:
            ConfigError: the parts do not fit each other; the guard goes on with what it had.
        """
        plan = Plan(checks, policy, operations, self.state, self._without)
        if self._runtime is not None:
            plan.check_colours(self._runtime, ())
        for serves in self._serves:
            serves(operations)
        self._plan = plan
        self._record.show_flights(plan)

    def close(self) -> None:
        """Write out the journal's counts and let go of files and connections; the next request opens them again."""
        self.journal.flush()
        for part in (*self._plan.checks, self.state, *self._committer.ports, *self._plan.phases.ports):
            if isinstance(part, Closing):
                part.close()

    @property
    def checks(self) -> tuple[object, ...]:
        """The list of checks, as given."""
        return self._plan.checks

    @property
    def policy(self) -> Policy:
        """The limits and declared scopes."""
        return self._plan.policy

    @property
    def operations(self) -> Operations:
        """What each request is."""
        return self._plan.operations

    @property
    def policy_mark(self) -> str:
        """What stands for checks, policy and operations in every event."""
        return self._plan.mark

    @property
    def challenge(self) -> str:
        """What WWW-Authenticate says on a 401."""
        return self._plan.phases.challenge

    @property
    def dialects(self) -> Mapping[str, Any]:
        """What its proofs understand, by name: readers of `tradeguard.signing`, for those who answer its clients."""
        return self._plan.phases.dialects

    def reader(self, chunk: Chunk, arrived: int) -> Reader:
        """Return a reader for one body, with the guard's limits; `arrived` is when its head was complete, ns UTC."""
        return Reader(chunk, self.policy, self._budget, self.runtime, arrived)

    def door(self, peer: Peer, at: int) -> Denial | None:
        """Turn a source away that keeps failing, before anything is made of its request."""
        try:
            denial = meet(peer) if isinstance(self._runtime, (Loop, Threads)) else None  # a host has bound it
            if denial is not None:
                self.journal.count(denial.code, at)
                return denial
            for gate in self._plan.phases.gates:
                denial = gate.door(peer.source, at)
                if denial is not None:
                    self.journal.count(denial.code, at)
                    return denial
        except Exception:
            _log.exception("the door failed closed")
            return Denial(FAULT, retry_after=1)
        return None

    async def admit(self, request: Request) -> Decision:
        """Decide about a request. Never raises an `Exception`: what fails is a refusal.

        Returns:
            A `Grant`, to be followed by `finish` once the handler is through; or a `Denial`, recorded already.
        """
        plan = self._plan
        request.policy = plan.mark
        decision: Decision = _GIVEN_UP
        self._record.flights.add(request.id)
        try:
            decision = await self._decide(request, plan)
        except Refused as refused:
            decision = refused.denial
        except Exception as error:
            decision = explain(request, error)
        finally:
            request.release()
            if not isinstance(decision, Grant):
                self._record.flights.discard(request.id)
        if isinstance(decision, Denial):
            self._record.refusal(request, decision, plan, self._runtime)
        return decision

    async def hear(self, message: Request) -> Denial | None:
        """Decide about a message that came over a granted connection: rechecked, judged and committed by its row.

        Who sends it was proved by the handshake. Never raises an `Exception`: what fails is a refusal, recorded
        already, and ends the connection.

        Args:
            message: see `Request.message`.
        """
        plan, lane = self._plan, message.operation and message.operation.lane
        message.policy = plan.mark
        try:
            if message.length is not None and message.length > plan.policy.body_bytes:
                raise Refused(Denial(LARGE, detail=f"a message of {message.length} bytes"))
            left_to_host = message.coexists and message.principal is None
            denial = await self.review(message)
            if denial is None and not left_to_host:
                denial = await self._pass(message, plan)
            if denial is None and lane in _INTENT and not left_to_host:
                await self._record.write("intent", message, self.runtime, f"message over {message.connection}")
        except Refused as refused:
            denial = refused.denial
        except Exception as error:
            denial = explain(message, error)
        if denial is not None:
            self._record.refusal(message, denial, plan, self._runtime)
        return denial

    async def review(self, request: Request) -> Denial | None:
        """Do what `Grant.recheck` does, after asking stores that wait on a loop. Never raises an `Exception`.

        Args:
            request: the granted one, whose stream or connection is open.
        """
        principal = request.principal
        try:
            for keys in self._plan.phases.distant if principal is not None and principal.key_id else ():
                assert principal is not None  # as the line above says
                await keys.find(principal.key_id)
            return self._recheck(request)
        except Exception as error:
            request.phase = "recheck"
            return explain(request, error)

    def finish(self, request: Request, status: int, detail: str = "", denial: Denial | None = None) -> None:
        """Record the outcome of a granted request. Never raises: the answer may be on its way.

        Args:
            request: the granted one.
            status: what the handler answered; 0 if it did not.
            detail: what became of it where there was no answer.
            denial: why the host refused it although it was granted; None where it did not.
        """
        self._record.flights.discard(request.id)
        self._record.outcome(request, self.runtime.now(), status, detail, denial)
        if request.charges or request.lease is not None:
            self._give_back(request, status)
        self._record.notice(self._plan, request.received, self._runtime)

    async def refund(self, receipt: str, item: str, units: int = 1, quota: str = "orders") -> bool:
        """Give back what an order took from a quota, when it is filled: only fills, never cancels.

        Args:
            receipt: of the grant.
            item: what was filled, such as the order id; each gives back once.
            units: how many, at least 1; in all never more than the request cost.
            quota: the name of the quota.

        Returns:
            Whether units were given back that still counted.

        Raises:
            ConfigError: that is no receipt.
            BackendDown: the state cannot answer now.
        """
        given = False
        for charge in read_receipt(receipt):
            if charge.quota.key.partition(":")[0] == quota:
                given = await self.state.refund(charge, item, units, self.runtime.now()) or given
        return given

    def refund_now(self, receipt: str, item: str, units: int = 1, quota: str = "orders") -> bool:
        """Do what `refund` does, in a host without an event loop."""
        return drive(self.refund(receipt, item, units, quota))

    def _give_back(self, request: Request, status: int) -> None:
        """Give back what a request took that only counts where it succeeds, and its place; nobody waits for it."""
        try:
            if request.lease is not None:
                self.runtime.later(request.lease.end(self.state, self.runtime.now()))
            for check in self._plan.phases.settling:
                for charge in check.returns(request, status):
                    self.runtime.later(self.state.refund(charge, "returned", charge.quota.cost, self.runtime.now()))
        except Exception:
            _log.exception("what request %s took from quotas is not given back", request.id)

    async def _decide(self, request: Request, plan: Plan) -> Decision:
        check_frame(request, plan.policy)
        operation = request.operation = _find_row(request, plan.operations)
        proof = find_proof(request, plan.phases.proofs, operation)
        if request.claim is not None:
            for gate in plan.phases.gates:
                request.phase = gate
                denial = gate.gate(request, request.claim)
                if denial is not None:
                    return denial
        request.phase = "body"
        check_form(request, await request.body())
        if request.length != 0:
            request.received = self.runtime.now()
        if proof is not None:
            denial = await prove(request, proof)
            if denial is not None:
                return denial
        denial = None if request.coexists else await self._pass(request, plan)
        if denial is not None:
            return denial
        request.phase = "intent"
        if operation is not None and operation.lane in _INTENT and not request.coexists:
            await self._intend(request)
        vouch = partial(self._vouch, request, plan) if request.coexists else None
        return Grant(
            request.id,
            request.principal,
            partial(self._recheck, request),
            operation=operation,
            vouch=vouch,
            shadow=request.shadow,
            charges=request.charges,
        )

    async def _pass(self, request: Request, plan: Plan) -> Denial | None:
        """Judge and commit, and tell of what was denied in the shadow."""
        denial = await self._settle(request, await _judge(request, plan.phases), plan.phases)
        if denial is not None:
            request.charges, request.lease = [], None  # nothing was spent that is ever given back
        elif request.claim is not None:
            for gate in plan.phases.gates:
                request.phase = gate
                gate.passed(request, request.claim)
        if request.shadow:
            self._record.shades(request)
        return denial

    async def _vouch(self, request: Request, plan: Plan, principal: Principal) -> Denial | None:
        """Let whom the host found be judged as a key's holder is. What fails is a refusal.

        That they are let in is on record before the handler acts, whatever the lane: it is the intent, too.
        """
        try:
            request.vouch(principal)
            denial = await self._pass(request, plan)
            if denial is None:
                await self._record.write("vouched", request, self.runtime)
        except Refused as refused:
            denial = refused.denial
        except Exception as error:
            denial = explain(request, error)
        if denial is not None:
            self._record.refusal(request, denial, plan, self._runtime)
        return denial

    async def _settle(self, request: Request, denial: Denial | None, phases: Phases) -> Denial | None:
        asked: list[tuple[Conditional, Condition]] = []
        for check in phases.conditionals:
            request.phase = check
            try:
                asked += [(check, condition) for condition in check.conditions(request)]
            except Exception as error:
                denial = denial or explain(request, error)
        if asked:
            denial = await self._committer.settle(request, asked, denial, phases)
        return denial

    async def _intend(self, request: Request) -> None:
        try:
            await self._record.write("intent", request, self.runtime)
        except Refused:
            raise
        except BaseException as error:
            self.finish(request, 0, f"not handed on: {type(error).__name__}")
            raise

    def _recheck(self, request: Request) -> Denial | None:
        if request.principal is None:
            return None
        at = self.runtime.now()
        for check in self._plan.phases.recheckers:
            denial = check.recheck(request, at)
            if denial is not None:
                return denial
        return None


def _find_row(request: Request, operations: Operations) -> Operation | None:
    """Find the row: that of a WebSocket's handshake, a GET on the wire, is `WS /path`; no request is by that method."""
    if request.kind == "websocket":
        return operations.match(HANDSHAKE, request.path)
    return None if request.method == HANDSHAKE else operations.match(request.method, request.path)


async def _judge(request: Request, phases: Phases) -> Denial | None:
    """Return the first denial. A check that fails denies too: what was proved is used up either way."""
    try:
        if request.operation is None:
            return Denial(UNMAPPED)
        for check in phases.judges:
            request.phase = check
            denial = await check(request)
            if denial is not None:
                return denial
    except Refused as refused:
        return refused.denial
    except Exception as error:
        return explain(request, error)
    return None
