"""The programs on the page, of every dialect that has some: run as they stand there, against a guarded server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from clients.dialects import Box, path_of
from clients.test_vectors import node as node  # noqa: PLC0414 - a fixture
from signing.test_customer import make_venue, section

from tradeguard.signing.customer import EXAMPLE_KEY, EXAMPLE_PHRASE, write_page
from tradeguard.signing.example import example_secret
from tradeguard.signing.material import HMACS
from tradeguard.signing.row import AuthParam, Field, Payload, Row
from tradeguard.signing.rows import ROWS

every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """A running server."""
    made = Box()
    yield made
    made.close()


def programs(row: Row, url: str, method: str) -> dict[str, str]:
    """The programs on the page of a venue with this one operation."""
    place = urlsplit(url)
    venue = make_venue({f"{method} {path_of(row)}": "orders:write"}, rows=(row,), scheme="http", authority=place.netloc)
    page = write_page(venue)
    if "can be signed in this dialect" in page:
        return {}
    return dict(
        re.findall(r"```(sh|python|javascript)\n(.*?)\n```", section(page, f"Programs: `{row.name}`"), re.DOTALL)
    )


def test_only_dialects_with_fields_in_odd_places_have_no_programs() -> None:
    without = {name for name, row in ROWS.items() if "python" not in programs(row, "http://h:1", "POST")}
    odd = {name for name, row in ROWS.items() if any(isinstance(p, Field | AuthParam | Payload) for p in row.places)}
    assert without == odd


@every_row
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_every_program_is_answered_by_a_guarded_server_and_refused_with_another_secret(
    box: Box, node: str, tmp_path: Path, row: Row, method: str
) -> None:
    algorithm = next(name for name in row.algorithms if name in HMACS)
    for language, command, suffix in (("python", sys.executable, "py"), ("javascript", node, "mjs")):
        with box.speaking(row, algorithm) as speaking:  # afresh: in one second some dialects sign one text twice
            found = programs(row, speaking.url, method)
            if language not in found:
                return
            (tmp_path / f"program.{suffix}").write_text(found[language])
            words = [command, str(tmp_path / f"program.{suffix}")]
            code, says = run(words, example_secret(row).decode())
            assert f'"key": "{EXAMPLE_KEY}"' in says, says
            assert (code, says[:4], f'"method": "{method}"' in says) == (0, "200 ", True)
            assert EXAMPLE_KEY not in run(words, "ab" * 20)[1]


def run(command: list[str], secret: str) -> tuple[int, str]:
    """Run a program as a customer does: the key is in the environment, and nothing else of ours."""
    environ = {
        "PATH": os.environ["PATH"],
        "API_KEY": EXAMPLE_KEY,
        "API_SECRET": secret,
        "API_PASSPHRASE": EXAMPLE_PHRASE,
    }
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@every_row
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_curl_command_is_answered_too(box: Box, tmp_path: Path, row: Row, method: str) -> None:
    algorithm = next(name for name in row.algorithms if name in HMACS)
    (tmp_path / "secret.txt").write_bytes(example_secret(row) + b"\n")
    (tmp_path / "passphrase.txt").write_text(EXAMPLE_PHRASE + "\n")
    for name in ("secret.txt", "passphrase.txt"):
        (tmp_path / name).chmod(0o600)
    (tmp_path / "tradeguard").write_text(f'#!/bin/sh\nexec {sys.executable} -m tradeguard "$@"\n')
    (tmp_path / "tradeguard").chmod(0o700)
    with box.speaking(row, algorithm) as speaking:
        found = programs(row, speaking.url, method)
        if not found:
            return
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        environ = {**os.environ, "API_KEY": EXAMPLE_KEY, "PATH": path}
        done = subprocess.run(
            ["sh", "-c", found["sh"]],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert f'"key": "{EXAMPLE_KEY}"' in done.stdout, done.stdout + done.stderr
        assert f'"method": "{method}"' in done.stdout
