"""A check of one's own: no order above a ceiling. PORT=8000 python examples/custom_check.py"""

import json
import os
import secrets
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

import tradeguard as tg

SECRET, PORT = os.environ.get("API_SECRET") or secrets.token_hex(32), int(os.environ.get("PORT", "8000"))
ABOVE = tg.register("ceiling.above", status=403, text="The quantity is above the ceiling.", hint="See Ceiling.")


class Ceiling:
    """Refuses orders of more than 100, or of no number at all."""

    async def __call__(self, request: tg.Request, /) -> tg.Denial | None:
        """Judge a request, whose sender is proved by now."""
        with suppress(ValueError, TypeError, LookupError):
            if 0 < json.loads(await request.body())["quantity"] <= 100:
                return None
        return tg.Denial(ABOVE, members={"ceiling": 100})


keys = tg.MemoryKeys([tg.KeyRecord(id="demo", dialect="tg1", material=tg.Hmac(SECRET), scopes={"orders:write"})])
guard = tg.Guard(
    [tg.Source(), tg.Signature(keys), tg.Freshness(), tg.Network(), tg.Scope(), Ceiling(), tg.Replay()],
    operations=tg.Operations({"POST /orders": "orders:write"}),
    state=tg.Memory(),
    journal=tg.MemoryJournal(),
)
app = FastAPI()
app.add_api_route("/orders", lambda: {"placed": True}, methods=["POST"])

if __name__ == "__main__":
    print(f"API_KEY=demo API_SECRET={SECRET} python examples/tg1_client.py POST http://127.0.0.1:{PORT}/orders '{{}}'")
    uvicorn.run(tg.ASGI(app, guard), port=PORT, proxy_headers=False, server_header=False)
