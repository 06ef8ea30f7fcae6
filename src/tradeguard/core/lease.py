"""Lease: what an open connection holds of quotas, for a time, renewed before that is over, and given back at its end.

The rules:

1.  A connection takes one unit of each quota when it is granted, in the commit of its handshake. A unit counts for
    `length`, so those of a node that was killed run out by themselves.
2.  After half of that it takes new units, and only then gives the old ones back: at no time does it count less than
    once, so nobody comes in between. The new units need no room below `most`, since who renews is counted already:
    they are asked for below `slack(most)`, which nobody who wants to come in gets.
3.  Whoever has not renewed after five sixths is over: the connection is closed before its units run out. The last
    sixth is for clocks that differ, and for the time that closing takes.
4.  An answer that is lost costs a unit that nobody holds, until it runs out.
"""

from collections.abc import Callable, Sequence
from typing import Final

from tradeguard.core.conditions import EXACT, Charge, Limit, Quota
from tradeguard.core.ports import State

_ITEM: Final = "returned"


def opening(most: int, length: int) -> Limit:
    """Return the window of whoever wants to come in.

    Args:
        most: how many connections may be open at once.
        length: of the lease, in ns.
    """
    return Limit(most, length, 0, slack(most) > EXACT)


def slack(most: int) -> int:
    """Return below how many units a lease is renewed: two for each connection, and as many that were lost."""
    return max(EXACT, 4 * most)


class Lease:
    """The units of one connection.

    Args:
        charges: what its handshake took.
        id: of the handshake.
        began: when that arrived, ns UTC.
    """

    __slots__ = ("_began", "_charges", "_ended", "_id", "_length", "_renewals", "_wider")

    def __init__(self, charges: Sequence[Charge], id: str, began: int) -> None:
        self._charges, self._id, self._began = tuple(charges), id, began
        self._length = min(limit.period for charge in charges for limit in charge.quota.windows)
        self._wider = tuple(_widen(charge.quota) for charge in charges)
        self._renewals, self._ended = 0, False

    def is_due(self, at: int) -> bool:
        """Tell whether it is time to renew, ns UTC."""
        return 2 * (at - self._began) >= self._length

    def is_over(self, at: int) -> bool:
        """Tell whether the connection must be closed, ns UTC."""
        return 6 * (at - self._began) >= 5 * self._length

    async def renew(self, state: State, now: Callable[[], int]) -> bool:
        """Hold it for another length from now on; tell whether it does.

        Args:
            state: where the quotas are counted.
            now: the clock, ns UTC.

        Raises:
            BackendDown: the state cannot answer; it is tried again until the lease is over.
        """
        began, self._renewals = now(), self._renewals + 1
        id = f"{self._id}.{self._renewals}"
        outcome = await state.commit(self._wider, began, id, None)
        if outcome.failed or outcome.behind:
            return False
        old, self._charges = self._charges, tuple(Charge(quota, outcome.time, id) for quota in self._wider)
        self._began = began
        await _give_back(old, state, now())
        if self._ended:
            await _give_back(self._charges, state, now())
        return True

    async def end(self, state: State, at: int) -> None:
        """Give the units back; `at` is ns UTC.

        Raises:
            BackendDown: the state cannot answer; they run out by themselves.
        """
        self._ended = True
        await _give_back(self._charges, state, at)


def _widen(quota: Quota) -> Quota:
    windows = tuple(limit._replace(amount=slack(limit.amount)) for limit in quota.windows)
    return quota._replace(windows=windows)


async def _give_back(charges: Sequence[Charge], state: State, at: int) -> None:
    for charge in charges:
        await state.refund(charge, _ITEM, charge.quota.cost, at)
