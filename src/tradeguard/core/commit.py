"""Commit: the one atomic step of a request, and what may still pass while the shared state is lost.

A commit is never repeated. What fails is told in the order the outcome has it; a denial that was decided before stays,
unless the message had been used: then that is what the caller must know.

While the state is lost, orders, funds and admin are refused at once. Reads and cancels are settled by this node alone,
with its share of the quotas, where the host has given it a standby; nonces begin anew behind a barrier.

A store of another epoch (flushed, failed over, made anew) settles nothing for whoever asks first; this node then goes
on with it behind a barrier, as one would that starts now: what was used is refused, what was counted is gone. One of
the same epoch that knows less than this node has seen is a copy put back: nothing passes until it is repaired, or the
node started again.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from tradeguard.core.breaker import Breaker
from tradeguard.core.conditions import Advance, Below, Condition, Limit, Once, Outcome, Quota, Seen
from tradeguard.core.decision import Denial, register
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.event import Event
from tradeguard.core.phases import Phases
from tradeguard.core.policy import Lane
from tradeguard.core.ports import Conditional, Journal, State
from tradeguard.core.request import Request

_BUSY: Final = "The service cannot decide about this request now."
BEHIND = register(
    "commit.behind",
    status=503,
    text=_BUSY,
    hint="The state store is older than this node has seen (a restored copy), or another one (a failover, a flush): "
    "with that the node goes on behind a barrier.",
)
BARRIER = register(
    "commit.barrier",
    status=503,
    text="The service has just started and cannot tell whether this message was used before. Look the operation up.",
    hint="The state is new, as at its first start and where it is lost or comes back, and in memory at each start; "
    "what was signed before could be a replay. Ends by itself, once clocks that are as far ahead as the dialect allows "
    "have passed it: `tradeguard dialects NAME` says how far.",
    executed="unknown",
)
UNSURE = register(
    "commit.unsure",
    status=503,
    text=_BUSY,
    hint="The commit was sent and no answer came. It is not repeated; the request was not handed on.",
    executed="unknown",
)
LOST = register(
    "commit.lost",
    status=503,
    text=_BUSY,
    hint="The shared state does not answer, so orders, funds and admin are refused; reads and cancels pass if there is "
    "a standby. The log says since when.",
)
_RESIDUAL: Final[frozenset[Lane]] = frozenset({"public", "read", "cancel"})
_SECOND: Final = 1_000_000_000
_Asked = list[tuple[Conditional, Condition]]
_log = logging.getLogger("tradeguard")


@dataclass(frozen=True, slots=True)
class Standby:
    """What settles reads and cancels while the shared state is lost.

    Guarantee: a message is used once per node; a quota has 1/`nodes` of its units on each node, so that all together
    stay below it, however often the state comes and goes. In the window in which the state is lost or comes back, what
    was used there and here adds up: at most twice the quota. Halts and revocations hold as this node last saw them.

    Args:
        state: in memory.
        nodes: the most nodes that there will ever be.
        breaker: when to stop asking the shared state.

    Raises:
        ConfigError: `nodes` is below 1.
    """

    state: State
    nodes: int
    breaker: Breaker = field(default_factory=Breaker)

    def __post_init__(self) -> None:
        if type(self.nodes) is not int or self.nodes < 1:
            raise ConfigError("Standby: nodes is the most nodes that there will be, at least 1")
        if self.state.colour != "instant":
            raise ConfigError(f"Standby: {type(self.state).__name__} may be lost too; use Memory()")

    def shared(self, condition: Condition) -> Condition:
        """Return a condition as one node holds it: this node's share of a quota."""
        if not isinstance(condition, Quota):
            return condition
        return condition._replace(windows=tuple(self._part(limit) for limit in condition.windows))

    def _part(self, limit: Limit) -> Limit:
        amount, burst = limit.amount // self.nodes, limit.burst // self.nodes
        return Limit(amount, limit.period, burst) if amount and (burst or not limit.burst) else Limit(0, limit.period)


class Committer:
    """Settles the conditions of requests.

    Args:
        state: shared memory.
        standby: what settles while that is lost; None for nothing.
        journal: where losses are recorded.
    """

    __slots__ = ("_floor", "_journal", "_put_back", "_seen", "_standby", "_state")

    def __init__(self, state: State, standby: Standby | None, journal: Journal) -> None:
        self._state, self._standby, self._journal = state, standby, journal
        self._seen: Seen | None = None
        self._floor = 0  # when this node went on with another store
        self._put_back = False  # whether it is told that the store is an older copy

    @property
    def ports(self) -> tuple[State, ...]:
        """What it waits for beside the state."""
        return () if self._standby is None else (self._standby.state,)

    async def settle(self, request: Request, asked: _Asked, denial: Denial | None, phases: Phases) -> Denial | None:
        """Commit what the checks ask for; return why the request may not pass.

        Args:
            request: whose conditions they are.
            asked: each condition with the check that asks for it.
            denial: what was decided before: nothing but what binds takes effect then.
            phases: the checks that are told of the outcome, and those that know of revocations.

        Raises:
            BackendDown: the state cannot answer.
        """
        request.phase, standby = "commit", self._standby
        if standby is not None and not standby.breaker.asks(request.received):
            return await self._settle_here(standby, request, asked, denial, phases)
        denial, since, seen = denial or self._barrier(request, asked), self._state.since, self._seen
        outcome = await self._ask(request, asked, seen, denial)
        if outcome.behind:
            self._turn(seen, outcome, request.received)
            return Denial(BEHIND, retry_after=1)
        self._seen, self._put_back = (outcome.epoch, outcome.version), False
        back = standby is not None and standby.breaker.answered(request.received)
        if back:
            self._tell("the shared state answers again", request.received)
        if back or self._state.since > since:  # it began anew, and this node had not seen the one before
            denial = denial or self._barrier(request, asked)
        for check in phases.settling:
            request.phase = check
            check.settled(request, outcome)
        return _explain(asked, outcome, denial)

    async def _ask(self, request: Request, asked: _Asked, seen: Seen | None, denial: Denial | None) -> Outcome:
        conditions, reserve = [condition for _, condition in asked], _reserves(request)
        try:
            outcome = await self._state.commit(
                conditions, request.received, request.id, seen, denied=denial is not None, reserve=reserve
            )
        except BackendDown:
            if self._standby is not None and self._standby.breaker.failed(request.received):
                self._tell("the shared state is lost: orders, funds and admin are refused", request.received)
            raise
        if not (type(outcome.failed) is tuple and type(outcome.version) is type(outcome.time) is int):
            raise TypeError(f"{type(self._state).__name__} answered nonsense")
        return outcome

    async def _settle_here(
        self, standby: Standby, request: Request, asked: _Asked, denial: Denial | None, phases: Phases
    ) -> Denial | None:
        """Settle on this node alone. Numbers are as it last saw them: who knows whether a grant stands is asked."""
        operation = request.operation
        if operation is None or operation.lane not in _RESIDUAL:
            return denial or Denial(LOST, retry_after=1)
        if any(isinstance(condition, Advance) for _, condition in asked):
            return denial or Denial(LOST, retry_after=1, detail="a monotonic nonce has no floor on this node")
        for check in phases.recheckers if request.principal is not None else ():
            denial = denial or check.recheck(request, request.received)
        denial = denial or self._barrier(request, asked)
        here = [(check, standby.shared(condition)) for check, condition in asked if not isinstance(condition, Below)]
        outcome = await standby.state.commit(
            [condition for _, condition in here],
            request.received,
            request.id,
            None,
            denied=denial is not None,
            reserve=_reserves(request),
        )
        return _explain(here, outcome, denial)

    def _barrier(self, request: Request, asked: _Asked) -> Denial | None:
        """Refuse what was signed before there was a memory of what is used: it may have been used before."""
        since, credential = max(self._state.since, self._floor), request.credential
        if self._standby is not None:
            since = max(since, self._standby.breaker.barrier)
        if credential is None or not since:
            return None
        floor = since + credential.window.future
        if credential.signed_at > floor or not any(isinstance(condition, (Once, Advance)) for _, condition in asked):
            return None
        return Denial(BARRIER, retry_after=max(1, -((request.received - floor) // _SECOND)))

    def _turn(self, seen: Seen | None, outcome: Outcome, at: int) -> None:
        """Go on with a store of another epoch, behind a barrier. Each change is told once, however many find out."""
        if seen is not None and outcome.epoch == seen[0]:
            if not self._put_back:
                self._put_back = True
                self._tell("the shared state knows less than this node has seen: nothing passes", at)
            return
        self._floor = max(self._floor, at)
        if self._seen is None or self._seen[0] != outcome.epoch:
            self._seen = (outcome.epoch, outcome.version)
            self._tell("the shared state is another one: what was counted is gone, and what was used is refused", at)

    def _tell(self, text: str, at: int) -> None:
        _log.critical(text)
        self._journal.append(Event("store", at, detail=text))


def _reserves(request: Request) -> bool:
    return request.operation is not None and request.operation.lane == "cancel"


def _explain(asked: Iterable[tuple[Conditional, Condition]], outcome: Outcome, denial: Denial | None) -> Denial | None:
    if not outcome.failed or (denial is not None and outcome.first is None):
        return denial
    worst = outcome.failed[0]
    check = next(check for check, condition in asked if condition == worst)
    return check.denial(worst, outcome)
