"""WebSockets of aiohttp: every message passes the guard before the handler receives it; a denial closes the socket."""

import asyncio
from typing import Any, Final, cast

from aiohttp import WSMessage, WSMsgType, web

from tradeguard.adapters.live import close_code
from tradeguard.adapters.passage import Passage
from tradeguard.core.decision import Denial
from tradeguard.core.runtime import request_id

Socket = web.WebSocketResponse[bool]
_PATIENCE: Final = 0.5  # seconds for a client to answer a close frame, or to read it at all
_DATA: Final = (WSMsgType.TEXT, WSMsgType.BINARY)


def as_socket(response: web.StreamResponse | None) -> Socket | None:
    """Return a response that is a WebSocket; None for all others."""
    return cast("Socket", response) if isinstance(response, web.WebSocketResponse) else None


def listen(socket: Socket, passage: Passage) -> None:
    """Let what a handler receives pass the guard first.

    All of aiohttp's ways to receive (`async for`, `receive_str`, `receive_json`) go by `receive`, so that one is put
    in front of the socket's own.

    Args:
        socket: that the handler has made, not prepared yet.
        passage: of its handshake.
    """
    receive, held = socket.receive, list[Any]()

    async def judged(timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as aiohttp has it
        if not held:
            held.append(await receive(timeout))
        message = held[0]  # kept while it is judged: the handler may give up waiting
        denial = await _judge(message, passage) if message.type in _DATA else None
        held.clear()
        if denial is not None:
            passage.denial = denial
            await hang_up(socket, denial)
            return WSMessage(WSMsgType.CLOSED, None, None)
        return message

    socket.receive = judged  # type: ignore[method-assign]


async def hang_up(socket: Socket, denial: Denial) -> None:
    """Close a socket with the public code of a denial as the reason.

    Args:
        socket: prepared.
        denial: why it ends.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            await socket.close(code=close_code(denial), message=denial.public.encode())
    except TimeoutError:
        pass  # the client does not read; aiohttp has closed the connection


async def _judge(message: WSMessage, passage: Passage) -> Denial | None:
    data: Any = message.data
    body: bytes = data.encode() if isinstance(data, str) else bytes(data)
    guard = passage.guard
    return await guard.hear(passage.request.message(request_id(), body, guard.runtime.now()))
