"""Codec: a key record as plain fields and back. The store, the export and the command line all use these names."""

import json
from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from decimal import Decimal
from typing import Any, Final

from tradeguard.core.errors import ConfigError, Tampered
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Policy
from tradeguard.core.principal import UNRESTRICTED, Restrictions
from tradeguard.signing.material import make_material

_MONEY: Final = frozenset({"order_notional", "day_notional"})
_SETS: Final = ("scopes", "roles", "networks")
_PLAIN: Final = (
    "id", "dialect", "owner", "account", "parent", "on_behalf_of", "label", "tier", "binding", "state", "created",
    "not_before", "expires", "predecessor", "successor", "waiver", "reason", "actor", "version",
)  # fmt: skip
_EMPTY: Final[tuple[Any, ...]] = ("", None, [], {})


def describe(record: KeyRecord) -> dict[str, Any]:
    """Return every field of a record but material and passphrase: texts, numbers (times in ns UTC), lists, mappings."""
    fields: dict[str, Any] = {name: getattr(record, name) for name in _PLAIN}
    fields |= {name: sorted(getattr(record, name)) for name in _SETS}
    return {**fields, "algorithm": record.algorithm, "restrictions": _describe_restrictions(record.restrictions)}


def encode_fields(record: KeyRecord) -> bytes:
    """Return the fields as the one JSON text that stands for them, empty ones left out. It is for stores only."""
    known = {**describe(record), "passphrase": record.passphrase}
    fields = {name: value for name, value in known.items() if value not in _EMPTY}
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def decode_record(fields: bytes, material: bytes, policy: Policy) -> KeyRecord:
    """Return the record of encoded fields.

    Args:
        fields: from `encode_fields`.
        material: what its material revealed.
        policy: whose roles give scopes.

    Raises:
        Tampered: they are no such fields, or name something that this version of the library does not know.
    """
    try:
        values: dict[str, Any] = {"scopes": (), "restrictions": {}, **json.loads(fields)}
        made = make_material(values.pop("algorithm"), material)
        values["restrictions"] = make_restrictions(values["restrictions"])
        values |= {"material": made, "granted": policy.scopes_of(values.get("roles", ()))}
        return KeyRecord(**values)
    except (TypeError, ValueError, AttributeError, KeyError, RecursionError, ConfigError) as error:
        raise Tampered(f"a key record cannot be read: {error}; was it made by a newer tradeguard?") from error


def make_restrictions(fields: Mapping[str, Any]) -> Restrictions:
    """Return restrictions from plain fields: lists of names, and money as a decimal text.

    Raises:
        ConfigError: a field that there is not, or a value that is none.
    """
    values: dict[str, Any] = {**fields}
    for name in _MONEY & fields.keys():
        values[name] = _read_money(name, fields[name])
    try:
        return Restrictions(**values)
    except TypeError:
        names = ", ".join(sorted(values.keys() - {field.name for field in dataclass_fields(Restrictions)}))
        raise ConfigError(f"restrictions: there is no {names}") from None


def _read_money(name: str, text: object) -> Decimal:
    if not isinstance(text, str):
        raise ConfigError(f'restrictions: {name} is a decimal number between quotes, such as "2500.50"')
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ConfigError(f"restrictions: {name} is no decimal number") from None


def _describe_restrictions(restrictions: Restrictions) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in ("accounts", "symbols", "sides"):
        if getattr(restrictions, name) != getattr(UNRESTRICTED, name):
            fields[name] = sorted(getattr(restrictions, name))
    for name in ("order_notional", "day_notional"):
        money: Decimal | None = getattr(restrictions, name)
        if money is not None:
            fields[name] = str(money)
    return fields
