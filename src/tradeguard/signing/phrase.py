"""Phrase: the passphrase that some dialects send along with a signature, plain or hashed under the secret."""

from collections.abc import Callable
from typing import Final, NamedTuple

from tradeguard.signing.encoding import decode_base64
from tradeguard.signing.place import refused
from tradeguard.signing.quick import quick
from tradeguard.signing.row import Passphrase

Get = Callable[[bytes], bytes | None]
_LONGEST: Final = 128  # bytes
_HASHED: Final = frozenset({b"2", b"3"})
_VERSIONS: Final = frozenset({None, b"1", *_HASHED})


class Phrase(NamedTuple):
    """A passphrase as it was sent: plain, or `hashed` by HMAC-SHA256 under the secret."""

    value: bytes
    hashed: bool


_make_phrase = quick(Phrase)


def names_of(asked: Passphrase) -> list[bytes]:
    """Return the names of the headers that a passphrase is read from; none of them may stand twice."""
    return [place.name for place in (asked.place, asked.version) if place is not None]


def compile_phrase(asked: Passphrase) -> Callable[[Get], Phrase]:
    """Return what reads the passphrase of a request, given what reads a header.

    It raises `Refused` where a passphrase is missing or too long, or sent in a way that there is not.
    """
    place = asked.place

    def read(get: Get) -> Phrase:
        value = get(place.name)
        if not value or len(value) > _LONGEST:
            raise refused(place)
        return _make_phrase((value, False))

    if asked.version is None:
        return read
    version = asked.version.name

    def read_version(get: Get) -> Phrase:
        sent, plain = get(version), read(get)
        if sent not in _VERSIONS:
            raise refused(place)
        if sent not in _HASHED:
            return plain
        digest = decode_base64(plain.value)
        if digest is None:
            raise refused(place)
        return Phrase(digest, hashed=True)

    return read_version
