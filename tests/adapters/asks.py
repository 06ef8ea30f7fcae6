"""One request to an application in this process, by the way of its own kind of host; what comes back."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from werkzeug.test import EnvironBuilder, run_wsgi_app
from yarl import URL

from tradeguard import ASGI, WSGI, Guard, aiohttp_middleware

Fields = Iterable[tuple[str, str]]


class Got(NamedTuple):
    """An answer, its field names in lower case."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field == name]

    def cors(self) -> list[str]:
        return sorted(name for name, _ in self.fields if name.startswith("access-control-"))


def ask_asgi(
    app: Any, method: str, path: str, fields: Fields = (), *, body: bytes = b"", client: Any = ("127.0.0.1", 50_000)
) -> Got:
    """Ask an ASGI application."""
    sent: list[dict[str, Any]] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    names = {name for name, _ in raw}
    raw += [(b"host", b"localhost")] if b"host" not in names else []
    raw += [(b"content-length", b"%d" % len(body))] if body else []
    path, _, query = path.partition("?")
    scope = {"type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path, "root_path": "",
             "raw_path": path.encode(), "query_string": query.encode(), "client": client, "headers": raw}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    start = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
    return Got(sent[0]["status"], start, b"".join(message.get("body", b"") for message in sent[1:]))


def ask_wsgi(
    app: Any, method: str, path: str, fields: Fields = (), *, body: bytes = b"", client: Any = ("127.0.0.1", 50_000)
) -> Got:
    """Ask a WSGI application."""
    given = list(fields)
    environ = EnvironBuilder(method=method, path=path, headers=given, data=body or None).get_environ()
    environ["REMOTE_ADDR"] = "" if client is None else client[0]
    if "host" not in {name.lower() for name, _ in given}:
        environ["HTTP_HOST"] = "localhost"
    chunks, status, headers = run_wsgi_app(app, environ)
    body_sent = b"".join(chunks)
    getattr(chunks, "close", lambda: None)()
    return Got(int(status[:3]), [(name.lower(), value) for name, value in headers], body_sent)


def ask_aiohttp(app: web.Application, method: str, path: str, fields: Fields = (), *, body: bytes = b"") -> Got:
    """Ask an aiohttp application, over a loopback socket."""

    async def ask() -> Got:
        async with TestClient(TestServer(app)) as client:
            answer = await client.request(method, URL(path, encoded=True), headers=list(fields), data=body or None)
            return Got(answer.status, [(n.lower(), v) for n, v in answer.headers.items()], await answer.read())

    return asyncio.run(ask())


def make_asgi(guard: Guard, own: Fields = ()) -> ASGI:
    """A guarded ASGI application whose every answer has fields of its own."""
    fields = [(name.encode(), value.encode()) for name, value in own]

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    return ASGI(app, guard=guard)


def make_wsgi(guard: Guard, own: Fields = ()) -> WSGI:
    """The same for WSGI."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", list(own))
        return [environ["PATH_INFO"].encode("latin-1")]

    return WSGI(app, guard=guard)


def make_aiohttp(guard: Guard, own: Fields = ()) -> web.Application:
    """The same for aiohttp."""

    async def answer(request: web.Request) -> web.Response:
        response = web.Response(text=request.path)
        for name, value in own:
            response.headers.add(name, value)
        return response

    app = web.Application(middlewares=[aiohttp_middleware(guard)])
    app.router.add_route("*", "/{path:.*}", answer)
    return app


HOSTS: dict[str, tuple[Callable[..., Any], Callable[..., Got]]] = {
    "asgi": (make_asgi, ask_asgi),
    "wsgi": (make_wsgi, ask_wsgi),
    "aiohttp": (make_aiohttp, ask_aiohttp),
}
