"""docs/howto/new-venue.md as a newcomer types it: its files, its commands, and what they say."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.test_sign_dialects import outgrow_the_barrier, start
from cli.venue import Venue

from tradeguard.config.load import load_settings
from tradeguard.config.rules import own_rows
from tradeguard.signing.message import read_message
from tradeguard.signing.refusal import fill
from tradeguard.signing.written import row_schema

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "new-venue.md").read_text()
FILE, MORE = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
SESSIONS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
SERVER = "http://127.0.0.1:8000"


def steps(session: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a session, each with the lines that it prints."""
    for part in re.split(r"^\$ ", session.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield command, lines


def run(venue: Venue, command: str, **known: str) -> str:
    for word, value in known.items():
        command = command.replace({"url": SERVER, "key": "tg_live_hmac_..."}[word], value)
    if command.startswith("tradeguard "):
        return venue.run(*shlex.split(command)[1:]).output
    return subprocess.run(["sh", "-c", command], cwd=venue.folder, capture_output=True, text=True, check=True).stdout


def check(command: str, said: str, lines: list[str]) -> None:
    """Hold what was said against the page, whose dots stand for anything."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n" for line in lines
    )
    assert re.match(pattern, said.rstrip("\n") + "\n"), (command, said)


@pytest.fixture
def typed(venue: Venue) -> Venue:
    (venue.folder / "acme.toml").write_text(FILE)
    return venue


def test_every_command_of_the_page_says_what_the_page_says(typed: Venue) -> None:
    refused, looked, held, taken, issued, sent = SESSIONS
    for command, lines in (step for session in (refused, looked, held, taken) for step in steps(session)):
        check(command, run(typed, command), lines)
    typed.configure('# dialects = ["tg1"]', 'dialects = ["tg1", "acme"]')
    assert "nothing found" in run(typed, "tradeguard config check")
    [(command, lines)] = steps(issued)
    said = run(typed, command)
    check(command, said, lines)
    found = re.search(r"tg_live_hmac_\w+", said)
    assert found is not None
    outgrow_the_barrier(typed)
    server = start(typed)
    [(command, lines)] = steps(sent)
    check(command, run(typed, command, url=next(server), key=found[0]), lines)
    next(server, None)


def test_the_rest_of_the_file_is_taken_too(typed: Venue) -> None:
    typed.configure("[bearer]", FILE + 'body = "json"\n' + MORE + "\n[bearer]")
    row = own_rows(load_settings(typed.config, {}).settings)["acme"]
    assert row.refuse is not None
    assert row.refuse.say(("unauthorized", 401, "", False, None)).body == {"code": 401, "message": "Invalid signature"}
    assert row.refuse.say(("quota.exceeded", 429, "", False, 1)).body == {
        "code": 429, "message": "Too many requests",
    }  # fmt: skip
    assert row.refuse.say(("commit.barrier", 503, "", "unknown", 1)).status == 504
    assert fill(row.clock, 1_795_000_000_123_000_000) == {"serverTime": 1_795_000_000_123}
    assert typed.ask("operations", "GET", "/v1/time")["lane"] == "public"


def test_every_part_on_the_page_is_one_and_every_place(typed: Venue) -> None:
    table = PAGE.partition("## What can be signed")[2].partition("A field stands")[0]
    parts = re.findall(r"`(\{[^`]*\})`", table)
    assert len(parts) > 20
    for part in parts:
        read_message(part)
    places = re.findall(r"`\{ (\w+) = ", PAGE.partition("A field stands")[2])
    assert set(places) == set(row_schema()["properties"]["key"]["properties"])
