"""Runs a test file as a customer would: pytest in a process of its own, with the plugin of the installed package."""

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import tradeguard

INSTALLED: Final = bool(entry_points(group="pytest11", name="tradeguard"))


def run_pytest(folder: Path, *codes: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run the tests of some files, test_0.py and so on; where the package is not installed, name its plugin."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    for number, code in enumerate(codes):
        (folder / f"test_{number}.py").write_text(code)
    plugin = [] if INSTALLED else ["-p", "tradeguard.testing.plugin"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if not INSTALLED:
        environment["PYTHONPATH"] = str(Path(tradeguard.__file__).parents[1])
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "-p", "no:cacheprovider", *options, str(folder)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, check=False, timeout=300
    )


def counts(folder: Path, code: str) -> str:
    """Run the tests and return the last line of the report, without its seconds."""
    done = run_pytest(folder, code)
    last = (done.stdout.strip() or " ").splitlines()[-1]
    assert " in " in last, done.stdout + done.stderr
    print(done.stdout)
    return last.rpartition(" in ")[0]
