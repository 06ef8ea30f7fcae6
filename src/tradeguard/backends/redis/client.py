"""Client: what we take from redis-py (its connections: TCP, TLS, unix sockets, log-in), and what its errors mean.

A connection is greeted before it is used: the server says which run of which program it is, and that it evicts nothing.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from tradeguard.core.errors import BackendDown, ConfigError

try:
    from redis import ConnectionPool
    from redis.asyncio import ConnectionPool as AsyncConnectionPool
    from redis.backoff import NoBackoff
    from redis.exceptions import NoScriptError, RedisError, ResponseError
    from redis.exceptions import TimeoutError as RedisTimeout
    from redis.retry import Retry
except ImportError as error:
    raise ConfigError('state in Redis or Valkey needs a client: pip install "tradeguard[redis]"') from error

__all__ = [
    "FAILURES",
    "INFO",
    "Address",
    "AsyncConnection",
    "Connection",
    "NoScriptError",
    "explain",
    "is_lasting",
]
_OLDEST: Final = (6, 2)
_UNKNOWN: Final = b"unknown"
FAILURES: Final = (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, EOFError)
"""What a call over a connection may raise, also where what answers is no Redis."""
INFO: Final = b"*1\r\n$4\r\nINFO\r\n"
"""The command by which a server is asked what it is."""
CURES: Final[Mapping[str, str]] = {
    "OOM": "its memory is full; raise maxmemory, or lower the capacity of the state",
    "READONLY": "it is a replica; name the primary, or an address that follows it",
    "MISCONF": "it cannot write its file to disk, so it takes no writes; see its log",
    "LOADING": "it has just started and is reading its file; it will answer when it has",
    "BUSY": "a script of somebody else holds it; see its slow log",
    "CLUSTERDOWN": "its cluster has lost nodes; see CLUSTER INFO",
    "MOVED": "another node of its cluster has the slot; name that node: all keys of a state share one slot",
    "ASK": "its cluster is moving the slot to another node; it will answer when it has",
    "TRYAGAIN": "its cluster is moving the slot to another node; it will answer when it has",
    "MASTERDOWN": "it is a replica without a primary; name the primary, or an address that follows it",
    "NOREPLICAS": "too few of its replicas are there for it to take writes; see min-replicas-to-write",
    "AUTH": "user or password are missing or wrong; put them into the URL",
    "NOPERM": "this user may not do it; give it the ACL of docs/howto/redis.md",
}
"""By the first word of an error: what to do. Such an answer says that nothing was done."""
_PARTIAL: Final = frozenset({"NOPERM"})  # may come in the middle of a script
_PASSING: Final = frozenset({"OOM", "BUSY", "MISCONF", "NOREPLICAS"})  # the server is still the right one
_BY_TYPE: Final = {
    "AskError": "ASK",
    "AuthenticationError": "AUTH",
    "BusyLoadingError": "LOADING",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}


class Connection(Protocol):
    """What we use of redis-py's connection for threads."""

    def connect(self) -> None:
        """Open it and log in."""

    def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None:
        """Write bytes."""

    def read_response(self, disable_decoding: bool = False) -> Any:
        """Read one answer; raise it where it is an error."""

    def can_read(self, timeout: float = 0) -> bool:
        """Tell whether there is something to read."""
        ...

    def disconnect(self) -> None:
        """Close it."""


class AsyncConnection(Protocol):
    """What we use of redis-py's connection for event loops."""

    async def connect(self) -> None:
        """Open it and log in."""

    async def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None:
        """Write bytes."""

    async def read_response(self, disable_decoding: bool = False, *, disconnect_on_error: bool = True) -> Any:
        """Read one answer; raise it where it is an error."""

    async def disconnect(self, nowait: bool = False) -> None:
        """Close it."""


class Address:
    """Where the server is, and how to log in.

    Args:
        url: `redis://user:password@host:port/db`, `rediss://` for TLS, or `unix://path`; options of redis-py as its
            query, such as `?ssl_ca_certs=/etc/ssl/venue.pem`.
        opening: seconds that opening a connection may take.
        deadline: seconds that a call may take.
        accept_unknown_server: go on where the server does not say what it is.

    Raises:
        ConfigError: that is no such URL.
    """

    def __init__(self, url: str, *, opening: float, deadline: float, accept_unknown_server: bool) -> None:
        self.opening, self.deadline, self._trusting = opening, deadline, accept_unknown_server
        options: dict[str, Any] = {
            "socket_connect_timeout": opening,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        try:
            self._blocking = _from_url(ConnectionPool, url, socket_timeout=deadline, **options)
            self._async = _from_url(AsyncConnectionPool, url, socket_timeout=None, **options)
        except ValueError:
            raise ConfigError("a Redis URL begins with redis://, rediss:// (TLS) or unix://") from None
        self.name = f"Redis at {_place(self._blocking.connection_kwargs)}"

    def connection(self) -> Connection:
        """Return a new connection for a thread, not yet open."""
        made: Connection = self._blocking.connection_class(**self._blocking.connection_kwargs)
        return made

    def async_connection(self) -> AsyncConnection:
        """Return a new connection for an event loop, not yet open."""
        made: AsyncConnection = self._async.connection_class(**self._async.connection_kwargs)
        return made

    def greet(self, info: object) -> bytes:
        """Return which run of which server this is; `info` is its answer to INFO, or the error that it gave.

        Raises:
            ConfigError: it would lose what must not be lost, or it cannot be known.
        """
        known = _parse(info)
        run, version = known.get("run_id", ""), known.get("redis_version", "")
        policy = known.get("maxmemory_policy", "")
        if not (run and version and policy):
            if self._trusting:
                return run.encode() or _UNKNOWN
            raise ConfigError(
                f"{self.name} does not say whether it evicts keys, nor which server it is: allow INFO to this user. "
                "Where the provider forbids it, set noeviction there and build the state with "
                "accept_unknown_server=True; a failover that loses writes then goes unnoticed unless it loses the epoch"
            )
        if _number(version) < _OLDEST:
            raise ConfigError(
                f"{self.name} is version {version}; use Redis {'.'.join(map(str, _OLDEST))} or later, or Valkey"
            )
        if policy != "noeviction":
            raise ConfigError(
                f"{self.name} evicts what must not be forgotten (maxmemory-policy {policy}): CONFIG SET "
                "maxmemory-policy noeviction, and the same in its configuration file"
            )
        return run[:16].encode()


def _from_url(kind: Any, url: str, **options: Any) -> Any:
    """Let redis-py read a URL, into a pool that is only asked what its connections are made of."""
    return kind.from_url(url, **options)


def _place(options: Mapping[str, Any]) -> str:
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def _parse(info: object) -> dict[str, str]:
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def code(error: BaseException) -> str:
    """Return the first word of a server's error, as it was before redis-py cut it off; empty for other errors."""
    if type(error).__name__ in _BY_TYPE:
        return _BY_TYPE[type(error).__name__]
    words = str(error).split(None, 1)
    return words[0] if isinstance(error, RedisError) and words and words[0] in CURES else ""


def is_refusal(error: BaseException) -> bool:
    """Tell whether the server has said that it did nothing."""
    return isinstance(error, NoScriptError) or (code(error) not in _PARTIAL and code(error) != "")


def is_lasting(error: BaseException) -> bool:
    """Tell whether the connection may be used again after an error."""
    found = code(error)
    return isinstance(error, ResponseError) and (not found or found in _PASSING or found in _PARTIAL)


def explain(address: Address, error: BaseException, *, unknown: bool) -> BackendDown:
    """Say what is wrong and what to do; nothing of what was sent."""
    found = code(error)
    if found:
        reason = f"{CURES[found]} ({found})"
    elif isinstance(error, (TimeoutError, RedisTimeout)):
        reason = "it has not answered in time"
    elif isinstance(error, ResponseError):
        reason = f"it answers with an error: {str(error)[:200]}"
    else:
        reason = f"it cannot be reached, or does not answer as Redis does ({type(error).__name__})"
    return BackendDown(f"{address.name}: {reason}", unknown=unknown and not is_refusal(error))
