"""Keys that are sent along, by the command line: issued with the way to send them, imported, listed."""

import json
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cli.venue import Venue

from tradeguard.config import build_guard
from tradeguard.core.drive import drive
from tradeguard.keys.format import check_secret
from tradeguard.signing.bearer import BearerDigest, bearer_id

NEW = ("keys", "new", "--owner", "acme", "--role", "trader", "--dialect", "bearer")
TOKEN = "tZ9-pq_0bYv7Kd3mWc5uRf1x"


def day(offset: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=offset)).isoformat()


def accept(venue: Venue, until: str, more: str = "") -> None:
    """Let the venue take keys that are sent along, until a day."""
    venue.configure('# dialects = ["tg1"]', 'dialects = ["tg1", "bearer"]')
    venue.configure("# accept = []", 'accept = ["bearer"]')
    venue.configure('# until = ""', f'until = "{until}"\n{more}')


def test_a_key_is_issued_its_secret_shown_once_and_nothing_but_a_digest_kept(venue: Venue) -> None:
    accept(venue, day(90))
    result = venue.run(*NEW)
    assert result.exit_code == 0, result.output
    fields = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    secret = fields["secret"]
    assert result.output.count(secret) == 1
    assert check_secret(secret)
    assert re.fullmatch("tg_live_bearer_[0-9A-Za-z]{30}", fields["id"])
    record = venue.find(fields["id"])
    assert isinstance(record.material, BearerDigest)
    assert drive(record.material.verify(b"", secret.encode()))
    kept = b"".join(path.read_bytes() for path in venue.data.iterdir())
    digest = sha256(secret.encode())
    for trace in (secret.encode(), digest.digest(), digest.hexdigest().encode()):
        assert trace not in kept
    for command in (
        ("keys", "show", fields["id"]),
        ("keys", "list"),
        ("keys", "export"),
        ("keys", "show", "--json", fields["id"]),
    ):
        shown = venue.run(*command).output
        assert fields["id"] in shown
        assert secret not in shown
        assert digest.hexdigest() not in shown


def test_the_operator_is_told_how_it_is_sent_and_until_when(venue: Venue) -> None:
    accept(venue, day(90))
    said = venue.run(*NEW).stderr
    assert f"It is sent as authorization: Bearer <id>.<secret>, over HTTPS, until {day(91)}T00:00:00Z." in said
    venue.configure(f'until = "{day(90)}"', f'until = "{day(90)}"\nheader = "X-Api-Secret"\nkey = "X-Api-Key"')
    assert "It is sent as X-Api-Key: <id>, X-Api-Secret: <secret>, over HTTPS" in venue.run(*NEW).stderr


def test_where_servers_do_not_take_it_or_not_any_more_it_is_said(venue: Venue) -> None:
    assert "servers do not take bearer yet" in venue.run(*NEW).stderr
    accept(venue, day(-1))
    assert f"servers refuse such keys since {day(0)}T00:00:00Z" in venue.run(*NEW).stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--algorithm", "hmac-sha256"), "dialect bearer has no hmac-sha256; it has bearer-sha256"),
        (("--dialect", "tg1", "--algorithm", "bearer-sha256"), "dialect tg1 has no bearer-sha256; it has hmac-sha256"),
        (("--algorithm", "md5"), "'md5'"),
    ],
)
def test_it_has_one_algorithm_and_no_other_dialect_has_it(venue: Venue, words: tuple[str, ...], says: str) -> None:
    assert says in venue.refuse(*NEW, *words, code=2)
    assert venue.ask("keys", "list") == []


def test_it_is_rotated_and_the_new_secret_shown_once(venue: Venue) -> None:
    accept(venue, day(90))
    made = venue.ask(*NEW)
    new = venue.ask("keys", "rotate", made["id"])
    assert check_secret(new["secret"])
    assert (new["dialect"], new["algorithm"], new["predecessor"]) == ("bearer", "bearer-sha256", made["id"])


def test_the_secrets_of_a_venue_are_imported_in_clear_and_as_digests(venue: Venue) -> None:
    other = sha256(b"another secret that was drawn").hexdigest()
    file = venue.folder / "keys.csv"
    file.write_text(
        "id,secret,secret_sha256,owner,scopes,dialect\n"
        f"k-1,{TOKEN},,acme,orders:read,bearer\n"
        f",,{other},umbrella,orders:read,bearer\n"
    )
    file.chmod(0o600)
    assert venue.ask("keys", "import", str(file))["imported"] == 2
    assert venue.ask("keys", "import", str(file))["present"] == 2
    assert drive(venue.find("k-1").material.verify(b"", TOKEN.encode()))
    assert venue.find(f"bearer-{other[:32]}").owner == "umbrella"


def test_one_key_is_imported_with_its_secret_from_stdin(venue: Venue) -> None:
    id = bearer_id(TOKEN.encode())
    words = (
        "keys",
        "import",
        "--id",
        id,
        "--default",
        "dialect=bearer",
        "--default",
        "scopes=orders:read",
        "--default",
        "owner=a",
    )
    assert venue.ask(*words, "--secret-stdin", input=TOKEN + "\n")["imported"] == 1
    assert drive(venue.find(id).material.verify(b"", TOKEN.encode()))


@pytest.mark.parametrize("weak", ["passwordpassword", "0123456789" * 4, "my secret of many words"])
def test_a_line_with_a_secret_that_can_be_guessed_names_the_cure_and_not_the_secret(venue: Venue, weak: str) -> None:
    file = venue.folder / "keys.jsonl"
    row = {"id": "k", "secret": weak, "owner": "acme", "scopes": "orders:read", "dialect": "bearer"}
    file.write_text(json.dumps(row) + "\n")
    file.chmod(0o600)
    result = venue.run("keys", "import", str(file))
    assert result.exit_code == 1
    assert "line 1: a bearer secret has at least 128 random bits" in result.output
    assert "`tradeguard keys new --dialect bearer`" in result.output
    assert weak not in result.output


def test_the_list_of_dialects_says_that_it_covers_nothing(venue: Venue) -> None:
    known = {dialect["name"]: dialect for dialect in venue.ask("dialects")}["bearer"]
    assert (set(known["coverage"].values()), known["algorithms"]) == ({False}, ["bearer-sha256"])
    assert known["accept"] == ["method", "path", "query", "body", "time"]
    text = venue.run("dialects", "bearer").stdout
    assert re.search(r"covers +nothing\n +leaves out +method, host, path, query, body, time, nonce, key\n", text)
    assert "name bearer in signature.accept to use it" in text
    assert "an end: the day that bearer.until names" in text


@pytest.mark.parametrize("signing", [True, False])
def test_the_page_for_customers_says_how_a_key_is_sent_and_until_when(venue: Venue, signing: bool) -> None:
    assert "bearer" not in venue.ask("docs", "customer")["page"].lower()
    accept(venue, day(90), 'header = "X-Api-Secret"\nkey = "X-Api-Key"')
    if not signing:
        venue.configure('"tg1", "bearer"', '"bearer"')
    page = venue.ask("docs", "customer")["page"]
    assert "## Sending the key along: `bearer`" in page
    assert "```text\nX-Api-Key: <id>\nX-Api-Secret: <secret>\n```" in page
    assert f"The last day of it is {day(90)} (UTC)" in page
    assert ("Requests are signed as `tg1` says." in page) == signing
    assert "signed as  says" not in page


def test_commands_do_not_warn_of_what_servers_warn_of(venue: Venue) -> None:
    accept(venue, day(90))
    assert "Warning" not in venue.run(*NEW).stderr
    assert venue.run("keys", "list").stderr == ""
    assert venue.run("config", "check").exit_code == 0


def test_the_event_carries_the_mark_of_the_policy_that_servers_have(venue: Venue) -> None:
    accept(venue, day(90), 'lanes = ["order"]')
    venue.ask(*NEW)
    guard = build_guard(venue.config, {})
    assert venue.events()[-1]["policy"] == guard.policy_mark
    guard.close()
