"""Premises: whom this process may serve at all. Whoever brings what no stranger may meet closes them, for good.

A guard that a host has bound asks here first, at its door. There is no way to open what was closed.
"""

from collections.abc import Callable

from tradeguard.core.decision import Denial, register
from tradeguard.core.request import Peer

CLOSED = register(
    "premises.closed",
    status=503,
    text="This process holds parts that are for tests only, so it serves its own machine only.",
    hint="Something here imports tradeguard.testing: take that import out of what runs in production.",
)
_admitted: list[Callable[[Peer], bool]] = []


def close_premises(admitted: Callable[[Peer], bool]) -> None:
    """Refuse whoever is not admitted, at the door of every guard of this process, from now on.

    Args:
        admitted: tells whether a peer is; one that raises admits nobody.
    """
    _admitted.append(admitted)


def meet(peer: Peer) -> Denial | None:
    """Return why a peer is not served, or None."""
    for admitted in _admitted:
        if not admitted(peer):
            return Denial(CLOSED)
    return None
