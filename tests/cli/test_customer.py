"""`tradeguard docs customer`: the page of a venue, and its programs against that venue, running."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cli.venue import Venue
from clients.test_vectors import node as node  # noqa: PLC0414 - a fixture
from clients.venue import Places, open_venue
from support import SECRET


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A guarded server; its keys are those of support.py."""
    with open_venue(tmp_path_factory.mktemp("served")) as places:
        yield places


@pytest.fixture
def both(venue: Venue) -> Venue:
    """A venue with two dialects, and with the operations that the server has."""
    venue.configure('# dialects = ["tg1"]', 'dialects = ["tg1", "binance"]')
    venue.configure("# accept = []", 'accept = ["binance"]')
    return venue


def programs(page: str, row: str) -> dict[str, str]:
    part = page.partition(f"### Programs: `{row}`")[2].partition("\n##")[0]
    return dict(re.findall(r"```(sh|python|javascript)\n(.*?)\n```", part, re.DOTALL))


def run(command: list[str], venue: Venue, key: str, secret: str) -> tuple[int, str]:
    path = f"{venue.folder}{os.pathsep}{os.environ['PATH']}"
    environ = {**venue.environ, "API_KEY": key, "API_SECRET": secret, "PATH": path}
    done = subprocess.run(
        command, cwd=venue.folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


KEYS = {"tg1": ("trader", SECRET.decode()), "binance": ("bina", "binance-secret" * 3)}


@pytest.mark.parametrize("row", KEYS)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_programs_on_the_page_are_answered_by_a_running_venue(
    both: Venue, served: Places, node: str, row: str, method: str
) -> None:
    """As they stand on the page, with nothing filled in but the key."""
    text = both.config.read_text().partition("[operations]")[0]
    both.config.write_text(f'{text}[operations]\n"{method} /v1/echo" = "orders:write"\n')
    page = both.ask("docs", "customer", "--url", served.v4)["page"]
    found, folder, (key, secret) = programs(page, row), both.folder, KEYS[row]
    (folder / "program.py").write_text(found["python"])
    (folder / "program.mjs").write_text(found["javascript"])
    (folder / "secret.txt").write_text(secret + "\n")
    (folder / "secret.txt").chmod(0o600)
    (folder / "tradeguard").write_text(f'#!/bin/sh\nexec {sys.executable} -m tradeguard "$@"\n')
    (folder / "tradeguard").chmod(0o700)
    for command in ([sys.executable, "program.py"], [node, "program.mjs"], ["sh", "-c", found["sh"]]):
        code, says = run(command, both, key, secret)
        assert f'"key": "{key}"' in says, says
        assert (code, f'"method": "{method}"' in says) == (0, True)
    for command in ([sys.executable, "program.py"], [node, "program.mjs"]):
        assert "401" in run(command, both, key, "x" * 32)[1]


def test_the_page_is_written_to_a_file_and_written_again(both: Venue) -> None:
    out = both.folder / "page.md"
    assert "written to" in both.run("docs", "customer", "--out", str(out)).stdout
    first = out.read_text()
    assert first.startswith("# Authentication\n")
    assert first == both.run("docs", "customer").stdout == both.ask("docs", "customer")["page"]
    both.configure('"GET /v1/time" = { lane = "public" }', "")
    both.ask("docs", "customer", "--out", str(out))
    assert "/v1/time" not in out.read_text()
    assert [path.name for path in both.folder.iterdir() if path.name.startswith(".page")] == []


def test_a_page_that_cannot_be_written_says_why_and_leaves_nothing(both: Venue) -> None:
    assert "No such file" in both.refuse("docs", "customer", "--out", "nowhere/page.md")
    (both.folder / "taken").mkdir()
    before = sorted(both.folder.iterdir())
    assert both.run("docs", "customer", "--out", "taken").exit_code == 2
    assert sorted(both.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://API.example:443", "`https://api.example`"),
        ("http://api.example:8080/api/", "`http://api.example:8080/api`"),
        ("https://[::1]:8443", "`https://[::1]:8443`"),
    ],
)
def test_the_page_says_where_the_api_is(both: Venue, url: str, says: str) -> None:
    page = both.ask("docs", "customer", "--url", url)["page"]
    assert f"The API is at {says}" in page
    assert ("/api/v1/orders" in page) is ("/api" in says[14:])


@pytest.mark.parametrize(
    "url",
    ["api.example", "ftp://x", "https://", "https://a:b@c", "https://x/?q", "https://x/#f", "https://x:0", "http://["],
)
def test_what_is_no_place_of_an_api_is_refused(both: Venue, url: str) -> None:
    assert "--url is https://host" in both.refuse("docs", "customer", "--url", url, code=2)


def test_the_page_has_no_secret_of_the_venue(both: Venue) -> None:
    _, file = both.issue()
    page = both.run("docs", "customer").stdout
    assert file.read_text().strip() not in page
    assert both.master_key.read_text().splitlines()[-1] not in page
    assert str(both.folder) not in page
