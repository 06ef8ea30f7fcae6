"""Public keys: one form each, none that others can sign for; RSA and ECDSA agree with vectors and arithmetic."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.core.errors import ConfigError
from tradeguard.signing.public import EcdsaP256, Ed25519, PublicKey, Rsa, make_public, make_rsa_dummy, read_public

VECTORS = Path(__file__).parent.parent / "vectors"
SPKI, DER, PEM = PublicFormat.SubjectPublicKeyInfo, Encoding.DER, Encoding.PEM
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # SHA-256; RFC 8017, 9.2, note 1
MESSAGE = b"GET /orders"


def _modulus(size: int = 256) -> int:
    """An odd number of so many bytes without small factors, that is no key's."""
    key = load_der_public_key(make_rsa_dummy(size).reveal())
    assert isinstance(key, rsa.RSAPublicKey)
    return key.public_numbers().n


def _encode(n: int, e: int = 65537) -> bytes:
    return rsa.RSAPublicNumbers(e, n).public_key().public_bytes(DER, SPKI)


PRIVATE_RSA = rsa.generate_private_key(65537, 2048)
PRIVATE_EC = ec.generate_private_key(ec.SECP256R1())
PRIVATE_ED = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
KEYS: dict[type[Any], Any] = {Ed25519: PRIVATE_ED, Rsa: PRIVATE_RSA, EcdsaP256: PRIVATE_EC}
every = pytest.mark.parametrize("kind", KEYS)


# how they come in


@every
def test_a_key_is_one_key_however_it_comes(kind: type[Any]) -> None:
    public = KEYS[kind].public_key()
    der, pem = public.public_bytes(DER, SPKI), public.public_bytes(PEM, SPKI)
    forms: list[PublicKey] = [kind(der), kind(pem), kind(kind(der).reveal()), read_public(der), read_public(pem)]
    forms.append(make_public(kind.algorithm, pem.replace(b"\n", b"\r\n")))
    assert {type(key) for key in forms} == {kind}
    assert len({key.fingerprint(b"salt") for key in forms}) == 1
    assert {key.reveal() for key in forms} == {PRIVATE_ED.public_key().public_bytes_raw() if kind is Ed25519 else der}
    assert forms[0].fingerprint(b"salt") != forms[0].fingerprint(b"pepper")


def test_a_compressed_point_and_a_bare_rsa_key_are_the_same_keys() -> None:
    point = PRIVATE_EC.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    assert EcdsaP256(head + point).reveal() == PRIVATE_EC.public_key().public_bytes(DER, SPKI)
    bare = PRIVATE_RSA.public_key().public_bytes(PEM, PublicFormat.PKCS1)
    assert Rsa(bare).reveal() == PRIVATE_RSA.public_key().public_bytes(DER, SPKI)


def test_the_32_bytes_of_ed25519_are_read_as_such() -> None:
    raw = PRIVATE_ED.public_key().public_bytes_raw()
    assert read_public(raw).fingerprint(b"s") == Ed25519(raw).fingerprint(b"s")


@every
@pytest.mark.parametrize("other", KEYS)
def test_a_key_of_another_algorithm_is_refused(kind: type[Any], other: type[Any]) -> None:
    der = KEYS[other].public_key().public_bytes(DER, SPKI)
    if kind is not other:
        with pytest.raises(ConfigError, match="another algorithm"):
            kind(der)


@every
def test_a_private_key_is_refused_with_what_to_do(kind: type[Any]) -> None:
    pem = KEYS[kind].private_bytes(PEM, PrivateFormat.PKCS8, NoEncryption())
    for read in (kind, read_public):
        with pytest.raises(ConfigError, match="a private key: keep it, give its public half") as refused:
            read(pem)
        assert pem.splitlines()[1].decode() not in str(refused.value)


@every
@pytest.mark.parametrize(
    "change",
    [
        lambda pem, der: b"",
        lambda pem, der: der[:-1],
        lambda pem, der: der + b"\0",
        lambda pem, der: pem[:-20],
        lambda pem, der: pem + pem,
        lambda pem, der: b"\n" + pem,
        lambda pem, der: pem + b" " * 9000,
        lambda pem, der: b"0" * 9000,
        lambda pem, der: pem.replace(b"PUBLIC KEY", b"CERTIFICATE"),
    ],
    ids=["empty", "cut", "longer", "cut PEM", "two", "not at its beginning", "long PEM", "long", "no key"],
)
def test_what_is_no_key_is_refused(kind: type[Any], change: Any) -> None:
    public = KEYS[kind].public_key()
    value = change(public.public_bytes(PEM, SPKI), public.public_bytes(DER, SPKI))
    for read in (kind, read_public):
        with pytest.raises(ConfigError, match="public key is"):
            read(value)


def test_other_kinds_of_keys_are_refused() -> None:
    for key in (dsa.generate_parameters(1024).generate_private_key(), ed448.Ed448PrivateKey.generate()):
        with pytest.raises(ConfigError, match="of Ed25519, RSA or P-256"):
            read_public(key.public_key().public_bytes(DER, SPKI))
    with pytest.raises(ConfigError, match="'hmac-sha256' has no public keys"):
        make_public("hmac-sha256", bytes(32))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(KEYS, key=repr)), st.booleans(), st.integers(0, 10_000), st.integers(1, 255), st.data())
def test_no_bytes_do_more_than_be_refused(kind: Any, pem: bool, place: int, bits: int, data: st.DataObject) -> None:
    value = bytearray(KEYS[kind].public_key().public_bytes(PEM if pem else DER, SPKI))
    value[place % len(value)] ^= bits
    junk = data.draw(st.binary(max_size=80))
    for text in (bytes(value), junk):
        for read in (kind, read_public):
            try:
                key = read(text)
            except ConfigError:
                continue
            assert type(key)(key.reveal()).reveal() == key.reveal()


# RSA


@pytest.mark.parametrize("size", [256, 384, 512])
def test_2048_3072_and_4096_bits_are_taken(size: int) -> None:
    assert Rsa(_encode(_modulus(size))).size == size


@pytest.mark.parametrize("bits", [512, 1024, 2040, 2047, 2049, 3071, 4095, 4097, 8192])
def test_an_rsa_key_of_another_size_is_refused(bits: int) -> None:
    n = next(n for n in range((1 << bits) - 1, 0, -2) if all(n % d for d in range(3, 800, 2)))
    with pytest.raises(ConfigError, match=f"2048, 3072 or 4096 bits; this one has {bits}"):
        Rsa(_encode(n))


@pytest.mark.parametrize("e", [3, 17, 257, 65535, 2**32 + 1, 2**64 + 1, 2**2000 + 1])
def test_an_exponent_that_helps_forgers_or_costs_the_venue_is_refused(e: int) -> None:
    with pytest.raises(ConfigError, match="exponent of an RSA public key is odd, from 65537 to 2"):
        Rsa(_encode(_modulus(), e))


@pytest.mark.parametrize("e", [65537, 65539, 2**32 - 1])
def test_exponents_between_are_taken(e: int) -> None:
    assert Rsa(_encode(_modulus(), e)).size == 256


def _with_factor(factor: int) -> int:
    """A number of 2048 bits with one prime factor that is small, and none that is smaller."""
    start = (1 << 2048) // factor
    primes = [n for n in range(2, 800) if all(n % d for d in range(2, math.isqrt(n) + 1))]
    return factor * next(n for n in range(start, start - 10_000, -1) if all(n % prime for prime in primes))


@pytest.mark.parametrize("factor", [2, 3, 5, 743, 751])
def test_a_modulus_with_a_small_factor_is_refused(factor: int) -> None:
    with pytest.raises(ConfigError, match="small factors"):
        Rsa(_encode(_with_factor(factor)))


def test_the_first_factor_that_is_not_looked_for_is_the_next_prime() -> None:
    assert Rsa(_encode(_with_factor(757))).size == 256


def _pad(message: bytes, size: int) -> bytes:
    """EMSA-PKCS1-v1_5 (RFC 8017, 9.2), written down anew."""
    tail = DIGEST_INFO + hashlib.sha256(message).digest()
    return b"\0\1" + b"\xff" * (size - len(tail) - 3) + b"\0" + tail


def _exponentiate(key: rsa.RSAPrivateKey, padded: bytes) -> bytes:
    numbers = key.private_numbers()
    value = pow(int.from_bytes(padded, "big"), numbers.d, numbers.public_numbers.n)
    return value.to_bytes(key.key_size // 8, "big")


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_agrees_with_arithmetic(bits: int, run: Run) -> None:
    private = PRIVATE_RSA if bits == 2048 else rsa.generate_private_key(65537, bits)
    key = Rsa(private.public_key().public_bytes(PEM, SPKI))
    signature = _exponentiate(private, _pad(MESSAGE, key.size))
    assert run(key.verify(MESSAGE, signature)) is True
    assert run(key.verify(MESSAGE + b"x", signature)) is False
    for place in (0, key.size // 2, key.size - 1):
        changed = bytearray(signature)
        changed[place] ^= 1
        assert run(key.verify(MESSAGE, bytes(changed))) is False


_HASH = hashlib.sha256(MESSAGE).digest()
FORGERIES = {  # what a lax reader of the padding would take
    "rubbish behind the hash": b"\0\1" + b"\xff" * 8 + b"\0" + DIGEST_INFO + _HASH + b"x" * 194,
    "rubbish before the hash": b"\0\1" + b"\xff" * 8 + b"\0" + b"x" * 194 + DIGEST_INFO + _HASH,
    "padding of block type 2": _pad(MESSAGE, 256).replace(b"\0\1", b"\0\2", 1),
    "padding that is not all ff": _pad(MESSAGE, 256).replace(b"\xff", b"\xfe", 1),
    "no NULL in the algorithm": b"\0\1" + b"\xff" * 204 + b"\0"
    + bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + _HASH,
    "a hash without its name": b"\0\1" + b"\xff" * 221 + b"\0" + _HASH,
    "SHA-1": b"\0\1" + b"\xff" * 218 + b"\0" + bytes.fromhex("3021300906052b0e03021a05000414")
    + hashlib.sha1(MESSAGE).digest(),
}  # fmt: skip


@pytest.mark.parametrize("padded", FORGERIES.values(), ids=FORGERIES)
def test_a_padding_that_is_not_the_one_is_refused(padded: bytes, run: Run) -> None:
    """Bleichenbacher's forgery of 2006 and its kin, even where the holder of the key signs them."""
    assert len(padded) == 256
    key = Rsa(PRIVATE_RSA.public_key().public_bytes(DER, SPKI))
    assert run(key.verify(MESSAGE, _exponentiate(PRIVATE_RSA, padded))) is False


def test_a_signature_that_is_too_large_is_refused(run: Run) -> None:
    """s + n stands for the same number as s: it would be a second text of one signature."""
    key, n = Rsa(PRIVATE_RSA.public_key().public_bytes(DER, SPKI)), PRIVATE_RSA.public_key().public_numbers().n
    signatures = (_exponentiate(PRIVATE_RSA, _pad(MESSAGE + b"%d" % at, 256)) for at in range(1000))
    at, value = next(
        (at, value + n)
        for at, value in enumerate(int.from_bytes(text, "big") for text in signatures)
        if value + n < 1 << 2048
    )
    assert run(key.verify(MESSAGE + b"%d" % at, (value - n).to_bytes(256, "big"))) is True
    assert run(key.verify(MESSAGE + b"%d" % at, value.to_bytes(256, "big"))) is False


@pytest.mark.parametrize("size", [0, 1, 32, 64, 255, 257, 384, 512, 1024])
def test_a_signature_of_another_length_never_verifies(size: int, run: Run) -> None:
    key = Rsa(PRIVATE_RSA.public_key().public_bytes(DER, SPKI))
    signature = _exponentiate(PRIVATE_RSA, _pad(MESSAGE, 256))
    assert run(key.verify(MESSAGE, signature[:size].rjust(size, b"\0"))) is False


@pytest.mark.parametrize("ours", [256, 384, 512])
@pytest.mark.parametrize("sent", [256, 384, 512])
def test_the_work_follows_from_the_signature_and_not_from_the_key(
    ours: int, sent: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the time of a refusal would tell strangers how long a key is, and that there is one."""
    done: list[int] = []
    real = Rsa._holds

    def count(self: Rsa, message: bytes, signature: bytes) -> bool:
        done.append(self.size)
        return real(self, message, signature)

    monkeypatch.setattr(Rsa, "_holds", count)
    assert run(Rsa(_encode(_modulus(ours))).verify(MESSAGE, bytes(sent))) is False
    assert done == [sent]


def test_the_dummy_of_a_size_is_the_same_every_time_and_everywhere() -> None:
    assert make_rsa_dummy(256).fingerprint(b"s") == make_rsa_dummy(256).fingerprint(b"s")
    make_rsa_dummy.cache_clear()
    prints = [hashlib.sha256(make_rsa_dummy(size).reveal()).hexdigest()[:16] for size in (256, 384, 512)]
    assert prints == ["b12017c965c952e5", "d6f331fdc64f7c02", "12e0992260abff4c"]
    with pytest.raises(ConfigError, match="256, 384, 512 bytes, not 128"):
        make_rsa_dummy(128)


# ECDSA


def _ecdsa() -> list[Any]:
    groups = json.loads((VECTORS / "wycheproof_ecdsa_secp256r1_sha256_p1363.json").read_text())["testGroups"]
    return [pytest.param(group, test, id=str(test["tcId"])) for group in groups for test in group["tests"]]


@pytest.mark.parametrize(("group", "test"), _ecdsa())
def test_ecdsa_agrees_with_wycheproof(group: Any, test: Any, run: Run) -> None:
    key = EcdsaP256(bytes.fromhex(group["publicKeyDer"]))
    assert run(key.verify(bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))) == (test["result"] == "valid")
    assert EcdsaP256(group["publicKeyPem"].encode()).fingerprint(b"s") == key.fingerprint(b"s")


def _sign_ec(message: bytes, *, high: bool) -> tuple[int, int]:
    """Sign with nonce 1, by arithmetic: r is x of the base point."""
    d = PRIVATE_EC.private_numbers().private_value
    r = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296 % ORDER
    s = (int.from_bytes(hashlib.sha256(message).digest(), "big") + r * d) % ORDER
    low = min(s, ORDER - s)
    return r, ORDER - low if high else low


@pytest.mark.parametrize("high", [False, True])
def test_both_signatures_of_a_message_verify_since_honest_clients_send_both(high: bool, run: Run) -> None:
    key = EcdsaP256(PRIVATE_EC.public_key().public_bytes(DER, SPKI))
    r, s = _sign_ec(MESSAGE, high=high)
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert run(key.verify(MESSAGE, signature)) is True
    assert run(key.verify(MESSAGE + b"x", signature)) is False
    assert run(key.verify(MESSAGE, signature[32:] + signature[:32])) is False


def test_ecdsa_in_der_or_with_anything_around_it_is_refused(run: Run) -> None:
    key = EcdsaP256(PRIVATE_EC.public_key().public_bytes(DER, SPKI))
    r, s = _sign_ec(MESSAGE, high=False)
    good = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    padded = good[:32] + b"\0" + good[32:]  # the same two numbers
    for signature in (b"", good[:-1], good + b"\0", b"\0" + good, good[1:] + b"\0", padded, encode_dss_signature(r, s)):
        assert run(key.verify(MESSAGE, signature)) is False


@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.SECP384R1(), ec.SECP521R1(), ec.BrainpoolP256R1()])
def test_another_curve_is_refused(curve: ec.EllipticCurve) -> None:
    der = ec.generate_private_key(curve).public_key().public_bytes(DER, SPKI)
    for read in (EcdsaP256, read_public):
        with pytest.raises(ConfigError, match="curve P-256"):
            read(der)


def test_a_point_that_is_not_on_the_curve_is_refused() -> None:
    der = bytearray(PRIVATE_EC.public_key().public_bytes(DER, SPKI))
    der[-1] ^= 1
    with pytest.raises(ConfigError, match="a point on the curve P-256"):
        EcdsaP256(bytes(der))
    infinity = bytes.fromhex("3019301306072a8648ce3d020106082a8648ce3d03010703020000")
    with pytest.raises(ConfigError, match="a point on the curve P-256"):
        EcdsaP256(infinity)
