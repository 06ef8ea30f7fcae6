"""Stores on a server: a reference instead of a URL, the form that the host can wait for, the same keys on two hosts."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backends import postgres_server, redis_server
from config.home import Home
from config.test_load import faults
from support import SECRET, TRADER, sign

from tradeguard import ConfigError, Grant, Hmac, KeyRecord, Memory
from tradeguard.backends.postgres import BlockingPostgres, BlockingPostgresKeys, Postgres, PostgresKeys, migrate
from tradeguard.backends.redis import BlockingRedis, BlockingRedisKeys, Redis, RedisKeys
from tradeguard.config import build_guard, check, load_settings, open_sealed, open_state
from tradeguard.config.sections import REFER_URL
from tradeguard.core.commit import Standby
from tradeguard.core.decision import Decision
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown
from tradeguard.core.guard import Guard
from tradeguard.core.runtime import Loop, Threads

PASSWORD = "hunter2"
MAP = """
    [roles]
    trader = ["orders:*"]
    [quotas]
    requests = "3/hour"
    [operations]
    "GET /v1/orders" = "orders:read"
    "POST /v1/orders" = "orders:write"
    "DELETE /v1/orders" = {scopes = "orders:cancel", lane = "cancel"}
    """


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_server.Server]:
    """A Redis of our own."""
    with redis_server.running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The connection string of a PostgreSQL of our own, with our schema."""
    with postgres_server.serving() as server:
        url = server.dsn()
        migrate(url, state=["postgres"], keys=["postgres"])
        yield url


@pytest.fixture(params=["redis", "postgres"])
def url(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A kind of server, and where one is."""
    given: Any = request.getfixturevalue(request.param)
    return request.param, given if isinstance(given, str) else given.url


def served(kind: str, more: str = "", name: str = "") -> str:
    """The sections of a configuration whose keys and state are on a server."""
    named = f'name = "{name}"\n' if name else ""
    return (
        f'[state]\nbackend = "{kind}"\nurl = "env:PLACE"\n{named}nodes = 4\ndeadline_seconds = 2.0\n{more}'
        f'[keys]\nbackend = "{kind}"\nurl = "env:PLACE"\n{named}'
    )


def put_trader(home: Home, environ: dict[str, str]) -> None:
    """Issue the key of `support.TRADER`, as the command line would."""
    keys = open_sealed(load_settings(home.path, environ), environ)
    trader = KeyRecord(id="trader", dialect="tg1", material=Hmac(SECRET), scopes=(), roles={"trader"})
    if drive(keys.find("trader")) is None:
        drive(keys.put([trader]))
    keys.close()


async def ask(guard: Guard, method: str = "GET") -> Decision:
    now = guard.runtime.now()
    return await guard.admit(sign(TRADER, method, b"/v1/orders", at=now, arrived=now))


def brief(decision: Decision) -> str:
    return "" if isinstance(decision, Grant) else decision.code


async def ask_late(guard: Guard) -> str:
    """Ask again as long as the memory is too new: the code of the refusal, or nothing."""
    end = time.monotonic() + 30
    while (code := brief(await ask(guard))) == "commit.barrier":
        assert time.monotonic() < end
        time.sleep(0.02)  # noqa: ASYNC251 - under `drive` there is no loop to give way to
    return code


def name_of(home: Home) -> str:
    """A name for the deployment of one test, so that tests can share a Redis."""
    return "t" + "".join(part for part in home.folder.name.lower() if part.isalnum())[-20:]


def test_a_guard_for_a_loop_and_one_for_threads_share_keys_quotas_and_nonces(home: Home, url: tuple[str, str]) -> None:
    kind, place = url
    home.write(served(kind, name=name_of(home) if kind == "redis" else "") + MAP)
    environ = {"PLACE": place}
    put_trader(home, environ)
    forms: Any = {
        "redis": (Redis, RedisKeys, BlockingRedis, BlockingRedisKeys),
        "postgres": (Postgres, PostgresKeys, BlockingPostgres, BlockingPostgresKeys),
    }[kind]
    threads = build_guard(home.path, environ, blocking=True)
    threads.bind(Threads())
    keys: Any = threads.checks[1]
    assert (type(threads.state), type(keys._keys.source.table)) == (forms[2], forms[3])
    assert [drive(ask_late(threads)) for _ in range(2)] == ["", ""]

    async def main() -> list[str]:
        loop = build_guard(home.path, environ)
        loop.bind(Loop())
        keys: Any = loop.checks[1]
        assert (type(loop.state), type(keys._keys.source.table)) == (forms[0], forms[1])
        said = [await ask_late(loop) for _ in range(2)]
        loop.close()
        return said

    assert asyncio.run(main()) == ["", "quota.exceeded"], "three an hour, whoever is asked"
    threads.close()


@pytest.mark.parametrize(
    ("blocking", "runtime", "cure"),
    [
        (False, Threads(), "hosts with an event loop, and this one has none"),
        (True, Loop(), "hosts without an event loop, and this one has one"),
    ],
)
def test_a_guard_of_the_wrong_form_is_refused_with_the_cure(
    home: Home, redis: redis_server.Server, blocking: bool, runtime: Any, cure: str
) -> None:
    home.write('[state]\nbackend = "redis"\nurl = "env:PLACE"\n' + MAP)
    guard = build_guard(home.path, {"PLACE": redis.url}, blocking=blocking)
    with pytest.raises(ConfigError) as error:
        guard.bind(runtime)
    assert (
        str(error.value) == f"this guard was built for {cure}; build it with build_guard(..., blocking={not blocking})"
    )
    guard.close()


def test_a_file_and_a_variable_lead_to_the_url(home: Home, redis: redis_server.Server) -> None:
    place = home.folder / "secret" / "redis.url"
    place.write_text(redis.url + "\n")
    place.chmod(0o600)
    home.write(f'[state]\nbackend = "redis"\nurl = "file:{place}"\nnodes = 2\n' + MAP)
    loaded = load_settings(home.path, {})
    assert check(loaded, {}) == []
    state = open_state(loaded, {})
    assert drive(state.look("")).numbers == {}
    state.close()
    place.chmod(0o644)
    [line] = check(loaded, {})
    assert line.startswith(f"state.url: URL file {place} has mode 0644: others may use it")
    with pytest.raises(ConfigError, match=r"state\.url: URL file .* has mode 0644"):
        open_state(loaded, {})


def test_a_variable_with_our_prefix_may_hold_the_url(home: Home) -> None:
    home.write('[state]\nbackend = "redis"\nurl = "env:TRADEGUARD_REDIS"\n')
    assert load_settings(home.path, {"TRADEGUARD_REDIS": "redis://x"}).settings.state.url == "env:TRADEGUARD_REDIS"


@pytest.mark.parametrize("section", ["state", "keys"])
def test_a_url_in_the_place_of_a_reference_is_refused_and_never_printed(home: Home, section: str) -> None:
    home.write(f'[{section}]\nbackend = "redis"\nurl = "redis://:{PASSWORD}@db:6379/0"\n')
    [line] = faults(home)
    assert line.startswith(f'{section}.url: is no reference; say where the URL of the server is: "env:NAME"')
    assert PASSWORD not in line


@pytest.mark.parametrize("text", ["", "  \n", "redis://a\nredis://b", "\udcff"])
def test_what_is_no_url_is_refused_and_not_repeated(home: Home, text: str) -> None:
    home.write('[state]\nbackend = "redis"\nurl = "env:PLACE"\n')
    with pytest.raises(ConfigError, match=r"^state\.url: ") as error:
        open_state(load_settings(home.path, {}), {"PLACE": text})
    assert "redis://a" not in str(error.value)
    [line, *_] = check(load_settings(home.path, {}), {})
    assert line == "state.url: environment variable PLACE is not set; put the URL of the server in it"


@pytest.mark.parametrize("kind", ["redis", "postgres"])
@pytest.mark.parametrize("section", ["state", "keys"])
def test_a_password_in_a_wrong_url_is_not_told(home: Home, kind: str, section: str) -> None:
    home.write(f'[{section}]\nbackend = "{kind}"\nurl = "env:PLACE"\n')
    environ = {"PLACE": f"nonsense://me:{PASSWORD}@127.0.0.1:1/x y"}
    with pytest.raises((ConfigError, BackendDown)) as error:
        build_guard(home.path, environ)
    assert PASSWORD not in str(error.value)


def test_the_rules_between_keys_of_a_server_are_told_by_key(home: Home) -> None:
    home.write('[keys]\nbackend = "postgres"\nurl = "env:X"\nname = "no-name"\n')
    assert faults(home) == ["keys.name: must be a to z, 0 to 9 and _, at most 32, and no digit first"]
    home.write("""
        [state]
        url = "env:X"
        nodes = 3
        deadline_seconds = 1.0
        [keys]
        backend = "postgres"
        accept_unknown_server = true
        """)
    assert faults(home) == [
        'state.url: means nothing with backend = "sqlite"; leave it out',
        'state.deadline_seconds: means nothing with backend = "sqlite"; leave it out',
        "state.nodes: belongs to a server that can be lost; leave it out",
        f"keys.url: missing; {REFER_URL}",
        'keys.accept_unknown_server: means nothing with backend = "postgres"; leave it out',
    ]
    home.write('[state]\nbackend = "redis"\nurl = "env:X"\nmeters = 5\n')
    assert faults(home) == ["state.meters: is for sqlite and memory: a server counts as many as it has room for"]


def test_a_server_without_nodes_is_found(home: Home) -> None:
    home.write('[state]\nbackend = "redis"\nurl = "env:X"\n' + MAP)
    [line] = check(load_settings(home.path, {}), {"X": "redis://127.0.0.1:1"})
    assert line.startswith("state.nodes: 0, so nothing passes while the server is lost, cancels neither")


@pytest.mark.parametrize("nodes", [0, 2])
def test_while_the_server_is_lost_reads_and_cancels_pass_where_nodes_are_told(
    home: Home, tmp_path: Path, nodes: int
) -> None:
    with redis_server.running(tmp_path / "redis") as server:
        home.write(f'[state]\nbackend = "redis"\nurl = "env:PLACE"\nnodes = {nodes}\n' + MAP)
        environ = {"PLACE": server.url}
        put_trader(home, environ)
        guard = build_guard(home.path, environ, blocking=True)
        guard.bind(Threads())
        committer: Any = guard._committer
        standby = committer._standby
        if nodes:
            assert isinstance(standby, Standby)
            assert (standby.nodes, type(standby.state)) == (nodes, Memory)
        else:
            assert standby is None
        server.stop()
        codes = [brief(drive(ask(guard, method))) for method in ("POST", "GET", "DELETE")]
        assert "" not in codes, "lost, or behind the barrier"
        if nodes:
            time.sleep(2.1)  # the barrier: nothing is accepted that was signed before the store was lost
        lost = [brief(drive(ask(guard, method))) for method in ("POST", "GET", "DELETE")]
        assert (lost[1:] == ["", ""]) is bool(nodes), lost
        assert lost[0] != ""
        guard.close()


@pytest.mark.parametrize(("kind", "module"), [("redis", "redis"), ("postgres", "psycopg")])
def test_without_its_client_the_error_says_what_to_install(home: Home, kind: str, module: str) -> None:
    home.write(f'[state]\nbackend = "{kind}"\nurl = "env:PLACE"\n')
    code = f"import sys; sys.modules[{module!r}] = None; from tradeguard.config import build_guard; "
    code += f"build_guard({str(home.path)!r}, {{'PLACE': 'x://y'}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert f'pip install "tradeguard[{kind}]"' in done.stderr.splitlines()[-1]


def test_a_key_store_that_does_not_answer_stops_the_start(home: Home) -> None:
    home.write('[keys]\nbackend = "redis"\nurl = "env:PLACE"\n')
    with pytest.raises(BackendDown):
        build_guard(home.path, {"PLACE": "redis://127.0.0.1:1"})


def test_a_master_key_that_is_not_the_one_of_the_server_stops_the_start(
    home: Home, redis: redis_server.Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environ, sections = {"PLACE": redis.url}, '[keys]\nbackend = "redis"\nurl = "env:PLACE"\nname = "other"\n'
    home.write(sections)
    build_guard(home.path, environ).close()
    folder = tmp_path_factory.mktemp("second")
    folder.chmod(0o700)
    second = Home(folder, sections)
    with pytest.raises(ConfigError, match=r"master key [0-9a-f]{8}"):
        build_guard(second.path, environ)
    second.master_key.unlink()
    second.master_key.write_bytes(home.master_key.read_bytes())
    second.master_key.chmod(0o600)
    build_guard(second.path, environ).close()


def test_a_key_that_one_host_issues_is_known_to_another(
    home: Home, redis: redis_server.Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sections = served("redis", name="two_hosts") + MAP
    home.write(sections)
    folder = tmp_path_factory.mktemp("host")
    folder.chmod(0o700)
    other = Home(folder, sections)
    other.master_key.write_bytes(home.master_key.read_bytes())
    environ = {"PLACE": redis.url}
    put_trader(home, environ)
    guard = build_guard(other.path, environ, blocking=True)
    guard.bind(Threads())
    assert drive(ask_late(guard)) == ""
    guard.close()
