"""A Django project in one file, for the tests: settings, URLs and views. Settings come from the environment."""

import json
import os
from typing import Any

import django
from adapters.native import make_guard
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path, re_path

GUARD = "tradeguard.adapters.django.guard"
ROWS: dict[str, Any] = {
    "GET /v1/time": {"lane": "public"},
    "GET /v1/orders": "orders:read", "POST /v1/orders": "orders:write", "GET /v1/orders/{id}": "orders:read",
    "GET /v1/trades/{id}": "orders:read", "GET /v1/old/{id}": "orders:read", "GET /v1/odd/*": "orders:read",
    "GET /v1/odder/{id}": "orders:read", "GET /v1/files/**": "orders:read", "GET /v1/stream": "orders:read",
    "GET /v1/gone": "orders:read", "GET /v1/names/{name}": "orders:read", "GET /v1/fail": "orders:read",
}  # fmt: skip


def tell(request: Any, **arguments: Any) -> JsonResponse:
    """What the view saw."""
    body = request.body.decode()
    key = getattr(request.principal, "key_id", None)
    seen = {"key": key, "body": body, "form": request.POST.dict(), "path": request.path_info, **arguments}
    return JsonResponse(seen, headers={"X-Request-Id": "made-by-the-view"})


async def tell_later(request: Any, **arguments: Any) -> JsonResponse:
    return tell(request, **arguments)


def stream(_: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"one\n", b"two\n"]))


def fail(_: HttpRequest) -> HttpResponse:
    raise RuntimeError("the view failed")


below = [path("all", tell), path("<str:id>", tell)]
urlpatterns = [
    path("v1/time", tell), path("v1/orders", tell), path("v1/orders/<int:id>", tell_later),
    path("v1/trades/", include(below)), re_path(r"^v1/old/(?P<id>\d+)$", tell), path("v1/names/<str:name>", tell),
    re_path(r"^v1/odd/(?P<id>a|b)$", tell), re_path(r"^v1/odder/(?P<id>a|b)$", tell),
    path("v1/files/<path:name>", tell), path("v1/stream", stream), path("v1/fail", fail),
]  # fmt: skip


class SyncOnly:
    """A middleware of others that knows no event loop."""

    async_capable = False

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)


def set_up() -> None:
    """Configure Django for this process."""
    more = json.loads(os.environ.get("DJANGO_SET", "{}"))
    given: dict[str, Any] = {
        "SECRET_KEY": "of the tests", "ALLOWED_HOSTS": ["*"], "ROOT_URLCONF": __name__, "MIDDLEWARE": [GUARD],
        "INSTALLED_APPS": ["tradeguard.adapters.django"], "TRADEGUARD": {"guard": f"{__name__}.build"},
        "LOGGING_CONFIG": None, "USE_TZ": True, "DEBUG": False, "WSGI_APPLICATION": f"{__name__}.application",
    }  # fmt: skip
    settings.configure(**given | more)
    django.setup()


def build() -> Any:
    """The guard of the project."""
    return make_guard(ROWS)


def __getattr__(name: str) -> Any:
    """Make a handler when a server asks for it, as wsgi.py and asgi.py of a project do."""
    handlers = {"application": WSGIHandler, "asgi": ASGIHandler}
    if name not in handlers:
        raise AttributeError(name)
    if not settings.configured:
        set_up()
    return globals().setdefault(name, handlers[name]())
