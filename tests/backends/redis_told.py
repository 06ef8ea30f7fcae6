"""Redis that is told the time: the scripts of production, but for the lines that ask the server's clock."""

from collections.abc import Sequence
from typing import Any

from backends.redis_server import Server

from tradeguard.backends.redis import BlockingRedis, Redis
from tradeguard.backends.redis.script import Script
from tradeguard.backends.redis.settlement import LATEST, Names

_CLOCK = "local now = clock[1] * 1000000 + clock[2]\n"
_MICRO = "local MICRO = 1 "


def _told(script: Script) -> Script:
    """Return a script that takes the time from its last argument, in ns."""
    source = script.source.decode()
    assert source.count(_CLOCK) == source.count(_MICRO) == 1
    told = source.replace(_CLOCK, "local now = tonumber(table.remove(ARGV))\n").replace(_MICRO, "local MICRO = 1000 ")
    return Script(told)


SCRIPTS = {name: _told(script) for name, script in Redis.scripts.items()}


class ToldRedis(Redis):
    """Async, told the time."""

    tick, scripts = 1, SCRIPTS
    server: Server

    async def _run(self, script: str, keys: Sequence[bytes], asked: Sequence[bytes], at: int) -> Any:
        return await super()._run(script, keys, _tell(asked, at), at)

    def __len__(self) -> int:
        return count(self.server, self._names)


class ToldBlockingRedis(BlockingRedis):
    """Blocking, told the time."""

    tick, scripts = 1, SCRIPTS
    server: Server

    async def _run(self, script: str, keys: Sequence[bytes], asked: Sequence[bytes], at: int) -> Any:
        return await super()._run(script, keys, _tell(asked, at), at)

    def __len__(self) -> int:
        return count(self.server, self._names)


def _tell(asked: Sequence[bytes], at: int) -> list[bytes]:
    return [*asked, b"%d" % min(at, LATEST - 1)]


def count(server: Server, names: Names) -> int:
    """Return how many nonces a state holds."""
    with server.client() as client:
        return int(client.hlen(names.once.decode()))
