"""Event: what happened to one request, for the journal; and Written, the simplest receipt for one."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from tradeguard.core.errors import BackendDown

EventKind = Literal["intent", "outcome", "refused", "strangers", "gap"]


class Event(NamedTuple):
    """One line of the record.

    `kind`: `intent` before a handler runs, `outcome` after it, `refused` instead of it; `strangers` counts refusals
    that were not written one by one; `gap` says that lines are missing. `at` is ns UTC. `proven` is False for what a
    stranger caused: such lines have a byte budget of their own. `status` is what was answered (0: not yet known).
    `digest` is the hex SHA-256 of the signed message. `client_id` and `trace` are what the caller named the request.
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
