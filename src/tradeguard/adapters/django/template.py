"""How Django writes the route that it has chosen, and all others: `path()` and the plain forms of `re_path()`."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from django.urls import URLResolver, get_resolver

from tradeguard.adapters.template import Template, read_angles

_GROUP: Final = re.compile(r"\(\?P<\w+>(?:\\[dw]|\[\^/\]|\[[\w\\-]+\])(?:[+*]|\{\d+(?:,\d*)?\})?\)", re.ASCII)


@lru_cache(1024)
def read_route(route: str) -> Template:
    r"""Read `request.resolver_match.route`.

    Of `re_path()` the plain forms are understood: text and named groups of one segment, such as `(?P<id>\d+)` or
    `(?P<name>[^/]+)`. Other patterns agree only with `*` and `**` of a row.
    """
    text = _GROUP.sub("<one>", route.removesuffix("$").removesuffix(r"\Z").replace("^", ""))
    return read_angles("/" + text.replace(r"\.", ".").replace(r"\-", "-"))


@lru_cache(16)
def list_templates(urlconf: Any) -> tuple[Template, ...]:
    """Return the templates of all routes below a URLconf: the request's, or that of the settings."""
    return tuple(read_route(route) for route in _routes(get_resolver(urlconf), ""))


def _routes(resolver: Any, prefix: str) -> Iterator[str]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _routes(entry, route)
        else:
            yield route
