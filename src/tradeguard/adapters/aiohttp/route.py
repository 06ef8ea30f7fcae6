"""How aiohttp writes the route that it has chosen, and all others."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from aiohttp import web

from tradeguard.adapters.routes import spell_aiohttp
from tradeguard.adapters.template import Template, below, read_quoted


def find_template(http: web.Request) -> Template | None:
    """Return the template of the route that aiohttp has chosen, whole also in a sub-application; None without one."""
    resource = http.match_info.route.resource
    return None if resource is None else _read(resource)


def list_templates(http: web.Request) -> Iterator[Template]:
    """Give the templates of all routes for the method of a request, those of sub-applications included."""
    methods = {"*", http.method, "GET"} if http.method == "HEAD" else {"*", http.method}
    return _walk(http.match_info.apps[0], methods)


def _walk(app: web.Application, methods: set[str]) -> Iterator[Template]:
    for resource in app.router.resources():
        inner = resource.get_info().get("app")
        if inner is not None:
            yield from _walk(inner, methods)
        elif any(route.method in methods for route in resource):
            yield _read(resource)


def _read(resource: web.AbstractResource) -> Template:
    told: Any = resource.get_info()
    if "formatter" in told:
        return _read_dynamic(told["formatter"], told["pattern"].pattern)
    if isinstance(resource, web.StaticResource | web.PrefixedSubAppResource):
        return below(read_quoted(resource.canonical) if resource.canonical else ())
    return read_quoted(resource.canonical)


@lru_cache(1024)
def _read_dynamic(formatter: str, pattern: str) -> Template:
    return read_quoted(spell_aiohttp(formatter, pattern))
