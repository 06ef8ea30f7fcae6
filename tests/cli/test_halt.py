"""`tradeguard halt set | propose | confirm | list`: one stops, two let go, and everybody sees who did."""

import json
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from cli.venue import Venue, now
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tradeguard.backends.sqlite import SQLiteKeys, SQLiteState
from tradeguard.config import build_guard
from tradeguard.core.decision import Denial
from tradeguard.core.drive import drive
from tradeguard.core.halt import Mode
from tradeguard.core.request import Headers, Request, peer_at
from tradeguard.core.runtime import Threads
from tradeguard.halts.view import Halts
from tradeguard.keys.possession import possession_text
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import load_master_keys
from tradeguard.secrets.sealer import LocalSealer
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Outgoing, Signer

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
Signing = tuple[str, ...]


class Halted(Venue):
    """A venue with two operators and a trader; each signs by his own file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.olga = self.operator("olga")
        self.omar = self.own_pair("omar")
        id, file = self.issue()
        self.trader: Signing = ("--key", id, "--secret-file", str(file))

    def operator(self, owner: str, scope: str = "halt:set") -> Signing:
        made = self.ask("keys", "new", "--owner", owner, "--scope", scope)
        file = self.folder / f"{made['id']}.secret"
        file.write_text(made["secret"])
        return "--key", made["id"], "--secret-file", str(file)

    def own_pair(self, owner: str) -> Signing:
        raw = PRIVATE.public_key().public_bytes_raw()
        for name, content in (
            ("private", PRIVATE.private_bytes_raw()),
            ("public", raw),
            ("proof", PRIVATE.sign(possession_text(owner, raw))),
        ):
            (self.folder / name).write_bytes(b64encode(content))
        made = self.ask(
            "keys", "new", "--owner", owner, "--scope", "halt:set", "--public-key", "public", "--proof", "proof"
        )
        return "--key", made["id"], "--secret-file", "private"

    def propose(self, *words: str) -> str:
        """Propose something; return the file with it."""
        result = self.run("halt", "propose", *words)
        assert result.exit_code == 0, result.output
        (self.folder / "proposal").write_text(result.stdout)
        return "proposal"

    @contextmanager
    def server(self) -> Iterator[Halts]:
        """A node that obeys, as a server has it."""
        sealer = LocalSealer(load_master_keys(f"file:{self.master_key}"))
        with (
            closing(SQLiteKeys(self.data / "keys.db", busy=5)) as table,
            closing(SQLiteState(self.data / "state.db", busy=5)) as state,
            closing(Halts(state, SealedKeys(table, sealer))) as halts,
        ):
            drive(halts.refresh())
            drive(halts.announce())
            yield halts


@pytest.fixture
def halted(tmp_path: Path) -> Halted:
    return Halted(tmp_path / "venue")


def mode(halts: Halts, scope: str = "venue") -> Mode:
    assert drive(halts.refresh())
    found = halts.find((scope,), now())
    return Mode.ACTIVE if found is None else found.mode


def test_one_operator_stops_two_let_go_and_the_nodes_say_so(halted: Halted) -> None:
    with halted.server() as halts:
        shown = halted.ask("halt", "set", "no_new", *halted.olga, "--reason", "odd orders", "--actor", "olga")
        assert (shown["done"], list(shown["obeyed"]), shown["silent"]) == (True, [halts.node], [])
        assert shown["obeyed"][halts.node] == {"in_flight": 0, "left": 0}
        assert mode(halts) == Mode.NO_NEW
        [listed] = [halted.ask("halt", "list")[0]]
        assert (listed["scope"], listed["mode"], listed["reason"], listed["doubt"]) == (
            "venue",
            "NO_NEW",
            "odd orders",
            "",
        )
        assert listed["signed_by"] == [halted.olga[1]]
        file = halted.propose("ACTIVE", *halted.olga, "--reason", "all clear")
        assert mode(halts) == Mode.NO_NEW
        done = halted.ask("halt", "confirm", file, *halted.omar, "--yes")
        assert (done["done"], mode(halts)) == (True, Mode.ACTIVE)
    assert halted.ask("halt", "list") == []
    events = [event for event in halted.events() if event["kind"] == "halt"]
    assert (events[0]["code"], events[0]["actor"]) == ("halt.set", "olga")
    assert events[1]["code"] == "halt.lifted"
    assert events[1]["key_id"] == ",".join(sorted((halted.olga[1], halted.omar[1])))
    assert "all clear" in events[1]["detail"]


@pytest.mark.parametrize(
    "words",
    [("ACTIVE",), ("NO_NEW", "--for", "10m"), ("BLOCKED",), ("BLOCKED", "--for", "2h"), ("BLOCKED", "--for", "5m")],
)
def test_what_makes_less_stand_or_blocks_for_long_takes_two(halted: Halted, words: Signing) -> None:
    halted.run("halt", "set", "NO_NEW", *halted.olga, "--wait", "0s")
    assert "of two owners" in halted.refuse("halt", "set", *words, *halted.omar)
    file = halted.propose(*words, *halted.olga)
    assert "signed this already" in halted.refuse("halt", "confirm", file, *halted.olga, "--yes")
    assert "of two owners" in halted.refuse("halt", "confirm", file, *halted.operator("Olga"), "--yes")
    assert halted.ask("halt", "confirm", file, *halted.omar, "--yes")["record"]["proposal"]["mode"] == words[0]


def test_one_operator_blocks_an_account_for_an_hour(halted: Halted) -> None:
    shown = halted.ask("halt", "set", "BLOCKED", *halted.olga, "--scope", "account:acme", "--for", "1h")
    assert shown["record"]["proposal"]["scope"] == "account:acme"
    with halted.server() as halts:
        assert (mode(halts, "account:acme"), mode(halts)) == (Mode.BLOCKED, Mode.ACTIVE)


def test_who_is_no_operator_stops_nothing(halted: Halted) -> None:
    assert "lacks the scope halt:set" in halted.refuse("halt", "set", "NO_NEW", *halted.trader)
    wrong = (*halted.olga[:2], *halted.trader[2:])
    assert "not the secret of key" in halted.refuse("halt", "set", "NO_NEW", *wrong)
    assert "not the secret of key" in halted.refuse("halt", "propose", "ACTIVE", *wrong)
    halted.ask("keys", "suspend", halted.olga[1])
    assert "is suspended" in halted.refuse("halt", "set", "NO_NEW", *halted.olga)
    assert "keys list" in halted.refuse("halt", "set", "NO_NEW", "--key", "nobody", *halted.olga[2:])
    assert halted.ask("halt", "list") == []


def test_the_json_of_a_key_says_whose_secret_it_is_and_signs(halted: Halted) -> None:
    written = {"id": halted.olga[1], "secret": (halted.folder / halted.olga[3]).read_text()}
    (halted.folder / "olga.json").write_text(json.dumps(written))
    halted.ask("halt", "set", "NO_NEW", "--secret-file", "olga.json", "--wait", "0s")
    assert halted.ask("halt", "list")[0]["signed_by"] == [halted.olga[1]]
    error = halted.refuse("halt", "set", "NO_NEW", "--key", halted.omar[1], "--secret-file", "olga.json", code=2)
    assert halted.omar[1] in error
    assert f"is of key {halted.olga[1]}: say --key {halted.olga[1]}" in error
    assert "with --key" in halted.refuse("halt", "set", "NO_NEW", *halted.olga[2:], code=2)


def test_a_key_of_another_dialect_signs_if_it_can_and_is_refused_with_the_cure_if_not(halted: Halted) -> None:
    def operator(dialect: str) -> Signing:
        words = ("keys", "new", "--owner", "ops & co", "--scope", "halt:set", "--dialect", dialect)
        made = halted.ask(*words, "--secret-out", dialect)
        return "--key", made["id"], "--secret-file", dialect

    okx, base64, kraken, bearer = map(operator, ("okx", "coinbase-exchange", "kraken", "bearer"))
    for able in (okx, base64):  # JSON with a passphrase, and a secret that is written in base64
        assert halted.ask("halt", "set", "NO_NEW", *able, "--scope", f"key:{able[1]}")["done"]
    for unable in (kraken, bearer):
        error = halted.refuse("halt", "set", "NO_NEW", *unable)
        assert f"is for dialect {unable[3]} (" in error
        assert "tradeguard keys new --owner 'ops & co' --scope halt:set" in error
    secret = json.loads((halted.folder / "okx").read_text())["secret"]
    for wrong in (okx, kraken, bearer):
        error = halted.refuse(
            "halt", "set", "NO_NEW", *halted.olga[:2], "--secret-file", wrong[3], code=2 - (wrong != okx)
        )
        assert secret not in error
        assert halted.olga[1] in error


def test_a_secret_for_a_private_key_and_the_other_way_round_name_what_the_key_has(halted: Halted) -> None:
    wrong = halted.refuse("halt", "set", "NO_NEW", *halted.omar[:2], *halted.olga[2:], code=2)
    assert f"key {halted.omar[1]} signs with ed25519" in wrong
    pem = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (halted.folder / "private.pem").write_bytes(pem)
    wrong = halted.refuse("halt", "set", "NO_NEW", *halted.olga[:2], "--secret-file", "private.pem", code=2)
    assert f"key {halted.olga[1]} signs with a secret (hmac-sha256), and this is a PEM" in wrong
    assert halted.ask("halt", "set", "NO_NEW", *halted.omar[:2], "--secret-file", "private.pem")["done"]
    assert halted.ask("halt", "list")[0]["signed_by"] == [halted.omar[1]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scope", "desk:a"), "write venue, tier:NAME"),
        (("--for", "1h", "--until", "1d"), "one of the two"),
        (("--until", "2020-01-01"), "end before it begins"),
        (("--reason", "a\nb"), "printable"),
        (("--retry-after", "9w"), "retry_after"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(halted: Halted, words: Signing, said: str) -> None:
    result = halted.run("halt", "set", "NO_NEW", *halted.olga, *words)
    assert result.exit_code in (1, 2)
    assert said in result.stderr


def test_a_proposal_that_was_changed_on_its_way_is_refused(halted: Halted) -> None:
    file = halted.folder / halted.propose("BLOCKED", *halted.olga, "--scope", "key:k")
    text = file.read_text()
    file.write_text(text.replace("key:k", "venue"))
    assert "is not over what is written" in halted.refuse("halt", "confirm", "proposal", *halted.omar, "--yes")
    file.write_text(text[:-9])
    assert "halt propose" in halted.refuse("halt", "confirm", "proposal", *halted.omar, "--yes", code=2)
    file.write_text(text)
    assert halted.call("halt", "confirm", "proposal", *halted.omar, stdin=subprocess.DEVNULL)[0] == 2
    shown = halted.run("halt", "confirm", "-", *halted.omar, "--yes", "--wait", "0s", input=text)
    assert shown.exit_code == 0, shown.output
    assert "key:k is BLOCKED." in shown.stdout
    assert "scope      key:k" in shown.stderr


def test_a_proposal_is_good_until_something_else_was_signed(halted: Halted) -> None:
    file = halted.propose("ACTIVE", *halted.olga)
    halted.ask("halt", "set", "NO_NEW", *halted.olga)
    assert "is not above" in halted.refuse("halt", "confirm", file, *halted.omar, "--yes")


def test_a_proposal_gets_old(halted: Halted) -> None:
    text = (halted.folder / halted.propose("ACTIVE", *halted.olga)).read_text()
    content: dict[str, Any] = json.loads(text)
    content["proposal"]["at"] -= 3_700 * 10**9
    old = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert "more than an hour ago" in halted.refuse("halt", "confirm", "-", *halted.omar, "--yes", input=old)


def test_a_node_that_does_not_answer_is_named(halted: Halted) -> None:
    with halted.server() as halts:
        halts.close()
        result = halted.run("halt", "set", "NO_NEW", *halted.olga, "--wait", "1s")
        assert result.exit_code == 1
        assert f"{halts.node} HAS NOT ANSWERED" in result.stdout
        assert "0 of 1" in halted.run("halt", "list").stdout


def test_what_nobody_has_signed_is_listed_with_its_doubt(halted: Halted) -> None:
    halted.ask("halt", "set", "NO_NEW", *halted.olga)
    with closing(SQLiteState(halted.data / "state.db", busy=5)) as state:
        drive(state.set("halt:venue", Mode.NO_NEW, None, b"\x1b[31m"))
    result = halted.run("halt", "list")
    assert result.exit_code == 1
    assert "nobody has signed it" in result.stdout
    assert "nobody" in result.stdout.splitlines()[1]


def test_a_state_that_nobody_shares_cannot_be_halted_from_here(halted: Halted) -> None:
    assert 'set "sqlite"' in halted.refuse("halt", "list", code=2, TRADEGUARD_STATE__BACKEND="memory")


def test_people_are_told_when_nothing_stands_and_when_nobody_is_there(halted: Halted) -> None:
    assert halted.run("halt", "list").stdout == "Nothing is halted.\n"
    told = halted.run("halt", "set", "NO_NEW", *halted.olga, "--for", "1h").stdout
    assert told.startswith("venue is NO_NEW until ")
    assert "No node has said that it is there." in told


def test_a_server_that_is_built_from_the_file_obeys_and_goes_on_after_two_have_signed(halted: Halted) -> None:
    def order() -> str:
        secret = (halted.folder / halted.trader[3]).read_text().strip()
        signer = Signer(TG1, halted.trader[1], secret.encode())
        outgoing = signer.sign(Outgoing("POST", "api.example", b"/v1/orders", b"", b""), now())
        fields = [(b"host", b"api.example"), (b"content-length", b"0"), *outgoing.headers]
        about: dict[str, Any] = {"path": "/v1/orders", "peer": peer_at("127.0.0.1"), "arrived": now(), "body": b""}
        request = Request(id=token_hex(16), method="POST", target=b"/v1/orders", headers=Headers(fields), **about)
        decision = drive(guard.admit(request))
        if isinstance(decision, Denial):
            return decision.code
        guard.finish(request, 200)
        return "granted"

    with closing(build_guard(halted.config, {})) as guard:
        guard.bind(Threads())
        time.sleep(1.1)  # the barrier of a new store
        assert order() == "granted"
        halted.ask("halt", "set", "no_new", *halted.olga)
        assert order() == "halt.no_new"
        proposal = halted.propose("active", *halted.olga)
        halted.ask("halt", "confirm", proposal, *halted.omar, "--yes")
        assert order() == "granted"
