"""An application with an authentication of its own, on its way to signatures. PORT=8000 python examples/rollout_app.py

Customers have passwords (HTTP Basic). The guard stands in front of everything, and each operation says until when the
passwords are still good for it: `OPERATIONS` is the plan of the roll-out. The handlers stay as they were; the one
function that finds out who is asking has learnt to look at the grant first, and to vouch.
"""

import os
import secrets
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

import tradeguard as tg
from tradeguard.adapters.fastapi import Tradeguard
from tradeguard.core.address import Networks

TODAY = datetime.now(UTC).date()
SOON, PAST = ((TODAY + timedelta(days=days)).isoformat() for days in (90, -1))
OPERATIONS: Mapping[str, Any] = {
    "GET /markets": {"lane": "public"},
    "GET /orders": {"scopes": "orders:read", "coexist": SOON},
    "GET /orders/{id}": {"scopes": "orders:read", "coexist": SOON},
    "POST /orders": {"scopes": "orders:write", "coexist": SOON},
    "DELETE /orders/{id}": {"scopes": "orders:cancel", "lane": "cancel", "coexist": SOON},
    "GET /balances": "balances:read",  # moved: it takes a signature now
    "POST /withdrawals": {"scopes": "funds:withdraw", "lane": "funds"},
    "GET /history": {"scopes": "history:export", "coexist": PAST},  # its last day has passed
}


class Customer(NamedTuple):
    """A row of the application's own table. `scopes` and `networks` are what their old credentials are good for."""

    name: str
    password: str
    account: str
    scopes: frozenset[str]
    networks: Networks = Networks()


class Order(BaseModel):
    """The body of POST /orders."""

    id: str
    quantity: int


async def find_account(request: Request) -> str:
    """Return on whose account the caller acts: by signature, else by password, as it always was."""
    grant: tg.Grant | None = request.scope.get("tradeguard")
    if grant is not None and grant.principal is not None:
        return grant.principal.account
    customer = find_customer(request)
    if customer is None:
        raise HTTPException(401, "who are you?", {"WWW-Authenticate": "Basic"})
    if grant is not None:
        name, _, account, scopes, networks = customer
        denial = await grant.vouch(tg.Principal(name, "", account, scopes, networks, kind="host"))
        if denial is not None:
            raise HTTPException(denial.status, denial.public)
    return customer.account


def find_customer(request: Request) -> Customer | None:
    """Look a password up: the authentication that was here before."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, password = b64decode(given, validate=True).decode().partition(":")
    except ValueError:
        return None
    customer: Customer | None = request.app.state.customers.get(name)
    if kind != "Basic" or customer is None or not secrets.compare_digest(password.encode(), customer.password.encode()):
        return None
    return customer


Account = Annotated[str, Depends(find_account)]


def make_app(customers: Mapping[str, Customer], guard: tg.Guard | None = None) -> FastAPI:
    """Return the application; without a guard it is the one that was there before.

    `app.state.done` counts what was done, by account.
    """
    app = FastAPI(openapi_url=None)
    app.state.customers, app.state.done = customers, Counter[tuple[str, str]]()
    done: Counter[tuple[str, str]] = app.state.done

    @app.get("/markets")
    async def list_markets() -> list[str]:
        return ["BTCUSDT", "ETHUSDT"]

    @app.get("/orders")
    async def list_orders(account: Account) -> dict[str, Any]:
        return {"account": account, "orders": []}

    @app.get("/orders/{id}")
    async def show_order(id: str, account: Account) -> dict[str, str]:
        return {"account": account, "id": id}

    @app.post("/orders", status_code=201)
    async def place_order(order: Order, account: Account) -> dict[str, str]:
        done[account, "placed"] += 1
        return {"account": account, "id": order.id}

    @app.delete("/orders/{id}")
    async def cancel_order(id: str, account: Account) -> dict[str, str]:
        done[account, "cancelled"] += 1
        return {"account": account, "cancelled": id}

    @app.get("/balances")
    async def show_balances(account: Account) -> dict[str, str]:
        return {"account": account, "USDT": "1000"}

    @app.post("/withdrawals", status_code=201)
    async def withdraw(account: Account) -> dict[str, str]:
        done[account, "withdrawn"] += 1
        return {"account": account}

    @app.get("/history")
    async def show_history(account: Account) -> dict[str, Any]:
        return {"account": account, "fills": []}

    if guard is not None:
        Tradeguard(guard).init_app(app)
    return app


def make_guard(keys: tg.MemoryKeys, journal: Any) -> tg.Guard:
    """Return the guard that goes by the plan."""
    return tg.Guard(
        [tg.Source(), tg.Signature(keys), tg.Freshness(), tg.Network(), tg.Scope(), tg.Replay()],
        operations=tg.Operations(OPERATIONS),
        state=tg.Memory(),
        journal=journal,
    )


def main() -> None:
    """Serve on loopback; print a command for either way of asking."""
    secret = os.environ.get("API_SECRET") or secrets.token_hex(32)
    port = int(os.environ.get("PORT", "8000"))
    scopes = frozenset({"orders:*", "balances:read"})
    ann = Customer("ann", secrets.token_hex(16), "acme", scopes)
    keys = tg.MemoryKeys(
        [tg.KeyRecord(id="demo", dialect="tg1", material=tg.Hmac(secret), scopes=scopes, account=ann.account)]
    )
    print(f"curl -u {ann.name}:{ann.password} http://127.0.0.1:{port}/orders")
    print(
        f"API_KEY=demo API_SECRET={secret} python examples/tg1_client.py GET http://127.0.0.1:{port}/orders", flush=True
    )
    app = make_app({ann.name: ann}, make_guard(keys, tg.MemoryJournal()))
    uvicorn.run(app, port=port, proxy_headers=False, server_header=False)


if __name__ == "__main__":
    main()
