"""The four conditions of a commit, what comes back, and the model that says what they mean.

The rules (every backend is tested against `Model` with the same random traces):

1.  Time is max(at, the highest `at` seen): it never runs backwards.
2.  `seen` is the (epoch, version) the node last saw. A store of another epoch or a lower version refuses first, and
    nothing takes effect.
3.  `Once` fails when its `until` has passed or its key is remembered. It binds: it takes effect whenever it holds,
    also where a check refused the request (`denied`) or another condition fails.
4.  `Advance` fails when its value is used or lies below the top `width` accepted ones. It binds.
5.  `Below` fails when any of its stored numbers is >= value; a number that is absent or expired counts as 0.
6.  `Quota` fails when one of its windows would hold more than its limit. One that is `binding` takes effect by itself;
    the others are spent all or none: only if nothing failed and nothing was denied. One that is not `enforced` never
    fails and is counted apart. Cost 0 only looks.
7.  What failed is reported in the order Once = Advance > Below > Quota.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple


class Once(NamedTuple):
    """Not seen before; remembered until `until` (ns UTC). `key` is (partition, item): who it counts against, what."""

    key: tuple[str, bytes]
    until: int


class Advance(NamedTuple):
    """Above the last accepted value, or new among the top `width`: monotonic nonces, TOTP steps."""

    key: tuple[str, bytes]
    value: int
    width: int = 1


class Below(NamedTuple):
    """Every stored number under `keys` < `value`: halts, bans, session epochs, record versions."""

    keys: tuple[str, ...]
    value: int


class Limit(NamedTuple):
    """At most `amount` units in any rolling `period` (ns)."""

    amount: int
    period: int


class Quota(NamedTuple):
    """All `windows` have room for `cost` more units."""

    key: str
    windows: tuple[Limit, ...]
    cost: int
    binding: bool = False
    enforced: bool = True


Condition = Once | Advance | Below | Quota
Seen = tuple[str, int]
NO_USAGE: Mapping[str, tuple[int, ...]] = MappingProxyType({})
_RANK: Mapping[type, int] = {Once: 0, Advance: 0, Below: 1, Quota: 2}


class Outcome(NamedTuple):
    """What a commit came to. Empty `failed` and not `behind` means that every condition held.

    `usage` gives the units used per quota key and window, after this commit; `first` is the request id that used a
    seen `Once`; `full` says that a `Once` or an `Advance` failed for want of room, not because it was seen.
    """

    failed: tuple[Condition, ...]
    time: int
    epoch: str
    version: int
    usage: Mapping[str, tuple[int, ...]] = NO_USAGE
    first: str | None = None
    behind: bool = False
    full: bool = False


def by_rank(failed: Iterable[Condition]) -> tuple[Condition, ...]:
    """Sort failed conditions as rule 7 says; equals keep the order they were asked in."""
    return tuple(sorted(failed, key=lambda condition: _RANK[type(condition)]))


class Model:
    """The meaning of a commit, written to be read: no bounds, no locks, no speed."""

    def __init__(self, epoch: str = "model") -> None:
        self.epoch, self.version, self.time = epoch, 0, 0
        self._once: dict[tuple[str, bytes], tuple[int, str]] = {}
        self._tops: dict[tuple[str, bytes], list[int]] = {}
        self._numbers: dict[str, tuple[int, int | None]] = {}
        self._spent: dict[tuple[str, bool], list[tuple[int, int]]] = {}

    def set(self, key: str, value: int, until: int | None = None) -> int:
        """Store a number for `Below`, until a time or for good; return the new version of the store."""
        self._numbers[key] = (value, until)
        self.version += 1
        return self.version

    def lift(self, key: str, value: int) -> int:
        """Store a number for `Below`, for good, unless a higher one is stored; return the new version of the store."""
        known, until = self._numbers.get(key, (value, None))
        living = until is None or until > self.time
        return self.set(key, max(value, known) if living else value)

    def commit(
        self, conditions: Iterable[Condition], at: int, request_id: str, seen: Seen | None, denied: bool = False
    ) -> Outcome:
        """Settle the conditions of one request as the rules at the head of this file say."""
        conditions, self.time = tuple(conditions), max(self.time, at)
        if seen is not None and (seen[0] != self.epoch or seen[1] > self.version):
            return Outcome((), self.time, self.epoch, self.version, behind=True)
        failed = [condition for condition in conditions if not self._holds(condition)]
        users = [self._user(condition) for condition in failed if isinstance(condition, Once)]
        first = next((user for user in users if user is not None), None)
        for condition in conditions:
            binds = not isinstance(condition, Quota) or condition.binding
            if condition not in failed and (binds or not (failed or denied)):
                self._take(condition, request_id)
        usage = {c.key: self._used(c) for c in conditions if isinstance(c, Quota)}
        return Outcome(by_rank(failed), self.time, self.epoch, self.version, usage, first)

    def _holds(self, condition: Condition) -> bool:
        match condition:
            case Once(key, until):
                return until > self.time and self._once.get(key, (0, ""))[0] <= self.time
            case Advance(key, value, width):
                top = self._tops.get(key, [])
                return value not in top and (len(top) < width or value > top[-width])
            case Below(keys, value):
                return all(self._number(key) < value for key in keys)
            case Quota(_, windows, cost, _, enforced):
                used = zip(self._used(condition), windows, strict=True)
                return not enforced or not cost or all(units + cost <= window.amount for units, window in used)

    def _take(self, condition: Condition, request_id: str) -> None:
        match condition:
            case Once(key, until):
                self._once[key] = (until, request_id)
            case Advance(key, value, width):
                self._tops[key] = sorted([*self._tops.get(key, []), value])[-width:]
            case Quota(key, _, cost, _, enforced):
                self._spent.setdefault((key, enforced), []).append((self.time, cost))
            case Below():
                pass

    def _user(self, once: Once) -> str | None:
        until, request_id = self._once.get(once.key, (0, ""))
        return request_id if until > self.time else None

    def _number(self, key: str) -> int:
        value, until = self._numbers.get(key, (0, None))
        return 0 if until is not None and until <= self.time else value

    def _used(self, quota: Quota) -> tuple[int, ...]:
        spent = self._spent.get((quota.key, quota.enforced), [])
        return tuple(sum(c for t, c in spent if t > self.time - window.period) for window in quota.windows)
