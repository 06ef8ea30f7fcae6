"""Dialects of one's own in the configuration: built, faulted, found doubtful and reloaded like everything else."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from config.home import AHEAD, Home, Venue
from support import sign

from tradeguard import ConfigError, Denial, Hmac, KeyRecord
from tradeguard.config import build_guard, check, json_schema, load_settings, open_keys, reload_guard
from tradeguard.config.load import explain
from tradeguard.config.rules import make_rows, own_rows
from tradeguard.core.decision import Decision
from tradeguard.core.drive import drive
from tradeguard.core.runtime import Threads
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Outgoing, Signer

ACME = """
[signature]
dialects = ["tg1", "acme"]
[dialects.acme]
algorithms = { "hmac-sha256" = "hex" }
message = "{time}\\n{method}\\n{target}\\n{body}"
key = { header = "X-Acme-Key" }
signature = { header = "X-Acme-Signature" }
time = { header = "X-Acme-Time" }
window = { past = "5s", future = "1s" }
[dialects.acme.refuse]
media_type = "application/json"
codes = { unauthorized = { status = 401, body = { wrong = "who?" } } }
unknown = { body = {} }
rejected = { body = {} }
down = { body = {} }
"""
MAP = '[roles]\ntrader = ["orders:read"]\n[operations]\n"GET /v1/orders" = "orders:read"\n'

SECRET = b"a secret of a client of acme"


class Running(Venue):
    """A venue with a key of the dialect acme, and the guard that runs there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ACME + MAP)
        with closing(open_keys(load_settings(self.path, {}), {})) as keys:
            drive(
                keys.put([KeyRecord(id="acme-1", dialect="acme", material=Hmac(SECRET), scopes=(), roles={"trader"})])
            )
        self.guard = build_guard(self.path, {})
        self.guard.bind(Threads())

    def ask(self) -> Decision:
        """Send a request that is signed as the row of the file has it now."""
        row = own_rows(load_settings(self.path, {}).settings)["acme"]
        now = self.guard.runtime.now()
        signer = Signer(row, "acme-1", SECRET)
        return drive(self.guard.admit(sign(signer, "GET", b"/v1/orders?a=1", at=now + AHEAD, arrived=now)))


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Running]:
    tmp_path.chmod(0o700)
    venue = Running(tmp_path)
    yield venue
    venue.guard.close()


def faults(home: Home, more: str) -> str:
    home.write(more)
    with pytest.raises(ConfigError) as caught:
        load_settings(home.path, {})
    return str(caught.value)


def test_a_row_of_the_file_guards_beside_a_built_in_one(venue: Running) -> None:
    rows = make_rows(load_settings(venue.path, {}).settings)
    assert [row.name for row in rows] == ["tg1", "acme"]
    assert rows[0] is TG1
    assert not isinstance(venue.ask(), Denial)


def test_it_refuses_in_its_own_words(venue: Running) -> None:
    reader = venue.guard.dialects["acme"]
    assert reader.row.refuse.codes["unauthorized"].body == {"wrong": "who?"}


def test_another_secret_is_refused(venue: Running) -> None:
    row = own_rows(load_settings(venue.path, {}).settings)["acme"]
    now = venue.guard.runtime.now()
    other = Signer(row, "acme-1", b"another secret of one")
    found = drive(venue.guard.admit(sign(other, "GET", b"/v1/orders", at=now + AHEAD, arrived=now)))
    assert isinstance(found, Denial)
    assert found.code == "signature.wrong"


def test_a_reload_takes_another_message(venue: Running) -> None:
    venue.write((ACME + MAP).replace("{time}\\n{method}", "{method}\\n{time}"))
    before = venue.ask()
    assert isinstance(before, Denial)
    reload_guard(venue.guard)
    assert not isinstance(venue.ask(), Denial)


def test_a_reload_keeps_what_it_had_where_the_row_is_wrong(venue: Running) -> None:
    good = venue.path.read_text()
    venue.write((ACME + MAP).replace("{time}\\n{method}\\n{target}\\n{body}", "{time}{path}{body}"))
    with pytest.raises(ConfigError, match="bytes could shift between"):
        reload_guard(venue.guard)
    venue.path.write_text(good)
    assert not isinstance(venue.ask(), Denial)


def test_the_faults_of_all_rows_come_with_all_others(home: Home) -> None:
    text = faults(
        home,
        ACME.replace("message", "mesage").replace('"5s"', "5")
        + '[dialects.okx]\nkey = 3\n[dialects."a b"]\n[journal]\nsync = 3\n',
    )
    for line in (
        "dialects.acme.mesage: no such key; did you mean message?",
        "dialects.acme.message: missing; ",
        "dialects.acme.window.past: must be a duration",
        "dialects.okx: a built-in dialect has this name; take another",
        'dialects."a b": a dialect is named by',
        "journal.sync: must be true or false",
    ):
        assert line in text, line


def test_a_row_that_shifts_is_a_fault_of_the_row(home: Home) -> None:
    text = faults(home, ACME.replace("{time}\\n{method}\\n{target}\\n{body}", "{time}{method}{path}{body}"))
    assert "dialects.acme: bytes could shift between {path} and {body}" in text


def test_a_row_that_covers_too_little_must_be_accepted_by_name(home: Home) -> None:
    narrow = ACME.replace("{time}\\n{method}\\n", "{time}\\n")
    assert "does not sign method" in faults(home, narrow)
    home.write(narrow.replace("[dialects.acme]", 'accept = ["acme"]\n[dialects.acme]', 1))
    assert make_rows(load_settings(home.path, {}).settings)[1].name == "acme"


def test_a_row_without_a_time_takes_a_state_that_outlives_restarts(home: Home) -> None:
    dated = 'time = { header = "X-Acme-Time" }\n'
    timeless = ACME.replace("{time}\\n", "").replace(dated, "").replace('past = "5s"', 'past = "1d"')
    timeless = timeless.replace("[dialects.acme]", 'accept = ["acme"]\n[dialects.acme]', 1)
    home.write(timeless)
    assert load_settings(home.path, {})
    text = faults(home, timeless + '[state]\nbackend = "memory"\n')
    assert 'state.backend: "memory" forgets at a restart which messages were used' in text
    assert "acme" in text


def test_a_typo_in_its_name_is_told(home: Home) -> None:
    assert "no dialect is called 'acmee'; did you mean acme?" in faults(home, ACME.replace('"acme"]', '"acmee"]'))


def test_a_row_that_nobody_can_use_is_found(home: Home) -> None:
    home.write(ACME.replace('["tg1", "acme"]', '["tg1"]') + MAP)
    found = check(load_settings(home.path, {}), {})
    assert any(line.startswith("dialects.acme: nobody can sign so") for line in found)


def test_it_is_shown_with_its_origin(home: Home) -> None:
    home.write(ACME)
    [row] = [row for row in explain(load_settings(home.path, {})) if row.key == "dialects.acme"]
    assert row.origin == "file"
    assert "X-Acme-Key" in row.value


def test_the_schema_of_the_file_has_the_keys_of_a_row() -> None:
    row = json_schema()["properties"]["dialects"]["additionalProperties"]
    assert row["additionalProperties"] is False
    assert {"message", "algorithms", "key", "refuse", "clock"} <= set(row["properties"])


def test_an_outgoing_request_of_it_is_signed_with_what_the_file_says(home: Home) -> None:
    home.write(ACME)
    row = own_rows(load_settings(home.path, {}).settings)["acme"]
    sent = Signer(row, "k", SECRET).sign(Outgoing("GET", "api.example", b"/v1"), 1_795_000_000_000_000_000)
    assert [name for name, _ in sent.headers] == [b"x-acme-key", b"x-acme-time", b"x-acme-signature"]


def test_what_the_page_on_the_configuration_says_is_taken(home: Home) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    [block] = re.findall(r"```toml\n(.*?)```", page.partition("## Clients of another venue")[2], re.DOTALL)[:1]
    home.write(block)
    assert [row.name for row in make_rows(load_settings(home.path, {}).settings)] == ["tg1", "okx", "binance", "acme"]


@pytest.mark.parametrize(("name", "hint"), [("okex", "; did you mean okx?"), ("bearer", "")])
def test_refusals_in_words_that_nobody_has_are_found_before_a_server_starts(home: Home, name: str, hint: str) -> None:
    written = f'{MAP}[policy]\nrefusals = "{name}"\n'
    assert f"policy.refusals: no dialect is called '{name}'{hint}" in faults(home, written)


def test_refusals_may_be_in_the_words_of_a_dialect_of_ones_own_that_is_spoken(home: Home) -> None:
    written = f'{MAP}[policy]\nrefusals = "acme"\n'
    home.write(ACME + written)
    assert load_settings(home.path, {}).settings.policy.refusals == "acme"
    assert "no dialect is called 'acme'" in faults(home, ACME.replace('["tg1", "acme"]', '["tg1"]') + written)


def test_all_that_has_to_be_accepted_is_named_at_once(home: Home) -> None:
    narrow = '[signature]\ndialects = ["okx", "bybit", "kraken"]\n'
    text = faults(home, narrow)
    assert "dialect bybit does not sign method, path; dialect kraken does not sign method, query: " in text
    assert 'say accept = ["bybit", "kraken"]' in text
    home.write(narrow + 'accept = ["bybit", "kraken"]\n')
    assert load_settings(home.path, {})
