"""`tradeguard sign curl | sign possession | curl`: a real server accepts what they sign, and the secret stays home."""

import json
import re
import shlex
import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from cli.venue import Shell, Venue
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from freeport import free_port

from tradeguard import WSGI
from tradeguard.config import build_guard
from tradeguard.keys.possession import possession_text
from tradeguard.signing.encoding import decode_base64url
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Outgoing, Signer

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
CURL = ("sign", "curl")
SECRET = "a-secret-of-a-test-venue"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None: ...


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"saw": body.decode(), "query": environ["QUERY_STRING"]}).encode()]


class Served(Venue):
    """A venue and a server that it guards."""

    url = ""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    venue = Served(tmp_path / "venue")
    venue.configure('# dialects = ["tg1"]', 'dialects = ["tg1", "binance"]')
    venue.configure("# accept = []", 'accept = ["binance"]')
    venue.configure(
        "[operations]\n", '[operations]\n"POST /v1/withdrawals" = { scopes = "funds:withdraw", lane = "funds" }\n'
    )
    venue.issue()  # makes the state, which refuses what was signed in its first second
    ready = time.monotonic() + 1.1
    guard = build_guard(venue.config, {})
    with make_server("127.0.0.1", 0, WSGI(application, guard), handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        venue.url = f"http://127.0.0.1:{server.server_port}"
        time.sleep(max(0.0, ready - time.monotonic()))
        yield venue
        server.shutdown()
    guard.close()


def send(served: Served, words: tuple[str, ...]) -> tuple[int, str]:
    """Run the curl command that is printed, in a shell."""
    line = served.run(*CURL, *words).stdout.strip()
    done = subprocess.run(
        ["sh", "-c", f"{line} -s -w '\\n%{{http_code}}'"], capture_output=True, text=True, cwd=served.folder, check=True
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


@pytest.mark.parametrize(
    ("method", "target", "more"),
    [
        ("GET", "/v1/orders", ()),
        ("GET", "/v1/orders?a=1&b=%20x&c=[1]", ()),
        ("get", "/v1/orders/a'b", ()),
        ("POST", "/v1/orders", ("--data", '{"text": "it\'s $HOME `x` @file \\n ü"}')),
        ("POST", "/v1/orders", ("--data", "@not-a-file")),
        ("POST", "/v1/orders", ("--data", "a=1", "--header", "Content-Type: application/x-www-form-urlencoded")),
        ("POST", "/v1/orders", ("--data", "untyped", "--header", "Content-Type:")),
        ("POST", "/v1/orders", ("--data-file", "body", "--header", "X-Extra: 1")),
        ("POST", "/v1/orders", ()),
        ("DELETE", "/v1/orders/17", ()),
    ],
)
def test_what_is_signed_passes_a_real_guard_by_curl_and_by_itself(
    served: Served, method: str, target: str, more: tuple[str, ...]
) -> None:
    id, secret = served.issue()
    (served.folder / "body").write_bytes(b'{"from": "a file"}\n')
    words = (method, served.url + target, "--key", id, "--secret-file", str(secret), *more)
    status, body = send(served, words)
    assert status == 200, body
    answer = served.ask("curl", *words)
    assert (answer["status"], answer["body"]) == (200, body)
    assert re.fullmatch("[0-9a-f]{32}", answer["request_id"])


def test_head_is_asked_as_head(served: Served) -> None:
    id, secret = served.issue()
    words = ("HEAD", f"{served.url}/v1/orders", "--key", id, "--secret-file", str(secret))
    assert "--head" in served.run(*CURL, *words).stdout
    assert send(served, words)[0] == 200
    assert served.ask("curl", *words)["status"] == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_binance_shaped_requests_pass_too(served: Served, method: str) -> None:
    id, secret = served.issue("--dialect", "binance")
    more = ("--data", "symbol=BTC&qty=1") if method == "POST" else ()
    words = (
        method,
        f"{served.url}/v1/orders",
        "--key",
        id,
        "--secret-file",
        str(secret),
        "--dialect",
        "binance",
        *more,
    )
    status, body = send(served, words)
    assert status == 200, body
    assert served.ask("curl", *words)["status"] == 200


def test_an_ed25519_key_signs(served: Served) -> None:
    id, secret = served.issue("--algorithm", "ed25519")
    words = ("GET", f"{served.url}/v1/orders", "--key", id, "--secret-file", str(secret))
    assert send(served, words)[0] == 200
    assert served.ask("curl", *words)["status"] == 200


def test_a_revocation_by_another_process_holds_for_the_next_request(served: Served) -> None:
    id, secret = served.issue()
    words = ("curl", "GET", f"{served.url}/v1/orders", "--key", id, "--secret-file", str(secret))
    assert served.ask(*words)["status"] == 200
    assert served.call("keys", "revoke", id, "--yes")[0] == 0
    answer = served.ask(*words, code=1)
    assert answer["status"] in (401, 403)
    text = served.run(*words)
    assert (text.exit_code, "HTTP 401" in text.stdout) == (1, True)


def test_a_refusal_shows_the_problem_and_why_explains_it(served: Served) -> None:
    id, secret = served.issue("--scope", "orders:read")
    words = ("GET", f"{served.url}/v1/nothing", "--key", id, "--secret-file", str(secret))
    result = served.run("curl", *words)
    assert result.exit_code == 1
    assert result.stdout.startswith("HTTP 404  request ")
    request_id = result.stdout.split()[3]
    assert "executed" in result.stdout
    told = served.run("why", request_id)
    assert (told.exit_code, "cure" in told.stdout) == (0, True)


def test_why_shows_what_the_answer_told_the_client_and_whose_key_it_was(served: Served) -> None:
    """The scope that is missing, how far the clock is off, the request that came first, and the key's own dialect."""
    id, secret = served.issue()
    reader, its_secret = served.issue("--dialect", "binance")

    def refused(*words: str) -> tuple[dict[str, Any], str]:
        answer = served.ask("curl", *words, code=1)
        told = served.run("why", answer["request_id"]).stdout
        assert secret.read_text().strip() not in told
        return json.loads(answer["body"]), told

    body, told = refused("POST", f"{served.url}/v1/withdrawals", "--key", id, "--secret-file", str(secret))
    assert (body["code"], body["scope"]) == ("scope.missing", "funds:withdraw")
    assert "lacks funds:withdraw" in told
    _, told = refused("GET", f"{served.url}/v1/orders", "--key", reader, "--secret-file", str(its_secret))
    assert "the key is of binance (hmac-sha256)" in told
    assert "dialect    tg1" in told

    request = Outgoing("POST", served.url.removeprefix("http://"), b"/v1/orders", b"", b"")
    signer = Signer(TG1, id, secret.read_bytes().strip())
    late, once = signer.sign(request, time.time_ns() - 600 * 10**9), signer.sign(request, time.time_ns())
    body = deliver(served, late)
    told = served.run("why", body["request_id"]).stdout
    assert body["code"] == "freshness.stale"
    assert f"offset_ms {body['offset_ms']}, allowed -" in told
    deliver(served, once)
    body = deliver(served, once)
    assert body["code"] == "replay.seen"
    assert f"first request {body['first_request_id']}" in served.run("why", body["request_id"]).stdout


def deliver(served: Served, signed: Outgoing) -> dict[str, Any]:
    """Send a request as it is; return the body of the answer."""
    headers = {name.decode(): value.decode() for name, value in signed.headers}
    connection = HTTPConnection(signed.authority, timeout=30)
    try:
        connection.request(signed.method, signed.target.decode(), headers=headers)
        body: dict[str, Any] = json.loads(connection.getresponse().read())
        return body
    finally:
        connection.close()


def test_a_body_in_a_file_is_sent_as_a_whole_or_not_at_all(served: Served) -> None:
    id, secret = served.issue()
    (served.folder / "body").write_bytes(b"x" * 200_000)
    words = ("POST", f"{served.url}/v1/orders", "--key", id, "--secret-file", str(secret), "--data-file", "body")
    answer = served.ask("curl", *words)
    assert (answer["status"], len(json.loads(answer["body"])["saw"])) == (200, 200_000)
    assert send(served, words)[0] == 200
    (served.folder / "body").write_bytes(b"x" * 10_485_761)
    assert "longer than 10485760 bytes" in served.refuse("curl", *words, code=2)


def test_the_secret_is_never_printed(shell: Shell) -> None:
    shell.environ["TRADEGUARD_SECRET"] = SECRET
    words = ("GET", "http://127.0.0.1:1/", "--key", "k")
    assert SECRET not in shell.run(*CURL, *words).output + shell.run(*CURL, *words, "--json").output
    assert SECRET not in shell.run("curl", *words).output


def test_each_signature_has_its_own_nonce(shell: Shell) -> None:
    words = (*CURL, "GET", "https://api.example/", "--key", "k")
    made = [shell.ask(*words, TRADEGUARD_SECRET=SECRET)["headers"]["tg-nonce"] for _ in range(20)]
    assert len(set(made)) == 20


def test_the_printed_command_is_the_one_that_programs_get(shell: Shell) -> None:
    words = (*CURL, "GET", "HTTPS://API.Example:443?x=1", "--key", "k")
    document = shell.ask(*words, TRADEGUARD_SECRET=SECRET)
    assert document["url"] == "https://api.example/?x=1"
    assert document["curl"][-1] == document["url"]
    line = shell.run(*words, TRADEGUARD_SECRET=SECRET).stdout
    assert [word for word in shlex.split(line) if not word.startswith("tg-")][:6] == [*document["curl"][:5], "--header"]


@pytest.mark.parametrize(
    "url",
    [
        "api.example/v1", "ftp://api.example/", "http:///v1", "http://user:pw@api.example/", "http://api.example:x/",
        "http://api.example:0/", "http://api.example/ü", "http://api.example/a b", "http://[::1/", "http://api.example/\n",
        "http://api.example:99999/", "http://api.example/<x>",
    ],
)  # fmt: skip
def test_a_url_that_could_be_spelt_anew_is_refused(shell: Shell, url: str) -> None:
    assert "URL" in shell.refuse(*CURL, "GET", url, "--key", "k", code=2, TRADEGUARD_SECRET=SECRET)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("GET", "--data", "x", "--data-file", "y"), "one of the two"),
        (("GET", "--data-file", "nowhere"), "No such file"),
        (("GE T",), "is no method"),
        (("GET", "--header", "Host: other"), "follows from the URL"),
        (("GET", "--header", "nothing"), "Name: value"),
        (("GET", "--header", "a b: c"), "Name: value"),
        (("GET", "--header", "a: \u20ac"), "Name: value"),
        (("GET", "--header", "a: b\r\nc: d"), "Name: value"),
        (("GET", "--dialect", "binance", "--algorithm", "ed25519"), "no Ed25519 private key"),
        (
            ("POST", "--dialect", "binance", "--data", "{}", "--header", "Content-Type: application/json"),
            "signs a query",
        ),
    ],
)
def test_a_request_that_cannot_be_signed_is_a_usage_error(shell: Shell, words: tuple[str, ...], says: str) -> None:
    method, *more = words
    url = "http://api.example/v1"
    assert says in shell.refuse(*CURL, method, url, "--key", "k", *more, code=2, TRADEGUARD_SECRET=SECRET)


def test_without_a_secret_it_says_the_ways(shell: Shell) -> None:
    error = shell.refuse(*CURL, "GET", "http://api.example/", "--key", "k", code=2)
    assert "--secret-stdin or TRADEGUARD_SECRET" in error


def test_a_closed_stdin_holds_no_secret(shell: Shell) -> None:
    code, _, errors = shell.sh("sign curl GET http://api.example/ --key k --secret-stdin <&-")
    assert (code, "stdin is closed" in errors) == (2, True)


def test_a_server_that_is_not_there_cannot_be_reached(shell: Shell) -> None:
    port = free_port()
    words = ("curl", "GET", f"http://127.0.0.1:{port}/", "--key", "k")
    assert "cannot be reached" in shell.refuse(*words, TRADEGUARD_SECRET=SECRET)
    assert "cannot be reached" in shell.refuse(
        "curl", "GET", f"https://127.0.0.1:{port}/", "--key", "k", TRADEGUARD_SECRET=SECRET
    )


class Rude(BaseHTTPRequestHandler):
    """A server that answers what no venue should."""

    def do_GET(self) -> None:
        if self.path == "/gone":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(400 if self.path == "/problem" else 200)
        self.send_header(
            "content-type", "application/problem+json" if self.path in ("/problem", "/list") else "text/plain"
        )
        self.end_headers()
        bodies = {"/problem": b'{"detail": "\\u001b[31mred"}', "/list": b"[1]"}
        self.wfile.write(bodies.get(self.path, b"\x1b]0;title\x07\xff\nline"))

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def rude() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Rude) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("path", ["/", "/problem", "/list"])
def test_what_a_server_says_cannot_command_the_terminal(shell: Shell, rude: str, path: str) -> None:
    result = shell.run("curl", "GET", rude + path, "--key", "k", TRADEGUARD_SECRET=SECRET)
    assert "\x1b" not in result.output
    assert result.exit_code == (path == "/problem")


def test_a_server_that_hangs_up_may_have_carried_it_out(shell: Shell, rude: str) -> None:
    error = shell.refuse("curl", "GET", f"{rude}/gone", "--key", "k", TRADEGUARD_SECRET=SECRET)
    assert "look whether it was carried out" in error


@pytest.mark.parametrize("content", [PEM, b64encode(PRIVATE.private_bytes_raw())])
def test_possession_is_proved_for_one_owner(shell: Shell, content: bytes) -> None:
    (shell.folder / "private").write_bytes(content)
    words = ("sign", "possession", "--owner", "acme", "--private-key", "private")
    made = shell.ask(*words)
    public_key, proof = decode_base64url(made["public_key"].encode()), decode_base64url(made["proof"].encode())
    assert public_key is not None
    assert proof is not None
    Ed25519PublicKey.from_public_bytes(public_key).verify(proof, possession_text("acme", public_key))
    assert shell.run(*words).stdout == made["proof"] + "\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n",
        PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")),
        generate_private_key(SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
    ids=["empty", "short", "junk", "password", "P-384"],
)
def test_another_kind_of_key_is_refused(shell: Shell, content: bytes) -> None:
    (shell.folder / "private").write_bytes(content)
    error = shell.refuse("sign", "possession", "--owner", "acme", "--private-key", "private", code=2)
    assert "no private key of Ed25519, RSA or P-256" in error or "on the curve P-256" in error
