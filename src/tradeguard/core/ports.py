"""Every Protocol of the house: what a check, a proof, a store or a host must be. Nothing else is here.

A port that waits has a colour, so that it is never put into a host that cannot wait that way:
`instant` never waits; `brief` waits a bounded moment (SQLite); `blocking` holds its thread; `async` needs a loop.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from tradeguard.core.conditions import Charge, Condition, Look, Outcome, Seen
from tradeguard.core.credential import Claim
from tradeguard.core.decision import Denial
from tradeguard.core.event import Event
from tradeguard.core.key import Changes, KeyRecord, KeyRow, Mark, Material
from tradeguard.core.lockout import Failure, Name
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.request import Request

T = TypeVar("T")
Colour = Literal["instant", "brief", "blocking", "async"]


class Port(Protocol):
    """Something outside the core that the guard waits for."""

    @property
    def colour(self) -> Colour:
        """How it waits."""
        ...


@runtime_checkable
class Proof(Protocol):
    """Finds out who is asking. Exactly one proof of a guard's list may claim a request."""

    @property
    def challenge(self) -> str:
        """What WWW-Authenticate says on a 401 (RFC 9110, 11.6.1)."""
        ...

    @property
    def ports(self) -> tuple[Port, ...]:
        """What it waits for."""
        ...

    def claim(self, request: Request, /) -> Claim | None:
        """Say from the head alone whether this proof is meant; no work that a stranger could abuse."""
        ...

    async def prove(self, request: Request, claim: Claim, /) -> Denial | None:
        """Verify, then call `request.prove`; the work depends on the bytes of the request only."""
        ...


@runtime_checkable
class Check(Protocol):
    """A judge: answers at once, from the request and what it carries."""

    async def __call__(self, request: Request, /) -> Denial | None:
        """Return why the request may not pass, or None."""
        ...


@runtime_checkable
class Conditional(Protocol):
    """Needs shared memory: hands the guard conditions for its one commit instead of asking itself."""

    @property
    def kinds(self) -> frozenset[type]:
        """Which of the four conditions it uses."""
        ...

    def conditions(self, request: Request, /) -> Iterable[Condition]:
        """Return what must hold for this request."""
        ...

    def denial(self, condition: Condition, outcome: Outcome, /) -> Denial:
        """Explain the failure of one of its own conditions."""
        ...


@runtime_checkable
class Settling(Protocol):
    """Has something to say, or to give back, once the commit is done."""

    def settled(self, request: Request, outcome: Outcome, /) -> None:
        """Take note of what the commit came to; `request.fields` go with the answer."""
        ...

    def returns(self, request: Request, status: int, /) -> Iterable[Charge]:
        """Return what a granted request gives back, by the status of its answer (0: there was none)."""
        ...


@runtime_checkable
class Planned(Protocol):
    """Is held against the rest of the plan, when that is made."""

    def check_plan(self, policy: Policy, operations: Operations, /) -> None:
        """Raise `ConfigError` where they do not fit."""
        ...


@runtime_checkable
class Gate(Protocol):
    """Keeps those who keep failing away from the work."""

    def door(self, source: str | None, at: int, /) -> Denial | None:
        """Refuse by source, before anything of the request is looked at."""
        ...

    def gate(self, request: Request, claim: Claim, /) -> Denial | None:
        """Refuse by key and source, before the body is read."""
        ...

    def failed(self, request: Request, claim: Claim | None, /) -> None:
        """Count a failure before the proof."""
        ...

    def passed(self, request: Request, claim: Claim, /) -> None:
        """Take note of a proof that held, of a request that is granted: no replay, and nothing stale."""
        ...


@runtime_checkable
class Noticing(Protocol):
    """Notices what no single request shows, and works with other nodes at it; asked after a refusal and an outcome."""

    def notices(self, at: int, /) -> Iterable[Event]:
        """Return what is to be put on record by a time (ns UTC): once, and few."""
        ...

    def exchange(self, state: "State", at: int, /) -> Coroutine[Any, Any, object] | None:
        """Return work that nobody waits for, if there is some by a time (ns UTC)."""
        ...


@runtime_checkable
class Rechecking(Protocol):
    """Can say again, at once, whether a grant still stands."""

    def recheck(self, request: Request, at: int, /) -> Denial | None:
        """Return why the grant of a request that has a principal no longer stands at a time (ns UTC), or None."""
        ...


@runtime_checkable
class Watching(Protocol):
    """Wants to know which requests are in flight."""

    def watch(self, flights: AbstractSet[str], /) -> None:
        """Take the set that the guard keeps: the ids of the requests that it has begun to decide about, until they are
        refused or their handler is through.
        """
        ...


class State(Port, Protocol):
    """Shared memory: settles all conditions of a request in one atomic step."""

    @property
    def supports(self) -> frozenset[type]:
        """Which of the four conditions it can settle."""
        ...

    @property
    def since(self) -> int:
        """From when on it remembers, ns UTC: start for a store that forgets, 0 for one that does not."""
        ...

    async def commit(
        self,
        conditions: Iterable[Condition],
        at: int,
        request_id: str,
        seen: Seen | None,
        denied: bool = False,
        reserve: bool = False,
    ) -> Outcome:
        """Settle the conditions as `tradeguard.core.conditions` says; `reserve` opens the room kept for cancels."""
        ...

    async def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
        """Store a number for `Below`, and what belongs to it; return the new version of the store."""
        ...

    async def lift(self, key: str, value: int) -> int:
        """Store a number for `Below`, for good, unless a higher one is stored; return the version of the store."""
        ...

    async def look(self, prefix: str) -> Look:
        """Return the numbers whose key begins with a prefix and that still hold."""
        ...

    async def refund(self, charge: Charge, item: str, units: int, at: int) -> bool:
        """Give units of a charge back, once per item and never more than it cost; tell whether they counted.

        Args:
            charge: what was taken.
            item: what they are given back for, such as an order id.
            units: how many, at least 1.
            at: when, ns UTC.
        """
        ...


class Table(Protocol):
    """The node's own counters: of fixed size, exact under threads."""

    def add(self, key: tuple[str, ...], cost: int, at: int) -> int:
        """Add `cost` ns of debt to a key, draining 1 ns per ns; return its debt as the time it is drained."""
        ...

    def drained(self, key: tuple[str, ...]) -> int:
        """Return when the key's debt is drained, ns UTC; 0 for a key without one."""
        ...


class Failures(Protocol):
    """Who keeps failing, by the node's own count: of fixed size, exact under threads; who failed least makes room."""

    @property
    def node(self) -> str:
        """A name for this process, unlike that of any other."""
        ...

    @property
    def latest(self) -> int:
        """Until when the last of all is locked, ns UTC."""
        ...

    def until(self, name: Name, /) -> int:
        """Return until when a name is locked, ns UTC; 0 for one that never was."""
        ...

    def add(self, name: Name, at: int, free: int, heard: float = 0.0, /) -> Failure:
        """Count a failure at a time (ns UTC), and lock the name as `tradeguard.core.lockout` says.

        Args:
            name: who fails.
            at: when, ns UTC.
            free: how many failures cost nothing.
            heard: how many other nodes have counted.
        """
        ...

    def clear(self, name: Name, at: int, /) -> float:
        """Forget the failures of a name; return how many they were at a time (ns UTC), 0 where it was never locked."""
        ...

    def __contains__(self, name: Name, /) -> bool:
        """Tell whether failures of a name are counted."""
        ...


class Keys(Port, Protocol):
    """Where key records are found."""

    async def find(self, id: str, /) -> KeyRecord | None:
        """Return the record of a key id, or None."""
        ...


@runtime_checkable
class Following(Protocol):
    """Keys that this node follows: it has a view of its own, and hears of each use."""

    def stands(self, id: str, at: int, /) -> bool:
        """Tell at once, from this node's own view, whether a key verifies at a time (ns UTC)."""
        ...

    def used(self, record: KeyRecord, at: int, /) -> None:
        """Take note that a key was used (ns UTC); costs next to nothing."""
        ...

    def renew(self) -> None:
        """Look at the store again before the next answer: something known turned out to be too old."""
        ...


@runtime_checkable
class KeyAdmin(Keys, Protocol):
    """Keys that can be changed."""

    async def put(self, records: Sequence[KeyRecord], /) -> None:
        """Store new keys (version 1) and next versions of known ones: all of them, or none.

        Raises:
            KeyConflict: an id or a secret is taken, or the version before is not the stored one.
            BackendDown: the store cannot answer now.
        """
        ...

    async def list(self, after: str = "", limit: int = 1000) -> list[KeyRecord]:
        """Return the next records by id, after one."""
        ...

    async def holder(self, material: Material, /) -> str | None:
        """Return the id of the key that has this material, or None."""
        ...

    async def changes(self, mark: Mark | None, /) -> Changes:
        """Tell what has changed since a mark; None asks for a first mark."""
        ...

    async def touch(self, uses: Mapping[str, int], /) -> None:
        """Keep when keys were last used (ns UTC by id); a coarse figure for people, off the way of a request."""
        ...

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return when keys were last used, ns UTC; those that never were are left out."""
        ...


class KeyTable(Port, Protocol):
    """Where rows of keys are kept. It understands nothing of them but id, version and fingerprint."""

    async def get(self, id: str, /) -> KeyRow | None:
        """Return the row of a key id, or None."""
        ...

    async def put(self, rows: Sequence[KeyRow], /) -> None:
        """Store rows as `KeyAdmin.put` does; durable when it returns."""
        ...

    async def page(self, after: str, limit: int, /) -> list[KeyRow]:
        """Return the next rows by id, after one."""
        ...

    async def holder(self, fingerprint: bytes, /) -> str | None:
        """Return the id of the row that has this fingerprint, or None."""
        ...

    async def changes(self, mark: Mark | None, /) -> Changes:
        """Tell what has changed since a mark; None asks for a first mark."""
        ...

    async def touch(self, uses: Mapping[str, int], /) -> None:
        """Keep when keys were last used, ns UTC by id; an earlier time than the kept one changes nothing."""
        ...

    async def uses(self, ids: Sequence[str], /) -> Mapping[str, int]:
        """Return when keys were last used, ns UTC."""
        ...

    async def keep(self, name: str, value: bytes | None = None, /) -> bytes | None:
        """Return what is kept under a name; where nothing is, keep `value` first."""
        ...

    def close(self) -> None:
        """Let go of files and connections; the next use opens them again."""
        ...


class Sealer(Port, Protocol):
    """Encrypts small secrets at rest, under a master key that may live elsewhere."""

    async def seal(self, plaintext: bytes, context: bytes, /) -> bytes:
        """Encrypt; only the same context opens it again."""
        ...

    async def open(self, sealed: bytes, context: bytes, /) -> bytes:
        """Decrypt.

        Raises:
            Tampered: it was changed, or sealed for another context.
            ConfigError: it was sealed under a master key that is not at hand; the text names the key's id.
        """
        ...


@runtime_checkable
class Closing(Protocol):
    """Holds files or connections."""

    def close(self) -> None:
        """Let go of them; the next use opens them again."""
        ...


class Ticket(Protocol):
    """The receipt of an appended event: not a future, so that a host without a loop can wait for it too."""

    @property
    def done(self) -> bool:
        """Whether the journal is through with the event."""
        ...

    def then(self, callback: Callable[[], object], /) -> None:
        """Call back when done, from any thread; at once if it is."""
        ...

    def wait(self) -> None:
        """Hold the thread until the event is on record.

        Raises:
            BackendDown: it is not, and will not be.
        """
        ...


class Journal(Port, Protocol):
    """Where events are kept."""

    def append(self, event: Event, /) -> Ticket:
        """Take an event; never waits. Whoever needs it on record waits for the ticket through the runtime."""
        ...

    def count(self, code: str, at: int, /) -> None:
        """Count a refusal of a stranger that is not worth a line of its own; `at` is ns UTC."""
        ...

    def flush(self) -> None:
        """Write out what is held back; called at the end."""
        ...


class Budget(Protocol):
    """Bytes that the process holds for requests nobody has proved yet."""

    def take(self, amount: int, /) -> bool:
        """Take bytes out; False, and nothing taken, if there are not that many."""
        ...

    def give(self, amount: int, /) -> None:
        """Give bytes back."""
        ...


class Body(Protocol):
    """Reads a request body within its limits."""

    async def read(self, declared: int | None, /) -> bytes:
        """Return the whole body. `declared` is its length as the head has it; None if the head does not say."""
        ...

    def release(self) -> None:
        """Give the bytes back to the budget of unproven bodies."""
        ...


class Runtime(Protocol):
    """The host's way of waiting and its clock."""

    @property
    def colours(self) -> frozenset[Colour]:
        """The colours of ports that can wait here."""
        ...

    def now(self) -> int:
        """Return the time, ns UTC; it never steps back."""
        ...

    async def wait(self, ticket: Ticket, /) -> None:
        """Wait until an event is on record; raises `BackendDown` if it will not be."""
        ...

    def later(self, work: Coroutine[Any, Any, object], /) -> None:
        """Do work that nobody waits for: at once where waiting holds the thread, else as soon as the loop can."""
        ...

    async def within(self, seconds: float, work: Coroutine[Any, Any, T], /) -> T:
        """Do the work; raise TimeoutError in it when it has waited too long, where this host can interrupt it."""
        ...
