"""Dialect: a way of signing requests: a row of the table, or one of the few that fit no row. Reader: what reads it."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from tradeguard.core.credential import Claim
from tradeguard.core.request import Request
from tradeguard.signing.refusal import Refusal
from tradeguard.signing.row import Row
from tradeguard.signing.verifier import Signed, Verifier


@runtime_checkable
class Dialect(Protocol):
    """What is known of a dialect: see `tradeguard.signing.row.Row`, which is one."""

    @property
    def name(self) -> str:
        """As key records and operators call it."""
        ...

    @property
    def challenge(self) -> str:
        """As WWW-Authenticate says it."""
        ...

    @property
    def algorithms(self) -> Mapping[str, Any]:
        """The algorithms that its keys may have."""
        ...

    @property
    def coverage(self) -> frozenset[str]:
        """The parts of a request that its signatures cover."""
        ...

    @property
    def bound(self) -> bool:
        """Whether its keys must be held to networks."""
        ...

    @property
    def nonce_width(self) -> int:
        """How many of the highest nonces are kept apart, where they rise."""
        ...

    @property
    def refuse(self) -> Refusal | None:
        """How a refusal looks to its clients."""
        ...

    @property
    def clock(self) -> Mapping[str, Any]:
        """What the ready operation `time` answers its clients."""
        ...


class Reader(Protocol):
    """Reads the requests of one dialect; see `tradeguard.signing.verifier.Verifier`, which is one."""

    @property
    def row(self) -> Dialect:
        """The dialect."""
        ...

    def claim(self, request: Request) -> Claim | None:
        """Return the claim of this dialect, or None if the head carries none."""
        ...

    def check_absent(self, request: Request) -> None:
        """Raise `Refused` where the head carries a part of this dialect although it names no key."""
        ...

    def speaks(self, request: Request) -> bool:
        """Tell from the head alone whether its sender expects answers of this dialect."""
        ...

    def read(self, request: Request, claim: Claim, body: bytes) -> Signed:
        """Return what the request says was signed."""
        ...


@runtime_checkable
class Reading(Dialect, Protocol):
    """A dialect that fits no row: it brings its own reader."""

    def reader(self) -> Reader:
        """Return what reads its requests."""
        ...


def make_reader(dialect: Dialect) -> Reader:
    """Return what reads the requests of a dialect.

    Raises:
        TypeError: it is no row and brings no reader.
    """
    if isinstance(dialect, Row):
        return Verifier(dialect)
    if isinstance(dialect, Reading):
        return dialect.reader()
    raise TypeError(f"{dialect!r} is no dialect")
