"""A loopback server with TLS that keeps requests as they come: Coinbase's clients ask for nothing but https."""

import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import time_ns
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Sent(NamedTuple):
    """One request as it came; `at` is ns UTC."""

    at: int
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class Wire:
    """What came, and what is answered to it."""

    def __init__(self, authority: str) -> None:
        self.authority, self.sent = authority, list[Sent]()
        self.status, self.answer = 200, b"{}"


def make_certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1 with its key into one file, and return that."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    host = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "wire.pem"
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


@contextmanager
def recording(certificate: Path | None) -> Iterator[Wire]:
    """Run the server while the block runs, on a free port; without a certificate it speaks plain HTTP."""

    class Record(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            wire.sent.append(Sent(time_ns(), self.command, self.path, list(self.headers.items()), body))
            self.send_response(wire.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(wire.answer)))
            self.end_headers()
            self.wfile.write(wire.answer)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Record)
    server.daemon_threads = True
    wire = Wire(f"127.0.0.1:{server.server_address[1]}")
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield wire
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
