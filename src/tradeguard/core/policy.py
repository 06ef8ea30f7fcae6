"""Policy: every limit with its unit. Operations: what each request is, and what it takes.

The rules of the map:

1.  A row is `"METHOD /path" = "scope"`, a list of scopes (all are needed), or a table {scopes, lane, costs, assurance,
    answer, coexist}.
2.  `{name}` and `*` stand for one whole segment, `**` at the end for everything after its slash.
3.  Segment by segment a literal beats `{name}` beats `*` beats `**`. Two rows that match one path without either
    beating the other are an error if they ask for different things.
4.  HEAD has the rows of GET too, but those that it has itself. Where a HEAD row meets a GET row that is as strong or
    stronger, both ask for the same: routers do not agree which of the two routes answers.
5.  `**` stands for an empty rest too, but not below a broader `**` that asks for something else: routers do not agree
    which of the two routes that is, so it is refused if it has no row of its own (`GET /files/`).
6.  The lane is `read` for GET and HEAD, else `order`. `cancel`, `funds`, `admin` and `public` are declared, and never
    on `**`.
7.  What no row matches is refused.
8.  `WS /path` is the handshake of a WebSocket, and nothing else is: no row for GET takes one. Its lane is that of all
    messages which come in over it.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import combinations, product
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, cast, get_args

from tradeguard.core.cors import Cors
from tradeguard.core.errors import ConfigError
from tradeguard.core.pattern import beats, leaves_rest, rank, shape, tied
from tradeguard.core.principal import SCOPES, Scope, check_scopes, covers, parse_names, read_names
from tradeguard.core.proxy import Proxies

Lane = Literal["public", "read", "order", "cancel", "funds", "admin"]
LANES: Final = frozenset(get_args(Lane))
ANSWERS: Final = ("time", "whoami")
"""What the guard answers itself, where a row says so."""
HANDSHAKE: Final = "WS"
"""Stands in a row for the method of a WebSocket's handshake."""
_KEYS: Final = frozenset({"scopes", "lane", "costs", "assurance", "answer", "coexist"})
_DAY: Final = 86_400_000_000_000
_DECLARED: Final = LANES - {"read", "order"}
_LIMITS: Final = ("target_bytes", "head_bytes", "head_fields", "body_bytes", "body_seconds", "unproven_bytes")
# preload asks for a year at least, and for all subdomains (hstspreload.org)
_HSTS = re.compile(r"(max-age=[0-9]{1,9}(; includeSubDomains(; preload)?)?)?", re.ASCII)
_ROW = re.compile(r"([A-Z]+) (/\S*)", re.ASCII)
_PARAM = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}", re.ASCII)
_LITERAL = re.compile(r"[^%;\\{}*?#\x00-\x20\x7f-\xa0]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What the operator allows in general. Every limit says its unit.

    Args:
        scopes: names beyond the shared vocabulary, such as "orders:write:algo".
        roles: named sets of scopes that a key may hold. `funds:withdraw` and `keys:admin` are given by name, never by a
            role: whoever widens a role must not hand out either.
        tiers: names of tiers that a key may be in; what each may do per minute comes with the quotas.
        target_bytes: longest request target (414).
        head_bytes: largest sum of header names and values (431).
        head_fields: most header fields (431).
        body_bytes: largest request body (413).
        body_seconds: longest time for a body to arrive, from its head to its last byte (408).
        body_bytes_per_second: slowest that a body may arrive, after 2 seconds of grace (408); 0 for no such limit.
        unproven_bytes: most body bytes of unproven requests held by the process at once (503).
        refusals: the dialect in which those are refused who speak none; empty for problem+json (RFC 9457).
        hsts: what Strict-Transport-Security says over TLS (RFC 6797), such as "max-age=63072000; includeSubDomains";
            empty for no such field.
        proxies: the trusted proxies in front; None: nobody stands in between, and forwarding headers are not read.
        cors: the pages that may call from a browser; None: none, and preflights are requests like any other.
    """

    scopes: Iterable[Scope] = ()
    roles: Mapping[str, Iterable[Scope]] = field(default_factory=dict[str, Iterable[Scope]])
    tiers: Iterable[str] = ()
    target_bytes: int = 8_192
    head_bytes: int = 32_768
    head_fields: int = 100
    body_bytes: int = 1_048_576
    body_seconds: float = 10.0
    body_bytes_per_second: int = 500
    unproven_bytes: int = 67_108_864
    hsts: str = "max-age=63072000"
    refusals: str = ""
    proxies: Proxies | None = None
    cors: Cors | None = None

    def __post_init__(self) -> None:
        for name in ("scopes", "tiers"):
            object.__setattr__(self, name, parse_names(f"policy: {name}", getattr(self, name)))
        roles = {name: _parse_role(name, scopes, self.vocabulary) for name, scopes in self.roles.items()}
        object.__setattr__(self, "roles", MappingProxyType(roles))
        for name in _LIMITS:
            value: object = getattr(self, name)
            kinds = (int, float) if name == "body_seconds" else (int,)
            if type(value) not in kinds or not 0 < cast("float", value) < math.inf:
                raise ConfigError(f"policy: {name} must be above 0, not {value!r}")
        if type(self.body_bytes_per_second) is not int or self.body_bytes_per_second < 0:
            raise ConfigError(f"policy: body_bytes_per_second is 0 or more, not {self.body_bytes_per_second!r}")
        if self.unproven_bytes < self.body_bytes:
            raise ConfigError("policy: unproven_bytes must hold at least one body of body_bytes")
        if not _HSTS.fullmatch(self.hsts):
            raise ConfigError(
                f"policy: hsts is like 'max-age=63072000; includeSubDomains', perhaps with '; preload', or empty, "
                f"not {self.hsts!r}"
            )

    @property
    def vocabulary(self) -> frozenset[Scope]:
        """All scopes that an operation may ask for."""
        return SCOPES | frozenset(self.scopes)

    def scopes_of(self, roles: Iterable[str]) -> frozenset[Scope]:
        """Return the scopes that roles give; one that the policy does not have gives none."""
        return frozenset[Scope]().union(*(self.roles.get(role, ()) for role in roles))


_NEVER_BY_ROLE: Final = ("funds:withdraw", "keys:admin")


def _parse_role(name: str, scopes: Iterable[Scope], vocabulary: frozenset[Scope]) -> frozenset[Scope]:
    given = check_scopes(scopes, vocabulary, f"role {name!r}")
    for scope in _NEVER_BY_ROLE:
        if covers(given, scope):
            raise ConfigError(f"role {name!r}: {scope} is given to keys by name, never by a role")
    return given


class Operation(NamedTuple):
    """What a request is: the row of the map that it matched.

    `costs` are units per quota. `answer` names what the guard answers itself ("time", "whoami"). Until `coexist` (ns
    UTC) whoever sends no credential of ours is left to the host's own authentication.
    """

    id: str
    scopes: frozenset[Scope]
    lane: Lane
    costs: Mapping[str, int] = MappingProxyType({})
    assurance: int = 1
    answer: str = ""
    coexist: int | None = None

    def asks_like(self, other: "Operation") -> bool:
        """Tell whether both ask for the same; their rows may then overlap."""
        return self[1:] == other[1:]


_Pattern = tuple[list[str], Operation]
_NOWHERE: Final = Operation("", frozenset(), "admin")
"""Stands in the tree where the map has no answer, so that no broader row gives one."""


@dataclass(slots=True)
class _Node:
    """One segment deep in the map; `rest` is the operation of a `**` here."""

    literal: "dict[str, _Node]" = field(default_factory=dict[str, "_Node"])
    param: "_Node | None" = None
    star: "_Node | None" = None
    rest: Operation | None = None
    here: Operation | None = None

    def grow(self, segment: str) -> "_Node":
        if segment == "*":
            self.star = self.star or _Node()
            return self.star
        if segment.startswith("{"):
            self.param = self.param or _Node()
            return self.param
        return self.literal.setdefault(segment, _Node())

    def find(self, segments: list[str], depth: int) -> Operation | None:
        """Walk down, the stronger kind of segment first; the first row that takes the whole path wins."""
        if depth == len(segments):
            return self.here
        segment = segments[depth]
        wild = (self.param, self.star) if segment else ()
        for child in (self.literal.get(segment), *wild):
            found: Operation | None = child.find(segments, depth + 1) if child is not None else None
            if found is not None:
                return found
        return self.rest


class Operations:
    """The map from (method, path) to what it takes; whatever it does not know is refused.

    Args:
        rows: `"POST /v1/orders"` to a scope, a list of scopes or a table {scopes, lane, costs, assurance}.

    Raises:
        ConfigError: naming the row and the cure.
    """

    def __init__(self, rows: Mapping[str, str | Iterable[str] | Mapping[str, Any]]) -> None:
        self._exact: dict[str, dict[str, Operation]] = {}
        self._roots: dict[str, _Node] = {}
        groups: dict[str, list[_Pattern]] = {}
        for row, asks in rows.items():
            method, segments = _parse_row(row)
            operation = _parse_asks(row, method, asks, rest=segments[-1] == "**")
            groups.setdefault(method, []).append((segments, operation))
        self.all: tuple[Operation, ...] = tuple(operation for group in groups.values() for _, operation in group)
        own, reads = groups.get("HEAD", []), groups.get("GET", [])
        _refuse_doubtful_heads(own, reads)
        shapes = [shape(segments) for segments, _ in own]
        groups["HEAD"] = [*own, *(pattern for pattern in reads if shape(pattern[0]) not in shapes)]
        for method, group in groups.items():
            _refuse_ties(group)
            for segments, operation in group:
                self._add(method, segments, operation)
            for segments in _find_doubtful_rests(group):
                self._add(method, [*segments[:-1], ""], _NOWHERE)

    def match(self, method: str, path: str) -> Operation | None:
        """Return the operation of a request, or None. `path` is decoded and canonical."""
        exact = self._exact.get(method)
        found = exact.get(path) if exact is not None else None
        root = self._roots.get(method)
        if found is None and root is not None and path.startswith("/"):
            found = root.find(path.split("/")[1:], 0)
        return None if found is _NOWHERE else found

    def check_scopes(self, vocabulary: frozenset[Scope]) -> None:
        """Raise `ConfigError` for the first operation that asks for a scope nobody declared."""
        for operation in self.all:
            check_scopes(operation.scopes, vocabulary, f"operation {operation.id!r}")

    def _add(self, method: str, segments: list[str], operation: Operation) -> None:
        if all(rank(segment) == 3 for segment in segments):
            self._exact.setdefault(method, {}).setdefault("/" + "/".join(segments), operation)
            return
        node = self._roots.setdefault(method, _Node())
        for segment in segments[:-1] if segments[-1] == "**" else segments:
            node = node.grow(segment)
        if segments[-1] == "**":
            node.rest = node.rest or operation
        else:
            node.here = node.here or operation


def _parse_row(row: object) -> tuple[str, list[str]]:
    match = _ROW.fullmatch(row) if isinstance(row, str) else None
    if match is None:
        raise ConfigError(f"operation {row!r}: write it as METHOD /path, for example 'POST /v1/orders'")
    method, path = match.groups()
    if method in ("TRACE", "CONNECT"):
        raise ConfigError(f"operation {row!r}: {method} never passes")
    segments = path.split("/")[1:]
    for place, segment in enumerate(segments):
        _check_segment(match[0], segment, last=place == len(segments) - 1)
    names = [segment for segment in segments if segment.startswith("{")]
    if len(names) != len(set(names)):
        raise ConfigError(f"operation {row!r}: a parameter stands twice")
    return method, segments


def _check_segment(row: str, segment: str, *, last: bool) -> None:
    if segment == "**" and not last:
        raise ConfigError(f"operation {row!r}: ** stands for the rest of the path and comes last")
    if segment in ("*", "**") or _PARAM.fullmatch(segment):
        return
    if not _LITERAL.fullmatch(segment) or segment in (".", "..") or not (segment or last):
        raise ConfigError(
            f"operation {row!r}: segment {segment!r} matches nothing; use decoded text, {{name}}, * or a final **"
        )


def _parse_asks(row: str, method: str, asks: str | Iterable[str] | Mapping[str, Any], *, rest: bool) -> Operation:
    table: Mapping[str, Any] = cast("Mapping[str, Any]", asks) if isinstance(asks, Mapping) else {"scopes": asks}
    for unknown in sorted(set(table) - _KEYS):
        raise ConfigError(f"operation {row!r}: unknown key {unknown!r}; use {', '.join(sorted(_KEYS))}")
    names = _parse_scopes(row, table.get("scopes", ()))
    lane: Any = table.get("lane", "read" if method in ("GET", "HEAD") else "order")
    if not isinstance(lane, str) or lane not in LANES:
        raise ConfigError(f"operation {row!r}: unknown lane {lane!r}; use one of {', '.join(sorted(LANES))}")
    if rest and lane in _DECLARED:
        raise ConfigError(f"operation {row!r}: lane {lane} needs exact paths, never **")
    if (lane == "public") == bool(names):
        raise ConfigError(f"operation {row!r}: name the scopes it takes, or declare lane public and none")
    costs, assurance = _parse_costs(row, table.get("costs", {})), table.get("assurance", 1)
    if type(assurance) is not int or assurance < 1:
        raise ConfigError(f"operation {row!r}: assurance is a whole number, 1 or more")
    answer = _parse_answer(row, table.get("answer", ""), lane, rest=rest)
    coexist = _parse_coexist(row, table["coexist"], lane) if "coexist" in table else None
    return Operation(row, names, cast("Lane", lane), costs, assurance, answer, coexist)


def _parse_answer(row: str, value: Any, lane: str, *, rest: bool) -> str:
    if value not in ("", *ANSWERS):
        raise ConfigError(f"operation {row!r}: the guard answers {' or '.join(ANSWERS)} itself, not {value!r}")
    if value and (rest or lane not in ("public", "read") or (value == "whoami" and lane == "public")):
        raise ConfigError(f"operation {row!r}: answer {value} is for an exact path to be read; whoami takes a key")
    return str(value)


def _parse_coexist(row: str, value: Any, lane: str) -> int:
    """Return the end of a day, ns UTC."""
    try:
        day = value if type(value) is date else date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ConfigError(f"operation {row!r}: coexist is the last day of it, such as 2027-03-31") from None
    if lane == "public":
        raise ConfigError(f"operation {row!r}: it is public, so there is nothing to coexist with")
    return (day - date(1970, 1, 1) + timedelta(days=1)).days * _DAY


def _parse_scopes(row: str, value: Any) -> frozenset[Scope]:
    names = read_names([value] if isinstance(value, str) else value)
    if names is None:
        raise ConfigError(f"operation {row!r}: scopes is a name or a list of names, not {value!r}")
    return frozenset(names)


def _parse_costs(row: str, value: Any) -> Mapping[str, int]:
    costs = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {"": None}
    if not all(type(cost) is int and cost >= 0 for cost in costs.values()):
        raise ConfigError(f"operation {row!r}: costs are whole numbers of units, 0 or more, for quotas by name")
    return MappingProxyType(dict(costs))


def _refuse_ties(group: list[_Pattern]) -> None:
    """Rule 3: where two rows match one path and neither is stronger all along, they must ask for the same."""
    wild = [entry for entry in group if any(rank(segment) < 3 for segment in entry[0])]
    for (left, one), (right, two) in combinations(wild, 2):
        if not one.asks_like(two) and tied(left, right):
            raise ConfigError(f"operations {one.id!r} and {two.id!r} match the same paths and ask for different things")


def _refuse_doubtful_heads(own: list[_Pattern], reads: list[_Pattern]) -> None:
    """Rule 4: some routers give HEAD to the route for GET, some to one for HEAD, so both must ask for the same."""
    for (left, head), (right, get) in product(own, reads):
        if not head.asks_like(get) and beats(right, left):
            raise ConfigError(
                f"operations {head.id!r} and {get.id!r} match the same paths and ask for different things, and routers "
                "do not agree which of them answers HEAD; drop the HEAD row, or let it ask for what the GET row asks"
            )


def _find_doubtful_rests(group: list[_Pattern]) -> list[list[str]]:
    """Rule 5: for some routers `**` is never empty, and they go on to a broader row, which asks for something else."""
    return [
        left for left, one in group if any(not one.asks_like(two) and leaves_rest(left, right) for right, two in group)
    ]
