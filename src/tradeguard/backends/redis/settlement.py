"""Settlement: what a commit asks of the script, and what the script's answer says."""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from tradeguard.core.conditions import (
    MICROSECOND,
    NEVER,
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
_WINDOW: Final = struct.Struct(">4d")  # amount, period, grain, burst
_TOLD: Final = struct.Struct(">2d")  # full, ready
_USE: Final = struct.Struct(">3d")  # high, low, fewer: whole numbers, as everything in the script
_KEPT: Final = 4_096  # encodings at hand: of what is asked for again and again, whoever asks


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
        return self._prefix + _kind(limit, quota.enforced) + encode(quota.key)

    def windows(self, quota: Quota) -> list[bytes]:
        """Return the keys of all windows of a quota."""
        prefix, key = self._prefix, encode(quota.key)
        return [prefix + kind + key for kind in _kinds(quota.windows, quota.enforced)]

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
            elif isinstance(condition, Quota):
                keys += names.windows(condition)
                arguments += _quota(condition[1:], self)
            elif isinstance(condition, Below):
                arguments += _below(condition)
            else:
                value = condition.value.to_bytes(WIDTH)
                arguments += b"a", *_member(condition.key), value, b"%d" % condition.width
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
        end = _TOLD.size + _USE.size * sum([len(quota.windows) for quota in quotas])
        full, ready = _TOLD.unpack_from(rest)
        uses = [
            Use(int(high) * _BASE + int(low), int(fewer) * self.tick)
            for high, low, fewer in _USE.iter_unpack(rest[_TOLD.size : end])
        ]
        first = rest[end:]
        if len(marks) != len(conditions) + 1 or full not in (0, 1) or ready < -1:
            raise ValueError("no answer to these conditions")
        failed = [condition for condition, mark in zip(conditions, marks[1:], strict=True) if mark != _HOLDS]
        return Outcome(
            by_rank(failed),
            head.time,
            head.epoch,
            head.version,
            _usage(quotas, uses),
            decode(first) if first else None,
            full=bool(full),
            ready=NEVER if ready < 0 else int(ready) * self.tick,
        ), head

    def head(self, parts: Sequence[bytes]) -> Head:
        """Read what every answer begins with; times become ns."""
        time, epoch, version, since = parts
        return Head(int(time) * self.tick, epoch.decode(), int(version), int(since) * self.tick)

    def window(self, limit: Limit) -> bytes:
        """Return a window as the script reads it."""
        if limit.burst:
            return _WINDOW.pack(limit.amount, limit.period // MICROSECOND, 0, limit.burst)
        return _WINDOW.pack(limit.amount, self.up(limit.period), self.up(limit.grain), 0)


def _usage(quotas: Sequence[Quota], uses: Sequence[Use]) -> Usage:
    usage, place = dict[str, tuple[Use, ...]](), 0
    for quota in quotas:
        end = place + len(quota.windows)
        usage[quota.key], place = tuple(uses[place:end]), end
    if place != len(uses):
        raise ValueError("no answer to these quotas")
    return usage


@lru_cache(_KEPT)
def _quota(asked: tuple[tuple[Limit, ...], int, bool, bool], ticks: Ticks) -> tuple[bytes, ...]:
    """Return the arguments of a quota, whosever it is."""
    windows, cost, binding, enforced = asked
    return b"q", b"%d" % binding, b"%d" % enforced, b"%d" % cost, b"".join([ticks.window(limit) for limit in windows])


@lru_cache(_KEPT)
def _below(below: Below) -> tuple[bytes, ...]:
    return b"b", pack(below.value), b"%d" % len(below.keys), *[encode(key) for key in below.keys]


@lru_cache(_KEPT)
def _kinds(windows: tuple[Limit, ...], enforced: bool) -> tuple[bytes, ...]:
    return tuple([_kind(limit, enforced) for limit in windows])


def _kind(limit: Limit, enforced: bool) -> bytes:
    """Return what the key of a window begins with, before whose it is."""
    return b"%b:%b:%d:" % (_KIND[bool(limit.burst)], b"live" if enforced else b"shadow", limit.period)


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
