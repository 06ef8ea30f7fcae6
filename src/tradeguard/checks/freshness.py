"""Judge: was this signed just now? By the receipt of its last byte, within the dialect's window."""

from tradeguard.core.credential import Credential
from tradeguard.core.decision import Denial, register
from tradeguard.core.request import Request

STALE = register(
    "freshness.stale",
    text="The signed time is too old. Compare your clock with server_time, sign again and send again.",
    hint="A slow client or network, a client clock that runs behind, or a held-back capture.",
)
EARLY = register(
    "freshness.early",
    text="The signed time lies in the future. Compare your clock with server_time, sign again and send again.",
    hint="A client clock that runs ahead, or ours that runs behind: check NTP here first.",
)
_MS = 1_000_000


class Freshness:
    """Refuses what was signed too long ago or ahead of time. The window is the dialect's (`Credential.window`)."""

    name = "freshness"

    async def __call__(self, request: Request, /) -> Denial | None:
        """Return `freshness.stale` or `freshness.early`, with our time and the offset in ms, or None."""
        credential = request.credential
        if credential is None:
            return None
        age = request.received - credential.signed_at
        if credential.expires > request.received and age >= -credential.window.future:
            return None
        members = {"server_time": request.received // _MS, "offset_ms": -age // _MS}
        return Denial(STALE if age > 0 else EARLY, members=members, detail=_tell(age, credential))


def _tell(age: int, credential: Credential) -> str:
    """Say for the journal how far the signed time is from ours, and how far it may be."""
    past, future = credential.expires - credential.signed_at, credential.window.future
    return f"offset_ms {-age // _MS}, allowed {-past // _MS} to {future // _MS}"
