"""`tradeguard coexist`: who signs already and who still comes by the host's own authentication, from the journal."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from tradeguard.cli.desk import load
from tradeguard.cli.journal import Record, show_instant
from tradeguard.cli.options import FILE, with_config, with_json
from tradeguard.cli.screen import Screen, Table, plain
from tradeguard.core.event import Event
from tradeguard.core.policy import Operation, Operations

_DAY: Final = 86_400_000_000_000
_HOST: Final = "host"
_KINDS: Final = tuple(f'"kind":"{kind}"'.encode() for kind in ("outcome", "vouched", "refused"))


@dataclass(slots=True)
class _Count:
    """What one account, by one key, did with one operation: how often, and when last (ns UTC)."""

    signed: int = 0
    signed_last: int = 0
    refused: int = 0
    host: int = 0
    host_last: int = 0
    unvouched: int = 0

    def add(self, event: Event) -> None:
        """Count one event."""
        host = event.dialect == _HOST
        if event.kind == "vouched":
            self.host, self.host_last = self.host + 1, max(self.host_last, event.at)
        elif event.kind == "outcome" and not host:
            self.signed, self.signed_last = self.signed + 1, max(self.signed_last, event.at)
        elif event.kind == "outcome" and not event.proven:
            self.unvouched, self.host_last = self.unvouched + 1, max(self.host_last, event.at)
        elif event.kind == "refused" and event.proven:
            self.refused += 1


_Counts = dict[tuple[str, str, str], _Count]  # by operation, account, key


@click.command("coexist")
@click.option("--journal", type=FILE, help="The journal's file. [default: as configured]")
@with_config
@with_json
def coexist(screen: Screen, config: str | None, journal: str | None) -> None:
    """Show who still comes by the host's own authentication.

    For every operation whose row has `coexist`: its last day, and per account and key how many requests were signed,
    how many the host vouched for, how many were handled although nobody vouched, and how many were refused after they
    had been signed or vouched for. Counted is what the journal's file and its rotated ones beside it hold.
    """
    loaded = load(config)
    rows = {row.id: row for row in Operations(loaded.settings.operations).all if row.coexist is not None}
    record = Record(Path(journal) if journal is not None else loaded.journal)
    counts = _count(record, rows)
    record.tell_skipped(screen)
    now = time.time_ns()
    operations = [_describe(row, counts, now) for row in rows.values()]
    screen.show({"operations": operations, "files": record.files, "skipped": record.skipped}, _tell(operations))


def _count(record: Record, rows: Mapping[str, Operation]) -> _Counts:
    """Count what was done with operations that coexist. What grows is one entry per key, not per request."""
    counts: _Counts = {}
    named = [json.dumps(row).encode() for row in rows]
    for event in record.events(lambda line: _is_wanted(line, named)):
        if event.operation in rows and (event.dialect == _HOST or event.key_id):
            who = event.operation, event.account, "" if event.dialect == _HOST else event.key_id
            counts.setdefault(who, _Count()).add(event)
    return {who: count for who, count in counts.items() if count != _Count()}


def _is_wanted(line: bytes, named: Iterable[bytes]) -> bool:
    return any(kind in line for kind in _KINDS) and any(name in line for name in named)


def _describe(row: Operation, counts: _Counts, now: int) -> dict[str, Any]:
    """Show an operation, and by account and key who uses it, the host's first."""
    assert row.coexist is not None
    users: list[dict[str, Any]] = [
        {
            "account": account,
            "key_id": key_id,
            "signed": count.signed,
            "host": count.host,
            "unvouched": count.unvouched,
            "refused": count.refused,
            "last": max(count.signed_last, count.host_last),
        }
        for (operation, account, key_id), count in counts.items()
        if operation == row.id
    ]
    return {
        "operation": row.id,
        "last_day": datetime.fromtimestamp((row.coexist - _DAY) // 1_000_000_000, UTC).date().isoformat(),
        "days_left": max(0, -((now - row.coexist) // _DAY)),
        "users": sorted(
            users, key=lambda user: (not user["host"] + user["unvouched"], user["account"], user["key_id"])
        ),
    }


def _tell(operations: list[dict[str, Any]]) -> Iterable[str]:
    if not operations:
        return ["No operation coexists: every one that is not public takes a signature."]
    return [line for operation in operations for line in _tell_operation(operation)]


def _tell_operation(operation: Mapping[str, Any]) -> Iterable[str]:
    users: list[dict[str, Any]] = operation["users"]
    left = f"until {operation['last_day']}, {operation['days_left']} days left"
    yield f"{operation['operation']}  {left if operation['days_left'] else 'ended: it takes a signature'}"
    if not users:
        yield "  nobody has used it, as far as the journal goes back"
        return
    table = Table("ACCOUNT", "KEY", "SIGNED", "HOST", "UNVOUCHED", "REFUSED", "LAST")
    lines = table.lines(
        (
            plain(user["account"]) or "-",
            plain(user["key_id"]) or "-",
            *(str(user[name]) for name in ("signed", "host", "unvouched", "refused")),
            show_instant(user["last"]) if user["last"] else "-",
        )
        for user in users
    )
    yield from (f"  {line}" for line in lines)
