"""The quick start pages, typed as they are printed: every file and every command but the installation."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from freeport import free_port

PAGES = Path(__file__).parents[2] / "docs" / "quickstart"
NAMES = ["aiohttp", "django", "fastapi", "flask", "litestar", "quart", "starlette"]
MOST = 10
# what a reader does by looking at the clock: the server listens, and its first second is over
WAIT = "until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do kill -0 $! || exit 9; sleep 0.1; done; sleep 1.5"

pytestmark = pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")


def read_page(name: str) -> list[str]:
    """What there is to type, block by block."""
    return re.findall(r"^```sh\n(.*?)^```$", (PAGES / f"{name}.md").read_text(), re.MULTILINE | re.DOTALL)


def count(blocks: list[str]) -> int:
    """How many commands that is; a file is typed with one."""
    text = re.sub(r"<<'END'\n.*?^END$", "", "".join(blocks), flags=re.MULTILINE | re.DOTALL)
    return len([line for line in text.splitlines() if line.strip()])


def make_script(blocks: list[str], port: int) -> str:
    installation, *rest = blocks
    assert installation.startswith("python3 -m venv")
    lines = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
    for block in rest:
        lines.append(block.replace("8000", str(port)))
        if block.rstrip().endswith("&"):
            lines.append(WAIT.replace("{port}", str(port)))
    return "\n".join(lines).replace("uvicorn app:app", f"uvicorn app:app --port {port}")


def type_it(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as if an environment with tradeguard in it was active."""
    tools = folder / "bin"
    tools.mkdir()
    for name, words in {"tradeguard": "-m tradeguard", "python": ""}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (tools / name).chmod(stat.S_IRWXU)
    here = folder / "here"
    here.mkdir()
    sources = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environ = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sources), "XDG_CONFIG_HOME": str(folder / "settings"),
        "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-c", script], cwd=here, env=environ, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_page_leads_to_the_first_guarded_request(name: str, tmp_path: Path) -> None:
    blocks = read_page(name)
    done = type_it(make_script(blocks, free_port()), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.sub(r"\s", "", done.stdout)
    assert '"owner":"acme"' in said, done.stdout + done.stderr
    assert '"orders":[]' in said
    if "curl -i" in "".join(blocks):
        assert '"code":"unauthorized"' in done.stdout
    events = [json.loads(line) for line in (tmp_path / "here/data/audit.jsonl").read_text().splitlines()]
    assert ("outcome", 200) in [(event["kind"], event["status"]) for event in events if "status" in event]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_takes_ten_commands_or_less(name: str) -> None:
    assert 5 < count(read_page(name)) <= MOST


def test_there_is_a_page_for_each_framework_and_the_index_names_it() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == sorted([*NAMES, "index"])
    index = (PAGES / "index.md").read_text()
    assert all(f"({name}.md)" in index for name in NAMES)


def test_a_page_whose_application_is_not_guarded_would_be_seen(tmp_path: Path) -> None:
    blocks = [
        block.replace('Tradeguard(config="tradeguard.toml").init_app(app)', "") for block in read_page("starlette")
    ]
    assert type_it(make_script(blocks, free_port()), tmp_path).returncode != 0
