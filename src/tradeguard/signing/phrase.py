"""Phrase: the passphrase that some dialects send along with a signature, plain or hashed under the secret."""

from collections.abc import Callable
from typing import Final, NamedTuple

from tradeguard.signing.encoding import decode_base64
from tradeguard.signing.place import refused
from tradeguard.signing.quick import quick
from tradeguard.signing.row import Passphrase

_LONGEST: Final = 128  # bytes
_HASHED: Final = frozenset({b"2", b"3"})
_VERSIONS: Final = frozenset({None, b"1", *_HASHED})


class Phrase(NamedTuple):
    """A passphrase as it was sent: plain, or `hashed` by HMAC-SHA256 under the secret."""

    value: bytes
    hashed: bool


_make_phrase = quick(Phrase)


def names_of(asked: Passphrase) -> list[bytes]:
    """Return the names of the headers that `read_phrase` asks for; none of them may stand twice."""
    return [place.name for place in (asked.place, asked.version) if place is not None]


def read_phrase(asked: Passphrase, get: Callable[[bytes], bytes | None]) -> Phrase:
    """Return the passphrase of a request.

    Args:
        asked: where it stands.
        get: reads a header.

    Raises:
        Refused: it is missing or too long, or sent in a way that there is not.
    """
    value = get(asked.place.name)
    version = get(asked.version.name) if asked.version is not None else None
    if not value or len(value) > _LONGEST or version not in _VERSIONS:
        raise refused(asked.place)
    if version not in _HASHED:
        return _make_phrase((value, False))
    digest = decode_base64(value)
    if digest is None:
        raise refused(asked.place)
    return _make_phrase((digest, True))
