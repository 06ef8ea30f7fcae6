"""Nonces that are a clock's reading: they rise, overtake each other within the width, and outlive the process."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dialects.clocked import ORDERS, READS, RISING, Venue
from dialects.family_b import EXPECTED
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FORM, MS, NOW, SECOND, make_request

from tradeguard.backends.memory import Memory
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.core.decision import Refused
from tradeguard.core.drive import drive
from tradeguard.signing.rows import ROWS
from tradeguard.signing.verifier import Verifier

EVERY = pytest.mark.parametrize("name", RISING)
WIDTH = 64


def of(at: int, digits: int) -> bytes:
    """A time as a nonce of so many digits."""
    return str(at)[:digits].encode()


@EVERY
def test_a_nonce_is_used_once(name: str) -> None:
    venue = Venue(name)
    assert [venue.order(), venue.order()] == ["granted", "replay.behind"]
    assert venue.order(at=NOW + MS) == "granted"


@EVERY
def test_the_same_nonce_is_refused_for_another_message_too(name: str) -> None:
    venue = Venue(name)
    first, second = venue.signed(ORDERS[name]), venue.signed(READS[name])
    assert venue.send(first) == "granted"
    order = ORDERS[name]
    other = venue.signed(order._replace(target=order.target + (b"&size=9" if b"?" in order.target else b"")))
    assert second.headers != other.headers or second.body != other.body
    assert venue.send(other) == "replay.behind"


@EVERY
def test_requests_in_flight_together_may_overtake_each_other_within_the_width(name: str) -> None:
    venue = Venue(name)
    nonces = [NOW + step * MS for step in range(WIDTH)]
    assert [venue.order(at=at) for at in reversed(nonces)] == ["granted"] * WIDTH
    assert venue.order(at=NOW + WIDTH * MS) == "granted"
    assert venue.order(at=NOW) == "replay.behind"  # used, and by now below all that are kept
    assert venue.order(at=NOW - MS) == "replay.behind"  # never used, but too far behind to tell


@EVERY
@pytest.mark.parametrize("digits", [10, 13, 16, 18, 19])
def test_clocks_of_every_resolution_rise_alike(name: str, digits: int) -> None:
    venue = Venue(name)
    assert venue.order(of(NOW, digits)) == "granted"
    assert venue.order(of(NOW, 13)) == "replay.behind"  # the same time, however it is written
    assert venue.order(of(NOW + SECOND, digits)) == "granted"


@EVERY
def test_a_key_that_two_programs_use_is_not_locked_by_the_one_with_the_finer_clock(name: str) -> None:
    venue = Venue(name)
    assert venue.order(of(NOW + 1_000, 16)) == "granted"
    assert venue.order(of(NOW + 5 * MS, 13)) == "granted"


@EVERY
def test_an_early_nonce_is_refused_and_locks_nobody(name: str) -> None:
    venue = Venue(name)
    assert venue.order(at=NOW + 61 * SECOND) == "freshness.early"
    assert venue.order(at=NOW + 3_000 * SECOND) == "freshness.early"
    assert venue.order(at=9 * 10**18) == "freshness.early"
    assert venue.order() == "granted"


@EVERY
def test_what_was_refused_as_early_does_not_come_to_life_later(name: str) -> None:
    venue = Venue(name)
    out = venue.signed(ORDERS[name], NOW + 120 * SECOND)
    assert venue.send(out) == "freshness.early"
    venue.clock.at += 120 * SECOND
    assert venue.send(out) == "replay.seen"
    assert venue.order(at=venue.clock.at + MS) == "granted"


@EVERY
def test_a_stale_nonce_is_refused(name: str) -> None:
    venue = Venue(name)
    assert venue.order(at=NOW - 59 * SECOND) == "granted"
    assert venue.order(at=NOW - 60 * SECOND) == "freshness.stale"


@EVERY
def test_reads_raise_nothing_and_may_be_equal_in_a_burst(name: str) -> None:
    venue = Venue(name)
    assert [venue.look() for _ in range(5)] == ["granted"] * 5
    assert venue.look(of(NOW + 4 * SECOND, 13)) == "granted"
    assert venue.order() == "granted"


@EVERY
@pytest.mark.parametrize(
    "nonce", [b"1", b"0" * 13, b"-1795000000000", b"1795000000000.5", b"1" * 20, b"0x1a", b"17950 0000000"]
)
def test_what_is_no_reading_of_a_clock_is_no_nonce(name: str, nonce: bytes) -> None:
    assert Venue(name).order(nonce) not in ("granted", "outage.fault")


@EVERY
def test_the_floor_outlives_a_restart_in_sqlite(name: str, tmp_path: Path) -> None:
    with closing(SQLiteState(tmp_path / "state.db")) as state:
        first = Venue(name, state=state, at=state.since + 61 * SECOND)
        out = first.signed(ORDERS[name])
        assert first.send(out) == "granted"
        at = first.clock.at
    with closing(SQLiteState(tmp_path / "state.db")) as state:
        second = Venue(name, state=state, at=at)
        assert second.send(out) == "replay.behind"
        assert second.order(at=at + MS) == "granted"


@EVERY
def test_memory_begins_with_a_barrier(name: str) -> None:
    venue = Venue(name, state=Memory(since=NOW))
    out = venue.signed(ORDERS[name], NOW - MS)  # perhaps it was used before the restart
    assert venue.send(out) == "commit.barrier"
    assert venue.order(at=NOW + 5 * SECOND) == "commit.barrier"  # no client's clock may be so far ahead
    venue.clock.at = NOW + 61 * SECOND
    assert venue.send(out) == "freshness.stale"
    assert venue.order() == "granted"


SAID = {
    "any stranger": ("bad-key", "bad-signature"),
    "the time is off": ("stale", "early"),
    "received before": ("replay",),
    "a scope or the network is missing": ("permission", "network"),
    "a quota is used up": ("rate",),
    "halted, or a part is down": ("maintenance", "outage"),
    "nobody knows whether it was done": ("unsure",),
    "no such operation": ("unmapped",),
}


def test_the_page_tells_what_ccxt_raises() -> None:
    page = (Path(__file__).parents[2] / "docs/dialects/nonces.md").read_text()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    table = {what: [one.split()[-1] for one in told] for what, *told in cells if what in SAID}
    assert set(table) == set(SAID)
    for what, told in table.items():
        for venue, raised in zip(EXPECTED, told, strict=True):
            assert {EXPECTED[venue].get(situation, raised) for situation in SAID[what]} == {raised}, (what, venue)


# --- whatever the bytes ----------------------------------------------------------------------------------------------

ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 10**39, 1.5, "", "\ud800", "é", [], {}, [1], {"a": [{}]}, "1795000000000", 1795000000000]
)
NAMES = st.sampled_from(["id", "method", "params", "api_key", "sig", "nonce", "request", "\udfff", "é", "a" * 99])
DOCUMENTS = st.dictionaries(NAMES, st.recursive(ODD, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)))
BODIES = st.one_of(
    st.binary(max_size=200),
    DOCUMENTS.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [b"[" * 9_000, b'{"a":' * 9_000, b'{"id":' + b"9" * 9_000 + b"}", b'{"nonce":NaN}', b"\xef\xbb\xbf{}"]
    ),
    st.sampled_from(
        [b'{"nonce":1,"nonce":1}', b"nonce=1&nonce=1", b"%6eonce=1795000000000", b"nonce=\xff", b"{" + b"\0" * 9]
    ),
)
VALUES = st.one_of(
    st.binary(max_size=100), st.sampled_from([b"1795000000000", b"A" * 86 + b"==", b"a" * 96, b"e30=", b"eyJh"])
)


FIELDS = {
    "kraken": (b"api-sign",),
    "kraken-futures": (b"authent", b"nonce"),
    "kraken-futures-bare": (b"authent",),
    "bitfinex": (b"bfx-signature", b"bfx-nonce"),
    "gemini": (b"x-gemini-signature", b"x-gemini-payload"),
    "cryptocom": (),
}


@pytest.mark.parametrize("name", FIELDS)
@settings(max_examples=100)
@given(
    body=BODIES,
    values=st.tuples(VALUES, VALUES, VALUES),
    kind=st.sampled_from([FORM, b"application/json", b"", b"\xff"]),
)
def test_whatever_a_stranger_sends_is_read_or_refused(name: str, body: bytes, values: Any, kind: bytes) -> None:
    fields = FIELDS[name]
    row = ROWS[name]
    key = [] if name == "cryptocom" else [(row.key.name, b"key-of-a-customer")]
    target = ORDERS[name.removesuffix("-bare")].target if values[2] != b"e30=" else b"/elsewhere?" + b"a=1"
    headers = [(b"content-type", kind), *key, *zip(fields, values, strict=False)]
    request, verifier = make_request("POST", target, body=body, headers=headers), Verifier(row)
    try:
        claim = verifier.claim(request)
        if claim is not None:
            verifier.read(request, claim, drive(request.body()))
    except Refused as refused:
        assert refused.denial.status == 401
