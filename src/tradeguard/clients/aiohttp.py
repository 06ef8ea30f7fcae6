"""aiohttp: `ClientSession(middlewares=[sign(signer)])`. It signs each attempt and each redirect to the same origin."""

from tradeguard.clients.attempt import Attempts, Signs
from tradeguard.core.errors import ConfigError
from tradeguard.signing.guards import TYPED
from tradeguard.signing.signer import Outgoing

try:
    from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse
    from yarl import URL
except ImportError as error:
    raise ConfigError('signing with aiohttp needs it: pip install "tradeguard[aiohttp]"') from error


def sign(signer: Signs, origin: str | None = None) -> ClientMiddlewareType:
    """Return the middleware that signs what a session sends; it stands last, below those that send again.

    Args:
        signer: holds the key.
        origin: the only one that is signed for, such as "https://api.example"; None for that of the first request.

    Raises:
        ConfigError: the origin is none; and from the session's calls, where a request or a redirect goes to another,
            or the dialect cannot sign such a body.
    """
    attempts = Attempts(signer, origin)
    bare = attempts.row is not None and TYPED in attempts.row.guards  # without a body there is no content type

    async def middleware(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        body = await request.body.as_bytes() if request.body else b""
        target = request.url.raw_path_qs.encode()
        if bare and not body and "content-type" not in request.headers:
            request.skip_auto_headers.add("content-type", None)
        if request.method in request.POST_METHODS and "content-type" not in request.skip_auto_headers:
            request.headers.setdefault("content-type", "application/octet-stream")  # as aiohttp does later on
        host, kind = (request.headers.get(name, "") for name in ("host", "content-type"))
        out = Outgoing(request.method, host, target, kind.encode(), body)
        signed = attempts.sign(str(request.url), out, request)
        for name, value in signed.headers:
            request.headers[name.decode()] = value.decode()
        if signed.target != target:
            request.url = URL(f"{request.url.origin()}{signed.target.decode()}", encoded=True)
        if request.body or signed.body:  # bytes from here on: what was read is what goes out
            await request.update_body(signed.body)
        if signed.content_type != out.content_type:
            request.headers.popall("content-type", None)
            request.headers.update({"content-type": signed.content_type.decode()} if signed.content_type else {})
        return await handler(request)

    return middleware
