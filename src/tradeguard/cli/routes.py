"""`tradeguard operations check`: does the map speak of the application that it guards?"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import click

from tradeguard.adapters.routes import ANY, Route, Routes, add_route
from tradeguard.adapters.template import Template, agree, read_braces, sample
from tradeguard.cli.application import read_routes
from tradeguard.cli.desk import load
from tradeguard.cli.options import FILE, with_config, with_json
from tradeguard.cli.screen import Screen, plain
from tradeguard.core.policy import HANDSHAKE, Operation, Operations

_PROBES: Final = ("~", "", "~/~")  # what ** may stand for


class Finding(NamedTuple):
    """One way in which map and application differ."""

    kind: str
    what: str
    cure: str


@click.command("check")
@click.argument("app", required=False)
@click.option("--openapi", type=FILE, help="An OpenAPI file, JSON or YAML, instead of the application.")
@with_config
@with_json
def operations_check(screen: Screen, config: str | None, app: str | None, openapi: str | None) -> None:
    """Find routes without a row, and rows without a route.

    APP is the application as servers name it: module:name, or module:make() for a function that makes it. It is
    imported, as a server would do it, and not served: neither keys nor data are needed.

    Exit code 0: map and application agree; 1: what is listed; 2: the application or the configuration cannot be read.
    """
    known = Operations(load(config).settings.operations)
    routes = read_routes(app, openapi)
    sockets = list_sockets(routes)
    findings = compare_routes(known, routes, sockets.http if openapi is None else None)
    for entry in [*routes.unmapped, *sockets.unmapped]:
        screen.note(f"Note: not checked: {plain(entry.where)}: {plain(entry.why)}. Without a row it is refused.")
    if openapi is not None and any(row.id.startswith(f"{HANDSHAKE} ") for row in known.all):
        screen.note("Note: not checked: the rows for websockets, which no OpenAPI file names.")
    counts = {"routes": len(routes.http), "rows": len(known.all)}
    document = {
        **counts,
        "findings": [finding._asdict() for finding in findings],
        "websockets": routes.websockets,
        "unmapped": [entry._asdict() for entry in [*routes.unmapped, *sockets.unmapped]],
    }
    lines = [plain(f"{finding.kind}: {finding.what}: {finding.cure}") for finding in findings]
    screen.show(document, lines or f"{counts['routes']} routes, {counts['rows']} rows: nothing found")
    if findings:
        raise click.exceptions.Exit(1)


def list_sockets(routes: Routes) -> Routes:
    """Return the websockets of an application as routes, by the word that stands for a method in their rows."""
    found = Routes([], [], [])
    for path in routes.websockets:
        add_route(found, HANDSHAKE, path, "", "")
    return found


def compare_routes(known: Operations, routes: Routes, sockets: list[Route] | None) -> list[Finding]:
    """Hold a map against routes.

    Args:
        known: the map.
        routes: what the application serves.
        sockets: its websockets; None where nobody knows of them.

    Returns:
        Routes without a row of their own, rows without a route, and rows that another row takes everything from.
    """
    spoken = [(route, _template(route.path)) for route in [*routes.http, *(sockets or [])]]
    silent = sockets is not None and not sockets  # of aiohttp, too: it takes handshakes by routes for GET
    findings = [finding for route, template in spoken for finding in _check_route(known, route, template, silent)]
    for row in known.all:
        method, _, path = row.id.partition(" ")
        if method == HANDSHAKE and sockets is None:
            continue
        if not _reaches(known, method, path, row):
            findings.append(Finding("shadowed", row.id, "other rows take all that it matches; remove it"))
        elif not row.answer and not _has_route(_served_by(method, silent), path, spoken) and not _is_open(path, routes):
            findings.append(Finding("no route", row.id, "the application does not serve it; remove the row"))
    return findings


def _check_route(known: Operations, route: Route, template: Template, silent: bool) -> Iterable[Finding]:
    name = f"{route.method} {route.path}"
    methods = (route.method,) if route.method != ANY else ("GET", "POST", "PUT", "PATCH", "DELETE")
    if silent and route.method == "GET" and known.match("GET", sample(template)) is None:
        methods = (HANDSHAKE,)
    rows = [row for row in (known.match(method, sample(template)) for method in methods) if row is not None]
    if not rows:
        yield Finding("no row", name, "it is refused; add a row, or remove the route")
    for row in {row.id: row for row in rows}.values():
        if not agree(row.id.partition(" ")[2], template):
            yield Finding(
                "no row", name, f"{row.id!r} would take it, which speaks of other paths; add a row of its own"
            )


def _reaches(known: Operations, method: str, path: str, row: Operation) -> bool:
    """Tell whether anything is left for a row."""
    segments = ["~" if part == "*" or part.startswith("{") else part for part in path.split("/")]
    probes = _PROBES if segments[-1] == "**" else (segments[-1],)
    return any(known.match(method, "/".join([*segments[:-1], probe])) is row for probe in probes)


def _served_by(method: str, silent: bool) -> frozenset[str]:
    """Return the methods of the routes that may serve a row."""
    if method == HANDSHAKE and not silent:
        return frozenset({HANDSHAKE})
    return frozenset({method, ANY, "GET"} if method in ("HEAD", HANDSHAKE) else {method, ANY})


def _has_route(methods: frozenset[str], path: str, spoken: Iterable[tuple[Route, Template]]) -> bool:
    return any(route.method in methods and agree(path, template) for route, template in spoken)


def _is_open(path: str, routes: Routes) -> bool:
    """Tell whether a row may be for something that could not be listed."""
    return any(path.startswith(entry.below) for entry in routes.unmapped)


def _template(path: str) -> Template:
    """Read a path of the map as that of a route."""
    signs = {"**": "{rest:path}", "*": "one{of}"}
    return read_braces("/".join(signs.get(part, part) for part in path.split("/")))
