"""Reload: the newer configuration whole, or the one that was in force; both on record."""

import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from config.home import AHEAD, NETWORK, Venue
from support import TRADER, make_guard, sign

from tradeguard import ConfigError, Denial, Guard
from tradeguard.config import build_guard, reload_guard, reload_on_sighup
from tradeguard.core.decision import Decision
from tradeguard.core.drive import drive
from tradeguard.core.runtime import Threads

ROLES = '[roles]\ntrader = ["orders:read"]\n'
ROWS = '[operations]\n"GET /v1/orders" = "orders:read"\n"GET /v1/balances" = "balances:read"\n'
WIDER = '[roles]\ntrader = ["orders:read", "balances:read"]\n'


class Running(Venue):
    """A venue and the guard that runs there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ROLES + ROWS)
        self.guard = build_guard(self.path, {})
        self.guard.bind(Threads())

    def ask(self, target: bytes = b"/v1/orders") -> Decision:
        """Send a signed request."""
        now = self.guard.runtime.now()
        return drive(self.guard.admit(sign(TRADER, "GET", target, at=now + AHEAD, arrived=now)))

    def events(self) -> list[dict[str, Any]]:
        """The events of reloads."""
        lines = [json.loads(line) for line in (self.data / "audit.jsonl").read_text().splitlines()]
        return [line for line in lines if line["kind"] == "policy"]


def code_of(decision: Decision) -> str:
    return decision.code if isinstance(decision, Denial) else ""


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Running]:
    tmp_path.chmod(0o700)
    venue = Running(tmp_path)
    yield venue
    venue.guard.close()


@pytest.fixture
def hangup() -> Iterator[None]:
    """Give SIGHUP back its meaning afterwards."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def wait_until(done: Callable[[], object]) -> None:
    """Wait for another thread, not for ever."""
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def test_a_role_that_grew_takes_effect_on_the_next_request(venue: Running) -> None:
    assert code_of(venue.ask()) == ""
    assert code_of(venue.ask(b"/v1/balances")) == "scope.missing"
    venue.write(WIDER + ROWS)
    reload_guard(venue.guard, actor="ops")
    assert code_of(venue.ask(b"/v1/balances")) == ""
    venue.write(ROLES + ROWS)
    reload_guard(venue.guard)
    assert code_of(venue.ask(b"/v1/balances")) == "scope.missing"


def test_operations_limits_and_dialects_are_replaced_as_one(venue: Running) -> None:
    before = venue.guard.policy_mark
    more = '[signature]\ndialects = ["tg1", "binance"]\naccept = ["binance"]\n[policy]\nbody_bytes = 9\n'
    venue.write(more + ROLES + '[operations]\n"GET /v1/trades" = "orders:read"\n')
    assert code_of(venue.ask(b"/v1/trades")) == "guard.unmapped"
    reload_guard(venue.guard)
    assert code_of(venue.ask(b"/v1/trades")) == ""
    assert code_of(venue.ask()) == "guard.unmapped"
    assert venue.guard.policy.body_bytes == 9
    assert venue.guard.challenge == 'TG1 realm="api", Binance realm="api"'
    assert venue.guard.policy_mark != before


def test_both_ends_of_a_reload_are_on_record(venue: Running, caplog: pytest.LogCaptureFixture) -> None:
    first = venue.guard.policy_mark
    venue.write(WIDER + ROWS)
    reload_guard(venue.guard, actor="ops")
    second = venue.guard.policy_mark
    venue.write("[keys]\npol_seconds = 1\n")
    with pytest.raises(ConfigError):
        reload_guard(venue.guard, actor="ops")
    adopted, kept = venue.events()
    assert (adopted["code"], adopted["policy"], adopted["actor"]) == ("policy.adopted", second, "ops")
    assert adopted["detail"] == f"{venue.path}; before: {first}"
    assert (kept["code"], kept["policy"], kept["actor"]) == ("policy.kept", second, "ops")
    assert "did you mean keys.poll_seconds?" in kept["detail"]
    told = [record.levelno for record in caplog.records if "pol_seconds" in record.getMessage()]
    assert told == [logging.CRITICAL]
    assert adopted["proven"]
    assert kept["proven"]  # so that no flood of strangers displaces it
    assert abs(adopted["at"] - time.time_ns()) < 60_000_000_000


def test_a_wrong_file_changes_nothing_and_names_every_fault(venue: Running) -> None:
    mark = venue.guard.policy_mark
    venue.write('[keys]\npol_seconds = 1\n[roles]\ntrader = ["nope"]\n' + ROWS)
    with pytest.raises(ConfigError) as error:
        reload_guard(venue.guard)
    assert "2 faults" in str(error.value)
    assert venue.guard.policy_mark == mark
    assert code_of(venue.ask()) == ""


def test_a_file_that_is_gone_or_not_trusted_any_more_changes_nothing(venue: Running) -> None:
    venue.path.chmod(0o660)
    with pytest.raises(ConfigError, match="chmod go-w"):
        reload_guard(venue.guard)
    venue.path.unlink()
    with pytest.raises(ConfigError, match="no configuration at"):
        reload_guard(venue.guard)
    assert code_of(venue.ask()) == ""
    assert [event["code"] for event in venue.events()] == ["policy.kept", "policy.kept"]


def test_parts_that_do_not_fit_change_nothing_not_even_roles(venue: Running) -> None:
    venue.write(WIDER + ROWS + '"POST /x" = {scopes = "orders:write", assurance = 2}\n')
    with pytest.raises(ConfigError, match="assurance 2"):
        reload_guard(venue.guard)
    signature: Any = venue.guard.checks[1]
    signature._keys.clear()  # so that the record is read again, with the roles that hold
    assert code_of(venue.ask(b"/v1/balances")) == "scope.missing"


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('[state]\nbackend = "memory"\n', "state.backend"),
        ("[state]\nper_key = 50\n", "state.per_key"),
        ("[keys]\npoll_seconds = 0.1\n", "keys.poll_seconds"),
        ("[journal]\nsync = true\n", "journal.sync"),
        ('[journal]\npath = "other.jsonl"\n', "journal.path"),
    ],
)
def test_what_cannot_change_while_running_is_named(venue: Running, more: str, key: str) -> None:
    venue.write(more + WIDER + ROWS)
    with pytest.raises(ConfigError, match=f"^{re.escape(key)} cannot change while running; restart to change it$"):
        reload_guard(venue.guard)
    assert code_of(venue.ask(b"/v1/balances")) == "scope.missing"


def test_all_that_cannot_change_is_named_at_once(venue: Running) -> None:
    venue.write_all(NETWORK, '[data]\ndirectory = "secret"\n[master_key]\nsource = "env:KEY"\n', WIDER + ROWS)
    with pytest.raises(ConfigError, match=r"^data\.directory, master_key\.source, journal\.path cannot change"):
        reload_guard(venue.guard)


def test_another_spelling_of_the_same_is_no_change(venue: Running) -> None:
    venue.write_all(
        NETWORK,
        f'[data]\ndirectory = "{venue.data}"\n[master_key]\nsource = "file:{venue.master_key}"\n',
        '[journal]\npath = "data/audit.jsonl"\n[keys]\nstale_seconds = 30\n' + WIDER + ROWS,
    )
    reload_guard(venue.guard)
    assert code_of(venue.ask(b"/v1/balances")) == ""


def test_another_file_may_take_over(venue: Running, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    venue.write(WIDER + ROWS)
    venue.path.rename(other)
    reload_guard(venue.guard, other)
    assert code_of(venue.ask(b"/v1/balances")) == ""
    reload_guard(venue.guard)  # the other one again
    assert [event["code"] for event in venue.events()] == ["policy.adopted", "policy.adopted"]


def test_who_kept_failing_is_remembered(venue: Running) -> None:
    source = venue.guard.checks[0]
    reload_guard(venue.guard)
    assert venue.guard.checks[0] is source


def test_a_guard_in_code_is_told_the_way(venue: Running) -> None:
    with pytest.raises(ConfigError, match=r"call guard\.adopt"):
        reload_guard(make_guard(), venue.path)


def test_a_guard_that_no_host_has_taken_yet_can_reload(venue: Running) -> None:
    guard: Guard = build_guard(venue.path, {})
    venue.write(WIDER + ROWS)
    reload_guard(guard)
    assert "balances:read" in guard.policy.roles["trader"]
    assert abs(venue.events()[-1]["at"] - time.time_ns()) < 60_000_000_000
    guard.close()


def test_requests_during_reloads_are_decided_by_one_policy_or_the_other(venue: Running) -> None:
    over, codes = threading.Event(), set[str]()

    def ask() -> None:
        while not over.is_set():
            codes.add(code_of(venue.ask(b"/v1/balances")))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for turn in range(40):
            venue.write((WIDER if turn % 2 else ROLES) + ROWS)
            reload_guard(venue.guard)
    finally:
        over.set()
        asking.join()
    assert codes == {"", "scope.missing"}
    assert code_of(venue.ask(b"/v1/balances")) == ""


@pytest.mark.usefixtures("hangup")
def test_a_hangup_reloads_and_a_wrong_file_does_not_end_that(venue: Running) -> None:
    reload_on_sighup(venue.guard)
    venue.write("broken = ")
    os.kill(os.getpid(), signal.SIGHUP)
    wait_until(venue.events)
    venue.write(WIDER + ROWS)
    os.kill(os.getpid(), signal.SIGHUP)
    wait_until(lambda: len(venue.events()) == 2)
    assert [(event["code"], event["actor"]) for event in venue.events()] == [
        ("policy.kept", "SIGHUP"),
        ("policy.adopted", "SIGHUP"),
    ]
    assert code_of(venue.ask(b"/v1/balances")) == ""


@pytest.mark.usefixtures("hangup")
def test_a_hangup_that_interrupts_the_journal_does_not_lock_it_up(venue: Running) -> None:
    reload_on_sighup(venue.guard)
    journal: Any = venue.guard.journal
    venue.write(WIDER + ROWS)
    with journal._lock:  # as if the signal came in the middle of an append of this thread
        os.kill(os.getpid(), signal.SIGHUP)
        wait_until(lambda: "balances:read" in venue.guard.policy.roles["trader"])
        assert venue.events() == []
    wait_until(venue.events)


@pytest.mark.usefixtures("hangup")
def test_a_reload_that_fails_otherwise_does_not_end_that(venue: Running, caplog: pytest.LogCaptureFixture) -> None:
    journal = venue.guard.journal

    class Broken:
        def append(self, _event: object) -> None:
            raise RuntimeError("no")

    reload_on_sighup(venue.guard)
    venue.guard.journal = Broken()  # type: ignore[assignment]
    os.kill(os.getpid(), signal.SIGHUP)
    wait_until(lambda: "the reload failed" in caplog.text)
    venue.guard.journal = journal
    os.kill(os.getpid(), signal.SIGHUP)
    wait_until(venue.events)


def test_only_the_main_thread_takes_signals(venue: Running) -> None:
    errors: list[Exception] = []

    def install() -> None:
        try:
            reload_on_sighup(venue.guard)
        except ConfigError as error:
            errors.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])
