"""Who keeps failing waits at the gate: the pair of key and source, the source; never a key alone, never the unknown."""

import threading
from itertools import pairwise

import pytest
from conftest import Run
from support import (
    NOW,
    READER,
    SECOND,
    TRADER,
    Bytes,
    StillClock,
    make_checks,
    make_guard,
    make_keys,
    make_request,
    sign,
)  # fmt: skip

from tradeguard.backends.memory import MemoryFailures, MemoryJournal, MemoryKeys
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.address import parse_address
from tradeguard.core.credential import Claim
from tradeguard.core.decision import Decision, Denial, Grant
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord
from tradeguard.core.ports import Colour
from tradeguard.core.request import Peer, Request
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

PAIR, ADDRESS = 3, 200  # failures that are free
HERE, THERE = "198.51.100.1", "198.51.100.2"


def _make(source: Source | None = None, **other: object) -> Guard:
    return make_guard([source or Source(), *make_checks()[1:]], **other)


def _send(run: Run, guard: Guard, request: Request) -> Decision:
    """As an adapter does: the door first, then all the rest."""
    denial = guard.door(request.peer, request.arrived)
    decision: Decision = denial if denial is not None else run(guard.admit(request))
    return decision


def _forged(key: str = "trader", address: str | None = HERE, arrived: int = NOW) -> Request:
    forger = Signer(TG1, key, b"not the secret of it")
    return sign(forger, "POST", b"/v1/orders", address=address, arrived=arrived)


def _honest(signer: Signer = TRADER, address: str | None = HERE, at: int = NOW) -> Request:
    return sign(signer, "GET", b"/v1/orders", address=address, at=at, arrived=at)


def _code(decision: Decision) -> str:
    return decision.code if isinstance(decision, Denial) else "granted"


def _close_pair(run: Run, guard: Guard, key: str = "trader", address: str | None = HERE) -> Denial:
    """Fail until the gate is closed for the pair."""
    for _ in range(PAIR + 2):
        decision = _send(run, guard, _forged(key, address))
        if _code(decision) == "source.pair":
            assert isinstance(decision, Denial)
            return decision
    raise AssertionError("the gate does not close")


def _close_address(run: Run, guard: Guard, address: str = HERE) -> Denial:
    """Fail under ever new keys until the door is closed for the source."""
    for number in range(ADDRESS + 2):
        decision = _send(run, guard, _forged(f"nobody{number}", address))
        if _code(decision) == "source.address":
            assert isinstance(decision, Denial)
            return decision
    raise AssertionError("the door does not close")


@pytest.mark.parametrize(("pair", "address"), [(0, 200), (3, 0), (-1, 200)])
def test_fewer_than_one_free_failure_is_refused(pair: int, address: int) -> None:
    with pytest.raises(ConfigError, match="failures that are free"):
        Source(pair=pair, address=address)


def test_the_pair_may_fail_as_often_as_it_was_told_then_waits(run: Run) -> None:
    guard = _make()
    assert {_code(_send(run, guard, _forged())) for _ in range(PAIR)} == {"signature.wrong"}
    denial = _close_pair(run, guard)
    assert (denial.status, denial.executed) == (429, False)


def test_the_source_may_fail_as_often_as_it_was_told_then_waits(run: Run) -> None:
    guard = _make()
    codes = {_code(_send(run, guard, _forged(f"nobody{number}"))) for number in range(ADDRESS)}
    assert codes == {"signature.unknown"}
    assert _close_address(run, guard).status == 429


@pytest.mark.parametrize("close", [_close_pair, _close_address], ids=["pair", "address"])
@pytest.mark.parametrize("limit", [1, 7, 13, 20, 60, 90])
def test_who_obeys_retry_after_is_heard_and_who_comes_a_second_early_is_not(
    limit: int, close: object, run: Run
) -> None:
    clock = StillClock()
    source = Source(pair=limit, address=10_000) if close is _close_pair else Source(pair=10_000, address=limit)
    guard = _make(source, runtime=clock)
    denial = None
    for _ in range(limit + 2):
        denial = _send(run, guard, _forged())
    assert isinstance(denial, Denial)
    assert denial.code.startswith("source.")
    assert denial.retry_after is not None
    early = NOW + (denial.retry_after - 1) * SECOND
    assert _code(_send(run, guard, _honest(at=early))).startswith("source.")
    in_time = NOW + denial.retry_after * SECOND
    assert _code(_send(run, guard, _honest(at=in_time))) == "granted"


def test_a_lock_ends_with_time_and_is_not_longer_for_whoever_waits_at_the_gate(run: Run) -> None:
    guard = _make()
    first = _close_pair(run, guard)
    for _ in range(100):
        again = _send(run, guard, _forged())
        assert (_code(again), again.retry_after) == ("source.pair", first.retry_after)  # type: ignore[union-attr]
    for _ in range(60):
        assert _code(_send(run, guard, _honest(at=NOW + 60 * SECOND))) == "granted"


@pytest.mark.parametrize(("minutes", "locked"), [(10, False), (8, True)])
def test_a_slow_failer_is_never_locked_out(minutes: int, locked: bool, run: Run) -> None:
    """Failures decay by half in 15 minutes: one in 8.8 minutes or less often never adds up to more than 3."""
    guard = _make()
    for number in range(60):
        at = NOW + number * minutes * 60 * SECOND
        assert _code(_send(run, guard, _forged(arrived=at))) == "signature.wrong"
    assert (_code(_send(run, guard, _honest(at=at))) == "source.pair") is locked


def test_the_wait_doubles_with_each_failure_up_to_a_quarter_of_an_hour(run: Run) -> None:
    """Who obeys Retry-After to the second and fails again: 2, 4, 8 s and so on, a fifth more or less."""
    guard, at, waits = _make(), NOW, list[int]()
    for _ in range(PAIR):
        _send(run, guard, _forged(arrived=at))
    for _ in range(14):
        assert _code(_send(run, guard, _forged(arrived=at))) == "signature.wrong"
        denial = _send(run, guard, _forged(arrived=at))
        assert isinstance(denial, Denial)
        assert denial.retry_after is not None
        waits.append(denial.retry_after)
        at += denial.retry_after * SECOND
    assert 2 <= waits[0] <= 3
    assert all(one < other for one, other in pairwise(waits[:7]))
    assert max(waits) <= 900 * 6 // 5


def test_a_success_clears_its_pair_and_nothing_else(run: Run) -> None:
    table = MemoryFailures()
    guard = _make(Source(table=table))
    for key in ("trader", "trader", "trader", "reader"):
        _send(run, guard, _forged(key))
    assert _code(_send(run, guard, _honest())) == "granted"
    assert ("trader", HERE) not in table
    assert ("reader", HERE) in table
    assert (HERE,) in table
    later = NOW + 11 * 60 * SECOND  # the lane is closed, and the count begins anew
    for _ in range(PAIR):
        _send(run, guard, _forged(arrived=later))
    assert _code(_send(run, guard, _honest(at=later))) == "granted"


def test_the_pair_is_judged_before_the_source_has_failed_enough(run: Run) -> None:
    """A source is heard under other keys while one pair waits."""
    guard = _make()
    _close_pair(run, guard)
    assert _code(_send(run, guard, _forged("reader"))) == "signature.wrong"
    assert _code(_send(run, guard, _honest(READER))) == "granted"
    assert _code(_send(run, guard, make_request(address=HERE))) == "granted"  # a public operation, no key at all


def test_a_neighbour_behind_the_same_source_is_heard_until_the_source_has_failed_enough(run: Run) -> None:
    guard = _make()
    for number in range(ADDRESS - 1):
        _send(run, guard, _forged(f"nobody{number % 50}"))
        assert _code(_send(run, guard, _honest(READER))) == "granted"


def test_a_key_is_never_locked_out_from_elsewhere(run: Run) -> None:
    guard = _make()
    for number in range(50):
        _send(run, guard, _forged("trader", f"203.0.113.{number}"))
    for _ in range(3):
        _close_pair(run, guard, "trader", HERE)
    assert _code(_send(run, guard, _honest(TRADER, THERE))) == "granted"


def test_an_unknown_address_is_never_counted_and_never_turned_away(run: Run) -> None:
    table = MemoryFailures()
    guard = _make(Source(table=table))
    for number in range(ADDRESS + PAIR):
        key = "trader" if number % 2 else f"nobody{number}"
        assert _code(_send(run, guard, _forged(key, None))).startswith("signature.")
    assert len(table) == 0
    assert _code(_send(run, guard, _honest(TRADER, None))) == "granted"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
    ],
)
def test_a_source_is_an_address_or_a_64(one: str, other: str, same: bool, run: Run) -> None:
    guard = _make()
    _close_pair(run, guard, "trader", one)
    assert _code(_send(run, guard, _honest(TRADER, other))) == ("source.pair" if same else "granted")
    _close_address(run, guard, one)
    assert _code(_send(run, guard, _honest(READER, other))) == ("source.address" if same else "granted")


def test_what_is_refused_after_the_proof_is_no_failure(run: Run) -> None:
    """Stale, out of scope: the sender has the secret. A message that is sent again counts once, against the source."""
    table = MemoryFailures()
    guard, first = _make(Source(table=table)), _honest()
    assert _code(_send(run, guard, first)) == "granted"
    for _ in range(PAIR + 5):
        replayed = make_request("GET", b"/v1/orders", headers=first.headers.raw, address=HERE)
        assert _code(_send(run, guard, replayed)) == "replay.seen"
        stale = sign(TRADER, at=NOW - 60 * SECOND, address=HERE)
        assert _code(_send(run, guard, stale)) == "freshness.stale"
        assert _code(_send(run, guard, sign(TRADER, "POST", b"/v1/withdraw", address=HERE))) == "scope.missing"
    assert len(table) == 1
    assert table.add((HERE,), NOW, ADDRESS).total == pytest.approx(2)


def test_requests_without_any_credential_count_against_the_source_only(run: Run) -> None:
    table = MemoryFailures()
    guard = _make(Source(table=table))
    assert _code(_send(run, guard, make_request("GET", b"/v1/orders", address=HERE))) == "proof.unclaimed"
    assert len(table) == 1
    assert (HERE,) in table


class Counted:
    """The keys of the tests; it counts how often one is asked for."""

    colour: Colour = "instant"

    def __init__(self) -> None:
        self.keys, self.finds = make_keys(), 0

    async def find(self, id: str, /) -> KeyRecord | None:
        self.finds += 1
        return await self.keys.find(id)


def test_the_gate_is_before_body_and_keys(run: Run) -> None:
    keys = Counted()
    guard = make_guard([Source(), Signature(keys), *make_checks()[2:]])
    _close_pair(run, guard)
    finds, signed = keys.finds, sign(TRADER, "POST", b"/v1/orders", body=b"amount=10", address=HERE)
    body = Bytes(b"amount=10")
    request = Request(
        id="0" * 32, method="POST", target=signed.target, path=signed.path, headers=signed.headers, peer=signed.peer,
        arrived=NOW, body=body,
    )  # fmt: skip
    assert _code(_send(run, guard, request)) == "source.pair"
    assert (body.reads, keys.finds) == (0, finds)
    assert request.unread


def test_the_door_is_counted_and_writes_no_line_per_stranger(run: Run) -> None:
    journal = MemoryJournal()
    guard = _make(journal=journal)
    _close_address(run, guard)
    lines, counted = len(journal.events), journal.counts["source.address"]
    for _ in range(50):
        assert guard.door(_forged().peer, NOW) is not None
    assert len(journal.events) == lines
    assert journal.counts["source.address"] == counted + 50


@pytest.mark.parametrize("size", [8, 64])
def test_strangers_grow_nothing(size: int, run: Run) -> None:
    table = MemoryFailures(size)
    guard = _make(Source(table=table))
    for number in range(4 * size):
        _send(run, guard, _forged(f"nobody{number}", f"2001:db8:{number:x}::1"))
        assert len(table) <= size


def test_a_flood_of_new_failers_does_not_free_the_one_who_fails_most(run: Run) -> None:
    guard = _make(Source(table=MemoryFailures(64)))
    _close_pair(run, guard)
    for number in range(500):
        _send(run, guard, _forged(f"nobody{number}", f"2001:db8:{number:x}::1"))
    assert _code(_send(run, guard, _honest())) == "source.pair"


@pytest.mark.no_cover
def test_nobody_sprays_his_own_count_out_of_the_table(run: Run) -> None:
    """Twenty pairs are locked first, so that they are the oldest: none of them makes room for a flood of new names."""
    guard = _make(Source(table=MemoryFailures(64)))
    locked = [f"203.0.{number}.1" for number in range(20)]
    for address in locked:
        _close_pair(run, guard, address=address)
    for number in range(2_000):
        _send(run, guard, _forged(f"nobody{number}", f"2001:db8:{number:x}::1"))
    assert {_code(_send(run, guard, _honest(address=address))) for address in locked} == {"source.pair"}


def test_two_guards_may_share_a_table(run: Run) -> None:
    table = MemoryFailures()
    one, two = _make(Source(table=table)), _make(Source(table=table))
    _close_pair(run, one)
    assert _code(_send(run, two, _honest())) == "source.pair"


def test_without_the_check_nobody_waits(run: Run) -> None:
    guard = make_guard(make_checks()[1:])
    assert {_code(_send(run, guard, _forged())) for _ in range(ADDRESS + 5)} == {"signature.wrong"}
    assert isinstance(_send(run, guard, _honest()), Grant)


def test_a_key_that_was_proved_here_a_while_ago_passes_whoever_else_fails_here(run: Run) -> None:
    """Behind a NAT or a proxy all have one address: a flood from it must not lock out those who trade."""
    guard = _make()
    assert _code(_send(run, guard, _honest())) == "granted"
    for number in range(400):
        _send(run, guard, _forged(f"key{number}"))
    assert _code(_send(run, guard, _forged("another"))) == "source.address"
    assert guard.door(Peer(parse_address(HERE)), NOW) is None
    assert _code(_send(run, guard, _honest())) == "granted"


def test_a_flood_in_the_name_of_a_key_that_was_proved_here_costs_that_key_nothing(run: Run) -> None:
    guard = _make()
    assert _code(_send(run, guard, _honest())) == "granted"
    codes = {_code(_send(run, guard, _forged())) for _ in range(400)}
    assert codes == {"signature.wrong"}
    assert _code(_send(run, guard, _honest())) == "granted"


def test_what_was_proved_is_forgotten_after_ten_minutes(run: Run) -> None:
    guard = _make()
    assert _code(_send(run, guard, _honest())) == "granted"
    later = NOW + 600 * SECOND
    for _ in range(21):
        _send(run, guard, _forged(arrived=later))
    assert _code(_send(run, guard, _honest(at=later))) == "source.pair"


def test_a_key_that_was_proved_elsewhere_does_not_pass_here(run: Run) -> None:
    guard = _make()
    assert _code(_send(run, guard, _honest(address=THERE))) == "granted"
    _close_pair(run, guard)
    assert _code(_send(run, guard, _honest())) == "source.pair"


# networks


def _flood(run: Run, guard: Guard, addresses: list[str], each: int) -> list[str]:
    """Fail from many addresses under ever new keys; return the codes."""
    return [
        _code(_send(run, guard, _forged(f"nobody{number}-{place}", address)))
        for number in range(each)
        for place, address in enumerate(addresses)
    ]


@pytest.mark.parametrize(
    ("form", "factor", "inside", "outside"),
    [
        ("2001:db8:1:12{:02x}::1", 4, "2001:db8:1:12ff::9", "2001:db8:1:1300::9"),
        ("2001:db8:1:{:02x}00::1", 16, "2001:db8:1:ffff::9", "2001:db8:2::9"),
        ("198.51.100.{}", 16, "198.51.100.254", "198.51.101.1"),
    ],
    ids=["/56", "/48", "/24"],
)
def test_who_fails_from_ever_new_addresses_of_one_network_is_stopped_by_the_network(
    form: str, factor: int, inside: str, outside: str, run: Run
) -> None:
    """One address less than the network's factor stays below it, however often; with 40 addresses the network waits."""
    few, guard = [form.format(number) for number in range(factor - 1)], _make(Source(address=5))
    assert "source.address" not in _flood(run, guard, few, 5)
    assert _code(_send(run, guard, _honest(address=inside))) == "granted"
    guard = _make(Source(address=5))
    codes = _flood(run, guard, [form.format(number) for number in range(40)], 5)
    assert codes.count("signature.unknown") == 5 * factor + 1
    assert _code(_send(run, guard, _honest(address=inside))) == "source.address"
    assert _code(_send(run, guard, _honest(address=outside))) == "granted"


def test_a_network_that_waits_does_not_stop_a_key_that_was_proved_there(run: Run) -> None:
    guard = _make(Source(address=5))
    victim = "198.51.100.77"
    assert _code(_send(run, guard, _honest(address=victim))) == "granted"
    _flood(run, guard, [f"198.51.100.{number}" for number in range(40)], 5)
    assert _code(_send(run, guard, _honest(READER, "198.51.100.78"))) == "source.address"
    assert _code(_send(run, guard, _honest(address=victim))) == "granted"


def test_a_flood_from_everywhere_in_a_keys_name_costs_it_nothing(run: Run) -> None:
    """Bad signatures in one key's name from 2,000 addresses of as many networks: not one honest request is refused."""
    guard = _make()
    for number in range(2_000):
        _send(run, guard, _forged("trader", f"2001:db8:{number:x}::1"))
        if not number % 20:
            assert _code(_send(run, guard, _honest())) == "granted"


# replays


def _again(request: Request, address: str = THERE, at: int = NOW) -> Request:
    return make_request(
        request.method,
        request.target,
        headers=request.headers.raw,
        address=address,
        arrived=at,
        body=request._body or b"",
    )


def test_a_thousand_replays_of_a_message_count_once_and_never_against_the_key(run: Run) -> None:
    table = MemoryFailures()
    guard, orders = _make(Source(table=table)), [sign(TRADER, "POST", b"/v1/orders", address=HERE) for _ in range(3)]
    for order in orders:
        assert _code(_send(run, guard, order)) == "granted"
        assert {_code(_send(run, guard, _again(order))) for _ in range(1_000)} == {"replay.seen"}
    assert ("trader", THERE) not in table
    assert len(table) == 1
    assert table.add((THERE,), NOW, ADDRESS).total == pytest.approx(len(orders) + 1)
    assert _code(_send(run, guard, _honest())) == "granted"
    assert _code(_send(run, guard, _honest(address=THERE))) == "granted"


def test_who_replays_many_messages_is_turned_away_and_the_key_is_heard_elsewhere(run: Run) -> None:
    guard = _make(Source(address=20))
    orders = [sign(TRADER, "POST", b"/v1/orders", address=HERE) for _ in range(30)]
    for order in orders:
        _send(run, guard, order)
    codes = [_code(_send(run, guard, _again(order))) for order in orders]
    assert codes == ["replay.seen"] * 21 + ["source.address"] * 9
    assert _code(_send(run, guard, _honest())) == "granted"


@pytest.mark.parametrize("seconds", [0, 60], ids=["fresh", "stale"])
def test_a_replay_opens_no_lane_and_clears_no_count(seconds: int, run: Run) -> None:
    """Whoever has a capture of one request is not proved by it: his own failures go on counting."""
    guard, capture = _make(), sign(TRADER, "POST", b"/v1/orders", address=HERE)
    assert _code(_send(run, guard, capture)) == "granted"
    at, codes = NOW + seconds * SECOND, list[str]()
    clock = guard.runtime
    assert isinstance(clock, StillClock)
    clock.at = at
    for _ in range(10):
        codes.append(_code(_send(run, guard, _forged("trader", THERE, at))))
        codes.append(_code(_send(run, guard, _again(capture, THERE, at))))
    assert codes.count("signature.wrong") == PAIR + 1
    assert codes[-2:] == ["source.pair", "source.pair"]


# no oracle


def test_a_lock_looks_the_same_for_keys_that_exist_and_keys_that_do_not(run: Run) -> None:
    """The same failures in the name of one key: known here, unknown there; every answer is equal, waits included."""
    known, unknown = (
        _make(Source(table=MemoryFailures(salt=b"the same dice"))),
        make_guard([Source(table=MemoryFailures(salt=b"the same dice")), Signature(MemoryKeys()), *make_checks()[2:]]),
    )
    for number in range(40):
        at = NOW + number * 3 * SECOND
        faces = [_send(run, guard, _forged(arrived=at)) for guard in (known, unknown)]
        assert all(isinstance(face, Denial) for face in faces)
        assert len({face.face for face in faces if isinstance(face, Denial)}) == 1


@pytest.mark.parametrize("key", ["trader", "nobody", "bina", "edward"])
def test_the_work_before_and_behind_the_lock_does_not_depend_on_the_key(key: str, run: Run) -> None:
    keys = Counted()
    guard = make_guard([Source(), Signature(keys), *make_checks()[2:]])
    for _ in range(50):
        _send(run, guard, _forged(key))
    assert keys.finds == PAIR + 1


def test_failures_are_counted_exactly_under_threads() -> None:
    source, start = Source(pair=10**6, address=10**6), threading.Barrier(8)

    def fail() -> None:
        start.wait()
        for number in range(500):
            source.failed(_forged(f"nobody{number}"), Claim("tg1", "trader"))

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table = source._table
    assert table.add((HERE,), NOW, 10**6).total == pytest.approx(4_001)
    assert table.add(("trader", HERE), NOW, 10**6).total == pytest.approx(4_001)
