"""What a host is given: a guard, a function that builds one, or a configuration file to build it from."""

import os
from collections.abc import Callable
from typing import Literal

from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.signing.rows import ROWS

Config = str | os.PathLike[str] | Literal[True]
"""A configuration file; True or "" for the one that `tradeguard.config.find_config` finds."""


class Given:
    """What an extension of a framework is given; the guard is built when the server starts.

    Args:
        guard: the guard, or a function that builds it.
        config: instead of a guard, the configuration file to build it from; True for the one that is found
            (TRADEGUARD_CONFIG, else ./tradeguard.toml).
    """

    __slots__ = ("_given",)

    def __init__(self, guard: Guard | Callable[[], Guard] | None = None, *, config: Config | None = None) -> None:
        self._given = guard, config

    def open(self) -> Guard:
        """Return the guard that was given, or build it; see `open_guard`."""
        return open_guard(*self._given)


def open_guard(
    guard: Guard | Callable[[], Guard] | None = None, config: Config | None = None, *, blocking: bool = False
) -> Guard:
    """Return the guard that was given, or build it.

    Args:
        guard: the guard, or a function that builds it.
        config: the configuration file to build it from.
        blocking: the host has no event loop.

    Raises:
        ConfigError: none or both were given, or the guard cannot be built.
    """
    if (guard is None) == (config is None):
        raise ConfigError('give either guard= (a Guard, or a function that builds one) or config="tradeguard.toml"')
    if guard is None:
        from tradeguard.config import build_guard  # noqa: PLC0415 - needs pydantic, and a guard in code does not

        guard = build_guard(None if config is True else config, blocking=blocking)
    guard = guard if isinstance(guard, Guard) else guard()
    known = {**ROWS, **guard.dialects}
    if guard.policy.refusals not in ("", *known):
        raise ConfigError(f"policy: refusals is {' or '.join(known)}, or empty, not {guard.policy.refusals!r}")
    return guard
