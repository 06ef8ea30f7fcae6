"""Signing: operators sign proposals with their keys, and nodes verify what was signed against the key store."""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tradeguard.core.errors import ConfigError
from tradeguard.core.halt import SET, Proposal, Record
from tradeguard.core.key import KeyRecord
from tradeguard.core.ports import Keys
from tradeguard.core.principal import missing_scopes
from tradeguard.core.secret import Secret
from tradeguard.signing.material import ED25519, HMAC_SHA256


def sign(to: Proposal | Record, key_id: str, key: Secret | Ed25519PrivateKey) -> Record:
    """Sign a proposal, or add the second signature to one.

    Args:
        to: what is signed.
        key_id: the id of the operator key.
        key: its HMAC secret as the client uses it, or its private key.

    Raises:
        ConfigError: this key has signed it already, or two others have.
    """
    record = Record(to, ()) if isinstance(to, Proposal) else to
    text = record.proposal.text
    if isinstance(key, Ed25519PrivateKey):
        return record.sign(key_id, key.sign(text))
    return record.sign(key_id, hmac.digest(key.reveal(), text, hashlib.sha256))


async def find_owners(record: Record, keys: Keys, at: int) -> tuple[str, ...]:
    """Return the owners of the keys that have signed a record, one for each signature.

    Args:
        record: what was signed.
        keys: where operator keys are found.
        at: when they must be usable, ns UTC.

    Raises:
        ConfigError: a signature does not hold; the text says which and why.
        BackendDown: the key store cannot answer.
    """
    owners: list[str] = []
    for key_id, signature in record.signatures:
        key = await keys.find(key_id)
        _check_key(key_id, key, at)
        assert key is not None
        if not await key.material.verify(record.proposal.text, signature):
            raise ConfigError(f"the signature of key {key_id} is not over what is written")
        owners.append(key.owner)
    return tuple(owners)


def _check_key(key_id: str, key: KeyRecord | None, at: int) -> None:
    if key is None:
        raise ConfigError(f"there is no key {key_id}")
    if not key.usable(at):
        raise ConfigError(f"key {key_id} is {key.state}, or outside its validity; let another operator sign")
    if missing_scopes(key.principal.scopes, frozenset({SET})):
        raise ConfigError(f"key {key_id} lacks the scope {SET}; let an operator sign whose key holds it")
    if key.algorithm not in (HMAC_SHA256, ED25519):
        raise ConfigError(f"key {key_id} cannot sign ({key.algorithm}); operators use {ED25519} or {HMAC_SHA256}")
