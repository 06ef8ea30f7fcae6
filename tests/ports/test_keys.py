"""Keys: every store of keys of ours passes the suites that those of others pass."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from backends.postgres_server import Stores, serving
from backends.redis_server import PROGRAMS, Server, running

from tradeguard.backends.memory import MemoryKeys
from tradeguard.backends.postgres import BlockingPostgresKeys, PostgresKeys
from tradeguard.backends.redis import BlockingRedisKeys, RedisKeys
from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.core.key import KeyRecord
from tradeguard.core.ports import KeyTable
from tradeguard.core.secret import Secret
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer
from tradeguard.signing.material import Hmac
from tradeguard.testing import KeyAdminConformance, KeysConformance, KeyTableConformance

FOLDER: list[Path] = []
OPEN: list[SQLiteKeys] = []
NUMBER = count()
SEALER = LocalSealer(MasterKeys([MasterKey(Secret(bytes(range(1, 33))))]))
KNOWN = KeyRecord(
    id="k-1001", dialect="tg1", material=Hmac(b"a secret of sixteen bytes or more"), scopes=["orders:read"]
)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where files are made."""
    FOLDER.append(tmp_path_factory.mktemp("keys"))
    yield
    FOLDER.clear()


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def make_sqlite() -> SQLiteKeys:
    OPEN.append(SQLiteKeys(FOLDER[0] / f"{next(NUMBER)}.db", busy=10))
    return OPEN[-1]


class TestSQLiteKeys(KeyTableConformance):
    make = staticmethod(make_sqlite)


class _InDatabase:
    """A database for all tests of a class; each store is a new one in it."""

    stores: Stores

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _serve(cls) -> Iterator[None]:
        with serving() as server:
            _InDatabase.stores = Stores(server)
            yield
            _InDatabase.stores.close()


class TestPostgresKeys(_InDatabase, KeyTableConformance):
    make = staticmethod(lambda: _InDatabase.stores.make_keys(PostgresKeys))


class TestBlockingPostgresKeys(_InDatabase, KeyTableConformance):
    make = staticmethod(lambda: _InDatabase.stores.make_keys(BlockingPostgresKeys))


class TestMemoryKeys(KeyAdminConformance):
    make = staticmethod(MemoryKeys)


class TestSealedKeys(KeyAdminConformance):
    make = staticmethod(lambda: SealedKeys(make_sqlite(), SEALER))


class TestFoundInMemory(KeysConformance):
    known = KNOWN.id
    make = staticmethod(lambda: MemoryKeys([KNOWN]))


class _OnServer:
    """A server for all tests of a class; each table is a deployment of its own on it."""

    server: Server

    @pytest.fixture(scope="class", autouse=True, params=PROGRAMS)
    @classmethod
    def _server(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with running(tmp_path_factory.mktemp("redis"), program=request.param) as server:
            _OnServer.server = server
            yield


def make_redis(kind: type[RedisKeys] | type[BlockingRedisKeys]) -> KeyTable:
    return kind(_OnServer.server.url, name=f"deployment {next(NUMBER)}", deadline=20, opening=20)


class TestRedisKeys(_OnServer, KeyTableConformance):
    make = staticmethod(partial(make_redis, RedisKeys))


class TestBlockingRedisKeys(_OnServer, KeyTableConformance):
    make = staticmethod(partial(make_redis, BlockingRedisKeys))


class TestSealedKeysOverRedis(_OnServer, KeyAdminConformance):
    make = staticmethod(lambda: SealedKeys(make_redis(RedisKeys), SEALER))
