"""A PostgreSQL server of our own (and PgBouncer before it): in a folder, on a free port, stopped at the end.

PostgreSQL refuses to run as root: where the tests do, it runs as the user `postgres` that Debian's package brings.
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from freeport import free_port

from tradeguard.backends.postgres import BlockingPostgres, BlockingPostgresKeys, Postgres, PostgresKeys, migrate
from tradeguard.backends.postgres.wire import integer
from tradeguard.core.conditions import Charge, Condition, Outcome, Seen

NUMBER = count()
_PATIENCE = 30.0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def find(program: str) -> str:
    """Where a program is. It may be absent on a developer's machine, never in CI."""
    debian = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{program}"), key=lambda path: int(path.split("/")[4]))
    found = debian[-1] if debian else shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        package = "pgbouncer" if program == "pgbouncer" else "postgresql"
        assert os.environ.get("CI") != "true", f"{program} is missing: apt-get install {package}"
        pytest.skip(f"{program} is not installed: apt-get install {package}")
    return found


def user() -> str | None:
    """As whom servers run: None for the user of the tests."""
    return "postgres" if os.getuid() == 0 else None


def run(*command: str) -> None:
    """Run a program to its end, as the servers' user."""
    done = subprocess.run(command, user=user(), cwd="/", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


class Server:
    """One server. `settings` are for its command line."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.port, self._settings = folder, free_port(), settings
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str = "postgres", user: str = "postgres", port: int | None = None) -> str:
        """The connection string of a database."""
        return f"host=127.0.0.1 port={port or self.port} user={user} dbname={database} gssencmode=disable"

    def create(self) -> None:
        """Make its files."""
        run(find("initdb"), "-D", str(self.folder), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
                    "fsync": "off", "autovacuum_naptime": "5s", **self._settings}  # fmt: skip
        options = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [find("postgres"), "-D", str(self.folder), *options], user=user(), cwd="/", stdout=log, stderr=log
            )
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self.dsn(), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, log.name
                assert time.monotonic() < end, log.name
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all sessions, SIGQUIT is a crash."""
        if self._process is not None:
            self.freeze(thaw=True)
            self._process.send_signal(how)
            self._process.wait(_PATIENCE)
            self._process = None

    def freeze(self, *, thaw: bool = False) -> None:
        """Stop or wake all its processes, with SIGSTOP."""
        assert self._process is not None
        what = signal.SIGCONT if thaw else signal.SIGSTOP
        for pid in (self._process.pid, *_children(self._process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, what)

    def database(self) -> str:
        """Make an empty database; return its name."""
        name = f"test_{next(NUMBER)}"
        self.run(f"CREATE DATABASE {name}")
        return name

    def run(self, query: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as the owner of everything."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in tasks.split()]


@contextmanager
def make_folder() -> Iterator[Path]:
    """A folder that the servers' user may write to; gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tradeguard-postgres-"))
    if user() is not None:
        entry = pwd.getpwnam("postgres")
        os.chown(folder, entry.pw_uid, entry.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving(**settings: str) -> Iterator[Server]:
    """A server that runs."""
    find("postgres")
    with make_folder() as folder:
        server = Server(folder / "data", **settings)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def bouncing(server: Server, database: str, size: int = 2) -> Iterator[str]:
    """PgBouncer in transaction mode before a database; return its connection string."""
    program, port = find("pgbouncer"), free_port()
    with make_folder() as folder:
        (folder / "users.txt").write_text('"postgres" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{database} = host=127.0.0.1 port={server.port} dbname={database}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {folder}/users.txt\npool_mode = transaction\ndefault_pool_size = {size}\n"
        )
        process = subprocess.Popen(
            [program, "-q", str(folder / "pgbouncer.ini")], user=user(), cwd="/", stderr=subprocess.DEVNULL
        )
        try:
            end = time.monotonic() + _PATIENCE
            while not _listens(port):
                assert process.poll() is None, "PgBouncer does not start"
                assert time.monotonic() < end, "PgBouncer does not answer"
                time.sleep(0.02)
            yield server.dsn(database, port=port)
        finally:
            process.terminate()
            process.wait(_PATIENCE)


TOLD = """
CREATE TABLE tradeguard.told (at bigint NOT NULL);
INSERT INTO tradeguard.told VALUES (0);
CREATE OR REPLACE FUNCTION tradeguard.clock() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT at FROM tradeguard.told $$;
CREATE FUNCTION tradeguard.tell(p_patience bigint, p_at bigint) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS
$$ UPDATE tradeguard.told SET at = p_at WHERE at < p_at; SELECT 0::bigint $$;
"""
"""The functions with their one clock replaced by a time that they are told."""

EMPTY = """
DELETE FROM room; DELETE FROM held; DELETE FROM once; DELETE FROM top; DELETE FROM number; DELETE FROM meter;
DELETE FROM spent; DELETE FROM given; DELETE FROM key; DELETE FROM used; DELETE FROM kept; DELETE FROM birth;
UPDATE store SET version = 0; UPDATE keystore SET number = 0;
INSERT INTO birth VALUES (true, gen_random_uuid());
INSERT INTO room SELECT slot, 0, 0, 0 FROM generate_series(0, 31) AS slot;
"""
"""What makes a store as good as new, and another one."""


class _Told:
    """Tells the database the time before each commit and refund."""

    server: Server
    database: str
    _server: Any

    async def commit(
        self,
        conditions: Iterable[Condition],
        at: int,
        request_id: str,
        seen: Seen | None,
        denied: bool = False,
        reserve: bool = False,
    ) -> Outcome:
        await self._tell(at)
        parent: Any = super()
        outcome: Outcome = await parent.commit(conditions, at, request_id, seen, denied, reserve)
        return outcome

    async def refund(self, charge: Charge, item: str, units: int, at: int) -> bool:
        await self._tell(at)
        parent: Any = super()
        return bool(await parent.refund(charge, item, units, at))

    async def _tell(self, at: int) -> None:
        await self._server.ask(b"SELECT * FROM tradeguard.tell($1,$2)", (integer(1), integer(at)))

    def __len__(self) -> int:
        [(held,)] = self.server.run("SELECT sum(nonces) FROM tradeguard.room", self.database)
        return int(str(held))


class ToldPostgres(_Told, Postgres):
    """Async, told the time."""


class ToldBlockingPostgres(_Told, BlockingPostgres):
    """Blocking, told the time."""


class Stores:
    """Stores in one database, one after the other: each new one is empty, and ends the one before."""

    def __init__(self, server: Server) -> None:
        self.server, self.database = server, server.database()
        migrate(server.dsn(self.database))
        server.run(TOLD, self.database)
        self._last: Postgres | BlockingPostgres | PostgresKeys | BlockingPostgresKeys | None = None

    def make(self, kind: type[ToldPostgres] | type[ToldBlockingPostgres], **limits: Any) -> Any:
        """An empty state."""
        self._empty()
        state = self._last = kind(self.server.dsn(self.database), deadline=20, **limits)
        state.server, state.database = self.server, self.database
        return state

    def make_keys(self, kind: type[PostgresKeys] | type[BlockingPostgresKeys]) -> Any:
        """An empty store of keys."""
        self._empty()
        self._last = kind(self.server.dsn(self.database), deadline=20)
        return self._last

    def close(self) -> None:
        """Let go of the last one."""
        if self._last is not None:
            self._last.close()
            self._last = None

    def _empty(self) -> None:
        self.close()
        self.server.run(f"SET search_path = tradeguard; UPDATE told SET at = 0; {EMPTY}", self.database)
