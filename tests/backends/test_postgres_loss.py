"""A PostgreSQL server that is stopped, frozen, cut off, read-only, restored, promoted: each with its stated outcome."""

import asyncio
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from backends.postgres_server import Server, find, make_folder, run, serving

from tradeguard.backends.postgres import BlockingPostgres, BlockingPostgresKeys, Postgres, migrate
from tradeguard.backends.postgres.pool import Threads
from tradeguard.core.conditions import Below, Limit, Once, Outcome, Quota
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown
from tradeguard.core.key import KeyRow

LATER = 2**62
KEY = ("trader", b"nonce")
QUOTA = Quota("q", (Limit(1, 10**15),), 1)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(synchronous_commit="off", wal_writer_delay="10s", checkpoint_timeout="1h") as made:
        migrate(made.dsn())
        yield made


@pytest.fixture
def state(server: Server) -> Iterator[BlockingPostgres]:
    made = BlockingPostgres(server.dsn(), deadline=20)
    yield made
    made.close()


def settle(state: BlockingPostgres, item: bytes = b"1", id: str = "r", seen: tuple[str, int] | None = None) -> Outcome:
    return drive(state.commit([Once(("trader", item), LATER), Below(("halt",), 5), QUOTA], 0, id, seen))


def refuses(state: BlockingPostgres, *, unknown: bool, match: str) -> None:
    with pytest.raises(BackendDown, match=match) as refused:
        settle(state, b"refused")
    assert refused.value.unknown is unknown


def seen_of(outcome: Outcome) -> tuple[str, int]:
    return outcome.epoch, outcome.version


# stopped


def test_a_stopped_server_is_an_outage_in_which_nothing_happened_and_no_write_is_lost(
    server: Server, state: BlockingPostgres
) -> None:
    assert not settle(state, id="first").failed
    drive(state.set("halt", 5))
    seen = seen_of(settle(state))
    server.stop()
    refuses(state, unknown=False, match="no connection")
    server.start()
    after = settle(state, seen=seen)
    assert (after.behind, after.first, len(after.failed)) == (False, "first", 3)


def test_a_crash_loses_nothing_that_was_answered_although_the_server_would_not_wait_for_its_disk(
    server: Server, state: BlockingPostgres
) -> None:
    for number in range(1, 3):
        assert drive(state.set("halt", 6, record=b"%d" % number)) == number
        seen = seen_of(settle(state, b"%d" % number, id="first"))
        server.stop(signal.SIGQUIT)
        server.start()
        after = settle(state, b"%d" % number, seen=seen)
        assert (after.behind, after.version, after.first) == (False, number, "first")
        assert drive(state.look("halt")).numbers["halt"].record == b"%d" % number


# frozen


def test_a_frozen_server_is_an_outage_in_doubt_and_who_used_the_message_is_told_later(server: Server) -> None:
    state = BlockingPostgres(server.dsn(), deadline=0.3)
    drive(state.size())
    server.freeze()
    began = time.monotonic()
    with pytest.raises(BackendDown, match="no answer in time; it may have taken effect") as refused:
        settle(state, id="in doubt")
    assert refused.value.unknown
    refuses(state, unknown=False, match="no connection: no answer in time")
    assert time.monotonic() - began < 10  # two deadlines; the rest is for a busy machine
    server.freeze(thaw=True)
    patient = BlockingPostgres(server.dsn(), deadline=20)
    for _ in range(400):
        if drive(patient.size()):
            break
        time.sleep(0.02)
    assert settle(patient).first == "in doubt"
    state.close()
    patient.close()


def test_on_a_loop_a_frozen_server_is_the_same_and_holds_up_nobody(server: Server) -> None:
    async def main() -> tuple[BackendDown, int]:
        state, turns = Postgres(server.dsn(), deadline=0.3), 0
        await state.size()
        server.freeze()
        waiting = asyncio.ensure_future(state.commit([Once(KEY, LATER)], 0, "in doubt", None))
        while not waiting.done():
            turns += 1
            await asyncio.sleep(0.001)
        server.freeze(thaw=True)
        state.close()
        error = waiting.exception()
        assert isinstance(error, BackendDown)
        return error, turns

    error, turns = asyncio.run(main())
    assert error.unknown
    assert turns > 10


def test_who_cancels_leaves_a_connection_that_nobody_uses_again(server: Server) -> None:
    async def main() -> None:
        state = Postgres(server.dsn(), deadline=20, size=1)
        await state.size()
        with psycopg.connect(server.dsn()) as other:
            other.execute("LOCK TABLE tradeguard.once IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.ensure_future(state.commit([Once(KEY, LATER)], 0, "r", None))
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await state.size() in (0, 1)
        state.close()

    asyncio.run(main())


# in the middle


def test_a_connection_that_is_cut_in_the_middle_is_in_doubt_and_is_never_tried_again(server: Server) -> None:
    state = BlockingPostgres(server.dsn(), deadline=20)
    errors: list[BackendDown] = []

    def ask() -> None:
        with pytest.raises(BackendDown) as refused:
            settle(state, b"cut")
        errors.append(refused.value)

    with psycopg.connect(server.dsn()) as other:
        other.execute("LOCK TABLE tradeguard.once IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=ask)
        thread.start()
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        for _ in range(400):
            if server.run(cut):
                break
            time.sleep(0.02)
        thread.join(20)
    assert [error.unknown for error in errors] == [True]
    assert drive(state.size()) == 0
    assert not settle(state, b"cut").failed
    state.close()


def test_who_waits_too_long_for_others_is_refused_and_nothing_happened(server: Server) -> None:
    state = BlockingPostgres(server.dsn(), deadline=2)
    with psycopg.connect(server.dsn()) as other:
        other.execute("LOCK TABLE tradeguard.once IN ACCESS EXCLUSIVE MODE")
        refuses(state, unknown=False, match="others used the same key or quota for longer than we wait")
    assert not settle(state, b"refused").failed
    state.close()


def test_connections_that_the_server_closed_meanwhile_cost_no_call(server: Server, state: BlockingPostgres) -> None:
    settle(state)
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tradeguard'")
    for _ in range(400):
        if not server.run("SELECT FROM pg_stat_activity WHERE application_name = 'tradeguard'"):
            break
        time.sleep(0.02)
    assert settle(state).first == "r"


def test_when_all_connections_are_in_use_nothing_is_sent(server: Server) -> None:
    state = BlockingPostgres(server.dsn(), deadline=0.2, size=1)
    held = drive(state.size())
    pool = state._server
    assert isinstance(pool, Threads)
    with pool._idle.turns:  # somebody else's question is under way
        with pytest.raises(BackendDown, match="all connections are in use") as refused:
            settle(state)
        assert not refused.value.unknown
    assert drive(state.size()) == held


# read-only, standby


def test_a_server_that_takes_no_writes_is_an_outage_in_which_nothing_happened(server: Server) -> None:
    server.run("ALTER SYSTEM SET default_transaction_read_only = on")
    server.run("SELECT pg_reload_conf()")
    for _ in range(400):
        if server.run("SHOW default_transaction_read_only") == [("on",)]:
            break
        time.sleep(0.02)
    state = BlockingPostgres(server.dsn(), deadline=20)
    refuses(state, unknown=False, match="the server takes no writes")
    state.close()


def test_a_standby_answers_nothing_and_once_it_is_promoted_it_is_another_store(
    server: Server, state: BlockingPostgres
) -> None:
    keys = BlockingPostgresKeys(server.dsn())
    drive(keys.put([KeyRow("a", 1, b"f", b"", b"", b"")]))
    mark = drive(keys.changes(None)).mark
    settle(state)
    seen = seen_of(settle(state))
    with make_folder() as folder:
        standby = Server(folder / "data")
        run(find("pg_basebackup"), "-D", str(standby.folder), "-R", "-c", "fast", "-d", server.dsn())
        standby.start()
        other, others = BlockingPostgres(standby.dsn(), deadline=20), BlockingPostgresKeys(standby.dsn())
        refuses(other, unknown=False, match="this server is a standby; connect to the primary")
        with pytest.raises(BackendDown, match="standby"):
            drive(others.get("a"))
        assert standby.run("SELECT pg_promote(true, 60)") == [(True,)]
        server.stop()
        after = settle(other, seen=seen)
        assert (after.behind, after.failed) == (True, ())
        assert drive(other.size()) == 1
        assert drive(others.changes(mark)).ids is None
        for port in (other, others):
            port.close()
        standby.stop()
    keys.close()


# restored


@pytest.mark.parametrize("how", ["all", "rows"])
def test_a_restored_dump_is_another_store(server: Server, state: BlockingPostgres, tmp_path: Path, how: str) -> None:
    keys = BlockingPostgresKeys(server.dsn())
    drive(keys.put([KeyRow("a", 1, b"f", b"", b"", b"")]))
    rows = ["--data-only"] if how == "rows" else []
    command = [find("pg_dump"), "-d", server.dsn(), "-n", "tradeguard", *rows]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    settle(state, id="after the dump")
    seen, mark = seen_of(settle(state)), drive(keys.changes(None)).mark
    if how == "rows":
        tables = server.run("SELECT tablename FROM pg_tables WHERE schemaname = 'tradeguard'")
        server.run("; ".join(f"DELETE FROM tradeguard.{name}" for (name,) in tables))
    else:
        server.run("DROP SCHEMA tradeguard CASCADE")
    file = tmp_path / "dump.sql"
    file.write_text(dump)
    subprocess.run([find("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d", server.dsn(), "-f", file], check=True)
    assert settle(state, seen=seen).behind
    assert drive(state.size()) == 0
    assert drive(keys.changes(mark)).ids is None
    keys.close()


def test_files_that_were_put_back_are_noticed_by_a_node_that_ran_on(server: Server, state: BlockingPostgres) -> None:
    settle(state, b"before")
    server.stop()
    copy = server.folder.with_name("copy")
    run("/bin/cp", "-a", str(server.folder), str(copy))
    server.start()
    settle(state, b"after")
    seen = seen_of(settle(state, b"after"))
    server.stop()
    shutil.rmtree(server.folder)
    copy.rename(server.folder)
    server.start()
    assert settle(state, b"after", seen=seen).behind
    assert drive(state.size()) == 1


def test_a_restart_in_between_is_no_loss(server: Server, state: BlockingPostgres) -> None:
    seen = seen_of(settle(state, id="first"))
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        state.close()
        server.stop(how)
        server.start()
        after = settle(state, seen=seen)
        assert (after.behind, after.first) == (False, "first")
