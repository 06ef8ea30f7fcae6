"""What the differential tests of the operations map share: tables of rows, targets, and who was right.

Tables and targets are random, from fixed seeds. Each target goes to the router whether the frame likes it or not. Where
a handler is reached, the frame must have refused, or the map must have found no row or just that handler's.
"""

import asyncio
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

from starlette.applications import Starlette
from starlette.routing import Mount
from support import NOW, make_guard
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tradeguard.adapters import asgi as asgi_adapter
from tradeguard.adapters import wsgi as wsgi_adapter
from tradeguard.core.decision import Refused
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import check_frame
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.request import Request

Rows = Mapping[str, str]
Target = tuple[str, bytes, bool]
GUARD, POLICY = make_guard(), Policy()
REFUSED, UNSEEN = "refused", "unseen"
TARGETS = 1_000  # per table

LITERALS = ["v1", "m", "orders", "open", "a.b", "x-y_z~", "p+q", "s:t@u,w", "ORDERS", "$(!')&*="]
VALUES = ["7", "open", "BTC-USDT", "a b", "é", "...", "x+y", "a:b@c", "1e9", "m", "?", "#", "[0]", "\u2028", "e\u0301"]
STICKS = [
    b"%2F", b"%2f", b"%5C", b"\\", b"%00", b"%0A", b"%0d%0a", b"%09", b"//", b"/", b"/./", b"/../", b"/%2e%2e/",
    b"/..;/", b";", b";a=1", b"%3B", b"%77", b"%2E", b".", b"%25", b"%252F", b"%", b"%zz", b"%C3%A9", b"%c3%a9",
    b"%FF", b"%C0%AF", b"%ED%A0%80", b"%EF%BC%8F", b"%E2%80%A8", b"%C2%85", b"\xc3\xa9", b"\xff", b"?", b"?a=/",
    b"%3F", b"%23", b"%2B", b"+", b"%3a", b"%40", b"%20", b"%5B", b"%7F", b"*", b"**", b":", b"@", b"'", b"(", b"~",
    b"%7E", b"=", b"&", b"!", b"$", b",",
]  # fmt: skip
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


# single targets, each with its reason


WEAK, STRONG = "scope1", "scope2"
SINGLE: dict[str, tuple[Rows, str, bytes]] = {
    "brace": ({"GET /v1/{x}": STRONG, "GET /v1/**": WEAK}, "GET", b"/v1/a%7Bb"),  # aiohttp: a parameter holds none
    "non-ascii": ({"GET /é/{x}": STRONG, "GET /**": WEAK}, "GET", b"/%C3%A9/a"),  # aiohttp: quotes what stands beside
    "caret": ({"GET /^/{x}": STRONG, "GET /**": WEAK}, "GET", b"/%5E/a"),
    "head": ({"HEAD /v1/{x}": STRONG, "GET /v1/**": WEAK}, "HEAD", b"/v1/7"),
    "empty rest": ({"GET /v1/**": WEAK, "GET /**": STRONG}, "GET", b"/v1/"),  # `path` of Flask and Django: not empty
}
HEADS: Rows = {"GET /v1/{x}": WEAK, "HEAD /v1/**": STRONG}  # FastAPI gives HEAD to the second, all others to the first


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
    sent = dice.choice([method, method, method, "HEAD"])
    return sent, target, blows == 0 and method in (sent, "GET")


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


# ASGI


class Probe:
    """Stands where the guard stands: notes what frame and map say, and lets everything pass."""

    def __init__(self, app: asgi_adapter.App, operations: Operations) -> None:
        self.app, self.operations, self.verdict = app, operations, UNSEEN

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, edge = GUARD.reader(asgi_adapter._chunks(receive), NOW), asgi_adapter._meet(GUARD, scope)
        request = asgi_adapter._request(scope, body, "id", edge, NOW)
        self.verdict = judge(request, self.operations)
        await self.app(scope, receive, send)


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


async def ask_asgi(app: asgi_adapter.App, scope: dict[str, Any]) -> str | None:
    """The row whose handler was reached, if any was."""
    started: list[dict[str, Any]] = []

    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return body.pop() if body else await asyncio.Future()  # nobody goes away

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.append(message)

    try:
        await app(scope, receive, send)
    except UnicodeDecodeError:  # Starlette's redirect to a last slash takes the query for UTF-8, and is a 500 instead
        assert [message["status"] for message in started] in ([], [500])
        return None
    row = dict(started[0]["headers"]).get(b"row")
    return unquote(row.decode()) if row is not None else None


def assert_not_vacuous(tally: Tally) -> None:
    """A good part of the targets must reach a handler and be given its row, among them plain honest ones."""
    counts = tally.counts
    assert counts["sent"] >= 2 * TARGETS
    assert counts["reached"] > counts["sent"] * 0.35
    assert counts["right"] > counts["reached"] * 0.4
    assert counts["right"] < counts["reached"]  # some that a handler would have answered are refused
    assert counts["honest"] > counts["sent"] * 0.15


def compare(
    run: Callable[[Rows, list[Target]], Tally],
    name: str,
    *,
    literals: list[str] = LITERALS,
    methods: list[str],
    sticks: list[bytes] = STICKS,
    tables: int = 2,
) -> None:
    """Hold random maps against a router, each with a thousand targets: no target may be granted as another row."""
    total = Tally()
    for seed in range(tables):
        dice = Random(f"{name} {seed}")
        rows = make_table(dice, literals, methods)
        tally = run(rows, [make_target(dice, rows, sticks) for _ in range(TARGETS)])
        total.counts += tally.counts
        total.wrong += tally.wrong
    print(name, dict(total.counts))
    assert total.wrong == [], min(total.wrong, key=lambda wrong: len(wrong[1]))
    assert_not_vacuous(total)


async def run_asgi(
    app: asgi_adapter.App, rows: Rows, targets: Iterable[Target], *, root: str, outer: str = ""
) -> Tally:
    """Send targets through a probe to an ASGI application.

    `root`: the server's root path. `outer`: the guarded application itself is mounted there.
    """
    probe, tally = Probe(app, Operations(rows)), Tally()
    whole: asgi_adapter.App = Starlette(routes=[Mount(outer, app=probe)]) if outer else probe
    for method, target, honest in targets:
        probe.verdict = UNSEEN
        reached = await ask_asgi(whole, make_scope(method, outer.encode() + target, root))
        tally.enter(method, target, probe.verdict, reached, honest=honest)
    return tally


# WSGI


class WSGIProbe:
    """The same for a WSGI application."""

    def __init__(self, app: wsgi_adapter.App, operations: Operations) -> None:
        self.app, self.operations, self.verdict = app, operations, UNSEEN

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = wsgi_adapter._request(GUARD, environ, "id", wsgi_adapter._meet(GUARD, environ), NOW)
        self.verdict = judge(request, self.operations)
        return self.app(environ, start_response)


def make_environ(method: str, target: bytes, *, raw: bool) -> dict[str, Any]:
    """An environment as gunicorn (`raw`) or wsgiref makes it; only the first hands on the raw target."""
    path, _, query = target.partition(b"?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "api.example",
        "SERVER_PORT": "80",
        "HTTP_HOST": "api.example",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if raw:
        environ["RAW_URI"] = target.decode("latin-1")
    return environ


def ask_wsgi(app: wsgi_adapter.App, environ: dict[str, Any]) -> str | None:
    """The row whose handler was reached, if any was."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
        started.append((status, headers))
        return lambda _: None

    answer = app(environ, start_response)
    b"".join(answer)
    getattr(answer, "close", lambda: None)()
    row = {name.lower(): value for name, value in started[0][1]}.get("row")
    return unquote(row) if row is not None else None


def run_wsgi(app: wsgi_adapter.App, rows: Rows, targets: Iterable[Target], *, raw: bool, outer: str = "") -> Tally:
    """Send targets through a probe to a WSGI application; `outer` is where it is mounted."""
    probe, tally = WSGIProbe(app, Operations(rows)), Tally()
    whole: wsgi_adapter.App = DispatcherMiddleware(nowhere, {outer: probe}) if outer else probe
    for method, target, honest in targets:
        probe.verdict = UNSEEN
        reached = ask_wsgi(whole, make_environ(method, outer.encode() + target, raw=raw))
        tally.enter(method, target, probe.verdict, reached, honest=honest)
    return tally


def nowhere(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers what lies outside the mount."""
    start_response("404 Not Found", [])
    return []
