"""Claim: what the head of a request says about its sender. Credential: what the proof established."""

from typing import NamedTuple


class Window(NamedTuple):
    """How far a signed time may lie from ours, in ns: `past` before the receipt, `future` after it."""

    past: int
    future: int


class Claim(NamedTuple):
    """What the head alone says: which dialect, which key; nothing of it is proved.

    `bare` marks a key id without a signature: ignored on a public operation, refused on any other. Where a dialect
    names the key in the body, `key_id` is empty until the proof has read it.
    """

    dialect: str
    key_id: str
    bare: bool = False


class Credential(NamedTuple):
    """What was proved: the signed facts of one message.

    `signed_at` and `expires` are ns UTC; `nonce` is None where the dialect has none; `digest` is SHA-256 of the signed
    message; `coverage` names the parts of the request that the signature covers. `rises` is the value of a nonce that
    rises with each message, of which the highest `width` are kept apart; None where there is none.
    """

    dialect: str
    algorithm: str
    key_id: str
    signed_at: int
    expires: int
    nonce: bytes | None
    digest: bytes
    coverage: frozenset[str]
    window: Window
    rises: int | None = None
    width: int = 1
