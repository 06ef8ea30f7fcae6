"""The public API as a customer types it: mypy --strict and pyright strict read this file, and it runs."""

import asyncio
from collections.abc import Iterable

import tradeguard
from tradeguard.core.address import parse_address
from tradeguard.core.credential import Claim, Credential, Window
from tradeguard.core.ports import Check, Conditional, Port, Proof
from tradeguard.core.principal import Principal
from tradeguard.core.request import Headers, Peer
from tradeguard.core.runtime import Loop, request_id
from tradeguard.signing.signer import Outgoing

SECOND = 1_000_000_000
FRIDAY, SATURDAY = 20_777 * 86_400 * SECOND, 20_778 * 86_400 * SECOND  # 2026-11-20 and -21
SECRET = tradeguard.Secret(b"a secret of 32 bytes, or of more")
WEEKEND = tradeguard.register("test_hours.weekend", status=403, text="Closed at weekends.", hint="Trade on a weekday.")


class TradingHours:
    """A custom check: orders on weekdays only."""

    async def __call__(self, request: tradeguard.Request, /) -> tradeguard.Denial | None:
        day = (request.received // (86_400 * SECOND) + 3) % 7  # 1970-01-01 was a Thursday
        closed = request.operation is not None and request.operation.lane == "order" and day >= 5
        return tradeguard.Denial(WEEKEND, detail=f"day {day}") if closed else None


class Badge:
    """A custom proof: a badge that the reception has handed out."""

    challenge = "Badge"
    ports: tuple[Port, ...] = ()

    def __init__(self, badges: Iterable[bytes]) -> None:
        self._badges = frozenset(badges)

    def claim(self, request: tradeguard.Request, /) -> Claim | None:
        badge = request.headers.one(b"x-badge")
        return None if badge is None else Claim("badge", badge.decode("latin-1"))

    async def prove(self, request: tradeguard.Request, claim: Claim, /) -> tradeguard.Denial | None:
        badge = claim.key_id.encode("latin-1")
        if badge not in self._badges:
            return tradeguard.Denial("badge.unknown", status=403)
        at, window = request.received, Window(past=SECOND, future=SECOND)
        principal = tradeguard.KeyRecord(
            id="visitor", dialect="badge", material=tradeguard.Hmac(SECRET), scopes={"market:read"}
        ).principal
        nonce = request.id.encode()
        credential = Credential("badge", "none", "visitor", at, at + SECOND, nonce, bytes(32), frozenset(), window)
        request.prove(credential, principal)
        return None


def make_guard(journal: tradeguard.MemoryJournal) -> tradeguard.Guard:
    """Everything that a customer writes to protect an API."""
    keys = tradeguard.MemoryKeys([
        tradeguard.KeyRecord(
            id="trader", dialect="tg1", material=tradeguard.Hmac(SECRET), scopes={"orders:read", "orders:write"},
            networks=["127.0.0.0/8"], expires=None,
        ),
    ])  # fmt: skip
    operations = tradeguard.Operations(
        {
            "GET /v1/time": {"lane": "public"},
            "GET /v1/lobby": "market:read",
            "GET /v1/orders/{id}": ["orders:read"],
            "POST /v1/orders": "orders:write",
        }
    )
    return tradeguard.Guard(
        [
            tradeguard.Source(pair=10, address=100),
            Badge([b"blue"]),
            tradeguard.Signature(keys, dialects=(tradeguard.TG1, tradeguard.BINANCE), accept=("binance",)),
            tradeguard.Freshness(),
            tradeguard.Network(),
            tradeguard.Scope(),
            TradingHours(),
            tradeguard.Replay(),
        ],
        operations=operations,
        state=tradeguard.Memory(since=1),
        journal=journal,
        policy=tradeguard.Policy(body_bytes=65_536),
        runtime=Loop(),
    )


def ask(
    guard: tradeguard.Guard, method: str, path: str, headers: Iterable[tuple[bytes, bytes]], at: int
) -> tradeguard.Grant | tradeguard.Denial:
    """Ask a guard without any HTTP around it."""
    request = tradeguard.Request(
        id=request_id(),
        method=method,
        target=path.encode(),
        path=path,
        peer=Peer(parse_address("127.0.0.1")),
        arrived=at,
        body=b"",
        headers=Headers([(b"host", b"api.example"), *headers]),
    )
    return asyncio.run(guard.admit(request))


def test_a_custom_proof_and_a_custom_check_work() -> None:
    guard = make_guard(tradeguard.MemoryJournal())
    at = Loop().now()
    known = ask(guard, "GET", "/v1/lobby", [(b"x-badge", b"blue")], at)
    assert isinstance(known, tradeguard.Grant)
    principal: Principal | None = known.principal
    assert principal is not None
    assert principal.key_id == "visitor"
    stranger = ask(guard, "GET", "/v1/lobby", [(b"x-badge", b"red")], at)
    assert isinstance(stranger, tradeguard.Denial)
    assert (stranger.code, stranger.public, stranger.status) == ("badge.unknown", "unauthorized", 401)


def test_the_signer_and_the_checks_of_the_house_work_with_them() -> None:
    journal = tradeguard.MemoryJournal()
    guard = make_guard(journal)
    signer = tradeguard.Signer(tradeguard.TG1, "trader", SECRET)
    codes: list[str] = []
    for at in (FRIDAY, SATURDAY):
        signed = signer.sign(Outgoing("POST", "api.example", b"/v1/orders"), at)
        decision = ask(guard, "POST", "/v1/orders", signed.headers, at)
        codes.append(decision.code if isinstance(decision, tradeguard.Denial) else "granted")
    assert codes == ["granted", "test_hours.weekend"]
    assert [event.kind for event in journal.events] == ["intent", "refused"]


def test_the_custom_check_has_its_own_code() -> None:
    request = tradeguard.Request(
        id=request_id(), method="POST", target=b"/v1/orders", path="/v1/orders", headers=Headers([]), peer=Peer(None),
        arrived=SATURDAY, body=b"",
    )  # fmt: skip
    request.operation = make_guard(tradeguard.MemoryJournal()).operations.match("POST", "/v1/orders")
    denial = asyncio.run(TradingHours()(request))
    assert denial is not None
    assert (denial.code, denial.status, denial.text) == ("test_hours.weekend", 403, "Closed at weekends.")


def test_the_parts_are_what_the_ports_say() -> None:
    check: Check = TradingHours()
    proof: Proof = Badge([])
    conditional: Conditional = tradeguard.Replay()
    assert isinstance(check, Check)
    assert isinstance(proof, Proof)
    assert isinstance(conditional, Conditional)
    assert not isinstance(check, Proof)


def test_the_public_face_is_all_there() -> None:
    for name in dir(tradeguard):
        assert getattr(tradeguard, name) is not None


def test_a_customer_says_how_much_may_be_asked_for_and_gives_back_what_was_filled() -> None:
    rates: dict[str, tradeguard.Rate | str] = {
        "requests": "50/second;1000000/day",
        "orders": tradeguard.Rate("20/second", by="account", lanes=("order",), burst=5),
    }
    quotas = tradeguard.Quotas(rates, tiers={"maker": {"orders": "200/second"}})
    assert quotas.rates["orders"].windows[0].burst == 5
    standby = tradeguard.Standby(tradeguard.Memory(), nodes=4)
    assert standby.nodes == 4
    guard = make_guard(tradeguard.MemoryJournal())
    assert guard.refund_now("", "order 17") is False
