"""What every host answers with: a refusal as problem+json (RFC 9457), and the fields that go with every response."""

import json
from functools import lru_cache
from http.client import responses
from typing import Final, NamedTuple

from tradeguard.core.decision import Denial, Face, register

UNCONFIGURED: Final = register(
    "answer.unconfigured",
    status=503,
    text="The service is not configured.",
    hint="The guard could not be built; the log of the start has the reason. Nothing passes until it can.",
)
HSTS: Final = (b"strict-transport-security", b"max-age=63072000")
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_FIXED: Final = (
    (b"content-type", b"application/problem+json"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)


class Answer(NamedTuple):
    """A whole response."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes


def phrase(status: int) -> str:
    """Return the reason phrase of a status (RFC 9110, 15), and a plain one where there is none."""
    return responses.get(status, "Refused")


def response_fields(request_id: str, scheme: str) -> list[tuple[bytes, bytes]]:
    """Return the fields that every response carries: our request id, and HSTS over TLS."""
    fields = [(b"x-request-id", request_id.encode())]
    if scheme == "https":
        fields.append(HSTS)
    return fields


def refuse(denial: Denial, request_id: str, *, scheme: str, challenge: str) -> Answer:
    """Render a refusal.

    Args:
        denial: what was decided.
        request_id: ours.
        scheme: "http" or "https".
        challenge: for WWW-Authenticate on a 401 (RFC 9110, 11.6.1).
    """
    fields, body = _render(denial.face, challenge)
    body += request_id.encode() + (b'",' + _encode(dict(denial.members)).encode()[1:] if denial.members else b'"}')
    own = (b"content-length", b"%d" % len(body)), *response_fields(request_id, scheme)
    return Answer(denial.status, [*fields, *own], body)


@lru_cache(512)
def _render(face: Face, challenge: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Render what all refusals of one kind share: their fields, and their body up to the request id."""
    public, status, text, executed, retry_after = face
    problem = {
        "type": f"urn:tradeguard:denial:{public}",
        "title": phrase(status),
        "status": status,
        "detail": text,
        "code": public,
        "executed": executed,
        "request_id": "",
    }
    fields = [*_FIXED]
    if retry_after is not None:
        fields.append((b"retry-after", b"%d" % retry_after))
    if status == 401:
        fields.append((b"www-authenticate", challenge.encode()))
    return fields, _encode(problem).encode()[:-2]
