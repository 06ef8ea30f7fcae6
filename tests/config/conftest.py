"""Fixtures for the configuration: a home with nothing wrong in it."""

from pathlib import Path

import pytest
from config.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose configuration holds."""
    tmp_path.chmod(0o700)
    return Home(tmp_path)
