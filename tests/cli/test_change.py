"""`tradeguard keys rotate | suspend | resume | revoke | activate`: done at once, by somebody, and never by accident."""

import json
import os
import pty
import sqlite3
import subprocess
import time
from base64 import b64encode
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from cli.venue import DAY, Venue, now
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tradeguard.keys.possession import possession_text
from tradeguard.keys.text import parse_duration, show_time

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RAW = PRIVATE.public_key().public_bytes_raw()


def on_terminal(venue: Venue, words: Sequence[str], answer: str) -> tuple[int, str]:
    """Run a command on a terminal where somebody answers."""
    ours, theirs = pty.openpty()
    process = venue.start(*words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, answer.encode())
    text = b""
    try:
        while chunk := os.read(ours, 65_536):
            text += chunk
    except OSError:  # the process has ended
        pass
    os.close(ours)
    return process.wait(60), text.decode()


def test_a_rotation_leaves_both_keys_good_until_the_overlap_ends(venue: Venue) -> None:
    id, _ = venue.issue()
    made = venue.ask("keys", "rotate", id, "--overlap", "2h", "--reason", "yearly")
    old, new = venue.find(id), venue.find(made["id"])
    assert (old.state, old.successor, new.predecessor, new.state) == ("retiring", new.id, id, "active")
    assert new.principal.scopes == old.principal.scopes
    assert old.expires is not None
    assert abs(old.expires - now() - parse_duration("2h")) < parse_duration("5m")
    assert (new.reason, made["secret"][:4]) == ("yearly", "tgs_")


def test_people_are_told_until_when_the_old_key_is_good(venue: Venue) -> None:
    id, _ = venue.issue()
    result = venue.run("keys", "rotate", id)
    assert f"{id} is good too" in result.stderr
    assert "secret     tgs_live_" in result.stdout


def test_a_test_key_is_replaced_by_a_test_key(venue: Venue) -> None:
    id, _ = venue.issue("--env", "test")
    made = venue.ask("keys", "rotate", id)
    assert made["id"].startswith("tg_test_")
    assert made["secret"].startswith("tgs_test_")


def test_a_client_with_its_own_pair_rotates_with_its_new_public_key(venue: Venue) -> None:
    id = venue.ask("keys", "new", "--owner", "acme", "--role", "trader", "--algorithm", "ed25519")["id"]
    (venue.folder / "public").write_bytes(b64encode(RAW))
    (venue.folder / "proof").write_bytes(b64encode(PRIVATE.sign(possession_text("acme", RAW))))
    assert "go together" in venue.refuse("keys", "rotate", id, "--public-key", "public", code=2)
    made = venue.ask("keys", "rotate", id, "--public-key", "public", "--proof", "proof")
    assert "secret" not in made
    assert made["predecessor"] == id


def test_a_compromised_key_stops_at_once(venue: Venue) -> None:
    id, _ = venue.issue()
    result = venue.run("keys", "rotate", id, "--compromised", "--yes")
    assert "from the next request on" in result.stderr
    assert venue.find(id).state == "compromised"


@pytest.mark.parametrize("overlap", ["8d", "1y", "-1h"])
def test_an_overlap_has_its_limits(venue: Venue, overlap: str) -> None:
    id, _ = venue.issue()
    assert venue.run("keys", "rotate", id, "--overlap", overlap).exit_code in (1, 2)
    assert venue.find(id).version == 1


def test_suspend_resume_revoke(venue: Venue) -> None:
    id, _ = venue.issue()
    assert venue.ask("keys", "suspend", id, "--actor", "olga", "--reason", "odd")["now"] == "suspended"
    assert venue.ask("keys", "resume", id)["now"] == "active"
    assert venue.ask("keys", "revoke", id, "--yes")["now"] == "revoked"
    codes = [event["code"] for event in venue.events()]
    assert codes == ["keys.issued", "keys.suspended", "keys.resumed", "keys.revoked"]
    assert [event["actor"] for event in venue.events()][1] == "olga"
    assert venue.run("keys", "revoke", id, "--yes", "--compromised").stdout.startswith(f"{id} of acme is compromised")


def test_a_key_gets_an_end_and_then_an_earlier_one_and_never_a_later_one(venue: Venue) -> None:
    id, _ = venue.issue()
    far, near = now() + 30 * DAY, now() + 10 * DAY
    result = venue.run("keys", "expire", id, "--at", show_time(far), "--actor", "olga", "--reason", "she leaves")
    assert result.stdout == f"{id} of acme ends {show_time(far)}.\n"
    made = venue.ask("keys", "expire", id, "--at", "10d")
    assert abs(made["expires"] - near) < DAY
    assert (made["now"], made["version"]) == ("active", 3)
    assert "brought forward, never put off: rotate it" in venue.refuse("keys", "expire", id, "--at", "11d")
    assert venue.find(id).expires == made["expires"]
    first = venue.events()[1]
    assert (first["code"], first["actor"]) == ("keys.shortened", "olga")
    assert first["detail"] == f"until {show_time(far)}; she leaves"


def test_a_key_ends_ahead_of_now_and_behind_its_beginning(venue: Venue) -> None:
    id, _ = venue.issue("--not-before", "20d")
    assert "to end it now, revoke it" in venue.refuse("keys", "expire", id, "--at", "2020-01-31")
    assert "before it begins" in venue.refuse("keys", "expire", id, "--at", "10d")
    assert "no time" in venue.refuse("keys", "expire", id, "--at", "soon", code=2)
    assert "--at" in venue.refuse("keys", "expire", id, code=2)
    assert venue.find(id).version == 1


def test_a_dry_run_of_an_end_says_what_would_be(venue: Venue) -> None:
    id, _ = venue.issue()
    result = venue.run("keys", "expire", id, "--at", "2099-01-31", "--dry-run")
    assert result.stdout == f"{id} of acme would end 2099-01-31T00:00:00Z. Nothing was changed.\n"
    assert venue.ask("keys", "expire", id, "--at", "2099-01-31", "--dry-run")["dry_run"] is True
    assert venue.find(id).version == 1
    venue.ask("keys", "revoke", id, "--yes")
    assert "is revoked, which is its end already" in venue.refuse("keys", "expire", id, "--at", "1d", "--dry-run")


@pytest.mark.parametrize("verb", ["resume", "rotate", "suspend", "revoke"])
def test_a_verb_in_the_wrong_state_is_refused_and_changes_nothing(venue: Venue, verb: str) -> None:
    id, _ = venue.issue()
    venue.ask("keys", "revoke", id, "--yes")
    yes = ["--yes"] if verb in ("rotate", "revoke") else []
    assert "is revoked" in venue.refuse("keys", verb, id, *yes)
    assert venue.find(id).version == 2


@pytest.mark.parametrize("verb", ["resume", "rotate", "suspend", "revoke", "show", "activate", "expire"])
def test_an_unknown_key_is_refused_with_where_to_look(venue: Venue, verb: str) -> None:
    (venue.folder / "proof").write_bytes(b64encode(bytes(64)))
    more = {"revoke": ["--yes"], "activate": ["--proof", "proof"], "expire": ["--at", "1d"]}.get(verb, [])
    assert "tradeguard keys list" in venue.refuse("keys", verb, "tg_live_hmac_nobody", *more)


def test_a_pending_key_becomes_active_by_proof_and_by_nothing_else(venue: Venue) -> None:
    lines = json.dumps(
        {"id": "theirs", "owner": "acme", "scopes": ["orders:read"], "public_key": b64encode(RAW).decode()}
    )
    venue.ask("keys", "import", "-", "--format", "jsonl", "--skip-bad", input=lines)
    assert venue.find("theirs").state == "pending"
    proof = venue.folder / "proof"
    proof.write_bytes(b64encode(PRIVATE.sign(possession_text("mallory", RAW))))
    assert "does not hold" in venue.refuse("keys", "activate", "theirs", "--proof", "proof")
    proof.write_bytes(b64encode(PRIVATE.sign(possession_text("acme", RAW))))
    assert venue.ask("keys", "activate", "theirs", "--proof", "proof")["now"] == "active"


@pytest.mark.parametrize("words", [("revoke",), ("revoke", "--compromised"), ("rotate", "--compromised")])
def test_without_a_terminal_what_cannot_be_taken_back_needs_yes(venue: Venue, words: tuple[str, ...]) -> None:
    id, _ = venue.issue()
    verb, *options = words
    assert "--yes" in venue.refuse("keys", verb, id, *options, code=2)
    assert venue.call("keys", verb, id, *options, stdin=subprocess.DEVNULL)[0] == 2
    assert venue.sh(f"keys {verb} {id} {' '.join(options)} <&-")[0] == 2
    assert venue.find(id).version == 1


@pytest.mark.parametrize(
    ("answer", "state", "code"), [("y\n", "revoked", 0), ("n\n", "active", 1), ("\n", "active", 1)]
)
def test_on_a_terminal_it_asks(venue: Venue, answer: str, state: str, code: int) -> None:
    id, _ = venue.issue()
    got, text = on_terminal(venue, ("keys", "revoke", id), answer)
    assert (got, venue.find(id).state) == (code, state)
    assert "of acme, for good?" in text


@pytest.mark.parametrize(
    "words", [("suspend",), ("revoke",), ("revoke", "--compromised"), ("rotate",), ("rotate", "--compromised")]
)
def test_a_dry_run_says_what_would_be_and_changes_nothing(venue: Venue, words: tuple[str, ...]) -> None:
    id, _ = venue.issue()
    before = venue.events()
    verb, *options = words
    assert "Nothing was changed." in venue.run("keys", verb, id, *options, "--dry-run").stdout
    document = venue.ask("keys", verb, id, *options, "--dry-run")
    assert document["dry_run"] is True
    assert (venue.find(id).version, venue.events()) == (1, before)
    venue.ask("keys", "revoke", id, "--yes", "--compromised")
    assert "is compromised" in venue.refuse("keys", verb, id, *options, "--dry-run")


def test_a_dry_run_of_a_rotation_asks_the_policy_too(venue: Venue) -> None:
    id, _ = venue.issue()
    venue.configure("trader =", "dealer =")
    assert "no role 'trader'" in venue.refuse("keys", "rotate", id, "--dry-run")


def test_with_memory_state_people_are_told_when_servers_see_it(venue: Venue) -> None:
    id, _ = venue.issue()
    venue.configure("[state]\n", '[state]\nbackend = "memory"\n')
    assert "within 0.25 s" in venue.run("keys", "suspend", id).stdout
    assert not (venue.data / "memory.lock").exists()


def test_two_operators_who_rotate_at_once_get_one_new_key(venue: Venue) -> None:
    id, _ = venue.issue()
    both = [venue.start("keys", "rotate", id, "--json") for _ in range(2)]
    done = [(process.communicate(timeout=60), process.returncode) for process in both]
    assert sorted(code for _, code in done) == [0, 1]
    [error] = [json.loads(streams[1].splitlines()[-1])["error"] for streams, code in done if code]
    assert "changed meanwhile" in error or "rotate its successor" in error
    assert len(venue.ask("keys", "list")) == 2


def test_a_key_that_was_changed_meanwhile_is_told_and_left_as_it_is(venue: Venue) -> None:
    """The other change is made, and not yet committed, while this one has looked and waits."""
    id, _ = venue.issue()
    with closing(sqlite3.connect(venue.data / "keys.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE key SET version = 2")
        process = venue.start("keys", "suspend", id)
        for _ in range(100):
            if venue.events()[-1]["code"] == "keys.suspended":
                break
            time.sleep(0.05)
        other.execute("COMMIT")
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was changed meanwhile: version 2 is stored; look again" in errors


def test_a_locked_database_is_waited_for_and_then_told(venue: Venue) -> None:
    id, _ = venue.issue()
    with closing(sqlite3.connect(venue.data / "keys.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = venue.start("keys", "suspend", id)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "another process is writing" in errors
        waiting = venue.start("keys", "resume", id)
        time.sleep(0.5)
        other.execute("ROLLBACK")
        waiting.communicate(timeout=60)
    assert venue.find(id).state in ("active", "suspended")


def test_where_the_key_store_is_locked_nothing_is_made(venue: Venue) -> None:
    id, _ = venue.issue()
    with closing(sqlite3.connect(venue.data / "keys.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        code, out, errors = venue.call("keys", "rotate", id)
    assert (code, out, "another process" in errors) == (1, "", True)
    assert (venue.find(id).version, len(venue.run("keys", "list").stdout.splitlines())) == (1, 2)


def test_where_the_state_is_locked_it_is_done_all_the_same_and_said_to_hold_later(venue: Venue) -> None:
    id, _ = venue.issue()
    other_id, _ = venue.issue()
    with closing(sqlite3.connect(venue.data / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        rotated = venue.call("keys", "rotate", id)
        revoked = venue.call("keys", "revoke", other_id, "--yes")
    assert (rotated[0], revoked[0]) == (1, 1)
    assert "tgs_live_" in rotated[1]
    assert "cannot be told" in rotated[2]
    assert "is revoked. Running servers see it within 0.25 s." in revoked[1]
    assert (venue.find(id).state, venue.find(other_id).state) == ("retiring", "revoked")


@pytest.mark.parametrize("file", ["keys.db", "state.db"])
def test_a_damaged_database_is_told_with_the_cure(venue: Venue, file: str) -> None:
    id, _ = venue.issue()
    for path in venue.data.glob(f"{file}*"):
        path.unlink()
    (venue.data / file).write_bytes(b"nothing like a database. " * 400)
    error = venue.refuse("keys", "suspend", id, code=2)
    assert file in error
    assert "damaged" in error


def test_a_wrong_master_key_is_told_and_nothing_is_done(venue: Venue) -> None:
    id, _ = venue.issue()
    other = Venue(venue.folder.parent / "other")
    right = venue.master_key.read_bytes()
    venue.master_key.write_bytes(other.master_key.read_bytes())
    assert "master key" in venue.refuse("keys", "suspend", id, code=2)
    venue.master_key.chmod(0o640)
    assert "chmod 600" in venue.refuse("keys", "list", code=2)
    venue.master_key.unlink()
    assert str(venue.master_key) in venue.refuse("keys", "list", code=2)
    venue.master_key.write_bytes(right)
    venue.master_key.chmod(0o600)
    assert venue.find(id).version == 1


def test_a_data_directory_that_is_gone_is_told(venue: Venue) -> None:
    venue.data.rename(venue.folder / "moved")
    assert "tradeguard init" in venue.refuse("keys", "list", code=2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_who_works_in_the_data_of_another_user_is_warned(venue: Venue) -> None:
    os.chown(venue.data, 12_345, -1)
    assert "belongs to user 12345" in venue.run("keys", "list").stderr


def test_a_key_past_its_end_cannot_be_resumed(venue: Venue) -> None:
    id, _ = venue.issue()
    record = venue.find(id)
    venue.put([replace(record, version=2, state="suspended", created=1, expires=now() - DAY)])
    assert "has expired" in venue.refuse("keys", "resume", id)


def test_a_revocation_is_done_although_it_cannot_be_recorded(venue: Venue) -> None:
    id, _ = venue.issue()
    Path(venue.data / "audit.jsonl").unlink()
    (venue.data / "audit.jsonl").symlink_to("/dev/full")
    result = venue.run("keys", "revoke", id, "--yes")
    assert (result.exit_code, venue.find(id).state) == (1, "revoked")
    assert "not on record" in result.stderr
