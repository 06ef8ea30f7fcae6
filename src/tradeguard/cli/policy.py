"""`tradeguard operations | config`: what the configuration says, and what there is to say."""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import click

from tradeguard.cli.desk import load, own_environment
from tradeguard.cli.options import with_config, with_json
from tradeguard.cli.screen import Screen, Stop, Table
from tradeguard.config import check, explain, json_schema
from tradeguard.core.decision import Refused
from tradeguard.core.frame import canonical_path
from tradeguard.core.policy import Operation, Operations


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


def _value(text: str) -> Any:
    """Return a value as programs read it; places of files are no JSON."""
    with suppress(ValueError):
        return json.loads(text)
    return text
