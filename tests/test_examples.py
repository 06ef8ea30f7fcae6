"""Every example runs as its reader would run it; the demo's comparison does see a line that differs."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from backends import redis_server
from freeport import free_port

from tradeguard import TG1, Denial, Grant, Signer
from tradeguard.checks.signature import EXPIRED
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown
from tradeguard.signing.signer import Outgoing

pytest.importorskip("fastapi")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SECRET = "a secret of the tests, long enough"
CLIENT = str(EXAMPLES / "tg1_client.py")
MINE = {"account": "acme", "orders": []}  # what the holder of the key demo and ann with her password see


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the examples, as they import each other."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return import_module


def start(name: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / name)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@contextmanager
def run_app(name: str) -> Iterator[int]:
    """Run a small example until the block ends; the port is one that is free."""
    port = free_port()
    process = start(name, PORT=str(port), API_SECRET=SECRET)
    try:
        for _ in range(150):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=20)


def ask(example: Any, port: int, method: str = "GET", body: bytes = b"") -> tuple[bytes, Any]:
    """Send a signed request, again while the application is too young; return its bytes and the answer."""
    client, signer = example("tg1_client"), Signer(TG1, "demo", SECRET.encode())
    request = Outgoing(method, f"127.0.0.1:{port}", b"/orders", client.JSON if body else b"", body)
    for _ in range(5):
        data = client.render(signer.sign(request, time.time_ns()))
        answer = tell(example, port, data)
        if answer.brief != "503 commit.barrier":
            break
        time.sleep(int(answer.headers["retry-after"]))
    return data, answer


def tell(example: Any, port: int, data: bytes) -> Any:
    with example("tg1_client").Wire(port) as wire:
        return wire.ask(data)


@pytest.mark.parametrize("name", ["fastapi_app.py", "flask_app.py", "aiohttp_app.py"])
def test_a_guarded_application_serves_the_key_once_and_no_stranger(example: Any, name: str) -> None:
    pytest.importorskip(name.partition("_")[0])
    with run_app(name) as port:
        data, answer = ask(example, port)
        assert answer.status == 200
        assert json.loads(answer.body) == {"account": "demo", "orders": []}
        assert tell(example, port, data).brief == "409 replay.seen"
        assert tell(example, port, b"GET /orders HTTP/1.1\r\nhost: localhost\r\n\r\n").brief == "401 unauthorized"


def test_a_venue_goes_on_keeping_its_keys_in_its_own_table(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Served, held to what its letters stand for, and seen when the venue disables it."""
    monkeypatch.setenv("VENUE_DATABASE", str(tmp_path / "venue.db"))
    with run_app("venue_keys.py") as port:
        _, answer = ask(example, port)
        assert answer.status == 200
        assert json.loads(answer.body) == {"account": "customer 7", "orders": []}
        assert ask(example, port, "DELETE")[1].brief == "403 scope.missing"
        assert tell(example, port, b"GET /orders HTTP/1.1\r\nhost: localhost\r\n\r\n").brief == "401 unauthorized"
        with sqlite3.connect(tmp_path / "venue.db") as database:
            database.execute("UPDATE api_key SET enabled = 0")
        database.close()
        answers = [ask(example, port)[1].brief for _ in range(2)]
        time.sleep(0.3)  # the cache asks again after 250 ms
        assert ask(example, port)[1].brief == "401 unauthorized"
        assert set(answers) <= {"200", "401 unauthorized"}


def test_an_application_on_its_way_to_signatures_takes_both(example: Any) -> None:
    port = free_port()
    process = start("rollout_app.py", PORT=str(port), API_SECRET=SECRET)
    try:
        assert process.stdout is not None
        by_password = process.stdout.readline()
        pair = re.search(r"curl -u (\S+) ", by_password)
        assert pair is not None
        old = b"GET %s HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic " + b64encode(pair[1].encode()) + b"\r\n\r\n"
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        _, answer = ask(example, port)
        assert json.loads(answer.body) == json.loads(tell(example, port, old % b"/orders").body) == MINE
        assert tell(example, port, old % b"/balances").brief == "401 unauthorized"  # it has moved
        assert tell(example, port, b"GET /orders HTTP/1.1\r\nhost: localhost\r\n\r\n").brief == "401 server"
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_venues_table_that_does_not_answer_is_an_outage_and_not_an_unknown_key(example: Any) -> None:
    venue_keys = example("venue_keys")
    assert drive(venue_keys.keys.find("demo")).principal.account == "customer 7"
    assert drive(venue_keys.keys.find("nobody")) is None
    venue_keys.database.execute("DROP TABLE api_key")
    with pytest.raises(BackendDown, match="the table of keys: no such table"):
        drive(venue_keys.keys.find("someone"))


@pytest.mark.parametrize(
    ("body", "brief"),
    [
        (b'{"quantity": 100}', "200"),
        (b'{"quantity": 0.5}', "200"),
        (b'{"quantity": -1}', "403 ceiling.above"),
        (b'{"quantity": 1e999}', "403 ceiling.above"),
        (b'{"quantity": 101}', "403 ceiling.above"),
        (b'{"quantity": []}', "403 ceiling.above"),
        (b"not json", "403 ceiling.above"),
    ],
)
def test_a_custom_check_judges_by_the_body(example: Any, ceiling: int, body: bytes, brief: str) -> None:
    _, answer = ask(example, ceiling, "POST", body)
    assert answer.brief == brief
    if brief == "200":
        assert json.loads(answer.body) == {"placed": True}
    else:
        assert answer.problem["ceiling"] == 100
        assert answer.problem["executed"] is False


@pytest.fixture(scope="module")
def ceiling() -> Iterator[int]:
    with run_app("custom_check.py") as port:
        yield port


def test_the_client_says_how_it_is_used() -> None:
    ended = subprocess.run([sys.executable, CLIENT], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "API_SECRET" in ended.stderr


def test_the_client_names_a_server_that_is_not_there() -> None:
    url = f"http://127.0.0.1:{free_port()}/orders"
    ended = subprocess.run(
        [sys.executable, CLIENT, "GET", url],
        env={**os.environ, "API_KEY": "demo", "API_SECRET": SECRET},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert "refused" in ended.stderr
    assert "Traceback" not in ended.stderr


def serve_once(*answers: bytes, close: bool = True) -> tuple[threading.Thread, int]:
    """Listen on a free port for one connection, and give its requests these answers, byte for byte."""
    sock = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with sock, sock.accept()[0] as connection:
            for answer in answers:
                connection.recv(65_536)
                connection.sendall(answer)
            if not close:
                connection.recv(1)  # until the client goes

    thread = threading.Thread(target=serve)
    thread.start()
    return thread, sock.getsockname()[1]


@pytest.mark.parametrize(
    ("head", "close", "body"),
    [
        ("200 OK", True, "all of it, until the server closes"),
        ("200 OK\r\nContent-Length: 3", False, "all"),
        ("200 OK\r\nContent-Length: 0", False, ""),
        ("204 No Content", False, ""),
        ("304 Not Modified", False, ""),
        ("200 OK\r\nTransfer-Encoding: chunked", False, "3;x=y\r\nall\r\n1\r\n!\r\n0\r\nA: trailer\r\n\r\n"),
    ],
)
def test_the_client_reads_an_answer_to_its_end(example: Any, head: str, close: bool, body: str) -> None:
    thread, port = serve_once(f"HTTP/1.1 {head}\r\n\r\n{body}".encode(), close=close)
    answer = tell(example, port, b"GET / HTTP/1.1\r\n\r\n")
    thread.join(20)
    assert answer.body == (b"all!" if "chunked" in head else body.encode())
    assert answer.status == int(head[:3])


@pytest.mark.parametrize("chunks", ["", "5\r\nhal", "x\r\n", "2\r\nhi\r\n"])
def test_an_answer_that_breaks_off_between_its_chunks_is_none(example: Any, chunks: str) -> None:
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    thread, port = serve_once((head + chunks).encode())
    assert tell(example, port, b"GET / HTTP/1.1\r\n\r\n").brief == "no answer"
    thread.join(20)


def test_the_client_finds_the_next_answer_behind_the_one_before(example: Any) -> None:
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    thread, port = serve_once(chunks, b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n\r\nno")
    with example("tg1_client").Wire(port) as wire:
        answers = [wire.ask(b"GET / HTTP/1.1\r\n\r\n") for _ in range(3)]
    thread.join(20)
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"hi"), (204, b""), (404, b"no")]


@pytest.fixture(scope="module")
def demo() -> dict[str, Any]:
    """Run the whole demo with SERVE=1, run the commands that it prints, then stop it as Ctrl-C does."""
    pytest.importorskip("ccxt")
    process = start("demo.py", SERVE="1")
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "tg1_client.py GET" in line:
                break
        commands = "".join(lines).partition("To talk to it:\n")[2]
        said = ""
        if shutil.which("openssl") and shutil.which("curl"):
            said = subprocess.run(
                ["bash", "-c", commands], capture_output=True, text=True, timeout=60, check=False
            ).stdout
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    finally:
        process.terminate()
        process.wait(timeout=30)
    return {"table": "".join(lines), "said": said, "rest": output, "errors": errors, "status": process.returncode}


def test_the_demo_ends_with_every_line_as_expected(demo: dict[str, Any]) -> None:
    assert demo["status"] == 0, demo["table"] + demo["errors"]
    assert re.search(r"^0 of \d+ lines differ", demo["table"], re.MULTILINE)
    assert "DIFFERS" not in demo["table"]


def test_the_demo_has_a_line_for_each_attack(demo: dict[str, Any]) -> None:
    for sent in (
        "ccxt: balance", "ccxt: place", "ccxt: cancel", "body changed", "a query added", "path changed", "sent again",
        "held open", "its time over", "refused order sent again", "signed 6 s ago", "unknown key", "may only read",
        "outside the key's networks", "timestamp twice", "%77ithdraw", "X-HTTP-Method-Override", "TRACE", "gzip",
        "2 MiB", "two Hosts", "Content-Length and Transfer-Encoding", "orders in the book", "started again",
        "a key from before", "overlap begun", "suspended a moment ago", "revoked a moment ago",
        "read in the key store", "20 orders at once", "a cancellation meanwhile",
        "after half of that", "after all of it",
    ):  # fmt: skip
        assert sent in demo["table"]


def test_the_demo_over_a_redis_of_its_own_ends_with_every_line_as_expected_and_leaves_none() -> None:
    pytest.importorskip("ccxt")
    redis_server.find()
    with tempfile.TemporaryDirectory() as folder:
        process = start("demo.py", STATE="redis", TMPDIR=folder)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, output + errors
        assert re.search(r"^0 of \d+ lines differ", output, re.MULTILINE)
        assert list(Path(folder).iterdir()) == []
        assert [line for line in command_lines() if folder.encode() in line] == []


def command_lines() -> Iterator[bytes]:
    """Of all processes of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            yield path.read_bytes()


@pytest.mark.parametrize(("state", "says"), [("mysql", "STATE is redis or sqlite"), ("redis", "apt-get install")])
def test_a_state_that_the_demo_cannot_have_is_named_and_exits_with_2(state: str, says: str) -> None:
    pytest.importorskip("ccxt")
    process = start("demo.py", STATE=state, PATH=str(Path(sys.executable).parent))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert says in errors
    assert "Traceback" not in errors


def test_the_demo_shows_the_operators_reason_which_the_caller_did_not_see(demo: dict[str, Any]) -> None:
    seen, operator = demo["table"].partition("the operator sees")[::2]
    assert "the caller sees    401 unauthorized" in seen
    assert '"code": "signature.unknown"' in operator


def test_the_demo_writes_no_colour_into_a_file(demo: dict[str, Any]) -> None:
    assert "\033" not in demo["table"]


def test_ctrl_c_ends_the_served_demo_without_a_trace(demo: dict[str, Any]) -> None:
    assert "Traceback" not in demo["errors"] + demo["rest"]


def test_the_commands_that_the_served_demo_prints_work_as_they_stand(demo: dict[str, Any]) -> None:
    if not (shutil.which("openssl") and shutil.which("curl")):
        pytest.skip("curl and openssl are not here")
    said = demo["said"]
    assert '"time":' in said
    assert '"accountType":"SPOT"' in said
    assert '"account":"acme"' in said


@pytest.mark.parametrize(
    ("expected", "happened", "holds"),
    [
        ("401 unauthorized", "401 unauthorized", True),
        ("401 unauthorized", "401 freshness.stale", False),
        ("401 unauthorized", "401", False),
        ("401 unauthorized", "", False),
        ("201", "no answer", False),
        ("400 frame.host | 400 server", "400 server", True),
        ("400 frame.host | 400 server", "400 frame.host", True),
        ("400 frame.host | 400 server", "400", False),
    ],
)
def test_a_line_holds_only_if_what_happened_was_expected(
    example: Any, expected: str, happened: str, holds: bool
) -> None:
    assert example("attacks").Line("a request", expected, happened).holds is holds


def test_one_line_that_differs_makes_the_demo_fail(
    example: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    demo, line = example("demo"), example("attacks").Line
    good, bad = line("a request", "201", "201"), line("an attack", "401 unauthorized", "201")
    assert demo.conclude({"part": [good]}, []) == 0
    assert demo.conclude({"one": [good], "other": [good, bad]}, []) == 1
    assert "1 of 3 lines differ" in capsys.readouterr().out


def test_the_table_marks_the_line_that_differs(example: Any) -> None:
    demo, line = example("demo"), example("attacks").Line
    parts = {"part": [line("a request", "201", "201"), line("an attack", "401 unauthorized", "201")]}
    good, bad = demo.render_table(parts, colour=False).splitlines()[-2:]
    assert good.split() == ["a", "request", "201", "201", "ok"]
    assert bad.split() == ["an", "attack", "401", "unauthorized", "201", "DIFFERS"]
    assert "\033[31mDIFFERS\033[0m" in demo.render_table(parts, colour=True)


def run_changed(folder: Path, old: str, new: str) -> subprocess.CompletedProcess[str]:
    """Run the demo against an exchange of which one piece of text is changed."""
    for file in EXAMPLES.glob("*.py"):
        shutil.copy(file, folder)
    exchange = folder / "exchange.py"
    text = exchange.read_text()
    assert text.count(old) == 1
    exchange.write_text(text.replace(old, new))
    command = [sys.executable, str(folder / "demo.py")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_demo_against_an_exchange_that_forgets_shows_the_executed_replays_and_exits_with_1(tmp_path: Path) -> None:
    pytest.importorskip("ccxt")
    ended = run_changed(tmp_path, "Halt(halts), Replay(), QUOTAS],", 'Halt(halts), QUOTAS], without=("replay",),')
    assert ended.returncode == 1, ended.stderr
    differing = [line for line in ended.stdout.splitlines() if line.endswith("DIFFERS")]
    assert any("connections at once" in line and "20 x 201" in line for line in differing)
    assert any("as a cancellation" in line for line in differing)


@pytest.mark.parametrize("name", ["tradeguard", "fastapi", "ccxt"])
def test_a_demo_without_what_it_needs_names_it_and_exits_with_2(tmp_path: Path, name: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{name!r}] = None\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(EXAMPLES / "demo.py")]
    environment = {**os.environ, "PYTHONPATH": path}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert ended.returncode == 2
    assert f"demo: import of {name} halted" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("denial", [None, Denial(EXPIRED)])
def test_the_exchange_looks_at_the_grant_again_before_it_touches_the_book(example: Any, denial: Denial | None) -> None:
    exchange, book = example("exchange"), object()
    app = SimpleNamespace(state=SimpleNamespace(book=book))
    request = exchange.Request({"type": "http", "app": app})
    grant = Grant("an id", None, lambda: denial)
    if denial is None:
        assert asyncio.run(exchange.find_book(request, grant)) is book
        return
    with pytest.raises(exchange.HTTPException) as refused:
        asyncio.run(exchange.find_book(request, grant))
    assert refused.value.status_code == 403


def test_a_demo_that_cannot_start_its_exchange_says_so_and_exits_with_2(tmp_path: Path) -> None:
    ended = run_changed(tmp_path, "def main() -> None:", "def no_main() -> None:")
    assert ended.returncode == 2
    assert "demo: it could not be carried through" in ended.stderr
