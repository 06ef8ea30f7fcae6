"""State: every backend of ours passes the suites that those of others pass."""

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from backends.postgres_server import Stores, ToldBlockingPostgres, ToldPostgres, serving
from backends.redis_server import PROGRAMS, Server, running
from backends.redis_told import ToldBlockingRedis, ToldRedis

from tradeguard.backends.memory import Memory
from tradeguard.backends.sqlite import SQLiteState
from tradeguard.core.ports import State
from tradeguard.testing import RoomConformance, StateConformance

FOLDER: list[Path] = []
OPEN: deque[SQLiteState] = deque()
NUMBER = count()


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where files are made; all are closed at the end."""
    FOLDER.append(tmp_path_factory.mktemp("state"))
    yield
    for state in OPEN:
        state.close()
    OPEN.clear()
    FOLDER.clear()


def make_sqlite(**limits: Any) -> State:
    state = SQLiteState(FOLDER[0] / f"{next(NUMBER)}.db", busy=10, **limits)
    OPEN.append(state)
    if len(OPEN) > 10:
        OPEN.popleft().close()
    return state


class TestMemory(StateConformance, RoomConformance):
    make = staticmethod(lambda **limits: Memory(since=1, **limits))


class TestSQLiteState(StateConformance, RoomConformance):
    make = staticmethod(make_sqlite)


class _OnServer:
    """A server for all tests of a class; each store is a deployment of its own on it."""

    server: Server

    @pytest.fixture(scope="class", autouse=True, params=PROGRAMS)
    @classmethod
    def _server(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with running(tmp_path_factory.mktemp("redis"), program=request.param) as server:
            _OnServer.server = server
            yield


def make_redis(kind: type[ToldRedis] | type[ToldBlockingRedis], **limits: Any) -> State:
    state = kind(_OnServer.server.url, name=f"deployment {next(NUMBER)}", deadline=10, opening=10, **limits)
    state.server = _OnServer.server
    return state


class TestRedis(_OnServer, StateConformance, RoomConformance):
    make = staticmethod(partial(make_redis, ToldRedis))


class TestBlockingRedis(_OnServer, StateConformance, RoomConformance):
    make = staticmethod(partial(make_redis, ToldBlockingRedis))


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


def make_postgres(kind: type[ToldPostgres] | type[ToldBlockingPostgres], **limits: Any) -> Any:
    return _InDatabase.stores.make(kind, **limits)


class TestPostgres(_InDatabase, StateConformance, RoomConformance):
    make = staticmethod(partial(make_postgres, ToldPostgres))


class TestBlockingPostgres(_InDatabase, StateConformance, RoomConformance):
    make = staticmethod(partial(make_postgres, ToldBlockingPostgres))
