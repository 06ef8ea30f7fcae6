"""Canonical encodings: one text for one value, or refused."""

import re
from base64 import urlsafe_b64encode
from binascii import Error, a2b_base64, unhexlify
from typing import Final

_TO_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/!!!")  # "!" is in no alphabet
_PADDING: Final = (b"", None, b"==", b"=")  # by length modulo 4
_LAST: Final = (None, None, b"AQgw", b"AEIMQUYcgkosw048")  # those whose unused bits are zero
_HEX = re.compile(rb"(?:[0-9a-f]{2})+")
_DIGITS = re.compile(rb"(?:0|[1-9][0-9]{0,17})")


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


def encode_hex(value: bytes) -> bytes:
    """Return lower-case hex."""
    return value.hex().encode()


def decode_hex(text: bytes) -> bytes | None:
    """Read lower-case hex; None for anything else."""
    return unhexlify(text) if _HEX.fullmatch(text) else None


def decode_number(text: bytes) -> int | None:
    """Read a whole number in ASCII digits without sign, spaces or leading zeros, at most 18 of them."""
    return int(text) if _DIGITS.fullmatch(text) else None
