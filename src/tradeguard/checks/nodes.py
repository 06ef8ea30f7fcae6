"""Gate: what do the other nodes know? Who fails a little on each of many nodes fails a lot.

Each node keeps one number in the shared state, `lock:<node>`, whose record lists those that fail most here and until
when they wait, and the keys that were proved from where others fail in their name. It is a state and no difference:
written again it says the same, and one that is lost is made up for by the next. Written and read together, at most once
a second, while somebody fails; nobody waits for it. While the state is lost this node goes on with its own counts.
"""

import json
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple

from tradeguard.backends.memory import MemoryRecent
from tradeguard.core.errors import BackendDown
from tradeguard.core.lockout import HALF_LIFE, LONGEST, Failure, Name, count_at, level_of
from tradeguard.core.ports import State

PREFIX: Final = "lock:"
"""What the names of the numbers begin with (see `Below`)."""
MOST: Final = 256
"""How many of those who fail a node tells of, and how many proved keys."""
PACE: Final = 1_000_000_000
"""How long a node waits from one exchange to the next, in ns."""
_PATIENCE: Final = 10_000_000_000  # ns after which the next one is due where one has not ended, or has failed
_NODES: Final = 64  # records that are read
_LARGEST: Final = 131_072  # bytes of a record
_NAMED: Final = 128  # characters of a name that is told
_KEPT: Final = 3 * HALF_LIFE  # how long a record outlives its node
_ACTIVE: Final = HALF_LIFE  # how long after a failure a node tells and hears
_TOUCHED: Final = 1_024  # names between two looks at who has failed most
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_log = logging.getLogger("tradeguard")


class Heard(NamedTuple):
    """What other nodes tell of a name: the level of its failures, and until when it is locked there (ns UTC)."""

    level: int
    until: int


class Nodes:
    """What this node tells others of those who fail, and hears of them.

    Args:
        recent: which keys were proved from where, lately.

    `latest` is until when the last of all is locked elsewhere, ns UTC.
    """

    __slots__ = ("_active", "_down", "_due", "_heard", "_own", "_proved", "_recent", "latest")

    def __init__(self, recent: MemoryRecent) -> None:
        self._recent = recent
        self._own: dict[Name, Failure] = {}
        self._proved: dict[Name, int] = {}
        self._heard: Mapping[Name, Heard] = {}
        self.latest = self._active = 0
        self._due, self._down = [0], False

    def until(self, name: Name) -> int:
        """Return until when a name is locked elsewhere, ns UTC."""
        heard = self._heard.get(name)
        return 0 if heard is None else heard.until

    def count(self, name: Name, at: int) -> float:
        """Return how often a name has failed elsewhere, at a time (ns UTC)."""
        heard = self._heard.get(name) if self._heard else None
        return 0.0 if heard is None else count_at(heard.level, at)

    def note(self, name: Name, failure: Failure, at: int) -> None:
        """Take note of a failure on this node, to be told at the next exchange."""
        own, self._active = self._own, at + _ACTIVE
        if len(name[0]) <= _NAMED:
            own[name] = failure
            if len(own) > _TOUCHED:
                self._most(at)

    def vouch(self, name: Name, at: int) -> None:
        """Take note that a key was proved from where somebody fails in its name: it passes on the other nodes, too."""
        self._proved.pop(name, None)
        self._proved[name] = at
        while len(self._proved) > MOST:
            self._proved.pop(next(iter(self._proved)), None)
        self._own.pop(name, None)

    def exchange(self, state: State, node: str, at: int) -> Coroutine[Any, Any, object] | None:
        """Return the work of telling and hearing, if it is due; None where nobody has failed, or a moment ago.

        Of many threads one gets it. After one that failed there is none for 10 seconds.

        Args:
            state: the shared state.
            node: a name for this process, unlike that of any other.
            at: the time, ns UTC.
        """
        if at >= self._active:
            return None
        try:
            due = self._due.pop()
        except IndexError:
            return None
        self._due.append(at + _PATIENCE if at >= due else due)
        return self._exchange(state, node, at) if at >= due else None

    async def _exchange(self, state: State, node: str, at: int) -> None:
        own = PREFIX + node
        try:
            await state.set(own, 1, at + _KEPT, self._tell(at))
            look = await state.look(PREFIX)
        except BackendDown as error:
            if not self._down:
                _log.warning("failures are counted by this node alone: %s", error)
            self._down = True
            return
        self._due[:], self._down = [at + PACE], False
        records = [stored.record for key, stored in look.numbers.items() if key != own]
        self._hear(records[:_NODES], at)

    def _tell(self, at: int) -> bytes:
        """Write down those who have failed most, and who was proved beside them."""
        rows = self._most(at)
        proved = [[*name, seen] for name, seen in self._proved.copy().items() if at - seen < _ACTIVE]
        return _encode([[[*name, own.level, own.until] for name, own in rows], proved]).encode()

    def _most(self, at: int) -> list[tuple[Name, Failure]]:
        """Return those who have failed most; let go of the others, so that nobody displaces them who failed less."""
        rows = sorted(self._own.copy().items(), key=lambda row: row[1].level, reverse=True)
        kept = [row for row in rows[:MOST] if max(row[1].level + HALF_LIFE, row[1].until) > at]
        for name in self._own.keys() - dict(kept):
            self._own.pop(name, None)
        return kept

    def _hear(self, records: list[bytes], at: int) -> None:
        heard: dict[Name, Heard] = {}
        for record in records:
            failing, proved = read_record(record, at)
            for name, entry in failing.items():
                other = heard.get(name)
                heard[name] = entry if other is None else _add(entry, other, at)
            for name, seen in proved.items():
                self._recent.note(name, seen)
                self._recent.note(name[1:], seen)
        self._heard = heard
        self.latest = max((entry.until for entry in heard.values()), default=0)


def _add(one: Heard, other: Heard, at: int) -> Heard:
    """Add what two nodes tell of one name."""
    count = count_at(one.level, at) + count_at(other.level, at)
    return Heard(level_of(count, at) if count else 0, max(one.until, other.until))


def read_record(record: bytes, at: int) -> tuple[Mapping[Name, Heard], Mapping[Name, int]]:
    """Return who fails on another node, and which keys were proved there; nothing of a record that is none.

    Args:
        record: as it was stored.
        at: the time here, ns UTC; what lies too far ahead of it is cut.
    """
    try:
        if len(record) > _LARGEST:
            raise ValueError("too large")
        failing, proved = json.loads(record)
        return (
            dict(_read_failing(row, at) for row in failing[:MOST]),
            dict(_read_proved(row, at) for row in proved[:MOST]),
        )
    except (TypeError, ValueError, RecursionError):
        _log.warning("a record under %s is none of this version; it is left out", PREFIX)
        return {}, {}


def _read_failing(row: list[Any], at: int) -> tuple[Name, Heard]:
    *name, level, until = row
    return _read_name(name, 1), Heard(
        min(_read_time(level), at + HALF_LIFE * 16), min(_read_time(until), at + LONGEST * 5 // 4)
    )


def _read_proved(row: list[Any], at: int) -> tuple[Name, int]:
    *name, seen = row
    return _read_name(name, 2), min(_read_time(seen), at)


def _read_name(name: list[Any], least: int) -> Name:
    if not (least <= len(name) <= 2 and all(isinstance(part, str) for part in name)):
        raise ValueError("not a name")
    return tuple(name)


def _read_time(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a time")
    return value
