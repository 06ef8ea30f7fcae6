"""FastAPI, guarded by one line. PORT=8000 python examples/fastapi_app.py"""

import os
import secrets
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

import tradeguard as tg

SECRET = os.environ.get("API_SECRET") or secrets.token_hex(32)
PORT = int(os.environ.get("PORT", "8000"))

keys = tg.MemoryKeys([tg.KeyRecord(id="demo", dialect="tg1", material=tg.Hmac(SECRET), scopes={"orders:read"})])
guard = tg.Guard(
    [tg.Source(), tg.Signature(keys), tg.Freshness(), tg.Network(), tg.Scope(), tg.Replay()],
    operations=tg.Operations({"GET /orders": "orders:read"}),
    state=tg.Memory(),
    journal=tg.MemoryJournal(),
)
app = FastAPI()
app.add_middleware(tg.ASGI, guard=guard)


@app.get("/orders")
async def list_orders(request: Request) -> dict[str, Any]:
    """List the orders of the key that was proved."""
    return {"account": request.scope["tradeguard"].principal.account, "orders": []}


if __name__ == "__main__":
    print(
        f"API_KEY=demo API_SECRET={SECRET} python examples/tg1_client.py GET http://127.0.0.1:{PORT}/orders", flush=True
    )
    uvicorn.run(app, port=PORT, proxy_headers=False, server_header=False)
