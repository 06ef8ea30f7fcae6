"""Nodes tell each other who fails: an attacker over many nodes has one budget; a store that is lost changes nothing."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from backends.redis_server import PROGRAMS, running
from conftest import Run
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOW, SECOND, TRADER, StillClock, make_checks, make_guard, sign

from tradeguard.backends.memory import Memory, MemoryFailures, MemoryRecent
from tradeguard.backends.redis import Redis
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.checks.nodes import MOST, PREFIX, Nodes, read_record
from tradeguard.checks.source import Source
from tradeguard.core.conditions import Look, Stored
from tradeguard.core.decision import Denial
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown
from tradeguard.core.lockout import HALF_LIFE, Failure, level_of
from tradeguard.core.request import Request
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

HERE = "198.51.100.1"
HOUR = 3_600 * SECOND


class Counting(Memory):
    """A state that counts what it is asked for, and is lost when a test says so."""

    def __init__(self) -> None:
        super().__init__(since=1)
        self.sets = self.looks = 0
        self.lost = False

    async def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
        self.sets += key.startswith(PREFIX)
        if self.lost:
            raise BackendDown("it is lost", unknown=False)
        return await super().set(key, value, until, record)

    async def look(self, prefix: str) -> Look:
        self.looks += 1
        return await super().look(prefix)


class Venue:
    """Some nodes over one state, on one clock."""

    def __init__(self, run: Run, nodes: int, **source: Any) -> None:
        self.run, self.clock, self.state = run, StillClock(), Counting()
        self.sources = [Source(**source) for _ in range(nodes)]
        self.guards = [
            make_guard([source, *make_checks()[1:]], state=self.state, runtime=self.clock) for source in self.sources
        ]

    def send(self, node: int, request: Request) -> str:
        guard = self.guards[node % len(self.guards)]
        decision = guard.door(request.peer, request.arrived) or self.run(guard.admit(request))
        return decision.code if isinstance(decision, Denial) else "granted"

    def forge(self, node: int, key: str = "trader", address: str = HERE) -> str:
        forger, at = Signer(TG1, key, b"no secret of any key"), self.clock.at
        return self.send(node, sign(forger, address=address, arrived=at, at=at))

    def ask(self, node: int, address: str = HERE) -> str:
        return self.send(node, sign(TRADER, address=address, arrived=self.clock.at, at=self.clock.at))

    def serve(self) -> None:
        """Let a second go by, in which every node serves somebody else."""
        self.clock.at += SECOND
        for guard in self.guards:
            guard.finish(sign(TRADER, address="192.0.2.200", arrived=self.clock.at, at=self.clock.at), 200)


def _verified(nodes: int) -> int:
    """Guess for half an hour, at the next node each second; return how many guesses were verified."""
    venue, verified = Venue(drive, nodes), 0
    for number in range(1_800):
        verified += venue.forge(number) == "signature.wrong"
        venue.serve()
    return verified


@pytest.mark.parametrize("nodes", [2, 8])
def test_who_spreads_over_many_nodes_has_the_budget_of_one(nodes: int) -> None:
    """As many failures as on one node, and two more per node at most: what it verifies before it has first heard."""
    alone, spread = _verified(1), _verified(nodes)
    assert alone < 30
    assert spread <= alone + 2 * nodes


def test_a_source_that_waits_on_one_node_waits_on_the_others_with_their_next_exchange(run: Run) -> None:
    venue = Venue(run, 3, address=5)
    venue.forge(1, address="203.0.113.9")  # some failure from somewhere else: this node hears from now on
    for number in range(8):
        venue.forge(0, f"nobody{number}")
    assert venue.forge(0, "another") == "source.address"
    assert venue.forge(1, "another") == "signature.unknown"
    venue.serve()
    assert venue.forge(1, "yet-another") == "source.address"
    assert venue.forge(2, "yet-another") == "signature.unknown"  # nobody has failed here: the first one is how it hears
    assert venue.forge(2, "another") == "source.address"


def test_no_store_is_written_per_failure(run: Run) -> None:
    venue = Venue(run, 1)
    for number in range(1_000):
        venue.forge(0, f"nobody{number}", f"203.0.{number % 200}.{number // 200}")
        venue.clock.at += SECOND // 100
    assert venue.state.sets <= 11
    assert venue.state.looks == venue.state.sets


def test_without_failures_nothing_is_exchanged_and_a_quarter_of_an_hour_after_them_no_more(run: Run) -> None:
    venue = Venue(run, 1)
    for _ in range(5):
        assert venue.ask(0) == "granted"
        venue.clock.at += 2 * SECOND
    assert venue.state.sets == 0
    venue.forge(0)
    assert venue.state.sets == 1
    venue.clock.at += HALF_LIFE
    assert venue.ask(0) == "granted"
    venue.guards[0].finish(sign(TRADER), 200)
    assert venue.state.sets == 1


def test_grants_keep_a_node_informed_while_others_have_failed_there(run: Run) -> None:
    """A node on which nobody fails any more still hears, as long as it is asked for anything."""
    venue = Venue(run, 2)
    venue.forge(1, "nobody", "203.0.113.9")
    for _ in range(6):
        venue.clock.at += SECOND
        venue.forge(0)
    honest = sign(TRADER, address=HERE, arrived=venue.clock.at, at=venue.clock.at)
    honest.received = venue.clock.at
    venue.guards[1].finish(honest, 200)
    assert venue.forge(1) == "source.pair"


def test_what_a_node_tells_is_bounded_and_of_those_who_failed_most(run: Run) -> None:
    """Who has failed most is told of, however many others fail in between."""
    venue = Venue(run, 1)
    venue.forge(0, "first")
    for _ in range(6):
        venue.forge(0, "first")
    for number in range(3_000):
        venue.forge(0, f"nobody{number}", f"2001:db8:{number:x}::1")
    venue.clock.at += 2 * SECOND
    venue.forge(0, "last", "192.0.2.1")
    [stored] = drive(venue.state.look(PREFIX)).numbers.values()
    failing, proved = json.loads(stored.record)
    assert len(failing) == MOST
    assert ["first", HERE] in [row[:2] for row in failing]
    assert proved == []
    assert len(stored.record) < 32_768


def test_a_long_key_id_is_not_told(run: Run) -> None:
    nodes = Nodes(MemoryRecent(HOUR))
    nodes.note(("x" * 129, HERE), Failure(1.0, NOW, 0, False), NOW)
    state = Memory(since=1)
    work = nodes.exchange(state, "here", NOW)
    assert work is not None
    run(work)
    assert drive(state.look(PREFIX)).numbers[PREFIX + "here"].record == b"[[],[]]"


def test_while_the_store_is_lost_each_node_counts_alone_and_says_so_once(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    venue = Venue(run, 2)
    venue.state.lost = True
    for _ in range(30):
        venue.clock.at += SECOND // 2
        venue.forge(0)
    assert venue.forge(0) == "source.pair"
    assert venue.forge(1) == "signature.wrong"
    assert venue.state.sets <= 4  # a store that does not answer is left alone for 10 seconds
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2  # once per node
    venue.state.lost = False
    venue.clock.at += 20 * SECOND
    venue.forge(0)
    venue.clock.at += SECOND
    venue.forge(1)
    venue.clock.at += SECOND
    assert venue.forge(1) == "source.pair"


def test_a_key_that_was_proved_where_others_fail_in_its_name_passes_on_every_node(run: Run) -> None:
    """Attacker and trader behind one address: the trader is proved on one node; the flood meets him on none."""
    venue = Venue(run, 2)
    assert venue.ask(0) == "granted"
    for _ in range(5):
        venue.forge(0)
        assert venue.ask(0) == "granted"
        venue.clock.at += SECOND
        venue.forge(1)
    venue.clock.at += SECOND
    venue.forge(0)
    assert venue.ask(0) == "granted"
    venue.clock.at += SECOND
    venue.forge(0)
    venue.forge(1, "nobody", "203.0.113.9")
    venue.clock.at += SECOND
    venue.forge(1, "nobody", "203.0.113.9")
    assert venue.ask(1) == "granted"


JUNK = [
    b"", b"{}", b"[]", b"null", b"[[],[],[]]", b"[1,2]", b"[[[1,2,3]],[]]", b'[[["a"]],[]]', b'[[["a",1]],[]]',
    b'[[["a",-1,2]],[]]', b'[[["a",1.5,2]],[]]', b'[[["a","b","c",1,2]],[]]', b'[[],[["a",1]]]',
    b'[[],[["a","b",true]]]', b"\xff\xfe", b"[" * 100_000, b"[[],[" + b" " * 200_000 + b"]]", b'[{"a":1},[]]',
]  # fmt: skip


@pytest.mark.parametrize("record", JUNK)
def test_a_record_that_is_none_is_left_out(record: bytes, run: Run) -> None:
    venue = Venue(run, 1)
    drive(venue.state.set(PREFIX + "other", 1, NOW + HOUR, record))
    for _ in range(3):
        assert venue.forge(0) == "signature.wrong"
        venue.clock.at += SECOND
    assert venue.ask(0) == "granted"
    assert venue.forge(0, "another") == "signature.unknown"


@settings(max_examples=100)
@given(st.binary(max_size=200) | st.recursive(st.integers() | st.text(max_size=5), st.lists).map(
    lambda value: json.dumps(value).encode()
))  # fmt: skip
def test_any_bytes_are_read_or_left_out(record: bytes) -> None:
    failing, proved = read_record(record, NOW)
    for (_, *more), (level, until) in failing.items():
        assert len(more) <= 1
        assert 0 <= level <= NOW + 16 * HALF_LIFE
        assert 0 <= until <= NOW + HOUR
    assert all(len(name) == 2 and at <= NOW for name, at in proved.items())


def test_a_record_locks_nobody_for_ever_and_proves_nobody_in_advance() -> None:
    far = 2**62
    failing, proved = read_record(json.dumps([[[HERE, far, far]], [["trader", HERE, far]]]).encode(), NOW)
    assert failing[HERE,].until <= NOW + 1_125 * SECOND
    assert proved["trader", HERE] == NOW


class Many(Memory):
    """A state that holds the records of very many nodes."""

    async def look(self, prefix: str) -> Look:
        rows = [[f"10.{row}.0.1", NOW, NOW + HOUR] for row in range(2 * MOST)]
        numbers = {f"{prefix}{node}": Stored(1, None, json.dumps([rows, []]).encode()) for node in range(100)}
        return Look(numbers, NOW, "epoch", 1)


def test_what_is_heard_is_bounded(run: Run) -> None:
    nodes = Nodes(MemoryRecent(HOUR))
    nodes.note((HERE,), Failure(1.0, NOW, 0, False), NOW)
    work = nodes.exchange(Many(since=1), "here", NOW)
    assert work is not None
    run(work)
    assert len(nodes._heard) == MOST
    assert nodes.count(("10.0.0.1",), NOW) == pytest.approx(64)


def test_of_many_who_ask_at_once_one_gets_the_work() -> None:
    nodes, state = Nodes(MemoryRecent(HOUR)), Memory(since=1)
    nodes.note((HERE,), Failure(1.0, NOW, 0, False), NOW)
    works = [nodes.exchange(state, "here", NOW) for _ in range(10)]
    [work] = [work for work in works if work is not None]
    drive(work)
    assert nodes.exchange(state, "here", NOW + SECOND - 1) is None
    again = nodes.exchange(state, "here", NOW + SECOND)
    assert again is not None
    again.close()


def test_two_tables_of_one_process_have_names_of_their_own() -> None:
    assert MemoryFailures().node != MemoryFailures().node


def _tell_and_hear(state: Any, other: Any) -> None:
    """One node tells through a store, another one hears."""
    now = time.time_ns()  # the store has a clock of its own
    here, there = Nodes(MemoryRecent(HOUR)), Nodes(MemoryRecent(HOUR))

    async def exchange(nodes: Nodes, over: Any, name: str) -> None:
        work = nodes.exchange(over, name, now)
        assert work is not None
        await work

    async def main() -> None:
        here.note(("trader", HERE), Failure(7.0, level_of(7.0, now), now + 8 * SECOND, True), now)
        there.note(("nobody", HERE), Failure(1.0, now, 0, False), now)
        try:
            await exchange(here, state, "here")
            await exchange(there, other, "there")
        finally:
            state.close()
            other.close()

    asyncio.run(main())
    assert there.count(("trader", HERE), now) == pytest.approx(7)
    assert there.until(("trader", HERE)) == there.latest == now + 8 * SECOND


def test_nodes_hear_of_each_other_through_a_file(tmp_path: Path) -> None:
    _tell_and_hear(SQLiteState(tmp_path / "state.db"), SQLiteState(tmp_path / "state.db"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_nodes_hear_of_each_other_through_redis(program: str, tmp_path: Path) -> None:
    with running(tmp_path, program=program) as server:
        _tell_and_hear(*(Redis(server.url, deadline=20, opening=20) for _ in range(2)))
