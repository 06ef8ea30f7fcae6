"""Ready operations: what the guard answers itself, after it has granted it like any other operation.

`time` tells our clock, `whoami` what we know of the caller's own key: enough to find out alone why a request was
refused, and nothing that is secret.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tradeguard.adapters.answer import Answer, id_field
from tradeguard.core.decision import Grant
from tradeguard.core.errors import ConfigError
from tradeguard.core.request import Request
from tradeguard.signing.dialect import Dialect
from tradeguard.signing.refusal import fill

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = 1_000_000
_LIMIT: Final = re.compile(rb'"([^"]+)";[qr]=([0-9]+);[wt]=([0-9]+)')  # an item of RateLimit and of RateLimit-Policy


def answer_of(answer: str, request: Request, grant: Grant, now: int, shape: Dialect | None = None) -> Answer:
    """Return the whole response of a ready operation. HEAD gets the fields without the body.

    Args:
        answer: which one, as the operation's row says: "time" or "whoami".
        request: the granted one.
        grant: what the guard decided.
        now: ns UTC.
        shape: the dialect whose clients are to understand it; see `shape_of`.

    Raises:
        ConfigError: there is no such ready operation.
    """
    tell = READY.get(answer)
    if tell is None:
        raise ConfigError(f"there is no ready operation {answer!r}; there are {', '.join(READY)}")
    body = json.dumps(tell(request, grant, now, shape), separators=(",", ":")).encode()
    fields = [
        (b"content-type", b"application/json"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body)),
        id_field(request.id),
    ]
    return Answer(200, fields, b"" if request.method == "HEAD" else body)


def _tell_time(_request: Request, _grant: Grant, now: int, shape: Dialect | None) -> Any:
    if shape is not None and shape.clock:
        return fill(shape.clock, now)
    return {"time_ns": now, "iso": _iso(now)}


def _tell_who(request: Request, grant: Grant, _now: int, _shape: Dialect | None) -> dict[str, Any]:
    """Tell who the caller was found to be; `offset_ms` is their clock against ours, as in `freshness.stale`."""
    principal, credential, address = grant.principal, request.credential, request.peer.address
    told: dict[str, Any] = {"request_id": request.id, "source": address.text if address is not None else None}
    if principal is not None:
        told |= {
            "key": principal.key_id,
            "owner": principal.id,
            "account": principal.account,
            "on_behalf_of": principal.on_behalf_of or None,
            "scopes": sorted(principal.scopes),
            "roles": sorted(principal.roles),
            "tier": principal.tier or None,
            "held_to_networks": bool(principal.networks),
            "expires": _iso(principal.expires) if principal.expires is not None else None,
            "limits": list(_limits(request)),
        }
    if credential is not None:
        age = request.received - credential.signed_at
        told |= {"dialect": credential.dialect, "algorithm": credential.algorithm, "offset_ms": -age // _MS}
    return told


def _limits(request: Request) -> Iterator[dict[str, Any]]:
    """Tell what the answer's own fields tell: how much the caller may ask for, and how much of it is left."""
    said = dict(request.fields)
    most = {name: numbers for name, *numbers in _LIMIT.findall(said.get(b"ratelimit-policy", b""))}
    for name, left, after in _LIMIT.findall(said.get(b"ratelimit", b"")):
        amount, window = most[name]
        yield {
            "limit": name.decode(),
            "most": int(amount),
            "window_seconds": int(window),
            "left": int(left),
            "more_after_seconds": int(after),
        }


def _iso(at: int) -> str:
    """Write a time (ns UTC) as RFC 3339 does, to the microsecond; what lies outside its years as a number."""
    try:
        return (_EPOCH + timedelta(microseconds=at // 1_000)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return str(at)


READY: Final[Mapping[str, Callable[[Request, Grant, int, Dialect | None], Any]]] = {
    "time": _tell_time,
    "whoami": _tell_who,
}
"""The ready operations by name."""
