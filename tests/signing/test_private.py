"""Private keys: what they sign, their public half verifies; what is none, or none that a venue takes, is refused."""

from typing import Any

import pytest
from conftest import Run
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tradeguard.core.errors import ConfigError
from tradeguard.signing.material import PAIRS, signature_sizes
from tradeguard.signing.private import encode_pem, find_public, make_private_key, read_private_key, sign

every = pytest.mark.parametrize("algorithm", PAIRS)


@every
def test_what_a_private_key_signs_its_public_half_verifies(algorithm: str, run: Run) -> None:
    key, other = make_private_key(algorithm), make_private_key(algorithm)
    public = find_public(key)
    assert public.algorithm == algorithm
    signature = sign(key, b"message")
    assert len(signature) in signature_sizes(algorithm)
    assert run(public.verify(b"message", signature)) is True
    assert run(public.verify(b"massage", signature)) is False
    assert run(public.verify(b"message", sign(other, b"message"))) is False


def test_a_new_rsa_key_has_the_size_that_venues_ask_for() -> None:
    assert len(sign(make_private_key("rsa-pkcs1-sha256"), b"message")) == 256


def test_every_ecdsa_signature_has_its_length(run: Run) -> None:
    """One in 256 has an r or s with a leading zero byte, which DER leaves out."""
    key = make_private_key("ecdsa-p256-sha256")
    public = find_public(key)
    signatures = [sign(key, b"%d" % at) for at in range(2000)]
    assert {len(signature) for signature in signatures} == {64}
    assert any(signature[0] == 0 or signature[32] == 0 for signature in signatures)
    short = next(at for at, signature in enumerate(signatures) if 0 in (signature[0], signature[32]))
    assert run(public.verify(b"%d" % short, signatures[short])) is True


@every
def test_a_private_key_comes_back_from_its_pem(algorithm: str) -> None:
    key = make_private_key(algorithm)
    pem = encode_pem(key)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert find_public(read_private_key(pem)).reveal() == find_public(key).reveal()


@pytest.mark.parametrize("algorithm", ["rsa-pkcs1-sha256", "ecdsa-p256-sha256"])
def test_the_older_pem_forms_are_read_too(algorithm: str) -> None:
    key = make_private_key(algorithm)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert find_public(read_private_key(pem)).reveal() == find_public(key).reveal()


def test_the_32_bytes_of_ed25519_are_read() -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
    assert find_public(read_private_key(b"\7" * 32)).reveal() == key.public_key().public_bytes_raw()


def _pem(key: Any, password: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(password) if password else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: b"", "no private key of Ed25519, RSA or P-256: a PEM without password"),
        (lambda: b"x" * 31, "no private key"),
        (lambda: b"x" * 33, "no private key"),
        (lambda: _pem(make_private_key("ed25519"), b"password"), "a PEM without password"),
        (lambda: _pem(ed448.Ed448PrivateKey.generate()), "no private key of Ed25519, RSA or P-256"),
        (lambda: _pem(ec.generate_private_key(ec.SECP384R1())), "curve P-256"),
        (lambda: _pem(rsa.generate_private_key(65537, 1024)), "2048, 3072 or 4096 bits"),
        (
            lambda: make_private_key("ed25519").public_key().public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            ),
            "no private key",
        ),
    ],
    ids=["empty", "short", "long", "password", "Ed448", "P-384", "RSA-1024", "public"],
)  # fmt: skip
def test_what_is_no_private_key_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_private_key(make())


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "md5"])
def test_an_algorithm_without_pairs_has_no_private_key(algorithm: str) -> None:
    with pytest.raises(ConfigError, match="has no private keys; use ed25519, rsa-pkcs1-sha256, ecdsa-p256-sha256"):
        make_private_key(algorithm)
