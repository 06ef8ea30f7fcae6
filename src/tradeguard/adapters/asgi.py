"""ASGI: Starlette, FastAPI and any other ASGI 3 application.

The signed target is prefix + received: `root_path` (where the path does not begin with it already) + `raw_path` + `?` +
query. What servers lose on the way, so that it cannot be signed: uvicorn and hypercorn drop a bare trailing `?`.
uvicorn with httptools also drops a fragment, and scheme and host of an absolute-form target; elsewhere both forms are
refused.

A mounted application gets no lifespan of its own: there a wrong configuration is a 503 for every request, and the host
should call `guard.journal.flush()` at its end.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any

from tradeguard.adapters.answer import UNCONFIGURED, refuse, response_fields
from tradeguard.adapters.given import Config, open_guard
from tradeguard.core.body import SHORT
from tradeguard.core.decision import Denial, Refused
from tradeguard.core.frame import quote_path
from tradeguard.core.guard import Guard
from tradeguard.core.request import Headers, Peer, Request, peer_at
from tradeguard.core.runtime import Loop, request_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger("tradeguard")


class ASGI:
    """Guards an ASGI application. The handler finds the `Grant` in `scope["tradeguard"]`.

    It raises nothing while it is built, because servers answer that with an unguarded 500: a wrong configuration fails
    the start (lifespan), and where a server has none, every request gets a 503.

    Args:
        app: the application.
        guard: the guard, or a function that builds it.
        config: instead of a guard, the configuration file to build it from; True for the one that is found
            (TRADEGUARD_CONFIG, else ./tradeguard.toml).
    """

    def __init__(
        self, app: App, guard: Guard | Callable[[], Guard] | None = None, *, config: Config | None = None
    ) -> None:
        self.app = app
        self._given = guard, config
        self._guard: Guard | None = None
        self._failure: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            guard = self._guard or self._build()
            if guard is None:
                await _answer(send, Denial(UNCONFIGURED), request_id(), scope, "", close=True)
            else:
                await self._serve(guard, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "websockets are not served"})
        else:
            raise RuntimeError(f"tradeguard does not know the scope type {scope['type']!r} and lets nothing of it pass")

    async def _serve(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        arrived, id, peer = guard.runtime.now(), request_id(), _peer(scope)
        denial = guard.door(peer, arrived)
        if denial is not None:
            await _answer(send, denial, id, scope, guard.challenge, close=True)
            return
        request = _request(guard, scope, receive, id, peer, arrived)
        decision = await guard.admit(request)
        if isinstance(decision, Denial):
            await _answer(send, decision, id, scope, guard.challenge, close=request.unread)
            return
        scope["tradeguard"] = decision
        body, sent, status = await request.body(), False, 0

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def respond(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                theirs = [field for field in message.get("headers", ()) if field[0].lower() != b"x-request-id"]
                message = {**message, "headers": theirs + response_fields(id, request.scheme)}
            await send(message)

        try:
            await self.app(scope, replay, respond)
        except BaseException as error:
            guard.finish(request, status, type(error).__name__)
            raise
        guard.finish(request, status)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._build() is None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": f"tradeguard: {self._failure}"})
            return

        async def watch(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown") and self._guard is not None:
                self._guard.close()
            await send(message)

        await self.app(scope, receive, watch)

    def _build(self) -> Guard | None:
        """Build and bind the guard, once; keep why it cannot be."""
        if self._failure is None and self._guard is None:
            try:
                guard = open_guard(*self._given)
                guard.bind(Loop())
                self._guard = guard
            except Exception as error:
                self._failure = error
                _log.critical("tradeguard cannot be built, so nothing passes: %s", error, exc_info=error)
        return self._guard


def _request(guard: Guard, scope: Scope, receive: Receive, id: str, peer: Peer, arrived: int) -> Request:
    async def chunk() -> tuple[bytes, bool]:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(Denial(SHORT, detail="the client went away"))
        return message.get("body", b""), message.get("more_body", False)

    target, path, prefix = _locate(scope)
    return Request(
        id=id,
        method=scope["method"],
        target=target,
        path=path,
        prefix=prefix,
        scheme=scope.get("scheme", "http"),
        version=scope.get("http_version", "1.1"),
        headers=Headers(scope["headers"]),
        peer=peer,
        arrived=arrived,
        body=guard.reader(chunk, arrived),
    )


def _locate(scope: Scope) -> tuple[bytes, str, str]:
    """Return the signed target, the path as it is routed, and the prefix."""
    path, prefix = scope["path"], scope.get("root_path", "")
    raw = scope.get("raw_path") or quote_path(path)
    if prefix:
        if path == prefix or path.startswith(prefix + "/"):
            path = path[len(prefix) :]
        else:
            raw = quote_path(prefix) + raw
    query = scope.get("query_string", b"")
    return (raw + b"?" + query if query else raw), path, prefix


def _peer(scope: Scope) -> Peer:
    client = scope.get("client")
    if client is None:
        return Peer()
    if client[1] == 0:
        _warn_rewritten()
        return Peer(rewritten=client[0])
    return peer_at(client[0])


@cache
def _warn_rewritten() -> None:
    _log.warning(
        "the server replaced the client address with one from a forwarding header, so the address is taken as unknown: "
        "no allow list matches it and no source is counted. Start uvicorn with --no-proxy-headers."
    )


async def _answer(send: Send, denial: Denial, id: str, scope: Scope, challenge: str, *, close: bool) -> None:
    answer = refuse(denial, id, scheme=scope.get("scheme", "http"), challenge=challenge)
    if close and scope.get("http_version", "1.1").startswith("1"):
        answer.fields.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.fields})
    await send({"type": "http.response.body", "body": answer.body})
