"""What an operator does while the example exchange runs: restart it, rotate and revoke keys, read the store."""

import time
from collections.abc import Callable, Iterator, Mapping

from attacks import Line, Party
from exchange import Client, make_issuer, open_stores
from tg1_client import render
from venue import Venue

from tradeguard.core.drive import drive

POLL = 0.3  # seconds, by which another process has seen what gives power back; what takes it away acts at once
GONE = "503 signature.superseded | 401 unauthorized"


def restart(party: Party, venue: Venue) -> Iterator[Line]:
    """Stop the exchange in the middle and start it again: keys and used messages are still known."""
    order = render(party.order())
    yield party.tell("an order, just before the exchange is stopped", "201", order)
    venue.stop()
    party.forget_book()
    venue.start()
    yield party.tell("... sent again, just after it was started again", "409 replay.seen", order)
    yield party.tell("a new order, by a key from before", "201", render(party.order()))


def change_keys(party: Party, venue: Venue) -> Iterator[Line]:
    """Rotate and revoke from another process; the exchange runs on."""
    stores = open_stores(venue.data, venue.redis)
    issuer, old = make_issuer(stores), party.clients["trader"]
    new = drive(issuer.rotate(old.id, actor="operator", reason="the demo rotates"))
    assert new.secret is not None  # made here
    party.clients["successor"] = old._replace(id=new.record.id, secret=new.secret.reveal().decode())
    yield party.tell("the trader's new key, at once", "201", render(party.order("successor")))
    first = party.send(render(party.order("trader")))
    yield Line("the old key, its overlap begun", "201 | 503 signature.superseded", first.brief)
    yield party.tell("... the next request of the old key", "201", render(party.order("trader")))
    yield from _end(party, "suspended", lambda: drive(issuer.suspend(new.record.id, actor="operator")))
    drive(issuer.resume(new.record.id, actor="operator"))
    time.sleep(POLL)
    yield party.tell("... resumed, a moment later", "201", render(party.order("successor")))
    yield from _end(party, "revoked", lambda: drive(issuer.revoke(new.record.id, actor="operator")))
    yield Line("secrets of clients to be read in the key store", "0", str(count_secrets(venue, party.clients)))


def count_secrets(venue: Venue, clients: Mapping[str, Client]) -> int:
    """Count the clients whose secret stands in a file of the key store: what a thief of it would have."""
    bytes_of = b"".join(file.read_bytes() for file in venue.data.glob("keys.db*"))
    return sum(client.secret.encode() in bytes_of for client in clients.values())


def _end(party: Party, what: str, end: Callable[[], object]) -> Iterator[Line]:
    end()
    yield party.tell(f"the new key, {what} a moment ago", GONE, render(party.order("successor")))
    yield party.tell("... the next request", "401 unauthorized", render(party.order("successor")))
