"""Coexistence: without a credential of ours the host decides, until a day; a broken one of ours never falls back."""

from collections.abc import Mapping
from typing import Any

import pytest
from conftest import Run
from support import NOW, READER, SECOND, TRADER, StillClock, make_checks, make_guard, make_request, sign

from tradeguard.backends.memory import Memory, MemoryJournal
from tradeguard.checks.quota import Quotas
from tradeguard.core.address import Networks
from tradeguard.core.decision import Denial, Grant, register
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.event import Event, Written
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.principal import Principal
from tradeguard.core.rate import Rate
from tradeguard.core.request import Request
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

LAST_DAY = "2026-12-31"  # NOW is the 18th of November
ENDS = 1_798_761_600 * SECOND  # 2027-01-01
OPERATIONS: Mapping[str, Any] = {
    "GET /v1/time": {"lane": "public"},
    "GET /v1/old": {"scopes": "orders:read", "coexist": LAST_DAY},
    "POST /v1/old": {"scopes": "orders:write", "coexist": LAST_DAY},
    "GET /v1/new": "orders:read",
}
HOURS = register("hours.shut", status=403, text="Closed.", hint="It is outside of trading hours.")


def guard_with(checks: list[object] | None = None, **other: Any) -> tuple[Guard, MemoryJournal]:
    journal = MemoryJournal()
    parts: dict[str, Any] = {"operations": Operations(OPERATIONS), "journal": journal, **other}
    return make_guard(make_checks() if checks is None else checks, **parts), journal


def host(*scopes: str, **other: Any) -> Principal:
    known = {"id": "u1", "key_id": "", "account": "acme", "networks": Networks(), "kind": "host"}
    return Principal(**{**known, "scopes": frozenset(scopes), **other})


def old(method: str = "GET", **other: Any) -> Request:
    return make_request(method, b"/v1/old", **other)


def code_of(decision: Grant | Denial | None) -> str:
    return decision.code if isinstance(decision, Denial) else "granted"


def kinds(journal: MemoryJournal) -> list[str]:
    return [event.kind for event in journal.events]


def let_in(run: Run, guard: Guard, request: Request) -> Grant:
    grant = run(guard.admit(request))
    assert isinstance(grant, Grant)
    return grant


def test_without_a_credential_of_ours_the_host_decides(run: Run) -> None:
    guard, _ = guard_with()
    grant = let_in(run, guard, old())
    assert (grant.coexists, grant.principal) == (True, None)


def test_a_signed_request_does_not_coexist(run: Run) -> None:
    guard, _ = guard_with()
    grant = let_in(run, guard, sign(READER, target=b"/v1/old"))
    assert not grant.coexists
    assert grant.principal is not None
    with pytest.raises(ConfigError, match="coexist"):
        run(grant.vouch(host("orders:read")))
    with pytest.raises(ConfigError, match="public"):
        grant.vouch_now(host("orders:read"))


@pytest.mark.parametrize(("method", "target"), [("GET", b"/v1/new"), ("GET", b"/v1/nowhere"), ("DELETE", b"/v1/old")])
def test_nothing_else_does_without_a_credential(run: Run, method: str, target: bytes) -> None:
    guard, _ = guard_with()
    assert code_of(run(guard.admit(make_request(method, target)))) == "proof.unclaimed"


def test_a_public_operation_is_nothing_to_vouch_for(run: Run) -> None:
    guard, _ = guard_with()
    grant = let_in(run, guard, make_request())
    assert not grant.coexists
    with pytest.raises(ConfigError):
        run(grant.vouch(host()))


def broken() -> dict[str, Request]:
    signed = sign(READER, target=b"/v1/old")
    ours = [(name, value) for name, value in signed.headers.raw if name.startswith(b"tg-")]
    wrong, stale = Signer(TG1, "reader", b"not this one"), sign(READER, target=b"/v1/old", at=NOW - 3_600 * SECOND)
    cases = {
        "wrong signature": sign(wrong, target=b"/v1/old"),
        "unknown key": sign(Signer(TG1, "nobody", b"nothing here"), target=b"/v1/old"),
        "stale": stale,
        "bare key id": old(headers=[(b"tg-key", b"reader")]),
        "empty key id": old(headers=[(b"tg-key", b"")]),
        "bare key id of another dialect": old(headers=[(b"x-mbx-apikey", b"bina")]),
        "two dialects": old(headers=[*ours, (b"x-mbx-apikey", b"bina")]),
        "twice": old(headers=[*ours, *ours]),
        "beside a cookie": old(headers=[(b"cookie", b"session=1"), (b"tg-key", b"reader")]),
        "lower in scope": sign(READER, "POST", b"/v1/old"),
    }
    for left_out, _ in ours:
        cases[f"without {left_out.decode()}"] = old(headers=[field for field in ours if field[0] != left_out])
    for name, value in ours:
        cases[f"{name.decode()} alone"] = old(headers=[(name, value)])
    return cases


@pytest.mark.parametrize("case", broken())
def test_a_broken_credential_of_ours_never_falls_back(run: Run, case: str) -> None:
    guard, journal = guard_with()
    decision = run(guard.admit(broken()[case]))
    assert isinstance(decision, Denial), case
    assert decision.status in (400, 401, 403)
    assert kinds(journal) == ["refused"]


def test_half_a_signature_in_the_query_never_falls_back(run: Run) -> None:
    guard, _ = guard_with()
    for query in (b"signature=" + b"0" * 64, b"timestamp=1&signature=" + b"0" * 64):
        request = make_request("GET", b"/v1/old?" + query, headers=[(b"x-mbx-apikey", b"bina")])
        assert isinstance(run(guard.admit(request)), Denial)


@pytest.mark.parametrize(("at", "coexists"), [(ENDS - 1, True), (ENDS, False), (ENDS + SECOND, False)])
def test_it_ends_with_the_last_day_in_utc(run: Run, at: int, coexists: bool) -> None:
    guard, _ = guard_with(runtime=StillClock(at))
    decision = run(guard.admit(old(arrived=at)))
    assert code_of(decision) == ("granted" if coexists else "proof.unclaimed")
    if isinstance(decision, Denial):
        assert decision.status == 401


def test_a_public_row_refuses_it() -> None:
    with pytest.raises(ConfigError, match="nothing to coexist with"):
        Operations({"GET /x": {"lane": "public", "coexist": LAST_DAY}})


@pytest.mark.parametrize("day", ["2027-02-30", "soon", "", 20270331, None, True, "2027-03-31T00:00:00"])
def test_the_end_is_a_day(day: Any) -> None:
    with pytest.raises(ConfigError, match="2027-03-31"):
        Operations({"GET /x": {"scopes": "orders:read", "coexist": day}})


def test_whom_the_host_vouches_for_passes_and_is_on_record(run: Run) -> None:
    guard, journal = guard_with()
    request = old()
    grant = let_in(run, guard, request)
    assert run(grant.vouch(host("orders:read"))) is None
    guard.finish(request, 200)
    vouched, outcome = journal.events
    assert (vouched.kind, vouched.dialect, vouched.account, vouched.proven) == ("vouched", "host", "acme", True)
    assert (outcome.kind, outcome.dialect, outcome.account) == ("outcome", "host", "acme")
    assert vouched.request_id == outcome.request_id == grant.request_id


def test_a_host_without_an_event_loop_vouches_now(run: Run) -> None:
    guard, journal = guard_with()
    grant = let_in(run, guard, old())
    assert grant.vouch_now(host("orders:read")) is None
    assert kinds(journal) == ["vouched"]


def test_whom_nobody_vouched_for_is_seen_in_the_outcome(run: Run) -> None:
    guard, journal = guard_with()
    request = old()
    let_in(run, guard, request)
    guard.finish(request, 401)
    assert [(event.kind, event.dialect, event.proven) for event in journal.events] == [("outcome", "host", False)]


def test_after_vouching_the_request_knows_the_principal(run: Run) -> None:
    guard, _ = guard_with()
    request, found = old(), host("orders:read")
    grant = let_in(run, guard, request)
    assert run(grant.vouch(found)) is None
    assert (request.principal, request.credential) == (found, None)
    assert grant.recheck() is None


@pytest.mark.parametrize(
    ("principal", "address", "code"),
    [
        (host(), "127.0.0.1", "scope.missing"),
        (host("orders:write"), "127.0.0.1", "scope.missing"),
        (host("orders:read", networks=Networks(["203.0.113.0/24"])), "127.0.0.1", "network.outside"),
        (host("orders:read", networks=Networks(["203.0.113.0/24"])), None, "network.outside"),
        (host("orders:read", networks=Networks(["203.0.113.0/24"])), "203.0.113.7", "granted"),
    ],
)
def test_it_is_judged_by_scope_and_network(run: Run, principal: Principal, address: str | None, code: str) -> None:
    guard, journal = guard_with()
    grant = let_in(run, guard, old(address=address))
    denial = run(grant.vouch(principal))
    assert code_of(denial) == code
    assert kinds(journal) == ["vouched" if denial is None else "refused"]


class Shut:
    """A check of the host's own."""

    async def __call__(self, request: Request, /) -> Denial | None:
        assert request.principal is not None
        return Denial(HOURS)


class Raises:
    async def __call__(self, _request: Request, /) -> Denial | None:
        raise RuntimeError("broken")


@pytest.mark.parametrize(("check", "code"), [(Shut(), "hours.shut"), (Raises(), "outage.fault")])
def test_it_is_judged_by_the_hosts_own_checks(run: Run, check: object, code: str) -> None:
    guard, journal = guard_with([*make_checks(), check])
    grant = let_in(run, guard, old())
    denial = run(grant.vouch(host("orders:read")))
    assert code_of(denial) == code
    assert [(event.kind, event.code) for event in journal.events] == [("refused", code)]


def test_it_vouches_once(run: Run) -> None:
    guard, journal = guard_with()
    grant = let_in(run, guard, old())
    assert run(grant.vouch(host("orders:read"))) is None
    second = run(grant.vouch(host("orders:read", id="u2", account="other")))
    assert isinstance(second, Denial)
    assert (second.status, kinds(journal)) == (503, ["vouched", "refused"])


def test_who_was_refused_cannot_be_exchanged_for_another(run: Run) -> None:
    guard, _ = guard_with()
    grant = let_in(run, guard, old())
    assert code_of(run(grant.vouch(host()))) == "scope.missing"
    assert isinstance(run(grant.vouch(host("orders:read"))), Denial)


class FullJournal(MemoryJournal):
    """Takes the kinds that it is told; every other is lost."""

    def __init__(self, *takes: str) -> None:
        super().__init__()
        self._takes = takes

    def append(self, event: Event) -> Any:
        return super().append(event) if event.kind in self._takes else Written(BackendDown("the disk is full"))


def test_where_it_cannot_be_recorded_it_is_refused(run: Run) -> None:
    guard, _ = guard_with(journal=FullJournal("intent"))
    for method, scope in (("GET", "orders:read"), ("POST", "orders:write")):
        grant = let_in(run, guard, old(method))
        denial = run(grant.vouch(host(scope)))
        assert isinstance(denial, Denial)
        assert (denial.code, denial.status) == ("record.unrecorded", 503)


def test_an_order_is_on_record_before_the_handler_runs(run: Run) -> None:
    guard, journal = guard_with()
    grant = let_in(run, guard, old("POST"))
    assert list(journal.events) == []  # a stranger writes nothing
    assert run(grant.vouch(host("orders:write"))) is None
    (line,) = journal.events
    assert (line.kind, line.lane, line.dialect, line.proven) == ("vouched", "order", "host", True)
    assert line.key_id == host().id
    down, _ = guard_with(journal=FullJournal())
    assert run(let_in(run, down, old("POST")).vouch(host("orders:write"))).code == "record.unrecorded"


def test_nothing_is_settled_before_it_is_vouched_for(run: Run) -> None:
    """A stranger without a credential leaves no trace in the shared state."""

    class Counting(Memory):
        commits = 0

        async def commit(self, *asked: Any, **more: Any) -> Any:
            type(self).commits += 1
            return await super().commit(*asked, **more)

    state = Counting(since=1)
    guard, _ = guard_with(state=state)
    grant = let_in(run, guard, old())
    assert Counting.commits == 0
    assert run(grant.vouch(host("orders:read"))) is None
    assert Counting.commits == 0  # nor does whom the host vouches for: there is no key and no message to settle


def test_a_signed_request_can_be_sent_once_while_its_operation_coexists(run: Run) -> None:
    guard, _ = guard_with()
    request = sign(TRADER, target=b"/v1/old", nonce=b"a" * 22)
    again = sign(TRADER, target=b"/v1/old", nonce=b"a" * 22)
    assert code_of(run(guard.admit(request))) == "granted"
    assert code_of(run(guard.admit(again))) == "replay.seen"


def test_whom_the_host_finds_has_a_count_of_his_own_and_takes_nothing_from_a_key_of_his_name(run: Run) -> None:
    """The first one's count is not the next one's; and nobody uses up a key's quota by being called as it is."""
    guard, _ = guard_with([*make_checks(), Quotas({"requests": "2/minute", "a": Rate("2/minute", by="account")})])

    def asks(id: str, account: str) -> str:
        return code_of(run(let_in(run, guard, old()).vouch(host("orders:read", id=id, account=account))))

    assert [asks("u1", "one") for _ in range(3)] == ["granted", "granted", "quota.exceeded"]
    assert [asks("u2", "two") for _ in range(3)] == ["granted", "granted", "quota.exceeded"]
    assert [asks("reader", "three") for _ in range(3)] == ["granted", "granted", "quota.exceeded"]
    assert isinstance(run(guard.admit(sign(READER, target=b"/v1/new"))), Grant)
    assert [asks("u4", ""), asks("u4", ""), asks("u5", "")] == ["granted"] * 3  # without an account one by himself
    assert asks("u4", "") == "quota.exceeded"
