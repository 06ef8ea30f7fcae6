"""Rules between the keys of a configuration: what the parts that are built from it would refuse, all of it at once."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

from tradeguard.backends.memory import MemoryKeys
from tradeguard.checks.bearer import Bearer
from tradeguard.checks.connections import Connections
from tradeguard.checks.signature import Signature
from tradeguard.config.faults import Fault, dot, nearest, refusal
from tradeguard.config.quotas import find_faults_of_costs, find_faults_of_quotas, tiers_of
from tradeguard.config.sections import REFER_URL, Served
from tradeguard.config.settings import Settings
from tradeguard.core.cors import Cors
from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.ports import Keys
from tradeguard.core.principal import SCOPES
from tradeguard.core.proxy import Proxies
from tradeguard.signing.bearer import BEARER
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED, CoinbaseAdvanced
from tradeguard.signing.row import Row
from tradeguard.signing.rows import ROWS
from tradeguard.signing.written import RowError, read_row

_TIES: Final = 20  # of rows that say different things about one path, more are not listed
_SECTIONS: Final = frozenset({"roles", "proxies", "cors"})  # of a policy: each has a section of its own
SERVERS: Final = frozenset({"redis", "postgres"})
"""The backends that are servers of their own."""
_TAKES: Final = ("url", "name", "deadline_seconds", "accept_unknown_server")  # what a server takes; the last: Redis
DIALECTS: Final = (*ROWS, COINBASE_ADVANCED.name, BEARER)
"""What signature.dialects may name, beside those that the section dialects describes."""
_DAY: Final = 86_400_000_000_000
_KEYLIKE = re.compile(r"(env|systemd):[A-Za-z0-9_-]{43}", re.ASCII)


def make_policy(settings: Settings) -> Policy:
    """Return the policy that the sections policy and roles describe."""
    limits = _limits(settings)
    return Policy(roles=settings.roles, proxies=make_proxies(settings), cors=make_cors(settings), **limits)


def make_proxies(settings: Settings) -> Proxies | None:
    """Return the trusted proxies that the section network names; None where clients come directly."""
    network = settings.network
    if network.topology == "direct":
        if network.header or network.trusted:
            raise ConfigError(
                'network: header and trusted belong to topology = "proxied"; with "direct" leave them out'
            )
        return None
    if not network.header:
        raise ConfigError(
            'network: "proxied" needs header = "x-forwarded-for" or "forwarded", whichever your proxies write, and '
            "trusted"
        )
    return Proxies(header=network.header, trusted=network.trusted)


def make_cors(settings: Settings) -> Cors | None:
    """Return what the section cors allows; None where it names no origin."""
    cors = settings.cors
    if not cors.origins:
        if cors != type(cors)():
            raise ConfigError("cors: without origins nothing is allowed; name the pages, or leave the section out")
        return None
    return Cors(**cors.model_dump())


def make_connections(settings: Settings) -> list[Connections]:
    """Return the check of connections, as the section connections describes it; none where it gives no number.

    Raises:
        ConfigError: a number is more than what a store counts exactly, or a lease is given to nothing.
    """
    given = settings.connections
    if not (given.key or given.account or given.source):
        if given != type(given)():
            raise ConfigError("Connections: without a number nobody is limited; give key, account or source one")
        return []
    return [Connections(**given.model_dump())]


def own_rows(settings: Settings) -> dict[str, Row]:
    """Return the rows that the section dialects describes, by name.

    Raises:
        ConfigError: one of them is wrong.
    """
    return {name: read_row(name, written) for name, written in settings.dialects.items()}


def make_rows(settings: Settings) -> tuple[Row | CoinbaseAdvanced, ...]:
    """Return the dialects that the section signature names; `bearer` signs nothing, and is none of them."""
    known: dict[str, Row | CoinbaseAdvanced] = {
        **ROWS,
        COINBASE_ADVANCED.name: COINBASE_ADVANCED,
        **own_rows(settings),
    }
    return tuple(known[name] for name in settings.signature.dialects if name != BEARER)


def make_signature(settings: Settings, keys: Keys) -> list[Signature]:
    """Return the check of signatures, as the section signature describes it; none where nothing is signed.

    Raises:
        ConfigError: a dialect covers too little and is not accepted by name.
    """
    rows, accept = make_rows(settings), settings.signature.accept
    if BEARER in settings.signature.dialects and BEARER not in accept:
        raise ConfigError(
            "dialect bearer signs nothing of a request: whoever reads one can send any other in its sender's name; if "
            'the venue\'s clients leave you no choice, add "bearer" to accept'
        )
    return [Signature(keys, rows, [name for name in accept if name != BEARER])] if rows else []


def make_bearer(settings: Settings, keys: Keys, *, plain: bool = False, announce: bool = False) -> list[Bearer]:
    """Return the check of secrets that are sent along, as the section bearer describes it; none where it is not named.

    Args:
        settings: the configuration.
        keys: where key records are found.
        plain, announce: see `Bearer`.
    """
    if BEARER not in settings.signature.dialects:
        return []
    given, until = settings.bearer, bearer_end(settings)
    return [
        Bearer(keys, until=until, accept=given.lanes, header=given.header, key=given.key, plain=plain,
               announce=announce)
    ]  # fmt: skip


def bearer_end(settings: Settings) -> int:
    """Return when keys are no longer sent along, ns UTC: the end of the day that the section bearer names.

    Raises:
        ConfigError: it names none.
    """
    try:
        day = date.fromisoformat(settings.bearer.until)
        return (day - date(1970, 1, 1) + timedelta(days=1)).days * _DAY
    except ValueError:
        missing = "is no day" if settings.bearer.until else "missing"
        raise ConfigError(
            f"bearer.until: {missing}; write the last day on which keys may be sent along, such as 2027-03-31"
        ) from None


def bearer_fields(settings: Settings) -> str:
    """Return the fields in which a key is sent along, a line each, as a client writes them."""
    given = settings.bearer
    scheme = "Bearer " if given.header.lower() == "authorization" else ""
    return (
        f"{given.key}: <id>\n{given.header}: {scheme}<secret>"
        if given.key
        else f"{given.header}: {scheme}<id>.<secret>"
    )


def find_faults(settings: Settings, wrong: frozenset[str]) -> list[Fault]:
    """Return what contradicts itself in the settings.

    Args:
        settings: as far as they could be read.
        wrong: sections that hold defaults because what was written there could not be read.
    """
    return [fault for needs, rule in _RULES if wrong.isdisjoint(needs) for fault in rule(settings)]


def _limits(settings: Settings) -> dict[str, Any]:
    names = [field.name for field in fields(Policy) if field.name not in _SECTIONS]
    return {name: getattr(settings.policy, name) for name in names} | {"tiers": tiers_of(settings)}


def _master_key(settings: Settings) -> Iterator[Fault]:
    if _KEYLIKE.fullmatch(settings.master_key.source):
        yield Fault("master_key.source", "this looks like the master key itself; name the place where it is")


def _state(settings: Settings) -> Iterator[Fault]:
    yield from _server("state", settings.state)
    if settings.state.nodes and settings.state.backend not in SERVERS:
        yield Fault("state.nodes", "belongs to a server that can be lost; leave it out")
    if settings.state.backend in SERVERS and settings.state.meters != type(settings.state)().meters:
        yield Fault("state.meters", "is for sqlite and memory: a server counts as many as it has room for")
    if settings.state.per_key > settings.state.capacity:
        yield Fault("state.per_key", "must not be above state.capacity")


def _network(settings: Settings) -> Iterator[Fault]:
    yield from refusal("network", partial(make_proxies, settings), "network: ")


def _cors(settings: Settings) -> Iterator[Fault]:
    yield from refusal("cors", partial(make_cors, settings), "cors: ")


def _connections(settings: Settings) -> Iterator[Fault]:
    yield from refusal("connections", partial(make_connections, settings), "Connections: ")


def _server(section: str, given: Served) -> Iterator[Fault]:
    """Find what a server needs, and what no other backend takes."""
    if given.backend in SERVERS and not given.url:
        yield Fault(f"{section}.url", f"missing; {REFER_URL}")
    default = type(given)()
    takes = _TAKES if given.backend == "redis" else _TAKES[:-1] if given.backend in SERVERS else ()
    for name in _TAKES:
        if name not in takes and getattr(given, name) != getattr(default, name):
            yield Fault(f"{section}.{name}", f'means nothing with backend = "{given.backend}"; leave it out')


def _keys(settings: Settings) -> Iterator[Fault]:
    yield from _server("keys", settings.keys)
    if settings.keys.poll_seconds >= settings.keys.stale_seconds:
        yield Fault("keys.stale_seconds", "must be above keys.poll_seconds")


def _dialects(settings: Settings) -> Iterator[Fault]:
    for name, written in settings.dialects.items():
        try:
            read_row(name, written)
        except RowError as error:
            for path, text in error.faults:
                yield Fault(dot(["dialects", name, *path]), text)


def _signature(settings: Settings) -> Iterator[Fault]:
    dialects, accept = settings.signature.dialects, settings.signature.accept
    known = (*DIALECTS, *settings.dialects)
    unknown = [
        Fault(
            dot(["signature", "dialects", place]),
            f"no dialect is called {name!r}{nearest(name, known) or '; there are ' + ', '.join(known)}",
        )
        for place, name in enumerate(dialects)
        if name not in known
    ]
    strange = [
        Fault(dot(["signature", "accept", place]), f"{name!r} is none of signature.dialects{nearest(name, dialects)}")
        for place, name in enumerate(accept)
        if name not in dialects
    ]
    yield from unknown + strange
    if not unknown and not strange and not list(_dialects(settings)):
        yield from refusal("signature", partial(make_signature, settings, MemoryKeys()))


def _refusals(settings: Settings) -> Iterator[Fault]:
    name, known = settings.policy.refusals, {*ROWS, *settings.signature.dialects} - {BEARER}
    if name not in ("", *known):
        yield Fault("policy.refusals", f"no dialect is called {name!r}{nearest(name, sorted(known))}")


def _timeless(settings: Settings) -> Iterator[Fault]:
    """Find messages that nothing dates, and a state that forgets at its end which of them were used."""
    if settings.state.backend == "memory":
        for row in make_rows(settings) if not [*_dialects(settings), *_signature(settings)] else ():
            if isinstance(row, Row) and row.timeless:
                yield Fault(
                    "state.backend",
                    f'"memory" forgets at a restart which messages were used, and those of {row.name} have no time: '
                    'take "sqlite" or a server',
                )


def _bearer(settings: Settings) -> Iterator[Fault]:
    given = settings.bearer
    if BEARER in settings.signature.dialects:
        wrong = list(refusal("bearer.until", partial(bearer_end, settings), "bearer.until: "))
        yield from wrong or refusal("bearer", partial(make_bearer, settings, MemoryKeys()), "Bearer: ")
    elif given != type(given)():
        yield Fault(
            "bearer", 'unused; name "bearer" in signature.dialects and signature.accept, or leave the section out'
        )


def _policy(settings: Settings) -> Iterator[Fault]:
    yield from refusal("policy", partial(Policy, **_limits(settings)), "policy: ")


def _roles(settings: Settings) -> Iterator[Fault]:
    for name, scopes in settings.roles.items():
        build = partial(Policy, scopes=settings.policy.scopes, roles={name: scopes})
        yield from refusal(dot(["roles", name]), build, f"role {name!r}: ")


def _operations(settings: Settings) -> Iterator[Fault]:
    """Look at every row by itself, then at those that hold for pairs that contradict each other."""
    for row, asks in settings.operations.items():
        yield from _row(row, asks)
    yield from _ties({row: asks for row, asks in settings.operations.items() if not list(_row(row, asks))})


def _scopes(settings: Settings) -> Iterator[Fault]:
    vocabulary = SCOPES | frozenset(settings.policy.scopes)
    for row, asks in settings.operations.items():
        if not list(_row(row, asks)):
            check = partial(Operations({row: asks}).check_scopes, vocabulary)
            yield from refusal(dot(["operations", row]), check, f"operation {row!r}: ")


def _row(row: str, asks: Any) -> Iterator[Fault]:
    return refusal(dot(["operations", row]), partial(Operations, {row: asks}), f"operation {row!r}: ")


def _ties(rows: Mapping[str, Any]) -> Iterator[Fault]:
    """Find the rows that cannot stand beside those before them, each by bisection."""
    names = list(rows)

    def refusals(count: int) -> list[Fault]:
        return list(refusal("", lambda: Operations({name: rows[name] for name in names[:count]})))

    for _ in range(_TIES):
        if not refusals(len(names)):
            return
        place = bisect_left(range(len(names)), 1, key=lambda count: len(refusals(count + 1)))
        [fault] = refusals(place + 1)
        yield fault._replace(key=dot(["operations", names.pop(place)]))


_RULES: Final[tuple[tuple[frozenset[str], Callable[[Settings], Iterator[Fault]]], ...]] = (
    (frozenset({"master_key"}), _master_key),
    (frozenset({"network"}), _network),
    (frozenset({"cors"}), _cors),
    (frozenset({"connections"}), _connections),
    (frozenset({"state"}), _state),
    (frozenset({"keys"}), _keys),
    (frozenset({"dialects"}), _dialects),
    (frozenset({"signature", "bearer"}), _bearer),
    (frozenset({"signature", "dialects"}), _signature),
    (frozenset({"signature", "dialects", "state"}), _timeless),
    (frozenset({"signature", "policy"}), _refusals),
    (frozenset({"policy"}), _policy),
    (frozenset({"policy", "roles"}), _roles),
    (frozenset({"operations"}), _operations),
    (frozenset({"policy", "operations"}), _scopes),
    (frozenset({"quotas", "tiers", "overrides"}), find_faults_of_quotas),
    (frozenset({"policy", "quotas", "tiers", "overrides", "operations"}), find_faults_of_costs),
)
"""Each rule with the sections it looks at."""
