"""Pool: connections of the threads of one process; each call has one of its own."""

import os
from typing import Any, NamedTuple

from tradeguard.backends.redis.client import (
    FAILURES,
    INFO,
    Address,
    Connection,
    NoScriptError,
    explain,
    is_lasting,
)
from tradeguard.backends.redis.script import Call
from tradeguard.core.errors import ConfigError


class _Open(NamedTuple):
    connection: Connection
    run: bytes


class Pool:
    """As many connections as threads use at once. After a fork the child opens its own.

    Args:
        address: where to connect to.
    """

    def __init__(self, address: Address) -> None:
        self._address, self._pid = address, os.getpid()
        self._idle: list[_Open] = []

    async def call(self, call: Call) -> Any:
        """Run a script, holding the thread; never suspends.

        Raises:
            BackendDown: no answer; where it is `unknown`, it may have been run.
            ConfigError: the server must not be used as it is.
        """
        found = self._take()
        try:
            try:
                reply = self._ask(found.connection, call.packed(found.run))
            except NoScriptError:  # it says that nothing was run
                reply = self._ask(found.connection, call.unabridged(found.run))
        except FAILURES as error:
            if is_lasting(error):
                self._idle.append(found)
            else:
                found.connection.disconnect()
            raise explain(self._address, error, unknown=True) from error
        except BaseException:
            found.connection.disconnect()
            raise
        self._idle.append(found)
        return reply

    def close(self) -> None:
        """Close the connections that nobody uses now; the next call opens one."""
        idle, self._idle = self._idle, []
        if self._pid == os.getpid():
            for found in idle:
                found.connection.disconnect()

    def _take(self) -> _Open:
        if self._pid != os.getpid():
            self._idle, self._pid = [], os.getpid()  # those of the parent are let go of, not shut down
        while True:
            try:
                found = self._idle.pop()
            except IndexError:
                return self._open()
            if _is_quiet(found.connection):
                return found
            found.connection.disconnect()

    def _open(self) -> _Open:
        connection = self._address.connection()
        try:
            connection.connect()
            try:
                info = self._ask(connection, INFO)
            except FAILURES as error:
                if not is_lasting(error):
                    raise
                info = error
            return _Open(connection, self._address.greet(info))
        except ConfigError:
            connection.disconnect()
            raise
        except FAILURES as error:
            connection.disconnect()
            raise explain(self._address, error, unknown=False) from error

    def _ask(self, connection: Connection, packed: bytes) -> Any:
        connection.send_packed_command([packed], check_health=False)
        return connection.read_response(disable_decoding=True)


def _is_quiet(connection: Connection) -> bool:
    """Tell whether a connection is open and has nothing to say, as one that is not used should."""
    try:
        return not connection.can_read(timeout=0)
    except FAILURES:
        return False
