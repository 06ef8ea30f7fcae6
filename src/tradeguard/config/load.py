"""Loading: file, then environment, then the model and its rules; all faults at once, and where each value came from."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from tradeguard.config.environment import Override, find_strays, read_environment
from tradeguard.config.faults import Fault, dot
from tradeguard.config.file import find_config, read_config
from tradeguard.config.quotas import explain_quotas
from tradeguard.config.rules import find_faults
from tradeguard.config.settings import KEYS, SECTIONS, Settings, parse
from tradeguard.core.errors import ConfigError

DEFAULT: Final = "default"
FILE: Final = "file"
_JOURNAL: Final = "audit.jsonl"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that holds.

    Args:
        path: its file.
        settings: every key.
        origins: where each value came from, by dotted key: "default", "file" or "env TRADEGUARD_...".
    """

    path: Path
    settings: Settings
    origins: Mapping[str, str]

    @property
    def data(self) -> Path:
        """The data directory, in full."""
        return self.path.parent / self.settings.data.directory

    @property
    def journal(self) -> Path:
        """The journal's file, in full."""
        path = self.settings.journal.path
        return self.path.parent / path if path else self.data / _JOURNAL

    def value(self, key: str) -> object:
        """Return the value of a fixed key, by its dotted path; places of files in full."""
        places = {"data.directory": self.data, "journal.path": self.journal}
        section, _, name = key.partition(".")
        return places.get(key) or getattr(getattr(self.settings, section), name)


class Row(NamedTuple):
    """One value of a configuration as people read it; secrets are no part of one."""

    key: str
    value: str
    origin: str


def load_settings(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Load the configuration from its file and the environment.

    Args:
        path: the file; see `find_config`.
        environ: the environment: TRADEGUARD_<SECTION>__<KEY> overrides a key of the file.

    Raises:
        ConfigError: all that is wrong, one line each.
    """
    file = find_config(path, environ)
    tables = read_config(file)
    overrides = read_environment(environ)
    merged = _merge(tables, overrides)
    settings, faults, wrong = parse(merged)
    faults += find_strays(environ, _references(merged))
    faults += find_faults(settings, wrong)
    origins = _origins(tables, overrides)
    if faults:
        raise ConfigError(_list_faults(file, faults, origins))
    return Loaded(file, settings, MappingProxyType(origins))


def explain(loaded: Loaded) -> list[Row]:
    """Return every value with its origin. References to secrets are shown; what they lead to is never read."""
    fixed = [Row(key, _text(loaded.value(key)), origin) for key, origin in loaded.origins.items()]
    named = [
        Row(dot([section, name]), _text(value), FILE)
        for section in ("dialects", "roles", "operations")
        for name, value in getattr(loaded.settings, section).items()
    ]
    rates = [Row(dot(path), _text(value), origin) for path, value, origin in explain_quotas(loaded.settings)]
    return [*fixed, *rates, *named]


def _merge(tables: Mapping[str, Any], overrides: list[Override]) -> dict[str, Any]:
    merged = dict(tables)
    for override in overrides:
        section, _, key = override.key.partition(".")
        table = _table(merged.get(section, {}))
        if table is not None:  # else the file is at fault, and will be told
            merged[section] = {**table, key: override.value}
    return merged


def _references(merged: Mapping[str, Any]) -> list[object]:
    places = (("master_key", "source"), ("state", "url"), ("keys", "url"))
    return [(_table(merged.get(section)) or {}).get(key) for section, key in places]


def _table(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _origins(tables: Mapping[str, Any], overrides: list[Override]) -> dict[str, str]:
    origins = dict.fromkeys(KEYS, DEFAULT)
    for section, keys in SECTIONS.items():
        table = _table(tables.get(section)) or {}
        origins |= {f"{section}.{key}": FILE for key in keys if key in table}
    return origins | {override.key: f"env {override.variable}" for override in overrides}


def _list_faults(path: Path, faults: list[Fault], origins: Mapping[str, str]) -> str:
    lines = [f"  {key}: {text}{_origin(key, origins)}" for key, text in faults]
    return "\n".join([f"{path}: {len(lines)} fault{'s' * (len(lines) > 1)}", *lines])


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """Say it where a value does not stand in the file."""
    origin = origins.get(key.partition("[")[0], FILE)
    return f" ({origin})" if origin.startswith("env ") else ""


def _text(value: object) -> str:
    return str(value) if isinstance(value, Path) else json.dumps(value, ensure_ascii=False, default=str)
