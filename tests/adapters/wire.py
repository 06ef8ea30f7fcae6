"""The servers of hosts.py, and the client of the suite of hosts to talk to them."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tradeguard.testing.wire import Host, Reply, exchange, head, read_reply, send, signed, wait_until_ready

__all__ = ["Host", "Reply", "exchange", "head", "read_reply", "running", "send", "signed", "wait_until_ready"]


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[Host]:
    """Run a server of hosts.py until the end of the block."""
    journal = folder / "audit.jsonl"
    script = Path(__file__).with_name("hosts.py")
    process = subprocess.Popen([sys.executable, script, name, journal], stdout=subprocess.PIPE, env=os.environ.copy())
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{name} did not start"
        host = Host(name, int(line), journal)
        wait_until_ready(host)
        yield host
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
