"""Settings: the configuration as a whole, the faults of what was written, and its JSON Schema."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeGuard

from tradeguard.config.faults import Fault, dot, nearest
from tradeguard.config.sections import (
    DAY_TEXT,
    DEPLOYMENT,
    OPTIONAL,
    PLACE,
    REFER,
    REFER_URL,
    REFERENCE,
    SERVER,
    TEXT,
    Bearer,
    Connections,
    Cors,
    Data,
    Journal,
    Keys,
    Limits,
    Lockout,
    MasterKey,
    Names,
    Network,
    Quota,
    Rows,
    Section,
    Signature,
    State,
)
from tradeguard.signing.written import row_schema

# isort: split
from pydantic import Field, ValidationError, WithJsonSchema  # after the file that says how to install it

Dialects = Annotated[
    dict[str, Any],  # `tradeguard.signing.written` reads them
    WithJsonSchema({"type": "object", "additionalProperties": row_schema()}),
]


class Settings(Section):
    """The configuration of tradeguard."""

    data: Data = Field(default_factory=Data)
    master_key: MasterKey
    network: Network
    state: State = Field(default_factory=State)
    keys: Keys = Field(default_factory=Keys)
    journal: Journal = Field(default_factory=Journal)
    signature: Signature = Field(default_factory=Signature)
    dialects: Dialects = Field(
        default={}, description="Dialects of your own, by name; `signature.dialects` takes them like any other."
    )
    bearer: Bearer = Field(default_factory=Bearer)
    policy: Limits = Field(default_factory=Limits)
    lockout: Lockout = Field(default_factory=Lockout)
    connections: Connections = Field(default_factory=Connections)
    cors: Cors = Field(default_factory=Cors)
    roles: dict[str, Names] = Field(default={}, description="Named sets of scopes that a key may hold.")
    quotas: dict[str, Quota] = Field(
        default={}, description='How much may be asked for, by name: `requests = "20/second;500000/day"`.'
    )
    tiers: dict[str, dict[str, str]] = Field(
        default={}, description="Other rates for the keys of a tier, by name of the quota."
    )
    overrides: dict[str, dict[str, str]] = Field(
        default={}, description="Other rates for single keys, by key id and name of the quota."
    )
    operations: Rows = Field(default={}, description='What each request is and takes: `"METHOD /path" = "scope"`.')


def _sections() -> dict[str, tuple[str, ...]]:
    """Return the keys of every section; those of `NAMED` name theirs themselves."""
    kinds = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: tuple(kind.model_fields) if _is_section(kind) else () for name, kind in kinds.items()}


def _is_section(kind: object) -> TypeGuard[type[Section]]:
    return isinstance(kind, type) and issubclass(kind, Section)


SECTIONS: Final[Mapping[str, tuple[str, ...]]] = _sections()
"""The keys of every section of fixed keys; those of `NAMED` have none here."""
NAMED: Final = tuple(section for section, keys in SECTIONS.items() if not keys)
"""The sections whose keys are names that the operator gives."""
KEYS: Final = tuple(f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys)
"""Every fixed key, by its dotted path."""

_SAY: Final[Mapping[str, str]] = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "too_short": "must not be empty",
    "finite_number": "must be a finite number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
}
_MISSING: Final[Mapping[str, str]] = {"master_key.source": REFER, "network.topology": PLACE}
_RATE: Final = 'write rate = "10/second" or "10/second;100000/day"'
_PATTERNS: Final[Mapping[str, str]] = {
    REFERENCE: f"is no reference; {REFER}",
    DAY_TEXT: "must be a day, such as 2027-03-31",
    TEXT: "must not be empty",
    OPTIONAL: "holds a character that no path has",
    SERVER: f"is no reference; {REFER_URL}",
    DEPLOYMENT: "must be a to z, 0 to 9 and _, at most 32, and no digit first",
}
_NEEDED: Final = {"master_key": {"source": "env:NONE"}, "network": {"topology": "direct"}}  # where they are at fault


def parse(tables: Mapping[str, Any]) -> tuple[Settings, list[Fault], frozenset[str]]:
    """Hold tables against the model.

    Returns:
        The settings, every fault, and the sections at fault. Those have their defaults in the settings, so that what
        is right can be looked at further.
    """
    whole: dict[str, Any] = {"master_key": {}, "network": {}, **tables}
    try:
        return Settings.model_validate(whole), [], frozenset()
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True, include_input=False)
    faults = [Fault(dot(detail["loc"]), _say(detail["type"], detail)) for detail in details]
    wrong = frozenset(str(detail["loc"][0]) for detail in details)
    rest = {name: table for name, table in whole.items() if name not in wrong}
    return Settings.model_validate({**_NEEDED, **rest}), faults, wrong


def _say(kind: str, detail: Mapping[str, Any]) -> str:
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "no such key" + _nearest(detail["loc"])
    if kind == "missing":
        return f"missing; {_MISSING.get(dot(detail['loc']), _RATE)}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS[context["pattern"]]
    return _SAY.get(kind, "{msg}").format(msg=detail["msg"], **context)


def _nearest(loc: Sequence[str | int]) -> str:
    if loc[0] == "quotas":
        return nearest(str(loc[-1]), list(Quota.model_fields))
    return nearest(dot(loc), [*SECTIONS, *KEYS])


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the file, for editors; the sample's first line names it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
