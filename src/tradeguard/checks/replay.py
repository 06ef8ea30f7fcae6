"""Commit: has this very message been used before? Its nonce is spent once, whatever else is decided."""

from collections.abc import Iterable

from tradeguard.core.conditions import Advance, Condition, Once, Outcome
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
BEHIND = register(
    "replay.behind",
    status=409,
    text="This nonce is not above those that were used. Look the operation up before you sign it again.",
    hint="A retry or a replay with a used nonce, or more requests in flight than the dialect keeps nonces apart.",
    executed="unknown",
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

    The replay key is the dialect's nonce where it is random; else SHA-256 of the signed message, and then in every lane
    but `read`: equal reads in one millisecond are honest traffic. A nonce that is a clock's reading must rise, but for
    those in flight together (its `width`); reads do not raise it.

    A message signed for later than tomorrow is refused and not remembered (its condition cannot hold): it would take a
    place among the key's nonces until its time comes, and a client with a wrong unit would lock its key for ever. One
    that comes early is remembered as a message, so it raises nothing; so is each whose nonce rises, since it may have
    come early before: what was refused then does not come to life when its time has come.
    """

    name = "replay"
    kinds: frozenset[type] = frozenset({Once, Advance})

    def conditions(self, request: Request, /) -> Iterable[Condition]:
        """Return the condition of the message, none for unsigned ones and for reads without a random nonce."""
        credential, operation = request.credential, request.operation
        if credential is None:
            return ()
        item, ahead = credential.nonce, credential.signed_at - request.received
        if item is None:
            if operation is not None and operation.lane == "read":
                return ()
            item = credential.digest
            if credential.rises is not None and ahead <= credential.window.future:
                return (
                    Advance((credential.key_id, b"nonce"), credential.rises, credential.width),
                    Once((credential.key_id, item), credential.expires),
                )
        return (Once((credential.key_id, item), 0 if ahead > _DAY else credential.expires),)

    def denial(self, condition: Condition, outcome: Outcome, /) -> Denial:
        """Return `replay.seen` with the first request's id, `replay.behind`, `replay.full` or `replay.late`."""
        first = {"first_request_id": outcome.first} if outcome.first is not None else {}
        detail = f"first request {outcome.first}" if first else ""
        if isinstance(condition, Advance) and not outcome.full:
            return Denial(BEHIND, members=first, detail=detail)
        if first:
            return Denial(SEEN, members=first, detail=detail)
        return Denial(FULL, retry_after=1) if outcome.full else Denial(LATE)
