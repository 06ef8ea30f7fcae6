"""Counter: one window of a quota, as a row of a state file with its running total, inside one transaction.

One that rolls has a row per edge beside it. What has run out is left out by who looks, and dropped by who writes, so
that each commit touches what has run out since the last one, and one row more.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Final, NamedTuple

from tradeguard.backends.memory.meter import Pacing
from tradeguard.core.conditions import MICROSECOND, NEVER, Limit, Use

LATEST: Final = 2**63 - 1
"""The latest time and the largest number that a file holds; a larger one is text in it."""
_UNUSED: Final = Use(0, 0)
_WINDOW: Final = "FROM entry WHERE meter = ? AND period = ?"

Run = Callable[..., sqlite3.Cursor]


class Row(NamedTuple):
    """A counter as the file has it."""

    held: int = 0
    first: int = 0
    last: int = 0
    until: int = 0


class Rolling:
    """A window that rolls. What it has counted lies in `entry`.

    Args:
        run: executes a statement.
        meter: the id of its meter; 0 for a new one.
        limit: what it goes by.
        row: what the file has.
        drops: whether what has run out may be dropped.
    """

    def __init__(self, run: Run, meter: int, limit: Limit, row: Row, *, drops: bool) -> None:
        self.used, self.changed = row.held, False
        self._run, self._meter, self._limit, self._drops = run, meter, limit, drops
        self._first, self._last = row.first, row.last
        self._spent, self._joins = 0, False

    def fits(self, now: int, cost: int) -> bool:
        """Tell whether so many units more fit, after what has run out was left out."""
        floor = now - self._limit.period
        if self.used and self._first <= floor:
            self._leave_out(floor)
        return self.used + cost <= self._limit.amount

    def use(self) -> Use:
        """Return how full it is; `fits` was asked before."""
        return Use(self.used, self._first + self._limit.period) if self.used else _UNUSED

    def ready(self, now: int, cost: int) -> int:
        """Return from when on so many units fit; `fits` was asked before."""
        free, at = self._limit.amount - self.used, now
        if cost > self._limit.amount or free >= cost:
            return now if free >= cost else NEVER
        with closing(self._entries()) as entries:
            for edge, units in entries:
                free, at = free + int(units), edge + self._limit.period
                if free >= cost:
                    break
        return at

    def take(self, now: int, cost: int) -> None:
        """Count units; `fits` was asked before."""
        edge = min(self._limit.edge(now), LATEST)
        if self.used:
            self._joins = edge <= self._last
            edge = max(edge, self._last)
        else:
            self._first = edge
        self.used, self._last, self._spent, self.changed = self.used + cost, edge, cost, True

    def give(self, limit: Limit, spent: int, units: int) -> None:
        """Give units back that were spent at a time and still count."""
        edge = min(limit.edge(spent), LATEST)
        held = self._units(edge)
        back = min(held, units)
        if back:
            self.used, self.changed = self.used - back, True
            self._put(edge, held - back)

    def row(self) -> Row:
        """Return its row as it is now."""
        return Row(self.used, self._first, self._last, self._last + self._limit.period)

    def store(self, meter: int) -> None:
        """Write down what was counted."""
        self._meter = meter
        if self._spent:
            self._put(self._last, self._spent + (self._units(self._last) if self._joins else 0))

    def _leave_out(self, floor: int) -> None:
        if self._last <= floor:
            self.used = 0
        else:
            with closing(self._entries()) as entries:
                for edge, units in entries:
                    if edge > floor:
                        self._first = edge
                        break
                    self.used -= int(units)
        if self._drops:
            self._run(f"DELETE {_WINDOW} AND edge <= ?", (*self._place, floor))
            self.changed = True

    def _entries(self) -> sqlite3.Cursor:
        return self._run(f"SELECT edge, units {_WINDOW} AND edge >= ? ORDER BY edge", (*self._place, self._first))

    def _units(self, edge: int) -> int:
        row = self._run(f"SELECT units {_WINDOW} AND edge = ?", (*self._place, edge)).fetchone()
        return 0 if row is None else int(row[0])

    def _put(self, edge: int, units: int) -> None:
        if units:
            self._run("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", (*self._place, edge, pack(units)))
            return
        self._run(f"DELETE {_WINDOW} AND edge = ?", (*self._place, edge))
        ends = f"SELECT (SELECT min(edge) {_WINDOW}), (SELECT max(edge) {_WINDOW})"
        first, last = self._run(ends, self._place * 2).fetchone()
        self._first, self._last = first or 0, last or 0

    @property
    def _place(self) -> tuple[int, int]:
        return self._meter, self._limit.period


class Paced(Pacing):
    """A window that paces. Its row is all of it: `held` is its level, `last` when that was true, in microseconds."""

    __slots__ = ("changed",)

    def __init__(self, limit: Limit, row: Row) -> None:
        super().__init__(limit)
        self.level, self.tick, self.changed = row.held, row.last, False

    def take(self, now: int, cost: int) -> None:
        """Count units; `fits` was asked before."""
        super().take(now, cost)
        self.changed = True

    def row(self) -> Row:
        """Return its row as it is now."""
        return Row(self.level, 0, self.tick, (self.tick - -self.level // self.amount) * MICROSECOND)

    def store(self, meter: int) -> None:
        """Write nothing down: its row is all of it."""


def pack(number: int) -> int | str:
    """Return a number as a file holds it."""
    return number if number <= LATEST else str(number)
