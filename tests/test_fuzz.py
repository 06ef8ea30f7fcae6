"""The fuzz targets run without atheris: a few hundred inputs each, which come to more than one thing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TARGETS = {
    "frame": {"passed", "frame.path", "frame.target", "frame.token", "frame.host"},
    "operations": {"matched", "unmatched", "wrong"},
    "keys": {"keys", "faults", "refused", "record", "tampered"},
    "credential": {"granted", "signature.wrong", "place.field", "proof.unclaimed"},
    "jwt": {"verified", "wrong", "unclaimed", "jwt.malformed", "jwt.header", "coinbase_advanced.claim"},
    "dialects": {"verified", "wrong", "unclaimed", "bare", "place.field", "frame.target"},
}


def run_target(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"fuzz/fuzz_{name}.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("name", "expected"), TARGETS.items(), ids=TARGETS)
@pytest.mark.parametrize("seed", [1, 2])
def test_no_input_does_what_must_never_happen(name: str, expected: set[str], seed: int) -> None:
    done = run_target(name, "--runs", "600", "--seed", str(seed))
    assert done.returncode == 0, done.stderr
    counts = {outcome: int(count) for count, outcome in (line.split() for line in done.stdout.splitlines())}
    assert sum(counts.values()) >= 600
    assert expected <= set(counts)


def test_a_seed_repeats_its_run() -> None:
    first, second = (run_target("frame", "--runs", "200", "--seed", "7").stdout for _ in range(2))
    assert first == second
