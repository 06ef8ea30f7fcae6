"""The switch that stops trading: one operator pulls it, two let go, and cancellations go on meanwhile."""

import json
from collections.abc import Iterator

from attacks import Line, Party
from exchange import Client, open_stores
from tg1_client import render
from venue import Venue

from tradeguard import ConfigError, Secret
from tradeguard.core.drive import drive
from tradeguard.core.halt import Mode, Record
from tradeguard.halts.signing import sign
from tradeguard.halts.switch import Switch, hold

WISH = b'{"asset": "USDT", "amount": "250"}'
PATIENCE = 5.0  # seconds for the exchange to obey; it takes a twentieth of one


def halt(party: Party, venue: Venue) -> Iterator[Line]:
    """Stop trading from another process, and let it go on; the exchange runs all the while."""
    stores = open_stores(venue.data, venue.redis)
    switch = Switch(stores.state, stores.keys, stores.journal)
    olga, omar = party.clients["olga"], party.clients["omar"]
    placed = json.loads(party.send(render(party.order())).body)["id"]
    stop = _sign(switch, Mode.NO_NEW, olga)
    drive(switch.put(stop, actor="olga"))
    receipt = drive(switch.wait(stop, PATIENCE, hold))
    yield Line("one operator halts the venue: nodes that obey", "1", str(len(receipt.obeyed)))
    yield party.tell("... an order", "503 halt.no_new", render(party.order()))
    yield party.tell(
        "... a withdrawal", "503 halt.no_new", render(party.sign("treasurer", "POST", "/v1/withdraw", WISH))
    )
    yield party.tell("... a cancellation", "200", render(party.sign("trader", "DELETE", f"/v1/orders/{placed}")))
    yield party.tell("... a read", "200", render(party.sign("trader", "GET", "/v1/me")))
    go_on = _sign(switch, Mode.ACTIVE, olga)
    yield Line("the same operator alone lifts it", "refused", _put(switch, go_on))
    both = sign(go_on, omar.id, Secret(omar.secret))
    yield Line("... with another one", "done", _put(switch, both))
    drive(switch.wait(both, PATIENCE, hold))
    yield party.tell("... an order", "201", render(party.order()))


def _sign(switch: Switch, mode: Mode, operator: Client) -> Record:
    proposal = drive(switch.propose("venue", mode, reason="the demo"))
    return sign(proposal, operator.id, Secret(operator.secret))


def _put(switch: Switch, record: Record) -> str:
    try:
        drive(switch.put(record, actor="demo"))
    except ConfigError:
        return "refused"
    return "done"
