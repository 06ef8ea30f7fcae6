"""Flask: an extension that guards the whole application, blueprints and static files included.

    tradeguard = Tradeguard(config="tradeguard.toml")

    def create_app():
        app = Flask(__name__)
        tradeguard.init_app(app)

Configuration keys: TRADEGUARD_CONFIG, a file or True for the one that is found; TRADEGUARD_GUARD, a guard or a function
that builds one. A handler finds `g.principal` and `g.grant`.
"""

from collections.abc import Callable
from typing import Any, Final

from tradeguard.adapters.answer import Answer
from tradeguard.adapters.given import Config
from tradeguard.adapters.passage import PASSAGE, Passage, hold
from tradeguard.adapters.template import read_angles, read_rules
from tradeguard.adapters.wsgi import WSGI
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard

try:
    from flask import Flask, Response, current_app, g, request
except ImportError as error:
    raise ConfigError('this adapter needs Flask: pip install "tradeguard[flask]"') from error

_NAME: Final = "tradeguard"
_KEYS: Final = ("TRADEGUARD_CONFIG", "TRADEGUARD_GUARD")


class Tradeguard:
    """The extension; one for all applications of a factory. `app.extensions["tradeguard"]` is the application's guard.

    Args:
        app: an application to guard at once; else `init_app` does it.
        guard: the guard, or a function that builds it.
        config: instead of a guard, the configuration file to build it from; True for the one that is found
            (TRADEGUARD_CONFIG, else ./tradeguard.toml).

    Raises:
        ConfigError: with an application, what `init_app` raises.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        guard: Guard | Callable[[], Guard] | None = None,
        config: Config | None = None,
    ) -> None:
        self._guard = guard
        self._config: Config | None = config
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Guard an application, last of all that wraps `app.wsgi_app`.

        What was given here goes before the application's configuration.

        Raises:
            ConfigError: the configuration is wrong, or the application is guarded already.
        """
        if _NAME in app.extensions:
            raise ConfigError("this application is guarded already; call init_app once")
        guard, config = self._read(app.config)
        wsgi = WSGI(app.wsgi_app, guard, config=config)
        app.extensions[_NAME] = wsgi.guard
        app.wsgi_app = wsgi  # type: ignore[method-assign]  # as Flask's documentation does it
        app.before_request_funcs.setdefault(None, []).insert(0, _enter)

    def _read(self, config: dict[str, Any]) -> tuple[Guard | Callable[[], Guard] | None, Config | None]:
        for key in config:
            if key.startswith("TRADEGUARD_") and key not in _KEYS:
                raise ConfigError(f"{key}: no such key; an application has {' or '.join(_KEYS)}")
        if self._guard is not None or self._config is not None:
            return self._guard, self._config
        return config.get("TRADEGUARD_GUARD"), config.get("TRADEGUARD_CONFIG")


def _enter() -> Response | None:
    """Before anything else of the application: put the grant at hand, and hold Flask's route against its row."""
    passage: Passage | None = request.environ.get(PASSAGE)
    rule = request.url_rule
    if passage is not None:
        g.grant, g.principal = passage.grant, passage.grant.principal
        if rule is None:
            return None  # no handler can run
    refusal = hold(
        passage,
        None if rule is None else read_angles(rule.rule),
        read_rules(current_app.url_map.iter_rules(), request.method),
    )
    return None if refusal is None else _respond(refusal)


def _respond(answer: Answer) -> Response:
    return Response(answer.body, answer.status, [(name.decode(), value.decode()) for name, value in answer.fields])
