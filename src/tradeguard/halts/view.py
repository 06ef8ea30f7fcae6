"""Halts: a node's own view of what stands still, for the way of a request.

The rules:

1.  What the store shows is taken only where it is signed as `core/halt.py` asks; the last of each scope is held. Where
    the store has lost it, shows an older one or a weaker number, what is held goes on: a writer to the store lifts
    nothing. A number that nobody signed stops as it says, as long as it is there.
2.  The view is one immutable snapshot; who reads it never waits. It is looked up every `poll` off the way of requests,
    and before the next decision where a commit showed that something was stored.
3.  What was not read for `stale_after`, or never, counts as NO_NEW for the venue.
4.  A store that is older than this node has seen is not read. With another one (a failover, a flush) the node goes on:
    what is held stays held, and it says anew what it obeys.
5.  What is held survives a restart where there is a file to keep it in.
"""

import logging
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tradeguard.core.conditions import Look, Seen, Stored
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.event import Event
from tradeguard.core.halt import PREFIX, Mode, Record, Standing, Standings, objection, parse_record, strictest
from tradeguard.core.ports import Colour, Journal, Keys, State
from tradeguard.core.runtime import Clock
from tradeguard.halts import kept, node
from tradeguard.halts.follower import Follower
from tradeguard.halts.node import Ack
from tradeguard.halts.signing import find_owners

_BEAT: Final = node.LIFETIME // 3
_AGAIN: Final = 1_000_000_000  # ns until a record that was refused is verified again
_MOST_TOLD: Final = 10_000  # troubles that are remembered as told
_MOST_ACKS: Final = 100  # scopes that a node speaks of: the latest
_SOON: Final = 60_000_000_000  # ns: so close to its end the store may have dropped a number before we do
_log = logging.getLogger("tradeguard")


class Halts:
    """What stands still, as this node knows it.

    Args:
        state: where halts are stored.
        keys: where the keys of operators are found.
        journal: where changes and forgeries are recorded.
        keep: a file that what is held survives a restart in; None: a writer to the store can lift a halt for processes
            that start afterwards.
        poll: how long the view may lag behind the store, in ns.
        stale_after: how long the store may be silent before orders are refused, in ns.
        clock: monotonic ns. now: ns UTC.
        follow: look at the store in the background; without it `refresh` does, when it is called or a request comes.

    Raises:
        ConfigError: a time below 1, or a file that is damaged.
    """

    def __init__(
        self,
        state: State,
        keys: Keys,
        *,
        journal: Journal | None = None,
        keep: str | os.PathLike[str] | None = None,
        poll: int = 50_000_000,
        stale_after: int = 2_000_000_000,
        clock: Callable[[], int] = time.monotonic_ns,
        now: Callable[[], int] | None = None,
        follow: bool = True,
    ) -> None:
        if min(poll, stale_after) < 1:
            raise ConfigError("Halts: poll and stale_after are in ns, at least 1")
        self.state, self._keys, self._journal = state, keys, journal
        self._keep = None if keep is None else Path(keep)
        self._poll, self._stale_after, self._clock, self._now = poll, stale_after, clock, now or Clock().now
        self._held: Mapping[str, Record] = {} if self._keep is None else kept.load(self._keep)
        self._standings: Standings = MappingProxyType({})
        self._raw: Mapping[str, Stored] = {}
        self._read: int | None = None
        self._due, self._taken = 0, (-1, "")
        self._seen: Seen | None = None
        self._refused: dict[str, tuple[bytes, int]] = {}
        self._told = set[tuple[str, str, bytes]]()
        self._failing = False
        self._flights: list[AbstractSet[str]] = []
        self._acks: dict[str, tuple[int, frozenset[str]]] = {}
        self._beat, self._said = 0, b""
        self._follows, self._follower = follow, Follower(self.step, poll)
        self._begin_process()
        self._show()
        begin = weakref.WeakMethod(self._begin_process)
        os.register_at_fork(after_in_child=lambda: (method := begin()) is not None and method())

    @property
    def colours(self) -> frozenset[Colour]:
        """How the stores wait that it asks."""
        return frozenset({self.state.colour, self._keys.colour})

    @property
    def answers_at_once(self) -> bool:
        """Whether the stores can be asked where nobody may wait for a loop or for long."""
        return self.colours <= {"instant", "brief"}

    @property
    def due(self) -> bool:
        """Whether the store should be looked at before the next decision."""
        return self._clock() >= self._due

    @property
    def unread(self) -> bool:
        """Whether the store was not read for too long, or never (rule 3)."""
        return self._read is None or self._clock() - self._read > self._stale_after

    @property
    def held(self) -> Mapping[str, Record]:
        """The last signed record of each scope."""
        return self._held

    @property
    def in_flight(self) -> int:
        """How many requests this process has begun to decide about and whose handler is not through."""
        return sum(len(flights) for flights in self._flights)

    def find(self, scopes: Iterable[str], at: int) -> Standing | None:
        """Return the strictest of what stands for some scopes at a time (ns UTC), by this node's own memory."""
        standings = self._standings
        return strictest(standings, scopes, at) if standings else None

    def notice(self, epoch: str, version: int) -> None:
        """Take note of what a commit showed of the store: where something was stored, it is looked at again."""
        if version > self._taken[0] or epoch != self._taken[1]:
            seen = self._seen
            if seen is not None and seen[0] == epoch and seen[1] < version:
                self._seen = (epoch, version)
            self._due = 0
            self._follower.wake()

    def watch(self, flights: AbstractSet[str]) -> None:
        """Take the set of requests in flight that a guard of this process keeps."""
        if not any(known is flights for known in self._flights):
            self._flights.append(flights)

    async def refresh(self) -> bool:
        """Look at the store; tell whether it could be read. What fails leaves the view as it is, and it ages."""
        self._follow()
        began, seen = self._clock(), self._seen
        if self._read is not None:
            self._due = began + 2 * self._poll
        try:
            look = await self.state.look(PREFIX)
            if seen is not None and look.epoch != seen[0]:
                self._turn(look.epoch)
            elif seen is not None and look.version < seen[1]:
                raise BackendDown("the store is older than this node has seen: a restored copy")
            found = await self._verify(look)
        except Exception as error:
            self._due = self._clock() + 2 * self._poll
            self._fail(error)
            return False
        self._take(look, found, began)
        return True

    async def announce(self) -> None:
        """Say in the store what this node obeys, where that has changed or it is time to say that it is there."""
        flying = frozenset[str]().union(*(frozenset(flights) for flights in self._flights))
        latest = sorted(self._acks.items(), key=lambda item: item[1][0])[-_MOST_ACKS:]
        text = node.encode({scope: Ack(n, len(was), len(was & flying)) for scope, (n, was) in latest})
        if text != self._said or self._clock() >= self._beat:
            await self.state.set(node.PREFIX + self.node, 0, self._now() + node.LIFETIME, text)
            self._said, self._beat = text, self._clock() + _BEAT

    async def step(self) -> None:
        """Do what is done in the background: look, then speak. What fails is tried again with the next step."""
        if await self.refresh():
            try:
                await self.announce()
            except Exception as error:
                _log.warning("this node could not say what it obeys: %s", error)

    def close(self) -> None:
        """Stop looking, and take leave where the store can be told at once; the next request begins again."""
        self._follower.stop()
        if self._said and "async" not in self.colours:
            self._said, self._beat = b"", 0
            try:
                drive(self.state.set(node.PREFIX + self.node, 0, self._now()))
            except Exception as error:
                _log.warning("this node could not take leave; until it is forgotten it counts as silent: %s", error)

    def _follow(self) -> None:
        if self._follows:
            self._follower.begin(on_loop="async" in self.colours)

    def _begin_process(self) -> None:
        """Begin anew, also in a forked child: threads do not come along, and it is a node of its own."""
        self._lock = threading.Lock()
        self._follower.forget()
        self._said, self._beat = b"", 0
        self.node = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(3)}"

    async def _verify(self, look: Look) -> dict[str, tuple[Record, tuple[str, ...]]]:
        """Return what is new and rightly signed, with the owners of the keys."""
        found: dict[str, tuple[Record, tuple[str, ...]]] = {}
        if look.version == self._taken[0] and not self._refused:
            return found
        for key, stored in look.numbers.items():
            scope, clock = key.removeprefix(PREFIX), self._clock()
            held = self._held.get(scope)
            text, again = self._refused.get(scope, (b"", 0))
            if (held is not None and held.encode() == stored.record) or (stored.record == text and clock < again):
                continue
            try:
                record = parse_record(stored.record)
                if record.proposal.scope != scope:
                    raise ConfigError(f"it was signed for {record.proposal.scope}")
                found[scope] = record, await find_owners(record, self._keys, self._now())
            except ConfigError as error:
                self._refuse(scope, stored.record, str(error))
        return found

    def _turn(self, epoch: str) -> None:
        """Go on with a store of another epoch (rule 4)."""
        with self._lock:
            if self._seen is None or self._seen[0] == epoch:
                return
            self._seen, self._taken, self._beat = None, (-1, ""), 0
        self._tell("halt.moved", "the store is another one; what was signed is held", logging.CRITICAL)

    def _take(self, look: Look, found: Mapping[str, tuple[Record, tuple[str, ...]]], began: int) -> None:
        """Swap the view, and tell what has changed (rule 1)."""
        taken: list[Record] = []
        with self._lock:
            if look.version >= self._taken[0]:  # else another thread has taken a later look meanwhile
                taken = self._hold(found)
                if taken or look.version > self._taken[0]:
                    self._raw, self._taken = look.numbers, (look.version, look.epoch)
                    self._refused = {
                        scope: (text, again)
                        for scope, (text, again) in list(self._refused.items())
                        if (stored := look.numbers.get(PREFIX + scope)) is not None and stored.record == text
                    }
                    self._show()
                    self._told_lost(self._now())
            self._seen = (look.epoch, max(look.version, self._seen[1] if self._seen else 0))
            self._read = max(began, self._read or began)
            self._due = self._read + 2 * self._poll if self._taken[0] >= self._seen[1] else 0
        if self._failing:
            self._failing = False
            self._tell("halt.read", "the halts can be read again", logging.WARNING)
        for record in taken:
            self._obey(record)

    def _hold(self, found: Mapping[str, tuple[Record, tuple[str, ...]]]) -> list[Record]:
        """Hold what the law lets in; return that."""
        held, now, taken = dict(self._held), self._now(), list[Record]()
        for scope, (record, owners) in found.items():
            before = held.get(scope)
            why = objection(record.proposal, before and before.proposal, owners, now)
            if not why:
                held[scope] = record
                self._refused.pop(scope, None)
                taken.append(record)
            elif before != record:
                self._refuse(scope, record.encode(), why)
        self._held = held
        return taken

    def _show(self) -> None:
        """Make the snapshot: of each scope what was signed, and what is stored beyond that."""
        standings: dict[str, tuple[Standing, ...]] = {}
        for scope in {*self._held, *(key.removeprefix(PREFIX) for key in self._raw)}:
            both = (_signed(self._held.get(scope)), _stored(scope, self._raw.get(PREFIX + scope)))
            standing = tuple(one for one in both if one is not None)
            if standing:
                standings[scope] = standing
        self._standings = MappingProxyType(standings)

    def _obey(self, record: Record) -> None:
        """Note what is in flight now that the view is another, and keep and record what was taken."""
        proposal = record.proposal
        flights = frozenset[str]().union(*(frozenset(flights) for flights in self._flights))
        self._acks[proposal.scope] = proposal.number, flights
        self._keep_held()
        by = ",".join(key_id for key_id, _ in record.signatures)
        text = f"{proposal.scope} {proposal.mode.name} #{proposal.number}, {len(flights)} in flight: {proposal.reason}"
        self._tell("halt.obeyed", text, logging.WARNING, by)

    def _keep_held(self) -> None:
        if self._keep is not None:
            try:
                kept.store(self._keep, self._held)
            except (ConfigError, OSError) as error:
                self._tell("halt.unkept", f"what is held would not survive a restart: {error}", logging.CRITICAL)

    def _told_lost(self, now: int) -> None:
        """Say where the store shows less than what is held."""
        for scope, record in self._held.items():
            proposal, stored = record.proposal, self._raw.get(PREFIX + scope)
            ending = proposal.until is not None and proposal.until <= now + _SOON
            if stored is None and (ending or not proposal.stands(now)):
                continue
            if stored is None or (stored.value, stored.until) != (proposal.mode, proposal.until):
                self._trouble(
                    "halt.lost", scope, record.encode(), "the store does not show what was signed; it is held"
                )

    def _refuse(self, scope: str, text: bytes, why: str) -> None:
        self._refused[scope] = text, self._clock() + _AGAIN
        self._trouble("halt.refused", scope, text, why)

    def _trouble(self, code: str, scope: str, text: bytes, why: str) -> None:
        """Tell of something wrong with what is stored, once."""
        if (code, scope, text) not in self._told:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add((code, scope, text))
            self._tell(code, f"{scope}: {why}", logging.CRITICAL)

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            expected = isinstance(error, BackendDown)
            _log.critical("the halts cannot be read: %s", error, exc_info=None if expected else error)
            self._write("halt.unread", f"{type(error).__name__}: {error}")

    def _tell(self, code: str, text: str, level: int, key_id: str = "") -> None:
        _log.log(level, "%s: %s", code, text)
        self._write(code, text, key_id)

    def _write(self, code: str, text: str, key_id: str = "") -> None:
        if self._journal is not None:
            self._journal.append(Event("halt", self._now(), proven=True, code=code, key_id=key_id, detail=text))


def _signed(record: Record | None) -> Standing | None:
    if record is None or record.proposal.mode == Mode.ACTIVE:
        return None
    proposal = record.proposal
    return Standing(
        proposal.mode, proposal.until, proposal.scope, proposal.number, proposal.retry_after, proposal.reason
    )


def _stored(scope: str, stored: Stored | None) -> Standing | None:
    """Return what a number stops whoever has written it; one above all modes stops everything."""
    if stored is None or stored.value <= Mode.ACTIVE:
        return None
    return Standing(Mode(min(stored.value, Mode.BLOCKED)), stored.until, scope)
