"""Fault: one thing that is wrong with a configuration, and how its place is written."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple

from tradeguard.core.errors import ConfigError

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Fault(NamedTuple):
    """One thing that is wrong: the key's dotted path, and what to change."""

    key: str
    text: str


def dot(parts: Sequence[str | int]) -> str:
    """Write the path of a key as TOML does: `operations."GET /v1/time".lane`, `policy.scopes[0]`."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + (part if _BARE.fullmatch(part) else json.dumps(part))
    return path


def nearest(name: str, names: Sequence[str]) -> str:
    """Return a half sentence that names the nearest right name; empty where none is near."""
    found = get_close_matches(name, names, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def refusal(key: str, build: Callable[[], object], front: str = "") -> Iterator[Fault]:
    """Build a part; where it is refused, say so with the key's path instead of the part's own name."""
    try:
        build()
    except ConfigError as error:
        yield Fault(key, str(error).removeprefix(front))
