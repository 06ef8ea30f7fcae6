"""WebSockets over ASGI: a handshake is answered like a request, messages are judged one by one, a close frame ends it.

A refused handshake gets the whole answer where the server can send one (the `websocket.http.response` extension), and a
plain 403 where it cannot. An open connection is closed with code 1008 and the public code of the denial as its reason,
or 1009 for a message that is too large; the application is told that the client has gone.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from tradeguard.adapters.answer import Answer
from tradeguard.adapters.edge import Edge
from tradeguard.adapters.live import Stream, close_code
from tradeguard.adapters.passage import Passage
from tradeguard.core.decision import Denial
from tradeguard.core.runtime import request_id

if TYPE_CHECKING:
    from tradeguard.adapters.asgi import App, Message, Receive, Scope, Send

_PATIENCE: Final = 0.5  # seconds for a close frame to a client that does not read
_WHOLE: Final = "websocket.http.response"


async def refuse_socket(scope: "Scope", send: "Send", answer: Answer) -> None:
    """Refuse a handshake, before it is accepted.

    Args:
        scope: of the connection.
        send: to whom.
        answer: what a request would get.
    """
    if _WHOLE in (scope.get("extensions") or {}):
        await send({"type": f"{_WHOLE}.start", "status": answer.status, "headers": answer.fields})
        await send({"type": f"{_WHOLE}.body", "body": answer.body, "more_body": False})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})


class Socket:
    """One granted WebSocket, between the server and the application.

    Args:
        passage: of its handshake.
        edge: what is owed to its answer.
        scope: of the connection.
        receive: from the server; the handshake is taken from it already.
        send: to the server.
        first: the handshake.
    """

    def __init__(
        self,
        passage: Passage,
        edge: Edge,
        scope: "Scope",
        receive: "Receive",
        send: "Send",
        *,
        first: "Message",
    ) -> None:
        self._passage, self._edge = passage, edge
        self._scope, self._receive, self._send = scope, receive, send
        self._stream = Stream(passage)
        self._held: Message | None = first  # taken from the server, and not handed on yet
        self._status, self._over = 0, False

    async def serve(self, app: "App") -> None:
        """Let the application serve it; see to it that it ends when its grant does."""
        error: BaseException | None = None
        self._stream.open()
        try:
            await app(self._scope, self._hear, self._say)
        except BaseException as raised:
            error = raised
        cut, denial = self._stream.close(), self._passage.denial
        try:
            if denial is not None:
                await self._hang_up(denial)
        finally:
            self._passage.finish(self._status, type(error).__name__ if error is not None and not cut else "")
        if error is not None and not cut and not (denial is not None and isinstance(error, Exception)):
            raise error

    async def _hear(self) -> "Message":
        """Hand on what comes in, if it may. A message outlives that the application gives up waiting for it."""
        if self._over:
            return self._gone()
        if self._held is None:
            self._held = await self._receive()
        if self._held["type"] == "websocket.receive":
            denial = await self._judge(self._held)
            if denial is not None:
                self._passage.denial = denial
                await self._hang_up(denial)
                return self._gone()
        message, self._held = self._held, None
        return message

    async def _judge(self, message: "Message") -> Denial | None:
        guard, text = self._passage.guard, message.get("text")
        body: bytes = (message.get("bytes") or b"") if text is None else text.encode()
        return await guard.hear(self._passage.request.message(request_id(), body, guard.runtime.now()))

    async def _say(self, message: "Message") -> None:
        if self._over or self._stream.is_cut:
            raise OSError("the guard has closed this connection")
        kind = message["type"]
        if kind in ("websocket.accept", f"{_WHOLE}.start"):
            self._status = 101 if kind == "websocket.accept" else message["status"]
            message = {**message, "headers": self._edge.dress(message.get("headers", ()), self._passage.request)}
        elif kind == "websocket.close":
            self._status = self._status or 403
        await self._send(message)
        if kind in ("websocket.close", f"{_WHOLE}.body"):
            self._over = True

    async def _hang_up(self, denial: Denial) -> None:
        if self._over:
            return
        self._over = True
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._send({"type": "websocket.close", "code": close_code(denial), "reason": denial.public})
        except (OSError, TimeoutError):
            pass  # the client has gone, or does not read: the server closes the connection when we return

    def _gone(self) -> "Message":
        denial = self._passage.denial
        told: dict[str, Any] = {"type": "websocket.disconnect", "code": 1005, "reason": ""}
        if denial is not None:
            told |= {"code": close_code(denial), "reason": denial.public}
        return told
