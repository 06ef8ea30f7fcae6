"""Meters: how much of each quota is used up, in the memory of this process.

What a window has counted lies in one array of (edge, units) pairs: as many as there are units, or sub-buckets,
whichever are fewer. Nothing runs in the background: what has run out is dropped when its key is asked for, or when
room is needed.
"""

from array import array
from itertools import islice
from typing import Final

from tradeguard.core.conditions import MICROSECOND, NEVER, Charge, Limit, Quota, Use

_UNUSED: Final = Use(0, 0)
_LOOK: Final = 8  # meters looked at when a new one needs room
_SLACK: Final = 64  # numbers at the head of an array that are let lie


class Rolling:
    """A window that rolls: at most `amount` units count in any stretch of `period` (ns).

    `edge` is the time of its last entry.
    """

    __slots__ = ("amount", "edge", "entries", "grain", "head", "period", "used")

    def __init__(self, limit: Limit) -> None:
        self.entries, self.head, self.used, self.edge = array("q"), 0, 0, -1
        self.follow(limit)

    def follow(self, limit: Limit) -> None:
        """Go by a limit of the same period from now on; what was counted stays."""
        self.amount, self.period, self.grain = limit.amount, limit.period, limit.grain

    def fits(self, now: int, cost: int) -> bool:
        """Tell whether so many units more fit, after what has run out was dropped."""
        if self.used and self.entries[self.head] + self.period <= now:
            self._drop(now - self.period)
        return self.used + cost <= self.amount

    def take(self, now: int, cost: int) -> None:
        """Count units; `fits` was asked before."""
        self.used += cost
        if now <= self.edge:
            self.entries[-1] += cost
        else:
            self.edge = -(-now // self.grain) * self.grain
            self.entries.append(self.edge)
            self.entries.append(cost)

    def use(self) -> Use:
        """Return how full it is; `fits` was asked before."""
        return Use(self.used, self.entries[self.head] + self.period) if self.used else _UNUSED

    def ready(self, now: int, cost: int) -> int:
        """Return from when on so many units fit; `fits` was asked before."""
        free, at, entries = self.amount - self.used, now, self.entries
        for place in range(self.head, len(entries), 2):
            if free >= cost:
                break
            free, at = free + entries[place + 1], entries[place] + self.period
        return at if free >= cost else NEVER

    def give(self, limit: Limit, spent: int, units: int) -> None:
        """Give units back that were spent at a time and still count."""
        entries, edge = self.entries, limit.edge(spent)
        for place in range(self.head, len(entries), 2):
            if entries[place] == edge:
                back = min(entries[place + 1], units)
                self.used -= back
                entries[place + 1] -= back
                if not entries[place + 1]:
                    del entries[place : place + 2]
                    self.edge = entries[-2] if len(entries) > self.head else -1
                return

    def _drop(self, floor: int) -> None:
        entries, head = self.entries, self.head
        while head < len(entries) and entries[head] <= floor:
            self.used -= entries[head + 1]
            head += 2
        if head > _SLACK and 2 * head >= len(entries):
            del entries[:head]
            head = 0
        self.head = head
        if head == len(entries):
            self.edge = -1


class Pacing:
    """A window that paces (GCRA): a level that drains by `amount` per microsecond, in units times period."""

    __slots__ = ("amount", "level", "most", "period", "tick")

    def __init__(self, limit: Limit) -> None:
        self.level = self.tick = 0
        self.follow(limit)

    def follow(self, limit: Limit) -> None:
        """Go by a limit of the same period from now on; what was counted stays."""
        self.amount, self.period = limit.amount, limit.period // MICROSECOND
        self.most = limit.burst * self.period

    def fits(self, now: int, cost: int) -> bool:
        """Tell whether so many units more fit."""
        tick = now // MICROSECOND
        self.level, self.tick = max(0, self.level - (tick - self.tick) * self.amount), tick
        return self.level + cost * self.period <= self.most

    @property
    def used(self) -> int:
        """Units that have not drained wholly."""
        return -(-self.level // self.period)

    def use(self) -> Use:
        """Return how full it is; `fits` was asked before."""
        units = self.used
        return Use(units, self._drained(self.level - (units - 1) * self.period)) if units else _UNUSED

    def ready(self, now: int, cost: int) -> int:
        """Return from when on so many units fit; `fits` was asked before."""
        excess = self.level + cost * self.period - self.most
        if excess > self.level:
            return NEVER
        return self._drained(excess) if excess > 0 else now

    def take(self, now: int, cost: int) -> None:
        """Count units; `fits` was asked before."""
        self.level += cost * self.period

    def give(self, limit: Limit, spent: int, units: int) -> None:
        """Give nothing back: it drains by itself."""

    def _drained(self, amount: int) -> int:
        return (self.tick - -amount // self.amount) * MICROSECOND


class Meter:
    """The windows of one quota, for one key.

    Where its limits change, what was counted stays: also in windows that are gone for now.
    """

    __slots__ = ("_known", "limits", "windows")

    def __init__(self, limits: tuple[Limit, ...]) -> None:
        self._known: dict[tuple[int, bool], Rolling | Pacing] = {}
        self.follow(limits)

    def follow(self, limits: tuple[Limit, ...]) -> None:
        """Go by other limits from now on."""
        windows: list[Rolling | Pacing] = []
        for limit in limits:
            window = self._known.setdefault(_kind(limit), Pacing(limit) if limit.burst else Rolling(limit))
            window.follow(limit)
            windows.append(window)
        self.limits, self.windows = limits, tuple(windows)

    def give(self, charge: Charge, units: int) -> None:
        """Give units of a charge back where they still count."""
        for limit in charge.quota.windows:
            window = self._known.get(_kind(limit))
            if window is not None:
                window.give(limit, charge.time, units)

    def fits(self, now: int, cost: int) -> bool:
        """Tell whether all windows have room; every one of them is brought up to date."""
        fits = True
        for window in self.windows:
            if not window.fits(now, cost):
                fits = False
        return fits

    def take(self, now: int, cost: int) -> None:
        """Count units in all windows; `fits` was asked before."""
        for window in self.windows:
            window.take(now, cost)

    def use(self) -> tuple[Use, ...]:
        """Return how full the windows are; `fits` was asked before."""
        return tuple([window.use() for window in self.windows])

    def ready(self, now: int, cost: int) -> int:
        """Return from when on so many units fit into all windows; `fits` was asked before."""
        return max(window.ready(now, cost) for window in self.windows)

    def is_idle(self, now: int) -> bool:
        """Tell whether nothing counts any more."""
        for window in self._known.values():
            window.fits(now, 0)
        return not any(window.used for window in self._known.values())


class Meters:
    """The meters of all quotas: a bounded number. One that still counts is never dropped for another.

    Args:
        capacity: most meters.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._meters: dict[str | tuple[str], Meter] = {}

    def find(self, quota: Quota, now: int) -> Meter | None:
        """Return the meter of a quota; None where there is no room for a new one."""
        name = quota.key if quota.enforced else (quota.key,)
        meter = self._meters.get(name)
        if meter is None:
            if len(self._meters) >= self._capacity and not self._clear(now):
                return None
            meter = self._meters[name] = Meter(quota.windows)
        elif meter.limits is not quota.windows and meter.limits != quota.windows:
            meter.follow(quota.windows)
        return meter

    def give(self, charge: Charge, units: int) -> None:
        """Give units of a charge back where they still count."""
        quota = charge.quota
        meter = self._meters.get(quota.key if quota.enforced else (quota.key,))
        if meter is not None:
            meter.give(charge, units)

    def __len__(self) -> int:
        return len(self._meters)

    def _clear(self, now: int) -> bool:
        """Look at the longest unlooked-at few: drop the idle ones, and put the others to the end."""
        for name in list(islice(self._meters, _LOOK)):
            meter = self._meters.pop(name)
            if not meter.is_idle(now):
                self._meters[name] = meter
        return len(self._meters) < self._capacity


def _kind(limit: Limit) -> tuple[int, bool]:
    """Return what makes a window one and the same, however large it is."""
    return limit.period, limit.burst > 0
