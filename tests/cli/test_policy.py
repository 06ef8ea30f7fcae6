"""`tradeguard operations | config`: what the configuration says, to people and to programs."""

import json

import pytest
from cli.venue import Venue

from tradeguard.config import Settings


def test_every_row_of_the_map_is_shown(venue: Venue) -> None:
    rows = {row["operation"]: row for row in venue.ask("operations")}
    assert rows["POST /v1/orders"]["scopes"] == ["orders:write"]
    assert rows["DELETE /v1/orders/{id}"]["lane"] == "cancel"
    assert "/v1/orders/{id}" in venue.run("operations").stdout


def test_costs_are_shown(venue: Venue) -> None:
    venue.configure(
        '"POST /v1/orders" = "orders:write"', '"POST /v1/orders" = {scopes = "orders:write", costs = {orders = 3}}'
    )
    assert "orders=3" in venue.run("operations").stdout


@pytest.mark.parametrize(
    ("method", "path", "row"),
    [
        ("GET", "/v1/orders/17", "GET /v1/orders/{id}"),
        ("get", "/v1/orders", "GET /v1/orders"),
        ("HEAD", "/v1/orders", "GET /v1/orders"),
        ("POST", "/v1/orders?side=buy", "POST /v1/orders"),
        ("GET", "/v1/orders/%C3%BC", "GET /v1/orders/{id}"),
    ],
)
def test_the_row_that_matches_is_found_as_the_guard_finds_it(venue: Venue, method: str, path: str, row: str) -> None:
    assert venue.ask("operations", method, path)["operation"] == row


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v1/nothing", "no row matches"),
        ("/v1//orders", "400 frame.path"),
        ("/v1/%2e%2e/x", "frame.path"),
        ("v1", "frame"),
    ],
)
def test_what_would_be_refused_says_so(venue: Venue, path: str, says: str) -> None:
    assert says in venue.refuse("operations", "GET", path)
    assert "or neither" in venue.refuse("operations", "GET", code=2)


def test_every_value_is_shown_with_where_it_comes_from(venue: Venue) -> None:
    shown = venue.ask("config", "show", TRADEGUARD_KEYS__POLL_SECONDS="0.5")
    values = {row["key"]: (row["value"], row["from"]) for row in shown["values"]}
    assert values["keys.poll_seconds"] == (0.5, "env TRADEGUARD_KEYS__POLL_SECONDS")
    assert values["state.backend"] == ("sqlite", "default")
    assert values["data.directory"] == (str(venue.data), "file")
    named = {"tiers", "overrides", "dialects"}  # none of them in the sample
    assert set(Settings.model_fields) - named == {key.partition(".")[0] for key in values}
    assert "keys.poll_seconds" in venue.run("config", "show").stdout


def test_the_master_key_itself_is_never_shown(venue: Venue) -> None:
    secret = venue.master_key.read_text().splitlines()[-1]
    venue.configure(f"file:{venue.master_key}", "env:VENUE_KEY")
    for words in (("config", "show"), ("config", "check"), ("config", "show", "--json")):
        assert secret not in venue.run(*words, VENUE_KEY=secret).output


def test_a_configuration_without_fault_has_no_finding(venue: Venue) -> None:
    assert "nothing found" in venue.run("config", "check").stdout
    assert venue.ask("config", "check")["findings"] == []


def test_findings_are_exit_code_1(venue: Venue) -> None:
    venue.data.chmod(0o770)
    result = venue.run("config", "check")
    assert (result.exit_code, "chmod go-w" in result.stdout) == (1, True)
    assert len(venue.ask("config", "check", code=1)["findings"]) == 1


def test_a_file_that_cannot_be_used_is_exit_code_2_with_every_fault(venue: Venue) -> None:
    venue.configure('directory = "data"', 'directory = 5\ndirectroy = ""')
    error = venue.refuse("config", "check", code=2)
    assert "data.directory" in error
    assert "did you mean data.directory?" in error
    venue.config.write_text("= no toml")
    assert "line 1" in venue.refuse("config", "show", code=2)


def test_the_schema_is_the_one_that_init_wrote(venue: Venue) -> None:
    written = json.loads((venue.folder / "tradeguard.schema.json").read_text())
    assert json.loads(venue.run("config", "schema").stdout) == written == venue.ask("config", "schema")
