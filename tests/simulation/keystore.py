"""Key store: key records on a server, as nodes and the desk see it over the network."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from simulation.network import Network, Server
from simulation.world import Moment

from tradeguard.backends.memory import MemoryKeys
from tradeguard.core.drive import drive
from tradeguard.core.key import Changes, KeyRecord, Mark, Material
from tradeguard.core.ports import Colour

T = TypeVar("T")


class KeyServer(Server):
    """The server."""

    def __init__(self, records: Sequence[KeyRecord]) -> None:
        super().__init__("keys")
        self.records = MemoryKeys(records)


class RemoteKeys:
    """The records as one process sees them. `told` hears which keys it was told of as changed, once it was."""

    colour: Colour = "async"

    def __init__(self, network: Network, server: KeyServer, source: str, told: Callable[[Changes], None]) -> None:
        self._network, self._server, self._source, self._told = network, server, source, told

    async def find(self, id: str, /) -> KeyRecord | None:
        return await self._call(lambda: drive(self._server.records.find(id)))

    async def put(self, records: Sequence[KeyRecord], /) -> None:
        await self._call(partial(self._server.records.put_now, *records))

    async def list(self, after: str = "", limit: int = 1000) -> list[KeyRecord]:
        return await self._call(lambda: drive(self._server.records.list(after, limit)))

    async def holder(self, material: Material, /) -> str | None:
        return await self._call(lambda: drive(self._server.records.holder(material)))

    async def changes(self, mark: Mark | None, /) -> Changes:
        changes = await self._call(lambda: drive(self._server.records.changes(mark)))
        self._told(changes)
        return changes

    async def touch(self, uses: Mapping[str, int], /) -> None:
        await self._call(lambda: drive(self._server.records.touch(uses)))

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        return await self._call(lambda: drive(self._server.records.uses(ids)))

    def _call(self, work: Callable[[], T]) -> Moment[T]:
        return self._network.call(self._source, self._server, work)
