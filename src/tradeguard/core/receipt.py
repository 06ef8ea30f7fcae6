"""Receipt: what a request took from quotas, as one line of text that a host keeps with the order."""

import json
from collections.abc import Sequence
from typing import Any, Final

from tradeguard.core.conditions import Charge, Limit, Quota
from tradeguard.core.errors import ConfigError

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def make_receipt(charges: Sequence[Charge]) -> str:
    """Write charges down; empty for none."""
    if not charges:
        return ""
    return _encode([[quota.key, quota.windows, quota.cost, time, id] for quota, time, id in charges])


def read_receipt(text: str) -> tuple[Charge, ...]:
    """Return the charges of a receipt.

    Raises:
        ConfigError: it is none.
    """
    try:
        rows: Any = json.loads(text) if text else []
        return tuple(_charge(*row) for row in rows)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError("that is no receipt; pass the text of Grant.receipt as it was") from error


def _charge(key: Any, windows: Any, cost: Any, time: Any, id: Any) -> Charge:
    limits = tuple(Limit(*window) for window in windows)
    numbers = (cost, time, *(number for limit in limits for number in limit[:3]))
    if not limits or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("not the numbers of a charge")
    if not (isinstance(key, str) and isinstance(id, str)) or any(limit.period < 1 for limit in limits):
        raise ValueError("not the names of a charge")
    return Charge(Quota(key, limits, cost), time, id)
