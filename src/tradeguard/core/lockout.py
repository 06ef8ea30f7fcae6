"""Lock-out: how long whoever keeps failing has to wait. Pure: the decay of failures, the delay, the networks around a
source.

The rules:

1.  A failure counts 1 and decays: after `HALF_LIFE` it counts a half.
2.  So many failures are free. Above them the wait is 2 to the number of those above, in seconds, at most `LONGEST`;
    up to a fifth more or less, so that those who were turned away together do not come back together.
3.  Counts are kept as levels: the time (ns UTC) at which a count will have decayed to 1. So one number orders all
    counts for ever, whenever each was taken.
4.  A source is an address or an IPv6 /64. Around it stand wider networks, with as many times its free failures.
"""

from math import log2
from typing import Final, NamedTuple

HALF_LIFE: Final = 900_000_000_000
"""After how long a failure counts a half, in ns."""
LONGEST: Final = 900_000_000_000
"""The longest wait before the dice, in ns (15 minutes)."""
_SECOND: Final = 1_000_000_000
_FADED: Final = 40  # half-lives after which a count is nothing
_ROUNDING: Final = 1e-6  # a count that is above a whole number by less is that number
_SPREAD: Final = 1 << 16

Name = tuple[str, ...]
"""Who fails: (source,), (network,) or (key id, source)."""


class Failure(NamedTuple):
    """What a failure came to.

    `total` is of all failures, those of other nodes included; `level` of those of this node. `until` is when who failed
    may ask again (ns UTC; 0: at once), and `news` that he is locked and was not for a while.
    """

    total: float
    level: int
    until: int
    news: bool


def count_at(level: int, at: int) -> float:
    """Return how many failures a level stands for at a time (ns UTC)."""
    age = (at - level) / HALF_LIFE
    return 0.0 if age > _FADED else 2.0 ** min(-age, _FADED)


def level_of(count: float, at: int) -> int:
    """Return the level of so many failures (above 0) at a time (ns UTC)."""
    return at + int(HALF_LIFE * log2(count))


def wait_for(count: float, free: int, dice: int) -> int:
    """Return the wait after so many failures, in ns.

    Args:
        count: of failures, decayed.
        free: how many of them cost nothing.
        dice: any number; its last 16 bits move the wait by up to a fifth.
    """
    above = count - free
    if above <= _ROUNDING:
        return 0
    wait = min(int(_SECOND * 2.0 ** min(above, _FADED)), LONGEST)
    return wait * 4 // 5 + wait * 2 // 5 * (dice % _SPREAD) // (_SPREAD - 1)


def networks_of(source: str) -> tuple[tuple[str, int], ...]:
    """Return the networks around a source, and how many times its free failures each has; none around what is none.

    Sources are canonical (RFC 5952): the four zero groups at the end of a /64 are what `::` stands for.
    """
    if source.endswith("::/64"):
        one, two, three, four, *_ = (*source[:-5].split(":"), "0", "0", "0", "0")
        wide = f"{one or 0}:{two}:{three}"
        return (f"{wide}:{int(four, 16) & 0xFF00:x}::/56", 4), (f"{wide}::/48", 16)
    head, dot, last = source.rpartition(".")
    return ((f"{head}.0/24", 16),) if dot and last.isdigit() and source[0].isdigit() else ()
