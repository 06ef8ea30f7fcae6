"""Fuzz the guard by its credentials: any bytes are granted or denied, never a fault, and no signature is forged."""

from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from harness import join, main, pairs, split

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.decision import Grant
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Operations
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.core.runtime import Threads
from tradeguard.signing.material import Ed25519, Hmac
from tradeguard.signing.rows import BINANCE, TG1
from tradeguard.signing.signer import Outgoing, Signer

NOW = 1_795_000_000_000_000_000  # ns UTC
FORM = b"application/x-www-form-urlencoded"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SECRET, VENUE = b"0123456789abcdef0123456789abcdef", b"binance-secret-binance-secret"
SIGNERS = [Signer(TG1, "ann", SECRET), Signer(TG1, "edward", PRIVATE), Signer(BINANCE, "bina", VENUE)]
KEYS = MemoryKeys(
    [
        KeyRecord(id="ann", dialect="tg1", material=Hmac(SECRET), scopes={"orders:*"}),
        KeyRecord(
            id="edward", dialect="tg1", material=Ed25519(PRIVATE.public_key().public_bytes_raw()), scopes={"orders:*"}
        ),
        KeyRecord(id="bina", dialect="binance", material=Hmac(VENUE), scopes={"orders:*"}),
    ]
)
OPERATIONS = Operations(
    {
        "GET /v1/time": {"lane": "public"},
        "GET /v1/orders": "orders:read",
        "POST /v1/orders": "orders:write",
        "DELETE /v1/orders/{id}": {"scopes": "orders:cancel", "lane": "cancel"},
    }
)
SIGNATURE = Signature(KEYS, dialects=(TG1, BINANCE), accept=("binance",))
FAULTS = {
    "outage.fault",
    "outage.down",
    "guard.unsure",
    "outage.suspended",
    "proof.unproven",
    "record.unrecorded",
    "guard.behind",
}


class StillClock(Threads):
    """A thread's runtime whose clock stands still."""

    def now(self) -> int:
        """Return always the same time."""
        return NOW


def make_input(signer: Signer, method: str, target: bytes, kind: bytes = b"", body: bytes = b"") -> bytes:
    """Make an input of a signed request: method, target, body, then names and values."""
    out = signer.sign(Outgoing(method, "api.example", target, kind, body), NOW, b"0123456789abcdef")
    fields = [(b"host", b"api.example"), *([(b"content-type", kind)] if kind else []), *out.headers]
    return join(method.encode(), out.target, out.body, *(part for pair in fields for part in pair))


CORPUS = [
    make_input(signer, *request)
    for signer in SIGNERS
    for request in (
        ("GET", b"/v1/orders?symbol=BTC"),
        ("DELETE", b"/v1/orders/7"),
        ("POST", b"/v1/orders", FORM, b"side=buy&price=1"),
    )
]
CORPUS.append(join(b"GET", b"/v1/time", b"", b"host", b"api.example"))
TOKENS = [
    b"tg-key",
    b"tg-time",
    b"tg-nonce",
    b"tg-signature",
    b"x-mbx-apikey",
    b"&timestamp=",
    b"&signature=",
    b"&recvWindow=",
]
TOKENS += [
    b"content-type",
    FORM,
    b"ann",
    b"edward",
    b"bina",
    b"nobody",
    b"1795000000000",
    b"A" * 43,
    b"A" * 86,
    b"0" * 64,
]


def make_request(guard: Guard, data: bytes) -> Request:
    """Make a request of an input, as an adapter would; its length is right unless the input brings one along."""
    method, target, body, *records = split(data, 3)
    fields = pairs(records)
    if body and not any(name == b"content-length" for name, _ in fields):
        fields.append((b"content-length", b"%d" % len(body)))

    async def chunk() -> tuple[bytes, bool]:
        return body, False

    return Request(
        id="fuzz",
        method=method.decode("latin-1"),
        target=target,
        path=unquote(target.partition(b"?")[0].decode("latin-1")),
        headers=Headers(fields),
        peer=Peer(),
        arrived=NOW,
        body=guard.reader(chunk, NOW),
    )


def decide(data: bytes) -> tuple[Request, str]:
    """Ask a new guard; return the request and `granted` or the code of the denial."""
    journal = MemoryJournal()
    checks = [Source(), SIGNATURE, Freshness(), Network(), Scope(), Replay()]
    guard = Guard(checks, operations=OPERATIONS, state=Memory(since=1), journal=journal, runtime=StillClock())
    request = make_request(guard, data)
    decision = drive(guard.admit(request))
    if isinstance(decision, Grant):
        return request, "granted"
    assert 400 <= decision.status <= 599, decision
    assert decision.status != 500, decision
    assert decision.code not in FAULTS, decision
    assert journal.events[-1].code == decision.code, "a refusal that is not on record"
    return request, decision.code


def signed_digest(data: bytes) -> bytes | None:
    """The digest of what an entry of the corpus signed; it must be granted."""
    request, outcome = decide(data)
    assert outcome == "granted", outcome
    return request.credential.digest if request.credential is not None else None


SIGNED = {signed_digest(entry) for entry in CORPUS}


def fuzz_credential(data: bytes) -> str:
    """Return `granted` or the code of the denial."""
    request, outcome = decide(data)
    if outcome == "granted":
        assert (request.credential.digest if request.credential is not None else None) in SIGNED, "a forged signature"
    return outcome


if __name__ == "__main__":
    main(fuzz_credential, CORPUS, TOKENS)
