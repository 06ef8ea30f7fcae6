"""The door for JWTs: the strict reading, and the making, of a compact JWS (RFC 7515, 3.1) with claims (RFC 7519).

It is pure, and whatever it refuses looks the same from outside. The rules:

1.  At most 8 KiB, looked at before anything else is done.
2.  Exactly three parts, none empty, each in the one spelling of unpadded base64url.
3.  Header and claims are JSON objects in UTF-8: no member twice at any depth, no fraction or exponent, no NaN, whole
    numbers of at most 18 digits, no lone surrogate; at most 16 opening brackets and braces, and so no deeper than that,
    and at most 128 commas, those in texts included.
4.  The algorithm is the key's. The header must name it, out of those that the caller takes; there is no `none`.
5.  A header member that the caller does not name is refused. So nothing is ever fetched, trusted or switched by `jku`,
    `jwk`, `x5u`, `x5c`, `b64` or `crit` (RFC 8725, 3.10; RFC 7515, 4.1.11). `typ` is "JWT", or absent.
6.  A signature has a length that its algorithm has: r and s for ES256 (RFC 7518, 3.4), never DER.
7.  An HMAC secret that is anybody's public key verifies nothing (RFC 8725, 2.1).
"""

import json
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.key import Material, Storable
from tradeguard.signing.algorithm import (
    ECDSA_P256_SHA256,
    ED25519,
    HMAC_SHA256,
    HMAC_SHA384,
    HMAC_SHA512,
    HMACS,
    RSA_SHA256,
    signature_sizes,
)
from tradeguard.signing.encoding import decode_base64url, encode_base64url
from tradeguard.signing.place import read_members

MALFORMED = register(
    "jwt.malformed",
    unproven=True,
    hint="The token is no JWT in its one spelling: too long, not three parts, padded, not JSON, or a member twice; the "
    "detail names the part.",
)
HEADER = register(
    "jwt.header",
    unproven=True,
    hint="The header of the token has another algorithm than its dialect takes, or a member that is not taken (crit, "
    "jwk, b64); the detail names it.",
)
ALGORITHMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ES256": ECDSA_P256_SHA256,
        "EdDSA": ED25519,
        "HS256": HMAC_SHA256,
        "HS384": HMAC_SHA384,
        "HS512": HMAC_SHA512,
        "RS256": RSA_SHA256,
    }
)
"""Our algorithms by what `alg` calls them (RFC 7518, 3.1; RFC 8037, 3.1)."""
MEMBERS: Final = frozenset({"alg", "kid", "typ"})
"""The header members that every token may have."""
LONGEST: Final = 8192
"""Bytes of a token."""
_OPENINGS: Final = 16
_COMMAS: Final = 128
_DIGITS: Final = 18
_NAMES: Final[Mapping[str, str]] = {name: label for label, name in ALGORITHMS.items()}
_STARTS: Final = (b"ey", b"ew")  # base64url of "{" before a quote or white space
_PUBLIC_TEXTS: Final = (b"-----BEGIN", b"ssh-", b"ecdsa-", b"{")


class Token(NamedTuple):
    """A token that was read and not verified: nothing in it is true yet.

    `algorithm` is our name of the header's; `payload` are the bytes of the claims, `signed` those that were signed.
    """

    header: Mapping[str, Any]
    algorithm: str
    payload: bytes
    signed: bytes
    signature: bytes


def looks_like_token(text: bytes) -> bool:
    """Tell whether a text can only be meant as a JWT: three parts, of which the first begins as a JSON object does."""
    return text.startswith(_STARTS) and text.count(b".") == 2


def read_header(text: bytes) -> Mapping[str, Any]:
    """Return the header of a token, from its first part alone.

    Raises:
        Refused: rules 1 to 3.
    """
    if len(text) > LONGEST:
        refuse_part("size")
    return _read_header(text.partition(b".")[0])


def read_token(text: bytes, algorithms: AbstractSet[str], members: AbstractSet[str] = MEMBERS) -> Token:
    """Return the parts of a token.

    Args:
        text: as it stands behind "Bearer".
        algorithms: the values of `alg` that are taken; keys of `ALGORITHMS`.
        members: the header members that may occur.

    Raises:
        Refused: rules 1 to 6.
    """
    header = read_header(text)
    parts = text.split(b".")
    if len(parts) != 3:
        refuse_part("parts")
    algorithm = _check_header(header, algorithms, members)
    payload, signature = decode_base64url(parts[1]), decode_base64url(parts[2])
    if payload is None:
        refuse_part("payload")
    if signature is None or len(signature) not in signature_sizes(algorithm):
        refuse_part("signature")
    return Token(header, algorithm, payload, text[: -len(parts[2]) - 1], signature)


def read_claims(token: Token) -> dict[str, Any]:
    """Return the claims of a token.

    Raises:
        Refused: rule 3.
    """
    return _read_object(token.payload, "payload")


async def verify_token(token: Token, material: Material) -> bool:
    """Tell whether the key signed the token: with the key's algorithm, whatever the header says (rules 4 and 7)."""
    if token.algorithm != material.algorithm:
        return False
    if material.algorithm in HMACS and isinstance(material, Storable) and _is_public(material.reveal()):
        return False
    return await material.verify(token.signed, token.signature)


def make_token(
    algorithm: str, header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], bytes]
) -> bytes:
    """Return a token.

    Args:
        algorithm: our name of it.
        header: its members but `alg` and `typ`.
        claims: what it says.
        sign: signs bytes; ECDSA as r and s, 32 bytes each.
    """
    parts = ({"alg": _NAMES[algorithm], "typ": "JWT", **header}, claims)
    signed = b".".join([encode_base64url(_encode(part).encode()) for part in parts])
    return signed + b"." + encode_base64url(sign(signed))


def refuse_part(part: str) -> NoReturn:
    """Raise `Refused` with `jwt.malformed`, naming a part and nothing of its value."""
    raise Refused(Denial(MALFORMED, detail=part))


def _check_header(header: Mapping[str, Any], algorithms: AbstractSet[str], members: AbstractSet[str]) -> str:
    """Return our name of the algorithm (rules 4 and 5)."""
    label = header.get("alg")
    if not isinstance(label, str) or label not in algorithms:
        raise Refused(Denial(HEADER, detail="alg"))
    if not header.keys() <= members:
        raise Refused(Denial(HEADER, detail="a member that is not taken"))
    if header.get("typ", "JWT") != "JWT":
        raise Refused(Denial(HEADER, detail="typ"))
    if not isinstance(header.get("kid", ""), str):
        raise Refused(Denial(HEADER, detail="kid"))
    return ALGORITHMS[label]


@lru_cache(16)  # a token is looked at twice: for the claim, and for the proof
def _read_header(text: bytes) -> Mapping[str, Any]:
    value = decode_base64url(text)
    if value is None:
        refuse_part("header")
    return _read_object(value, "header")


def _read_object(value: bytes, part: str) -> dict[str, Any]:
    """Read a JSON object (rule 3)."""
    if value.count(b"{") + value.count(b"[") > _OPENINGS or value.count(b",") > _COMMAS:
        refuse_part(part)
    try:
        text = value.decode()
        found, end = _DECODER.raw_decode(text)  # `decode` would skip white space around it, and takes longer
        if "\\u" in text:
            _encode_all(found).encode()  # a lone surrogate has no UTF-8
    except ValueError:
        refuse_part(part)
    if not isinstance(found, dict) or end != len(text):
        refuse_part(part)
    return cast("dict[str, Any]", found)


def _read_integer(text: str) -> int:
    if len(text.lstrip("-")) > _DIGITS:
        raise ValueError("a number is too long")
    return int(text)


def _refuse_number(_text: str) -> NoReturn:
    raise ValueError("a number is not whole")


def _is_public(secret: bytes) -> bool:
    """Tell whether an HMAC secret is a public key or a certificate, in one of the forms that they are handed out in."""
    if secret.lstrip().startswith(_PUBLIC_TEXTS):
        return True
    try:
        load_der_public_key(secret)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=read_members,
    parse_int=_read_integer,
    parse_float=_refuse_number,
    parse_constant=_refuse_number,
)
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_encode_all: Final = json.JSONEncoder(ensure_ascii=False).encode
