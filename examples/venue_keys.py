"""Keys that stay where a venue has them: a table of its own, only read. PORT=8000 python examples/venue_keys.py"""

import os
import secrets
import sqlite3
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

import tradeguard as tg
from tradeguard.core.errors import BackendDown
from tradeguard.core.key import KeyState
from tradeguard.core.ports import Colour

SECRET, PORT = os.environ.get("API_SECRET") or secrets.token_hex(32), int(os.environ.get("PORT", "8000"))
SCOPES = {"R": "orders:read", "T": "orders:write", "C": "orders:cancel"}  # what the venue's letters stand for


class VenueKeys:
    """The venue's table, as the guard asks it: find one key. Whatever else happens to keys stays the venue's own."""

    colour: Colour = "brief"  # waits a moment for the database, and the event loop with it

    def __init__(self, database: sqlite3.Connection) -> None:
        """Take the connection that the venue has."""
        self._database = database

    async def find(self, id: str, /) -> tg.KeyRecord | None:
        """Return the record of a key id, or None."""
        query = "SELECT customer, secret, letters, enabled FROM api_key WHERE name = ?"
        try:
            row = self._database.execute(query, (id,)).fetchone()
        except sqlite3.Error as error:
            raise BackendDown(f"the table of keys: {error}") from error
        if row is None:
            return None
        customer, secret, letters, enabled = row
        material, scopes = tg.Hmac(secret), {SCOPES[letter] for letter in letters}
        state: KeyState = "active" if enabled else "suspended"
        return tg.KeyRecord(id=id, dialect="tg1", material=material, scopes=scopes, owner=customer, state=state)


database = sqlite3.connect(os.environ.get("VENUE_DATABASE", ":memory:"), isolation_level=None)
database.execute("CREATE TABLE IF NOT EXISTS api_key (name TEXT PRIMARY KEY, customer, secret, letters, enabled)")
database.execute("INSERT OR IGNORE INTO api_key VALUES ('demo', 'customer 7', ?, 'RT', 1)", (SECRET,))
keys = tg.CachedKeys(VenueKeys(database))  # asks for a key again after 250 ms; bears an outage of 30 s
guard = tg.Guard(
    [tg.Source(), tg.Signature(keys), tg.Freshness(), tg.Network(), tg.Scope(), tg.Replay()],
    operations=tg.Operations({"GET /orders": "orders:read", "DELETE /orders": "orders:cancel"}),
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
