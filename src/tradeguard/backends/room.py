"""Room: how much a state holds at most, and for whom. What lives is never dropped for want of it: it refuses."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Final

from tradeguard.core.conditions import LARGEST, Advance, Condition, Quota
from tradeguard.core.errors import ConfigError

_VALUES: Final = 2**128  # advancing values lie below


@dataclass(frozen=True, slots=True)
class Room:
    """Most live entries of a kind, in all and per owner. The last tenth of both is the reserve of the cancel lane.

    Raises:
        ConfigError: the numbers leave no room.
    """

    capacity: int
    per_key: int

    def __post_init__(self) -> None:
        if not 10 <= self.per_key <= self.capacity:
            raise ConfigError("capacity and per_key are numbers of nonces, at least 10, per_key not above capacity")

    def limits(self, reserve: bool) -> tuple[int, int]:
        """Return how many fit in all, and how many of one owner."""
        if reserve:
            return self.capacity, self.per_key
        return self.capacity - self.capacity // 10, self.per_key - self.per_key // 10

    def has(self, held: int, owned: int, reserve: bool) -> bool:
        """Tell whether one more fits where so many are held in all, and so many by its owner."""
        room, share = self.limits(reserve)
        return held < room and owned < share


def check_conditions(conditions: Iterable[Condition], state: object, supports: frozenset[type]) -> None:
    """Refuse what a state cannot settle, before anything takes effect.

    Raises:
        TypeError: a kind of condition that it does not support.
        ValueError: an `Advance` of a value outside 0 to 2**128 - 1, or of no width; a quota asked for twice, or for a
            cost or a window that no store counts.
    """
    quotas = set[str]()
    for condition in conditions:
        if type(condition) not in supports:
            raise TypeError(f"{type(state).__name__} cannot settle {type(condition).__name__}")
        if isinstance(condition, Quota):
            check_quota(condition, quotas)
            quotas.add(condition.key)
        elif isinstance(condition, Advance):
            check_advance(condition)


def check_quota(quota: Quota, others: Container[str]) -> None:
    """Raise `ValueError` for a quota that the commit asks for already, or for a cost that no store counts."""
    if quota.key in others:
        raise ValueError(f"a commit asks for quota {quota.key!r} once")
    if not 0 <= quota.cost <= LARGEST:
        raise ValueError("a quota's cost is a number of units from 0 to 2**53 - 1")


def check_advance(advance: Advance) -> None:
    """Raise `ValueError` for a value outside 0 to 2**128 - 1, or for no width."""
    if not (0 <= advance.value < _VALUES and advance.width >= 1):
        raise ValueError("Advance takes values from 0 to 2**128 - 1, and a width of at least 1")


def check_refund(units: int) -> None:
    """Raise `ValueError` for a number of units that nobody can give back."""
    if not 1 <= units <= LARGEST:
        raise ValueError("a refund gives at least 1 unit back, and at most 2**53 - 1")
