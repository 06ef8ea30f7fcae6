"""State: every backend of ours passes the suites that those of others pass."""

from collections import deque
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tradeguard.backends.memory import Memory
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.core.ports import State
from tradeguard.testing import RoomConformance, StateConformance

FOLDER: list[Path] = []
OPEN: deque[SQLiteState] = deque()
NUMBER = count()


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where files are made; all are closed at the end."""
    FOLDER.append(tmp_path_factory.mktemp("state"))
    yield
    for state in OPEN:
        state.close()
    OPEN.clear()
    FOLDER.clear()


def make_sqlite(**limits: Any) -> State:
    state = SQLiteState(FOLDER[0] / f"{next(NUMBER)}.db", busy=10, **limits)
    OPEN.append(state)
    if len(OPEN) > 10:
        OPEN.popleft().close()
    return state


class TestMemory(StateConformance, RoomConformance):
    make = staticmethod(lambda **limits: Memory(since=1, **limits))


class TestSQLiteState(StateConformance, RoomConformance):
    make = staticmethod(make_sqlite)
