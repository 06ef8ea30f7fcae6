"""`tradeguard coexist`: who signs already and who does not, counted from what a guard wrote."""

import gzip
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli.venue import Venue
from support import NOW, READER, SECOND, TRADER, StillClock, make_guard, make_request, sign

from tradeguard import Journal
from tradeguard.core.address import Networks
from tradeguard.core.decision import Grant
from tradeguard.core.drive import drive
from tradeguard.core.event import Event
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.principal import Principal
from tradeguard.core.request import Request
from tradeguard.signing.signer import Signer

ROW = "GET /v1/orders"
LATER = (datetime.now(UTC).date() + timedelta(days=1_000)).isoformat()


@pytest.fixture
def moving(venue: Venue) -> Venue:
    """A venue whose orders coexist for some years."""
    venue.configure(
        '"GET /v1/orders" = "orders:read"', f'"GET /v1/orders" = {{scopes = "orders:read", coexist = {LATER}}}'
    )
    return venue


def guard_of(venue: Venue) -> Guard:
    operations = {ROW: {"scopes": "orders:read", "coexist": LATER}, "GET /v1/other": "orders:read"}
    journal = Journal(venue.data / "audit.jsonl")
    return make_guard(operations=Operations(operations), journal=journal, runtime=StillClock())


def ask(guard: Guard, request: Request, account: str | None = None, scope: str = "orders:read") -> None:
    """Send a request; where an account is given the host vouches for it."""
    grant = drive(guard.admit(request))
    if not isinstance(grant, Grant):
        return
    denial = None
    if account is not None:
        denial = grant.vouch_now(Principal("u", "", account, frozenset({scope}), Networks(), kind="host"))
    guard.finish(request, 200 if denial is None else denial.status)


def old(at: int = NOW) -> Request:
    return make_request("GET", b"/v1/orders", arrived=at)


def users(document: Any) -> list[dict[str, Any]]:
    (operation,) = document["operations"]
    found: list[dict[str, Any]] = operation["users"]
    return found


def test_who_has_not_moved_yet_stands_first(moving: Venue) -> None:
    guard = guard_of(moving)
    for _ in range(3):
        ask(guard, old(NOW + SECOND), "umbrella")
    ask(guard, old(), "acme")
    ask(guard, sign(TRADER))
    ask(guard, sign(TRADER))
    ask(guard, sign(READER))
    ask(guard, sign(READER, target=b"/v1/other"))
    guard.close()
    document = moving.ask("coexist")
    assert [
        (user["account"], user["key_id"], user["signed"], user["host"], user["unvouched"]) for user in users(document)
    ] == [("acme", "", 0, 1, 0), ("umbrella", "", 0, 3, 0), ("acme", "trader", 2, 0, 0), ("reader", "reader", 1, 0, 0)]
    assert users(document)[1]["last"] == NOW + SECOND
    assert document["operations"][0]["last_day"] == LATER
    assert document["operations"][0]["days_left"] in (1_000, 1_001)


def test_what_nobody_vouched_for_and_what_was_refused_is_told_apart(moving: Venue) -> None:
    guard = guard_of(moving)
    ask(guard, old())
    ask(guard, old(), "acme", "orders:write")
    guard.close()
    found = {user["account"]: user for user in users(moving.ask("coexist"))}
    assert (found[""]["host"], found[""]["unvouched"], found[""]["refused"]) == (0, 1, 0)
    assert (found["acme"]["host"], found["acme"]["unvouched"], found["acme"]["refused"]) == (0, 0, 1)


def test_a_stranger_with_the_id_of_a_key_is_not_counted_as_its_holder(moving: Venue) -> None:
    guard = guard_of(moving)
    ask(guard, sign(Signer(TRADER.row, "trader", b"not the secret")))
    guard.close()
    assert users(moving.ask("coexist")) == []


def test_rotated_files_are_counted_and_foreign_lines_are_skipped(moving: Venue) -> None:
    guard = guard_of(moving)
    ask(guard, old(), "acme")
    guard.close()
    current = moving.data / "audit.jsonl"
    with gzip.open(moving.data / "audit.jsonl.1.gz", "wb") as file:
        file.write(current.read_bytes() + b'{"kind":"vouched","operation":"GET /v1/orders","at":"never"}\n{"torn')
    document = moving.ask("coexist")
    assert [user["host"] for user in users(document)] == [2]
    assert (document["skipped"], len(document["files"])) == (2, 2)
    assert "2 lines were skipped" in moving.run("coexist").stderr


def test_people_read_a_table(moving: Venue) -> None:
    guard = guard_of(moving)
    ask(guard, old(), "ac\x1b[31mme")
    guard.close()
    text = moving.run("coexist").stdout
    assert text.splitlines()[0].startswith(f"GET /v1/orders  until {LATER}, 100")
    assert "ac\\x1b[31mme" in text
    assert "2026-11-18T11:06:40.000Z" in text


def test_the_end_is_told(moving: Venue) -> None:
    (moving.data / "audit.jsonl").touch()
    moving.configure(LATER, "2026-01-31")
    operation = moving.ask("coexist")["operations"][0]
    assert (operation["last_day"], operation["days_left"]) == ("2026-01-31", 0)
    assert "ended" in moving.run("coexist").stdout


@pytest.mark.parametrize(("ahead", "left"), [(0, 1), (1, 2), (-1, 0)])
def test_the_last_day_counts(moving: Venue, ahead: int, left: int) -> None:
    (moving.data / "audit.jsonl").touch()
    day: date = datetime.now(UTC).date()
    moving.configure(LATER, (day + timedelta(days=ahead)).isoformat())
    found = moving.ask("coexist")["operations"][0]["days_left"]
    assert found == left or datetime.now(UTC).date() != day  # midnight passed


def test_where_nothing_coexists_it_says_so(venue: Venue) -> None:
    (venue.data / "audit.jsonl").touch()
    assert "No operation coexists" in venue.run("coexist").stdout
    assert venue.ask("coexist")["operations"] == []


def test_another_journal_is_read_if_it_is_named(moving: Venue, tmp_path: Path) -> None:
    path = tmp_path / "copy.jsonl"
    journal = Journal(path)
    journal.append(Event("vouched", NOW, "1", True, operation=ROW, dialect="host", account="acme"))
    journal.close()
    assert "no journal" in moving.refuse("coexist", code=2)
    assert [user["account"] for user in users(moving.ask("coexist", "--journal", str(path)))] == ["acme"]


def test_lines_with_values_of_other_kinds_are_skipped(moving: Venue) -> None:
    event = Event("vouched", NOW, "1", True, operation=ROW, dialect="host")._asdict()
    changes: list[dict[str, Any]] = [
        {"account": ["a"]},
        {"operation": [ROW], "path": ROW},
        {"account": None},
        {"at": 1.5},
    ]
    lines = [event | change for change in [*changes, {"account": "acme"}]]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (moving.data / "audit.jsonl").write_text(text)
    document = moving.ask("coexist")
    assert ([user["account"] for user in users(document)], document["skipped"]) == (["acme"], 4)
