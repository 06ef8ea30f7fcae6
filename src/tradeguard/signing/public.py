"""Public keys that verify: Ed25519, RSA and ECDSA on P-256.

The rules:

1.  Each is taken as PEM or DER (SubjectPublicKeyInfo, RFC 5280, 4.1); Ed25519 also as its 32 bytes. One key has one
    kept form and one fingerprint, however it came.
2.  A key for which others can sign is refused: a point of small order or off its curve, an even modulus, one with small
    factors, a small exponent.
3.  A signature of a length that the key does not have never verifies.
"""

import math
from functools import lru_cache
from hashlib import shake_256
from itertools import count
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from tradeguard.core.errors import ConfigError
from tradeguard.signing.algorithm import (
    ECDSA_P256_SHA256,
    ED25519,
    RSA_BYTES,
    RSA_SHA256,
    SIGNATURE_BYTES,
    make_fingerprint,
)

_PEM: Final = b"-----BEGIN"
_LONGEST: Final = 8192  # bytes; an RSA key of 4096 bits has 800 as PEM

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ORDER_8: Final = (  # y of the points of order 8; x has no influence on the order
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
)
_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, *_ORDER_8})  # y of every point whose order divides 8

_LEAST_EXPONENT: Final = 65537
_MOST_EXPONENT: Final = 2**32  # a larger one only makes the venue work
_SMALL_FACTORS: Final = math.prod(n for n in range(2, 752) if all(n % d for d in range(2, math.isqrt(n) + 1)))


class Ed25519:
    """An Ed25519 public key (RFC 8032).

    Args:
        public_key: the 32 bytes of the point, PEM or DER.

    Raises:
        ConfigError: no such key, not a point, not its canonical encoding, or a point of small order (for which anyone
            can make signatures).
    """

    algorithm: str = ED25519
    __slots__ = ("_key", "_raw")

    def __init__(self, public_key: bytes) -> None:
        wanted = "an Ed25519 public key is 32 bytes: a canonical point, not one of small order; or its PEM or DER"
        raw = public_key if len(public_key) == 32 else _load_point(public_key, wanted)
        y = int.from_bytes(raw, "little") & (1 << 255) - 1
        if y >= _P or y in _SMALL_ORDER or not _on_curve(y):
            raise ConfigError(wanted)
        self._key, self._raw = Ed25519PublicKey.from_public_bytes(raw), raw

    def fingerprint(self, salt: bytes) -> bytes:
        """Identify the public key under a salt."""
        return make_fingerprint(self.algorithm, self._raw, salt)

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


class Rsa:
    """An RSA public key for RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2).

    Args:
        public_key: PEM or DER; 2048, 3072 or 4096 bits.

    Raises:
        ConfigError: no such key, another size, an exponent that is even, below 65537 or above 2^32, or a modulus that
            is even or has a factor below 752 (NIST SP 800-89, 5.3.3).
    """

    algorithm: str = RSA_SHA256
    __slots__ = ("_der", "_key", "size")

    def __init__(self, public_key: bytes) -> None:
        key = _load(public_key, "an RSA public key is PEM or DER")
        if not isinstance(key, RSAPublicKey):
            raise ConfigError("this is a public key of another algorithm than RSA")
        self._key = key
        _check_numbers(self._key.public_numbers(), self._key.key_size)
        self._der = _to_der(self._key)
        self.size: Final = self._key.key_size // 8
        """Bytes of its signatures."""

    def fingerprint(self, salt: bytes) -> bytes:
        """Identify the public key under a salt."""
        return make_fingerprint(self.algorithm, self._der, salt)

    def reveal(self) -> bytes:
        """Return the public key as DER."""
        return self._der

    async def verify(self, message: bytes, signature: bytes) -> bool:
        """Verify as RFC 8017, 8.2.2. The work follows from the length of the signature, whatever the key's is."""
        if len(signature) == self.size:
            return self._holds(message, signature)
        if len(signature) in RSA_BYTES:
            make_rsa_dummy(len(signature))._holds(message, signature)
        return False

    def _holds(self, message: bytes, signature: bytes) -> bool:
        try:
            self._key.verify(signature, message, _PKCS1, _SHA256)
        except InvalidSignature:
            return False
        return True


class EcdsaP256:
    """An ECDSA public key on the curve P-256, with SHA-256 (FIPS 186-5, 6).

    A signature is r and s, 32 bytes each (IEEE P1363, RFC 7518, 3.4). To each (r, s) there is a second one, (r, n - s),
    for the same message; half of what honest clients send is the "high" one, so both verify. What is used once is the
    message, by its digest or its nonce, and never a signature: the second one is no second use.

    Args:
        public_key: PEM or DER.

    Raises:
        ConfigError: no such key, another curve, or no point on it.
    """

    algorithm: str = ECDSA_P256_SHA256
    __slots__ = ("_der", "_key")

    def __init__(self, public_key: bytes) -> None:
        wanted = "an ECDSA public key is PEM or DER, a point on the curve P-256"
        key = _load(public_key, wanted)
        if not (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)):
            raise ConfigError(f"{wanted}; this is a key of another algorithm or curve")
        self._key = key
        self._der = _to_der(self._key)

    def fingerprint(self, salt: bytes) -> bytes:
        """Identify the public key under a salt."""
        return make_fingerprint(self.algorithm, self._der, salt)

    def reveal(self) -> bytes:
        """Return the public key as DER, its point uncompressed."""
        return self._der

    async def verify(self, message: bytes, signature: bytes) -> bool:
        """Verify as FIPS 186-5, 6.4.2; r and s are taken as they are, low or high."""
        if len(signature) != SIGNATURE_BYTES[ECDSA_P256_SHA256]:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            self._key.verify(encode_dss_signature(r, s), message, _ECDSA)
        except InvalidSignature:
            return False
        return True


PublicKey = Ed25519 | Rsa | EcdsaP256
"""What a client that makes its own key pair gives."""


@lru_cache(maxsize=len(RSA_BYTES))
def make_rsa_dummy(size: int) -> Rsa:
    """Return a key of so many bytes that nobody has the private half of: an odd number from nothing up the sleeve.

    Raises:
        ConfigError: no key has this size.
    """
    if size not in RSA_BYTES:
        raise ConfigError(f"an RSA key has {', '.join(map(str, RSA_BYTES))} bytes, not {size}")
    for counter in count():
        drawn = int.from_bytes(shake_256(b"tradeguard rsa dummy %d %d" % (size, counter)).digest(size), "big")
        modulus = drawn | 1 << 8 * size - 1 | 1
        if math.gcd(modulus, _SMALL_FACTORS) == 1:
            return Rsa(_to_der(RSAPublicNumbers(_LEAST_EXPONENT, modulus).public_key()))
    raise AssertionError  # count() has no end


def make_public(algorithm: str, public_key: bytes) -> PublicKey:
    """Return a public key of an algorithm.

    Raises:
        ConfigError: it is none, or the algorithm has no public keys.
    """
    for kind in (Ed25519, Rsa, EcdsaP256):
        if kind.algorithm == algorithm:
            return kind(public_key)
    raise ConfigError(f"{algorithm!r} has no public keys")


def read_public(public_key: bytes) -> PublicKey:
    """Return a public key of whatever algorithm it is for: PEM and DER say it, and 32 bytes are Ed25519.

    Raises:
        ConfigError: it is none.
    """
    wanted = "a public key is PEM or DER, of Ed25519, RSA or P-256; or the 32 bytes of Ed25519"
    key = None if len(public_key) == 32 else _load(public_key, wanted)
    if key is None or isinstance(key, Ed25519PublicKey):
        return Ed25519(public_key)
    if isinstance(key, RSAPublicKey):
        return Rsa(public_key)
    if isinstance(key, EllipticCurvePublicKey):
        return EcdsaP256(public_key)
    raise ConfigError(wanted)


def _load_point(public_key: bytes, wanted: str) -> bytes:
    key = _load(public_key, wanted)
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{wanted}; this is a key of another algorithm")
    return key.public_bytes_raw()


def _load(public_key: bytes, wanted: str) -> object:
    """Read one public key (rule 1)."""
    if b"PRIVATE KEY" in public_key[:_LONGEST]:
        raise ConfigError("this is a private key: keep it, give its public half, and replace it if others saw it")
    try:
        if len(public_key) > _LONGEST or public_key.count(_PEM) > 1:
            raise ValueError
        pem = public_key.startswith(_PEM)
        return load_pem_public_key(public_key) if pem else load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(wanted) from None


def _to_der(key: RSAPublicKey | EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_numbers(numbers: RSAPublicNumbers, bits: int) -> None:
    if bits not in [8 * size for size in RSA_BYTES]:
        raise ConfigError(f"an RSA public key has 2048, 3072 or 4096 bits; this one has {bits}")
    if not (numbers.e % 2 and _LEAST_EXPONENT <= numbers.e <= _MOST_EXPONENT):
        raise ConfigError("the exponent of an RSA public key is odd, from 65537 to 2^32; make the key pair anew")
    if math.gcd(numbers.n, _SMALL_FACTORS) != 1:
        raise ConfigError("the modulus of this RSA public key has small factors; make the key pair anew")


def _on_curve(y: int) -> bool:
    """Tell whether some x satisfies -x^2 + y^2 = 1 + d x^2 y^2 (RFC 8032, 5.1.3)."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return pow(square, (_P - 1) // 2, _P) in (0, 1)


_PKCS1: Final = PKCS1v15()
_SHA256: Final = SHA256()
_ECDSA: Final = ECDSA(_SHA256)
