"""Material that lives in this process: HMAC secrets and Ed25519 public keys."""

import hashlib
import hmac
import secrets
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tradeguard.core.errors import ConfigError
from tradeguard.core.key import Material
from tradeguard.core.secret import Secret
from tradeguard.signing.bearer import BEARER_SHA256, BearerDigest

HMAC_SHA256: Final = "hmac-sha256"
ED25519: Final = "ed25519"
SIGNATURE_BYTES: Final = {HMAC_SHA256: 32, ED25519: 64}
MIN_SECRET: Final = 16  # bytes: 128 bits, the least that guessing does not reach
_BLOCK: Final = 64  # bytes that SHA-256 takes at a time

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ORDER_8: Final = (  # y of the points of order 8; x has no influence on the order
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
)
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, *_ORDER_8})  # y of every point whose order divides 8


class Hmac:
    """An HMAC-SHA256 secret (RFC 2104, FIPS 180-4).

    Args:
        secret: as the client uses it, at least 16 bytes; text is taken as UTF-8.

    Raises:
        ConfigError: the secret is shorter, or nothing but zeros (which HMAC takes for no key at all).
    """

    algorithm: str = HMAC_SHA256
    __slots__ = ("_secret",)

    def __init__(self, secret: Secret | bytes | str) -> None:
        self._secret = secret if isinstance(secret, Secret) else Secret(secret)
        if len(self._secret) < MIN_SECRET or not any(self._secret.reveal()):
            raise ConfigError(
                f"an HMAC secret has at least {MIN_SECRET} bytes, not all zero; see secrets.token_bytes(32)"
            )

    def fingerprint(self, salt: bytes) -> bytes:
        """Identify the secret under a salt: alike for all secrets that make the same MACs (RFC 2104, section 2)."""
        secret = self._secret.reveal()
        secret = hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret
        return _fingerprint(self.algorithm, secret.ljust(_BLOCK, b"\0"), salt)

    def reveal(self) -> bytes:
        """Return the secret, for a store to seal."""
        return self._secret.reveal()

    async def verify(self, message: bytes, signature: bytes) -> bool:
        """Compare the signature with the MAC, in constant time."""
        return hmac.compare_digest(hmac.digest(self._secret.reveal(), message, hashlib.sha256), signature)


class Ed25519:
    """An Ed25519 public key (RFC 8032).

    Args:
        public_key: the 32 bytes of the point.

    Raises:
        ConfigError: not 32 bytes, not a point, not its canonical encoding, or a point of small order (for which anyone
            can make signatures).
    """

    algorithm: str = ED25519
    __slots__ = ("_key", "_raw")

    def __init__(self, public_key: bytes) -> None:
        y = int.from_bytes(public_key, "little") & (1 << 255) - 1
        if len(public_key) != 32 or y >= _P or y in _SMALL_ORDER or not _on_curve(y):
            raise ConfigError("an Ed25519 public key is 32 bytes: a canonical point, not one of small order")
        self._key, self._raw = Ed25519PublicKey.from_public_bytes(public_key), public_key

    def fingerprint(self, salt: bytes) -> bytes:
        """Identify the public key under a salt."""
        return _fingerprint(self.algorithm, self._raw, salt)

    def reveal(self) -> bytes:
        """Return the 32 bytes of the public key."""
        return self._raw

    async def verify(self, message: bytes, signature: bytes) -> bool:
        """Verify as RFC 8032, 5.1.7; S >= L and non-canonical R do not verify."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def _on_curve(y: int) -> bool:
    """Tell whether some x satisfies -x^2 + y^2 = 1 + d x^2 y^2 (RFC 8032, 5.1.3)."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return pow(square, (_P - 1) // 2, _P) in (0, 1)


def make_material(algorithm: str, value: bytes) -> Material:
    """Return material from what `reveal` gave.

    Raises:
        ConfigError: an unknown algorithm, or a value that is no such key.
    """
    if algorithm == ED25519:
        return Ed25519(value)
    if algorithm == HMAC_SHA256:
        return Hmac(value)
    if algorithm == BEARER_SHA256:
        return BearerDigest(value)
    raise ConfigError(f"unknown algorithm {algorithm!r}; use {HMAC_SHA256} or {ED25519}")


def make_dummy(algorithm: str) -> Material:
    """Return material that nobody has the key of, for equal work where there is no key."""
    if algorithm == ED25519:
        return Ed25519(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    return Hmac(secrets.token_bytes(32))


def _fingerprint(algorithm: str, value: bytes, salt: bytes) -> bytes:
    return hashlib.blake2b(algorithm.encode() + b"\0" + value, key=salt, digest_size=16).digest()
