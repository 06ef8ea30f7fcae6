"""Spelt: signatures and secrets in whichever spelling a client gave them, and what each of these readings verifies."""

import hashlib
import hmac
from base64 import b64decode
from binascii import Error, unhexlify
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from tradeguard.core.drive import drive
from tradeguard.core.secret import Secret
from tradeguard.signing.algorithm import HMACS, RSA_BYTES, SIGNATURE_BYTES, signature_sizes
from tradeguard.signing.cure import tell_cure
from tradeguard.signing.encoding import SPELLINGS, compile_spellings
from tradeguard.signing.material import PublicKey
from tradeguard.signing.row import Row

_SIZES: Final = frozenset({16, 20, 28, 32, 48, 64, *RSA_BYTES})  # MD5, SHA-1, SHA-224, and what algorithms have
_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")
_BASE64: Final = "base64"
_MIXED: Final = "hex in upper and lower case"
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
        if value is not None and len(value) in _SIZES:
            return spelling, value
    return "", None


def tell_signature(row: Row, text: bytes) -> tuple[str, ...]:
    """Say what is wrong with how a signature is spelt, and how the row takes it; nothing where the server reads it."""
    if compile_spellings(row)(text) is not None:
        return ()
    spelling, value = read_signature(row, text)
    sizes = {size for algorithm in row.algorithms for size in signature_sizes(algorithm)}
    if value is None or len(value) not in sizes:
        return (_tell_length(row, text, spelling, value), *_cure_length(row, spelling, value))
    known = dict.fromkeys(row.algorithms[name] for name in row.algorithms if len(value) in signature_sizes(name))
    if spelling in known:
        return (_tell_bent(row, text, spelling, len(value)),)
    return _tell_spelling(row, spelling, " or ".join(known), len(value))


def _tell_spelling(row: Row, spelling: str, known: str, size: int) -> tuple[str, ...]:
    """Say that a signature of so many bytes is in another spelling than the row has, and how the row takes it."""
    respelt = {name: spelling if size in signature_sizes(name) else one for name, one in row.algorithms.items()}
    says = f"The signature is in {_name(spelling)}; {row.name} has {_name(known)}."
    return (says, *tell_cure(row, {"algorithms": respelt} if spelling in SPELLINGS else {}))


def _tell_length(row: Row, text: bytes, spelling: str, value: bytes | None) -> str:
    """Say how long a signature is that has not the length of any of the row's."""
    if value is None:
        spelling, value = next(((name, got) for name, read in _SPELLINGS.items() if (got := read(text))), ("", None))
    length = f"The signature has {len(text)} characters"
    what = (
        f"{length}, {_name(spelling)} of {len(value)} bytes"
        if value is not None
        else f"{length} and is neither hex nor base64"
    )
    return f"{what}; {row.name} has {' or '.join(dict.fromkeys(_tell_taken(row)))}."


def _tell_taken(row: Row) -> Iterator[str]:
    for algorithm, encoding in row.algorithms.items():
        sizes = signature_sizes(algorithm)
        characters = [str(SPELLINGS[encoding].length(size)) for size in sizes]
        yield f"{_name(encoding)} of {' / '.join(map(str, sizes))} bytes ({' / '.join(characters)} characters)"


def _cure_length(row: Row, spelling: str, value: bytes | None) -> tuple[str, ...]:
    """Say which HMAC has signatures of this length."""
    name = next((name for name in HMACS if value is not None and len(value) == SIGNATURE_BYTES[name]), "")
    others = {name: encoding for name, encoding in row.algorithms.items() if name not in HMACS}
    return tell_cure(row, {"algorithms": {name: spelling, **others}} if name and spelling in SPELLINGS else {})


def _tell_bent(row: Row, text: bytes, spelling: str, size: int) -> str:
    """Say what is not canonical about the right spelling."""
    if row.in_text and b"+" in text:
        return "The + in the signature stands for a space in a query: percent-encode the signature (%2B)."
    if not row.in_text and b"%" in text:
        return "The signature is percent-encoded; in its place it stands as it is."
    length, name = SPELLINGS[spelling].length(size), _name(spelling)
    if len(text) != length and not row.in_text:
        return f"The signature has {len(text)} characters; {name} of {size} bytes has {length}: mind the = at its end."
    return f"The signature is not in the one spelling that {name} has for its bytes: mind its alphabet and its end."


def holds(row: Row, key: Secret | PublicKey, text: bytes, signature: bytes) -> bool:
    """Tell whether a signature is over a text, under the secret as a client of the row holds it, or a public key."""
    if not isinstance(key, Secret):
        return drive(key.verify(text, signature))
    secret = key.reveal()
    if row.secret == _BASE64:
        secret = _read_base64(secret) or b""
    return _is_mac(secret, text, signature, _hash_of(row, signature))


def guess_secret(row: Row, key: Secret | PublicKey, texts: tuple[bytes, ...], signature: bytes) -> Iterator[str]:
    """Say how the client may have read its secret or which hash it takes; nothing where none of these fits."""
    if not isinstance(key, Secret):
        return
    ours = _hash_of(row, signature)
    for said, secret in _readings(key.reveal()):
        if any(_is_mac(secret, text, signature, ours) for text in texts):
            yield f"The client signs with {said}; the secret {_ask(row, key)}."
            yield from tell_cure(row, _READ.get(said, {}))
            return
    right = (_read_base64(key.reveal()) or b"") if row.secret == _BASE64 else key.reveal()
    for other in _OTHERS:
        if any(_is_mac(right, text, signature, other) for text in texts):
            yield f"The client signs with hmac-{other}; {row.name} has hmac-{ours}."
            return


def tell_neither(row: Row, key: Secret | PublicKey, signature: bytes) -> Iterator[str]:
    """Say that nothing known fits."""
    if not isinstance(key, Secret):
        yield f"The signature is over neither text under {key.algorithm}: another key, or yet another text."
        return
    if is_broken(row, key):
        yield f"The secret {_ask(row, key)}: it is another one, or a part of one."
        yield from tell_cure(row, {"secret": "text"})
    other = "another secret, another algorithm, or yet another text"
    yield f"The signature is over neither text under hmac-{_hash_of(row, signature)}: {other}."


def is_broken(row: Row, key: Secret) -> bool:
    """Tell whether a secret that is to be base64 is none."""
    return row.secret == _BASE64 and not _read_base64(key.reveal())


def _ask(row: Row, key: Secret) -> str:
    if is_broken(row, key):
        return f"is no base64, as which {row.name} reads it"
    return "is the base64 of the key: decode it" if row.secret == _BASE64 else "is used as the bytes of its text"


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
            yield f"its secret read as {_name(spelling)}", value


def _name(spelling: str) -> str:
    """Return a spelling as people call it."""
    return {"upper-hex": "upper-case hex", "hex-in-base64": "base64 of its hex"}.get(spelling, spelling)


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


_READ: Final[Mapping[str, Mapping[str, Any]]] = {
    "its secret as text": {"secret": "text"},
    "its secret read as base64": {"secret": _BASE64},
    "its secret read as base64url": {"secret": _BASE64},
}
"""How a row says that its clients read their secrets so."""


def _read_hex_in_base64(text: bytes) -> bytes | None:
    value = _read_base64(text)
    return _read_hex(value) if value and set(value) <= _DIGITS else None


_TO_BASE64: Final = bytes.maketrans(b"-_", b"+/")
_SPELLINGS: Final[Mapping[str, Callable[[bytes], bytes | None]]] = {
    "hex": lambda text: _read_hex(text) if text == text.lower() else None,
    "upper-hex": lambda text: _read_hex(text) if text == text.upper() else None,
    _MIXED: _read_hex,
    "hex-in-base64": _read_hex_in_base64,
    "base64url": lambda text: _read_base64(text) if not set(text) & set(b"+/=%") else None,
    "base64": _read_base64,
}
"""How signatures and secrets are spelt, the stricter before the laxer of two."""
