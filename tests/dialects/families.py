"""What the tables of family_*.py say, put together: what ccxt must raise, and where venues tell the time."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

_FAMILIES = [import_module(f"dialects.{path.stem}") for path in sorted(Path(__file__).parent.glob("family_*.py"))]


def tables(name: str) -> dict[str, Any]:
    return {venue: told for family in _FAMILIES for venue, told in getattr(family, name, {}).items()}


EXPECTED: Mapping[str, Mapping[str, str]] = tables("EXPECTED")
"""By venue and situation: the class of what ccxt raises."""
CLOCKS: Mapping[str, str] = tables("CLOCKS")
"""By venue: where it tells its time."""
ADJUSTED = sorted({venue for family in _FAMILIES for venue in getattr(family, "ADJUSTED", ())})
"""Venues at which ccxt signs by their clock, once it was told to."""
STRANGERS = ("bad-key", "bad-signature", "passphrase")
CODES = {
    **dict.fromkeys(STRANGERS, "signature.wrong"),
    "stale": "freshness.stale", "early": "freshness.early", "permission": "scope.missing",
    "network": "network.outside", "rate": "quota.exceeded", "maintenance": "halt.blocked", "outage": "outage.down",
    "unsure": "commit.unsure", "unmapped": "guard.unmapped",
}  # fmt: skip
"""By situation: our own code for it. A replay has that of its row."""
