"""Screen: what a command says. Results go to stdout, everything else to stderr; with --json both are JSON."""

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import click

_COLOURS: Final[Mapping[str, str]] = {
    "active": "green", "granted": "green", "pending": "yellow", "waiting": "yellow", "retiring": "yellow",
    "suspended": "yellow", "revoked": "red", "compromised": "red", "expired": "red", "refused": "red",
}  # fmt: skip


class Stop(click.ClickException):
    """Ends the command: it is refused. The text says why, and the cure."""


class Unusable(Stop):
    """Ends the command: what it was given, or its configuration, cannot be used."""

    exit_code = 2


class Screen:
    """Where the words of a command go.

    Args:
        as_json: whether programs read them.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def show(self, document: Any, text: str | Iterable[str]) -> None:
        """Show a result: the document where programs read, the text where people do."""
        if self.as_json:
            click.echo(json.dumps(document))
        else:
            click.echo(text if isinstance(text, str) else "\n".join(text))

    def note(self, text: str) -> None:
        """Say something beside the result."""
        click.echo(json.dumps({"note": text}) if self.as_json else text, err=True)


class Table:
    """Rows under a head, aligned page by page: a page may widen the columns, and none is held.

    Args:
        head: the names of the columns.
    """

    def __init__(self, *head: str) -> None:
        self._head: Sequence[str] | None = head
        self._widths = [0] * len(head)

    def lines(self, rows: Iterable[Sequence[str]]) -> Iterator[str]:
        """Return the next rows as lines, the head before the first of them."""
        rows = list(rows)
        if self._head is not None:
            rows.insert(0, self._head)
            self._head = None
        for row in rows:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        for row in rows:
            cells = [_paint(cell, width) for cell, width in zip(row, self._widths, strict=True)]
            yield "  ".join(cells).rstrip()


def lay_out(fields: Mapping[str, str]) -> list[str]:
    """Return names and values as aligned lines; empty values are left out."""
    shown = {name: value for name, value in fields.items() if value}
    width = max(map(len, shown), default=0)
    return [f"{name:<{width}}  {_paint(value, 0)}" for name, value in shown.items()]


def plain(text: str) -> str:
    """Return text that others wrote so that it cannot command a terminal: line breaks and controls are escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def write_error(text: str, *, as_json: bool) -> None:
    """Say why the command ends."""
    click.echo(json.dumps({"error": text}) if as_json else f"Error: {text}", err=True)


def silence() -> None:
    """Let go of a stdout that takes nothing any more, so that the end of the process does not stumble over it."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        return  # it is no file, or closed: nothing is flushed into it
    finally:
        os.close(nothing)


class Notes(logging.Handler):
    """Shows on stderr what the library logs from warnings up, while it is entered, and counts the alarms.

    Args:
        as_json: whether programs read it.
    """

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(logging.WARNING)
        self.alarms, self._screen = 0, Screen(as_json)
        self._said = set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Show one, unless it was shown before."""
        text = f"{record.levelname.capitalize()}: {record.getMessage()}"
        self.alarms += record.levelno >= logging.CRITICAL
        if text not in self._said:
            self._said.add(text)
            self._screen.note(text)

    def __enter__(self) -> Self:
        logging.getLogger("tradeguard").addHandler(self)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        logging.getLogger("tradeguard").removeHandler(self)


def _paint(cell: str, width: int) -> str:
    """Colour the words that mean well or ill, on a terminal whose user has not declined it (https://no-color.org)."""
    text = f"{cell:<{width}}"
    if cell in _COLOURS and not os.environ.get("NO_COLOR") and sys.stdout.isatty():
        return click.style(text, fg=_COLOURS[cell])
    return text
