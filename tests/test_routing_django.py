"""The operations map against Django's router: whatever handler it reaches, the map asks for its row."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import count
from types import ModuleType
from typing import Any, cast
from urllib.parse import quote

import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import include, path
from django.views import View
from routing import (
    BRACES,
    LITERALS,
    SINGLE,
    STICKS,
    Rows,
    Tally,
    Target,
    compare,
    mounted,
    run_asgi,
    run_wsgi,
    split,
)

from tradeguard.adapters.asgi import App

NUMBER = count()


def route(segments: list[str]) -> str:
    """A row's path as Django writes it: without its first slash."""
    names = {"**": "<path:rest>", "*": "<str:star%d>"}
    written = [names.get(segment, segment.replace("{", "<str:").replace("}", ">")) for segment in segments]
    return "/".join(name % place if "%d" in name else name for place, name in enumerate(written))


def answer(row: str) -> Callable[..., HttpResponse]:
    def method(_view: View, _request: HttpRequest, **_: str) -> HttpResponse:
        return HttpResponse(headers={"row": quote(row)})

    return method


def view(methods: dict[str, Any]) -> Callable[..., HttpResponse]:
    made: Any = type("Rows", (View,), methods)
    return cast("Callable[..., HttpResponse]", made.as_view())


def patterns(rows: Iterable[str], *, below: int, whole: bool) -> list[Any]:
    """One view per path, with the methods that it has; Django's router looks at the path alone."""
    views: dict[str, dict[str, Any]] = {}
    for row in rows:
        method, segments = split(row)
        place = route(segments[below:])
        places = [place]
        if whole and segments[-1] == "**":  # `path` matches no empty rest, and the map may
            places.append(place.removesuffix("<path:rest>"))
        for taken in (views.setdefault(place, {}) for place in places):
            if not (method == "HEAD" and "get" in taken):  # which takes HEAD too
                taken.setdefault(method.lower(), answer(row))
    return [path(place, view(methods)) for place, methods in views.items()]


def make_urls(rows: Rows, mount: str | None, *, whole: bool) -> ModuleType:
    """`whole`: the view of a row that ends in ** is also there for the empty rest."""
    below, above = mounted(rows, mount) if mount else ([], list(rows))
    module = ModuleType(f"urls{next(NUMBER)}")
    first = [path(f"{mount}/", include((patterns(below, below=1, whole=whole), "below")))] if mount else []
    module.urlpatterns = [*first, *patterns(above, below=0, whole=whole)]  # type: ignore[attr-defined]
    return module


def run(rows: Rows, targets: list[Target], kind: str, mount: str | None, root: str, *, whole: bool) -> Tally:
    if not settings.configured:
        settings.configure()
    middleware = ["django.middleware.common.CommonMiddleware"]
    with override_settings(
        ROOT_URLCONF=make_urls(rows, mount, whole=whole), ALLOWED_HOSTS=["*"], MIDDLEWARE=middleware
    ):
        if kind == "asgi":
            return asyncio.run(run_asgi(cast("App", ASGIHandler()), rows, targets, root=root))
        return run_wsgi(WSGIHandler(), rows, targets, raw=kind == "raw", outer=root)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of 404 and 405 are what is asked for."""
    caplog.set_level(logging.CRITICAL, "django.request")


SETTINGS = [
    (None, "asgi", "", True),
    (None, "raw", "", False),
    (None, "bare", "", True),
    ("m", "raw", "/outer", True),
    ("v1", "asgi", "/api", False),
    ("m", "bare", "/v1", False),
]
each_setting = pytest.mark.parametrize(("mount", "kind", "root", "whole"), SETTINGS)


def check(mount: str | None, kind: str, root: str, whole: bool, tables: int) -> None:
    compare(
        lambda rows, targets: run(rows, targets, kind, mount, root, whole=whole),
        f"django {mount} {kind} {root} {whole}",
        literals=[*LITERALS, "é", "\u2028x"],
        methods=["GET", "GET", "POST", "HEAD"],
        sticks=STICKS + BRACES,
        tables=tables,
    )


@pytest.mark.no_cover
@each_setting
def test_the_map_and_the_router_of_django_agree(mount: str | None, kind: str, root: str, whole: bool) -> None:
    check(mount, kind, root, whole, 2)


@pytest.mark.soak
@each_setting
def test_the_map_and_the_router_of_django_agree_on_many_targets(
    mount: str | None, kind: str, root: str, whole: bool
) -> None:
    check(mount, kind, root, whole, 100 // len(SETTINGS) + 1)


@pytest.mark.parametrize("kind", ["asgi", "raw"])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", SINGLE)
def test_django_agrees_on_a_single_target(name: str, whole: bool, kind: str) -> None:
    rows, method, target = SINGLE[name]
    tally = run(rows, [(method, target, False)], kind, None, "", whole=whole)
    assert tally.counts["reached"] == 1
    assert not tally.wrong
