"""Records as people and programs see them: the state as it works now, times to the second, chains of rotations."""

from typing import Any, Final, cast

from tradeguard.cli.desk import Desk
from tradeguard.core.drive import drive
from tradeguard.core.key import KeyRecord
from tradeguard.keys.codec import describe
from tradeguard.keys.life import ENDED
from tradeguard.keys.text import show_time

STATES: Final = ("pending", "waiting", "active", "retiring", "suspended", "expired", "revoked", "compromised")
"""States as they work now: `expired` is past its end, `waiting` is before its beginning."""
FIELDS: Final[tuple[str, ...]] = (
    "id", "state", "now", "owner", "account", "parent", "on_behalf_of", "label", "dialect", "algorithm", "scopes",
    "roles", "tier", "networks", "restrictions", "binding", "created", "not_before", "expires", "last_used",
    "predecessor", "successor", "waiver", "reason", "actor", "version",
)  # fmt: skip
"""Every field that is told of a key, in the order of tables."""
_LIMITS: Final = {
    "accounts": "only accounts", "symbols": "only symbols", "sides": "only sides", "order_notional": "most per order",
    "day_notional": "most per day",
}  # fmt: skip
_TIMES: Final = ("created", "not_before", "expires")
_LONGEST: Final = 1000  # keys of a chain that are looked up


def state_now(record: KeyRecord, at: int) -> str:
    """Return the state of a key as it works at a time (ns UTC)."""
    if record.state not in ENDED and record.expires is not None and record.expires <= at:
        return "expired"
    if record.state == "active" and record.not_before is not None and record.not_before > at:
        return "waiting"
    return record.state


def document(record: KeyRecord, at: int) -> dict[str, Any]:
    """Return a record as programs read it: all its fields, times in ns UTC, and `now`, the state as it works."""
    return {**describe(record), "now": state_now(record, at)}


def fields(record: KeyRecord, at: int) -> dict[str, str]:
    """Return a record as people read it."""
    known: dict[str, Any] = describe(record)
    known |= {name: _time(getattr(record, name)) for name in _TIMES}
    known |= {"state": state_now(record, at)}
    shown = {name: known[name] for name in FIELDS if name in known and name != "restrictions"}
    if record.granted:
        shown["by roles"] = sorted(record.granted)
    shown |= {_LIMITS[name]: value for name, value in known["restrictions"].items()}
    return {name.replace("_", " "): _text(value) for name, value in shown.items()}


def chain(desk: Desk, record: KeyRecord) -> list[str]:
    """Return the ids of the keys that this one replaced and of those that replaced it, the oldest first."""
    ids = [record.id]
    for name in ("predecessor", "successor"):
        key: KeyRecord | None = record
        while key is not None and (next_id := getattr(key, name)) and next_id not in ids and len(ids) < _LONGEST:
            ids.insert(0 if name == "predecessor" else len(ids), next_id)
            key = drive(desk.keys.find(next_id))
    return ids


def _time(at: int | None) -> str:
    return "" if at is None else show_time(at)


def _text(value: object) -> str:
    return " ".join(cast("list[str]", value)) if isinstance(value, list) else str(value)
