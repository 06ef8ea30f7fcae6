"""Findings: what building a configuration would refuse, and what an operator should look at. It changes nothing."""

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.source import Source
from tradeguard.config.build import make_checks
from tradeguard.config.faults import dot
from tradeguard.config.load import Loaded
from tradeguard.config.quotas import find_unlimited
from tradeguard.config.rules import SERVERS, bearer_end, make_connections, make_policy
from tradeguard.config.stores import check_data, read_url
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.policy import Operations
from tradeguard.core.principal import missing_scopes
from tradeguard.keys.format import plausible
from tradeguard.secrets.master import load_master_keys
from tradeguard.signing.bearer import BEARER

_DAY: Final = 86_400_000_000_000
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def check(loaded: Loaded, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return what is wrong with a configuration beyond its text, or doubtful; empty where nothing is.

    The master key and URLs are read, to see that they can be. No database is opened.

    Args:
        loaded: the configuration.
        environ: the environment, for a master key or a URL kept there.
    """
    return [
        *_refusal("data.directory", lambda: check_data(loaded)),
        *_refusal("master_key.source", lambda: load_master_keys(loaded.settings.master_key.source, environ)),
        *_servers(loaded, environ),
        *_refusal("operations", lambda: _build(loaded)),
        *_folders(loaded),
        *_writable(loaded),
        *_beside(loaded),
        *_unused(loaded),
        *_bearer(loaded, time.time_ns()),
        *_quotas(loaded),
        *_connections(loaded),
    ]


def _refusal(key: str, build: Callable[[], object]) -> list[str]:
    try:
        build()
    except ConfigError as error:
        return [f"{key}: {str(error).removeprefix(key + ': ')}"]
    return []


def _build(loaded: Loaded) -> None:
    """Put a guard together that keeps everything in memory."""
    Guard(
        make_checks(loaded, MemoryKeys(), Source(**loaded.settings.lockout.model_dump())),
        operations=Operations(loaded.settings.operations),
        state=Memory(),
        journal=MemoryJournal(),
        policy=make_policy(loaded.settings),
    )


def _servers(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[str]:
    """Find what a server is not told, and what is lost with it."""
    settings = loaded.settings
    for section, given in (("state", settings.state), ("keys", settings.keys)):
        if given.backend in SERVERS:
            yield from _refusal(f"{section}.url", partial(read_url, section, given, environ))
    if settings.state.backend in SERVERS and not settings.state.nodes:
        yield (
            "state.nodes: 0, so nothing passes while the server is lost, cancels neither; say how many worker "
            "processes there will be at most, and each of them settles reads and cancels by itself then"
        )


def _quotas(loaded: Loaded) -> Iterator[str]:
    """Find who could place any number of orders, and rates for keys that cannot exist."""
    unlimited = find_unlimited(loaded.settings)
    if unlimited:
        yield f"quotas: none holds for {', '.join(unlimited)}: whoever has a key may place any number of orders"
    for id in loaded.settings.overrides:
        if not plausible(id):
            yield f"{dot(['overrides', id])}: no key has this id: its checksum is wrong"


def _connections(loaded: Loaded) -> Iterator[str]:
    """Find who could hold any number of WebSockets open; those of public rows are never counted."""
    rows = Operations(loaded.settings.operations).all
    proved = [row.id for row in rows if row.id.startswith("WS ") and row.lane != "public"]
    if proved and not make_connections(loaded.settings):
        yield f"connections: no number holds for {', '.join(proved)}: whoever has a key may open any number of them"


def _folders(loaded: Loaded) -> Iterator[str]:
    for key, folder in (("data.directory", loaded.data), ("journal.path", loaded.journal.parent)):
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            yield f"{key}: this user cannot write into {folder}"
    if not loaded.journal.parent.is_dir() and loaded.journal.parent != loaded.data:
        yield f"journal.path: {loaded.journal.parent} is no directory; make it"


def _writable(loaded: Loaded) -> Iterator[str]:
    """Find what others may write: whoever can exchange a file decides what is in it."""
    readable = loaded.data.is_dir() and os.access(loaded.data, os.R_OK | os.X_OK, effective_ids=True)
    files = sorted(loaded.data.iterdir()) if readable else []
    for path in dict.fromkeys([loaded.path.parent, loaded.data, *files, loaded.journal.parent, loaded.journal]):
        if path.exists() and path.stat().st_mode & _OTHERS:
            yield f"{path}: others than its owner may write it; chmod go-w"


def _beside(loaded: Loaded) -> Iterator[str]:
    """Find a master key that would be copied along with what it seals."""
    kind, _, place = loaded.settings.master_key.source.partition(":")
    if kind == "file" and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(loaded.data)):
        yield "master_key.source: the key lies in the data directory, so a copy of that opens itself; keep it elsewhere"


def _unused(loaded: Loaded) -> Iterator[str]:
    operations = Operations(loaded.settings.operations).all
    if not operations:
        yield "operations: none, so every request is refused"
    asked = frozenset(scope for operation in operations for scope in operation.scopes)
    for role, scopes in loaded.settings.roles.items():
        if not _opens(scopes, asked):
            yield f"{dot(['roles', role])}: no operation asks for any of its scopes"
    given = frozenset(scope for scopes in loaded.settings.roles.values() for scope in scopes)
    for scope in sorted(set(loaded.settings.policy.scopes) - asked - given):
        yield f"policy.scopes: no operation asks for {scope!r} and no role gives it"
    for name in sorted(loaded.settings.dialects.keys() - set(loaded.settings.signature.dialects)):
        yield f"{dot(['dialects', name])}: nobody can sign so; name it in signature.dialects"


def _bearer(loaded: Loaded, now: int) -> Iterator[str]:
    """Find an end that has come, comes soon, or is none; and whom the guard would refuse instead of the host."""
    if BEARER not in loaded.settings.signature.dialects:
        return
    left = -((now - bearer_end(loaded.settings)) // _DAY)
    if left <= 0:
        yield "bearer.until: it is over, and keys that are sent along are refused; take bearer out of signature"
    elif left <= 30:
        yield f"bearer.until: days left in which keys may be sent along: {left}; move their holders to signing"
    elif left > 366:
        yield "bearer.until: more than a year away; nobody moves to signing before an end that is so far"
    coexisting = any(row.coexist is not None for row in Operations(loaded.settings.operations).all)
    if coexisting and loaded.settings.bearer.header.lower() == "authorization":
        yield (
            "bearer.header: operations coexist; if your own authentication reads Authorization: Bearer, too, its "
            "requests are refused here: name another field"
        )


def _opens(scopes: Iterable[str], asked: frozenset[str]) -> bool:
    return any(not missing_scopes(frozenset(scopes), frozenset({scope})) for scope in asked)
