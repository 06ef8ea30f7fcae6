"""Shadow: a custom check decides and reports, and never refuses; the library's own never stand in it."""

import logging
from typing import Any, cast

import pytest
from conftest import Run
from support import OPERATIONS, TRADER, make_checks, make_guard, make_keys, make_request, sign

from tradeguard.backends.memory import MemoryJournal
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.shadow import Shadow
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.address import Networks
from tradeguard.core.decision import Denial, Grant, Refused, register
from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operations
from tradeguard.core.principal import Principal
from tradeguard.core.request import Request

LARGE = register("size.large", status=403, text="Too large.", hint="The order is above the limit of the venue.")


class Size:
    """Denies whatever has a body."""

    async def __call__(self, request: Request, /) -> Denial | None:
        return Denial(LARGE, detail="2 bytes") if await request.body() else None


class Raising(Size):
    async def __call__(self, request: Request, /) -> Denial | None:
        denial = await super().__call__(request)
        if denial is not None:
            raise Refused(denial)
        return None


class Failing:
    async def __call__(self, _request: Request, /) -> Denial | None:
        raise RuntimeError("not finished yet")


def order() -> Request:
    return sign(TRADER, "POST", b"/v1/orders", body=b"{}", content_type=b"application/json")


@pytest.mark.parametrize("check", [Size(), Raising()])
def test_what_it_denies_passes_and_is_told(run: Run, check: Any) -> None:
    journal = MemoryJournal()
    guard = make_guard([*make_checks(), Shadow(check)], journal=journal)
    grant = run(guard.admit(order()))
    assert isinstance(grant, Grant)
    assert [denial.code for denial in grant.shadow] == ["size.large"]
    shadow, intent = journal.events
    assert (shadow.kind, shadow.code, shadow.status, shadow.detail) == ("shadow", "size.large", 403, "2 bytes")
    assert (intent.kind, shadow.key_id, shadow.request_id) == ("intent", "trader", intent.request_id)


def test_the_same_check_outside_of_it_refuses(run: Run) -> None:
    decision = run(make_guard([*make_checks(), Size()]).admit(order()))
    assert isinstance(decision, Denial)
    assert decision.code == "size.large"


def test_what_it_lets_pass_is_not_told(run: Run) -> None:
    journal = MemoryJournal()
    grant = run(make_guard([*make_checks(), Shadow(Size())], journal=journal).admit(sign()))
    assert isinstance(grant, Grant)
    assert (grant.shadow, list(journal.events)) == ((), [])


def test_one_that_fails_refuses_nothing_and_is_in_the_log(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "tradeguard"):
        decision = run(make_guard([*make_checks(), Shadow(Failing())]).admit(order()))
    assert isinstance(decision, Grant)
    assert "shadow of Failing failed" in caplog.text
    assert "not finished yet" in caplog.text


def test_what_another_check_denies_is_denied(run: Run) -> None:
    journal = MemoryJournal()
    guard = make_guard([Shadow(Size()), *make_checks()], journal=journal)
    withdrawal = sign(TRADER, "POST", b"/v1/withdraw", body=b"{}", content_type=b"application/json")
    decision = run(guard.admit(withdrawal))
    assert isinstance(decision, Denial)
    assert decision.code == "scope.missing"
    assert [event.kind for event in journal.events] == ["shadow", "refused"]


def test_two_stand_beside_each_other_and_one_does_not_stand_twice(run: Run) -> None:
    grant = run(make_guard([*make_checks(), Shadow(Size()), Shadow(Raising())]).admit(order()))
    assert isinstance(grant, Grant)
    assert len(grant.shadow) == 2
    with pytest.raises(ConfigError, match="two checks"):
        make_guard([*make_checks(), Shadow(Size()), Shadow(Size())])


def test_it_watches_whom_the_host_vouches_for(run: Run) -> None:
    operations = {**OPERATIONS, "POST /v1/old": {"scopes": "orders:write", "coexist": "2026-12-31"}}
    journal = MemoryJournal()
    guard = make_guard([*make_checks(), Shadow(Size())], operations=Operations(operations), journal=journal)
    grant = run(guard.admit(make_request("POST", b"/v1/old", body=b"{}")))
    assert isinstance(grant, Grant)
    user = Principal("u1", "", "acme", frozenset({"orders:write"}), Networks(), kind="host")
    assert run(grant.vouch(user)) is None
    assert [event.kind for event in journal.events] == ["shadow", "vouched"]


@pytest.mark.parametrize("check", [Freshness(), Network(), Scope(), Replay(), Source(), Signature(make_keys())])
def test_the_librarys_own_checks_never_stand_in_it(check: object) -> None:
    with pytest.raises(ConfigError):
        Shadow(cast("Any", check))


class Mine(Scope):
    """A check of the library under another name."""


class Hollow(Network):
    async def __call__(self, request: Request, /) -> Denial | None:
        return await super().__call__(request)


@pytest.mark.parametrize("check", [Mine(), Hollow()])
def test_nor_do_they_under_another_name(check: object) -> None:
    with pytest.raises(ConfigError, match="for real"):
        Shadow(cast("Any", check))


def test_a_required_check_in_it_is_missing_from_the_list() -> None:
    class Freshness:
        name = "freshness"

        async def __call__(self, _request: Request, /) -> Denial | None:
            return None

    checks = [check for check in make_checks() if type(check).__name__ != "Freshness"]
    with pytest.raises(ConfigError, match="no freshness check"):
        make_guard([*checks, Shadow(Freshness())])


@pytest.mark.parametrize("check", [Size, None, 5, "size", object()])
def test_only_a_judge_stands_in_it(check: object) -> None:
    with pytest.raises(ConfigError, match="a judge"):
        Shadow(cast("Any", check))
