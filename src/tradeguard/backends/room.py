"""Room: how much a state holds at most, and for whom. What lives is never dropped for want of it: it refuses."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tradeguard.core.conditions import Advance, Condition
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

    def has(self, held: int, owned: int, reserve: bool) -> bool:
        """Tell whether one more fits where so many are held in all, and so many by its owner."""
        room, share = self.capacity, self.per_key
        if not reserve:
            room, share = room - room // 10, share - share // 10
        return held < room and owned < share


def check_conditions(conditions: Iterable[Condition], state: object, supports: frozenset[type]) -> None:
    """Refuse what a state cannot settle, before anything takes effect.

    Raises:
        TypeError: a kind of condition that it does not support.
        ValueError: an `Advance` of a value outside 0 to 2**128 - 1, or of no width.
    """
    for condition in conditions:
        if type(condition) not in supports:
            raise TypeError(f"{type(state).__name__} cannot settle {type(condition).__name__}")
        if isinstance(condition, Advance) and not (0 <= condition.value < _VALUES and condition.width >= 1):
            raise ValueError("Advance takes values from 0 to 2**128 - 1, and a width of at least 1")
