"""Judge and commit: does something stand still? By this node's own view, and by the store's numbers in the commit.

The commit refuses from the moment a halt is stored. The view refuses what the store no longer shows (a writer to it
has taken the number away, a copy was restored), and answers `grant.recheck()` just before an order is handed on.

A refusal is 503, not 403: it is the service that has stopped, not this caller who may not. Clients wait and come back
by Retry-After (RFC 9110, 15.6.4: overload or scheduled maintenance), where they would give up, or loop at once, at 403.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from tradeguard.core.conditions import Below, Charge, Condition, Outcome
from tradeguard.core.decision import Denial, Member, register
from tradeguard.core.drive import drive
from tradeguard.core.halt import PREFIX, Mode, Standing, limit, scopes_of
from tradeguard.core.policy import Operation
from tradeguard.core.principal import Principal
from tradeguard.core.request import Request
from tradeguard.halts.view import Halts

NO_NEW = register(
    "halt.no_new",
    status=503,
    text="Trading is halted: no new orders and no withdrawals. Cancels and reads go on.",
    hint="A halt stands; the detail names its scope and number, `tradeguard halt list` who has signed it and why.",
)
BLOCKED = register(
    "halt.blocked",
    status=503,
    text="All access is halted.",
    hint="A halt stands; the detail names its scope and number, `tradeguard halt list` who has signed it and why.",
)
UNREAD = register(
    "halt.unread",
    status=503,
    text="The service cannot tell whether trading is halted. Cancels and reads go on.",
    hint="This node has not been able to read the halts for too long, or since its start: look at the state store.",
)
_WAIT: Final = 60  # seconds that a client is told to wait where nobody has said how long
_SECOND: Final = 1_000_000_000
_KEPT: Final = 65_536  # callers whose condition is kept at hand


class _Asked(NamedTuple):
    """What one caller's request for one operation is held to.

    `first` is the weakest mode that refuses it, `scopes` are those it is in, `below` is what it asks of the store.
    """

    first: Mode
    scopes: tuple[str, ...]
    below: Below


class Halt:
    """Refuses what a halt stops, by the table of `tradeguard.core.halt`.

    Args:
        halts: this node's view.
    """

    name = "halt"
    kinds: frozenset[type] = frozenset({Below})
    __slots__ = ("_kept", "halts")

    def __init__(self, halts: Halts) -> None:
        self.halts = halts
        self._kept: dict[object, _Asked | None] = {}

    async def __call__(self, request: Request, /) -> Denial | None:
        """Refuse by this node's view. It is looked up again first, where a commit has shown that it is behind."""
        asked = self._asked(request.principal, request.operation)
        if asked is None:
            return None
        if self.halts.due:
            await self.halts.refresh()
        return self._judge(asked, request.received)

    def conditions(self, request: Request, /) -> Iterable[Condition]:
        """Return the one `Below` over all scopes of the request; none for what always passes."""
        asked = self._asked(request.principal, request.operation)
        return () if asked is None else (asked.below,)

    def denial(self, condition: Condition, outcome: Outcome, /) -> Denial:
        """Return `halt.blocked` or `halt.no_new`, with the words of the halt where this node has them."""
        assert isinstance(condition, Below)
        if self.halts.answers_at_once:
            drive(self.halts.refresh())
        found = self.halts.find([key.removeprefix(PREFIX) for key in condition.keys], outcome.time)
        if found is not None and found.mode >= condition.value:
            return _deny(found, outcome.time)
        return Denial(BLOCKED if condition.value == Mode.BLOCKED else NO_NEW, retry_after=1)

    def settled(self, _request: Request, outcome: Outcome, /) -> None:
        """Take note of how new the store is."""
        self.halts.notice(outcome.epoch, outcome.version)

    def returns(self, _request: Request, _status: int, /) -> Iterable[Charge]:
        """Return nothing: a halt costs nothing."""
        return ()

    def recheck(self, request: Request, at: int, /) -> Denial | None:
        """Refuse what has been halted since the request was granted."""
        asked = self._asked(request.principal, request.operation)
        if asked is None:
            return None
        if self.halts.due and self.halts.answers_at_once:
            drive(self.halts.refresh())
        return self._judge(asked, at)

    def watch(self, flights: AbstractSet[str], /) -> None:
        """Take the requests in flight, for the receipts of operators."""
        self.halts.watch(flights)

    def close(self) -> None:
        """Stop looking at the store; the next request begins again."""
        self.halts.close()

    def _judge(self, asked: _Asked, at: int) -> Denial | None:
        found = self.halts.find(asked.scopes, at)
        if found is not None and found.mode >= asked.first:
            return _deny(found, at)
        return Denial(UNREAD, retry_after=1) if asked.first <= Mode.NO_NEW and self.halts.unread else None

    def _asked(self, principal: Principal | None, operation: Operation | None) -> _Asked | None:
        """Return the weakest mode that refuses, and the condition; built once per caller and operation."""
        if principal is None or operation is None:
            return None
        caller = (principal.key_id, principal.version, principal.account, principal.tier, operation.id)
        try:
            return self._kept[caller]
        except KeyError:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            asked = self._kept[caller] = _ask(principal, operation)
            return asked


def _ask(principal: Principal, operation: Operation) -> _Asked | None:
    first, scopes = limit(operation), scopes_of(principal, operation)
    return None if first is None else _Asked(first, scopes, Below(tuple(PREFIX + scope for scope in scopes), first))


def _deny(standing: Standing, at: int) -> Denial:
    mode = standing.mode
    members: dict[str, Member] = {"mode": mode.name, "scope": standing.scope.partition(":")[0]}
    if standing.reason:
        members["reason"] = standing.reason
    wait = standing.retry_after or _WAIT
    if standing.until is not None:
        wait = max(1, -((at - standing.until) // _SECOND))
    detail = f"{standing.scope} {mode.name} #{standing.number}" if standing.number else f"{standing.scope}: unsigned"
    return Denial(BLOCKED if mode == Mode.BLOCKED else NO_NEW, retry_after=wait, members=members, detail=detail)
