"""`tradeguard why`: what became of a request, from the journal's files."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

import tradeguard
from tradeguard.cli.desk import load
from tradeguard.cli.options import with_config, with_json
from tradeguard.cli.screen import Screen, Stop, Unusable, lay_out, plain
from tradeguard.core.decision import CATALOGUE
from tradeguard.core.errors import ConfigError
from tradeguard.core.event import Event
from tradeguard.keys.text import show_time

_HEAD: Final = b'{"kind":"'
_LONGEST: Final = 65_536  # bytes of a line; one of ours has less than 4,000
_MS: Final = 1_000_000
_LATEST: Final = 2**63  # ns UTC
_TEXTS: Final = (
    "method", "path", "operation", "lane", "key_id", "account", "dialect", "source", "client_id", "trace", "digest",
    "detail", "policy",
)  # fmt: skip


@dataclass(slots=True)
class _Search:
    """What was found, and what was no line of ours."""

    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    files: list[str] = field(default_factory=list[str])
    skipped: int = 0


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
    found = _search(Path(journal) if journal is not None else load(config).journal, request_id)
    if found.skipped:
        screen.note(f"Note: {found.skipped} lines were skipped: torn, or not of this journal.")
    if not found.events:
        raise Stop(f"no event of request {plain(request_id)} in {', '.join(found.files)}")
    _fill_catalogue()
    events = [event | _meaning(event) for event in found.events]
    text = [line for event in events for line in _tell(event)]
    screen.show({"request_id": request_id, "events": events, "files": found.files, "skipped": found.skipped}, text)


def _search(journal: Path, request_id: str) -> _Search:
    found = _Search()
    for path in _files(journal):
        found.files.append(str(path))
        try:
            for line in _lines(path):
                _take(line, request_id, found)
        except (OSError, EOFError) as error:
            raise Unusable(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    found.events.sort(key=lambda event: event["at"])
    return found


def _files(journal: Path) -> list[Path]:
    """Return the journal's file and the rotated ones, the oldest first."""
    if not journal.parent.is_dir():
        raise Unusable(f"{journal.parent} is no directory; name the journal with --journal")
    files = [path for path in journal.parent.iterdir() if path.name.startswith(journal.name) and path.is_file()]
    if not files:
        raise Unusable(f"there is no journal {journal}; name it with --journal")
    return sorted(files, key=lambda path: path.stat().st_mtime_ns)


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while line := file.readline(_LONGEST):
            yield line


def _take(line: bytes, request_id: str, found: _Search) -> None:
    """Keep an event of the request. Only lines that name it are parsed: journals are long."""
    if not line.startswith(_HEAD) or not line.endswith(b"}\n"):
        found.skipped += line != b"\n"
        return
    if json.dumps(request_id).encode() not in line:
        return
    try:
        event = Event(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        found.skipped += 1
        return
    if type(event.at) is not int or not 0 <= event.at < _LATEST:
        found.skipped += 1
    elif event.request_id == request_id:
        found.events.append(event._asdict())


def _fill_catalogue() -> None:
    """Import whatever registers refusals; what needs a package that is missing registers none that could have been."""
    for home in sorted({*tradeguard._HOMES.values(), "adapters.answer"}):  # pyright: ignore[reportPrivateUsage]
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
    head = [_time(event["at"]), event["kind"], str(event["status"] or ""), event["code"]]
    yield plain("  ".join(part for part in head if part))
    shown = {name: plain(str(event[name])) for name in _TEXTS} | {
        name: plain(str(event.get(name, ""))) for name in ("meaning", "cure")
    }
    if event.get("told") not in (None, event["code"]):
        shown["told"] = f"the client saw only {event['told']!r}"
    yield from (f"  {line}" for line in lay_out({name.replace("_", " "): value for name, value in shown.items()}))


def _time(at: int) -> str:
    return f"{show_time(at)[:-1]}.{at // _MS % 1000:03d}Z"
