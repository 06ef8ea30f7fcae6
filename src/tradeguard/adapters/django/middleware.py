"""The middleware. It lets the WSGI or ASGI form do the guarding, with the rest of Django as the application.

Under ASGI Django itself reads the whole body before any middleware sees the request, so the body deadline and the
budget of unproven bodies cannot hold there: let the server or a proxy limit bodies. Behind a middleware that is
synchronous only, the guard runs synchronously too, and joins headers that stand twice, as WSGI does.
"""

import io
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from tradeguard.adapters.asgi import ASGI, Message, Receive, Scope, Send
from tradeguard.adapters.django.environ import environ_of
from tradeguard.adapters.django.setting import open_setting
from tradeguard.adapters.django.template import list_templates, read_route
from tradeguard.adapters.passage import PASSAGE, Passage, hold
from tradeguard.adapters.wsgi import WSGI, Environ, StartResponse
from tradeguard.core.runtime import Loop

_CHUNK: Final = 65_536
_CALL: Final = "tradeguard.django"
Fields = Iterable[tuple[str, str]]


@sync_and_async_middleware
def guard(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Make the middleware; Django calls this once, when the server starts.

    Raises:
        ConfigError: so that a wrong configuration stops the server.
    """
    return _make_async(get_response) if iscoroutinefunction(get_response) else _make_sync(get_response)  # pyright: ignore[reportDeprecated]


class _Call:
    """One request on its way through the guard, and the response of the rest of Django if it got that far."""

    def __init__(self, request: HttpRequest) -> None:
        self.request, self.response = request, HttpResponse()
        self.reached = False

    def enter(self, passage: Passage, body: io.BytesIO) -> HttpRequest:
        """Give the view its grant and the whole body again."""
        request: Any = self.request
        request.grant, request.principal, request._tradeguard = passage.grant, passage.grant.principal, passage
        request._stream.close()  # under ASGI a temporary file
        request._stream, request._read_started = body, False
        self.reached = True
        return self.request

    def end(self, status: int, fields: Fields, body: bytes) -> HttpResponseBase:
        """Return the response: Django's with our fields, or the guard's own."""
        response: Any = self.response if self.reached else HttpResponse(body, status=status)
        kept = dict(fields)
        for name in [name for name, _ in response.items() if name.lower() not in {field.lower() for field in kept}]:
            del response[name]
        for name, value in kept.items():
            response[name] = value
        done: HttpResponseBase = response
        return done


def _make_sync(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], HttpResponseBase]:
    def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
        call: _Call = environ[_CALL]
        request = call.enter(environ[PASSAGE], environ["wsgi.input"])
        if "CONTENT_LENGTH" in environ:
            request.META["CONTENT_LENGTH"] = environ["CONTENT_LENGTH"]
        call.response = response = get_response(request)
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return []

    wsgi = WSGI(application, open_setting(blocking=True))

    def middleware(request: HttpRequest) -> HttpResponseBase:
        call, status, said = _Call(request), 0, list[tuple[str, str]]()

        def start_response(line: str, fields: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
            nonlocal status
            status, said[:] = int(line[:3]), fields
            return lambda _: None

        chunks: Any = wsgi({**environ_of(request), _CALL: call}, start_response)
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):  # PEP 3333
                chunks.close()
        return call.end(status, said, body)

    middleware.process_view = _hold_against_map  # type: ignore[attr-defined]
    return middleware


def _make_async(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        call: _Call = scope[_CALL]
        body, more = b"", True
        while more:  # once, but where the same guard stands further out
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        call.response = response = await get_response(call.enter(scope[PASSAGE], io.BytesIO(body)))
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
        await send({"type": "http.response.start", "status": response.status_code, "headers": fields})
        await send({"type": "http.response.body", "body": b""})

    opened = open_setting()
    opened.bind(Loop())
    asgi = ASGI(application, opened)

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        call, sent = _Call(request), list[Message]()

        async def receive() -> Message:
            data = request._stream.read(_CHUNK)
            return {"type": "http.request", "body": data, "more_body": bool(data)}

        async def send(message: Message) -> None:
            sent.append(message)

        await asgi({**request.scope, _CALL: call}, receive, send)  # type: ignore[attr-defined]
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        return call.end(sent[0]["status"], fields, b"".join(part.get("body", b"") for part in sent[1:]))

    async def hold_against_map(request: HttpRequest, *view: Any) -> HttpResponse | None:
        return _hold_against_map(request, *view)

    middleware.process_view = hold_against_map  # type: ignore[attr-defined]
    return middleware


def _hold_against_map(request: HttpRequest, *_view: Any) -> HttpResponse | None:
    """Between routing and the view: hold Django's route against the row of the map."""
    passage: Passage | None = getattr(request, "_tradeguard", None)
    match = request.resolver_match
    others = list_templates(getattr(request, "urlconf", None) or settings.ROOT_URLCONF)
    answer = hold(passage, None if match is None else read_route(match.route), others)
    if answer is None:
        return None
    fields = {name.decode(): value.decode() for name, value in answer.fields}
    return HttpResponse(answer.body, status=answer.status, headers=fields)
