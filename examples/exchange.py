"""An example exchange: a FastAPI application, mounted under /exchange and guarded by tradeguard.

It speaks two dialects over one order book: a Binance-shaped API under /api/v3, good enough for an unmodified ccxt, and
its own under /v1, signed with `tg1`.

Keys are issued when it starts for the first time, and kept sealed; they and what was used survive a restart.

    python examples/exchange.py --port 8080 --data exchange-data
"""

import argparse
import json
import socket
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qsl

import uvicorn
from book import MARKETS, Book, Order, Rejected
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Mount

from tradeguard import (
    ASGI,
    BINANCE,
    TG1,
    CachedKeys,
    Freshness,
    Grant,
    Guard,
    Halt,
    Halts,
    Issuer,
    Journal,
    LocalSealer,
    Network,
    Operations,
    Policy,
    Quotas,
    Rate,
    Replay,
    Scope,
    SealedKeys,
    Signature,
    Signer,
    Source,
    SQLiteKeys,
    SQLiteState,
)
from tradeguard.core.drive import drive
from tradeguard.core.ports import State
from tradeguard.secrets.master import load_master_keys, make_master_key

PREFIX = "/exchange"

OPERATIONS: Mapping[str, Any] = {
    "GET /api/v3/time": {"lane": "public"},
    "GET /api/v3/exchangeInfo": {"lane": "public"},
    "GET /api/v3/account": "balances:read",
    "GET /api/v3/openOrders": "orders:read",
    "POST /api/v3/order": "orders:write",
    "DELETE /api/v3/order": {"scopes": "orders:cancel", "lane": "cancel"},
    "GET /v1/time": {"lane": "public"},
    "GET /v1/me": "account:read",
    "GET /v1/orders": "orders:read",
    "POST /v1/orders": "orders:write",
    "DELETE /v1/orders/{id}": {"scopes": "orders:cancel", "lane": "cancel"},
    "POST /v1/withdraw": {"scopes": "funds:withdraw", "lane": "funds"},
    "GET /v1/ledger": "audit:read",
}

DAY = 86_400_000_000_000
ROLES = {"trader": ["account:read", "balances:read", "orders:*"]}
TRADING: Mapping[str, Any] = {"roles": ["trader"], "owner": "acme"}
KEYS: Mapping[str, Mapping[str, Any]] = {
    "trader": TRADING,
    "robot": {**TRADING, "algorithm": "ed25519"},
    "reader": {"scopes": {"account:read", "orders:read"}, "owner": "acme"},
    "office": {**TRADING, "networks": ["203.0.113.0/24"]},
    "treasurer": {"scopes": {"funds:withdraw"}, "owner": "acme", "networks": ["127.0.0.0/8"], "expires": 30 * DAY},
    "auditor": {"scopes": {"audit:read"}, "owner": "house"},
    "leaver": {**TRADING, "expires": 1_000_000_000},
    "retail": {**TRADING, "tier": "retail"},
    "bina": {"roles": ["trader"], "owner": "bina", "dialect": "binance"},
    "olga": {"scopes": {"halt:set"}, "owner": "olga"},
    "omar": {"scopes": {"halt:set"}, "owner": "omar"},
}
"""The keys by what the demo calls their holders; `expires` is in ns from their issue."""
POLICY = Policy(roles=ROLES, tiers={"retail"})
QUOTAS = Quotas(
    {
        "requests": "50000/second",
        "orders": Rate("20000/second", lanes=("order",)),
        "strangers": Rate("10000/second", by="source", lanes=("public",)),
    },
    tiers={"retail": {"orders": "3 per 2 seconds"}},
)
"""The rates that keys are held to; those of the demo's trader are higher than one client can reach."""


class Client(NamedTuple):
    """What the holder of a key is given."""

    id: str
    dialect: str
    algorithm: str
    secret: str

    def make_signer(self) -> Signer:
        """Return what the holder signs with."""
        row = BINANCE if self.dialect == "binance" else TG1
        if self.algorithm == "ed25519":
            return Signer(row, self.id, Ed25519PrivateKey.from_private_bytes(urlsafe_b64decode(self.secret + "=")))
        return Signer(row, self.id, self.secret.encode())


class Stores(NamedTuple):
    """What the exchange keeps in its folder."""

    keys: CachedKeys
    state: State
    journal: Journal


def open_stores(data: Path, redis: str = "") -> Stores:
    """Open the stores in a folder; make them and the master key where they are not there yet.

    Args:
        data: the folder.
        redis: the URL of a Redis or Valkey server that has the state instead; empty for none.
    """
    data.mkdir(mode=0o700, exist_ok=True)
    master = data.absolute() / "master.key"  # a real venue keeps it elsewhere than the database
    if not (data / "keys.db").exists():
        make_master_key(master)
    sealer, journal = LocalSealer(load_master_keys(f"file:{master}")), Journal(data / "audit.jsonl")
    keys = CachedKeys(SealedKeys(SQLiteKeys(data / "keys.db"), sealer, policy=POLICY), journal=journal)
    return Stores(keys, open_state(data, redis), journal)


def open_state(data: Path, redis: str = "", *, loop: bool = False) -> State:
    """Open what nodes share: in a file, or on a server in the form for a program or for an event loop."""
    if not redis:
        return SQLiteState(data / "state.db")
    from tradeguard.backends.redis import BlockingRedis, Redis  # noqa: PLC0415 - needs a client that the file does not

    return Redis(redis, deadline=1.0) if loop else BlockingRedis(redis, deadline=1.0)


def make_issuer(stores: Stores) -> Issuer:
    """Return what issues and ends keys, in the exchange's own process or in an operator's."""
    return Issuer(stores.keys, stores.journal, state=stores.state, policy=POLICY)


async def issue_keys(issuer: Issuer) -> dict[str, Client]:
    """Issue all keys. What is returned is shown once: the secrets cannot be had again."""
    clients: dict[str, Client] = {}
    for name, fields in KEYS.items():
        until = {"expires": time.time_ns() + fields["expires"]} if "expires" in fields else {}
        record, secret, _ = await issuer.issue(actor="exchange", label=name, **{**fields, **until})
        assert secret is not None  # made here, since no public key was given
        clients[name] = Client(record.id, record.dialect, record.algorithm, secret.reveal().decode())
    return clients


def load_clients(data: Path, stores: Stores) -> dict[str, Client]:
    """Return what the clients were given; at the first start, issue their keys and write that down for the demo."""
    file = data / "clients.json"
    if not file.exists():
        clients = drive(issue_keys(make_issuer(stores)))
        file.touch(mode=0o600)
        file.write_text(json.dumps(clients))
    return {name: Client(*client) for name, client in json.loads(file.read_text()).items()}


def build_guard(stores: Stores, data: Path) -> Guard:
    """Return the guard: the list of checks is the policy. What is halted is kept in the folder, too."""
    halts = Halts(stores.state, stores.keys, journal=stores.journal, keep=data / "halts")
    signature = Signature(stores.keys, dialects=(TG1, BINANCE), accept=("binance",))
    return Guard(
        [Source(), signature, Freshness(), Network(), Scope(), Halt(halts), Replay(), QUOTAS],
        operations=Operations(OPERATIONS),
        state=stores.state,
        journal=stores.journal,
        policy=POLICY,
    )


def build_app(guard: Guard) -> Starlette:
    """Return the exchange: the guarded application under its prefix."""
    exchange = FastAPI(title="Example exchange", openapi_url=None)
    exchange.state.book = Book()
    exchange.include_router(venue)
    exchange.include_router(binance)
    exchange.add_exception_handler(Rejected, _reject)
    exchange.add_middleware(ASGI, guard=guard)  # the one line that guards it

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        guard.close()  # a mounted application hears nothing of start and end

    return Starlette(routes=[Mount(PREFIX, app=exchange)], lifespan=lifespan)


async def _reject(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"code": -2010, "msg": str(error)}, status_code=400)


async def find_grant(request: Request) -> Grant:
    """Return what the guard decided; it stands beside the request."""
    grant: Grant = request.scope["tradeguard"]
    return grant


async def find_account(grant: Annotated[Grant, Depends(find_grant)]) -> str:
    """Return the account that the proven key acts on."""
    assert grant.principal is not None  # none of these operations is public
    return grant.principal.account


async def find_book(request: Request, grant: Annotated[Grant, Depends(find_grant)]) -> Book:
    """Return the book, after a last look at the grant: the key may have ended while the request waited."""
    denial = grant.recheck()
    if denial is not None:
        raise HTTPException(denial.status, denial.code)
    book: Book = request.app.state.book
    return book


Granted = Annotated[Grant, Depends(find_grant)]
Account = Annotated[str, Depends(find_account)]
Orders = Annotated[Book, Depends(find_book)]
venue = APIRouter(prefix="/v1")
binance = APIRouter(prefix="/api/v3")


class NewOrder(BaseModel):
    """The body of POST /v1/orders."""

    symbol: str
    side: str
    price: Decimal
    quantity: Decimal


class Withdrawal(BaseModel):
    """The body of POST /v1/withdraw."""

    asset: str
    amount: Decimal


@venue.get("/time")
async def tell_time() -> dict[str, int]:
    """Tell the time, to anybody."""
    return {"time": time.time_ns() // 1_000_000}


@venue.get("/me")
async def tell_who(grant: Granted) -> dict[str, Any]:
    """Tell the caller who they were found to be."""
    assert grant.principal is not None  # not public
    return {"key": grant.principal.key_id, "account": grant.principal.account, "scopes": sorted(grant.principal.scopes)}


@venue.get("/orders")
async def list_orders(account: Account, book: Orders) -> list[Order]:
    """List the open orders."""
    return book.open(account)


@venue.post("/orders", status_code=201)
async def place_order(order: NewOrder, account: Account, book: Orders) -> Order:
    """Place an order."""
    return book.place(account, order.symbol, order.side, order.price, order.quantity)


@venue.delete("/orders/{id}")
async def cancel_order(id: int, account: Account, book: Orders) -> Order:
    """Cancel an order."""
    return book.cancel(account, id)


@venue.post("/withdraw", status_code=201)
async def withdraw(wish: Withdrawal, account: Account, book: Orders) -> dict[str, str]:
    """Withdraw money."""
    book.withdraw(account, wish.asset, wish.amount)
    return {"withdrawn": f"{wish.amount} {wish.asset}"}


@venue.get("/ledger")
async def read_ledger(book: Orders) -> dict[str, int]:
    """Count what was done, over all accounts."""
    return {name: book.counts[name] for name in ("placed", "cancelled", "withdrawn")}


async def read_parameters(request: Request) -> dict[str, str]:
    """Return the parameters of a Binance call: of the form, or of the query."""
    text = await request.body() or request.scope["query_string"]
    pairs = parse_qsl(text.decode(), keep_blank_values=True)
    if len(pairs) != len(dict(pairs)):
        raise Rejected("a parameter stands twice")
    return dict(pairs)


Parameters = Annotated[dict[str, str], Depends(read_parameters)]


@binance.get("/time")
async def tell_server_time() -> dict[str, int]:
    """Tell the time, to anybody."""
    return {"serverTime": time.time_ns() // 1_000_000}


@binance.get("/exchangeInfo")
async def tell_markets() -> dict[str, Any]:
    """Describe the markets, to anybody."""
    steps: list[dict[str, str]] = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.0001", "maxQty": "1000", "stepSize": "0.0001"},
    ]
    common = {"status": "TRADING", "orderTypes": ["LIMIT"], "permissions": ["SPOT"], "filters": steps}
    markets = [{"symbol": s, "baseAsset": base, "quoteAsset": q, **common} for s, (base, q) in MARKETS.items()]
    return {"timezone": "UTC", "symbols": markets}


@binance.get("/account")
async def show_account(account: Account, book: Orders) -> dict[str, Any]:
    """Show the balances."""
    return {"accountType": "SPOT", "balances": book.balances(account)}


@binance.get("/openOrders")
async def show_orders(account: Account, book: Orders) -> list[dict[str, Any]]:
    """Show the open orders."""
    return [_shape(order) for order in book.open(account)]


@binance.post("/order")
async def new_order(asked: Parameters, account: Account, book: Orders) -> dict[str, Any]:
    """Place an order."""
    try:
        price, quantity = Decimal(asked["price"]), Decimal(asked["quantity"])
        return _shape(book.place(account, asked["symbol"], asked["side"], price, quantity))
    except (KeyError, InvalidOperation):
        raise Rejected("symbol, side, price and quantity are needed") from None


@binance.delete("/order")
async def delete_order(asked: Parameters, account: Account, book: Orders) -> dict[str, Any]:
    """Cancel an order."""
    id = asked.get("orderId", "")
    return _shape(book.cancel(account, int(id) if id.isdecimal() else 0))


def _shape(order: Order) -> dict[str, Any]:
    """Return an order as Binance shows it."""
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "price": str(order.price),
        "origQty": str(order.quantity),
        "executedQty": "0",
        "status": order.status,
        "type": "LIMIT",
        "timeInForce": "GTC",
        "side": order.side,
        "transactTime": time.time_ns() // 1_000_000,
    }


def describe(port: int, clients: Mapping[str, Client]) -> str:
    """Return shell lines that talk to the exchange, signed anew whenever they are run."""
    base, bina, trader = f"http://127.0.0.1:{port}{PREFIX}", clients["bina"], clients["trader"]
    return f"""\
curl -s {base}/v1/time

q="timestamp=$(date +%s)000"; s=$(printf %s "$q" | openssl dgst -sha256 -hmac {bina.secret} | sed 's/.* //')
curl -s -H "X-MBX-APIKEY: {bina.id}" "{base}/api/v3/account?$q&signature=$s"

export API_KEY={trader.id} API_SECRET={trader.secret}
{sys.executable} {Path(__file__).with_name("tg1_client.py")} GET {base}/v1/me"""


def main() -> None:
    """Serve on loopback until SIGINT or SIGTERM. The first line of the output, a JSON object, says where."""
    options = argparse.ArgumentParser(description="Serve the example exchange on loopback.")
    options.add_argument("--port", type=int, default=0, help="0: a free one")
    options.add_argument("--data", type=Path, default=Path("exchange-data"), help="the folder of keys, state, journal")
    options.add_argument("--redis", default="", help="the URL of a server that has the state, instead of a file")
    options.add_argument("--quiet", action="store_true", help="do not print how to talk to it")
    given = options.parse_args()
    stores = open_stores(given.data, given.redis)
    clients = load_clients(given.data, stores)
    drive(stores.state.look(""))  # so that a server has told from when on it remembers
    listener = socket.create_server(("127.0.0.1", given.port))
    port = listener.getsockname()[1]
    print(json.dumps({"port": port, "since": stores.state.since}), flush=True)
    stores = stores._replace(state=open_state(given.data, given.redis, loop=True))
    if not given.quiet:
        print(describe(port, clients), flush=True)
    config = uvicorn.Config(
        build_app(build_guard(stores, given.data)),
        log_level="error",
        access_log=False,
        proxy_headers=False,  # else uvicorn takes the client's address from a header that anybody can send
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # uvicorn has stopped in order, and hands the signal on
        sys.exit(0)
