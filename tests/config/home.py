"""Places with everything that a configuration leads to: a data directory, a master key, the file; and an API key."""

import os
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import SECRET

from tradeguard import Hmac, KeyRecord
from tradeguard.config import load_settings, open_keys, open_state
from tradeguard.core.drive import drive
from tradeguard.secrets.master import make_master_key

AHEAD = 990_000_000
"""How far ahead of now a request to a new venue is signed, in ns: a new state refuses what was signed in its first
second, and a clock may be one second ahead."""

NETWORK = '[network]\ntopology = "direct"\n'
ROOT = os.geteuid() == 0
NOBODY = 65_534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so it steps down; everybody else stays who they are."""
    if ROOT:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if ROOT:
            os.seteuid(0)


class Home:
    """A folder with `tradeguard.toml`, `data` and, apart from it, `secret/master.key`."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder, self.path, self.data = folder, folder / "tradeguard.toml", folder / "data"
        self.master_key = folder / "secret" / "master.key"
        self.data.mkdir(mode=0o700)
        make_master_key(self.master_key)
        self.write(more)

    def write(self, more: str = "") -> None:
        """Write the file anew: data and master key, then more."""
        self.write_all(f'[data]\ndirectory = "data"\n[master_key]\nsource = "file:{self.master_key}"\n{NETWORK}', more)

    def write_all(self, *texts: str) -> None:
        """Write the file anew: nothing but these texts."""
        self.path.write_text("".join(textwrap.dedent(text) for text in texts))
        self.path.chmod(0o600)


class Venue(Home):
    """A home with the key of `support.TRADER`, whose only scopes are those of its role `trader`."""

    def __init__(self, folder: Path, more: str) -> None:
        super().__init__(folder, more)
        loaded = load_settings(self.path, {})
        state = open_state(loaded)
        state.close()
        keys = open_keys(loaded, {})
        drive(keys.put([KeyRecord(id="trader", dialect="tg1", material=Hmac(SECRET), scopes=(), roles={"trader"})]))
        keys.close()
        while time.time_ns() < state.since + 1_000_000_000 - AHEAD + 10_000_000:
            time.sleep(0.001)
