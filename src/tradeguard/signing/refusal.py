"""Refusal: the third column of a row, *refuse*: what a dialect's own clients are told, and in which words.

A client that was written for a venue knows the venue's own errors and no others: told something else it crashes, or
worse, tries again. So a refusal is said in the venue's words. Which words, the first of these rules decides:

1.  the public code of the denial;
2.  `unknown`, where the operation may have been carried out: clients then look it up;
3.  the status;
4.  `rejected` for a status below 500, `down` for any other.

Only what a denial shows to everybody alike (its face) decides, so all that is unproven looks alike here too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

from tradeguard.core.decision import Face
from tradeguard.core.errors import ConfigError
from tradeguard.signing.stamp import STAMPS

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Said(NamedTuple):
    """What a venue says: its body, an object or an array, and its status; 0 stands for the status of the denial."""

    body: Mapping[str, Any] | Sequence[Any]
    status: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Refusal:
    """How the refusals of one dialect look. Compared by identity, so that what is rendered can be remembered by it.

    Args:
        media_type: of the body.
        codes: by public code. One for "unauthorized" is needed: it is the one answer to all strangers.
        unknown: the operation may have been carried out.
        statuses: by status.
        rejected, down: everything else.

    Raises:
        ConfigError: nothing is said to strangers.
    """

    media_type: str
    codes: Mapping[str, Said]
    unknown: Said
    statuses: Mapping[int, Said] = field(default_factory=dict[int, Said])
    rejected: Said
    down: Said

    def __post_init__(self) -> None:
        if "unauthorized" not in self.codes:
            raise ConfigError('a refusal says what strangers are told; give codes one for "unauthorized"')

    def say(self, face: Face) -> Said:
        """Return what is said for a denial's face, with its status filled in."""
        public, status, _, executed, _ = face
        said = self.codes.get(public) or (self.unknown if executed else self.statuses.get(status))
        said = said or (self.rejected if status < 500 else self.down)
        return said if said.status else said._replace(status=status)


def fill(template: Any, at: int) -> Any:
    """Return a template with the time in it, as a venue tells its clock.

    A text that is "$ms" alone becomes the number of milliseconds, "{ms}" in a text its digits; so do the other units
    of `tradeguard.signing.stamp`, and "{rfc1123}" is the date as RFC 1123 writes it.

    Args:
        template: JSON, with such texts in it.
        at: ns UTC.
    """
    if isinstance(template, Mapping):
        members = cast("Mapping[str, Any]", template)
        return {name: fill(inner, at) for name, inner in members.items()}
    if isinstance(template, (list, tuple)):
        return [fill(inner, at) for inner in cast("Sequence[Any]", template)]
    if not isinstance(template, str):
        return template
    if template.startswith("$") and template[1:] in STAMPS:
        return int(STAMPS[template[1:]].write(at))
    for unit, stamp in STAMPS.items():
        template = template.replace("{" + unit + "}", stamp.write(at).decode())
    return template.replace("{rfc1123}", _date(at))


def _date(at: int) -> str:
    """Write a time in English, whatever the locale is."""
    moment = datetime.fromtimestamp(at // 1_000_000_000, UTC)
    return f"{_DAYS[moment.weekday()]}, {moment:%d} {_MONTHS[moment.month - 1]} {moment:%Y %H:%M:%S} +0000"
