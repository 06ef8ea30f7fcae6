"""The setting TRADEGUARD: what it may say, and the guard that it leads to."""

from collections.abc import Mapping
from typing import Any, cast

from tradeguard.adapters.given import open_guard
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard

try:
    from django.conf import settings
    from django.utils.module_loading import import_string
except ImportError as error:
    raise ConfigError('this adapter needs Django: pip install "tradeguard[django]"') from error


def read_setting() -> dict[str, Any]:
    """Return the setting: `config`, a file or True for the one that is found; or `guard`, one, its maker, or a path.

    Raises:
        ConfigError: it is missing, or says something else.
    """
    given: Any = getattr(settings, "TRADEGUARD", None)
    if not isinstance(given, Mapping) or not given:
        raise ConfigError('settings: say TRADEGUARD = {"config": "tradeguard.toml"}')
    table = dict(cast("Mapping[str, Any]", given))
    for key in table:
        if key not in ("config", "guard"):
            raise ConfigError(f"settings: TRADEGUARD has no key {key!r}; it has config or guard")
    return table


def open_setting(*, blocking: bool = False) -> Guard:
    """Return the guard that the setting leads to.

    Args:
        blocking: Django runs without an event loop.

    Raises:
        ConfigError: the setting or what it names is wrong.
    """
    table = read_setting()
    guard = table.get("guard")
    if isinstance(guard, str):
        try:
            guard = import_string(guard)
        except ImportError as error:
            raise ConfigError(f"settings: TRADEGUARD['guard'] names {guard!r}, which cannot be imported") from error
    return open_guard(guard, table.get("config"), blocking=blocking)
