"""`tradeguard keys reseal`: all secrets under the first master key, so that older ones can be retired."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import click

from tradeguard.cli.desk import Desk, open_desk, own_environment, prepare
from tradeguard.cli.options import with_actor, with_config, with_json
from tradeguard.cli.screen import Screen
from tradeguard.config import open_journal
from tradeguard.core.drive import drive
from tradeguard.core.event import Event
from tradeguard.secrets.master import load_master_keys


@click.command("reseal")
@with_actor
@with_config
@with_json
def keys_reseal(screen: Screen, config: str | None, actor: str, reason: str) -> None:
    """Put all secrets under the first master key.

    To replace a master key: write the new one as the first line before the old one, restart all servers, run this, and
    take the old one out. It is done as a whole or not at all; where it was stopped, run it again. Copies of the data
    that were made before still need the old key. Where that has leaked, with such a copy, rotate the keys as well.
    """
    with open_desk(config, screen) as desk:
        master_keys = prepare(lambda: load_master_keys(desk.loaded.settings.master_key.source, own_environment()))
        primary, *older = master_keys.ids
        _record(desk, actor, f"under {primary}; {reason}")
        with _bar() as told:
            done = drive(desk.keys.reseal(told))
        for id in done.refused:
            screen.note(f"Warning: the record of key {id} does not verify, and was left as it is")
        rest = f"; {', '.join(older)} may be taken out of {desk.loaded.settings.master_key.source}" if older else ""
        screen.show(
            {"master_key": primary, "older": older, "keys": done.keys, "refused": done.refused},
            f"{done.keys} keys were put under master key {primary}, the others were there{rest}",
        )
    if done.refused:
        raise click.exceptions.Exit(1)


def _record(desk: Desk, actor: str, detail: str) -> None:
    """Have it on record first; who cannot be named later does not change what all secrets hang on."""
    journal = prepare(lambda: open_journal(desk.loaded))
    try:
        event = Event("key", time.time_ns(), proven=True, code="keys.resealed", detail=detail[:256], actor=actor)
        journal.append(event).wait()
    finally:
        journal.close()


@contextmanager
def _bar() -> Generator[Callable[[int, int], None]]:
    """Show a bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    with click.progressbar(length=1, label="Sealing", file=sys.stderr) as bar:

        def show(done: int, every: int) -> None:
            bar.length = every
            bar.update(done - bar.pos)

        yield show
