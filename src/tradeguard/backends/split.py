"""Split: quotas in one store, all else in another.

Guarantee: what the first store settles, it settles as it does alone. Quotas are settled after it, and spent only if
nothing of it failed: of one commit, never a quota without its message. Not one atomic step: where the process dies or
the store of the quotas is down between the two, the message is used up and no quota is spent; the request is refused,
and whether it took effect is unknown. A number that is set between the two counts from the next commit on. The nodes
see epoch and version of the first store only: that the other one was emptied, nobody notices.
"""

from collections.abc import Iterable
from typing import Final

from tradeguard.backends.room import check_conditions
from tradeguard.core.conditions import Charge, Condition, Look, Outcome, Quota, Seen, by_rank
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.ports import Closing, Colour, State

_QUOTAS: Final = frozenset({Quota})


class Split:
    """A state that sends quotas to one store and all else to another.

    Args:
        state: settles all but quotas, and keeps the numbers.
        quotas: settles quotas.

    Raises:
        ConfigError: the second settles no quotas, or no host can wait for both.
    """

    def __init__(self, state: State, quotas: State) -> None:
        if Quota not in quotas.supports:
            raise ConfigError(f"Split: {type(quotas).__name__} settles no quotas; name a store that does")
        self._state, self._quotas, self._time = state, quotas, 0
        self.colour = _join(state.colour, quotas.colour)
        self.supports: frozenset[type] = state.supports | _QUOTAS

    @property
    def since(self) -> int:
        """From when on the first store remembers, ns UTC."""
        return self._state.since

    async def commit(
        self,
        conditions: Iterable[Condition],
        at: int,
        request_id: str,
        seen: Seen | None,
        denied: bool = False,
        reserve: bool = False,
    ) -> Outcome:
        """Settle all but the quotas, then the quotas."""
        conditions = tuple(conditions)
        check_conditions(conditions, self, self.supports)
        quotas = [condition for condition in conditions if isinstance(condition, Quota)]
        others = [condition for condition in conditions if not isinstance(condition, Quota)]
        at = self._time = max(self._time, at)
        first = await self._state.commit(others, at, request_id, seen, denied, reserve)
        if first.behind or not quotas:
            return first
        refused = denied or bool(first.failed)
        try:
            then = await self._quotas.commit(quotas, first.time, request_id, None, refused, reserve)
        except BackendDown as error:
            raise BackendDown(str(error), unknown=True) from error
        failed = by_rank(first.failed + then.failed)
        return first._replace(
            failed=failed, time=then.time, usage=then.usage, full=first.full or then.full, ready=then.ready
        )

    async def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
        """Store a number for `Below`, until a time (ns UTC) or for good; return the new version."""
        return await self._state.set(key, value, until, record)

    async def lift(self, key: str, value: int) -> int:
        """Store a number for `Below`, for good, unless a higher one is stored; return the new version."""
        return await self._state.lift(key, value)

    async def look(self, prefix: str) -> Look:
        """Return the numbers whose key begins with a prefix and that still hold."""
        return await self._state.look(prefix)

    async def refund(self, charge: Charge, item: str, units: int, at: int) -> bool:
        """Give units of a charge back, where the store of the quotas can; tell whether they counted."""
        self._time = max(self._time, at)
        return await self._quotas.refund(charge, item, units, self._time)

    def close(self) -> None:
        """Let go of the files and connections of both."""
        for store in (self._state, self._quotas):
            if isinstance(store, Closing):
                store.close()


def _join(first: Colour, second: Colour) -> Colour:
    """Return the colour of what waits for both."""
    colours = {first, second}
    if colours == {"blocking", "async"}:
        raise ConfigError(f"Split: no host waits for an {first} and a {second} store; take both of one kind")
    order: tuple[Colour, ...] = ("instant", "brief", "blocking", "async")
    return order[max(map(order.index, (first, second)))]
