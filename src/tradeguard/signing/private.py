"""Private keys, as clients hold them: made, read from PEM, and what signs with them. A venue's servers have none."""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tradeguard.core.errors import ConfigError
from tradeguard.signing.material import (
    ECDSA_P256_SHA256,
    ED25519,
    PAIRS,
    RSA_SHA256,
    EcdsaP256,
    Ed25519,
    PublicKey,
    Rsa,
)

PrivateKey = Ed25519PrivateKey | RSAPrivateKey | EllipticCurvePrivateKey
_RSA_BITS: Final = 2048  # what the venues that take RSA ask for


def make_private_key(algorithm: str) -> PrivateKey:
    """Return a new private key of an algorithm; of RSA one of 2048 bits.

    Raises:
        ConfigError: the algorithm has no pairs of keys.
    """
    if algorithm == ED25519:
        return Ed25519PrivateKey.generate()
    if algorithm == RSA_SHA256:
        return generate_rsa(65537, _RSA_BITS)
    if algorithm == ECDSA_P256_SHA256:
        return generate_ec(SECP256R1())
    raise ConfigError(f"{algorithm!r} has no private keys; use {', '.join(PAIRS)}")


def read_private_key(content: bytes) -> PrivateKey:
    """Read a private key: PEM without password, or the 32 bytes of Ed25519.

    Raises:
        ConfigError: it is none, or one whose public half no venue should take.
    """
    if len(content) == 32:
        return Ed25519PrivateKey.from_private_bytes(content)
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, PrivateKey):
        raise ConfigError("this is no private key of Ed25519, RSA or P-256: a PEM without password, or 32 bytes")
    find_public(key)
    return key


def find_public(key: PrivateKey) -> PublicKey:
    """Return the public half of a private key.

    Raises:
        ConfigError: see `Rsa` and `EcdsaP256`.
    """
    if isinstance(key, Ed25519PrivateKey):
        return Ed25519(key.public_key().public_bytes_raw())
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Rsa(der) if isinstance(key, RSAPrivateKey) else EcdsaP256(der)


def sign(key: PrivateKey, message: bytes) -> bytes:
    """Return the signature of a message, as the public half verifies it; of ECDSA r and s, 32 bytes each."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, RSAPrivateKey):
        return key.sign(message, PKCS1v15(), SHA256())
    r, s = decode_dss_signature(key.sign(message, ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def encode_pem(key: PrivateKey) -> bytes:
    """Return a private key as PEM (PKCS #8, RFC 5958), without password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
