"""tradeguard: API security for trading venues, brokers and system vendors.

    guard = Guard([Source(), Signature(keys), Freshness(), Network(), Scope(), Replay()],
                  operations=operations, state=Memory(), journal=Journal("audit.jsonl"))
    app.add_middleware(ASGI, guard=guard)

The names below are the public face; each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "ASGI": "adapters.asgi",
    "BINANCE": "signing.rows",
    "Bearer": "checks.bearer",
    "BearerDigest": "signing.bearer",
    "BlockingPostgres": "backends.postgres",
    "BlockingPostgresKeys": "backends.postgres",
    "BlockingRedis": "backends.redis",
    "BlockingRedisKeys": "backends.redis",
    "CachedKeys": "keys.cache",
    "ConfigError": "core.errors",
    "Denial": "core.decision",
    "Ed25519": "signing.material",
    "Freshness": "checks.freshness",
    "Grant": "core.decision",
    "Guard": "core.guard",
    "Halt": "checks.halt",
    "Halts": "halts.view",
    "Hmac": "signing.material",
    "Issuer": "keys.issuer",
    "Journal": "audit.journal",
    "KeyRecord": "core.key",
    "LocalSealer": "secrets.sealer",
    "Memory": "backends.memory",
    "MemoryJournal": "backends.memory",
    "MemoryKeys": "backends.memory",
    "Network": "checks.network",
    "Operations": "core.policy",
    "Outgoing": "signing.signer",
    "Policy": "core.policy",
    "Postgres": "backends.postgres",
    "PostgresKeys": "backends.postgres",
    "Principal": "core.principal",
    "Quotas": "checks.quota",
    "Rate": "core.rate",
    "Redis": "backends.redis",
    "RedisKeys": "backends.redis",
    "Replay": "checks.replay",
    "Request": "core.request",
    "SQLiteKeys": "backends.sqlite",
    "SQLiteState": "backends.sqlite",
    "Scope": "checks.scope",
    "SealedKeys": "keys.sealed",
    "Secret": "core.secret",
    "Shadow": "checks.shadow",
    "Signature": "checks.signature",
    "Signer": "signing.signer",
    "Source": "checks.source",
    "Standby": "core.commit",
    "TG1": "signing.rows",
    "WSGI": "adapters.wsgi",
    "aiohttp_middleware": "adapters.aiohttp",
    "protect": "adapters.protect",
    "register": "core.decision",
}

if TYPE_CHECKING:
    from tradeguard.adapters.aiohttp import aiohttp_middleware as aiohttp_middleware
    from tradeguard.adapters.asgi import ASGI as ASGI
    from tradeguard.adapters.protect import protect as protect
    from tradeguard.adapters.wsgi import WSGI as WSGI
    from tradeguard.audit.journal import Journal as Journal
    from tradeguard.backends.memory import Memory as Memory
    from tradeguard.backends.memory import MemoryJournal as MemoryJournal
    from tradeguard.backends.memory import MemoryKeys as MemoryKeys
    from tradeguard.backends.postgres import BlockingPostgres as BlockingPostgres
    from tradeguard.backends.postgres import BlockingPostgresKeys as BlockingPostgresKeys
    from tradeguard.backends.postgres import Postgres as Postgres
    from tradeguard.backends.postgres import PostgresKeys as PostgresKeys
    from tradeguard.backends.redis import BlockingRedis as BlockingRedis
    from tradeguard.backends.redis import BlockingRedisKeys as BlockingRedisKeys
    from tradeguard.backends.redis import Redis as Redis
    from tradeguard.backends.redis import RedisKeys as RedisKeys
    from tradeguard.backends.sqlite import SQLiteKeys as SQLiteKeys
    from tradeguard.backends.sqlite import SQLiteState as SQLiteState
    from tradeguard.checks.bearer import Bearer as Bearer
    from tradeguard.checks.freshness import Freshness as Freshness
    from tradeguard.checks.halt import Halt as Halt
    from tradeguard.checks.network import Network as Network
    from tradeguard.checks.quota import Quotas as Quotas
    from tradeguard.checks.replay import Replay as Replay
    from tradeguard.checks.scope import Scope as Scope
    from tradeguard.checks.shadow import Shadow as Shadow
    from tradeguard.checks.signature import Signature as Signature
    from tradeguard.checks.source import Source as Source
    from tradeguard.core.commit import Standby as Standby
    from tradeguard.core.decision import Denial as Denial
    from tradeguard.core.decision import Grant as Grant
    from tradeguard.core.decision import register as register
    from tradeguard.core.errors import ConfigError as ConfigError
    from tradeguard.core.guard import Guard as Guard
    from tradeguard.core.key import KeyRecord as KeyRecord
    from tradeguard.core.policy import Operations as Operations
    from tradeguard.core.policy import Policy as Policy
    from tradeguard.core.principal import Principal as Principal
    from tradeguard.core.rate import Rate as Rate
    from tradeguard.core.request import Request as Request
    from tradeguard.core.secret import Secret as Secret
    from tradeguard.halts.view import Halts as Halts
    from tradeguard.keys.cache import CachedKeys as CachedKeys
    from tradeguard.keys.issuer import Issuer as Issuer
    from tradeguard.keys.sealed import SealedKeys as SealedKeys
    from tradeguard.secrets.sealer import LocalSealer as LocalSealer
    from tradeguard.signing.bearer import BearerDigest as BearerDigest
    from tradeguard.signing.material import Ed25519 as Ed25519
    from tradeguard.signing.material import Hmac as Hmac
    from tradeguard.signing.rows import BINANCE as BINANCE
    from tradeguard.signing.rows import TG1 as TG1
    from tradeguard.signing.signer import Outgoing as Outgoing
    from tradeguard.signing.signer import Signer as Signer


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tradeguard' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"tradeguard.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
