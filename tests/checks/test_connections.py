"""Connections: how many WebSockets are open at once, by key, account and source; on nodes of which some are killed."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import NOW, READER, SECOND, TRADER, make_checks, make_guard, sign

from tradeguard import ConfigError, Memory, Operations, Signer
from tradeguard.checks.connections import Connections
from tradeguard.checks.quota import Quotas
from tradeguard.core.conditions import Outcome
from tradeguard.core.decision import Denial
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.request import Request

ROWS: dict[str, Any] = {
    "WS /v1/stream": {"scopes": "orders:read", "lane": "read"},
    "WS /v1/ticker": {"lane": "public"},
    "GET /v1/orders": "orders:read",
}


def make(*, also: tuple[object, ...] = (), **most: int) -> Guard:
    return make_guard([*make_checks(), Connections(**most), *also], operations=Operations(ROWS))


def knock(guard: Guard, signer: Signer = TRADER, at: int = NOW, **other: Any) -> tuple[Request, Any]:
    """Send a handshake; return it and what was decided."""
    guard.runtime.at = at  # type: ignore[attr-defined]
    request = sign(signer, target=b"/v1/stream", at=at, arrived=at, kind="websocket", **other)
    return request, drive(guard.admit(request))


def test_one_more_than_most_is_refused_with_the_time_of_the_first_lease() -> None:
    guard = make(key=2, lease=30)
    first, _ = knock(guard)
    assert first.lease is not None
    knock(guard, at=NOW + SECOND)
    _, denial = knock(guard, at=NOW + 2 * SECOND)
    assert isinstance(denial, Denial)
    assert (denial.code, denial.status, denial.retry_after) == ("connections.full", 429, 28)
    assert (denial.detail, denial.members) == ("key", {"counted_by": ["key"]})
    guard.finish(first, 101)
    assert knock(guard, at=NOW + 3 * SECOND)[0].lease is not None
    assert isinstance(knock(guard, at=NOW + 3 * SECOND)[1], Denial)


def test_who_obeys_retry_after_gets_in_if_nobody_renews() -> None:
    guard = make(key=1, lease=7)
    knock(guard)
    _, denial = knock(guard, at=NOW + SECOND)
    assert isinstance(knock(guard, at=NOW + (1 + denial.retry_after) * SECOND - 2_000)[1], Denial)
    assert knock(guard, at=NOW + (1 + denial.retry_after) * SECOND + 1)[0].lease is not None


def test_keys_have_counts_of_their_own_and_a_source_counts_all() -> None:
    guard = make(key=2, source=3)
    assert [isinstance(knock(guard)[1], Denial) for _ in range(3)] == [False, False, True]
    assert [isinstance(knock(guard, READER)[1], Denial) for _ in range(2)] == [False, True]
    _, denial = knock(guard, READER)
    assert denial.detail == "source"
    assert not isinstance(knock(guard, READER, address="198.51.100.7")[1], Denial)


def test_all_or_none_is_taken() -> None:
    """What is refused by source takes nothing from the key."""
    guard = make(key=2, source=1)
    first, _ = knock(guard)
    for _ in range(3):
        assert isinstance(knock(guard)[1], Denial)
    guard.finish(first, 101)
    assert not isinstance(knock(guard)[1], Denial)


def test_an_account_counts_over_its_keys() -> None:
    guard = make(account=1)
    assert not isinstance(knock(guard)[1], Denial)
    assert knock(guard)[1].detail == "account"
    assert not isinstance(knock(guard, READER)[1], Denial)  # another one
    assert knock(guard, READER)[1].detail == "account"


def test_requests_are_no_connections() -> None:
    guard = make(key=1)
    for _ in range(3):
        request = sign()
        drive(guard.admit(request))
        assert request.lease is None
    assert not isinstance(knock(guard)[1], Denial)


def test_a_refused_handshake_holds_nothing() -> None:
    """A judge that refuses, another quota that is used up: neither takes a unit, and none is given back for it."""

    class Closed:
        shut = False

        async def __call__(self, _request: Request, /) -> Denial | None:
            return Denial("closed.now", status=403) if self.shut else None

    closed = Closed()
    guard = make(also=(closed, Quotas({"requests": "3/minute"})), key=2)
    closed.shut = True
    request, denial = knock(guard)
    assert (denial.code, request.lease) == ("closed.now", None)
    closed.shut = False
    first, _ = knock(guard)
    assert first.lease is not None
    knock(guard)
    assert knock(guard)[1].code == "connections.full"
    guard.finish(first, 101)
    knock(guard)
    request, denial = knock(guard)
    assert (denial.code, request.lease) in (("quota.exceeded", None), ("connections.full", None))


def test_attempts_count_as_requests() -> None:
    guard = make(also=(Quotas({"requests": "2/minute"}),), key=20)
    assert [isinstance(knock(guard)[1], Denial) for _ in range(3)] == [False, False, True]
    assert knock(guard)[1].code == "quota.exceeded"


def test_a_store_without_room_or_sense_lets_nobody_in() -> None:
    class Odd(Memory):
        async def commit(self, *about: Any, **other: Any) -> Outcome:
            return (await super().commit(*about, **other))._replace(usage={})

    guard = make_guard([*make_checks(), Connections(key=1)], operations=Operations(ROWS), state=Odd(since=1))
    assert knock(guard)[1].status == 503
    full = Memory(since=1, meters=1)
    guard = make_guard([*make_checks(), Connections(key=1)], operations=Operations(ROWS), state=full)
    knock(guard)
    assert knock(guard, READER)[1].code == "connections.room"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"key": -1},
        {"key": True},
        {"key": "20"},
        {"key": 20, "lease": 5},
        {"key": 20, "lease": 3_601},
        {"key": 2**53},
    ],
)
def test_what_makes_no_sense_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Connections: "):
        Connections(**wrong)


class Node:
    """A process of lease_node.py."""

    def __init__(self, *arguments: object) -> None:
        script = Path(__file__).with_name("lease_node.py")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, script, *map(str, arguments)], stdin=pipe, stdout=pipe, text=True, bufsize=1
        )

    def tell(self, what: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextlib.contextmanager
def nodes(number: int, *arguments: object) -> Iterator[list[Node]]:
    """Run so many nodes until the end of the block."""
    started = [Node(*arguments) for _ in range(number)]
    try:
        yield started
    finally:
        for node in started:
            node.process.kill()
            node.process.wait(10)
            for pipe in (node.process.stdin, node.process.stdout):
                if pipe is not None:
                    pipe.close()


def test_two_processes_over_one_file_never_hold_more_together(tmp_path: Path) -> None:
    with nodes(2, tmp_path / "state.db", 5, 3_600) as (one, two):
        said = [node.tell("open") for _ in range(6) for node in (one, two)]
        assert said == ["open"] * 5 + ["connections.full"] * 7
        assert two.tell("close") == "closed"
        assert [one.tell("open"), two.tell("open"), one.tell("open")] == ["open", *["connections.full"] * 2]


def test_what_a_killed_process_held_ends_with_its_leases_and_what_lives_stays(tmp_path: Path) -> None:
    """The other one renews its own for as long; it gets exactly what the killed one held, and not before its lease."""
    lease = 8
    with nodes(2, tmp_path / "state.db", 4, lease) as (killed, alive):
        began = time.monotonic()
        said = [killed.tell("open"), alive.tell("open"), killed.tell("open"), alive.tell("open")]
        assert said == ["open"] * 4
        killed.process.kill()
        killed.process.wait(10)
        opened: list[float] = []
        while len(opened) < 2 and time.monotonic() - began < 60:
            if alive.tell("open") == "open":
                opened.append(time.monotonic())
            time.sleep(0.05)
        assert len(opened) == 2
        assert opened[0] - began >= lease  # a law, not a matter of speed
        end = time.monotonic() + lease + 1
        while time.monotonic() < end:
            assert alive.tell("open") == "connections.full"
            time.sleep(0.2)
