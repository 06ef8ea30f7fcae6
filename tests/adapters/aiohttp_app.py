"""The application of hosts.py for aiohttp: the same reports."""

import asyncio

from adapters.hosts import report
from aiohttp import BodyPartReader, web

from tradeguard import Guard
from tradeguard.adapters.aiohttp import GRANT, Tradeguard


async def handle(request: web.Request) -> web.StreamResponse:
    """Report what arrived."""
    if request.path == "/v1/fail":
        raise RuntimeError("the handler failed")
    body = await request.read()
    text = report(request.method, request.path, request.rel_url.raw_query_string, body, request[GRANT].principal)
    if request.path != "/v1/stream":
        return web.Response(body=text, content_type="application/json", headers={"X-Request-Id": "made-by-the-handler"})
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(3):
        await response.write(b"%d\n" % number)
        await asyncio.sleep(0.3)
    await response.write(text)
    return response


async def multipart(request: web.Request) -> web.Response:
    """Report the one part of a multipart body, read as a stream."""
    part = await (await request.multipart()).next()
    assert isinstance(part, BodyPartReader)
    return web.Response(body=report(request.method, request.path, "", await part.read(), request[GRANT].principal))


def make_app(guard: Guard) -> web.Application:
    """The guarded application."""
    app = web.Application()
    Tradeguard(guard).init_app(app)
    app.router.add_post("/v1/twice", multipart)
    app.router.add_route("*", "/{tail:.*}", handle)
    return app
