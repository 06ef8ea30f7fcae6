"""Gate: what do many failures come to? A few events for people, however many requests fail.

`auth.pair_locked` a key and a source must wait; `auth.source_blocked` a source or a network must; `auth.unlocked` a
pair that had to was proved; `auth.stuffing_suspected` one source fails with many keys; `auth.key_under_attack` one key
fails from many sources. The last two are told once in 10 minutes each, and nobody is refused for them: a key can be
named by anybody.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Final

from tradeguard.backends.memory import MemoryDistinct, MemoryRecent
from tradeguard.core.event import Event
from tradeguard.core.lockout import HALF_LIFE

PAIR_LOCKED: Final = "auth.pair_locked"
SOURCE_BLOCKED: Final = "auth.source_blocked"
UNLOCKED: Final = "auth.unlocked"
STUFFING: Final = "auth.stuffing_suspected"
UNDER_ATTACK: Final = "auth.key_under_attack"
WINDOW: Final = 600_000_000_000
"""What the distinct keys of a source and the distinct sources of a key are counted in, in ns."""
KEYS: Final = 5
"""With more distinct keys than these, none of them proved there lately, a source is suspected of stuffing."""
SOURCES: Final = 20
"""From more distinct sources than these, none of which proved it lately, a key is under attack."""
LINES: Final = 20
"""Events of one code a minute; what is above is counted, and told when the minute is over."""
_MINUTE: Final = 60_000_000_000
_SECOND: Final = 1_000_000_000
_WAITING: Final = 256  # events that wait for the journal
_TEXT: Final = 128
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class Alarms:
    """Makes events of failures; all it keeps is of fixed size."""

    __slots__ = ("_events", "_keys", "_lines", "_minute", "_sources", "_told")

    def __init__(self) -> None:
        self._keys, self._sources = MemoryDistinct(WINDOW), MemoryDistinct(WINDOW)
        self._told = MemoryRecent(WINDOW, 4_096)
        self._events: deque[Event] = deque(maxlen=_WAITING)
        self._minute, self._lines = 0, _counters()

    def locked(self, key_id: str, source: str, count: float, until: int, at: int, request_id: str) -> None:
        """Tell that a pair is locked, or a source or network where `key_id` is empty."""
        code, wait = PAIR_LOCKED if key_id else SOURCE_BLOCKED, -(-(until - at) // _SECOND)
        facts = {"window_s": HALF_LIFE // _SECOND, "failures": round(count), "wait_s": wait}
        self._tell(code, at, request_id, (key_id, source), facts)

    def unlocked(self, key_id: str, source: str, count: float, at: int, request_id: str) -> None:
        """Tell that a pair that had been locked was proved, and so unlocked."""
        facts = {"window_s": HALF_LIFE // _SECOND, "failures": round(count)}
        self._tell(UNLOCKED, at, request_id, (key_id, source), facts)

    def failed(self, key_id: str, source: str, at: int, request_id: str) -> None:
        """Count a failure that is nobody's slip: of a key that was not proved from there lately."""
        keys = self._keys.add(source, key_id, at)
        if keys > KEYS and self._told.first((STUFFING, source), at):
            self._tell(STUFFING, at, request_id, ("", source), {"window_s": WINDOW // _SECOND, "keys": keys})
        sources = self._sources.add(key_id, source, at)
        if sources > SOURCES and self._told.first((UNDER_ATTACK, key_id), at):
            facts = {"window_s": WINDOW // _SECOND, "sources": sources}
            self._tell(UNDER_ATTACK, at, request_id, (key_id, source), facts)

    def take(self, at: int) -> Sequence[Event]:
        """Return the events that were not taken yet, by a time (ns UTC)."""
        if at // _MINUTE > self._minute and self._lines:
            self._turn(at)
        if not self._events:
            return []
        events: list[Event] = []
        with suppress(IndexError):  # other threads take, too
            while self._events:
                events.append(self._events.popleft())
        return events

    def _tell(self, code: str, at: int, request_id: str, who: tuple[str, str], facts: dict[str, int]) -> None:
        if at // _MINUTE > self._minute:
            self._turn(at)
        if next(self._lines[code]) <= LINES:
            key_id, source = who
            event = Event("auth", at, request_id, proven=True, code=code, key_id=key_id[:_TEXT], source=source)
            self._events.append(event._replace(detail=_encode(facts)))

    def _turn(self, at: int) -> None:
        """Begin a new minute: tell how many events of the last one were not."""
        lines, self._lines = self._lines, _counters()
        self._minute = at // _MINUTE
        for code, line in sorted(lines.items()):
            more = next(line) - 1 - LINES
            if more > 0:
                detail = _encode({"window_s": 60, "more": more})
                self._events.append(Event("auth", at, proven=True, code=code, detail=detail))


def _counters() -> defaultdict[str, Iterator[int]]:
    """Return counters that many threads may turn: `next` is one step."""
    return defaultdict(lambda: count(1))
