"""Wycheproof's JOSE vectors through the door for JWTs: nothing invalid gets in, and what valid stays out is counted.

Keys are made from their JWK here: the library takes none from strangers. What must not be a key fails as it is made.
"""

import hmac
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tradeguard.core.decision import Refused
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import Material
from tradeguard.signing.algorithm import HMACS, signature_sizes
from tradeguard.signing.encoding import decode_base64url
from tradeguard.signing.jwt import ALGORITHMS, read_token, verify_token
from tradeguard.signing.material import EcdsaP256, Hmac, Rsa

VECTORS = Path(__file__).parents[1] / "vectors"
KINDS = {"ES": "EC", "RS": "RSA", "HS": "oct"}
PRIVATE = ("d", "p", "q", "dp", "dq", "qi")
SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Unfit(Exception):
    """A key that is none, or not for this."""


class Zeros:
    """The secret of one group: 32 bytes of zero. `Hmac` takes it for no key."""

    algorithm = "hmac-sha256"

    def fingerprint(self, salt: bytes) -> bytes:
        return salt

    async def verify(self, message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(bytes(32), message, "sha256"), signature)


class Vector(NamedTuple):
    id: str
    keys: list[Mapping[str, Any]]
    jws: Any
    result: str


def _vectors(name: str) -> Iterator[Vector]:
    for group in json.loads((VECTORS / f"wycheproof_json_web_{name}.json").read_text())["testGroups"]:
        keys = group.get("public") or group["private"]
        for test in group["tests"]:
            if "jws" in test:
                about = f"{name}-{test['tcId']} {group['comment']} {test['comment']}"
                yield Vector(about, keys.get("keys", [keys]), test["jws"], test["result"])


ALL = [vector for name in ("signature", "key", "crypto") for vector in _vectors(name)]


def _number(text: str) -> int:
    value = decode_base64url(text.encode())
    if value is None:
        raise Unfit("spelling")
    return int.from_bytes(value, "big")


def _make_material(jwk: Mapping[str, Any]) -> Material:
    label = jwk.get("alg", "")
    if label not in ALGORITHMS:
        raise Unfit("algorithm")
    if jwk.get("use", "sig") != "sig" or not {"verify"} & set(jwk.get("key_ops", ["verify"])):
        raise Unfit("use")
    if jwk.get("kty") != KINDS[label[:2]] or (label == "ES256" and jwk["crv"] != "P-256"):
        raise Unfit("kind")
    algorithm = ALGORITHMS[label]
    try:
        if algorithm in HMACS:
            secret = decode_base64url(jwk["k"].encode()) or b""
            if len(secret) < signature_sizes(algorithm)[0]:  # RFC 7518, 3.2
                raise Unfit("short secret")
            return Hmac(secret, algorithm)
        if label == "ES256":
            point = EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), SECP256R1())
            return EcdsaP256(point.public_key().public_bytes(*SPKI))
        return Rsa(RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key().public_bytes(*SPKI))
    except (ConfigError, ValueError) as error:
        raise Unfit(f"none: {error}") from None


def _choose(keys: list[Mapping[str, Any]], kid: object) -> Mapping[str, Any]:
    """The key of a set, which must not mix secrets, public and private keys, nor have one id twice."""
    kinds = {"secret" if key["kty"] == "oct" else "private" if set(PRIVATE) & key.keys() else "public" for key in keys}
    if len(kinds) != 1 or kinds == {"private"} or len({key.get("kid") for key in keys}) != len(keys):
        raise Unfit("set")
    for key in keys:
        if key.get("kid") == kid:
            return key
    raise Unfit("id")


def outcome(vector: Vector, material: Material | None = None) -> str:
    """`accepted`, or why not; by the vector's own key, unless another is given."""
    text = vector.jws
    if not isinstance(text, str) or not text.isascii():
        return "not compact"
    try:
        token = read_token(text.encode(), ALGORITHMS.keys())
        material = material or _make_material(_choose(vector.keys, token.header.get("kid")))
    except Refused as refused:
        return f"{refused.denial.code} {refused.denial.detail}"
    except Unfit as unfit:
        return f"key: {unfit.args[0].partition(':')[0]}"
    return "accepted" if drive(verify_token(token, material)) else "wrong"


def test_there_are_as_many_as_there_should_be() -> None:
    count = Counter((vector.id.partition("-")[0], vector.result) for vector in ALL)
    assert count["signature", "invalid"] + count["key", "invalid"] == 376
    assert count["signature", "valid"] + count["key", "valid"] == 51


@pytest.mark.parametrize("vector", [v for v in ALL if v.result != "valid"], ids=lambda v: v.id)
def test_nothing_invalid_is_accepted(vector: Vector) -> None:
    assert outcome(vector) != "accepted"


# RS384, RS512, PS* and ES512 are no algorithms of ours; a JWT is never empty (259); and 372 and 373 have a character in
# them that is not base64url, which RFC 4648, 3.3 wants refused. "key: none": the secret of 357 to 377 is all zero.
ACCEPTED = {
    "signature": {
        "accepted": 12,
        "jwt.header alg": 26,
        "jwt.malformed header": 1,
        "jwt.malformed payload": 2,
        "key: none": 5,
    },
    "key": {"accepted": 5},
    "crypto": {"accepted": 4},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_valid_is_accepted_or_has_a_reason(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = {
        result: Counter(outcome(vector) for vector in ALL if vector.id.startswith(name) and vector.result == result)
        for result in ("valid", "invalid")
    }
    with capsys.disabled():
        print(f"\n{name}: " + "; ".join(f"{result}: {dict(count)}" for result, count in found.items()))
    assert found["valid"] == ACCEPTED[name]


def test_the_group_of_spellings_is_not_refused_for_its_key_alone() -> None:
    """By a key that takes the zeros. 367 and 370 are to be invalid, and are 357, a valid one, byte for byte."""
    group = {vector.id.split()[0]: vector for vector in ALL if vector.id.split()[1] == "base64"}
    accepted = {id for id, vector in group.items() if outcome(vector, Zeros()) == "accepted"}
    same = {id for id, vector in group.items() if vector.jws == group["signature-357"].jws}
    assert len(group) == 21
    assert same == {"signature-357", "signature-367", "signature-370"}
    assert accepted == same | {"signature-358", "signature-359", "signature-376", "signature-377"}
