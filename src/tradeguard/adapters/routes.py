"""The routes of an application, as far as they can be listed, written as the rows of a map would be.

    {id}, {id:int}, <int:id>       {id}
    {rest:path}, <path:rest>       ** (at the end; elsewhere it cannot be mapped)
    text and parameters mixed      *
    what none of these says        told apart, with the reason

It helps to write a map and to check one. Nothing is decided by it: what the map does not name is refused, listed or
not. No framework is imported but the one that the application comes from.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, cast
from urllib.parse import unquote

from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operations

ANY: Final = "*"
"""The method of a route that takes whatever comes."""
_DEEPEST: Final = 32  # applications in applications
METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
"""The methods that routes are looked through for, in lower case."""
_BRACES: Final = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")
_ANGLES: Final = re.compile(r"<(?:(\w+)(?:\(.*?\))?:)?(\w+)>")
_GROUP: Final = re.compile(r"\(\?P<(\w+)>((?:[^()\\]|\\.)*)\)", re.ASCII)
_CHARS: Final = r"\[-?(?:a-z|A-Z|0-9|a-f|A-F|[A-Za-z0-9_.]|\\[dw])+-?\]"
_SLASHLESS: Final = re.compile(
    rf"(?:(?:\\[dw]|\[\^[^\]\\]*/[^\]\\]*\]|{_CHARS}|[\w-])(?:[+*]|\{{[\d,]+\}})?)*", re.ASCII
)


class Route(NamedTuple):
    """One route. `method` is `ANY` where it takes all; `path` is written as in the map; `doc` is its first line."""

    method: str
    path: str
    name: str
    doc: str


class Unmapped(NamedTuple):
    """What no row can say, or what cannot be looked into; what lies below `below` may belong to it."""

    where: str
    why: str
    below: str


class Routes(NamedTuple):
    """What an application serves: its routes, the paths of its websockets, and what could not be listed."""

    http: list[Route]
    websockets: list[str]
    unmapped: list[Unmapped]


def list_routes(app: object) -> Routes:
    """List what an application serves. Guards and other wrappers around it are looked through.

    Args:
        app: of FastAPI, Starlette, Flask, Quart, Django (its WSGI or ASGI handler), aiohttp or Litestar.

    Raises:
        ConfigError: nothing of it can be listed; write the map by hand, or from an OpenAPI file.
    """
    found = Routes([], [], [])
    if not _walk(app, "", found, 0):
        raise ConfigError(
            f"the routes of {type(app).__module__}.{type(app).__qualname__} cannot be listed: hand over the "
            "application itself (FastAPI, Starlette, Flask, Quart, Django, aiohttp, Litestar), or an OpenAPI file"
        )
    return drop_repeats(found)


def table_of(value: object) -> dict[str, Any]:
    """Return a mapping as one; whatever is none is empty."""
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else {}


def _walk(app: Any, prefix: str, found: Routes, depth: int) -> bool:
    """List an application below a prefix; return whether anything could be said of it."""
    if depth > _DEEPEST:
        return False
    homes = {kind.__module__.partition(".")[0] for kind in type(app).__mro__}
    for framework, read in _READERS:
        if framework in homes and read(app, prefix, found, depth):
            return True
    for name in ("app", "application", "wsgi_app", "asgi_app"):
        inner = getattr(app, name, None)
        if callable(inner) and inner is not app and not inspect.ismethod(inner):
            for place, mounted in table_of(getattr(app, "mounts", None)).items():  # werkzeug's DispatcherMiddleware
                _mount(mounted, prefix + str(place), found, depth)
            return _walk(inner, prefix, found, depth + 1)
    return False


def _mount(app: Any, prefix: str, found: Routes, depth: int) -> None:
    if not _walk(app, prefix, found, depth + 1):
        why = f"{type(app).__module__}.{type(app).__qualname__} is mounted there and cannot be looked into"
        found.unmapped.append(Unmapped(f"{prefix}/**", why, begin_of(prefix) + "/"))


def _read_starlette(app: Any, prefix: str, found: Routes, depth: int) -> bool:
    if type(app).__name__ == "StaticFiles":
        add_route(found, "GET", f"{prefix}/{{rest:path}}", "static", "")
        return True
    routes: Any = getattr(app, "routes", None)
    if routes is None:
        return False
    if any(type(route).__module__.startswith("fastapi.") for route in routes):
        import fastapi.routing  # noqa: PLC0415 - the application comes from it

        flatten: Any = getattr(fastapi.routing, "iter_route_contexts", None)  # before 0.137 the list is flat
        routes = routes if flatten is None else flatten(routes)
    for route in routes:
        _read_starlette_route(route, prefix, found, depth)
    return True


def _read_starlette_route(route: Any, prefix: str, found: Routes, depth: int) -> None:
    kinds = {kind.__name__ for kind in type(getattr(route, "original_route", route)).__mro__}
    path = prefix + str(getattr(route, "path", ""))
    if kinds & {"Mount", "Host"}:
        original: Any = getattr(route, "original_route", route)
        _mount(getattr(original, "_base_app", original.app), prefix if "Host" in kinds else path, found, depth)
    elif "WebSocketRoute" in kinds:
        found.websockets.append(path)
    elif "Route" in kinds:
        for method in _methods(route.methods, route.endpoint):
            add_route(found, method, path, str(route.name or ""), inspect.getdoc(route.endpoint) or "")
    else:
        why = f"{type(route).__qualname__} is no route that is known here"
        found.unmapped.append(Unmapped(path or "/**", why, begin_of(path) or "/"))


def _methods(methods: Iterable[str] | None, view: object) -> Iterable[str]:
    """Return what a route takes: as declared, else as its class has methods for it, else anything."""
    if methods:
        return sorted(methods)
    own = [method.upper() for method in METHODS if callable(getattr(view, method, None))]
    return own if inspect.isclass(view) and own else (ANY,)


def _read_flask(app: Any, prefix: str, found: Routes, depth: int) -> bool:
    rules = getattr(app, "url_map", None)
    if rules is None:
        return False
    for rule in rules.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        path = prefix + _ANGLES.sub(partial(_brace, rule), str(rule.rule))
        automatic = {"OPTIONS"} if getattr(rule, "provide_automatic_options", False) else set[str]()
        if rule.build_only:
            continue
        if rule.websocket:
            found.websockets.append(path)
            continue
        for method in (ANY,) if rule.methods is None else sorted(rule.methods - automatic):
            add_route(found, method, path, str(rule.endpoint), inspect.getdoc(view) or "")
    wrapper = app.__dict__.get("wsgi_app")  # such as a dispatcher, which has mounts
    for place, mounted in table_of(getattr(wrapper, "mounts", None)).items():
        _mount(mounted, prefix + str(place), found, depth)
    return True


def _brace(rule: Any, part: re.Match[str]) -> str:
    kind, name = part.groups()
    converter = getattr(rule, "_converters", {}).get(name)
    whole = getattr(converter, "part_isolating", kind != "path")
    return f"{{{name}}}" if whole else f"{{{name}:path}}"


def _read_django(app: Any, prefix: str, found: Routes, depth: int) -> bool:
    if not type(app).__module__.startswith("django.core.handlers."):
        return False
    from django.urls import get_resolver  # noqa: PLC0415 - the application comes from it

    _read_patterns(get_resolver().url_patterns, prefix + "/", found)
    return True


def _read_patterns(patterns: Iterable[Any], prefix: str, found: Routes) -> None:
    for entry in patterns:
        path, why = _read_django_pattern(entry.pattern, last=not hasattr(entry, "url_patterns"))
        if why:
            found.unmapped.append(Unmapped(f"{prefix}{entry.pattern}", why, begin_of(prefix + path)))
        elif hasattr(entry, "url_patterns"):
            _read_patterns(entry.url_patterns, prefix + path, found)
        else:
            view: Any = entry.callback
            for method in _django_methods(view):
                add_route(found, method, prefix + path, str(entry.name or ""), inspect.getdoc(view) or "")


def _django_methods(view: Any) -> Iterable[str]:
    """Return what a view takes: of a class its methods, of a function what `require_http_methods` says."""
    actions, kind = getattr(view, "actions", None), getattr(view, "view_class", None) or getattr(view, "cls", None)
    if actions is not None:  # a view set of Django REST framework
        return sorted(method.upper() for method in table_of(actions))
    if kind is not None:
        return [method for method in _methods(None, kind) if method != "OPTIONS"]
    named = table_of(inspect.getclosurevars(view).nonlocals if inspect.isfunction(view) else None)
    return _methods(named.get("request_method_list"), view)


def _read_django_pattern(pattern: Any, *, last: bool) -> tuple[str, str]:
    """Return a pattern in braces, or how it begins and why it cannot be mapped."""
    if hasattr(pattern, "_route"):
        kinds = {name: str(getattr(converter, "regex", "")) for name, converter in pattern.converters.items()}
        return _ANGLES.sub(lambda part: _hold(part[2], kinds[part[2]]), str(pattern)), ""
    if not hasattr(pattern, "_regex"):  # a language prefix: what it is depends on who asks
        return "", f"{type(pattern).__name__} differs from request to request"
    text = str(pattern).removeprefix("^")
    plain = _GROUP.sub(lambda group: _hold(group[1], group[2]), text.removesuffix("$").removesuffix(r"\Z"))
    plain = re.sub(r"\\([.\-/])", r"\1", plain).removesuffix("/?")
    begin = (re.match(r"[\w/-]*", text) or [""])[0]
    if re.search(r"[\\^$*+?()\[\]|]", _BRACES.sub("", plain)) or text.endswith("/?$"):
        return begin, "a regular expression that no row can say"
    if last and not text.endswith(("$", r"\Z")):
        return begin, "a regular expression without an end ($): it takes whatever begins so"
    return plain, ""


def _hold(name: str, regex: str) -> str:
    """Write a parameter: of one segment if what it takes has no slash, for certain."""
    return f"{{{name}}}" if _SLASHLESS.fullmatch(regex) else f"{{{name}:path}}"


def _read_aiohttp(app: Any, prefix: str, found: Routes, depth: int) -> bool:
    router = getattr(app, "router", None)
    if router is None or not hasattr(router, "resources"):
        return False
    for resource in router.resources():
        told: Any = resource.get_info()
        inner = told.get("app")
        if inner is not None:  # its resources carry the prefix already
            _walk(inner, prefix, found, depth + 1)
        elif "directory" in told:
            add_route(found, "GET", f"{prefix}{told['prefix']}/{{rest:path}}", resource.name or "", "")
        else:
            path = prefix + _read_aiohttp_path(told)
            for route in resource:
                add_route(found, route.method, path, resource.name or "", inspect.getdoc(route.handler) or "")
    return True


def _read_aiohttp_path(told: Mapping[str, Any]) -> str:
    if "formatter" not in told:
        return unquote(str(told["path"]))
    return unquote(spell_aiohttp(told["formatter"], told["pattern"].pattern))


def spell_aiohttp(formatter: str, pattern: str) -> str:
    """Write a path of aiohttp (`/a/{id}`, and its regular expression) in braces that say what may take slashes."""
    known: dict[str, str] = dict(_GROUP.findall(pattern))
    return _BRACES.sub(lambda part: _hold(part[1], known.get(part[1], ".*")), formatter)


def _read_litestar(app: Any, prefix: str, found: Routes, depth: int) -> bool:
    if not hasattr(app, "route_handler_method_map"):
        return False
    for route in app.routes:
        path = prefix + str(route.path)
        if hasattr(route, "route_handler_map"):
            handlers: dict[str, tuple[Any, object]] = route.route_handler_map
            for method, (handler, _) in handlers.items():
                if handler.handler_name != "options_handler":  # Litestar adds it to every path
                    add_route(
                        found, str(method), path, handler.name or handler.handler_name, inspect.getdoc(handler.fn) or ""
                    )
        elif type(route).__name__ == "WebSocketRoute":
            found.websockets.append(path)
        else:
            _mount(route.route_handler.fn, path.rstrip("/"), found, depth)
    return True


_READERS: Final[tuple[tuple[str, Callable[[Any, str, Routes, int], bool]], ...]] = (
    ("starlette", _read_starlette),
    ("flask", _read_flask),
    ("quart", _read_flask),
    ("django", _read_django),
    ("aiohttp", _read_aiohttp),
    ("litestar", _read_litestar),
)


def add_route(found: Routes, method: str, path: str, name: str, doc: str) -> None:
    """Keep a route, or say why no row can be written for it."""
    written, why = _write(path)
    if not why:
        try:
            Operations({f"{'GET' if method == ANY else method} {written}": "any:scope"})
        except ConfigError as error:
            why = str(error)
    if why:
        found.unmapped.append(Unmapped(f"{method} {path}", why, begin_of(path)))
    else:
        found.http.append(Route(method, written, name, doc.strip().partition("\n")[0]))


def _write(path: str) -> tuple[str, str]:
    """Return a path in braces as the map writes it, or why it cannot."""
    parts: list[str] = []
    segments = path.removeprefix("/").split("/")
    for place, segment in enumerate(segments):
        kinds = _BRACES.findall(segment)
        if any(kind == "path" for _, kind in kinds):
            if place < len(segments) - 1 or not _BRACES.fullmatch(segment):
                return "", "something follows, or precedes in one segment, a parameter that takes slashes"
            parts.append("**")
        elif _BRACES.fullmatch(segment):
            parts.append(_name(kinds[0][0], parts))
        else:
            parts.append("*" if kinds else segment)
    return "/" + "/".join(parts), ""


def _name(given: str, before: list[str]) -> str:
    name = re.sub(r"\W", "_", given.strip().lstrip("*"), flags=re.ASCII)
    name = name if re.match(r"[A-Za-z_]", name) else f"p{name}"
    while f"{{{name}}}" in before:
        name += "_"
    return f"{{{name}}}"


def begin_of(path: str) -> str:
    """Return how whatever a path takes begins."""
    return re.split(r"[{*<(]", path, maxsplit=1)[0]


def drop_repeats(found: Routes) -> Routes:
    """Leave out what stands twice, and HEAD where GET answers it."""
    reads = {route.path for route in found.http if route.method == "GET"}
    seen: dict[tuple[str, str], Route] = {}
    for route in found.http:
        if route.method != "HEAD" or route.path not in reads:
            seen.setdefault((route.method, route.path), route)
    places = [entry.where for entry in found.unmapped]
    rest = [
        entry
        for entry in found.unmapped
        if entry.where.replace("HEAD ", "GET ", 1) not in places or entry.where[:5] != "HEAD "
    ]
    return Routes(list(seen.values()), list(dict.fromkeys(found.websockets)), list(dict.fromkeys(rest)))
