"""Starlette: the guard as the outermost middleware, and beside the router a check that both mean the same route.

Routes below a `Mount` are seen too, as long as the mounted application has `routes`; what else is mounted there is
left open. A row without a route is refused: there is not even a redirect that adds or drops a last slash."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tradeguard.adapters.asgi import ASGI, App, Receive, Scope, Send, send_answer
from tradeguard.adapters.given import Given
from tradeguard.adapters.passage import PASSAGE, hold
from tradeguard.adapters.template import Template, below, read_braces
from tradeguard.adapters.websocket import refuse_socket
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.runtime import Loop

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import BaseRoute, Host, Match, Mount, WebSocketRoute
except ImportError as error:
    raise ConfigError('this adapter needs Starlette: pip install "tradeguard[starlette]"') from error


class Tradeguard(Given):
    """Guards Starlette applications. A handler finds its grant in `request.scope["tradeguard"]`."""

    __slots__ = ()

    def init_app(self, app: Starlette) -> None:
        """Put the guard around an application. Call it last: middleware that is added later would stand outside.

        The guard is built when the server starts; a wrong configuration stops it with a sentence.

        Raises:
            ConfigError: it is guarded already.
        """
        Guarded(app, self)


class Guarded:
    """One guarded application: the guard is built when the server starts, or when something asks for its map.

    Args:
        app: the application.
        given: the guard, or what to build it from.
        check: raises `ConfigError` where the application contradicts the map; asked at the start and at every reload.

    Raises:
        ConfigError: it is guarded already.
    """

    def __init__(self, app: Starlette, given: Given, check: Callable[[Operations], None] = lambda _: None) -> None:
        if ASGI in _layers(app):
            raise ConfigError("this application is guarded already; call init_app once")
        self._app, self._given, self._check = app, given, check
        self._guard: Guard | None = None
        app.user_middleware.append(Middleware(Routed, routes=lambda: app.routes))
        app.add_middleware(ASGI, guard=self.build)

    def build(self) -> Guard:
        """Return the guard, built if it is not there yet.

        Raises:
            ConfigError: it cannot be built, or something stands outside of it.
        """
        layers = _layers(self._app)
        if layers[0] is not ASGI or layers[-1] is not Routed:
            raise ConfigError("a middleware was added after init_app, so it stands outside the guard; add it before")
        if self._guard is None:
            guard = self._given.open()
            guard.bind(Loop(), self._check)
            self._guard = guard
        return self._guard


def _layers(app: Starlette) -> list[object]:
    """Return the kinds of an application's middleware, the outermost first."""
    return [layer.cls for layer in app.user_middleware]


class Routed:
    """Stands before a router and refuses what it would route elsewhere than the map says; `routes` gives its routes."""

    def __init__(self, app: App, routes: Callable[[], Sequence[BaseRoute]]) -> None:
        self.app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        refusal = None
        if scope["type"] in ("http", "websocket"):
            routes = self._routes()
            refusal = hold(scope.get(PASSAGE), find_template(routes, scope), list_templates(routes, scope))
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await refuse_socket(scope, send, refusal)
        else:
            await send_answer(send, refusal)


def find_template(routes: Iterable[BaseRoute], scope: Scope) -> Template | None:
    """Return the template of the route that Starlette would choose: the first that matches, else by path alone."""
    partial: Template | None = None
    for route in _flatten(routes):
        match, child = route.matches(scope)
        if match is Match.NONE:
            continue
        template = _read(route, {**scope, **child})
        if match is Match.FULL:
            return template
        partial = partial or template
    return partial


def list_templates(routes: Iterable[BaseRoute], scope: Scope, prefix: Template = ()) -> Iterator[Template]:
    """Give the templates of all routes for the method of a request, those below mounts included."""
    for route in _flatten(routes):
        kind = getattr(route, "original_route", route)
        if isinstance(kind, (Mount, Host)):
            own = read_braces(route.path) if isinstance(kind, Mount) and route.path else ()
            yield from list_templates(route.routes or (), scope, prefix + own)
        elif _serves(kind, scope):
            yield prefix + read_braces(route.path)


def _serves(route: Any, scope: Scope) -> bool:
    """Tell whether a route is for the method of a request, or for WebSockets where that is one."""
    if isinstance(route, WebSocketRoute) or scope["type"] == "websocket":
        return isinstance(route, WebSocketRoute) and scope["type"] == "websocket"
    return scope["method"] in (getattr(route, "methods", None) or (scope["method"],))


def _flatten(routes: Iterable[BaseRoute]) -> Iterable[Any]:
    """Give FastAPI's included routers as the routes that they hold."""
    fastapi = sys.modules.get("fastapi.routing")
    return routes if fastapi is None else fastapi.iter_route_contexts(routes)


def _read(route: Any, scope: Scope) -> Template | None:
    kind = getattr(route, "original_route", route)
    if not isinstance(kind, (Mount, Host)):
        return read_braces(route.path)
    prefix = read_braces(route.path) if isinstance(kind, Mount) and route.path else ()
    if not route.routes:
        return below(prefix)
    rest = find_template(route.routes, scope)
    return None if rest is None else below(prefix, rest)
