"""A venue that is ours: a guarded application on loopback that speaks a venue's dialect, put into a situation.

    with serving("okx", "asgi", "bad-signature") as venue:
        outcomes = venue.ask(("order",))          # what came of each call, as `venues.perform` has it
        venue.answers[-1]                         # what went over the wire

Between client and server stands a proxy that keeps the answers, and sends everything twice where it is a replay.
"""

import base64
import http.client
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from dialects.hosting import HOSTED, RUNTIMES, in_background
from dialects.recorder import Answer, Recorded, Recorder, recording
from dialects.sdk import perform_with
from dialects.venues import LATEST, VECTORS, VENUES, Credentials, credentials_of

from tradeguard import Guard, Operations
from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks import halt
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.quota import Quotas
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.decision import Denial
from tradeguard.core.errors import BackendDown
from tradeguard.core.key import KeyRecord, Material
from tradeguard.core.policy import Policy
from tradeguard.core.request import Request
from tradeguard.core.runtime import Loop, Threads
from tradeguard.keys.kind import SPOKEN
from tradeguard.signing.dialect import Dialect
from tradeguard.signing.material import HMACS, Hmac, make_dummy, read_public
from tradeguard.signing.row import REQUIRED_COVERAGE, Row

SITUATIONS = (
    "fine", "bad-key", "bad-signature", "passphrase", "stale", "early", "replay", "permission", "network", "rate",
    "maintenance", "outage", "unsure", "unmapped",
)  # fmt: skip
"""What a server can be put into; "passphrase" only where the row has one, "stale" and "early" where it has a time.

bad-key: the client's key id is of nobody. bad-signature, passphrase: the key has another one. stale, early: our clock
is an hour ahead of the client's, or two behind it (more than any message lasts). replay: what the client sends is sent
twice, and it gets the second answer. permission: the key may only read. network: the key is held to another one. rate:
one request a minute, and a read goes first. maintenance: all is halted. outage: a part is down, and nothing was done.
unsure: a part broke off, and nobody knows what was done. unmapped: the operations do not have it.
"""
_HOUR = 3_600_000_000_000
_SHIFTS = {"stale": _HOUR, "early": -2 * _HOUR}
_LANES = {"read": "read", "query": "read", "tricky-query": "read", "cancel": "cancel", "cancel-all": "cancel"}
_SCOPES = {"read": "orders:read", "cancel": "orders:cancel", "order": "orders:write"}


def dialect_of(venue: str, client: str = LATEST) -> Any:
    """The dialect that a client of a venue speaks; ccxt sends Kraken Futures no nonce."""
    return SPOKEN[f"{venue}-bare" if venue == "kraken-futures" and client == LATEST else venue]


@dataclass(slots=True)
class Served:
    """A venue that is being served: where clients ask it, with which key; what they were answered so far."""

    venue: str
    situation: str
    client: str
    row: Dialect
    url: str
    credentials: Credentials
    answers: list[Answer] = field(default_factory=list[Answer])

    def ask(self, calls: Iterable[str] = (), **options: Any) -> list[Any]:
        """Let the client make calls; what came of each."""
        first = ("read",) if self.situation == "rate" else ()
        outcomes = perform_with(
            self.client, self.venue, self.url, self.credentials, (*first, *calls) if calls else (), **options
        )
        return outcomes[len(first) :] if calls else outcomes


@contextmanager
def serving(
    venue: str,
    host: str = "asgi",
    situation: str = "fine",
    *,
    client: str = LATEST,
    algorithm: str = "",
    clock: str = "",
) -> Iterator[Served]:
    """Serve a venue in a situation until the end of the block.

    Args:
        venue: a name of `VENUES`.
        host: one of `hosting.HOSTED`.
        situation: one of `SITUATIONS`.
        client: a name of `sdk.CLIENTS`: who asks. ccxt of whatever version the venue needs by default.
        algorithm: of the key; the venue's first by default.
        clock: a path at which everybody is told the time.
    """
    client = VENUES[venue].client if client == LATEST else client
    row, key = dialect_of(venue, client), credentials_of(venue, algorithm)
    guard, proxy = _make_guard(row, venue, key, situation, clock, RUNTIMES[host]()), _proxy()
    told = replace(key, key_id=key.key_id[:-1] + "0") if situation == "bad-key" else key
    served = Served(venue, situation, client, row, proxy.url, told)
    with HOSTED[host](guard, VENUES[venue].fine.encode()) as upstream:
        proxy.answer = _forward(upstream, served)
        yield served


def _forward(upstream: str, served: Served) -> Callable[[Recorded], Answer]:
    """What the proxy does: hand on byte for byte, twice where it is a replay; keep the answer."""
    where = urlsplit(upstream)

    def forward(request: Recorded) -> Answer:
        answer = Answer()
        for _ in range(2 if served.situation == "replay" else 1):
            line = http.client.HTTPConnection(str(where.hostname), where.port or 0, timeout=10)
            line.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                line.putheader(name, value.encode("latin-1"))
            line.endheaders(request.body or None)
            reply = line.getresponse()
            fields = tuple((name, value) for name, value in reply.getheaders() if name.lower() not in _HOPS)
            answer = Answer(reply.status, reply.read(), fields)
            line.close()
        served.answers.append(answer)
        return answer

    return forward


_HOPS = ("content-length", "transfer-encoding", "connection", "date", "server")


def _make_guard(
    row: Dialect, venue: str, key: Credentials, situation: str, clock: str, runtime: Loop | Threads
) -> Guard:
    runtime._offset += _SHIFTS.get(situation, 0)  # type: ignore[misc]
    signature = Signature(
        MemoryKeys([_make_record(row, venue, key, situation)]),
        dialects=(row,),
        accept=(row.name,) if REQUIRED_COVERAGE - row.coverage else (),
    )
    quotas = Quotas({"requests": "1/minute" if situation == "rate" else "1000/minute"})
    return Guard(
        [signature, _Judge(situation), Freshness(), Network(), Scope(), Replay(), quotas],
        operations=Operations(_operations(venue, situation, clock)),
        state=_Store(broken=situation == "unsure"),
        journal=MemoryJournal(),
        policy=Policy(refusals=row.name),
        runtime=runtime,
    )


def _make_record(row: Dialect, venue: str, key: Credentials, situation: str) -> KeyRecord:
    material = make_dummy(key.algorithm) if situation == "bad-signature" else _material(venue, key)
    phrase = b"another pass-phrase" if situation == "passphrase" else key.passphrase.encode()
    asked = isinstance(row, Row) and row.passphrase is not None
    return KeyRecord(
        id=key.key_id,
        dialect=row.name,
        material=material,
        passphrase=material.blind(phrase).hex() if asked and isinstance(material, Hmac) else "",
        scopes=["orders:read"] if situation == "permission" else ["orders:*"],
        networks=["203.0.113.0/24"] if situation == "network" else ["127.0.0.0/8"] if row.bound else [],
    )


def _material(venue: str, key: Credentials) -> Material:
    """What verifies a client's key: the secret as the venue has it, or the public half of its private key."""
    if key.algorithm in HMACS:
        raw = base64.b64decode(key.secret) if VENUES[venue].secret == "base64" else key.secret.encode()
        return Hmac(raw, key.algorithm)
    if "PRIVATE KEY" not in key.secret:  # Coinbase hands out Ed25519 keys as base64: the seed, and the public key
        return read_public(base64.b64decode(key.secret)[32:])
    public = load_pem_private_key(key.secret.encode(), None).public_key()
    return read_public(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@cache
def _paths(venue: str) -> Mapping[str, str]:
    """What the captured clients of a venue asked for: "METHOD /path" to its lane."""
    captured = json.loads((VECTORS / f"{venue}.json").read_text("utf-8"))["requests"]
    return {f"{one['method']} {one['target'].partition('?')[0]}": _LANES.get(one["call"], "order") for one in captured}


def _operations(venue: str, situation: str, clock: str) -> dict[str, Any]:
    rows: dict[str, Any] = {
        row: {"scopes": _SCOPES[lane], "lane": lane}
        for row, lane in _paths(venue).items()
        if situation != "unmapped" or lane == "read"
    }
    return {**rows, f"GET {clock}": {"lane": "public", "answer": "time"}} if clock else rows


class _Judge:
    """What stops everything: a halt, or a part that is down."""

    name = "judge"

    def __init__(self, situation: str) -> None:
        self._situation = situation

    async def __call__(self, _request: Request, /) -> Denial | None:
        if self._situation == "outage":
            raise BackendDown("the ledger is down")
        return Denial(halt.BLOCKED, retry_after=60) if self._situation == "maintenance" else None


class _Store(Memory):
    """A store whose commit can break off: nobody knows then whether it took effect."""

    def __init__(self, *, broken: bool) -> None:
        super().__init__(since=1)
        self._is_broken = broken

    async def commit(self, *conditions: Any, **more: Any) -> Any:
        if self._is_broken:
            raise BackendDown("the connection broke", unknown=True)
        return await super().commit(*conditions, **more)


@cache
def _proxy() -> Recorder:
    """The proxy; it ends with the process."""
    holder, ready = list[Recorder](), threading.Event()

    def run() -> None:
        with recording() as recorder:
            holder.append(recorder)
            ready.set()
            threading.Event().wait()

    in_background(run)
    ready.wait()
    return holder[0]
