"""Many failures come to a few events: who is locked and unlocked, who tries many keys, which key many try."""

import json
from collections import Counter
from typing import Any

import pytest
from conftest import Run
from support import NOW, SECOND, TRADER, StillClock, make_checks, make_guard, sign

from tradeguard.backends.memory import MemoryJournal
from tradeguard.checks.auth import LINES, WINDOW, Alarms
from tradeguard.core.decision import Grant
from tradeguard.core.event import Event
from tradeguard.core.guard import Guard
from tradeguard.core.request import Request
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

HERE = "198.51.100.1"


def _forged(key: str = "trader", address: str = HERE, at: int = NOW) -> Request:
    return sign(Signer(TG1, key, b"not the secret of it"), "POST", b"/v1/orders", address=address, arrived=at)


def _guard() -> tuple[Guard, MemoryJournal]:
    journal = MemoryJournal()
    return make_guard(make_checks(), journal=journal), journal


def _told(journal: MemoryJournal) -> list[Event]:
    return [event for event in journal.events if event.kind == "auth"]


def _facts(event: Event) -> Any:
    return json.loads(event.detail)


def test_a_pair_that_is_locked_is_told_once_with_window_counts_and_a_request(run: Run) -> None:
    guard, journal = _guard()
    for _ in range(200):
        last = _forged()
        run(guard.admit(last))
    [event] = _told(journal)
    assert (event.code, event.key_id, event.source) == ("auth.pair_locked", "trader", HERE)
    assert event.proven  # it has its own bound, and does not share the budget of strangers
    facts = _facts(event)
    assert (facts["window_s"], facts["failures"]) == (900, 4)
    assert 2 <= facts["wait_s"] <= 3
    assert event.request_id in {line.request_id for line in journal.events if line.kind == "refused"}


def test_a_pair_that_is_proved_again_is_told_as_unlocked(run: Run) -> None:
    guard, journal = _guard()
    for _ in range(4):
        run(guard.admit(_forged()))
    later = NOW + 5 * SECOND
    honest = sign(TRADER, address=HERE, at=later, arrived=later)
    run(guard.admit(honest))
    guard.finish(honest, 200)
    locked, unlocked = _told(journal)
    assert (locked.code, unlocked.code) == ("auth.pair_locked", "auth.unlocked")
    assert (unlocked.key_id, unlocked.source, unlocked.request_id) == ("trader", HERE, honest.id)
    assert _facts(unlocked) == {"window_s": 900, "failures": 4}


def test_a_source_and_a_network_that_wait_are_told_once(run: Run) -> None:
    guard, journal = _guard()
    for number in range(17 * 201):
        run(guard.admit(_forged(f"nobody{number}", f"198.51.100.{number % 200}")))
    codes = Counter(event.code for event in _told(journal))
    assert codes["auth.source_blocked"] == 1
    assert [event.source for event in _told(journal) if event.code == "auth.source_blocked"] == ["198.51.100.0/24"]
    guard, journal = _guard()
    for number in range(300):
        run(guard.admit(_forged(f"nobody{number}")))
    assert [event.source for event in _told(journal) if event.code == "auth.source_blocked"] == [HERE]


@pytest.mark.parametrize(("keys", "told"), [(5, 0), (6, 1), (60, 1)])
def test_a_source_that_fails_with_more_than_five_keys_is_suspected(keys: int, told: int, run: Run) -> None:
    guard, journal = _guard()
    for number in range(keys):
        for _ in range(2):
            run(guard.admit(_forged(f"nobody{number}")))
    events = [event for event in _told(journal) if event.code == "auth.stuffing_suspected"]
    assert len(events) == told
    if told:
        assert _facts(events[0]) == {"window_s": 600, "keys": 6}
        assert (events[0].source, events[0].key_id) == (HERE, "")


def test_keys_that_were_proved_there_lately_are_no_sign_of_stuffing(run: Run) -> None:
    guard, journal = _guard()
    run(guard.admit(sign(TRADER, address=HERE)))
    for number in range(5):
        run(guard.admit(_forged(f"nobody{number}")))
    run(guard.admit(_forged("trader")))
    assert _told(journal) == []


def test_six_keys_in_more_than_ten_minutes_are_no_sign_of_stuffing(run: Run) -> None:
    guard, journal = _guard()
    for number in range(20):
        run(guard.admit(_forged(f"nobody{number}", at=NOW + number * (WINDOW // 5))))
    assert _told(journal) == []


@pytest.mark.parametrize(("sources", "told"), [(20, 0), (21, 1), (200, 1)])
def test_a_key_that_fails_from_more_than_twenty_sources_is_under_attack_and_not_locked(
    sources: int, told: int, run: Run
) -> None:
    guard, journal = _guard()
    for number in range(sources):
        run(guard.admit(_forged("trader", f"203.0.{number}.1")))
    events = [event for event in _told(journal) if event.code == "auth.key_under_attack"]
    assert len(events) == told
    if told:
        assert (events[0].key_id, _facts(events[0])) == ("trader", {"window_s": 600, "sources": 21})
    assert isinstance(run(guard.admit(sign(TRADER, address=HERE))), Grant)


def test_an_attack_that_goes_on_is_told_again_after_ten_minutes(run: Run) -> None:
    guard, journal = _guard()
    for number in range(240):
        at = NOW + number * SECOND * 5  # 20 minutes
        run(guard.admit(_forged("trader", f"203.0.{number}.1", at)))
    assert [event.code for event in _told(journal)].count("auth.key_under_attack") == 2


def test_however_many_fail_a_minute_has_few_lines_and_the_rest_is_counted(run: Run) -> None:
    clock, journal = StillClock(), MemoryJournal()
    guard = make_guard(make_checks(), journal=journal, runtime=clock)
    for number in range(50):
        for _ in range(4):
            run(guard.admit(_forged(f"nobody{number}", f"203.0.{number}.1")))
    locked = [event for event in _told(journal) if event.code == "auth.pair_locked"]
    assert len(locked) == LINES
    run(guard.admit(_forged("last", "192.0.2.1", NOW + 61 * SECOND)))
    [more] = [event for event in _told(journal) if "more" in event.detail]
    assert (more.code, _facts(more)) == ("auth.pair_locked", {"window_s": 60, "more": 50 - LINES})


def test_what_waits_for_the_journal_is_bounded() -> None:
    alarms = Alarms()
    for minute in range(1_000):
        for number in range(50):
            alarms.locked(f"k{number}", HERE, 4, NOW, NOW + minute * 60 * SECOND, "r")
    assert len(alarms.take(NOW)) <= 256
    assert alarms.take(NOW) == []


def test_a_stranger_writes_no_long_lines(run: Run) -> None:
    guard, journal = _guard()
    for _ in range(5):
        run(guard.admit(_forged("x" * 4_000)))
    assert all(len(event.key_id) <= 128 for event in _told(journal))
