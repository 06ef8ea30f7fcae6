"""KeyKind: what the keys of a dialect are like, as its row says."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from tradeguard.core.errors import ConfigError
from tradeguard.signing.bearer import BEARER, BEARER_SHA256
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED
from tradeguard.signing.coinbase_advanced import NAME as COINBASE
from tradeguard.signing.dialect import Dialect
from tradeguard.signing.material import HMACS, PAIRS, read_public
from tradeguard.signing.row import Row
from tradeguard.signing.rows import ROWS

SPOKEN: Final[Mapping[str, Dialect]] = MappingProxyType({**ROWS, COINBASE: COINBASE_ADVANCED})
"""Every dialect whose requests are signed, by name."""


class KeyKind(NamedTuple):
    """What the keys of a dialect are like.

    `algorithms` is what they may have, the usual one first: an HMAC, where it has one. `secret` is how a client's text
    becomes the key of its HMAC: as it stands, or read as base64. `passphrase` tells whether clients send one beside the
    signature. `bound` tells whether a key is refused that is not held to networks.
    """

    name: str
    algorithms: tuple[str, ...]
    secret: Literal["text", "base64"] = "text"  # noqa: S105 - a kind of secret, not one
    passphrase: bool = False
    bound: bool = False

    def choose(self, algorithm: str = "", public_key: bytes | None = None) -> str:
        """Return the algorithm of a key: the named one, that of a public key, else the usual one.

        Raises:
            ConfigError: the dialect does not have it, or a public key goes with another.
        """
        found = algorithm or (self.algorithms[0] if public_key is None else read_public(public_key).algorithm)
        if found not in self.algorithms:
            raise ConfigError(f"dialect {self.name} has no {found}; it has {', '.join(self.algorithms)}")
        if public_key is not None and found not in PAIRS:
            raise ConfigError(f"a public key is for {', '.join(PAIRS)}; {found} has a secret")
        return found

    def check_passphrase(self, blinded: str, algorithm: str) -> None:
        """Raise `ConfigError` where a passphrase is missing, or is one too many."""
        if bool(blinded) != (self.passphrase and algorithm in HMACS):
            if blinded:
                raise ConfigError(f"the keys of dialect {self.name} with {algorithm} have no passphrase")
            raise ConfigError(f"a key of dialect {self.name} has a passphrase, which its clients send along; give it")


def find_kind(name: str, rows: Mapping[str, Dialect] = SPOKEN) -> KeyKind:
    """Return what the keys of a dialect are like.

    Args:
        name: of the dialect.
        rows: the table of dialects.

    Raises:
        ConfigError: there is none of this name.
    """
    if name == BEARER:
        return KeyKind(BEARER, (BEARER_SHA256,))
    if name not in rows:
        near = get_close_matches(name, (*rows, BEARER), 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join((*rows, BEARER))}"
        raise ConfigError(f"no dialect is called {name!r}{hint}")
    row = rows[name]
    algorithms = tuple(sorted(row.algorithms, key=lambda algorithm: algorithm in PAIRS))
    if not isinstance(row, Row):
        return KeyKind(name, algorithms, bound=row.bound)
    return KeyKind(name, algorithms, row.secret, row.passphrase is not None, row.bound)
