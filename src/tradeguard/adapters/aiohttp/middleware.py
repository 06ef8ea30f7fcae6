"""The middleware, and the signal by which every response gets its fields, however it is sent."""

from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tradeguard.adapters.aiohttp.request import dress, meet_peer, read_request, replay, respond, target_of
from tradeguard.adapters.aiohttp.route import find_template, list_templates
from tradeguard.adapters.edge import Edge, preflight, ready, refusal
from tradeguard.adapters.given import Config, Given, open_guard
from tradeguard.adapters.passage import Passage, refuse_inside
from tradeguard.adapters.template import compare
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import quote_path
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.principal import Principal
from tradeguard.core.runtime import Loop, request_id

GUARD: Final = web.AppKey("tradeguard", Guard)
"""Where the application has its guard: `app[GUARD]`."""
GRANT: Final = web.RequestKey("tradeguard", Grant)
"""Where a handler finds its grant: `request[GRANT]`."""
PRINCIPAL: Final = web.RequestKey("tradeguard.principal", Principal)
"""Where a handler finds who is asking: `request[PRINCIPAL]`. It is missing where nobody signed a public operation."""
_PASSAGE: Final = web.RequestKey("tradeguard.passage", Passage)
_OWED: Final = web.RequestKey("tradeguard.owed", tuple[str, Edge])
_DRESSED: Final = web.RequestKey("tradeguard.dressed", web.StreamResponse)


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

    A middleware does not see a response that a handler prepares by itself (a stream, a websocket): it goes out without
    our fields.

    Args:
        given: the guard, a function that builds it, or the configuration file to build it from; True for the one that
            is found (TRADEGUARD_CONFIG, else ./tradeguard.toml).

    Raises:
        ConfigError: at once, so that a wrong configuration stops the server.
    """
    guard = open_guard(given) if isinstance(given, Guard) or callable(given) else open_guard(config=given)
    inner = _make_middleware(guard)

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


def _make_middleware(guard: Guard) -> Middleware:
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
    if isinstance(decision, Denial):
        answer = refusal(guard, decision, id, request)
        return respond(answer, edge.dress_answer(answer), close=request.unread)
    own = ready(guard, request, decision)
    if own is not None:
        return respond(own, edge.dress_answer(own))
    replay(http, await request.body())
    return await _hand_on(Passage(guard, request, decision), edge, http, handler)


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
        http[_OWED] = (passage.request.id, edge)
    try:
        response = await handler(http)
        status = response.status  # a handler that returns nothing fails here, and is on record
    except web.HTTPException as error:
        passage.finish(error.status)
        raise
    except BaseException as error:
        passage.finish(0, type(error).__name__)
        raise
    passage.finish(status)
    return response


async def _dress(http: web.Request, response: web.StreamResponse) -> None:
    """Give a response of the application our fields, once: several guards and applications may ask for it."""
    owed = http.get(_OWED)
    if owed is not None and http.get(_DRESSED) is not response:
        http[_DRESSED] = response
        dress(response, *owed)
