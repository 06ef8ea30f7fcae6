"""Litestar: a plug-in that puts the guard before the router, and a check beside every route.

    app = Litestar([...], plugins=[Tradeguard(config="tradeguard.toml")])

A handler finds its grant in `request.scope["tradeguard"]`. The guard is put in place when the application starts; a
server that never starts it (no lifespan) reaches no handler: everything is a 503. Litestar's own `cors_config` stands
inside the guard.
"""

from collections.abc import Iterator
from typing import Any

from tradeguard.adapters.asgi import ASGI, App, Receive, Scope, Send, send_answer
from tradeguard.adapters.given import Given
from tradeguard.adapters.passage import PASSAGE, hold
from tradeguard.adapters.template import Template, below, read_braces
from tradeguard.adapters.websocket import refuse_socket
from tradeguard.core.errors import ConfigError
from tradeguard.core.runtime import Loop

try:
    from litestar import Litestar
    from litestar.config.app import AppConfig
    from litestar.middleware import DefineMiddleware
    from litestar.plugins import InitPlugin
    from litestar.routes import ASGIRoute, HTTPRoute, WebSocketRoute
except ImportError as error:
    raise ConfigError('this adapter needs Litestar: pip install "tradeguard[litestar]"') from error


class Tradeguard(Given, InitPlugin):
    """The plug-in."""

    __slots__ = ()

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Called by Litestar while the application is built.

        Raises:
            ConfigError: there are two of this plug-in.
        """
        if any(getattr(layer, "middleware", None) is _Routed for layer in app_config.middleware):
            raise ConfigError("this application is guarded already; give it one plug-in")
        app_config.middleware.insert(0, DefineMiddleware(_Routed))  # type: ignore[arg-type]  # Litestar names every message, ASGI does not
        app_config.on_startup.insert(0, self._start)
        return app_config

    def _start(self, app: Litestar) -> None:
        guard = self.open()
        guard.bind(Loop())
        app.asgi_handler = ASGI(app.asgi_handler, guard)  # type: ignore[assignment, arg-type]
        app.on_shutdown.append(guard.close)


class _Routed:
    """Stands behind the router and refuses a request that it routed elsewhere than the map says."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = scope["type"] in ("http", "websocket")
        refusal = hold(scope.get(PASSAGE), _template(scope), _others(scope)) if held else None
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await refuse_socket(scope, send, refusal)
        else:
            await send_answer(send, refusal)


def _template(scope: Scope) -> Template | None:
    handler: Any = scope["route_handler"]
    if not getattr(handler, "is_mount", False):
        return read_braces(scope["path_template"])
    routes = scope["litestar_app"].routes  # of a mount Litestar tells no template
    paths = [route.path for route in routes if isinstance(route, ASGIRoute) and route.route_handler is handler]
    return below(read_braces(paths[0])) if len(paths) == 1 else None


def _others(scope: Scope) -> Iterator[Template]:
    """Give the templates of all routes for the method of the request; mounts are open anyway."""
    for route in scope["litestar_app"].routes:
        is_socket = scope["type"] == "websocket" and isinstance(route, WebSocketRoute)
        if is_socket or (isinstance(route, HTTPRoute) and scope.get("method") in route.methods):
            yield read_braces(route.path)
