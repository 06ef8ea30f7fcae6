"""`tradeguard keys import`: the keys of a venue go on working, bad lines are all told, and nothing is half done."""

import csv
import json
import os
import signal
import time
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from cli.venue import Venue
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tradeguard.signing.material import Hmac
from tradeguard.signing.private import find_public, make_private_key

SECRET = "a-secret-of-the-old-venue"
TEXT = b64encode(SECRET.encode()).decode()
HEAD = ("id", "secret", "owner", "scopes")
BAD = frozenset(range(40, 2_040, 40))  # 50 of 2,000 lines


def write(file: Path, rows: Iterable[Iterable[str]], head: Iterable[str] = HEAD) -> Path:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([head, *rows])
    file.chmod(0o600)
    return file


def row(number: int) -> tuple[str, ...]:
    secret = f"secret-{number:06}-of-the-old-venue"
    return (f"old-{number:06}", "short" if number in BAD else secret, f"owner{number}", "orders:read orders:write")


@pytest.fixture
def two_thousand(venue: Venue) -> Path:
    return write(venue.folder / "keys.csv", map(row, range(1, 2_001)))


def count(venue: Venue) -> int:
    return len(venue.run("keys", "list").stdout.splitlines()) - 1


def test_ids_and_secrets_are_taken_over_as_they_are(venue: Venue) -> None:
    file = write(venue.folder / "keys.csv", [row(1), row(2)])
    result = venue.run("keys", "import", str(file), "--actor", "olga", "--reason", "move")
    assert result.stdout == "lines read: 2, keys imported: 2, bad lines: 0.\n"
    record = venue.find("old-000001")
    assert isinstance(record.material, Hmac)
    assert record.material.reveal() == b"secret-000001-of-the-old-venue"
    assert (record.actor, record.reason, record.state) == ("olga", "move", "active")
    assert [event["code"] for event in venue.events()] == ["keys.imported"] * 2


def test_fifty_bad_lines_of_two_thousand_are_all_told_and_nothing_is_imported(venue: Venue, two_thousand: Path) -> None:
    report = venue.ask("keys", "import", str(two_thousand), "--faults", "faults.csv", code=1)
    faults = report.pop("faults")
    assert report == {"read": 2_000, "imported": 0, "present": 0, "bad": 50, "dry_run": True}
    assert {fault["line"] for fault in faults} == {number + 1 for number in BAD}
    assert count(venue) == 0
    assert not any("short" in fault["reason"] for fault in faults), "a secret, however short, is not printed"
    with (venue.folder / "faults.csv").open(newline="") as written:
        assert [(int(line["line"]), line["reason"]) for line in csv.DictReader(written)] == [
            (fault["line"], fault["reason"]) for fault in faults
        ]
    text = venue.run("keys", "import", str(two_thousand)).stdout
    assert text.count("\nline ") + text.startswith("line ") == 50
    assert text.endswith("bad lines: 50. Nothing was imported.\n")


def test_with_skip_bad_the_good_lines_go_in_and_again_changes_nothing(venue: Venue, two_thousand: Path) -> None:
    report = venue.ask("keys", "import", str(two_thousand), "--skip-bad", code=1)
    assert (report["imported"], report["bad"], report["dry_run"], count(venue)) == (1_950, 50, False, 1_950)
    again = venue.ask("keys", "import", str(two_thousand), "--skip-bad", code=1)
    assert (again["imported"], again["present"], again["bad"]) == (0, 1_950, 50)


@pytest.mark.parametrize("dialect", ["htx", "coinbase-advanced", "kraken-futures-bare"])
def test_keys_that_every_server_would_refuse_for_want_of_networks_are_bad_lines(venue: Venue, dialect: str) -> None:
    public = b64encode(find_public(make_private_key("ed25519")).reveal()).decode()
    material = {"public_key": public, "state": "pending"} if dialect == "coinbase-advanced" else {"secret": TEXT}
    lines = [
        {"id": "open", "dialect": dialect, "owner": "o", "scopes": "orders:read", **material},
        {"id": "okx", "dialect": "binance", "owner": "o", "scopes": "orders:read", "secret": "another-" + SECRET},
    ]
    (venue.folder / "keys.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = venue.ask("keys", "import", "keys.jsonl", code=1)
    assert (report["read"], report["imported"], report["bad"]) == (2, 0, 1)
    [fault] = report["faults"]
    assert fault["line"] == 1
    for said in (f"dialect {dialect}", "signature.unbound", "column networks, such as 203.0.113.0/24"):
        assert said in fault["reason"]
    assert count(venue) == 0
    assert venue.ask("keys", "import", "keys.jsonl", "--default", "networks=192.0.2.0/24")["imported"] == 2
    assert [str(network) for network in venue.find("open").networks] == ["192.0.2.0/24"]


def test_the_file_that_keys_new_wrote_is_imported_as_it_is(venue: Venue) -> None:
    written = {"id": "k", "secret": SECRET, "passphrase": "a phrase"}
    (venue.folder / "okx.json").write_text(json.dumps(written))
    more = ("--default", "dialect=okx", "--default", "owner=o", "--default", "scopes=orders:read")
    words = ("keys", "import", "--secret-file", "okx.json", *more)
    assert "--id names other, but the secret is of key k: say --id k" in venue.refuse(*words, "--id", "other", code=2)
    assert venue.ask(*words, "--id", "k")["imported"] == 1
    record = venue.find("k")
    assert isinstance(record.material, Hmac)
    assert record.material.reveal() == SECRET.encode()
    assert record.passphrase == record.material.blind(b"a phrase").hex()


def test_a_dry_run_changes_nothing(venue: Venue) -> None:
    file = write(venue.folder / "keys.csv", [row(1)])
    report = venue.ask("keys", "import", str(file), "--dry-run")
    assert (report["read"], report["imported"], report["dry_run"], count(venue)) == (1, 0, True, 0)
    assert "keys that could be imported: 1" in venue.run("keys", "import", str(file), "--dry-run").stdout


def test_many_faults_are_cut_for_people(venue: Venue) -> None:
    file = write(venue.folder / "keys.csv", [("x", "short", "o", "orders:read")] * 150)
    text = venue.run("keys", "import", str(file)).stdout
    assert "... and 50 more bad lines; --faults FILE" in text


@pytest.mark.parametrize("more", [(), ("--format", "csv")])
def test_a_stream_needs_skip_bad_or_dry_run(venue: Venue, more: tuple[str, ...]) -> None:
    text = "id,secret,owner,scopes\n" + ",".join(row(1)) + "\n"
    says = "cannot be read twice" if more else "--format"
    assert says in venue.refuse("keys", "import", "-", *more, input=text, code=2)
    assert count(venue) == 0


def test_a_stream_is_imported_as_it_comes(venue: Venue) -> None:
    text = "id,secret,owner,scopes\n" + ",".join(row(1)) + "\n"
    assert venue.ask("keys", "import", "-", "--format", "csv", "--dry-run", input=text)["read"] == 1
    assert venue.ask("keys", "import", "-", "--format", "csv", "--skip-bad", input=text)["imported"] == 1


def test_a_file_on_stdin_is_a_stream_too(venue: Venue) -> None:
    file = write(venue.folder / "keys.csv", [row(1)])
    with file.open() as stdin:
        assert venue.call("keys", "import", "-", "--format", "csv", stdin=stdin)[0] == 2
    code, _, errors = venue.sh("keys import - --format csv --skip-bad <&-")
    assert (code, "stdin is closed" in errors) == (2, True)


def test_a_named_pipe_is_a_stream_too(venue: Venue) -> None:
    os.mkfifo(venue.folder / "pipe.csv")
    process = venue.start("keys", "import", "pipe.csv")
    with (venue.folder / "pipe.csv").open("w"):
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, "cannot be read twice" in errors) == (2, True)


def test_the_venues_permissions_become_scopes(venue: Venue) -> None:
    (venue.folder / "map.toml").write_text('TRADE = ["orders:read", "orders:write"]\nREAD = "orders:read"\n')
    rows = [("a", "a" * 20, "TRADE READ"), ("b", "b" * 20, "READ"), ("c", "c" * 20, "WITHDRAW")]
    file = write(venue.folder / "keys.csv", rows, ("id", "secret", "permissions"))
    words = ("keys", "import", str(file), "--mapping", "map.toml", "--default", "owner=acme", "--skip-bad")
    report = venue.ask(*words, code=1)
    assert [fault["line"] for fault in report["faults"]] == [4]
    assert venue.find("a").scopes == {"orders:read", "orders:write"}
    assert venue.find("b").owner == "acme"


@pytest.mark.parametrize(
    ("text", "says"),
    [("TRADE = 1", "write TRADE ="), ("TRADE = [1]", "write TRADE ="), ("TRADE", "map.toml"), (None, "No such")],
)
def test_a_mapping_that_is_none_is_told(venue: Venue, text: str | None, says: str) -> None:
    if text is not None:
        (venue.folder / "map.toml").write_text(text)
    file = write(venue.folder / "keys.csv", [row(1)])
    assert says in venue.refuse("keys", "import", str(file), "--mapping", "map.toml", code=2)


def test_the_venues_own_function_decrypts(venue: Venue) -> None:
    (venue.folder / "ours.py").write_text(
        "def turn(value, row):\n"
        "    if row['owner'] == 'bad':\n        raise ValueError(f'cannot open {value!r}')\n    return value[::-1]\n"
        "NUMBER = 5\n"
    )
    rows = [("a", "x" * 16 + "yz", "acme", "orders:read"), ("b", "hunter2hunter2hunter2", "bad", "orders:read")]
    file = write(venue.folder / "keys.csv", rows)
    report = venue.ask("keys", "import", str(file), "--decrypt", "ours:turn", "--skip-bad", code=1)
    assert "hunter2" not in json.dumps(report)
    assert report["faults"] == [{"line": 3, "reason": "the secret cannot be decrypted: ValueError"}]
    material = venue.find("a").material
    assert isinstance(material, Hmac)
    assert material.reveal() == b"zy" + b"x" * 16
    for wrong in ("ours", "ours:none", "nowhere:turn", "", "ours:NUMBER", ":"):
        assert "--decrypt" in venue.refuse("keys", "import", str(file), "--decrypt", wrong, code=2)


def test_a_public_key_without_proof_is_pending_unless_the_operator_vouches(venue: Venue) -> None:
    keys = [Ed25519PrivateKey.generate().public_key().public_bytes_raw() for _ in range(2)]
    for number, (key, more, state) in enumerate(
        zip(keys, ([], ["--without-proof"]), ("pending", "active"), strict=True)
    ):
        file = venue.folder / f"{number}.jsonl"
        text = b64encode(key, b"-_").decode().rstrip("=")
        file.write_text(json.dumps({"id": f"k{number}", "public_key": text, "owner": "o", "scopes": ["orders:read"]}))
        venue.ask("keys", "import", str(file), *more)
        assert venue.find(f"k{number}").state == state


@pytest.mark.parametrize("way", ["file", "stdin", "environment"])
def test_one_key_comes_in_without_a_file_and_its_secret_not_by_argument(venue: Venue, way: str) -> None:
    secret = "the-old-secret-of-one-key"
    (venue.folder / "secret").write_text(secret + "\n")
    more: dict[str, Any] = {
        "file": {},
        "stdin": {"input": secret + "\r\n"},
        "environment": {"TRADEGUARD_SECRET": secret},
    }[way]
    options = {"file": ["--secret-file", "secret"], "stdin": ["--secret-stdin"], "environment": []}[way]
    words = ("keys", "import", "--id", "one", "--default", "owner=acme", "--default", "scopes=orders:read")
    assert venue.ask(*words, *options, **more)["imported"] == 1
    material = venue.find("one").material
    assert isinstance(material, Hmac)
    assert material.reveal() == secret.encode()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a FILE"),
        (("--id", "one"), "say where the secret is"),
        (("--id", "one", "keys.csv", "--secret-stdin"), "one of the two"),
        (("--id", "one", "--secret-stdin", "--secret-file", "x"), "one of the two"),
        (("--id", "one", "--secret-file", "nowhere"), "No such file"),
        (("--id", "one", "--secret-file", "empty"), "empty"),
        (("--id", "one", "--secret-file", "binary"), "no text"),
        (("--id", "one", "--secret-file", "huge"), "longer than"),
        (("keys.csv", "--default", "secret=hunter2"), "never stands on the command line"),
        (("keys.csv", "--default", "owner"), "column=value"),
        (("keys.csv", "--default", "onwer=x"), "did you mean owner"),
        (("keys.txt",), "--format"),
        (("nowhere.csv",), "No such file"),
        (("typo.csv",), "did you mean secret"),
        (("binary", "--format", "csv"), "no UTF-8"),
        (("empty", "--format", "csv"), "head line"),
    ],
)
def test_what_cannot_be_read_at_all_is_exit_code_2(venue: Venue, words: tuple[str, ...], says: str) -> None:
    write(venue.folder / "keys.csv", [row(1)])
    write(venue.folder / "typo.csv", [row(1)], ("id", "secrte", "owner", "scopes"))
    for name, content in {"empty": b"", "binary": b"\xff\xfe\x00" * 9, "huge": b"x" * 70_000, "keys.txt": b""}.items():
        (venue.folder / name).write_bytes(content)
    error = venue.refuse("keys", "import", *words, input="", code=2)
    assert says in error
    assert "hunter2" not in error
    assert count(venue) == 0


def test_a_file_that_others_can_read_is_warned_of(venue: Venue) -> None:
    file = write(venue.folder / "keys.csv", [row(1)])
    assert venue.run("keys", "import", str(file), "--dry-run").stderr == ""
    file.chmod(0o644)
    assert "chmod 600" in venue.run("keys", "import", str(file), "--dry-run").stderr


def test_faults_that_cannot_be_written_are_told(venue: Venue) -> None:
    file = write(venue.folder / "keys.csv", [row(1)])
    assert "--faults" in venue.refuse("keys", "import", str(file), "--dry-run", "--faults", "no/where")


def test_an_interrupted_import_says_how_far_it_came_and_goes_on(venue: Venue) -> None:
    file = write(venue.folder / "keys.csv", (row(number) for number in range(10_001, 60_001)))
    process = venue.start("keys", "import", str(file), "--skip-bad")
    for _ in range(600):
        if count(venue) > 1_000:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "run it again to carry on" in errors
    done = count(venue)
    assert f" {done} keys imported" in errors
    assert 1_000 < done < 50_000
    file = write(venue.folder / "less.csv", (row(number) for number in range(10_001, 10_001 + done + 100)))
    report = venue.ask("keys", "import", str(file), "--skip-bad")
    assert (report["present"], report["imported"]) == (done, 100)


@pytest.mark.parametrize(
    ("options", "says"), [(["--skip-bad"], "500 keys imported; run it again"), ([], "nothing was")]
)
def test_whenever_it_is_interrupted_it_says_what_is_done(venue: Venue, options: list[str], says: str) -> None:
    (venue.folder / "tired.py").write_text(
        "def turn(value, row):\n    if row['id'] == 'old-000700':\n        raise KeyboardInterrupt\n    return value\n"
    )
    file = write(venue.folder / "keys.csv", (row(number) for number in range(1, 900) if number not in BAD))
    result = venue.run("keys", "import", str(file), "--decrypt", "tired:turn", *options)
    assert (result.exit_code, says in result.stderr) == (1, True)
    assert count(venue) == (500 if options else 0)


def test_an_interrupted_check_has_imported_nothing(venue: Venue) -> None:
    file = write(venue.folder / "keys.csv", (row(number) for number in range(10_001, 60_001)))
    process = venue.start("keys", "import", str(file))
    for _ in range(200):
        if (venue.data / "state.db").exists():
            break
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "nothing was imported yet" in errors, count(venue)) == (1, True, 0)


def test_a_bar_shows_how_far_it_is_on_a_terminal_only(venue: Venue, two_thousand: Path) -> None:
    text = venue.watch("keys", "import", str(two_thousand), "--dry-run")
    assert b"Checking" in text
    assert b"100%" in text
    assert "%" not in venue.call("keys", "import", str(two_thousand), "--dry-run")[2]


def test_a_store_that_cannot_take_more_says_how_far_it_came(venue: Venue) -> None:
    (venue.data / "audit.jsonl").symlink_to("/dev/full")
    file = write(venue.folder / "keys.csv", [row(1)])
    assert "0 keys imported; run it again" in venue.refuse("keys", "import", str(file), "--skip-bad")
    assert count(venue) == 0


def test_one_key_comes_with_its_passphrase_from_files(venue: Venue) -> None:
    (venue.folder / "secret").write_text("a secret of the old venue\n")
    (venue.folder / "passphrase").write_text("open sesame\n")
    words = ("keys", "import", "--id", "old", "--secret-file", "secret", "--passphrase-file", "passphrase")
    rest = ("--default", "dialect=okx", "--default", "owner=acme", "--default", "scopes=orders:read")
    assert venue.ask(*words, *rest)["imported"] == 1
    record = venue.find("old")
    assert record.passphrase == Hmac(b"a secret of the old venue").blind(b"open sesame").hex()
    assert b"open sesame" not in b"".join(path.read_bytes() for path in venue.data.iterdir())


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 257, "\N{SNOWMAN}".encode()])
def test_what_no_client_can_send_is_no_passphrase(venue: Venue, content: bytes) -> None:
    (venue.folder / "secret").write_text("a secret of the old venue\n")
    (venue.folder / "passphrase").write_bytes(content)
    words = ("keys", "import", "--id", "old", "--secret-file", "secret", "--passphrase-file", "passphrase")
    assert "1 to 256 ASCII characters" in venue.refuse(*words, code=2)


@pytest.mark.parametrize("column", ["secret", "passphrase"])
def test_no_secret_stands_on_the_command_line(venue: Venue, column: str) -> None:
    error = venue.refuse("keys", "import", "--id", "old", "--default", f"{column}=hush", code=2)
    assert "never stands on the command line" in error
    assert "hush" not in error


def test_a_passphrase_file_is_for_the_one_key(venue: Venue) -> None:
    file = write(venue.folder / "keys.csv", [row(1)])
    assert "--passphrase-file" in venue.refuse("keys", "import", str(file), "--passphrase-file", "p", code=2)
