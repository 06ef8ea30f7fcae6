"""What is sealed opens under its context and its key only; nothing changed, cut, moved or exchanged opens.

The format is held against a second implementation, written here from the specifications alone, which itself is held
against the Wycheproof vectors.
"""

import copy
import hashlib
import hmac
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError, Tampered
from tradeguard.core.ports import Sealer
from tradeguard.core.secret import Secret
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "wycheproof_cobblestone256.json").read_text())
CASES = [test for group in VECTORS["testGroups"] for test in group["tests"]]
FIRST, SECOND, THIRD = (MasterKey(Secret(bytes([number]) * 32)) for number in (1, 2, 3))
SEALER = LocalSealer(MasterKeys([FIRST, SECOND]))
CONTEXT, SECRET = b"keys\0tg_live_hmac_1", b"tgs_live_" + b"s" * 49
CHUNK, TAG = 16384, 16

# Made by `seal_by_hand` (below) with fixed data key and salt: must open for as long as version 1 is read.
SEALED_1 = bytes.fromhex(
    "015ce4d5978fc54ac1be1aa3264f988f6dc02207451c15da20f4b8e2f74d6a3c2c20fea62fb8fef94c80309a97000102"
    "030405060708090a0b0c0d0e0f1011121314151617f135985c35f7e86758a9e179ffa8787b8e4e57349948f7a19b9b81"
    "2a0f04121496150a22632237ad6c18f46f019d1c96b8ba754340e88e7e17f079b980716aaa"
)


def expand(key: bytes, info: bytes, size: int, name: str) -> bytes:
    """HKDF-Expand (RFC 5869, 2.3)."""
    made, block = b"", b""
    while len(made) < size:
        block = hmac.digest(key, block + info + bytes([len(made) // hashlib.new(name).digest_size + 1]), name)
        made += block
    return made[:size]


def derive_by_hand(key: bytes, salt: bytes, context: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, base nonce and commitment (c2sp.org/chunked-encryption, key derivation)."""
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    made = expand(key, info, 76, "sha512")
    return made[:32], made[32:44], made[44:]


def wrap_by_hand(key: bytes, data_key: bytes) -> bytes:
    """AES key wrap (RFC 3394, 2.2.1)."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # one block at a time, as the RFC has it
    first, blocks = b"\xa6" * 8, [data_key[at : at + 8] for at in range(0, len(data_key), 8)]
    for step in range(6 * len(blocks)):
        at = step % len(blocks)
        block = encryptor.update(first + blocks[at])
        first, blocks[at] = (int.from_bytes(block[:8]) ^ (step + 1)).to_bytes(8), block[8:]
    return first + b"".join(blocks)


def seal_by_hand(master: bytes, plaintext: bytes, context: bytes, data_key: bytes, salt: bytes) -> bytes:
    """A sealed secret of version 1, of one chunk, as `docs/decisions/0008-sealing.md` describes it."""
    extracted = hmac.digest(bytes(32), master, "sha256")  # HKDF-Extract without a salt (RFC 5869, 2.2)
    id = expand(extracted, b"tradeguard master key id", 4, "sha256")
    wrapping = expand(extracted, b"tradeguard data key wrap", 32, "sha256")
    key, nonce, commitment = derive_by_hand(data_key, salt, b"\x01" + context)
    body = salt + commitment + AESGCM(key).encrypt(nonce, plaintext, None)
    return b"\x01" + id + wrap_by_hand(wrapping, data_key) + body


def decrypt(key: bytes, context: bytes, encrypted: bytes) -> bytes:
    decryptor = Cobblestone256Decryptor(key, context)
    return decryptor.update(encrypted) + decryptor.finalize()


def seal(plaintext: bytes = SECRET, context: bytes = CONTEXT, sealer: LocalSealer = SEALER) -> bytes:
    return drive(sealer.seal(plaintext, context))


def refused(sealed: bytes, context: bytes = CONTEXT, sealer: LocalSealer = SEALER) -> str:
    """Return the text of the refusal, which holds no secret."""
    with pytest.raises((Tampered, ConfigError)) as caught:
        drive(sealer.open(sealed, context))
    assert isinstance(caught.value, Tampered) or sealed[:1] == b"\x01"
    assert SECRET.decode() not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["tcId"]))
def test_cobblestone_agrees_with_wycheproof(case: Any) -> None:
    key, context, encrypted = (bytes.fromhex(case[name]) for name in ("key", "ctx", "ct"))
    encrypted = zlib.decompress(encrypted)
    if case["result"] == "valid":
        opened = decrypt(key, context, encrypted)
        assert (len(opened), hashlib.sha512(opened).hexdigest()) == (case["msgLength"], case["msgSha512"])
    else:
        with pytest.raises(ValueError if "InvalidKeySize" in case["flags"] else InvalidTag):
            decrypt(key, context, encrypted)


@pytest.mark.parametrize("case", [case for case in CASES if "aeadKey" in case], ids=lambda case: str(case["tcId"]))
def test_the_second_implementation_agrees_with_wycheproof(case: Any) -> None:
    encrypted = zlib.decompress(bytes.fromhex(case["ct"]))
    key, nonce, commitment = derive_by_hand(bytes.fromhex(case["key"]), encrypted[:24], bytes.fromhex(case["ctx"]))
    assert (key.hex(), nonce.hex(), commitment) == (case["aeadKey"], case["baseNonce"], encrypted[24:56])


def test_the_second_implementation_wraps_as_rfc_3394_says() -> None:
    """RFC 3394, 4.6: 256 bits of key data under a 256-bit key."""
    wrapping = bytes.fromhex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F")
    data_key = bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
    wrapped = "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"
    assert wrap_by_hand(wrapping, data_key) == bytes.fromhex(wrapped)


@given(
    st.binary(max_size=200),
    st.binary(max_size=64),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=24, max_size=24),
)
@settings(max_examples=100)
def test_what_is_sealed_by_hand_opens(plaintext: bytes, context: bytes, data_key: bytes, salt: bytes) -> None:
    sealed = seal_by_hand(FIRST.secret.reveal(), plaintext, context, data_key, salt)
    assert drive(SEALER.open(sealed, context)) == plaintext
    assert len(seal(plaintext, context)) == len(sealed)


def test_a_secret_sealed_by_the_first_release_still_opens(run: Run) -> None:
    assert run(SEALER.open(SEALED_1, b"keys\0first")) == b"the first secret"
    assert seal_by_hand(b"\1" * 32, b"the first secret", b"keys\0first", bytes(range(32)), bytes(range(24))) == SEALED_1


@pytest.mark.parametrize("size", [0, 1, 32, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_secret_of_any_length_comes_back(size: int, run: Run) -> None:
    sealer: Sealer = SEALER
    sealed = run(sealer.seal(b"x" * size, CONTEXT))
    assert run(sealer.open(sealed, CONTEXT)) == b"x" * size
    assert len(sealed) == 1 + 4 + 40 + 24 + 32 + size + TAG * (size // CHUNK + 1)
    assert sealer.colour == "instant"


def test_equal_secrets_are_sealed_under_data_keys_and_salts_of_their_own() -> None:
    sealed = [seal() for _ in range(100)]
    for part in (slice(5, 45), slice(45, 69), slice(69, 101), slice(101, None)):
        assert len({one[part] for one in sealed}) == 100
    assert {one[:5].hex() for one in sealed} == {"01" + FIRST.id}


def test_a_flip_of_any_bit_is_found() -> None:
    sealed = seal()
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        text = refused(bytes(flipped))
        assert ("is missing" in text) == (8 <= bit < 40)  # the id: it names a key that is not at hand


def test_any_cut_and_any_tail_is_found() -> None:
    sealed = seal()
    for size in range(len(sealed)):
        refused(sealed[:size])
        refused(sealed[len(sealed) - size :])
    for tail in (b"\0", bytes(TAG), sealed[-TAG:], sealed[45:], sealed):
        refused(sealed + tail)


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_bytes_from_anywhere_are_refused(junk: bytes) -> None:
    refused(junk)
    refused(seal()[:5] + junk)


@given(st.binary(max_size=40), st.binary(max_size=40))
@settings(max_examples=200)
def test_another_context_does_not_open(one: bytes, other: bytes) -> None:
    sealed = seal(context=one)
    assert drive(SEALER.open(sealed, one)) == SECRET
    if one != other:
        assert "another record" in refused(sealed, other)


@pytest.mark.parametrize("other", [b"", CONTEXT[:-1], CONTEXT + b"\0", b"\x01" + CONTEXT, CONTEXT[1:]])
def test_a_context_that_is_nearly_the_same_does_not_open(other: bytes) -> None:
    assert "another record" in refused(seal(), other)


@pytest.mark.parametrize(("begin", "end"), [(5, 45), (45, 69), (69, 101), (101, None), (5, 69), (45, 101), (45, None)])
def test_a_part_of_another_secret_does_not_open(begin: int, end: int | None) -> None:
    """Wrapped key, salt, commitment, text: not even of the same record, since each secret has its own data key."""
    for context in (CONTEXT, b"keys\0another"):
        mixed, other = bytearray(seal()), seal(context=context)
        mixed[begin:end] = other[begin:end]
        assert "does not" in refused(bytes(mixed))


def test_secrets_that_two_records_exchanged_do_not_open() -> None:
    one, other = seal(context=b"keys\0one"), seal(context=b"keys\0other")
    assert "another record" in refused(one, b"keys\0other")
    assert "another record" in refused(other, b"keys\0one")


def multiply(x: int, y: int) -> int:
    """Multiply in the field of GCM (NIST SP 800-38D, 6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        product ^= x * (y >> bit & 1)
        x = x >> 1 ^ (0xE1 << 120) * (x & 1)
    return product


def invert(x: int) -> int:
    inverse = 1 << 127  # one, in the bit order of GCM
    for _ in range(127):
        x = multiply(x, x)
        inverse = multiply(inverse, x)
    return inverse


def make_salamander(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> bytes:
    """Two blocks and a tag that AES-GCM takes under both (key, nonce) pairs: the second block is solved for."""
    hashes: list[int] = []
    masks: list[int] = []
    for key, nonce in (one, other):
        encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
        hashes.append(int.from_bytes(encryptor.update(bytes(16))))
        masks.append(int.from_bytes(encryptor.update(nonce + b"\0\0\0\1")))
    squares = [multiply(value, value) for value in hashes]
    lengths, first = 256, int.from_bytes(b"one text or two?")
    fixed = [
        mask ^ multiply(lengths, value) ^ multiply(first, multiply(square, value))
        for mask, value, square in zip(masks, hashes, squares, strict=True)
    ]
    last = multiply(fixed[0] ^ fixed[1], invert(squares[0] ^ squares[1]))
    return b"".join(value.to_bytes(16) for value in (first, last, fixed[0] ^ multiply(last, squares[0])))


def test_no_body_opens_under_two_data_keys_although_aes_gcm_alone_lets_it() -> None:
    """Key commitment: the forger knows the master key, chooses both data keys, and still gets only one text through."""
    data_keys, salt = (b"1" * 32, b"2" * 32), b"s" * 24
    derived = [derive_by_hand(key, salt, b"\x01" + CONTEXT) for key in data_keys]
    forged = make_salamander(derived[0][:2], derived[1][:2])
    texts = [AESGCM(key).decrypt(nonce, forged, None) for key, nonce, _ in derived]
    assert texts[0] != texts[1]  # that is what AES-GCM lets happen
    heads = [seal_by_hand(FIRST.secret.reveal(), b"", CONTEXT, key, salt)[:45] for key in data_keys]
    for commitment, opens in ((derived[0][2], 0), (derived[1][2], 1)):
        body = salt + commitment + forged
        assert drive(SEALER.open(heads[opens] + body, CONTEXT)) == texts[opens]
        assert "does not open" in refused(heads[1 - opens] + body)


def test_the_id_of_another_key_at_hand_does_not_open() -> None:
    sealed = seal()
    text = refused(sealed[:1] + bytes.fromhex(SECOND.id) + sealed[5:])
    assert f"does not unwrap under master key {SECOND.id}" in text


@pytest.mark.parametrize("version", [0, 2, 0x81, 0xFF])
def test_an_unknown_version_is_said_to_be_one(version: int, run: Run) -> None:
    sealed = bytes([version]) + seal()[1:]
    for call in (
        lambda: run(SEALER.open(sealed, CONTEXT)),
        lambda: LocalSealer.key_id_of(sealed),
        lambda: run(SEALER.rewrap(sealed)),
    ):
        with pytest.raises(Tampered, match="unknown version"):
            call()


@pytest.mark.parametrize("size", [1, 4, 5, 44, 45, 116])
def test_a_secret_that_is_cut_short_is_said_to_be_so(size: int, run: Run) -> None:
    sealed = seal(b"")
    assert len(sealed) == 117
    for call in (lambda: run(SEALER.open(sealed[:size], CONTEXT)), lambda: LocalSealer.key_id_of(sealed[:size])):
        with pytest.raises(Tampered, match=f"cut short: {size} bytes"):
            call()


def test_a_missing_master_key_is_named_beside_those_at_hand(run: Run) -> None:
    sealed = seal(sealer=LocalSealer(MasterKeys([THIRD])))
    assert LocalSealer.key_id_of(sealed) == THIRD.id
    for call in (SEALER.open(sealed, CONTEXT), SEALER.rewrap(sealed)):
        with pytest.raises(ConfigError, match=rf"{THIRD.id} is missing.*{FIRST.id}, {SECOND.id}"):
            run(call)


def test_every_key_opens_and_the_first_seals() -> None:
    old, new = LocalSealer(MasterKeys([FIRST])), LocalSealer(MasterKeys([SECOND, FIRST]))
    before, after = seal(sealer=old), seal(sealer=new)
    assert (LocalSealer.key_id_of(before), LocalSealer.key_id_of(after)) == (FIRST.id, SECOND.id)
    assert drive(new.open(before, CONTEXT)) == drive(new.open(after, CONTEXT)) == SECRET
    assert "is missing" in refused(after, sealer=old)


def test_rewrapping_moves_a_secret_to_the_first_key_and_leaves_its_body(run: Run) -> None:
    sealer, alone = LocalSealer(MasterKeys([SECOND, FIRST])), LocalSealer(MasterKeys([SECOND]))
    before = seal()
    after = run(sealer.rewrap(before))
    assert LocalSealer.key_id_of(after) == SECOND.id
    assert (after[45:], after[5:45] == before[5:45]) == (before[45:], False)
    assert run(alone.open(after, CONTEXT)) == SECRET
    assert "another record" in refused(after, b"keys\0another", alone)
    assert run(sealer.rewrap(after)) == after


def test_rewrapping_takes_no_changed_data_key(run: Run) -> None:
    sealed = seal()
    for at in (5, 20, 44):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(Tampered, match="does not unwrap"):
            run(SEALER.rewrap(bytes(changed)))


def test_a_sealer_does_not_leave_the_process_by_accident() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(SEALER)
    with pytest.raises(TypeError):
        copy.deepcopy(SEALER)
    assert not any(key.secret.reveal().hex() in repr(SEALER) for key in (FIRST, SECOND))
