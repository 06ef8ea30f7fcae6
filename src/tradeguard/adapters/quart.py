"""Quart: the ASGI form with Flask's manners. A handler finds `g.principal` and `g.grant`."""

from typing import Any, Final

from tradeguard.adapters.answer import Answer
from tradeguard.adapters.asgi import ASGI
from tradeguard.adapters.given import Given
from tradeguard.adapters.passage import PASSAGE, Passage, hold
from tradeguard.adapters.template import read_angles, read_rules
from tradeguard.core.errors import ConfigError

try:
    from quart import Quart, Request, Response, Websocket, current_app, g, request, websocket
except ImportError as error:
    raise ConfigError('this adapter needs Quart: pip install "tradeguard[quart]"') from error

_NAME: Final = "tradeguard"


class Tradeguard(Given):
    """Guards Quart applications: `Tradeguard(config="tradeguard.toml").init_app(app)`."""

    __slots__ = ()

    def init_app(self, app: Quart) -> None:
        """Guard an application, last of all that wraps `app.asgi_app`.

        The guard is built when the server starts; a wrong configuration stops it with a sentence.

        Raises:
            ConfigError: it is guarded already.
        """
        if _NAME in app.extensions:
            raise ConfigError("this application is guarded already; call init_app once")
        app.extensions[_NAME] = app.asgi_app = ASGI(app.asgi_app, self.open)  # type: ignore[method-assign, arg-type, assignment]
        app.before_request_funcs.setdefault(None, []).insert(0, _enter)
        app.before_websocket_funcs.setdefault(None, []).insert(0, _enter_socket)


async def _enter() -> Response | None:
    return _hold(request)


async def _enter_socket() -> Response | None:
    return _hold(websocket)


def _hold(asked: Request | Websocket) -> Response | None:
    """Before anything else of the application: put the grant at hand, and hold Quart's route against its row."""
    scope: Any = asked.scope or {}
    passage: Passage | None = scope.get(PASSAGE)
    rule = asked.url_rule
    if passage is not None:
        g.grant, g.principal = passage.grant, passage.grant.principal
        if rule is None:
            return None  # no handler can run
    is_socket = isinstance(asked, Websocket)
    rules = (one for one in current_app.url_map.iter_rules() if one.websocket == is_socket)
    refusal = hold(passage, None if rule is None else read_angles(rule.rule), read_rules(rules, asked.method))
    return None if refusal is None else _respond(refusal)


def _respond(answer: Answer) -> Response:
    return Response(answer.body, answer.status, {name.decode(): value.decode() for name, value in answer.fields})
