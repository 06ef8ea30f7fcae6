"""Canonical encodings: one text for one value, or refused."""

import re
from base64 import b64encode, urlsafe_b64encode
from binascii import Error, a2b_base64, unhexlify
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tradeguard.core.errors import ConfigError
from tradeguard.signing.algorithm import signature_sizes

if TYPE_CHECKING:
    from tradeguard.signing.row import Row

_TO_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/!!!")  # "!" is in no alphabet
_PADDING: Final = (b"", None, b"==", b"=")  # by length modulo 4
_LAST: Final = (None, None, b"AQgw", b"AEIMQUYcgkosw048")  # those whose unused bits are zero
_ZERO: Final = 0x30
_LONGEST_NUMBER: Final = 18  # digits
_HEX_DIGITS: Final = b"0123456789abcdef"
_ESCAPED: Final = {b"%2B": b"+", b"%2F": b"/", b"%3D": b"=", b"%2b": b"+", b"%2f": b"/", b"%3d": b"="}
_ESCAPE: Final = re.compile(rb"%(?:2[BFbf]|3[Dd])")
_LONGEST: Final = 2_100  # bytes of a signature as it is spelt: RSA of 4096 bits, every byte of it percent-encoded


def encode_base64url(value: bytes) -> bytes:
    """Return unpadded base64url (RFC 4648, 5)."""
    return urlsafe_b64encode(value).rstrip(b"=")


def decode_base64url(text: bytes) -> bytes | None:
    """Read unpadded base64url; None for padding, other alphabets and unused bits that are not zero."""
    padding, last = _PADDING[len(text) % 4], _LAST[len(text) % 4]
    if not text or padding is None or (last is not None and text[-1] not in last):
        return None
    try:
        return a2b_base64(text.translate(_TO_BASE64) + padding, strict_mode=True)
    except Error:
        return None


def encode_base64(value: bytes) -> bytes:
    """Return padded base64 (RFC 4648, 4)."""
    return b64encode(value)


def decode_base64(text: bytes) -> bytes | None:
    """Read padded base64; None without its padding, for other alphabets and unused bits that are not zero."""
    try:
        value = a2b_base64(text, strict_mode=True)
    except Error:
        return None
    return value if value and (text[-1:] != b"=" or b64encode(value) == text) else None


def encode_hex(value: bytes) -> bytes:
    """Return lower-case hex."""
    return value.hex().encode()


def decode_hex(text: bytes) -> bytes | None:
    """Read lower-case hex; None for anything else."""
    return unhexlify(text) if text and not (len(text) % 2 or text.translate(None, _HEX_DIGITS)) else None


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a signature is written: `length` gives the length of the text for so many bytes."""

    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes], bytes | None]
    length: Callable[[int], int]


SPELLINGS: Final[Mapping[str, Spelling]] = {
    "hex": Spelling(encode_hex, decode_hex, lambda size: 2 * size),
    "base64": Spelling(encode_base64, decode_base64, lambda size: -(-size // 3) * 4),
    "base64url": Spelling(encode_base64url, decode_base64url, lambda size: -(-size * 4 // 3)),
}
"""Every spelling by name."""


def compile_spellings(row: "Row") -> Callable[[bytes], tuple[str, bytes] | None]:
    """Return what reads a signature: its algorithm, which its length tells, and its bytes; None for what is none.

    In a parameter the characters that mean something there are percent-encoded.

    Raises:
        ConfigError: two algorithms of the row have signatures of one length.
    """
    known: dict[int, tuple[str, Callable[[bytes], bytes | None]]] = {}
    for algorithm, encoding in row.algorithms.items():
        for size in signature_sizes(algorithm):
            length = SPELLINGS[encoding].length(size)
            if length in known:
                raise ConfigError(
                    f"dialect {row.name}: signatures of {algorithm} look like those of {known[length][0]}"
                )
            known[length] = algorithm, SPELLINGS[encoding].decode
    in_text = row.in_text

    def read(text: bytes) -> tuple[str, bytes] | None:
        if in_text:
            text = _unescape(text) if len(text) <= _LONGEST and b"+" not in text else b""
        algorithm, decode = known.get(len(text), ("", decode_hex))
        value = decode(text) if algorithm else None
        return (algorithm, value) if value is not None else None

    return read


def _unescape(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: _ESCAPED[match[0]], text) if b"%" in text else text


def decode_number(text: bytes) -> int | None:
    """Read a whole number in ASCII digits without sign, spaces or leading zeros, at most 18 of them."""
    plain = text.isdigit() and len(text) <= _LONGEST_NUMBER and (text[0] != _ZERO or len(text) == 1)
    return int(text) if plain else None
