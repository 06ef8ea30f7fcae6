"""Suite: how the suites run what they test: as its colour asks for, also by many at once."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.ports import Port
from tradeguard.testing.loopback import only_here

try:
    import pytest
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise ConfigError('the suites need pytest and hypothesis: pip install "tradeguard[testing]"') from error

__all__ = ["MANY", "SETTINGS", "Suite", "given", "pytest", "settings", "st"]
only_here()
T = TypeVar("T")
MANY: Final = 8
"""How many race each other."""
SETTINGS: Final = settings(
    max_examples=100,
    deadline=None,  # a busy machine is no defect
    suppress_health_check=[  # one suite is run by several classes, and each test has its own event loop
        HealthCheck.differing_executors,
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)


class Suite:
    """What all suites share."""

    _runner: asyncio.Runner

    @pytest.fixture(autouse=True)
    def _run_loop(self) -> Iterator[None]:
        with asyncio.Runner() as self._runner:
            yield

    def run(self, port: Port, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of a port: on the event loop of the test, or without one where the port needs none."""
        return self.on_loop(work) if port.colour == "async" else drive(work)

    def on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop of the test."""
        return self._runner.run(work)

    def race(self, port: Port, work: Callable[[int], Coroutine[Any, Any, T]]) -> list[T]:
        """Run it many times at once, in tasks or in threads; return what each came to.

        Raises:
            Exception: the first that one of them raised.
        """
        if port.colour == "async":
            return self._runner.run(_gather(work))
        results: list[Any] = [None] * MANY
        start = threading.Barrier(MANY)

        def run(place: int) -> None:
            start.wait()
            try:
                results[place] = drive(work(place))
            except Exception as error:
                results[place] = error

        threads = [threading.Thread(target=run, args=(place,)) for place in range(MANY)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results:
            if isinstance(result, Exception):
                raise result
        return results


async def _gather(work: Callable[[int], Coroutine[Any, Any, T]]) -> list[T]:
    return await asyncio.gather(*(work(place) for place in range(MANY)))
