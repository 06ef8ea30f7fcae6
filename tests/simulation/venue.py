"""Venue: nodes (real guards with real checks) over one store, the desk of the operators, and those who ask."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from simulation.keystore import KeyServer, RemoteKeys
from simulation.network import Network
from simulation.oracle import Delivery, Oracle, Rule
from simulation.store import Client, Store
from simulation.world import MS, SECOND, Life, World
from support import sign

from tradeguard.backends.memory import Memory, MemoryJournal
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.halt import Halt
from tradeguard.checks.network import Network as Networks
from tradeguard.checks.quota import Quotas
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.breaker import Breaker
from tradeguard.core.commit import Standby
from tradeguard.core.decision import Grant
from tradeguard.core.errors import BackendDown, TradeguardError
from tradeguard.core.guard import Guard
from tradeguard.core.halt import SET, Mode, Proposal, Record
from tradeguard.core.key import Changes, KeyRecord
from tradeguard.core.policy import Operations
from tradeguard.core.ports import Colour, Ticket
from tradeguard.core.rate import Rate
from tradeguard.core.request import Request
from tradeguard.core.secret import Secret
from tradeguard.halts.signing import sign as sign_halt
from tradeguard.halts.switch import Switch
from tradeguard.halts.view import Halts
from tradeguard.keys.cache import CachedKeys
from tradeguard.keys.issuer import Issuer
from tradeguard.signing.material import Hmac
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

NODES: Final = ("north", "south", "west")
TRADERS: Final = ("ann", "bob", "cid")
PROBER: Final = "dan"  # a trader who asks when all is mended
OPERATORS: Final = ("olga", "otto")
LANES: Final = {"order": ("POST", b"/v1/orders"), "cancel": ("DELETE", b"/v1/orders/1"), "read": ("GET", b"/v1/orders")}
RATES: Final = {
    "requests": Rate("6/2 seconds;24/10 seconds", lanes=("read", "order")),
    "orders": Rate("3/2 seconds;9/10 seconds", lanes=("order",)),
    "cancels": Rate("6/2 seconds;12/10 seconds", lanes=("cancel",)),
}
RULES: Final = {name: Rule(rate.windows, frozenset(rate.lanes), name == "orders") for name, rate in RATES.items()}
OPERATIONS: Final = Operations({
    "GET /v1/orders": "orders:read",
    "POST /v1/orders": "orders:write",
    "DELETE /v1/orders/{id}": {"scopes": "orders:cancel", "lane": "cancel"},
})  # fmt: skip


def _secret(name: str) -> bytes:
    return f"the secret of {name}, long enough".encode()


def make_records() -> list[KeyRecord]:
    """The keys of traders and operators."""
    scopes = {**dict.fromkeys((*TRADERS, PROBER), "orders:*"), **dict.fromkeys(OPERATORS, SET)}
    return [
        KeyRecord(id=name, owner=name, dialect="tg1", material=Hmac(_secret(name)), scopes={held})
        for name, held in scopes.items()
    ]


class Process:
    """One run of a node: what it knows begins and ends with it."""

    colours: frozenset[Colour] = frozenset({"instant", "brief", "blocking", "async"})

    def __init__(self, venue: "Venue", node: str, number: int) -> None:
        self.venue, self.node, self.name, self.life = venue, node, f"{node}.{number}", Life()
        self._skew = venue.skews[node]
        self.guard = venue.make_guard(self)

    def now(self) -> int:
        """The time here, ns UTC: off by as much as the clock of the node is."""
        return self.venue.world.now + self._skew

    async def wait(self, ticket: Ticket) -> None:
        ticket.wait()

    def later(self, work: Any) -> None:
        self.venue.world.spawn(self._finish(work), self.life)

    async def within(self, _seconds: float, work: Any) -> Any:
        return await work

    async def _finish(self, work: Any) -> None:
        try:
            await work
        except BackendDown as error:
            self.venue.world.note(f"{self.name}: given up: {error}")


class Venue:
    """Everything, wired. A defect to be found overrides a part."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.network, self.folder = world, Network(world), folder
        self.oracle = Oracle(world, RULES, len(NODES))
        self.store = self.make_store(durable=world.dice.random() < 0.4)
        self.keys = KeyServer(make_records())
        self.skews = {name: world.dice.randrange(-100 * MS, 100 * MS) for name in (*NODES, "desk")}
        self._signers = {name: Signer(TG1, name, _secret(name)) for name in (*TRADERS, PROBER)}
        self._starts = 0
        self.processes: dict[str, Process] = {}
        self._revoked: dict[str, int] = {}
        for node in NODES:
            self.start(node)
        self._desk = Life()
        state = Client(self.network, self.store, "desk", world.now)
        self._state = state
        self._desk_keys = RemoteKeys(self.network, self.keys, "desk", lambda _: None)
        self.switch = Switch(state, self._desk_keys, now=self.desk_now)

    # parts

    def make_store(self, *, durable: bool) -> Store:
        return Store(self.world, self.oracle, durable=durable)

    def make_client(self, process: Process) -> Client:
        return Client(self.network, self.store, process.node, process.now())

    def make_standby(self) -> Standby:
        return Standby(Memory(since=1), len(NODES), Breaker(failures=3, pause=250 * MS))

    def make_guard(self, process: Process) -> Guard:
        world, state = self.world, self.make_client(process)
        remote = RemoteKeys(self.network, self.keys, process.node, partial(self._told, process))
        keys = CachedKeys(remote, clock=lambda: world.now, poll=250 * MS)
        halts = Halts(state, keys, keep=self.folder / process.node, poll=100 * MS, clock=lambda: world.now,
                      now=process.now, follow=False)  # fmt: skip
        checks = [Signature(keys), Freshness(), Networks(), Scope(), Halt(halts), Replay(), Quotas(RATES)]
        guard = Guard(checks, operations=OPERATIONS, state=state, journal=MemoryJournal(), runtime=process,
                      standby=self.make_standby())  # fmt: skip
        world.after(world.dice.randrange(100 * MS), lambda: world.spawn(self._poll(halts), process.life))
        return guard

    async def _poll(self, halts: Halts) -> None:
        while True:
            await halts.step()
            await self.world.sleep(100 * MS)

    def recheck(self, grant: Grant) -> Any:
        """Ask again before an order is handed on."""
        return grant.recheck()

    # processes

    def start(self, node: str) -> None:
        self._starts += 1
        process = self.processes[node] = Process(self, node, self._starts)
        self.world.note(f"{process.name} starts")

    def kill(self, node: str) -> None:
        process = self.processes.pop(node, None)
        if process is not None:
            process.life.kill()
            self.oracle.gone(process.name)
            self.world.note(f"{process.name} is killed")

    def restart(self, process: Process, after: int) -> None:
        """Do what some operators do with a node that has lost its store."""
        self.world.after(after, partial(self._restart, process))

    def _restart(self, process: Process) -> None:
        if self.processes.get(process.node) is process:
            self.kill(process.node)
            self.start(process.node)

    # requests

    def send(
        self, message: str, key: str, lane: str, signed_at: int, node: str, turn: int, *, last: bool = False
    ) -> None:
        """Deliver a message to a node: what was signed once may come several times. `last`: all is mended."""
        process = self.processes.get(node)
        if process is None:
            return
        method, target = LANES[lane]
        nonce = message.encode().ljust(16, b"-")
        request = sign(self._signers[key], method, target, at=signed_at, nonce=nonce, arrived=process.now())
        request.id = f"{message}/{turn}"
        self.world.spawn(
            self._serve(process, request, Delivery(request.id, message, key, lane, process.name, self.world.now, last)),
            process.life,
        )

    async def _serve(self, process: Process, request: Request, delivery: Delivery) -> None:
        self.oracle.came(delivery)
        decision = await process.guard.admit(request)
        said = "granted" if isinstance(decision, Grant) else f"{decision.code} ({decision.executed})"
        self.world.note(f"{process.name}: {request.id} {delivery.lane} of {delivery.key}: {said}")
        self.oracle.decided(delivery, decision, request.received)
        if not isinstance(decision, Grant):
            if decision.code == "commit.behind" and self.world.dice.random() < 0.2:
                self.restart(process, self.world.dice.randrange(200 * MS, 2 * SECOND))
            return
        await self.world.sleep(self.world.dice.choice([0, MS, 20 * MS, 200 * MS]))
        denial = self.recheck(decision)
        if denial is None:
            self.oracle.handed_on(delivery)
            self.world.note(f"{process.name}: {request.id} is handed on")
            self._fill(delivery, decision.receipt)
        process.guard.finish(request, 200 if denial is None else 503)

    def _fill(self, delivery: Delivery, receipt: str) -> None:
        """Let an order be filled now and then, and let several nodes hear of it, also twice."""
        dice = self.world.dice
        if delivery.lane == "order" and dice.random() < 0.5:
            for _ in range(dice.choice([1, 1, 2, 3])):
                node = dice.choice(NODES)
                self.world.after(dice.randrange(3 * SECOND), partial(self._refund, node, receipt, delivery.message))

    def _refund(self, node: str, receipt: str, item: str) -> None:
        process = self.processes.get(node)
        if process is not None:
            process.later(process.guard.refund(receipt, self.item(item)))

    def item(self, order: str) -> str:
        """The name under which a fill is given back."""
        return order

    # the desk

    def desk_now(self) -> int:
        return self.world.now + self.skews["desk"]

    def revoke(self, key: str) -> None:
        self.world.spawn(self._revoke(key), self._desk)

    async def _revoke(self, key: str) -> None:
        state = _Told(self._state)
        issuer = Issuer(self._desk_keys, MemoryJournal(), state=self.issuers_state(state), runtime=_Desk(self.desk_now))  # type: ignore[arg-type]
        try:
            await issuer.revoke(key, actor="olga")
        except TradeguardError as error:
            self.world.note(f"desk: {key} is not revoked for certain: {error}")
            return
        self._revoked[key] = self.world.now
        self.world.note(f"desk: {key} is revoked, {'and the state' if state.lifted else 'but the state not'} told")
        if state.lifted:
            self.oracle.confirmed(key)

    def issuers_state(self, state: Any) -> Any:
        """The state that the issuer tells."""
        return state

    def _told(self, process: Process, changes: Changes) -> None:
        for key in self._revoked if changes.ids is None else changes.ids:
            if key in self._revoked:
                self.oracle.heard(process.name, key)

    def halt(self, mode: Mode, after: Callable[[], None]) -> None:
        self.world.spawn(self._halt(mode, after), self._desk)

    async def _halt(self, mode: Mode, after: Callable[[], None]) -> None:
        """Arm or lift; arming waits for the receipt."""
        try:
            record = _sign(await self.switch.propose("venue", mode))
            if mode == Mode.ACTIVE:
                self.oracle.lifting()
            await self.switch.put(record, actor="olga")
            self.world.note(f"desk: venue is {mode.name} #{record.proposal.number % SECOND}")
            if mode != Mode.ACTIVE:
                await self._receive(record)
        except TradeguardError as error:
            self.world.note(f"desk: {mode.name}: {error}")
        after()

    async def _receive(self, record: Record) -> None:
        for _ in range(200):
            try:
                receipt = await self.switch.receipt(record)
            except BackendDown:
                continue
            if receipt.done:
                nodes = {node for node, process in self.processes.items() if _name(process) in receipt.obeyed}
                self.world.note(f"desk: the receipt is there: {', '.join(sorted(nodes)) or 'nobody'}")
                self.oracle.receipt(record.proposal.number, nodes)
                return
            await self.world.sleep(20 * MS)


class _Told:
    """A state that notes whether it was told of the end of a key."""

    def __init__(self, state: Client) -> None:
        self._state, self.lifted = state, False

    async def lift(self, key: str, value: int) -> int:
        version = await self._state.lift(key, value)
        self.lifted = True
        return version


class _Desk:
    """How the desk waits: for nothing."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now

    async def wait(self, ticket: Ticket) -> None:
        ticket.wait()


def _sign(proposal: Proposal) -> Record:
    record = Record(proposal, ())
    for name in OPERATORS:
        record = sign_halt(record, name, Secret(_secret(name)))
    return record


def _name(process: Process) -> str:
    """The name of a process in the receipts of operators."""
    return next(check.halts.node for check in process.guard.checks if isinstance(check, Halt))
