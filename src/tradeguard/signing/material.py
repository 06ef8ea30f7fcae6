"""Material that lives in this process: HMAC secrets, and the public keys of `signing/public.py`."""

import hmac
import secrets
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tradeguard.core.errors import ConfigError
from tradeguard.core.key import Material
from tradeguard.core.secret import Secret
from tradeguard.signing.algorithm import (
    ECDSA_P256_SHA256,
    ED25519,
    HASHES,
    HMAC_SHA256,
    HMAC_SHA384,
    HMAC_SHA512,
    HMACS,
    PAIRS,
    RSA_SHA256,
    SIGNATURE_BYTES,
    make_fingerprint,
    signature_sizes,
)
from tradeguard.signing.bearer import BEARER_SHA256, BearerDigest
from tradeguard.signing.public import EcdsaP256, Ed25519, PublicKey, Rsa, make_public, make_rsa_dummy, read_public

__all__ = (
    "ECDSA_P256_SHA256", "ED25519", "HMACS", "HMAC_SHA256", "HMAC_SHA384", "HMAC_SHA512", "MIN_SECRET", "PAIRS",
    "RSA_SHA256", "SIGNATURE_BYTES", "EcdsaP256", "Ed25519", "Hmac", "PublicKey", "Rsa", "make_dummy", "make_material",
    "read_public", "signature_sizes",
)  # fmt: skip

MIN_SECRET: Final = 16  # bytes: 128 bits, the least that guessing does not reach


class Hmac:
    """An HMAC secret (RFC 2104, FIPS 180-4).

    Args:
        secret: as the client uses it, at least 16 bytes; text is taken as UTF-8.
        algorithm: "hmac-sha256", "hmac-sha384" or "hmac-sha512".

    Raises:
        ConfigError: the secret is shorter, or nothing but zeros (which HMAC takes for no key at all); or another
            algorithm.
    """

    __slots__ = ("_hash", "_secret", "algorithm")

    def __init__(self, secret: Secret | bytes | str, algorithm: str = HMAC_SHA256) -> None:
        if algorithm not in HASHES:
            raise ConfigError(f"{algorithm!r} is no HMAC; use {', '.join(HASHES)}")
        self.algorithm = algorithm
        self._hash = HASHES[algorithm]
        self._secret = secret if isinstance(secret, Secret) else Secret(secret)
        if len(self._secret) < MIN_SECRET or not any(self._secret.reveal()):
            raise ConfigError(
                f"an HMAC secret has at least {MIN_SECRET} bytes, not all zero; see secrets.token_bytes(32)"
            )

    def fingerprint(self, salt: bytes) -> bytes:
        """Identify the secret under a salt: alike for all secrets that make the same MACs (RFC 2104, section 2)."""
        secret, block = self._secret.reveal(), self._hash().block_size
        secret = self._hash(secret).digest() if len(secret) > block else secret
        return make_fingerprint(self.algorithm, secret.ljust(block, b"\0"), salt)

    def reveal(self) -> bytes:
        """Return the secret, for a store to seal."""
        return self._secret.reveal()

    def blind(self, passphrase: bytes) -> bytes:
        """Return the 32 bytes that are kept of a passphrase: its HMAC-SHA256 under this secret, for any algorithm."""
        return hmac.digest(self._secret.reveal(), passphrase, "sha256")

    async def verify(self, message: bytes, signature: bytes) -> bool:
        """Compare the signature with the MAC, in constant time."""
        return hmac.compare_digest(hmac.digest(self._secret.reveal(), message, self._hash), signature)


def make_material(algorithm: str, value: bytes) -> Material:
    """Return material from what `reveal` gave.

    Raises:
        ConfigError: an unknown algorithm, or a value that is no such key.
    """
    if algorithm in HASHES:
        return Hmac(value, algorithm)
    if algorithm in PAIRS:
        return make_public(algorithm, value)
    if algorithm == BEARER_SHA256:
        return BearerDigest(value)
    raise ConfigError(f"unknown algorithm {algorithm!r}; use {', '.join((*HMACS, *PAIRS))}")


def make_dummy(algorithm: str, size: int | None = None) -> Material:
    """Return material that nobody has the key of, for equal work where there is no key.

    Args:
        algorithm: of the signature that came.
        size: bytes of that signature, where the algorithm has several (RSA); by default the first of them.

    Raises:
        ConfigError: an unknown algorithm, or a size that it does not have.
    """
    sizes = signature_sizes(algorithm)
    if not sizes or (size is not None and size not in sizes):
        raise ConfigError(f"no signature of {algorithm!r} has {size or 'any'} bytes; it has {sizes or 'no keys'}")
    if algorithm == RSA_SHA256:
        return make_rsa_dummy(size or sizes[0])
    if algorithm == ED25519:
        return Ed25519(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    if algorithm == ECDSA_P256_SHA256:
        key = generate_ec_key(SECP256R1()).public_key()
        return EcdsaP256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return Hmac(secrets.token_bytes(32), algorithm)
