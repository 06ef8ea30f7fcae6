"""Quotas of a configuration: the check that holds callers to them, what is wrong with them, and what holds for whom."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, cast

from tradeguard.checks.quota import Quotas
from tradeguard.config.faults import Fault, dot, refusal
from tradeguard.config.sections import Quota
from tradeguard.config.settings import Settings
from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.ports import Table
from tradeguard.core.rate import Rate, parse_rate

_SAME: Final = frozenset({"operation", "venue"})  # for all, whatever their tier
_SHARED: Final = frozenset({"tier", *_SAME})
_PLAIN: Final = Rate("1/second")


class Holds(NamedTuple):
    """One value of a quota, by the parts of its path, and where it comes from."""

    path: tuple[str, ...]
    value: object
    origin: str


def make_quotas(settings: Settings, table: Table | None = None) -> list[Quotas]:
    """Return the check that the sections quotas, tiers and overrides describe; none where there is no quota.

    Args:
        settings: the configuration.
        table: where public operations are counted.

    Raises:
        ConfigError: they contradict themselves.
    """
    if not settings.quotas:
        return []
    return [Quotas(_rates(settings.quotas), tiers=settings.tiers, overrides=settings.overrides, table=table)]


def tiers_of(settings: Settings) -> tuple[str, ...]:
    """Return all tiers: those of the policy, and those that have rates of their own."""
    return tuple(dict.fromkeys([*settings.policy.tiers, *settings.tiers]))


def explain_quotas(settings: Settings) -> Iterator[Holds]:
    """Tell every value of every quota; then what holds for each tier, and for keys with rates of their own."""
    for name, given in settings.quotas.items():
        for field in Quota.model_fields:
            origin = "file" if field in given.model_fields_set else "default"
            yield Holds(("quotas", name, field), getattr(given, field), origin)
    rates = {name: rate for check in make_quotas(settings) for name, rate in check.rates.items()}
    for name in rates.keys() - settings.quotas.keys():
        yield Holds(("quotas", name, "rate"), rates[name].text, "default")
        yield Holds(("quotas", name, "lanes"), sorted(rates[name].lanes), "default")
    for tier in tiers_of(settings):
        own = settings.tiers.get(tier, {})
        for name, rate in rates.items():
            if name in own:
                yield Holds(("tiers", tier, name), own[name], "file")
            elif rate.by not in _SAME and not rate.is_local:
                yield Holds(("tiers", tier, name), rate.text, dot(["quotas", name]))
    for key, own in settings.overrides.items():
        for name, text in own.items():
            yield Holds(("overrides", key, name), text, "file")


def find_unlimited(settings: Settings) -> list[str]:
    """Return the operations of lane order that no quota counts, or only one that watches."""
    rates = _rates(settings.quotas)
    return [
        operation.id
        for operation in Operations(settings.operations).all
        if operation.lane == "order"
        and not any(
            "order" in rate.lanes and not (rate.shadow or rate.messages) and operation.costs.get(name, rate.cost)
            for name, rate in rates.items()
        )
    ]


def find_faults_of_quotas(settings: Settings) -> Iterator[Fault]:
    """Find what is wrong with quotas, tiers and overrides, each by itself."""
    good: dict[str, Quota] = {}
    for name, given in settings.quotas.items():
        wrong = list(_wrong_rate(name, given))
        yield from wrong
        if not wrong:
            good[name] = given
    rates, kinds = _rates(good), (("tiers", "tier", settings.tiers), ("overrides", "key", settings.overrides))
    for section, word, given_to in kinds:
        for who, own in given_to.items():
            for name, text in own.items():
                if name in good or name not in settings.quotas:
                    one = {section: {who: {name: text}}}
                    for fault in refusal("", partial(_build, rates, one), f"Quotas: {word} {who!r}"):
                        said = fault.text.lstrip(": ").removeprefix(f"rate {text!r}: ")
                        yield Fault(dot([section, who, name]), said)


def find_faults_of_costs(settings: Settings) -> Iterator[Fault]:
    """Find costs that no quota knows or can ever hold, and quotas of many that a single key could fill."""
    try:
        [check] = make_quotas(settings)
    except (ConfigError, ValueError):  # told before, or there is none
        return
    policy = Policy(tiers=tiers_of(settings))
    rows = [row for row, asks in settings.operations.items() if isinstance(asks, dict) and "costs" in asks]
    wrong = [fault for row in rows for fault in _wrong_costs(check, policy, settings.operations, row)]
    yield from wrong
    if not wrong:
        shared = [name for name, given in settings.quotas.items() if given.by in _SHARED]
        alone = [fault for name in shared for fault in _wrong_share(settings, policy, name)]
        yield from alone or refusal(
            "quotas", lambda: check.check_plan(policy, Operations(settings.operations)), "Quotas: "
        )


def _rates(quotas: Mapping[str, Quota]) -> dict[str, Rate]:
    return {name: _rate(given) for name, given in quotas.items()}


def _rate(given: Quota) -> Rate:
    return Rate(given.rate, **given.model_dump(exclude={"rate"}))


def _build(rates: Mapping[str, Rate], own: Mapping[str, Any]) -> None:
    if not rates:
        raise ConfigError("there is no quota that it could change; give the section quotas one")
    Quotas(rates, **own)


def _wrong_rate(name: str, given: Quota) -> Iterator[Fault]:
    key = dot(["quotas", name])
    malformed = list(refusal(f"{key}.rate", partial(parse_rate, given.rate), f"rate {given.rate!r}: "))
    yield from malformed or refusal(key, partial(_rate, given), f"rate {given.rate!r}: ")
    yield from refusal(key, partial(Quotas, {name: _PLAIN}), "Quotas: ")


def _wrong_costs(check: Quotas, policy: Policy, rows: Mapping[str, Any], row: str) -> Iterator[Fault]:
    """Look at one row. That one key could fill a quota of many is no fault of a row."""
    front = f"operation {row!r}: "
    for fault in refusal(dot(["operations", row]), lambda: check.check_plan(policy, Operations({row: rows[row]}))):
        if fault.text.startswith(front):
            yield fault._replace(text=fault.text.removeprefix(front))


def _wrong_share(settings: Settings, policy: Policy, name: str) -> Iterator[Fault]:
    """Look at one quota of many without the others of that kind."""
    kept = {other: given for other, given in settings.quotas.items() if other == name or given.by not in _SHARED}
    own, mine = ({who: _only(rates, kept) for who, rates in given.items()} for given in (
        settings.tiers, settings.overrides
    ))  # fmt: skip
    rows = {row: _costing(asks, kept) for row, asks in settings.operations.items()}
    check = Quotas(_rates(kept), tiers=own, overrides=mine)
    yield from refusal(dot(["quotas", name]), lambda: check.check_plan(policy, Operations(rows)), "Quotas: ")


def _only(given: Mapping[str, Any], kept: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in kept}


def _costing(asks: Any, kept: Mapping[str, object]) -> Any:
    """Return a row without what it costs of other quotas."""
    if not isinstance(asks, dict) or "costs" not in asks:
        return cast("object", asks)
    table = cast("dict[str, Any]", asks)
    return {**table, "costs": _only(table["costs"], kept)}
