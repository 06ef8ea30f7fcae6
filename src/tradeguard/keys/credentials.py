"""Credentials: what a new key is made of, and what its client gets to see of it, once."""

import secrets
from base64 import b64encode
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tradeguard.core.errors import ConfigError
from tradeguard.core.key import Material
from tradeguard.core.secret import Secret
from tradeguard.keys.format import Env, make_passphrase, make_secret
from tradeguard.keys.kind import KeyKind
from tradeguard.keys.text import decode_base64
from tradeguard.signing.bearer import BEARER_SHA256, BearerDigest
from tradeguard.signing.coinbase_advanced import NAME as COINBASE
from tradeguard.signing.encoding import encode_base64url
from tradeguard.signing.material import PAIRS, Hmac, make_material
from tradeguard.signing.private import PrivateKey, encode_pem, find_public, make_private_key

_OURS: Final = "tg1"
_DRAWN: Final = 64  # bytes of a secret that is written in base64


class Credentials(NamedTuple):
    """What a new key is made of.

    `secret` is what the client signs with or sends along; None where it made its own pair. `passphrase` is what it
    sends beside the signature, in dialects that have one; `blinded` is what is kept of that.
    """

    material: Material
    secret: Secret | None
    passphrase: Secret | None = None
    blinded: str = ""


def make_credentials(dialect: KeyKind, algorithm: str, env: Env, public_key: bytes | None = None) -> Credentials:
    """Return what a new key is made of.

    Args:
        dialect: of the key.
        algorithm: one of the dialect's.
        env: what a secret of our own form says.
        public_key: the client's own; without one a pair is made, where the algorithm has pairs.

    Raises:
        ConfigError: it is no such public key.
    """
    if public_key is not None:
        return Credentials(make_material(algorithm, public_key), None)
    if algorithm in PAIRS:
        return _make_pair(dialect, algorithm)
    if algorithm == BEARER_SHA256:
        secret = make_secret(env)
        return Credentials(BearerDigest.of(secret), secret)
    secret, key = _draw_secret(dialect, env)
    material = Hmac(key, algorithm)
    if not dialect.passphrase:
        return Credentials(material, secret)
    passphrase = make_passphrase()
    return Credentials(material, secret, passphrase, material.blind(passphrase.reveal()).hex())


def read_secret(dialect: KeyKind, text: bytes) -> bytes:
    """Return the key of the HMAC that a client's secret stands for.

    Raises:
        ConfigError: the dialect's secrets are base64, and this is none.
    """
    if dialect.secret != "base64":  # noqa: S105 - a kind of secret, not one
        return text
    try:
        return decode_base64(text.decode("ascii"))
    except ValueError:
        raise ConfigError(f"a secret of dialect {dialect.name} is written in base64, and this is none") from None


def _draw_secret(dialect: KeyKind, env: Env) -> tuple[Secret, Secret]:
    """Return what the client is told, and the key of its HMAC."""
    if dialect.secret != "base64":  # noqa: S105 - a kind of secret, not one
        secret = make_secret(env)
        return secret, secret
    key = secrets.token_bytes(_DRAWN)
    return Secret(b64encode(key)), Secret(key)


def _make_pair(dialect: KeyKind, algorithm: str) -> Credentials:
    key = make_private_key(algorithm)
    return Credentials(find_public(key), Secret(_spell(dialect, key)))


def _spell(dialect: KeyKind, key: PrivateKey) -> bytes:
    """Return a private key as the dialect's clients read it: as PEM, but for some Ed25519."""
    if isinstance(key, Ed25519PrivateKey):
        seed = key.private_bytes_raw()
        if dialect.name == _OURS:
            return encode_base64url(seed)
        if dialect.name == COINBASE:
            return b64encode(seed + key.public_key().public_bytes_raw())
    return encode_pem(key).rstrip()
