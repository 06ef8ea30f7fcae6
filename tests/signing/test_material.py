"""Short secrets, and points that anyone can sign for, are refused; HMAC and Ed25519 agree with the vectors."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tradeguard.core.errors import ConfigError
from tradeguard.core.key import Material, Storable
from tradeguard.core.secret import Secret
from tradeguard.signing.material import (
    ED25519,
    HMAC_SHA256,
    HMAC_SHA384,
    HMAC_SHA512,
    HMACS,
    MIN_SECRET,
    PAIRS,
    RSA_SHA256,
    SIGNATURE_BYTES,
    Ed25519,
    Hmac,
    Rsa,
    make_dummy,
    make_material,
    signature_sizes,
)

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


def _tags() -> list[Any]:
    """Every Wycheproof tag with its algorithm and how many bits the whole tag has."""
    return [
        pytest.param(algorithm, bits, group, test, id=f"{algorithm}-{test['tcId']}")
        for algorithm, bits in ((HMAC_SHA256, 256), (HMAC_SHA512, 512))
        for group, test in _points(f"wycheproof_{algorithm.replace('-', '_')}.json")
    ]


@pytest.mark.parametrize(("algorithm", "bits", "group", "test"), _tags())
def test_hmac_agrees_with_wycheproof_and_takes_no_truncated_tag(
    algorithm: str, bits: int, group: Any, test: Any, run: Run
) -> None:
    key = Hmac(bytes.fromhex(test["key"]), algorithm)
    held = run(key.verify(bytes.fromhex(test["msg"]), bytes.fromhex(test["tag"])))
    assert held == (test["result"] == "valid" and group["tagSize"] == bits)


@pytest.mark.parametrize("algorithm", [HMAC_SHA256, HMAC_SHA512])
@pytest.mark.parametrize("test", _load("rfc4231_hmac.json")["tests"], ids=[1, 2, 3, 4, 6, 7])
def test_hmac_agrees_with_rfc_4231(algorithm: str, test: Any, run: Run) -> None:
    secret, tag = bytes.fromhex(test["key"]), bytes.fromhex(test[algorithm.replace("-", "_")])
    if len(secret) < MIN_SECRET:
        with pytest.raises(ConfigError):
            Hmac(secret, algorithm)
    else:
        assert run(Hmac(secret, algorithm).verify(bytes.fromhex(test["data"]), tag)) is True


@pytest.mark.parametrize(
    ("key", "data", "tag"),
    [  # RFC 4231, 4.2 and 4.4
        (
            b"\x0b" * 20,
            b"Hi There",
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
        ),
        (
            b"\xaa" * 20,
            b"\xdd" * 50,
            "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
        ),
    ],
)
def test_hmac_sha384_agrees_with_rfc_4231(key: bytes, data: bytes, tag: str, run: Run) -> None:
    material = Hmac(key, HMAC_SHA384)
    assert run(material.verify(data, bytes.fromhex(tag))) is True
    assert run(material.verify(data + b"x", bytes.fromhex(tag))) is False
    assert run(material.verify(data, bytes.fromhex(tag)[:32])) is False


@pytest.mark.parametrize("algorithm", ["hmac-md5", "HMAC-SHA256", ED25519, ""])
def test_an_hmac_of_another_hash_is_refused(algorithm: str) -> None:
    with pytest.raises(ConfigError, match="use hmac-sha256, hmac-sha384, hmac-sha512"):
        Hmac(b"k" * 32, algorithm)


def test_the_tag_of_one_hash_is_none_of_another(run: Run) -> None:
    secret, message = b"k" * 32, b"message"
    for made in HMACS:
        tag = hmac.digest(secret, message, made.removeprefix("hmac-"))
        held = [asked for asked in HMACS if run(Hmac(secret, asked).verify(message, tag))]
        assert held == [made]


SIZES = [(algorithm, size) for algorithm in (*HMACS, *PAIRS) for size in signature_sizes(algorithm)]


def test_every_algorithm_says_how_long_its_signatures_are() -> None:
    assert [size for algorithm, size in SIZES if algorithm != RSA_SHA256] == [32, 48, 64, 64, 64]
    assert signature_sizes(RSA_SHA256) == (256, 384, 512)
    assert signature_sizes("md5") == ()
    assert {algorithm: (size,) for algorithm, size in SIGNATURE_BYTES.items()} | {RSA_SHA256: (256, 384, 512)} == {
        algorithm: signature_sizes(algorithm) for algorithm in (*HMACS, *PAIRS)
    }


@pytest.mark.parametrize(("algorithm", "size"), SIZES)
def test_a_dummy_has_its_algorithm_and_verifies_nothing(algorithm: str, size: int, run: Run) -> None:
    dummy: Material = make_dummy(algorithm, size)
    assert dummy.algorithm == algorithm
    for signature in (bytes(size), b"\0" * (size - 1) + b"\1", b"\x55" * size):
        assert run(dummy.verify(b"message", signature)) is False


@pytest.mark.parametrize("algorithm", [*HMACS, *PAIRS])
def test_a_dummy_of_no_size_has_the_first(algorithm: str) -> None:
    dummy = make_dummy(algorithm)
    assert dummy.algorithm == algorithm
    if isinstance(dummy, Rsa):
        assert dummy.size == 256
    else:  # one that is drawn anew: there is nothing to find out about it
        assert dummy.fingerprint(b"salt") != make_dummy(algorithm).fingerprint(b"salt")


@pytest.mark.parametrize(
    ("algorithm", "size"), [("md5", None), ("", 32), (HMAC_SHA256, 64), (RSA_SHA256, 128), (RSA_SHA256, 0)]
)
def test_a_dummy_of_what_there_is_not_is_refused(algorithm: str, size: int | None) -> None:
    with pytest.raises(ConfigError, match="no signature of"):
        make_dummy(algorithm, size)


@pytest.mark.parametrize("algorithm", [*HMACS, *PAIRS])
def test_material_comes_back_from_what_it_revealed(algorithm: str) -> None:
    material = make_dummy(algorithm)
    assert isinstance(material, Storable)
    again = make_material(algorithm, material.reveal())
    assert (type(again), again.algorithm) == (type(material), algorithm)
    assert again.fingerprint(b"salt") == material.fingerprint(b"salt")


def test_material_of_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown algorithm 'md5'; use hmac-sha256, .*ecdsa-p256-sha256"):
        make_material("md5", b"k" * 32)


@pytest.mark.parametrize("algorithm", HMACS)
def test_a_passphrase_is_blinded_with_sha256_whatever_the_algorithm(algorithm: str) -> None:
    secret = b"k" * 100
    blinded = Hmac(secret, algorithm).blind(b"open sesame")
    assert blinded == hmac.digest(secret, b"open sesame", "sha256")
    assert blinded != Hmac(secret, algorithm).blind(b"open sesame ")
    assert blinded != Hmac(secret + b"k", algorithm).blind(b"open sesame")


def test_fingerprints_that_stores_have_kept_stay_as_they_are() -> None:
    public = Ed25519PrivateKey.from_private_bytes(b"\7" * 32).public_key().public_bytes_raw()
    kept: list[Material] = [Hmac(b"0123456789abcdef"), Hmac(b"k" * 65), Ed25519(public)]
    assert [material.fingerprint(b"salt").hex() for material in kept] == [
        "cb2a48081923d356ba478e8c835d3a1a",
        "fa6bea19b7d1a4b16879b9aafd3c3cd7",
        "fee872fe4d2efeed6b6c2996f281d078",
    ]


def test_a_fingerprint_depends_on_material_salt_and_algorithm() -> None:
    public = Ed25519PrivateKey.from_private_bytes(b"\7" * 32).public_key().public_bytes_raw()
    assert Hmac(public).fingerprint(b"a") == Hmac(Secret(public)).fingerprint(b"a")
    assert Ed25519(public).fingerprint(b"a") == Ed25519(public).fingerprint(b"a")
    prints = {Hmac(public).fingerprint(b"a"), Hmac(public).fingerprint(b"b"), Ed25519(public).fingerprint(b"a")}
    assert len(prints | {Hmac(public + b"x").fingerprint(b"a")}) == 4
    assert not any(public in fingerprint for fingerprint in prints)


def _alike(algorithm: str) -> Iterator[Any]:
    name, block = algorithm.removeprefix("hmac-"), hashlib.new(algorithm.removeprefix("hmac-")).block_size
    short, long = b"0123456789abcdef", b"k" * (block + 1)
    yield pytest.param(algorithm, short, short + b"\0", id=f"{name}, a zero byte at the end")
    yield pytest.param(algorithm, short, short.ljust(block, b"\0"), id=f"{name}, zeros to the block size")
    yield pytest.param(algorithm, long, hashlib.new(name, long).digest(), id=f"{name}, a longer one and its hash")


@pytest.mark.parametrize(("algorithm", "secret", "equal"), [case for algorithm in HMACS for case in _alike(algorithm)])
def test_secrets_that_make_equal_macs_have_one_fingerprint(
    algorithm: str, secret: bytes, equal: bytes, run: Run
) -> None:
    """HMAC fills a key with zeros to its block and hashes a longer one: other bytes, the same key."""
    mac = hmac.digest(secret, b"message", algorithm.removeprefix("hmac-"))
    assert run(Hmac(equal, algorithm).verify(b"message", mac)) is True
    assert Hmac(secret, algorithm).fingerprint(b"salt") == Hmac(equal, algorithm).fingerprint(b"salt")


@pytest.mark.parametrize("algorithm", HMACS)
def test_a_secret_of_one_block_is_no_hash_of_itself(algorithm: str) -> None:
    """At the block's size HMAC takes the secret as it is: its hash is another key."""
    name = algorithm.removeprefix("hmac-")
    secret = b"k" * hashlib.new(name).block_size
    assert Hmac(secret, algorithm).fingerprint(b"s") != Hmac(hashlib.new(name, secret).digest(), algorithm).fingerprint(
        b"s"
    )


def test_one_secret_under_two_hashes_is_two_keys() -> None:
    assert len({Hmac(b"k" * 32, algorithm).fingerprint(b"salt") for algorithm in HMACS}) == 3
