"""`tradeguard why`: what became of a request, from the journal's files."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

import tradeguard
from tradeguard.cli.desk import load
from tradeguard.cli.journal import Record, show_instant
from tradeguard.cli.options import with_config, with_json
from tradeguard.cli.screen import Screen, Stop, lay_out, plain
from tradeguard.core.decision import CATALOGUE
from tradeguard.core.errors import ConfigError

_TEXTS: Final = (
    "method", "path", "operation", "lane", "key_id", "account", "dialect", "source", "client_id", "trace", "digest",
    "detail", "policy",
)  # fmt: skip


@click.command("why")
@click.argument("request_id", metavar="REQUEST-ID")
@click.option("--journal", type=click.Path(dir_okay=False), help="The journal's file. [default: as configured]")
@with_config
@with_json
def why(screen: Screen, config: str | None, journal: str | None, request_id: str) -> None:
    """Explain what became of a request, from the journal.

    REQUEST-ID is what its answer had in X-Request-Id. The journal's file and its rotated ones beside it (of the same
    name and more, also .gz) are read.
    """
    if not request_id:
        raise click.UsageError("REQUEST-ID is empty")
    record = Record(Path(journal) if journal is not None else load(config).journal)
    events = _search(record, request_id)
    record.tell_skipped(screen)
    if not events:
        raise Stop(
            f"no event of request {plain(request_id)} in {', '.join(record.files)}; look at X-Request-Id of the "
            "answer, and name another server's journal with --journal"
        )
    _fill_catalogue()
    events = [event | _meaning(event) for event in events]
    text = [line for event in events for line in _tell(event)]
    screen.show({"request_id": request_id, "events": events, "files": record.files, "skipped": record.skipped}, text)


def _search(record: Record, request_id: str) -> list[dict[str, Any]]:
    named = json.dumps(request_id).encode()
    found = [event for event in record.events(lambda line: named in line) if event.request_id == request_id]
    return [event._asdict() for event in sorted(found, key=lambda event: event.at)]


def _fill_catalogue() -> None:
    """Import whatever registers refusals; what needs a package that is missing registers none that could have been."""
    for home in sorted({*tradeguard._HOMES.values(), "adapters.answer", "adapters.template"}):  # pyright: ignore[reportPrivateUsage]
        try:
            import_module(f"tradeguard.{home}")
        except ConfigError:
            continue


def _meaning(event: dict[str, Any]) -> dict[str, Any]:
    entry = CATALOGUE.get(event["code"])
    if entry is None:
        return {}
    return {"told": entry.public, "executed": entry.executed, "meaning": entry.text, "cure": entry.hint}


def _tell(event: dict[str, Any]) -> Iterator[str]:
    head = [show_instant(event["at"]), event["kind"], str(event["status"] or ""), event["code"]]
    yield plain("  ".join(part for part in head if part))
    shown = {name: plain(str(event[name])) for name in _TEXTS} | {
        name: plain(str(event.get(name, ""))) for name in ("meaning", "cure")
    }
    if event.get("told") not in (None, event["code"]):
        shown["told"] = f"the client saw only {event['told']!r}"
    yield from (f"  {line}" for line in lay_out({name.replace("_", " "): value for name, value in shown.items()}))
