"""Environment overrides: TRADEGUARD_<SECTION>__<KEY> sets one fixed key of the file."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from tradeguard.config.faults import Fault, dot, nearest
from tradeguard.config.file import DEVELOPMENT, VARIABLE
from tradeguard.config.settings import KEYS, NAMED

PREFIX: Final = "TRADEGUARD_"
NOT_SETTINGS: Final = frozenset({VARIABLE, DEVELOPMENT, "TRADEGUARD_ACTOR", "TRADEGUARD_SECRET"})
"""Variables with the prefix that set nothing: where the file is, what the command line reads, and what asks for
development mode, which there is only where there is no file."""
VARIABLES: Final[Mapping[str, str]] = {PREFIX + key.upper().replace(".", "__"): key for key in KEYS}
"""Every variable that sets a key, and the key."""

# Kubernetes puts these into every pod where a Service is named "tradeguard"
_LINKS = re.compile(r"TRADEGUARD_(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)", re.ASCII)
_NAMED: Final = tuple(f"{PREFIX}{section.upper()}__" for section in NAMED)


class Override(NamedTuple):
    """One key as the environment sets it."""

    variable: str
    key: str
    value: Any


def read_environment(environ: Mapping[str, str]) -> list[Override]:
    """Return the keys that the environment sets."""
    return [Override(name, key, _value(environ[name])) for name, key in VARIABLES.items() if name in environ]


def find_strays(environ: Mapping[str, str], references: Iterable[object]) -> list[Fault]:
    """Return a fault for every variable with the prefix that sets nothing and means nothing else.

    Args:
        environ: the environment.
        references: to the master key and to URLs, which may name variables.
    """
    known = NOT_SETTINGS | set(VARIABLES)
    known |= {text.removeprefix("env:") for text in references if isinstance(text, str) and text.startswith("env:")}
    strays = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    return [Fault(dot([name]), _explain(name)) for name in strays if not _LINKS.fullmatch(name)]


def _explain(name: str) -> str:
    if name.startswith(_NAMED):
        return f"{', '.join(NAMED[:-1])} and {NAMED[-1]} stand in the file only"
    return "this variable sets no key" + nearest(name, tuple(VARIABLES))


def _value(text: str) -> Any:
    """Read a TOML scalar or array; whatever else it is, it is text."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = table.pop("value", None)
    return text if table or isinstance(value, dict) else value
