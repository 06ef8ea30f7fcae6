"""Commit: is there room? Per key, account, source, tier, operation or venue: all of them, or none is charged."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Final, NamedTuple

from tradeguard.backends.memory import MemoryTable
from tradeguard.core.conditions import MICROSECOND, NEVER, Charge, Condition, Limit, Outcome, Quota, Use
from tradeguard.core.decision import Denial, Member, register
from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operation, Operations, Policy
from tradeguard.core.ports import Table
from tradeguard.core.principal import Principal
from tradeguard.core.rate import Rate, counted_as, parse_rate, span
from tradeguard.core.request import Request

EXCEEDED = register(
    "quota.exceeded",
    status=429,
    text="A quota is used up. Retry-After says when there is room again.",
    hint="violated-policies names the windows; a tier or an override gives a key more.",
)
PUBLIC = register(
    "quota.public",
    status=429,
    text="Too many requests from here. Retry-After says when there is room again.",
    hint="A source asks a public operation too often, by this node's own count.",
)
FULL = register(
    "quota.full",
    status=503,
    text="Too many quotas are being counted. Ask again.",
    hint="The store counts as many quotas as it has room for; raise `meters`.",
)
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
_SECOND: Final = 1_000_000_000
_KEPT: Final = 65_536  # callers whose conditions are kept at hand
_Rates = Mapping[str, str]
_Windows = Mapping[str, tuple[Limit, ...]]
CANCELS: Final = Rate("200/second;5000000/day", lanes=("cancel",))
"""What cancels are held to where no rate is given for them: finite, and more than any book needs."""


class _Asked(NamedTuple):
    """A quota that one caller is held to for one operation, and what its answers say about it, ready to be filled in.

    `policy` is its part of RateLimit-Policy, empty where the count is not his own, `titles` are the beginnings of
    those of RateLimit, `headers` the names of its own fields; one for each window.
    """

    name: str
    rate: Rate
    condition: Quota
    policy: str
    titles: tuple[str, ...]
    headers: tuple[bytes, ...]


class _Held(NamedTuple):
    """All quotas that one caller is held to for one operation; `policy` is RateLimit-Policy where all are counted."""

    asked: tuple[_Asked, ...]
    conditions: tuple[Quota, ...]
    policy: bytes


_FREE: Final = _Held((), (), b"")


class Quotas:
    """Holds callers to rates.

    Args:
        rates: by name; a text is a rate per key for all lanes but `public` and `cancel`. The name stands in the
            answers, and in the `costs` of operations. Where none is for cancels, `CANCELS` is.
        tiers: other rates for keys of a tier, by tier and name.
        overrides: other rates for single keys, by key id and name. They go before those of the tier.
        table: where public operations are counted by source: of fixed size.

    Raises:
        ConfigError: a rate is malformed, a tier or an override names none, or what one key may fill is no limit at all.
    """

    name = "quota"
    kinds: frozenset[type] = frozenset({Quota})

    def __init__(
        self,
        rates: Mapping[str, Rate | str],
        *,
        tiers: Mapping[str, _Rates] | None = None,
        overrides: Mapping[str, _Rates] | None = None,
        table: Table | None = None,
    ) -> None:
        self.rates = {_check_name(name): Rate(rate) if isinstance(rate, str) else rate for name, rate in rates.items()}
        if not self.rates:
            raise ConfigError('Quotas: name at least one rate, such as {"requests": "20/second;100000/day"}')
        if not any("cancel" in rate.lanes and not rate.messages for rate in self.rates.values()):
            self.rates.setdefault("cancels", CANCELS)
        self._tiers = {tier: self._parse(f"tier {tier!r}", own) for tier, own in (tiers or {}).items()}
        self._overrides = {key: self._parse(f"key {key!r}", own) for key, own in (overrides or {}).items()}
        self.described = _describe(self.rates, self._tiers, self._overrides)  # part of the policy's mark
        self._returning = {name for name, rate in self.rates.items() if rate.charge == "success"}
        self._local = {name: rate for name, rate in self.rates.items() if rate.is_local}
        self._table = table if table is not None else MemoryTable()
        self._kept: dict[object, _Held] = {}
        self._by_source = any(rate.by == "source" for rate in self.rates.values())

    def check_plan(self, policy: Policy, operations: Operations) -> None:
        """Hold the quotas against the rest of the plan.

        Raises:
            ConfigError: a tier that the policy does not have, a cost for a quota that there is not, or one that never
                fits.
        """
        for tier in self._tiers:
            if tier not in policy.tiers:
                raise ConfigError(f"Quotas: tier {tier!r} is none of the policy; declare it in tiers")
        for operation in operations.all:
            for name, cost in operation.costs.items():
                if name not in self.rates:
                    raise ConfigError(f"operation {operation.id!r}: costs names {name!r}, which is no quota")
                self._check_cost(operation, name, cost)
        for name, rate in self.rates.items():
            if rate.is_shared:
                self._check_share(name, rate, operations)

    async def __call__(self, request: Request, /) -> Denial | None:
        """Count a request to a public operation by its source, on this node alone."""
        operation = request.operation
        if operation is None or operation.lane != "public":
            return None
        for name, rate in self._local.items():
            counts = rate.messages == (request.kind == "message")
            denial = self._count(name, rate, operation, request) if counts else None
            if denial is not None:
                return denial
        return None

    def conditions(self, request: Request, /) -> Iterable[Condition]:
        """Return the quotas that the caller is held to; those of attempts also where there is no such operation."""
        return self._held(request).conditions

    def denial(self, _condition: Condition, outcome: Outcome, /) -> Denial:
        """Return `quota.exceeded` with all windows that had no room, or `quota.full`."""
        if outcome.ready == 0:
            return Denial(FULL, retry_after=1)
        violated: list[str] = []
        for failed in outcome.failed:
            if isinstance(failed, Quota) and failed.key in outcome.usage:
                name = failed.key.partition(":")[0]
                if name not in self.rates:
                    continue  # another check's
                pairs = zip(failed.windows, outcome.usage[failed.key], strict=True)
                violated += [_title(name, limit) for limit, use in pairs if use.used + failed.cost > limit.most]
        if outcome.ready == NEVER:
            return Denial(EXCEEDED, members={"violated-policies": violated}, detail=", ".join(violated))
        wait = outcome.ready - outcome.time
        members: dict[str, Member] = {
            "violated-policies": violated,
            "retry_after_ms": -(-(wait // MICROSECOND) // 1_000),
        }
        return Denial(EXCEEDED, retry_after=_seconds(wait), members=members, detail=", ".join(violated))

    def settled(self, request: Request, outcome: Outcome, /) -> None:
        """Tell the caller how much he has left, keep what can be given back, and report what only watches."""
        held = self._held(request)
        remaining: list[str] = []
        policy: bytes | None = held.policy
        usage, now, spent = outcome.usage, outcome.time, not outcome.failed
        for asked in held.asked:
            condition = asked.condition
            uses = usage.get(condition.key)
            if uses is None:
                if condition.enforced and condition not in outcome.failed:
                    raise ValueError(f"the store says nothing about quota {condition.key}")
                policy = None
                continue
            if asked.rate.shadow:
                _watch(request, asked.name, condition, uses)
                continue
            if asked.policy:
                for title, limit, (used, fewer) in zip(asked.titles, condition.windows, uses, strict=True):
                    remaining.append(f"{title}{max(0, limit.most - used)};t={_seconds(fewer - now)}")
                for header, use in zip(asked.headers, uses, strict=False):
                    request.fields.append((header, b"%d" % use.used))
            if spent and condition.cost:
                request.charges.append(Charge(condition, now, request.id))
        if remaining:
            told = [one for one in held.asked if one.condition.key in usage] if policy is None else held.asked
            request.fields.append((b"ratelimit-policy", _policies(told) if policy is None else policy))
            request.fields.append((b"ratelimit", ", ".join(remaining).encode()))

    def returns(self, request: Request, status: int, /) -> Sequence[Charge]:
        """Return the charges that a request gives back whose handler has answered with a status (0: not at all)."""
        if 0 < status < 400 or not self._returning:
            return ()
        return [charge for charge in request.charges if charge.quota.key.partition(":")[0] in self._returning]

    def _held(self, request: Request) -> _Held:
        principal, operation = request.principal, request.operation
        if principal is None:
            return _FREE
        source = request.peer.source if self._by_source else ""
        speaks = request.kind == "message"
        who = (principal.key_id, principal.id, principal.account, principal.tier, principal.version, source)
        caller = (who, operation and operation.id, speaks)
        held = self._kept.get(caller)
        if held is None:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            asked = tuple(self._ask(principal, operation, source, speaks=speaks))
            conditions = tuple([one.condition for one in asked])
            held = self._kept[caller] = _Held(asked, conditions, _policies(asked))
        return held

    def _ask(
        self, principal: Principal, operation: Operation | None, source: str | None, *, speaks: bool
    ) -> Iterable[_Asked]:
        own = self._tiers.get(principal.tier, {}) | self._overrides.get(principal.key_id, {})
        shared = {"tier": principal.tier, "operation": "" if operation is None else operation.id, "venue": ""}
        parts = counted_as(principal, source) | shared
        looks = operation is not None and operation.answer == "whoami"  # all that is the caller's own, at no cost
        for name, rate in self.rates.items():
            counts = rate.messages == speaks and (operation.lane in rate.lanes if operation else rate.attempts)
            cost = (operation.costs.get(name, rate.cost) if operation else rate.cost) if counts else 0
            shows = looks and rate.is_own and not rate.shadow
            if (cost or shows) and not rate.is_local:
                windows = own.get(name, rate.windows)
                if rate.shadow:
                    windows = tuple(limit._replace(coarse=True) for limit in windows)
                key = f"{name}:{rate.by}:{parts[rate.by]}"
                condition = Quota(key, windows, cost, binding=rate.attempts, enforced=not rate.shadow)
                titles = tuple(f'"{_title(name, limit)}";r=' for limit in windows)
                headers = [f"{rate.header}-{span(limit.period)}".lower().encode() for limit in windows if rate.header]
                own_policy = ", ".join(_policy(name, limit) for limit in windows) if rate.is_own else ""
                yield _Asked(name, rate, condition, own_policy, titles, tuple(headers))

    def _count(self, name: str, rate: Rate, operation: Operation, request: Request) -> Denial | None:
        [limit] = rate.windows
        source = request.peer.source or "unknown"
        pace, key = limit.period // limit.amount, (name, source)
        cost = operation.costs.get(name, rate.cost) * pace
        wait = self._table.drained(key) + cost - limit.most * pace - request.arrived
        if wait > 0:
            members = {"violated-policies": [_title(name, limit)]}
            return Denial(PUBLIC, retry_after=_seconds(wait), members=members)
        self._table.add(key, cost, request.arrived)
        return None

    def _parse(self, where: str, own: _Rates) -> dict[str, tuple[Limit, ...]]:
        windows: dict[str, tuple[Limit, ...]] = {}
        for name, text in own.items():
            rate = self.rates.get(name)
            if rate is None:
                raise ConfigError(
                    f"Quotas: {where} names {name!r}, which is no quota; there are {', '.join(self.rates)}"
                )
            if rate.by in ("operation", "venue") or rate.is_local:
                raise ConfigError(f"Quotas: {where}: quota {name!r} is the same for all; it goes by {rate.by}")
            windows[name] = parse_rate(text, rate.burst)
        return windows

    def _check_cost(self, operation: Operation, name: str, cost: int) -> None:
        groups = [self.rates[name].windows]
        groups += [own[name] for own in (*self._tiers.values(), *self._overrides.values()) if name in own]
        most = min(limit.most for windows in groups for limit in windows)
        if cost > most:
            raise ConfigError(f"operation {operation.id!r}: costs {cost} of quota {name!r}, which holds {most} at most")

    def _check_share(self, name: str, rate: Rate, operations: Operations) -> None:
        """Refuse a rate that many keys fill, where a single one could fill more than its share of it."""
        asking = [o for o in operations.all if o.lane in rate.lanes and o.costs.get(name, rate.cost)]
        others = {tuple(sorted(own.items())): own for own in (*self._tiers.values(), *self._overrides.values())}
        for limit in rate.windows:
            for own in ({}, *others.values()):
                most = self._most(name, own, asking, limit.period)
                if most is None or most * 100 > limit.most * rate.share:
                    raise ConfigError(
                        f"Quotas: one key could fill {'all' if most is None else most} of the {limit.most} of "
                        f"{_title(name, limit)}, which everybody shares; give a rate by key or account for lanes "
                        f"{', '.join(sorted(rate.lanes))} that leaves it at most {rate.share} % (share)"
                    )

    def _most(self, name: str, own: _Windows, asking: Iterable[Operation], period: int) -> int | None:
        """Return how many units of a shared rate one key can ask for in a period; None for any number."""
        most: dict[str, int] = {}
        for operation in asking:
            bounds = [
                (bound * operation.costs.get(name, self.rates[name].cost) // cost, other)
                for other, rate in self.rates.items()
                if rate.by in ("key", "account") and operation.lane in rate.lanes and not rate.shadow
                if rate.messages == self.rates[name].messages
                for cost in (operation.costs.get(other, rate.cost),)
                if cost
                for bound in [min(_bound(limit, period) for limit in own.get(other, rate.windows))]
            ]
            if not bounds:
                return None
            bound, other = min(bounds)
            most[other] = max(most.get(other, 0), bound)
        return sum(most.values())


def _describe(rates: Mapping[str, Rate], tiers: Mapping[str, _Windows], overrides: Mapping[str, _Windows]) -> str:
    """Write everything down in one order."""
    plain = {name: {field.name: getattr(rate, field.name) for field in fields(rate)} for name, rate in rates.items()}
    return json.dumps([plain, tiers, overrides], sort_keys=True, default=sorted)


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"Quotas: {name!r} is no name of a quota; use a to z, 0 to 9, _ and -, at most 32")
    return name


def _bound(limit: Limit, period: int) -> int:
    """Return how many units of a window fit into a stretch of a length at most."""
    if limit.burst:
        return limit.burst + limit.amount * period // limit.period
    return limit.amount * -(-period // limit.period)


def _title(name: str, limit: Limit) -> str:
    return f"{name}-{span(limit.period)}"


def _policy(name: str, limit: Limit) -> str:
    """Write a window as RateLimit-Policy does (draft-ietf-httpapi-ratelimit-headers-10, 2)."""
    return f'"{_title(name, limit)}";q={limit.most};w={limit.period // _SECOND}'


def _policies(asked: Iterable[_Asked]) -> bytes:
    return ", ".join([one.policy for one in asked if one.policy and not one.rate.shadow]).encode()


def _seconds(wait: int) -> int:
    """Return whole seconds, rounded up; a part of a microsecond has passed before the answer is read."""
    return -(-(wait // MICROSECOND) // 1_000_000) if wait > 0 else 0


def _watch(request: Request, name: str, condition: Quota, uses: Sequence[Use]) -> None:
    """Report where a rate that only watches would have refused."""
    pairs = zip(condition.windows, uses, strict=True)
    over = [_title(name, limit) for limit, use in pairs if use.used > limit.most]
    if over:
        request.shadow.append(Denial(EXCEEDED, detail=f"shadow: {', '.join(over)}"))
