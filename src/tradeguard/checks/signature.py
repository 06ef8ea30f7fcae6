"""Proof: is this really from the key it names? The work depends on the bytes of the request alone.

It has a condition too: whoever changes a key raises the number `key:<id>` to the last version that is no longer valid,
and the commit refuses what was proved with such a version: a revocation that this node has not heard of yet, or an old
record that somebody brought back into the store.
"""

import hmac
import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from types import MappingProxyType

from tradeguard.core.conditions import Below, Condition, Outcome
from tradeguard.core.credential import Claim, Credential
from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord, Material, key_number
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.ports import Following, Keys, Port
from tradeguard.core.request import Request
from tradeguard.signing.algorithm import signature_sizes
from tradeguard.signing.dialect import Dialect, Reader, make_reader
from tradeguard.signing.material import Hmac, make_dummy
from tradeguard.signing.phrase import Phrase
from tradeguard.signing.place import Field
from tradeguard.signing.row import REQUIRED_COVERAGE, Row
from tradeguard.signing.rows import TG1
from tradeguard.signing.shift import find_run
from tradeguard.signing.verifier import Signed

UNKNOWN = register("signature.unknown", unproven=True, hint="No key record has this id.")
MISMATCH = register(
    "signature.mismatch", unproven=True, hint="The key exists, but for another dialect or algorithm than the request's."
)
WRONG = register(
    "signature.wrong",
    unproven=True,
    hint="The signature does not verify: a wrong secret, or other bytes signed than sent (target, host, body).",
)
UNUSABLE = register(
    "signature.unusable",
    unproven=True,
    hint="The signature verifies, but the key is not active or outside its validity.",
)
EXPIRED = register(
    "signature.expired", status=403, text="The key has expired.", hint="The key expired after the request was granted."
)
REVOKED = register(
    "signature.revoked",
    status=403,
    text="The key is no longer valid.",
    hint="The key was suspended, revoked or replaced after the request was granted.",
)
SUPERSEDED = register(
    "signature.superseded",
    status=503,
    text="The key has just been changed. Sign again and send again.",
    hint="The key record is older than the latest change of the key: this node had not heard of the change yet (it has "
    "by the next request), or an old record was brought back into the store.",
)
PHRASE = register(
    "signature.passphrase",
    unproven=True,
    hint="The signature verifies, but the passphrase is another, or the key has none: give it one, or rotate it.",
)
UNBOUND = register(
    "signature.unbound",
    status=403,
    text="This key must be held to networks before it can be used. Ask the venue to set them.",
    hint="The dialect leaves the body or the time unsigned, so its keys are good from their own networks only, and "
    "this one has none. They are given when a key is made: issue another with `tradeguard keys new --network`.",
)
MISSING = register("signature.missing", unproven=True, hint="The request names a key but carries no signature.")
AMBIGUOUS = register(
    "signature.ambiguous", unproven=True, hint="The request carries the fields of two dialects; send one."
)


class Signature:
    """Verifies request signatures.

    Args:
        keys: where key records are found.
        dialects: those that are understood: rows, and what fits none.
        accept: names of rows that are used although their signature leaves parts of a request uncovered.

    Raises:
        ConfigError: a row covers too little and is not accepted by name, or a name that is no row.
    """

    name = "signature"
    kinds: frozenset[type] = frozenset({Below})

    def __init__(self, keys: Keys, dialects: Iterable[Dialect] = (TG1,), accept: Iterable[str] = ()) -> None:
        rows, accepted = tuple(dialects), frozenset([accept] if isinstance(accept, str) else accept)
        _check_rows(rows, accepted)
        self._keys, self._following = keys, keys if isinstance(keys, Following) else None
        self.dialects: Mapping[str, Reader] = MappingProxyType({row.name: make_reader(row) for row in rows})
        self._alike = {row.name: tuple(other.name for other in rows if _are_alike(row, other)) for row in rows}
        self._dummies = {
            (algorithm, size): make_dummy(algorithm, size)
            for row in rows
            for algorithm in row.algorithms
            for size in signature_sizes(algorithm)
        }
        self.ports: tuple[Port, ...] = (keys,)
        self.challenge = ", ".join(row.challenge for row in rows)

    def claim(self, request: Request, /) -> Claim | None:
        """Return the claim of the one row whose fields the head carries; of rows that are alike there, the first.

        Raises:
            Refused: the fields of two rows that are not alike, or a field that is malformed or stands twice.
        """
        found: Claim | None = None
        for reader in self.dialects.values():
            claim = reader.claim(request)
            if claim is not None:
                found = claim if found is None else self._choose(found, claim)
        if found is None:
            for reader in self.dialects.values():
                reader.check_absent(request)
        return found

    def check_plan(self, _policy: Policy, operations: Operations, /) -> None:
        """Raise `ConfigError` where a row does not part path and parameters, and two paths could pass for another."""
        rows = [reader.row for reader in self.dialects.values()]
        close = [row.name for row in rows if isinstance(row, Row) and any(guard.literal for guard in row.guards)]
        run = find_run(operation.id.partition(" ")[2] for operation in operations.all) if close else None
        if run is not None:
            raise ConfigError(
                f"dialect {close[0]} signs path and parameters as one text, so {run[0]} with parameters can pass for "
                f"{run[1]} with others: keep one of the two, or name one otherwise"
            )

    async def prove(self, request: Request, claim: Claim, /) -> Denial | None:
        """Verify the signature; set credential and principal if it holds.

        Parse, look up, verify with the key's material or with a dummy of the claimed algorithm: the same calls for an
        unknown key, a wrong signature and a wrong algorithm. Where rows are alike in the head, the request is read in
        each of them, and the key's record says which is meant.
        """
        if claim.bare:
            return Denial(MISSING)
        readings = self._read(request, claim, await request.body())
        dialect, signed = next(iter(readings.items()))
        record = await self._keys.find(signed.key_id)
        if record is not None and record.dialect in readings:
            dialect, signed = record.dialect, readings[record.dialect]
        material, denial = self._material(record, dialect, signed)
        message = await _verify(material, signed)
        digest = sha256(message or signed.message).digest()
        if message is None or record is None or denial is not None:
            return denial or Denial(WRONG)
        if signed.phrase is not None and not _knows(record, signed.phrase):
            return Denial(PHRASE)
        if not record.usable(request.received):
            return Denial(UNUSABLE, detail=_tell_state(record, request.received))
        request.claim = Claim(dialect, signed.key_id)
        request.prove(_credential(self.dialects[dialect], signed, digest), record.principal)
        if self._following is not None:
            self._following.used(record, request.received)
        return None

    async def __call__(self, request: Request, /) -> Denial | None:
        """Return `signature.unbound` where a key of a dialect that leaves too much unsigned is good from anywhere."""
        credential, principal = request.credential, request.principal
        if credential is None or principal is None or principal.networks:
            return None
        reader = self.dialects.get(credential.dialect)
        return Denial(UNBOUND) if reader is not None and reader.row.bound else None

    def conditions(self, request: Request, /) -> Iterable[Condition]:
        """Return the `Below` of the key's version, none for unsigned requests."""
        principal = request.principal
        if principal is None or request.credential is None:
            return ()
        return (Below((key_number(principal.key_id),), principal.version),)

    def denial(self, _condition: Condition, _outcome: Outcome, /) -> Denial:
        """Return `signature.superseded`; by the next request the keys are up to date."""
        if self._following is not None:
            self._following.renew()
        return Denial(SUPERSEDED, retry_after=1)

    def recheck(self, request: Request, at: int, /) -> Denial | None:
        """Return `signature.expired` or `signature.revoked` if the key has ended since the proof."""
        principal = request.principal
        if principal is None:
            return None
        if principal.expires is not None and principal.expires <= at:
            return Denial(EXPIRED)
        if principal.kind == "key" and self._following is not None and not self._following.stands(principal.key_id, at):
            return Denial(REVOKED)
        return None

    def _choose(self, found: Claim, claim: Claim) -> Claim:
        """Return the claim that is meant where two dialects name the key alike: the one that is signed.

        Raises:
            Refused: both are signed, in fields of their own.
        """
        if not claim.key_id or (found.bare and claim.bare):
            return found
        if not found.key_id:
            return claim
        if claim.dialect in self._alike[found.dialect]:
            return claim if found.bare else found
        ours, theirs = self.dialects[found.dialect].row, self.dialects[claim.dialect].row
        if found.bare != claim.bare and isinstance(ours, Row) and isinstance(theirs, Row) and ours.key == theirs.key:
            return claim if found.bare else found
        raise Refused(Denial(AMBIGUOUS))

    def _read(self, request: Request, claim: Claim, body: bytes) -> Mapping[str, Signed]:
        """Return what the request says was signed, in the dialect that is claimed and in those that are alike.

        Raises:
            Refused: it can be read in none of them.
        """
        alike = self._alike[claim.dialect]
        if len(alike) == 1:
            return {claim.dialect: self.dialects[claim.dialect].read(request, claim, body)}
        readings: dict[str, Signed] = {}
        refusals: list[Refused] = []
        for name in alike:
            try:
                readings[name] = self.dialects[name].read(request, claim, body)
            except Refused as refusal:
                refusals.append(refusal)
        if not readings:
            raise refusals[0]
        return readings

    def _material(self, record: KeyRecord | None, dialect: str, signed: Signed) -> tuple[Material, Denial | None]:
        if record is None:
            return self._dummies[signed.algorithm, len(signed.signature)], Denial(UNKNOWN)
        if record.dialect != dialect or record.algorithm != signed.algorithm:
            denial = Denial(MISMATCH, detail=f"the key is of {record.dialect} ({record.algorithm})")
            return self._dummies[signed.algorithm, len(signed.signature)], denial
        return record.material, None


def _are_alike(row: Dialect, other: Dialect) -> bool:
    """Tell whether nothing in a head says which of two rows is meant: key and signature stand in the same places."""
    if row.name == other.name:
        return True
    if not (isinstance(row, Row) and isinstance(other, Row)) or isinstance(row.key, Field):
        return False
    return (row.key, row.prefix, row.signature, row.scheme) == (other.key, other.prefix, other.signature, other.scheme)


async def _verify(material: Material, signed: Signed) -> bytes | None:
    """Return the message that the signature is over, or None; each reading of it is tried, whatever the others said."""
    held = signed.message if await material.verify(signed.message, signed.signature) else None
    for message in signed.others:
        if await material.verify(message, signed.signature) and held is None:
            held = message
    return held


def _tell_state(record: KeyRecord, at: int) -> str:
    """Say for the journal why a key cannot be used now."""
    if record.not_before is not None and at < record.not_before:
        return f"{record.state}, not valid yet"
    return f"{record.state}, expired" if record.expires is not None and record.expires <= at else record.state


def _knows(record: KeyRecord, phrase: Phrase) -> bool:
    """Tell whether a passphrase is the key's; of a key without one nobody knows it."""
    material = record.material
    if not isinstance(material, Hmac) or not record.passphrase:
        return False
    digest = phrase.value if phrase.hashed else material.blind(phrase.value)
    return hmac.compare_digest(digest, bytes.fromhex(record.passphrase))


def _credential(reader: Reader, signed: Signed, digest: bytes) -> Credential:
    row = reader.row
    return Credential(
        row.name,
        signed.algorithm,
        signed.key_id,
        signed.signed_at,
        signed.signed_at + signed.window.past,
        signed.nonce,
        digest,
        row.coverage,
        signed.window,
        signed.rises,
        row.nonce_width,
    )


def _check_rows(rows: tuple[Dialect, ...], accepted: frozenset[str]) -> None:
    names = [row.name for row in rows]
    if not rows or len(set(names)) != len(names):
        raise ConfigError("Signature: dialects lists at least one row, and none twice")
    if not accepted <= set(names):
        raise ConfigError(f"Signature: accept names {min(accepted - set(names))!r}, which is none of the dialects")
    in_body = [row.name for row in rows if isinstance(row, Row) and isinstance(row.key, Field)]
    if len(in_body) > 1:
        raise ConfigError(
            f"dialects {' and '.join(in_body)} have the key in the body, so nothing in a head says which is meant: "
            "keep one of them here, and give the other a guard of its own"
        )
    short = {row.name: sorted(REQUIRED_COVERAGE - row.coverage) for row in rows if row.name not in accepted}
    open_parts = {name: parts for name, parts in short.items() if parts}
    if open_parts:
        said = "; dialect ".join(f"{name} does not sign {', '.join(parts)}" for name, parts in open_parts.items())
        names = [row.name for row in rows if row.name in {*accepted, *open_parts}]
        raise ConfigError(
            f"dialect {said}: whoever holds one signed request can change them; if the venue's clients leave you no "
            f"choice, say accept = {json.dumps(names)}"
        )
