"""How a refusal looks: problem+json (RFC 9457), the same for all of one kind."""

import json

import pytest

from tradeguard.adapters.answer import refuse
from tradeguard.checks import replay, scope, signature  # noqa: F401 - they register their codes
from tradeguard.core.decision import Denial

ID = "0" * 31 + "1"


def rendered(denial: Denial) -> tuple[dict[bytes, bytes], dict[str, object]]:
    answer = refuse(denial, ID, challenge="TG1")
    fields = dict(answer.fields)
    assert len(fields) == len(answer.fields)
    assert fields[b"content-length"] == b"%d" % len(answer.body)
    return fields, json.loads(answer.body)


def test_a_refusal_says_what_when_and_whether_it_was_executed() -> None:
    fields, problem = rendered(Denial("replay.seen", members={"first_request_id": "a\u20ac"}, retry_after=3))
    assert problem == {
        "type": "urn:tradeguard:denial:replay.seen",
        "title": "Conflict",
        "status": 409,
        "detail": "This message was received before. Look the operation up before you sign it again.",
        "code": "replay.seen",
        "executed": "unknown",
        "request_id": ID,
        "first_request_id": "a\u20ac",
    }
    assert fields == {
        b"content-type": b"application/problem+json",
        b"x-content-type-options": b"nosniff",
        b"cache-control": b"no-store",
        b"content-length": fields[b"content-length"],
        b"x-request-id": ID.encode(),
        b"retry-after": b"3",
    }


def test_only_a_401_carries_a_challenge() -> None:
    assert rendered(Denial("signature.wrong"))[0][b"www-authenticate"] == b"TG1"
    assert b"www-authenticate" not in rendered(Denial("scope.missing"))[0]


@pytest.mark.parametrize("status", [400, 418, 499, 520, 599])
def test_any_status_of_a_custom_check_can_be_rendered(status: int) -> None:
    assert rendered(Denial("hours.closed", status=status))[1]["status"] == status


def test_what_one_caller_reads_does_not_reach_the_next() -> None:
    first = rendered(Denial("scope.missing", members={"scope": "orders:write"}))
    second = rendered(Denial("scope.missing"))
    assert first[1]["scope"] == "orders:write"
    assert "scope" not in second[1]
