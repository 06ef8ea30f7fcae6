"""`tradeguard keys reseal`: a new master key takes over, whole or not at all, whatever happens meanwhile."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cli.venue import Venue

from tradeguard.cli.desk import open_desk
from tradeguard.cli.screen import Screen
from tradeguard.core.drive import drive
from tradeguard.core.key import KeyRecord
from tradeguard.secrets.master import make_master_key
from tradeguard.signing.material import Hmac

KEYS = 1_200  # more than two batches

KILLED = """
import os, signal, sys
from tradeguard.cli.desk import open_desk
from tradeguard.cli.screen import Screen
from tradeguard.core.drive import drive

def told(done, every):
    if done >= 1_000:
        os.kill(os.getpid(), signal.SIGKILL)

with open_desk(None, Screen(as_json=True)) as desk:
    drive(desk.keys.reseal(told))
"""


@pytest.fixture
def filled(venue: Venue) -> Venue:
    venue.put(
        [
            KeyRecord(id=f"k{n:04}", dialect="tg1", material=Hmac(b"%032d" % n), owner="acme", scopes={"orders:read"})
            for n in range(KEYS)
        ]
    )
    return venue


def prepend(venue: Venue) -> tuple[bytes, bytes]:
    """Put a new master key before the old one; return both, as lines."""
    path = venue.folder / "new.key"
    make_master_key(path)
    old, new = (file.read_bytes().splitlines()[-1] + b"\n" for file in (venue.master_key, path))
    venue.master_key.write_bytes(new + old)
    return new, old


def opens(venue: Venue, *lines: bytes) -> bool:
    """Tell whether every key can be used with these master keys alone."""
    before = venue.master_key.read_bytes()
    venue.master_key.write_bytes(b"".join(lines))
    try:
        result = venue.run("keys", "list", "--json")
        return result.exit_code == 0 and len(result.stdout.splitlines()) == KEYS
    finally:
        venue.master_key.write_bytes(before)


def rows(venue: Venue) -> list[tuple[object, ...]]:
    """Return all that the key store holds."""
    with closing(sqlite3.connect(venue.data / "keys.db")) as database:
        tables = ("SELECT * FROM key ORDER BY id", "SELECT * FROM kept", "SELECT * FROM store")
        return [tuple(row) for query in tables for row in database.execute(query)]


def test_a_new_master_key_takes_over_and_the_old_one_may_go(filled: Venue) -> None:
    new, old = prepend(filled)
    before = rows(filled)
    made = filled.ask("keys", "reseal", "--actor", "olga", "--reason", "yearly")
    assert (made["keys"], made["refused"], len(made["older"])) == (KEYS, [], 1)
    assert opens(filled, new)
    assert not opens(filled, old)
    after = rows(filled)
    assert [row[:4] for row in after[:KEYS]] == [row[:4] for row in before[:KEYS]]  # id, version, fingerprint, fields
    assert after[-1] == before[-1]  # who follows the store hears nothing
    event = filled.events()[-1]
    assert (event["code"], event["actor"]) == ("keys.resealed", "olga")
    assert event["detail"] == f"under {made['master_key']}; yearly"


def test_once_done_there_is_nothing_left_to_do(filled: Venue) -> None:
    prepend(filled)
    filled.ask("keys", "reseal")
    before = rows(filled)
    assert filled.run("keys", "reseal").stdout.startswith("0 keys were put under master key")
    assert rows(filled) == before


def test_killed_midway_nothing_has_changed_and_it_can_be_run_again(filled: Venue) -> None:
    new, old = prepend(filled)
    before = rows(filled)
    done = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=filled.folder, env=filled.environ, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert rows(filled) == before
    assert opens(filled, old)
    assert filled.ask("keys", "reseal")["keys"] == KEYS
    assert opens(filled, new)


def test_a_row_that_was_changed_gets_no_new_seal(filled: Venue) -> None:
    new, _ = prepend(filled)
    with closing(sqlite3.connect(filled.data / "keys.db", isolation_level=None)) as database:
        database.execute("UPDATE key SET fields = CAST(replace(fields, 'acme', 'evil') AS BLOB) WHERE id = 'k0007'")
        changed = database.execute("SELECT * FROM key WHERE id = 'k0007'").fetchone()
        made = filled.ask("keys", "reseal", code=1)
        assert (made["keys"], made["refused"]) == (KEYS - 1, ["k0007"])
        assert database.execute("SELECT * FROM key WHERE id = 'k0007'").fetchone() == changed
    filled.master_key.write_bytes(new)
    assert "its record is refused" in filled.refuse("keys", "show", "k0007")


def test_a_box_that_was_exchanged_ends_it_and_nothing_is_done(filled: Venue) -> None:
    prepend(filled)
    with closing(sqlite3.connect(filled.data / "keys.db", isolation_level=None)) as database:
        database.execute("UPDATE kept SET value = (SELECT sealed FROM key WHERE id = 'k0001')")
    before = rows(filled)
    filled.refuse("keys", "reseal")
    assert rows(filled) == before


def test_while_it_runs_a_server_with_both_master_keys_goes_on(filled: Venue) -> None:
    prepend(filled)
    with open_desk(str(filled.config), Screen(as_json=True)) as server:
        assert drive(server.keys.find("k0000")) is not None
        assert filled.ask("keys", "reseal")["keys"] == KEYS
        assert drive(server.keys.find("k0001")) is not None
        drive(server.keys.put([KeyRecord(id="later", dialect="tg1", material=Hmac(b"l" * 32), scopes={"orders:read"})]))
    assert filled.ask("keys", "reseal")["keys"] == 0


def test_where_it_cannot_be_recorded_it_is_not_done(filled: Venue) -> None:
    prepend(filled)
    before = rows(filled)
    Path(filled.data / "audit.jsonl").unlink(missing_ok=True)
    (filled.data / "audit.jsonl").symlink_to("/dev/full")
    filled.refuse("keys", "reseal")
    assert rows(filled) == before


def test_a_bar_shows_how_far_it_is_on_a_terminal(filled: Venue) -> None:
    prepend(filled)
    text = filled.watch("keys", "reseal")
    assert b"Sealing" in text
    assert b"100%" in text
