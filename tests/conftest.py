"""Fixtures for every test: the same coroutine run under `drive` and under a real event loop."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import settings

from tradeguard.core.drive import drive

settings.register_profile("tradeguard", deadline=None)  # a busy machine is no defect
settings.load_profile("tradeguard")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started this in the background; children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["drive", "loop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine: once as a synchronous host does, once as an asynchronous one."""
    return drive if request.param == "drive" else asyncio.run
