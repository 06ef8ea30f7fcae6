"""Redis by its own clock: traces against the model, attacks from several processes, keys that vanish, many at once."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backends.redis_node import FAR, KINDS, SECOND, node, proxy
from backends.redis_server import Server, running
from freeport import free_port
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.backends.redis import BlockingRedis, BlockingRedisKeys, Redis
from tradeguard.core.conditions import Advance, Below, Charge, Condition, Limit, Model, Once, Quota, longest
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.key import KeyRow

Kind = type[Redis] | type[BlockingRedis]
both = pytest.mark.parametrize("kind", KINDS)
MILLISECOND = 1_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests of this file; each empties it first."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(autouse=True)
def _empty(server: Server) -> None:
    server.run("FLUSHALL")


# against the model, by the server's clock

LIMITS = st.sampled_from(
    [
        (Limit(3, 2 * MILLISECOND), Limit(9, 50 * MILLISECOND)),
        (Limit(3, 2 * MILLISECOND, burst=2),),
        (Limit(2_000, 60 * MILLISECOND), Limit(4, 3 * MILLISECOND, burst=4)),
    ]
)
CONDITIONS = st.lists(
    st.builds(Quota, st.sampled_from(["a", "b"]), LIMITS, st.integers(0, 3), st.booleans(), st.booleans())
    | st.builds(Advance, st.just(("ann", b"x")), st.integers(0, 2**128 - 1), st.integers(1, 3)),
    max_size=3,
    unique_by=lambda condition: condition.key,
)


@both
@settings(max_examples=40, deadline=None)
@given(trace=st.lists(CONDITIONS, max_size=40), life=st.integers(1, 4 * MILLISECOND))
def test_any_trace_means_what_the_model_says_at_the_time_that_the_server_says(
    kind: Kind, trace: list[list[Condition]], life: int, server: Server
) -> None:
    model, charges = Model(), list[Charge]()
    with node(kind, server.url, name=f"{time.time_ns()}") as first:
        for number, conditions in enumerate(trace):
            asked = [*conditions, Once(("ann", b"%d" % (number % 3)), time.time_ns() + life)]
            outcome = first.commit(*asked, id=f"{number}")
            expected = model.commit(asked, outcome.time, f"{number}", None)
            assert outcome._replace(epoch="", usage=dict(outcome.usage)) == expected._replace(
                epoch="", usage=dict(expected.usage)
            )
            if not outcome.failed:
                charges += [Charge(c, outcome.time, f"{number}") for c in conditions if isinstance(c, Quota) and c.cost]
        for charge in charges[-3:]:
            before = first.commit().time
            counted = first.run(first.state.refund(charge, "fill", 1, 0))
            ends = charge.time + longest(charge.quota)
            assert counted in (ends > before, ends > first.commit().time)
            assert not first.run(first.state.refund(charge, "fill", 1, 0))


@both
@pytest.mark.parametrize("skew", [-3600, 3600])
def test_the_clock_of_a_node_decides_nothing(kind: Kind, skew: int, server: Server) -> None:
    with node(kind, server.url) as first:
        wrong = time.time_ns() + skew * SECOND
        outcome = first.commit(Once(("trader", b"1"), FAR), at=wrong)
        assert abs(outcome.time - time.time_ns()) < 60 * SECOND
        late = Once(("trader", b"2"), outcome.time - 1)
        assert first.commit(late, at=wrong).failed == (late,)


@both
def test_a_time_that_has_passed_is_refused_though_redis_would_answer_ok(kind: Kind, server: Server) -> None:
    assert server.run("SET", "x", "1", "PXAT", "1000") is True
    with node(kind, server.url) as first:
        late = Once(("trader", b"1"), time.time_ns() - SECOND)
        for _ in range(2):
            assert first.commit(late).failed == (late,)


@both
def test_a_clock_that_steps_back_revives_nothing(kind: Kind, server: Server) -> None:
    with node(kind, server.url) as first:
        once = Once(("trader", b"1"), time.time_ns() + 3600 * SECOND)
        first.commit(once)
        server.run(
            "HINCRBY", "{tradeguard:main}:store", "time", str(7200 * 1_000_000)
        )  # the clock ran ahead, then fell
        assert first.commit(once).failed == (once,)
        assert first.commit().time > once.until


# attacks

CHILD = """
import json, sys, time
from tradeguard.backends.redis import BlockingRedis
from tradeguard.core.conditions import Limit, Quota
from tradeguard.core.drive import drive
url, skew, amount, period, tries = sys.argv[1], *map(int, sys.argv[2:])
state = BlockingRedis(url, deadline=20, opening=20)
quota = Quota("orders", (Limit(amount, period),), 1)
print("ready", flush=True)
sys.stdin.readline()
times = []
for number in range(tries):
    outcome = drive(state.commit([quota], time.time_ns() + skew, f"{skew}:{number}", None))
    if not outcome.failed:
        times.append(outcome.time)
print(json.dumps(times))
"""


@pytest.mark.parametrize("amount", [20, 1_001])
def test_three_processes_with_clocks_of_their_own_never_get_more_than_the_limit(amount: int, server: Server) -> None:
    period, tries = 200 * MILLISECOND, 1_200
    told = [str(amount), str(period), str(tries)]
    command = [sys.executable, "-c", CHILD, server.url]
    skews = [str(skew * SECOND) for skew in (-3600, 0, 3600)]
    children = [
        subprocess.Popen([*command, skew, *told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for skew in skews
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        admitted = sorted(at for child in children for at in json.loads(child.communicate(timeout=120)[0]))
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert len(admitted) >= amount
    for start, at in enumerate(admitted[: -amount or None]):
        if start + amount < len(admitted):
            assert admitted[start + amount] - at >= period


@both
def test_who_waits_as_long_as_told_gets_in_at_once(kind: Kind, server: Server) -> None:
    quota = Quota("orders", (Limit(5, 50 * MILLISECOND), Limit(7, 80 * MILLISECOND, burst=7)), 1)
    with node(kind, server.url) as first:
        refused = 0
        for _ in range(60):
            outcome = first.commit(quota)
            if outcome.failed:
                refused += 1
                time.sleep(max(0, outcome.ready - time.time_ns()) / SECOND)
                assert not first.commit(quota).failed
        assert refused


@both
def test_a_refused_commit_costs_as_many_commands_however_full_the_window_is(kind: Kind, server: Server) -> None:
    quota = Quota("orders", (Limit(1_000, 3600 * SECOND),), 1)
    with node(kind, server.url) as first:
        while not first.commit(quota).failed:
            pass
        server.run("CONFIG", "RESETSTAT")
        first.commit(quota)
        stats = server.run("INFO", "commandstats")
        assert sum(stat["calls"] for stat in stats.values()) < 30


def test_a_window_that_only_watches_does_not_grow_with_what_it_lets_through(server: Server) -> None:
    quota = Quota("orders", (Limit(2, 3600 * SECOND),), 1, enforced=False)
    with node(BlockingRedis, server.url) as first:
        for _ in range(3_000):
            outcome = first.commit(quota)
        assert outcome.usage["orders"][0].used == 3_000
        lengths = [server.run("LLEN", key) for key in server.run("KEYS", "*:r:shadow:*")]
    assert len(lengths) == 1
    assert 1_000 < lengths[0] < 2_100


# keys


@both
def test_every_key_bears_the_tag_of_its_deployment_and_two_deployments_share_nothing(
    kind: Kind, server: Server
) -> None:
    with node(kind, server.url, name="north") as north, node(kind, server.url, name="south") as south:
        for one in (north, south):
            quota = Quota("a", (Limit(1, SECOND),), 1)
            outcome = one.commit(Once(("trader", b"1"), FAR), Advance(("trader", b"1"), 1), quota)
            assert not outcome.failed
            one.run(one.state.set("halt", 1, FAR))
            one.run(one.state.refund(Charge(quota, outcome.time, "r"), "fill", 1, 0))
    keys = server.run("KEYS", "*")
    assert {key.split(b":")[1] for key in keys} == {b"north}", b"south}"}
    assert all(key.startswith(b"{tradeguard:") for key in keys)


@both
def test_what_has_run_out_vanishes_by_itself(kind: Kind, server: Server) -> None:
    quota = Quota("a", (Limit(5, SECOND), Limit(5, SECOND, burst=5)), 1)
    with node(kind, server.url) as first:
        outcome = first.commit(quota)
        first.run(first.state.refund(Charge(quota, outcome.time, "r"), "fill", 1, 0))
        idle = [key for key in server.run("KEYS", "*") if b":store" not in key]
        assert len(idle) == 3
        for key in idle:
            assert 0 < int(server.run("PTTL", key)) <= 62_000


@both
@pytest.mark.parametrize("name", ["", "a{b", "a}b", "a\nb", "ä"])
def test_a_name_that_would_break_the_tag_is_an_error(kind: Kind, name: str) -> None:
    with pytest.raises(ConfigError, match="name: use printable ASCII without braces"):
        kind("redis://127.0.0.1", name=name)


@both
@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "redis", "redis://127.0.0.1:port"])
def test_a_url_that_is_none_is_an_error(kind: Kind, url: str) -> None:
    with pytest.raises(ConfigError, match="a Redis URL begins with redis://"):
        kind(url)


@both
def test_keys_of_any_text_and_bytes_are_kept_apart(kind: Kind, server: Server) -> None:
    owners = ["", "a", "a:", "1:a", "é\n", "\udcff", "\x00", "{x}"]
    with node(kind, server.url) as first:
        onces = [Once((owner, item), FAR) for owner in owners for item in (b"", b":", b"a", b"\r\n", bytes(range(256)))]
        for number, once in enumerate(onces):
            assert not first.commit(once, id=f"id {number}\n").failed
        for number, once in enumerate(onces):
            assert first.commit(once).first == f"id {number}\n"
        for name in owners:
            first.run(first.state.set(name, 1, record=name.encode("utf-8", "surrogatepass")))
        numbers = first.run(first.state.look("")).numbers
        assert {name: stored.record.decode("utf-8", "surrogatepass") for name, stored in numbers.items()} == {
            name: name for name in owners
        }
        assert set(first.run(first.state.look("a")).numbers) == {"a", "a:"}


@both
@pytest.mark.parametrize("value", [2**63, -(2**63)])
def test_a_number_of_more_than_64_bits_is_an_error(kind: Kind, value: int, server: Server) -> None:
    with node(kind, server.url) as first:
        for work in (first.state.set("halt", value), first.state.lift("halt", value)):
            with pytest.raises(ValueError, match="lies between"):
                first.run(work)
        first.run(first.state.set("halt", 2**63 - 1))
        assert first.commit(Below(("halt",), 2**63 - 1)).failed
        assert not first.commit(Below(("halt",), 2**63)).failed


# the wire


def test_a_commit_alone_is_one_round_trip_and_many_at_once_are_few_writes(server: Server) -> None:
    quota = Quota("orders", (Limit(10**6, SECOND), Limit(10**6, 86_400 * SECOND)), 1)

    async def ask(state: Redis, number: int) -> None:
        conditions: list[Condition] = [Once(("trader", b"%d" % number), FAR), Below(("halt", "ban"), 2), quota]
        assert not (await state.commit(conditions, 0, "r", None)).failed

    async def main(state: Redis) -> tuple[tuple[int, int], int]:
        await ask(state, 0)
        address.reset()
        for number in range(1, 51):
            await ask(state, number)
        alone = address.turns, address.writes
        address.reset()
        await asyncio.gather(*(ask(state, number) for number in range(51, 1_051)))
        state.close()
        return alone, address.writes

    with proxy(server.port) as address:
        alone, together = asyncio.run(main(Redis(address.url, deadline=20, opening=20)))
    assert alone == (50, 50)
    assert together <= 100


@pytest.mark.parametrize("conditions", [0, 1, 8])
def test_a_commit_of_a_thread_is_one_round_trip_however_much_it_asks(conditions: int, server: Server) -> None:
    quotas = [Quota(f"q{number}", (Limit(10**6, SECOND), Limit(5, SECOND, burst=5)), 1) for number in range(conditions)]
    with proxy(server.port) as address, node(BlockingRedis, address.url) as first:
        first.commit()
        address.reset()
        first.commit(*quotas, Below(("halt",), 1))
        assert (address.turns, address.writes) == (1, 1)


def test_threads_at_once_each_have_a_connection_and_share_what_they_count(server: Server) -> None:
    state, won = BlockingRedis(server.url, deadline=20, opening=20), list[int]()

    def work(place: int) -> None:
        for number in range(100):
            if not drive(state.commit([Once(("trader", b"%d" % number), FAR)], 0, f"{place}", None)).failed:
                won.append(number)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state.close()
    assert sorted(won) == list(range(100))


def test_each_event_loop_has_a_connection_of_its_own(server: Server) -> None:
    state = Redis(server.url, deadline=20, opening=20)

    async def use(number: int) -> bool:
        return bool((await state.commit([Once(("trader", b"%d" % number), FAR)], 0, "r", None)).failed)

    assert [asyncio.run(use(number)) for number in (1, 2, 1)] == [False, False, True]
    state.close()


def test_a_caller_that_goes_away_takes_no_other_with_it(server: Server) -> None:
    async def main() -> list[Any]:
        state = Redis(server.url, deadline=20, opening=20)
        tasks = [
            asyncio.create_task(state.commit([Once(("trader", b"%d" % number), FAR)], 0, f"{number}", None))
            for number in range(20)
        ]
        for _ in range(6):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        state.close()
        return results

    results = asyncio.run(main())
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    assert not any(result.failed for result in results[1::2])


FORK = """
import asyncio, os, sys, time
from tradeguard.backends.redis import BlockingRedis, BlockingRedisKeys, Redis
from tradeguard.core.conditions import Once
from tradeguard.core.drive import drive
state = {"Redis": Redis, "BlockingRedis": BlockingRedis}[sys.argv[1]](sys.argv[2], deadline=20, opening=20)
FAR = 4_000_000_000_000_000_000
loop = asyncio.new_event_loop()

def use(number, id):
    work = state.commit([Once(("trader", b"%d" % number), FAR)], 0, id, None)
    return loop.run_until_complete(work) if state.colour == "async" else drive(work)

use(0, "parent")  # before the fork, as gunicorn --preload does
children = []
for child in range(3):
    pid = os.fork()
    if not pid:
        if state.colour == "async":
            loop = asyncio.new_event_loop()
        for number in range(1, 200):
            assert use(0, "child").first == "parent"
            use(number, str(os.getpid()))
        os._exit(0)
    children.append(pid)
for number in range(1, 200):
    use(number, "parent")
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
firsts = [use(number, "late").first for number in range(1, 200)]
assert None not in firsts and "late" not in firsts
print("ok", flush=True)
os._exit(0)
"""


@both
def test_after_a_fork_no_process_reads_what_was_meant_for_another(kind: Kind, server: Server) -> None:
    command = [sys.executable, "-c", FORK, kind.__name__, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "ok\n", done.stderr


# who may connect


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server that speaks TLS beside, on the port in its `url`, and the certificate of its authority."""
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "key.pem", "-out"]
    subprocess.run([*made, "cert.pem", *subject], cwd=folder, check=True, capture_output=True)
    files = ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem"]
    paths = [option if option.startswith("--") else str(folder / option) for option in files]
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", *paths]
    with running(folder / "server", *options) as server:
        server.url = f"rediss://127.0.0.1:{port}/0"
        yield server, folder / "cert.pem"


@both
def test_tls_is_spoken_to_a_server_whose_certificate_is_known(kind: Kind, tls: tuple[Server, Path]) -> None:
    server, certificate = tls
    with node(kind, f"{server.url}?ssl_ca_certs={certificate}") as first:
        assert not first.use(b"%d" % id(first)).failed


@both
def test_a_server_whose_certificate_nobody_vouches_for_is_not_spoken_to(kind: Kind, tls: tuple[Server, Path]) -> None:
    with node(kind, tls[0].url) as first:
        with pytest.raises(BackendDown, match="cannot be reached") as caught:
            first.use(b"1")
        assert not caught.value.unknown


ACL = (
    "on >venue ~{tradeguard:main}:* -@all +evalsha +eval +info +time +hget +hmget +hset +hdel +hlen +hexists +hincrby "
    "+zadd +zrem +zrangebyscore +zrangebylex +get +set +pexpire +llen +lindex +lrange +lset +lrem +ltrim +rpush "
    "+hsetnx"
)


@both
def test_the_printed_acl_is_enough_and_nothing_in_it_is_too_much(kind: Kind, server: Server) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "redis.md").read_text(encoding="utf-8")
    assert f"ACL SETUSER tradeguard {ACL.replace('>venue', '>...')}" in " ".join(page.split())
    url = server.url.replace("//", "//tradeguard:venue@")
    server.run("ACL", "SETUSER", "tradeguard", "reset", *ACL.split())
    exercise(kind, url, server)
    exercise_keys(BlockingRedisKeys(url))
    used = {name.removeprefix("cmdstat_") for name in server.run("INFO", "commandstats")}
    assert {word[1:] for word in ACL.split() if word[0] == "+"} <= used


def exercise_keys(keys: BlockingRedisKeys) -> None:
    """Do all that a table of keys does."""
    drive(keys.put([KeyRow("a", 1, b"print", b"fields", b"sealed", b"mac")]))
    assert drive(keys.get("a")) is not None
    assert drive(keys.holder(b"print")) == "a"
    mark = drive(keys.changes(None)).mark
    assert drive(keys.changes(mark)).ids == ()
    drive(keys.touch({"a": 1}))
    assert drive(keys.uses(["a"])) == {"a": 1}
    assert drive(keys.keep("salt", b"value")) == b"value"
    keys.close()


def exercise(kind: Kind, url: str, server: Server) -> None:
    """Do all that a state does."""
    server.run("SCRIPT", "FLUSH")
    server.run("CONFIG", "RESETSTAT")
    brief = Quota("brief", (Limit(3, 20 * MILLISECOND), Limit(9, SECOND, burst=9)), 1)
    slow = Quota("slow", (Limit(10, 3600 * SECOND),), 1)
    with node(kind, url) as first:
        for number in range(8):
            soon = time.time_ns() + 20 * MILLISECOND
            first.commit(Once(("a", b"%d" % number), soon), Advance(("a", b""), number), brief, slow)
            first.commit(slow, id="r2")
            time.sleep(0.03)  # what is brief has run out, so the next commit clears it away
        two = Quota("two", (Limit(9, 3600 * SECOND),), 2)
        outcome = first.commit(two, id="two")
        assert first.run(first.state.refund(Charge(two, outcome.time, "two"), "one", 1, 0))
        assert first.run(first.state.refund(Charge(two, outcome.time, "two"), "two", 1, 0))
        first.run(first.state.set("halt", 1, time.time_ns() + 5 * MILLISECOND))
        time.sleep(0.01)
        first.run(first.state.set("ban", 1))
        first.run(first.state.lift("ban", 2))
        assert set(first.run(first.state.look("")).numbers) == {"ban"}
        assert first.commit(Below(("ban",), 2)).failed


@both
@pytest.mark.parametrize("trusting", [False, True])
def test_a_server_that_does_not_say_what_it_is_is_used_by_who_takes_that_upon_himself(
    kind: Kind, trusting: bool, server: Server
) -> None:
    server.run("ACL", "SETUSER", "silent", "reset", *ACL.replace("+info ", "").split())
    url = server.url.replace("//", "//silent:venue@")
    with node(kind, url, accept_unknown_server=trusting) as first:
        if trusting:
            assert not first.use(b"1").failed
        else:
            with pytest.raises(ConfigError, match=r"allow INFO to this user.*accept_unknown_server=True"):
                first.use(b"1")


@both
def test_a_user_who_may_not_do_what_the_scripts_do_is_told_so(kind: Kind, server: Server) -> None:
    server.run("ACL", "SETUSER", "poor", "reset", *ACL.replace("+zadd ", "").split())
    with node(kind, server.url.replace("//", "//poor:venue@")) as first:
        with pytest.raises(BackendDown, match=r"NOPERM|answers with an error") as caught:
            first.use(b"1")
        assert caught.value.unknown  # the script had begun


def test_the_first_answer_tells_since_when_the_store_remembers(server: Server) -> None:
    with node(BlockingRedis, server.url) as first, node(BlockingRedis, server.url) as second:
        made = first.state.since
        born = first.commit().time
        assert made < first.state.since == born
        second.commit()
        assert second.state.since == born
