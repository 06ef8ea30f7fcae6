"""LimitsQuotas: real storages of the `limits` library, asked through the port; what it cannot do it says."""

import asyncio
import inspect
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tradeguard.backends.limits import LimitsQuotas
from tradeguard.backends.memory import Memory
from tradeguard.backends.split import Split
from tradeguard.core.conditions import LARGEST, NEVER, Below, Charge, Condition, Limit, Once, Outcome, Quota
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.ports import State

T = TypeVar("T")
SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
WINDOWS = (Limit(3, HOUR), Limit(100_000, 24 * HOUR))
QUOTA = Quota("orders:ann", WINDOWS, 1)


def redis_server() -> str:
    """Where redis-server is. It may be absent on a developer's machine, never in CI."""
    pytest.importorskip("redis")
    found = shutil.which("redis-server")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI has no redis-server: apt-get install redis-server")
        pytest.skip("redis-server is not installed")
    return found


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A redis-server of our own, on a socket in a folder of its own."""
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "redis.sock"
    command = [redis_server(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not _answers(path):
            assert server.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)
        yield f"redis+unix://{path}"
    finally:
        server.terminate()
        server.wait()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        client.sendall(b"PING\r\n")
        return client.recv(100).startswith(b"+PONG")


class Asked:
    """A store, and how its answers are waited for."""

    def __init__(self, uri: str, **options: Any) -> None:
        self.runner = asyncio.Runner()
        self.quotas = self.wait(_make(uri, options))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def settle(self, *conditions: Condition, **other: Any) -> Outcome:
        return self.wait(self.quotas.commit(conditions, time.time_ns(), "r", other.pop("seen", None), **other))

    def used(self, quota: Quota = QUOTA) -> list[int]:
        return [use.used for use in self.settle(quota._replace(cost=0)).usage[quota.key]]

    def close(self) -> None:
        storage: Any = self.quotas._fixed.storage
        self.wait(_reset(storage))
        self.runner.close()


async def _make(uri: str, options: dict[str, Any]) -> LimitsQuotas:
    return LimitsQuotas(uri, **options)


async def _reset(storage: Any) -> None:
    """Empty a storage, and end what the library leaves open."""
    client = getattr(getattr(storage, "bridge", storage), "storage", None)
    close = getattr(client, "aclose", None) or getattr(client, "close", None)
    for work in (storage.reset, *filter(None, [close])):
        answer = work()
        if inspect.isawaitable(answer):
            await answer
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@pytest.fixture(params=["memory", "async+memory", "redis", "async+redis"])
def asked(request: pytest.FixtureRequest) -> Iterator[Asked]:
    uri = f"{request.param}://"
    options: dict[str, Any] = {}
    if "redis" in request.param:
        url = request.getfixturevalue("redis_url")
        uri = url if request.param == "redis" else f"async+{url}"
        options = {} if request.param == "redis" else {"implementation": "redispy"}
    made = Asked(uri, **options)
    yield made
    made.close()


def test_its_colour_says_how_it_waits(asked: Asked) -> None:
    scheme = asked.quotas._name
    expected = "async" if "async" in scheme else "blocking" if "redis" in scheme else "instant"
    assert asked.quotas.colour == expected
    assert asked.quotas.supports == {Quota}


def test_a_quota_is_spent_until_nothing_is_left_and_says_when_there_is_more(asked: Asked) -> None:
    for number in range(1, 4):
        outcome = asked.settle(QUOTA)
        assert not outcome.failed
        assert [use.used for use in outcome.usage[QUOTA.key]] == [number, number]
    outcome = asked.settle(QUOTA)
    assert outcome.failed == (QUOTA,)
    assert outcome.time < outcome.ready == outcome.usage[QUOTA.key][0].fewer <= outcome.time + HOUR + SECOND
    assert asked.used() == [3, 3]  # who is refused at first sight spends nothing
    assert asked.settle(QUOTA._replace(cost=4)).ready == NEVER


def test_cost_zero_only_looks(asked: Asked) -> None:
    outcome = asked.settle(QUOTA._replace(cost=0))
    assert (outcome.failed, outcome.ready) == ((), 0)
    assert outcome.usage == {QUOTA.key: ((0, 0), (0, 0))}


def test_of_a_denied_request_only_a_binding_quota_is_spent(asked: Asked) -> None:
    binding = Quota("attempts", WINDOWS, 1, binding=True)
    assert not asked.settle(QUOTA, binding, denied=True).failed
    assert (asked.used(), asked.used(binding)) == ([0, 0], [1, 1])
    refused = Quota("refused", WINDOWS, 4)
    assert asked.settle(refused, QUOTA, binding).failed == (refused,)
    assert (asked.used(), asked.used(binding)) == ([0, 0], [2, 2])


def test_a_shadow_never_refuses_and_is_counted_apart(asked: Asked) -> None:
    shadow = QUOTA._replace(enforced=False)
    for _ in range(5):
        assert not asked.settle(shadow).failed
    assert not asked.settle(shadow._replace(cost=LARGEST)).failed
    assert asked.used(shadow) == [3, 3]  # not above its limit
    assert asked.used() == [0, 0]


def test_many_at_once_never_get_more_than_the_limit(asked: Asked) -> None:
    async def gather() -> list[Outcome]:
        work = [asked.quotas.commit([QUOTA], time.time_ns(), "r", None) for _ in range(50)]
        return await asyncio.gather(*work)

    if asked.quotas.colour == "async":
        admitted = [outcome for outcome in asked.wait(gather()) if not outcome.failed]
    else:
        admitted = _race(asked.quotas)
    assert 1 <= len(admitted) <= 3
    assert asked.used()[0] <= 3


def _race(quotas: State) -> list[Outcome]:
    admitted: list[Outcome] = []

    def spend() -> None:
        for _ in range(10):
            outcome = drive(quotas.commit([QUOTA], time.time_ns(), "r", None))
            admitted.extend([] if outcome.failed else [outcome])

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return admitted


@pytest.mark.parametrize("key", ["", "a/3/3600/second", "a\x00b", "a b", "'", "k" * 10_000, "\ud800", "shadow:a"])
def test_keys_of_any_text_are_told_apart(asked: Asked, key: str) -> None:
    quota, others = QUOTA._replace(key=key), [QUOTA._replace(key=other) for other in ("a", "quota:", key + "\x00")]
    assert not asked.settle(quota).failed
    assert asked.used(quota) == [1, 1]
    assert [asked.used(other) for other in others] == [[0, 0]] * 3


def test_a_large_cost_takes_no_memory_of_its_size(asked: Asked) -> None:
    quota = Quota("huge", (Limit(LARGEST, HOUR),), LARGEST)
    assert not asked.settle(quota).failed
    assert asked.settle(quota).failed == (quota,)
    assert asked.used(quota) == [LARGEST]


def test_nothing_is_given_back(asked: Asked) -> None:
    charge = Charge(QUOTA, asked.settle(QUOTA).time, "r")
    assert asked.wait(asked.quotas.refund(charge, "fill", 1, time.time_ns())) is False
    with pytest.raises(ValueError, match="a refund gives at least 1 unit back"):
        asked.wait(asked.quotas.refund(charge, "fill", 0, time.time_ns()))
    assert asked.used() == [1, 1]


def test_it_keeps_no_numbers_and_says_so_rather_than_that_there_are_none(asked: Asked) -> None:
    for work in (asked.quotas.set("halt", 1), asked.quotas.lift("halt", 1), asked.quotas.look("halt")):
        with pytest.raises(TypeError, match=r"keeps no numbers: join it .* Split\(state, quotas\)"):
            asked.wait(work)


@pytest.mark.parametrize("condition", [Once(("ann", b"1"), 2**62), Below(("halt",), 1)])
def test_what_it_cannot_settle_is_an_error_and_nothing_is_spent(asked: Asked, condition: Condition) -> None:
    with pytest.raises(TypeError, match="LimitsQuotas cannot settle"):
        asked.settle(QUOTA, condition)
    assert asked.used() == [0, 0]


@pytest.mark.parametrize("limit", [Limit(1, SECOND // 2), Limit(1, SECOND, burst=2), Limit(1, SECOND + 1)])
def test_a_window_that_the_library_does_not_have_is_an_error_and_nothing_is_spent(asked: Asked, limit: Limit) -> None:
    with pytest.raises(ValueError, match="windows of whole seconds, and none that pace"):
        asked.settle(QUOTA, Quota("other", (limit,), 1))
    assert asked.used() == [0, 0]


def test_a_node_that_has_seen_another_store_is_behind(asked: Asked) -> None:
    assert asked.settle(QUOTA, seen=("another", 0)).behind
    outcome = asked.settle(QUOTA._replace(cost=0))
    assert not asked.settle(QUOTA, seen=(outcome.epoch, outcome.version)).behind
    assert asked.used() == [1, 1]


def test_with_a_state_beside_it_everything_is_settled(asked: Asked) -> None:
    split, once = Split(Memory(since=1), asked.quotas), Once(("ann", b"1"), NEVER)
    for expected in ((), (once,), (once,)):
        assert asked.wait(split.commit([once, QUOTA], time.time_ns(), "r", None)).failed == expected
    assert asked.used() == [1, 1]


def test_a_storage_that_is_down_is_an_outage_of_unknown_effect(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    quotas = LimitsQuotas(f"redis+unix://:s3cret@{tmp_path}/nowhere.sock")
    with pytest.raises(BackendDown, match="limits storage 'redis\\+unix' does not answer") as caught:
        drive(quotas.commit([QUOTA], 1, "r", None))
    assert caught.value.unknown
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["nosuch://user:s3cret@host", "", "redis"])
def test_a_storage_that_the_library_does_not_know_is_named_without_its_secret(uri: str) -> None:
    with pytest.raises(ConfigError, match="unknown; name one that limits knows") as caught:
        LimitsQuotas(uri)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__
