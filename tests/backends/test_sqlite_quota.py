"""Quotas in SQLite: nothing half spent, never more than the limit by however many processes, and a bounded file."""

import os
import random
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path

import pytest

from tradeguard.backends.sqlite import SQLiteState
from tradeguard.backends.sqlite.migration import Migration, load
from tradeguard.core.conditions import (
    LARGEST,
    NEVER,
    Below,
    Charge,
    Condition,
    Limit,
    Model,
    Once,
    Outcome,
    Quota,
    Stored,
    Use,
)
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
ORDERS = (Limit(10, SECOND), Limit(100_000, DAY))
LONG = (Limit(1_000, DAY),)

# What a library that knows schema 1 does to numbers and nonces.
OLD_SET = "INSERT OR REPLACE INTO number VALUES ('halt', 2, NULL)"
OLD_DROP = "DELETE FROM number WHERE key IN (SELECT key FROM number WHERE until <= 500 LIMIT 64)"
OLD_USE = (
    "INSERT INTO once VALUES ('ann', x'01', 900, 'old') "
    "ON CONFLICT DO UPDATE SET until = excluded.until, request = excluded.request"
)
OLD_HOLD = (
    "INSERT INTO held VALUES ('ann', 1, 0) ON CONFLICT DO UPDATE SET nonces = excluded.nonces, tops = excluded.tops"
)
OLD_STORE = "UPDATE store SET time = 100, nonces = 1, tops = 0"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[SQLiteState]:
    made = SQLiteState(path, busy=1)
    yield made
    made.close()


def settle(state: SQLiteState, *conditions: Condition, at: int = 100, id: str = "r", denied: bool = False) -> Outcome:
    return drive(state.commit(conditions, at, id, None, denied))


def used(state: SQLiteState, quota: Quota, at: int = 0) -> list[int]:
    return [use.used for use in settle(state, quota._replace(cost=0), at=at).usage[quota.key]]


def run(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements in one transaction, as another program would; return the rows of the last."""
    connection = sqlite3.connect(path)
    rows: list[tuple[object, ...]] = []
    with connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


def check_totals(path: Path) -> None:
    """Hold every total of the file against what it is a total of."""
    connection = sqlite3.connect(path)
    entries: dict[tuple[int, int], int] = {}
    for meter, period, units in connection.execute("SELECT meter, period, units FROM entry"):
        entries[meter, period] = entries.get((meter, period), 0) + int(units)
    counters = connection.execute("SELECT meter, period, held FROM counter WHERE NOT paced").fetchall()
    assert entries == {(meter, period): int(held) for meter, period, held in counters if held}
    assert connection.execute("SELECT meters, refunds FROM store").fetchall() == [
        tuple(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("meter", "refund"))
    ]
    known = "SELECT count(*) FROM counter WHERE meter NOT IN (SELECT id FROM meter)"
    assert connection.execute(known).fetchone() == (0,)
    connection.close()


def changes(state: SQLiteState, *conditions: Condition, at: int) -> int:
    """How many rows a commit writes or drops."""
    connection = state._database._connection
    assert connection is not None
    before = connection.total_changes
    settle(state, *conditions, at=at)
    return connection.total_changes - before


# the file


def test_what_was_charged_and_given_back_is_there_after_a_restart(path: Path, state: SQLiteState) -> None:
    quota, paced = Quota("orders:ann", ORDERS, 4), Quota("paced", (Limit(1, SECOND, burst=5),), 3)
    charge = Charge(quota, settle(state, quota, paced).time, "r")
    assert drive(state.refund(charge, "fill 1", 1, 100))
    state.close()
    again = SQLiteState(path)
    assert (used(again, quota), used(again, paced)) == ([3, 3], [3])
    assert not drive(again.refund(charge, "fill 1", 1, 100))
    assert not drive(again.refund(charge, "fill 2", 4, 100))
    assert drive(again.refund(charge, "fill 2", 3, 100))
    assert used(again, quota) == [0, 0]
    again.close()
    check_totals(path)


def test_numbers_and_their_records_are_there_after_a_restart(path: Path, state: SQLiteState) -> None:
    drive(state.set("halt:venue", 2, None, b"\x00signed"))
    drive(state.set("halt:ann", 1, 500))
    state.close()
    again = SQLiteState(path)
    look = drive(again.look("halt:"))
    assert dict(look.numbers) == {"halt:venue": Stored(2, None, b"\x00signed"), "halt:ann": Stored(1, 500, b"")}
    assert look.version == 2
    settle(again, at=500)
    assert list(drive(again.look("halt")).numbers) == ["halt:venue"]
    assert drive(again.look("")).epoch == look.epoch
    again.close()


def make_old(path: Path) -> None:
    """A file as a library that knows schema 1 leaves it."""
    SQLiteState(path, migrations=load("state")[:1]).close()
    run(
        path,
        "INSERT INTO number VALUES ('halt', 3, NULL)",
        "UPDATE store SET version = 1, time = 50, nonces = 1",
        "INSERT INTO once VALUES ('ann', x'00', 900, 'before')",
        "INSERT INTO held VALUES ('ann', 1, 0)",
    )


def test_a_file_of_an_older_library_is_migrated_and_goes_on(path: Path) -> None:
    make_old(path)
    assert run(path, "PRAGMA user_version") == [(1,)]
    state, quota = SQLiteState(path), Quota("q", ORDERS, 10)
    outcome = settle(state, Once(("ann", b"\x00"), 900), Below(("halt",), 3), quota, at=0)
    assert (outcome.first, outcome.time, outcome.version, len(outcome.failed)) == ("before", 50, 1, 2)
    assert drive(state.look("")).numbers == {"halt": Stored(3, None, b"")}
    assert not settle(state, quota).failed
    assert settle(state, quota).failed == (quota,)
    state.close()
    check_totals(path)


def test_an_older_library_goes_on_beside_a_newer_one_and_its_numbers_carry_no_record_of_another(path: Path) -> None:
    make_old(path)
    state = SQLiteState(path)
    assert run(path, "SELECT max(oldest) FROM migration") == [(1,)]
    drive(state.set("halt", 1, None, b"signed for 1"))
    drive(state.set("ban", 1, 400, b"signed"))
    assert drive(state.look("halt")).numbers["halt"].record == b"signed for 1"
    run(path, OLD_SET, OLD_DROP, OLD_USE, OLD_HOLD, OLD_STORE)
    assert drive(state.look("halt")).numbers == {"halt": Stored(2, None, b"")}
    assert run(path, "SELECT * FROM record") == []
    assert settle(state, Once(("ann", b"\x01"), 900)).first == "old"
    assert not settle(state, Quota("q", ORDERS, 10)).failed
    state.close()


def test_a_migration_that_fails_leaves_the_old_file(path: Path) -> None:
    make_old(path)
    first, second = load("state")[:2]
    broken = Migration(2, 1, second.script + "INSERT INTO missing VALUES (1);\n")
    with pytest.raises(ConfigError, match="no such table: missing"):
        SQLiteState(path, migrations=[first, broken])
    tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('meter', 'counter', 'entry', 'record', 'refund')"
    assert run(path, tables) == [(0,)]
    SQLiteState(path).close()
    assert run(path, tables) == [(5,)]


# what is written


def test_who_only_looks_waits_for_nobody_and_writes_nothing(path: Path) -> None:
    state, quota = SQLiteState(path), Quota("q", ORDERS, 3)
    settle(state, quota)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for at in (100, SECOND + 2_000, 3 * DAY):  # also where everything has run out
        assert not settle(state, quota._replace(cost=0), Below(("halt",), 1), at=at).failed
        assert not settle(state, quota, at=at, denied=True).failed
    drive(state.look(""))
    for charged in (quota, quota._replace(cost=0, key="other"), quota._replace(binding=True)):
        if charged.cost:
            with pytest.raises(BackendDown, match="another process is writing") as caught:
                settle(state, charged, denied=charged.binding)
            assert not caught.value.unknown
    other.close()
    state.close()
    assert run(path, "SELECT count(*), sum(held) FROM counter") == [(2, 6)]


def test_a_commit_touches_what_has_run_out_and_one_row_more(state: SQLiteState) -> None:
    quota = Quota("q", (Limit(1_000, 1_000_000), Limit(100_000, DAY)), 1)
    for at in range(1_000, 1_000_000, 1_000):
        settle(state, quota, at=at)
    assert used(state, quota) == [999, 999]
    assert changes(state, quota, at=1_000_000) == 5  # two entries, two counters and the store; seldom the meter
    assert changes(state, quota, at=1_001_000) == 5 + 1  # what was charged at 1,000 has run out
    assert changes(state, quota, at=1_011_000) == 5 + 10
    assert used(state, quota) == [1000 - 1 - 10 + 2, 1002]
    for at in range(1_012_000, 1_022_000, 1_000):
        settle(state, quota, at=at)
    assert changes(state, quota._replace(cost=0), at=1_030_000) == 0


def test_what_ran_out_long_ago_is_dropped_at_once(path: Path, state: SQLiteState) -> None:
    quota = Quota("q", (Limit(1_000, 1_000_000),), 1)
    for at in range(1_000, 500_000, 1_000):
        settle(state, quota, at=at)
    assert used(state, quota, at=DAY) == [0]
    settle(state, quota, at=DAY)
    assert run(path, "SELECT count(*) FROM entry") == [(1,)]
    check_totals(path)


def test_a_refused_charge_writes_nothing(path: Path, state: SQLiteState) -> None:
    quota = Quota("q", ORDERS, 10)
    settle(state, quota)
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size
    for at in range(200, 300):
        assert settle(state, quota, at=at).failed
    assert log.stat().st_size == size


def test_limits_may_change_while_what_was_counted_stays(state: SQLiteState) -> None:
    settle(state, Quota("q", ORDERS, 10))
    wider = Quota("q", (Limit(12, SECOND), Limit(5, 60 * SECOND)), 1)
    outcome = settle(state, wider)
    assert not outcome.failed
    assert [use.used for use in outcome.usage["q"]] == [11, 1]
    assert used(state, Quota("q", ORDERS, 1)) == [11, 10]
    narrower = Quota("q", (Limit(2, SECOND),), 1)
    assert settle(state, narrower).failed == (narrower,)
    assert settle(state, narrower).ready == SECOND + 1_000


@pytest.mark.parametrize("steps", [(2_000, 10), (10, 2_000), (2_000, 10, 2_000, 10)])
def test_a_finer_grain_counts_no_unit_before_the_one_before_it(
    path: Path, state: SQLiteState, steps: tuple[int, ...]
) -> None:
    model = Model()
    for place, amount in enumerate(steps):
        quota = Quota("q", (Limit(amount, 60 * SECOND),), 2)
        at = place * SECOND // 8 + 500
        assert settle(state, quota, at=at).usage == model.commit([quota], at, "r", None).usage
    check_totals(path)
    look = quota._replace(cost=0)
    for at in range(60 * SECOND, 63 * SECOND, SECOND // 16):
        assert settle(state, look, at=at).usage == model.commit([look], at, "r", None).usage


def test_a_denied_request_spends_its_message_and_binding_quotas_only(state: SQLiteState) -> None:
    quota, binding = Quota("q", ORDERS, 3), Quota("attempts", ORDERS, 1, binding=True)
    assert not settle(state, Once(("ann", b"1"), 200), quota, binding, denied=True).failed
    assert (len(state), used(state, quota), used(state, binding)) == (1, [0, 0], [1, 1])


# room


def test_a_meter_that_counts_is_never_dropped_and_a_new_one_is_refused(path: Path) -> None:
    state = SQLiteState(path, meters=3)
    held = [Quota(f"q{number}", (Limit(2, SECOND),), 1) for number in range(3)]
    for quota in held:
        assert not settle(state, quota).failed
    late = Quota("late", (Limit(2, SECOND),), 1)
    for at in (200, SECOND + 999):
        outcome = settle(state, late, at=at)
        assert (outcome.failed, outcome.full, outcome.ready, dict(outcome.usage)) == ((late,), True, 0, {})
    assert not settle(state, late._replace(cost=0)).failed
    assert not settle(state, late._replace(enforced=False)).failed  # a shadow never refuses
    assert [used(state, quota) for quota in held] == [[1], [1], [1]]
    for quota in held:
        assert not settle(state, quota).failed
    outcome = settle(state, held[0], late)
    assert (outcome.failed, outcome.full, outcome.ready) == ((held[0], late), True, SECOND + 1_000)
    assert settle(state, late, at=2 * SECOND + 999).full
    assert not settle(state, late, at=2 * SECOND + 1_000).failed
    state.close()
    check_totals(path)


def test_room_is_counted_for_all_that_one_commit_asks_for(path: Path) -> None:
    state = SQLiteState(path, meters=2)
    quotas = [Quota(f"q{number}", (Limit(2, SECOND),), 1) for number in range(3)]
    assert settle(state, *quotas).failed == (quotas[2],)
    assert run(path, "SELECT meters FROM store") == [(0,)]
    assert not settle(state, *quotas[:2]).failed
    state.close()
    check_totals(path)


def test_an_idle_meter_that_a_commit_asks_for_is_not_dropped_for_another_of_the_same_commit(path: Path) -> None:
    state = SQLiteState(path, meters=2)
    old, new = Quota("old", (Limit(2, SECOND),), 1), Quota("new", (Limit(2, SECOND),), 1)
    settle(state, old)
    assert not settle(state, old, new, at=DAY).failed
    assert (used(state, old), used(state, new)) == ([1], [1])
    other = Quota("other", (Limit(2, SECOND),), 1)
    assert settle(state, old, other, at=2 * DAY).failed == ()  # the other idle one made room
    assert (used(state, old), used(state, other), used(state, new)) == ([1], [1], [0])
    state.close()
    check_totals(path)


def test_idle_meters_are_cleared_out_in_steps_and_faster_than_new_ones_come(path: Path, state: SQLiteState) -> None:
    for number in range(100):
        settle(state, Quota(f"old {number}", (Limit(2, SECOND), Limit(5, SECOND, burst=5)), 1))
    lasting = Quota("lasting", (Limit(2, 10 * DAY),), 1)
    settle(state, lasting)
    sizes = [101]
    for number in range(110):
        settle(state, Quota(f"new {number}", (Limit(2, DAY),), 1), at=DAY)
        sizes.append(int(str(run(path, "SELECT count(*) FROM meter")[0][0])))
    steps = [before - after for before, after in pairwise(sizes)]
    assert steps == [1] * 50 + [-1] * 60
    assert used(state, lasting) == [1]
    check_totals(path)


@pytest.mark.parametrize("meters", [0, -1])
def test_room_for_no_quota_is_an_error(path: Path, meters: int) -> None:
    with pytest.raises(ConfigError, match="meters is a number of quotas, at least 1"):
        SQLiteState(path, meters=meters)


def test_refunds_are_forgotten_when_their_charge_counts_no_more_and_refused_when_there_are_too_many(
    path: Path,
) -> None:
    state, quota = SQLiteState(path, capacity=20, per_key=10), Quota("q", (Limit(1_000, SECOND),), 100)
    charge = Charge(quota, settle(state, quota).time, "r")
    given = [drive(state.refund(charge, f"fill {number}", 1, 200)) for number in range(25)]
    assert given == [True] * 20 + [False] * 5
    assert used(state, quota) == [80]
    later = Charge(quota, settle(state, quota, at=SECOND * 2, id="later").time, "later")
    assert drive(state.refund(later, "fill", 1, 0))
    assert run(path, "SELECT request, item FROM refund") == [("later", "fill")]
    assert not drive(state.refund(charge, "fill 30", 1, 0))
    state.close()
    check_totals(path)


@pytest.mark.parametrize("units", [0, -1, LARGEST + 1])
def test_a_refund_of_what_nobody_can_give_back_is_an_error(state: SQLiteState, units: int) -> None:
    quota = Quota("q", ORDERS, 5)
    charge = Charge(quota, settle(state, quota).time, "r")
    with pytest.raises(ValueError, match="a refund gives at least 1 unit back"):
        drive(state.refund(charge, "fill", units, 100))
    assert used(state, quota) == [5, 5]


# attacks


HUGE = [
    (Limit(LARGEST, DAY),),
    (Limit(3, SECOND), Limit(10_000, DAY)),
    (Limit(1, LARGEST // 1_000 * 1_000, burst=3),),
    (Limit(1, DAY, burst=LARGEST // 1_000),),
]


@pytest.mark.parametrize("windows", HUGE)
@pytest.mark.parametrize("step", [0, 7_000_000_000])
def test_no_cost_overflows_a_shadow_and_it_is_counted_as_the_model_does(
    path: Path, state: SQLiteState, windows: tuple[Limit, ...], step: int
) -> None:
    model, quota = Model(), Quota("q", windows, LARGEST, enforced=False)
    for number in range(1_100):  # 1,024 of them are more than 2**63
        at = 100 + number * step
        expected = model.commit([quota], at, "r", None)
        if number % 100 == 99 or number < 5:
            assert settle(state, quota, at=at).usage == expected.usage
        else:
            settle(state, quota, at=at)
    assert any(int(str(held)) > 2**63 for (held,) in run(path, "SELECT held FROM counter"))
    charge = Charge(quota, at, "r")
    assert drive(state.refund(charge, "fill", LARGEST, at)) is model.refund(charge, "fill", LARGEST, at)
    assert settle(state, quota).usage == model.commit([quota], 0, "r", None).usage
    check_totals(path)


def test_two_windows_of_one_period_are_an_error_and_nothing_takes_effect(state: SQLiteState) -> None:
    once, twice = Once(("ann", b"1"), 200), Quota("q", (Limit(10, SECOND), Limit(20, SECOND)), 1)
    for quota in (twice, twice._replace(cost=0)):
        with pytest.raises(ValueError, match="one window of a kind for each period"):
            settle(state, once, quota)
    assert not settle(state, once, twice._replace(windows=(Limit(10, SECOND), Limit(2, SECOND, burst=5)))).failed


@pytest.mark.parametrize("windows", HUGE)
def test_a_cost_above_the_limit_is_never_ready(state: SQLiteState, windows: tuple[Limit, ...]) -> None:
    most = min(limit.most for limit in windows)
    if most < LARGEST:
        quota = Quota("q", windows, most + 1)
        outcome = settle(state, quota)
        assert (outcome.failed, outcome.ready) == ((quota,), NEVER)
    assert not settle(state, Quota("q", windows, most)).failed
    assert settle(state, Quota("q", windows, 1)).failed
    with pytest.raises(ValueError, match="from 0 to 2\\*\\*53 - 1"):
        settle(state, Quota("q", windows, LARGEST + 1))


def test_the_last_nanosecond_that_a_file_knows_is_counted(state: SQLiteState) -> None:
    quota = Quota("q", (*ORDERS, Limit(1, SECOND, burst=10)), 10)
    assert not settle(state, quota, at=NEVER).failed
    assert settle(state, quota, at=NEVER).failed == (quota,)
    with pytest.raises(OverflowError):
        settle(state, quota, at=NEVER + 1)
    other = Quota("other", ORDERS, 1)
    with pytest.raises(OverflowError):
        settle(state, other, at=NEVER + 1)


KEYS = [
    "",
    "a",
    "A",
    "a\x00",
    "a\x00b",
    "a'",
    'a"; DROP TABLE meter; --',
    "a%",
    "a_",
    "\u00e9",
    "e\u0301",
    "\U0010ffff",
    "\x00",
    "a" * 10_000,
    "a" * 9_999 + "b",
    "1",
    "1.0",
    "\x7f" * 10_000,
]


def test_keys_of_any_text_are_told_apart(path: Path, state: SQLiteState) -> None:
    quotas = [Quota(key, (Limit(100, DAY),), number) for number, key in enumerate(KEYS, start=1)]
    for quota in quotas:
        assert not settle(state, quota, id=quota.key).failed
        drive(state.set(quota.key, quota.cost, None, quota.key.encode()))
    assert [used(state, quota) for quota in quotas] == [[quota.cost] for quota in quotas]
    for key in KEYS:
        numbers = drive(state.look(key)).numbers
        assert set(numbers) == {other for other in KEYS if other.startswith(key)}
        assert all(stored.record == other.encode() for other, stored in numbers.items())
    for quota in quotas:
        charge = Charge(quota, 100, quota.key)
        assert [drive(state.refund(charge, item, 1, 100)) for item in (quota.key, quota.key)] == [quota.cost > 0, False]
    assert [used(state, quota) for quota in quotas] == [[quota.cost - 1] for quota in quotas]
    check_totals(path)


@pytest.mark.parametrize("key", ["\ud800", "a\udcff"])
def test_a_key_that_is_no_text_is_refused_and_nothing_takes_effect(state: SQLiteState, key: str) -> None:
    once, quota = Once(("ann", b"1"), 200), Quota("q", ORDERS, 1)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        settle(state, once, quota, quota._replace(key=key))
    with pytest.raises(ValueError, match="surrogates not allowed"):
        drive(state.refund(Charge(quota, 100, "r"), key, 1, 100))
    with pytest.raises(ValueError, match="surrogates not allowed"):
        drive(state.look(key))
    assert used(state, quota) == [0, 0]
    assert not settle(state, once, quota).failed


def test_a_clock_that_steps_back_gives_nothing_back(path: Path, state: SQLiteState) -> None:
    quota = Quota("q", (Limit(3, 5_000), Limit(100, DAY)), 1)
    times: list[int] = []
    dice = random.Random(7)
    for place in range(600):
        if place % 50 == 49:  # another process, whose clock is far behind
            state.close()
            state = SQLiteState(path)
        outcome = settle(state, quota, at=dice.choice([0, place * 100, place * 200, place * 200 - 9_000]))
        times += [] if outcome.failed else [outcome.time]
    assert times == sorted(times)
    assert len(times) > 50
    assert all(later - first >= 5_000 for first, later in zip(times, times[3:], strict=False))
    state.close()
    check_totals(path)


def in_children(*works: Callable[[int], None]) -> list[bytes]:
    """Run each in a process of its own, all at once; return what they wrote, line by line."""
    source, sink = os.pipe()
    start, go = os.pipe()
    children: list[int] = []
    for work in works:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(go)
                os.read(start, 1)
                work(sink)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    for end in (sink, start, go):
        os.close(end)
    with os.fdopen(source, "rb") as pipe:
        lines = pipe.read().splitlines()
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * len(works)
    return lines


def test_two_processes_never_admit_more_than_the_limit_in_any_rolling_window(path: Path) -> None:
    SQLiteState(path).close()
    quota = Quota("q", (Limit(20, 50_000), Limit(2_000, 10_000_000)), 1)

    def commit(seed: int) -> Callable[[int], None]:
        def work(sink: int) -> None:
            dice, state = random.Random(seed), SQLiteState(path, busy=10)
            for number in range(500):
                at = max(0, number * 1_000 - dice.choice([0, 0, 700, 30_000]))
                once = Once((str(seed), b"%d" % number), NEVER)
                outcome = settle(state, once, quota, at=at)
                assert once not in outcome.failed
                if not outcome.failed:
                    os.write(sink, b"%d\n" % outcome.time)
            state.close()

        return work

    times = sorted(int(line) for line in in_children(commit(1), commit(2)))
    assert 20 <= len(times) < 1_000
    assert all(later - first >= 50_000 for first, later in zip(times, times[20:], strict=False))
    assert run(path, "SELECT held FROM counter WHERE period = 10000000") == [(len(times),)]
    check_totals(path)


def test_on_a_full_disk_nothing_is_half_spent(path: Path) -> None:
    SQLiteState(path).close()
    quotas = [Quota(key, (Limit(900, DAY), Limit(1, SECOND, burst=900)), 1) for key in ("first", "second")]

    def spend(state: SQLiteState, sink: int) -> None:
        for number in count():
            outcome = settle(state, Once(("ann", b"%d" % number), NEVER), *quotas, at=1_000 * number)
            assert not outcome.failed
            os.write(sink, b"done\n")

    def fill(sink: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        state = SQLiteState(path)
        with pytest.raises(BackendDown, match=r"SQLITE_(FULL|IOERR)"):
            spend(state, sink)
        os.write(sink, b"down\n")

    *done, last = in_children(fill)
    assert (last, set(done)) == (b"down", {b"done"})
    state = SQLiteState(path)
    spent = {use for quota in quotas for use in used(state, quota)}
    assert spent in ({len(done)}, {len(done) + 1})  # the one whose outcome is unknown
    assert {len(state)} == spent
    assert not settle(state, Once(("ann", b"more"), NEVER), *quotas).failed
    state.close()
    check_totals(path)


def test_what_is_used_is_told_with_when_there_is_less(state: SQLiteState) -> None:
    quota = Quota("q", ORDERS, 10)
    outcome = settle(state, quota)
    grain = ORDERS[1].grain
    assert outcome.usage == {"q": (Use(10, SECOND + 1_000), Use(10, grain + DAY))}
    assert settle(state, quota, at=SECOND + 999).ready == SECOND + 1_000
    assert not settle(state, quota, at=SECOND + 1_000).failed
