"""Quart: the ASGI form with Flask's manners. A handler finds `g.principal` and `g.grant`."""

from collections.abc import Callable
from typing import Final

from tradeguard.adapters.answer import UNCONFIGURED, refuse
from tradeguard.adapters.asgi import ASGI
from tradeguard.adapters.given import Config
from tradeguard.adapters.template import compare, read_angles
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard

try:
    from quart import Quart, Response, g, request
except ImportError as error:
    raise ConfigError('this adapter needs Quart: pip install "tradeguard[quart]"') from error

_NAME: Final = "tradeguard"


class Tradeguard:
    """Guards Quart applications: `Tradeguard(config="tradeguard.toml").init_app(app)`.

    Args:
        guard: the guard, or a function that builds it.
        config: instead of a guard, the configuration file to build it from; True for the one that is found
            (TRADEGUARD_CONFIG, else ./tradeguard.toml).
    """

    def __init__(self, guard: Guard | Callable[[], Guard] | None = None, *, config: Config | None = None) -> None:
        self._given = guard, config

    def init_app(self, app: Quart) -> None:
        """Guard an application, last of all that wraps `app.asgi_app`.

        The guard is built when the server starts; a wrong configuration stops it with a sentence.

        Raises:
            ConfigError: it is guarded already.
        """
        if _NAME in app.extensions:
            raise ConfigError("this application is guarded already; call init_app once")
        guard, config = self._given
        app.extensions[_NAME] = app.asgi_app = ASGI(app.asgi_app, guard, config=config)  # type: ignore[method-assign, arg-type, assignment]
        app.before_request_funcs.setdefault(None, []).insert(0, _enter)


async def _enter() -> Response | None:
    """Before anything else of the application: put the grant at hand, and hold Quart's route against its row."""
    scope = request.scope or {}
    grant: Grant | None = scope.get(_NAME)  # type: ignore[assignment]
    if grant is None:
        return _refuse(Denial(UNCONFIGURED), "")
    g.grant, g.principal = grant, grant.principal
    rule = request.url_rule
    denial = None if rule is None else compare(grant, read_angles(rule.rule))  # without a rule no handler can run
    return None if denial is None else _refuse(denial, grant.request_id)


def _refuse(denial: Denial, request_id: str) -> Response:
    answer = refuse(denial, request_id, scheme=request.scheme, challenge="")
    return Response(answer.body, answer.status, {name.decode(): value.decode() for name, value in answer.fields})
