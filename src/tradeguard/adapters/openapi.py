"""The operations of an OpenAPI file, JSON or YAML, as routes."""

import json
from pathlib import Path
from typing import Final

from tradeguard.adapters.routes import METHODS, Routes, Unmapped, add_route, begin_of, drop_repeats, table_of
from tradeguard.core.errors import ConfigError

_LARGEST: Final = 16_777_216  # bytes


def read_openapi(path: Path) -> Routes:
    """List the operations of an OpenAPI file, JSON or YAML. Paths are taken as they stand, without its `servers`.

    Raises:
        ConfigError: it is none, cannot be read, or needs PyYAML.
    """
    paths = table_of(table_of(_parse(path)).get("paths"))
    if not paths:
        raise ConfigError(f"{path}: it is no OpenAPI document: it has no paths")
    found = Routes([], [], [])
    for place, item in paths.items():
        known = table_of(item)
        if not known or "$ref" in known:
            found.unmapped.append(Unmapped(str(place), "it is described elsewhere", begin_of(str(place))))
            continue
        for method in METHODS:
            if isinstance(known.get(method), dict):
                told = table_of(known[method])
                said = str(told.get("summary") or told.get("description") or "")
                add_route(found, method.upper(), str(place), str(told.get("operationId") or ""), said)
    return drop_repeats(found)


def _parse(path: Path) -> object:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise ConfigError(f"{path}: it is larger than 16 MiB")
    try:
        return json.loads(data) if path.suffix == ".json" else _parse_yaml(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None


def _parse_yaml(data: bytes) -> object:
    try:
        import yaml  # noqa: PLC0415 - for OpenAPI files in YAML only
    except ImportError:
        raise ConfigError("an OpenAPI file in YAML needs PyYAML: pip install pyyaml; or save it as .json") from None
    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
