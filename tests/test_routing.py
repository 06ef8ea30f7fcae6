"""The operations map against real routers: whatever handler Starlette or aiohttp reaches, the map asks for its row."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from urllib.parse import quote, unquote

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from routing import (
    BRACES,
    GUARD,
    LITERALS,
    REFUSED,
    SINGLE,
    STICKS,
    STRONG,
    WEAK,
    Rows,
    Tally,
    Target,
    compare,
    judge,
    mounted,
    run_asgi,
    split,
    template,
)
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route
from support import NOW, make_guard

from tradeguard.adapters.aiohttp import aiohttp_middleware
from tradeguard.adapters.aiohttp.request import meet_peer, read_request
from tradeguard.adapters.aiohttp.route import find_template, list_templates
from tradeguard.adapters.template import compare as hold
from tradeguard.core.decision import Grant
from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operations, Policy

# Starlette


def starlette_route(row: str, *, below: int) -> Route:
    method, segments = split(row)

    async def endpoint(_: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse(headers={"row": quote(row)})

    return Route(template(segments[below:], ":path"), endpoint, methods=[method])


def starlette_app(rows: Rows, mount: str | None) -> Starlette:
    below, above = mounted(rows, mount) if mount else ([], list(rows))
    routes: list[BaseRoute] = [starlette_route(row, below=0) for row in above]
    if mount:
        routes.insert(0, Mount(f"/{mount}", routes=[starlette_route(row, below=1) for row in below]))
    return Starlette(routes=routes)


SETTINGS = [
    (None, "", ""),
    ("m", "", ""),
    (None, "/api", ""),
    ("m", "/api", ""),
    ("v1", "", "/outer"),
    ("m", "/api/v2", "/v1"),
]


EXTRA = ["é", "\u2028x", '"<^>|`']


def check_starlette(mount: str | None, root: str, outer: str, tables: int) -> None:
    compare(
        lambda rows, targets: asyncio.run(run_asgi(starlette_app(rows, mount), rows, targets, root=root, outer=outer)),
        f"{mount} {root} {outer}",
        literals=[*LITERALS, *EXTRA],
        methods=["GET", "GET", "POST", "HEAD"],
        sticks=STICKS + BRACES,
        tables=tables,
    )


@pytest.mark.parametrize(("mount", "root", "outer"), SETTINGS)
def test_the_map_and_the_router_of_starlette_agree(mount: str | None, root: str, outer: str) -> None:
    check_starlette(mount, root, outer, 2)


@pytest.mark.soak
@pytest.mark.parametrize(("mount", "root", "outer"), SETTINGS)
def test_the_map_and_the_router_of_starlette_agree_on_many_targets(mount: str | None, root: str, outer: str) -> None:
    check_starlette(mount, root, outer, 100 // len(SETTINGS) + 1)


# aiohttp, over real sockets


def aiohttp_handler(row: str) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(headers={"row": quote(row)})

    return handler


def add_rows(app: web.Application, rows: Iterable[str], *, below: int) -> web.Application:
    for row in rows:
        method, segments = split(row)
        path = template(segments[below:], ":.*")
        app.router.add_get(path, aiohttp_handler(row)) if method == "GET" else app.router.add_route(
            method, path, aiohttp_handler(row)
        )
    return app


def judge_route(http: web.Request, operations: Operations) -> str:
    """What frame, map and the comparison with aiohttp's own route say."""
    asked = read_request(GUARD, http, "id", meet_peer(GUARD, http), NOW)
    verdict, template = judge(asked, operations), find_template(http)
    operation = operations.match(asked.method, asked.path)
    if operation is None or verdict == REFUSED or template is None:
        return verdict
    grant = Grant("id", None, lambda: None, operation=operation)
    return verdict if hold(grant, template, list_templates(http)) is None else REFUSED


def aiohttp_app(rows: Rows, mount: str | None, verdicts: list[str]) -> web.Application:
    operations = Operations(rows)

    @web.middleware
    async def probe(request: web.Request, handler: Handler) -> web.StreamResponse:
        verdicts.append(judge_route(request, operations))
        return await handler(request)

    app = web.Application(middlewares=[probe])
    below, above = mounted(rows, mount) if mount else ([], list(rows))
    if mount:
        app.add_subapp(f"/{mount}", add_rows(web.Application(), below, below=1))
    return add_rows(app, above, below=0)


class Wire:
    """One kept-open connection, opened anew where the server closes it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, target: bytes) -> str | None:
        """Send a request as it is; return the row whose handler was reached, if any was."""
        if self.reader is None or self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(method.encode() + b" " + target + b" HTTP/1.1\r\nHost: api.example\r\n\r\n")
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert not head.startswith(b"HTTP/1.1 5"), head
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        if b" 400 " in head[:14]:  # the parser of the server refused it
            await self.close()
            return None
        if method != "HEAD":
            await self.reader.readexactly(int(fields.get(b"content-length", b"0")))
        row = next((line[5:] for line in head.split(b"\r\n") if line[:5].lower() == b"row: "), None)
        return unquote(row.decode()) if row is not None else None

    async def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            await self.writer.wait_closed()
        self.reader = self.writer = None


@asynccontextmanager
async def serve(app: web.Application) -> AsyncIterator[Wire]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        wire = Wire(runner.addresses[0][1])
        yield wire
        await wire.close()
    finally:
        await runner.cleanup()


async def run_aiohttp(rows: Rows, targets: Iterable[Target], *, mount: str | None) -> Tally:
    verdicts: list[str] = []
    tally = Tally()
    async with serve(aiohttp_app(rows, mount, verdicts)) as wire:
        for method, target, honest in targets:
            verdicts.clear()
            reached = await wire.ask(method, target)
            tally.enter(method, target, verdicts[0] if verdicts else REFUSED, reached, honest=honest)
    return tally


MOUNTS = [None, "m", "v1", "orders", "open"]


def check_aiohttp(mount: str | None, tables: int) -> None:
    compare(
        lambda rows, targets: asyncio.run(run_aiohttp(rows, targets, mount=mount)),
        str(mount),
        methods=["GET", "POST"],
        tables=tables,
    )


@pytest.mark.parametrize("mount", MOUNTS)
def test_the_map_and_the_router_of_aiohttp_agree(mount: str | None) -> None:
    check_aiohttp(mount, 2)


@pytest.mark.soak
@pytest.mark.parametrize("mount", MOUNTS)
def test_the_map_and_the_router_of_aiohttp_agree_on_many_targets(mount: str | None) -> None:
    check_aiohttp(mount, 20)


@pytest.mark.parametrize("name", SINGLE)
def test_starlette_agrees_on_a_single_target(name: str) -> None:
    rows, method, target = SINGLE[name]
    tally = asyncio.run(run_asgi(starlette_app(rows, None), rows, [(method, target, False)], root=""))
    assert tally.counts["reached"] == 1
    assert not tally.wrong


@pytest.mark.parametrize("name", ["non-ascii", "caret"])
def test_aiohttp_refuses_a_row_that_it_cannot_route(name: str) -> None:
    rows, _, _ = SINGLE[name]
    with pytest.raises(ConfigError, match="aiohttp cannot route it"):
        aiohttp_middleware(make_guard(operations=Operations(rows), policy=Policy(scopes=[WEAK, STRONG]), runtime=None))


@pytest.mark.parametrize("name", ["brace", "head", "empty rest"])
def test_aiohttp_agrees_on_a_single_target(name: str) -> None:
    rows, method, target = SINGLE[name]
    tally = asyncio.run(run_aiohttp(rows, [(method, target, False)], mount=None))
    assert tally.counts["reached"] == 1
    assert not tally.wrong
