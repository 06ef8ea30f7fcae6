"""Options that several commands share, and the values that are read in one way everywhere."""

import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from tradeguard.cli.screen import Screen
from tradeguard.core.errors import ConfigError
from tradeguard.keys.text import parse_duration, parse_time

C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")


class Parsed(click.ParamType[int]):
    """A value that a function of the library reads; what it refuses is a usage error.

    Args:
        name: as `--help` says it.
        parse: the function.
    """

    def __init__(self, name: str, parse: Callable[[str], int]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a text; what is read already stays as it is."""
        try:
            return self._parse(value) if isinstance(value, str) else int(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


TIME: Final = Parsed("time", lambda text: parse_time(text, time.time_ns()))
DURATION: Final = Parsed("duration", parse_duration)
FILE: Final = click.Path(dir_okay=False)


def find_actor() -> str:
    """Return user@host."""
    try:
        import pwd  # noqa: PLC0415 - not every system has it

        user = pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        user = os.environ.get("USERNAME", "somebody")
    return f"{user}@{socket.gethostname()}"


def together(*options: Callable[[C], C]) -> Callable[[C], C]:
    """Return several options as one decorator, in the order of `--help`."""

    def add(function: C) -> C:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be taken back; on a terminal only, elsewhere demand --yes.

    Raises:
        UsageError: nobody can be asked.
        Abort: the answer is no.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        raise click.UsageError(f"{question} There is no terminal to ask on: say --yes")
    click.confirm(question, abort=True, err=True)


def _make_screen(_context: click.Context, _param: click.Parameter, as_json: bool) -> Screen:
    return Screen(as_json)


with_json: Final = click.option("--json", "screen", is_flag=True, callback=_make_screen, help="Print JSON.")
with_config: Final = click.option(
    "--config", type=FILE, help="The configuration file. [default: TRADEGUARD_CONFIG, else ./tradeguard.toml]"
)
with_actor: Final = together(
    click.option(
        "--actor", envvar="TRADEGUARD_ACTOR", default=find_actor,
        help="Who does this. [default: TRADEGUARD_ACTOR, else user@host]",
    ),
    click.option("--reason", default="", help="Why; kept with the key."),
)  # fmt: skip
with_dry_run: Final = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
with_yes: Final = click.option("--yes", is_flag=True, help="Do not ask.")
