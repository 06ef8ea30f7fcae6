"""Settlement: what a commit asks of the script, and what the script's answer says."""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from tradeguard.core.conditions import (
    MICROSECOND,
    NEVER,
    Advance,
    Below,
    Condition,
    Limit,
    Once,
    Outcome,
    Quota,
    Usage,
    Use,
    by_rank,
)
from tradeguard.core.errors import ConfigError

LATEST: Final = 2**53 - 1  # the latest tick: what the script counts exactly
WIDTH: Final = 16  # bytes of a value
_BIAS: Final = 1 << 127  # makes a number that may be negative one that is compared byte by byte
_LARGEST: Final = 2**64
_BASE: Final = 2**32  # a total is a pair: high * 2**32 + low
_HOLDS: Final = ord("1")
_KIND: Final = (b"r", b"p")


class Names:
    """The keys of one deployment. The part in braces is its hash tag: all of them share a slot of a cluster.

    Raises:
        ConfigError: the name would break the tag.
    """

    def __init__(self, name: str) -> None:
        if not name.isascii() or not name.isprintable() or not name or "{" in name or "}" in name:
            raise ConfigError("name: use printable ASCII without braces; it is part of every key")
        self._prefix = b"{tradeguard:%b}:" % name.encode()
        self.store, self.once, self.expiry, self.held = map(self.key, (b"store", b"once", b"expiry", b"held"))
        self.tops, self.topped, self.numbers = map(self.key, (b"tops", b"topped", b"numbers"))
        self.names, self.endings = map(self.key, (b"names", b"endings"))
        self.settled = [self.store, self.once, self.expiry, self.held, self.tops, self.topped, self.numbers]

    def key(self, name: bytes) -> bytes:
        """Return a key."""
        return self._prefix + name

    def window(self, quota: Quota, limit: Limit) -> bytes:
        """Return the key of a window."""
        kind, live = _KIND[bool(limit.burst)], b"live" if quota.enforced else b"shadow"
        return self._prefix + b"%b:%b:%d:%b" % (kind, live, limit.period, encode(quota.key))

    def given(self, request_id: str, quota: str) -> bytes:
        """Return the key of what was given back of a charge."""
        id = encode(request_id)
        return self._prefix + b"given:%d:%b%b" % (len(id), id, encode(quota))


class Head(NamedTuple):
    """What every answer begins with: the store's time and since when it remembers, in ticks; its epoch and version."""

    time: int
    epoch: str
    version: int
    since: int


class Ticks:
    """Times of the script: whole ticks of so many ns."""

    def __init__(self, tick: int) -> None:
        self.tick = tick

    def up(self, time: int) -> int:
        """Return a time (ns) in ticks, rounded up, and never beyond what the script counts exactly."""
        return max(-LATEST, min(-(-time // self.tick), LATEST))

    def conditions(self, conditions: Iterable[Condition], names: Names) -> tuple[list[bytes], list[bytes]]:
        """Return the keys of the windows and the arguments of conditions."""
        keys, arguments = list[bytes](), list[bytes]()
        for condition in conditions:
            if isinstance(condition, Once):
                arguments += b"o", *_member(condition.key), b"%d" % self.up(condition.until)
            elif isinstance(condition, Advance):
                value = condition.value.to_bytes(WIDTH)
                arguments += b"a", *_member(condition.key), value, b"%d" % condition.width
            elif isinstance(condition, Below):
                wanted = [encode(key) for key in condition.keys]
                arguments += b"b", pack(condition.value), b"%d" % len(wanted), *wanted
            else:
                keys += [names.window(condition, limit) for limit in condition.windows]
                arguments += self._quota(condition)
        return keys, arguments

    def outcome(self, reply: bytes, conditions: Sequence[Condition]) -> tuple[Outcome, Head]:
        """Read the answer to a commit.

        Raises:
            ValueError: it makes no sense.
        """
        line, _, rest = reply.partition(b"\n")
        *parts, marks = line.split(b" ")
        head = self.head(parts)
        if marks == b"behind":
            return Outcome((), head.time, head.epoch, head.version, behind=True), head
        quotas = [condition for condition in conditions if isinstance(condition, Quota)]
        packing = f">{2 + 3 * sum([len(quota.windows) for quota in quotas])}d"
        full, ready, *uses = struct.unpack_from(packing, rest)
        first = rest[struct.calcsize(packing) :]
        if len(marks) != len(conditions) + 1:
            raise ValueError("no answer to these conditions")
        failed = [condition for condition, mark in zip(conditions, marks[1:], strict=True) if mark != _HOLDS]
        return Outcome(
            by_rank(failed),
            head.time,
            head.epoch,
            head.version,
            self._usage(quotas, uses),
            decode(first) if first else None,
            full=bool(full),
            ready=NEVER if ready < 0 else int(ready) * self.tick,
        ), head

    def head(self, parts: Sequence[bytes]) -> Head:
        """Read what every answer begins with; times become ns."""
        time, epoch, version, since = parts
        return Head(int(time) * self.tick, epoch.decode(), int(version), int(since) * self.tick)

    def _quota(self, quota: Quota) -> list[bytes]:
        asked = [b"q", b"%d" % quota.binding, b"%d" % quota.enforced, b"%d" % quota.cost, b"%d" % len(quota.windows)]
        for limit in quota.windows:
            if limit.burst:
                asked += b"p", b"%d" % limit.amount, b"%d" % (limit.period // MICROSECOND), b"%d" % limit.burst
            else:
                period, grain = self.up(limit.period), self.up(limit.grain)
                asked += b"r", b"%d" % limit.amount, b"%d" % period, b"%d" % grain
        return asked

    def _usage(self, quotas: Sequence[Quota], told: Sequence[float]) -> Usage:
        """Read three numbers per window: whole ones, as everything in the script."""
        usage, place = dict[str, tuple[Use, ...]](), 0
        for quota in quotas:
            end = place + 3 * len(quota.windows)
            thirds = zip(told[place:end:3], told[place + 1 : end : 3], told[place + 2 : end : 3], strict=True)
            usage[quota.key] = tuple(
                [Use(int(high) * _BASE + int(low), int(fewer) * self.tick) for high, low, fewer in thirds]
            )
            place = end
        return usage


def pack(number: int) -> bytes:
    """Return a number for `Below` as bytes that are compared from the left."""
    return (max(-_LARGEST, min(number, _LARGEST)) + _BIAS).to_bytes(WIDTH)


def unpack(packed: bytes) -> int:
    """Return the number of `pack`."""
    return int.from_bytes(packed) - _BIAS


def encode(text: str) -> bytes:
    """Return a text as bytes, whatever it holds."""
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """Return the text of `encode`."""
    return data.decode("utf-8", "surrogatepass")


def _member(key: tuple[str, bytes]) -> tuple[bytes, bytes]:
    owner = encode(key[0])
    return owner, b"%d:%b%b" % (len(owner), owner, key[1])
