"""Record: what a guard writes down of each request, and what it tells those checks that take notice."""

import logging
from collections.abc import Set as AbstractSet

from tradeguard.core.decision import UNAUTHORIZED, Denial, Refused, register
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown
from tradeguard.core.event import EventKind, event_of
from tradeguard.core.plan import Plan
from tradeguard.core.ports import Journal, Runtime, State, Watching
from tradeguard.core.request import Request

UNRECORDED = register(
    "record.unrecorded",
    status=503,
    text="The service cannot decide about this request now.",
    hint="The journal could not record the intent (disk full, I/O error), so the request was not handed on.",
)
_log = logging.getLogger("tradeguard")


class Record:
    """Writes events of requests. What cannot be written is logged, but where somebody has to wait for it.

    Args:
        journal: where events are kept.
        state: what nodes tell each other through.

    `flights` are the ids of the requests in flight, from `admit` to `finish`.
    """

    __slots__ = ("_journal", "_state", "flights")

    def __init__(self, journal: Journal, state: State) -> None:
        self._journal, self._state = journal, state
        self.flights = set[str]()

    def show_flights(self, plan: Plan) -> None:
        """Let the checks that watch see what is in flight."""
        flights: AbstractSet[str] = self.flights
        for check in plan.checks:
            if isinstance(check, Watching):
                check.watch(flights)

    async def write(self, kind: EventKind, request: Request, runtime: Runtime, detail: str = "") -> None:
        """Write an event that has to be on record before anything else happens.

        Raises:
            Refused: it is not (`record.unrecorded`).
        """
        try:
            await runtime.wait(self._journal.append(event_of(kind, request, request.received, detail=detail)))
        except BackendDown as error:
            raise Refused(Denial(UNRECORDED, detail=str(error))) from error

    def outcome(self, request: Request, at: int, status: int, detail: str, denial: Denial | None) -> None:
        """Write down what became of a granted request."""
        try:
            code = ""
            if denial is not None:
                code, detail = denial.code, "; ".join(part for part in (denial.detail, detail) if part)
            self._journal.append(event_of("outcome", request, at, status, code, detail))
        except Exception:
            _log.exception("the outcome of request %s is not on record", request.id)

    def shades(self, request: Request) -> None:
        """Write down what was denied and not obeyed."""
        for shade in request.shadow:
            event = event_of("shadow", request, request.received, shade.status, shade.code, shade.detail)
            self._journal.append(event)

    def refusal(self, request: Request, denial: Denial, plan: Plan, runtime: Runtime | None) -> None:
        """Write down a refusal, and count it against its source where it was one before the proof."""
        try:
            if denial.public == UNAUTHORIZED:
                for gate in plan.phases.gates:
                    gate.failed(request, request.claim)
            event = event_of("refused", request, request.received, denial.status, denial.code, denial.detail)
            self._journal.append(event)
        except Exception:
            _log.exception("the refusal %s of request %s is not on record", denial.code, request.id)
        self.notice(plan, request.received, runtime)

    def notice(self, plan: Plan, at: int, runtime: Runtime | None) -> None:
        """Record what many requests come to, and let the nodes tell each other; nobody waits for it."""
        try:
            for check in plan.phases.noticing:
                for event in check.notices(at):
                    self._journal.append(event)
                work = check.exchange(self._state, at)
                if work is not None and self._state.colour in ("instant", "brief"):
                    drive(work)  # a task would hold the loop as long, and might open the state again after `close`
                elif work is not None and runtime is not None:
                    runtime.later(work)
        except Exception:
            _log.exception("what was noticed is not on record")
