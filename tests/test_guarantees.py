"""The page of guarantees: every cell names a test that is there; and the tests of cells that no other file has."""

import ast
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from backends.postgres_server import serving
from backends.redis_server import Server, running
from halts.operators import operators, signed
from support import NOW, SECOND, TRADER, StillClock, make_checks, make_guard, sign

from tradeguard.backends.limits import LimitsQuotas
from tradeguard.backends.memory import Memory
from tradeguard.backends.postgres import BlockingPostgres, migrate
from tradeguard.backends.redis import BlockingRedis
from tradeguard.backends.split import Split
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.core.conditions import Limit, Once, Quota
from tradeguard.core.decision import Grant
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown
from tradeguard.core.guard import Guard
from tradeguard.core.halt import Mode
from tradeguard.core.ports import State
from tradeguard.core.runtime import Threads
from tradeguard.halts.switch import Switch
from tradeguard.halts.view import Halts

ROOT = Path(__file__).parents[1]
STORES = (
    "Memory",
    "Memory with a lock",
    "SQLite",
    "Redis",
    "PostgreSQL",
    "Quotas in limits",
    "A node that goes on alone",
)
EVENTS = (
    "crash of a process", "crash of the machine", "restart of the store", "failover, restored copy, flush",
    "clocks", "slow or unreachable", "fork, several workers",
)  # fmt: skip
QUOTA = Quota("requests:key:ann", (Limit(3, 3_600 * SECOND),), 1)
FAR = 2**62


def cells() -> list[tuple[str, str, str, list[str]]]:
    """Each cell of the page: the store, what happens, what is promised, and who says so."""
    found: list[tuple[str, str, str, list[str]]] = []
    store = ""
    for line in (ROOT / "docs/guarantees.md").read_text().splitlines():
        if line.startswith("## "):
            store = line[3:]
        elif line.startswith("| ") and not line.startswith("| what happens"):
            event, promise, tests = (cell.strip() for cell in line.strip("|").split("|"))
            found.append((store, event, promise, re.findall(r"`(tests/[^`]+)`", tests)))
    return found


def names_of(path: Path) -> dict[str, set[str]]:
    """The tests of a file by class ("" for none); a class has those of the suites that it is made of, too."""
    tree = ast.parse(path.read_text())
    names: dict[str, set[str]] = {"": {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}}
    suites = (ROOT / "src/tradeguard/testing").glob("*.py")
    methods = {
        made.name: {node.name for node in made.body if isinstance(node, ast.FunctionDef)}
        for suite in suites
        for made in ast.parse(suite.read_text()).body
        if isinstance(made, ast.ClassDef)
    }
    for made in tree.body:
        if isinstance(made, ast.ClassDef):
            bases = [base.id for base in made.bases if isinstance(base, ast.Name)]
            names[made.name] = set[str]().union(*(methods.get(base, set()) for base in bases))
    return names


def test_the_page_has_every_cell_once() -> None:
    assert [(store, event) for store, event, _, _ in cells()] == [
        (store, event) for store in STORES for event in EVENTS
    ]


def test_every_cell_promises_something_and_names_tests_that_are_there() -> None:
    for store, event, promise, tests in cells():
        assert len(promise) > 10, (store, event)
        assert tests, (store, event)
        for test in tests:
            path, *owner, name = test.split("::")
            assert name.startswith("test_"), test
            assert name in names_of(ROOT / path)["".join(owner)], test


def settle(state: State, *conditions: Any, at: int = NOW, id: str = "r") -> Any:
    """Make one commit of a node that has seen nothing yet."""
    return drive(state.commit(conditions, at, id, None))


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked child that is then killed; return how it ended."""
    pid = os.fork()
    if pid == 0:
        work()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


# memory


def test_memory_never_waits() -> None:
    """One step of the coroutine is all of it, and nothing runs beside it."""
    threads = threading.active_count()
    work = Memory(since=1).commit((QUOTA, Once(("ann", b"1"), FAR)), NOW, "r", None)
    with pytest.raises(StopIteration):
        work.send(None)
    assert threading.active_count() == threads


def test_memory_without_a_lock_is_after_a_fork_a_memory_for_each() -> None:
    """What was used before the fork both know; what is used after it only one of them: that is what the lock is for."""
    state, source = Memory(since=1), os.pipe()
    settle(state, Once(("ann", b"before"), FAR))

    def use() -> None:
        failed = [bool(settle(state, Once(("ann", item), FAR)).failed) for item in (b"before", b"after")]
        os.write(source[1], repr(failed).encode())

    assert in_child(use) == signal.SIGKILL
    assert os.read(source[0], 100) == b"[True, False]"
    assert not settle(state, Once(("ann", b"after"), FAR)).failed
    for end in source:
        os.close(end)


# SQLite


def copy_of(path: Path) -> Path:
    """A copy of a file that nobody has open."""
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    return copy


def test_an_older_copy_of_a_file_that_was_put_back_under_a_running_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SQLiteState(path).close()
    copy = copy_of(path)
    with closing(SQLiteState(path)) as state:
        settle(state, Once(("ann", b"1"), FAR))
        copy.replace(path)
        with pytest.raises(BackendDown):
            settle(state, Once(("ann", b"1"), FAR))


def test_an_older_copy_of_a_file_that_was_put_back_between_two_starts_is_what_it_was(tmp_path: Path) -> None:
    """Nobody can tell: remove the file instead, and what was signed before is refused."""
    path = tmp_path / "state.db"
    SQLiteState(path).close()
    copy, began = copy_of(path), time.time_ns()
    with closing(SQLiteState(path)) as state:
        settle(state, Once(("ann", b"1"), FAR))
    copy.replace(path)
    with closing(SQLiteState(path)) as state:
        assert not settle(state, Once(("ann", b"1"), FAR)).failed
    path.unlink()
    with closing(SQLiteState(path)) as state:
        assert state.since >= began


# Redis and PostgreSQL


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["redis", "postgres"])
def shared(request: pytest.FixtureRequest) -> Iterator[Callable[[], Any]]:
    """Makes states of one deployment on a real server."""
    if request.param == "redis":
        server: Server = request.getfixturevalue("redis")
        server.run("FLUSHALL")
        yield lambda: BlockingRedis(server.url, deadline=10, opening=10)
    else:
        with serving() as database:
            migrate(database.dsn())
            yield lambda: BlockingPostgres(database.dsn(), deadline=10)


def test_what_a_killed_process_has_used_on_a_server_stays_used(shared: Callable[[], Any]) -> None:
    once = Once(("ann", b"1"), FAR)
    assert in_child(lambda: settle(shared(), once, QUOTA, id="of the dead")) == signal.SIGKILL
    with closing(shared()) as state:
        outcome = settle(state, once, QUOTA._replace(cost=0))
        assert outcome.first == "of the dead"
        assert outcome.usage[QUOTA.key][0].used == 1


def test_a_node_whose_first_commit_comes_after_a_flush_lets_in_nothing_that_was_used_before(redis: Server) -> None:
    """It has seen no store yet, so none is behind: the barrier of the new one must stop what was used before."""
    redis.run("FLUSHALL")
    one, two = (guard_over(BlockingRedis(redis.url, deadline=10, opening=10)) for _ in range(2))
    began = time.time_ns()
    send(one, began, b"first")
    signed = began + 3 * SECOND  # above the barrier of both: the window lies a second ahead at most
    while time.time_ns() < signed:
        time.sleep(0.05)
    assert send(one, signed, b"n") == ""
    assert send(one, signed, b"n") == "replay.seen"
    redis.run("FLUSHALL")
    assert send(two, signed, b"n") == "commit.barrier"
    for guard in (one, two):
        guard.close()


def test_a_receipt_over_a_store_that_was_emptied_is_not_done(redis: Server) -> None:
    """The halt is gone, and so is what nodes have said: that nobody is silent does not mean that all obey."""
    redis.run("FLUSHALL")
    keys, now = operators(), StillClock(time.time_ns()).now
    with closing(BlockingRedis(redis.url, deadline=10, opening=10)) as state:
        node, switch = Halts(state, keys, now=now, follow=False), Switch(state, keys, now=now)
        drive(node.step())
        record = signed(drive(switch.propose("venue", Mode.NO_NEW)), "olga")
        drive(switch.put(record, actor="tests"))
        assert not drive(switch.receipt(record)).done
        redis.run("FLUSHALL")
        assert not drive(switch.receipt(record)).done


def guard_over(state: State) -> Guard:
    """A guard with everything, by the real clock."""
    return make_guard(make_checks(), state=state, runtime=Threads())


def send(guard: Guard, signed: int, nonce: bytes) -> str:
    """The code of a denial of an order; empty for a grant."""
    request = sign(TRADER, "POST", at=signed, nonce=nonce.ljust(16, b"-"), arrived=time.time_ns())
    decision = drive(guard.admit(request))
    return "" if isinstance(decision, Grant) else decision.code


# quotas in a storage of the limits library


def split(uri: str) -> Split:
    return Split(Memory(since=1), LimitsQuotas(uri))


def room(state: State) -> int:
    """How many requests pass."""
    now = time.time_ns()
    return sum(not settle(state, QUOTA, Once(("ann", b"%d" % n), FAR), at=now).failed for n in range(10))


def test_quotas_of_limits_in_memory_begin_anew_with_the_process_and_messages_are_stopped_by_the_barrier() -> None:
    assert [room(split("memory://")) for _ in range(2)] == [3, 3]
    assert Split(Memory(), LimitsQuotas("memory://")).since > 0


def test_quotas_of_limits_in_a_server_outlive_the_process(redis: Server) -> None:
    redis.run("FLUSHALL")
    uri = redis.url.removesuffix("/0")
    with closing(split(uri)) as first, closing(split(uri)) as second:
        assert (room(first), room(second)) == (3, 0)


def test_that_a_storage_of_limits_was_emptied_nobody_notices(redis: Server) -> None:
    redis.run("FLUSHALL")
    with closing(split(redis.url.removesuffix("/0"))) as state:
        epoch = settle(state, QUOTA, at=time.time_ns())[2:4]
        redis.run("FLUSHALL")
        now = time.time_ns()
        outcome = drive(state.commit((QUOTA,), now, "r", epoch))
        assert (outcome.behind, outcome.usage[QUOTA.key][0].used) == (False, 1)


def test_of_split_stores_messages_go_by_the_highest_time_that_any_request_had() -> None:
    state, once = split("memory://"), Once(("ann", b"1"), NOW + 5)
    assert not settle(state, once, QUOTA, at=NOW).failed
    assert settle(state, Once(("ann", b"2"), NOW + 5), QUOTA, at=NOW + 9).failed
    assert settle(state, Once(("ann", b"3"), NOW + 5), QUOTA, at=NOW).failed  # time does not go back
