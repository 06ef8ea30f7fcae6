"""Twelve defects that were found in other limiters and lock-outs, each a test that this library passes.

Each is shown over real parts: guards, stores, and where a server's clock matters a server.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from backends.postgres_server import serving
from backends.redis_server import running
from support import MS, NOW, READER, SECOND, TRADER, StillClock, make_checks, make_guard, make_request, sign

from tradeguard.backends.memory import Memory
from tradeguard.backends.memory.meter import Meter, Meters
from tradeguard.backends.postgres import BlockingPostgres, migrate
from tradeguard.backends.redis import BlockingRedis
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.checks.guess import Attempts
from tradeguard.checks.quota import Quotas
from tradeguard.core.breaker import Breaker
from tradeguard.core.commit import Standby
from tradeguard.core.conditions import Charge, Limit, Quota
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.ports import State
from tradeguard.core.proxy import Proxies
from tradeguard.core.rate import Rate
from tradeguard.core.request import Headers, Request

MINUTE = 60 * SECOND


def limited(rates: Mapping[str, Rate | str], **other: Any) -> Guard:
    """A guard with everything, and these rates."""
    return make_guard([*make_checks(), Quotas(rates)], **other)


def ask(guard: Guard, request: Request) -> str:
    """The code of a denial; empty for a grant."""
    decision = drive(guard.admit(request))
    return "" if isinstance(decision, Grant) else decision.code


def settle(state: State, *quotas: Quota, at: int = NOW) -> bool:
    """Whether a commit of quotas held."""
    return not drive(state.commit(quotas, at, "r", None)).failed


def test_d01_all_paths_of_one_route_share_a_count() -> None:
    """A limiter that counts by URL lets a client through as often as it can invent another id in the path."""
    guard = limited({"requests": "3/minute"})
    codes = [ask(guard, sign(target=b"/v1/orders/%d" % number)) for number in range(10)]
    assert codes == [""] * 3 + ["quota.exceeded"] * 7


@pytest.mark.parametrize("key", [b"", b" ", None])
def test_d02_an_empty_or_missing_key_is_refused_and_counted_against_its_source(key: bytes | None) -> None:
    """A limiter whose key function returns nothing skips the limit: whoever leaves the key out is free."""
    guard = limited({"requests": "3/minute"})
    codes: list[str] = []
    for _ in range(300):
        request = sign()
        fields = [(name, value) for name, value in request.headers.raw if name != b"tg-key"]
        fields += [(b"tg-key", key)] if key is not None else []
        codes.append(ask(guard, make_request(target=b"/v1/orders", headers=fields)))
    assert "" not in codes
    assert guard.door(make_request().peer, NOW) is not None  # it pays nothing to try on


def test_d02_an_unknown_path_uses_up_attempts() -> None:
    """A limiter that hangs on routes never sees what matches none: a scan for paths is free."""
    guard = limited({"attempts": Rate("3/minute", attempts=True)})
    codes = [ask(guard, sign(target=b"/v1/nothing/%d" % number)) for number in range(5)]
    assert codes == ["guard.unmapped"] * 5  # nobody learns more by asking more often
    assert ask(guard, sign()) == "quota.exceeded"


def test_d03_a_store_that_is_down_is_a_503_that_says_when_to_come_back() -> None:
    """A limiter whose store is gone answers 500, or lets everybody through."""
    guard = limited({"requests": "3/minute"}, state=BlockingRedis("redis://127.0.0.1:1/0", opening=0.2, deadline=0.2))
    decision = drive(guard.admit(sign(method="POST")))
    assert isinstance(decision, Denial)
    assert (decision.status, decision.retry_after, decision.executed) == (503, 1, False)


def test_d03_while_a_store_is_down_reads_go_on_within_a_share_of_their_limit() -> None:
    """A limiter that swallows the outage of its store lifts the limit with it."""
    clock = StillClock(time.time_ns())  # what a store remembers begins with it
    gone = BlockingRedis("redis://127.0.0.1:1/0", opening=0.2, deadline=0.2)
    standby = Standby(Memory(since=1), 3, Breaker(failures=1, pause=3_600 * SECOND))
    guard = limited({"requests": "10/hour"}, state=gone, standby=standby, runtime=clock)
    assert ask(guard, sign(at=clock.at, arrived=clock.at)) == "outage.down"
    clock.at += 3 * SECOND
    codes = [ask(guard, sign(at=clock.at, arrived=clock.at)) for _ in range(8)]
    assert codes == [""] * 3 + ["quota.exceeded"] * 5


def test_d04_each_client_has_a_count_of_its_own() -> None:
    """A limiter with one bucket for all lets the first client lock the others out."""
    guard = limited({"requests": "3/minute"})
    for signer in (TRADER, READER):
        assert [ask(guard, sign(signer)) for _ in range(4)] == [""] * 3 + ["quota.exceeded"]


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_d04_the_left_of_x_forwarded_for_is_what_the_client_says_and_not_trusted(hops: int) -> None:
    """A limiter by the left-most address gives a new bucket to whoever writes another one there."""
    proxies = Proxies(header="x-forwarded-for", trusted=["10.0.0.0/8"])
    guard, codes = limited({"reads": Rate("3/minute", by="source")}), list[str]()
    for number in range(6):
        chain = ", ".join([f"198.51.100.{number}", "203.0.113.7", *["10.0.0.2"] * (hops - 1)])
        request = sign()
        headers = Headers([*request.headers.raw, (b"x-forwarded-for", chain.encode())])
        request.peer, _ = proxies.resolve(make_request(address="10.0.0.1").peer, "http", headers)
        assert request.peer.source == "203.0.113.7"
        codes.append(ask(guard, request))
    assert codes == [""] * 3 + ["quota.exceeded"] * 3


def test_d04_without_a_declared_proxy_x_forwarded_for_says_nothing() -> None:
    """The same, where nobody has said that there is a proxy."""
    guard, codes = limited({"reads": Rate("3/minute", by="source")}), list[str]()
    for number in range(6):
        request = sign(address="203.0.113.7")
        said = (b"x-forwarded-for", b"198.51.100.%d" % number)
        request.headers = Headers([*request.headers.raw, said])
        codes.append(ask(guard, request))
    assert codes == [""] * 3 + ["quota.exceeded"] * 3


def make_states(folder: Path, meters: int) -> Iterator[State]:
    """The stores that bound what they count by themselves."""
    yield Memory(since=1, meters=meters)
    with closing(SQLiteState(folder / "state.db", busy=10, meters=meters)) as state:
        yield state


def test_d05_a_flood_of_other_keys_does_not_free_an_exhausted_one(tmp_path: Path) -> None:
    """A table that drops the key that was not used for longest forgets an exhausted one: a flood of others frees it."""
    windows = (Limit(2, 60 * SECOND),)
    for state in make_states(tmp_path, 50):
        victim = Quota("requests:key:victim", windows, 1)
        assert [settle(state, victim) for _ in range(3)] == [True, True, False]
        others = [settle(state, Quota(f"requests:key:{number}", windows, 1)) for number in range(500)]
        assert others == [True] * 49 + [False] * 451  # a full table refuses newcomers
        assert not settle(state, victim)


def test_d06_a_heavy_request_that_is_denied_burns_nothing() -> None:
    """A counter that is raised before it is compared: what was denied for its size leaves no room for what fits."""
    state, windows = Memory(since=1), (Limit(100, MINUTE),)
    assert [settle(state, Quota("q", windows, cost)) for cost in (95, 10, 10, 5, 1)] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_d07_of_two_windows_both_are_spent_or_none() -> None:
    """Two limits asked one after the other: what the second denies has been taken from the first."""
    clock = StillClock()
    guard = limited({"requests": "10/minute;3/day"}, runtime=clock)
    for _ in range(8):
        request = sign()
        ask(guard, request)
    fields = dict(request.fields)
    assert b'"requests-1m";r=7;' in fields[b"ratelimit"]
    assert b'"requests-1d";r=0;' in fields[b"ratelimit"]


def test_d08_who_retries_all_the_time_is_not_starved_and_its_state_does_not_grow() -> None:
    """A limiter that counts denied requests as requests: who keeps asking is never let through again."""
    clock, state = StillClock(), Memory(since=1)
    guard = limited({"requests": "3/2 seconds"}, runtime=clock, state=state)
    granted = 0
    for _ in range(20 * 4):
        granted += not ask(guard, sign(at=clock.at, arrived=clock.at))
        clock.at += 250 * MS
    assert granted == 30  # three every two seconds, whatever else it asks


def test_d08_denied_requests_leave_no_entry() -> None:
    """The same, counted inside: fifty requests at a limit of three keep three entries."""
    meters, quota = Meters(10), Quota("q", (Limit(3, MINUTE),), 1)
    for number in range(50):
        meter = meters.find(quota, NOW + number)
        assert meter is not None
        if meter.fits(NOW + number, 1):
            meter.take(NOW + number, 1)
    [window] = cast("Any", meter).windows
    assert window.used == 3
    assert len(window.entries) <= 2 * 3  # (edge, units)


@pytest.mark.parametrize("amount", [100, 1_000, 100_000, 10_000_000])
def test_d09_a_window_takes_a_bounded_number_of_counts_whatever_its_limit(amount: int) -> None:
    """A log of every request: a daily limit of 100,000 takes megabytes per key, and each request reads all of it."""
    meters, quota = Meters(1), Quota("q", (Limit(amount, 86_400 * SECOND),), 1)
    meter = meters.find(quota, NOW)
    assert meter is not None
    [window] = cast("Any", meter).windows
    largest = 0
    for number in range(20_000):
        at = NOW + number * 9 * SECOND  # two days long
        if meter.fits(at, 1):
            meter.take(at, 1)
        largest = max(largest, len(window.entries) - window.head)
    assert largest <= 2 * min(amount, 1_000)
    if amount > 1_000:
        assert largest <= 2 * 97  # a 96th of a day each


def test_d10_nothing_runs_in_the_background_and_no_commit_looks_at_all_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that scans all keys stops the process for as long as that takes; with 100,000 of them, 30 ms."""
    looked = list[int]()
    state, windows = Memory(since=1, meters=1_000), (Limit(2, SECOND),)
    threads = threading.active_count()
    for number in range(1_000):
        assert settle(state, Quota(f"q{number}", windows, 1))
    assert threading.active_count() == threads
    asked = Meter.is_idle

    def look(meter: Meter, now: int) -> bool:
        looked.append(now)
        return asked(meter, now)

    monkeypatch.setattr(Meter, "is_idle", look)
    for number in range(200):  # all of the thousand have run out, and a newcomer needs room
        looked.clear()
        assert settle(state, Quota(f"new{number}", windows, 1), at=NOW + 10 * SECOND)
        assert len(looked) <= 8


@pytest.mark.parametrize("guesses", [1, 100])
def test_d11_of_many_wrong_guesses_at_once_no_more_are_verified_than_allowed(guesses: int) -> None:
    """A lock-out that verifies first and counts after: of 100 guesses at once, three times the limit are heard."""
    state = Memory(since=1)
    attempts, verified, start = Attempts(state, "5/hour"), list[int](), threading.Barrier(8)

    def guess(place: int) -> None:
        start.wait()
        for number in range(guesses):
            permit = drive(attempts.reserve("acme", NOW, f"{place}-{number}"))
            if isinstance(permit, Charge):
                verified.append(place)  # and wrong: it is not given back

    workers = [threading.Thread(target=guess, args=(place,)) for place in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(verified) == 5


@pytest.fixture(scope="module", params=["redis", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], State]]:
    """Makes states of one deployment on a real server."""
    if request.param == "redis":
        with running(tmp_path_factory.mktemp("redis")) as server:
            yield lambda: BlockingRedis(server.url, deadline=10, opening=10)
    else:
        with serving() as database:
            migrate(database.dsn())
            yield lambda: BlockingPostgres(database.dsn(), deadline=10)


def test_d12_the_clock_of_a_client_does_not_change_the_limit_of_a_shared_store(shared: Callable[[], State]) -> None:
    """A limiter that sends its own time to the shared store: a node whose clock is ahead empties the window for all."""
    quota, states = Quota("requests:key:ann", (Limit(5, 3_600 * SECOND),), 1), [shared() for _ in range(3)]
    clocks = (NOW, NOW + 86_400 * SECOND, NOW - 86_400 * SECOND)
    granted = sum(settle(state, quota, at=at) for _ in range(5) for state, at in zip(states, clocks, strict=True))
    assert granted == 5
    for state in states:
        cast("Any", state).close()
