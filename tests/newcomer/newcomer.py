"""Somebody who has never seen tradeguard: an empty folder, an empty environment, the built wheel, and a page to type.

    PYTHONPATH=tests python tests/newcomer/newcomer.py [framework ...]      prints commands and seconds of each page

pip takes everything but tradeguard from where its own settings say (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf).
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

from adapters.test_native_quickstart import NAMES, count, make_script, read_page
from freeport import free_port

ROOT = Path(__file__).parents[2]
MOST_COMMANDS, MOST_SECONDS = 10, 15 * 60
OURS = ("PYTHON", "VIRTUAL_ENV", "TRADEGUARD", "COV", "PYTEST")  # what the tests' own environment says is not theirs


class Typed(NamedTuple):
    """What came of a page."""

    folder: Path
    commands: int
    seconds: float
    status: int
    said: str
    errors: str

    @property
    def answered(self) -> bool:
        """Whether the first guarded request was answered, to the key's owner, and is on record."""
        journal = self.folder / "data" / "audit.jsonl"
        events = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
        granted = [event for event in events if event["kind"] == "outcome" and event["status"] == 200]
        said = [json.loads(line) for line in self.said.splitlines() if re.fullmatch(r"\{.*\}", line)]
        return [event["account"] for event in granted] == ["acme"] and {"owner": "acme", "orders": []} in said


def build_wheel(folder: Path) -> Path:
    """Build the wheel from the tree, without writing into it."""
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "src"):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, cwd=folder)
    [wheel] = folder.glob("*.whl")
    return wheel


class Newcomer:
    """A folder to work in, and a shell that knows no Python package at all.

    Args:
        folder: an empty one.
        wheel: what `pip install tradeguard` finds, whatever an index calls by that name.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder, self.wheel = folder / "here", wheel
        self.folder.mkdir(parents=True)
        tools, settings = folder / "bin", folder / "settings"
        tools.mkdir()
        settings.mkdir()
        self._link_python(tools / "python3")
        self._keep_pip_settings(settings)
        version = wheel.name.split("-")[1]
        (folder / "constraints.txt").write_text(f"--find-links {wheel.parent.as_uri()}\ntradeguard == {version}\n")
        given = os.environ.get("PIP_CONSTRAINT", "")
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
            "XDG_CONFIG_HOME": str(settings),
            "PIP_CONSTRAINT": f"{given} {folder / 'constraints.txt'}".strip(),
            "PATH": os.pathsep.join([str(tools), "/usr/local/bin", "/usr/bin", "/bin"]),
        }

    def type(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script; what is still running at its end is stopped by its own trap."""
        command = ["bash", "-c", script]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )

    def follow(self, page: str) -> Typed:
        """Type a quick start from its first line to its last."""
        blocks = read_page(page)
        script = f"set -eu\n{blocks[0]}\n{make_script(blocks, free_port())}"
        began = time.monotonic()
        done = self.type(script)
        seconds = time.monotonic() - began
        return Typed(self.folder, count(blocks), seconds, done.returncode, done.stdout, done.stderr)

    def has_the_wheel(self) -> bool:
        """Tell whether what pip installed is the wheel, file by file, and not what an index calls by its name."""
        [record] = self.folder.glob(".venv/lib/*/site-packages/tradeguard-*.dist-info/RECORD")
        installed = set(record.read_text().splitlines())
        with zipfile.ZipFile(self.wheel) as archive:
            built = archive.read(f"{record.parent.name}/RECORD").decode().splitlines()
        modules = {line for line in built if line.startswith("tradeguard/")}
        return len(modules) > 50 and modules <= installed

    @staticmethod
    def _link_python(path: Path) -> None:
        """Give them the interpreter below the tests' environment, which has nothing installed for us."""
        base = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
        path.write_text(f'#!/bin/sh\nexec "{base}" "$@"\n')
        path.chmod(stat.S_IRWXU)

    @staticmethod
    def _keep_pip_settings(settings: Path) -> None:
        """The master key goes below XDG_CONFIG_HOME, where pip looks for its file too."""
        kept = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"), "pip")
        if kept.is_dir():
            (settings / "pip").symlink_to(kept)


def main() -> int:
    """Follow the pages and print a table."""
    print(f"{'framework':<12}{'commands':>9}{'seconds':>9}  first guarded request", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        wheel = build_wheel(Path(folder))
        for page in sys.argv[1:] or NAMES:
            typed = Newcomer(Path(folder, page), wheel).follow(page)
            print(
                f"{page:<12}{typed.commands:>9}{typed.seconds:>9.1f}  {'yes' if typed.answered else 'NO'}", flush=True
            )
            if not typed.answered:
                failed += 1
                print(typed.said + typed.errors, file=sys.stderr)
            shutil.rmtree(Path(folder, page))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
