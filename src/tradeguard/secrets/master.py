"""Master keys: what seals all other secrets; where they are read from, and how the first one is made.

Rules: a key is 32 random bytes, never derived from a password. Its id is computed from the key, so that no id can be
put beside the wrong key. Who else may read or write the file is checked on the opened descriptor, not on the path. No
error holds a key.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tradeguard.core.errors import ConfigError
from tradeguard.core.secret import Secret
from tradeguard.secrets.reference import LARGEST, REFERENCE, read_reference
from tradeguard.signing.encoding import decode_base64url, encode_base64url

MASTER_KEY_BYTES: Final = 32
MAX_FILE_BYTES: Final = LARGEST
_LINE: Final = 43  # characters: 32 bytes in base64url without padding
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HEAD: Final = b"# tradeguard master keys: the first seals, all open. Keep a copy, apart from the database.\n"
_FORMS: Final = (
    "say where the master keys are: file:/path (a file of mode 0600), env:NAME (an environment variable), "
    "mount:/path (a Kubernetes or Docker secret) or systemd:NAME (a credential of the unit)"
)


@dataclass(frozen=True, slots=True, eq=False)
class MasterKey:
    """A key that seals others.

    Args:
        secret: 32 random bytes.

    `id` is 8 hex digits, computed from the key.

    Raises:
        ConfigError: the secret has another length, or is nothing but zeros.
    """

    secret: Secret
    id: str = field(init=False)

    def __post_init__(self) -> None:
        if len(self.secret) != MASTER_KEY_BYTES or not any(self.secret.reveal()):
            raise ConfigError(f"a master key is {MASTER_KEY_BYTES} random bytes, not all zero; see make_master_key")
        object.__setattr__(self, "id", self.derive(b"tradeguard master key id", 4).reveal().hex())

    def derive(self, purpose: bytes, size: int = 32) -> Secret:
        """Return a key for one purpose (HKDF-SHA256, RFC 5869; no salt, the key is uniform): `size` bytes."""
        return Secret(HKDF(SHA256(), size, None, purpose).derive(self.secret.reveal()))


@dataclass(frozen=True, slots=True, eq=False)
class MasterKeys:
    """The master keys at hand, in order: the first seals, all open.

    Args:
        keys: at least one.

    Raises:
        ConfigError: there is none, or two have the same id.
    """

    keys: Iterable[MasterKey]
    primary: MasterKey = field(init=False)
    ids: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        keys = tuple(self.keys)
        if not keys:
            raise ConfigError("there is no master key; make one with make_master_key")
        ids = tuple(key.id for key in keys)
        double = {id for id in ids if ids.count(id) > 1}
        if double:
            raise ConfigError(f"two master keys have the id {', '.join(sorted(double))}; remove one of them")
        for name, value in (("keys", keys), ("primary", keys[0]), ("ids", ids)):
            object.__setattr__(self, name, value)

    def find(self, id: str) -> MasterKey | None:
        """Return the key of an id, or None."""
        return next((key for key in self.keys if key.id == id), None)


def load_master_keys(reference: str, environ: Mapping[str, str] = os.environ) -> MasterKeys:
    """Read the master keys from where a reference says.

    One key per line: 43 characters of base64url without padding. Empty lines and lines that begin with # are skipped.

    Args:
        reference: "file:/path" (owned by the user or root, no permission for anybody else, no symlink), "env:NAME",
            "mount:/path" (may be a symlink and readable by others, never writable), or "systemd:NAME" (a file in
            $CREDENTIALS_DIRECTORY).
        environ: the environment variables.

    Raises:
        ConfigError: saying what is wrong with the reference, the file or which line of it, and the cure.
    """
    where = reference.partition(":")[2]
    if len(where) == _LINE and decode_base64url(where.encode(errors="replace")) is not None:
        raise ConfigError(f"this is a master key, not a place: {_FORMS}")  # the name must not be printed
    if not REFERENCE.fullmatch(reference):
        raise ConfigError(_FORMS)
    return _parse(*read_reference(reference, environ, "master key", "the master keys in it, one per line"))


def make_master_key(path: str | os.PathLike[str]) -> str:
    """Make a file with a new master key, durable when this returns; return the key's id.

    Args:
        path: where; nothing may be there yet. Missing folders are made, for the user only.

    Raises:
        ConfigError: there is something already, or it cannot be written; nothing half-written is left.
    """
    path, key = Path(path), MasterKey(Secret(token_bytes(MASTER_KEY_BYTES)))
    try:
        _make_folder(path.parent)
        _write_file(path, _HEAD + encode_base64url(key.secret.reveal()) + b"\n")
    except OSError as error:
        if os.path.lexists(path):
            raise ConfigError(
                f"{path} exists: a master key is never made anew, since what it sealed could not be opened any more; "
                "use it, or name another path"
            ) from None
        raise ConfigError(f"master key file {path}: {error.strerror}; name a path that can be written") from None
    return key.id


def _parse(content: bytes, source: str) -> MasterKeys:
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{source} has more than {MAX_FILE_BYTES} bytes; it is not a list of master keys")
    keys: list[MasterKey] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if line and not line.startswith(b"#"):
            keys.append(_parse_line(line, f"{source}, line {number}"))
    try:
        return MasterKeys(keys)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _parse_line(line: bytes, source: str) -> MasterKey:
    value = decode_base64url(line) if len(line) == _LINE else None
    if value is None:
        raise ConfigError(
            f"{source}: a master key is {_LINE} characters of base64url without padding, with no spaces around them"
        )
    try:
        return MasterKey(Secret(value))
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, for the user only."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        _sync(path.parent)


def _write_file(path: Path, content: bytes) -> None:
    """Write a new file, all of it or nothing, and take it to the disk."""
    descriptor = os.open(path, _CREATE, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        _sync(path.parent)
    except BaseException:  # an interrupt too: a part of a key would pass for a file that exists
        path.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
