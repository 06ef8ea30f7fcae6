"""Outage: what went wrong while a request was decided about, as a refusal. Fail closed, and tell the caller nothing."""

import logging
from typing import Final

from tradeguard.core.commit import UNSURE
from tradeguard.core.decision import Denial, register
from tradeguard.core.errors import BackendDown, Suspended
from tradeguard.core.request import Request

_BUSY: Final = "The service cannot decide about this request now."
DOWN = register("outage.down", status=503, text=_BUSY, hint="A store cannot answer; the detail names it.")
FAULT = register(
    "outage.fault", status=503, text=_BUSY, hint="A check raised; the detail names it, the log has the trace."
)
SUSPENDED = register(
    "outage.suspended",
    status=503,
    text=_BUSY,
    hint="A check waits on an event loop, but the host has none; the detail names it. Use its synchronous form.",
)
_log = logging.getLogger("tradeguard")


def explain(request: Request, error: Exception) -> Denial:
    """Return the refusal of a request for which something raised; its detail names what was at work.

    Args:
        request: whose phase it was.
        error: what was raised.
    """
    phase = request.phase if isinstance(request.phase, str) else type(request.phase).__name__
    detail = f"{phase}: {type(error).__name__}"
    if isinstance(error, Suspended):
        return Denial(SUSPENDED, detail=detail, executed="unknown" if phase == "commit" else False)
    down = isinstance(error, BackendDown)  # says itself what it is; where it went through helps nobody
    _log.error("request %s failed closed in %s: %s", request.id, phase, error, exc_info=None if down else error)
    if phase == "commit" and not (isinstance(error, BackendDown) and not error.unknown):
        return Denial(UNSURE, detail=detail, retry_after=1)
    return Denial(DOWN if down else FAULT, detail=detail, retry_after=1)
