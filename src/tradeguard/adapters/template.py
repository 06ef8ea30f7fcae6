"""The route that a framework chose, held against the row of the map that the request was judged by.

    text in a row      the route has the same text there
    {name}             the route has a parameter of one whole segment there
    *                  one segment, whatever the route has there
    ** at the end      whatever the route has from there on

What a route leaves open itself (a parameter that takes slashes, a mounted application) a row may spell out, but not
where it has a route of its own that did not take the request: the text was no number, or another method was asked for.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from tradeguard.core.decision import Denial, Grant, register
from tradeguard.core.policy import Operation

MISMATCH = register(
    "template.mismatch",
    status=503,
    text="The service cannot decide about this request now.",
    hint="The framework routes the request elsewhere than the map says; the detail names route and row. Make them one.",
)
SCOPES = register(
    "template.scopes",
    status=403,
    text="The operation is not described consistently, so it is refused.",
    hint="A route declares scopes that its row of the map does not ask for; the detail names them. Make them one.",
)
_PARAMETER: Final = "\0one"  # a parameter of one whole segment
_MIXED: Final = "\0mixed"  # a segment of text and parameters
_REST: Final = "\0rest"  # from here on the route takes anything
_SOMETHING: Final = "~"  # in place of a parameter
_BRACES: Final = re.compile(r"\{[^{}:]+(?::([^{}]+))?\}")
_ANGLES: Final = re.compile(r"<(?:([^<>:]+):)?[^<>]+>")
_log = logging.getLogger("tradeguard")

Template = tuple[str, ...]
"""What a route takes, segment by segment."""


def read_braces(path: str) -> Template:
    """Read a path as Starlette, FastAPI, Litestar and aiohttp write it: `/v1/orders/{id}`, `/files/{path:path}`."""
    return _read(path, _BRACES)


def read_angles(rule: str) -> Template:
    """Read a path as Flask, Quart and Django write it: `/v1/orders/<int:id>`, `/files/<path:name>`."""
    return _read(rule, _ANGLES)


def read_rules(rules: Iterable[Any], method: str) -> Iterator[Template]:
    """Read the rules of Werkzeug, which Flask and Quart route by, that take a method."""
    for rule in rules:
        if rule.methods is None or method in rule.methods:
            yield read_angles(rule.rule)


@lru_cache(1024)
def read_quoted(path: str) -> Template:
    """Read a path as aiohttp keeps it: in braces, its text percent-encoded."""
    return tuple(segment if segment.startswith("\0") else unquote(segment) for segment in read_braces(path))


def below(prefix: Template, rest: Template | None = None) -> Template:
    """Join a mount point and what is routed below it; without the latter, that is left open."""
    return prefix + ((_REST,) if rest is None else rest)


@lru_cache(4096)
def agree(path: str, template: Template) -> bool:
    """Tell whether the path of a row and the template of a route speak of the same requests."""
    segments = path.split("/")[1:]
    for place, asked in enumerate(segments):
        routed = template[place] if place < len(template) else None
        if routed is None or asked == "**" or routed == _REST:
            return routed is not None
        if asked != "*" and (routed != _PARAMETER if asked.startswith("{") else routed != asked):
            return False
    return len(segments) == len(template)


def compare(grant: Grant, template: Template | None, others: Iterable[Template] = ()) -> Denial | None:
    """Refuse what was judged by one row and is routed by another template.

    Args:
        grant: what the guard said.
        template: that of the route which the framework chose; None where it found none.
        others: those of all routes, where the framework tells them; looked at only if the chosen one leaves something
            open.
    """
    operation = grant.operation
    assert operation is not None  # only requests with a row are granted
    path = operation.id.partition(" ")[2]
    if template is None and path.endswith("**"):
        return None
    if template is not None and agree(path, template) and not _has_own(path, template, others):
        return None
    _tell(operation.id, template)
    return Denial(MISMATCH, detail=f"routed to {show(template)}, by the map {operation.id}")


def _has_own(path: str, chosen: Template, others: Iterable[Template]) -> bool:
    """Tell whether a row that says every segment has a route of its own, and the framework chose one that is open."""
    if chosen[-1] != _REST or "*" in path:
        return False
    return any(other[-1] != _REST and agree(path, other) for other in others)


def check_declared(operation: Operation, declared: frozenset[str]) -> Denial | None:
    """Refuse where a route declares scopes that its row does not ask for: what it says cannot be what holds."""
    if declared <= operation.scopes:
        return None
    _log.error("operation %r does not ask for %s, which its route declares", operation.id, sorted(declared))
    return Denial(SCOPES, detail=f"declared {sorted(declared)}, by the map {sorted(operation.scopes)}")


def sample(template: Template) -> str:
    """Return a path that a route takes, to find its row by."""
    return "/" + "/".join(_SOMETHING if segment.startswith("\0") else segment for segment in template)


def show(template: Template | None) -> str:
    """Write a template for people."""
    signs = {_PARAMETER: "{}", _MIXED: "*", _REST: "**"}
    return "none" if template is None else "/" + "/".join(signs.get(segment, segment) for segment in template)


@lru_cache(1024)
def _read(path: str, pattern: re.Pattern[str]) -> Template:
    template: list[str] = []
    for segment in path.removeprefix("/").split("/"):
        kinds = [match[1] for match in pattern.finditer(segment)]
        if "path" in kinds:
            return (*template, _REST)
        whole = pattern.fullmatch(segment) is not None
        template.append(_PARAMETER if whole else _MIXED if kinds or segment.strip("<>{}") != segment else segment)
    return tuple(template)


@lru_cache(1024)  # once for each pair: whoever asks, the log does not grow
def _tell(row: str, template: Template | None) -> None:
    _log.error("operation %r is routed to %s, so it is refused: map and router must agree", row, show(template))
