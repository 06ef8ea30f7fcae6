"""aiohttp.web: one middleware for the application; sub-applications are covered by it.

The signed target is the raw one of the request line; aiohttp loses nothing of it. The path is the whole one, also in
sub-applications. A response that a handler prepares by itself (a stream) goes out before our fields can be added.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import ClientPayloadError, StreamReader, web
from aiohttp.typedefs import Handler, Middleware

from tradeguard.adapters.answer import refuse, response_fields
from tradeguard.adapters.given import Config, open_guard
from tradeguard.core.body import LARGE, SHORT
from tradeguard.core.decision import Denial, Grant, Refused
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import quote_path
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.request import Headers, Peer, Request, peer_at
from tradeguard.core.runtime import Loop, request_id

GRANT: Final = web.RequestKey("tradeguard", Grant)
"""Where the handler finds its grant: `request[GRANT]`."""


def aiohttp_middleware(given: Guard | Callable[[], Guard] | Config) -> Middleware:
    """Return the middleware that guards an application; it belongs first in `web.Application(middlewares=[...])`.

    Args:
        given: the guard, a function that builds it, or the configuration file to build it from; True for the one that
            is found (TRADEGUARD_CONFIG, else ./tradeguard.toml).

    Raises:
        ConfigError: at once, so that a wrong configuration stops the server.
    """
    guard = open_guard(given) if isinstance(given, Guard) or callable(given) else open_guard(config=given)
    guard.bind(Loop(), _check_rows)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _serve(guard, request, handler)

    return middleware


def _check_rows(operations: Operations) -> None:
    """Refuse rows whose route aiohttp cannot match: beside a parameter it compares encoded with decoded text."""
    for operation in operations.all:
        path = operation.id.partition(" ")[2]
        plain = path.replace("{", "").replace("}", "")
        if ("{" in path or "*" in path) and quote_path(plain) != plain.encode():
            raise ConfigError(
                f"operation {operation.id!r}: aiohttp cannot route it, so another handler would answer; beside a "
                "parameter use letters, digits and -._~!$&'()*+,=:@ only"
            )


async def _serve(guard: Guard, http: web.Request, handler: Handler) -> web.StreamResponse:
    arrived, id, peer = guard.runtime.now(), request_id(), _peer(http)
    denial = guard.door(peer, arrived)
    if denial is not None:
        return _answer(denial, id, http.scheme, guard.challenge, close=True)
    request = _request(guard, http, id, peer, arrived)
    decision = await guard.admit(request)
    if isinstance(decision, Denial):
        return _answer(decision, id, http.scheme, guard.challenge, close=request.unread)
    http[GRANT] = decision
    _replay(http, await request.body())
    try:
        response = await handler(http)
    except web.HTTPException as error:
        guard.finish(request, error.status)
        _add_fields(error, id, http.scheme)
        raise
    except BaseException as error:
        guard.finish(request, 0, type(error).__name__)
        raise
    guard.finish(request, response.status)
    if not response.prepared:
        _add_fields(response, id, http.scheme)
    return response


def _request(guard: Guard, http: web.Request, id: str, peer: Peer, arrived: int) -> Request:
    size = 0

    async def chunk() -> tuple[bytes, bool]:
        nonlocal size
        try:
            data = await http.content.readany()
        except (ConnectionError, ClientPayloadError) as error:
            raise Refused(Denial(SHORT, detail=type(error).__name__)) from error
        size += len(data)
        if http.client_max_size and size > http.client_max_size:
            raise Refused(Denial(LARGE, detail="client_max_size"))
        return data, not http.content.at_eof()

    return Request(
        id=id,
        method=http.method,
        target=http.raw_path.encode("utf-8", "surrogateescape"),
        path=http.path,
        scheme=http.scheme,
        version=f"{http.version.major}.{http.version.minor}",
        headers=Headers([(name.lower(), value) for name, value in http.raw_headers]),
        peer=peer,
        arrived=arrived,
        body=guard.reader(chunk, arrived),
    )


def _peer(http: web.Request) -> Peer:
    """The socket's own address: `remote` may have been replaced."""
    name: tuple[str, int] | str | None = None
    if http.transport is not None:
        name = http.transport.get_extra_info("peername")
    return peer_at(name[0]) if isinstance(name, tuple) else Peer()


def _replay(http: web.Request, body: bytes) -> None:
    """Give the handler the whole body again, for read(), post(), multipart() and content alike.

    There is no public way to do so: aiohttp caches a body only if `read()` was used, which has no budget and no
    deadline, and `multipart()` does not see that cache.
    """
    if http.body_exists:
        limit = len(body) or 1  # the payload never pauses the connection
        payload = StreamReader(http.protocol, limit, loop=asyncio.get_running_loop())
        payload.feed_data(body)
        payload.feed_eof()
        http._payload = payload  # pyright: ignore[reportPrivateUsage]
        http._cache.pop("content", None)  # pyright: ignore[reportPrivateUsage]


def _answer(denial: Denial, id: str, scheme: str, challenge: str, *, close: bool) -> web.Response:
    answer = refuse(denial, id, scheme=scheme, challenge=challenge)
    response = web.Response(status=answer.status, body=answer.body)
    for name, value in answer.fields:
        response.headers[name.decode()] = value.decode()
    if close:
        response.force_close()
    return response


def _add_fields(response: web.StreamResponse, id: str, scheme: str) -> None:
    for name, value in response_fields(id, scheme):
        response.headers[name.decode()] = value.decode()
