"""The algorithms that keys have: their names, and how long their signatures are."""

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

HMAC_SHA256: Final = "hmac-sha256"
HMAC_SHA384: Final = "hmac-sha384"
HMAC_SHA512: Final = "hmac-sha512"
ED25519: Final = "ed25519"
RSA_SHA256: Final = "rsa-pkcs1-sha256"
ECDSA_P256_SHA256: Final = "ecdsa-p256-sha256"
HASHES: Final[Mapping[str, Callable[..., Any]]] = {
    HMAC_SHA256: hashlib.sha256,
    HMAC_SHA384: hashlib.sha384,
    HMAC_SHA512: hashlib.sha512,
}
"""What each HMAC hashes with."""
HMACS: Final = (*HASHES,)
"""Those whose keys are secrets that client and venue share."""
PAIRS: Final = (ED25519, RSA_SHA256, ECDSA_P256_SHA256)
"""Those whose keys are pairs: the client signs with its private key, the venue has the public one."""
SIGNATURE_BYTES: Final = {HMAC_SHA256: 32, HMAC_SHA384: 48, HMAC_SHA512: 64, ED25519: 64, ECDSA_P256_SHA256: 64}
"""How long a signature is, for algorithms of one length; `signature_sizes` knows all."""
RSA_BYTES: Final = (256, 384, 512)
"""How long an RSA modulus is, and so its signatures: 2048, 3072 or 4096 bits."""
_SIZES: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {algorithm: (size,) for algorithm, size in SIGNATURE_BYTES.items()} | {RSA_SHA256: RSA_BYTES}
)


def signature_sizes(algorithm: str) -> tuple[int, ...]:
    """Return how long its signatures can be, in bytes; nothing for an unknown algorithm."""
    return _SIZES.get(algorithm, ())


def make_fingerprint(algorithm: str, value: bytes, salt: bytes) -> bytes:
    """Return 16 bytes that identify a key of an algorithm under a salt."""
    return hashlib.blake2b(algorithm.encode() + b"\0" + value, key=salt, digest_size=16).digest()
