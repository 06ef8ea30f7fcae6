"""Switch: how operators arm, lift and look at halts; and the receipt that says which nodes obey."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from tradeguard.core.conditions import Stored
from tradeguard.core.errors import ConfigError
from tradeguard.core.event import Event
from tradeguard.core.halt import PREFIX, SKEW, Mode, Proposal, Record, check_scope, objection, parse_record
from tradeguard.core.ports import Journal, Keys, State
from tradeguard.core.runtime import Clock
from tradeguard.halts import node
from tradeguard.halts.node import Ack
from tradeguard.halts.signing import find_owners

_LOOKS: Final = 0.02  # seconds between looks at what nodes say


class Receipt(NamedTuple):
    """Which nodes obey a record: by node, what it says.

    `silent` are those that are there and have not said so. Where there is none, and none has anything `left` in
    flight, nothing is handed on any more that the record stops.
    """

    obeyed: dict[str, Ack]
    silent: tuple[str, ...]
    stored: bool = True

    @property
    def done(self) -> bool:
        """Whether all nodes obey, the store shows the record, and nothing is in flight that was before they did."""
        return self.stored and not self.silent and not any(ack.left for ack in self.obeyed.values())


class Stand(NamedTuple):
    """What is stored for a scope. `record` is None where nobody has signed it; `doubt` says why it is not obeyed."""

    scope: str
    stored: Stored
    record: Record | None
    doubt: str
    receipt: Receipt


class Switch:
    """Changes halts in the store that nodes share.

    Args:
        state: where halts are stored.
        keys: where the keys of operators are found.
        journal: where changes are recorded.
        now: ns UTC.
    """

    def __init__(
        self, state: State, keys: Keys, journal: Journal | None = None, *, now: Callable[[], int] | None = None
    ) -> None:
        self._state, self._keys, self._journal, self._now = state, keys, journal, now or Clock().now
        self._expected: dict[str, int] = {}

    async def propose(
        self, scope: str, mode: Mode, *, reason: str = "", retry_after: int = 0, until: int | None = None
    ) -> Proposal:
        """Return what operators sign to make this stand, with the next number of the scope.

        Raises:
            ConfigError: see `Proposal`.
            BackendDown: the store cannot answer.
        """
        now, known = self._now(), parse_stored((await self._find(check_scope(scope))).record)
        last = known.proposal.number if known is not None else 0
        number = max(now, last + 1 if last <= now + SKEW else 0)  # no node has taken one that has not come
        return Proposal(
            scope=scope, mode=mode, number=number, at=now, until=until, retry_after=retry_after, reason=reason
        )

    async def put(self, record: Record, *, actor: str) -> None:
        """Store what was signed, after the look that each node takes at it.

        Args:
            record: with its signatures.
            actor: who does this.

        Raises:
            ConfigError: a signature does not hold, it takes another, or somebody else was faster; the text says which.
            BackendDown: the store cannot answer.
        """
        proposal, now = record.proposal, self._now()
        owners = await find_owners(record, self._keys, now)
        why = objection(proposal, await self._known(proposal.scope), owners, now)
        if why:
            raise ConfigError(f"halt {proposal.scope}: {why}")
        known = node.read_nodes(await self._state.look(node.PREFIX))
        self._expected |= dict.fromkeys(known, now + node.LIFETIME)  # also where the store forgets them meanwhile
        await self._state.set(PREFIX + proposal.scope, proposal.mode, proposal.until, record.encode())
        if (await self._find(proposal.scope)).record != record.encode():
            raise ConfigError(f"halt {proposal.scope}: somebody else has changed it at this moment; look, and repeat")
        self._tell(record, actor)

    async def look(self) -> list[Stand]:
        """Return what is stored, by scope, lifted ones too; the strictest first."""
        numbers = (await self._state.look(PREFIX)).numbers
        nodes = node.read_nodes(await self._state.look(node.PREFIX))
        stands: list[Stand] = []
        for key, stored in numbers.items():
            scope, record = key.removeprefix(PREFIX), parse_stored(stored.record)
            receipt = _receipt(scope, record.proposal.number if record is not None else 0, nodes)
            stands.append(Stand(scope, stored, record, await self._doubt(scope, stored, record), receipt))
        return sorted(stands, key=lambda stand: (-stand.stored.value, stand.scope))

    async def receipt(self, record: Record) -> Receipt:
        """Return which nodes obey a record now."""
        nodes = node.read_nodes(await self._state.look(node.PREFIX))
        shown = parse_stored((await self._find(record.proposal.scope)).record)
        stored = shown is not None and shown.proposal.number >= record.proposal.number
        expected = {name for name, until in self._expected.items() if self._now() < until}
        return _receipt(record.proposal.scope, record.proposal.number, nodes, expected)._replace(stored=stored)

    async def wait(
        self, record: Record, seconds: float, pause: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> Receipt:
        """Wait until all nodes obey and nothing is left in flight that was before.

        Args:
            record: what was stored.
            seconds: how long at most.
            pause: how to wait between two looks; `hold` where there is no event loop.

        Returns:
            Who obeys when the wait is over.
        """
        deadline = time.monotonic() + seconds
        while not (receipt := await self.receipt(record)).done and time.monotonic() < deadline:
            await pause(_LOOKS)
        return receipt

    async def _find(self, scope: str) -> Stored:
        key = PREFIX + scope
        return (await self._state.look(key)).numbers.get(key, Stored(0, None, b""))

    async def _known(self, scope: str) -> Proposal | None:
        """Return what is stored for a scope, if it is rightly signed."""
        stored = await self._find(scope)
        record = parse_stored(stored.record)
        return record.proposal if record is not None and not await self._doubt(scope, stored, record) else None

    async def _doubt(self, scope: str, stored: Stored, record: Record | None) -> str:
        """Return why a node that has just started would not take what is stored, or nothing."""
        if record is None:
            return "nobody has signed it"
        proposal = record.proposal
        if proposal.scope != scope:
            return f"it was signed for {proposal.scope}"
        try:
            owners = await find_owners(record, self._keys, self._now())
        except ConfigError as error:
            return str(error)
        shown = (stored.value, stored.until) == (proposal.mode, proposal.until)
        return objection(proposal, None, owners, self._now()) or ("" if shown else "the number is not the signed one")

    def _tell(self, record: Record, actor: str) -> None:
        proposal, code = record.proposal, "halt.set" if record.proposal.mode else "halt.lifted"
        if self._journal is not None:
            signers = ",".join(key_id for key_id, _ in record.signatures)
            text = f"{proposal.scope} {proposal.mode.name} #{proposal.number}: {proposal.reason}"
            event = Event("halt", self._now(), proven=True, code=code, key_id=signers, detail=text, actor=actor)
            self._journal.append(event)


async def hold(seconds: float) -> None:
    """Wait by holding the thread."""
    threading.Event().wait(seconds)


def parse_stored(text: bytes) -> Record | None:
    """Read what is stored beside a number; None where it is no record."""
    try:
        return parse_record(text)
    except ConfigError:
        return None


def _receipt(scope: str, number: int, nodes: dict[str, node.Acks], expected: Iterable[str] = ()) -> Receipt:
    acks = {name: acks[scope] for name, acks in nodes.items() if scope in acks}
    obeyed = {name: ack for name, ack in sorted(acks.items()) if ack.number >= number}
    return Receipt(obeyed, tuple(sorted({*nodes, *expected} - obeyed.keys())))
