"""CachedKeys: a node's own view of a key store, for the way of a request.

The rules:

1.  A change made through the cache is seen by the next request. One made elsewhere is seen once the store was polled,
    which the first request does that comes `poll` after the last time. A store that cannot tell what has changed is
    asked for every key again after `poll`.
2.  Where the store does not answer, what is known is used until `stale_after` since it last told its changes (a store
    that cannot: since it last told of that key); then nothing is.
3.  Keys that verify are kept apart from the others: unknown, suspended and revoked ids share a cache of a fixed size,
    so that strangers displace no key, and all of them cost the same.
4.  So many look-ups at once and no more reach the store.
5.  Uses are noted once a minute and key, and written off the way of a request.
"""

import logging
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.event import Event
from tradeguard.core.key import Changes, KeyRecord, Mark, Material
from tradeguard.core.ports import Closing, Colour, Journal, KeyAdmin, Keys
from tradeguard.keys.format import plausible

_MINUTE: Final = 60_000_000_000
_AT_ONCE: Final = 32  # look-ups
_OTHERS: Final = 16_384  # ids that do not verify
_ABSENT: Final = object()
_log = logging.getLogger("tradeguard")
V = TypeVar("V")
_Cache = OrderedDict[str, KeyRecord | None]


class CachedKeys:
    """Keys, as this node knows them.

    Args:
        source: the key store.
        journal: where the use of a key that has been replaced is told.
        size: most keys kept; about 2 KB each.
        poll: how long the view may lag behind the store, in ns.
        stale_after: how long it may while the store does not answer, in ns.
        clock: monotonic ns.

    Raises:
        ConfigError: a size or a time below 1.
    """

    def __init__(
        self,
        source: Keys,
        *,
        journal: Journal | None = None,
        size: int = 100_000,
        poll: int = 250_000_000,
        stale_after: int = 30_000_000_000,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if min(size, poll, stale_after) < 1:
            raise ConfigError("CachedKeys: size is a number of keys, poll and stale_after are in ns, all at least 1")
        self.source = source
        self.colour: Colour = source.colour
        self._admin = source if isinstance(source, KeyAdmin) else None
        self._journal, self._size, self._clock = journal, size, clock
        self._poll_every, self._stale_after = poll, stale_after
        self._known: _Cache = OrderedDict()
        self._last: OrderedDict[str, tuple[KeyRecord, int]] = OrderedDict()  # what a find-only store had said, and when
        self._others: _Cache = OrderedDict()
        self._mark: Mark | None = None
        self._due = self._answered = 0
        self._generation = 0
        self._flights: list[None] = []
        self._uses: dict[str, int] = {}
        self._replaced: dict[str, tuple[KeyRecord, int]] = {}
        self._writes = self._admin is not None and self.colour != "async"
        self._written = clock()
        self._lock = threading.Lock()
        begin = weakref.WeakMethod(self._begin_in_child)
        os.register_at_fork(after_in_child=lambda: (method := begin()) is not None and method())

    async def find(self, id: str, /) -> KeyRecord | None:
        """Return the record of a key id, or None.

        Raises:
            BackendDown: the store has not answered for too long, or too many ask it at once.
        """
        now = self._clock()
        if now >= self._due or self._is_stale(now):
            await self._poll(now)
        record = self._known.get(id)
        return record if record is not None else await self._look_up(id)

    def stands(self, id: str, at: int, /) -> bool:
        """Tell whether a key verifies at a time (ns UTC). A store that waits on a loop cannot be asked here: then only
        what is known counts.
        """
        record = self._known.get(id)
        if self.colour in ("instant", "brief"):
            try:
                record = drive(self.find(id))
            except BackendDown:
                return False
        return record is not None and record.usable(at)

    def used(self, record: KeyRecord, at: int, /) -> None:
        """Take note that a key was used, ns UTC."""
        if record.id not in self._uses and self._writes:
            self._uses[record.id] = at
        if record.successor:
            self._replaced[record.id] = record, at

    def renew(self) -> None:
        """Ask the store what has changed with the next request."""
        self._due = 0

    async def put(self, records: Sequence[KeyRecord], /) -> None:
        """Store new keys and next versions of known ones; see `KeyAdmin.put`. The next request sees them."""
        try:
            await self._administered.put(records)
        finally:
            self._forget([record.id for record in records])

    async def list(self, after: str = "", limit: int = 1000) -> list[KeyRecord]:
        """Return the next records by id, after one, as the store has them."""
        return await self._administered.list(after, limit)

    async def holder(self, material: Material, /) -> str | None:
        """Return the id of the key that has this material, or None."""
        return await self._administered.holder(material)

    async def changes(self, mark: Mark | None, /) -> Changes:
        """Tell what has changed since a mark."""
        return await self._administered.changes(mark)

    async def touch(self, uses: Mapping[str, int], /) -> None:
        """Keep when keys were last used."""
        await self._administered.touch(uses)

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return when keys were last used, as the store has it: up to a minute late."""
        return await self._administered.uses(ids)

    def clear(self) -> None:
        """Forget everything; the store is asked again."""
        self._forget(None)

    def close(self) -> None:
        """Write down the uses and let go of the store; the next use opens it again."""
        if self._uses:
            self._write_uses()
        if isinstance(self.source, Closing):
            self.source.close()

    def __len__(self) -> int:
        """Return how many ids are held, of keys and of others."""
        return len(self._known) + len(self._others) + len(self._last)

    @property
    def _administered(self) -> KeyAdmin:
        if self._admin is None:
            raise ConfigError(f"{type(self.source).__name__} only finds keys; change them where they are kept")
        return self._admin

    async def _look_up(self, id: str) -> KeyRecord | None:
        """Ask the store (rules 2 to 4). An id of our own form that is mistyped needs no asking."""
        held = self._others.get(id, _ABSENT)
        if held is None or isinstance(held, KeyRecord):
            return held
        if not plausible(id):
            return None
        generation = self._generation
        self._flights.append(None)
        try:
            if len(self._flights) > _AT_ONCE:
                raise BackendDown(f"{_AT_ONCE} look-ups are waiting for {type(self.source).__name__}")
            record = await self._ask(id)
        finally:
            self._flights.pop()
        live = record is not None and record.usable(time.time_ns())
        with self._lock:
            cache, size = (self._known, self._size) if live else (self._others, _OTHERS)
            if generation == self._generation:  # else what was read may be older than the change
                _keep(cache, id, record, size)
        return record

    async def _ask(self, id: str) -> KeyRecord | None:
        """Ask the store; where a find-only one does not answer, go on with what it last said (rule 2)."""
        try:
            record = await self.source.find(id)
        except BackendDown:
            last = self._last.get(id)
            if last is None or self._clock() - last[1] > self._stale_after:
                raise
            return last[0]
        if self._admin is None and record is not None:
            _keep(self._last, id, (record, self._clock()), self._size)
        elif self._admin is None:
            self._last.pop(id, None)
        return record

    async def _poll(self, now: int) -> None:
        """Follow the store (rules 1 and 2). Others go on with what is known meanwhile, once something is."""
        if self._mark is not None or self._admin is None:
            self._due = now + self._poll_every
        self._start_writing(now)
        if self._admin is None:
            with self._lock:
                self._known, self._others = OrderedDict(), OrderedDict()
                self._generation += 1
            return
        try:
            changes = await self._admin.changes(self._mark)
        except BackendDown as error:
            if now - self._answered > self._stale_after:
                self._due = now
                raise
            _log.warning("the key store does not answer; going on with what is known: %s", error)
            return
        self._answered, self._due = now, now + self._poll_every
        if changes.mark != self._mark:
            self._mark = changes.mark
            self._forget(changes.ids)

    def _forget(self, ids: Sequence[str] | None) -> None:
        with self._lock:
            self._generation += 1
            if ids is None:
                self._known, self._others, self._last = OrderedDict(), OrderedDict(), OrderedDict()
                return
            for id in ids:
                self._known.pop(id, None)
                self._others.pop(id, None)

    def _is_stale(self, now: int) -> bool:
        return self._admin is not None and now - self._answered > self._stale_after

    def _begin_in_child(self) -> None:
        """Forget in a forked child what threads of the parent were about to do."""
        self._lock = threading.Lock()
        self._flights.clear()

    def _start_writing(self, now: int) -> None:
        if self._uses and now - self._written >= _MINUTE:
            self._written = now
            threading.Thread(target=self._write_uses, name="tradeguard-key-uses", daemon=True).start()

    def _write_uses(self) -> None:
        """Write down which keys were used (rule 5), and tell of those that were used after their successor was."""
        uses, self._uses = self._uses, {}
        replaced, self._replaced = self._replaced, {}
        try:
            admin = self._administered
            successors = drive(admin.uses([record.successor for record, _ in replaced.values()]))
            drive(admin.touch(uses))
        except (BackendDown, ConfigError) as error:
            _log.warning("when %d keys were last used is not written down: %s", len(uses), error)
            return
        for record, at in replaced.values():
            begun = min(successors.get(record.successor, at), uses.get(record.successor, at))
            if begun < at and self._journal is not None:
                self._journal.append(_overlap(record, at))


def _keep(cache: OrderedDict[str, V], id: str, value: V, size: int) -> None:
    cache[id] = value
    while len(cache) > size:
        cache.popitem(last=False)


def _overlap(record: KeyRecord, at: int) -> Event:
    detail = f"used although its successor {record.successor} is in use"
    account, dialect = record.principal.account, record.dialect
    return Event("key", at, proven=True, code="keys.overlap", key_id=record.id, account=account, dialect=dialect,
                 detail=detail)  # fmt: skip
