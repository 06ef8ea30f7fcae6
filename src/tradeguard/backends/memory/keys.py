"""MemoryKeys: key records in this process, for tests and for hosts that bring their own."""

import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence

from tradeguard.core.key import Changes, KeyRecord, Mark, Material, check_next
from tradeguard.core.ports import Colour
from tradeguard.core.principal import SCOPES, Scope, check_scopes


class MemoryKeys:
    """Key records in memory.

    Args:
        records: to begin with.
        scopes: the names a key may hold: `Policy.vocabulary` where the policy declares more than the shared ones.

    Raises:
        ConfigError: see `put`.
    """

    colour: Colour = "instant"

    def __init__(self, records: Iterable[KeyRecord] = (), *, scopes: frozenset[Scope] = SCOPES) -> None:
        self._records: dict[str, KeyRecord] = {}
        self._owners: dict[bytes, str] = {}
        self._changed: list[str] = []
        self._used: dict[str, int] = {}
        self._salt, self._lock, self._scopes = secrets.token_bytes(32), threading.Lock(), scopes
        self._epoch = secrets.token_hex(8)
        self.put_now(*records)

    async def find(self, id: str, /) -> KeyRecord | None:
        """Return the record of a key id, or None."""
        return self._records.get(id)

    async def put(self, records: Sequence[KeyRecord], /) -> None:
        """Store new keys (version 1) and next versions of known ones: all of them, or none.

        Raises:
            KeyConflict: an id or a secret is taken, or the version before is not the stored one.
            ConfigError: a scope that nobody declared.
        """
        self.put_now(*records)

    def put_now(self, *records: KeyRecord) -> None:
        """Do what `put` does, without a loop."""
        marks = [record.material.fingerprint(self._salt) for record in records]
        with self._lock:
            fresh: dict[bytes, str] = {}
            batch: dict[str, KeyRecord] = {}
            for record, mark in zip(records, marks, strict=True):
                check_scopes(record.principal.scopes, self._scopes, f"key {record.id}")
                stored = batch.get(record.id) or self._records.get(record.id)
                check_next(record, stored, self._owners.get(mark, fresh.get(mark)))
                fresh[mark], batch[record.id] = record.id, record
            self._owners |= fresh
            self._records |= batch
            self._changed += [record.id for record in records]

    async def list(self, after: str = "", limit: int = 1000) -> list[KeyRecord]:
        """Return the next records by id, after one."""
        return [self._records[id] for id in sorted(id for id in self._records if id > after)[:limit]]

    async def holder(self, material: Material, /) -> str | None:
        """Return the id of the key that has this material, or None."""
        return self._owners.get(material.fingerprint(self._salt))

    async def changes(self, mark: Mark | None, /) -> Changes:
        """Tell what has changed since a mark; None asks for a first mark."""
        latest = Mark(self._epoch, len(self._changed))
        if mark is None or mark.epoch != self._epoch:
            return Changes(latest, None)
        return Changes(latest, tuple(dict.fromkeys(self._changed[mark.number : latest.number])))

    async def touch(self, uses: Mapping[str, int], /) -> None:
        """Keep when keys were last used, ns UTC."""
        for id, at in uses.items():
            self._used[id] = max(at, self._used.get(id, 0))

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return when keys were last used, ns UTC."""
        return {id: self._used[id] for id in ids if id in self._used}

    def stands(self, id: str, at: int, /) -> bool:
        """Tell whether a key verifies at a time, ns UTC."""
        record = self._records.get(id)
        return record is not None and record.usable(at)

    def used(self, record: KeyRecord, at: int, /) -> None:
        """Take note that a key was used."""
        self._used[record.id] = at

    def renew(self) -> None:
        """Nothing here is older than it should be."""
