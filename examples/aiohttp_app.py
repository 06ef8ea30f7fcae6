"""aiohttp, guarded by one line. PORT=8000 python examples/aiohttp_app.py"""

import os
import secrets

from aiohttp import web

import tradeguard as tg
from tradeguard.adapters.aiohttp import PRINCIPAL, Tradeguard

SECRET = os.environ.get("API_SECRET") or secrets.token_hex(32)
PORT = int(os.environ.get("PORT", "8000"))

keys = tg.MemoryKeys([tg.KeyRecord(id="demo", dialect="tg1", material=tg.Hmac(SECRET), scopes={"orders:read"})])
guard = tg.Guard(
    [tg.Source(), tg.Signature(keys), tg.Freshness(), tg.Network(), tg.Scope(), tg.Replay()],
    operations=tg.Operations({"GET /orders": "orders:read"}),
    state=tg.Memory(),
    journal=tg.MemoryJournal(),
)


async def list_orders(request: web.Request) -> web.Response:
    """List the orders of the key that was proved."""
    return web.json_response({"account": request[PRINCIPAL].account, "orders": []})


app = web.Application()
app.add_routes([web.get("/orders", list_orders)])
Tradeguard(guard).init_app(app)

if __name__ == "__main__":
    print(
        f"API_KEY=demo API_SECRET={SECRET} python examples/tg1_client.py GET http://127.0.0.1:{PORT}/orders", flush=True
    )
    web.run_app(app, host="127.0.0.1", port=PORT)
