"""Halts: what a node holds against a writer to the store, against clocks, restarts and forks."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from halts.operators import BEARER, Venue, operators, propose, put, signed
from hypothesis import given, settings
from hypothesis import strategies as st
from support import MS, NOW, SECOND, StillClock

from tradeguard.backends.memory import Memory, MemoryKeys
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.halt import LONGEST_BLOCK, PREFIX, SKEW, Mode, Record
from tradeguard.core.key import KeyRecord
from tradeguard.core.ports import Colour
from tradeguard.halts.node import read_nodes
from tradeguard.halts.view import Halts

HELD = signed(propose(), "olga")
LIFT = propose(mode=Mode.ACTIVE, number=NOW + 1)


@pytest.fixture
def venue() -> Venue:
    """A node that has seen NO_NEW for the venue."""
    venue = Venue()
    put(venue.state, HELD)
    assert venue.look()
    assert venue.mode() == Mode.NO_NEW
    return venue


# --- a writer to the store


def _delete(state: Memory) -> None:
    state._numbers.pop(PREFIX + "venue")
    drive(state.set("other", 1))


WRITES: dict[str, Callable[[Memory], object]] = {
    "deletes the number": _delete,
    "lets it expire": lambda state: put(state, HELD, until=NOW - 1),
    "shortens it": lambda state: put(state, HELD, until=NOW + 120 * SECOND),
    "weakens the number": lambda state: put(state, HELD, value=0),
    "weakens it below what is a mode": lambda state: put(state, HELD, value=-5),
    "drops the record": lambda state: put(state, HELD, value=0, record=b""),
    "writes something else": lambda state: put(state, HELD, value=0, record=b"\xff" * 5_000),
    "lifts it unsigned": lambda state: put(state, Record(LIFT, ())),
    "lifts it by one signature": lambda state: put(state, signed(LIFT, "olga")),
    "lifts it by one key in two spellings": lambda state: put(state, signed(LIFT, "olga", "olga-2")),
    "lifts it by a suspended key": lambda state: put(state, signed(LIFT, "olga", "sue")),
    "lifts it by a key that is not valid yet": lambda state: put(state, signed(LIFT, "olga", "late")),
    "lifts it by a trader": lambda state: put(state, signed(LIFT, "olga", "trader")),
    "lifts it by a key that there is not": lambda state: put(state, signed(LIFT, "olga", "ghost")),
    "lifts it by keys of nobody": lambda state: put(state, signed(LIFT, "anon", "anon-2")),
    "lifts it by somebody and nobody": lambda state: put(state, signed(LIFT, "olga", "anon")),
    "lifts it by a bearer secret": lambda state: put(
        state, Record(LIFT, (("olga", signed(LIFT, "olga").signatures[0][1]), ("token", BEARER)))
    ),
    "forges a signature": lambda state: put(state, signed(LIFT, "olga").sign("omar", bytes(32))),
    "puts one's signature under two names": lambda state: put(
        state, Record(LIFT, tuple((id, signed(LIFT, "omar").signatures[0][1]) for id in ("olga", "omar")))
    ),
    "takes signatures from another record": lambda state: put(
        state, Record(replace(LIFT, number=NOW + 2), signed(LIFT, "olga", "omar").signatures)
    ),
    "takes the lift of another scope": lambda state: put(
        state, signed(replace(LIFT, scope="account:acme"), "olga", "omar"), scope="venue"
    ),
    "replays an older lift": lambda state: put(state, signed(replace(LIFT, number=NOW - 1), "olga", "omar")),
    "replays a lift with the same number": lambda state: put(state, signed(replace(LIFT, number=NOW), "olga", "omar")),
    "brings a lift of the future": lambda state: put(
        state, signed(replace(LIFT, number=NOW + 2 * SKEW), "olga", "omar")
    ),
    "puts a shorter halt in its place": lambda state: put(
        state, signed(propose(number=NOW + 1, until=NOW + 1), "olga")
    ),
    "blocks for a moment in its place": lambda state: put(
        state, signed(propose(mode=Mode.BLOCKED, number=NOW + 1, until=NOW + 1), "omar")
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_writer_to_the_store_cannot_lift_a_halt(venue: Venue, write: str) -> None:
    WRITES[write](venue.state)
    for _ in range(3):
        venue.look()
        venue.clock.at += 2 * SECOND
        assert venue.mode() >= Mode.NO_NEW
        assert venue.halts.held["venue"] == HELD
    told = [code for code in venue.codes() if code != "halt.obeyed"]
    assert set(told) <= {"halt.refused", "halt.lost"}
    assert "halt.lost" in told
    assert len(told) == len(set(told)), "each trouble is told once"


def test_two_operators_lift_it(venue: Venue) -> None:
    put(venue.state, signed(LIFT, "olga", "omar"))
    assert venue.look()
    assert (venue.mode(), venue.codes()) == (Mode.ACTIVE, ["halt.obeyed", "halt.obeyed"])


@pytest.mark.parametrize("scope", ["venue", "account:acme"])
@pytest.mark.parametrize("record", [b"", b"x", HELD.encode()[:-1]])
def test_a_plain_number_blocks_as_long_as_it_is_there(scope: str, record: bytes) -> None:
    venue = Venue()
    drive(venue.state.set(PREFIX + scope, 7, None, record))
    venue.look()
    assert venue.mode(scope) == Mode.BLOCKED
    assert venue.codes() == ["halt.refused"]
    drive(venue.state.set(PREFIX + scope, 0))
    venue.look()
    assert venue.mode(scope) == Mode.ACTIVE


def test_a_number_above_the_signed_one_blocks_and_its_end_leaves_the_signed_one(venue: Venue) -> None:
    put(venue.state, HELD, value=3)
    venue.look()
    assert (venue.mode(), venue.codes()[1:]) == (Mode.BLOCKED, ["halt.lost"])
    put(venue.state, HELD)
    venue.look()
    assert venue.mode() == Mode.NO_NEW


def test_a_record_under_the_name_of_another_scope_stops_there_by_its_number_only() -> None:
    venue = Venue()
    put(venue.state, HELD, scope="key:trader")
    venue.look()
    assert (venue.mode(), venue.mode("key:trader")) == (Mode.ACTIVE, Mode.NO_NEW)
    assert venue.halts.held == {}
    assert venue.codes() == ["halt.refused"]


def test_a_halt_outlives_the_key_that_has_signed_it(venue: Venue) -> None:
    olga = drive(venue.keys.find("olga"))
    assert olga is not None
    venue.keys.put_now(replace(olga, state="revoked", version=2))
    for _ in range(2):
        venue.clock.at += 2 * SECOND
        venue.look()
        assert venue.mode() == Mode.NO_NEW
    started = venue.node()
    assert drive(started.refresh())
    assert venue.mode(halts=started) == Mode.NO_NEW  # nobody can verify it any more, so it counts as a plain number
    assert started.held == {}


def test_a_store_that_was_rolled_back_is_not_read(venue: Venue) -> None:
    venue.state._numbers.clear()
    venue.state._version = 0
    assert not venue.look()
    assert venue.mode() == Mode.NO_NEW
    venue.clock.at += 2 * SECOND
    assert not venue.halts.unread
    venue.clock.at += 1
    assert venue.halts.unread
    assert venue.codes()[1:] == ["halt.unread"]


def test_with_another_store_the_node_goes_on_and_what_is_held_stays_held(venue: Venue) -> None:
    drive(venue.halts.announce())
    venue.halts.state = Memory(since=1)
    assert venue.look()
    assert venue.mode() == Mode.NO_NEW
    assert venue.codes()[1:] == ["halt.moved", "halt.lost"]
    drive(venue.halts.announce())
    assert list(read_nodes(drive(venue.halts.state.look("halt-ack:")))) == [venue.halts.node]


def test_a_commit_shows_how_new_the_store_is_before_the_view_has_looked(venue: Venue) -> None:
    look = drive(venue.state.look(PREFIX))
    venue.halts.notice(look.epoch, look.version + 5)
    assert venue.halts.due
    assert not venue.look()  # the commit has seen a newer store than this one
    for _ in range(5):
        drive(venue.state.set("other", 1))
    assert venue.look()
    assert venue.codes()[1:] == ["halt.unread", "halt.read"]


# --- clocks


@pytest.mark.parametrize("ahead", [-SKEW, 0, SKEW])
def test_operators_clocks_may_differ_by_a_minute(ahead: int) -> None:
    venue = Venue()
    put(venue.state, signed(propose(number=NOW + ahead, at=NOW + ahead), "olga"))
    venue.look()
    assert "venue" in venue.halts.held


def test_a_record_that_came_too_early_is_taken_when_its_time_has_come() -> None:
    venue = Venue()
    early = NOW + SKEW + SECOND
    put(venue.state, signed(propose(mode=Mode.BLOCKED, number=early, at=early, until=early + SECOND), "olga"))
    venue.look()
    assert (venue.mode(), venue.halts.held) == (Mode.BLOCKED, {})  # its number stops already
    venue.clock.at += SECOND
    venue.look()
    assert "venue" in venue.halts.held


def test_blocked_ends_by_itself_in_the_view() -> None:
    venue = Venue()
    put(venue.state, signed(propose(mode=Mode.BLOCKED, until=NOW + LONGEST_BLOCK), "olga"))
    venue.look()
    for later, mode in ((LONGEST_BLOCK - 1, Mode.BLOCKED), (LONGEST_BLOCK, Mode.ACTIVE)):
        venue.clock.at = NOW + later
        assert venue.mode() == mode
    venue.look()
    assert "halt.lost" not in venue.codes()


def test_one_operator_blocks_for_no_longer_than_an_hour() -> None:
    venue = Venue()
    put(venue.state, signed(propose(mode=Mode.BLOCKED, until=NOW + LONGEST_BLOCK + 1), "olga"))
    venue.look()
    assert venue.halts.held == {}
    put(venue.state, signed(propose(mode=Mode.BLOCKED, number=NOW + 1), "olga", "omar"))
    venue.look()
    assert venue.halts.held["venue"].proposal.until is None


# --- looking


class Counting(Memory):
    """A store that counts its looks, and answers as it is told to."""

    looks, down = 0, False

    async def look(self, prefix: str) -> Any:
        self.looks += 1
        if self.down:
            raise BackendDown("down")
        return await super().look(prefix)


def test_a_view_that_is_fresh_is_not_looked_up_again_and_one_that_lags_is_once() -> None:
    state, clock = Counting(since=1), StillClock()
    halts = Halts(state, operators(), clock=clock.now, now=clock.now, follow=False)
    assert halts.due
    drive(halts.refresh())
    assert not halts.due
    version = drive(state.set("other", 1))
    halts.notice(state._epoch, version - 1)
    assert not halts.due
    halts.notice(state._epoch, version)
    assert halts.due
    state.down = True
    drive(halts.refresh())
    assert not halts.due, "a store that does not answer is not asked by every request"
    clock.at += 100 * MS
    assert halts.due


def test_a_key_store_that_does_not_answer_leaves_a_new_record_unread() -> None:
    class Down(MemoryKeys):
        async def find(self, id: str, /) -> KeyRecord | None:
            raise BackendDown("down")

    venue = Venue()
    venue.keys = Down()
    halts = venue.node()
    assert drive(halts.refresh())
    put(venue.state, HELD)
    assert not drive(halts.refresh())
    venue.clock.at += 2 * SECOND + 1
    assert halts.unread


@pytest.mark.parametrize("fields", [{"poll": 0}, {"stale_after": 0}])
def test_times_are_at_least_1(fields: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Venue().node(**fields)


class OnLoop(Memory):
    """A store that waits on a loop."""

    colour: Colour = "async"

    async def look(self, prefix: str) -> Any:
        await asyncio.sleep(0)
        return await super().look(prefix)


def wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come")


def test_in_the_background_a_thread_looks_and_speaks() -> None:
    venue = Venue()
    halts = Halts(venue.state, venue.keys, now=venue.clock.now, poll=MS)
    drive(halts.refresh())
    put(venue.state, HELD)
    wait_for(lambda: venue.mode(halts=halts) == Mode.NO_NEW)
    wait_for(lambda: "venue" in read_nodes(drive(venue.state.look("halt-ack:"))).get(halts.node, {}))
    halts.close()
    threads = [halts._follower._thread]
    assert threads[0] is not None
    assert not threads[0].is_alive()


def test_on_a_loop_a_task_does(recwarn: pytest.WarningsRecorder) -> None:
    async def serve() -> None:
        state = OnLoop(since=1)
        halts = Halts(state, operators(), now=lambda: NOW, poll=MS)
        await halts.refresh()
        put(state, HELD)
        for _ in range(2_000):
            if halts.find(("venue",), NOW) is not None and read_nodes(await state.look("halt-ack:")):
                break
            await asyncio.sleep(0.002)
        assert "venue" in read_nodes(await state.look("halt-ack:"))[halts.node]
        halts.close()

    for _ in range(2):
        asyncio.run(serve())
    assert not recwarn.list


def test_a_look_that_comes_back_late_changes_nothing_and_alarms_nobody() -> None:
    class Slow(Memory):
        colour: Colour = "async"
        late: asyncio.Event | None = None

        async def look(self, prefix: str) -> Any:
            found = await super().look(prefix)
            if self.late is not None:
                waiting, self.late = self.late, None
                await waiting.wait()
            return found

    async def overtake() -> None:
        venue = Venue()
        state = Slow(since=1)
        halts = venue.node(state=state, journal=venue.journal)
        put(state, HELD)
        state.late = gate = asyncio.Event()
        slow = asyncio.create_task(halts.refresh())
        await asyncio.sleep(0)
        put(state, signed(LIFT, "olga", "omar"))
        assert await halts.refresh()
        gate.set()
        assert await slow
        assert venue.mode(halts=halts) == Mode.ACTIVE
        assert venue.codes() == ["halt.obeyed"]

    asyncio.run(overtake())


def test_a_view_that_nobody_has_any_more_ends_its_thread() -> None:
    venue = Venue()
    halts = Halts(venue.state, venue.keys, poll=MS)
    drive(halts.refresh())
    thread = halts._follower._thread
    assert thread is not None
    del halts
    wait_for(lambda: not thread.is_alive())


def test_a_forked_child_is_a_node_of_its_own_and_looks_itself() -> None:
    venue = Venue()
    halts = Halts(venue.state, venue.keys, now=venue.clock.now, poll=MS)
    drive(halts.refresh())
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        put(venue.state, HELD)
        code = 1
        try:
            drive(halts.refresh())
            wait_for(lambda: venue.mode(halts=halts) == Mode.NO_NEW)
            os.write(theirs, halts.node.encode())
            code = 0
        finally:
            os._exit(code)
    os.close(theirs)
    assert os.waitpid(child, 0)[1] == 0
    name = os.read(ours, 1_000).decode()
    os.close(ours)
    assert f".{child}." in name
    assert f".{os.getpid()}." in halts.node
    halts.close()


# --- what nodes say


def test_a_node_says_what_it_obeys_and_what_is_left_in_flight(venue: Venue) -> None:
    flights = {"a", "b", "c"}
    venue.halts.watch(flights)
    put(venue.state, signed(propose("account:acme", number=NOW + 1), "olga"))
    venue.look()
    flights -= {"a"}
    flights |= {"d"}
    drive(venue.halts.announce())
    said = read_nodes(drive(venue.state.look("halt-ack:")))[venue.halts.node]
    assert said == {"venue": (NOW, 0, 0), "account:acme": (NOW + 1, 3, 2)}


def test_a_node_repeats_itself_only_when_it_is_time(venue: Venue) -> None:
    drive(venue.halts.announce())
    version = drive(venue.state.look("")).version
    drive(venue.halts.announce())
    assert drive(venue.state.look("")).version == version
    venue.clock.at += 5 * SECOND
    drive(venue.halts.announce())
    assert drive(venue.state.look("")).version == version + 1


@pytest.mark.parametrize("text", [b"", b"[", b"[]", b'{"venue":[1,2]}', b'{"venue":[1,2,"x"]}', b"[" * 9_999, b"7"])
def test_what_others_write_in_a_nodes_name_says_nothing(text: bytes) -> None:
    state = Memory(since=1)
    drive(state.set("halt-ack:x", 0, None, text))
    assert read_nodes(drive(state.look("halt-ack:"))) == {"x": {}}


# --- a restart


def test_what_is_held_survives_a_restart(tmp_path: Path) -> None:
    venue = Venue(keep=tmp_path / "halts")
    put(venue.state, HELD)
    venue.look()
    assert (tmp_path / "halts").stat().st_mode & 0o777 == 0o600
    started = venue.node(keep=tmp_path / "halts", state=Memory(since=1))  # somebody has emptied the store meanwhile
    assert venue.mode(halts=started) == Mode.NO_NEW
    drive(started.refresh())
    assert venue.mode(halts=started) == Mode.NO_NEW
    forgetful = venue.node(state=Memory(since=1))
    drive(forgetful.refresh())
    assert venue.mode(halts=forgetful) == Mode.ACTIVE


def test_processes_share_the_file_and_the_latest_record_stays(tmp_path: Path) -> None:
    path = tmp_path / "halts"
    venue = Venue(keep=path)
    slow = venue.node(keep=path)
    put(venue.state, HELD)
    venue.look()
    put(venue.state, signed(LIFT, "olga", "omar"))
    venue.look()
    put(venue.state, signed(propose("key:k"), "olga"))
    slow._held = {"venue": HELD}
    drive(slow.refresh())
    assert {scope: record.proposal.mode for scope, record in venue.node(keep=path).held.items()} == {
        "venue": Mode.ACTIVE, "key:k": Mode.NO_NEW,
    }  # fmt: skip


def test_a_damaged_file_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "halts").write_bytes(HELD.encode()[:-3])
    with pytest.raises(ConfigError, match="remove the file"):
        Venue(keep=tmp_path / "halts")
    with pytest.raises(ConfigError, match="the halts that this node holds"):
        Venue(keep=tmp_path)


def test_a_file_that_cannot_be_written_is_told_and_the_halt_holds(tmp_path: Path) -> None:
    venue = Venue(keep=tmp_path / "gone" / "halts")
    put(venue.state, HELD)
    assert venue.look()
    assert (venue.mode(), venue.codes()) == (Mode.NO_NEW, ["halt.unkept", "halt.obeyed"])


# --- random traces

SIGNERS = st.lists(st.sampled_from(["olga", "omar", "otto", "olga-2", "sue", "trader"]), unique=True, max_size=2)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([Mode.ACTIVE, Mode.NO_NEW, Mode.BLOCKED]),
        st.none() | st.sampled_from([SECOND, 20 * SECOND, 2 * LONGEST_BLOCK]),
        st.integers(-2, 2),  # the number against the latest
        SIGNERS,
        st.sampled_from(["", "", "", "weaken", "delete", "number", "scope"]),
        st.sampled_from([0, SECOND, 15 * SECOND]),
    ),
    max_size=8,
)
GOOD = {"olga": "olga", "omar": "omar", "otto": "otto", "olga-2": "olga"}


@settings(max_examples=60)
@given(STEPS)
def test_whatever_is_written_only_operators_lift_and_two_at_that(steps: list[Any]) -> None:
    """Random traces against a model: what was armed stands until two owners have signed otherwise, or its end."""
    venue, number = Venue(), NOW
    armed: list[tuple[int, float]] = []  # (mode, end) of what nobody may take away alone
    for mode, span, step, signers, trick, later in steps:
        venue.clock.at += later
        number += step
        now = venue.clock.now()
        until = None if span is None or mode == Mode.ACTIVE else now + span
        record = signed(propose(mode=mode, number=number, at=now, until=until), *signers)
        tricks: dict[str, dict[str, Any]] = {
            "weaken": {"value": 0},
            "number": {"record": b""},
            "scope": {"scope": "key:x"},
        }
        if trick == "delete":
            venue.state._numbers.clear()
            drive(venue.state.set("other", 1))
        else:
            put(venue.state, record, **tricks.get(trick, {}))
        before = venue.halts.held.get("venue")
        venue.look()
        held = venue.halts.held.get("venue")
        if held != before and held is not None:  # it was taken, so it was new and good
            owners = {GOOD[key_id] for key_id, _ in held.signatures}
            assert owners
            assert before is None or held.proposal.number > before.proposal.number
            if len(owners) > 1:
                armed = []
            taken, end = held.proposal.mode, held.proposal.until
            armed.append((int(taken), float("inf") if end is None else end))
        for later_on in (0, SECOND, 15 * SECOND, LONGEST_BLOCK, 3 * LONGEST_BLOCK):
            must = max((armed_mode for armed_mode, end in armed if now + later_on < end), default=0)
            found = venue.halts.find(("venue",), now + later_on)
            assert (0 if found is None else found.mode) >= must


def test_who_closes_takes_leave_and_does_not_count_as_silent() -> None:
    venue = Venue()
    drive(venue.halts.announce())
    assert list(read_nodes(drive(venue.state.look("halt-ack:")))) == [venue.halts.node]
    venue.halts.close()
    drive(venue.state.commit((), venue.clock.at + 1, "r", None))
    assert read_nodes(drive(venue.state.look("halt-ack:"))) == {}
