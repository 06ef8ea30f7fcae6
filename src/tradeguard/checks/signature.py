"""Proof: is this really from the key it names? The work depends on the bytes of the request alone.

It has a condition too: whoever changes a key raises the number `key:<id>` to the last version that is no longer valid,
and the commit refuses what was proved with such a version: a revocation that this node has not heard of yet, or an old
record that somebody brought back into the store.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256

from tradeguard.core.conditions import Below, Condition, Outcome
from tradeguard.core.credential import Claim, Credential
from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord, Material, key_number
from tradeguard.core.ports import Following, Keys, Port
from tradeguard.core.request import Request
from tradeguard.signing.material import make_dummy
from tradeguard.signing.row import REQUIRED_COVERAGE, Row
from tradeguard.signing.rows import TG1
from tradeguard.signing.verifier import Signed, Verifier

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
MISSING = register("signature.missing", unproven=True, hint="The request names a key but carries no signature.")
AMBIGUOUS = register(
    "signature.ambiguous", unproven=True, hint="The request carries the fields of two dialects; send one."
)


class Signature:
    """Verifies request signatures.

    Args:
        keys: where key records are found.
        dialects: the rows that are understood.
        accept: names of rows that are used although their signature leaves parts of a request uncovered.

    Raises:
        ConfigError: a row covers too little and is not accepted by name, or a name that is no row.
    """

    name = "signature"
    kinds: frozenset[type] = frozenset({Below})

    def __init__(self, keys: Keys, dialects: Iterable[Row] = (TG1,), accept: Iterable[str] = ()) -> None:
        rows, accepted = tuple(dialects), frozenset([accept] if isinstance(accept, str) else accept)
        _check_rows(rows, accepted)
        self._keys, self._following = keys, keys if isinstance(keys, Following) else None
        self._verifiers: Mapping[str, Verifier] = {row.name: Verifier(row) for row in rows}
        self._dummies = {algorithm: make_dummy(algorithm) for row in rows for algorithm in row.algorithms}
        self.ports: tuple[Port, ...] = (keys,)
        self.challenge = ", ".join(row.challenge for row in rows)

    def claim(self, request: Request, /) -> Claim | None:
        """Return the claim of the one row whose fields the head carries.

        Raises:
            Refused: the fields of two rows, or a field that is malformed or stands twice.
        """
        found: Claim | None = None
        for verifier in self._verifiers.values():
            claim = verifier.claim(request)
            if claim is not None:
                if found is not None and not (found.bare and claim.bare):
                    raise Refused(Denial(AMBIGUOUS))
                found = claim
        if found is None:
            for verifier in self._verifiers.values():
                verifier.check_absent(request)
        return found

    async def prove(self, request: Request, claim: Claim, /) -> Denial | None:
        """Verify the signature; set credential and principal if it holds.

        Parse, look up, verify with the key's material or with a dummy of the claimed algorithm: the same calls for an
        unknown key, a wrong signature and a wrong algorithm.
        """
        if claim.bare:
            return Denial(MISSING)
        verifier = self._verifiers[claim.dialect]
        signed = verifier.read(request, claim, await request.body())
        record = await self._keys.find(claim.key_id)
        material, denial = self._material(record, claim, signed)
        digest = sha256(signed.message).digest()
        if not await material.verify(signed.message, signed.signature) or record is None or denial is not None:
            return denial or Denial(WRONG)
        if not record.usable(request.received):
            return Denial(UNUSABLE, detail=record.state)
        request.prove(_credential(verifier, signed, claim, digest), record.principal)
        if self._following is not None:
            self._following.used(record, request.received)
        return None

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

    def _material(self, record: KeyRecord | None, claim: Claim, signed: Signed) -> tuple[Material, Denial | None]:
        if record is None:
            return self._dummies[signed.algorithm], Denial(UNKNOWN)
        if record.dialect != claim.dialect or record.algorithm != signed.algorithm:
            return self._dummies[signed.algorithm], Denial(MISMATCH)
        return record.material, None


def _credential(verifier: Verifier, signed: Signed, claim: Claim, digest: bytes) -> Credential:
    return Credential(
        claim.dialect,
        signed.algorithm,
        claim.key_id,
        signed.signed_at,
        signed.signed_at + signed.window.past,
        signed.nonce,
        digest,
        verifier.coverage,
        signed.window,
    )


def _check_rows(rows: tuple[Row, ...], accepted: frozenset[str]) -> None:
    names = [row.name for row in rows]
    if not rows or len(set(names)) != len(names):
        raise ConfigError("Signature: dialects lists at least one row, and none twice")
    if not accepted <= set(names):
        raise ConfigError(f"Signature: accept names {min(accepted - set(names))!r}, which is none of the dialects")
    for row in rows:
        short = sorted(REQUIRED_COVERAGE - row.coverage)
        if short and row.name not in accepted:
            raise ConfigError(
                f"dialect {row.name} does not sign {', '.join(short)}: whoever holds one signed request can change "
                f"them; if the venue's clients leave you no choice, say accept=({row.name!r},)"
            )
