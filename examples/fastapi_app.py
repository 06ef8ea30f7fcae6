"""FastAPI, guarded, with who is asking as a dependency. PORT=8000 python examples/fastapi_app.py"""

import os
import secrets
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Security

import tradeguard as tg
from tradeguard.adapters.fastapi import Tradeguard, tradeguard_principal
from tradeguard.core.principal import Principal

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


@app.get("/orders")
async def list_orders(
    principal: Annotated[Principal, Security(tradeguard_principal, scopes=["orders:read"])],
) -> dict[str, Any]:
    """List the orders of the key that was proved."""
    return {"account": principal.account, "orders": []}


Tradeguard(guard).init_app(app)

if __name__ == "__main__":
    print(
        f"API_KEY=demo API_SECRET={SECRET} python examples/tg1_client.py GET http://127.0.0.1:{PORT}/orders", flush=True
    )
    uvicorn.run(app, port=PORT, proxy_headers=False, server_header=False)
