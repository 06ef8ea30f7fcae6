"""`protect(app)`: any ASGI or WSGI application behind the configured guard, or, asked for by name, in development mode.

Development mode is there where no configuration is and TRADEGUARD_DEVELOPMENT=1 is set. In it

1.  only the machine itself is served: a loopback peer, a local Host (so that no page of a browser gets in by DNS
    rebinding), and no header that a proxy writes. A proxy on this machine that leaves no trace cannot be told apart;
2.  every request is signed all the same, with the one key that is made and shown at the start, which may do all: the
    paths are not mapped;
3.  state and journal are in memory;
4.  a refusal tells its reason, its cure and the text that should have been signed; every answer says
    `tradeguard-development: 1`.
"""

import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Final, overload

from tradeguard.adapters.asgi import ASGI, Message, Receive, Scope, Send
from tradeguard.adapters.asgi import App as AsgiApp
from tradeguard.adapters.given import Config
from tradeguard.adapters.wsgi import WSGI, Environ, StartResponse
from tradeguard.adapters.wsgi import App as WsgiApp
from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks import freshness, network, replay, scope, signature, source
from tradeguard.core.address import Networks
from tradeguard.core.decision import CATALOGUE, Decision, Denial, Grant, Refused, register
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Operation, Operations
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.signing.material import Hmac
from tradeguard.signing.rows import TG1
from tradeguard.signing.verifier import Verifier

_TEXT: Final = "This service runs in development mode and answers its own machine only."
REMOTE: Final = register(
    "protect.remote", status=403, text=_TEXT, hint="Development mode serves loopback peers; write a configuration."
)
FORWARDED: Final = register(
    "protect.forwarded", status=403, text=_TEXT, hint="Development mode serves no proxy; the detail names its header."
)
HOST: Final = register(
    "protect.host", status=403, text=_TEXT, hint="Development mode serves localhost, 127.0.0.1 and [::1] as Host."
)
KEY_ID: Final = "development"
"""The id of the one key of development mode."""
_MARK: Final = (b"tradeguard-development", b"1")
_LOOPBACK: Final = Networks(["127.0.0.0/8", "::1/128"])
_LOCAL: Final = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")
_FORWARDING: Final = frozenset(
    {b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip", b"cf-connecting-ip",
     b"fastly-client-ip"}
)  # fmt: skip
_FORWARDING_TOO: Final = (b"x-forwarded", b"x-original-", b"x-envoy-")
_log = logging.getLogger("tradeguard")


@overload
def protect(app: AsgiApp, config: Config | None = None) -> ASGI:
    """Guard an ASGI application."""


@overload
def protect(app: WsgiApp, config: Config | None = None) -> WSGI:
    """Guard a WSGI application."""


def protect(app: AsgiApp | WsgiApp, config: Config | None = None) -> ASGI | WSGI:
    """Guard an application, whatever framework it is made with.

    Args:
        app: an ASGI 3 or WSGI application: `async def app(scope, receive, send)`, `def app(environ, start_response)`,
            or an object that is called so.
        config: the configuration file; by default the one that is found (TRADEGUARD_CONFIG, else ./tradeguard.toml).

    Raises:
        ConfigError: it cannot be told what the application is, it is guarded already, or there is no configuration and
            TRADEGUARD_DEVELOPMENT=1 does not ask for development mode.
    """
    from tradeguard.config.file import DEVELOPMENT  # noqa: PLC0415 - needs pydantic; the two hosts above do not
    from tradeguard.config.look import is_looking  # noqa: PLC0415

    looking = is_looking()  # the configuration may come later: `tradeguard init` writes it for this very application
    asynchronous, found = _is_asgi(app), True if looking else _find(config)
    wanted = os.environ.get(DEVELOPMENT) == "1" and not looking
    if found is not None:
        if wanted:
            _log.warning("%s is ignored: there is a configuration, %s", DEVELOPMENT, found)
        return ASGI(app, config=found) if asynchronous else WSGI(app, config=found)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    if not wanted:
        raise ConfigError(
            f"there is no configuration, so nothing can be guarded: write one with `tradeguard init`, or set "
            f"{DEVELOPMENT}=1 to try things out on this machine alone"
        )
    guard = Development()
    return _LoudASGI(app, guard) if asynchronous else _LoudWSGI(app, guard)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def _find(config: Config | None) -> Path | None:
    """Return the configuration; None where nothing names one and none lies in the working directory."""
    from tradeguard.config.file import NAME, VARIABLE, find_config  # noqa: PLC0415 - as above

    if config is None and not os.environ.get(VARIABLE) and not os.path.lexists(NAME):
        return None
    return find_config(None if config is True else config)


def _is_asgi(app: Any) -> bool:
    """Tell ASGI from WSGI without calling it; whatever is neither for certain is refused."""
    if isinstance(app, (ASGI, WSGI)):
        raise ConfigError("this application is guarded already; protect it once")
    call = app
    while isinstance(call, partial):
        call = call.func
    if not inspect.isroutine(call):
        call = getattr(call, "__call__", None)  # noqa: B004 - its own method decides whether it is a coroutine
    names = _parameters(app)
    if names is not None and len(names) == 3 and (inspect.iscoroutinefunction(call) or names == _ASGI):
        return True
    if names is not None and len(names) == 2 and not inspect.iscoroutinefunction(call):
        return False
    raise ConfigError(
        f"{app!r} is neither an ASGI application, async (scope, receive, send), nor a WSGI one, (environ, "
        "start_response), as far as can be told; say which: tradeguard.ASGI(app, config=True) or tradeguard.WSGI(...). "
        "An aiohttp application takes tradeguard.aiohttp_middleware"
    )


_ASGI: Final = ("scope", "receive", "send")
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _parameters(app: Any) -> tuple[str, ...] | None:
    """Return the names of what a call needs; None for a class, and for what takes anything."""
    if isinstance(app, type) or not callable(app):
        return None
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return None
    needed = [parameter for parameter in parameters if parameter.default is inspect.Parameter.empty]
    if any(parameter.kind not in _POSITIONAL for parameter in needed):
        return None
    return tuple(parameter.name for parameter in needed)


class Development(Guard):
    """The guard of development mode. It makes its key, and shows it, when it is built."""

    def __init__(self) -> None:
        secret = token_urlsafe(32)
        record = KeyRecord(id=KEY_ID, dialect=TG1.name, material=Hmac(secret.encode()), scopes=())
        self._verifier = Verifier(TG1)
        super().__init__(
            [
                source.Source(pair=10_000, address=10_000),
                signature.Signature(MemoryKeys([record])),
                freshness.Freshness(),
                network.Network(),
                scope.Scope(),
                replay.Replay(),
            ],
            operations=_Anything(),
            state=Memory(since=1),
            journal=MemoryJournal(1_000),
        )
        _log.warning(
            "DEVELOPMENT MODE: operations are not mapped, one key may do everything, and refusals tell their reasons. "
            "Only this machine is served. Never run it where others can reach it."
        )
        sys.stderr.write(f"tradeguard development key (tg1, HMAC-SHA256): id {KEY_ID}, secret {secret}\n")

    def door(self, peer: Peer, at: int) -> Denial | None:
        """Turn away whoever is not on this machine."""
        return super().door(peer, at) if peer.address in _LOOPBACK else Denial(REMOTE)

    async def admit(self, request: Request) -> Decision:
        """Decide, and explain a refusal to whoever is on this machine."""
        stranger = self._find_stranger(request)
        if stranger is not None:
            self.journal.count(stranger.code, request.arrived)
            return stranger
        decision = await super().admit(request)
        return decision if isinstance(decision, Grant) else await self._explain(request, decision)

    def _find_stranger(self, request: Request) -> Denial | None:
        if request.peer.address not in _LOOPBACK:
            return Denial(REMOTE)
        for name in request.headers.names:
            if name in _FORWARDING or name.startswith(_FORWARDING_TOO):
                return Denial(FORWARDED, detail=name.decode("latin-1"))
        return None if _is_local(request.headers) else Denial(HOST)

    async def _explain(self, request: Request, denial: Denial) -> Denial:
        explained = copy(denial)
        entry = CATALOGUE.get(denial.code)
        told = {"reason": denial.code, "hint": entry.hint if entry else "", "reason_detail": denial.detail}
        text = await self._string_to_sign(request)
        explained.members = {
            **denial.members,
            **{name: value for name, value in told.items() if value},
            **({"string_to_sign": text} if text else {}),
        }
        return explained

    async def _string_to_sign(self, request: Request) -> str:
        """Compose what should have been signed, from the request alone; "" where it does not say enough for that."""
        if request.claim is None or request.unread:
            return ""
        try:
            signed = self._verifier.read(request, request.claim, await request.body())
        except Refused:
            return ""
        return signed.message.decode("latin-1")


def _is_local(headers: Headers) -> bool:
    hosts = [value for name, value in headers.raw if name == b"host"]
    return len(hosts) == 1 and _LOCAL.fullmatch(hosts[0].strip().lower()) is not None


class _Anything(Operations):
    """Every path is an operation of its own, and takes no scope."""

    def __init__(self) -> None:
        super().__init__({})

    def match(self, method: str, path: str) -> Operation | None:
        return Operation(f"{method} {path}", frozenset(), "read" if method in ("GET", "HEAD") else "order")


class _LoudASGI(ASGI):
    """Says in every answer what mode this is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), _MARK]}
            await send(message)

        await super().__call__(scope, receive, say)


class _LoudWSGI(WSGI):
    """Says in every answer what mode this is."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def say(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            return start_response(status, [*headers, (_MARK[0].decode(), _MARK[1].decode())], *exc_info)

        return super().__call__(environ, say)
