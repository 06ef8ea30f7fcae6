"""`tradeguard operations | dialects | config`: what the configuration says, and what there is to say."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import click

from tradeguard.cli.desk import load, own_environment
from tradeguard.cli.options import with_config, with_json
from tradeguard.cli.screen import Screen, Stop, Table
from tradeguard.config import check, explain, json_schema
from tradeguard.core.decision import Refused
from tradeguard.core.frame import canonical_path
from tradeguard.core.policy import Operation, Operations
from tradeguard.signing.bearer import BEARER, BEARER_SHA256
from tradeguard.signing.row import REQUIRED_COVERAGE, Header, Parameter, Row
from tradeguard.signing.rows import ROWS

_SECOND: Final = 1_000_000_000


@click.command("show")
@click.argument("method", required=False)
@click.argument("path", required=False)
@with_config
@with_json
def operations_show(screen: Screen, config: str | None, method: str | None, path: str | None) -> None:
    """Show what each request takes, or which row matches one.

    METHOD and PATH are those of a request, such as GET /v1/orders/17.
    """
    if (method is None) != (path is None):
        raise click.UsageError("give METHOD and PATH, or neither")
    known = Operations(load(config).settings.operations)
    rows = known.all if method is None or path is None else [_match(known, method, path)]
    screen.show([_describe(row) for row in rows] if method is None else _describe(rows[0]), _table(rows))


@click.command("dialects")
@with_json
def dialects(screen: Screen) -> None:
    """Show the ways in which requests can be signed.

    The last one, bearer, signs nothing: the secret is sent along, until the day that bearer.until names.
    """
    known = [*map(_describe_row, ROWS.values()), _describe_bearer()]
    screen.show(known, [line for dialect in known for line in _tell(dialect)])


@click.command("show")
@with_config
@with_json
def config_show(screen: Screen, config: str | None) -> None:
    """Show every value and where it comes from.

    Secrets are no part of the configuration: it says where the master key is, and that is all that is shown of it.
    """
    loaded = load(config)
    rows = explain(loaded)
    table = Table("KEY", "VALUE", "FROM")
    values = [{"key": row.key, "value": _value(row.value), "from": row.origin} for row in rows]
    screen.show({"path": str(loaded.path), "values": values}, [f"# {loaded.path}", *table.lines(rows)])


@click.command("check")
@with_config
@with_json
def config_check(screen: Screen, config: str | None) -> None:
    """Find what is wrong or doubtful.

    Exit code 0: nothing; 1: what is listed; 2: the file cannot be used at all.
    """
    loaded = load(config)
    findings = check(loaded, own_environment())
    nothing = [f"{loaded.path}: nothing found"]
    screen.show({"path": str(loaded.path), "findings": findings}, findings or nothing)
    if findings:
        raise click.exceptions.Exit(1)


@click.command("schema")
@with_json
def config_schema(screen: Screen) -> None:
    """Print the JSON Schema of the file, for editors."""
    schema = json_schema()
    screen.show(schema, json.dumps(schema, indent=2))


def _match(known: Operations, method: str, path: str) -> Operation:
    raw = path.partition("?")[0]
    try:
        decoded = canonical_path(raw.encode())
    except Refused as refused:
        raise Stop(f"{raw} is refused with 400 {refused.denial.code}: {refused.denial.detail}") from None
    found = known.match(method.upper(), decoded)
    if found is None:
        raise Stop(
            f"no row matches {method.upper()} {decoded}: it is refused (404, after the signature has proved who asks)"
        )
    return found


def _describe(operation: Operation) -> dict[str, Any]:
    known = {**operation._asdict(), "scopes": sorted(operation.scopes), "costs": dict(operation.costs)}
    return {"operation": known.pop("id"), **known}


def _table(rows: Iterable[Operation]) -> Iterable[str]:
    table = Table("METHOD", "PATH", "LANE", "SCOPES", "COSTS")
    return table.lines(
        (*row.id.split(" ", 1), row.lane, " ".join(sorted(row.scopes)) or "-", _costs(row)) for row in rows
    )


def _costs(row: Operation) -> str:
    return " ".join(f"{name}={cost}" for name, cost in row.costs.items()) or "-"


def _describe_row(row: Row) -> dict[str, Any]:
    places = {name: getattr(row, name) for name in ("key", "time", "nonce", "signature", "width")}
    return {
        "dialect": row.name,
        "algorithms": sorted(row.algorithms),
        "covers": sorted(row.coverage),
        "uncovered": sorted(REQUIRED_COVERAGE - row.coverage),
        "fields": {name: _place(place) for name, place in places.items() if place is not None},
        "encoding": row.encoding,
        "past_seconds": row.window.past / _SECOND,
        "future_seconds": row.window.future / _SECOND,
    }


def _describe_bearer() -> dict[str, Any]:
    return {
        "dialect": BEARER,
        "algorithms": [BEARER_SHA256],
        "covers": [],
        "uncovered": sorted(REQUIRED_COVERAGE),
        "fields": {"secret": "header authorization; bearer.header and bearer.key name others"},
        "encoding": None,
        "past_seconds": None,
        "future_seconds": None,
    }


def _tell(known: Mapping[str, Any]) -> list[str]:
    window = "none: it ends on the day that bearer.until names, and what is sent again until then is done again"
    if known["past_seconds"] is not None:
        window = f"{known['past_seconds']:g} s back, {known['future_seconds']:g} s ahead"
    lines = [
        known["dialect"],
        f"  algorithms  {' '.join(known['algorithms'])}",
        f"  covers      {', '.join(known['covers']) or 'nothing'}",
        *(f"  {name:<10}  {place}" for name, place in known["fields"].items()),
        f"  window      {window}",
    ]
    if known["uncovered"]:
        lines.insert(3, f"  leaves out  {', '.join(known['uncovered'])}: name it in signature.accept to use it")
    return lines


def _place(place: Header | Parameter) -> str:
    return f"{'header' if isinstance(place, Header) else 'parameter'} {place.name.decode()}"


def _value(text: str) -> Any:
    """Return a value as programs read it; places of files are no JSON."""
    with suppress(ValueError):
        return json.loads(text)
    return text
