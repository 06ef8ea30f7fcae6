"""Patterns of the map: which of two is stronger, and where what they ask for depends on the router that answers.

A pattern is the segments of a row's path: text, `{name}`, `*`, and `**` at the end.
"""

from collections.abc import Sequence
from typing import Final

Segments = Sequence[str]
REST: Final = "**"


def rank(segment: str) -> int:
    """Tell how strong a segment is: 3 text, 2 {name}, 1 *, 0 **."""
    return {REST: 0, "*": 1}.get(segment, 2 if segment.startswith("{") else 3)


def shape(segments: Segments) -> list[str]:
    """Return what a pattern matches, whatever its parameters are called."""
    return ["{}" if rank(segment) == 2 else segment for segment in segments]


def weigh(left: Segments, right: Segments) -> tuple[bool, bool] | None:
    """Tell whether the left pattern is stronger somewhere, and the right one; None where no path matches both."""
    stronger = weaker = False
    for a, b in zip(left, right, strict=False):
        if rank(a) == rank(b) == 3 and a != b:
            return None
        if "" in (a, b) and REST not in (a, b) and a != b:
            return None
        stronger, weaker = stronger or rank(a) > rank(b), weaker or rank(a) < rank(b)
        if REST in (a, b):
            return stronger, weaker
    return (stronger, weaker) if len(left) == len(right) else None


def tied(left: Segments, right: Segments) -> bool:
    """Tell whether some path matches both, and neither is stronger all along."""
    found = weigh(left, right)
    return found is not None and found[0] == found[1]


def beats(left: Segments, right: Segments) -> bool:
    """Tell whether some path matches both, and the left one is stronger, or as strong."""
    found = weigh(left, right)
    return found is not None and not found[1]


def leaves_rest(left: Segments, right: Segments) -> bool:
    """Tell whether a router whose `**` is never empty goes on from there to the right pattern, which is broader."""
    return left[-1] == right[-1] == REST and len(right) < len(left) and beats(left, right)
