"""Node: what each process says of itself in the store, for whoever arms a halt: what it obeys, what is in flight.

Nobody signs that: it is told for the receipt of an operator, and nothing is decided by it.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tradeguard.core.conditions import Look

PREFIX: Final = "halt-ack:"
"""What the names of the numbers begin with that nodes write: no condition asks for them."""
LIFETIME: Final = 15_000_000_000
"""After how many ns a node that is silent is forgotten."""


class Ack(NamedTuple):
    """That a node obeys a record since it has seen it.

    `number` is that of the record. `flights` is how many requests were in flight at that moment, from their head to
    the end of their handler; `left` how many of those still are.
    """

    number: int
    flights: int
    left: int


Acks = Mapping[str, Ack]


def encode(acks: Acks) -> bytes:
    """Write down what a node obeys, by scope."""
    return json.dumps(acks, sort_keys=True, separators=(",", ":")).encode()


def read_nodes(look: Look) -> dict[str, Acks]:
    """Return what each node obeys, by node and scope. What is no such text says nothing."""
    return {key.removeprefix(PREFIX): _read(stored.record) for key, stored in look.numbers.items()}


def _read(text: bytes) -> Acks:
    try:
        rows: dict[str, Any] = json.loads(text)
        acks = {scope: Ack(*row) for scope, row in rows.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {scope: ack for scope, ack in acks.items() if all(type(number) is int for number in ack)}
