"""`tradeguard keys list | show | export | patterns`: everything that is known of keys, and no secret of any."""

import csv
import io
import json
import re
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from cli.venue import DAY, Venue, now

from tradeguard.core.key import KeyRecord
from tradeguard.keys.format import SECRET_PATTERN
from tradeguard.keys.text import show_time
from tradeguard.signing.material import Hmac


def make_keys(amount: int) -> list[KeyRecord]:
    return [
        KeyRecord(id=f"k{number:05}", dialect="tg1", material=Hmac(b"%032d" % number), scopes={"orders:read"},
                  owner=f"owner{number % 2}", label=f"=cmd|{number}")
        for number in range(amount)
    ]  # fmt: skip


def ids(venue: Venue, *words: str) -> set[str]:
    found = venue.ask("keys", "list", *words)
    return {key["id"] for key in (found if isinstance(found, list) else [found])}


def test_an_empty_list_is_its_head(venue: Venue) -> None:
    assert venue.run("keys", "list").stdout.split() == ["ID", "OWNER", "STATE", "EXPIRES", "LAST", "USED", "LABEL"]
    assert venue.ask("keys", "list") == []


def test_every_key_of_several_pages_is_listed_once(venue: Venue) -> None:
    venue.put(make_keys(1_203))
    lines = venue.run("keys", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", *(f"k{number:05}" for number in range(1_203))]
    assert len(ids(venue, "--owner", "owner1")) == 601


def test_states_are_shown_as_they_work_now(venue: Venue) -> None:
    first, second, third, fourth, fifth = make_keys(5)
    at = now()
    venue.put(
        [
            replace(first, expires=at - 1),
            replace(second, not_before=at + DAY),
            replace(third, expires=at + 10 * DAY),
            replace(fourth, state="revoked", expires=at + 10 * DAY),
            fifth,
        ]
    )
    assert ids(venue, "--state", "expired") == {"k00000"}
    assert ids(venue, "--state", "waiting") == {"k00001"}
    assert ids(venue, "--state", "active") == {"k00002", "k00004"}
    assert ids(venue, "--state", "revoked") == {"k00003"}
    assert ids(venue, "--expiring", "30d") == {"k00002"}
    assert ids(venue, "--expiring", "9d") == set()
    assert ids(venue, "--expiring", "30d", "--owner", "owner1") == set()
    assert venue.ask("keys", "show", "k00000")["state"] == "active"
    assert venue.ask("keys", "show", "k00000")["now"] == "expired"


def test_last_use_is_told(venue: Venue) -> None:
    venue.put(make_keys(2))
    at = now()
    venue.touch("k00001", at)
    assert venue.ask("keys", "show", "k00001")["last_used"] == at
    assert f"last used  {show_time(at)}" in venue.run("keys", "show", "k00001").stdout
    assert "last used  never" in venue.run("keys", "show", "k00000").stdout
    assert show_time(at)[:10] in venue.run("keys", "list").stdout.splitlines()[2]


def test_show_names_the_whole_chain_from_any_of_its_keys(venue: Venue) -> None:
    first, _ = venue.issue()
    second = venue.ask("keys", "rotate", first)["id"]
    third = venue.ask("keys", "rotate", second)["id"]
    for id in (first, second, third):
        assert venue.ask("keys", "show", id)["chain"] == [first, second, third]
        assert f"{first} -> {second} -> {third}" in venue.run("keys", "show", id).stdout
    assert "chain" not in venue.run("keys", "show", venue.issue()[0]).stdout


def test_a_chain_that_bites_its_tail_or_leads_nowhere_ends(venue: Venue) -> None:
    one, two, three = make_keys(3)
    venue.put([replace(one, successor=two.id), replace(two, successor=one.id), replace(three, predecessor="gone")])
    assert venue.ask("keys", "show", one.id)["chain"] == [one.id, two.id]
    assert venue.ask("keys", "show", three.id)["chain"] == ["gone", three.id]


def test_show_says_what_a_key_may_and_may_not(venue: Venue) -> None:
    id = venue.ask("keys", "new", "--owner", "acme", "--role", "trader", "--only-side", "buy",
                   "--max-order-notional", "10.5", "--expires", "2030-01-31")["id"]  # fmt: skip
    text = venue.run("keys", "show", id).stdout
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in text.splitlines())
    assert lines["by roles"] == "orders:cancel orders:read orders:write"
    assert (lines["only sides"], lines["most per order"]) == ("buy", "10.5")
    assert lines["expires"] == "2030-01-31T00:00:00Z"


def test_a_record_that_does_not_verify_is_refused_by_name(venue: Venue) -> None:
    good, _ = venue.issue()
    bad, _ = venue.issue()
    with closing(sqlite3.connect(venue.data / "keys.db")) as database, database:
        fields = json.loads(database.execute("SELECT fields FROM key WHERE id = ?", (bad,)).fetchone()[0])
        widened = json.dumps({**fields, "scopes": ["orders:*"]}).encode()
        database.execute("UPDATE key SET fields = ? WHERE id = ?", (widened, bad))
    for words in (("keys", "list"), ("keys", "export")):
        result = venue.run(*words, "--json")
        assert result.exit_code == 1
        assert (good in result.stdout, bad in result.stdout, bad in result.stderr) == (True, False, True)
        assert "refused" in json.loads(result.stderr)["note"]
    assert "its record is refused" in venue.refuse("keys", "show", bad)
    assert "its record is refused" in venue.refuse("keys", "rotate", bad)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_holds_every_key_and_no_secret(venue: Venue, form: str) -> None:
    venue.put(make_keys(700))
    _, secret = venue.issue("--network", "203.0.113.0/24", "--only-side", "buy")
    out = venue.folder / f"keys.{form}"
    assert venue.ask("keys", "export", "--out", str(out)) == {"exported": 701, "file": str(out)}
    text = out.read_text()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert secret.read_text().strip() not in text
    assert re.search(SECRET_PATTERN, text) is None
    assert venue.run("keys", "export", "--format", form).stdout == text
    rows = (
        list(csv.DictReader(io.StringIO(text))) if form == "csv" else [json.loads(line) for line in text.splitlines()]
    )
    assert len({row["id"] for row in rows}) == 701
    last = rows[-1]
    assert last["restrictions"] in ({"sides": ["buy"]}, '{"sides": ["buy"]}')


def test_a_cell_of_the_csv_is_no_formula(venue: Venue) -> None:
    venue.put(make_keys(1))
    [row] = csv.DictReader(io.StringIO(venue.run("keys", "export", "--format", "csv").stdout))
    assert row["label"] == "'=cmd|0"


def test_an_export_overwrites_nothing_and_leaves_no_half_file(venue: Venue) -> None:
    venue.put(make_keys(500))
    there = venue.folder / "there.jsonl"
    there.write_text("kept")
    assert "name a new file" in venue.refuse("keys", "export", "--out", str(there), code=2)
    assert there.read_text() == "kept"
    assert "No such file" in venue.refuse("keys", "export", "--out", "no/where", code=2)
    code, _, errors = venue.sh("keys export --out half.jsonl", "trap '' XFSZ; ulimit -f 100; {}")
    assert code == 1
    assert "nothing was kept" in errors
    assert not (venue.folder / "half.jsonl").exists()


@pytest.mark.parametrize("scanner", ["gitleaks", "github", "precommit"])
def test_patterns_are_those_of_the_library(venue: Venue, scanner: str) -> None:
    assert SECRET_PATTERN in venue.run("keys", "patterns", scanner).stdout
    assert SECRET_PATTERN in venue.ask("keys", "patterns", scanner)["rule"]


def test_the_pattern_finds_a_real_secret(venue: Venue) -> None:
    _, secret = venue.issue()
    rule = venue.run("keys", "patterns", "gitleaks").stdout
    pattern = re.search("regex = '''(.*)'''", rule)
    assert pattern is not None
    assert re.search(pattern[1], Path(secret).read_text())
