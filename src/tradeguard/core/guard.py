"""The guard: takes a request through its phases, in their order, and decides.

    frame, operation, claim, gate, body, proof  -- the proof line --  judge, commit, intent, handler, finish

Before the proof line every refusal that depends on who is claimed is one and the same 401. The guard owns the phases;
the list of checks fills gate, proof, judge and commit. A check's phase follows from what it implements.
"""

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from tradeguard.core.body import Chunk, Reader
from tradeguard.core.conditions import Condition, Once, Outcome, Seen
from tradeguard.core.decision import UNAUTHORIZED, Decision, Denial, Grant, Refused, register
from tradeguard.core.errors import BackendDown, ConfigError, Suspended
from tradeguard.core.event import event_of
from tradeguard.core.frame import check_form, check_frame
from tradeguard.core.phases import Phases
from tradeguard.core.policy import Lane, Operations, Policy
from tradeguard.core.ports import Conditional, Journal, Port, Proof, Runtime, State
from tradeguard.core.principal import Principal
from tradeguard.core.request import Peer, Request
from tradeguard.core.runtime import Budget

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
        self._phases = Phases(checks, without)
        self.policy = policy or Policy()
        self.operations, self.state, self.journal = operations, state, journal
        self._budget = Budget(self.policy.unproven_bytes)
        self._seen: Seen | None = None
        self._runtime: Runtime | None = None
        self._check_parts()
        self.challenge = self._phases.challenge
        if runtime is not None:
            self.bind(runtime)

    def bind(self, runtime: Runtime) -> None:
        """Take the host's way of waiting; an adapter calls this when it is built.

        Raises:
            ConfigError: a port cannot wait that way, or the guard serves another kind of host already.
        """
        if self._runtime is not None:
            if type(self._runtime) is not type(runtime):
                raise ConfigError("a guard serves one kind of host; build a second guard over the same state and keys")
            return
        ports: list[Port] = [self.state, self.journal, *self._phases.ports]
        for port in ports:
            if port.colour not in runtime.colours:
                raise ConfigError(
                    f"{type(port).__name__} is {port.colour} and cannot wait in this host "
                    f"({type(runtime).__name__}: {', '.join(sorted(runtime.colours))}); use a backend of those colours"
                )
        self._runtime = runtime

    @property
    def runtime(self) -> Runtime:
        """The host's way of waiting.

        Raises:
            ConfigError: no adapter has brought one yet.
        """
        if self._runtime is None:
            raise ConfigError("this guard has no runtime: hand it to an adapter, or pass runtime=Loop() or Threads()")
        return self._runtime

    def reader(self, chunk: Chunk, arrived: int) -> Reader:
        """Return a reader for one body, with the guard's limits; `arrived` is when its head was complete, ns UTC."""
        return Reader(chunk, self.policy, self._budget, self.runtime, arrived)

    def door(self, peer: Peer, at: int) -> Denial | None:
        """Turn a source away that keeps failing, before anything is made of its request."""
        try:
            for gate in self._phases.gates:
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
        try:
            decision = await self._decide(request)
        except Refused as refused:
            decision = refused.denial
        except Exception as error:
            decision = _outage(request, error)
        finally:
            request.release()
        if isinstance(decision, Denial):
            self._record_refusal(request, decision)
        return decision

    def finish(self, request: Request, status: int, detail: str = "") -> None:
        """Record the outcome of a granted request. Never raises: the answer may be on its way.

        Args:
            request: the granted one.
            status: what the handler answered; 0 if it did not.
            detail: what became of it where there was no answer.
        """
        try:
            self.journal.append(event_of("outcome", request, self.runtime.now(), status, detail=detail))
        except Exception:
            _log.exception("the outcome of request %s is not on record", request.id)

    async def _decide(self, request: Request) -> Decision:
        check_frame(request, self.policy)
        operation = request.operation = self.operations.match(request.method, request.path)
        proof = self._claimed(request, public=operation is not None and operation.lane == "public")
        if request.claim is not None:
            for gate in self._phases.gates:
                request.phase = gate
                denial = gate.gate(request, request.claim)
                if denial is not None:
                    return denial
        request.phase = "body"
        check_form(request, await request.body())
        if request.length != 0:
            request.received = self.runtime.now()
        if proof is not None:
            denial = await self._prove(request, proof)
            if denial is not None:
                return denial
        return await self._settle(request, await self._judge(request))

    def _claimed(self, request: Request, *, public: bool) -> Proof | None:
        """Find the one proof that the request is meant for; None only where the operation is public."""
        found: Proof | None = None
        for proof in self._phases.proofs:
            request.phase = proof
            claim = proof.claim(request)
            if claim is not None and not (public and claim.bare):
                if found is not None:
                    raise Refused(Denial(AMBIGUOUS))
                found, request.claim = proof, claim
        if found is None and not public:
            raise Refused(Denial(UNCLAIMED))
        return found

    async def _prove(self, request: Request, proof: Proof) -> Denial | None:
        request.phase = proof
        assert request.claim is not None  # set together with the proof
        denial = await proof.prove(request, request.claim)
        if denial is not None:
            return denial if denial.status >= 500 else denial.veil()
        if request.principal is None:
            return Denial(UNPROVEN, detail=type(proof).__name__)
        return None

    async def _judge(self, request: Request) -> Denial | None:
        """Return the first denial. A check that fails denies too: what was proved is used up either way."""
        try:
            if request.claim is not None:
                for gate in self._phases.gates:
                    request.phase = gate
                    gate.passed(request, request.claim)
            if request.operation is None:
                return Denial(UNMAPPED)
            for check in self._phases.judges:
                request.phase = check
                denial = await check(request)
                if denial is not None:
                    return denial
        except Refused as refused:
            return refused.denial
        except Exception as error:
            return _outage(request, error)
        return None

    async def _settle(self, request: Request, denial: Denial | None) -> Decision:
        asked: list[tuple[Conditional, Condition]] = []
        for check in self._phases.conditionals:
            request.phase = check
            try:
                asked += [(check, condition) for condition in check.conditions(request)]
            except Exception as error:
                denial = denial or _outage(request, error)
        if asked:
            denial = await self._commit(request, asked, denial or self._barrier(request, asked))
        if denial is not None:
            return denial
        request.phase = "intent"
        if request.operation is not None and request.operation.lane in _INTENT:
            await self._intend(request)
        return Grant(request.id, request.principal, partial(self._recheck, request.principal))

    def _barrier(self, request: Request, asked: list[tuple[Conditional, Condition]]) -> Denial | None:
        """Refuse what was signed before the state began to remember: it may have been used before."""
        credential = request.credential
        if credential is None or not self.state.since:
            return None
        floor = self.state.since + credential.window.future
        if credential.signed_at > floor or not any(isinstance(condition, Once) for _, condition in asked):
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

    def _recheck(self, principal: Principal | None) -> Denial | None:
        if principal is None:
            return None
        at = self.runtime.now()
        for check in self._phases.recheckers:
            denial = check.recheck(principal, at)
            if denial is not None:
                return denial
        return None

    def _record_refusal(self, request: Request, denial: Denial) -> None:
        try:
            if denial.public == UNAUTHORIZED:
                for gate in self._phases.gates:
                    gate.failed(request, request.claim)
            event = event_of("refused", request, request.received, denial.status, denial.code, denial.detail)
            self.journal.append(event)
        except Exception:
            _log.exception("the refusal %s of request %s is not on record", denial.code, request.id)

    def _check_parts(self) -> None:
        """Hold the parts against each other: what an operation or a check asks for, something must give."""
        self.operations.check_scopes(self.policy.vocabulary)
        for operation in self.operations.all:
            if operation.assurance > 1:
                raise ConfigError(
                    f"operation {operation.id!r} asks for assurance {operation.assurance}; no check gives it"
                )
        for check in self._phases.conditionals:
            missing = check.kinds - self.state.supports
            if missing:
                names = ", ".join(sorted(kind.__name__ for kind in missing))
                raise ConfigError(
                    f"{type(check).__name__} needs {names}, which {type(self.state).__name__} cannot settle"
                )


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
