"""aiohttp.web: one middleware for the application; sub-applications are covered by it.

The signed target is the raw one of the request line; aiohttp loses nothing of it. The path is the whole one, also in
sub-applications. A response that a handler prepares by itself (a stream) goes out before our fields can be added.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import ClientPayloadError, StreamReader, web
from aiohttp.typedefs import Handler, Middleware

from tradeguard.adapters.answer import Answer
from tradeguard.adapters.edge import Edge, meet, preflight, ready, refusal
from tradeguard.adapters.given import Config, open_guard
from tradeguard.core.body import LARGE, SHORT
from tradeguard.core.cors import Fields
from tradeguard.core.decision import Denial, Grant, Refused
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import quote_path
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.proxy import peer_named
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.core.runtime import Loop, request_id

GRANT: Final = web.RequestKey("tradeguard", Grant)
"""Where the handler finds its grant: `request[GRANT]`."""
_JUDGED: Final = web.RequestKey("tradeguard.judged", tuple[Guard, str, str])


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
    if http.get(_JUDGED) == (guard, http.method, http.raw_path):
        return await handler(http)  # the same guard stands further out and has granted this very request
    arrived, id, edge = guard.runtime.now(), request_id(), _meet(guard, http)
    denial = guard.door(edge.peer, arrived)
    if denial is not None:
        return _refuse(refusal(guard, denial, id, edge), edge, close=True)
    asked = preflight(guard, http.method, edge, id)
    if asked is not None:
        return _answer(asked, asked.fields)
    request = _request(guard, http, id, edge, arrived)
    decision = await guard.admit(request)
    if isinstance(decision, Denial):
        return _refuse(refusal(guard, decision, id, edge, request), edge, close=request.unread)
    own = ready(guard, request, decision)
    if own is not None:
        return _refuse(own, edge, close=False)
    http[GRANT], http[_JUDGED] = decision, (guard, http.method, http.raw_path)
    _replay(http, await request.body())
    try:
        response = await handler(http)
        status = response.status  # a handler that returns nothing fails here, and is on record
    except web.HTTPException as error:
        guard.finish(request, error.status)
        _add_fields(error, id, edge)
        raise
    except BaseException as error:
        guard.finish(request, 0, type(error).__name__)
        raise
    guard.finish(request, status)
    if not response.prepared:
        _add_fields(response, id, edge)
    return response


def _request(guard: Guard, http: web.Request, id: str, edge: Edge, arrived: int) -> Request:
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
        scheme=edge.scheme,
        version=f"{http.version.major}.{http.version.minor}",
        headers=edge.headers,
        peer=edge.peer,
        arrived=arrived,
        body=guard.reader(chunk, arrived),
    )


def _meet(guard: Guard, http: web.Request) -> Edge:
    """Ask the socket itself for the peer: `remote` may have been replaced."""
    name: tuple[str, int] | str | None = None
    if http.transport is not None:
        name = http.transport.get_extra_info("peername")
    headers = Headers([(name.lower(), value) for name, value in http.raw_headers])
    peer = peer_named(name[0] if isinstance(name, tuple) else name) if http.transport is not None else Peer()
    return meet(guard.policy, headers, peer, http.scheme)


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


def _refuse(answer: Answer, edge: Edge, *, close: bool) -> web.Response:
    response = _answer(answer, edge.dress_answer(answer))
    if close:
        response.force_close()
    return response


def _answer(answer: Answer, fields: Fields) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body or None)
    for name, value in fields:
        response.headers.add(name.decode(), value.decode())
    return response


def _add_fields(response: web.StreamResponse, id: str, edge: Edge) -> None:
    theirs = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in response.headers.items()]
    response.headers.clear()
    for name, value in edge.dress(theirs, id):
        response.headers.add(name.decode(), value.decode("utf-8", "surrogateescape"))
