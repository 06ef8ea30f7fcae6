"""The law of halts: what each mode refuses, what a record is, who may change what."""

import json
from dataclasses import replace
from itertools import product
from typing import Any, get_args

import pytest
from halts.operators import propose, signed
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOW, SECOND

from tradeguard.core.address import Networks
from tradeguard.core.errors import ConfigError
from tradeguard.core.halt import (
    KINDS,
    LONGEST_BLOCK,
    SET,
    SKEW,
    Mode,
    Proposal,
    Standing,
    check_scope,
    limit,
    needed,
    objection,
    parse_record,
    scopes_of,
    strictest,
)
from tradeguard.core.policy import Lane, Operation
from tradeguard.core.principal import Principal

TABLE = {  # mode: public, read, order, cancel, funds, admin, admin that takes halt:set
    Mode.ACTIVE: "pass pass pass pass pass pass pass",
    Mode.REDUCE_ONLY: "pass pass refuse pass refuse pass pass",
    Mode.NO_NEW: "pass pass refuse pass refuse pass pass",
    Mode.BLOCKED: "pass refuse refuse refuse refuse refuse pass",
}
LANES: tuple[Lane, ...] = get_args(Lane)
CALLER = Principal(id="acme", key_id="k1", account="acme", tier="gold", scopes=frozenset(), networks=Networks(()))
HOUR = 3_600 * SECOND


def operation(lane: Lane, *scopes: str) -> Operation:
    return Operation("POST /v1/orders", frozenset(scopes), lane)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", list(Mode))
def test_the_truth_table_of_mode_lane_and_scope(mode: Mode, kind: str) -> None:
    asked = [*(operation(lane) for lane in LANES), operation("admin", SET)]
    for one, expected in zip(asked, TABLE[mode].split(), strict=True):
        scope = dict(zip(KINDS, scopes_of(CALLER, one), strict=True))[kind]
        found = strictest({scope: (Standing(mode, None, scope),)}, scopes_of(CALLER, one), NOW)
        first = limit(one)
        assert ("refuse" if first is not None and found is not None and found.mode >= first else "pass") == expected


def test_the_table_has_every_lane() -> None:
    assert LANES == ("public", "read", "order", "cancel", "funds", "admin")


def test_a_request_is_in_the_scopes_that_it_has_names_for() -> None:
    full = ("venue", "tier:gold", "account:acme", "key:k1", "operation:POST /v1/orders")
    assert scopes_of(CALLER, operation("order")) == full
    host = CALLER._replace(tier="", key_id="")
    assert scopes_of(host, operation("order")) == ("venue", "account:acme", "operation:POST /v1/orders")


@pytest.mark.parametrize(("one", "two"), list(product(Mode, Mode)))
def test_of_all_that_stands_the_strictest_decides(one: Mode, two: Mode) -> None:
    standings = {"venue": (Standing(one, None, "venue"),), "key:k1": (Standing(two, None, "key:k1"),)}
    found = strictest(standings, scopes_of(CALLER, operation("order")), NOW)
    assert found is not None
    assert found.mode == max(one, two)


def test_what_has_ended_does_not_decide() -> None:
    standings = {"venue": (Standing(Mode.BLOCKED, NOW, "venue"), Standing(Mode.NO_NEW, NOW + 1, "venue"))}
    found = [strictest(standings, ("venue",), NOW + later) for later in (-1, 0, 1)]
    assert [one and one.mode for one in found] == [Mode.BLOCKED, Mode.NO_NEW, None]


@pytest.mark.parametrize(
    "scope", ["", "venue:", "venue:x", "account", "account:", "Account:a", "desk:a", "key:\n", "tier:" + "x" * 257]
)
def test_what_is_no_scope_is_refused(scope: str) -> None:
    with pytest.raises(ConfigError, match="write venue, tier:NAME"):
        check_scope(scope)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"mode": Mode.REDUCE_ONLY}, "mode is ACTIVE"),
        ({"mode": 2}, "mode is ACTIVE"),
        ({"number": 0}, "number is a whole number"),
        ({"number": True}, "number is a whole number"),
        ({"number": 2**63}, "number is a whole number"),
        ({"at": -1}, "at is a whole number"),
        ({"until": NOW}, "end before it begins"),
        ({"until": 2**63}, "end before it begins"),
        ({"until": NOW + 1.5}, "end before it begins"),
        ({"retry_after": 700_000}, "retry_after is a whole number"),
        ({"mode": Mode.ACTIVE, "until": NOW + 1}, "lifted for good"),
        ({"mode": Mode.ACTIVE, "retry_after": 1}, "lifted for good"),
        ({"reason": "x" * 257}, "printable"),
        ({"reason": "\x1b[31m"}, "printable"),
    ],
)
def test_a_proposal_that_makes_no_sense_is_refused_with_its_field(fields: dict[str, Any], word: str) -> None:
    usual = {"scope": "venue", "mode": Mode.NO_NEW, "number": NOW, "at": NOW}
    with pytest.raises(ConfigError, match=word):
        Proposal(**{**usual, **fields})


def test_a_record_is_read_as_it_was_written() -> None:
    record = signed(
        propose("account:a\u00e9", until=NOW + 5, retry_after=9, reason="maintenance \u20ac"), "omar", "olga"
    )
    assert parse_record(record.encode()) == record
    assert [key_id for key_id, _ in record.signatures] == ["olga", "omar"]


def test_what_is_signed_names_what_it_is() -> None:
    assert propose().text.startswith(b'tradeguard halt 1\n{"at":')
    assert len({replace(propose(), **change).text for change in CHANGES}) == len(CHANGES)


CHANGES: list[dict[str, Any]] = [
    {}, {"scope": "key:k"}, {"mode": Mode.BLOCKED}, {"number": NOW + 1}, {"at": NOW - 1}, {"until": NOW + 1},
    {"retry_after": 1}, {"reason": "r"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("}}", "}} "),
        ('"at":', '"at": '),
        ('"reason":""', '"reason":"","reason":""'),
        ('"until":null', '"until":null,"extra":1'),
        ('"NO_NEW"', "2"),
        ('"NO_NEW"', '"REDUCE_ONLY"'),
        ('"retry_after":0', '"retry_after":0.0'),
        ('"retry_after":0', '"retry_after":false'),
        ('"olga":', '"\\n":'),
        ('"}}', 'zz"}}'),
    ],
)
def test_a_record_that_is_not_in_its_one_text_is_none(old: str, new: str) -> None:
    text = signed(propose(), "olga").encode()
    assert old.encode() in text
    with pytest.raises(ConfigError, match="no record of a halt"):
        parse_record(text.replace(old.encode(), new.encode()))


def test_a_record_has_signatures() -> None:
    content = {**json.loads(signed(propose(), "olga").encode()), "signatures": {}}
    with pytest.raises(ConfigError, match="one or two signatures"):
        parse_record(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize("text", [b"[" * 4_000, b"[" * 100_000, b"\xff", b"", b"null", b"1"])
def test_other_bytes_are_no_record(text: bytes) -> None:
    with pytest.raises(ConfigError, match="no record of a halt"):
        parse_record(text)


NAMES = st.sampled_from(["proposal", "signatures", "mode", "x"])
LEAVES = st.none() | st.integers() | st.text()
DOCUMENTS = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner)).map(
    lambda value: json.dumps(value).encode()
)


@given(st.binary(max_size=60) | DOCUMENTS)
def test_no_bytes_do_more_than_be_no_record(text: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_record(text)


def test_a_key_signs_once_and_two_are_enough() -> None:
    with pytest.raises(ConfigError, match="has signed this already"):
        signed(propose(), "olga", "olga")
    with pytest.raises(ConfigError, match="two operators"):
        signed(propose(), "olga", "omar", "otto")


STANDING = propose(until=NOW + HOUR)


@pytest.mark.parametrize(
    ("proposal", "held", "count"),
    [
        (propose(), None, 1),
        (propose(mode=Mode.ACTIVE), None, 2),
        (propose(mode=Mode.ACTIVE), STANDING, 2),
        (propose(until=NOW + HOUR + 1), STANDING, 1),
        (propose(), STANDING, 1),
        (propose(until=NOW + HOUR - 1), STANDING, 2),
        (propose(until=NOW + HOUR), propose(), 2),
        (propose(mode=Mode.BLOCKED), None, 2),
        (propose(mode=Mode.BLOCKED, until=NOW + LONGEST_BLOCK), None, 1),
        (propose(mode=Mode.BLOCKED, until=NOW + LONGEST_BLOCK + 1), None, 2),
        (propose(mode=Mode.BLOCKED, until=NOW + HOUR), STANDING, 1),
        (propose(mode=Mode.BLOCKED, until=NOW + 60), STANDING, 2),
        (propose(mode=Mode.NO_NEW), propose(mode=Mode.BLOCKED, until=NOW + 60), 2),
        (propose(until=NOW + 9), replace(STANDING, at=NOW - 9, until=NOW), 1),
        (propose(until=NOW + 9), propose(mode=Mode.ACTIVE), 1),
    ],
)  # fmt: skip
def test_what_leaves_less_standing_takes_two(proposal: Proposal, held: Proposal | None, count: int) -> None:
    assert needed(proposal, held, NOW) == count
    later = replace(proposal, number=NOW + 1)
    assert bool(objection(later, held, ["olga"], NOW)) == (count == 2)
    assert objection(later, held, ["olga", "Omar"], NOW) == ""
    assert objection(later, held, [], NOW) != ""


@pytest.mark.parametrize("owners", [["olga", "olga"], ["olga", " OLGA "], ["olga", ""], ["", ""], ["olga"], []])
def test_two_signatures_are_of_two_owners(owners: list[str]) -> None:
    assert "of two owners" in objection(propose(mode=Mode.ACTIVE, number=NOW + 1), propose(), owners, NOW)


@pytest.mark.parametrize("number", [1, NOW - 1, NOW])
def test_a_number_only_grows(number: int) -> None:
    assert "not above" in objection(propose(mode=Mode.ACTIVE, number=number), propose(), ["olga", "omar"], NOW)


@pytest.mark.parametrize("fields", [{"number": NOW + SKEW + 1}, {"at": NOW + SKEW + 1}, {"number": 2**63 - 1}])
def test_nobody_signs_for_a_time_that_has_not_come(fields: dict[str, Any]) -> None:
    proposal = replace(propose(), **fields)
    assert "compare the clocks" in objection(proposal, None, ["olga", "omar"], NOW)
    assert objection(replace(propose(), number=NOW + SKEW, at=NOW + SKEW), None, ["olga"], NOW) == ""


TIMES = st.integers(0, 3 * LONGEST_BLOCK).map(lambda after: NOW + after)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([Mode.ACTIVE, Mode.NO_NEW, Mode.BLOCKED]),
        st.none() | st.integers(1, 2 * LONGEST_BLOCK),  # how long
        st.integers(-1, 1),  # the number against the last
        st.lists(st.sampled_from(["olga", "omar", "Olga", ""]), max_size=2),
        st.integers(0, LONGEST_BLOCK // 2),  # how much later
    ),
    max_size=12,
)


@settings(max_examples=100)
@given(STEPS, st.lists(TIMES, min_size=1, max_size=5))
def test_alone_nobody_ever_makes_less_stand_or_blocks_for_long(steps: list[Any], times: list[int]) -> None:
    """Random traces against what the law is for, by the time line alone: it knows nothing of how rules are written."""
    held: Proposal | None = None
    now, number = NOW, NOW
    alone = {"olga", "omar", ""}

    def at(proposal: Proposal | None, time: int) -> int:
        return int(proposal.mode) if proposal is not None and proposal.stands(time) else 0

    for mode, span, step, owners, later in steps:
        now += later
        number = max(number + step, 1)
        until = None if span is None or mode == Mode.ACTIVE else now + span
        new = Proposal(scope="venue", mode=mode, number=number, at=now, until=until)
        refused = objection(new, held, owners, now)
        coming = [time for time in (now, *times) if time >= now]
        less = any(at(new, time) < at(held, time) for time in coming)
        both = len({owner.lower() for owner in owners} & alone - {""}) == 2
        if not refused:
            assert owners
            assert both or not less
            assert held is None or new.number > held.number
            assert both or at(new, now + LONGEST_BLOCK) < Mode.BLOCKED
            held = new
        elif held is None or number > held.number:
            assert not both
