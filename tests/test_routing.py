"""The operations map against real routers: whatever handler Starlette or aiohttp reaches, the map asks for its row.

Tables of rows and targets are random, from fixed seeds. Each target goes to the router whether the frame likes it or
not. Where a handler is reached, the frame must have refused, or the map must have found no row or just that handler's.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote, unquote

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route
from support import NOW, make_guard

from tradeguard.adapters import aiohttp as aiohttp_adapter
from tradeguard.adapters import asgi as asgi_adapter
from tradeguard.core.decision import Refused
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import check_frame
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.request import Peer, Request

Rows = Mapping[str, str]
GUARD, POLICY = make_guard(), Policy()
REFUSED, UNSEEN = "refused", "unseen"
TARGETS = 1_000  # per table

LITERALS = ["v1", "m", "orders", "open", "a.b", "x-y_z~", "p+q", "s:t@u,w", "ORDERS", "$(!')&*="]
VALUES = ["7", "open", "BTC-USDT", "a b", "é", "...", "x+y", "a:b@c", "1e9", "m", "?", "#", "[0]", "\u2028", "e\u0301"]
STICKS = [
    *[
        b"%2F",
        b"%2f",
        b"%5C",
        b"\\",
        b"%00",
        b"%0A",
        b"%0d%0a",
        b"%09",
        b"//",
        b"/",
        b"/./",
        b"/../",
        b"/%2e%2e/",
        b"/..;/",
    ],
    *[
        b";",
        b";a=1",
        b"%3B",
        b"%77",
        b"%2E",
        b".",
        b"%25",
        b"%252F",
        b"%",
        b"%zz",
        b"%C3%A9",
        b"%c3%a9",
        b"%FF",
        b"%C0%AF",
    ],
    *[
        b"%ED%A0%80",
        b"%EF%BC%8F",
        b"%E2%80%A8",
        b"%C2%85",
        b"\xc3\xa9",
        b"\xff",
        b"?",
        b"?a=/",
        b"%3F",
        b"%23",
        b"%2B",
        b"+",
    ],
    *[
        b"%3a",
        b"%40",
        b"%20",
        b"%5B",
        b"%7F",
        b"*",
        b"**",
        b":",
        b"@",
        b"'",
        b"(",
        b"~",
        b"%7E",
        b"=",
        b"&",
        b"!",
        b"$",
        b",",
    ],
]
BRACES = [b"%7B", b"%7Did%7D"]


@dataclass
class Tally:
    """What became of the targets of one run, and every one where map and router disagree."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[str, bytes, str, str]] = field(default_factory=list)

    def enter(self, method: str, target: bytes, verdict: str, reached: str | None, *, honest: bool) -> None:
        """Note one target: what frame and map said, and the row whose handler was reached."""
        self.counts["sent"] += 1
        if reached is None:
            return
        self.counts["reached"] += 1
        self.counts["right"] += verdict == reached
        self.counts["honest"] += honest
        if verdict not in (REFUSED, UNSEEN, reached) or (honest and verdict != reached):
            self.wrong.append((method, target, verdict, reached))


def judge(request: Request, operations: Operations) -> str:
    """What frame and map say about a request as an adapter built it: refused, unseen, or a row."""
    try:
        check_frame(request, POLICY)
    except Refused:
        return REFUSED
    operation = operations.match(request.method, request.path)
    return operation.id if operation is not None else UNSEEN


# tables and targets


def split(row: str) -> tuple[str, list[str]]:
    method, path = row.split(" ")
    return method, path.split("/")[1:]


def ranks(row: str) -> list[int]:
    """How strong a row is, segment by segment (rule 3 of the map)."""
    return [{"**": 0, "*": 1}.get(segment, 2 if segment.startswith("{") else 3) for segment in split(row)[1]]


def make_row(dice: Random, literals: list[str], methods: list[str]) -> str:
    segments = [
        dice.choice([*literals[:6], dice.choice(literals), f"{{p{place}}}", "*"]) for place in range(dice.randint(1, 4))
    ]
    if dice.random() < 0.25:
        segments[-1] = "**"
    elif dice.random() < 0.15:
        segments.append("")
    return f"{dice.choice(methods)} /" + "/".join(segments)


def make_table(dice: Random, literals: list[str], methods: list[str]) -> dict[str, str]:
    """Rows that can stand together, each with a scope of its own; the strongest first, and HEAD before GET."""
    rows: dict[str, str] = {}
    for number in range(60):
        trial = {make_row(dice, literals, methods): f"scope{number}", **rows}
        try:
            Operations(trial)
        except ConfigError:
            continue
        rows = trial
    return dict(sorted(rows.items(), key=lambda item: (ranks(item[0]), item[0].startswith("HEAD ")), reverse=True))


def spell(dice: Random, segment: str) -> str:
    if segment == "**":
        return "/".join(quote(dice.choice(VALUES)) for _ in range(dice.randint(1, 3)))
    if segment == "*" or segment.startswith("{"):
        return quote(dice.choice(VALUES), safe=dice.choice(["", "!$&'()*+,=:@~"]))
    return quote(segment, safe="!$&'()*+,=:@~")


def make_target(dice: Random, rows: Rows, sticks: list[bytes]) -> tuple[str, bytes, bool]:
    """A method, a target that matches a row or nearly so, and whether nothing was done to it."""
    method, segments = split(dice.choice(list(rows)))
    target = ("/" + "/".join(spell(dice, segment) for segment in segments)).encode()
    blows = dice.choice([0, 0, 1, 1, 1, 2, 3])
    for _ in range(blows):
        target = dice.choice(MUTATIONS)(dice, target, sticks)
    return dice.choice([method, method, method, "HEAD"]), target, blows == 0


def stick_in(dice: Random, target: bytes, sticks: list[bytes]) -> bytes:
    place = dice.randint(0, len(target))
    return target[:place] + dice.choice(sticks) + target[place:]


def encode_one(dice: Random, target: bytes, _: list[bytes]) -> bytes:
    place = dice.randrange(len(target) or 1)
    spelling = dice.choice([b"%%%02X", b"%%%02x"])
    return target[:place] + b"".join(spelling % byte for byte in target[place : place + 1]) + target[place + 1 :]


def change_case(dice: Random, target: bytes, _: list[bytes]) -> bytes:
    return dice.choice([target.upper, target.lower, target.swapcase])()


def change_end(dice: Random, target: bytes, _: list[bytes]) -> bytes:
    return target.rstrip(b"/") if target.endswith(b"/") else target + dice.choice([b"/", b"/", b"//", b"/."])


def change_segment(dice: Random, target: bytes, _: list[bytes]) -> bytes:
    segments = target.split(b"/")
    place = dice.randrange(len(segments))
    other = [quote(dice.choice(LITERALS + VALUES)).encode(), b"", segments[place] * 2]
    return b"/".join(
        segments[:place] + dice.choice([[], [dice.choice(other)], [segments[place]] * 2]) + segments[place + 1 :]
    )


def join_segments(dice: Random, target: bytes, _: list[bytes]) -> bytes:
    segments = target.split(b"/")
    place = dice.randrange(1, len(segments) + 1)
    glue = dice.choice([b"%2F", b"%2f", b"\\", b"%5C", b"//", b";/", b"%252F"])
    return b"/".join(segments[:place]) + glue + b"/".join(segments[place:])


MUTATIONS: list[Callable[[Random, bytes, list[bytes]], bytes]] = [
    stick_in, stick_in, encode_one, encode_one, change_case, change_end, change_segment, join_segments,
]  # fmt: skip


def template(segments: list[str], rest: str) -> str:
    """A row's path as a router writes it."""
    names = {"**": f"{{rest{rest}}}", "*": "{star%d}"}
    written = [names.get(segment, segment) for segment in segments]
    return "/" + "/".join(name % place if "%d" in name else name for place, name in enumerate(written))


def mounted(rows: Iterable[str], name: str) -> tuple[list[str], list[str]]:
    """Split rows into those below a mount point and the others."""
    below = [row for row in rows if split(row)[1][0] == name and len(split(row)[1]) > 1]
    return below, [row for row in rows if row not in below]


# Starlette


class Probe:
    """Stands where the guard stands: notes what frame and map say, and lets everything pass."""

    def __init__(self, app: asgi_adapter.App, operations: Operations) -> None:
        self.app, self.operations, self.verdict = app, operations, UNSEEN

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = asgi_adapter._request(GUARD, scope, receive, "id", Peer(), NOW)
        self.verdict = judge(request, self.operations)
        await self.app(scope, receive, send)


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


def make_scope(method: str, target: bytes, root: str) -> dict[str, Any]:
    """A scope as uvicorn makes it: `path` decoded, `raw_path` raw, `root_path` in front of both."""
    raw, _, query = target.partition(b"?")
    return {
        "type": "http",
        "method": method,
        "path": root + unquote(raw.decode("latin-1")),
        "raw_path": root.encode() + raw,
        "query_string": query,
        "root_path": root,
        "scheme": "http",
        "http_version": "1.1",
        "headers": [(b"host", b"api.example")],
    }


async def ask_starlette(app: asgi_adapter.App, scope: dict[str, Any]) -> str | None:
    """The row whose handler was reached, if any was."""
    started: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.append(message)

    await app(scope, receive, send)
    row = dict(started[0]["headers"]).get(b"row")
    return unquote(row.decode()) if row is not None else None


async def run_starlette(
    rows: Rows, targets: Iterable[tuple[str, bytes, bool]], *, mount: str | None, root: str, outer: str
) -> Tally:
    """`root`: the server's root path. `outer`: the guarded application itself is mounted there."""
    probe, tally = Probe(starlette_app(rows, mount), Operations(rows)), Tally()
    app = Starlette(routes=[Mount(outer, app=probe)]) if outer else probe
    for method, target, honest in targets:
        probe.verdict = UNSEEN
        reached = await ask_starlette(app, make_scope(method, outer.encode() + target, root))
        tally.enter(method, target, probe.verdict, reached, honest=honest)
    return tally


SETTINGS = [
    (None, "", ""),
    ("m", "", ""),
    (None, "/api", ""),
    ("m", "/api", ""),
    ("v1", "", "/outer"),
    ("m", "/api/v2", "/v1"),
]


@pytest.mark.parametrize(("mount", "root", "outer"), SETTINGS)
def test_the_map_and_the_router_of_starlette_agree(mount: str | None, root: str, outer: str) -> None:
    total = Tally()
    for seed in range(2):
        dice = Random(f"{mount} {root} {outer} {seed}")
        rows = make_table(dice, [*LITERALS, "é", "\u2028x", '"<^>|`'], ["GET", "GET", "POST", "HEAD"])
        targets = [make_target(dice, rows, STICKS + BRACES) for _ in range(TARGETS)]
        tally = asyncio.run(run_starlette(rows, targets, mount=mount, root=root, outer=outer))
        total.counts += tally.counts
        total.wrong += tally.wrong
    assert not total.wrong
    assert_not_vacuous(total)


def assert_not_vacuous(tally: Tally) -> None:
    """A good part of the targets must reach a handler and be given its row, among them plain honest ones."""
    counts = tally.counts
    assert counts["sent"] >= 2 * TARGETS
    assert counts["reached"] > counts["sent"] * 0.35
    assert counts["right"] > counts["reached"] * 0.4
    assert counts["right"] < counts["reached"]  # some that a handler would have answered are refused
    assert counts["honest"] > counts["sent"] * 0.15


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


def aiohttp_app(rows: Rows, mount: str | None, verdicts: list[str]) -> web.Application:
    operations = Operations(rows)

    @web.middleware
    async def probe(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = aiohttp_adapter._request(GUARD, request, "id", Peer(), NOW)
        verdicts.append(judge(asked, operations))
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


async def run_aiohttp(rows: Rows, targets: Iterable[tuple[str, bytes, bool]], *, mount: str | None) -> Tally:
    verdicts: list[str] = []
    tally = Tally()
    async with serve(aiohttp_app(rows, mount, verdicts)) as wire:
        for method, target, honest in targets:
            verdicts.clear()
            reached = await wire.ask(method, target)
            tally.enter(method, target, verdicts[0] if verdicts else REFUSED, reached, honest=honest)
    return tally


@pytest.mark.parametrize("mount", [None, "m", "v1", "orders", "open"])
def test_the_map_and_the_router_of_aiohttp_agree(mount: str | None) -> None:
    total = Tally()
    for seed in range(2):
        dice = Random(f"{mount} {seed}")
        rows = make_table(dice, LITERALS, ["GET", "POST"])
        targets = [make_target(dice, rows, STICKS) for _ in range(TARGETS)]
        tally = asyncio.run(run_aiohttp(rows, targets, mount=mount))
        total.counts += tally.counts
        total.wrong += tally.wrong
    assert not total.wrong
    assert_not_vacuous(total)


# single targets, each with its reason


WEAK, STRONG = "scope1", "scope2"
SINGLE = [
    ({"GET /v1/{x}": STRONG, "GET /v1/**": WEAK}, "GET", b"/v1/a%7Bb"),  # aiohttp: a parameter holds no brace
    ({"GET /é/{x}": STRONG, "GET /**": WEAK}, "GET", b"/%C3%A9/a"),  # aiohttp: quotes literals beside parameters
    ({"GET /^/{x}": STRONG, "GET /**": WEAK}, "GET", b"/%5E/a"),
    ({"GET /v1/{x}": STRONG, "HEAD /v1/**": WEAK}, "HEAD", b"/v1/7"),  # both: HEAD goes to the handler of GET
]


@pytest.mark.parametrize(("rows", "method", "target"), SINGLE, ids=["brace", "non-ascii", "caret", "head"])
def test_starlette_agrees_on_a_single_target(rows: Rows, method: str, target: bytes) -> None:
    tally = asyncio.run(run_starlette(rows, [(method, target, False)], mount=None, root="", outer=""))
    assert tally.counts["reached"] == 1
    assert not tally.wrong


@pytest.mark.parametrize("rows", [SINGLE[1][0], SINGLE[2][0]], ids=["non-ascii", "caret"])
def test_aiohttp_refuses_a_row_that_it_cannot_route(rows: Rows) -> None:
    with pytest.raises(ConfigError, match="aiohttp cannot route it"):
        aiohttp_adapter.aiohttp_middleware(
            make_guard(operations=Operations(rows), policy=Policy(scopes=[WEAK, STRONG]), runtime=None)
        )


@pytest.mark.parametrize(("rows", "method", "target"), [SINGLE[0], SINGLE[3]], ids=["brace", "head"])
def test_aiohttp_agrees_on_a_single_target(rows: Rows, method: str, target: bytes) -> None:
    tally = asyncio.run(run_aiohttp(rows, [(method, target, False)], mount=None))
    assert tally.counts["reached"] == 1
    assert not tally.wrong
