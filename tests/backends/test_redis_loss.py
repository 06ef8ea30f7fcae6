"""Redis, when it is lost, replaced, full, frozen or no Redis at all: each has its stated outcome, never a grant."""

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backends.redis_node import FAR, KINDS, Node, node, proxy
from backends.redis_server import Server, running
from freeport import free_port

from tradeguard.backends.redis import BlockingRedis, BlockingRedisKeys, Redis, RedisKeys
from tradeguard.core.conditions import Advance, Below, Charge, Limit, Once, Quota
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.key import Changes, KeyRow

Kind = type[Redis] | type[BlockingRedis]
both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of this test alone: the test may do with it what it likes."""
    with running(tmp_path / "server") as server:
        yield server


def down(node: Node, text: str, *, unknown: bool) -> None:
    """Hold a node to saying that the store is down, and why."""
    with pytest.raises(BackendDown, match=text) as caught:
        node.use(b"while it is down")
    assert caught.value.unknown is unknown


def lost(node: Node, item: bytes) -> None:
    """Hold a node to refusing a store that has forgotten what it had told, for good."""
    since = node.state.since
    for _ in range(2):
        outcome = node.use(item)
        assert outcome.behind
    assert node.state.since > since


@both
def test_after_flushall_the_node_is_told_that_the_store_began_anew(kind: Kind, server: Server) -> None:
    with node(kind, server.url) as first:
        first.use(b"1")
        server.run("FLUSHALL")
        lost(first, b"1")


@both
def test_after_flushall_between_two_writes_the_same_node_gets_another_epoch_each_time(
    kind: Kind, server: Server
) -> None:
    epochs = set[str]()
    with node(kind, server.url) as first:
        for _ in range(3):
            first.seen = None
            epochs.add(first.use(b"1").epoch)
            server.run("FLUSHALL")
    assert len(epochs) == 3


@both
def test_after_script_flush_the_commit_is_settled_once(kind: Kind, server: Server) -> None:
    with node(kind, server.url) as first:
        first.use(b"1")
        server.run("SCRIPT", "FLUSH")
        assert not first.use(b"2", "second").failed
        assert first.use(b"2").first == "second"


@both
@pytest.mark.parametrize("kept", [True, False])
def test_after_a_restart_the_store_is_of_another_epoch_whether_or_not_it_kept_its_file(
    kind: Kind, kept: bool, tmp_path: Path
) -> None:
    options = ["--appendonly", "yes", "--appendfsync", "always"] if kept else []
    with running(tmp_path / "server", *options) as server, node(kind, server.url) as first:
        first.use(b"1")
        first.run(first.state.set("halt", 2))
        server.stop()
        down(first, "cannot be reached", unknown=False)
        server.start()
        lost(first, b"1")
        first.seen = None
        assert bool(first.use(b"1").failed) is kept  # the barrier of `since` is what stops it where it is not
        assert bool(first.commit(Below(("halt",), 2)).failed) is kept


@both
def test_a_replica_that_takes_over_and_has_lost_writes_is_refused(kind: Kind, server: Server, tmp_path: Path) -> None:
    with (
        running(tmp_path / "replica", "--replicaof", "127.0.0.1", str(server.port)) as replica,
        proxy(server.port) as address,
        node(kind, address.url) as first,
    ):
        first.use(b"1")
        assert server.run("WAIT", "1", "10000") == 1
        replica.run("REPLICAOF", "NO", "ONE")
        first.use(b"2")  # the replica never hears of it
        server.stop()
        address.switch(replica.port)
        lost(first, b"2")


@both
def test_a_replica_that_has_not_taken_over_settles_nothing(kind: Kind, server: Server, tmp_path: Path) -> None:
    with (
        running(tmp_path / "replica", "--replicaof", "127.0.0.1", str(server.port)) as replica,
        node(kind, server.url) as first,
        node(kind, replica.url) as second,
    ):
        first.use(b"1")
        assert server.run("WAIT", "1", "10000") == 1
        down(second, "it is a replica; name the primary.*READONLY", unknown=False)


@pytest.mark.parametrize("kind", [RedisKeys, BlockingRedisKeys])
def test_after_a_restart_who_follows_keys_is_told_that_any_may_have_changed(
    kind: type[RedisKeys] | type[BlockingRedisKeys], tmp_path: Path
) -> None:
    with running(tmp_path / "server", "--appendonly", "yes", "--appendfsync", "always") as server:
        keys = kind(server.url)
        run = asyncio.run if keys.colour == "async" else drive
        run(keys.put([KeyRow("a", 1, b"print", b"fields", b"sealed", b"mac")]))
        mark = run(keys.changes(None)).mark
        assert run(keys.changes(mark)) == Changes(mark, ())
        server.stop()
        with pytest.raises(BackendDown, match="cannot be reached"):
            run(keys.get("a"))
        server.start()
        changes = run(keys.changes(mark))
        assert (changes.ids, changes.mark.epoch == mark.epoch) == (None, False)
        assert run(keys.get("a")) == KeyRow("a", 1, b"print", b"fields", b"sealed", b"mac")
        keys.close()


@both
def test_an_old_copy_that_was_restored_is_refused(kind: Kind, server: Server, tmp_path: Path) -> None:
    with node(kind, server.url) as first:
        first.use(b"1")
        server.run("SAVE")
        shutil.copy(server.folder / "dump.rdb", tmp_path / "copy.rdb")
        first.use(b"2")
        server.stop()
        shutil.copy(tmp_path / "copy.rdb", server.folder / "dump.rdb")
        server.start()
        lost(first, b"2")
        first.seen = None
        assert first.use(b"1").failed  # the copy was read


@both
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_evicts_is_refused_with_the_cure(kind: Kind, policy: str, server: Server) -> None:
    server.run("CONFIG", "SET", "maxmemory-policy", policy)
    with node(kind, server.url) as first:
        for _ in range(2):
            with pytest.raises(ConfigError, match=f"{policy}.*CONFIG SET maxmemory-policy noeviction"):
                first.use(b"1")
        server.run("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert not first.use(b"1").failed


@both
def test_a_server_whose_memory_is_full_refuses_and_forgets_nothing(kind: Kind, server: Server) -> None:
    with node(kind, server.url) as first:
        first.use(b"1", "first")
        server.run("CONFIG", "SET", "maxmemory", "1")
        down(first, "memory is full; raise maxmemory.*OOM", unknown=False)
        server.run("CONFIG", "SET", "maxmemory", "0")
        assert first.use(b"1").first == "first"
        assert not first.use(b"while it is down").failed


@both
def test_a_frozen_server_is_given_up_at_the_deadline_and_what_was_sent_is_unknown(kind: Kind, server: Server) -> None:
    with node(kind, server.url) as first:
        first.use(b"1")
        first.state._address.deadline = 0.1
        if kind is BlockingRedis:  # the deadline of a thread's connection is that of its socket
            first.state.close()
            first.state._address._blocking.connection_kwargs["socket_timeout"] = 0.1
            first.use(b"2")
        first.state._address.opening = 0.1
        first.state._address._blocking.connection_kwargs["socket_connect_timeout"] = 0.1
        with server.frozen():
            down(first, "not answered in time", unknown=True)
            down(first, "in time", unknown=False)  # it asks for a new connection first
        server.wait()
        first.state._address.deadline = first.state._address.opening = 5


@both
def test_who_is_in_doubt_learns_from_the_store_whether_his_commit_was_settled(kind: Kind, server: Server) -> None:
    with proxy(server.port) as address, node(kind, address.url) as first:
        first.use(b"1")
        address.keep = 0
        with pytest.raises(BackendDown) as caught:
            first.use(b"2", "in doubt")
        assert caught.value.unknown
        address.keep = None
        assert first.use(b"2", "again").first == "in doubt"


@both
@pytest.mark.parametrize("kept", [0, 1, 5, 40])
def test_an_answer_cut_in_half_is_no_answer(kind: Kind, kept: int, server: Server) -> None:
    with proxy(server.port) as address, node(kind, address.url) as first:
        first.use(b"1")
        address.keep = kept
        down(first, "cannot be reached, or does not answer as Redis does", unknown=True)
        address.keep = None
        assert first.use(b"while it is down").failed


@both
def test_where_nobody_listens_nothing_was_sent(kind: Kind) -> None:
    with node(kind, f"redis://127.0.0.1:{free_port()}/0") as first:
        down(first, "cannot be reached", unknown=False)


@both
@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$-1\r\n", b"+OK\r\n", b":1\r\n", b"*-1\r\n", b"\xff" * 64 + b"\r\n"],
)
def test_what_is_no_redis_is_said_to_be_none(kind: Kind, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_all, args=(listener, [answer] * 8))
        thread.start()
        expected = pytest.raises((BackendDown, ConfigError), match=r"does not (say|answer)|cannot be reached")
        with node(kind, f"redis://127.0.0.1:{listener.getsockname()[1]}/0") as first, expected:
            first.use(b"1")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


NONSENSE = [
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$5\r\nhello\r\n",
    b":7\r\n",
    b"*0\r\n",
    b"*1\r\n$1\r\nx\r\n",
    b"$9\r\n1 e x 1 -\n\r\n",
    b"$9\r\n1 e 1 1 -\n\r\n",
    b"$25\r\n1 e 1 1 --\n" + b"\xff" * 14 + b"\r\n",
    b"$27\r\n1 e 1 1 -1\n" + b"\xff" * 16 + b"\r\n",
    b"-ERR user_script:1: Script attempted something\r\n",
    b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
]
PREMISES = b"run_id:0123456789abcdef0123\r\nredis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\n"


@both
@pytest.mark.parametrize("nonsense", NONSENSE)
def test_an_answer_that_makes_no_sense_is_no_answer_and_no_bug(kind: Kind, nonsense: bytes) -> None:
    info = b"$%d\r\n%b\r\n" % (len(PREMISES), PREMISES)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_all, args=(listener, [b"-ERR no\r\n"] * 2 + [info, nonsense]))
        thread.start()
        with node(kind, f"redis://127.0.0.1:{listener.getsockname()[1]}/0") as first:
            down(first, "no script of ours|answers with an error", unknown=True)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@both
@pytest.mark.parametrize(
    ("error", "text", "unknown"),
    [
        ("MOVED 3999 127.0.0.1:6381", "another node of its cluster has the slot", False),
        ("ASK 3999 127.0.0.1:6381", "its cluster is moving the slot", False),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "its cluster is moving the slot", False),
        ("CLUSTERDOWN Hash slot not served", "its cluster has lost nodes", False),
        (
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "a replica without",
            False,
        ),
        ("READONLY You can't write against a read only replica.", "it is a replica; name the primary", False),
        ("LOADING Redis is loading the dataset in memory", "has just started and is reading its file", False),
        ("MISCONF Redis is configured to save RDB snapshots, but it cannot", "cannot write its file to disk", False),
        ("OOM command not allowed when used memory > 'maxmemory'.", "its memory is full", False),
        ("NOAUTH Authentication required.", "user or password are missing or wrong", False),
        ("NOPERM User poor has no permissions to run the 'zadd' command", "give it the ACL of docs/howto/redis", True),
    ],
)
def test_an_error_of_the_server_is_told_with_its_cure(kind: Kind, error: str, text: str, unknown: bool) -> None:
    info = b"$%d\r\n%b\r\n" % (len(PREMISES), PREMISES)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answers = [b"-ERR no\r\n"] * 2 + [info, f"-{error}\r\n".encode()]
        thread = threading.Thread(target=answer_all, args=(listener, answers))
        thread.start()
        with node(kind, f"redis://127.0.0.1:{listener.getsockname()[1]}/0") as first:
            down(first, text, unknown=unknown)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def answer_all(listener: socket.socket, answers: list[bytes]) -> None:
    """Answer each command of the first client with the next of the answers."""
    try:
        client, _ = listener.accept()
    except OSError:
        return
    with client:
        for answer in answers:
            if not read_command(client):
                return
            try:
                client.sendall(answer)
            except OSError:
                return
        while client.recv(1 << 16):
            pass


def read_command(client: socket.socket) -> bool:
    """Read one command, an array of bulk strings; tell whether there was one."""
    stream = client.makefile("rb", buffering=0)
    head = stream.readline()
    if not head:
        return False
    for _ in range(int(head[1:])):
        left = int(stream.readline()[1:]) + 2
        while left:
            left -= len(stream.read(left) or b"")
    return True


@both
@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["CONFIG", "SET", "min-replicas-to-write", "3"], "too few of its replicas.*NOREPLICAS"),
        (["CONFIG", "SET", "requirepass", "secret word"], "missing or wrong.*AUTH"),
    ],
)
def test_a_server_that_takes_no_writes_now_says_why(kind: Kind, command: list[str], text: str, server: Server) -> None:
    server.run(*command)
    with node(kind, server.url) as first:
        down(first, text, unknown=False)


@both
def test_a_wrong_password_is_not_in_the_reason(kind: Kind, server: Server) -> None:
    server.run("CONFIG", "SET", "requirepass", "secret word")
    with node(kind, server.url.replace("//", "//:hunter2@")) as first:
        with pytest.raises(BackendDown, match=r"missing or wrong.*AUTH") as caught:
            first.use(b"1")
        assert "hunter2" not in str(caught.value)


@both
def test_a_server_that_a_script_holds_is_given_up_without_doubt(kind: Kind, server: Server) -> None:
    server.run("CONFIG", "SET", "busy-reply-threshold", "1")
    with node(kind, server.url) as first:
        first.use(b"1")
        with server.client(single_connection_client=True) as other:
            thread = threading.Thread(target=hold, args=(other,))
            thread.start()
            while not is_busy(server):
                time.sleep(0.01)
            down(first, "a script of somebody else holds it.*BUSY", unknown=False)
            server.run("SCRIPT", "KILL")
            thread.join()
        assert not first.use(b"while it is down").failed


def hold(client: Any) -> None:
    """Run a script that does not end."""
    with pytest.raises(Exception, match="killed"):
        client.eval("while true do end", 0)


def is_busy(server: Server) -> bool:
    """Tell whether a script holds the server."""
    try:
        server.run("GET", "x")
    except Exception as error:
        return type(error).__name__ in ("ResponseError", "BusyLoadingError") and "BUSY" in str(error)
    return False


@both
def test_a_cluster_without_its_slots_is_down_and_all_keys_share_one_slot(kind: Kind, tmp_path: Path) -> None:
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with running(tmp_path / "cluster", *options) as server, node(kind, server.url) as first:
        down(first, "cluster has lost nodes.*CLUSTERDOWN", unknown=False)
        server.run("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        deadline = time.monotonic() + 20
        while "cluster_state:ok" not in str(server.run("CLUSTER", "INFO")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        orders = Quota("orders", (Limit(5, 10**9), Limit(5, 10**9, burst=5)), 1)
        outcome = first.commit(Once(("trader", b"1"), FAR), Advance(("trader", b"1"), 1), Below(("halt",), 1), orders)
        assert not outcome.failed
        assert first.run(first.state.refund(Charge(orders, outcome.time, "r"), "fill", 1, 0))
        first.run(first.state.set("halt", 1))
        assert first.run(first.state.look("")).numbers
