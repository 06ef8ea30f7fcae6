"""Rates: what the page for customers says about how much may be asked for. Limits that many share are not told."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tradeguard.core.conditions import Limit
from tradeguard.core.rate import Rate, parse_rate, span
from tradeguard.signing.markdown import table

_REFUSED: Final = (
    'Every answer tells what is left: `RateLimit: "<limit>-<window>";r=<left>;t=<seconds until there is more>`, and '
    "`RateLimit-Policy` what there is at most. Beyond it the answer is 429 `quota.exceeded`, and nothing is carried "
    "out: `violated-policies` names the limits, and who signs anew after `Retry-After` seconds (exactly: "
    "`retry_after_ms`) is let in, if nobody else used the same limit meanwhile. Asking earlier gains nothing."
)
_SHARED: Final = "Some limits are shared by many; a refusal names those, too."


def tell_rates(rates: Mapping[str, Rate], tiers: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Tell what is counted for the caller alone, and what strangers may ask; nothing where nothing is.

    Args:
        rates: by the names of quotas.
        tiers: other rates, by tier and name.
    """
    held = {name: rate for name, rate in rates.items() if not rate.shadow}
    shown = {name: rate for name, rate in held.items() if rate.is_own or rate.is_local}
    if not shown:
        return
    yield "## Rates"
    yield table(("limit", "at most", "for each", "lanes"), (_row(*pair) for pair in shown.items()))
    others = [
        (f"`{tier}`", f"`{name}`", _windows(parse_rate(text, shown[name].burst)))
        for tier, own in tiers.items()
        for name, text in own.items()
        if name in shown
    ]
    if others:
        yield "Keys of these tiers have other rates:"
        yield table(("tier", "limit", "at most"), others)
    yield _REFUSED
    if len(shown) < len(held):
        yield _SHARED


def _row(name: str, rate: Rate) -> tuple[str, ...]:
    about = [", ".join(sorted(rate.lanes))]
    about += ["messages over WebSockets"] if rate.messages else []
    about += ["what is refused counts, too"] if rate.attempts else []
    about += ["what fails is given back"] if rate.charge == "success" else []
    return f"`{name}`", _windows(rate.windows), rate.by, "; ".join(about)


def _windows(windows: Iterable[Limit]) -> str:
    return " and ".join(
        f"{limit.burst} at once, refilled by {limit.amount} in {span(limit.period)}"
        if limit.burst
        else f"{limit.amount} in any {span(limit.period)}"
        for limit in windows
    )
