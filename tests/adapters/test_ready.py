"""What the guard answers itself: the time in every dialect's words, and what is known of the caller's own key."""

import json
from typing import Any

import pytest
from conftest import Run
from support import BINA, MS, NOW, SECOND, SECRET, TRADER, make_checks, make_guard, make_request, sign

from tradeguard.adapters.answer import shape_of
from tradeguard.adapters.ready import READY, answer_of
from tradeguard.backends.memory import MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.quota import Quotas
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.decision import Grant
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import ANSWERS, Operations
from tradeguard.core.rate import Rate
from tradeguard.core.request import Request
from tradeguard.signing.material import Hmac
from tradeguard.signing.rows import BINANCE, TG1


def _grant(run: Run, request: Request, **other: Any) -> Grant:
    decision = run(make_guard(**other).admit(request))
    assert isinstance(decision, Grant)
    return decision


def _told(run: Run, answer: str, request: Request, now: int = NOW, **other: Any) -> dict[str, Any]:
    answered = answer_of(
        answer, request, _grant(run, request, **other), now, shape_of(request, "", make_guard().dialects)
    )
    assert answered.status == 200
    assert dict(answered.fields)[b"content-length"] == b"%d" % len(answered.body)
    told: dict[str, Any] = json.loads(answered.body)
    return told


def test_there_is_an_answer_for_every_row_that_the_map_takes() -> None:
    assert set(READY) == set(ANSWERS)


def test_the_time_is_told_to_anybody_to_the_nanosecond(run: Run) -> None:
    told = _told(run, "time", make_request(), NOW + 123_456_789)
    assert told == {"time_ns": NOW + 123_456_789, "iso": "2026-11-18T11:06:40.123456Z"}


def test_the_time_is_told_as_the_dialect_of_the_venue_has_it(run: Run) -> None:
    request = make_request()
    grant = _grant(run, request)
    for shape, body in ((BINANCE, {"serverTime": NOW // MS}), (TG1, {"time_ns": NOW, "iso": "2026-11-18T11:06:40Z"})):
        assert json.loads(answer_of("time", request, grant, NOW, shape).body) == body


def test_a_key_is_told_all_that_is_known_of_it_and_no_secret(run: Run) -> None:
    record = KeyRecord(
        id="trader", dialect="tg1", material=Hmac(SECRET), scopes={"orders:read"}, roles={"trader"}, tier="gold",
        granted={"account:read"}, owner="acme", account="acme-1", networks=["127.0.0.0/8"], expires=NOW + SECOND,
        label="desk 4", actor="ann", reason="new desk",
    )  # fmt: skip
    signature = Signature(MemoryKeys([record]))
    request = sign(TRADER, at=NOW - 1_234 * MS)
    told = _told(run, "whoami", request, checks=[signature, Freshness(), Network(), Scope(), Replay()])
    assert told == {
        "request_id": request.id,
        "source": "127.0.0.1",
        "key": "trader",
        "owner": "acme",
        "account": "acme-1",
        "on_behalf_of": None,
        "scopes": ["account:read", "orders:read"],
        "roles": ["trader"],
        "tier": "gold",
        "held_to_networks": True,
        "expires": "2026-11-18T11:06:41Z",
        "limits": [],
        "dialect": "tg1",
        "algorithm": "hmac-sha256",
        "offset_ms": -1_234,
    }
    text = json.dumps(told)
    assert not [word for word in (SECRET.decode(), SECRET.hex(), "127.0.0.0", "desk 4", "ann", "new") if word in text]


WHOAMI = Operations({
    "GET /v1/me": {"scopes": "orders:read", "answer": "whoami"},
    "GET /v1/orders": "orders:read",
    "POST /v1/orders": "orders:write",
})  # fmt: skip
RATES = {
    "requests": Rate("10/second;100/hour"),
    "orders": Rate("5/minute", lanes=("order",), burst=2),
    "cancels": Rate("7/minute", by="account", lanes=("cancel",)),
    "trial": Rate("1/second", shadow=True),
    "venue": Rate("1000/second", by="venue"),
    "strangers": Rate("3/second", by="source", lanes=("public",)),
}


def test_all_limits_of_the_caller_are_told_with_what_is_left_and_asking_costs_those_of_other_lanes_nothing(
    run: Run,
) -> None:
    guard = make_guard([*make_checks(), Quotas(RATES)], operations=WHOAMI)
    order = sign(TRADER, "POST", b"/v1/orders", body=b"{}", content_type=b"application/json")
    for request in (order, sign(TRADER)):
        assert isinstance(run(guard.admit(request)), Grant)
    for asked in (1, 2):
        request = sign(TRADER, "GET", b"/v1/me")
        grant = run(guard.admit(request))
        assert isinstance(grant, Grant)
        told = json.loads(answer_of("whoami", request, grant, NOW).body)["limits"]
        assert [tuple(limit.values())[:4] for limit in told] == [
            ("requests-1s", 10, 1, 8 - asked),
            ("requests-1h", 100, 3600, 98 - asked),
            ("orders-1m", 2, 60, 1),
            ("cancels-1m", 7, 60, 7),
        ]
        assert told[0]["more_after_seconds"] == 1
        assert [charge.quota.key.partition(":")[0] for charge in grant.charges] == ["requests", "venue"]


def test_the_offset_has_the_sign_that_a_stale_refusal_has(run: Run) -> None:
    early = _told(run, "whoami", sign(BINA, "GET", b"/v1/orders", at=NOW + 500 * MS))
    assert (early["offset_ms"], early["dialect"], early["held_to_networks"]) == (500, "binance", False)


@pytest.mark.parametrize("address", [None, "2001:db8::7"])
def test_the_source_is_told_as_it_is_seen(run: Run, address: str | None) -> None:
    assert _told(run, "whoami", sign(TRADER, address=address))["source"] == address


def test_who_did_not_sign_is_told_nothing_of_any_key(run: Run) -> None:
    request = make_request()
    assert _told(run, "whoami", request) == {"request_id": request.id, "source": "127.0.0.1"}


def test_a_head_request_gets_the_length_and_no_body(run: Run) -> None:
    asked, headed = (answer_of("time", r, _grant(run, r), NOW) for r in (make_request(), make_request("HEAD")))
    assert (asked.body != b"", headed.body) == (True, b"")
    assert dict(headed.fields)[b"content-length"] == b"%d" % len(asked.body)


def test_nobody_may_keep_an_answer_for_later_or_take_it_for_a_page(run: Run) -> None:
    request = make_request(scheme="https")
    fields = dict(answer_of("time", request, _grant(run, request), NOW).fields)
    assert fields[b"cache-control"] == b"no-store"
    assert fields[b"x-content-type-options"] == b"nosniff"
    assert fields[b"x-request-id"] == request.id.encode()
    assert b"strict-transport-security" not in fields, "that is said once, by the policy"


def test_a_time_beyond_the_calendar_is_told_as_a_number(run: Run) -> None:
    assert _told(run, "time", make_request(), 10**30)["iso"] == str(10**30)


def test_an_answer_that_is_none_is_refused_by_name(run: Run) -> None:
    request = make_request()
    with pytest.raises(ConfigError, match="there is no ready operation 'limits'; there are time, whoami"):
        answer_of("limits", request, _grant(run, request), NOW)
