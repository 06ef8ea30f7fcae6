"""Fixtures for every test: the same coroutine run under `drive` and under a real event loop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import settings

from tradeguard.core.drive import drive

settings.register_profile("tradeguard", deadline=None)  # a busy machine is no defect
settings.load_profile("tradeguard")

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["drive", "loop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine: once as a synchronous host does, once as an asynchronous one."""
    return drive if request.param == "drive" else asyncio.run
