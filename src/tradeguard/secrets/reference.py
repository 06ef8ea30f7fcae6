"""Reference: the place of a secret that the configuration names, and how it is read from there.

Who else may read or write a file is checked on the opened descriptor, not on the path. No error holds what was read.
"""

import errno
import os
import re
import stat
from collections.abc import Mapping
from typing import Final, NamedTuple

from tradeguard.core.errors import ConfigError

LARGEST: Final = 65_536
"""Bytes of a file; what is longer is cut one byte after it."""
REFERENCE: Final = re.compile(r"(file|mount):(/[^\0]*)|(env):([^=\0]+)|(systemd):([^/\0]+)")
"""What a reference looks like."""


class _Place(NamedTuple):
    """Who may have access to a file that holds a secret."""

    flags: int
    forbidden: int  # bits of the mode
    owned: bool  # by the user we run as, or by root
    cure: str


# A secret mount is a symlink to a file of root that a group may read; in a user namespace even the owner is another.
# systemd lets the user of the unit in by an access list, which shows as a permission of the group.
_PLACES: Final = {
    "file": _Place(os.O_NOFOLLOW, 0o077, True, "chown it to the user who runs this, and chmod 600 it"),
    "mount": _Place(0, 0o022, False, "mount it read-only, with mode 0440 or 0400"),
    "systemd": _Place(os.O_NOFOLLOW, 0o022, False, "let systemd write it: LoadCredential= in the unit"),
}


def read_reference(
    reference: str, environ: Mapping[str, str] = os.environ, what: str = "secret", cure: str = "it in it"
) -> tuple[bytes, str]:
    """Return what a reference leads to, and the name of the place for errors.

    Args:
        reference: "file:/path" (owned by the user or root, no permission for anybody else, no symlink), "env:NAME",
            "mount:/path" (may be a symlink and readable by others, never writable), or "systemd:NAME" (a file in
            $CREDENTIALS_DIRECTORY).
        environ: the environment variables.
        what: is there, for errors.
        cure: what to put into a variable that is missing.

    Raises:
        ConfigError: saying what is wrong with the reference or the file, and the cure.
    """
    match = REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigError(f"say where the {what} is: file:/path, mount:/path, env:NAME or systemd:NAME")
    kind, where = (group for group in match.groups() if group is not None)
    if kind == "env":
        return _read_variable(where, environ, cure), f"environment variable {where}"
    path = _find_credential(where, environ) if kind == "systemd" else where
    return _read_file(path, _PLACES[kind], f"{what} file {path}"), f"{what} file {path}"


def _read_variable(name: str, environ: Mapping[str, str], cure: str) -> bytes:
    value = environ.get(name)
    if value is None:
        raise ConfigError(f"environment variable {name} is not set; put {cure}")
    return value.encode(errors="replace")  # what is no UTF-8 is no secret of ours either


def _find_credential(name: str, environ: Mapping[str, str]) -> str:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ConfigError(
            f"CREDENTIALS_DIRECTORY is not set: run under systemd, with LoadCredential={name}:/path in the unit"
        )
    return f"{folder}/{name}"


def _read_file(path: str, place: _Place, named: str) -> bytes:
    def open_safely(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK | place.flags)  # a pipe must not hold us

    try:
        with open(path, "rb", opener=open_safely) as file:
            _check_access(os.fstat(file.fileno()), place, named)
            return file.read(LARGEST + 1)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigError(f"{named} is a symlink; name the file itself, or use mount:") from None
        raise ConfigError(f"{named}: {error.strerror}; {place.cure}") from None


def _check_access(status: os.stat_result, place: _Place, named: str) -> None:
    """Refuse a file that others have access to (of an open descriptor, so that nothing can be put in its place)."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{named} is no regular file; name one")
    if place.owned and status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{named} is owned by user {status.st_uid}; {place.cure}")
    if status.st_mode & place.forbidden:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(f"{named} has mode {mode:04o}: others may use it; {place.cure}")
