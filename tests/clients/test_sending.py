"""What sends again: retries above and below the signature, replays, many at once, and files."""

import asyncio
import io
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import tenacity
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from clients.venue import Places
from requests.adapters import HTTPAdapter
from support import BINA, EDWARD, TRADER
from urllib3.util import Retry

from tradeguard.clients.aiohttp import sign
from tradeguard.clients.httpx import TradeguardAuth as HttpxAuth
from tradeguard.clients.requests import TradeguardAuth as RequestsAuth
from tradeguard.signing.signer import Signer

EXAMPLES = Path(__file__).parents[2] / "examples" / "clients"
both = pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
every_key = pytest.mark.parametrize("signer", [TRADER, EDWARD, BINA], ids=["hmac", "ed25519", "binance"])
_names = iter(range(10**9))


@pytest.fixture
def busy(venue: Places) -> str:
    """A URL that answers 503 the first time."""
    return f"{venue.v4}/v1/busy?once=sending-{next(_names)}"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import one of the examples."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return import_module


def until_200(call: Callable[[], Any], status: str = "status_code") -> Any:
    """Retry as tenacity does, without a pause."""
    decide = tenacity.retry_if_result(lambda response: getattr(response, status) == 503)
    return tenacity.Retrying(retry=decide, stop=tenacity.stop_after_attempt(3))(call)


@both
@every_key
def test_tenacity_around_a_client_of_httpx_signs_afresh(busy: str, module: Any, signer: Signer) -> None:
    with module.Client(auth=HttpxAuth(signer), trust_env=False) as client:
        assert until_200(lambda: client.get(busy)).status_code == 200


@both
@every_key
def test_a_request_of_httpx_that_is_sent_again_is_signed_afresh(
    venue: Places, busy: str, module: Any, signer: Signer
) -> None:
    """The very same object, with a query or a form that carries a signature already."""
    with module.Client(auth=HttpxAuth(signer), trust_env=False) as client:
        form = client.build_request("POST", f"{venue.v4}/v1/echo", data={"a": f"{next(_names)}"})
        for request, expected in ((client.build_request("GET", busy), [503, 200, 200]), (form, [200] * 3)):
            assert [_send_later(client, request) for _ in range(3)] == expected


def _send_later(client: Any, request: Any) -> int:
    time.sleep(0.002)  # the next millisecond: the dialect of parameters has no nonce
    status: int = client.send(request).status_code
    return status


@both
def test_a_replayed_attempt_of_httpx_is_409(venue: Places, module: Any) -> None:
    url = f"{venue.v4}/v1/echo"
    with module.Client(auth=HttpxAuth(TRADER), trust_env=False) as client, module.Client(trust_env=False) as thief:
        first = client.post(url, json={"a": 1})
        assert first.status_code == 200
        stolen = dict(first.request.headers.raw)
        again = thief.post(url, content=first.request.content, headers=stolen)
        assert (again.status_code, again.json()["code"]) == (409, "replay.seen")


@both
def test_a_credential_of_httpx_goes_out_and_is_not_copied(venue: Places, module: Any) -> None:
    with module.Client(auth=HttpxAuth(TRADER), trust_env=False) as client:
        request = client.get(f"{venue.v4}/v1/echo").request
    assert b"tg-signature" in dict(request.headers.raw)
    assert "tg-signature" not in module.Headers(request.headers)


@pytest.mark.parametrize("layer", ["auth", "transport"])
def test_a_transport_that_sends_again_needs_the_signature_below_it(
    busy: str, layer: str, example: Callable[[str], Any]
) -> None:
    """Above it, the second attempt is the first one's replay."""

    class Again(httpx2.BaseTransport):
        def __init__(self, below: httpx2.BaseTransport) -> None:
            self.below = below

        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            response = self.below.handle_request(request)
            if response.status_code != 503:
                return response
            response.close()
            return self.below.handle_request(request)

        def close(self) -> None:
            self.below.close()

    auth, plain = HttpxAuth(TRADER), httpx2.HTTPTransport()
    below = plain if layer == "auth" else example("httpx_client").SigningTransport(auth, plain)
    with httpx2.Client(transport=Again(below), auth=auth if layer == "auth" else None) as client:
        assert client.get(busy).status_code == (409 if layer == "auth" else 200)


def answer_one(sock: socket.socket) -> bytes:
    """Accept a connection, answer it, and return what was sent."""
    connection, _ = sock.accept()
    with connection:
        heard = connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    return heard


def test_connections_that_fail_are_tried_again_by_httpx_before_anything_is_sent() -> None:
    """Its own retries are of connections only: nobody listens the first time, and the one signature is sent once."""
    events: list[str] = []
    with socket.socket() as sock, ThreadPoolExecutor(1) as pool:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)

        def trace(event: str, _info: Any) -> None:
            events.append(event)
            if event == "connection.connect_tcp.failed":
                sock.listen()

        with httpx2.Client(transport=httpx2.HTTPTransport(retries=2), auth=HttpxAuth(TRADER)) as client:
            heard = pool.submit(lambda: answer_one(_once_listening(sock)))
            url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
            assert client.get(url, extensions={"trace": trace}).status_code == 200
        assert heard.result().count(b"tg-nonce: ") == 1
    assert events.count("connection.connect_tcp.failed") == 1
    assert events.count("http11.send_request_headers.started") == 1


def _once_listening(sock: socket.socket) -> socket.socket:
    for _ in range(2_000):
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return sock
        time.sleep(0.005)
    raise AssertionError("no connection was tried")


@every_key
def test_tenacity_around_a_session_of_requests_signs_afresh(busy: str, signer: Signer) -> None:
    with requests.Session() as session:
        session.auth = RequestsAuth(signer)
        assert until_200(lambda: session.get(busy)).status_code == 200


RETRY = Retry(3, status_forcelist=[503], backoff_factor=0, raise_on_status=False)


def test_urllib3_repeats_the_same_message_and_is_told_so(busy: str) -> None:
    with requests.Session() as session:
        session.auth = RequestsAuth(TRADER)
        session.mount("http://", HTTPAdapter(max_retries=RETRY))
        answer = session.get(busy)
    assert (answer.status_code, answer.json()["code"]) == (409, "replay.seen")


@pytest.fixture
def signing(venue: Places, example: Callable[[str], Any]) -> Iterator[Callable[[Signer], requests.Session]]:
    """Make a session whose adapter signs each attempt."""
    with requests.Session() as session:

        def mount(signer: Signer) -> requests.Session:
            adapter = example("requests_client").SigningAdapter(RequestsAuth(signer, venue.v4), RETRY)
            session.mount(venue.v4, adapter)
            return session

        yield mount


@every_key
def test_the_adapter_signs_each_attempt_that_urllib3_allows(
    busy: str, signing: Callable[[Signer], requests.Session], signer: Signer
) -> None:
    assert signing(signer).get(busy).status_code == 200


def test_the_adapter_does_not_repeat_an_order(busy: str, signing: Callable[[Signer], requests.Session]) -> None:
    session = signing(TRADER)
    assert [session.post(busy, json={"a": 1}).status_code for _ in range(2)] == [503, 200]


def test_the_adapter_gives_up_as_requests_does(venue: Places, example: Callable[[str], Any]) -> None:
    """503 for as long as the name is a new one; each attempt has a nonce of its own, so none is a replay."""
    seen: list[str] = []

    class Auth(RequestsAuth):
        def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
            r.url = f"{venue.v4}/v1/busy?once=sending-{next(_names)}"
            signed = super().__call__(r)
            seen.append(str(signed.headers["tg-nonce"]))
            return signed

    with requests.Session() as session:
        session.mount(venue.v4, example("requests_client").SigningAdapter(Auth(TRADER), RETRY))
        with pytest.raises(requests.exceptions.RetryError) as given_up:
            session.get(f"{venue.v4}/v1/busy")
    assert given_up.value.response is not None
    assert given_up.value.response.status_code == 503
    assert len(set(seen)) == len(seen) == 4


def test_the_adapter_raises_what_requests_raises_where_nobody_listens(example: Callable[[str], Any]) -> None:
    with requests.Session() as session:
        adapter = example("requests_client").SigningAdapter(RequestsAuth(TRADER), Retry(1))
        session.mount("http://", adapter)
        with pytest.raises(requests.ConnectionError):
            session.get("http://127.0.0.1:1/")


def test_a_replayed_attempt_of_requests_is_409(venue: Places) -> None:
    with requests.Session() as session:
        session.auth = RequestsAuth(TRADER)
        prepared = session.prepare_request(requests.Request("POST", f"{venue.v4}/v1/echo", json={"a": 1}))
        assert session.send(prepared).status_code == 200
        assert session.send(prepared).status_code == 409


@pytest.mark.parametrize("body", [io.BytesIO(b"file"), io.StringIO("text é"), "text é", ["a", b"b"].__iter__()])
def test_a_body_of_requests_is_sent_as_it_was_read(venue: Places, body: Any) -> None:
    with requests.Session() as session:
        session.auth = RequestsAuth(TRADER)
        assert session.post(f"{venue.v4}/v1/echo", data=body).status_code == 200


@every_key
@pytest.mark.parametrize("query", ["x=%e2%82%ac", b"x=%e2%82%ac&y=^|", "x=%zz"])
def test_what_urllib3_spells_anew_is_signed_as_it_spells_it(venue: Places, signer: Signer, query: str | bytes) -> None:
    with requests.Session() as session:
        session.auth = RequestsAuth(signer)
        answer = session.get(f"{venue.v4}/v1/echo", params=query)
    assert answer.status_code == 200
    assert "%e2" not in answer.json()["query"]


@pytest.mark.parametrize("name", ["Content-Type", "Host"])
def test_a_field_of_requests_may_be_bytes(venue: Places, name: str) -> None:
    with requests.Session() as session:
        session.auth = RequestsAuth(TRADER)
        fields: Any = {name: b"api.example"}
        assert session.post(f"{venue.v4}/v1/echo", data=b"x", headers=fields).status_code == 200


@every_key
def test_a_retry_before_the_signature_in_aiohttp_signs_afresh(
    busy: str, signer: Signer, example: Callable[[str], Any]
) -> None:
    async def ask() -> int:
        middlewares = [example("aiohttp_client").again, sign(signer)]
        async with aiohttp.ClientSession(middlewares=middlewares) as session, session.get(busy) as response:
            return response.status

    assert asyncio.run(ask()) == 200


def test_a_form_is_signed_again_in_aiohttp(venue: Places) -> None:
    async def twice(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        (await handler(request)).release()
        await asyncio.sleep(0.002)  # the next millisecond: this dialect has no nonce
        return await handler(request)

    async def ask() -> int:
        async with (
            aiohttp.ClientSession(middlewares=[twice, sign(BINA)]) as session,
            session.post(f"{venue.v4}/v1/echo", data={"a": "1"}) as response,
        ):
            return response.status

    assert asyncio.run(ask()) == 200


def test_a_replayed_attempt_of_aiohttp_is_409(venue: Places) -> None:
    async def twice(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        (await handler(request)).release()
        return await handler(request)

    async def ask() -> int:
        async with (
            aiohttp.ClientSession(middlewares=[sign(TRADER), twice]) as session,
            session.post(f"{venue.v4}/v1/echo", json={"a": 1}) as response,
        ):
            return response.status

    assert asyncio.run(ask()) == 409


@pytest.mark.parametrize("skip", [(), ("Content-Type",)])
def test_the_content_type_that_aiohttp_adds_late_is_signed(venue: Places, skip: tuple[str, ...]) -> None:
    async def ask() -> int:
        async with (
            aiohttp.ClientSession(middlewares=[sign(TRADER)], skip_auto_headers=skip) as session,
            session.post(f"{venue.v4}/v1/echo") as response,
        ):
            return response.status

    assert asyncio.run(ask()) == 200


@both
def test_ten_threads_share_a_client_of_httpx(venue: Places, module: Any) -> None:
    with module.Client(auth=HttpxAuth(TRADER), trust_env=False) as client, ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: client.post(f"{venue.v4}/v1/echo?n={n}", json=n).status_code, range(50)))
    assert answers == [200] * 50


def test_ten_threads_share_an_auth_of_requests(venue: Places) -> None:
    auth = RequestsAuth(EDWARD)
    with ThreadPoolExecutor(10) as pool:
        post = lambda n: requests.post(f"{venue.v4}/v1/echo?n={n}", json=n, auth=auth).status_code  # noqa: E731
        assert list(pool.map(post, range(50))) == [200] * 50


@pytest.mark.parametrize("kind", ["httpx", "httpx2", "aiohttp"])
def test_ten_tasks_share_a_client(venue: Places, kind: str) -> None:
    async def ask() -> list[int]:
        if kind == "aiohttp":
            async with aiohttp.ClientSession(middlewares=[sign(TRADER)]) as session:

                async def post(n: int) -> int:
                    async with session.post(f"{venue.v4}/v1/echo?n={n}", json=n) as response:
                        return response.status

                return await asyncio.gather(*map(post, range(10)))
        async with import_module(kind).AsyncClient(auth=HttpxAuth(TRADER), trust_env=False) as client:
            answers = await asyncio.gather(*(client.post(f"{venue.v4}/v1/echo?n={n}", json=n) for n in range(10)))
            return [answer.status_code for answer in answers]

    assert asyncio.run(ask()) == [200] * 10
