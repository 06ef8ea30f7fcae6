"""Meters: how much of each quota is used up, and what was given back, in a state file, inside one transaction."""

from typing import Final

from tradeguard.backends.sqlite.counter import LATEST, Paced, Rolling, Row, Run, pack
from tradeguard.core.conditions import NO_USAGE, Charge, Limit, Quota, Usage, longest

_LOOKED_AT: Final = 8  # meters looked at where a new one is made
_DROPPED: Final = 2  # most of them dropped then: bounded work, and faster than new ones come
_FORGOTTEN: Final = 32  # most refunds forgotten where a new one is made
_PARTS: Final = 16  # of its longest period: how exactly the index knows when a meter is idle
_FIND: Final = (
    "SELECT id, idle, period, paced, held, first, last FROM meter LEFT JOIN counter ON meter = id "
    "WHERE key = ? AND enforced = ?"
)
_COUNT: Final = (
    "INSERT INTO counter VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
    "SET held = excluded.held, first = excluded.first, last = excluded.last, until = excluded.until"
)
_IDLE: Final = (
    "SELECT id FROM (SELECT id FROM meter ORDER BY idle LIMIT ?) "
    "WHERE NOT EXISTS (SELECT 1 FROM counter WHERE meter = id AND until > ?)"
)
_DROP: Final = (
    "DELETE FROM entry WHERE meter = ?",
    "DELETE FROM counter WHERE meter = ?",
    "DELETE FROM meter WHERE id = ?",
)
_GIVEN: Final = "SELECT coalesce(sum(units), 0), coalesce(max(item = ?), 0) FROM refund WHERE request = ? AND key = ?"
_FORGET: Final = (
    "DELETE FROM refund WHERE (request, key, item) IN "
    "(SELECT request, key, item FROM refund WHERE until <= ? ORDER BY until LIMIT ?)"
)


class Meter:
    """The windows of one quota, as the file has them. `id` is 0 where it has none, `room` tells whether it may get one.

    Args:
        run: executes a statement.
        quota: what is asked.
        now: the time, ns UTC.
        writes: whether the transaction may write.

    Raises:
        ValueError: two of its windows would be one row.
    """

    def __init__(self, run: Run, quota: Quota, now: int, *, writes: bool) -> None:
        if len({(limit.period, bool(limit.burst)) for limit in quota.windows}) < len(quota.windows):
            raise ValueError(
                f"quota {quota.key!r} has two windows of one period; a quota has one window of a kind for each period"
            )
        self.quota, self._run, self._writes = quota, run, writes
        rows = run(_FIND, (quota.key, quota.enforced)).fetchall()
        self.id: int = rows[0][0] if rows else 0
        self._idle: int = rows[0][1] if rows else 0
        self._rows = {(period, paced): Row(int(held), *ends) for _, _, period, paced, held, *ends in rows}
        self.windows = [self._open(limit) for limit in quota.windows]
        self.fits = False not in [
            window.fits(now, quota.cost) for window in self.windows
        ]  # each leaves out what ran out
        self.room = True

    def store(self) -> None:
        """Write down what its windows have counted, and when it will be idle."""
        changed = [
            (limit, window) for limit, window in zip(self.quota.windows, self.windows, strict=True) if window.changed
        ]
        until = max((window.row().until for _, window in changed), default=0)
        if until > self._idle:
            step = max(limit.period for limit in self.quota.windows) // _PARTS or 1
            self._know(min(-(-until // step) * step, LATEST))
        for limit, window in changed:
            window.store(self.id)
            held, first, last, until = window.row()
            place = self.id, limit.period, bool(limit.burst)
            self._run(_COUNT, (*place, pack(held), first, last, min(until, LATEST)))

    def _know(self, idle: int) -> None:
        if self.id:
            self._run("UPDATE meter SET idle = ? WHERE id = ?", (idle, self.id))
        else:
            row = self.quota.key, self.quota.enforced, idle
            self.id = self._run("INSERT INTO meter (key, enforced, idle) VALUES (?, ?, ?)", row).lastrowid or 0

    def _open(self, limit: Limit) -> Rolling | Paced:
        row = self._rows.get((limit.period, bool(limit.burst)), Row())
        return Paced(limit, row) if limit.burst else Rolling(self._run, self.id, limit, row, drops=self._writes)


class Meters:
    """The meters of one commit. One that still counts is never dropped for another.

    Args:
        run: executes a statement.
        now: the time, ns UTC.
        capacity: most meters in the file.
        held: how many it has.
        refunds: how many refunds it has.
        writes: whether the transaction may write.
    """

    def __init__(self, run: Run, now: int, capacity: int, held: int, refunds: int, *, writes: bool) -> None:
        self.held, self.refunds, self.changed = held, refunds, False
        self._run, self._now, self._capacity, self._writes = run, now, capacity, writes
        self._found: dict[str, Meter] = {}
        self._new = 0

    def holds(self, quota: Quota) -> bool:
        """Tell whether a quota holds: it has room for its cost, and the file for its meter."""
        meter = self._find(quota)
        return not (quota.cost and quota.enforced) or (meter.room and meter.fits)

    def has_room(self, quota: Quota) -> bool:
        """Tell whether the file has room for the quota's meter."""
        return self._find(quota).room

    def ready(self, quota: Quota) -> int:
        """Return from when on the quota has room, ns UTC."""
        meter = self._find(quota)
        return max(window.ready(self._now, quota.cost) for window in meter.windows) if meter.room else 0

    def take(self, quota: Quota) -> None:
        """Count the quota's cost in all its windows."""
        meter = self._find(quota)
        for window in meter.windows if quota.cost and meter.room else ():
            window.take(self._now, quota.cost)

    def usage(self) -> Usage:
        """Return how full each quota of the commit is now."""
        if not self._found:
            return NO_USAGE
        return {key: tuple([w.use() for w in meter.windows]) for key, meter in self._found.items() if meter.room}

    def give(self, charge: Charge, item: str, units: int, capacity: int) -> bool:
        """Give units of a charge back, where they still count and there is room to remember it; tell whether so."""
        quota, spent, request_id = charge
        until = spent + longest(quota)
        given, again = self._run(_GIVEN, (item, request_id, quota.key)).fetchone()
        if again or given + units > quota.cost or until <= self._now or not self._remembers(capacity):
            return False
        row = request_id, quota.key, item, units, min(until, LATEST)
        self._run("INSERT INTO refund VALUES (?, ?, ?, ?, ?)", row)
        self.refunds, self.changed = self.refunds + 1, True
        for limit, window in zip(quota.windows, self._find(quota._replace(cost=0)).windows, strict=True):
            window.give(limit, spent, units)
        return True

    def store(self) -> None:
        """Write down what has changed."""
        for meter in self._found.values():
            new = not meter.id
            if any(window.changed for window in meter.windows):
                meter.store()
                self.held, self.changed = self.held + new, True

    def _find(self, quota: Quota) -> Meter:
        meter = self._found.get(quota.key)
        if meter is None:
            meter = self._found[quota.key] = Meter(self._run, quota, self._now, writes=self._writes)
            meter.room = bool(meter.id) or not quota.cost or self._has_room()
            self._new += not meter.id and meter.room
        return meter

    def _has_room(self) -> bool:
        """Tell whether one meter more has room, after a few idle ones were dropped."""
        ours = {meter.id for meter in self._found.values()}
        rows = self._run(_IDLE, (_LOOKED_AT, self._now)).fetchall()
        idle = [id for (id,) in rows if id not in ours][:_DROPPED]
        if self._writes and idle:
            for id in idle:
                for statement in _DROP:
                    self._run(statement, (id,))
            self.changed = True
        self.held -= len(idle)
        return self.held + self._new < self._capacity

    def _remembers(self, capacity: int) -> bool:
        """Tell whether there is room for one refund more, after some that count no more were forgotten."""
        forgotten = self._run(_FORGET, (self._now, _FORGOTTEN)).rowcount
        self.refunds, self.changed = self.refunds - forgotten, self.changed or forgotten > 0
        return self.refunds < capacity
