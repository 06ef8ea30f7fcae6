"""The signed text: composed once, for the verifier and the signer alike."""

from collections.abc import Callable
from hashlib import sha256
from operator import itemgetter
from typing import NamedTuple

from tradeguard.signing.row import Row

FORM = b"application/x-www-form-urlencoded"


class Facts(NamedTuple):
    """Everything a row may sign, as bytes; the fields are the parts of `Row.message`."""

    label: bytes
    key: bytes
    time: bytes
    nonce: bytes
    method: bytes
    authority: bytes
    target: bytes
    content_type: bytes
    body_sha256: bytes
    query: bytes
    form: bytes


def compile_message(row: Row) -> Callable[[Facts], bytes]:
    """Return the function that composes the signed text of a row."""
    pick = itemgetter(*(Facts._fields.index(part) for part in row.message))
    join = row.separator.join
    return lambda facts: join(pick(facts))


def compile_digest(row: Row) -> Callable[[bytes], bytes]:
    """Return what makes of a body the hex SHA-256 that the row signs, or nothing where it signs none."""
    return _hex_sha256 if "body_sha256" in row.message else _nothing


def _hex_sha256(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode()


def _nothing(_body: bytes) -> bytes:
    return b""
