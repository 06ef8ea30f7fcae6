"""Flask, guarded by an extension. PORT=8000 python examples/flask_app.py"""

import os
import secrets
from typing import Any

from flask import Flask, g

import tradeguard as tg
from tradeguard.adapters.flask import Tradeguard

SECRET = os.environ.get("API_SECRET") or secrets.token_hex(32)
PORT = int(os.environ.get("PORT", "8000"))

keys = tg.MemoryKeys([tg.KeyRecord(id="demo", dialect="tg1", material=tg.Hmac(SECRET), scopes={"orders:read"})])
guard = tg.Guard(
    [tg.Source(), tg.Signature(keys), tg.Freshness(), tg.Network(), tg.Scope(), tg.Replay()],
    operations=tg.Operations({"GET /orders": "orders:read"}),
    state=tg.Memory(),
    journal=tg.MemoryJournal(),
)
app = Flask(__name__)


@app.get("/orders")
def list_orders() -> dict[str, Any]:
    """List the orders of the key that was proved."""
    return {"account": g.principal.account, "orders": []}


Tradeguard(app, guard=guard)

if __name__ == "__main__":
    print(
        f"API_KEY=demo API_SECRET={SECRET} python examples/tg1_client.py GET http://127.0.0.1:{PORT}/orders", flush=True
    )
    app.run(port=PORT)
