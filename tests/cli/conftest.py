"""Fixtures for the command line: an empty folder, and a venue."""

from pathlib import Path

import pytest
from cli.venue import Shell, Venue


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """An empty folder."""
    return Shell(tmp_path / "here")


@pytest.fixture
def venue(tmp_path: Path) -> Venue:
    """A venue without keys."""
    return Venue(tmp_path / "venue")
