"""A venue that `tradeguard init` has made, and the command line in it: in this process, or in one of its own."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from tradeguard.cli.app import APP
from tradeguard.cli.desk import load, open_desk
from tradeguard.cli.screen import Screen
from tradeguard.core.drive import drive
from tradeguard.core.key import KeyRecord

PYTHON = (sys.executable, "-m", "tradeguard")


class Shell:
    """A folder to work in, with a home of its own for settings."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder.parent / "settings"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRADEGUARD", "XDG"))}
        paths = [str(Path(path).absolute()) for path in kept.pop("PYTHONPATH", "").split(os.pathsep) if path]
        kept |= {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}
        self.environ = {**kept, "XDG_CONFIG_HOME": str(self.home), "COLUMNS": "80"}
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)

    def run(self, *words: str, input: str | bytes | None = None, **environ: str) -> Result:
        """Run a command in this process."""
        before, here = dict(os.environ), Path.cwd()
        os.environ.clear()
        os.environ.update(self.environ | environ)
        os.chdir(self.folder)
        try:
            return CliRunner().invoke(APP, words, input=input)
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(before)

    def ask(self, *words: str, code: int = 0, **more: Any) -> Any:
        """Run a command with --json; return the document, or the list of those on several lines."""
        result = self.run(*words, "--json", **more)
        assert result.exit_code == code, result.output
        documents = [json.loads(line) for line in result.stdout.splitlines()]
        return documents[0] if len(documents) == 1 else documents

    def refuse(self, *words: str, code: int = 1, **more: Any) -> str:
        """Run a command that is refused; return what it says, which is the same for people and programs."""
        for_people, for_programs = self.run(*words, **more), self.run(*words, "--json", **more)
        assert (for_people.exit_code, for_programs.exit_code) == (code, code), for_people.output
        error: str = json.loads(for_programs.stderr.splitlines()[-1])["error"]
        return error

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": self.folder}
        return subprocess.Popen([*PYTHON, *words], **{"env": self.environ, **pipes, **more})

    def sh(self, words: str, around: str = "{}") -> tuple[int, str, str]:
        """Run a command in a shell, with redirections or limits around it."""
        line = around.format(f"exec {' '.join(PYTHON)} {words}")
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def watch(self, *words: str) -> bytes:
        """Run a command in a process of its own, with a terminal for stderr; return what that shows."""
        ours, theirs = pty.openpty()
        process = self.start(*words, stderr=theirs)
        os.close(theirs)
        text = b""
        with suppress(OSError):  # the process has ended
            while chunk := os.read(ours, 65_536):
                text += chunk
        os.close(ours)
        process.communicate(timeout=60)
        assert process.returncode in (0, 1)
        return text

    def call(self, *words: str, **more: Any) -> tuple[int, str, str]:
        """Run a command in a process of its own; return its exit code, stdout and stderr."""
        process = self.start(*words, **more)
        out, errors = process.communicate(timeout=60)
        return process.returncode, out, errors


class Venue(Shell):
    """A venue with nothing wrong in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        assert self.run("init").exit_code == 0
        self.config, self.data = folder / "tradeguard.toml", folder / "data"
        self.master_key = self.home / "tradeguard" / f"{folder.name}.key"

    def issue(self, *words: str) -> tuple[str, Path]:
        """Issue a key; return its id and a file with its secret."""
        made = self.ask("keys", "new", "--owner", "acme", "--role", "trader", *words)
        file = self.folder / f"{made['id']}.secret"
        file.write_text(made["secret"] + "\n")
        file.chmod(0o600)
        return made["id"], file

    def configure(self, old: str, new: str) -> None:
        """Change the configuration."""
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def find(self, id: str) -> KeyRecord:
        """Return a key as it is stored."""
        with open_desk(str(self.config), Screen(as_json=True)) as desk:
            return desk.find(id)

    def put(self, records: Sequence[KeyRecord]) -> None:
        """Store keys past the command line."""
        with open_desk(str(self.config), Screen(as_json=True)) as desk:
            drive(desk.keys.put(records))

    def touch(self, id: str, at: int) -> None:
        """Note a use of a key, as a server does."""
        with open_desk(str(self.config), Screen(as_json=True)) as desk:
            drive(desk.keys.touch({id: at}))

    def events(self) -> list[dict[str, Any]]:
        """Return what the journal says."""
        return [json.loads(line) for line in load(str(self.config)).journal.read_text().splitlines()]


DAY = 86_400_000_000_000


def now() -> int:
    """Return the time, ns UTC."""
    return time.time_ns()
