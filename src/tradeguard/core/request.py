"""Request: one thing somebody asks for, with its raw bytes untouched. Headers and Peer belong to it."""

from collections import Counter
from collections.abc import Callable, Iterable, KeysView, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tradeguard.core.address import Address, parse_address
from tradeguard.core.decision import Denial, Refused, register

if TYPE_CHECKING:
    from tradeguard.core.conditions import Charge
    from tradeguard.core.credential import Claim, Credential
    from tradeguard.core.lease import Lease
    from tradeguard.core.policy import Operation
    from tradeguard.core.ports import Body
    from tradeguard.core.principal import Principal

REPEATED = register(
    "request.repeated",
    unproven=True,
    hint="A header that must stand once stands twice; the detail names it. Look for a proxy that adds it again.",
)


class Headers:
    """The header fields as received: lower-case names, raw values, and no guessing which of two is meant.

    Args:
        raw: (name, value) pairs; the names are lower case already.
    """

    __slots__ = ("_index", "raw", "repeated")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self.raw = list(raw)
        self._index: dict[bytes, bytes] = dict(self.raw)
        self.repeated: Mapping[bytes, int] = {}
        if len(self._index) != len(self.raw):
            self.repeated = {name: n for name, n in Counter(name for name, _ in self.raw).items() if n > 1}

    def one(self, name: bytes) -> bytes | None:
        """Return the value of a field that must not stand twice, or None.

        Raises:
            Refused: it does (`request.repeated`).
        """
        if self.repeated and name in self.repeated:
            raise Refused(Denial(REPEATED, detail=name.decode("latin-1")))
        return self._index.get(name)

    def getter(self, names: frozenset[bytes]) -> Callable[[bytes], bytes | None]:
        """Return what reads these fields as `one` does; whether one of them stands twice is looked at here, at once.

        Raises:
            Refused: one does (`request.repeated`).
        """
        if self.repeated and not names.isdisjoint(self.repeated):
            raise Refused(Denial(REPEATED, detail=min(names & self.repeated.keys()).decode("latin-1")))
        return self._index.get

    def note(self, name: bytes) -> str:
        """Return a field for the log, empty where it is absent: whichever stands last, and nothing to decide by."""
        return self._index.get(name, b"").decode("latin-1")

    @property
    def names(self) -> KeysView[bytes]:
        """The names that occur."""
        return self._index.keys()

    def joined(self) -> tuple[bytes, bytes]:
        """Return all names in one, and all values: for checks on every byte of them."""
        if self.repeated:
            return b"".join([name for name, _ in self.raw]), b"".join([value for _, value in self.raw])
        return b"".join(self._index), b"".join(self._index.values())

    def __contains__(self, name: bytes) -> bool:
        return name in self._index

    def __len__(self) -> int:
        return len(self.raw)


class Peer(NamedTuple):
    """Who is at the other end of the connection.

    `address` is None where it is not known (a unix socket, or a server that replaced it); None matches no allow list.
    `rewritten` is what such a server put in its place: good for a log, not for a decision. `unix` says that it came by
    a unix socket. `via` is the party that failures are counted against where the address is not known.
    """

    address: Address | None = None
    rewritten: str = ""
    unix: bool = False
    via: str = ""

    @property
    def source(self) -> str | None:
        """The party that failures are counted against: the address (its /64 for IPv6), else `via`, else nobody."""
        return (self.via or None) if self.address is None else self.address.source


@lru_cache(4096)
def peer_at(text: str) -> Peer:
    """Return the peer at an address as a server writes it; one without address for whatever is none."""
    return Peer(parse_address(text))


class Request:
    """One request on its way through the guard.

    Args:
        id: ours, unique; the answer and every event carry it.
        method: as received.
        target: the raw request target as the client signed it: path with prefix, `?`, query.
        path: the decoded path as the host routes it, without `prefix`.
        prefix: the decoded mount point of the application, or "".
        scheme: "http" or "https".
        headers: as received.
        peer: the other end.
        arrived: ns UTC when the head was complete.
        body: reads the body, or the body itself (a message is a Request too).
        version: the HTTP version, "1.1" for example.
        kind: what sort of thing is asked.

    `authority` and `length` are filled in by the frame; `operation`, `claim`, `received` (ns UTC, after the last byte
    of the body), `phase` (what is at work, to be named if it fails) and `policy` (the mark of what decides) by the
    guard. `context` is the host's. `credential` and `principal` can be set once, by the
    proof; or `principal` alone by the host, where `coexists` says that its own authentication decides. `shadow` are
    denials that are told and not obeyed. `fields` go with the answer, whatever it is, once the request was proved;
    `charges` are what the commit took from quotas. `lease` is what it holds for as long as its connection is open, and
    `connection` the id of the handshake that a message came by.
    """

    __slots__ = (
        "_body", "_credential", "_principal", "_reader", "arrived", "authority", "charges", "claim", "coexists",
        "connection", "context", "fields", "headers", "id", "kind", "lease", "length", "method", "operation", "path",
        "peer", "phase", "policy", "prefix", "received", "scheme", "shadow", "target", "version",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: str,
        method: str,
        target: bytes,
        path: str,
        headers: Headers,
        peer: Peer,
        arrived: int,
        body: "Body | bytes",
        prefix: str = "",
        scheme: str = "http",
        version: str = "1.1",
        kind: Literal["http", "websocket", "message", "login"] = "http",
    ) -> None:
        self.id, self.kind, self.method, self.target, self.path, self.prefix = id, kind, method, target, path, prefix
        self.scheme, self.version, self.headers, self.peer = scheme, version, headers, peer
        self.arrived = self.received = arrived
        self.authority = b""
        self.length: int | None = None
        self.operation: Operation | None = None
        self.claim: Claim | None = None
        self.phase: object = "frame"
        self.policy, self.coexists = "", False
        self.shadow: list[Denial] = []
        self.fields: list[tuple[bytes, bytes]] = []
        self.charges: list[Charge] = []
        self.lease: Lease | None = None
        self.connection = ""
        self.context: dict[str, Any] | None = None
        self._body: bytes | None = body if isinstance(body, bytes) else None
        self._reader: Body | None = None if isinstance(body, bytes) else body
        self._credential: Credential | None = None
        self._principal: Principal | None = None

    def message(self, id: str, body: bytes, arrived: int) -> "Request":
        """Return a message that came over the connection which this handshake opened: from the same caller, same row.

        It carries no credential: who sends it was proved by the handshake.

        Args:
            id: ours, unique.
            body: the message.
            arrived: ns UTC, after its last byte.
        """
        message = Request(
            id=id,
            method=self.method,
            target=self.target,
            path=self.path,
            prefix=self.prefix,
            scheme=self.scheme,
            version=self.version,
            headers=self.headers,
            peer=self.peer,
            arrived=arrived,
            body=body,
            kind="message",
        )
        message.authority, message.length, message.connection = self.authority, len(body), self.id
        message.operation, message.claim, message.coexists = self.operation, self.claim, self.coexists
        message._principal = self._principal
        return message

    async def body(self) -> bytes:
        """Return the whole body; it is read once and kept."""
        if self._body is None:
            assert self._reader is not None  # one of the two is always there
            self._body = await self._reader.read(self.length)
        return self._body

    def release(self) -> None:
        """Give the body's bytes back to the budget of unproven bodies: the proof is over, either way."""
        if self._reader is not None:
            self._reader.release()

    @property
    def unread(self) -> bool:
        """A body may still be on its way: the connection cannot be used again after an early answer."""
        return self._body is None and self.length != 0

    @property
    def credential(self) -> "Credential | None":
        """What the proof established; None before it, and on public operations without a signature."""
        return self._credential

    @property
    def principal(self) -> "Principal | None":
        """Who the proof found; None before it, and on public operations without a signature."""
        return self._principal

    def prove(self, credential: "Credential", principal: "Principal") -> None:
        """Set credential and principal: once, by the proof.

        Raises:
            AttributeError: they are set already.
        """
        if self._credential is not None:
            raise AttributeError("credential and principal are write-once: another proof has set them")
        self._credential, self._principal = credential, principal

    def vouch(self, principal: "Principal") -> None:
        """Set the principal that the host found: once, and only where its own authentication decides.

        Raises:
            AttributeError: it does not decide about this request, or has done so.
        """
        if not self.coexists or self._principal is not None:
            raise AttributeError("the host vouches once, and only for a request that `coexist` left to it")
        self._principal = principal
