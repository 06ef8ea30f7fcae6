"""`tradeguard keys new`: one command, one key; its secret is seen once, by one reader."""

import json
import os
import stat
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from cli.venue import DAY, Venue, now
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tradeguard.config import build_guard
from tradeguard.keys.format import check_secret, plausible
from tradeguard.keys.kind import SPOKEN, find_kind
from tradeguard.signing.encoding import decode_base64url
from tradeguard.signing.material import PAIRS, Ed25519, Hmac
from tradeguard.signing.private import encode_pem, find_public, make_private_key, read_private_key

NEW = ("keys", "new", "--owner", "acme")
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RAW = PRIVATE.public_key().public_bytes_raw()


def test_a_key_is_issued_and_its_secret_shown_once(venue: Venue) -> None:
    out = venue.run(*NEW, "--role", "trader").stdout
    fields = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert plausible(fields["id"])
    assert check_secret(fields["secret"])
    material = venue.find(fields["id"]).material
    assert isinstance(material, Hmac)
    assert material.reveal().decode() == fields["secret"]
    stored = b"".join(path.read_bytes() for path in venue.data.iterdir())
    assert fields["secret"].encode() not in stored


def test_everything_that_is_said_of_a_key_is_stored(venue: Venue) -> None:
    venue.configure("# tiers = []", 'tiers = ["gold"]')
    made = venue.ask(
        *NEW, "--scope", "orders:read", "--scope", "funds:withdraw", "--role", "trader", "--account", "a1", "--parent",
        "p1", "--on-behalf-of", "client", "--label", "desk 7", "--tier", "gold", "--network", "203.0.113.0/24",
        "--network", "2001:db8::/48", "--expires", "30d", "--not-before", "1h", "--binding", "spki-sha256:" + "a" * 64,
        "--only-account", "s1", "--only-symbol", "BTC", "--only-symbol", "ETH", "--only-side", "buy",
        "--max-order-notional", "1000.50", "--max-day-notional", "2e4", "--actor", "olga", "--reason", "ticket 5",
    )  # fmt: skip
    record = venue.find(made["id"])
    expected: dict[str, Any] = {
        "owner": "acme", "account": "a1", "parent": "p1", "on_behalf_of": "client", "label": "desk 7", "tier": "gold",
        "networks": ["2001:db8::/48", "203.0.113.0/24"], "scopes": ["funds:withdraw", "orders:read"],
        "roles": ["trader"], "binding": "spki-sha256:" + "a" * 64, "actor": "olga", "reason": "ticket 5",
        "state": "active", "now": "waiting", "version": 1, "dialect": "tg1", "algorithm": "hmac-sha256",
    }  # fmt: skip
    assert {name: made[name] for name in expected} == expected
    assert made["restrictions"] == {
        "accounts": ["s1"], "symbols": ["BTC", "ETH"], "sides": ["buy"], "order_notional": "1000.50",
        "day_notional": "2E+4",
    }  # fmt: skip
    assert record.expires is not None
    assert abs(record.expires - now() - 30 * DAY) < DAY
    assert record.principal.scopes == {"funds:withdraw", "orders:read", "orders:write", "orders:cancel"}


def test_restrictions_are_said_to_be_carried_only(venue: Venue) -> None:
    result = venue.run(*NEW, "--role", "trader", "--only-side", "sell")
    assert "not enforced yet" in result.stderr
    assert "not enforced" not in venue.run(*NEW, "--role", "trader").stderr


def test_the_event_says_who_and_under_which_policy(venue: Venue) -> None:
    id, _ = venue.issue("--actor", "olga")
    guard = build_guard(venue.config, {})
    [event] = venue.events()
    assert (event["code"], event["key_id"], event["actor"]) == ("keys.issued", id, "olga")
    assert event["policy"] == guard.policy_mark
    guard.close()


def test_the_actor_is_the_environments_else_user_at_host(venue: Venue) -> None:
    assert venue.ask(*NEW, "--role", "trader", TRADEGUARD_ACTOR="olga")["actor"] == "olga"
    assert "@" in venue.ask(*NEW, "--role", "trader")["actor"]


def test_an_ed25519_pair_is_made_and_its_private_half_shown(venue: Venue) -> None:
    made = venue.ask(*NEW, "--role", "trader", "--algorithm", "ed25519", "--env", "test")
    assert made["id"].startswith("tg_test_ed25519_")
    seed = decode_base64url(made["secret"].encode())
    assert seed is not None
    material = venue.find(made["id"]).material
    assert isinstance(material, Ed25519)
    assert material.reveal() == Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


@pytest.mark.parametrize("form", ["pem", "base64", "base64url"])
def test_a_client_that_made_its_own_pair_keeps_its_private_key(venue: Venue, form: str) -> None:
    public, private, proof = (venue.folder / name for name in ("public", "private", "proof"))
    if form == "pem":
        private.write_bytes(PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write_bytes(PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    else:
        private.write_bytes(b64encode(PRIVATE.private_bytes_raw()) + b"\n")
        public.write_bytes(b64encode(RAW) if form == "base64" else b64encode(RAW, b"-_").rstrip(b"="))
    proof.write_text(venue.run("sign", "possession", "--owner", "acme", "--private-key", str(private)).stdout)
    words = ("--role", "trader", "--public-key", str(public), "--proof", str(proof))
    made = venue.run(*NEW, *words)
    assert made.exit_code == 0, made.output
    assert "secret" not in made.stdout
    record = venue.ask("keys", "list")
    assert (record["algorithm"], record["state"]) == ("ed25519", "active")
    assert "of key" in venue.refuse(*NEW, *words), "one public key makes one key"
    assert "proof" in venue.refuse("keys", "new", "--owner", "mallory", *words), "a proof is good for one owner"


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n", b"\xff" * 43, b"AAAA"]
)
@pytest.mark.parametrize("which", ["--public-key", "--proof"])
def test_a_file_that_is_no_key_or_proof_is_a_usage_error(venue: Venue, which: str, content: bytes) -> None:
    files = {"--public-key": b64encode(RAW), "--proof": b64encode(bytes(64)), which: content}
    for name, value in files.items():
        (venue.folder / name.strip("-")).write_bytes(value)
    error = venue.refuse(*NEW, "--public-key", "public-key", "--proof", "proof", code=2)
    assert which.strip("-").replace("-", " ").split()[0] in error
    assert "No such file" in venue.refuse(*NEW, "--public-key", "nowhere", "--proof", "proof", code=2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--dialect", "okx", "--algorithm", "ed25519"), "dialect okx has no ed25519; it has hmac-sha256"),
        (("--dialect", "none"), "none"),
        (("--public-key", "x"), "go together"),
        (("--proof", "x"), "go together"),
        (("--public-key", "x", "--proof", "x", "--count", "2"), "one public key"),
        (("--count", "0"), "x>=1"),
        (("--expires", "soon"), "90d"),
        (("--expires", "2027-01-31T12:00"), "T12:00:00Z"),
        (("--max-order-notional", "much"), "no amount"),
        (("--only-side", "both"), "buy"),
        (("--env", "prod"), "live"),
    ],
)
def test_a_wrong_option_is_a_usage_error_and_no_key_is_made(venue: Venue, words: tuple[str, ...], says: str) -> None:
    assert says in venue.refuse(*NEW, "--role", "trader", *words, code=2)
    assert venue.ask("keys", "list") == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no scope and no role, so it could do nothing; the roles are trader, viewer. No key was made"),
        (("--scope", "orders:wirte"), "unknown scope"),
        (("--role", "nobody"), "no role 'nobody'; it has trader, viewer. No key was made"),
        (("--role", "trader", "--tier", "gold"), "no tier 'gold'; name it in tiers, where it has none"),
        (("--scope", "funds:withdraw", "--network", "203.0.113.0/24"), "expires"),
        (("--scope", "funds:withdraw", "--expires", "30d"), "allow list"),
        (("--role", "trader", "--network", "203.0.113.1/24"), "203.0.113.1/24"),
        (("--role", "trader", "--expires", "2020-01-01"), "end before it begins"),
        (("--role", "trader", "--actor", ""), "actor"),
        (("--role", "trader", "--label", "a\x1b[31m"), "printable"),
        (("--role", "trader", "--max-day-notional", "-1"), "above 0"),
        (("--role", "trader", "--max-day-notional", "NaN"), "above 0"),
    ],
)
def test_what_the_policy_does_not_allow_is_refused_and_no_key_is_made(
    venue: Venue, words: tuple[str, ...], says: str
) -> None:
    assert says in venue.refuse(*NEW, *words)
    assert venue.ask("keys", "list") == []


def test_a_dialect_that_servers_do_not_take_yet_is_said(venue: Venue) -> None:
    assert "signature.dialects" in venue.run(*NEW, "--role", "trader", "--dialect", "binance").stderr


def test_many_keys_are_one_line_each(venue: Venue) -> None:
    made = venue.ask(*NEW, "--role", "trader", "--count", "5")
    assert len({key["secret"] for key in made}) == 5
    assert {key["id"] for key in made} == {key["id"] for key in venue.ask("keys", "list")}


def test_a_secret_goes_into_a_new_file_that_only_this_user_reads(venue: Venue) -> None:
    made = venue.ask(*NEW, "--role", "trader", "--secret-out", "s")
    file = venue.folder / "s"
    assert check_secret(file.read_text().strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "secret" not in made
    assert made["secret_file"] == "s"


def test_the_secrets_of_many_keys_say_whose_they_are(venue: Venue) -> None:
    result = venue.run(*NEW, "--role", "trader", "--secret-out", "s", "--count", "3")
    lines = [json.loads(line) for line in (venue.folder / "s").read_text().splitlines()]
    assert [line["id"] for line in lines] == [
        line.split()[1] for line in result.stdout.splitlines() if line[:3] == "id "
    ]
    assert "tgs_" not in result.stdout


@pytest.mark.parametrize("place", ["there", "no/where"])
def test_a_secret_file_that_cannot_be_made_stops_it_before_the_key(venue: Venue, place: str) -> None:
    (venue.folder / "there").write_text("kept")
    assert "name a new file" in venue.refuse(*NEW, "--role", "trader", "--secret-out", place, code=2)
    assert venue.ask("keys", "list") == []
    assert (venue.folder / "there").read_text() == "kept"


def test_a_key_that_is_refused_leaves_no_empty_secret_file(venue: Venue) -> None:
    venue.refuse(*NEW, "--secret-out", "s")
    assert not (venue.folder / "s").exists()


@pytest.mark.parametrize("where", ["/dev/full", "pipe"])
def test_where_the_secret_cannot_be_shown_it_says_which_key_to_revoke(venue: Venue, where: str) -> None:
    if where == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(where, os.O_WRONLY)
    code, _, errors = venue.call(*NEW, "--role", "trader", "--count", "3", stdout=writer)
    os.close(writer)
    key = venue.ask("keys", "list")
    assert code == 1
    assert f"tradeguard keys revoke {key['id']} --yes" in errors
    assert "nobody has it" in errors
    assert "tgs_" not in errors
    assert venue.run("keys", "revoke", key["id"], "--yes").exit_code == 0


def test_with_stdout_closed_no_key_is_made(venue: Venue) -> None:
    code, _, errors = venue.sh("keys new --owner acme --role trader >&-")
    assert (code, "nothing was done" in errors) == (2, True)
    assert venue.ask("keys", "list") == []


def test_a_secret_reaches_neither_log_nor_journal(venue: Venue) -> None:
    code, out, errors = venue.call(*NEW, "--role", "trader", "--json")
    secret = json.loads(out)["secret"]
    assert code == 0
    assert secret not in errors + (venue.data / "audit.jsonl").read_text()


def test_without_a_journal_no_key_is_made(venue: Venue) -> None:
    (venue.data / "audit.jsonl").symlink_to("/dev/full")
    assert "No space left" in venue.refuse(*NEW, "--role", "trader")
    assert venue.ask("keys", "list") == []


def test_a_pathlike_owner_is_just_a_name(venue: Venue) -> None:
    made = venue.ask("keys", "new", "--owner", "../../etc", "--role", "trader")
    assert venue.find(made["id"]).owner == "../../etc"
    assert Path(venue.folder / "etc").exists() is False


# other dialects

WITH_PASSPHRASE = [name for name in SPOKEN if find_kind(name).passphrase]


@pytest.mark.parametrize("dialect", WITH_PASSPHRASE)
def test_a_passphrase_is_shown_beside_the_secret_once(venue: Venue, dialect: str) -> None:
    made = venue.ask(*NEW, "--role", "trader", "--dialect", dialect)
    record = venue.find(made["id"])
    assert isinstance(record.material, Hmac)
    assert record.passphrase == record.material.blind(made["passphrase"].encode()).hex()
    shown = venue.run(*NEW, "--role", "trader", "--dialect", dialect).stdout
    fields = dict(line.split(maxsplit=1) for line in shown.splitlines())
    other = venue.find(fields["id"])
    assert isinstance(other.material, Hmac)
    assert other.passphrase == other.material.blind(fields["passphrase"].encode()).hex()
    kept = b"".join(path.read_bytes() for path in venue.data.iterdir())
    for words in (("list",), ("list", "--json"), ("show", made["id"]), ("show", made["id"], "--json"), ("export",)):
        kept += venue.run("keys", *words).stdout.encode()
    assert made["passphrase"].encode() not in kept
    told = venue.run("keys", "list", "--json").stdout + venue.run("keys", "show", made["id"], "--json").stdout
    assert made["id"] in told
    assert record.passphrase not in told
    assert record.passphrase not in venue.run("keys", "show", made["id"]).stdout


def test_a_rotation_shows_another_passphrase(venue: Venue) -> None:
    made = venue.ask(*NEW, "--role", "trader", "--dialect", "okx")
    again = venue.ask("keys", "rotate", made["id"], "--yes")
    assert len({made["passphrase"], again["passphrase"], made["secret"], again["secret"]}) == 4
    record = venue.find(again["id"])
    assert isinstance(record.material, Hmac)
    assert record.passphrase == record.material.blind(again["passphrase"].encode()).hex()


def test_secret_and_passphrase_go_to_one_file_as_json(venue: Venue) -> None:
    made = venue.ask(*NEW, "--role", "trader", "--dialect", "okx", "--secret-out", "out.json")
    assert not {"secret", "passphrase"} & set(made)
    file = venue.folder / "out.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = json.loads(file.read_text())
    material = venue.find(made["id"]).material
    assert isinstance(material, Hmac)
    assert (written["id"], written["secret"]) == (made["id"], material.reveal().decode())
    assert venue.find(made["id"]).passphrase == material.blind(written["passphrase"].encode()).hex()
    shown = venue.run(*NEW, "--role", "trader", "--dialect", "okx", "--secret-out", "two.json").stdout
    assert "passphrase in two.json" in shown


@pytest.mark.parametrize(("dialect", "algorithm"), [("binance", "rsa-pkcs1-sha256"), ("binance", "ed25519")])
def test_a_private_key_of_a_venues_dialect_is_shown_and_written_as_pem(
    venue: Venue, dialect: str, algorithm: str
) -> None:
    new = (*NEW, "--role", "trader", "--dialect", dialect, "--algorithm", algorithm)
    shown = venue.run(*new).stdout
    begin, end = shown.index("-----BEGIN"), shown.index("-----END PRIVATE KEY-----\n") + 25
    id = shown.split(maxsplit=2)[1]
    assert find_public(read_private_key(shown[begin:end].encode())).fingerprint(b"s") == venue.find(
        id
    ).material.fingerprint(b"s")
    made = venue.ask(*new, "--secret-out", "private.pem")
    pem = (venue.folder / "private.pem").read_bytes()
    assert find_public(read_private_key(pem)).fingerprint(b"s") == venue.find(made["id"]).material.fingerprint(b"s")


@pytest.mark.parametrize("algorithm", PAIRS)
@pytest.mark.parametrize("form", ["pem", "der"])
def test_a_client_of_any_algorithm_keeps_its_private_key(venue: Venue, algorithm: str, form: str) -> None:
    key = make_private_key(algorithm)
    (venue.folder / "private").write_bytes(encode_pem(key))
    public = key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (venue.folder / "public").write_bytes(pem if form == "pem" else b64encode(der))
    proved = venue.ask("sign", "possession", "--owner", "acme", "--private-key", "private")
    (venue.folder / "proof").write_text(proved["proof"])
    assert decode_base64url(proved["public_key"].encode()) == find_public(key).reveal()
    words = ("--role", "trader", "--public-key", "public", "--proof", "proof")
    taken = [name for name in ("binance", "coinbase-advanced") if algorithm in find_kind(name).algorithms]
    row = (venue.folder / "keys.jsonl", {"id": "k", "dialect": taken[0], "public_key": pem.decode(), "owner": "acme"})
    more = {"proof": proved["proof"], "scopes": ["orders:read"], "networks": ["192.0.2.0/24"]}
    row[0].write_text(json.dumps(row[1] | more) + "\n")
    assert venue.ask("keys", "import", str(row[0]))["imported"] == 1
    assert (venue.find("k").algorithm, venue.find("k").state) == (algorithm, "active")
    if taken[0] == "binance":
        assert "of key k" in venue.refuse(*NEW, *words, "--dialect", "binance")
    assert "dialect okx has no" in venue.refuse(*NEW, *words, "--dialect", "okx", code=2)


def test_a_file_that_is_no_public_key_is_refused_with_the_reason(venue: Venue) -> None:
    (venue.folder / "proof").write_text("A" * 86)
    words = (*NEW, "--role", "trader", "--public-key", "public", "--proof", "proof")
    for content, says in (
        (b"", "no public key"),
        (b"?", "PEM, or base64 of its DER"),
        (b64encode(bytes(32)), "small order"),
        (encode_pem(make_private_key("ed25519")), "this is a private key: keep it"),
    ):
        (venue.folder / "public").write_bytes(content)
        assert says in venue.refuse(*words, code=2)


def test_a_dialect_of_the_configuration_is_one_like_any_other(venue: Venue) -> None:
    assert "no dialect is called 'acme'" in venue.refuse(*NEW, "--role", "trader", "--dialect", "acme", code=2)
    with venue.config.open("a") as file:
        file.write(OURS)
    made = venue.ask(*NEW, "--role", "trader", "--dialect", "acme")
    record = venue.find(made["id"])
    assert (record.dialect, record.algorithm) == ("acme", "hmac-sha512")
    assert isinstance(record.material, Hmac)
    assert record.material.reveal() == b64decode(made["secret"], validate=True)
    again = venue.ask("keys", "rotate", made["id"], "--yes")
    assert len(b64decode(again["secret"], validate=True)) == 64
    line = {
        "id": "old",
        "dialect": "acme",
        "secret": b64encode(b"k" * 20).decode(),
        "owner": "o",
        "scopes": "orders:read",
    }
    (venue.folder / "keys.jsonl").write_text(json.dumps(line) + "\n")
    assert venue.ask("keys", "import", "keys.jsonl")["imported"] == 1
    assert venue.find("old").material.fingerprint(b"s") == Hmac(b"k" * 20, "hmac-sha512").fingerprint(b"s")


OURS = """
[dialects.acme]
algorithms = { "hmac-sha512" = "hex" }
message = "{time}\\n{method}\\n{target}\\n{body}"
secret = "base64"
key = { header = "X-ACME-KEY" }
signature = { header = "X-ACME-SIGN" }
time = { header = "X-ACME-TIME" }
window = { past = "5s", future = "1s" }
"""


@pytest.mark.parametrize(("dialect", "bound"), [("htx", True), ("coinbase-advanced", True), ("okx", False)])
def test_a_key_that_would_open_nothing_without_networks_is_not_made(venue: Venue, dialect: str, bound: bool) -> None:
    venue.configure('# dialects = ["tg1"]', f'dialects = ["{dialect}"]')
    venue.configure("# accept = []", f'accept = ["{dialect}"]')
    new = (*NEW, "--role", "trader", "--dialect", dialect)
    if bound:
        error = venue.refuse(*new, code=2)
        assert "signature.unbound" in error
        assert "--network 203.0.113.0/24" in error
    else:
        assert venue.run(*new).exit_code == 0
    assert len(venue.run("keys", "list", "--json").stdout.splitlines()) == 1 - bound
    assert venue.ask(*new, "--network", "192.0.2.0/24")["networks"] == ["192.0.2.0/24"]
