"""Looking: while an application is only looked at, what is built from a file opens none, and refuses everything."""

from pathlib import Path

import pytest
from support import make_request, sign

from tradeguard import ConfigError, Denial
from tradeguard.config import build_guard
from tradeguard.config.look import is_looking, only_look
from tradeguard.core.drive import drive
from tradeguard.core.runtime import Threads


def test_only_in_the_block_is_a_guard_built_without_its_file(tmp_path: Path) -> None:
    with only_look():
        assert is_looking()
        build_guard(tmp_path / "nothing.toml", {})
    assert not is_looking()
    with pytest.raises(ConfigError, match="no configuration"):
        build_guard(tmp_path / "nothing.toml", {})
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_block_ends_it_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_look():
        raise ZeroDivisionError
    assert not is_looking()


def test_the_guard_refuses_whatever_comes() -> None:
    with only_look():
        guard = build_guard()
    guard.bind(Threads())
    for request in (make_request(), sign()):
        decision = drive(guard.admit(request))
        assert isinstance(decision, Denial)
        assert decision.status == 401
