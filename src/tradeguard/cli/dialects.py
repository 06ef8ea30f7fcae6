"""`tradeguard dialects`: the ways in which requests can be signed, and what each of them leaves open."""

from collections.abc import Iterator
from typing import Any, Final

import click

from tradeguard.cli.dialect import find_own, find_survey
from tradeguard.cli.options import with_config, with_json
from tradeguard.cli.screen import Screen, Table, lay_out
from tradeguard.signing.coverage import PARTS, Survey, Timing, survey_all
from tradeguard.signing.message import in_one_line

_SECOND: Final = 1_000_000_000
_NONCES: Final = {
    "unique": "unique: each is used once",
    "rises": "rises: a clock's reading; of those in flight together the {width} highest are kept apart",
    "free": "free: whatever clients take, so that nothing goes by it",
    "none": "none",
}
_RESTARTS: Final = {
    "barrier": "what was signed before it, or dated less than {future} after it, is refused once it changes something",
    "durable": "nothing tells what was signed before it: keep the state where it outlives restarts",
}


@click.command("dialects")
@click.argument("name", required=False)
@with_config
@with_json
def dialects(screen: Screen, config: str | None, name: str | None) -> None:
    """Show how requests can be signed, and what that covers.

    NAME is one of them, or a file with one of your own, such as ./acme.toml; without it all are listed, with those of
    the configuration. In the table "-" is what nothing signs: whoever holds one request can change that in it. Those
    with "yes" in the last column work only where signature.accept names them.
    """
    if name is not None:
        known = find_survey(name, config)
        screen.show(_describe(known), _tell(known))
        return
    listed = survey_all(find_own(config).values())
    table = Table("DIALECT", *(part.upper() for part in PARTS), "ACCEPT")
    screen.show([_describe(known) for known in listed], table.lines(map(_cells, listed)))


def _cells(known: Survey) -> tuple[str, ...]:
    signed = ("yes" if known.coverage[part] else "-" for part in PARTS)
    return known.name, *signed, "yes" if known.gaps else "-"


def _describe(known: Survey) -> dict[str, Any]:
    return {
        "name": known.name,
        "title": known.title,
        "algorithms": list(known.algorithms),
        "coverage": dict(known.coverage),
        "freshness": _describe_timing(known.timing) if known.timing is not None else None,
        "compensations": list(known.compensations),
        "collision_window_seconds": _seconds(known.collision),
        "accept": list(known.gaps),
        "message": list(known.message),
        "fields": dict(known.fields),
        "docs": known.docs,
    }


def _describe_timing(timing: Timing) -> dict[str, Any]:
    return {
        "unit": timing.unit,
        "past_seconds": _seconds(timing.past),
        "future_seconds": _seconds(timing.future),
        "client_window_seconds": _seconds(timing.widest or None),
        "expiry_seconds": _seconds(timing.expiry or None),
        "nonce": timing.nonce,
        "nonce_width": timing.nonce_width or None,
        "restart": timing.restart,
    }


def _tell(known: Survey) -> Iterator[str]:
    yield f"{known.name}  {known.title}".rstrip()
    covers = [part for part in PARTS if known.coverage[part]]
    gaps = f"{', '.join(known.gaps)}: name {known.name} in signature.accept to use it" if known.gaps else ""
    facts = {
        "algorithms": ", ".join(known.algorithms),
        "signs": "  or  ".join(in_one_line(text) for text in known.message) or "nothing",
        **known.fields,
        "covers": ", ".join(covers) or "nothing",
        "leaves out": ", ".join(known.uncovered),
        "accept": gaps,
        **(_tell_timing(known.timing) if known.timing is not None else {}),
        "collision": _tell_collision(known.collision),
        "docs": known.docs,
    }
    yield from (f"  {line}" for line in lay_out(facts))
    yield "Enforced by itself:"
    yield from (f"  * {text}" for text in known.compensations)


def _tell_timing(timing: Timing) -> dict[str, str]:
    window = f"{_show(timing.past)} back, {_show(timing.future)} ahead"
    if timing.unit is None:
        window = f"none: a message has no time, and is remembered for {_show(timing.past)}"
    return {
        "time in": timing.unit or "",
        "window": window,
        "of clients": f"at most {_show(timing.widest)}" if timing.widest else "",
        "expiry": f"at most {_show(timing.expiry)} ahead" if timing.expiry else "",
        "nonces": _NONCES[timing.nonce].format(width=timing.nonce_width),
        "restart": _RESTARTS[timing.restart].format(future=_show(timing.future)),
    }


def _tell_collision(collision: int | None) -> str:
    if collision is None:
        return "nothing tells a message that is sent again from a new one"
    return f"two equal messages within {_show(collision)} are one that was sent twice" if collision else "none"


def _seconds(duration: int | None) -> float | None:
    return None if duration is None else duration / _SECOND


def _show(duration: int) -> str:
    return f"{duration / _SECOND:g} s"
