"""A request of aiohttp as the guard sees it, and an answer of the guard as aiohttp sends it.

The signed target is the raw one of the request line; aiohttp loses nothing of it. The path is the whole one, also in
sub-applications.
"""

import asyncio

from aiohttp import ClientPayloadError, StreamReader, web

from tradeguard.adapters.answer import Answer
from tradeguard.adapters.edge import Edge, meet
from tradeguard.core.body import LARGE, SHORT
from tradeguard.core.cors import Fields
from tradeguard.core.decision import Denial, Refused
from tradeguard.core.guard import Guard
from tradeguard.core.proxy import peer_named
from tradeguard.core.request import Headers, Peer, Request


def target_of(http: web.Request) -> bytes:
    """Return the target as received."""
    return http.raw_path.encode("utf-8", "surrogateescape")


def meet_peer(guard: Guard, http: web.Request) -> Edge:
    """Ask the socket itself for the peer: `remote` may have been replaced."""
    name: tuple[str, int] | str | None = None
    if http.transport is not None:
        name = http.transport.get_extra_info("peername")
    headers = Headers([(name.lower(), value) for name, value in http.raw_headers])
    peer = peer_named(name[0] if isinstance(name, tuple) else name) if http.transport is not None else Peer()
    return meet(guard.policy, headers, peer, http.scheme)


def read_request(guard: Guard, http: web.Request, id: str, edge: Edge, arrived: int) -> Request:
    """Return the request as the guard sees it; its body is read when the guard asks for it.

    Args:
        guard: whose limits hold; beside them `client_max_size` of the application does.
        http: the request.
        id: ours.
        edge: what is known of it.
        arrived: when its head was complete, ns UTC.
    """
    size = 0

    async def chunk() -> tuple[bytes, bool]:
        nonlocal size
        try:
            data = await http.content.readany()
        except (ConnectionError, ClientPayloadError) as error:
            raise Refused(Denial(SHORT, detail=type(error).__name__)) from error
        size += len(data)
        if http.client_max_size and size > http.client_max_size:
            raise Refused(Denial(LARGE, detail="client_max_size"))
        return data, not http.content.at_eof()

    return Request(
        id=id,
        method=http.method,
        target=target_of(http),
        path=http.path,
        scheme=edge.scheme,
        version=f"{http.version.major}.{http.version.minor}",
        headers=edge.headers,
        peer=edge.peer,
        arrived=arrived,
        body=guard.reader(chunk, arrived),
        kind="websocket" if asks_upgrade(http) else "http",
    )


def asks_upgrade(http: web.Request) -> bool:
    """Tell whether a request may become a WebSocket: more than aiohttp would, never less (RFC 6455, 4.1)."""
    return "websocket" in http.headers.get("Upgrade", "").lower()


def replay(http: web.Request, body: bytes) -> None:
    """Give the handler the whole body again, for read(), post(), multipart() and content alike.

    There is no public way to do so: aiohttp caches a body only if `read()` was used, which has no budget and no
    deadline, and `multipart()` does not see that cache.
    """
    if http.body_exists:
        limit = len(body) or 1  # the payload never pauses the connection
        payload = StreamReader(http.protocol, limit, loop=asyncio.get_running_loop())
        payload.feed_data(body)
        payload.feed_eof()
        http._payload = payload  # pyright: ignore[reportPrivateUsage]
        http._cache.pop("content", None)  # pyright: ignore[reportPrivateUsage]


def respond(answer: Answer, fields: Fields, *, close: bool = False) -> web.Response:
    """Return an answer as a response.

    Args:
        answer: its status and body.
        fields: its header fields.
        close: whether the connection ends with it.
    """
    response = web.Response(status=answer.status, body=answer.body or None)
    add_fields(response, fields)
    if close:
        response.force_close()
    return response


def dress(response: web.StreamResponse, request: Request, edge: Edge) -> None:
    """Add to a response of the application what every response carries, in place of what it says of that itself."""
    theirs = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in response.headers.items()]
    response.headers.clear()
    add_fields(response, edge.dress(theirs, request))


def add_fields(response: web.StreamResponse, fields: Fields) -> None:
    """Add header fields to a response."""
    for name, value in fields:
        response.headers.add(name.decode(), value.decode("utf-8", "surrogateescape"))
