"""Rate: how much may be asked for, and by whom it is counted. Written as the limits library writes rates."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from limits import parse_many

from tradeguard.core.conditions import LARGEST, MICROSECOND, Limit
from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import LANES, Lane
from tradeguard.core.principal import Principal

By = Literal["key", "account", "source", "tier", "operation", "venue"]
_SECOND: Final = 1_000_000_000
_OWN: Final[frozenset[By]] = frozenset({"key", "account", "source"})
_DEFAULT: Final[frozenset[Lane]] = frozenset({"read", "order", "funds", "admin"})
_ZERO: Final = re.compile(r"(?:/|per)\s*0+(?![0-9])", re.IGNORECASE)
_FIELD: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,63})?", re.ASCII)
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Rate:
    """How much of something may be asked for, and by whom it is counted.

    Args:
        text: such as "10/second;100000/day": all of its windows hold at once. No stretch of a window's length ever sees
            more.
        by: what has a count of its own: each key, account, source address, tier, operation; or all of the venue one.
        lanes: whose requests count. `public` stands alone, goes by source, and is counted by each node for itself.
        cost: what a request costs whose operation says nothing; 0 where only operations count that name the quota.
        burst: above 0, the shortest window paces (GCRA) instead of rolling: so many at once, refilled evenly.
        attempts: counts what is refused, too, once the proof held.
        charge: "success" gives back what a request cost whose handler answered 400 or above, or not at all.
        shadow: counts and reports, and never refuses.
        share: percent of a rate by tier, operation or venue that a single key may fill.
        messages: counts the messages that come in over WebSockets, by the row of their handshake, instead of requests.
        header: a response field that gives the units used, per window: "X-MBX-ORDER-COUNT" becomes
            X-MBX-ORDER-COUNT-10S. Empty for none.

    `windows` are its limits, the shortest first.

    Raises:
        ConfigError: it is malformed, or says what no store counts.
    """

    text: str
    by: By = "key"
    lanes: Iterable[Lane] = _DEFAULT
    cost: int = 1
    burst: int = 0
    attempts: bool = False
    charge: Literal["request", "success"] = "request"
    shadow: bool = False
    share: int = 50
    header: str = ""
    messages: bool = False
    windows: tuple[Limit, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", parse_rate(self.text, self.burst))
        lanes = frozenset[Lane]() if isinstance(self.lanes, str) else frozenset(self.lanes)
        object.__setattr__(self, "lanes", lanes)
        if not lanes or not lanes <= LANES:
            raise ConfigError(f"rate {self.text!r}: lanes is a collection of {', '.join(sorted(LANES))}")
        if self.by not in get_args(By):
            raise ConfigError(f"rate {self.text!r}: by is one of {', '.join(get_args(By))}, not {self.by!r}")
        if "public" in lanes and (len(lanes) > 1 or self.by != "source"):
            raise ConfigError(f"rate {self.text!r}: lane public stands alone, and goes by source")
        if self.is_local and (len(self.windows) > 1 or self.attempts or self.charge != "request" or self.shadow):
            raise ConfigError(f"rate {self.text!r}: for lane public it has one window, and neither attempts nor charge")
        if self.charge not in ("request", "success") or (self.attempts and self.charge == "success"):
            raise ConfigError(f'rate {self.text!r}: charge is "request", or "success" where attempts do not count')
        if type(self.cost) is not int or self.cost < 0 or any(self.cost > limit.most for limit in self.windows):
            raise ConfigError(f"rate {self.text!r}: cost is a number of units, 0 or more, that fits into its windows")
        if self.messages and (self.charge != "request" or self.header):
            raise ConfigError(f"rate {self.text!r}: messages have no answer, so neither charge nor header fits")
        if type(self.share) is not int or not 1 <= self.share <= 100:
            raise ConfigError(f"rate {self.text!r}: share is a percentage from 1 to 100")
        if not _FIELD.fullmatch(self.header):
            raise ConfigError(f"rate {self.text!r}: {self.header!r} is no name of a field")

    @property
    def is_local(self) -> bool:
        """Whether each node counts for itself: what strangers may ask for."""
        return "public" in self.lanes

    @property
    def is_own(self) -> bool:
        """Whether the count is the caller's own, so that it may be shown to him."""
        return self.by in _OWN

    @property
    def is_shared(self) -> bool:
        """Whether many keys fill one count."""
        return self.by in ("tier", "operation", "venue")


def counted_as(principal: Principal, source: str | None) -> dict[str, str]:
    """Return the names under which a caller is counted: as a key, as an account and as a source.

    Whom the host's own authentication found is told from every key, whatever he is called. Who has no account is one by
    himself; who has no known source shares one with all others of that kind. So nobody is left uncounted.
    """
    key = principal.key_id or f"{principal.kind}:{principal.id}"
    return {"key": key, "account": principal.account or key, "source": source or "unknown"}


def parse_rate(text: str, burst: int = 0) -> tuple[Limit, ...]:
    """Return the windows of a rate, the shortest first.

    Args:
        text: such as "10/second;100000/day" or "5 per 2 minutes", as the limits library reads it.
        burst: above 0, the shortest window paces.

    Raises:
        ConfigError: it is malformed, zero, twice the same window, or larger than any store counts.
    """
    if type(burst) is not int or not 0 <= burst <= LARGEST:
        raise ConfigError(f"rate {text!r}: burst is a whole number, 0 or more")
    try:
        items = [] if _ZERO.search(text) else parse_many(text)
    except (TypeError, ValueError):
        items = []
    limits = sorted((Limit(item.amount, item.get_expiry() * _SECOND) for item in items), key=lambda limit: limit.period)
    if not limits or any(limit.amount < 1 for limit in limits):
        raise ConfigError(f'{text!r} is no rate; write it as "10/second" or "10/second;100000/day", each above 0')
    periods = [limit.period for limit in limits]
    if len(set(periods)) < len(periods):
        raise ConfigError(f"rate {text!r}: two windows of one length; keep the smaller")
    if burst:
        limits[0] = limits[0]._replace(burst=burst)
    if any(max(limit.amount, limit.burst * (limit.period // MICROSECOND)) > LARGEST for limit in limits):
        raise ConfigError(f"rate {text!r}: larger than what a store counts exactly")
    return tuple(limits)


def span(period: int) -> str:
    """Write the length of a window briefly: `10s`, `1m`, `1d`.

    Args:
        period: in ns, whole seconds.
    """
    seconds = period // _SECOND
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"
