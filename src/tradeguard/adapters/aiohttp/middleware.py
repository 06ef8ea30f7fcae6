"""The middleware, and the signal by which every response gets its fields, however it is sent."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tradeguard.adapters.aiohttp.request import dress, meet_peer, read_request, replay, respond, target_of
from tradeguard.adapters.aiohttp.route import find_template, list_templates
from tradeguard.adapters.aiohttp.websocket import as_socket, hang_up, listen
from tradeguard.adapters.answer import UNCONFIGURED
from tradeguard.adapters.edge import Edge, preflight, ready, refusal
from tradeguard.adapters.given import Config, Given, open_guard
from tradeguard.adapters.live import Stream
from tradeguard.adapters.passage import Passage, refuse_inside
from tradeguard.adapters.template import MISMATCH, compare
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import quote_path
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.principal import Principal
from tradeguard.core.request import Request
from tradeguard.core.runtime import Loop, request_id

GUARD: Final = web.AppKey("tradeguard", Guard)
"""Where the application has its guard: `app[GUARD]`."""
GRANT: Final = web.RequestKey("tradeguard", Grant)
"""Where a handler finds its grant: `request[GRANT]`."""
PRINCIPAL: Final = web.RequestKey("tradeguard.principal", Principal)
"""Where a handler finds who is asking: `request[PRINCIPAL]`. It is missing where nobody signed a public operation."""
_PASSAGE: Final = web.RequestKey("tradeguard.passage", Passage)
_OWED: Final = web.RequestKey("tradeguard.owed", tuple[Request, Edge])
_DRESSED: Final = web.RequestKey("tradeguard.dressed", web.StreamResponse)
_STREAM: Final = web.RequestKey("tradeguard.stream", Stream)
_log = logging.getLogger("tradeguard")


class Tradeguard(Given):
    """Guards aiohttp applications, their sub-applications included."""

    __slots__ = ()

    def init_app(self, app: web.Application) -> None:
        """Put the guard around an application. Call it last: middleware put in front of it would stand outside.

        Responses get their fields when they are prepared, so that streams, files and websockets have them, too. The
        guard is closed with the application.

        Raises:
            ConfigError: the configuration is wrong, or the application is guarded already, or is running.
        """
        if app.frozen or app.pre_frozen:
            raise ConfigError("this application runs already; call init_app before")
        if GUARD in app:
            raise ConfigError("this application is guarded already; call init_app once")
        guard = app[GUARD] = self.open()
        middleware = _make_middleware(guard)
        app.middlewares.insert(0, middleware)
        app.on_response_prepare.append(_dress)

        async def check(app: web.Application) -> None:
            if app.middlewares[0] is not middleware:
                raise ConfigError("a middleware was put before the guard, so it stands outside; add it behind")

        async def close(_: web.Application) -> None:
            guard.close()

        app.on_startup.append(check)
        app.on_cleanup.append(close)


def aiohttp_middleware(given: Guard | Callable[[], Guard] | Config) -> Middleware:
    """Return the middleware alone, for `web.Application(middlewares=[...])`; `Tradeguard` is the usual way.

    A middleware does not see a response that a handler prepares by itself: a stream goes out without our fields. What
    comes in over a WebSocket would not be seen either, so handshakes are refused; `Tradeguard` serves them.

    Args:
        given: the guard, a function that builds it, or the configuration file to build it from; True for the one that
            is found (TRADEGUARD_CONFIG, else ./tradeguard.toml).

    Raises:
        ConfigError: at once, so that a wrong configuration stops the server.
    """
    guard = open_guard(given) if isinstance(given, Guard) or callable(given) else open_guard(config=given)
    inner = _make_middleware(guard, hears=False)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await inner(request, handler)
        except web.HTTPException as error:
            await _dress(request, error)
            raise
        if not response.prepared:
            await _dress(request, response)
        return response

    return middleware


def _make_middleware(guard: Guard, *, hears: bool = True) -> Middleware:
    guard.bind(Loop(), _check_rows)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _serve(guard, request, handler, hears=hears)

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


async def _serve(guard: Guard, http: web.Request, handler: Handler, *, hears: bool) -> web.StreamResponse:
    passed = http.get(_PASSAGE)
    if passed is not None and passed.holds(guard, http.method, target_of(http)):
        return await handler(http)
    arrived, id, edge = guard.runtime.now(), request_id(), meet_peer(guard, http)
    denial = guard.door(edge.peer, arrived)
    if denial is not None:
        answer = refusal(guard, denial, id)
        return respond(answer, edge.dress_answer(answer), close=True)
    asked = preflight(guard, http.method, edge, id)
    if asked is not None:
        return respond(asked, asked.fields)
    request = read_request(guard, http, id, edge, arrived)
    decision = await guard.admit(request)
    if not hears and request.kind == "websocket" and isinstance(decision, Grant):
        decision = _deaf(guard, request)
    if isinstance(decision, Denial):
        answer = refusal(guard, decision, id, request)
        return respond(answer, edge.dress_answer(answer), close=request.unread)
    own = ready(guard, request, decision)
    if own is not None:
        return respond(own, edge.dress_answer(own))
    replay(http, await request.body())
    return await _hand_on(Passage(guard, request, decision), edge, http, handler)


def _deaf(guard: Guard, request: Request) -> Denial:
    _log.error("a WebSocket is refused: aiohttp_middleware() cannot hear it, Tradeguard(...).init_app(app) can")
    denial = Denial(UNCONFIGURED, detail="aiohttp_middleware() hears no messages; use Tradeguard(...).init_app(app)")
    guard.finish(request, denial.status, denial=denial)
    return denial


async def _hand_on(passage: Passage, edge: Edge, http: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the application answer, unless it routes the request elsewhere than the map says."""
    template = find_template(http)  # without a route no handler can run
    denial = None if template is None else compare(passage.grant, template, list_templates(http))
    if denial is not None:
        answer = refuse_inside(passage, denial)
        passage.finish(answer.status)
        return respond(answer, edge.dress_answer(answer))
    http[_PASSAGE], http[GRANT] = passage, passage.grant
    if passage.grant.principal is not None:
        http[PRINCIPAL] = passage.grant.principal
    if _OWED not in http:  # else another guard stands further out, and the answer is its own
        http[_OWED] = (passage.request, edge)
    stream = http[_STREAM] = Stream(passage, lambda: http.writer.output_size > 0, partial(_abort, http))
    stream.open()
    try:
        response = await handler(http)
        status = response.status  # a handler that returns nothing fails here, and is on record
    except web.HTTPException as error:
        stream.close()
        passage.finish(error.status)
        raise
    except BaseException as error:
        if stream.close():
            return await _end(passage, http)
        passage.finish(0, type(error).__name__)
        raise
    if stream.close():
        return await _end(passage, http)
    if _is_plain(response, passage.request):
        answer = refuse_inside(passage, Denial(MISMATCH, detail="the handler of a WS row has not opened a WebSocket"))
        passage.finish(answer.status)
        return respond(answer, edge.dress_answer(answer))
    passage.finish(status)
    return response


def _is_plain(response: web.StreamResponse, request: Request) -> bool:
    """Tell whether a handshake was answered with what another row gives: a GET, which may ask for other scopes."""
    is_socket = isinstance(response, web.WebSocketResponse)
    return request.kind == "websocket" and not is_socket and response.status < 400


async def _end(passage: Passage, http: web.Request) -> web.StreamResponse:
    """Cut a response off: a WebSocket with a close frame, all else by ending the connection in the middle of it."""
    response = http.get(_DRESSED)
    passage.finish(response.status if response is not None else 0)
    socket = as_socket(response)
    if socket is not None:
        assert passage.denial is not None  # that is why it ends
        await hang_up(socket, passage.denial)
        return socket
    _abort(http)
    raise asyncio.CancelledError


def _abort(http: web.Request) -> None:
    if http.transport is not None:
        http.transport.abort()


async def _dress(http: web.Request, response: web.StreamResponse) -> None:
    """Give a response of the application our fields, once: several guards and applications may ask for it."""
    owed, stream = http.get(_OWED), http.get(_STREAM)
    if owed is not None and http.get(_DRESSED) is not response:
        if _is_plain(response, owed[0]):
            raise RuntimeError("the handler of a WS row has not opened a WebSocket")
        http[_DRESSED] = response
        dress(response, *owed)
        socket = as_socket(response)
        if stream is not None and socket is not None:
            listen(socket, stream.passage)
        elif stream is not None and not stream.is_open and not _is_small(response):
            _follow(stream, response.status)


def _is_small(response: web.StreamResponse) -> bool:
    """Tell whether a response is sent in one go after the handler is through, as most are."""
    return isinstance(response, web.Response) and isinstance(response.body, bytes | None)


def _follow(stream: Stream, status: int) -> None:
    """Watch a response that aiohttp sends by itself after the handler is through (a file, say)."""
    stream.open()

    def close(_: object) -> None:
        if stream.is_open and stream.is_cut:
            stream.passage.finish(status, "cut off while it was sent")
        stream.close()

    task = asyncio.current_task()
    assert task is not None  # the one that serves the request
    task.add_done_callback(close)
