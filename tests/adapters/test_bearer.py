"""A venue as its operator sets it up: the file, a key by the command line, uvicorn with TLS, a client that sends it."""

import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli.venue import Venue
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

SERVER = """
import socket, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from tradeguard import ASGI

async def orders(request):
    return JSONResponse({"who": request.scope["tradeguard"].principal.key_id})

app = Starlette(routes=[Route("/v1/orders", orders, methods=["GET", "POST"])])
sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
tls = {"ssl_certfile": sys.argv[1], "ssl_keyfile": sys.argv[1]} if len(sys.argv) > 1 else {}
config = uvicorn.Config(ASGI(app, config=True), log_level="info", proxy_headers=False, **tls)
uvicorn.Server(config).run(sockets=[sock])
"""


def day(offset: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=offset)).isoformat()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, with its key in the same file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(secret + made.public_bytes(Encoding.PEM))
    return file


class Client:
    """Asks a server of this module."""

    def __init__(self, port: int, certificate: Path | None) -> None:
        self._port, self._certificate = port, certificate

    def ask(
        self, *fields: tuple[str, str], path: str = "/v1/orders", method: str = "GET"
    ) -> tuple[int, dict[str, Any]]:
        if self._certificate is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        else:
            context = ssl.create_default_context(cafile=self._certificate)
            connection = http.client.HTTPSConnection("localhost", self._port, timeout=10, context=context)
        connection.putrequest(method, path)
        for name, value in fields:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        status, body = answer.status, json.loads(answer.read())
        connection.close()
        return status, body


@contextmanager
def serving(venue: Venue, certificate: Path | None, **environ: str) -> Iterator[Client]:
    """Run uvicorn over the venue's file until the block ends; what it writes is kept in server.log."""
    given = [] if certificate is None else [str(certificate)]
    with open(venue.folder / "server.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, *given], cwd=venue.folder, stdout=subprocess.PIPE, stderr=log, text=True,
            env={**venue.environ, **environ},
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (venue.folder / "server.log").read_text()
        yield Client(int(line), certificate)
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def venue(tmp_path: Path) -> Venue:
    """A venue that takes keys that are sent along for 90 days."""
    made = Venue(tmp_path / "venue")
    made.configure('# dialects = ["tg1"]', 'dialects = ["tg1", "bearer"]')
    made.configure("# accept = []", 'accept = ["bearer"]')
    made.configure('# until = ""', f'until = "{day(90)}"')
    return made


def issue(venue: Venue, *words: str) -> tuple[str, str]:
    made = venue.ask("keys", "new", "--owner", "acme", "--role", "trader", "--dialect", "bearer", *words)
    return made["id"], made["secret"]


def bearer(id: str, secret: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {id}.{secret}"


def test_from_the_file_to_the_first_answer_and_to_its_end(venue: Venue, certificate: Path) -> None:
    id, secret = issue(venue)
    with serving(venue, certificate) as client:
        assert client.ask(bearer(id, secret)) == (200, {"who": id})
        status, body = client.ask(bearer(id, secret), method="POST")
        assert (status, body["code"], body["lane"]) == (403, "bearer.lane", "order")
        seen = {(client.ask(*fields)[0], client.ask(*fields)[1]["code"]) for fields in wrong(id, secret)}
        assert seen == {(401, "unauthorized")}
        assert client.ask(path=f"/v1/orders?authorization=Bearer%20{id}.{secret}")[0] == 401
        venue.ask("keys", "revoke", id, "--yes")
        assert client.ask(bearer(id, secret))[1]["code"] in {"signature.superseded", "unauthorized"}  # by the state
        assert client.ask(bearer(id, secret))[1]["code"] == "unauthorized"
    with serving(venue, certificate) as client:
        assert client.ask(bearer(id, secret))[0] == 401
    kept = b"".join(path.read_bytes() for path in venue.data.iterdir())
    assert secret.encode() not in kept
    log = (venue.folder / "server.log").read_text()
    assert "keys may be sent along, unsigned, until" in log


def wrong(id: str, secret: str) -> list[list[tuple[str, str]]]:
    good = bearer(id, secret)
    return [
        [], [good, good], [bearer(id, secret.swapcase())], [bearer(id, secret + " x")], [bearer("nobody", secret)],
        [bearer(id, secret), ("TG-Key", id)], [("X-Api-Key", f"{id}.{secret}")], [bearer(secret, id)],
    ]  # fmt: skip


def test_past_its_end_the_holder_is_told_and_a_stranger_is_not(venue: Venue, certificate: Path) -> None:
    id, secret = issue(venue)
    venue.configure(f'until = "{day(90)}"', f'until = "{day(-1)}"')
    with serving(venue, certificate) as client:
        status, body = client.ask(bearer(id, secret))
        assert (status, body["code"], body["ended"]) == (403, "bearer.ended", f"{day(0)}T00:00:00Z")
        assert "Sign your requests" in body["detail"]
        assert client.ask(bearer(id, secret[:-1] + "!"))[1]["code"] == "unauthorized"


def test_from_elsewhere_it_is_refused_by_name(venue: Venue, certificate: Path) -> None:
    id, secret = issue(venue, "--network", "203.0.113.0/24")
    with serving(venue, certificate) as client:
        status, body = client.ask(bearer(id, secret))
    assert (status, body["code"]) == (403, "network.outside")


@pytest.mark.parametrize(
    ("environ", "fields", "status"),
    [({}, [], 403), ({"TRADEGUARD_DEVELOPMENT": "1"}, [], 200),
     ({"TRADEGUARD_DEVELOPMENT": "1"}, [("X-Forwarded-For", "203.0.113.7")], 403)],
    ids=["served", "development", "development behind a proxy"],
)  # fmt: skip
def test_over_plain_http_it_is_for_development_only(
    venue: Venue, environ: dict[str, str], fields: list[tuple[str, str]], status: int
) -> None:
    id, secret = issue(venue)
    with serving(venue, None, **environ) as client:
        found, body = client.ask(bearer(id, secret), *fields)
    assert found == status
    assert body.get("code") == (None if status == 200 else "bearer.plain")


@pytest.mark.parametrize(("proto", "status"), [("https", 200), ("http", 403), ("", 403), ("HTTPS, http", 403)])
def test_behind_a_proxy_that_ends_tls_the_proxys_word_counts(venue: Venue, proto: str, status: int) -> None:
    id, secret = issue(venue)
    venue.configure('topology = "direct"', 'topology = "proxied"\nheader = "x-forwarded-for"\ntrusted = ["127.0.0.1"]')
    with serving(venue, None) as client:
        fields = [("X-Forwarded-For", "203.0.113.7"), *([("X-Forwarded-Proto", proto)] if proto else [])]
        assert client.ask(bearer(id, secret), *fields)[0] == status


def test_nobody_who_is_no_proxy_makes_plain_http_look_like_tls(venue: Venue) -> None:
    id, secret = issue(venue)
    with serving(venue, None) as client:
        fields = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https"), ("Forwarded", "proto=https")]
        status, body = client.ask(bearer(id, secret), *fields)
    assert (status, body["code"]) == (403, "bearer.plain")


def test_the_secret_is_in_nothing_that_the_server_writes(venue: Venue, certificate: Path) -> None:
    id, secret = issue(venue)
    venue.configure(f'until = "{day(90)}"', f'until = "{day(5)}"')
    with serving(venue, certificate) as client:
        assert client.ask(bearer(id, secret))[0] == 200
        for fields in wrong(id, secret):
            client.ask(*fields)
    log = (venue.folder / "server.log").read_text()
    assert "keys that are sent along are still in use" in log
    assert secret not in log
    assert secret not in (venue.data / "audit.jsonl").read_text()
