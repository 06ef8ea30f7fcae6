"""`tradeguard keys new`: a key and its secret, shown once."""

import time
from contextlib import ExitStack
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from tradeguard.cli.desk import Desk, open_desk, open_issuer
from tradeguard.cli.options import FILE, TIME, together, with_actor, with_config, with_json
from tradeguard.cli.record import document, fields
from tradeguard.cli.screen import Screen, Stop, lay_out
from tradeguard.cli.secret import Handover, read_proof, read_public_key, with_secret_out
from tradeguard.config import Settings
from tradeguard.config.rules import DIALECTS, bearer_end, bearer_fields
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.principal import UNRESTRICTED, Restrictions
from tradeguard.keys.format import Env
from tradeguard.keys.issuer import Issued, Issuer
from tradeguard.keys.kind import find_kind
from tradeguard.keys.text import show_time
from tradeguard.signing.bearer import BEARER, BEARER_SHA256
from tradeguard.signing.material import HMACS, PAIRS

_SHOWN: Final = ("id", "state", "owner", "dialect", "algorithm", "scopes", "by roles", "networks", "expires")


class _Money(click.ParamType[Decimal]):
    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Read a decimal number."""
        try:
            return Decimal(value)
        except InvalidOperation:
            self.fail(f"{value!r} is no amount of money", param, ctx)


class _Dialect(click.ParamType[str]):
    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a built-in one; those of the configuration are found when it is read."""
        return [CompletionItem(name) for name in DIALECTS if name.startswith(incomplete)]


with_possession: Final = together(
    click.option("--public-key", type=FILE, help="The client's own public key: PEM, or base64."),
    click.option("--proof", type=FILE, help="What `tradeguard sign possession` printed for the client."),
)
_with_holder: Final = together(
    click.option("--owner", required=True, help="Who will hold the key."),
    click.option("--scope", "scopes", multiple=True, help="What it may do. May be given again."),
    click.option("--role", "roles", multiple=True, help="A named set of scopes. May be given again."),
    click.option("--account", default="", help="What it acts on. [default: the owner]"),
    click.option("--parent", default="", help="The account above a sub-account."),
    click.option("--on-behalf-of", default="", help="For whom the owner acts."),
    click.option("--label", default="", help="What the owner calls it."),
    click.option("--tier", default="", help="Its tier, as the policy names it."),
    click.option("--network", "networks", metavar="CIDR", multiple=True, help="From where only. May be given again."),
    click.option("--expires", type=TIME, help="Its end: 90d, 2027-01-31 or 2027-01-31T12:00:00Z."),
    click.option("--not-before", type=TIME, help="Its beginning, written likewise."),
    click.option("--binding", default="", help="The client certificate it is bound to; carried, not yet enforced."),
)
_with_limits: Final = together(
    click.option(
        "--only-account", "accounts", multiple=True, help="A sub-account that it may act on. May be given again."
    ),
    click.option(
        "--only-symbol", "symbols", multiple=True, help="An instrument that it may trade. May be given again."
    ),
    click.option(
        "--only-side",
        "sides",
        type=click.Choice(["buy", "sell"]),
        multiple=True,
        help="A side that it may trade. May be given again.",
    ),
    click.option("--max-order-notional", "order_notional", type=_Money(), help="Most money in one order."),
    click.option("--max-day-notional", "day_notional", type=_Money(), help="Most money in a UTC day."),
)
_LIMITS: Final = ("accounts", "symbols", "sides", "order_notional", "day_notional")


@click.command("new")
@_with_holder
@click.option(
    "--dialect",
    type=_Dialect(),
    default="tg1",
    show_default=True,
    help="How it signs, as `tradeguard dialects` or the configuration names it; bearer: its secret is sent along.",
)
@click.option(
    "--algorithm",
    type=click.Choice([*HMACS, *PAIRS, BEARER_SHA256]),
    help="What it signs with. [default: that of --public-key, else the first that the dialect has]",
)
@with_possession
@_with_limits
@click.option(
    "--env", type=click.Choice(["live", "test"]), default="live", show_default=True, help="What id and secret say."
)
@click.option("--count", type=click.IntRange(1), default=1, help="So many keys; with --json one line for each.")
@with_secret_out
@with_actor
@with_config
@with_json
def keys_new(
    *,
    screen: Screen,
    config: str | None,
    dialect: str,
    algorithm: str | None,
    public_key: str | None,
    proof: str | None,
    env: Env,
    count: int,
    secret_out: str | None,
    **given: Any,
) -> None:
    """Issue a key and show its secret, once.

    The secret is what the client signs with. Where the algorithm has key pairs (ed25519, rsa-..., ecdsa-...) it is the
    private key; a client that makes its own pair gives --public-key and --proof instead, and nobody else ever has its
    private key. Some dialects have a passphrase beside the secret; it is made and shown too.

    The secret of a bearer key is sent along with every request. Its SHA-256 is kept, and nothing is signed: such keys
    are for clients that cannot sign yet, until the day that bearer.until of the configuration names.

    What --only-... and --max-... say is carried with the key, and not enforced yet.
    """
    _check(public_key, proof, count)
    given["restrictions"] = Restrictions(**{name: given.pop(name) for name in _LIMITS})
    if public_key is not None and proof is not None:
        given |= {"public_key": read_public_key(public_key), "proof": read_proof(proof)}
    with ExitStack() as opened:
        desk = opened.enter_context(open_desk(config, screen))
        issuer = opened.enter_context(open_issuer(desk, env))
        algorithm = _choose(issuer, dialect, algorithm, **given)
        out = opened.enter_context(Handover(screen, secret_out))
        for _ in range(count):
            issued = _issue(issuer, dialect=dialect, algorithm=algorithm, **given)
            show_issued(screen, out, issued, many=count > 1, cure=f"revoke it: {_revoke(issued)}")
        _warn(screen, desk, dialect, given["restrictions"])


def show_issued(screen: Screen, out: Handover, issued: Issued, *, many: bool, cure: str) -> None:
    """Show a key that was just made; see `Handover.give`."""
    now = time.time_ns()
    shown = fields(issued.record, now)
    lines = lay_out({name: shown.get(name, "") for name in _SHOWN})
    out.give(issued, document(issued.record, now), lines, many=many, cure=cure)


def _choose(
    issuer: Issuer,
    dialect: str,
    algorithm: str | None,
    networks: tuple[str, ...],
    public_key: bytes | None = None,
    **_: Any,
) -> str:
    """Return the algorithm of the key.

    Raises:
        UsageError: there is no such dialect, it does not have the algorithm, or servers would refuse all its keys that
            are not held to networks.
    """
    try:
        found = find_kind(dialect, issuer.rows)
        chosen = found.choose(algorithm or "", public_key)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    if found.bound and not networks:
        raise click.UsageError(
            f"{dialect} leaves bodies or times unsigned, so servers refuse a key that is good from anywhere "
            "(signature.unbound); say from where with --network, such as --network 203.0.113.0/24"
        )
    return chosen


def _issue(issuer: Issuer, **given: Any) -> Issued:
    try:
        return drive(issuer.issue(**given))
    except ConfigError as error:  # its text names the id that the key would have had
        raise Stop(f"{error}. No key was made") from None


def _check(public_key: str | None, proof: str | None, count: int) -> None:
    if (public_key is None) != (proof is None):
        raise click.UsageError("--public-key and --proof go together: `tradeguard sign possession` makes the proof")
    if public_key is not None and count > 1:
        raise click.UsageError("--count is for keys that are made here; one public key makes one key")


def _revoke(issued: Issued) -> str:
    return f"tradeguard keys revoke {issued.record.id} --yes"


def _warn(screen: Screen, desk: Desk, dialect: str, restrictions: Restrictions) -> None:
    if restrictions != UNRESTRICTED:
        screen.note("Note: accounts, symbols, sides and notionals are carried with the key and not enforced yet.")
    if dialect not in desk.loaded.settings.signature.dialects:
        screen.note(f"Warning: servers do not take {dialect} yet; add it to signature.dialects of the configuration.")
    elif dialect == BEARER:
        screen.note(_say_how(desk.loaded.settings))


def _say_how(settings: Settings) -> str:
    """Return how a bearer key is sent along, and until when."""
    end = bearer_end(settings)
    if end <= time.time_ns():
        return f"Warning: servers refuse such keys since {show_time(end)}; see bearer.until of the configuration."
    return f"It is sent as {bearer_fields(settings).replace(chr(10), ', ')}, over HTTPS, until {show_time(end)}."
