"""Sections: every key of the configuration file with its default and its meaning. It and `settings` know pydantic."""

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Final, Literal

from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import ANSWERS, LANES
from tradeguard.core.rate import By

try:
    from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
except ImportError as error:
    raise ConfigError('a configuration file needs pydantic: pip install "tradeguard[config]"') from error

TEXT: Final = r"^[^\x00]+$"
OPTIONAL: Final = r"^[^\x00]*$"
DEPLOYMENT: Final = r"^(?:[a-z_][a-z0-9_]{0,31})?$"
DAY_TEXT: Final = r"^(?:[0-9]{4}-[0-9]{2}-[0-9]{2})?$"
REFERENCE: Final = r"^(?:(?:file|mount):/[^\x00-\x1f]+|env:[A-Za-z_][A-Za-z0-9_]*|systemd:[A-Za-z0-9_.@-]+)$"
SERVER: Final = f"^$|{REFERENCE}"
REFER: Final = (
    'say where the master key is: "file:/path", "mount:/path", "env:NAME" or "systemd:NAME"; '
    "the key itself never stands here"
)
REFER_URL: Final = (
    'say where the URL of the server is: "env:NAME", "file:/path", "mount:/path" or "systemd:NAME"; '
    "the URL itself never stands here, for it may hold a password"
)
PLACE: Final = (
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


class Section(BaseModel):
    """Keys that belong together; what is none of them is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Data(Section):
    """Where keys, state and journal are kept."""

    directory: str = Field(default="data", pattern=TEXT, description="The folder; relative to this file.")


class MasterKey(Section):
    """What the secrets of keys are sealed under."""

    source: str = Field(
        pattern=REFERENCE,
        description="Where the master key is, never the key: `file:/path`, `mount:/path`, `env:NAME`, `systemd:NAME`.",
    )


class Network(Section):
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


_URL: Final[Any] = Field(
    default="",
    pattern=SERVER,
    description="Where the URL of the server is, never the URL: `env:NAME`, `file:/path`, `mount:/path`, "
    "`systemd:NAME`.",
)
_DEPLOYED: Final[Any] = Field(
    default="",
    pattern=DEPLOYMENT,
    description="Of the deployment: what has it is shared by all that use the server. Empty: `main` in Redis; in "
    "PostgreSQL the schema `tradeguard`.",
)
_UNKNOWN: Final[Any] = Field(
    default=False, description="Use a Redis that does not say what it is: you have seen to `noeviction` yourself."
)


class State(Section):
    """What requests share: the nonces that were used, quotas, halts."""

    backend: Literal["sqlite", "memory", "redis", "postgres"] = Field(
        default="sqlite",
        description="`sqlite`: shared by the workers of one machine, kept over restarts. `memory`: one worker, faster. "
        "`redis` (Valkey, too), `postgres`: shared by machines.",
    )
    url: str = _URL
    name: str = _DEPLOYED
    deadline_seconds: float = Field(
        default=0.05,
        ge=0.001,
        le=10.0,
        allow_inf_nan=False,
        description="How long a request waits for the server (503).",
    )
    accept_unknown_server: bool = _UNKNOWN
    capacity: int = Field(default=1_000_000, ge=10, le=_MOST, description="Most live nonces.")
    per_key: int = Field(
        default=100_000, ge=10, le=_MOST, description="Most live nonces of one key; not above `capacity`."
    )
    meters: int = Field(
        default=2_000_000, ge=1, le=_MOST, description="Most quotas counted at once by `sqlite` and `memory`."
    )
    nodes: int = Field(
        default=0,
        ge=0,
        le=_MOST,
        description="Most worker processes there will ever be, on all machines. While the server is lost each of them "
        "settles reads and cancels with its share of the quotas; 0: nothing passes then.",
    )


class Keys(Section):
    """Where key records are, and how they are kept at hand."""

    backend: Literal["sqlite", "redis", "postgres"] = Field(
        default="sqlite", description="`sqlite`: in the data directory. `redis`, `postgres`: shared by machines."
    )
    url: str = _URL
    name: str = _DEPLOYED
    deadline_seconds: float = Field(
        default=1.0,
        ge=0.001,
        le=10.0,
        allow_inf_nan=False,
        description="How long the server may take to find a record.",
    )
    accept_unknown_server: bool = _UNKNOWN
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


Served = State | Keys
"""What may be on a server."""


class Journal(Section):
    """The record of what was decided."""

    path: str = Field(
        default="",
        pattern=OPTIONAL,
        description="The file; relative to this file. Empty: `audit.jsonl` in the data directory.",
    )
    sync: bool = Field(
        default=False, description="Wait for the disk, so that a line survives the death of the machine."
    )


class Signature(Section):
    """How requests are signed."""

    dialects: Names = Field(
        default=("tg1",),
        min_length=1,
        description="The dialects that are understood: of `tradeguard dialects`, or of your own.",
    )
    accept: Names = Field(
        default=(),
        description="Those of them that are used although they leave parts of a request unsigned, such as `binance`.",
    )


class Bearer(Section):
    """Keys whose secret is sent along, for clients that cannot sign yet. Used where `signature` names `bearer`."""

    until: Day = Field(
        default="", pattern=DAY_TEXT, description="The last day of it (UTC), such as `2027-03-31`. It has one."
    )
    header: str = Field(
        default="authorization", pattern=TEXT, description="The field that carries the secret, such as `x-api-key`."
    )
    key: str = Field(
        default="",
        pattern=OPTIONAL,
        description="The field that carries the key id. Empty: it stands before the secret, `<id>.<secret>`.",
    )
    lanes: Names = Field(
        default=(),
        description="Lanes beyond `public` and `read` in which it is good. What is sent again there is done again.",
    )


class Limits(Section):
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


class Lockout(Section):
    """When a source that keeps failing the proof has to wait."""

    pair: int = Field(
        default=3,
        ge=1,
        le=_MOST,
        description="Failures of one key from one source that are free; halved every 15 minutes.",
    )
    address: int = Field(
        default=200,
        ge=1,
        le=_MOST,
        description="Failures of one source that are free (an IPv6 /64), whatever the key; networks have more.",
    )


class Connections(Section):
    """How many WebSockets may be open at once. Without a number nobody is limited."""

    key: int = Field(default=0, ge=0, le=_MOST, description="Most of one key (429); 0: no limit, as in the next two.")
    account: int = Field(default=0, ge=0, le=_MOST, description="Most of one account, over all of its keys.")
    source: int = Field(default=0, ge=0, le=_MOST, description="Most from one address; its /64 for IPv6.")
    lease: int = Field(
        default=30,
        ge=6,
        le=3_600,
        description="Seconds that one still counts whose process was killed, and that it outlives a state that is "
        "lost.",
    )


class Cors(Section):
    """Which pages may call from a browser."""

    origins: Names = Field(default=(), description="Such as `https://trade.example`; or `*` alone. None: no page may.")
    headers: Names = Field(default=(), description="Request fields that a page may send, such as `tg-signature`.")
    expose: Names = Field(
        default=(), description="Response fields that a page may read, beside X-Request-Id, Retry-After and RateLimit."
    )
    max_age: int = Field(default=600, ge=0, le=_DAY, description="How long browsers remember a preflight, in seconds.")
    credentials: bool = Field(default=False, description="Cookies and client certificates may be sent along.")


class Quota(Section):
    """How much may be asked for. A text alone is its `rate`."""

    rate: str = Field(description="Such as `10/second;100000/day`: all of its windows hold at once.")
    by: By = Field(
        default="key",
        description="What has a count of its own: each key, account, source, tier, operation; or `venue`.",
    )
    lanes: Names = Field(
        default=("read", "order", "funds", "admin"),
        min_length=1,
        description="Whose requests count. `public` stands alone and goes by source.",
    )
    cost: int = Field(default=1, ge=0, description="What a request costs whose operation says nothing in `costs`.")
    burst: int = Field(
        default=0,
        ge=0,
        description="Above 0 the shortest window paces: so many at once, refilled evenly. 0: it rolls.",
    )
    attempts: bool = Field(default=False, description="Refused requests count, too, once the signature held.")
    charge: Literal["request", "success"] = Field(
        default="request", description="`success` gives back what a request cost that was answered with 400 or above."
    )
    shadow: bool = Field(default=False, description="Counts and reports, and never refuses.")
    share: int = Field(
        default=50, ge=1, le=100, description="Percent of a rate by tier, operation or venue that one key may fill."
    )
    messages: bool = Field(
        default=False,
        description="Counts what comes in over WebSockets instead of requests, by the row of the handshake.",
    )
    header: str = Field(
        default="",
        description="A response field with the units used: `X-MBX-ORDER-COUNT` becomes X-MBX-ORDER-COUNT-10S.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        return {"rate": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {"anyOf": [_NAME, handler(core)]}
