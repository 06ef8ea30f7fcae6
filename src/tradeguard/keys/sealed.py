"""SealedKeys: key records in a table of rows, their secrets encrypted and every row held together by a MAC.

What a stolen table gives: ids, owners, scopes and networks, and nothing that signs. What a writer of the table can do:
take rows out, or put back an older row of the same key, which the number `key:<id>` of the state stops; a row that was
changed, widened or moved does not verify and is refused as if the key were unknown.

The MAC key and the salt of the fingerprints are random, made with the table and kept in it, sealed under the master
key.
"""

import hmac
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple, Protocol, runtime_checkable

from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError, Tampered
from tradeguard.core.key import Changes, KeyRecord, KeyRow, Mark, Material, Storable
from tradeguard.core.policy import Policy
from tradeguard.core.ports import Colour, KeyTable, Sealer
from tradeguard.keys.codec import decode_record, encode_fields
from tradeguard.signing.material import Hmac

_BOX: Final = "box"
_BOX_CONTEXT: Final = b"tradeguard key store"
_KEY_CONTEXT: Final = b"tradeguard key\0"
_SIZE: Final = 32  # bytes of salt and of MAC key
_log = logging.getLogger("tradeguard")


class _Box(NamedTuple):
    """What belongs to one table: the salt of fingerprints, the MAC key, and a row of nobody for equal work."""

    salt: bytes
    mac_key: bytes
    decoy: KeyRow


@runtime_checkable
class _Rewraps(Protocol):
    """A sealer that puts what an older master key sealed under the primary one. It may not wait."""

    async def rewrap(self, sealed: bytes, /) -> bytes: ...


@runtime_checkable
class _Reseals(Protocol):
    """A table that can exchange what is sealed in it, in one step."""

    async def reseal(
        self,
        change: Callable[[KeyRow], KeyRow],
        change_kept: Callable[[str, bytes], bytes],
        told: Callable[[int, int], None],
        /,
    ) -> int: ...


class Resealed(NamedTuple):
    """What became of a store: how many keys were put under the primary master key, and which do not verify."""

    keys: int
    refused: tuple[str, ...]


class SealedKeys:
    """Key records over a table of rows.

    Args:
        table: where the rows are.
        sealer: encrypts secrets under the master key.
        policy: its roles give scopes to the keys that hold them. May be replaced while running.
    """

    def __init__(self, table: KeyTable, sealer: Sealer, *, policy: Policy | None = None) -> None:
        self.colour: Colour = table.colour
        self.table, self.policy = table, policy or Policy()
        self._sealer = sealer
        self._box: _Box | None = None

    async def unlock(self) -> None:
        """Open what the table has sealed, and make it for a new table: shows that the master key is the right one.

        Raises:
            ConfigError: the master key of the table is not at hand, or the table has lost what it had sealed.
            Tampered: what it had sealed was changed.
        """
        kept = await self.table.keep(_BOX)
        if kept is None:
            used = await self.table.page("", 1)
            kept = await self.table.keep(_BOX)  # another may have made it, and put a key, a moment ago
            if used and kept is None:
                raise ConfigError("the key store has keys, but not what verifies them; restore it from a copy")
        if kept is None:
            sealed = await self._sealer.seal(secrets.token_bytes(2 * _SIZE), _BOX_CONTEXT)
            kept = await self.table.keep(_BOX, sealed) or sealed
        content = await self._sealer.open(kept, _BOX_CONTEXT)
        salt, mac_key = content[:_SIZE], content[_SIZE:]
        decoy = KeyRecord(id="decoy", dialect="tg1", material=Hmac(secrets.token_bytes(_SIZE)), scopes=())
        self._box = _Box(salt, mac_key, await self._make_row(decoy, salt, mac_key))

    async def find(self, id: str, /) -> KeyRecord | None:
        """Return the record of a key id, or None; a row that does not verify is none. The same work for both."""
        box = await self._unlocked()
        row = await self.table.get(id)
        record = await self._read(row or box.decoy, box)
        return record if row is not None else None

    async def put(self, records: Sequence[KeyRecord], /) -> None:
        """Store new keys and next versions of known ones: all of them, or none; see `KeyAdmin.put`."""
        box = await self._unlocked()
        await self.table.put([await self._make_row(record, box.salt, box.mac_key) for record in records])

    async def list(self, after: str = "", limit: int = 1000) -> list[KeyRecord]:
        """Return the next records by id, after one. Rows that do not verify are logged and left out."""
        box = await self._unlocked()
        records: list[KeyRecord] = []
        while not records and (rows := await self.table.page(after, limit)):
            found = [await self._read(row, box) for row in rows]
            records, after = [record for record in found if record is not None], rows[-1].id
        return records

    async def holder(self, material: Material, /) -> str | None:
        """Return the id of the key that has this material, or None."""
        box = await self._unlocked()
        return await self.table.holder(material.fingerprint(box.salt))

    async def changes(self, mark: Mark | None, /) -> Changes:
        """Tell what has changed since a mark."""
        return await self.table.changes(mark)

    async def touch(self, uses: Mapping[str, int], /) -> None:
        """Keep when keys were last used."""
        await self.table.touch(uses)

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return when keys were last used."""
        return await self.table.uses(ids)

    async def reseal(self, told: Callable[[int, int], None] = lambda _done, _all: None) -> Resealed:
        """Put everything under the primary master key, so that older ones can be retired: all of it, or nothing.

        A row that does not verify is left as it is; it is refused before and after. What runs meanwhile goes on, if it
        has the primary master key at hand.

        Args:
            told: hears how many keys are done, of how many.

        Raises:
            ConfigError: a master key is missing, or the store or its sealer cannot do this.
            Tampered: a data key was changed; nothing was done.
        """
        box, sealer, table, refused = await self._unlocked(), self._sealer, self.table, list[str]()
        if not isinstance(sealer, _Rewraps) or not isinstance(table, _Reseals):
            raise ConfigError("this key store cannot be put under another master key")

        def change(row: KeyRow) -> KeyRow:
            if not hmac.compare_digest(row.mac, _mac(row, box.mac_key)):
                refused.append(row.id)  # a new MAC would make it good
                return row
            row = row._replace(sealed=drive(sealer.rewrap(row.sealed)))
            return row._replace(mac=_mac(row, box.mac_key))

        changed = await table.reseal(change, lambda _, value: drive(sealer.rewrap(value)), told)
        return Resealed(changed, tuple(refused))

    def close(self) -> None:
        """Let go of the table's files; the next use opens them again."""
        self.table.close()

    async def _unlocked(self) -> _Box:
        if self._box is None:
            await self.unlock()
        assert self._box is not None  # else it raised
        return self._box

    async def _make_row(self, record: KeyRecord, salt: bytes, mac_key: bytes) -> KeyRow:
        if not isinstance(record.material, Storable):
            raise ConfigError(f"key {record.id}: its {type(record.material).__name__} cannot be kept in a key store")
        sealed = await self._sealer.seal(record.material.reveal(), _KEY_CONTEXT + record.id.encode())
        fingerprint, fields = record.material.fingerprint(salt), encode_fields(record)
        row = KeyRow(record.id, record.version, fingerprint, fields, sealed, b"")
        return row._replace(mac=_mac(row, mac_key))

    async def _read(self, row: KeyRow, box: _Box) -> KeyRecord | None:
        try:
            changed = not hmac.compare_digest(row.mac, _mac(row, box.mac_key))
            opened = box.decoy if changed else row  # a row that was changed costs what every other id costs
            material = await self._sealer.open(opened.sealed, _KEY_CONTEXT + opened.id.encode())
            if changed:
                raise Tampered("its row was changed, or comes from another key store")
            return decode_record(row.fields, material, self.policy)
        except Tampered as error:
            _log.critical("key %s is refused: %s", row.id, error)
            return None


def _mac(row: KeyRow, key: bytes) -> bytes:
    """HMAC-SHA256 over all of the row, each part behind its length."""
    parts = (row.id.encode(), b"%d" % row.version, row.fingerprint, row.fields, row.sealed)
    return hmac.digest(key, b"".join(b"%d:%b" % (len(part), part) for part in parts), sha256)
