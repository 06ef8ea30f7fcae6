"""Names: how texts and bytes of any kind stand in the database: as bytea, so that none of them is special to it."""

import hashlib
from typing import Final

from tradeguard.core.errors import BackendDown, ConfigError

LATEST: Final = 2**63 - 1
"""The latest time, and the largest number, that a database holds."""
_LONGEST: Final = 1_000  # bytes that an index takes
_ERRORS: Final = "surrogatepass"  # a lone surrogate is a text too


def pack(name: str) -> bytes:
    """Return the bytes of a text."""
    return name.encode("utf-8", _ERRORS)


def unpack(name: bytes) -> str:
    """Return the text of bytes.

    Raises:
        BackendDown: they are none of ours.
    """
    try:
        return name.decode("utf-8", _ERRORS)
    except UnicodeDecodeError as error:
        raise BackendDown("PostgreSQL answered with a name that nobody stored") from error


def shorten(name: bytes) -> bytes:
    """Return a name as an index takes it: a longer one by its beginning and its SHA-256, longer than any short one."""
    return name if len(name) <= _LONGEST else name[:_LONGEST] + hashlib.sha256(name).digest()


def clamp(number: int) -> int:
    """Return the nearest number that a database holds."""
    return max(-LATEST, min(number, LATEST))


def check_schema(schema: str) -> bytes:
    """Return a schema's name, quoted.

    Raises:
        ConfigError: it is no name.
    """
    if not (schema.isascii() and schema.isidentifier() and len(schema) < 64):
        raise ConfigError(
            "PostgreSQL: schema takes up to 63 letters, digits and underscores, not beginning with a digit"
        )
    return f'"{schema}"'.encode()
