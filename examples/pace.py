"""How much a key may ask for: the demo goes beyond it, and comes back exactly when it is told to."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from attacks import Line, Party
from tg1_client import Answer, render

MOST = 3
"""Orders that the retail key may place in any `SPAN` seconds; `exchange.py` says so too."""
SPAN = 2


def exceed(party: Party) -> Iterator[Line]:
    """Ask for more than the retail key's rate, in every way; each order is signed anew."""
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: party.send(render(party.order("retail"))), range(20)))
    told = [answer.brief for answer in answers]
    happened = f"{told.count('201')} x 201, {told.count('429 quota.exceeded')} x 429"
    yield Line(f"20 orders at once of a key that has {MOST} in {SPAN} s", f"{MOST} x 201, {20 - MOST} x 429", happened)
    placed = next(json.loads(answer.body)["id"] for answer in answers if answer.status == 201)
    cancel = render(party.sign("retail", "DELETE", f"/v1/orders/{placed}"))
    yield party.tell("... a cancellation meanwhile", "200", cancel)
    refused = party.send(render(party.order("retail")))
    yield Line("... one more order", "429 quota.exceeded", refused.brief)
    yield from come_back(party, refused, time.monotonic())
    yield party.tell("the trader, meanwhile and from the same account", "201", render(party.order()))


def come_back(party: Party, refused: Answer, since: float) -> Iterator[Line]:
    """Ask half way through the wait that was told, and at its end."""
    wait = int(str(refused.problem.get("retry_after_ms", 0))) / 1_000
    header = int(refused.headers.get("retry-after", "0"))
    yield Line("... and how long to wait", "told in ms, and rounded up in Retry-After", _told(wait, header))
    time.sleep(max(0.0, since + wait / 2 - time.monotonic()))
    yield party.tell("... signed again after half of that", "429 quota.exceeded", render(party.order("retail")))
    time.sleep(max(0.0, since + wait - time.monotonic()))
    yield party.tell("... and after all of it", "201", render(party.order("retail")))


def _told(wait: float, header: int) -> str:
    if 0 < wait <= SPAN and wait <= header < wait + 1:
        return "told in ms, and rounded up in Retry-After"
    return f"{wait} s, and Retry-After {header}"
