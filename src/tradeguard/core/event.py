"""Event: what happened to one request, for the journal; and Written, the simplest receipt for one."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from tradeguard.core.errors import BackendDown
from tradeguard.core.request import Request

EventKind = Literal[
    "intent", "outcome", "refused", "strangers", "gap", "key", "policy", "vouched", "shadow", "store", "halt", "auth"
]


class Event(NamedTuple):
    """One line of the record.

    `kind`: `intent` before a handler runs, `outcome` after it, `refused` instead of it; `strangers` counts refusals
    that were not written one by one; `gap` says that lines are missing; `key` is a change of a key by an `actor`, and
    `policy` one of the policy. `vouched` is a request that the host's own authentication let in (dialect "host"), and
    `shadow` a denial that was not obeyed. `store` says that the shared state was lost, or is back, and `halt` is a
    change of what stands still, or something wrong with it. `auth` is what many failures before the proof come to: a
    few lines a minute, whoever fails, each with a sample `request_id`. `at` is ns UTC.
    `proven` is False for what a stranger caused: such lines have a byte budget of their own. `status` is what was
    answered (0: not yet known).
    `digest` is the hex SHA-256 of the signed message. `client_id` and `trace` are what the caller named the request.
    `policy` is the mark of the policy that decided.
    """

    kind: EventKind
    at: int
    request_id: str = ""
    proven: bool = False
    status: int = 0
    code: str = ""
    method: str = ""
    path: str = ""
    operation: str = ""
    lane: str = ""
    key_id: str = ""
    account: str = ""
    dialect: str = ""
    digest: str = ""
    source: str = ""
    client_id: str = ""
    trace: str = ""
    detail: str = ""
    actor: str = ""
    policy: str = ""


def event_of(kind: EventKind, request: Request, at: int, status: int = 0, code: str = "", detail: str = "") -> Event:
    """Shape the event of a request; what a stranger may have written is cut.

    Args:
        kind: what happened.
        request: to whom.
        at: when, ns UTC.
        status: what was answered.
        code: of the denial.
        detail: for the operator.
    """
    operation, principal, credential = request.operation, request.principal, request.credential
    address, claim, note = request.peer.address, request.claim, request.headers.note
    return Event(
        kind,
        at,
        request.id,
        principal is not None,
        status,
        code,
        request.method[:24],
        request.path[:256],
        operation.id if operation is not None else "",
        operation.lane if operation is not None else "",
        claim.key_id if claim is not None else principal.id if principal is not None else "",
        principal.account if principal is not None else "",
        claim.dialect if claim is not None else "host" if request.coexists else "",
        credential.digest.hex() if credential is not None else "",
        address.text if address is not None else request.peer.rewritten,
        note(b"x-request-id")[:64],
        note(b"traceparent")[:64],
        detail[:256],
        "",
        request.policy,
    )


class Written:
    """The ticket of an event that was on record, or lost, before `append` returned.

    Args:
        error: why it is lost; None if it is not.
    """

    __slots__ = ("_error",)

    def __init__(self, error: BackendDown | None = None) -> None:
        self._error = error

    @property
    def done(self) -> bool:
        """Always."""
        return True

    def then(self, callback: Callable[[], object], /) -> None:
        """Call back at once."""
        callback()

    def wait(self) -> None:
        """Return at once; raise `BackendDown` if the event is lost."""
        if self._error is not None:
            raise self._error


WRITTEN: Final = Written()
