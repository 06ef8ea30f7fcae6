"""Building: a loaded configuration -> keys, state, journal and the guard over them."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from threading import Lock
from typing import Final

from tradeguard.audit.journal import Journal
from tradeguard.backends.memory import Memory
from tradeguard.backends.sqlite import SQLiteKeys, SQLiteState
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.source import Source
from tradeguard.config.file import DEVELOPMENT
from tradeguard.config.load import Loaded, load_settings
from tradeguard.config.look import is_looking, make_stand_in
from tradeguard.config.rules import make_bearer, make_policy, make_signature
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.ports import Keys, State
from tradeguard.keys.cache import CachedKeys
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import load_master_keys
from tradeguard.secrets.sealer import LocalSealer

_SECOND: Final = 1_000_000_000
_BUSY: Final = 0.005  # seconds: a server refuses rather than wait longer


class FileGuard(Guard):
    """A guard that was built from a file, and can adopt a newer one.

    Args:
        loaded: the configuration.
        environ: the environment it was loaded with; a reload asks it again.
        keys: where key records are found.
        state: shared memory.
        journal: where events are kept.

    Raises:
        ConfigError: the parts do not fit each other.
    """

    def __init__(
        self, loaded: Loaded, environ: Mapping[str, str], *, keys: CachedKeys, state: State, journal: Journal
    ) -> None:
        self.loaded, self.environ = loaded, environ
        self.reloading = Lock()
        self._keys, self._source = keys, Source()
        super().__init__(
            make_checks(loaded, keys, self._source, environ),
            operations=Operations(loaded.settings.operations),
            state=state,
            journal=journal,
            policy=make_policy(loaded.settings),
        )

    def follow(self, loaded: Loaded) -> None:
        """Decide by a newer configuration from the next request on. Who kept failing is remembered.

        Raises:
            ConfigError: the parts do not fit each other; the guard goes on with what it had.
        """
        policy = make_policy(loaded.settings)
        operations = Operations(loaded.settings.operations)
        checks = make_checks(loaded, self._keys, self._source, self.environ)
        self.adopt(checks, operations=operations, policy=policy)
        self.loaded = loaded
        sealed = self._keys.source
        assert isinstance(sealed, SealedKeys)  # open_keys made it
        sealed.policy = policy
        self._keys.clear()  # records carry the scopes that their roles gave them


def make_checks(loaded: Loaded, keys: Keys, source: Source, environ: Mapping[str, str] | None = None) -> list[object]:
    """Return the list of checks, which is the policy: nothing is left out.

    Args:
        loaded: the configuration.
        keys: where key records are found.
        source: the gate; it outlives a reload.
        environ: of a process that serves: it may be one for development, and the log says what there is to know; None
            where nothing is served.
    """
    settings = loaded.settings
    plain = environ is not None and environ.get(DEVELOPMENT) == "1"
    bearer = make_bearer(settings, keys, plain=plain, announce=environ is not None)
    return [source, *make_signature(settings, keys), *bearer, Freshness(), Network(), Scope(), Replay()]


def build_guard(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Guard:
    """Build the guard that a configuration file describes.

    Where an application is only looked at (`tradeguard init app:app`) no file is opened, and the guard refuses all.

    Args:
        path: the file; see `find_config`.
        environ: the environment, for overrides and for a master key kept there.

    Raises:
        ConfigError: the configuration is wrong, or a part of it cannot be opened; nothing is left open then.
        Tampered: what the key store keeps of itself was changed.
    """
    if is_looking():
        return make_stand_in()
    loaded = load_settings(path, environ)
    with ExitStack() as opened:
        journal = open_journal(loaded)
        opened.callback(journal.close)
        keys = open_keys(loaded, environ, journal=journal)
        opened.callback(keys.close)
        state = open_state(loaded)
        opened.callback(state.close)
        guard = FileGuard(loaded, environ, keys=keys, state=state, journal=journal)
        opened.pop_all()
    return guard


def open_sealed(loaded: Loaded, environ: Mapping[str, str] = os.environ, *, busy: float = _BUSY) -> SealedKeys:
    """Open the key records: sealed, in SQLite.

    Args:
        loaded: the configuration.
        environ: the environment, for a master key kept there.
        busy: seconds to wait for others who use the file, before `BackendDown`.

    Raises:
        ConfigError: no data directory, no master key, or not the one that sealed what is stored.
        Tampered: what the key store keeps of itself was changed.
    """
    check_data(loaded)
    sealer = LocalSealer(load_master_keys(loaded.settings.master_key.source, environ))
    table = SQLiteKeys(loaded.data / "keys.db", busy=busy)
    with ExitStack() as opened:
        opened.callback(table.close)
        sealed = SealedKeys(table, sealer, policy=make_policy(loaded.settings))
        drive(sealed.unlock())
        opened.pop_all()
    return sealed


def open_keys(loaded: Loaded, environ: Mapping[str, str] = os.environ, *, journal: Journal | None = None) -> CachedKeys:
    """Open the key records, with a cache in front.

    Args:
        loaded: the configuration.
        environ: the environment, for a master key kept there.
        journal: where noteworthy uses of keys are recorded.

    Raises:
        ConfigError: as `open_sealed`.
        Tampered: as `open_sealed`.
    """
    settings = loaded.settings
    sealed = open_sealed(loaded, environ)
    with ExitStack() as opened:
        opened.callback(sealed.close)
        keys = CachedKeys(
            sealed,
            journal=journal,
            size=settings.keys.cache_size,
            poll=int(settings.keys.poll_seconds * _SECOND),
            stale_after=int(settings.keys.stale_seconds * _SECOND),
        )
        opened.pop_all()
    return keys


def open_state(loaded: Loaded, *, busy: float = _BUSY) -> SQLiteState | Memory:
    """Open what remembers used nonces.

    Args:
        loaded: the configuration.
        busy: seconds to wait for others who use the file, before `BackendDown`.

    Raises:
        ConfigError: no data directory, or with `memory` a second process that uses it.
    """
    check_data(loaded)
    state = loaded.settings.state
    if state.backend == "memory":
        return Memory(capacity=state.capacity, per_key=state.per_key, lock=loaded.data / "memory.lock")
    return SQLiteState(loaded.data / "state.db", capacity=state.capacity, per_key=state.per_key, busy=busy)


def open_journal(loaded: Loaded) -> Journal:
    """Open the record.

    Raises:
        ConfigError: its file cannot be opened for appending.
    """
    return Journal(loaded.journal, sync=loaded.settings.journal.sync)


def check_data(loaded: Loaded) -> None:
    """Raise `ConfigError` where the data directory is missing."""
    if not loaded.data.is_dir():
        raise ConfigError(
            f"data.directory: {loaded.data} is no directory; make it with `tradeguard init` or `mkdir -m 700`"
        )
