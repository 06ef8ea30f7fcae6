"""An empty environment, the built wheel, and the pages as they are printed: the first guarded request is answered."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from adapters.test_native_quickstart import NAMES, WAIT, count, read_page
from freeport import free_port
from newcomer.newcomer import MOST_COMMANDS, MOST_SECONDS, ROOT, Newcomer, Typed, build_wheel

pytestmark = pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")
README = (ROOT / "README.md").read_text()
FIRST = "starlette"  # the one of each run; the others take 20 seconds each
# What README leaves to the reader: the client's last line, which sends what it has signed.
SEND = """
import urllib.request
request = urllib.request.Request("http://127.0.0.1:{port}/v1/orders", b'{{"qty":"1"}}', method="POST")
request.add_header("Host", "api.example")
request.add_header("Content-Type", "application/json")
for name, value in signed.headers:
    request.add_header(name.decode(), value.decode())
print(urllib.request.urlopen(request).read().decode())
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def check(typed: Typed, newcomer: Newcomer) -> None:
    assert typed.status == 0, typed.said + typed.errors
    assert typed.answered, typed.said + typed.errors
    assert newcomer.has_the_wheel()
    assert typed.commands <= MOST_COMMANDS
    assert typed.seconds <= MOST_SECONDS


@pytest.mark.parametrize(
    "page", [page if page == FIRST else pytest.param(page, marks=pytest.mark.soak) for page in NAMES]
)
def test_a_newcomer_has_a_guarded_request_answered_within_ten_commands(page: str, wheel: Path, tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path, wheel)
    typed = newcomer.follow(page)
    print(f"{page:<12}{typed.commands:>3} commands{typed.seconds:>7.1f} s")  # pytest -rP shows it
    check(typed, newcomer)


def test_a_newcomer_begins_with_nothing(wheel: Path, tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path, wheel)
    assert newcomer.type("command -v tradeguard || command -v uvicorn").returncode == 1
    assert newcomer.type("python3 -m venv .venv").returncode == 0
    for module in ("tradeguard", "starlette", "cryptography", "click"):
        assert "ModuleNotFoundError" in newcomer.type(f".venv/bin/python -c 'import {module}'").stderr


@pytest.mark.parametrize(
    ("said", "events", "answered"),
    [
        ('{"owner": "acme", "orders": []}', [("outcome", 200, "acme")], True),
        ('{"owner": "acme", "orders": []}', [], False),  # it answers, and no guard has seen it
        ('{"owner": "acme", "orders": []}', [("outcome", 200, "")], False),  # not proved
        ('{"owner": "acme", "orders": []}', [("refused", 401, ""), ("outcome", 404, "acme")], False),
        ('{"owner": "other", "orders": []}', [("outcome", 200, "acme")], False),
        ("", [("outcome", 200, "acme")], False),
    ],
)
def test_only_a_guarded_answer_counts(tmp_path: Path, said: str, events: list[Any], answered: bool) -> None:
    (tmp_path / "data").mkdir()
    lines = [json.dumps(dict(zip(("kind", "status", "account"), event, strict=True))) for event in events]
    (tmp_path / "data" / "audit.jsonl").write_text("\n".join(lines))
    assert Typed(tmp_path, 9, 1.0, 0, said + "\n", "").answered is answered


def consoles() -> list[list[str]]:
    """The commands of README's console blocks, block by block."""
    blocks = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [[line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")] for block in blocks]


def pythons() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.soak
def test_what_readme_tells_a_newcomer_works_as_it_stands(wheel: Path, tmp_path: Path) -> None:
    """Install, application, server and client; then keys that last, in the same folder."""
    newcomer = Newcomer(tmp_path, wheel)
    _, install, serve, last, beside = consoles()
    app, route, client = pythons()
    port = free_port()
    (newcomer.folder / "app.py").write_text(app + route)
    (newcomer.folder / "client.py").write_text(client + SEND.format(port=port))
    [command], (suggest, hold, look) = serve, beside
    lines = [
        "set -eu",
        "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT",
        "python3 -m venv .venv && . .venv/bin/activate",
        *install,
        command.partition("#")[0].replace("app:app", f"app:app --port {port}") + "&",
        WAIT.replace("{port}", str(port)),
        "python client.py",
        *last,
        "mkdir ../beside; cp app.py ../beside; cd ../beside",  # in a project of its own: `init` has run here
        suggest,
        f"if {hold.partition('#')[0]}; then exit 9; fi",  # the pages of FastAPI itself have no row yet
        r"""sed -i -E 's,^# ("GET /),\1,' tradeguard.toml""",  # the review that is asked for
        hold,
        "touch data/audit.jsonl",  # as a guard does when it starts
        look,
    ]
    done = newcomer.type("\n".join(lines))
    assert done.returncode == 0, done.stdout + done.stderr
    assert '{"account":"alice","status":"accepted"}' in done.stdout
    assert re.search(r"^tg_\S+ .*\bacme\b", done.stdout, re.MULTILINE), done.stdout  # the list of keys
    assert done.stdout.count("no row: GET /docs: it is refused") == 1
    assert "5 routes, 5 rows: nothing found" in done.stdout
    assert "No operation coexists" in done.stdout
    assert newcomer.has_the_wheel()


@pytest.mark.soak
@pytest.mark.skipif(not (shutil.which("make") and shutil.which("git")), reason="needs make and git")
def test_make_demo_works_in_a_fresh_copy(wheel: Path, tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path, wheel)
    files = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (newcomer.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, newcomer.folder / name)
    assert consoles()[0][0].startswith("make demo")
    newcomer.environ["PIP_CONSTRAINT"] = ""  # the copy builds its own wheel
    done = newcomer.type("PYTHON=$(command -v python3) make demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^0 of \d+ lines differ", done.stdout, re.MULTILINE)


def test_the_pages_are_counted_as_they_are_typed() -> None:
    """A here-document is one command, a line that installs another."""
    assert count(["a\nb\n", "cat > x <<'END'\none\ntwo\nEND\n"]) == 3
    assert all(read_page(page)[0].startswith("python3 -m venv") for page in NAMES)
