"""Sealer: what seals our secrets passes the suite that others' sealers pass."""

from tradeguard.core.secret import Secret
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer
from tradeguard.testing import SealerConformance

KEYS = MasterKeys([MasterKey(Secret(bytes(range(1, 33)))), MasterKey(Secret(bytes(range(2, 34))))])


class TestLocalSealer(SealerConformance):
    make = staticmethod(lambda: LocalSealer(KEYS))
