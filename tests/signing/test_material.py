"""Short secrets, and points that anyone can sign for, are refused; HMAC and Ed25519 agree with the vectors."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tradeguard.core.errors import ConfigError
from tradeguard.core.key import Material
from tradeguard.core.secret import Secret
from tradeguard.signing.material import ED25519, HMAC_SHA256, MIN_SECRET, SIGNATURE_BYTES, Ed25519, Hmac, make_dummy

VECTORS = Path(__file__).parent.parent / "vectors"
P = 2**255 - 19
SMALL_ORDER = {  # every encoding of a point whose order divides 8, canonical or not, with either sign
    "order 1": "0100000000000000000000000000000000000000000000000000000000000000",
    "order 1, sign set": "0100000000000000000000000000000000000000000000000000000000000080",
    "order 1, as p + 1": "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "order 1, as p + 1, sign set": "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "order 2": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "order 2, sign set": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "order 4": "0000000000000000000000000000000000000000000000000000000000000000",
    "order 4, sign set": "0000000000000000000000000000000000000000000000000000000000000080",
    "order 4, as p": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "order 4, as p, sign set": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "order 8, one": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "order 8, one, sign set": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "order 8, two": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "order 8, two, sign set": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
}


def _load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def _points(name: str) -> list[Any]:
    return [(group, test) for group in _load(name)["testGroups"] for test in group["tests"]]


@pytest.mark.parametrize("encoded", SMALL_ORDER.values(), ids=SMALL_ORDER.keys())
def test_a_point_of_small_order_is_refused(encoded: str) -> None:
    with pytest.raises(ConfigError, match="small order"):
        Ed25519(bytes.fromhex(encoded))


def test_without_that_refusal_anyone_could_sign() -> None:
    """What the refusal is for: the library below takes the identity, for which one signature fits every message."""
    identity = bytes.fromhex(SMALL_ORDER["order 1"])
    key = Ed25519PublicKey.from_public_bytes(identity)
    for message in (b"buy", b"sell", b"withdraw"):
        key.verify(identity + bytes(32), message)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("above", range(19))
def test_a_y_of_p_or_above_is_refused(above: int, sign: int) -> None:
    with pytest.raises(ConfigError, match="canonical"):
        Ed25519((P + above | sign << 255).to_bytes(32, "little"))


def _off_curve() -> list[int]:
    d = -121665 * pow(121666, -1, P) % P
    xx = {y: (y * y - 1) * pow(d * y * y + 1, -1, P) % P for y in range(2, 12)}
    return [y for y, square in xx.items() if pow(square, (P - 1) // 2, P) == P - 1]


@pytest.mark.parametrize("y", _off_curve())
def test_a_y_that_is_on_no_point_is_refused(y: int) -> None:
    with pytest.raises(ConfigError, match="point"):
        Ed25519(y.to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_public_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="32 bytes"):
        Ed25519(b"\x09" * size)


@pytest.mark.parametrize("size", [0, 1, MIN_SECRET - 1])
@pytest.mark.parametrize("wrap", [bytes, Secret, lambda value: value.decode()], ids=["bytes", "Secret", "text"])
def test_a_short_secret_is_refused(size: int, wrap: Any) -> None:
    with pytest.raises(ConfigError, match="at least 16 bytes"):
        Hmac(wrap(b"s" * size))


def test_the_shortest_secret_is_taken_and_text_counts_as_utf8(run: Run) -> None:
    mac = hmac.digest("é".encode() * 8, b"message", "sha256")
    assert run(Hmac("é" * 8).verify(b"message", mac)) is True


@pytest.mark.parametrize(("group", "test"), _points("wycheproof_ed25519.json"), ids=lambda v: str(v.get("tcId", "")))
def test_ed25519_agrees_with_wycheproof(group: Any, test: Any, run: Run) -> None:
    key = Ed25519(bytes.fromhex(group["publicKey"]["pk"]))
    held = run(key.verify(bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])))
    assert held == (test["result"] == "valid")


@pytest.mark.parametrize(
    ("group", "test"), _points("wycheproof_hmac_sha256.json"), ids=lambda v: str(v.get("tcId", ""))
)
def test_hmac_agrees_with_wycheproof_and_takes_no_truncated_tag(group: Any, test: Any, run: Run) -> None:
    key = Hmac(bytes.fromhex(test["key"]))
    held = run(key.verify(bytes.fromhex(test["msg"]), bytes.fromhex(test["tag"])))
    assert held == (test["result"] == "valid" and group["tagSize"] == 256)


@pytest.mark.parametrize("test", _load("rfc4231_hmac.json")["tests"], ids=[1, 2, 3, 4, 6, 7])
def test_hmac_agrees_with_rfc_4231(test: Any, run: Run) -> None:
    secret, tag = bytes.fromhex(test["key"]), bytes.fromhex(test["hmac_sha256"])
    if len(secret) < MIN_SECRET:
        with pytest.raises(ConfigError):
            Hmac(secret)
    else:
        assert run(Hmac(secret).verify(bytes.fromhex(test["data"]), tag)) is True


@pytest.mark.parametrize("algorithm", [HMAC_SHA256, ED25519])
def test_a_dummy_has_its_algorithm_and_verifies_nothing(algorithm: str, run: Run) -> None:
    dummy: Material = make_dummy(algorithm)
    assert dummy.algorithm == algorithm
    assert run(dummy.verify(b"message", bytes(SIGNATURE_BYTES[algorithm]))) is False
    assert dummy.fingerprint(b"salt") != make_dummy(algorithm).fingerprint(b"salt")


def test_a_fingerprint_depends_on_material_salt_and_algorithm() -> None:
    public = Ed25519PrivateKey.from_private_bytes(b"\7" * 32).public_key().public_bytes_raw()
    assert Hmac(public).fingerprint(b"a") == Hmac(Secret(public)).fingerprint(b"a")
    assert Ed25519(public).fingerprint(b"a") == Ed25519(public).fingerprint(b"a")
    prints = {Hmac(public).fingerprint(b"a"), Hmac(public).fingerprint(b"b"), Ed25519(public).fingerprint(b"a")}
    assert len(prints | {Hmac(public + b"x").fingerprint(b"a")}) == 4
    assert not any(public in fingerprint for fingerprint in prints)


@pytest.mark.parametrize(
    ("secret", "equal"),
    [
        pytest.param(b"0123456789abcdef", b"0123456789abcdef\0", id="a zero byte at the end"),
        pytest.param(b"0123456789abcdef", b"0123456789abcdef".ljust(64, b"\0"), id="zeros to the block size"),
        pytest.param(
            b"k" * 65,
            hashlib.sha256(b"k" * 65).digest(),
            id="longer than a block, and its hash",
        ),
    ],
)
def test_secrets_that_make_equal_macs_have_one_fingerprint(secret: bytes, equal: bytes, run: Run) -> None:
    """HMAC fills a key with zeros to its block and hashes a longer one: other bytes, the same key."""
    mac = hmac.digest(secret, b"message", "sha256")
    assert run(Hmac(equal).verify(b"message", mac)) is True
    assert Hmac(secret).fingerprint(b"salt") == Hmac(equal).fingerprint(b"salt")
