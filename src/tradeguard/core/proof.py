"""Proof: which one a request is meant for, and whether it holds. Whatever it refuses looks like the one 401."""

from collections.abc import Iterable

from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.policy import Operation
from tradeguard.core.ports import Proof
from tradeguard.core.request import Request

UNCLAIMED = register("proof.unclaimed", unproven=True, hint="The request carries no credential that any proof knows.")
AMBIGUOUS = register("proof.ambiguous", unproven=True, hint="The request carries credentials of two proofs; send one.")
UNPROVEN = register(
    "proof.unproven",
    status=503,
    text="The service cannot decide about this request now.",
    hint="A proof returned no denial and proved nothing: a bug.",
)


def find_proof(request: Request, proofs: Iterable[Proof], operation: Operation | None) -> Proof | None:
    """Find the one proof that the request is meant for; None only where the operation is public or coexists.

    Raises:
        Refused: there is none, or two.
    """
    public = operation is not None and operation.lane == "public"
    found: Proof | None = None
    for proof in proofs:
        request.phase = proof
        claim = proof.claim(request)
        if claim is not None and not (public and claim.bare):
            if found is not None:
                raise Refused(Denial(AMBIGUOUS))
            found, request.claim = proof, claim
    if found is None and not public:
        if operation is None or operation.coexist is None or operation.coexist <= request.arrived:
            raise Refused(Denial(UNCLAIMED))
        request.coexists = True
    return found


async def prove(request: Request, proof: Proof) -> Denial | None:
    """Prove who is asking; return why not, as a stranger may see it."""
    request.phase = proof
    assert request.claim is not None  # set together with the proof
    denial = await proof.prove(request, request.claim)
    if denial is not None:
        return denial if denial.status >= 500 else denial.veil()
    if request.principal is None:
        return Denial(UNPROVEN, detail=type(proof).__name__)
    return None
