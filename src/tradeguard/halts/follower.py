"""Follower: does one thing again and again in the background, in a thread, or in a task where it waits on a loop."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from tradeguard.core.drive import drive


class Follower:
    """Takes a step, waits, and takes the next, until its owner is gone. It begins when it is told to.

    Args:
        step: a method that fails with nothing.
        pause: between two steps, in ns.
    """

    def __init__(self, step: Callable[[], Coroutine[Any, Any, None]], pause: int) -> None:
        self._step, self._seconds = weakref.WeakMethod(step), pause / 1e9
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a forked child: neither thread nor task come along."""
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._awake, self._lock = threading.Event(), threading.Lock()
        self._stopped = False

    def begin(self, *, on_loop: bool) -> None:
        """Begin, unless it has: in the running loop, or in a thread."""
        with self._lock:
            if on_loop:
                loop = asyncio.get_running_loop()
                if self._task is None or self._task.done() or self._task.get_loop() is not loop:
                    self._task = loop.create_task(self._turn())
            elif self._thread is None or not self._thread.is_alive():
                self._stopped = False
                self._thread = threading.Thread(target=self._run, name="tradeguard-halts", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Take the next step at once, where it is a thread."""
        self._awake.set()

    def stop(self) -> None:
        """End, and wait for the thread if there is one."""
        thread, self._stopped = self._thread, True
        self._awake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        while not self._stopped and (step := self._step()) is not None:
            drive(step())
            del step
            self._awake.wait(self._seconds)
            self._awake.clear()

    async def _turn(self) -> None:
        while (step := self._step()) is not None:
            await step()
            del step
            await asyncio.sleep(self._seconds)
