"""Halt: what a request meets where something stands still, in the guard."""

from pathlib import Path
from typing import Any

import pytest
from halts.operators import Venue, operators, propose, put, signed
from support import EDWARD, MS, NOW, READER, SECOND, TRADER, StillClock, make_request, sign

from tradeguard.backends.memory import Memory
from tradeguard.checks.halt import Halt
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.halt import SET, Mode
from tradeguard.core.key import KeyRecord
from tradeguard.core.request import Request
from tradeguard.halts.view import Halts
from tradeguard.signing.material import Hmac
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

ADMIN = Signer(TG1, "admin", b"admin" * 8)  # holds keys:admin and funds:withdraw is another's
BANK = Signer(TG1, "bank", b"bank" * 8)
OLAF = Signer(TG1, "olaf", b"olaf" * 8)  # holds halt:set
ASKED: dict[str, tuple[Signer, str, bytes]] = {
    "read": (TRADER, "GET", b"/v1/orders"),
    "order": (TRADER, "POST", b"/v1/orders"),
    "cancel": (TRADER, "DELETE", b"/v1/orders/7"),
    "funds": (BANK, "POST", b"/v1/withdraw"),
    "admin": (ADMIN, "POST", b"/v1/admin"),
    "halts": (OLAF, "POST", b"/v1/halt"),
}
REFUSED = {
    Mode.ACTIVE: set[str](),
    Mode.NO_NEW: {"order", "funds"},
    Mode.BLOCKED: {"order", "funds", "read", "cancel", "admin"},
}


class Full(Venue):
    """A venue with keys for every lane."""

    def __init__(self, **view: Any) -> None:
        super().__init__(**view)
        for signer, scope in ((b"admin", "keys:admin"), (b"bank", "funds:withdraw"), (b"olaf", SET)):
            material = Hmac(signer * 8)
            self.keys.put_now(KeyRecord(id=signer.decode(), dialect="tg1", material=material, scopes={scope}))


def ask(guard: Guard, lane: str, *, run: Any = drive, at: int = NOW) -> Any:
    """Ask for something of a lane; return the denial, or the grant."""
    signer, method, target = ASKED[lane]
    request = sign(signer, method, target, at=at, arrived=at)
    return run(guard.admit(request))


def refused(guard: Guard, request: Request) -> Denial:
    """Return why a request is refused."""
    denial = drive(guard.admit(request))
    assert isinstance(denial, Denial)
    return denial


def codes(guard: Guard, at: int = NOW) -> dict[str, str]:
    """What every lane is told."""
    decisions = {lane: ask(guard, lane, at=at) for lane in ASKED}
    return {lane: decision.code for lane, decision in decisions.items() if isinstance(decision, Denial)}


@pytest.mark.parametrize("by", ["view", "store"])
@pytest.mark.parametrize("scope", ["venue", "account:acme", "key:trader", "operation:POST /v1/orders"])
@pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.NO_NEW, Mode.BLOCKED])
def test_a_halt_refuses_by_the_table_in_the_view_and_in_the_store_alike(mode: Mode, scope: str, by: str) -> None:
    venue = Full()
    put(venue.state, signed(propose(scope, mode), "olga", "omar"))
    if by == "view":  # the node has seen it, and the store has lost it since
        assert venue.look()
        drive(venue.state.set("halt:" + scope, 0))
        venue.look()
        guard = venue.guard()
    else:  # the node has not seen it: the view is that of a venue where nothing stands
        guard = venue.guard(Full().halts)
        drive(guard.checks[-1].halts.refresh())  # type: ignore[attr-defined]
    told = codes(guard)
    hit = {"venue": set(ASKED), "operation:POST /v1/orders": {"order"}}.get(scope, {"read", "order", "cancel"})
    known = {"order", "funds"} if by == "store" else set[str]()  # that a number forbids them says no more than NO_NEW
    blocked = {lane for lane in REFUSED[mode] - known if mode == Mode.BLOCKED}
    expected = {lane: "halt.blocked" if lane in blocked else "halt.no_new" for lane in REFUSED[mode] & hit}
    assert told == expected


@pytest.mark.parametrize("mode", [Mode.NO_NEW, Mode.BLOCKED])
def test_what_is_public_passes_signed_or_not(mode: Mode) -> None:
    venue = Full()
    put(venue.state, signed(propose(mode=mode), "olga", "omar"))
    guard = venue.guard()
    for request in (make_request(), sign(TRADER, "GET", b"/v1/time")):
        assert isinstance(drive(guard.admit(request)), Grant)


def test_a_tier_is_halted_and_no_other() -> None:
    venue = Full()
    venue.keys.put_now(
        KeyRecord(id="gold", dialect="tg1", material=Hmac(b"gold" * 8), scopes={"orders:*"}, tier="gold")
    )
    put(venue.state, signed(propose("tier:gold"), "olga"))
    guard, gold = venue.guard(), Signer(TG1, "gold", b"gold" * 8)
    assert refused(guard, sign(gold, "POST")).code == "halt.no_new"
    assert isinstance(ask(guard, "order"), Grant)


def test_the_answer_says_why_and_when_to_come_back() -> None:
    venue = Full()
    put(venue.state, signed(propose(reason="maintenance", until=NOW + 90 * SECOND), "olga"))
    denial = ask(venue.guard(), "order")
    assert (denial.code, denial.status, denial.retry_after, denial.executed) == ("halt.no_new", 503, 90, False)
    assert denial.members == {"mode": "NO_NEW", "scope": "venue", "reason": "maintenance"}
    assert denial.detail == f"venue NO_NEW #{NOW}"


@pytest.mark.parametrize(("given", "told"), [(0, 60), (7_200, 7_200)])
def test_a_halt_without_an_end_says_what_the_operators_have_said(given: int, told: int) -> None:
    venue = Full()
    put(venue.state, signed(propose(mode=Mode.BLOCKED, retry_after=given), "olga", "omar"))
    denial = ask(venue.guard(), "cancel")
    assert (denial.code, denial.status, denial.retry_after) == ("halt.blocked", 503, told)
    assert "reason" not in denial.members


def test_an_account_reads_of_its_own_halt_the_kind_and_nobody_of_another() -> None:
    venue = Full()
    put(venue.state, signed(propose("account:acme", reason="margin"), "olga"))
    guard = venue.guard()
    assert ask(guard, "order").members == {"mode": "NO_NEW", "scope": "account", "reason": "margin"}
    assert isinstance(drive(guard.admit(sign(EDWARD, "POST"))), Grant)


def test_a_halt_that_the_commit_has_found_is_explained_at_once() -> None:
    venue = Full()
    guard = venue.guard()
    assert isinstance(ask(guard, "order"), Grant)  # the view is fresh: the next judge does not look
    put(venue.state, signed(propose(reason="stop"), "olga"))
    assert venue.mode() == Mode.ACTIVE
    assert ask(guard, "order").members["reason"] == "stop"


def test_a_plain_number_blocks_without_words() -> None:
    venue = Full()
    drive(venue.state.set("halt:venue", 99))
    guard = venue.guard()
    assert codes(guard) == dict.fromkeys(REFUSED[Mode.BLOCKED], "halt.blocked")
    assert ask(guard, "order").detail == "venue: unsigned"


def test_a_halted_order_uses_its_message_up() -> None:
    venue = Full()
    put(venue.state, signed(propose(), "olga"))
    guard, request = venue.guard(), sign(TRADER, "POST", nonce=b"n" * 16)
    assert refused(guard, request).code == "halt.no_new"
    put(venue.state, signed(propose(mode=Mode.ACTIVE, number=NOW + 1), "olga", "omar"))
    venue.clock.at += 101 * MS
    assert isinstance(ask(guard, "order"), Grant)
    assert refused(guard, sign(TRADER, "POST", nonce=b"n" * 16)).code == "replay.seen"


def test_an_order_that_waited_while_the_halt_was_armed_is_not_handed_on() -> None:
    venue = Full()
    guard = venue.guard()
    order, cancel = ask(guard, "order"), ask(guard, "cancel")
    assert order.recheck() is None
    drive(venue.switch.put(signed(drive(venue.switch.propose("venue", Mode.NO_NEW)), "olga"), actor="olga"))
    assert isinstance(ask(guard, "cancel"), Grant)  # its commit shows that something was stored
    assert order.recheck().code == "halt.no_new"
    assert cancel.recheck() is None


def test_recheck_without_other_requests_sees_what_the_background_saw() -> None:
    venue = Full()
    order = ask(venue.guard(), "order")
    put(venue.state, signed(propose(), "olga"))
    assert venue.look()
    assert order.recheck().code == "halt.no_new"


def test_a_public_grant_has_nothing_to_recheck() -> None:
    venue = Full()
    grant: Any = drive(venue.guard().admit(make_request()))
    put(venue.state, signed(propose(mode=Mode.BLOCKED), "olga", "omar"))
    venue.look()
    assert grant.recheck() is None


class Silent(Memory):
    """A store that answers commits, and nothing else when it is told not to."""

    silent, nonsense = False, False

    async def look(self, prefix: str) -> Any:
        if self.nonsense:
            return None
        if self.silent:
            raise BackendDown("silent")
        return await super().look(prefix)


@pytest.mark.parametrize("how", ["silent", "nonsense"])
def test_a_node_that_cannot_read_the_halts_takes_nothing_new(how: str, run: Any) -> None:
    state, clock, keys = Silent(since=1), StillClock(), operators()
    setattr(state, how, True)
    halts = Halts(state, keys, clock=clock.now, now=clock.now, follow=False)
    venue = Full()
    venue.keys, venue.state = keys, state
    guard = venue.guard(halts, runtime=clock)
    denial = run(guard.admit(sign(TRADER, "POST")))
    assert (denial.code, denial.status, denial.retry_after) == ("halt.unread", 503, 1)
    assert isinstance(run(guard.admit(sign(READER))), Grant)
    assert isinstance(run(guard.admit(sign(TRADER, "DELETE", b"/v1/orders/1"))), Grant)
    setattr(state, how, False)
    clock.at += 101 * MS
    grant = run(guard.admit(sign(TRADER, "POST")))
    assert isinstance(grant, Grant)
    setattr(state, how, True)
    clock.at += 2 * SECOND
    assert grant.recheck() is None
    clock.at += 1
    denial = grant.recheck()
    assert denial is not None
    assert denial.code == "halt.unread"


def test_requests_in_flight_are_counted_from_their_head_to_the_end_of_their_handler() -> None:
    venue = Full()
    guard = venue.guard()
    requests = [sign(TRADER, "POST") for _ in range(3)]
    grants = [drive(guard.admit(request)) for request in requests]
    assert [type(grant) for grant in grants] == [Grant] * 3
    denial = refused(guard, sign(READER, "POST"))
    assert (denial.code, venue.halts.in_flight) == ("scope.missing", 3)
    guard.finish(requests[0], 200)
    guard.finish(requests[0], 200)
    assert venue.halts.in_flight == 2
    other = venue.node()
    checks = [Halt(other) if isinstance(check, Halt) else check for check in guard.checks]
    for _ in range(2):
        guard.adopt(checks, operations=guard.operations, policy=guard.policy)
    guard.finish(requests[1], 200)
    assert (venue.halts.in_flight, other.in_flight) == (1, 1)


class Cancelled(BaseException):
    """What a host throws into a request that nobody waits for any more."""


def test_a_request_that_was_thrown_away_is_not_in_flight() -> None:
    async def body(_: Request, /) -> None:
        raise Cancelled

    venue = Full()
    guard = venue.guard()
    checks = [*guard.checks, body]
    guard.adopt(checks, operations=guard.operations, policy=guard.policy)
    with pytest.raises(Cancelled):
        ask(guard, "order")
    assert venue.halts.in_flight == 0


def test_the_condition_is_built_once_for_a_caller_and_an_operation() -> None:
    venue = Full()
    guard = venue.guard()
    halt = next(check for check in guard.checks if isinstance(check, Halt))
    found: list[Any] = []
    for _ in range(2):
        request = sign(TRADER, "POST")
        drive(guard.admit(request))
        found += halt.conditions(request)
    assert found[0] is found[1]
    assert found[0].keys == ("halt:venue", "halt:account:acme", "halt:key:trader", "halt:operation:POST /v1/orders")


def test_halt_needs_a_store_that_settles_below() -> None:
    class Poor(Memory):
        supports: frozenset[type] = Memory.supports - Halt.kinds

    with pytest.raises(ConfigError, match="needs Below"):
        Full().guard(state=Poor(since=1))


def test_closing_the_guard_ends_the_background(tmp_path: Path) -> None:
    venue = Full()
    halts = Halts(venue.state, venue.keys, keep=tmp_path / "halts", poll=MS)
    guard = venue.guard(halts)
    ask(guard, "order")
    thread = halts._follower._thread
    assert thread is not None
    guard.close()
    assert not thread.is_alive()
