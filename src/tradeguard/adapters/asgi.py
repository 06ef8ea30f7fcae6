"""ASGI: Starlette, FastAPI and any other ASGI 3 application.

The signed target is prefix + received: `root_path` (where the path does not begin with it already) + `raw_path` + `?` +
query. What servers lose on the way, so that it cannot be signed: uvicorn and hypercorn drop a bare trailing `?`.
uvicorn with httptools also drops a fragment, and scheme and host of an absolute-form target; elsewhere both forms are
refused.

A mounted application gets no lifespan of its own: there a wrong configuration is a 503 for every request, and the host
should call `guard.close()` at its end.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from tradeguard.adapters.answer import UNCONFIGURED, Answer, refuse
from tradeguard.adapters.edge import Edge, meet, peer_of, preflight, ready, refusal
from tradeguard.adapters.given import Config, open_guard
from tradeguard.adapters.live import Stream
from tradeguard.adapters.passage import PASSAGE, Passage
from tradeguard.adapters.websocket import Socket, refuse_socket
from tradeguard.core.body import SHORT, Chunk
from tradeguard.core.cors import Fields
from tradeguard.core.decision import Denial, Refused
from tradeguard.core.frame import quote_path
from tradeguard.core.guard import Guard
from tradeguard.core.ports import Body
from tradeguard.core.proxy import peer_named
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.core.runtime import Loop, request_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_BODIES: Final = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")
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
                edge = Edge(Headers(()), Peer(), "", [], speaks=False)
                answer = refuse(Denial(UNCONFIGURED), request_id(), challenge="")
                await _refuse(send, answer, scope, edge, close=True)
            elif _has_passed(guard, scope):
                await self.app(scope, receive, send)
            else:
                await self._serve(guard, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._open(scope, receive, send)
        else:
            raise RuntimeError(f"tradeguard does not know the scope type {scope['type']!r} and lets nothing of it pass")

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket: its handshake is a request like any other."""
        guard = self._guard or self._build()
        if guard is not None and _has_passed(guard, scope):
            await self.app(scope, receive, send)
            return
        first = await receive()
        if guard is None:
            await refuse_socket(scope, send, refuse(Denial(UNCONFIGURED), request_id(), challenge=""))
            return
        arrived, id, edge = guard.runtime.now(), request_id(), _meet(guard, scope)
        request = _request(scope, b"", id, edge, arrived)
        decision = guard.door(edge.peer, arrived) or await guard.admit(request)
        if isinstance(decision, Denial):
            answer = refusal(guard, decision, id, request)
            await refuse_socket(scope, send, answer._replace(fields=edge.dress_answer(answer)))
            return
        passage = Passage(guard, request, decision)
        scope["tradeguard"], scope[PASSAGE] = decision, passage
        await Socket(passage, edge, scope, receive, send, first=first).serve(self.app)

    async def _serve(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        arrived, id, edge = guard.runtime.now(), request_id(), _meet(guard, scope)
        denial = guard.door(edge.peer, arrived)
        if denial is not None:
            await _refuse(send, refusal(guard, denial, id), scope, edge, close=True)
            return
        asked = preflight(guard, scope["method"], edge, id)
        if asked is not None:
            await send_answer(send, asked)
            return
        request = _request(scope, guard.reader(_chunks(receive), arrived), id, edge, arrived)
        decision = await guard.admit(request)
        if isinstance(decision, Denial):
            await _refuse(send, refusal(guard, decision, id, request), scope, edge, close=request.unread)
            return
        own = ready(guard, request, decision)
        if own is not None:
            await send_answer(send, own, edge.dress_answer(own))
            return
        passage = Passage(guard, request, decision)
        scope["tradeguard"], scope[PASSAGE] = decision, passage
        await self._hand_on(passage, edge, scope, receive, send)

    async def _hand_on(self, passage: Passage, edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
        body, sent, status = await passage.request.body(), False, 0
        stream = Stream(passage)

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def respond(message: Message) -> None:
            nonlocal status
            kind = message["type"]
            if kind == "http.response.start":
                status = message["status"]
                message = {**message, "headers": edge.dress(message.get("headers", ()), passage.request)}
                stream.open()
            elif stream.is_cut:
                raise OSError("the guard has cut this response off")
            await send(message)
            if kind in _BODIES and not message.get("more_body", False):
                stream.close()  # what the application does now is not for the client

        try:
            await self.app(scope, replay, respond)
        except BaseException as error:
            if stream.close():
                passage.finish(status)  # and the server closes the connection: the message is not complete
                return
            passage.finish(status, type(error).__name__)
            raise
        stream.close()
        passage.finish(status)

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


async def send_answer(send: Send, answer: Answer, fields: Fields | None = None) -> None:
    """Send a whole response.

    Args:
        send: to whom.
        answer: the response.
        fields: instead of those of the answer.
    """
    fields = answer.fields if fields is None else fields
    await send({"type": "http.response.start", "status": answer.status, "headers": fields})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def _has_passed(guard: Guard, scope: Scope) -> bool:
    passage: Passage | None = scope.get(PASSAGE)
    return passage is not None and passage.holds(guard, _method(scope), _locate(scope)[0])


def _meet(guard: Guard, scope: Scope) -> Edge:
    headers, client = Headers(scope["headers"]), scope.get("client")
    peer = peer_named(client and client[0])
    if client is not None:
        peer = peer_of(client[0], client[1], peer, headers)
    return meet(guard.policy, headers, peer, scope.get("scheme", "http"))


def _chunks(receive: Receive) -> Chunk:
    async def chunk() -> tuple[bytes, bool]:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(Denial(SHORT, detail="the client went away"))
        return message.get("body", b""), message.get("more_body", False)

    return chunk


def _request(scope: Scope, body: Body | bytes, id: str, edge: Edge, arrived: int) -> Request:
    target, path, prefix = _locate(scope)
    return Request(
        id=id,
        method=_method(scope),
        target=target,
        path=path,
        prefix=prefix,
        scheme=edge.scheme,
        version=scope.get("http_version", "1.1"),
        headers=edge.headers,
        peer=edge.peer,
        arrived=arrived,
        body=body,
        kind="websocket" if scope["type"] == "websocket" else "http",
    )


def _method(scope: Scope) -> str:
    """Return the method: that of a handshake is GET (RFC 6455, 4.1), and is signed as that, also over HTTP/2."""
    method: str = scope.get("method", "GET")
    return method


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


async def _refuse(send: Send, answer: Answer, scope: Scope, edge: Edge, *, close: bool) -> None:
    fields = edge.dress_answer(answer)
    if close and scope.get("http_version", "1.1").startswith("1"):
        fields.append((b"connection", b"close"))
    await send_answer(send, answer, fields)
