"""BearerDigest: what is kept of a secret that the client itself sends: its SHA-256, never the secret.

A fast hash is right here because no weak secret gets in: what has 128 random bits is not guessed, however fast.
"""

import hmac
import secrets
import string
from hashlib import sha256
from typing import Final, Self

from tradeguard.core.errors import ConfigError
from tradeguard.core.secret import Secret

BEARER_SHA256: Final = "bearer-sha256"
_FEWEST: Final = 6  # different characters; fewer are as good as never drawn
_ALPHABETS: Final = (  # each with how many characters of it hold 128 bits
    (frozenset(string.digits.encode()), 39),
    (frozenset((string.digits + "abcdef").encode()), 32),
    (frozenset((string.digits + "ABCDEF").encode()), 32),
    (frozenset((string.digits + string.ascii_letters + "-._~+/=").encode()), 22),
)


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
        needed = next((count for alphabet, count in _ALPHABETS if alphabet.issuperset(value)), None)
        if needed is None or len(value) < needed or len(set(value)) < _FEWEST:
            raise ConfigError(
                "a bearer secret has at least 128 random bits in letters, digits and -._~+/=: 22 characters, or 32 hex "
                "digits; see secrets.token_urlsafe(32)"
            )
        return cls(sha256(value).digest())

    def fingerprint(self, salt: bytes) -> bytes:
        """Identify the secret under a salt."""
        return hmac.digest(salt, self.algorithm.encode() + b"\0" + self._digest, "sha256")[:16]

    def reveal(self) -> bytes:
        """Return the digest, for a store to keep."""
        return self._digest

    async def verify(self, message: bytes, signature: bytes) -> bool:
        """Compare the secret that was sent, in constant time. It says nothing of any message."""
        return hmac.compare_digest(sha256(signature).digest(), self._digest)


def make_dummy() -> BearerDigest:
    """Return the digest of what nobody knows, for equal work where there is no key."""
    return BearerDigest(secrets.token_bytes(32))
