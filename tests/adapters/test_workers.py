"""Several worker processes, forked before or after the application is loaded: one store, one answer for all of them."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from adapters.workers import open_keys

from tradeguard import TG1, Issuer, Journal, Outgoing, Signer, SQLiteState
from tradeguard.core.drive import drive
from tradeguard.secrets.master import make_master_key

HERE = Path(__file__).parent


def issuer_of(folder: Path) -> Issuer:
    """An operator's own view of the stores."""
    return Issuer(open_keys(folder), Journal(folder / "audit.jsonl"), state=SQLiteState(folder / "state.db", busy=2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_master_key(tmp_path / "master.key")
    return tmp_path


def issue(folder: Path) -> Signer:
    record, secret, _ = drive(issuer_of(folder).issue(actor="ops", owner="acme", scopes=["orders:*"]))
    assert secret is not None
    time.sleep(1.1)  # what was signed within a second of a new store is refused: the store knows nothing older
    return Signer(TG1, record.id, secret)


@contextmanager
def gunicorn(folder: Path, *options: str, app: str = "workers:make_app()") -> Iterator[int]:
    """Run gunicorn over the application until the block ends; give its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        port: int = listener.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", app, "--chdir", str(HERE), "-b", f"fd://{listener.fileno()}",
                   "--log-level", "error", "--no-control-socket", *options]  # fmt: skip
        process = subprocess.Popen(
            command, env={**os.environ, "STORES": str(folder)}, pass_fds=[listener.fileno()], stderr=subprocess.PIPE
        )
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def send(port: int, request: Outgoing) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    fields = {name.decode(): value.decode() for name, value in request.headers}
    connection.request(request.method, request.target.decode(), request.body or None, fields)
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    return status, body


def sign(port: int, signer: Signer) -> Outgoing:
    return signer.sign(Outgoing("GET", f"127.0.0.1:{port}", b"/v1/orders"), time.time_ns())


def ask_workers(port: int, signer: Signer, workers: int) -> Counter[bytes]:
    """Send signed requests until that many workers have answered; count what each did."""
    answered: Counter[bytes] = Counter()
    for _ in range(300):
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: send(port, sign(port, signer)), range(8)))
        assert {status for status, _ in replies} == {200}, replies
        answered.update(body for _, body in replies)
        if len(answered) >= workers:
            return answered
    raise AssertionError(f"only {len(answered)} workers ever answered")


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["each worker loads", "preload"])
def test_of_one_message_sent_to_two_workers_at_once_one_is_served(folder: Path, preload: tuple[str, ...]) -> None:
    signer = issue(folder)
    with gunicorn(folder, "-w", "2", "--threads", "4", *preload) as port:
        ask_workers(port, signer, 2)
        for _ in range(10):
            message = sign(port, signer)
            with ThreadPoolExecutor(8) as pool:
                statuses = Counter(status for status, _ in pool.map(lambda m: send(port, m), [message] * 8))
            assert statuses == {200: 1, 409: 7}


def test_a_revocation_from_outside_stops_every_worker_at_once(folder: Path) -> None:
    signer = issue(folder)
    with gunicorn(folder, "-w", "2", "--threads", "4", "--preload") as port:
        ask_workers(port, signer, 2)
        drive(issuer_of(folder).revoke(signer.key_id, actor="ops"))
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: send(port, sign(port, signer)), range(32)))
        assert {status for status, _ in replies} <= {401, 503}
        assert send(port, sign(port, signer))[0] == 401


def test_what_was_used_before_a_restart_is_refused_after_it(folder: Path) -> None:
    signer = issue(folder)
    with gunicorn(folder, "-w", "1") as port:
        message = sign(port, signer)
        assert send(port, message)[0] == 200
    with gunicorn(folder, "-w", "1") as again:
        moved = message._replace(headers=(*message.headers, (b"host", f"127.0.0.1:{port}".encode())))
        assert send(again, moved)[0] == 409


def test_a_second_worker_on_memory_is_never_served_in_silence(folder: Path) -> None:
    signer = issue(folder)
    with gunicorn(folder, "-w", "2", "--preload", app="workers:make_app('memory')") as port:
        replies = [send(port, sign(port, signer)) for _ in range(60)]
        served = {body for status, body in replies if status == 200}
        refused = [json.loads(body)["code"] for status, body in replies if status != 200]
    assert len(served) == 1
    assert set(refused) <= {"outage.down"}
