"""Wire: one question to a server and its answer, step by step; who runs the steps does the waiting.

A step yields the descriptor and what to wait for (1: to read, 2: to write) and is sent what is possible. Only
`psycopg.pq` is used (https://www.psycopg.org/psycopg3/docs/api/pq.html): its pools and cursors keep tasks, threads and
prepared statements, and cancel by a second connection that a stopped server does not answer either.

Each question is one statement, unnamed and with its parameters apart, so it is one transaction by itself and leaves
nothing behind in the session: PgBouncer may give every one to another server connection.
"""

import struct
from collections.abc import Generator, Sequence
from typing import Final, NamedTuple, TypeVar

from tradeguard.core.errors import ConfigError

try:
    import psycopg
    from psycopg import OperationalError, pq, sql
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError as error:
    raise ConfigError('PostgreSQL needs psycopg: pip install "tradeguard[postgres]"') from error

__all__ = [
    "READ",
    "WRITE",
    "Failed",
    "Lost",
    "Parameter",
    "Row",
    "Steps",
    "Unsent",
    "asking",
    "binaries",
    "binary",
    "boolean",
    "connecting",
    "conninfo_to_dict",  # psycopg is imported here and nowhere else
    "integer",
    "integers",
    "make_conninfo",
    "pq",
    "psycopg",
    "read_binaries",
    "read_integer",
    "read_integers",
    "sql",
    "text",
]
T = TypeVar("T")
READ, WRITE = 1, 2
Steps = Generator[tuple[int, int], int, T]
Row = tuple[bytes | None, ...]
_TUPLES: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_INT8, _BYTEA, _TEXT, _BOOL = 20, 17, 25, 16
_INT8S, _BYTEAS = 1016, 1001


class Lost(Exception):
    """The connection broke, or an answer did not come, after something was sent: nobody knows what has happened."""


class Unsent(Exception):
    """Nothing was sent: there is no connection."""


class Failed(Exception):
    """The server says that it did nothing, and why.

    Args:
        state: SQLSTATE.
        text: its words.
    """

    def __init__(self, state: str, text: str) -> None:
        super().__init__(text)
        self.state, self.text = state, text


class Parameter(NamedTuple):
    """A value as the server reads it: the number of its type, and its binary form."""

    type: int
    value: bytes | None


def connecting(conninfo: bytes) -> Steps[pq.abc.PGconn]:
    """Open a connection.

    Raises:
        Unsent: there is none to be had.
    """
    try:
        connection = pq.PGconn.connect_start(conninfo)
        while True:
            polled = pq.PollingStatus.FAILED if connection.status == pq.ConnStatus.BAD else connection.connect_poll()
            if polled == pq.PollingStatus.OK:
                connection.nonblocking = 1
                return connection
            if polled == pq.PollingStatus.FAILED:
                text = connection.get_error_message()
                connection.finish()
                raise Unsent(text)
            yield connection.socket, READ if polled == pq.PollingStatus.READING else WRITE
    except OperationalError as error:
        raise Unsent(str(error)) from error


def asking(connection: pq.abc.PGconn, query: bytes, parameters: Sequence[Parameter]) -> Steps[list[Row]]:
    """Send one statement; return the rows that it answers with, once the server has said that all of it is done.

    Raises:
        Failed: nothing took effect.
        Lost: it may have.
    """
    try:
        connection.send_query_params(
            query,
            [parameter.value for parameter in parameters],
            param_types=[parameter.type for parameter in parameters],
            param_formats=[1] * len(parameters),
            result_format=1,
        )
        while connection.flush():
            if (yield connection.socket, READ | WRITE) & READ:
                connection.consume_input()
        results: list[pq.abc.PGresult] = []
        while True:
            while connection.is_busy():
                yield connection.socket, READ
                connection.consume_input()
            result = connection.get_result()
            if result is None:
                break
            results.append(result)
    except OperationalError as error:
        raise Lost(str(error)) from error
    return _read(connection, results)


def _read(connection: pq.abc.PGconn, results: Sequence[pq.abc.PGresult]) -> list[Row]:
    """Return the rows of an answer; one that ends in a broken connection is none, whatever it began with."""
    if connection.status == pq.ConnStatus.BAD or not results:
        raise Lost(connection.get_error_message())
    for result in results:
        if result.status not in _TUPLES:
            raise Failed(
                _field(result, pq.DiagnosticField.SQLSTATE), _field(result, pq.DiagnosticField.MESSAGE_PRIMARY)
            )
    last = results[-1]
    return [tuple(last.get_value(row, column) for column in range(last.nfields)) for row in range(last.ntuples)]


def _field(result: pq.abc.PGresult, field: pq.DiagnosticField) -> str:
    return (result.error_field(field) or b"").decode("utf-8", "replace")


# values, in the binary form of the server


def integer(value: int | None) -> Parameter:
    """A bigint."""
    return Parameter(_INT8, None if value is None else value.to_bytes(8, "big", signed=True))


def boolean(value: bool) -> Parameter:
    """A boolean."""
    return _TRUE if value else _FALSE


def binary(value: bytes | None) -> Parameter:
    """A bytea."""
    return Parameter(_BYTEA, value)


def text(value: str | None) -> Parameter:
    """A text; it must hold no NUL."""
    return Parameter(_TEXT, None if value is None else value.encode())


def integers(values: Sequence[int], width: int = 0) -> Parameter:
    """A bigint[], or a bigint[][] of rows so wide."""
    if not values:
        return _NO_INTEGERS
    count = len(values)
    sizes = (count // width, 1, width, 1) if width else (count, 1)
    head = struct.pack(f"!iii{len(sizes)}i", len(sizes) // 2, 0, _INT8, *sizes)
    return Parameter(_INT8S, head + b"".join([_EIGHT + value.to_bytes(8, "big", signed=True) for value in values]))


def binaries(values: Sequence[bytes]) -> Parameter:
    """A bytea[]."""
    if not values:
        return _NO_BINARIES
    parts = [struct.pack("!iiiii", 1, 0, _BYTEA, len(values), 1)]
    for value in values:
        parts += (len(value).to_bytes(4, "big"), value)
    return Parameter(_BYTEAS, b"".join(parts))


_EIGHT: Final = (8).to_bytes(4, "big")
_TRUE, _FALSE = Parameter(_BOOL, b"\x01"), Parameter(_BOOL, b"\x00")
_NO_INTEGERS = Parameter(_INT8S, struct.pack("!iii", 0, 0, _INT8))
_NO_BINARIES = Parameter(_BYTEAS, struct.pack("!iii", 0, 0, _BYTEA))


def read_integer(value: bytes | None) -> int:
    """Read a bigint.

    Raises:
        ValueError: it is none.
    """
    if value is None or len(value) != 8:
        raise ValueError("not a bigint")
    return int.from_bytes(value, "big", signed=True)


def read_integers(value: bytes | None) -> list[int]:
    """Read a bigint[], however many dimensions it has, row by row."""
    return [read_integer(item) for item in read_binaries(value)]


def read_binaries(value: bytes | None) -> list[bytes]:
    """Read a bytea[], or the items of any array without nulls.

    Raises:
        ValueError: it is none.
    """
    if value is None or len(value) < 12:
        raise ValueError("not an array")
    dimensions, _, _ = struct.unpack_from("!iii", value)
    if not dimensions:
        return []
    place, items = 12 + 8 * dimensions, list[bytes]()
    while place < len(value):
        size = int.from_bytes(value[place : place + 4], "big", signed=True)
        if size < 0 or place + 4 + size > len(value):
            raise ValueError("not an array without nulls")
        items.append(value[place + 4 : place + 4 + size])
        place += 4 + size
    return items
