"""Stores: a loaded configuration -> where keys and state are kept, in the form that the host can wait for."""

import os
from collections.abc import Mapping
from typing import Any, Final, Protocol

from tradeguard.backends.memory import Memory
from tradeguard.backends.sqlite import SQLiteKeys, SQLiteState
from tradeguard.config.load import Loaded
from tradeguard.config.sections import Served
from tradeguard.core.commit import Standby
from tradeguard.core.errors import ConfigError
from tradeguard.core.ports import Closing, KeyTable, State
from tradeguard.secrets.reference import read_reference

BUSY: Final = 0.005
"""Seconds: a server refuses rather than wait longer."""


class OpenState(State, Closing, Protocol):
    """A state that can be closed."""


def open_state(
    loaded: Loaded, environ: Mapping[str, str] = os.environ, *, busy: float = BUSY, blocking: bool = True
) -> OpenState:
    """Open what remembers used nonces, counts quotas and knows halts.

    Args:
        loaded: the configuration.
        environ: the environment, for a URL kept there.
        busy: seconds to wait for others who use the file, or for a server where that is longer than its deadline;
            before `BackendDown`.
        blocking: for threads and the command line; False for hosts with an event loop. Only servers know two forms.

    Raises:
        ConfigError: no data directory, no URL or no client; or with `memory` a second process that uses it.
    """
    check_data(loaded)
    given = loaded.settings.state
    room: dict[str, Any] = {"capacity": given.capacity, "per_key": given.per_key}
    if given.backend == "memory":
        return Memory(**room, meters=given.meters, lock=loaded.data / "memory.lock")
    if given.backend == "sqlite":
        return SQLiteState(loaded.data / "state.db", **room, meters=given.meters, busy=busy)
    kind = _server_of("state", given.backend)[not blocking]
    options = {**room, "deadline": max(busy, given.deadline_seconds), **_options(given)}
    opened: OpenState = _connect("state", kind, read_url("state", given, environ), options)
    return opened


def open_table(
    loaded: Loaded, environ: Mapping[str, str] = os.environ, *, busy: float = BUSY, blocking: bool = True
) -> KeyTable:
    """Open the rows of keys; see `open_state`.

    Raises:
        ConfigError: no data directory, no URL or no client.
    """
    check_data(loaded)
    given = loaded.settings.keys
    if given.backend == "sqlite":
        return SQLiteKeys(loaded.data / "keys.db", busy=busy)
    kind = _server_of("keys", given.backend)[not blocking]
    options = {"deadline": max(busy, given.deadline_seconds), **_options(given)}
    opened: KeyTable = _connect("keys", kind, read_url("keys", given, environ), options)
    return opened


def make_standby(loaded: Loaded) -> Standby | None:
    """Return what settles reads and cancels while the server of the state is lost; None where `nodes` says nothing."""
    given = loaded.settings.state
    if not given.nodes:
        return None
    return Standby(Memory(capacity=given.capacity, per_key=given.per_key, meters=given.meters), given.nodes)


def read_url(section: str, given: Served, environ: Mapping[str, str]) -> str:
    """Return the URL of a server, from the place that is named.

    Raises:
        ConfigError: it is not there, or is no text of one line; the URL is not repeated.
    """
    what = f"{section}.url"
    try:
        content, place = read_reference(given.url, environ, "URL", "the URL of the server in it")
        url = content.decode().strip()
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{what}: what is there is no UTF-8") from None
    if not url or not url.isprintable():
        raise ConfigError(f"{what}: {place} holds no URL; write it there, on one line")
    return url


def check_data(loaded: Loaded) -> None:
    """Raise `ConfigError` where the data directory is missing."""
    if not loaded.data.is_dir():
        raise ConfigError(
            f"data.directory: {loaded.data} is no directory; make it with `tradeguard init` or `mkdir -m 700`"
        )


def _options(given: Served) -> dict[str, Any]:
    if given.backend == "postgres":
        return {"schema": given.name} if given.name else {}
    named = {"name": given.name} if given.name else {}
    return {**named, "accept_unknown_server": given.accept_unknown_server}


def _server_of(section: str, backend: str) -> tuple[Any, Any]:
    """Return what speaks to a server, for threads and for loops; only here its client is needed."""
    try:
        if backend == "redis":
            from tradeguard.backends import redis  # noqa: PLC0415 - needs a client that other backends do not

            return (
                (redis.BlockingRedis, redis.Redis) if section == "state" else (redis.BlockingRedisKeys, redis.RedisKeys)
            )
        from tradeguard.backends import postgres  # noqa: PLC0415 - as above
    except ConfigError as error:
        raise ConfigError(f"{section}.backend: {error}") from None
    if section == "state":
        return postgres.BlockingPostgres, postgres.Postgres
    return postgres.BlockingPostgresKeys, postgres.PostgresKeys


def _connect(section: str, kind: Any, url: str, options: Mapping[str, Any]) -> Any:
    try:
        return kind(url, **options)
    except ConfigError as error:
        raise ConfigError(f"{section}.url: {error}") from None
