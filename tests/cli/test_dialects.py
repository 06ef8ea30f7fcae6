"""`tradeguard dialects`: what each covers, to people and to programs, for built-in dialects and for one's own."""

from pathlib import Path

import pytest
from cli.test_sign_dialects import ACME
from cli.venue import Shell, Venue

from tradeguard.signing.coverage import PARTS
from tradeguard.signing.rows import ROWS

KEYS = {
    "name", "title", "algorithms", "coverage", "freshness", "compensations", "collision_window_seconds", "accept",
    "message", "fields", "docs",
}  # fmt: skip
FRESHNESS = {
    "unit", "past_seconds", "future_seconds", "client_window_seconds", "expiry_seconds", "nonce", "nonce_width",
    "restart",
}  # fmt: skip


def test_every_dialect_is_listed_with_what_it_covers_and_needs_no_configuration(shell: Shell) -> None:
    known = {row["name"]: row for row in shell.ask("dialects")}
    assert list(known) == [*ROWS, "coinbase-advanced", "bearer"]
    for name, row in known.items():
        assert set(row) == KEYS, name
        assert tuple(row["coverage"]) == PARTS
        assert row["freshness"] is None or set(row["freshness"]) == FRESHNESS
        assert "" not in (row["title"], row["docs"])
    assert known["tg1"]["accept"] == []
    assert known["binance"]["accept"] == ["method", "path"]
    assert known["tg1"]["fields"]["nonce"] == "header tg-nonce"
    assert known["binance"]["freshness"]["past_seconds"] == 5
    assert known["okx"]["collision_window_seconds"] == 0.001
    assert known["bearer"]["freshness"] is known["bearer"]["collision_window_seconds"] is None


def test_the_table_is_narrow_and_says_the_same(shell: Shell) -> None:
    head, *rows = shell.run("dialects").stdout.splitlines()
    assert head.split() == ["DIALECT", *(part.upper() for part in PARTS), "ACCEPT"]
    assert max(map(len, [head, *rows])) <= 80
    documents = {row["name"]: row for row in shell.ask("dialects")}
    assert len(rows) == len(documents)
    for line in rows:
        name, *cells, accept = line.split()
        assert [cell == "yes" for cell in cells] == list(documents[name]["coverage"].values())
        assert (accept == "yes") == bool(documents[name]["accept"])


@pytest.mark.parametrize("name", [*ROWS, "coinbase-advanced", "bearer"])
def test_one_is_shown_with_all_there_is_to_know(shell: Shell, name: str) -> None:
    document, text = shell.ask("dialects", name), shell.run("dialects", name).stdout
    assert document in shell.ask("dialects")
    for said in (*document["compensations"], *document["fields"].values(), *document["algorithms"], document["docs"]):
        assert said in text
    gaps = document["accept"]
    assert (f"{', '.join(gaps)}: name {name} in signature.accept" in text) == bool(gaps)


def test_ones_own_is_listed_where_the_configuration_describes_it(venue: Venue) -> None:
    venue.configure("[bearer]", f"{ACME}\n[bearer]")
    assert [row["name"] for row in venue.ask("dialects")][-1] == "acme"
    assert venue.ask("dialects", "acme")["title"] == "Acme Markets"
    elsewhere = Shell(venue.folder.parent / "elsewhere")
    assert "no dialect is called 'acme'" in elsewhere.refuse("dialects", "acme", code=2)
    assert elsewhere.ask("dialects", "acme", "--config", str(venue.config))["name"] == "acme"
    assert elsewhere.ask("dialects", TRADEGUARD_CONFIG=str(venue.config))[-1]["name"] == "acme"


def test_ones_own_is_shown_from_a_file(shell: Shell) -> None:
    (shell.folder / "acme.toml").write_text(ACME)
    shown = shell.ask("dialects", "acme.toml")
    assert shown["coverage"]["body"] is True
    assert shown["fields"]["passphrase"] == "header x-acme-phrase"


def test_a_configuration_that_is_wrong_is_not_passed_over(venue: Venue) -> None:
    venue.configure("[bearer]", f"{ACME.replace('message', 'mesage')}\n[bearer]")
    error = venue.refuse("dialects", code=2)
    assert "dialects.acme.mesage: no such key; did you mean message?" in error
    assert "dialects.acme.message: missing" in error


def test_the_table_of_the_documentation_is_what_the_command_prints(shell: Shell) -> None:
    """Written by `python -m tradeguard dialects > docs/dialects/table.txt`."""
    told = shell.run("dialects").stdout
    assert (Path(__file__).parents[2] / "docs" / "dialects" / "table.txt").read_text("utf-8") == told
