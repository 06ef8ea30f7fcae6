"""Refusal: the third column of a row, *refuse*: what a dialect's own clients are told, and in which words.

A client that was written for a venue knows the venue's own errors and no others: told something else it crashes, or
worse, tries again. So a refusal is said in the venue's words. Which words, the first of these rules decides:

1.  the public code of the denial;
2.  `unknown`, where the operation may have been carried out: clients then look it up;
3.  the status;
4.  `rejected` for a status below 500, `down` for any other.

Only what a denial shows to everybody alike (its face) decides, so all that is unproven looks alike here too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tradeguard.core.decision import Face
from tradeguard.core.errors import ConfigError


class Said(NamedTuple):
    """What a venue says: the members of its body, and its status; 0 stands for the status of the denial."""

    body: Mapping[str, Any]
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
