"""Plan: what a guard decides by, held together and replaced as one: checks in their phases, policy, operations."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any, Final

from tradeguard.core.errors import ConfigError
from tradeguard.core.phases import Phases
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.ports import Port, Runtime, State

_MARK: Final = 16  # hex digits


class Plan:
    """Checks, policy and operations that fit each other, and the state they are settled in.

    `mark` stands for all of them: 16 hex digits of SHA-256 over the operations, the limits, the roles and the checks.

    Args:
        checks: proofs, judges, gates and whatever has conditions.
        policy: limits, declared scopes, roles.
        operations: what each request is.
        state: what settles the conditions.
        without: the required checks that are left out on purpose, by name.

    Raises:
        ConfigError: what an operation or a check asks for, nothing gives.
    """

    __slots__ = ("checks", "mark", "operations", "phases", "policy")

    def __init__(
        self,
        checks: Iterable[object],
        policy: Policy,
        operations: Operations,
        state: State,
        without: Sequence[str] = (),
    ) -> None:
        self.checks = tuple(checks)
        self.phases = Phases(self.checks, without)
        self.policy, self.operations = policy, operations
        operations.check_scopes(policy.vocabulary)
        for operation in operations.all:
            if operation.assurance > 1:
                raise ConfigError(
                    f"operation {operation.id!r} asks for assurance {operation.assurance}; no check gives it"
                )
        for check in self.phases.conditionals:
            missing = check.kinds - state.supports
            if missing:
                names = ", ".join(sorted(kind.__name__ for kind in missing))
                raise ConfigError(f"{type(check).__name__} needs {names}, which {type(state).__name__} cannot settle")
        for planned in self.phases.planned:
            planned.check_plan(policy, operations)
        self.mark = self._make_mark()

    def check_colours(self, runtime: Runtime, ports: Iterable[Port]) -> None:
        """Raise `ConfigError` for the first port, of the plan or given, that cannot wait in this runtime."""
        for port in (*ports, *self.phases.ports):
            if port.colour not in runtime.colours:
                raise ConfigError(
                    f"{type(port).__name__} is {port.colour} and cannot wait in this host "
                    f"({type(runtime).__name__}: {', '.join(sorted(runtime.colours))}); use a backend of those colours"
                )

    def _make_mark(self) -> str:
        content = {
            "checks": [(type(check).__name__, _settings(check)) for check in self.checks],
            "proofs": self.phases.challenge,
            "dialects": {name: getattr(reader, "row", name) for name, reader in self.phases.dialects.items()},
            "policy": {field.name: getattr(self.policy, field.name) for field in fields(self.policy)},
            "operations": sorted(self.operations.all),
        }
        return sha256(json.dumps(content, sort_keys=True, default=_plain).encode()).hexdigest()[:_MARK]


def _settings(check: object) -> dict[str, object]:
    """Return what a check was built with, as far as that is numbers and texts."""
    return {
        name: value for name, value in getattr(check, "__dict__", {}).items() if isinstance(value, (int, float, str))
    }


def _plain(value: Any) -> Any:
    """Give what JSON cannot show one text that is the same in every process, whatever its hashes and addresses are.

    A set or a mapping gets an order, a part of the policy or a dialect its fields by name, and code its name.
    """
    if is_dataclass(value):
        shown = {field.name: getattr(value, field.name) for field in fields(value) if field.compare}
        return {"": type(value).__name__, **shown}
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not hasattr(value, "__iter__"):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return sorted(value.items() if hasattr(value, "items") else value)
