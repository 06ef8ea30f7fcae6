"""What every host answers with: a refusal, and the fields that go with every response.

A refusal is problem+json (RFC 9457), or looks as clients of the request's dialect know it from their venue.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from http.client import responses
from typing import Any, Final, NamedTuple

from tradeguard.core.decision import Denial, Face, register
from tradeguard.core.request import Request
from tradeguard.signing.dialect import Dialect, Reader
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.rows import ROWS

UNCONFIGURED: Final = register(
    "answer.unconfigured",
    status=503,
    text="The service is not configured.",
    hint="The guard could not be built; the log of the start has the reason. Nothing passes until it can.",
)
_PROBLEM: Final = "application/problem+json"
_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
_TYPES: Final[Mapping[str, str]] = {"quota.exceeded": _EXCEEDED, "quota.public": _EXCEEDED}
"""Problem types that have a public name (draft-ietf-httpapi-ratelimit-headers-10, 8)."""
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class Answer(NamedTuple):
    """A whole response."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes


def phrase(status: int) -> str:
    """Return the reason phrase of a status (RFC 9110, 15), and a plain one where there is none."""
    return responses.get(status, "Refused")


def id_field(request_id: str) -> tuple[bytes, bytes]:
    """Return the field that every response carries: our request id."""
    return b"x-request-id", request_id.encode()


def shape_of(request: Request | None, default: str, readers: Mapping[str, Reader]) -> Dialect | None:
    """Return the dialect in which to answer: the one that the request speaks, else the default.

    It goes by the claim; where there is none (yet), by whose fields stand in the head. Nothing that has to be proved
    decides.

    Args:
        request: what is answered; None where nothing has been made of it yet.
        default: the name of a dialect, for those who speak none; "" for problem+json.
        readers: of the guard's own dialects, by name.
    """
    if request is not None and request.claim is not None and request.claim.dialect in readers:
        return readers[request.claim.dialect].row
    spoken = [reader.row for reader in readers.values() if reader.speaks(request)] if request is not None else []
    if len(spoken) == 1:
        return spoken[0]
    return readers[default].row if default in readers else ROWS.get(default)


def refuse(denial: Denial, request_id: str, *, challenge: str, shape: Dialect | None = None) -> Answer:
    """Render a refusal, without what the policy adds to every answer over TLS and for pages (`Edge`).

    Args:
        denial: what was decided.
        request_id: ours.
        challenge: for WWW-Authenticate on a 401 (RFC 9110, 11.6.1).
        shape: the dialect whose clients are to understand it; see `shape_of`.
    """
    status, fields, body = _render(denial.face, challenge, shape.refuse if shape is not None else None)
    if body[:1] == b"{":
        body += request_id.encode() + (b'",' + _encode(dict(denial.members)).encode()[1:] if denial.members else b'"}')
    return Answer(status, [*fields, (b"content-length", b"%d" % len(body)), id_field(request_id)], body)


@lru_cache(512)
def _render(face: Face, challenge: str, shape: Refusal | None) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
    """Render what all refusals of one kind share: status, fields, and the body up to the request id.

    An array is the whole body: clients go by the places in it, so what we add stands in fields of the head.
    """
    public, _, _, executed, retry_after = face
    said, media_type = (_problem(face), _PROBLEM) if shape is None else (shape.say(face), shape.media_type)
    members = said.body if isinstance(said.body, Mapping) else None
    fields = [
        (b"content-type", media_type.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]
    if shape is not None:
        fields.append((b"tradeguard-code", public.encode()))
        if executed and members is not None:
            members = {**members, "executed": executed}
        elif executed:
            fields.append((b"tradeguard-executed", executed.encode()))
    if retry_after is not None:
        fields.append((b"retry-after", b"%d" % retry_after))
    if said.status == 401:
        fields.append((b"www-authenticate", challenge.encode()))
    body = _encode({**members, "request_id": ""})[:-2] if members is not None else _encode(list(said.body))
    return said.status, tuple(fields), body.encode()


def _problem(face: Face) -> Said:
    public, status, text, executed, _ = face
    members: dict[str, Any] = {
        "type": _TYPES.get(public, f"urn:tradeguard:denial:{public}"),
        "title": phrase(status),
        "status": status,
        "detail": text,
        "code": public,
        "executed": executed,
    }
    return Said(members, status)
