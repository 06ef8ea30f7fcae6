"""The door for JWTs: one spelling, one meaning, the key's algorithm; whatever else comes is the one 401."""

import hmac
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

import jwt as pyjwt
import pytest
from conftest import Run
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tradeguard.core.decision import UNAUTHORIZED, Refused
from tradeguard.core.key import Material
from tradeguard.signing.encoding import encode_base64url
from tradeguard.signing.jwt import (
    ALGORITHMS,
    LONGEST,
    looks_like_token,
    make_token,
    read_claims,
    read_header,
    read_token,
    verify_token,
)
from tradeguard.signing.material import EcdsaP256, Ed25519, Hmac

CURVE = ec.generate_private_key(ec.SECP256R1())
EDWARD = Ed25519PrivateKey.generate()
SECRET = b"0123456789abcdef0123456789abcdef"
SPKI = PublicFormat.SubjectPublicKeyInfo
PEM = CURVE.public_key().public_bytes(Encoding.PEM, SPKI)
DER = CURVE.public_key().public_bytes(Encoding.DER, SPKI)
SSH = CURVE.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
KEYS: Mapping[str, tuple[Any, Material]] = {
    "ES256": (CURVE, EcdsaP256(DER)),
    "EdDSA": (EDWARD, Ed25519(EDWARD.public_key().public_bytes_raw())),
    "HS256": (SECRET, Hmac(SECRET)),
}
HEADER = {"alg": "HS256", "typ": "JWT", "kid": "ann"}
CLAIMS = {"sub": "ann", "nbf": 1_795_000_000}


def encode(value: object) -> bytes:
    return encode_base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def make(header: object = HEADER, payload: object = CLAIMS, signature: bytes | None = None) -> bytes:
    """A token of any bytes, with the right MAC unless another signature is given."""
    signed = encode(header) + b"." + encode(payload)
    return signed + b"." + encode(hmac.digest(SECRET, signed, "sha256") if signature is None else signature)


def refusal(text: bytes) -> tuple[str, str]:
    """Code and detail of what the door says, claims included."""
    with pytest.raises(Refused) as refused:
        read_claims(read_token(text, ALGORITHMS.keys()))
    assert refused.value.denial.public == UNAUTHORIZED
    return refused.value.denial.code, refused.value.denial.detail


def test_a_token_as_it_should_be_is_read(run: Run) -> None:
    """The measure for the refusals below: each of them changes one thing of this."""
    token = read_token(make(), ALGORITHMS.keys())
    assert (token.header, token.algorithm, read_claims(token)) == (HEADER, "hmac-sha256", CLAIMS)
    assert token.signed + b"." + encode(token.signature) == make()
    assert run(verify_token(token, Hmac(SECRET))) is True


@pytest.mark.parametrize("label", KEYS)
def test_what_pyjwt_makes_is_read_and_verified(label: str, run: Run) -> None:
    private, material = KEYS[label]
    text = pyjwt.encode(CLAIMS, private, algorithm=label, headers={"kid": "ann"}).encode()
    token = read_token(text, {label})
    assert read_claims(token) == CLAIMS
    assert run(verify_token(token, material)) is True
    for other in KEYS.keys() - {label}:
        assert run(verify_token(token, KEYS[other][1])) is False
    assert run(verify_token(token._replace(signed=token.signed + b"A"), material)) is False


def test_the_algorithm_is_the_keys(run: Run) -> None:
    """A right signature of the key, under a header that names another algorithm."""
    signed = encode({"alg": "ES256"}) + b"." + encode(CLAIMS)
    token = read_token(signed + b"." + encode(EDWARD.sign(signed)), {"ES256", "EdDSA"})
    assert run(KEYS["EdDSA"][1].verify(token.signed, token.signature)) is True
    assert run(verify_token(token, KEYS["EdDSA"][1])) is False


def test_what_is_made_here_pyjwt_verifies() -> None:
    text = make_token("ed25519", {"kid": "ann"}, CLAIMS, EDWARD.sign).decode()
    assert pyjwt.decode(text, EDWARD.public_key(), algorithms=["EdDSA"]) == CLAIMS
    assert pyjwt.get_unverified_header(text) == {"alg": "EdDSA", "typ": "JWT", "kid": "ann"}


def _pad(part: bytes) -> bytes:
    return part + b"=" * (-len(part) % 4)


def _unused_bits(part: bytes) -> bytes:
    """The same bytes in another spelling: unused bits that are not zero."""
    assert len(part) % 4
    last = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + last[last.index(part[-1:]) + 1 :][:1]


SPELLINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "padded": _pad,
    "with unused bits": _unused_bits,
    "with a line feed": lambda part: part + b"\n",
    "with a space": lambda part: b" " + part,
    "with a percent": lambda part: part + b"%3D",
    "in the other alphabet": lambda part: part[:-1] + b"+",
    "not ASCII": lambda part: part + b"\xe9",
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_part_has_one_spelling(place: int, spelling: str) -> None:
    header = {"alg": "HS256", "kid": "a"}  # 24 bytes, 3 more would be whole groups
    parts = make({**header, "kid": "an"} if len(json.dumps(header)) % 3 == 0 else header, b'{"a":10}').split(b".")
    assert all(len(part) % 4 for part in parts)
    parts[place] = SPELLINGS[spelling](parts[place])
    assert refusal(b".".join(parts)) == ("jwt.malformed", ["header", "payload", "signature"][place])


@pytest.mark.parametrize(
    "text",
    [make() + b".", make() + b".AA.AA", make().rpartition(b".")[0], b"." + make(), b"..", b"", b".", b"\x00", b"{}"],
    ids=repr,
)
def test_there_are_three_parts(text: bytes) -> None:
    assert refusal(text)[0] == "jwt.malformed"


BAD_JSON: Mapping[str, bytes] = {
    "an array": b"[]",
    "a text": b'"alg"',
    "nothing": b" ",
    "half of one": b'{"alg":"HS256"',
    "two": b'{"alg":"HS256"}{}',
    "white space before": b' {"alg":"HS256"}',
    "white space behind": b'{"alg":"HS256"}\n',
    "a member twice": b'{"alg":"HS256","alg":"HS256"}',
    "a member twice, once escaped": b'{"alg":"HS256","\\u0061lg":"none"}',
    "a member twice, deep": b'{"alg":"HS256","a":[{"b":{"c":1,"c":2}}]}',
    "NaN": b'{"alg":"HS256","n":NaN}',
    "Infinity": b'{"alg":"HS256","n":-Infinity}',
    "a fraction": b'{"alg":"HS256","n":1795000000.0}',
    "an exponent": b'{"alg":"HS256","n":1e9}',
    "a huge exponent": b'{"alg":"HS256","n":1e999999}',
    "19 digits": b'{"alg":"HS256","n":1234567890123456789}',
    "5,000 digits": b'{"alg":"HS256","n":' + b"9" * 5_000 + b"}",
    "a leading zero": b'{"alg":"HS256","n":01}',
    "a comment": b'{"alg":"HS256"/**/}',
    "single quotes": b"{'alg':'HS256'}",
    "a control character": b'{"alg":"HS256","a":"\n"}',
    "a byte order mark": b'\xef\xbb\xbf{"alg":"HS256"}',
    "UTF-16": '{"alg":"HS256"}'.encode("utf-16"),
    "Latin-1": b'{"alg":"HS256","a":"\xe9"}',
    "overlong UTF-8": b'{"alg":"HS256","a":"\xc0\xaf"}',
    "a lone surrogate": b'{"alg":"HS256","a":"\\ud800"}',
    "a lone surrogate as a name": b'{"alg":"HS256","\\udfff":1}',
    "a nesting bomb": b'{"alg":"HS256","a":' + b"[" * 5_000 + b"]" * 5_00 + b"}",
    "17 openings": b'{"alg":"HS256","a":' + b"[" * 16 + b"]" * 16 + b"}",
    "wide": b'{"alg":"HS256","a":[' + b"0," * 130 + b"0]}",
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_header_and_claims_are_objects_of_one_meaning(name: str) -> None:
    text = BAD_JSON[name]
    assert refusal(make(header=text)) == ("jwt.malformed", "header")
    assert refusal(make(payload=text)) == ("jwt.malformed", "payload")


@pytest.mark.parametrize(
    "text",
    [
        b'{"alg":"HS256","a":' + b"[" * 15 + b"]" * 15 + b"}",
        b'{"alg":"HS256","a":123456789012345678,"b":-123456789012345678,"c":null}',
        b'{ "alg" : "HS256",\r\n\t"a":"\\ud83d\\ude00\xf0\x9f\x98\x80" }',
    ],
)
def test_what_is_odd_and_right_is_read(text: bytes) -> None:
    assert read_claims(read_token(make(payload=text), {"HS256"})) == json.loads(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"alg": None},
        {"alg": ""},
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "hs256"},
        {"alg": "HS384 "},
        {"alg": "PS256"},
        {"alg": ["HS256"]},
        {"alg": {"HS256": 1}},
        {"alg": 256},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"jku": "https://attacker.example/keys"},
        {"jwk": {"kty": "oct", "k": "AA"}},
        {"x5u": "https://attacker.example/"},
        {"x5c": []},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"nonce": "n" * 16},
        {"typ": "JWE"},
        {"typ": "jwt"},
        {"typ": None},
        {"kid": 7},
        {"kid": ["ann"]},
    ],
    ids=str,
)
def test_a_header_has_the_algorithm_and_nothing_that_is_not_taken(changed: dict[str, object]) -> None:
    assert refusal(make({**HEADER, **changed}))[0] == "jwt.header"


def test_the_algorithm_is_one_that_the_caller_takes() -> None:
    with pytest.raises(Refused) as refused:
        read_token(make(), {"ES256", "EdDSA"})
    assert (refused.value.denial.code, refused.value.denial.detail) == ("jwt.header", "alg")


def test_a_header_without_alg_is_refused() -> None:
    assert refusal(make({"kid": "ann"})) == ("jwt.header", "alg")


def test_an_ecdsa_signature_in_der_is_refused(run: Run) -> None:
    signed = encode({"alg": "ES256"}) + b"." + encode(CLAIMS)
    der = CURVE.sign(signed, ec.ECDSA(SHA256()))
    assert refusal(signed + b"." + encode(der)) == ("jwt.malformed", "signature")
    raw = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(der))
    assert run(verify_token(read_token(signed + b"." + encode(raw), {"ES256"}), KEYS["ES256"][1])) is True


@pytest.mark.parametrize(("label", "size"), [("ES256", 63), ("ES256", 65), ("EdDSA", 32), ("HS256", 31), ("RS256", 64)])
def test_a_signature_has_a_length_of_its_algorithm(label: str, size: int) -> None:
    assert refusal(make({"alg": label}, signature=b"s" * size)) == ("jwt.malformed", "signature")


@pytest.mark.parametrize(
    "public", [PEM, DER, SSH, b"\n" + PEM, b'{"kty":"EC","crv":"P-256"}'], ids=lambda v: repr(v[:12])
)
def test_a_public_key_is_no_hmac_secret(public: bytes, run: Run) -> None:
    """The confusion of CVE-2022-29217 and CVE-2026-48526: everybody has this secret."""
    signed = encode({"alg": "HS256"}) + b"." + encode(CLAIMS)
    token = read_token(signed + b"." + encode(hmac.digest(public, signed, "sha256")), {"HS256"})
    assert run(Hmac(public).verify(token.signed, token.signature)) is True  # as a MAC it is right
    assert run(verify_token(token, Hmac(public))) is False
    assert run(verify_token(token, EcdsaP256(PEM))) is False


def test_a_token_is_at_most_8_kib() -> None:
    room = LONGEST - len(make(payload=b'{"a":""}'))
    fits = next(t for n in range(room, 0, -1) if len(t := make(payload=b'{"a":"%s"}' % (b"a" * n))) <= LONGEST)
    assert read_claims(read_token(fits, {"HS256"}))
    assert refusal(make(payload=b'{"a":"%s"}' % (b"a" * room))) == ("jwt.malformed", "size")
    with pytest.raises(Refused):
        read_header(b"e" * 10_000_000)


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        (make(), True),
        (make(b'{\n"alg":"HS256"}'), True),
        (b"eyJ.a.b", True),
        (b"ann.secret", False),
        (b"ann.secret.more", False),
        (b"eyJ.secret", False),
        (b"eyJ.a.b.c.d", False),
        (b"", False),
    ],
)
def test_a_token_is_known_by_its_looks(text: bytes, looks: bool) -> None:
    assert looks_like_token(text) is looks


def test_no_refusal_tells_what_was_expected() -> None:
    for text in (make(signature=b"short"), make(b"{"), make({**HEADER, "alg": "none"}), make(payload=b"[]"), b"a.b"):
        detail = refusal(text)[1]
        assert detail in {"signature", "header", "alg", "payload", "parts"}


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(
    lambda parts: b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
))  # fmt: skip
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        token = read_token(text, ALGORITHMS.keys())
        read_claims(token)
    except Refused as refused:
        assert refused.denial.public == UNAUTHORIZED
    else:
        assert token.signed + b"." + encode_base64url(token.signature) == text


@given(st.binary(max_size=90))
def test_no_two_spellings_of_a_part_are_read(value: bytes) -> None:
    """Whatever a lenient reader takes beside the one spelling is refused."""
    one, other = encode_base64url(value), b64encode(value)
    if value and one != other:
        head = encode({"alg": "HS256"})
        tail = encode(bytes(32))
        assert read_token(head + b"." + one + b"." + tail, {"HS256"}).payload == value
        assert refusal(head + b"." + other + b"." + tail) == ("jwt.malformed", "payload")
