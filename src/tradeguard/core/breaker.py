"""Breaker: whether a store is asked at all, and from when on its answers count. Pure: it is told the time.

    closed --(several failures in a row)--> open --(pause over: one may try)--> closed again, or open for longer

While it is open nobody waits for the store. Opening and closing each raise a barrier: what was signed before that
moment may have been used where the other side could not see it.
"""

from typing import Final

from tradeguard.core.errors import ConfigError

_SECOND: Final = 1_000_000_000
_LONGEST: Final = 8  # times the first pause


class Breaker:
    """A circuit breaker. Used by many threads at once: at worst two of them try where one would do.

    Args:
        failures: so many in a row open it.
        pause: ns until one may try again; it doubles with each try that fails, eight-fold at most.

    `barrier` is when it last opened or closed, ns UTC; 0 for never. `opened` counts how often it has opened.

    Raises:
        ConfigError: a number below 1.
    """

    __slots__ = ("_failed", "_failures", "_next", "_pause", "_trying", "_wait", "barrier", "is_open", "opened")

    def __init__(self, *, failures: int = 3, pause: int = _SECOND // 4) -> None:
        if failures < 1 or pause < 1:
            raise ConfigError("Breaker: failures is a number and pause is in ns, both at least 1")
        self._failures, self._pause = failures, pause
        self._failed, self._wait, self._next = 0, pause, 0
        self.is_open, self.barrier, self.opened, self._trying = False, 0, 0, False

    def asks(self, at: int) -> bool:
        """Tell whether the store is asked at a time (ns UTC); while it is open, one is let through per pause."""
        if not self.is_open:
            return True
        if at < self._next:
            return False
        self._next, self._trying = at + self._wait, True
        return True

    def answered(self, at: int) -> bool:
        """Take note of an answer; tell whether it closes now."""
        self._failed = 0
        if not self.is_open:
            return False
        self.is_open, self.barrier, self._wait, self._trying = False, max(self.barrier, at), self._pause, False
        return True

    def failed(self, at: int) -> bool:
        """Take note that there was no answer; tell whether it opens now."""
        self._failed += 1
        if self.is_open:
            if self._trying:  # and not one that was under way when it opened
                self._wait, self._trying = min(2 * self._wait, _LONGEST * self._pause), False
                self._next = at + self._wait
            return False
        if self._failed < self._failures:
            return False
        self.is_open, self.barrier, self._next = True, max(self.barrier, at), at + self._wait
        self.opened += 1
        return True
