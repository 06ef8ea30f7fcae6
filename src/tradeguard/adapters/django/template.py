"""How Django writes the route that it has chosen: `path()` and the plain forms of `re_path()`."""

import re
from functools import lru_cache
from typing import Final

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
