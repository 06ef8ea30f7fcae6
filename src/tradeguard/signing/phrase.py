"""Phrase: the passphrase that some dialects send along with a signature, plain or hashed under the secret."""

from typing import Final, NamedTuple

from tradeguard.core.request import Headers
from tradeguard.signing.encoding import decode_base64
from tradeguard.signing.place import refused
from tradeguard.signing.row import Passphrase

_LONGEST: Final = 128  # bytes
_HASHED: Final = (b"2", b"3")


class Phrase(NamedTuple):
    """A passphrase as it was sent: plain, or `hashed` by HMAC-SHA256 under the secret."""

    value: bytes
    hashed: bool


def read_phrase(asked: Passphrase, headers: Headers) -> Phrase:
    """Return the passphrase of a request.

    Raises:
        Refused: it is missing or too long, or sent in a way that there is not.
    """
    value = headers.one(asked.place.name)
    version = headers.one(asked.version.name) if asked.version is not None else None
    if not value or len(value) > _LONGEST or version not in (None, b"1", *_HASHED):
        raise refused(asked.place)
    if version not in _HASHED:
        return Phrase(value, hashed=False)
    digest = decode_base64(value)
    if digest is None:
        raise refused(asked.place)
    return Phrase(digest, hashed=True)
