"""Commit: may one more connection be open? By key, account and source, over all nodes; each holds a lease."""

from collections.abc import Iterable, Mapping
from typing import Final

from tradeguard.core.conditions import LARGEST, NEVER, Charge, Condition, Limit, Outcome, Quota
from tradeguard.core.decision import Denial, Member, register
from tradeguard.core.errors import ConfigError
from tradeguard.core.lease import Lease, opening, slack
from tradeguard.core.rate import counted_as
from tradeguard.core.request import Request

FULL = register(
    "connections.full",
    status=429,
    text="Too many connections are open. Close one, or come back after Retry-After.",
    hint="The detail names by whom they are counted; those of a node that was killed count until their lease ends.",
)
ROOM = register(
    "connections.room",
    status=503,
    text="Too many connections are being counted. Ask again.",
    hint="The store counts as many quotas as it has room for; raise `meters`.",
)
_SECOND: Final = 1_000_000_000
_LONGEST: Final = 3_600  # seconds


class Connections:
    """Holds callers to a number of WebSockets that are open at once.

    Those of public operations are not counted: nobody was proved, and strangers fill no store.

    Args:
        key: most of one key; 0 for no limit, as in the two below.
        account: most of one account, over all of its keys.
        source: most from one source address (its /64 for IPv6).
        lease: seconds for which a connection counts whose node was killed, and about how long connections outlive a
            state that is lost: at least 6.

    Raises:
        ConfigError: a number below 0, none above it, or a lease that is too short or too long.
    """

    name = "connections"
    kinds: frozenset[type] = frozenset({Quota})

    def __init__(self, *, key: int = 0, account: int = 0, source: int = 0, lease: int = 30) -> None:
        self.key, self.account, self.source, self.lease = key, account, source, lease
        most = {"key": key, "account": account, "source": source}
        if any(type(number) is not int or number < 0 for number in most.values()) or not any(most.values()):
            raise ConfigError("Connections: give key, account or source a number of connections, such as key=20")
        if type(lease) is not int or not 6 <= lease <= _LONGEST:
            raise ConfigError(f"Connections: lease is 6 to {_LONGEST} seconds, not {lease!r}")
        period = lease * _SECOND
        for by, number in most.items():
            if slack(number) * (period // 1_000) > LARGEST:
                raise ConfigError(f"Connections: {by}: {number} is more than what a store counts exactly")
        self._windows: Mapping[str, tuple[Limit, ...]] = {
            by: (opening(number, period),) for by, number in most.items() if number
        }

    def conditions(self, request: Request, /) -> Iterable[Condition]:
        """Return the quotas of a proved handshake."""
        if request.kind != "websocket" or request.principal is None:
            return ()
        parts = counted_as(request.principal, request.peer.source)
        return [Quota(f"connections.{by}:{parts[by]}", windows, 1) for by, windows in self._windows.items()]

    def denial(self, _condition: Condition, outcome: Outcome, /) -> Denial:
        """Return `connections.full`, with the time at which the next lease ends at the latest."""
        if outcome.ready == 0:
            return Denial(ROOM, retry_after=1)
        full = [quota for quota in outcome.failed if isinstance(quota, Quota) and quota.key in outcome.usage]
        names = [quota.key.partition(":")[0].removeprefix("connections.") for quota in full if _is_ours(quota)]
        wait = self.lease if outcome.ready == NEVER else max(1, -((outcome.time - outcome.ready) // _SECOND))
        members: dict[str, Member] = {"counted_by": names}
        return Denial(FULL, retry_after=wait, members=members, detail=", ".join(names))

    def settled(self, request: Request, outcome: Outcome, /) -> None:
        """Keep what a connection holds.

        Raises:
            ValueError: the store says nothing about a quota.
        """
        asked = [condition for condition in self.conditions(request) if isinstance(condition, Quota)]
        for quota in asked:
            if quota not in outcome.failed and quota.key not in outcome.usage:
                raise ValueError(f"the store says nothing about quota {quota.key}")
        if asked and not outcome.failed:
            charges = [Charge(quota, outcome.time, request.id) for quota in asked]
            request.lease = Lease(charges, request.id, request.received)

    def returns(self, _request: Request, _status: int, /) -> Iterable[Charge]:
        """Return nothing here: the lease gives its units back itself, when the connection ends."""
        return ()


def _is_ours(quota: Quota) -> bool:
    return quota.key.startswith("connections.")
