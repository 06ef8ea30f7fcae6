"""Phases: the list of checks, sorted once by what each check implements, and refused if it leaves a gap."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from tradeguard.core.errors import ConfigError
from tradeguard.core.ports import (
    Check,
    Conditional,
    Following,
    Gate,
    Keys,
    Noticing,
    Planned,
    Port,
    Proof,
    Rechecking,
    Settling,
)

REQUIRED: Final = ("freshness", "replay", "scope")
"""The names of the checks that a list has, or leaves out by name; and it always has a proof."""


class Phases:
    """The checks of a guard by phase; one may stand in several. The order of the list is kept within each.

    Args:
        checks: proofs, judges, gates and whatever has conditions.
        without: the required checks that are left out on purpose, by name.

    Raises:
        ConfigError: something is no check, stands twice, or is required and missing.
    """

    __slots__ = (
        "conditionals",
        "dialects",
        "distant",
        "gates",
        "judges",
        "noticing",
        "planned",
        "proofs",
        "recheckers",
        "settling",
    )

    def __init__(self, checks: Iterable[object], without: Sequence[str] = ()) -> None:
        checks = tuple(checks)
        self.gates = tuple(check for check in checks if isinstance(check, Gate))
        self.proofs = tuple(check for check in checks if isinstance(check, Proof))
        self.judges = tuple(check for check in checks if isinstance(check, Check))
        self.conditionals = tuple(check for check in checks if isinstance(check, Conditional))
        self.recheckers = tuple(check for check in checks if isinstance(check, Rechecking))
        self.settling = tuple(check for check in checks if isinstance(check, Settling))
        self.noticing = tuple(check for check in checks if isinstance(check, Noticing))
        self.planned = tuple(check for check in checks if isinstance(check, Planned))
        for check in checks:
            if isinstance(check, type) or not isinstance(check, (Gate, Proof, Check, Conditional)):
                raise ConfigError(f"{check!r} is no check: it has neither __call__, claim/prove, conditions nor gate")
        if not self.proofs:
            raise ConfigError("no check proves who is asking; add Signature(keys)")
        spoken = [getattr(proof, "dialects", {}) for proof in self.proofs]
        self.dialects: Mapping[str, Any] = {name: reader for readers in spoken for name, reader in readers.items()}
        self.distant = tuple(_distant(self.ports))
        _check_names([_name_of(check) for check in checks], without)

    @property
    def ports(self) -> tuple[Port, ...]:
        """What the proofs wait for."""
        return tuple(port for proof in self.proofs for port in proof.ports)

    @property
    def challenge(self) -> str:
        """What WWW-Authenticate says on a 401."""
        return ", ".join(proof.challenge for proof in self.proofs)


def _distant(ports: Iterable[Port]) -> Iterable[Keys]:
    """Give the keys whose view only a loop can bring up to date: they must be asked before a recheck tells anything."""
    for port in ports:
        if port.colour == "async" and isinstance(port, Following):
            yield cast("Keys", port)


def _name_of(check: object) -> str:
    """Return what a check calls itself: its `name`, or its class or function in lower case."""
    return str(getattr(check, "name", None) or getattr(check, "__name__", type(check).__name__).lower())


def _check_names(names: list[str], without: Sequence[str]) -> None:
    if isinstance(without, str) or not set(without) <= set(REQUIRED):
        raise ConfigError(f"without={without!r}: it lists some of {', '.join(REQUIRED)}")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two checks are named {name!r}; keep one")
        if name in without:
            raise ConfigError(f"{name!r} is in the list and in without; choose one")
    for required in REQUIRED:
        if required not in names and required not in without:
            cure = f"add {required.capitalize()}() or without=({required!r},)"
            raise ConfigError(f"the list has no {required} check; {cure}")
