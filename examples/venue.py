"""The example exchange as a process that can be started, stopped and started again over the same data."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exchange import Client


class Venue:
    """The running exchange.

    `since` is from when on its state remembers, ns UTC.

    Args:
        data: the folder of its keys, state and journal.
    """

    def __init__(self, data: Path) -> None:
        self.data, self.port, self.since = data, 0, 0
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
        command += ["--data", str(self.data), "--port", str(self.port)]
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
def run_exchange() -> Iterator[Venue]:
    """Run the exchange over a folder of its own; both are gone at the end."""
    with tempfile.TemporaryDirectory(prefix="tradeguard-demo-") as folder:
        venue = Venue(Path(folder, "data"))
        try:
            venue.start()
            yield venue
        finally:
            venue.stop()
