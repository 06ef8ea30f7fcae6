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
8.  A rolling window counts a unit until `period` after it was spent, its time rounded up to the window's `grain` (and
    never below that of the unit before): never one unit too many, and given back at most one grain late. A window that
    paces fills by `cost` and drains by `amount` per `period`, counted in whole microseconds; it holds at most `burst`.
9.  `refund` gives units of one charge back: once per item, in all never more than it cost, and only where they still
    count. A window that paces gives nothing back: it drains by itself.
10. A commit asks for each quota once.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

EXACT: Final = 1_000
"""Up to so many units a rolling window is exact to the microsecond."""
LARGEST: Final = 2**53 - 1
"""Amounts, costs and `amount * period in microseconds` are not above it: what every store counts exactly."""
NEVER: Final = 2**63 - 1
"""When a quota has room for more than it holds at most."""
MICROSECOND: Final = 1_000
_HOUR: Final = 3_600_000_000_000


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
    """A window: how many units fit.

    Without a `burst` it rolls: at most `amount` units in any stretch of `period` (ns). With one it paces (GCRA): at
    most `burst` units at once, and in any stretch of d ns at most burst + d * amount / period.

    `coarse` is for quotas that only watch: they count whatever comes, so they take a fixed number of counts.
    """

    amount: int
    period: int
    burst: int = 0
    coarse: bool = False

    @property
    def most(self) -> int:
        """How many units fit at once."""
        return self.burst or self.amount

    @property
    def grain(self) -> int:
        """What the time of a spent unit is rounded up to, in ns.

        A microsecond up to 1,000 units; above that a 60th of the period, a 96th where it is longer than an hour: the
        window then takes a fixed number of counts, whatever its limit.
        """
        if self.amount <= EXACT and not self.coarse:
            return MICROSECOND
        parts = 60 if self.period <= _HOUR else 96
        return -(-self.period // (parts * MICROSECOND)) * MICROSECOND

    def edge(self, time: int) -> int:
        """Return a time rounded up to the window's grain."""
        return -(-time // self.grain) * self.grain


class Quota(NamedTuple):
    """All `windows` have room for `cost` more units."""

    key: str
    windows: tuple[Limit, ...]
    cost: int
    binding: bool = False
    enforced: bool = True


class Use(NamedTuple):
    """How full a window is: units used, and from when on (ns UTC) there are fewer; 0 where there are none."""

    used: int
    fewer: int


class Charge(NamedTuple):
    """What a commit took from one quota, and when by the store's clock (ns UTC): enough to give it back."""

    quota: Quota
    time: int
    request_id: str


class Stored(NamedTuple):
    """A number for `Below`: until when it holds (ns UTC; None: for good), and what was written beside it."""

    value: int
    until: int | None
    record: bytes


class Look(NamedTuple):
    """What a store holds for `Below` under a prefix, and its time, epoch and version."""

    numbers: Mapping[str, Stored]
    time: int
    epoch: str
    version: int


Condition = Once | Advance | Below | Quota
Seen = tuple[str, int]
Usage = Mapping[str, tuple[Use, ...]]
NO_USAGE: Usage = MappingProxyType({})
_RANK: Mapping[type, int] = {Once: 0, Advance: 0, Below: 1, Quota: 2}


class Outcome(NamedTuple):
    """What a commit came to. Empty `failed` and not `behind` means that every condition held.

    `usage` gives the use per quota key and window, after this commit; `first` is the request id that used a seen
    `Once`; `full` says that a condition failed for want of room in the store, not because of what it asks. `ready` is
    from when on (ns UTC) all failed quotas will have room, if nobody else asks: 0 where none failed, `NEVER` where one
    holds less than it was asked for.
    """

    failed: tuple[Condition, ...]
    time: int
    epoch: str
    version: int
    usage: Usage = NO_USAGE
    first: str | None = None
    behind: bool = False
    full: bool = False
    ready: int = 0


def longest(quota: Quota) -> int:
    """Return after how many ns the last unit of a charge has run out."""
    return max(limit.period + limit.grain for limit in quota.windows)


def by_rank(failed: Iterable[Condition]) -> tuple[Condition, ...]:
    """Sort failed conditions as rule 7 says; equals keep the order they were asked in."""
    return tuple(sorted(failed, key=lambda condition: _RANK[type(condition)])) if failed else ()


class _Rolling:
    """A window that rolls: (edge, units) of what was spent, oldest first."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int]] = []

    def use(self, limit: Limit, now: int) -> Use:
        self.entries = [entry for entry in self.entries if entry[0] + limit.period > now]
        used = sum(units for _, units in self.entries)
        return Use(used, self.entries[0][0] + limit.period) if used else Use(0, 0)

    def ready(self, limit: Limit, now: int, cost: int) -> int:
        free, at = limit.amount - self.use(limit, now).used, now
        for edge, units in self.entries:
            if free < cost:
                free, at = free + units, edge + limit.period
        return at if free >= cost else NEVER

    def take(self, limit: Limit, now: int, cost: int) -> None:
        edge = max(limit.edge(now), self.entries[-1][0] if self.entries else 0)
        self.entries.append((edge, cost))

    def give(self, limit: Limit, spent: int, units: int) -> None:
        edge, kept = limit.edge(spent), list[tuple[int, int]]()
        for at, held in self.entries:
            back = min(held, units) if at == edge else 0
            units -= back
            kept.append((at, held - back))
        self.entries = [entry for entry in kept if entry[1]]


class _Pacing:
    """A window that paces: its level in units times period, at a time; all in microseconds."""

    def __init__(self) -> None:
        self.level = self.time = 0

    def use(self, limit: Limit, now: int) -> Use:
        period, tick = limit.period // MICROSECOND, now // MICROSECOND
        self.level, self.time = max(0, self.level - (tick - self.time) * limit.amount), tick
        units = -(-self.level // period)
        excess = self.level - (units - 1) * period
        return Use(units, (tick - -excess // limit.amount) * MICROSECOND) if units else Use(0, 0)

    def ready(self, limit: Limit, now: int, cost: int) -> int:
        self.use(limit, now)
        if cost > limit.burst:
            return NEVER
        excess = self.level + (cost - limit.burst) * (limit.period // MICROSECOND)
        return (self.time - -excess // limit.amount) * MICROSECOND if excess > 0 else now

    def take(self, limit: Limit, now: int, cost: int) -> None:
        self.use(limit, now)
        self.level += cost * (limit.period // MICROSECOND)

    def give(self, limit: Limit, spent: int, units: int) -> None:
        pass


class Model:
    """The meaning of a commit, written to be read: no bounds, no locks, no speed."""

    def __init__(self, epoch: str = "model") -> None:
        self.epoch, self.version, self.time = epoch, 0, 0
        self._once: dict[tuple[str, bytes], tuple[int, str]] = {}
        self._tops: dict[tuple[str, bytes], list[int]] = {}
        self._numbers: dict[str, Stored] = {}
        self._windows: dict[tuple[str, bool, int, bool], _Rolling | _Pacing] = {}
        self._given: dict[tuple[str, str], dict[str, int]] = {}

    def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
        """Store a number for `Below`, until a time or for good; return the new version of the store."""
        self._numbers[key] = Stored(value, until, record)
        self.version += 1
        return self.version

    def lift(self, key: str, value: int) -> int:
        """Store a number for `Below`, for good, unless a higher one is stored; return the new version of the store."""
        known = self._numbers.get(key)
        living = known is not None and (known.until is None or known.until > self.time)
        return self.set(key, max(value, known.value) if known is not None and living else value)

    def look(self, prefix: str) -> Look:
        """Return the numbers whose key begins with a prefix and that still hold."""
        living = {
            key: stored
            for key, stored in self._numbers.items()
            if key.startswith(prefix) and (stored.until is None or stored.until > self.time)
        }
        return Look(living, self.time, self.epoch, self.version)

    def refund(self, charge: Charge, item: str, units: int, at: int) -> bool:
        """Give units of a charge back; tell whether they counted."""
        self.time = max(self.time, at)
        quota, spent, request_id = charge
        given = self._given.setdefault((request_id, quota.key), {})
        if item in given or sum(given.values()) + units > quota.cost or spent + longest(quota) <= self.time:
            return False
        given[item] = units
        for limit in quota.windows:
            self._window(quota, limit).give(limit, spent, units)
        return True

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
        ready = max((self._ready(condition) for condition in failed if isinstance(condition, Quota)), default=0)
        usage = {c.key: self._use(c) for c in conditions if isinstance(c, Quota)}
        return Outcome(by_rank(failed), self.time, self.epoch, self.version, usage, first, ready=ready)

    def _holds(self, condition: Condition) -> bool:
        match condition:
            case Once(key, until):
                return until > self.time and self._once.get(key, (0, ""))[0] <= self.time
            case Advance(key, value, width):
                top = self._tops.get(key, [])
                return value not in top and (len(top) < width or value > top[-width])
            case Below(keys, value):
                return all(self._number(key) < value for key in keys)
            case Quota(_, _, cost, _, enforced):
                return not enforced or not cost or self._ready(condition) == self.time

    def _take(self, condition: Condition, request_id: str) -> None:
        match condition:
            case Once(key, until):
                self._once[key] = (until, request_id)
            case Advance(key, value, width):
                self._tops[key] = sorted([*self._tops.get(key, []), value])[-width:]
            case Quota(_, windows, cost):
                for limit in windows if cost else ():
                    self._window(condition, limit).take(limit, self.time, cost)
            case Below():
                pass

    def _user(self, once: Once) -> str | None:
        until, request_id = self._once.get(once.key, (0, ""))
        return request_id if until > self.time else None

    def _number(self, key: str) -> int:
        stored = self._numbers.get(key)
        return 0 if stored is None or (stored.until is not None and stored.until <= self.time) else stored.value

    def _window(self, quota: Quota, limit: Limit) -> _Rolling | _Pacing:
        name = quota.key, quota.enforced, limit.period, bool(limit.burst)
        return self._windows.setdefault(name, _Pacing() if limit.burst else _Rolling())

    def _use(self, quota: Quota) -> tuple[Use, ...]:
        return tuple(self._window(quota, limit).use(limit, self.time) for limit in quota.windows)

    def _ready(self, quota: Quota) -> int:
        return max(self._window(quota, limit).ready(limit, self.time, quota.cost) for limit in quota.windows)
