"""A real Redis or Valkey server for a test: started on a free port in a folder of its own, and stopped."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from freeport import free_port
from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

PROGRAMS = ["redis-server", *(name for name in ("valkey-server",) if shutil.which(name))]
"""What the tests run: Valkey where it is installed."""
PATIENCE = 20  # seconds until a server must answer


def find(program: str = "redis-server") -> str:
    """Return the path of a server; its absence is a defect where everything is to be tested."""
    found = shutil.which(program)
    if found is None:
        assert os.environ.get("CI") != "true", "redis-server is missing: apt-get install redis-server"
        pytest.skip(f"{program} is not installed: apt-get install {program}")
    return found


class Server:
    """A server that can be stopped, frozen, and started again on its port.

    Args:
        folder: where it keeps its files.
        options: of its command line, beyond those that keep it small and quiet.
        program: which.
    """

    def __init__(self, folder: Path, *options: str, program: str = "redis-server") -> None:
        self.folder, self.options, self.program = folder, options, find(program)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        quiet = [
            "--save",
            "",
            "--logfile",
            str(self.folder / "log"),
            "--daemonize",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        ]
        self.process = subprocess.Popen([*command, *quiet, *self.options], stdout=subprocess.DEVNULL)
        self.wait()

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with self.client() as client:
                    client.ping()
                    return
            except RedisError:
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.01)

    def stop(self) -> None:
        """Kill it: what is not on disk is gone."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it in its tracks: it keeps its connections, and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def client(self, **options: Any) -> Client:
        """Return a client of redis-py, to look inside."""
        return Client(host="127.0.0.1", port=self.port, retry=Retry(NoBackoff(), 0), socket_timeout=PATIENCE, **options)

    def run(self, *command: str) -> Any:
        """Run one command."""
        with self.client() as client:
            return client.execute_command(*command)


@contextlib.contextmanager
def running(folder: Path, *options: str, program: str = "redis-server") -> Iterator[Server]:
    """Run a server until the end of the block."""
    server = Server(folder, *options, program=program)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def told(commands: Sequence[str]) -> str:
    """Return commands as an ACL rule names them."""
    return " ".join(f"+{command}" for command in commands)
