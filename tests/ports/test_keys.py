"""Keys: every store of keys of ours passes the suites that those of others pass."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tradeguard.backends.memory import MemoryKeys
from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.core.key import KeyRecord
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


class TestMemoryKeys(KeyAdminConformance):
    make = staticmethod(MemoryKeys)


class TestSealedKeys(KeyAdminConformance):
    make = staticmethod(lambda: SealedKeys(make_sqlite(), SEALER))


class TestFoundInMemory(KeysConformance):
    known = KNOWN.id
    make = staticmethod(lambda: MemoryKeys([KNOWN]))
