"""Settings: every key of the configuration file with its default and its meaning. Only this file knows pydantic."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeGuard

from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import ANSWERS, LANES

try:
    from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
except ImportError as error:
    raise ConfigError('a configuration file needs pydantic: pip install "tradeguard[config]"') from error

_TEXT: Final = r"^[^\x00]+$"
_OPTIONAL: Final = r"^[^\x00]*$"
_DAY_TEXT: Final = r"^(?:[0-9]{4}-[0-9]{2}-[0-9]{2})?$"
_REFERENCE: Final = r"^(?:(?:file|mount):/[^\x00-\x1f]+|env:[A-Za-z_][A-Za-z0-9_]*|systemd:[A-Za-z0-9_.@-]+)$"
_REFER: Final = (
    'say where the master key is: "file:/path", "mount:/path", "env:NAME" or "systemd:NAME"; '
    "the key itself never stands here"
)
_PLACE: Final = (
    'say what stands in front: "direct" (clients reach this server themselves), or "proxied" with header and trusted'
)
_DAY: Final = 86_400
_MOST: Final = 1_000_000_000  # more of anything than one machine holds

_NAME: Final = {"type": "string"}
_NAMES: Final = {"anyOf": [_NAME, {"type": "array", "items": _NAME}]}
_OPERATION: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "scopes": _NAMES,
        "lane": {"enum": sorted(LANES)},
        "costs": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
        "assurance": {"type": "integer", "minimum": 1},
        "answer": {"enum": list(ANSWERS)},
        "coexist": {"type": "string", "format": "date"},
    },
}
Names = Annotated[tuple[str, ...], Field(strict=False)]  # TOML has lists, which a strict tuple refuses
Day = Annotated[str, BeforeValidator(lambda value: value.isoformat() if type(value) is date else value)]  # TOML's own
Rows = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "additionalProperties": {"anyOf": [*_NAMES["anyOf"], _OPERATION]}}),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Data(_Section):
    """Where keys, state and journal are kept."""

    directory: str = Field(default="data", pattern=_TEXT, description="The folder; relative to this file.")


class MasterKey(_Section):
    """What the secrets of keys are sealed under."""

    source: str = Field(
        pattern=_REFERENCE,
        description="Where the master key is, never the key: `file:/path`, `mount:/path`, `env:NAME`, `systemd:NAME`.",
    )


class Network(_Section):
    """What stands between the clients and this server."""

    topology: Literal["direct", "proxied"] = Field(
        description="`direct`: clients reach the server themselves. `proxied`: through proxies that say for whom."
    )
    header: Literal["", "x-forwarded-for", "forwarded"] = Field(
        default="", description="The one header in which those proxies say it: `x-forwarded-for` or `forwarded`."
    )
    trusted: Names = Field(
        default=(), description="Their networks; `unix` for whoever reaches the server's unix socket."
    )


class State(_Section):
    """What requests share: the nonces that were used."""

    backend: Literal["sqlite", "memory"] = Field(
        default="sqlite",
        description="`sqlite`: shared by the workers of one machine, kept over restarts. `memory`: one worker, faster.",
    )
    capacity: int = Field(default=1_000_000, ge=10, le=_MOST, description="Most live nonces.")
    per_key: int = Field(
        default=100_000, ge=10, le=_MOST, description="Most live nonces of one key; not above `capacity`."
    )


class Keys(_Section):
    """How key records are kept at hand."""

    cache_size: int = Field(default=100_000, ge=1, le=_MOST, description="Most key records in memory.")
    poll_seconds: float = Field(
        default=0.25,
        ge=0.001,
        le=_DAY,
        allow_inf_nan=False,
        description="How often changes by other processes are looked for.",
    )
    stale_seconds: float = Field(
        default=30.0,
        ge=0.001,
        le=_DAY,
        allow_inf_nan=False,
        description="How long records stay in use while the store cannot be read; above `poll_seconds`.",
    )


class Journal(_Section):
    """The record of what was decided."""

    path: str = Field(
        default="",
        pattern=_OPTIONAL,
        description="The file; relative to this file. Empty: `audit.jsonl` in the data directory.",
    )
    sync: bool = Field(
        default=False, description="Wait for the disk, so that a line survives the death of the machine."
    )


class Signature(_Section):
    """How requests are signed."""

    dialects: Names = Field(
        default=("tg1",), min_length=1, description="The dialects that are understood; `bearer` too."
    )
    accept: Names = Field(
        default=(),
        description="Those of them that are used although they leave parts of a request unsigned, such as `binance`.",
    )


class Bearer(_Section):
    """Keys whose secret is sent along, for clients that cannot sign yet. Used where `signature` names `bearer`."""

    until: Day = Field(
        default="", pattern=_DAY_TEXT, description="The last day of it (UTC), such as `2027-03-31`. It has one."
    )
    header: str = Field(
        default="authorization", pattern=_TEXT, description="The field that carries the secret, such as `x-api-key`."
    )
    key: str = Field(
        default="",
        pattern=_OPTIONAL,
        description="The field that carries the key id. Empty: it stands before the secret, `<id>.<secret>`.",
    )
    lanes: Names = Field(
        default=(),
        description="Lanes beyond `public` and `read` in which it is good. What is sent again there is done again.",
    )


class Limits(_Section):
    """What is allowed in general."""

    scopes: Names = Field(default=(), description="Scopes beyond the shared vocabulary, such as `orders:write:algo`.")
    tiers: Names = Field(default=(), description="Tiers that a key may be in.")
    target_bytes: int = Field(default=8_192, gt=0, le=_MOST, description="Longest request target (414).")
    head_bytes: int = Field(default=32_768, gt=0, le=_MOST, description="Largest sum of header names and values (431).")
    head_fields: int = Field(default=100, gt=0, le=_MOST, description="Most header fields (431).")
    body_bytes: int = Field(default=1_048_576, gt=0, le=_MOST, description="Largest request body (413).")
    body_seconds: float = Field(
        default=10.0, ge=0.001, le=_DAY, allow_inf_nan=False, description="Longest time for a body to arrive (408)."
    )
    body_bytes_per_second: int = Field(
        default=500,
        ge=0,
        le=_MOST,
        description="Slowest that a body may arrive, after 2 seconds of grace (408); 0: none.",
    )
    unproven_bytes: int = Field(
        default=67_108_864,
        gt=0,
        le=1_000 * _MOST,
        description="Most body bytes of unproven requests held at once (503); not below `body_bytes`.",
    )
    refusals: str = Field(
        default="",
        description="The dialect in which those are refused who speak none, such as `binance`. Empty: problem+json.",
    )
    hsts: str = Field(
        default="max-age=63072000",
        description="What Strict-Transport-Security says over TLS; `; includeSubDomains` is yours to add. Empty: none.",
    )


class Cors(_Section):
    """Which pages may call from a browser."""

    origins: Names = Field(default=(), description="Such as `https://trade.example`; or `*` alone. None: no page may.")
    headers: Names = Field(default=(), description="Request fields that a page may send, such as `tg-signature`.")
    expose: Names = Field(
        default=(), description="Response fields that a page may read, beside X-Request-Id, Retry-After and RateLimit."
    )
    max_age: int = Field(default=600, ge=0, le=_DAY, description="How long browsers remember a preflight, in seconds.")
    credentials: bool = Field(default=False, description="Cookies and client certificates may be sent along.")


class Settings(_Section):
    """The configuration of tradeguard."""

    data: Data = Field(default_factory=Data)
    master_key: MasterKey
    network: Network
    state: State = Field(default_factory=State)
    keys: Keys = Field(default_factory=Keys)
    journal: Journal = Field(default_factory=Journal)
    signature: Signature = Field(default_factory=Signature)
    bearer: Bearer = Field(default_factory=Bearer)
    policy: Limits = Field(default_factory=Limits)
    cors: Cors = Field(default_factory=Cors)
    roles: dict[str, Names] = Field(default={}, description="Named sets of scopes that a key may hold.")
    operations: Rows = Field(default={}, description='What each request is and takes: `"METHOD /path" = "scope"`.')


class Fault(NamedTuple):
    """One thing that is wrong: the key's dotted path, and what to change."""

    key: str
    text: str


def _sections() -> dict[str, tuple[str, ...]]:
    """Return the keys of every section; `roles` and `operations` name theirs themselves."""
    kinds = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: tuple(kind.model_fields) if _is_section(kind) else () for name, kind in kinds.items()}


def _is_section(kind: object) -> TypeGuard[type[_Section]]:
    return isinstance(kind, type) and issubclass(kind, _Section)


SECTIONS: Final[Mapping[str, tuple[str, ...]]] = _sections()
"""The keys of every section of fixed keys; `roles` and `operations` have none here."""
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
_MISSING: Final[Mapping[str, str]] = {"master_key.source": _REFER, "network.topology": _PLACE}
_PATTERNS: Final[Mapping[str, str]] = {
    _REFERENCE: f"is no reference; {_REFER}",
    _DAY_TEXT: "must be a day, such as 2027-03-31",
    _TEXT: "must not be empty",
    _OPTIONAL: "holds a character that no path has",
}
_NEEDED: Final = {"master_key": {"source": "env:NONE"}, "network": {"topology": "direct"}}  # where they are at fault
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


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
        return "no such key" + nearest(dot(detail["loc"]), [*SECTIONS, *KEYS])
    if kind == "missing":
        return f"missing; {_MISSING[dot(detail['loc'])]}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS[context["pattern"]]
    return _SAY.get(kind, "{msg}").format(msg=detail["msg"], **context)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the file, for editors; the sample's first line names it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
