"""Spelt: signatures and secrets in whichever spelling a client gave them, and what each of these readings verifies."""

import hashlib
import hmac
from base64 import b64decode
from binascii import Error, unhexlify
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from tradeguard.core.drive import drive
from tradeguard.core.secret import Secret
from tradeguard.signing.algorithm import HMACS, RSA_BYTES, signature_sizes
from tradeguard.signing.material import PublicKey
from tradeguard.signing.row import Row

_HEX_IN_BASE64: Final = "base64 of its hex"
_SIZES: Final = frozenset({16, 20, 28, 32, 48, 64, *RSA_BYTES})  # MD5, SHA-1, SHA-224, and what algorithms have
_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")
_BASE64: Final = "base64"
_MD5: Final = "md5"
_OTHERS: Final = ("sha1", "sha224", "sha256", "sha384", "sha512", _MD5)


def read_signature(row: Row, text: bytes) -> tuple[str, bytes | None]:
    """Return in which spelling a signature is, the row's own first, and its bytes; None for no signature at all."""
    for algorithm, encoding in row.algorithms.items():
        value = _SPELLINGS[encoding](text)
        if value is not None and len(value) in signature_sizes(algorithm):
            return encoding, value
    for spelling, read in _SPELLINGS.items():
        value = read(text)
        if value is not None and len(value) // 2 in _SIZES and set(value) <= _DIGITS:
            return _HEX_IN_BASE64, unhexlify(value)
        if value is not None and len(value) in _SIZES:
            return spelling, value
    return "", None


def holds(row: Row, key: Secret | PublicKey, text: bytes, signature: bytes) -> bool:
    """Tell whether a signature is over a text, under the secret as a client of the row holds it, or a public key."""
    if not isinstance(key, Secret):
        return drive(key.verify(text, signature))
    secret = key.reveal()
    if row.secret == _BASE64:
        secret = _read_base64(secret) or b""
    return _is_mac(secret, text, signature, _hash_of(row, signature))


def guess_secret(row: Row, key: Secret | PublicKey, texts: tuple[bytes, ...], signature: bytes) -> Iterator[str]:
    """Say how the client may have read its secret or which hash it takes, or that nothing known fits."""
    if not isinstance(key, Secret):
        yield f"The signature is over neither text under {key.algorithm}: another key, or yet another text."
        return
    ours = _hash_of(row, signature)
    asked = "is the base64 of the key: decode it" if row.secret == _BASE64 else "is used as the bytes of its text"
    for said, secret in _readings(key.reveal()):
        if any(_is_mac(secret, text, signature, ours) for text in texts):
            yield f"The client signs with {said}; the secret {asked}."
            return
    right = (_read_base64(key.reveal()) or b"") if row.secret == _BASE64 else key.reveal()
    for other in _OTHERS:
        if any(_is_mac(right, text, signature, other) for text in texts):
            yield f"The client signs with hmac-{other}; {row.name} has hmac-{ours}."
            return
    other = "another secret, another algorithm, or yet another text"
    yield f"The signature is over neither text under hmac-{ours}: {other}."


def _hash_of(row: Row, signature: bytes) -> str:
    """Return the hash of the row's HMAC: of several the one whose signatures are as long."""
    known = [name for name in row.algorithms if name in HMACS] or [*HMACS]
    fitting = (name for name in known if len(signature) in signature_sizes(name))
    return next(fitting, known[0]).removeprefix("hmac-")


def _is_mac(secret: bytes, text: bytes, signature: bytes, name: str) -> bool:
    return hmac.compare_digest(hmac.digest(secret, text, name), signature)


def _readings(secret: bytes) -> Iterator[tuple[str, bytes]]:
    yield "its secret as text", secret
    yield "its secret and a newline behind it", secret + b"\n"
    yield "the SHA-256 of its secret", hashlib.sha256(secret).digest()
    for spelling, read in _SPELLINGS.items():
        value = read(secret)
        if value is not None:
            yield f"its secret read as {spelling}", value


def _read_hex(text: bytes) -> bytes | None:
    try:
        return unhexlify(text)
    except Error:
        return None


def _read_base64(text: bytes) -> bytes | None:
    """Read either alphabet, with or without padding, and percent-encoded as in a query."""
    text = unquote_to_bytes(text).translate(_TO_BASE64).rstrip(b"=")
    try:
        return b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except Error:
        return None


_TO_BASE64: Final = bytes.maketrans(b"-_", b"+/")
_SPELLINGS: Final[Mapping[str, Callable[[bytes], bytes | None]]] = {
    "hex": lambda text: _read_hex(text) if text == text.lower() else None,
    "upper-case hex": _read_hex,
    "base64url": lambda text: _read_base64(text) if not set(text) & set(b"+/=%") else None,
    "base64": _read_base64,
}
"""How signatures and secrets are spelt, the stricter before the laxer of two."""
