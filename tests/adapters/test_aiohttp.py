"""What is special about aiohttp: bodies in every reading style, exceptions as responses, its own body limit."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientSession, FormData, web
from aiohttp.test_utils import TestClient, TestServer
from support import TRADER, make_guard

from tradeguard import MemoryJournal, Signer
from tradeguard.adapters.aiohttp import GRANT, Tradeguard
from tradeguard.core.runtime import Loop
from tradeguard.signing.signer import Outgoing

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def ask(
    handler: Handler, journal: MemoryJournal, body: Any = b"{}", *, size: int = 1024**2
) -> tuple[int, dict[str, str], bytes]:
    """Send one signed POST /v1/orders to a real server with this handler."""

    async def main() -> tuple[int, dict[str, str], bytes]:
        guard = make_guard(runtime=Loop(), journal=journal)
        app = web.Application(client_max_size=size)
        Tradeguard(guard).init_app(app)
        app.router.add_post("/v1/orders", handler)
        async with TestClient(TestServer(app)) as client:
            host = f"{client.host}:{client.port}"
            return await post(client.session, host, TRADER, body)

    return asyncio.run(main())


async def post(session: ClientSession, host: str, signer: Signer, body: Any) -> tuple[int, dict[str, str], bytes]:
    payload = body() if isinstance(body, FormData) else None
    data, kind = (
        (body, "application/octet-stream") if payload is None else (await payload.as_bytes(), payload.content_type)
    )
    out = signer.sign(Outgoing("POST", host, b"/v1/orders", kind.encode(), data), time.time_ns())
    headers = {name.decode(): value.decode() for name, value in out.headers} | {"Content-Type": kind}
    async with session.post(f"http://{host}/v1/orders", data=data, headers=headers) as response:
        return response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read()


def test_the_grant_is_beside_the_request() -> None:
    async def handler(request: web.Request) -> web.Response:
        principal = request[GRANT].principal
        assert principal is not None
        return web.json_response({"key": principal.key_id, "body": (await request.json())["qty"]})

    status, headers, body = ask(handler, MemoryJournal(), b'{"qty":"1"}')
    assert (status, json.loads(body)) == (200, {"key": "trader", "body": "1"})
    assert len(headers["x-request-id"]) == 32


def test_a_multipart_body_can_be_streamed() -> None:
    async def handler(request: web.Request) -> web.Response:
        part: Any = await (await request.multipart()).next()
        return web.Response(body=await part.read())

    form = FormData()
    form.add_field("file", b"x" * 200_000, filename="orders.csv")
    assert ask(handler, MemoryJournal(), form)[::2] == (200, b"x" * 200_000)


def test_the_content_can_be_read_in_pieces() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"|".join([piece async for piece in request.content.iter_chunked(4)]))

    assert ask(handler, MemoryJournal(), b"12345678")[::2] == (200, b"1234|5678")


def test_an_exception_that_is_a_response_keeps_its_status() -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise web.HTTPConflict(text="taken")

    journal = MemoryJournal()
    status, headers, body = ask(handler, journal)
    assert (status, body) == (409, b"taken")
    assert (journal.events[-1].kind, journal.events[-1].status) == ("outcome", 409)
    assert headers["x-request-id"] == journal.events[-1].request_id


def test_the_applications_own_limit_holds() -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise AssertionError("must not run")

    journal = MemoryJournal()
    assert ask(handler, journal, b"x" * 5000, size=1000)[0] == 413
    assert journal.events[-1].code == "body.large"
