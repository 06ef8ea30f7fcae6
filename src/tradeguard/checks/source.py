"""Gate: does this source keep failing? By (key, source), by source, by network; before body and crypto.

The first failures are free, then the wait doubles with each, up to 15 minutes (`tradeguard.core.lockout`). Failures
never count against a key alone, so nobody can lock a key out from elsewhere. A key that was proved from a source a
short while ago passes from there, whoever else fails there or in its name: many share an address, behind a NAT or a
proxy. An unknown address is never counted. A message that is sent again counts once against the source that sends it,
and not against the key: whoever has it may have read it in a log.
"""

from collections.abc import Coroutine, Iterable
from copy import copy
from functools import lru_cache
from typing import Any

from tradeguard.backends.memory import MemoryFailures, MemoryRecent
from tradeguard.checks.auth import Alarms
from tradeguard.checks.nodes import Nodes
from tradeguard.core.conditions import Charge, Outcome
from tradeguard.core.credential import Claim
from tradeguard.core.decision import Denial, register
from tradeguard.core.errors import ConfigError
from tradeguard.core.event import Event
from tradeguard.core.lockout import Failure, Name, networks_of
from tradeguard.core.ports import Failures, State
from tradeguard.core.request import Request

_TEXT = "Too many requests from here failed. Wait, mend the signature, and ask again."
PAIR = register(
    "source.pair", status=429, text=_TEXT, hint="Requests in this key's name from this address keep failing the proof."
)
ADDRESS = register("source.address", status=429, text=_TEXT, hint="Requests from this address keep failing the proof.")
_MINUTE = 60_000_000_000
_SECOND = 1_000_000_000


class Source:
    """Turns away who keeps failing.

    Args:
        pair: how many failures of one key from one source are free; they decay by half in 15 minutes.
        address: how many failures of one source are free. IPv6 counts by /64, and with 4 times as many by /56, 16 times
            by /48; IPv4 by address, and with 16 times as many by /24.
        table: where failures are counted: of fixed size.

    Raises:
        ConfigError: a number below 1.
    """

    name = "source"

    def __init__(self, *, pair: int = 3, address: int = 200, table: Failures | None = None) -> None:
        _check_free(pair, address)
        self._table: Failures = MemoryFailures() if table is None else table
        self._networks: Failures = MemoryFailures()
        self._proved, self._replayed = MemoryRecent(10 * _MINUTE), MemoryRecent(10 * _MINUTE)
        self._nodes, self._alarms = Nodes(self._proved), Alarms()
        self._pair, self._address = pair, address

    def with_free(self, *, pair: int, address: int) -> "Source":
        """Return one that lets other numbers of failures go free, and counts on in the tables of this one.

        Args:
            pair, address: see `Source`.

        Raises:
            ConfigError: a number below 1.
        """
        if (pair, address) == (self._pair, self._address):
            return self
        _check_free(pair, address)
        other = copy(self)
        other._pair, other._address = pair, address
        return other

    def door(self, source: str | None, at: int, /) -> Denial | None:
        """Return `source.address` while the source has to wait and no key was proved from there lately."""
        if source is None:
            return None
        name = (source,)
        until = self._table.until(name)
        if self._networks.latest > at or self._nodes.latest > at:
            until = max(until, self._until_around(source))
        if until <= at or self._proved.has(name, at):
            return None
        return _deny(ADDRESS, -((at - until) // _SECOND))

    def gate(self, request: Request, claim: Claim, /) -> Denial | None:
        """Return `source.pair` or `source.address` while key and source, or the source, have to wait.

        A key that was proved from this source within the last 10 minutes passes.
        """
        source, at = request.peer.source, request.arrived
        if source is None or self._proved.has((claim.key_id, source), at):
            return None
        pair = claim.key_id, source
        until = self._table.until(pair)
        if self._nodes.latest > at:
            until = max(until, self._nodes.until(pair))
        code = PAIR if until > at else ADDRESS
        if code is ADDRESS:
            until = max(self._table.until((source,)), self._until_around(source))
        return _deny(code, -((at - until) // _SECOND)) if until > at else None

    def failed(self, request: Request, claim: Claim | None, /) -> None:
        """Count a failure against the source and its networks, and against (key, source) where a key was claimed."""
        source, at = request.peer.source, request.arrived
        if source is None:
            return
        self._count_source(source, request)
        if claim is not None:
            pair = claim.key_id, source
            failure = self._count(self._table, pair, self._pair, at)
            if failure.news:
                self._alarms.locked(*pair, failure.total, failure.until, at, request.id)
            if not self._proved.has(pair, at):
                self._alarms.failed(*pair, at, request.id)

    def passed(self, request: Request, claim: Claim, /) -> None:
        """Remember that this key was proved from this source, and forget its failures there."""
        source, at = request.peer.source, request.arrived
        if source is None:
            return
        pair = claim.key_id, source
        self._proved.note(pair, at)
        self._proved.note((source,), at)
        if pair in self._table or self._nodes.until(pair):
            self._nodes.vouch(pair, at)
            count = self._table.clear(pair, at)
            if count:
                self._alarms.unlocked(*pair, count, at, request.id)

    def settled(self, request: Request, outcome: Outcome, /) -> None:
        """Count a message that was used before against who sends it again: once, however often he does."""
        source, credential = request.peer.source, request.credential
        if outcome.first is None or source is None or credential is None:
            return
        if self._replayed.first((credential.digest.hex(), source), request.arrived):
            self._count_source(source, request)

    def returns(self, _request: Request, _status: int, /) -> Iterable[Charge]:
        """Return nothing: a failure is not given back."""
        return ()

    def notices(self, at: int, /) -> Iterable[Event]:
        """Return what many failures come to, for the journal."""
        return self._alarms.take(at)

    def exchange(self, state: State, at: int, /) -> Coroutine[Any, Any, object] | None:
        """Return the work of telling other nodes of failures and hearing of theirs, where that is due."""
        return self._nodes.exchange(state, self._table.node, at)

    def _until_around(self, source: str) -> int:
        """Return until when a source has to wait by what other nodes tell of it, or by a network around it."""
        until = self._nodes.until((source,))
        for network, _ in networks_of(source):
            until = max(until, self._networks.until((network,)), self._nodes.until((network,)))
        return until

    def _count_source(self, source: str, request: Request) -> None:
        at, free = request.arrived, self._address
        failures = [(source, self._count(self._table, (source,), free, at))]
        for network, factor in networks_of(source):
            failures.append((network, self._count(self._networks, (network,), free * factor, at)))
        for where, failure in failures:
            if failure.news:
                self._alarms.locked("", where, failure.total, failure.until, at, request.id)

    def _count(self, table: Failures, name: Name, free: int, at: int) -> Failure:
        failure = table.add(name, at, free, self._nodes.count(name, at))
        self._nodes.note(name, failure, at)
        return failure


def _check_free(pair: int, address: int) -> None:
    if pair < 1 or address < 1:
        raise ConfigError("Source: pair and address are numbers of failures that are free, 1 or more")


@lru_cache(2048)
def _deny(code: str, seconds: int) -> Denial:
    """Make each of the few refusals once: whoever keeps coming back shall cost next to nothing."""
    return Denial(code, retry_after=seconds)
