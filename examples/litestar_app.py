"""Litestar, guarded by a plug-in. PORT=8000 python examples/litestar_app.py"""

import os
import secrets
from typing import Any

import uvicorn
from litestar import Litestar, Request, get

import tradeguard as tg
from tradeguard.adapters.litestar import Tradeguard

SECRET = os.environ.get("API_SECRET") or secrets.token_hex(32)
PORT = int(os.environ.get("PORT", "8000"))

keys = tg.MemoryKeys([tg.KeyRecord(id="demo", dialect="tg1", material=tg.Hmac(SECRET), scopes={"orders:read"})])
guard = tg.Guard(
    [tg.Source(), tg.Signature(keys), tg.Freshness(), tg.Network(), tg.Scope(), tg.Replay()],
    operations=tg.Operations({"GET /orders": "orders:read"}),
    state=tg.Memory(),
    journal=tg.MemoryJournal(),
)


@get("/orders")
async def list_orders(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """List the orders of the key that was proved."""
    scope: Any = request.scope
    return {"account": scope["tradeguard"].principal.account, "orders": []}


app = Litestar([list_orders], plugins=[Tradeguard(guard)])

if __name__ == "__main__":
    print(
        f"API_KEY=demo API_SECRET={SECRET} python examples/tg1_client.py GET http://127.0.0.1:{PORT}/orders", flush=True
    )
    uvicorn.run(app, port=PORT, proxy_headers=False, server_header=False)
