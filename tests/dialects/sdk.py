"""Every client that is tried, and which interpreter it lives in.

Today's ccxt lives in the tests' own. The official SDKs and the ccxt that still knows BitMEX want other versions of
what is installed there, so they live in `<venv>/venues`, which `make` installs; `beside.py` is run there.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dialects.venues import LATEST, OLD, VENUES, Credentials, perform

BESIDE = Path(sys.prefix, "venues")
SOME = ("order", "query")


@dataclass(frozen=True, slots=True)
class Client:
    """A client library: `name` is that of `beside.SDKS`, or ccxt; `venue` the one it is for, "" for all.

    `kept`: which of its calls are captured; without it all that it can make.
    """

    name: str
    venue: str = ""
    kept: tuple[str, ...] = ()

    def tries(self, venue: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The keys this client has at a venue, by algorithm, and the calls it makes with each; none: all it has."""
        row = VENUES[venue]
        if self.name == row.client:
            yield row.algorithms[0], tuple(row.calls)
            yield from ((algorithm, SOME) for algorithm in row.algorithms[1:])
        elif self.venue == venue:
            yield row.algorithms[0], self.kept

    def version(self) -> str:
        """The installed version."""
        package = "ccxt" if self.name.startswith(OLD) else self.name.partition(" ")[0]
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        python = sys.executable if self.name == LATEST else str(BESIDE / "bin" / "python")
        environment = {"PYTHONPATH": str(BESIDE / "apart" / package)}
        return subprocess.run(
            [python, "-c", code], check=True, capture_output=True, text=True, env=environment
        ).stdout.strip()


CLIENTS = (
    Client(LATEST), Client(OLD), Client("python-binance", "binance", ("cancel",)),
    Client("binance-connector", "binance", ("tricky",)), Client("binance-sdk-spot", "binance", ("tricky",)),
    Client("pybit", "bybit"), Client("krakenex", "kraken", ("tricky",)),
    Client("python-kraken-sdk spot", "kraken"), Client("python-kraken-sdk futures", "kraken-futures"),
    Client("coinbase-advanced-py", "coinbase-advanced"), Client("kucoin-universal-sdk", "kucoin"),
    Client("gate-api", "gate"),
    Client(f"{OLD} kucoin", "kucoin", ("order",)),
    Client("python-okx", "okx"), Client("bitfinex-api-py", "bitfinex"), Client("pymexc spot", "mexc"),
    Client("pymexc contract", "mexc-contract"), Client("bitmex", "bitmex"),
)  # fmt: skip


def perform_with(
    client: str, venue: str, base_url: str, credentials: Credentials, calls: Iterable[str] = (), **options: Any
) -> list[Any]:
    """Make calls of a venue with one of the clients, wherever it lives; what came of each, as `venues.perform` has it.

    Args:
        client: a name of `CLIENTS`.
        venue: a name of `venues.VENUES`.
        base_url: http://host:port of what is asked.
        credentials: the key it signs with.
        calls: which; without them: all that this client has.
        options: of ccxt's constructor.

    Raises:
        RuntimeError: the client could not be made; its own text follows.
    """
    if client == LATEST:
        return perform(venue, base_url, credentials, calls, **options)
    job = {"client": client, "venue": venue, "base_url": base_url, "credentials": asdict(credentials),
           "calls": [*calls], "options": options}  # fmt: skip
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [str(BESIDE / "bin" / "python"), str(Path(__file__).with_name("beside.py"))],
        input=json.dumps(job), capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{client} at {venue} broke off: {done.stderr}")
    outcomes: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return outcomes
