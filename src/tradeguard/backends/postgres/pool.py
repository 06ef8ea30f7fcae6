"""Pools: connections of this process to one server, and the two ways of waiting for them.

The rules:

1.  One deadline is over everything a call does: to wait for its turn, to connect, to ask.
2.  A connection that has answered in full is used again; any other one is closed.
3.  Before it is used again it is looked at: one that the server has closed meanwhile is dropped while nothing has been
    sent, and the call connects anew.
4.  Nothing is done twice.
5.  Pools belong to a process id, and on event loops to a loop. After a fork the child begins with none; what it
    inherited is neither used nor closed.
"""

import asyncio
import os
import select
import threading
import time
import weakref
from collections.abc import Sequence
from socket import SOCK_STREAM
from typing import Final, Generic, Protocol, TypeVar, cast

from tradeguard.backends.postgres.wire import (
    READ,
    WRITE,
    Failed,
    Lost,
    Parameter,
    Row,
    Steps,
    Unsent,
    asking,
    connecting,
    conninfo_to_dict,
    make_conninfo,
    pq,
    psycopg,
)
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.ports import Colour

T = TypeVar("T")
S = TypeVar("S")
_MIGRATE: Final = "call tradeguard.backends.postgres.migrate(...) first, and name this role in it"
_CURES: Final = {
    "55P03": "others used the same key or quota for longer than we wait",
    "57014": "it was cancelled: the statement_timeout of this role, or an operator",
    "40001": "it was not serializable; nothing took effect",
    "40P01": "it was chosen to end a deadlock; nothing took effect",
    "25006": "the server takes no writes: default_transaction_read_only, or a standby; connect to the primary",
    "3F000": f"there is no such schema; {_MIGRATE}",
    "42883": f"it lacks a function; {_MIGRATE}",
    "42P01": f"it lacks a table; {_MIGRATE}",
    "42501": f"this role lacks a right; {_MIGRATE}",
    "53100": "its disk is full; make room",
    "53300": "it has too many connections; lower `size`, or put PgBouncer before it",
}


class Server(Protocol):
    """Asks a server one question at a time, in one way of waiting."""

    colour: Colour

    async def ask(self, query: bytes, parameters: Sequence[Parameter]) -> list[Row]:
        """Return the rows that it answers with.

        Raises:
            BackendDown: it does not answer; `unknown` where the question may have taken effect.
        """
        ...

    def close(self) -> None:
        """Close what is not in use; the next question opens it again."""
        ...


class _Idle(Generic[S]):
    """The connections of one process, or of one loop, that nobody uses now; `turns` bounds how many there are."""

    def __init__(self, turns: S) -> None:
        self.turns, self.open = turns, True
        self._connections: list[pq.abc.PGconn] = []

    def take(self) -> pq.abc.PGconn | None:
        """Return one that can be used, or None."""
        while self._connections:
            connection = self._connections.pop()
            if connection.status == pq.ConnStatus.OK and not _has_news(connection):
                return connection
            connection.finish()
        return None

    def give(self, connection: pq.abc.PGconn) -> None:
        """Take one back that has answered in full."""
        if self.open:
            self._connections.append(connection)
        else:
            connection.finish()

    def close(self) -> None:
        """Close them, and whatever comes back."""
        self.open = False
        while self._connections:
            self._connections.pop().finish()


class _Settings:
    """What both ways of waiting know of a server."""

    def __init__(self, conninfo: str, size: int, deadline: float) -> None:
        if size < 1 or not 0 < deadline <= 60:
            raise ConfigError(
                "PostgreSQL: size is a number of connections, at least 1; deadline is in seconds, up to 60"
            )
        try:
            self.conninfo = make_conninfo(conninfo, fallback_application_name="tradeguard").encode()
            self.names = _names(conninfo)
        except psycopg.ProgrammingError as error:
            raise ConfigError("PostgreSQL: conninfo is not a connection string of libpq") from error
        self.size, self.deadline = size, deadline


class Loops(_Settings):
    """A server asked from event loops."""

    colour: Colour = "async"

    def __init__(self, conninfo: str, size: int, deadline: float) -> None:
        super().__init__(conninfo, size, deadline)
        self._pid = os.getpid()
        self._pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Idle[asyncio.Semaphore]] = (
            weakref.WeakKeyDictionary()
        )

    async def ask(self, query: bytes, parameters: Sequence[Parameter]) -> list[Row]:
        """Return the rows that the server answers with."""
        loop = asyncio.get_running_loop()
        end, idle = loop.time() + self.deadline, self._idle(loop)
        if idle.turns.locked():
            try:
                async with asyncio.timeout_at(end):
                    await idle.turns.acquire()
            except TimeoutError:
                raise BackendDown("PostgreSQL: all connections are in use") from None
        else:
            await idle.turns.acquire()
        connection: pq.abc.PGconn | None = None
        try:
            connection = idle.take()
            if connection is None:
                connection = await _run(connecting(await self._resolve(end)), end, Unsent)
            rows = await _run(asking(connection, query, parameters), end, Lost)
        except (Unsent, Lost, Failed) as error:
            raise _explain(error) from error
        finally:
            _put_back(idle, connection)
            idle.turns.release()
        return rows

    async def _resolve(self, end: float) -> bytes:
        """Return where to connect to: addresses for names, since libpq would hold the loop while it asks for them."""
        if not self.names:
            return self.conninfo
        loop, places = asyncio.get_running_loop(), list[tuple[str, str, str]]()
        try:
            async with asyncio.timeout_at(end):
                for name, port in self.names:
                    found = await loop.getaddrinfo(name, None, type=SOCK_STREAM)
                    places += [(name, str(address[0]), port) for *_, address in found]
        except (OSError, TimeoutError) as error:
            raise Unsent(f"{', '.join(name for name, _ in self.names)} cannot be looked up: {error}") from error
        host, hostaddr, port = (",".join(parts) for parts in zip(*places, strict=True))
        return make_conninfo(self.conninfo.decode(), host=host, hostaddr=hostaddr, port=port).encode()

    def close(self) -> None:
        """Close the connections of all loops."""
        if self._pid == os.getpid():
            for idle in list(self._pools.values()):
                idle.close()
        self._pools = weakref.WeakKeyDictionary()

    def _idle(self, loop: asyncio.AbstractEventLoop) -> _Idle[asyncio.Semaphore]:
        if self._pid != os.getpid():
            self._pid, self._pools = os.getpid(), weakref.WeakKeyDictionary()
        idle = self._pools.get(loop)
        if idle is None:
            for other, left in list(self._pools.items()):
                if other.is_closed():
                    left.close()
            idle = self._pools[loop] = _Idle(asyncio.Semaphore(self.size))
        return idle


class Threads(_Settings):
    """A server asked from threads: a question holds its thread."""

    colour: Colour = "blocking"

    def __init__(self, conninfo: str, size: int, deadline: float) -> None:
        super().__init__(conninfo, size, deadline)
        self._renew()

    async def ask(self, query: bytes, parameters: Sequence[Parameter]) -> list[Row]:
        """Return the rows that the server answers with; it never suspends."""
        end = time.monotonic() + self.deadline
        if self._pid != os.getpid():
            self._renew()
        idle = self._idle
        if not idle.turns.acquire(timeout=self.deadline):
            raise BackendDown("PostgreSQL: all connections are in use")
        connection: pq.abc.PGconn | None = None
        try:
            connection = idle.take()
            if connection is None:
                connection = _run_now(connecting(self.conninfo), end, Unsent)
            rows = _run_now(asking(connection, query, parameters), end, Lost)
        except (Unsent, Lost, Failed) as error:
            raise _explain(error) from error
        finally:
            _put_back(idle, connection)
            idle.turns.release()
        return rows

    def close(self) -> None:
        """Close the connections that no thread uses now."""
        if self._pid == os.getpid():
            self._idle.close()
        self._renew()

    def _renew(self) -> None:
        self._idle, self._pid = _Idle(threading.Semaphore(self.size)), os.getpid()


def _names(conninfo: str) -> list[tuple[str, str]]:
    """Return the hosts to look up, each with its port; none where there are addresses or a folder of sockets."""
    fields = conninfo_to_dict(conninfo)
    hosts, ports = str(fields.get("host") or "").split(","), str(fields.get("port") or "").split(",")
    if fields.get("hostaddr") or any(not host or host.startswith("/") for host in hosts):
        return []
    return list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False))


def _put_back(idle: _Idle[S], connection: pq.abc.PGconn | None) -> None:
    if connection is not None:
        if connection.transaction_status == pq.TransactionStatus.IDLE:
            idle.give(connection)
        else:
            connection.finish()


def _has_news(connection: pq.abc.PGconn) -> bool:
    """Tell whether there is something to read although nothing was asked: the server has closed it, mostly."""
    poll = select.poll()
    poll.register(connection.socket, select.POLLIN)
    return bool(poll.poll(0))


def _run_now(steps: Steps[T], end: float, late: type[Exception]) -> T:
    """Run the steps, holding the thread; raise `late` at the end of the time (monotonic)."""
    try:
        socket, wanted = next(steps)
        while True:
            poll = select.poll()
            poll.register(socket, (select.POLLIN if wanted & READ else 0) | (select.POLLOUT if wanted & WRITE else 0))
            ready = poll.poll(max(0.0, end - time.monotonic()) * 1000)
            if not ready:
                steps.close()
                raise late("no answer in time")
            event = ready[0][1]
            socket, wanted = steps.send(
                (0 if event == select.POLLOUT else READ) | (WRITE if event & select.POLLOUT else 0)
            )
    except StopIteration as done:
        return cast("T", done.value)


async def _run(steps: Steps[T], end: float, late: type[Exception]) -> T:
    """Run the steps on the loop; raise `late` at the end of the time (of the loop)."""
    try:
        socket, wanted = next(steps)
        while True:
            ready = await _ready(socket, wanted, end)
            if not ready:
                steps.close()
                raise late("no answer in time")
            socket, wanted = steps.send(ready)
    except StopIteration as done:
        return cast("T", done.value)


async def _ready(socket: int, wanted: int, end: float) -> int:
    """Wait on the loop until a socket is ready; return for what, 0 at the end of the time."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[int] = loop.create_future()

    def wake(what: int) -> None:
        if not waiter.done():
            waiter.set_result(what)

    timer = loop.call_at(end, wake, 0)
    try:
        if wanted & READ:
            loop.add_reader(socket, wake, READ)
        if wanted & WRITE:
            loop.add_writer(socket, wake, WRITE)
        return await waiter
    finally:
        timer.cancel()
        loop.remove_reader(socket)
        loop.remove_writer(socket)


def _explain(error: Unsent | Lost | Failed) -> BackendDown:
    if isinstance(error, Failed):
        cure = _CURES.get(error.state, "see its log")
        return BackendDown(f"PostgreSQL: {error.text}: {cure} ({error.state})")
    if isinstance(error, Lost):
        return BackendDown(f"PostgreSQL: {error}; it may have taken effect", unknown=True)
    return BackendDown(f"PostgreSQL: no connection: {error}")
