"""Journal: every journal of ours passes the suite that those of others pass."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tradeguard.audit.journal import Journal
from tradeguard.backends.memory import MemoryJournal
from tradeguard.testing import JournalConformance

FOLDER: list[Path] = []
OPEN: list[Journal] = []
NUMBER = count()


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where files are made."""
    FOLDER.append(tmp_path_factory.mktemp("journal"))
    yield
    FOLDER.clear()


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def make_file(name: str = "", *, sync: bool = False) -> Journal:
    OPEN.append(Journal(name or FOLDER[0] / f"{next(NUMBER)}.jsonl", sync=sync))
    return OPEN[-1]


def read_file(journal: Journal) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.path.read_text().splitlines()]


class TestFile(JournalConformance):
    make = staticmethod(make_file)
    read = staticmethod(read_file)
    broken = staticmethod(lambda: make_file("/dev/full"))


class TestFileOnDisk(JournalConformance):
    make = staticmethod(lambda: make_file(sync=True))
    read = staticmethod(read_file)
    broken = staticmethod(lambda: make_file("/dev/full", sync=True))


class TestMemory(JournalConformance):
    make = staticmethod(MemoryJournal)
    read = staticmethod(lambda journal: [event._asdict() for event in journal.events])
