"""Fence: a lock that no fork gets past, so that what it guards is never copied in the middle of something."""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Final

_PATIENCE: Final = 1.0  # seconds that a fork waits for who holds the lock


class Fence:
    """A lock; just before a fork it is taken and `let_go` called. Parent and child go on with a free one.

    Args:
        let_go: gives up what must not be in two processes. It is not called where the lock could not be had within a
            second, so whoever needs to know compares process ids.
    """

    def __init__(self, let_go: Callable[[], object]) -> None:
        self.lock = threading.Lock()
        self._let_go, self._taken = let_go, False
        hooks = (self._before, self._after_in_parent, self._after_in_child)
        before, parent, child = map(_weaken, hooks)
        os.register_at_fork(before=before, after_in_parent=parent, after_in_child=child)

    def _before(self) -> None:
        self._taken = self.lock.acquire(timeout=_PATIENCE)
        if self._taken:
            self._let_go()

    def _after_in_parent(self) -> None:
        if self._taken:
            self._taken = False
            self.lock.release()

    def _after_in_child(self) -> None:
        self.lock, self._taken = threading.Lock(), False


def _weaken(method: Callable[[], None]) -> Callable[[], None]:
    """Return a hook that does nothing once the method's object is gone: hooks stay registered for ever."""
    weak = weakref.WeakMethod(method)

    def call() -> None:
        found = weak()
        if found is not None:
            found()

    return call
