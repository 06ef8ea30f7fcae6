"""The application of hosts.py as a Flask application and as a Django project, with their own adapters: same reports."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from adapters.hosts import report

from tradeguard import Guard

KINDS = {"Content-Type": "application/json", "X-Request-Id": "made-by-the-handler"}


def pieces(text: bytes) -> Iterator[bytes]:
    """The body of the stream, piece by piece."""
    for number in range(3):
        yield b"%d\n" % number
        time.sleep(0.3)
    yield text


async def pieces_async(text: bytes) -> AsyncIterator[bytes]:
    """The same for an event loop, on which Django collects what a plain iterator gives."""
    for number in range(3):
        yield b"%d\n" % number
        await asyncio.sleep(0.3)
    yield text


def make_flask(guard: Guard) -> Any:
    """The Flask application."""
    from flask import Flask, Response, g, request

    from tradeguard.adapters.flask import Tradeguard

    app = Flask(__name__, static_folder=None)
    Tradeguard(guard=guard).init_app(app)

    @app.route(
        "/", defaults={"path": ""}, methods=["GET", "POST", "OPTIONS", "DELETE"], provide_automatic_options=False
    )
    @app.route("/<path:path>", methods=["GET", "POST", "OPTIONS", "DELETE"], provide_automatic_options=False)
    def handle(path: str) -> Response:
        if path == "v1/fail":
            raise RuntimeError("the handler failed")
        body, length = request.get_data(), request.environ.get("CONTENT_LENGTH")
        text = report(request.method, request.path, request.query_string.decode(), body, g.principal, length)
        return Response(pieces(text) if path == "v1/stream" else text, headers=KINDS)

    return app


def make_django(guard: Guard) -> None:
    """Configure the Django project."""
    import django
    from django.conf import settings

    settings.configure(
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["tradeguard.adapters.django"],
        MIDDLEWARE=["tradeguard.adapters.django.guard"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="of tests",
        TRADEGUARD={"guard": guard},
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        LOGGING_CONFIG=None,
    )
    django.setup()
    from django.urls import path

    sys.modules[__name__].urlpatterns = [path("", handle), path("<path:rest>", handle)]  # type: ignore[attr-defined]


def handle(request: Any, rest: str = "") -> Any:
    """Report what arrived."""
    from django.http import HttpResponse, StreamingHttpResponse

    if rest == "v1/fail":
        raise RuntimeError("the handler failed")
    length = request.META.get("CONTENT_LENGTH") if hasattr(request, "environ") else None
    text = report(
        request.method, request.path, request.META["QUERY_STRING"], request.body, request.principal, length or None
    )
    if rest == "v1/stream":
        stream = pieces(text) if hasattr(request, "environ") else pieces_async(text)
        return StreamingHttpResponse(stream, headers=KINDS)
    return HttpResponse(text, headers=KINDS)
