"""The guard: takes a request through its phases, in their order, and decides.

    frame, operation, claim, gate, body, proof  -- the proof line --  judge, commit, intent, handler, finish

Before the proof line every refusal that depends on who is claimed is one and the same 401. The guard owns the phases;
the list of checks fills gate, proof, judge and commit. A check's phase follows from what it implements.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from tradeguard.core.body import Chunk, Reader
from tradeguard.core.conditions import Advance, Condition, Once, Outcome, Seen
from tradeguard.core.decision import UNAUTHORIZED, Decision, Denial, Grant, Refused, register
from tradeguard.core.errors import BackendDown, ConfigError, Suspended
from tradeguard.core.event import event_of
from tradeguard.core.frame import check_form, check_frame
from tradeguard.core.phases import Phases
from tradeguard.core.plan import Plan
from tradeguard.core.policy import Lane, Operation, Operations, Policy
from tradeguard.core.ports import Closing, Conditional, Journal, Proof, Runtime, State
from tradeguard.core.premises import meet
from tradeguard.core.principal import Principal
from tradeguard.core.request import Peer, Request
from tradeguard.core.runtime import Budget, Loop, Threads

_BUSY = "The service cannot decide about this request now."
UNCLAIMED = register("guard.unclaimed", unproven=True, hint="The request carries no credential that any proof knows.")
AMBIGUOUS = register("guard.ambiguous", unproven=True, hint="The request carries credentials of two proofs; send one.")
UNPROVEN = register(
    "guard.unproven", status=503, text=_BUSY, hint="A proof returned no denial and proved nothing: a bug."
)
UNMAPPED = register(
    "guard.unmapped",
    status=404,
    text="There is no such operation.",
    hint="No row of the operations map matches method and path; add one if it should.",
)
BEHIND = register(
    "guard.behind",
    status=503,
    text=_BUSY,
    hint="The state store is older than this node has seen: a restored copy, a failover or a flush.",
)
BARRIER = register(
    "guard.barrier",
    status=503,
    text="The service has just started and cannot tell whether this message was used before. Look the operation up.",
    hint="The state forgets at a restart; what was signed before the start could be a replay. Ends by itself.",
    executed="unknown",
)
DOWN = register("guard.down", status=503, text=_BUSY, hint="A store cannot answer; the detail names it.")
FAULT = register(
    "guard.fault", status=503, text=_BUSY, hint="A check raised; the detail names it, the log has the trace."
)
UNSURE = register(
    "guard.unsure",
    status=503,
    text=_BUSY,
    hint="The commit was sent and no answer came. It is not repeated; the request was not handed on.",
    executed="unknown",
)
SUSPENDED = register(
    "guard.suspended",
    status=503,
    text=_BUSY,
    hint="A check waits on an event loop, but the host has none; the detail names it. Use its synchronous form.",
)
UNRECORDED = register(
    "guard.unrecorded",
    status=503,
    text=_BUSY,
    hint="The journal could not record the intent (disk full, I/O error), so the request was not handed on.",
)

_INTENT: Final[frozenset[Lane]] = frozenset({"order", "funds", "admin"})
_SECOND: Final = 1_000_000_000
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
    ) -> None:
        self.state, self.journal = state, journal
        self._without = without
        self._plan = Plan(checks, policy or Policy(), operations, state, without)
        self._budget = Budget(self.policy.unproven_bytes)
        self._seen: Seen | None = None
        self._runtime: Runtime | None = None
        self._serves: tuple[Callable[[Operations], None], ...] = ()
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
        self._plan.check_colours(runtime, (self.state, self.journal))
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

    def close(self) -> None:
        """Write out the journal's counts and let go of files and connections; the next request opens them again."""
        self.journal.flush()
        for port in (self.state, *self._plan.phases.ports):
            if isinstance(port, Closing):
                port.close()

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
        try:
            decision = await self._decide(request, plan)
        except Refused as refused:
            decision = refused.denial
        except Exception as error:
            decision = _outage(request, error)
        finally:
            request.release()
        if isinstance(decision, Denial):
            self._record_refusal(request, decision, plan)
        return decision

    def finish(self, request: Request, status: int, detail: str = "", denial: Denial | None = None) -> None:
        """Record the outcome of a granted request. Never raises: the answer may be on its way.

        Args:
            request: the granted one.
            status: what the handler answered; 0 if it did not.
            detail: what became of it where there was no answer.
            denial: why the host refused it although it was granted; None where it did not.
        """
        try:
            code = ""
            if denial is not None:
                code, detail = denial.code, "; ".join(part for part in (denial.detail, detail) if part)
            self.journal.append(event_of("outcome", request, self.runtime.now(), status, code, detail))
        except Exception:
            _log.exception("the outcome of request %s is not on record", request.id)

    async def _decide(self, request: Request, plan: Plan) -> Decision:
        check_frame(request, plan.policy)
        operation = request.operation = plan.operations.match(request.method, request.path)
        proof = _find_proof(request, plan.phases.proofs, operation)
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
            denial = await _prove(request, proof)
            if denial is not None:
                return denial
        denial = None if request.coexists else await self._pass(request, plan)
        if denial is not None:
            return denial
        request.phase = "intent"
        if operation is not None and operation.lane in _INTENT and not request.coexists:
            await self._intend(request)
        vouch = partial(self._vouch, request, plan) if request.coexists else None
        recheck = partial(self._recheck, request)
        return Grant(request.id, request.principal, recheck, operation=operation, vouch=vouch, shadow=request.shadow)

    async def _pass(self, request: Request, plan: Plan) -> Denial | None:
        """Judge and commit, and tell of what was denied in the shadow."""
        denial = await self._settle(request, await _judge(request, plan.phases), plan.phases)
        for shade in request.shadow:
            self.journal.append(event_of("shadow", request, request.received, shade.status, shade.code, shade.detail))
        return denial

    async def _vouch(self, request: Request, plan: Plan, principal: Principal) -> Denial | None:
        """Let whom the host found be judged as a key's holder is. What fails is a refusal.

        That they are let in is on record before the handler acts, whatever the lane: it is the intent, too.
        """
        try:
            request.vouch(principal)
            denial = await self._pass(request, plan)
            if denial is None:
                await self.runtime.wait(self.journal.append(event_of("vouched", request, request.received)))
        except BackendDown as error:
            denial = Denial(UNRECORDED, detail=str(error))
        except Refused as refused:
            denial = refused.denial
        except Exception as error:
            denial = _outage(request, error)
        if denial is not None:
            self._record_refusal(request, denial, plan)
        return denial

    async def _settle(self, request: Request, denial: Denial | None, phases: Phases) -> Denial | None:
        asked: list[tuple[Conditional, Condition]] = []
        for check in phases.conditionals:
            request.phase = check
            try:
                asked += [(check, condition) for condition in check.conditions(request)]
            except Exception as error:
                denial = denial or _outage(request, error)
        if asked:
            denial = await self._commit(request, asked, denial or self._barrier(request, asked))
        return denial

    def _barrier(self, request: Request, asked: list[tuple[Conditional, Condition]]) -> Denial | None:
        """Refuse what was signed before the state began to remember: it may have been used before."""
        credential = request.credential
        if credential is None or not self.state.since:
            return None
        floor = self.state.since + credential.window.future
        if credential.signed_at > floor or not any(isinstance(condition, (Once, Advance)) for _, condition in asked):
            return None
        return Denial(BARRIER, retry_after=max(1, -((request.received - floor) // _SECOND)))

    async def _commit(
        self, request: Request, asked: list[tuple[Conditional, Condition]], denial: Denial | None
    ) -> Denial | None:
        request.phase = "commit"
        outcome = await self.state.commit(
            [condition for _, condition in asked],
            request.received,
            request.id,
            self._seen,
            denied=denial is not None,
            reserve=request.operation is not None and request.operation.lane == "cancel",
        )
        if outcome.behind:
            return Denial(BEHIND)
        self._seen = (outcome.epoch, outcome.version)
        if not outcome.failed or (denial is not None and outcome.first is None):
            return denial
        return _explain(asked, outcome)

    async def _intend(self, request: Request) -> None:
        try:
            await self.runtime.wait(self.journal.append(event_of("intent", request, request.received)))
        except BackendDown as error:
            raise Refused(Denial(UNRECORDED, detail=str(error))) from error
        except BaseException as error:
            self.finish(request, 0, f"not handed on: {type(error).__name__}")
            raise

    def _recheck(self, request: Request) -> Denial | None:
        principal = request.principal
        if principal is None:
            return None
        at = self.runtime.now()
        for check in self._plan.phases.recheckers:
            denial = check.recheck(principal, at)
            if denial is not None:
                return denial
        return None

    def _record_refusal(self, request: Request, denial: Denial, plan: Plan) -> None:
        try:
            if denial.public == UNAUTHORIZED:
                for gate in plan.phases.gates:
                    gate.failed(request, request.claim)
            event = event_of("refused", request, request.received, denial.status, denial.code, denial.detail)
            self.journal.append(event)
        except Exception:
            _log.exception("the refusal %s of request %s is not on record", denial.code, request.id)


def _find_proof(request: Request, proofs: Iterable[Proof], operation: Operation | None) -> Proof | None:
    """Find the one proof that the request is meant for; None only where the operation is public or coexists."""
    public = operation is not None and operation.lane == "public"
    found: Proof | None = None
    for proof in proofs:
        request.phase = proof
        claim = proof.claim(request)
        if claim is not None and not (public and claim.bare):
            if found is not None:
                raise Refused(Denial(AMBIGUOUS))
            found, request.claim = proof, claim
    if found is None and not public:
        if operation is None or operation.coexist is None or operation.coexist <= request.arrived:
            raise Refused(Denial(UNCLAIMED))
        request.coexists = True
    return found


async def _prove(request: Request, proof: Proof) -> Denial | None:
    request.phase = proof
    assert request.claim is not None  # set together with the proof
    denial = await proof.prove(request, request.claim)
    if denial is not None:
        return denial if denial.status >= 500 else denial.veil()
    if request.principal is None:
        return Denial(UNPROVEN, detail=type(proof).__name__)
    return None


async def _judge(request: Request, phases: Phases) -> Denial | None:
    """Return the first denial. A check that fails denies too: what was proved is used up either way."""
    try:
        if request.claim is not None:
            for gate in phases.gates:
                request.phase = gate
                gate.passed(request, request.claim)
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
        return _outage(request, error)
    return None


def _explain(asked: list[tuple[Conditional, Condition]], outcome: Outcome) -> Denial:
    worst = outcome.failed[0]
    check = next(check for check, condition in asked if condition == worst)
    return check.denial(worst, outcome)


def _outage(request: Request, error: Exception) -> Denial:
    """Fail closed: name what failed for the operator, tell the caller nothing of it."""
    phase = request.phase if isinstance(request.phase, str) else type(request.phase).__name__
    detail = f"{phase}: {type(error).__name__}"
    if isinstance(error, Suspended):
        return Denial(SUSPENDED, detail=detail, executed="unknown" if phase == "commit" else False)
    _log.error("request %s failed closed in %s", request.id, phase, exc_info=error)
    if phase == "commit" and not (isinstance(error, BackendDown) and not error.unknown):
        return Denial(UNSURE, detail=detail, retry_after=1)
    return Denial(DOWN if isinstance(error, BackendDown) else FAULT, detail=detail, retry_after=1)
