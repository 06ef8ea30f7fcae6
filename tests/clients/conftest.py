"""Fixtures for the clients: a guarded server, and a stranger."""

from collections.abc import Iterator

import pytest
from clients.venue import Places, Stranger, open_stranger, open_venue


@pytest.fixture(scope="session")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A running server; its keys are those of support.py."""
    with open_venue(tmp_path_factory.mktemp("venue")) as places:
        yield places


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    """A server that is not the venue."""
    with open_stranger() as stranger:
        yield stranger
