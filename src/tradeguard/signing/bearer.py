"""BearerDigest: what is kept of a secret that the client itself sends: its SHA-256, never the secret.

A fast hash is right here because no weak secret gets in: what has 128 random bits is not guessed, however fast.
"""

import hmac
import math
import secrets
import string
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Final, Self

from tradeguard.core.errors import ConfigError
from tradeguard.core.secret import Secret

BEARER: Final = "bearer"
"""The dialect of the keys whose secret is sent along."""
BEARER_SHA256: Final = "bearer-sha256"
_LEAST: Final = 64  # bits by the frequency of characters; 22 that were drawn have fewer once in many millions
_UNIT: Final = 6  # characters that do not come again by chance
_ALPHABETS: Final = (  # each with how many characters of it hold 128 bits
    (frozenset(string.digits.encode()), 39),
    (frozenset((string.digits + "abcdef").encode()), 32),
    (frozenset((string.digits + "ABCDEF").encode()), 32),
    (frozenset((string.digits + string.ascii_letters + "-._~+/=").encode()), 22),
)


def bearer_id(secret: bytes) -> str:
    """Return the id under which to keep a key whose clients send nothing but its secret: 32 digits of its SHA-256."""
    return _id_of(sha256(secret).digest())


class BearerDigest:
    """The SHA-256 of a bearer secret.

    Args:
        digest: its 32 bytes; `of` makes them.

    Raises:
        ConfigError: not 32 bytes.
    """

    algorithm: str = BEARER_SHA256
    __slots__ = ("_digest",)

    def __init__(self, digest: bytes) -> None:
        if len(digest) != 32:
            raise ConfigError("a bearer digest is the 32 bytes of SHA-256; BearerDigest.of(secret) makes it")
        self._digest = digest

    @classmethod
    def of(cls, secret: Secret | bytes | str) -> Self:
        """Return what to keep of a secret.

        Raises:
            ConfigError: it has less than 128 bits, or characters that a header does not carry.
        """
        value = (secret if isinstance(secret, Secret) else Secret(secret)).reveal()
        if not _is_drawn(value):
            raise ConfigError(
                "a bearer secret has at least 128 random bits in letters, digits and -._~+/=: 22 characters, or 32 hex "
                "digits, and no pattern; this one can be guessed. Give its holder a new one: `tradeguard keys new "
                "--dialect bearer`, or secrets.token_urlsafe(32)"
            )
        return cls(sha256(value).digest())

    @property
    def id(self) -> str:
        """The id of a key whose clients send nothing but the secret; see `bearer_id`."""
        return _id_of(self._digest)

    def fingerprint(self, salt: bytes) -> bytes:
        """Identify the secret under a salt."""
        return hmac.digest(salt, self.algorithm.encode() + b"\0" + self._digest, "sha256")[:16]

    def reveal(self) -> bytes:
        """Return the digest, for a store to keep."""
        return self._digest

    async def verify(self, message: bytes, signature: bytes) -> bool:
        """Compare the secret that was sent, in constant time. It says nothing of any message."""
        return hmac.compare_digest(sha256(signature).digest(), self._digest)


def _id_of(digest: bytes) -> str:
    return f"{BEARER}-{digest.hex()[:32]}"


def _is_drawn(value: bytes) -> bool:
    """Tell whether a secret can have been drawn at random. It finds patterns; of words nobody can tell."""
    needed = next((count for alphabet, count in _ALPHABETS if alphabet.issuperset(value)), None)
    if needed is None or len(value) < needed:
        return False
    units = [value[place : place + _UNIT] for place in range(len(value) - _UNIT + 1)]
    steps = [after - before for before, after in pairwise(value)]  # 1, 1, 1 is a b c d
    return min(_bits(value), _bits(steps)) >= _LEAST and 4 * len(set(units)) >= 3 * len(units)


def _bits(symbols: Sequence[int]) -> float:
    """Return how many bits the symbols hold by their frequency (Shannon)."""
    return -sum(count * math.log2(count / len(symbols)) for count in Counter(symbols).values())


def make_dummy() -> BearerDigest:
    """Return the digest of what nobody knows, for equal work where there is no key."""
    return BearerDigest(secrets.token_bytes(32))
