"""Litestar: a plug-in that puts the guard before the router, and a check beside every route.

    app = Litestar([...], plugins=[Tradeguard(config="tradeguard.toml")])

A handler finds its grant in `request.scope["tradeguard"]`. The guard is put in place when the application starts; a
server that never starts it (no lifespan) reaches no handler: everything is a 503. Litestar's own `cors_config` stands
inside the guard.
"""

from collections.abc import Callable
from typing import Any, Final

from tradeguard.adapters.answer import UNCONFIGURED, refuse
from tradeguard.adapters.asgi import ASGI, App, Receive, Scope, Send
from tradeguard.adapters.given import Config, open_guard
from tradeguard.adapters.template import Template, below, compare, read_braces
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.runtime import Loop

try:
    from litestar import Litestar
    from litestar.config.app import AppConfig
    from litestar.middleware import DefineMiddleware
    from litestar.plugins import InitPlugin
    from litestar.routes import ASGIRoute
except ImportError as error:
    raise ConfigError('this adapter needs Litestar: pip install "tradeguard[litestar]"') from error

_NAME: Final = "tradeguard"


class Tradeguard(InitPlugin):
    """The plug-in.

    Args:
        guard: the guard, or a function that builds it.
        config: instead of a guard, the configuration file to build it from; True for the one that is found
            (TRADEGUARD_CONFIG, else ./tradeguard.toml).
    """

    __slots__ = ("_given",)

    def __init__(self, guard: Guard | Callable[[], Guard] | None = None, *, config: Config | None = None) -> None:
        self._given = guard, config

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
        guard = open_guard(*self._given)
        guard.bind(Loop())
        app.asgi_handler = ASGI(app.asgi_handler, guard)  # type: ignore[assignment, arg-type]
        app.on_shutdown.append(guard.close)


class _Routed:
    """Stands behind the router and refuses a request that it routed elsewhere than the map says."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        denial = _judge(scope) if scope["type"] == "http" else None
        if denial is None:
            await self.app(scope, receive, send)
            return
        grant: Grant | None = scope.get(_NAME)
        request_id = "" if grant is None else grant.request_id
        answer = refuse(denial, request_id, scheme=scope.get("scheme", "http"), challenge="")
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.fields})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def _judge(scope: Scope) -> Denial | None:
    grant: Grant | None = scope.get(_NAME)
    return Denial(UNCONFIGURED) if grant is None else compare(grant, _template(scope))


def _template(scope: Scope) -> Template | None:
    handler: Any = scope["route_handler"]
    if not getattr(handler, "is_mount", False):
        return read_braces(scope["path_template"])
    routes = scope["litestar_app"].routes  # of a mount Litestar tells no template
    paths = [route.path for route in routes if isinstance(route, ASGIRoute) and route.route_handler is handler]
    return below(read_braces(paths[0])) if len(paths) == 1 else None
