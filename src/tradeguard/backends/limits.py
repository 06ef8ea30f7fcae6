"""LimitsQuotas: quotas in a storage of the `limits` library, for those who run one already.

Guarantee, weaker than that of our own stores: no window admits more than its strategy of the library does. A window of
up to 1,000 units moves, where the storage can: never more than its amount in any stretch of its period. A larger one is
fixed: up to twice its amount across its edge. Windows are asked and spent one after another, three calls each: who is
refused by one of them at the last moment has spent in those before it, and of several quotas some may be spent and
others not. Nothing is given back. When a quota will have room is told for one unit, not for a larger cost. Time is the
clock of the node. A limit that is changed begins anew, and that the storage was emptied, nobody notices.
"""

import hashlib
import inspect
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from limits import RateLimitItem, RateLimitItemPerSecond, aio, strategies
from limits.errors import ConfigurationError, StorageError
from limits.storage import MemoryStorage, storage_from_string

from tradeguard.backends.room import check_conditions, check_refund
from tradeguard.core.conditions import (
    EXACT,
    MICROSECOND,
    NEVER,
    Charge,
    Condition,
    Limit,
    Look,
    Outcome,
    Quota,
    Seen,
    Use,
)
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.ports import Colour

_EPOCH: Final = "limits"
_SECOND: Final = 1_000_000_000
_NUMBERS: Final = "LimitsQuotas keeps no numbers: join it with a state that does, Split(state, quotas)"


class _Window(NamedTuple):
    """One window of one quota, in the library's terms."""

    limiter: Any
    item: RateLimitItem
    key: str

    async def fits(self, cost: int) -> bool:
        return bool(await _wait(self.limiter.test(self.item, self.key, cost=cost)))

    async def hit(self, cost: int) -> bool:
        return bool(await _wait(self.limiter.hit(self.item, self.key, cost=cost)))

    async def use(self) -> Use:
        reset, remaining = await _wait(self.limiter.get_window_stats(self.item, self.key))
        used = max(0, self.item.amount - int(remaining))
        return Use(used, (int(reset * 1_000_000) + 1) * MICROSECOND) if used else Use(0, 0)


_Asked = list[tuple[Quota, list[_Window]]]


class LimitsQuotas:
    """Quotas in a storage of the `limits` library. It settles `Quota` and nothing else: join it with `Split`.

    It takes windows that roll, of whole seconds.

    Args:
        uri: where the storage is, as the library writes it, such as "redis://localhost:6379". One that begins with
            "async+" is for hosts with an event loop.
        options: what else the library's storage takes, such as `socket_timeout=0.05` (seconds): without it a Redis that
            hangs holds the request.

    Raises:
        ConfigError: the library knows no such storage, or what it needs is not installed.
    """

    supports: frozenset[type] = frozenset({Quota})

    def __init__(self, uri: str, **options: Any) -> None:
        scheme = uri.partition(":")[0]
        try:
            storage: Any = storage_from_string(uri, wrap_exceptions=True, **options)
        except ConfigurationError as error:
            reason = str(error) if "prerequisite" in str(error) else "unknown"  # others may quote the URI
            raise ConfigError(
                f"limits storage {scheme!r}: {reason}; name one that limits knows, or install what it needs, "
                f'such as pip install "limits[redis]"'
            ) from None
        waits = isinstance(storage, aio.storage.Storage)
        self.colour: Colour = "async" if waits else "instant" if isinstance(storage, MemoryStorage) else "blocking"
        kinds: Any = aio.strategies if waits else strategies
        self._fixed = kinds.FixedWindowRateLimiter(storage)
        moves = hasattr(storage, "acquire_entry")
        self._moving = kinds.MovingWindowRateLimiter(storage) if moves else self._fixed
        self._name, self._time, self.since = f"limits storage {scheme!r}", 0, time.time_ns()

    async def commit(
        self,
        conditions: Iterable[Condition],
        at: int,
        request_id: str,
        seen: Seen | None,
        denied: bool = False,
        reserve: bool = False,
    ) -> Outcome:
        """Settle quotas, one window after another.

        Raises:
            BackendDown: the storage does not answer; some windows may have been spent.
            TypeError: a condition that is no quota.
            ValueError: a window that the library does not have.
        """
        conditions = tuple(conditions)
        check_conditions(conditions, self, self.supports)
        asked = [(quota, self._windows(quota)) for quota in cast("tuple[Quota, ...]", conditions)]
        now = self._time = max(self._time, at)
        if seen is not None and seen != (_EPOCH, 0):
            return Outcome((), now, _EPOCH, 0, behind=True)
        try:
            failed = await _settle(asked, denied)
            usage = {quota.key: tuple([await window.use() for window in windows]) for quota, windows in asked}
        except StorageError as error:
            raise BackendDown(f"{self._name} does not answer: {error.storage_error}", unknown=True) from error
        ready = max((_ready(quota, usage[quota.key], now) for quota in failed), default=0)
        return Outcome(tuple(failed), now, _EPOCH, 0, usage, ready=ready)

    async def set(self, key: str, value: int, until: int | None = None, record: bytes = b"") -> int:
        """Refuse: it keeps no numbers."""
        raise TypeError(_NUMBERS)

    async def lift(self, key: str, value: int) -> int:
        """Refuse: it keeps no numbers."""
        raise TypeError(_NUMBERS)

    async def look(self, prefix: str) -> Look:
        """Refuse: it keeps no numbers."""
        raise TypeError(_NUMBERS)

    async def refund(self, charge: Charge, item: str, units: int, at: int) -> bool:
        """Give nothing back: the library cannot."""
        check_refund(units)
        return False

    def _windows(self, quota: Quota) -> list[_Window]:
        name = f"{'quota' if quota.enforced else 'shadow'}:{quota.key}"
        key = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()  # any storage takes it
        limiters = [self._moving if limit.amount <= EXACT else self._fixed for limit in quota.windows]
        return [_Window(limiter, _item(limit), key) for limiter, limit in zip(limiters, quota.windows, strict=True)]


@lru_cache(10_000)
def _item(limit: Limit) -> RateLimitItem:
    if limit.burst or limit.period % _SECOND:
        raise ValueError("the limits library has windows of whole seconds, and none that pace; change the rate")
    return RateLimitItemPerSecond(limit.amount, limit.period // _SECOND, "tradeguard")


async def _wait(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


async def _settle(asked: _Asked, denied: bool) -> list[Quota]:
    """Spend what may be spent; return what failed."""
    failed = [quota for quota, windows in asked if quota.enforced and not await _fit(quota, windows)]
    for quota, windows in asked:
        if quota.cost and quota not in failed and (quota.binding or not (failed or denied)):
            fits = quota.enforced or await _fit(quota, windows)
            if not (fits and await _hit(quota, windows)) and quota.enforced:
                failed.append(quota)
    return failed


async def _fit(quota: Quota, windows: list[_Window]) -> bool:
    for window in windows if quota.cost else ():
        if not await window.fits(quota.cost):
            return False
    return True


async def _hit(quota: Quota, windows: list[_Window]) -> bool:
    for window in windows:
        if not await window.hit(quota.cost):
            return False
    return True


def _ready(quota: Quota, uses: tuple[Use, ...], now: int) -> int:
    pairs = list(zip(quota.windows, uses, strict=True))
    if any(quota.cost > limit.amount for limit, _ in pairs):
        return NEVER
    return max((use.fewer for limit, use in pairs if use.used + quota.cost > limit.amount), default=now)
