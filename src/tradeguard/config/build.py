"""Building: a loaded configuration -> keys, state, journal and the guard over them."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from threading import Lock
from typing import Final

from tradeguard.audit.journal import Journal
from tradeguard.backends.memory import Memory, MemoryKeys, MemoryTable
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.halt import Halt
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.source import Source
from tradeguard.config.file import DEVELOPMENT
from tradeguard.config.load import Loaded, load_settings
from tradeguard.config.look import is_looking, make_stand_in
from tradeguard.config.quotas import make_quotas
from tradeguard.config.rules import make_bearer, make_connections, make_policy, make_signature
from tradeguard.config.stores import BUSY, check_data, make_standby, open_state, open_table
from tradeguard.core.commit import Standby
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.ports import Keys, Runtime, State, Table
from tradeguard.halts.view import Halts
from tradeguard.keys.cache import CachedKeys
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import load_master_keys
from tradeguard.secrets.sealer import LocalSealer

_SECOND: Final = 1_000_000_000


class FileGuard(Guard):
    """A guard that was built from a file, and can adopt a newer one.

    Args:
        loaded: the configuration.
        environ: the environment it was loaded with; a reload asks it again.
        keys: where key records are found.
        state: shared memory.
        journal: where events are kept.
        standby: what settles while the state is lost.

    Raises:
        ConfigError: the parts do not fit each other.
    """

    def __init__(
        self,
        loaded: Loaded,
        environ: Mapping[str, str],
        *,
        keys: CachedKeys,
        state: State,
        journal: Journal,
        standby: Standby | None = None,
    ) -> None:
        self.loaded, self.environ = loaded, environ
        self.reloading = Lock()
        self._keys, self._table = keys, MemoryTable()
        self._source = Source(**loaded.settings.lockout.model_dump())
        self._halts = Halts(state, keys, journal=journal, keep=loaded.data / "halts")
        super().__init__(
            make_checks(loaded, keys, self._source, environ, self._table, self._halts),
            operations=Operations(loaded.settings.operations),
            state=state,
            journal=journal,
            policy=make_policy(loaded.settings),
            standby=standby,
        )

    def bind(self, runtime: Runtime, serves: Callable[[Operations], None] = lambda _: None) -> None:
        """Take the host's way of waiting; see `Guard.bind`.

        Raises:
            ConfigError: it was built for hosts that wait otherwise.
        """
        waits = {colour for colour in (self.state.colour, self._keys.colour) if colour in ("async", "blocking")}
        if waits - runtime.colours:
            blocking = "async" in waits
            raise ConfigError(
                f"this guard was built for hosts with{'' if blocking else 'out'} an event loop, and this one has "
                f"{'none' if blocking else 'one'}; build it with build_guard(..., blocking={blocking})"
            )
        super().bind(runtime, serves)

    def follow(self, loaded: Loaded) -> None:
        """Decide by a newer configuration from the next request on.

        Who kept failing is remembered, and so is what quotas and connections have counted.

        Raises:
            ConfigError: the parts do not fit each other; the guard goes on with what it had.
        """
        policy = make_policy(loaded.settings)
        operations = Operations(loaded.settings.operations)
        source = self._source.with_free(**loaded.settings.lockout.model_dump())
        checks = make_checks(loaded, self._keys, source, self.environ, self._table, self._halts)
        self.adopt(checks, operations=operations, policy=policy)
        self.loaded, self._source = loaded, source
        sealed = self._keys.source
        assert isinstance(sealed, SealedKeys)  # open_keys made it
        sealed.policy = policy
        self._keys.clear()  # records carry the scopes that their roles gave them


def make_checks(
    loaded: Loaded,
    keys: Keys,
    source: Source,
    environ: Mapping[str, str] | None = None,
    table: Table | None = None,
    halts: Halts | None = None,
) -> list[object]:
    """Return the list of checks, which is the policy: nothing is left out.

    Args:
        loaded: the configuration.
        keys: where key records are found.
        source: the gate; what it has counted outlives a reload.
        environ: of a process that serves: it may be one for development, and the log says what there is to know; None
            where nothing is served.
        table: where public operations are counted; it outlives a reload.
        halts: this node's view of what stands still; it outlives a reload. None where nothing is served.
    """
    settings = loaded.settings
    plain = environ is not None and environ.get(DEVELOPMENT) == "1"
    bearer = make_bearer(settings, keys, plain=plain, announce=environ is not None)
    proofs, quotas = [*make_signature(settings, keys), *bearer], make_quotas(settings, table)
    halt = Halt(halts if halts is not None else Halts(Memory(), MemoryKeys([]), follow=False))
    return [source, *proofs, Freshness(), Network(), Scope(), halt, Replay(), *quotas, *make_connections(settings)]


def build_guard(
    path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ, *, blocking: bool = False
) -> Guard:
    """Build the guard that a configuration file describes.

    Where an application is only looked at (`tradeguard init app:app`) no file is opened, and the guard refuses all.

    Args:
        path: the file; see `find_config`.
        environ: the environment, for overrides, and for a master key or a URL kept there.
        blocking: for hosts without an event loop (WSGI): state and keys on a server come in two forms.

    Raises:
        ConfigError: the configuration is wrong, or a part of it cannot be opened; nothing is left open then.
        BackendDown: the server that has the keys does not answer.
        Tampered: what the key store keeps of itself was changed.
    """
    if is_looking():
        return make_stand_in()
    loaded = load_settings(path, environ)
    with ExitStack() as opened:
        journal = open_journal(loaded)
        opened.callback(journal.close)
        keys = open_keys(loaded, environ, journal=journal, blocking=blocking)
        opened.callback(keys.close)
        state = open_state(loaded, environ, blocking=blocking)
        opened.callback(state.close)
        standby = make_standby(loaded)
        guard = FileGuard(loaded, environ, keys=keys, state=state, journal=journal, standby=standby)
        opened.pop_all()
    return guard


def open_sealed(
    loaded: Loaded, environ: Mapping[str, str] = os.environ, *, busy: float = BUSY, blocking: bool = True
) -> SealedKeys:
    """Open the key records: sealed, in SQLite or on a server.

    Args:
        loaded: the configuration.
        environ: the environment, for a master key or a URL kept there.
        busy, blocking: see `open_state`.

    Raises:
        ConfigError: no data directory, no master key, or not the one that sealed what is stored.
        Tampered: what the key store keeps of itself was changed.
        BackendDown: it does not answer.
    """
    check_data(loaded)
    sealer = LocalSealer(load_master_keys(loaded.settings.master_key.source, environ))
    policy = make_policy(loaded.settings)
    table = open_table(loaded, environ, busy=busy)
    with ExitStack() as opened:
        opened.callback(table.close)
        sealed = SealedKeys(table, sealer, policy=policy)
        drive(sealed.unlock())  # here no loop runs yet, so the form for threads tells what is wrong
        if blocking or table.colour != "blocking":
            opened.pop_all()
            return sealed
    return SealedKeys(open_table(loaded, environ, busy=busy, blocking=False), sealer, policy=policy)


def open_keys(
    loaded: Loaded,
    environ: Mapping[str, str] = os.environ,
    *,
    journal: Journal | None = None,
    blocking: bool = True,
) -> CachedKeys:
    """Open the key records, with a cache in front.

    Args:
        loaded: the configuration.
        environ: the environment, for a master key or a URL kept there.
        journal: where noteworthy uses of keys are recorded.
        blocking: see `open_state`.

    Raises:
        ConfigError: as `open_sealed`.
        Tampered: as `open_sealed`.
        BackendDown: as `open_sealed`.
    """
    settings = loaded.settings
    sealed = open_sealed(loaded, environ, blocking=blocking)
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


def open_journal(loaded: Loaded) -> Journal:
    """Open the record.

    Raises:
        ConfigError: its file cannot be opened for appending.
    """
    return Journal(loaded.journal, sync=loaded.settings.journal.sync)
