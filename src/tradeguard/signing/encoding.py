"""Canonical encodings: one text for one value, or refused."""

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
_ONE_PAD: Final = frozenset(b"%c=" % last for last in b"AEIMQUYcgkosw048")
_TWO_PADS: Final = frozenset(b"%c==" % last for last in b"AQgw")
_PLUS, _PERCENT = b"+%"  # as numbers, which `in` finds ten times faster than bytes
_ZERO: Final = 0x30
_LONGEST_NUMBER: Final = 18  # digits
_HEX_DIGITS: Final = b"0123456789abcdef"
_ESCAPES: Final = ((b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"="), (b"%2b", b"+"), (b"%2f", b"/"), (b"%3d", b"="))
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
    if text[-1:] == b"=" and text[-2:] not in _ONE_PAD and text[-3:] not in _TWO_PADS:
        return None
    try:
        return a2b_base64(text, strict_mode=True) or None
    except Error:
        return None


def encode_hex(value: bytes) -> bytes:
    """Return lower-case hex."""
    return value.hex().encode()


def encode_upper_hex(value: bytes) -> bytes:
    """Return upper-case hex."""
    return value.hex().upper().encode()


def decode_hex(text: bytes) -> bytes | None:
    """Read lower-case hex; None for anything else."""
    return unhexlify(text) if text and not (len(text) % 2 or text.translate(None, _HEX_DIGITS)) else None


def decode_upper_hex(text: bytes) -> bytes | None:
    """Read upper-case hex; None for anything else."""
    return decode_hex(text.lower()) if text == text.upper() else None


def encode_hex_in_base64(value: bytes) -> bytes:
    """Return padded base64 of lower-case hex: what becomes of a digest that is text before it is encoded."""
    return b64encode(encode_hex(value))


def decode_hex_in_base64(text: bytes) -> bytes | None:
    """Read padded base64 of lower-case hex; None for anything else."""
    return decode_hex(decode_base64(text) or b"")


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a signature is written: `length` gives the length of the text for so many bytes."""

    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes], bytes | None]
    length: Callable[[int], int]


SPELLINGS: Final[Mapping[str, Spelling]] = {
    "hex": Spelling(encode_hex, decode_hex, lambda size: 2 * size),
    "upper-hex": Spelling(encode_upper_hex, decode_upper_hex, lambda size: 2 * size),
    "base64": Spelling(encode_base64, decode_base64, lambda size: -(-size // 3) * 4),
    "base64url": Spelling(encode_base64url, decode_base64url, lambda size: -(-size * 4 // 3)),
    "hex-in-base64": Spelling(encode_hex_in_base64, decode_hex_in_base64, lambda size: -(-2 * size // 3) * 4),
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

    def read(text: bytes) -> tuple[str, bytes] | None:
        found = known.get(len(text))
        value = found[1](text) if found is not None else None
        return (found[0], value) if found is not None and value is not None else None

    def read_parameter(text: bytes) -> tuple[str, bytes] | None:
        return read(_unescape(text)) if len(text) <= _LONGEST and _PLUS not in text else None

    return read_parameter if row.in_text else read


def _unescape(text: bytes) -> bytes:
    for escape, character in _ESCAPES:
        if _PERCENT not in text:
            break
        text = text.replace(escape, character)
    return text


def decode_number(text: bytes) -> int | None:
    """Read a whole number in ASCII digits without sign, spaces or leading zeros, at most 18 of them."""
    plain = text.isdigit() and len(text) <= _LONGEST_NUMBER and (text[0] != _ZERO or len(text) == 1)
    return int(text) if plain else None
