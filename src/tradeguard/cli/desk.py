"""Desk: what the commands on keys work on. They wait longer for other processes than servers do."""

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import click

from tradeguard.backends.memory import Memory, MemoryKeys
from tradeguard.checks.source import Source
from tradeguard.cli.screen import Notes, Screen, Stop, Unusable
from tradeguard.cli.secret import VARIABLE
from tradeguard.config import Loaded, load_settings, open_journal, open_state
from tradeguard.config.build import make_checks, open_sealed
from tradeguard.config.rules import own_rows
from tradeguard.config.stores import check_data
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord
from tradeguard.core.plan import Plan
from tradeguard.core.policy import Operations, Policy
from tradeguard.keys.format import Env
from tradeguard.keys.issuer import Issuer
from tradeguard.keys.kind import SPOKEN
from tradeguard.keys.sealed import SealedKeys
from tradeguard.signing.dialect import Dialect

T = TypeVar("T")
_PATIENCE: Final = 5.0  # seconds


class Desk(NamedTuple):
    """The open key store, and what the policy says."""

    loaded: Loaded
    keys: SealedKeys
    policy: Policy

    @property
    def rows(self) -> Mapping[str, Dialect]:
        """The dialects that keys may have, those of the configuration too."""
        return {**SPOKEN, **own_rows(self.loaded.settings)}

    def find(self, id: str) -> KeyRecord:
        """Return a key.

        Raises:
            Stop: there is none of this id, or its record does not verify.
        """
        record = drive(self.keys.find(id))
        if record is not None:
            return record
        if drive(self.keys.table.get(id)) is not None:
            raise Stop(f"key {id} is stored, but its record is refused; restore the key store from a copy")
        raise Stop(f"there is no key {id!r}; `tradeguard keys list` shows those there are")


def own_environment() -> dict[str, str]:
    """Return the environment without what only the command line reads."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


def prepare(work: Callable[[], T]) -> T:
    """Do what comes before the command's own work: where it is refused, the configuration is wrong (exit code 2)."""
    try:
        return work()
    except ConfigError as error:
        raise Unusable(str(error)) from error


def load(config: str | None) -> Loaded:
    """Load the configuration.

    Raises:
        Stop: there is none, or it is wrong.
    """
    return prepare(lambda: load_settings(config, own_environment()))


@contextmanager
def open_desk(config: str | None, screen: Screen) -> Generator[Desk]:
    """Open the key store of a configuration.

    Args:
        config: the file; see `find_config`.
        screen: where a doubt is told.

    Raises:
        Stop: something of it cannot be opened.
    """
    loaded = load(config)
    prepare(lambda: check_data(loaded))
    _warn_of_root(loaded.data, screen)
    with ExitStack() as opened:
        keys = prepare(lambda: open_sealed(loaded, own_environment(), busy=_PATIENCE))
        opened.callback(keys.close)
        yield Desk(loaded, keys, keys.policy)


@contextmanager
def open_issuer(desk: Desk, env: Env = "live") -> Generator[Issuer]:
    """Open what changing keys takes: the journal, and the state if other processes share it.

    Args:
        desk: the open key store.
        env: what new ids and secrets say.
    """
    loaded, state = desk.loaded, None
    with ExitStack() as opened:
        journal = prepare(lambda: open_journal(loaded))
        opened.callback(journal.close)
        if loaded.settings.state.backend != "memory":
            state = prepare(lambda: open_state(loaded, own_environment(), busy=_PATIENCE))
            opened.callback(state.close)
        mark = _mark(loaded, desk.policy)
        yield Issuer(desk.keys, journal, state=state, policy=desk.policy, policy_mark=mark, env=env, rows=desk.rows)


def say_when(loaded: Loaded) -> str:
    """Return when running servers act on a key that was stopped; later where the state could not be told."""
    notes = click.get_current_context().find_object(Notes)
    if loaded.settings.state.backend != "memory" and not (notes is not None and notes.alarms):
        return "It holds from the next request on."
    return f"Running servers see it within {loaded.settings.keys.poll_seconds:g} s."


def say_soon(loaded: Loaded) -> str:
    """Return when running servers take a key that was given power."""
    return f"Running servers take it within {loaded.settings.keys.poll_seconds:g} s."


def _mark(loaded: Loaded, policy: Policy) -> str:
    """Return the mark of the policy, as the guard of this configuration has it."""
    checks = make_checks(loaded, MemoryKeys(), Source())
    return Plan(checks, policy, Operations(loaded.settings.operations), Memory()).mark


def _warn_of_root(data: Path, screen: Screen) -> None:
    """Files that root makes beside those of a service user stop the service at its next start."""
    owner = data.stat().st_uid
    if owner != os.geteuid():
        screen.note(
            f"Warning: {data} belongs to user {owner}; run this as that user (sudo -u '#{owner}' tradeguard ...)"
        )
