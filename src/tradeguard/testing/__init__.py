"""Parts for tests: a pytest plugin, and suites that a backend, a key store, a journal or a host of one's own must pass.

    class TestMyState(StateConformance):
        make = staticmethod(lambda **limits: MyState(**limits))

Each name is imported when it is first used, and with it the process serves its own machine only (`loopback.py`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "HostConformance": "host",
    "JournalConformance": "journal",
    "KeyAdminConformance": "keys",
    "KeyTableConformance": "keys",
    "KeysConformance": "find",
    "RoomConformance": "room",
    "SealerConformance": "sealer",
    "SignedClient": "client",
    "StateConformance": "state",
    "StillClock": "still",
    "StillGuard": "still",
    "assert_denied": "verdict",
}

if TYPE_CHECKING:
    from tradeguard.testing.client import SignedClient as SignedClient
    from tradeguard.testing.find import KeysConformance as KeysConformance
    from tradeguard.testing.host import HostConformance as HostConformance
    from tradeguard.testing.journal import JournalConformance as JournalConformance
    from tradeguard.testing.keys import KeyAdminConformance as KeyAdminConformance
    from tradeguard.testing.keys import KeyTableConformance as KeyTableConformance
    from tradeguard.testing.room import RoomConformance as RoomConformance
    from tradeguard.testing.sealer import SealerConformance as SealerConformance
    from tradeguard.testing.state import StateConformance as StateConformance
    from tradeguard.testing.still import StillClock as StillClock
    from tradeguard.testing.still import StillGuard as StillGuard
    from tradeguard.testing.verdict import assert_denied as assert_denied


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tradeguard.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"tradeguard.testing.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(_HOMES)
