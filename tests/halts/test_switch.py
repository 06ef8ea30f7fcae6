"""Switch: arming and lifting from Python, what it refuses, and what a receipt says."""

import asyncio
from typing import Any

import pytest
from halts.operators import Venue, propose, put, signed
from support import NOW, SECOND

from tradeguard.backends.memory import Memory
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.halt import PREFIX, Mode, Record
from tradeguard.halts.switch import Receipt, hold


@pytest.fixture
def venue() -> Venue:
    """A venue with one node, that has looked and spoken."""
    venue = Venue()
    drive(venue.halts.step())
    return venue


def store(venue: Venue, mode: Mode, *signers: str, **fields: Any) -> Record:
    record = signed(drive(venue.switch.propose("venue", mode, **fields)), *signers)
    drive(venue.switch.put(record, actor="tests"))
    return record


def test_a_receipt_names_who_obeys_and_what_was_in_flight(venue: Venue) -> None:
    flights = {"a", "b"}
    venue.halts.watch(flights)
    record = store(venue, Mode.NO_NEW, "olga")
    assert drive(venue.switch.receipt(record)) == Receipt({}, (venue.halts.node,))
    drive(venue.halts.step())
    receipt = drive(venue.switch.receipt(record))
    assert (receipt.obeyed, receipt.silent, receipt.done) == ({venue.halts.node: (NOW, 2, 2)}, (), False)
    flights.clear()
    drive(venue.halts.step())
    assert drive(venue.switch.receipt(record)).done


def test_a_receipt_is_waited_for_on_a_loop_and_without_one(venue: Venue) -> None:
    record = store(venue, Mode.NO_NEW, "olga")
    assert not drive(venue.switch.wait(record, 0.05, hold)).done

    async def obey() -> Receipt:
        waiting = asyncio.create_task(venue.switch.wait(record, 30))
        await asyncio.sleep(0)
        await venue.halts.step()
        return await waiting

    assert asyncio.run(obey()).done


def test_a_node_that_is_silent_is_forgotten(venue: Venue) -> None:
    record = store(venue, Mode.NO_NEW, "olga")
    venue.clock.at += 16 * SECOND
    drive(venue.state.commit([], venue.clock.now(), "r", None))
    assert drive(venue.switch.receipt(record)) == Receipt({}, ())


@pytest.mark.parametrize("signers", [(), ("olga",), ("olga", "olga-2"), ("anon", "anon-2"), ("olga", "trader")])
def test_what_nodes_would_refuse_is_not_stored(venue: Venue, signers: tuple[str, ...]) -> None:
    held = store(venue, Mode.NO_NEW, "olga")
    with pytest.raises(ConfigError):
        store(venue, Mode.ACTIVE, *signers)
    assert drive(venue.state.look(PREFIX)).numbers["halt:venue"].record == held.encode()


def test_numbers_grow_although_the_clock_stands_still_or_was_ahead(venue: Venue) -> None:
    first = store(venue, Mode.NO_NEW, "olga")
    second = store(venue, Mode.NO_NEW, "omar")
    assert (first.proposal.number, second.proposal.number) == (NOW, NOW + 1)
    venue.clock.at -= 30 * SECOND
    assert store(venue, Mode.ACTIVE, "olga", "omar").proposal.number == NOW + 2
    venue.clock.at += 60 * SECOND
    assert store(venue, Mode.NO_NEW, "olga").proposal.number == NOW + 30 * SECOND


def test_after_the_store_was_emptied_the_next_number_is_still_above_what_nodes_hold(venue: Venue) -> None:
    store(venue, Mode.NO_NEW, "olga")
    venue.look()
    venue.state._numbers.clear()
    drive(venue.state.set("other", 1))
    venue.look()
    venue.clock.at += SECOND
    record = store(venue, Mode.ACTIVE, "olga", "omar")
    drive(venue.halts.step())
    assert (venue.mode(), drive(venue.switch.receipt(record)).done) == (Mode.ACTIVE, True)


def test_a_forged_record_in_the_store_does_not_use_up_the_numbers(venue: Venue) -> None:
    put(venue.state, signed(propose(mode=Mode.BLOCKED, number=2**63 - 2), "olga"))
    record = store(venue, Mode.ACTIVE, "olga", "omar")
    assert record.proposal.number == NOW


def test_who_is_overtaken_at_the_same_moment_is_told() -> None:
    class Raced(Memory):
        async def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
            version = await super().set(key, value, until, record)
            return await super().set(key, 0, None, b"") if key == "halt:venue" else version

    venue = Venue()
    venue.switch._state = Raced(since=1)
    with pytest.raises(ConfigError, match="somebody else has changed it"):
        store(venue, Mode.NO_NEW, "olga")


@pytest.mark.parametrize(
    ("other", "doubt"),
    [
        ({}, ""),
        ({"value": 3}, "the number is not the signed one"),
        ({"until": NOW + 5}, "the number is not the signed one"),
        ({"scope": "key:k"}, "it was signed for venue"),
        ({"record": b""}, "nobody has signed it"),
    ],
)
def test_a_look_says_what_is_doubtful(other: dict[str, Any], doubt: str) -> None:
    venue = Venue()
    record = signed(propose(), "olga")
    fields = {"value": int(Mode.NO_NEW), "until": None, "record": record.encode(), **other}
    drive(venue.state.set(PREFIX + fields.pop("scope", "venue"), **fields))
    [stand] = drive(venue.switch.look())
    assert stand.doubt == doubt


def test_a_look_names_the_suspended_signer_and_sorts_by_strictness() -> None:
    venue = Venue()
    put(venue.state, signed(propose(), "sue"))
    put(venue.state, signed(propose("key:a", mode=Mode.BLOCKED, until=NOW + 5), "olga"))
    put(venue.state, signed(propose("key:b", mode=Mode.ACTIVE), "olga", "omar"))
    stands = drive(venue.switch.look())
    assert [stand.scope for stand in stands] == ["key:a", "venue", "key:b"]
    assert "sue is suspended" in stands[1].doubt


def test_who_did_what_is_on_record(venue: Venue) -> None:
    store(venue, Mode.NO_NEW, "olga", reason="odd")
    store(venue, Mode.ACTIVE, "olga", "omar")
    events = [event for event in venue.journal.events if event.kind == "halt"]
    assert [(event.code, event.actor, event.key_id) for event in events] == [
        ("halt.set", "tests", "olga"),
        ("halt.lifted", "tests", "olga,omar"),
    ]
    assert events[0].detail == f"venue NO_NEW #{NOW}: odd"
