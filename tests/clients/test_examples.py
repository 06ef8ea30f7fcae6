"""The programs under examples/clients, and what a missing client says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clients.venue import Places
from support import SECRET

EXAMPLES = Path(__file__).parents[2] / "examples" / "clients"
PROGRAMS = ["httpx_client.py", "requests_client.py", "aiohttp_client.py"]


def run(name: str, *words: str, secret: str = SECRET.decode()) -> tuple[int, str]:
    environ = {**os.environ, "API_KEY": "trader", "API_SECRET": secret}
    command = [sys.executable, str(EXAMPLES / name), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_sends_a_signed_request(venue: Places, name: str) -> None:
    code, says = run(name, "POST", f"{venue.v4}/v1/echo?a=1", '{"quantity": 1}')
    assert (code, says.splitlines()[0]) == (0, "200"), says
    assert '"key": "trader"' in says
    assert run(name, "GET", f"{venue.v4}/v1/echo")[0] == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_says_that_it_was_refused(venue: Places, name: str) -> None:
    code, says = run(name, "GET", f"{venue.v4}/v1/echo", secret="x" * 32)
    assert (code, says.splitlines()[0]) == (1, "401"), says


@pytest.mark.parametrize(
    ("client", "missing"), [("httpx", ["httpx", "httpx2"]), ("requests", ["requests"]), ("aiohttp", ["aiohttp"])]
)
def test_a_missing_client_is_named_with_the_command_that_installs_it(client: str, missing: list[str]) -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import tradeguard.clients.{client}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f'pip install "tradeguard[{client}]"' in done.stderr.splitlines()[-1]
    assert "ConfigError" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("here", "missing"), [("httpx", "httpx2"), ("httpx2", "httpx")])
def test_either_of_the_two_httpx_is_enough(here: str, missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; import {here}; from tradeguard.clients.httpx import "
        f"TradeguardAuth; assert issubclass(TradeguardAuth, {here}.Auth)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
