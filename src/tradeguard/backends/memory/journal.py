"""MemoryJournal: the latest events in a list, for tests and for trying things out."""

from collections import Counter, deque

from tradeguard.core.event import WRITTEN, Event, Written
from tradeguard.core.ports import Colour


class MemoryJournal:
    """A list of the latest events, for tests and for trying things out. Nothing of it survives the process.

    Args:
        size: most events kept; the oldest go first.
    """

    colour: Colour = "instant"

    def __init__(self, size: int = 100_000) -> None:
        self.events: deque[Event] = deque(maxlen=size)
        self.counts: Counter[str] = Counter()

    def append(self, event: Event, /) -> Written:
        """Keep an event."""
        self.events.append(event)
        return WRITTEN

    def count(self, code: str, _at: int, /) -> None:
        """Count a refusal that gets no event."""
        self.counts[code] += 1

    def flush(self) -> None:
        """Nothing is held back."""
