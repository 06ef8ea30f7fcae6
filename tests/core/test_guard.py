"""The guard: its phases in their order, what it refuses to be built from, and that it fails closed."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from conftest import Run
from support import (
    HOME,
    MS,
    NOW,
    OPERATIONS,
    READER,
    SECOND,
    SECRET,
    TRADER,
    StillClock,
    make_checks,
    make_guard,
    make_keys,
    make_request,
    sign,
)  # fmt: skip

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.conditions import Below, Once, Outcome
from tradeguard.core.credential import Claim, Credential, Window
from tradeguard.core.decision import Denial, Grant, Refused, register
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.event import Event, Written
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord, KeyState, key_number
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.principal import Principal
from tradeguard.core.request import Peer, Request
from tradeguard.core.runtime import Loop
from tradeguard.keys.cache import CachedKeys
from tradeguard.signing.material import Hmac
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

WRONG = Signer(TG1, "trader", b"not the secret of the key")
JSON = b"application/json"


def order(signer: Signer = TRADER, **other: Any) -> Request:
    return sign(signer, "POST", b"/v1/orders", body=b"{}", content_type=JSON, **other)


def code_of(decision: Grant | Denial) -> str:
    return decision.code if isinstance(decision, Denial) else "granted"


# ---------------------------------------------------------------------------------------------- composition


@pytest.mark.no_cover
def test_every_list_of_checks_is_refused_or_grants_nothing_without_proof(run: Run) -> None:
    built, keys = 0, make_keys()
    for size in range(7):
        for names in permutations(range(6), size):
            parts = make_checks(keys)
            try:
                guard = make_guard([parts[number] for number in names])
            except ConfigError:
                continue
            built += 1
            assert code_of(run(guard.admit(make_request("POST", b"/v1/orders")))) == "proof.unclaimed"
            assert code_of(run(guard.admit(order(WRONG)))) == "signature.wrong"
            assert code_of(run(guard.admit(order()))) == "granted"
    assert built == 24 + 2 * 120 + 720  # the four required ones, with one or both of Source and Network


MISSING: list[tuple[type, str]] = [
    (Signature, "Signature"),
    (Freshness, "Freshness"),
    (Scope, "Scope"),
    (Replay, "Replay"),
]


@pytest.mark.parametrize(("kind", "cure"), MISSING)
def test_a_list_without_a_required_check_is_refused_with_the_cure(kind: type, cure: str) -> None:
    with pytest.raises(ConfigError, match=cure):
        make_guard([check for check in make_checks() if not isinstance(check, kind)])


@pytest.mark.parametrize("kind", [Freshness, Scope, Replay])
def test_a_required_check_is_left_out_by_name_only(kind: Any) -> None:
    checks = [check for check in make_checks() if not isinstance(check, kind)]
    assert make_guard(checks, without=(kind.name,))


def outside_the_scope() -> list[Request]:
    return [order(READER)]


def from_elsewhere() -> list[Request]:
    return [order(HOME, address="198.51.100.1")]


def too_old() -> list[Request]:
    return [order(at=NOW - 6 * SECOND)]


def twice() -> list[Request]:
    return [order(nonce=b"n" * 16), order(nonce=b"n" * 16)]


def many_failures() -> list[Request]:
    return [order(WRONG) for _ in range(40)] + [order()]


@pytest.mark.parametrize(
    ("name", "attack", "code"),
    [
        ("scope", outside_the_scope, "scope.missing"),
        ("network", from_elsewhere, "network.outside"),
        ("freshness", too_old, "freshness.stale"),
        ("replay", twice, "replay.seen"),
        ("source", many_failures, "source.pair"),
    ],
)
def test_each_check_alone_stands_between_an_attack_and_the_handler(
    run: Run, name: str, attack: Callable[[], list[Request]], code: str
) -> None:
    """Mutation by deletion: with the check the attack is refused by it, without it the attack gets through."""
    guarded = make_guard()
    assert code_of([run(guarded.admit(request)) for request in attack()][-1]) == code
    without: tuple[str, ...] = (name,) if name in ("scope", "freshness", "replay") else ()
    left = [check for check in make_checks() if getattr(check, "name", "") != name]
    # an expired message cannot be settled either: replay keeps it out where freshness is gone
    if name == "freshness":
        left, without = [check for check in left if not isinstance(check, Replay)], ("freshness", "replay")
    open_guard = make_guard(left, without=without)
    assert code_of([run(open_guard.admit(request)) for request in attack()][-1]) == "granted"


@pytest.mark.parametrize(
    ("checks", "other", "text"),
    [
        ([*make_checks(), Scope()], {}, "two checks are named 'scope'"),
        ([*make_checks(), "scope"], {}, "is no check"),
        ([*make_checks(), Scope], {}, "is no check"),
        (make_checks(), {"without": ("scope",)}, "in the list and in without"),
        (make_checks(), {"without": ("signature",)}, "it lists some of"),
        (make_checks(), {"without": "replay"}, "it lists some of"),
        (make_checks(), {"operations": Operations({"GET /x": "algo:read"})}, "unknown scope 'algo:read'"),
        (
            make_checks(),
            {"operations": Operations({"GET /x": {"scopes": "orders:read", "assurance": 2}})},
            "assurance 2",
        ),
    ],
)
def test_what_cannot_work_is_refused_when_the_guard_is_built(
    checks: list[Any], other: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        make_guard(checks, **other)


def test_a_state_that_cannot_settle_a_check_is_refused() -> None:
    class NumbersOnly(Memory):
        supports = frozenset({Below})

    with pytest.raises(ConfigError, match="Replay needs Advance, Once, which NumbersOnly cannot settle"):
        make_guard(state=NumbersOnly())


def test_a_declared_scope_is_known() -> None:
    assert make_guard(operations=Operations({"GET /x": "algo:read"}), policy=Policy(scopes=["algo:read"]))


def test_a_guard_without_runtime_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="hand it to an adapter"):
        _ = make_guard(runtime=None).runtime


# ---------------------------------------------------------------------------------------------- the proof line


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (lambda: make_request("POST", b"/v1/orders"), "proof.unclaimed"),
        (lambda: make_request("POST", b"/no/such/operation"), "proof.unclaimed"),
        (lambda: order(WRONG), "signature.wrong"),
        (lambda: order(Signer(TG1, "nobody", SECRET)), "signature.unknown"),
        (lambda: make_request("POST", b"/v1/orders", headers=[(b"tg-key", b"trader")]), "signature.missing"),
        (lambda: make_request("GET", b"/v1/time", headers=[(b"tg-signature", b"x")]), "place.field"),
    ],
    ids=["unsigned", "unmapped", "wrong", "unknown", "bare", "broken"],
)
def test_before_the_proof_there_is_one_401(run: Run, request_: Callable[[], Request], code: str) -> None:
    denial = run(make_guard().admit(request_()))
    assert isinstance(denial, Denial)
    face = (denial.status, denial.public, denial.text, denial.executed, denial.retry_after, dict(denial.members))
    text = "The request is not signed by a known key, or its signature does not verify."
    assert face == (401, "unauthorized", text, False, None, {})
    assert denial.code == code


def test_what_an_operation_is_shows_only_after_the_proof(run: Run) -> None:
    assert code_of(run(make_guard().admit(sign(TRADER, "GET", b"/no/such/operation")))) == "guard.unmapped"


class Badge:
    """A custom proof: a header with a name in it."""

    challenge = "Badge"
    ports = ()

    def __init__(self, denial: Denial | None = None, *, proves: bool = True) -> None:
        self.result, self.proves = denial, proves

    def claim(self, request: Request, /) -> Claim | None:
        badge = request.headers.one(b"badge")
        return None if badge is None else Claim("badge", badge.decode())

    async def prove(self, request: Request, claim: Claim, /) -> Denial | None:
        if self.proves and self.result is None:
            window = Window(5 * SECOND, SECOND)
            coverage = frozenset[str]()
            at = request.received
            nonce = request.id.encode()
            credential = Credential(
                "badge", "none", claim.key_id, at, at + window.past, nonce, bytes(32), coverage, window
            )
            record = await make_keys().find("trader")
            assert record is not None
            request.prove(credential, record.principal)
        return self.result


def badge_request() -> Request:
    return make_request("POST", b"/v1/orders", headers=[(b"badge", b"trader")])


def with_badge(badge: Badge) -> Guard:
    return make_guard([badge, Freshness(), Scope(), Replay()])


def test_a_custom_proof_proves(run: Run) -> None:
    assert code_of(run(with_badge(Badge()).admit(badge_request()))) == "granted"


def test_a_custom_proofs_denial_wears_the_face_of_the_one_401(run: Run) -> None:
    denial = run(with_badge(Badge(Denial("badge.lost", status=403, detail="why"))).admit(badge_request()))
    assert isinstance(denial, Denial)
    assert (denial.code, denial.status, denial.public, denial.detail) == ("badge.lost", 401, "unauthorized", "why")


def test_a_custom_proofs_outage_keeps_its_status(run: Run) -> None:
    assert run(with_badge(Badge(Denial("badge.reader", status=503))).admit(badge_request())).status == 503


def test_a_proof_that_proves_nothing_grants_nothing(run: Run) -> None:
    assert code_of(run(with_badge(Badge(proves=False)).admit(badge_request()))) == "proof.unproven"


def test_two_proofs_at_once_are_refused(run: Run) -> None:
    guard = make_guard([*make_checks(), Badge()])
    both = order()
    request = make_request("POST", b"/v1/orders", headers=[(b"badge", b"x"), *both.headers.raw[1:]], body=b"{}")
    assert code_of(run(guard.admit(request))) == "proof.ambiguous"
    assert guard.challenge == 'TG1 realm="api", Binance realm="api", Badge'


def test_credential_and_principal_are_write_once(run: Run) -> None:
    class Thief:
        async def __call__(self, request: Request, /) -> Denial | None:
            assert request.credential is not None
            request.prove(request.credential, Principal("admin", "admin", "admin", frozenset({"keys:admin"}), None))  # type: ignore[arg-type]
            return None

    request = order()
    assert code_of(run(make_guard([*make_checks(), Thief()]).admit(request))) == "outage.fault"
    assert request.principal is not None
    assert request.principal.key_id == "trader"
    with pytest.raises(AttributeError):
        request.principal = None  # type: ignore[misc]


# ---------------------------------------------------------------------------------------------- judges


class TradingHours:
    """The custom check of the design page."""

    async def __call__(self, request: Request, /) -> Denial | None:
        assert request.operation is not None
        if request.operation.lane == "order" and not 8 <= request.received // 3_600_000_000_000 % 24 < 22:
            return Denial("hours.closed", status=403)
        return None


def test_a_custom_check_judges(run: Run) -> None:
    at_night = NOW // (86_400 * SECOND) * 86_400 * SECOND + 3 * 3600 * SECOND
    for at, code in ((at_night, "hours.closed"), (at_night + 9 * 3600 * SECOND, "granted")):
        guard = make_guard([*make_checks(), TradingHours()], runtime=StillClock(at))
        assert code_of(run(guard.admit(order(at=at, arrived=at)))) == code


def test_the_first_denial_in_the_lists_order_wins(run: Run) -> None:
    request = {"at": NOW - 60 * SECOND}
    assert code_of(run(make_guard().admit(order(READER, **request)))) == "freshness.stale"
    source, signature, freshness, network, scope, replay = make_checks()
    turned = make_guard([source, signature, scope, network, freshness, replay])
    assert code_of(run(turned.admit(order(READER, **request)))) == "scope.missing"


def test_a_refused_order_does_not_come_back_to_life(run: Run) -> None:
    class Closed:
        open = False

        async def __call__(self, _request: Request, /) -> Denial | None:
            return None if self.open else Denial("venue.closed", status=503)

    closed = Closed()
    guard = make_guard([*make_checks(), closed])
    assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "venue.closed"
    closed.open = True
    assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "replay.seen"


def test_a_message_that_was_used_is_said_to_be_used_whatever_the_judges_say(run: Run) -> None:
    """Else a client would read `executed: false`, and sign an order again that is in the book."""
    guard = make_guard()
    first = order(HOME, nonce=b"n" * 16, address="203.0.113.7")
    assert code_of(run(guard.admit(first))) == "granted"
    again = run(guard.admit(order(HOME, nonce=b"n" * 16, address="198.51.100.1")))
    assert isinstance(again, Denial)
    assert (again.code, again.executed, again.members) == ("replay.seen", "unknown", {"first_request_id": first.id})


def test_a_public_operation_needs_no_proof_and_runs_the_hosts_own_judges(run: Run) -> None:
    seen: list[object] = []

    class Looks:
        async def __call__(self, request: Request, /) -> Denial | None:
            seen.append(request.principal)
            return None

    grant = run(make_guard([*make_checks(), Looks()]).admit(make_request()))
    assert isinstance(grant, Grant)
    assert (grant.principal, grant.recheck(), seen) == (None, None, [None])


# ---------------------------------------------------------------------------------------------- failing closed


class Breaks:
    """A check that raises."""

    async def __call__(self, _request: Request, /) -> Denial | None:
        raise ZeroDivisionError


def test_a_check_that_raises_is_a_503_that_names_it(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    denial = run(make_guard([*make_checks(), Breaks()]).admit(order()))
    assert isinstance(denial, Denial)
    assert (denial.code, denial.status, denial.detail) == ("outage.fault", 503, "Breaks: ZeroDivisionError")
    assert "Breaks" not in denial.text
    assert "Traceback" in caplog.text


def test_a_message_is_used_up_although_a_check_failed(run: Run) -> None:
    """Else a resent order would pass once the check works again."""

    class Flaky:
        broken = True

        async def __call__(self, _request: Request, /) -> Denial | None:
            if self.broken:
                raise ZeroDivisionError
            return None

    class FlakyCondition:
        name, kinds, broken = "flaky_condition", frozenset({Below}), True

        def conditions(self, _request: Request, /) -> Iterable[Below]:
            if self.broken:
                raise ZeroDivisionError
            return ()

        def denial(self, _condition: object, _outcome: Outcome, /) -> Denial:
            raise AssertionError

    for check in (Flaky(), FlakyCondition()):
        guard = make_guard([*make_checks(), check])
        assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "outage.fault"
        check.broken = False
        assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "replay.seen"


def test_a_message_is_used_up_although_a_gate_failed(run: Run) -> None:
    class Flaky(Source):
        broken = True

        def passed(self, request: Request, claim: Claim, /) -> None:
            if self.broken:
                raise ZeroDivisionError
            super().passed(request, claim)

    gate = Flaky()
    guard = make_guard([gate, *make_checks()[1:]])
    denial = run(guard.admit(order(nonce=b"n" * 16)))
    assert (denial.code, denial.detail) == ("outage.fault", "Flaky: ZeroDivisionError")
    gate.broken = False
    assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "replay.seen"


def test_a_commit_that_suspends_under_drive_may_have_taken_effect() -> None:
    class Remote(Memory):
        async def commit(self, *_: Any, **__: Any) -> Outcome:
            await asyncio.sleep(0)
            raise AssertionError

    denial = drive(make_guard(state=Remote(since=1)).admit(order()))
    assert isinstance(denial, Denial)
    assert (denial.code, denial.executed) == ("outage.suspended", "unknown")


def test_a_check_may_raise_its_denial(run: Run) -> None:
    class Deep:
        async def __call__(self, _request: Request, /) -> Denial | None:
            raise Refused(Denial("deep.down", status=403))

    assert code_of(run(make_guard([*make_checks(), Deep()]).admit(order()))) == "deep.down"


def test_a_door_that_fails_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Source):
        def door(self, _source: str | None, _at: int, /) -> Denial | None:
            raise ZeroDivisionError

    denial = make_guard([Broken(), *make_checks()[1:]]).door(Peer(), NOW)
    assert denial is not None
    assert denial.code == "outage.fault"
    assert "ZeroDivisionError" in caplog.text


def test_an_order_that_is_cancelled_while_its_intent_is_written_has_an_outcome() -> None:
    class Slow(StillClock):
        async def wait(self, _ticket: object) -> None:
            raise asyncio.CancelledError

    journal = MemoryJournal()
    guard = make_guard(journal=journal, runtime=Slow())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(guard.admit(order()))
    kinds = [(event.kind, event.detail) for event in journal.events]
    assert kinds == [("intent", ""), ("outcome", "not handed on: CancelledError")]


class Suspends:
    """A check that waits for an event loop."""

    async def __call__(self, _request: Request, /) -> Denial | None:
        await asyncio.sleep(0)
        return None


def test_a_check_that_suspends_under_drive_is_a_503_that_names_it(run: Run) -> None:
    decision = run(make_guard([*make_checks(), Suspends()]).admit(order()))
    if run is asyncio.run:
        assert code_of(decision) == "granted"
    else:
        assert (decision.code, decision.status, decision.detail) == ("outage.suspended", 503, "Suspends: Suspended")


class Failing(Memory):
    """A state whose commit fails in a given way."""

    def __init__(self, error: Exception) -> None:
        super().__init__(since=1)
        self.error = error

    async def commit(self, *_: Any, **__: Any) -> Outcome:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "executed"),
    [
        (BackendDown("refused"), "outage.down", False),
        (BackendDown("timed out", unknown=True), "commit.unsure", "unknown"),
        (ValueError("nonsense"), "commit.unsure", "unknown"),
    ],
)
def test_a_store_that_fails_refuses(run: Run, error: Exception, code: str, executed: object) -> None:
    denial = run(make_guard(state=Failing(error)).admit(order()))
    assert isinstance(denial, Denial)
    assert (denial.code, denial.status, denial.executed) == (code, 503, executed)


def test_a_key_store_that_fails_refuses(run: Run) -> None:
    class Down(MemoryKeys):
        async def find(self, _id: str, /) -> KeyRecord | None:
            raise BackendDown("refused")

    denial = run(make_guard(make_checks(Down())).admit(order()))
    assert (denial.code, denial.detail) == ("outage.down", "Signature: BackendDown")


def test_a_store_that_is_older_than_was_seen_refuses(run: Run) -> None:
    state = Memory(since=1)
    guard = make_guard(state=state)
    assert code_of(run(guard.admit(order()))) == "granted"
    vars(state).update(vars(Memory(since=1)))  # another epoch
    assert code_of(run(guard.admit(order()))) == "commit.behind"
    assert code_of(run(guard.admit(order()))) == "commit.barrier"


def test_a_store_that_was_put_back_refuses_until_it_is_repaired(run: Run) -> None:
    state = Memory(since=1)
    guard = make_guard(state=state)
    copy = dict(vars(state))
    run(state.set("halt", 0))
    assert code_of(run(guard.admit(order()))) == "granted"
    vars(state).update(copy)  # the same epoch, a lower version
    assert [code_of(run(guard.admit(order()))) for _ in range(3)] == ["commit.behind"] * 3
    run(state.set("halt", 0))
    assert code_of(run(guard.admit(order()))) == "granted"


class FullDisk(MemoryJournal):
    """A journal that loses everything."""

    def append(self, event: Event, /) -> Written:
        super().append(event)
        return Written(BackendDown("no space left on device"))


def test_without_a_record_of_the_intent_no_order_passes_but_reads_and_cancels_do(run: Run) -> None:
    guard = make_guard(journal=FullDisk())
    denial = run(guard.admit(order()))
    assert (denial.code, denial.status, denial.executed) == ("record.unrecorded", 503, False)
    assert code_of(run(guard.admit(sign(TRADER, "GET", b"/v1/orders")))) == "granted"
    assert code_of(run(guard.admit(sign(TRADER, "DELETE", b"/v1/orders/7")))) == "granted"


def test_a_journal_that_raises_does_not_change_an_answer(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    class Raises(MemoryJournal):
        def append(self, _event: Event, /) -> Written:
            raise OSError

    guard = make_guard(journal=Raises())
    request = sign(TRADER, "GET", b"/v1/orders")
    assert code_of(run(guard.admit(request))) == "granted"
    guard.finish(request, 200)
    assert code_of(run(guard.admit(order(WRONG)))) == "signature.wrong"
    assert caplog.text.count("is not on record") == 2


# ---------------------------------------------------------------------------------- barrier, record, recheck


def test_what_was_signed_before_the_start_waits_behind_the_barrier(run: Run) -> None:
    clock = StillClock()
    guard = make_guard(state=Memory(since=NOW), runtime=clock)
    for signed_at in (NOW - SECOND, NOW, NOW + SECOND):
        denial = run(guard.admit(order(at=signed_at)))
        assert isinstance(denial, Denial)
        assert (denial.code, denial.status, denial.retry_after) == ("commit.barrier", 503, 1)
    clock.at = NOW + SECOND + MS
    assert code_of(run(guard.admit(order(at=clock.at, arrived=clock.at)))) == "granted"


def test_the_barrier_stands_after_the_proof(run: Run) -> None:
    guard = make_guard(state=Memory(since=NOW))
    assert code_of(run(guard.admit(order(WRONG)))) == "signature.wrong"
    assert code_of(run(guard.admit(order(READER)))) == "scope.missing"


def test_obeying_the_barriers_retry_after_is_enough(run: Run) -> None:
    clock = StillClock()
    guard = make_guard(state=Memory(since=NOW + 2 * SECOND), runtime=clock)
    denial = run(guard.admit(order()))
    assert denial.retry_after == 3
    clock.at = NOW + 3 * SECOND + MS
    assert code_of(run(guard.admit(order(at=clock.at, arrived=clock.at)))) == "granted"


@pytest.mark.parametrize("row", list(OPERATIONS))
def test_the_lanes_that_move_things_leave_an_intent_before_the_handler(run: Run, row: str) -> None:
    journal = MemoryJournal()
    guard = make_guard(journal=journal)
    method, path = row.replace("{id}", "7").split()
    request = sign(TRADER, method, path.encode())
    decision = run(guard.admit(request))
    kinds = [event.kind for event in journal.events]
    if row == "POST /v1/withdraw":
        assert kinds == ["refused"]
    else:
        assert isinstance(decision, Grant)
        assert kinds == (["intent"] if row == "POST /v1/orders" else [])
        guard.finish(request, 201)
        assert (journal.events[-1].kind, journal.events[-1].status) == ("outcome", 201)


def test_the_operator_reads_why_by_request_id(run: Run) -> None:
    journal = MemoryJournal()
    trace = (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    request = order(READER)
    request.headers = type(request.headers)([*request.headers.raw, trace, (b"x-request-id", b"abc")])
    run(make_guard(journal=journal).admit(request))
    [event] = journal.events
    assert event._replace(digest="", policy="") == Event(
        "refused", NOW, request.id, True, 403, "scope.missing", "POST", "/v1/orders", "POST /v1/orders", "order",
        "reader", "reader", "tg1", "", "127.0.0.1", "abc", trace[1].decode(), detail="lacks orders:write",
    )  # fmt: skip
    assert len(event.digest) == 64


def test_what_strangers_send_is_cut_in_the_record(run: Run) -> None:
    journal = MemoryJournal()
    long = b"/" + b"a" * 5000
    run(make_guard(journal=journal).admit(make_request("GET", long, headers=[(b"x-request-id", b"i" * 5000)])))
    [event] = journal.events
    assert (len(event.path), len(event.client_id), event.proven) == (256, 64, False)


def test_a_grant_does_not_outlive_its_key(run: Run) -> None:
    keys = MemoryKeys(
        [KeyRecord(id="trader", dialect="tg1", material=Hmac(SECRET), scopes={"orders:write"}, expires=NOW + 1)]
    )
    clock = StillClock()
    guard = make_guard(make_checks(keys), runtime=clock)
    grant = run(guard.admit(order()))
    assert isinstance(grant, Grant)
    assert grant.recheck() is None
    clock.at = NOW + 1
    denial = grant.recheck()
    assert denial is not None
    assert denial.code == "signature.expired"


def test_the_receipt_is_after_the_last_byte(run: Run) -> None:
    """A held-open replay: signed and sent in time, its last byte withheld until the nonce is forgotten."""
    clock = StillClock()
    guard = make_guard(runtime=clock)
    assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "granted"
    held = order(nonce=b"n" * 16)
    clock.at = NOW + 6 * SECOND
    assert code_of(run(guard.admit(held))) == "freshness.stale"


def test_the_body_is_given_back_to_the_budget_either_way(run: Run) -> None:
    for request in (order(), order(WRONG)):
        run(make_guard().admit(request))
        assert request._reader is not None
        assert (request._reader.reads, request._reader.released) == (1, 1)  # type: ignore[attr-defined]


def test_a_condition_of_a_custom_check_is_settled_and_explained(run: Run) -> None:
    class Halted:
        name = "halted"
        kinds = frozenset({Below})

        def conditions(self, _request: Request, /) -> Iterable[Below]:
            return [Below(("venue",), 1)]

        def denial(self, _condition: object, _outcome: Outcome, /) -> Denial:
            return Denial("halted.venue", status=503)

    state = Memory(since=1)
    guard = make_guard([*make_checks(), Halted()], state=state)
    assert code_of(run(guard.admit(order()))) == "granted"
    run(state.set("venue", 1))
    assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "halted.venue"
    assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "replay.seen"  # the nonce was spent all the same


def test_a_denial_code_of_ones_own_is_registered_once() -> None:
    code = register("test_guard.own", status=418, text="No.", hint="None.")
    assert Denial(code).status == 418
    with pytest.raises(ConfigError, match="registered already"):
        register("test_guard.own", status=419, text="No.", hint="None.")


# ---------------------------------------------------------------------------------------------- adopting a new plan


NARROW: Mapping[str, Any] = {"GET /v1/orders": "orders:read", "POST /v1/orders": "funds:withdraw"}


def test_another_plan_decides_from_the_next_request_on(run: Run) -> None:
    guard, keys = make_guard(), make_keys()
    before = guard.policy_mark
    assert code_of(run(guard.admit(order()))) == "granted"
    checks, operations, policy = make_checks(keys), Operations(NARROW), Policy(body_bytes=1_000)
    guard.adopt(checks, operations=operations, policy=policy)
    assert code_of(run(guard.admit(order()))) == "scope.missing"
    assert code_of(run(guard.admit(sign(TRADER, "DELETE", b"/v1/orders/7")))) == "guard.unmapped"
    assert (guard.checks, guard.operations, guard.policy) == (tuple(checks), operations, policy)
    assert guard.policy_mark != before
    assert guard.challenge == 'TG1 realm="api", Binance realm="api"'


def test_what_was_used_before_stays_used(run: Run) -> None:
    guard = make_guard()
    assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "granted"
    guard.adopt(make_checks(), operations=Operations(OPERATIONS), policy=Policy())
    assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "replay.seen"


def test_a_request_in_flight_is_decided_and_recorded_by_the_plan_it_began_with(run: Run) -> None:
    """Adopted in its middle: the new plan would refuse it, and lacks the check that has not run yet."""
    journal, ran = MemoryJournal(), list[str]()

    class Adopts:
        async def __call__(self, _request: Request, /) -> Denial | None:
            guard.adopt(make_checks(), operations=Operations({"GET /v1/time": {"lane": "public"}}), policy=Policy())
            return None

    class Later:
        async def __call__(self, _request: Request, /) -> Denial | None:
            ran.append("later")
            return None

    guard = make_guard([*make_checks(), Adopts(), Later()], journal=journal)
    old = guard.policy_mark
    request = order()
    assert code_of(run(guard.admit(request))) == "granted"
    assert ran == ["later"]
    assert guard.policy_mark != old
    guard.finish(request, 200)
    assert [(event.kind, event.policy) for event in journal.events] == [("intent", old), ("outcome", old)]
    assert code_of(run(guard.admit(order()))) == "guard.unmapped"
    assert journal.events[-1].policy == guard.policy_mark


def bad_plans() -> dict[str, dict[str, Any]]:
    class Remote(MemoryKeys):
        colour = "blocking"

    good: dict[str, Any] = {"checks": make_checks(), "operations": Operations(OPERATIONS), "policy": Policy()}
    return {
        "no proof": {**good, "checks": []},
        "no replay": {**good, "checks": make_checks()[:-1]},
        "an unknown scope": {**good, "operations": Operations({"GET /x": "no:such"})},
        "keys that cannot wait here": {**good, "checks": make_checks(Remote())},
    }


@pytest.mark.parametrize("name", bad_plans())
def test_a_bad_plan_is_refused_and_the_old_one_stays(run: Run, name: str) -> None:
    guard = make_guard(runtime=Loop())
    before = (guard.checks, guard.operations, guard.policy, guard.policy_mark, guard.challenge)
    parts = bad_plans()[name]
    with pytest.raises(ConfigError):
        guard.adopt(parts["checks"], operations=parts["operations"], policy=parts["policy"])
    assert (guard.checks, guard.operations, guard.policy, guard.policy_mark, guard.challenge) == before
    at = guard.runtime.now()
    assert code_of(asyncio.run(guard.admit(order(at=at, arrived=at)))) == "granted"


def test_what_the_host_cannot_route_is_not_adopted() -> None:
    def serves(operations: Operations) -> None:
        if operations.match("GET", "/v1/more") is not None:
            raise ConfigError("no route for GET /v1/more")

    guard = make_guard()
    guard.bind(StillClock(), serves)
    before = guard.policy_mark
    more = Operations({**OPERATIONS, "GET /v1/more": "orders:read"})
    with pytest.raises(ConfigError, match="no route for GET /v1/more"):
        guard.adopt(make_checks(), operations=more, policy=Policy())
    assert guard.policy_mark == before
    with pytest.raises(ConfigError, match="no route"):
        make_guard(operations=more, runtime=None).bind(StillClock(), serves)


def test_checks_left_out_by_name_stay_left_out() -> None:
    guard = make_guard(make_checks()[:-1], without=("replay",))
    guard.adopt(make_checks()[:-1], operations=Operations(OPERATIONS), policy=Policy())
    with pytest.raises(ConfigError, match="in the list and in without"):
        guard.adopt(make_checks(), operations=Operations(OPERATIONS), policy=Policy())


def test_new_limits_hold_from_the_next_request_on(run: Run) -> None:
    guard = make_guard()
    guard.adopt(make_checks(), operations=Operations(OPERATIONS), policy=Policy(target_bytes=20))
    assert code_of(run(guard.admit(sign(TRADER, "GET", b"/v1/orders?and=more")))) == "granted"
    assert code_of(run(guard.admit(sign(TRADER, "GET", b"/v1/orders?and=more++")))) == "frame.long"


def test_a_grant_of_the_old_plan_is_looked_at_again_by_the_new_one(run: Run) -> None:
    keys = make_keys()
    guard = make_guard(make_checks(keys))
    grant = run(guard.admit(order()))
    assert isinstance(grant, Grant)
    guard.adopt(make_checks(keys), operations=Operations(OPERATIONS), policy=Policy())
    assert grant.recheck() is None
    record = run(keys.find("trader"))
    keys.put_now(replace(record, state="revoked", version=2))
    denial = grant.recheck()
    assert denial is not None
    assert denial.code == "signature.revoked"


@pytest.mark.parametrize("outcome", ["granted", "refused", "unproven", "fault", "cancelled"])
def test_the_policy_stands_in_every_event(outcome: str, run: Run) -> None:
    journal = MemoryJournal()
    checks = [*make_checks(), Breaks()] if outcome == "fault" else make_checks()
    guard = make_guard(checks, journal=journal)
    request = order({"refused": READER, "unproven": WRONG}.get(outcome, TRADER))
    run(guard.admit(request))
    guard.finish(request, 200)
    assert journal.events
    assert {event.policy for event in journal.events} == {guard.policy_mark}


# ---------------------------------------------------------------------------------------------- closing


def test_closing_writes_out_the_journal_and_lets_go_of_state_and_keys() -> None:
    closed: list[str] = []

    class Flushes(MemoryJournal):
        def flush(self) -> None:
            closed.append("flush")

    class State(Memory):
        def close(self) -> None:
            closed.append("state")

    class Keys(MemoryKeys):
        def close(self) -> None:
            closed.append("keys")

    guard = make_guard(make_checks(Keys()), state=State(since=1), journal=Flushes())
    guard.close()
    assert closed == ["flush", "state", "keys"]
    make_guard(make_checks(MemoryKeys())).close()  # what holds nothing has nothing to close


# ---------------------------------------------------------------------------------------------- a key that changes


def checks_over(keys: CachedKeys) -> list[object]:
    """The usual list over a node's own view of the keys."""
    return [Source(), Signature(keys), Freshness(), Scope(), Replay()]


async def change(keys: MemoryKeys | CachedKeys, state: KeyState, shared: Memory) -> None:
    """What an issuer does elsewhere: the number first, then the record."""
    record = await keys.find("trader")
    assert record is not None
    await shared.lift(key_number("trader"), record.version)
    await keys.put([replace(record, state=state, version=record.version + 1)])


def test_a_revocation_that_this_node_has_not_heard_of_rides_in_the_commit(run: Run) -> None:
    """Two nodes over one store and one state: the other one revokes; this one's view is a moment old."""
    store, shared, now = make_keys(), Memory(since=1), [10**12]
    here, there = (CachedKeys(store, clock=lambda: now[0]) for _ in range(2))
    journal = MemoryJournal()
    guard = make_guard(checks_over(here), state=shared, journal=journal)
    assert code_of(run(guard.admit(order()))) == "granted"
    run(change(there, "revoked", shared))
    journal.events.clear()
    denial = run(guard.admit(order()))
    assert (denial.code, denial.status, denial.executed, denial.retry_after) == ("signature.superseded", 503, False, 1)
    assert [event.kind for event in journal.events] == ["refused"]  # no intent: it was not handed on
    assert code_of(run(guard.admit(order()))) == "signature.unusable"  # and by the next request it knows


def test_a_key_that_was_changed_and_still_verifies_is_used_again_by_the_next_request(run: Run) -> None:
    store, shared, now = make_keys(), Memory(since=1), [10**12]
    here, there = (CachedKeys(store, clock=lambda: now[0]) for _ in range(2))
    guard = make_guard(checks_over(here), state=shared)
    assert code_of(run(guard.admit(order()))) == "granted"
    run(change(there, "retiring", shared))
    assert [code_of(run(guard.admit(order()))) for _ in range(2)] == ["signature.superseded", "granted"]


def test_a_superseded_message_is_used_up(run: Run) -> None:
    keys, shared = make_keys(), Memory(since=1)
    guard = make_guard(make_checks(keys), state=shared)
    run(shared.lift(key_number("trader"), 1))
    assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "signature.superseded"
    run(keys.put([replace(run(keys.find("trader")), version=2)]))
    assert code_of(run(guard.admit(order(nonce=b"n" * 16)))) == "replay.seen"
    assert code_of(run(guard.admit(order()))) == "granted"


def test_a_judges_denial_is_not_hidden_by_a_superseded_key(run: Run) -> None:
    shared = Memory(since=1)
    guard = make_guard(state=shared)
    run(shared.lift(key_number("reader"), 1))
    assert code_of(run(guard.admit(order(READER)))) == "scope.missing"


def test_the_scopes_of_a_key_are_those_of_its_roles(run: Run) -> None:
    policy = Policy(roles={"desk": ["orders:write"]})
    record = KeyRecord(
        id="trader", dialect="tg1", material=Hmac(SECRET), scopes=(), roles=["desk"], granted=policy.scopes_of(["desk"])
    )
    guard = make_guard(make_checks(MemoryKeys([record])), policy=policy)
    assert code_of(run(guard.admit(order()))) == "granted"
    assert code_of(run(guard.admit(sign(TRADER)))) == "scope.missing"


# ---------------------------------------------------------------------------------------------- honest traffic


async def honest(guard: Guard, clock: StillClock, count: int) -> list[str]:
    """Send honest requests: concurrent, skewed within the window, each tenth retried with a new signature."""
    codes: list[str] = []

    async def one(number: int) -> None:
        skew = (number * 7919) % 5900 - 4950  # ms, inside (-5000, +1000)
        request = order if number % 3 else lambda **other: sign(TRADER, "GET", b"/v1/orders?n=%d" % number, **other)
        for _attempt in range(2 if number % 10 == 0 else 1):
            decision = await guard.admit(request(at=clock.at + skew * MS, arrived=clock.at))
            codes.append(code_of(decision))

    for first in range(0, count, 100):
        clock.at += 50 * MS
        await asyncio.gather(*(one(number) for number in range(first, min(first + 100, count))))
    return codes


def run_honest(count: int) -> None:
    clock = StillClock()
    guard = make_guard(runtime=clock)
    coroutine: Coroutine[Any, Any, list[str]] = honest(guard, clock, count)
    codes = asyncio.run(coroutine)
    assert len(codes) >= count
    assert set(codes) == {"granted"}


@pytest.mark.no_cover
def test_ten_thousand_honest_requests_are_not_refused() -> None:
    run_honest(10_000)


@pytest.mark.soak
def test_a_million_honest_requests_are_not_refused() -> None:
    run_honest(1_000_000)


def test_the_source_check_and_the_state_stay_within_their_bounds_under_a_flood(run: Run) -> None:
    state, source = Memory(since=1), Source()
    guard = make_guard([source, *make_checks()[1:]], state=state)
    for number in range(3000):
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        run(guard.admit(order(Signer(TG1, f"key{number}", SECRET), address=address)))
    assert len(state) == 0
    assert Once in state.supports
