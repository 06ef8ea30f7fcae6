"""Redis: state in a Redis or Valkey server, shared by all nodes. Each step is one script in one round trip.

Guarantee: as long as one server runs, a message is accepted once by all nodes, by the server's clock. Where the server
was restarted, a replica took over, or a copy was restored, the store is of a new epoch: every node that had seen the
old one is told so and settles nothing with it (`Outcome.behind`), and `since` says from when on it remembers. That
holds for a failover that lost nothing, too: nobody can know. Numbers for `Below` are kept where the server kept them.
"""

import secrets
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final, TypeVar

from tradeguard.backends.redis.client import Address
from tradeguard.backends.redis.pipeline import Pipeline
from tradeguard.backends.redis.pool import Pool
from tradeguard.backends.redis.script import Script, read
from tradeguard.backends.redis.settlement import WIDTH, Names, Ticks, decode, encode, pack, unpack
from tradeguard.backends.room import Room, check_conditions, check_refund
from tradeguard.core.conditions import (
    Advance,
    Below,
    Charge,
    Condition,
    Look,
    Once,
    Outcome,
    Quota,
    Seen,
    Stored,
    longest,
)
from tradeguard.core.errors import BackendDown
from tradeguard.core.ports import Colour

T = TypeVar("T")
LARGEST: Final = 2**63 - 1
_FLAG: Final = (b"0", b"1")


class _Settled:
    """What the two colours share: everything but how a call is made."""

    supports: frozenset[type] = frozenset({Once, Advance, Below, Quota})
    tick: ClassVar[int] = 1_000
    """ns of one tick of the scripts' clock."""
    scripts: ClassVar[dict[str, Script]] = {
        "commit": Script(read("window.lua", "commit.lua")),
        "refund": Script(read("window.lua", "refund.lua")),
        "set": Script(read("set.lua")),
        "look": Script(read("look.lua")),
    }
    """What is run there."""

    _line: Pipeline | Pool

    def __init__(
        self,
        url: str,
        *,
        name: str = "main",
        capacity: int = 1_000_000,
        per_key: int = 100_000,
        deadline: float = 0.05,
        opening: float = 0.5,
        accept_unknown_server: bool = False,
    ) -> None:
        self._room, self._names, self._ticks = Room(capacity, per_key), Names(name), Ticks(self.tick)
        self._salt, self._since = secrets.token_hex(8).encode() + b".", time.time_ns()
        self._address = Address(url, opening=opening, deadline=deadline, accept_unknown_server=accept_unknown_server)

    @property
    def since(self) -> int:
        """From when on the store remembers, ns UTC; before its first answer, when this object was made."""
        return self._since

    async def commit(
        self,
        conditions: Iterable[Condition],
        at: int,
        request_id: str,
        seen: Seen | None,
        denied: bool = False,
        reserve: bool = False,
    ) -> Outcome:
        """Settle the conditions in one step; see `tradeguard.core.conditions`. The time is the server's, not `at`.

        Raises:
            BackendDown: nothing was settled; where it is `unknown`, it may have been. Whoever asks for the same `Once`
                again is told by `Outcome.first` whose it was: the id of the request in doubt means that it was settled.
        """
        conditions = tuple(conditions)
        check_conditions(conditions, self, self.supports)
        keys, asked = self._ticks.conditions(conditions, self._names)
        epoch, version = (b"", b"") if seen is None else (encode(seen[0]), b"%d" % min(seen[1], LARGEST))
        room, share = self._room.limits(reserve)
        limits = _FLAG[denied], b"%d" % room, b"%d" % share
        asked[:0] = self._salt, encode(request_id), epoch, version, *limits
        reply = await self._run("commit", self._names.settled + keys, asked, at)
        outcome, head = self._read(lambda: self._ticks.outcome(reply, conditions))
        self._since = head.since
        return outcome

    async def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
        """Store a number for `Below`, until a time (ns UTC, rounded up to a microsecond) or for good.

        Returns:
            The new version of the store.

        Raises:
            ValueError: it is no number of 64 bits.
        """
        return await self._set(key, value, until, record, lift=False)

    async def lift(self, key: str, value: int) -> int:
        """Store a number for `Below`, for good, unless a higher one is stored; return the new version."""
        return await self._set(key, value, None, b"", lift=True)

    async def look(self, prefix: str) -> Look:
        """Return the numbers whose key begins with a prefix and that still hold."""
        start = encode(prefix)
        span = [b"[" + start, b"(" + start + b"\xff"] if start else [b"-", b"+"]
        keys = [self._names.store, self._names.numbers, self._names.names]
        reply = await self._run("look", keys, [self._salt, *span], 0)
        return self._read(lambda: self._looked(reply))

    async def refund(self, charge: Charge, item: str, units: int, at: int) -> bool:
        """Give units of a charge back, once per item and never more than it cost; tell whether they counted."""
        check_refund(units)
        quota, spent, request_id = charge
        rolling = [limit for limit in quota.windows if not limit.burst]
        keys = [self._names.window(quota, limit) for limit in rolling]
        edges = [b"%d" % self._ticks.up(limit.edge(spent)) for limit in rolling]
        until = self._ticks.up(spent + longest(quota))
        asked = [self._salt, encode(item), b"%d" % units, b"%d" % quota.cost, b"%d" % until, *edges]
        given = self._names.given(request_id, quota.key)
        reply = await self._run("refund", [self._names.store, given, *keys], asked, at)
        return self._read(lambda: self._refunded(reply))

    def close(self) -> None:
        """Let go of the connections; the next use opens them again."""
        self._line.close()

    async def _set(self, key: str, value: int, until: int | None, record: bytes, *, lift: bool) -> int:
        if abs(value) > LARGEST:
            raise ValueError("a number for Below lies between -(2**63 - 1) and 2**63 - 1")
        names = self._names
        ending = b"" if until is None else b"%d" % self._ticks.up(until)
        asked = [self._salt, encode(key), pack(value), ending, record, _FLAG[lift]]
        reply = await self._run("set", [names.store, names.numbers, names.names, names.endings], asked, 0)
        return self._read(lambda: self._ticks.head(reply.split(b" "))).version

    async def _run(self, script: str, keys: Sequence[bytes], asked: Sequence[bytes], at: int) -> Any:
        """Run a script. `at` is not sent: the time is the server's."""
        return await self._line.call(self.scripts[script].call(keys, asked))

    def _looked(self, reply: Sequence[bytes]) -> Look:
        head, *found = reply
        time, epoch, version, _ = self._ticks.head(head.split(b" "))
        pairs = zip(found[::2], found[1::2], strict=True)
        return Look({decode(name): self._stored(stored) for name, stored in pairs}, time, epoch, version)

    def _stored(self, stored: bytes) -> Stored:
        until, _, record = stored[WIDTH:].partition(b":")
        return Stored(unpack(stored[:WIDTH]), int(until) * self.tick if until else None, record)

    def _refunded(self, reply: bytes) -> bool:
        *head, counted = reply.split(b" ")
        self._ticks.head(head)
        return bool(_FLAG.index(counted))

    def _read(self, parse: Callable[[], T]) -> T:
        """Read an answer; one that makes no sense is no answer, though something may have been done."""
        try:
            return parse()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
            raise BackendDown(f"{self._address.name}: it answers what no script of ours says", unknown=True) from error


class Redis(_Settled):
    """State in Redis or Valkey, for hosts with an event loop. It settles all four conditions.

    Args:
        url: `redis://user:password@host:port/0`, `rediss://` for TLS, or `unix://path`; options of redis-py as its
            query.
        name: of the deployment: all nodes that share keys share it. Every key begins with `{tradeguard:<name>}:`.
        capacity: most live nonces, 300 bytes each, about. The last tenth is kept for the cancel lane. As many keys may
            have advancing values, which live for ever.
        per_key: most of either for one key. The last tenth is kept for the cancel lane.
        deadline: seconds until a call is given up.
        opening: seconds until the opening of a connection is given up; a call does not wait for it beyond its deadline.
        accept_unknown_server: go on where the server does not answer INFO, because its provider forbids that. You have
            seen to `noeviction` yourself, and know that a failover which loses writes then goes unnoticed.

    Raises:
        ConfigError: the numbers leave no room, or that is no URL. At the first use: the server evicts keys, is too old,
            or does not say what it is.
    """

    colour: Colour = "async"

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._line = Pipeline(self._address)


class BlockingRedis(_Settled):
    """`Redis` for hosts without an event loop: each call holds its thread for at most its deadline.

    Args:
        url: as in `Redis`; so are the options, but that opening a connection holds the thread as well.
    """

    colour: Colour = "blocking"

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._line = Pool(self._address)
