"""`tradeguard explain`: a real signed request, the client's text in a file, and where the two part."""

import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.test_sign_dialects import ACME
from cli.venue import Shell
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tradeguard.signing.rows import BINANCE, TG1
from tradeguard.signing.signer import Outgoing, Signer

AT = 1_795_000_000_000_000_000
NONCE = "n" * 16
SECRET = b"0123456789abcdef0123456789abcdef"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
URL = "https://api.example:8443/v1/orders?a=1"
BODY = '{"symbol":"BTC-USD"}'
LINES = [
    "TG1-HMAC-SHA256", "trader", str(AT // 1_000_000), NONCE, "POST", "api.example:8443", "/v1/orders?a=1",
    "application/json", hashlib.sha256(BODY.encode()).hexdigest(),
]  # fmt: skip


def words(signer: Signer, body: str = BODY) -> list[str]:
    """What the customer tells us of the request."""
    out = Outgoing("POST", "api.example:8443", b"/v1/orders?a=1", b"application/json", body.encode())
    fields = [(b"content-type", b"application/json"), *signer.sign(out, AT, NONCE.encode()).headers]
    headers = [word for name, value in fields for word in ("--header", f"{name.decode().title()}: {value.decode()}")]
    return ["POST", URL, *headers, "--data", body]


TRADER = words(Signer(TG1, "trader", SECRET))


def put(shell: Shell, name: str, content: str | bytes) -> str:
    path = shell.folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def explain(shell: Shell, text: str, *more: str, code: int = 1, request: list[str] = TRADER) -> Any:
    return shell.ask("explain", *request, "--text", put(shell, "text", text), *more, code=code)


def test_a_text_without_a_mistake_is_the_same_and_exits_with_0(shell: Shell) -> None:
    found = explain(shell, "\n".join(LINES), code=0)
    assert (found["difference"], found["advice"], found["refusals"], found["signature"]) == (None, [], [], None)
    assert [line["value"] for line in found["lines"]] == LINES
    assert "the same, byte for byte" in shell.run("explain", *TRADER, "--text", "text").stdout


def test_the_first_differing_byte_is_shown_with_a_caret_and_what_is_commonly_wrong(shell: Shell) -> None:
    text = "\n".join([*LINES[:5], "api.example", *LINES[6:]])
    found = explain(shell, text)
    assert (found["difference"]["line"], found["difference"]["part"]) == (6, "authority")
    assert (found["difference"]["ours"], found["difference"]["theirs"]) == ("api.example:8443", "api.example")
    result = shell.run("explain", *TRADER, "--text", "text")
    assert result.exit_code == 1
    shown = result.stdout.splitlines()
    at = shown.index("  server  api.example:8443")
    assert shown[at - 1].startswith("First difference: line 6 (authority), column 12, byte ")
    assert shown[at + 1 : at + 3] == ["  client  api.example", " " * 21 + "^"]
    assert any(line.startswith("* The port belongs") for line in shown)


def test_the_caret_stands_right_in_long_lines_and_behind_strange_bytes(shell: Shell) -> None:
    url, long = "https://api.example/v1/orders?" + "a" * 300, "a" * 300
    base = ["POST", url, "--header", "tg-key: k"]
    text = f"TG1-HMAC-SHA256\nk\n\n\nPOST\napi.example\n/v1/orders?{long[:-5]}b"
    put(shell, "text", text)
    shown = shell.run("explain", *base, "--text", "text").stdout.splitlines()
    caret = next(line for line in shown if line.endswith("^"))
    client = shown[shown.index(caret) - 1]
    assert (client[len(caret) - 1], len(client) < 120) == ("b", True)
    put(shell, "text", b"TG1-HMAC-SHA256\n\x1b[31m")
    result = shell.run("explain", *base, "--text", "text")
    assert "\x1b" not in result.stdout
    assert "\\x1b[31m" in result.stdout


def test_with_the_secret_it_says_whether_the_signature_verifies(shell: Shell) -> None:
    secret = put(shell, "secret", SECRET + b"\n")
    right = explain(shell, "\n".join(LINES), "--secret-file", secret, code=0)
    assert right["signature"] == {"ours": True, "theirs": True, "advice": [], "legible": True}
    other = put(shell, "other", b"w" * 32)
    assert explain(shell, "\n".join(LINES), "--secret-file", other)["signature"]["ours"] is False
    bent = [*LINES[:5], "api.example", *LINES[6:]]
    mac = hmac.digest(SECRET, "\n".join(bent).encode(), "sha256").hex()
    request = [word if not word.startswith("Tg-Signature") else f"Tg-Signature: {mac}" for word in TRADER]
    found = explain(shell, "\n".join(bent), "--secret-file", secret, request=request)
    assert (found["signature"]["ours"], found["signature"]["theirs"]) == (False, True)
    assert "in hex; tg1 has base64url" in " ".join(found["signature"]["advice"])
    assert found["refusals"][0]["code"] == "place.field"
    result = shell.run("explain", *request, "--text", "text", "--secret-file", secret)
    assert "does not verify: it is over the client's text" in result.stdout
    assert "Refused before any signature is looked at: place.field  tg-signature" in result.stdout
    for output in (result.stdout, json.dumps(found)):
        assert SECRET.decode() not in output


def test_an_ed25519_key_is_verified_with_either_half(shell: Shell) -> None:
    request, text = words(Signer(TG1, "trader", PRIVATE)), "\n".join(["TG1-ED25519", *LINES[1:]])
    pem = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for option, content in (("--secret-file", pem), ("--public-key", public)):
        found = explain(shell, text, option, put(shell, "key", content), code=0, request=request)
        assert found["signature"]["ours"] is True


def test_parameters_are_shown_one_by_one(shell: Shell) -> None:
    out = Signer(BINANCE, "bina", SECRET).sign(Outgoing("GET", "api.example", b"/api/v3/account?a=1"), AT)
    request = ["GET", f"https://api.example{out.target.decode()}", "--header", "X-MBX-APIKEY: bina"]
    text = f"a=1&timestamp={AT // 1_000_000}"
    found = explain(shell, text, "--dialect", "binance", code=0, request=request)
    assert [line["part"] for line in found["lines"]] == ["a", "timestamp"]
    assert explain(shell, "?" + text, "--dialect", "binance", request=request)["advice"]


def test_a_body_is_read_from_its_file_byte_for_byte(shell: Shell) -> None:
    file = put(shell, "body", BODY + "\n")
    request = [word for word in TRADER if word not in ("--data", BODY)] + ["--data-file", file]
    found = explain(shell, "\n".join(LINES), request=request)
    assert found["difference"]["part"] == "body_sha256"
    assert "another line end" in found["advice"][0]


def test_a_host_header_counts_and_the_address_bar_does_not(shell: Shell) -> None:
    text = "\n".join([*LINES[:5], "internal", *LINES[6:]])
    assert explain(shell, text, "--header", "Host: internal", code=0)["difference"] is None


@pytest.mark.parametrize("url", ["https://api.example/v1//orders", "https://api.example/a%2fb", "https://h.example/ü"])
def test_what_no_server_would_route_is_told(shell: Shell, url: str) -> None:
    codes = [refusal["code"] for refusal in explain(shell, "", request=["GET", url])["refusals"]]
    assert codes[0].startswith("frame.")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--data", "a", "--data-file", "b"], "one of the two"),
        (["--header", "no colon"], "Name: value"),
        (["--secret-file", "a", "--public-key", "b"], "one of the two"),
        (["--dialect", "okx", "--algorithm", "ed25519"], "has no ed25519"),
        (["--secret-file", "nowhere"], "No such file"),
    ],
)
def test_what_makes_no_sense_is_refused(shell: Shell, more: list[str], why: str) -> None:
    put(shell, "text", "")
    assert why in shell.refuse("explain", "GET", "https://api.example/", "--text", "text", *more, code=2)


@pytest.mark.parametrize("url", ["api.example/v1", "ftp://api.example/", "https://", "http://[::1"])
def test_what_is_no_url_is_refused(shell: Shell, url: str) -> None:
    put(shell, "text", "")
    assert "the URL is" in shell.refuse("explain", "GET", url, "--text", "text", code=2)


def test_a_text_that_is_not_there_is_named(shell: Shell, tmp_path: Path) -> None:
    missing = str(tmp_path / "text")
    assert missing in shell.refuse("explain", "GET", "https://api.example/", "--text", missing, code=2)


ACME_SECRET = b"a-secret-of-acme-markets"
ACME_SENT = (
    "--header", "X-Acme-Key: k", "--header", "X-Acme-Time: 1795000000123", "--header", "X-Acme-Phrase: p",
    "--dialect", "./acme.toml",
)  # fmt: skip


def test_a_dialect_of_a_file_is_explained_without_a_text_of_the_client(shell: Shell) -> None:
    (shell.folder / "acme.toml").write_text(ACME)
    (shell.folder / "secret").write_text("a-secret-of-acme-markets\n")
    text = b"1795000000123\nGET\n/v1/orders\n"
    signature = hmac.new(b"a-secret-of-acme-markets", text, "sha256").hexdigest()
    words = ("explain", "GET", "https://api.example/v1/orders", *ACME_SENT, "--secret-file", "secret")
    shown = shell.ask(*words, "--header", f"X-Acme-Signature: {signature}")
    assert shown["text"].encode() == text
    assert (shown["difference"], shown["signature"]["ours"]) == (None, True)
    printed = shell.run(*words, "--header", f"X-Acme-Signature: {signature}").stdout
    assert "The signature verifies" in printed
    assert "client's text" not in printed
    wrong = shell.run(*words, "--header", f"X-Acme-Signature: {signature[::-1]}")
    assert (wrong.exit_code, "it is over another text" in wrong.stdout) == (1, True)


def test_a_token_has_no_text_to_explain(shell: Shell) -> None:
    error = shell.refuse("explain", "GET", "https://api.example/", "--dialect", "coinbase-advanced", code=2)
    assert "has no text" in error


def test_the_file_that_keys_new_writes_is_read_here_too(shell: Shell) -> None:
    (shell.folder / "acme.toml").write_text(ACME)
    (shell.folder / "secret").write_text(
        json.dumps({"id": "k", "secret": "a-secret-of-acme-markets", "passphrase": "p"})
    )
    signature = hmac.new(b"a-secret-of-acme-markets", b"1795000000123\nGET\n/v1/orders\n", "sha256").hexdigest()
    words = ("explain", "GET", "https://api.example/v1/orders", *ACME_SENT, "--secret-file", "secret")
    assert shell.ask(*words, "--header", f"X-Acme-Signature: {signature}")["signature"]["ours"] is True


def test_which_of_several_texts_it_is_held_against_is_told(shell: Shell) -> None:
    fields = ("kc-api-key: k", "kc-api-timestamp: 1795000000123", "kc-api-passphrase: p", "kc-api-sign: x")
    request = ["GET", "https://api.example/api/v1/orders?a=b%20c"]
    request += [word for field in fields for word in ("--header", field)]
    for query, message in (("b c", "{?query:decoded}"), ("b%20c", "{target}")):
        text = f"1795000000123GET/api/v1/orders?a={query}"
        found = explain(shell, text, "--dialect", "kucoin", request=request)
        assert (found["difference"], message in found["message"]) == (None, True)
        shown = shell.run("explain", *request, "--text", "text", "--dialect", "kucoin").stdout
        assert f"{message}" in shown.splitlines()[1]
        assert "the nearest of the 2 texts that it takes" in shown


@pytest.mark.parametrize(
    ("fields", "signature", "says"),
    [
        (
            {"X-Acme-Key": "k k"},
            lambda raw: raw.hex(),
            "The signature is right, with this key. Mend what is told above.",
        ),
        ({}, lambda raw: raw.hex().upper(), "over the right text, with this key, and in another spelling"),
        ({}, lambda raw: raw.hex()[1:], "There is no signature to verify."),
        (
            {"X-Acme-Phrase": None},
            lambda raw: raw.hex()[::-1],
            "The signature does not verify: it is over another text.",
        ),
    ],
)
def test_what_is_refused_is_never_said_to_verify(
    shell: Shell, fields: dict[str, str | None], signature: Callable[[bytes], str], says: str
) -> None:
    (shell.folder / "acme.toml").write_text(ACME)
    secret = put(shell, "secret", ACME_SECRET)
    sent = {"X-Acme-Key": "k", "X-Acme-Time": "1795000000123", "X-Acme-Phrase": "p"} | fields
    sent |= {"X-Acme-Signature": signature(hmac.digest(ACME_SECRET, b"1795000000123\nGET\n/v1/orders\n", "sha256"))}
    words = [word for name, value in sent.items() if value is not None for word in ("--header", f"{name}: {value}")]
    words = ["explain", "GET", "https://api.example/v1/orders", "--dialect", "./acme.toml", *words]
    shown = shell.run(*words, "--secret-file", secret)
    assert shown.exit_code == 1
    assert says in shown.stdout
    assert "verifies" not in shown.stdout
    assert "A field of the credential is missing" not in shown.stdout
    found = shell.ask(*words, "--secret-file", secret, code=1)
    assert all(f"* {fault}" in shown.stdout.splitlines() for fault in found["faults"])
    assert len(shown.stdout.splitlines()) == len(set(shown.stdout.splitlines()))


def test_a_time_in_another_unit_is_told_although_no_field_is_refused(shell: Shell) -> None:
    (shell.folder / "acme.toml").write_text(ACME)
    sent = [word if word != "X-Acme-Time: 1795000000123" else "X-Acme-Time: 1795000000" for word in ACME_SENT]
    sent += ["--header", f"X-Acme-Signature: {'ab' * 32}"]
    found = shell.ask("explain", "GET", "https://api.example/v1/orders", *sent, code=1)
    assert found["refusals"] == []
    assert "which is a time in whole seconds; acme has it in milliseconds" in found["faults"][0]
    assert found["faults"][1] == 'If the venue\'s clients all do this, the row says unit = "s".'


def test_the_order_of_the_parts_is_found_for_the_author_of_a_row(shell: Shell) -> None:
    (shell.folder / "acme.toml").write_text(ACME)
    secret = put(shell, "secret", ACME_SECRET)
    text = b"GET\n/v1/orders\n1795000000123\n"
    words = ["explain", "GET", "https://api.example/v1/orders", *ACME_SENT]
    words += ["--header", f"X-Acme-Signature: {hmac.digest(ACME_SECRET, text, 'sha256').hex()}"]
    shown = shell.run(*words, "--secret-file", secret).stdout
    assert "* The secret is right, and the client signs {method}\\n{target}\\n{time}\\n{body}; acme has {time}" in shown
    assert 'the row says message = "{method}\\n{target}\\n{time}\\n{body}".' in shown
    compared = shell.run(*words, "--text", put(shell, "text", text)).stdout
    assert "* The client's text is {method}\\n{target}\\n{time}\\n{body}; acme has {time}" in compared
