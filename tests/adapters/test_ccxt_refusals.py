"""What an unmodified ccxt makes of every kind of refusal: a real guard on a real server, asked over a real socket."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
import uvicorn
from adapters.hosts import asgi_app

from tradeguard import (
    BINANCE,
    Denial,
    Freshness,
    Guard,
    Hmac,
    KeyRecord,
    Memory,
    MemoryJournal,
    MemoryKeys,
    Network,
    Operations,
    Replay,
    Request,
    Scope,
    Signature,
    Source,
)
from tradeguard.adapters.answer import Answer, refuse, shape_of
from tradeguard.adapters.ready import answer_of
from tradeguard.core.errors import BackendDown
from tradeguard.core.request import Headers, peer_at
from tradeguard.core.runtime import Loop, request_id

ccxt: Any = pytest.importorskip("ccxt")
SECRET = "a-secret-of-a-venue-customer-0123456789"
ROWS: dict[str, Any] = {
    "GET /api/v3/time": {"lane": "public", "answer": "time"},
    "GET /api/v3/exchangeInfo": {"lane": "public"},
    "GET /api/v3/account": "balances:read",
    "POST /api/v3/order": "orders:write",
}
KEYS: dict[str, dict[str, Any]] = {
    "trader": {"scopes": {"balances:read", "orders:write"}},
    "reader": {"scopes": {"balances:read"}},
    "office": {"scopes": {"balances:read"}, "networks": ["203.0.113.0/24"]},
    "gone": {"scopes": {"balances:read"}, "state": "revoked"},
}
LIMITS: list[dict[str, str]] = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
    {"filterType": "LOT_SIZE", "minQty": "0.0001", "maxQty": "1000", "stepSize": "0.0001"},
]
MARKET = {
    "symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "status": "TRADING", "orderTypes": ["LIMIT"],
    "permissions": ["SPOT"], "filters": LIMITS,
}  # fmt: skip


class Faulty(Memory):
    """A store whose commit can break off: nobody knows then whether it took effect."""

    broken = False

    async def commit(self, *conditions: Any, **more: Any) -> Any:
        if self.broken:
            raise BackendDown("the connection broke", unknown=True)
        return await super().commit(*conditions, **more)


class Venue:
    """A Binance-shaped venue: the guard, what it guards, and what a test may break."""

    def __init__(self) -> None:
        self.outage, self.state, self.orders, self.twice, self.asked = False, Faulty(since=1), 0, False, 0
        record: dict[str, Any] = {"dialect": "binance", "owner": "acme"}
        keys = MemoryKeys([
            KeyRecord(id=id, material=Hmac(f"{SECRET}-{id}"), **record, **more) for id, more in KEYS.items()
        ])  # fmt: skip
        signature = Signature(keys, dialects=(BINANCE,), accept=("binance",))
        self.guard = Guard(
            [Source(pair=5), signature, self.look, Freshness(), Network(), Scope(), Replay()],
            operations=Operations(ROWS),
            state=self.state,
            journal=MemoryJournal(),
            runtime=Loop(),
        )

    async def look(self, _request: Request, /) -> Denial | None:
        """A judge that needs something which may be down."""
        if self.outage:
            raise BackendDown("the ledger is down")
        return None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve as the adapters do; where `twice` is set, as behind a proxy that sends everything again."""
        if scope["type"] != "http":
            await asgi_app(scope, receive, send)
            return
        self.asked += 1
        message = await receive()
        assert not message.get("more_body")
        answers = [await self.serve(scope, message["body"]) for _ in range(2 if self.twice else 1)]
        answer = answers[-1]
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.fields})
        await send({"type": "http.response.body", "body": answer.body})

    async def serve(self, scope: Any, body: bytes) -> Answer:
        arrived, query = self.guard.runtime.now(), scope["query_string"]
        request = Request(
            id=request_id(),
            method=scope["method"],
            target=scope["raw_path"] + (b"?" + query if query else b""),
            path=scope["path"],
            headers=Headers(scope["headers"]),
            peer=peer_at(scope["client"][0]),
            arrived=arrived,
            body=body,
        )
        decision = await self.guard.admit(request)
        shape = shape_of(request, "binance", self.guard.dialects)
        if isinstance(decision, Denial):
            return refuse(decision, request.id, challenge=self.guard.challenge, shape=shape)
        assert request.operation is not None
        if request.operation.answer:
            return answer_of(request.operation.answer, request, decision, arrived, shape)
        self.orders += request.method == "POST"
        told = self.reply(request.path, dict(parse_qsl(body.decode())))
        return Answer(200, [(b"content-type", b"application/json")], json.dumps(told).encode())

    def reply(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        """The application."""
        if path.endswith("/exchangeInfo"):
            return {"timezone": "UTC", "symbols": [MARKET]}
        if path.endswith("/order"):
            return {**asked, "orderId": self.orders, "status": "NEW", "origQty": asked["quantity"]}
        return {"accountType": "SPOT", "balances": [{"asset": "USDT", "free": "5", "locked": "0"}]}


class Desk:
    """A venue that is being served, and clients of it."""

    def __init__(self, venue: Venue, port: int) -> None:
        self.venue, self.port = venue, port

    def client(self, key: str = "trader", secret: str = "", **options: Any) -> Any:
        """ccxt as anybody installs it, pointed at the venue by its own settings."""
        client = ccxt.binance({"apiKey": key, "secret": secret or f"{SECRET}-{key}"})
        client.urls["api"] = dict.fromkeys(client.urls["api"], f"http://127.0.0.1:{self.port}/api/v3")
        client.options |= {"fetchCurrencies": False, "fetchMargins": False, "fetchMarkets": {"types": ["spot"]}}
        client.options |= options
        return client


@pytest.fixture
def desk() -> Iterator[Desk]:
    venue, sock = Venue(), socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(venue, log_level="error", lifespan="off", proxy_headers=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield Desk(venue, sock.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()


def order(client: Any) -> Any:
    return client.create_order("BTC/USDT", "limit", "buy", 0.01, 90_000)


def refused(call: Callable[[], object]) -> Exception:
    """Call, and return what ccxt raises."""
    try:
        call()
    except ccxt.BaseError as error:
        assert isinstance(error, Exception)
        return error
    raise AssertionError("ccxt raised nothing")


def test_ccxt_gets_through_and_reads_our_clock(desk: Desk) -> None:
    client = desk.client()
    assert client.fetch_balance()["USDT"]["free"] == 5
    assert order(client)["status"] == "open"
    assert abs(client.fetch_time() - time.time_ns() // 1_000_000) < 60_000
    assert isinstance(client.load_time_difference(), int)


@pytest.mark.parametrize(
    ("key", "secret"),
    [("trader", "w" * 40), ("nobody", "w" * 40), ("gone", ""), ("not a key id", "w" * 40)],
    ids=["wrong signature", "unknown key", "revoked", "malformed"],
)
def test_whoever_is_not_proved_is_an_authentication_error(desk: Desk, key: str, secret: str) -> None:
    error = refused(desk.client(key, secret).fetch_balance)
    assert type(error) is ccxt.AuthenticationError
    assert '"code":-1022' in str(error)


def test_an_authentication_error_stays_one_for_a_client_that_was_let_in_before(desk: Desk) -> None:
    """ccxt takes -2015 for a ban then, which it tries again; so nobody is ever told -2015."""
    client = desk.client()
    client.fetch_balance()
    assert client.options["hasAlreadyAuthenticatedSuccessfully"]
    client.secret = "w" * 40
    assert type(refused(client.fetch_balance)) is ccxt.AuthenticationError


@pytest.mark.parametrize("offset", [60_000, -60_000], ids=["stale", "early"])
def test_a_clock_that_is_off_is_an_invalid_nonce(desk: Desk, offset: int) -> None:
    error = refused(desk.client(timeDifference=offset).fetch_balance)
    assert type(error) is ccxt.InvalidNonce
    assert '"offset_ms":' in str(error)
    assert '"server_time":' in str(error)


@pytest.mark.parametrize("before", [False, True], ids=["at once", "after it was let in"])
def test_a_missing_scope_is_an_authentication_error_that_names_it(desk: Desk, before: bool) -> None:
    client = desk.client("reader")
    if before:
        client.fetch_balance()
    error = refused(lambda: order(client))
    assert isinstance(error, ccxt.AuthenticationError)
    assert "orders:write" in str(error)


def test_a_foreign_network_is_an_authentication_error_that_names_the_address(desk: Desk) -> None:
    error = refused(desk.client("office").fetch_balance)
    assert isinstance(error, ccxt.AuthenticationError)
    assert '"address":"127.0.0.1"' in str(error)


def test_what_a_proxy_sends_again_is_an_invalid_order_that_ccxt_does_not_try_again(desk: Desk) -> None:
    client = desk.client(maxRetriesOnFailure=3)
    client.load_markets()
    desk.venue.twice, before = True, desk.venue.asked
    error = refused(lambda: order(client))
    assert type(error) is ccxt.InvalidOrder
    assert not isinstance(error, ccxt.OperationFailed)  # all of which ccxt tries again, as bots do
    assert '"executed":"unknown"' in str(error)
    assert "first_request_id" in str(error)
    assert (desk.venue.orders, desk.venue.asked - before) == (1, 1)


def test_whoever_keeps_failing_is_a_ddos_protection_as_at_the_venue(desk: Desk) -> None:
    client = desk.client(secret="w" * 40)
    errors = [refused(client.fetch_balance) for _ in range(7)]
    assert type(errors[0]) is ccxt.AuthenticationError
    assert type(errors[-1]) is ccxt.DDoSProtection
    assert '"code":-1003' in str(errors[-1])


def test_an_outage_is_an_exchange_that_is_not_available(desk: Desk) -> None:
    desk.venue.outage = True
    error = refused(desk.client().fetch_balance)
    assert type(error) is ccxt.ExchangeNotAvailable


def test_an_order_whose_fate_is_not_known_is_a_timeout_so_that_bots_look_it_up(desk: Desk) -> None:
    client = desk.client()
    client.load_markets()
    desk.venue.state.broken = True
    error = refused(lambda: order(client))
    assert type(error) is ccxt.RequestTimeout
    assert '"executed":"unknown"' in str(error)
    assert desk.venue.orders == 0


def test_an_operation_that_there_is_not_is_a_bad_request(desk: Desk) -> None:
    error = refused(lambda: desk.client().fetch_my_trades("BTC/USDT"))
    assert type(error) is ccxt.BadRequest


@pytest.mark.parametrize(
    "code",
    ["signature.wrong", "freshness.stale", "freshness.early", "scope.missing", "network.outside", "replay.seen",
     "source.address", "outage.down", "commit.unsure", "guard.unmapped", "frame.path", "frame.body", "body.slow"],
)  # fmt: skip
def test_ccxt_reads_the_answer_alike_at_any_address(code: str) -> None:
    """It knows more codes where the host is api.binance.com; none of ours depends on that."""
    answer = refuse(Denial(code), "0" * 32, challenge="", shape=BINANCE)
    kinds: set[type] = set()
    for place in ("https://api.binance.com", "https://api.example", "http://127.0.0.1:8080"):
        for before in (False, True):
            client, url, text = ccxt.binance(), f"{place}/api/v3/order", answer.body.decode()
            client.options["hasAlreadyAuthenticatedSuccessfully"] = before
            error = refused(lambda: _hand(client, url, answer.status, text))  # noqa: B023 - called at once
            kinds.add(type(error))
    assert len(kinds) == 1


def _hand(client: Any, url: str, status: int, text: str) -> None:
    """Hand ccxt an answer as its `fetch` does."""
    client.handle_errors(status, "", url, "POST", {}, text, json.loads(text), {}, "")
    client.handle_http_status_code(status, "", url, "POST", text)


def test_without_the_words_of_the_venue_ccxt_crashes_or_tries_again() -> None:
    """Why there is a third column: problem+json is no ccxt error at all, or the wrong one."""
    answer = refuse(Denial("scope.missing"), "0" * 32, challenge="")
    text = answer.body.decode()
    with pytest.raises(ValueError, match="invalid literal"):
        ccxt.binance().handle_errors(answer.status, "", "https://x/", "POST", {}, text, json.loads(text), {}, "")
