"""What `--dialect` names: a built-in dialect, one of the configuration, or a file with one."""

import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from tradeguard.cli.desk import load
from tradeguard.cli.screen import Unusable
from tradeguard.cli.secret import make_ed25519_key, make_private_key, read_small
from tradeguard.config.file import NAME, VARIABLE
from tradeguard.config.rules import own_rows
from tradeguard.core.errors import ConfigError
from tradeguard.core.secret import Secret
from tradeguard.keys.text import decode_base64
from tradeguard.signing.bearer import BEARER
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED, CoinbaseAdvanced
from tradeguard.signing.coverage import Survey, survey, survey_bearer
from tradeguard.signing.material import ED25519, PAIRS
from tradeguard.signing.private import PrivateKey, find_public, read_private_key
from tradeguard.signing.row import Row
from tradeguard.signing.rows import ROWS
from tradeguard.signing.table import near
from tradeguard.signing.written import read_document

Dialect = Row | CoinbaseAdvanced
BUILT_IN: Final[Mapping[str, Dialect]] = {**ROWS, COINBASE_ADVANCED.name: COINBASE_ADVANCED}
"""Every dialect whose requests are signed, by name."""


class Spoken(click.ParamType[Dialect]):
    """A dialect: the name of a built-in one or of one of the configuration here, or a file with one."""

    name = "name or file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Dialect:
        """Find it; what is found already stays as it is."""
        if not isinstance(value, str):
            found: Dialect = value
            return found
        try:
            return find_dialect(value, None)
        except ConfigError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a built-in one."""
        return [CompletionItem(name) for name in BUILT_IN if name.startswith(incomplete)]


with_dialect: Final = click.option(
    "--dialect",
    type=Spoken(),
    default="tg1",
    show_default=True,
    help="How it is signed: a dialect, or a file with one of your own (./acme.toml).",
)


def find_dialect(name: str, config: str | None) -> Dialect:
    """Return a dialect by its name, or from a file where a path is given.

    Args:
        name: what was asked for; a path holds a "/" or ends in ".toml".
        config: the configuration file; see `find_own`.

    Raises:
        ConfigError: there is none of this name.
        Stop: the file or the configuration cannot be read, or the file does not describe one.
    """
    if "/" in name or name.endswith(".toml"):
        return _read_file(name)
    if name in BUILT_IN:
        return BUILT_IN[name]
    own = find_own(config)
    if name not in own:
        known = (*BUILT_IN, *own)
        hint = near(name, known) or f"; there are {', '.join(known)}"
        raise ConfigError(f"no dialect is called {name!r} (a file is named by its path, such as ./acme.toml){hint}")
    return own[name]


def find_survey(name: str, config: str | None) -> Survey:
    """Return what there is to know of a dialect; `bearer` is one here.

    Raises:
        UsageError: see `find_dialect`.
    """
    try:
        return survey_bearer() if name == BEARER else survey(find_dialect(name, config))
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def find_own(config: str | None) -> Mapping[str, Row]:
    """Return the dialects that the configuration describes; none where there is no configuration.

    Args:
        config: the configuration file; by default the one of TRADEGUARD_CONFIG or of this folder, if there is one.

    Raises:
        Stop: it is wrong.
    """
    if config is None and not os.environ.get(VARIABLE) and not os.path.lexists(NAME):
        return {}
    return own_rows(load(config).settings)


def read_key(secret: bytes, algorithm: str | None, dialect: Dialect) -> Secret | PrivateKey:
    """Return the key that a client's secret is: as the venue gave it out for an HMAC, or a private key.

    Args:
        secret: a text, a PEM, or the 32 bytes of Ed25519 in base64.
        algorithm: of the key, where that is known.
        dialect: that it signs.

    Raises:
        ConfigError: the dialect does not have the algorithm, or the key is of another one.
        UsageError: it is no private key.
    """
    if algorithm is not None and algorithm not in dialect.algorithms:
        raise ConfigError(f"dialect {dialect.name} has no {algorithm}; it has {', '.join(dialect.algorithms)}")
    key = _read_key(secret, algorithm, dialect)
    found = "" if isinstance(key, Secret) else find_public(key).algorithm
    if algorithm is not None and found != (algorithm if algorithm in PAIRS else ""):
        raise ConfigError(f"the key is {f'of {found}' if found else 'no private key'}, and not of {algorithm}")
    return key


def _read_key(secret: bytes, algorithm: str | None, dialect: Dialect) -> Secret | PrivateKey:
    if secret.startswith(b"-----BEGIN"):
        return make_private_key(secret)
    if not isinstance(dialect, Row):
        with suppress(ValueError):  # as that venue writes an Ed25519 key: the 32 bytes, and the public key behind them
            return read_private_key(decode_base64(secret.decode("ascii"))[:32])
    if algorithm == ED25519:
        return make_ed25519_key(secret)
    return make_private_key(secret) if algorithm in PAIRS else Secret(secret)


def _read_file(path: str) -> Row:
    try:
        rows = read_document(tomllib.loads(read_small(path).decode()))
    except UnicodeDecodeError:
        raise Unusable(f"{path}: it is not UTF-8") from None
    except (ConfigError, ValueError, RecursionError) as error:
        raise Unusable(f"{path}: {error}") from None
    if len(rows) != 1:
        raise Unusable(f"{path}: it describes {len(rows)} dialects, and one is meant")
    [row] = rows.values()
    return row
