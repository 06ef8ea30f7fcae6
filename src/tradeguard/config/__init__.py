"""The configuration: one TOML file -> a guard. Needs `pip install "tradeguard[config]"`."""

from importlib.resources import files
from typing import Final

from tradeguard.config.build import build_guard, open_journal, open_keys, open_sealed
from tradeguard.config.environment import NOT_SETTINGS
from tradeguard.config.file import find_config
from tradeguard.config.findings import check
from tradeguard.config.load import Loaded, Row, explain, load_settings
from tradeguard.config.reload import reload_guard, reload_on_sighup
from tradeguard.config.settings import Settings, json_schema
from tradeguard.config.stores import open_state

__all__ = [
    "NOT_SETTINGS",
    "SAMPLE",
    "Loaded",
    "Row",
    "Settings",
    "build_guard",
    "check",
    "explain",
    "find_config",
    "json_schema",
    "load_settings",
    "open_journal",
    "open_keys",
    "open_sealed",
    "open_state",
    "reload_guard",
    "reload_on_sighup",
]

SAMPLE: Final = files("tradeguard.config").joinpath("sample.toml").read_text("utf-8")
"""The file that `tradeguard init` writes: every key with its default and what it means."""
