"""Oracle: knows what really reached the store and what was granted, and says which promise was broken.

It asks no part of what it watches: it keeps books of its own, from what servers did and what nodes answered.

    once      a message is granted once by the store, and once by a process that goes on alone
    window    in no rolling window more than its limit; of a process that goes on alone, more than its share; of all
              together, without losses of the store or of processes, more than twice the limit
    halt      no order after the receipt of its halt, by a node that had confirmed, or while the store still shows it
    revoked   no grant for a key whose revocation is confirmed: none by the store, unless it has forgotten that, and
              none by a process that has heard of it from the key store
    unknown   what the store has let pass is a grant, or a refusal that says "unknown"; and so is the refusal of a
              message that the store had let pass before, as long as it is remembered there
    refund    once per item, and never more than it cost
    recovers  once all is mended, reads and cancels are granted again, and orders unless they are halted
    answer    every request is decided in bounded time, and nothing raises
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from simulation.world import SECOND, World

from tradeguard.core.conditions import Charge, Condition, Limit, Once, Outcome, Quota
from tradeguard.core.decision import Decision, Denial, Grant

PATIENCE: Final = SECOND


class Violation(AssertionError):
    """A promise was broken: which, and how."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


class Rule(NamedTuple):
    """A quota as the operator wrote it, by key: its windows, which lanes it counts, and whether fills give back."""

    windows: tuple[Limit, ...]
    lanes: frozenset[str]
    fills: bool


class Unit(NamedTuple):
    """Units of one quota that one request took. `place` is the number of its step in the store, 0 elsewhere."""

    at: int
    units: int
    id: str
    place: int = 0


@dataclass
class Delivery:
    """One arrival of a message at a process. `last` is asked when all is mended."""

    id: str
    message: str
    key: str
    lane: str
    process: str
    began: int
    last: bool = False


@dataclass
class Halted:
    """A halt whose receipt has come."""

    number: int
    obeyed: frozenset[str]
    runs: set[int]


class Oracle:
    """Keeps the books. It is told of everything as it happens, and raises `Violation`."""

    def __init__(self, world: World, rules: Mapping[str, Rule], nodes: int) -> None:
        self._world, self._rules, self._nodes = world, rules, nodes
        self._pending = dict[str, Delivery]()
        self._by_store: dict[str, str] = {}
        self._by_process = set[tuple[str, str]]()
        self._passed: dict[str, int] = {}
        self._used: dict[int, dict[bytes, int]] = {}
        self._answered: dict[str, bool] = {}
        self._spent: dict[int, dict[str, list[Unit]]] = {}
        self._given: dict[int, dict[tuple[str, str], dict[str, tuple[int, int]]]] = {}
        self._shares: dict[tuple[str, str], list[Unit]] = defaultdict(list)
        self._granted: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._run, self._losses = 0, [world.now]
        self._confirmed: dict[str, tuple[int, int]] = {}
        self._lifted: dict[str, int] = {}
        self._heard: dict[tuple[str, str], int] = {}
        self._halted: Halted | None = None
        self.grants = self.refusals = self.alone = self.orders = 0

    # what the store does

    def begun(self, run: int, kept: int) -> None:
        """Take note that the store is another one from now on, with a part of what it was."""
        spent, given = self._spent.get(self._run, {}), self._given.get(self._run, {})
        self._spent[run] = defaultdict(
            list, {key: [u for u in units if u.place <= kept] for key, units in spent.items()}
        )
        self._given[run] = defaultdict(dict, {
            name: {item: back for item, back in items.items() if back[1] <= kept} for name, items in given.items()
        })  # fmt: skip
        used = self._used.get(self._run, {})
        self._used[run] = {nonce: place for nonce, place in used.items() if place <= kept}
        self._lifted = {key: place for key, place in self._lifted.items() if place <= kept}
        self._run = run
        self._losses.append(self._world.now)

    def settled(
        self, run: int, place: int, conditions: Iterable[Condition], id: str, denied: bool, outcome: Outcome
    ) -> None:
        """Take note of a commit that took effect."""
        passes = not (outcome.failed or denied)
        for condition in conditions if passes else ():
            if isinstance(condition, Quota) and condition.cost:
                self._spent[run][condition.key].append(Unit(outcome.time, condition.cost, id, place))
                self._check_windows(run, condition.key, outcome.time)
        if passes:
            self._passed[id] = self._world.now
        used = {c.key[1] for c in conditions if isinstance(c, Once) and c.until > outcome.time}
        self._answered[id] = bool(used & self._used[run].keys())
        if passes:
            self._used[run].update(dict.fromkeys(used, place))

    def lifted(self, place: int, number: str) -> None:
        """Take note that the store shows the end of a version of a key."""
        self._lifted[number.removeprefix("key:")] = place

    def given_back(self, run: int, place: int, charge: Charge, item: str, units: int) -> None:
        """Take note of units that came back."""
        given = self._given[run][charge.request_id, charge.quota.key]
        if item in given:
            raise Violation("refund", f"{item} gave back twice for {charge.request_id}")
        given[item] = units, place
        if sum(units for units, _ in given.values()) > charge.quota.cost:
            raise Violation("refund", f"{charge.request_id} got back more than it cost")

    # what nodes answer

    def came(self, delivery: Delivery) -> None:
        """Take note of a request that a process begins to decide about."""
        self._pending[delivery.id] = delivery

    def gone(self, process: str) -> None:
        """Take note that a process died: it answers nothing more."""
        self._losses.append(self._world.now)
        self._pending = {id: delivery for id, delivery in self._pending.items() if delivery.process != process}

    def heard(self, process: str, key: str) -> None:
        """Take note that a process was told of the end of a key."""
        self._heard.setdefault((process, key), self._world.now)

    def decided(self, delivery: Delivery, decision: Decision, received: int) -> None:
        """Hold an answer against what is known."""
        del self._pending[delivery.id]
        if isinstance(decision, Grant):
            self.grants += 1
            if delivery.id in self._passed:
                self._granted_by_store(delivery)
            else:
                self._granted_alone(delivery, received)
        else:
            self.refusals += 1
            self._refused(delivery, decision)

    def handed_on(self, delivery: Delivery) -> None:
        """Take note that a granted request was rechecked and handed on."""
        halt = self._halted
        self.orders += delivery.lane == "order"
        if halt is None or delivery.lane != "order":
            return
        node = delivery.process.partition(".")[0]
        if node in halt.obeyed or self._run in halt.runs:
            raise Violation("halt", f"{delivery.id} of {delivery.process} was handed on after receipt #{halt.number}")

    # what operators do

    def receipt(self, number: int, nodes: Iterable[str]) -> None:
        """Take note of a receipt: from now on no order is handed on."""
        self._halted = Halted(number, frozenset(nodes), {self._run})

    def lifting(self) -> None:
        """Take note that somebody begins to lift the halt."""
        self._halted = None

    def confirmed(self, key: str) -> None:
        """Take note that a revocation is confirmed, by the key store and by the state."""
        self._confirmed.setdefault(key, (self._world.now, self._run))

    def check(self) -> None:
        """Hold everybody to an answer in bounded time."""
        for delivery in self._pending.values():
            if self._world.now - delivery.began > PATIENCE:
                raise Violation("answer", f"{delivery.id} is not decided")
            return  # the others came later

    def _granted_by_store(self, delivery: Delivery) -> None:
        first = self._by_store.setdefault(delivery.message, delivery.id)
        if first != delivery.id:
            raise Violation("once", f"{delivery.message} was granted as {first} and as {delivery.id}")
        ended, run = self._confirmed.get(delivery.key, (self._world.now, 0))
        shows = run == self._run or delivery.key in self._lifted
        if (shows and self._passed[delivery.id] > ended) or self._has_heard(delivery):
            raise Violation("revoked", f"{delivery.id} was granted to {delivery.key}, which had been revoked")
        for name in self._names(delivery):
            self._check_together(delivery, name, self._passed[delivery.id])

    def _granted_alone(self, delivery: Delivery, received: int) -> None:
        self.alone += 1
        if delivery.lane == "order":
            raise Violation("once", f"order {delivery.id} was granted without the store")
        used = delivery.message, delivery.process
        if used in self._by_process:
            raise Violation("once", f"{delivery.message} was granted twice by {delivery.process} alone")
        self._by_process.add(used)
        if self._has_heard(delivery):
            raise Violation("revoked", f"{delivery.process} has heard of the end of {delivery.key}, and granted")
        for name in self._names(delivery):
            self._check_share(delivery, name, received)
            self._check_together(delivery, name, self._world.now)

    def _refused(self, delivery: Delivery, denial: Denial) -> None:
        if delivery.last and denial.code != "halt.no_new":
            raise Violation("recovers", f"all is mended, and {delivery.id} gets {denial.code} of {delivery.process}")
        if denial.executed == "unknown":
            return
        if delivery.id in self._passed:
            raise Violation("unknown", f"{delivery.id} passed in the store, and was refused as {denial.code}")
        if self._answered.get(delivery.id):
            raise Violation("unknown", f"{delivery.message} had passed before; {delivery.id} says {denial.code}")

    def _has_heard(self, delivery: Delivery) -> bool:
        heard = self._heard.get((delivery.process, delivery.key))
        return heard is not None and heard < delivery.began

    def _names(self, delivery: Delivery) -> list[str]:
        return [name for name, rule in self._rules.items() if delivery.lane in rule.lanes]

    def _check_share(self, delivery: Delivery, name: str, received: int) -> None:
        units = self._shares[delivery.process, f"{name}:{delivery.key}"]
        units.append(Unit(received, 1, delivery.id))
        for limit in self._rules[name].windows:
            used = sum(unit.units for unit in units if unit.at + limit.period > received)
            if used > limit.amount // self._nodes:
                raise Violation("window", f"{delivery.process} alone let {used} of {name} through for {delivery.key}")

    def _check_together(self, delivery: Delivery, name: str, at: int) -> None:
        """Count all grants, wherever they were settled; only where nothing was lost meanwhile or given back."""
        times = self._granted[name, delivery.key]
        times.append(at)
        for limit in self._rules[name].windows:
            begin = self._world.now - limit.period
            used = sum(at > begin for at in times)
            if used > 2 * limit.amount and not self._rules[name].fills and begin - PATIENCE > self._losses[-1]:
                raise Violation("window", f"all together let {used} of {name} through for {delivery.key}")

    def _check_windows(self, run: int, quota: str, now: int) -> None:
        for limit in self._rules[quota.partition(":")[0]].windows:
            used = 0
            for unit in self._spent[run][quota]:
                if unit.at + limit.period > now:
                    back = self._given[run].get((unit.id, quota), {})
                    used += unit.units - sum(units for units, _ in back.values())
            if used > limit.amount:
                raise Violation("window", f"{used} of {limit.amount} of {quota} in {limit.period // SECOND} s")
