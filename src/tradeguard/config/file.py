"""The configuration file: where it is, whether it can be trusted, and what it says. It knows no key of it."""

import logging
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tradeguard.core.errors import ConfigError

VARIABLE: Final = "TRADEGUARD_CONFIG"
DEVELOPMENT: Final = "TRADEGUARD_DEVELOPMENT"
NAME: Final = "tradeguard.toml"
_LARGEST: Final = 1_048_576  # bytes
_log = logging.getLogger("tradeguard")


def find_config(
    path: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    cwd: str | os.PathLike[str] | None = None,
) -> Path:
    """Return the configuration file: the argument, else TRADEGUARD_CONFIG, else ./tradeguard.toml.

    Args:
        path: where the caller says it is.
        environ: the environment.
        cwd: the working directory; that of the process by default.

    Raises:
        ConfigError: there is none; the text says where it was looked for.
    """
    places = ((path, "as given"), (environ.get(VARIABLE), f"from {VARIABLE}"), (NAME, "in the working directory"))
    given, origin = next((given, origin) for given, origin in places if given)
    found = _absolute(Path(given) if cwd is None else Path(cwd) / given)
    try:
        os.lstat(found)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"no configuration at {found} ({origin}); write one with `tradeguard init`, or name one: "
            f"the argument, else {VARIABLE}, else ./{NAME}"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"configuration {str(found)!r} ({origin}): {_reason(error)}") from None
    _log.info("configuration: %s (%s)", found, origin)
    return found


def read_config(path: Path) -> dict[str, Any]:
    """Return what a configuration file says.

    It must be a regular file of this user or root that nobody else may write; that is asked of the open descriptor, so
    that it cannot be exchanged in between.

    Raises:
        ConfigError: it cannot be read or trusted, is above 1 MiB, not UTF-8, or not TOML (with line and column).
    """
    text = _decode(path, _read(path))
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}: a number is too long, or tables are nested too deeply") from None


def _read(path: Path) -> bytes:
    try:
        # O_NONBLOCK: a pipe in its place must not hold the start up
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise ConfigError(f"configuration {path}: {_reason(error)}") from None
    try:
        _check_trust(path, os.fstat(file))
        return _take(file)
    except OSError as error:
        raise ConfigError(f"configuration {path}: {_reason(error)}") from None
    finally:
        os.close(file)


def _take(file: int) -> bytes:
    """Read to the end, or one byte beyond the limit."""
    data = b""
    while len(data) <= _LARGEST:
        chunk = os.read(file, _LARGEST + 1 - len(data))
        if not chunk:
            break
        data += chunk
    return data


def _check_trust(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"configuration {path}: it is no regular file; name one")
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            f"configuration {path}: user {status.st_uid} owns it and could change it; chown it to this user or to root"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"configuration {path}: others than its owner may write it; chmod go-w {path}")


def _decode(path: Path, data: bytes) -> str:
    if len(data) > _LARGEST:
        raise ConfigError(f"configuration {path}: it is larger than 1 MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"configuration {path}: it is not UTF-8 (line {line})") from None


def _absolute(path: Path) -> Path:
    try:
        return path.absolute()
    except OSError:  # the working directory is gone, and nothing is in it
        return path


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
