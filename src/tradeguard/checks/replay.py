"""Commit: has this very message been used before? Its nonce is spent once, whatever else is decided."""

from collections.abc import Iterable

from tradeguard.core.conditions import Condition, Once, Outcome
from tradeguard.core.decision import Denial, register
from tradeguard.core.request import Request

SEEN = register(
    "replay.seen",
    status=409,
    text="This message was received before. Look the operation up before you sign it again.",
    hint="A retry without a new signature, a retrying proxy, or a replay; first_request_id leads to the first one.",
    executed="unknown",
)
LATE = register(
    "replay.late",
    status=401,
    text="The message expired while it was on its way. Sign again and send again.",
    hint="Between the receipt and the commit the message's time ran out, by the clock of the store.",
)
FULL = register(
    "replay.full",
    status=503,
    text="Too many requests of this key are being remembered. Ask again.",
    hint="The key, or all keys together, hold as many live nonces as the store has room for.",
)
_DAY = 86_400_000_000_000


class Replay:
    """Makes every message single-use.

    The replay key is the dialect's nonce; where it has none, SHA-256 of the signed message, and then in every lane but
    `read`: equal reads in one millisecond are honest traffic.

    A message signed for later than tomorrow is refused and not remembered (its condition cannot hold): it would take a
    place among the key's nonces until its time comes, and a client with a wrong unit would lock its key for ever.
    """

    name = "replay"
    kinds: frozenset[type] = frozenset({Once})

    def conditions(self, request: Request, /) -> Iterable[Condition]:
        """Return the `Once` of the message, none for unsigned ones and for reads without a nonce."""
        credential, operation = request.credential, request.operation
        if credential is None:
            return ()
        item = credential.nonce
        if item is None:
            if operation is not None and operation.lane == "read":
                return ()
            item = credential.digest
        far = credential.signed_at - request.received > _DAY
        return (Once((credential.key_id, item), 0 if far else credential.expires),)

    def denial(self, condition: Condition, outcome: Outcome, /) -> Denial:
        """Return `replay.seen` with the first request's id, `replay.full` or `replay.late`."""
        if outcome.first is not None:
            return Denial(SEEN, members={"first_request_id": outcome.first})
        return Denial(FULL, retry_after=1) if outcome.full else Denial(LATE)
