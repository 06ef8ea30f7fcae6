"""The example exchange as a process that can be started, stopped and started again over the same data."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from exchange import Client


class Venue:
    """The running exchange.

    `since` is from when on its state remembers, ns UTC.

    Args:
        data: the folder of its keys, state and journal.
        redis: the URL of the server that has the state instead; empty for none.
    """

    def __init__(self, data: Path, redis: str = "") -> None:
        self.data, self.redis, self.port, self.since = data, redis, 0, 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def journal(self) -> Path:
        """The file of events."""
        return self.data / "audit.jsonl"

    @property
    def clients(self) -> dict[str, Client]:
        """What the holders of keys were given."""
        given = json.loads((self.data / "clients.json").read_text())
        return {name: Client(*client) for name, client in given.items()}

    def start(self) -> None:
        """Start it, on a free port the first time and on the same one again; Ctrl-C is for us alone."""
        command = [sys.executable, str(Path(__file__).with_name("exchange.py")), "--quiet"]
        command += ["--data", str(self.data), "--port", str(self.port), "--redis", self.redis]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stdout is not None  # it is a pipe
        ready = self._process.stdout.readline()
        if not ready:
            raise RuntimeError("the exchange did not start; its own words are above")
        where = json.loads(ready)
        self.port, self.since = where["port"], where["since"]

    def stop(self) -> None:
        """Stop it as a supervisor does, and wait for its end."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
            self._process = None

    def wait(self) -> None:
        """Wait until somebody stops it."""
        if self._process is not None:
            self._process.wait()


@contextmanager
def run_exchange(state: str = "") -> Iterator[Venue]:
    """Run the exchange over a folder of its own; both are gone at the end.

    Args:
        state: "redis" for a server of our own that has the state; empty for a file.
    """
    if state not in ("", "sqlite", "redis"):
        raise ValueError(f"STATE is redis or sqlite, not {state}")
    with tempfile.TemporaryDirectory(prefix="tradeguard-demo-") as folder, ExitStack() as running:
        redis = running.enter_context(run_redis(Path(folder))) if state == "redis" else ""
        venue = Venue(Path(folder, "data"), redis)
        running.callback(venue.stop)
        venue.start()
        yield venue


@contextmanager
def run_redis(folder: Path) -> Iterator[str]:
    """Run a Redis or Valkey server on a unix socket in a folder; give its URL, and end it."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise FileNotFoundError("redis-server is not installed: apt-get install redis-server")
    path = folder / "redis.sock"
    settings = {"port": "0", "unixsocket": path, "unixsocketperm": "700", "dir": folder, "appendonly": "yes"}
    command = [program, *(str(part) for name, value in settings.items() for part in (f"--{name}", value))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + 20
        while not path.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("redis-server did not start")
            time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait()
