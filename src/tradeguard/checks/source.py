"""Gate: does this source keep failing? By (key, source), then by source; before body and crypto.

A failure is a debt that drains with time; a debt above its burst closes the gate until it has drained below. Failures
never count against a key alone, so nobody can lock a key out from elsewhere. A key that was proved from a source a
short while ago passes from there, whoever else fails there or in its name: many share an address, behind a NAT or a
proxy. An unknown address is never counted.
"""

from functools import lru_cache

from tradeguard.backends.memory import MemoryRecent, MemoryTable
from tradeguard.core.credential import Claim
from tradeguard.core.decision import Denial, register
from tradeguard.core.errors import ConfigError
from tradeguard.core.ports import Table
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
        pair: failures per minute that one key and source may have, and in one burst.
        address: failures per minute that one source may have, and in one burst; IPv6 counts by /64.
        table: where debts are kept: of fixed size.

    Raises:
        ConfigError: a number below 1.
    """

    name = "source"

    def __init__(self, *, pair: int = 20, address: int = 200, table: Table | None = None) -> None:
        if pair < 1 or address < 1:
            raise ConfigError("Source: pair and address are failures per minute, 1 or more")
        self._table = table if table is not None else MemoryTable()
        self._proved = MemoryRecent(10 * _MINUTE)
        self._pair_cost, self._address_cost = _MINUTE // pair, _MINUTE // address

    def door(self, source: str | None, at: int, /) -> Denial | None:
        """Return `source.address` while the source's debt is too high and no key was proved from there lately."""
        if source is None or self._proved.has((source,), at):
            return None
        return self._closed((source,), at, ADDRESS)

    def gate(self, request: Request, claim: Claim, /) -> Denial | None:
        """Return `source.pair` or `source.address` while the debt of key and source, or of the source, is too high.

        A key that was proved from this source within the last 10 minutes passes.
        """
        source, at = request.peer.source, request.arrived
        if source is None or self._proved.has((claim.key_id, source), at):
            return None
        return self._closed((claim.key_id, source), at, PAIR) or self._closed((source,), at, ADDRESS)

    def failed(self, request: Request, claim: Claim | None, /) -> None:
        """Count a failure against the source, and against (key, source) where a key was claimed."""
        source = request.peer.source
        if source is not None:
            self._table.add((source,), self._address_cost, request.arrived)
            if claim is not None:
                self._table.add((claim.key_id, source), self._pair_cost, request.arrived)

    def passed(self, request: Request, claim: Claim, /) -> None:
        """Remember that this key was proved from this source."""
        source = request.peer.source
        if source is not None:
            self._proved.note((claim.key_id, source), request.arrived)
            self._proved.note((source,), request.arrived)

    def _closed(self, key: tuple[str, ...], at: int, code: str) -> Denial | None:
        wait = self._table.drained(key) - _MINUTE - at
        return _deny(code, -(-wait // _SECOND)) if wait > 0 else None


@lru_cache(256)
def _deny(code: str, seconds: int) -> Denial:
    """Make each of the few refusals once: whoever keeps coming back shall cost next to nothing."""
    return Denial(code, retry_after=seconds)
