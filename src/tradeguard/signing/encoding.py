"""Canonical encodings: one text for one value, or refused."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import unhexlify

_BASE64URL = re.compile(rb"(?:[\w-]{4})*(?:[\w-][AQgw]|[\w-]{2}[AEIMQUYcgkosw048])?", re.ASCII)  # unused bits are 0
_HEX = re.compile(rb"(?:[0-9a-f]{2})+")
_DIGITS = re.compile(rb"(?:0|[1-9][0-9]{0,17})")


def encode_base64url(value: bytes) -> bytes:
    """Return unpadded base64url (RFC 4648, 5)."""
    return urlsafe_b64encode(value).rstrip(b"=")


def decode_base64url(text: bytes) -> bytes | None:
    """Read unpadded base64url; None for padding, other alphabets and unused bits that are not zero."""
    if not text or not _BASE64URL.fullmatch(text):
        return None
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def encode_hex(value: bytes) -> bytes:
    """Return lower-case hex."""
    return value.hex().encode()


def decode_hex(text: bytes) -> bytes | None:
    """Read lower-case hex; None for anything else."""
    return unhexlify(text) if _HEX.fullmatch(text) else None


def decode_number(text: bytes) -> int | None:
    """Read a whole number in ASCII digits without sign, spaces or leading zeros, at most 18 of them."""
    return int(text) if _DIGITS.fullmatch(text) else None
