"""Schedule: what fails, and who asks for what, all laid down by one seed. A run is what comes of it."""

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from simulation.network import Server
from simulation.oracle import Violation
from simulation.venue import LANES, NODES, PROBER, TRADERS, Venue
from simulation.world import MS, SECOND, START, World

from tradeguard.core.halt import Mode

LENGTH: Final = 24 * SECOND
MESSAGES: Final = 260
MENDED: Final = LENGTH + 7 * SECOND
"""When everything that failed is there again."""
PROBES: Final = 3
STEP: Final = 400 * MS
"""How far the store's clock is off at most: with those of nodes and clients less than a dialect's `future`."""


class Failure(NamedTuple):
    """Something that fails: when (ns since the start), what, whom it hits, and for how long (ns)."""

    at: int
    what: str
    whom: str
    length: int

    def __str__(self) -> str:
        return f"{self.at / MS:10.3f}  {self.what} {self.whom} for {self.length / MS:.0f} ms"


Strike = Callable[[Venue, str, int], None]


def _crash(venue: Venue, node: str, length: int) -> None:
    venue.kill(node)
    venue.world.after(length, lambda: venue.start(node) if node not in venue.processes else None)


def _cut(venue: Venue, way: str, length: int) -> None:
    source, server = way.split("-")
    venue.network.cuts.add((source, server))
    venue.world.after(length, lambda: venue.network.cuts.discard((source, server)))


def _stop(venue: Venue, then: str, length: int) -> None:
    """Stop the store; it comes back as itself, as a copy that lost the last writes, or with nothing."""
    store = venue.store
    lost = venue.world.dice.randrange(1, 30) if then == "with writes lost" else 0
    if not store.up:
        return
    store.stop()

    def come_back() -> None:
        if then == "as it was":
            store.come_back()
        else:
            store.begin_anew(0 if then == "empty" else max(0, len(store.log) - lost))
        venue.world.note(f"the store is back {then}, as {store.epoch}")

    venue.world.after(length, come_back)


def _hang(venue: Venue, _whom: str, length: int) -> None:
    venue.store.hang()
    venue.world.after(length, venue.store.thaw)


def _flush(venue: Venue, _whom: str, _length: int) -> None:
    if venue.store.up:
        venue.store.begin_anew(0)


def _lose(venue: Venue, share: str, length: int) -> None:
    venue.network.loss = float(share)
    venue.world.after(length, partial(setattr, venue.network, "loss", 0.0))


def _slow(venue: Venue, share: str, length: int) -> None:
    venue.network.slow = float(share)
    venue.world.after(length, partial(setattr, venue.network, "slow", 0.02))


def _step_back(venue: Venue, _whom: str, length: int) -> None:
    venue.store.back = min(venue.store.back + length, STEP)


def _stop_keys(venue: Venue, _whom: str, length: int) -> None:
    server: Server = venue.keys
    server.stop()
    venue.world.after(length, partial(setattr, server, "up", True))


STRIKES: Final[dict[str, tuple[Strike, tuple[str, ...], int]]] = {
    "crash": (_crash, NODES, 4 * SECOND),
    "cut": (
        _cut,
        (*(f"{node}-store" for node in NODES), "desk-store", *(f"{node}-keys" for node in NODES)),
        6 * SECOND,
    ),
    "stop the store": (_stop, ("as it was", "with writes lost", "empty"), 3 * SECOND),
    "fail over": (_stop, ("with writes lost",), 200 * MS),
    "hang the store": (_hang, ("",), 3 * SECOND),
    "flush the store": (_flush, ("",), 1),
    "lose messages": (_lose, ("0.05", "0.3", "0.9"), 3 * SECOND),
    "slow the network": (_slow, ("0.2", "0.7"), 3 * SECOND),
    "set the store's clock back": (_step_back, ("",), STEP),
    "stop the key store": (_stop_keys, ("",), 4 * SECOND),
}


def make_failures(seed: int) -> list[Failure]:
    """Return what fails in a run."""
    dice = Random(f"failures {seed}")
    failures: list[Failure] = []
    for _ in range(dice.randrange(2, 8)):
        what = dice.choice(list(STRIKES))
        _, whom, longest = STRIKES[what]
        failures.append(Failure(dice.randrange(LENGTH), what, dice.choice(whom), dice.randrange(1, longest + 1)))
    return sorted(failures)


class Run:
    """One run: `failures` are what fails, `world.trace` what came of it."""

    def __init__(self, seed: int, folder: Path, make: type[Venue] = Venue) -> None:
        self.seed, self.failures = seed, make_failures(seed)
        self.world = World(seed)
        self.venue = make(self.world, folder)
        for failure in self.failures:
            self.world.at(START + failure.at, partial(self._strike, failure))
        self._lay_down_messages()
        self._lay_down_probes()
        self._lay_down_orders_of_the_desk()

    def go(self) -> None:
        """Let it happen.

        Raises:
            Violation: a promise was broken; the text has the seed, the schedule and what happened last.
        """
        try:
            self.world.run(START + MENDED + (4 * PROBES + 2) * SECOND, self.venue.oracle.check)
        except Exception as error:
            promise = error.promise if isinstance(error, Violation) else "answer"
            raise Violation(promise, self.tell(error)) from error

    def tell(self, error: Exception) -> str:
        """Say what was broken, and how to see it again."""
        schedule = "\n".join(map(str, self.failures))
        last = "\n".join(self.world.trace[-40:])
        again = f"cd tests && python -m simulation --seed {self.seed} --verbose"
        return f"{type(error).__name__}: {error}\nagain: {again}\nschedule:\n{schedule}\nwhat happened last:\n{last}"

    def _strike(self, failure: Failure) -> None:
        self.world.note(f"* {failure.what} {failure.whom} for {failure.length / MS:.0f} ms")
        STRIKES[failure.what][0](self.venue, failure.whom, failure.length)

    def _lay_down_messages(self) -> None:
        """Lay down who asks for what: in bursts, and many a message is delivered again later, to any node."""
        dice, world = self.world.dice, self.world
        favourites = [dice.choice(TRADERS) for _ in range(0, LENGTH, 2 * SECOND)]
        for number in range(MESSAGES):
            burst = dice.randrange(len(favourites))
            key = dice.choice([*TRADERS, *[favourites[burst]] * 4])
            lane = dice.choice(["order", "order", "order", "cancel", "cancel", "read"])
            at = START + burst * 2 * SECOND + int(abs(dice.gauss(0, 0.3)) * SECOND)
            signed_at = at + dice.randrange(-200 * MS, 300 * MS)
            for turn in range(dice.choice([1, 1, 2, 3])):
                arrives = at + turn * int(dice.expovariate(1.0) * SECOND) + dice.randrange(20 * MS)
                send = partial(self.venue.send, f"m{number}", key, lane, signed_at, dice.choice(NODES), turn)
                world.at(arrives, send)

    def _lay_down_probes(self) -> None:
        """Lay down what is asked when all is mended: a few times, so that every node finds out, then once more."""
        self.world.at(START + MENDED, partial(setattr, self.venue.network, "slow", 0.0))
        for turn, node, lane in product(range(PROBES), NODES, LANES):
            at = START + MENDED + turn * 4 * SECOND
            last = turn == PROBES - 1
            probe = partial(self.venue.send, f"p{turn}-{node}-{lane}", PROBER, lane, at, node, 0, last=last)
            self.world.at(at, probe)

    def _lay_down_orders_of_the_desk(self) -> None:
        dice, venue = self.world.dice, self.venue
        if dice.random() < 0.7:
            self.world.at(START + dice.randrange(LENGTH), partial(venue.revoke, dice.choice(TRADERS)))
        if dice.random() < 0.8:
            lift = partial(self.world.after, dice.randrange(2 * SECOND, 6 * SECOND), self._lift)
            self.world.at(START + dice.randrange(LENGTH), partial(venue.halt, Mode.NO_NEW, lift))

    def _lift(self) -> None:
        self.venue.halt(Mode.ACTIVE, lambda: None)


def play(seed: int, make: type[Venue] = Venue) -> Run:
    """Make one run and let it happen; raises `Violation`."""
    with tempfile.TemporaryDirectory(prefix="tradeguard-simulation-") as folder:
        run = Run(seed, Path(folder), make)
        run.go()
    return run
