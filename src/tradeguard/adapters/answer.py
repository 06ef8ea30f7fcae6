"""What every host answers with: a refusal as problem+json (RFC 9457), and the fields that go with every response."""

import json
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple

from tradeguard.core.decision import Denial, Executed, register

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
    own = {"request_id": request_id, **denial.members}
    body = (_common(denial.public, denial.status, denial.text, denial.executed) + _encode(own)[1:]).encode()
    fields = [*_FIXED, (b"content-length", b"%d" % len(body)), *response_fields(request_id, scheme)]
    if denial.retry_after is not None:
        fields.append((b"retry-after", b"%d" % denial.retry_after))
    if denial.status == 401:
        fields.append((b"www-authenticate", challenge.encode()))
    return Answer(denial.status, fields, body)


@lru_cache(256)
def _common(public: str, status: int, text: str, executed: Executed) -> str:
    """Render what all refusals of one kind share, up to the comma."""
    problem = {
        "type": f"urn:tradeguard:denial:{public}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": text,
        "code": public,
        "executed": executed,
    }
    return _encode(problem)[:-1] + ","
