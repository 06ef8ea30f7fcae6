"""`tradeguard keys list | show | export | patterns`: what there is."""

import csv
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import Any, Final, TextIO, get_args

import click

from tradeguard.cli.desk import Desk, open_desk
from tradeguard.cli.options import DURATION, FILE, with_config, with_json
from tradeguard.cli.record import FIELDS, STATES, chain, document, fields, state_now
from tradeguard.cli.screen import Screen, Stop, Table, Unusable, lay_out
from tradeguard.core.drive import drive
from tradeguard.core.key import KeyRecord
from tradeguard.keys.format import Scanner, scanner_rules
from tradeguard.keys.life import ENDED
from tradeguard.keys.text import show_time

_PAGE: Final = 500  # keys held at a time
_TIMES: Final = ("created", "not_before", "expires", "last_used")
Used = tuple[KeyRecord, int | None]


@click.command("list")
@click.option("--owner", help="Those of one owner.")
@click.option("--state", type=click.Choice(STATES), help="Those in one state, as it works now.")
@click.option("--expiring", type=DURATION, help="Those that end within this time: 30d.")
@with_config
@with_json
def keys_list(screen: Screen, config: str | None, owner: str | None, state: str | None, expiring: int | None) -> None:
    """List keys.

    With --json one line for each: all fields, times in ns UTC.
    """
    now = time.time_ns()
    table = Table("ID", "OWNER", "STATE", "EXPIRES", "LAST USED", "LABEL")
    with open_desk(config, screen) as desk:
        for page in _pages(desk):
            found = [
                (record, used)
                for record, used in page
                if owner in (None, record.owner)
                and state in (None, state_now(record, now))
                and (expiring is None or _ends_within(record, now, expiring))
            ]
            for line in _lines(found, now, table, screen):
                click.echo(line)
        for line in _lines([], now, table, screen):  # the head, where there is no key
            click.echo(line)


@click.command("show")
@click.argument("id")
@with_config
@with_json
def keys_show(screen: Screen, config: str | None, id: str) -> None:
    """Show all that is known of a key, but its secret.

    "last used" is told to the minute, and some time after. The chain names the keys it replaced and those that
    replaced it.
    """
    now = time.time_ns()
    with open_desk(config, screen) as desk:
        record = desk.find(id)
        used = drive(desk.keys.uses([id])).get(id)
        ids = chain(desk, record)
    shown = fields(record, now) | {"last used": "never" if used is None else show_time(used)}
    text = lay_out(shown | {"chain": " -> ".join(ids) if len(ids) > 1 else ""})
    screen.show({**document(record, now), "last_used": used, "chain": ids}, text)


@click.command("export")
@click.option("--out", type=FILE, help="A new file (mode 0600). [default: stdout]")
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), help="What to write. [default: by the suffix, else jsonl]"
)
@with_config
@with_json
def keys_export(screen: Screen, config: str | None, out: str | None, form: str | None) -> None:
    """Write out all keys, never their secrets.

    JSON lines hold times in ns UTC, CSV as text.
    """
    form = form or ("csv" if out is not None and out.endswith(".csv") else "jsonl")
    with open_desk(config, screen) as desk:
        if out is None:
            _export(desk, sys.stdout, form)
            return
        amount = _export_to(desk, out, form)
    screen.show({"exported": amount, "file": out}, f"{amount} keys written to {out}")


@click.command("patterns")
@click.argument("scanner", type=click.Choice(get_args(Scanner)))
@with_json
def keys_patterns(screen: Screen, scanner: Scanner) -> None:
    """Print a rule that makes a secret scanner find secrets of tradeguard."""
    rule = scanner_rules(scanner)
    screen.show({"scanner": scanner, "rule": rule}, rule.rstrip())


def _pages(desk: Desk) -> Iterator[list[Used]]:
    """Give every key that verifies and when it was last used, page by page."""
    after = ""
    while page := drive(desk.keys.list(after, _PAGE)):
        uses = drive(desk.keys.uses([record.id for record in page]))
        yield [(record, uses.get(record.id)) for record in page]
        after = page[-1].id


def _lines(page: list[Used], now: int, table: Table, screen: Screen) -> Iterator[str]:
    if screen.as_json:
        for record, used in page:
            yield json.dumps({**document(record, now), "last_used": used})
    else:
        yield from table.lines(
            (record.id, record.owner, state_now(record, now), _day(record.expires), _day(used), record.label)
            for record, used in page
        )


def _ends_within(record: KeyRecord, now: int, time: int) -> bool:
    return record.state not in ENDED and record.expires is not None and now < record.expires <= now + time


def _day(at: int | None) -> str:
    return show_time(at).partition("T")[0]


def _export_to(desk: Desk, out: str, form: str) -> int:
    """Write a new file, the whole of it or none."""
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unusable(f"--out {out}: {error.strerror}; name a new file") from None
    with ExitStack() as undo:
        undo.callback(_remove, out)
        try:
            amount = _write(desk, descriptor, form)
        except OSError as error:
            raise Stop(f"--out {out}: {error.strerror}; nothing was kept") from None
        undo.pop_all()
    return amount


def _write(desk: Desk, descriptor: int, form: str) -> int:
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        amount = _export(desk, file, form)
        file.flush()
        os.fsync(descriptor)
    return amount


def _export(desk: Desk, file: TextIO, form: str) -> int:
    now, amount = time.time_ns(), 0
    writer = csv.DictWriter(file, FIELDS, lineterminator="\n") if form == "csv" else None
    if writer is not None:
        writer.writeheader()
    for page in _pages(desk):
        for record, used in page:
            known = {**document(record, now), "last_used": used}
            if writer is not None:
                writer.writerow(_flatten(known))
            else:
                file.write(json.dumps(known) + "\n")
        amount += len(page)
    return amount


def _flatten(known: Mapping[str, Any]) -> dict[str, str]:
    """Return fields as cells; none may begin a formula of a spreadsheet (OWASP, CSV injection)."""
    cells: dict[str, str] = {}
    for name, value in known.items():
        if isinstance(value, list):
            text = " ".join(value)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, dict):
            text = json.dumps(value) if value else ""
        elif name in _TIMES:
            text = show_time(value) if value is not None else ""
        else:
            text = str(value)
        cells[name] = f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return cells


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
