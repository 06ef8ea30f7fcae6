"""Postgres on a real server: races over processes, the server's clock, names of any kind, rights, PgBouncer, forks."""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from backends.postgres_server import Server, Stores, ToldBlockingPostgres, bouncing, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.backends.postgres import BlockingPostgres, BlockingPostgresKeys, Postgres, migrate
from tradeguard.core.conditions import Advance, Below, Charge, Condition, Limit, Model, Once, Outcome, Quota
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.key import KeyRow
from tradeguard.testing.suite import SETTINGS

MS = 1_000_000
LATER = 2**62
KEY = ("trader", b"nonce")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def database(server: Server) -> str:
    name = server.database()
    assert migrate(server.dsn(name)) == 1
    return name


@pytest.fixture
def state(server: Server, database: str) -> Iterator[BlockingPostgres]:
    made = BlockingPostgres(server.dsn(database), deadline=20)
    yield made
    made.close()


def settle(state: Any, *conditions: Condition, id: str = "r", seen: Any = None, **other: Any) -> Outcome:
    outcome: Outcome = drive(state.commit(conditions, 0, id, seen, **other))
    return outcome


# exact over processes

PROCESS = """
import sys, time
from tradeguard.backends.postgres import BlockingPostgres
from tradeguard.core.conditions import Limit, Once, Quota
from tradeguard.core.drive import drive
state = BlockingPostgres(sys.argv[1], deadline=20)
windows = Limit(20, 100_000_000), Limit(70, 1_000_000_000), Limit(2_000, 700_000_000)
for number in range(int(sys.argv[2])):
    cost = number % 3 + 1
    once = Once(("shared", b"%d" % number), 2**62)
    outcome = drive(state.commit([once, Quota("q", windows, cost)], 0, sys.argv[3], None))
    other = drive(state.commit([Quota("q", windows, cost)], 0, sys.argv[3], None))
    for done in outcome, other:
        if not done.failed:
            print(done.time, cost)
    if not any(isinstance(failed, Once) for failed in outcome.failed):
        print("won", number)
"""


def test_three_processes_at_once_never_admit_more_than_the_limit_in_any_window(server: Server, database: str) -> None:
    command = [sys.executable, "-c", PROCESS, server.dsn(database), "400"]
    processes = [subprocess.Popen([*command, f"{place}"], stdout=subprocess.PIPE, text=True) for place in range(3)]
    lines = [line.split() for process in processes for line in process.communicate(timeout=120)[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0, 0]
    won = sorted(int(number) for word, number in lines if word == "won")
    assert won == list(range(400))
    spent = sorted((int(at), int(cost)) for at, cost in lines if at != "won")
    for amount, period in ((20, 100 * MS), (70, 1_000 * MS)):
        for place, (begin, _) in enumerate(spent):
            assert sum(cost for at, cost in spent[place:] if at < begin + period) <= amount
    assert sum(cost for _, cost in spent) >= 70


def test_commits_over_the_same_partitions_in_any_order_do_not_deadlock(server: Server, database: str) -> None:
    state = BlockingPostgres(server.dsn(database), deadline=30)
    errors: list[BaseException] = []
    windows = (Limit(2**50, 1_000 * MS),)

    def work(place: int) -> None:
        for number in range(60):
            owners = ["ann", "bob", "eve"][:: -1 if (place + number) % 2 else 1]
            nonces = [Once((owner, b"%d %d" % (place, number)), LATER) for owner in owners]
            counters = [Advance((owner, b"%d" % place), number) for owner in reversed(owners)]
            try:
                outcome = settle(state, *nonces, *counters, *(Quota(owner, windows, 1) for owner in owners))
                assert not outcome.failed
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert drive(state.size()) == 6 * 60 * 3
    assert settle(state, Quota("ann", windows, 0)).usage["ann"][0].used <= 360
    state.close()


def test_the_last_places_are_given_once_however_many_ask(server: Server, database: str) -> None:
    state = BlockingPostgres(server.dsn(database), deadline=30, capacity=100, per_key=100)
    accepted: list[int] = []

    def work(place: int) -> None:
        asked = [Once((f"{place}", b"%d" % number), LATER) for number in range(30)]
        accepted.append(sum(not settle(state, once).failed for once in asked))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(accepted) == drive(state.size()) == 90
    state.close()


# the server's clock

QUOTAS = st.builds(
    Quota,
    st.sampled_from(["ann", "bob"]),
    st.sampled_from(
        [
            (Limit(3, 8 * MS), Limit(5, 30 * MS)),
            (Limit(3, 20 * MS, burst=2), Limit(1_500, 60 * MS)),
            (Limit(2**53 - 1, 40 * MS), Limit(1, MS)),
        ]
    ),
    st.sampled_from([0, 1, 1, 2, 4, 900, 2**53 - 1]),
    st.booleans(),
    st.sampled_from([True, True, False]),
)
STEPS = st.tuples(
    st.integers(0, 12),
    st.lists(QUOTAS, max_size=2, unique_by=lambda quota: quota.key),
    st.none() | st.tuples(st.sampled_from([b"1", b"2"]), st.sampled_from([-1, 10, 30])),
    st.booleans(),
    st.none() | st.tuples(st.sampled_from(["x", "y"]), st.integers(1, 3)),
)


@pytest.fixture(scope="module")
def stores(server: Server) -> Iterator[Stores]:
    made = Stores(server)
    server.run(
        "CREATE OR REPLACE FUNCTION tradeguard.clock() RETURNS bigint LANGUAGE sql VOLATILE AS "
        "$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000 $$",
        made.database,
    )
    yield made
    made.close()


@settings(SETTINGS, max_examples=40)
@given(steps=st.lists(STEPS, max_size=14))
def test_any_trace_by_the_servers_clock_means_what_the_model_says(stores: Stores, steps: list[Any]) -> None:
    state, model, charge = stores.make(ToldBlockingPostgres), Model(), None
    for number, (nap, quotas, once, denied, refund) in enumerate(steps):
        time.sleep(nap / 1000)
        conditions: list[Condition] = list(quotas)
        if once is not None:
            conditions.append(Once(("trader", once[0]), time.time_ns() + once[1] * MS))
        outcome = settle(state, *conditions, id=f"{number}", denied=denied)
        expected = model.commit(conditions, outcome.time, f"{number}", None, denied)
        assert outcome._replace(epoch="", usage=dict(outcome.usage)) == expected._replace(epoch="")
        if refund is not None and charge is not None:
            item, units = refund
            given_back = drive(state.refund(charge, item, units, 0))
            [(at,)] = stores.server.run("SELECT max(time) FROM tradeguard.room", stores.database)  # when it was
            assert given_back is model.refund(charge, item, units, int(str(at)))
        spends = not (outcome.failed or denied)
        spent = [c for c in quotas if c.cost and c not in outcome.failed and (c.binding or spends)]
        charge = Charge(spent[0], outcome.time, f"{number}") if spent else charge


@pytest.mark.parametrize("at", [0, 2**62])
def test_the_clock_of_a_node_does_not_count(state: BlockingPostgres, at: int) -> None:
    before = time.time_ns() // 1000 * 1000
    outcome = drive(state.commit([Once(KEY, before + 60_000 * MS), Once(("late", b""), before)], at, "r", None))
    assert before <= outcome.time <= time.time_ns()
    assert [failed.key for failed in outcome.failed if isinstance(failed, Once)] == [("late", b"")]


def test_time_does_not_go_back_when_the_servers_clock_does(server: Server, stores: Stores) -> None:
    state = stores.make(ToldBlockingPostgres)
    late = settle(state, Once(KEY, time.time_ns() + 1_000 * MS)).time
    clock = "CREATE OR REPLACE FUNCTION tradeguard.clock() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT {} $$"
    server.run(clock.format("5::bigint"), stores.database)
    assert settle(state, Once(("late", b""), late)).failed
    assert settle(state).time == late
    server.run(clock.format("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000"), stores.database)


# names

NASTY = ["", "'", '"; DROP SCHEMA tradeguard CASCADE; --', "$1", "%s", "\\x00", "\0", "a\0b", "\ud800", "\udcff", "é",
         "{}", "NULL", "x" * 5_000, "x" * 5_001, "\U0010ffff"]  # fmt: skip


@settings(SETTINGS, max_examples=60)
@given(
    names=st.lists(st.sampled_from(NASTY) | st.text(st.characters(), max_size=20), min_size=2, max_size=4, unique=True),
    item=st.binary(max_size=1_500),
)
def test_names_of_any_kind_are_only_names(stores: Stores, names: list[str], item: bytes) -> None:
    state = stores.make(ToldBlockingPostgres)
    windows = (Limit(1, 10**6 * MS),)
    for name in names:
        conditions = Once((name, item), LATER), Advance((name, item), 1), Quota(name, windows, 1), Below((name,), 1)
        assert not settle(state, *conditions, id=name).failed
        seen = settle(state, *conditions, id="second")
        assert (len(seen.failed), seen.first) == (3, name)
        if len(name) < 500:
            drive(state.set(name, 7, record=item))
            assert settle(state, Below((name,), 7)).failed
            assert drive(state.look(name)).numbers[name] == (7, None, item)
    assert set(drive(state.look("")).numbers) == {name for name in names if len(name) < 500}


def test_a_number_that_a_database_cannot_hold_is_an_error(state: BlockingPostgres) -> None:
    with pytest.raises(ValueError, match="a number for Below lies between"):
        drive(state.set("halt", 2**63))
    with pytest.raises(ValueError, match="at most 1000 bytes"):
        drive(state.set("k" * 1_001, 1))
    assert drive(state.set("halt", 2**63 - 1)) == 1


def test_what_changes_nothing_writes_nothing(server: Server, database: str, state: BlockingPostgres) -> None:
    settle(state, Once(KEY, LATER), Quota("q", (Limit(1, 10**6 * MS),), 1))
    query = "SELECT pg_current_xact_id()::text::bigint"
    [(before,)] = server.run(query, database)
    for _ in range(20):
        assert settle(state, Once(KEY, LATER), Quota("q", (Limit(1, 10**6 * MS),), 1), Below(("halt",), 1)).failed
        assert not settle(state, Quota("q", (Limit(1, 10**6 * MS),), 0), Below(("halt",), 1)).failed
    [(after,)] = server.run(query, database)
    assert int(str(after)) == int(str(before)) + 1


def test_quotas_that_nobody_uses_any_more_are_dropped(server: Server, database: str, state: BlockingPostgres) -> None:
    for number in range(10):
        settle(state, Quota(f"{number}", (Limit(10, MS), Limit(3, MS, burst=2)), 1))
    server.run("UPDATE tradeguard.meter SET idle = 1", database)
    for _ in range(10):
        settle(state)
    assert server.run("SELECT * FROM tradeguard.meter, tradeguard.spent", database) == []


# rights


@pytest.fixture
def roles(server: Server, database: str) -> Iterator[str]:
    for role in ("node", "desk", "stranger"):
        server.run(f"CREATE ROLE {role} LOGIN", database)
    migrate(server.dsn(database), state=["node"], keys=["desk"])
    yield database
    for role in ("node", "desk", "stranger"):
        server.run(f"DROP OWNED BY {role}; DROP ROLE {role}", database)


def test_a_role_may_do_what_it_is_for_and_nothing_else(server: Server, roles: str) -> None:
    node, desk, stranger = (server.dsn(roles, user=role) for role in ("node", "desk", "stranger"))
    state, keys = BlockingPostgres(node, deadline=20), BlockingPostgresKeys(desk)
    quota = Quota("q", (Limit(1, MS), Limit(3, MS, burst=2)), 1)
    outcome = settle(state, Once(KEY, LATER), Advance(KEY, 1), quota)
    assert not outcome.failed
    drive(state.refund(Charge(quota, outcome.time, "r"), "a", 1, 0))
    drive(state.set("halt", 1))
    drive(state.lift("halt", 1))
    assert (len(drive(state.look("")).numbers), drive(state.size())) == (1, 1)
    row = KeyRow("a", 1, b"f", b"", b"", b"")
    drive(keys.put([row]))
    drive(keys.touch({"a": 1}))
    drive(keys.keep("salt", b"s"))
    found = drive(keys.get("a")), drive(keys.page("", 9)), drive(keys.holder(b"f")), drive(keys.uses(["a"]))
    assert found == (row, [row], "a", {"a": 1})
    for other in (desk, stranger):
        with pytest.raises(BackendDown, match="migrate") as refused:
            settle(BlockingPostgres(other, deadline=20))
        assert not refused.value.unknown
    for other in (node, stranger):
        with pytest.raises(BackendDown, match="migrate"):
            drive(BlockingPostgresKeys(other).put([row]))
    tables = [
        str(name) for (name,) in server.run("SELECT tablename FROM pg_tables WHERE schemaname = 'tradeguard'", roles)
    ]
    assert len(tables) > 10
    for dsn in (node, desk, stranger):
        with psycopg.connect(dsn, autocommit=True) as connection:
            for query in (*(f"SELECT FROM tradeguard.{table}" for table in tables), "SELECT tradeguard.purge(1, '{}')"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(query.encode())
    state.close()
    keys.close()


def test_who_may_make_no_schema_is_told_and_nothing_is_made(server: Server, roles: str) -> None:
    with pytest.raises(ConfigError, match="was not migrated: permission denied"):
        migrate(server.dsn(roles, user="stranger"), schema="other")
    assert server.run("SELECT FROM pg_namespace WHERE nspname = 'other'", roles) == []


def test_the_owner_needs_no_more_than_to_make_a_schema(server: Server) -> None:
    database = server.database()
    server.run("CREATE ROLE owner LOGIN; CREATE ROLE worker LOGIN")
    server.run(f"GRANT CREATE ON DATABASE {database} TO owner")
    command = [sys.executable, "-m", "tradeguard.backends.postgres", server.dsn(database, user="owner")]
    for _ in range(2):
        done = subprocess.run([*command, "--state", "worker"], capture_output=True, text=True, check=True)
        assert done.stdout == "schema tradeguard is at 1\n"
    state = BlockingPostgres(server.dsn(database, user="worker"), deadline=20)
    assert not settle(state, Once(KEY, LATER), Quota("q", (Limit(1, MS),), 1)).failed
    state.close()
    failed = subprocess.run([*command, "--state", "nobody"], capture_output=True, text=True, check=False)
    assert (failed.returncode, "was not migrated" in failed.stderr) == (1, True)


def test_a_schema_of_somebody_else_is_refused(server: Server, roles: str) -> None:
    server.run("CREATE SCHEMA theirs AUTHORIZATION stranger", roles)
    with pytest.raises(ConfigError, match="schema theirs belongs to stranger; connect as that role"):
        migrate(server.dsn(roles), schema="theirs")


def test_another_isolation_level_is_refused_with_the_cure(server: Server, roles: str) -> None:
    server.run("ALTER ROLE node SET default_transaction_isolation = 'serializable'")
    with pytest.raises(BackendDown, match='default_transaction_isolation of this role must be "read committed"'):
        settle(BlockingPostgres(server.dsn(roles, user="node"), deadline=20), Once(KEY, LATER))


def test_a_database_that_was_not_migrated_says_so(server: Server) -> None:
    with pytest.raises(BackendDown, match=r"call tradeguard.backends.postgres.migrate\(...\) first"):
        settle(BlockingPostgres(server.dsn(server.database()), deadline=20))


def test_a_newer_schema_is_not_touched(server: Server, database: str) -> None:
    server.run("INSERT INTO tradeguard.migration VALUES (99, 99)", database)
    with pytest.raises(ConfigError, match="made by a newer tradeguard"):
        migrate(server.dsn(database))


def test_two_schemas_know_nothing_of_each_other_and_many_may_migrate_at_once(server: Server) -> None:
    database = server.database()
    threads = [threading.Thread(target=migrate, args=(server.dsn(database),), kwargs={"schema": name})
               for name in ("one", "two", "one", "two")]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = [BlockingPostgres(server.dsn(database), schema=name, deadline=20) for name in ("one", "two")]
    assert [settle(state, Once(KEY, LATER)).failed for state in states] == [(), ()]
    for state in states:
        state.close()


@pytest.mark.parametrize(
    "wrong", [{"schema": 'x"; --'}, {"size": 0}, {"deadline": 0}, {"conninfo": "no = such = thing"}]
)
def test_wrong_arguments_are_refused_when_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="PostgreSQL: "):
        Postgres(**{"conninfo": "", **wrong})


# PgBouncer, loops, forks


def test_through_pgbouncer_in_transaction_mode_everything_is_the_same(server: Server) -> None:
    database = server.database()
    with bouncing(server, database) as dsn:
        migrate(dsn)
        state = Postgres(dsn, deadline=30)

        async def use(place: int) -> list[str | None]:
            return [
                (
                    await state.commit(
                        [Once(("a", b"%d" % n), LATER), Quota("q", (Limit(10**9, MS),), 1)], 0, f"{place}", None
                    )
                ).first
                for n in range(40)
            ]

        async def main() -> list[list[str | None]]:
            found = await asyncio.gather(*map(use, range(12)))
            state.close()
            return found

        for firsts in zip(*asyncio.run(main()), strict=True):
            [winner] = [place for place, first in enumerate(firsts) if first is None]
            assert set(firsts) == {None, f"{winner}"}
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
            shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("lock_timeout", "synchronous_commit")]
            assert shown == [("0",), ("on",)]
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
            assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


def test_each_loop_has_connections_of_its_own_and_leaves_none(server: Server, database: str) -> None:
    state = Postgres(server.dsn(database), deadline=20)
    for number in range(3):
        outcome = asyncio.run(state.commit([Once(("a", b"%d" % number), LATER)], 0, "r", None))
        assert not outcome.failed
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tradeguard' AND datname = current_database()"
    for _ in range(100):
        left = server.run(query, database)
        if len(left) <= 1:
            break
        time.sleep(0.05)
    assert len(left) <= 1
    state.close()


@pytest.mark.parametrize("hosts", ["localhost", "localhost,127.0.0.1"])
def test_on_a_loop_names_of_hosts_are_looked_up(server: Server, database: str, hosts: str) -> None:
    state = Postgres(server.dsn(database).replace("127.0.0.1", hosts), deadline=20)
    assert asyncio.run(state.size()) == 0
    state.close()
    nowhere = Postgres("host=nowhere.invalid", deadline=20)
    with pytest.raises(BackendDown, match=r"no connection: nowhere.invalid cannot be looked up") as refused:
        asyncio.run(nowhere.size())
    assert not refused.value.unknown


def test_without_psycopg_the_cure_is_named() -> None:
    program = "import sys; sys.modules['psycopg'] = None; import tradeguard.backends.postgres"
    failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert 'ConfigError: PostgreSQL needs psycopg: pip install "tradeguard[postgres]"' in failed.stderr


def test_a_fork_begins_with_no_connection_and_leaves_the_parents_alone(state: BlockingPostgres) -> None:
    settle(state, Once(KEY, LATER), id="parent")
    for number in range(3):
        pid = os.fork()
        if not pid:
            seen = settle(state, Once(KEY, LATER)).first == "parent"
            os._exit(0 if seen and not settle(state, Once(("child", b"%d" % number), LATER)).failed else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert settle(state, Once(("child", b"%d" % number), LATER)).first == "r"


# who follows keys


def test_a_change_that_is_committed_late_is_not_missed(server: Server, database: str) -> None:
    first, second = (BlockingPostgresKeys(server.dsn(database), deadline=20) for _ in range(2))
    mark = drive(first.changes(None)).mark
    with psycopg.connect(server.dsn(database)) as slow:
        slow.execute(
            "SELECT tradeguard.key_put(9999, ARRAY['late'::bytea], ARRAY[1::bigint], ARRAY['l'::bytea], "
            "ARRAY[''::bytea], ARRAY[''::bytea], ARRAY[''::bytea])"
        )
        thread = threading.Thread(target=lambda: drive(second.put([KeyRow("b", 1, b"b", b"", b"", b"")])))
        thread.start()
        for _ in range(400):
            if server.run("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                break
            time.sleep(0.01)
        early = drive(first.changes(mark))
        assert early.ids == ()  # the later number is not there before the earlier one
        slow.commit()
        thread.join()
    assert drive(first.changes(early.mark)).ids == ("late", "b")
    first.close()
    second.close()


# the page


def test_every_cell_of_the_guarantee_table_names_a_test_that_exists() -> None:
    here = Path(__file__)
    tests = "".join((here.parent / name).read_text() for name in (here.name, "test_postgres_loss.py"))
    page = (here.parents[2] / "docs/howto/postgres.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        assert re.search(rf"^def {row[4].strip(' `')}\(", tests, re.MULTILINE), row
