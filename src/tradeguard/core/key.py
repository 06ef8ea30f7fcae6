"""KeyRecord: what we know of an API key. Material: its secret or public half, as something that verifies."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args, runtime_checkable

from tradeguard.core.address import Networks
from tradeguard.core.errors import ConfigError
from tradeguard.core.principal import Principal, Scope

KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
KeyState = Literal["pending", "active", "retiring", "suspended", "revoked", "compromised"]


@runtime_checkable
class Material(Protocol):
    """A key's secret or public half. It may live elsewhere (an HSM), so asking it is asynchronous."""

    @property
    def algorithm(self) -> str:
        """The one algorithm this material is for."""
        ...

    def fingerprint(self, salt: bytes) -> bytes:
        """Identify the material under a secret salt: equal for equal material, meaningless to others."""
        ...

    async def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether the signature is this key's over the message; the work does not depend on the answer."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class KeyRecord:
    """An API key: one dialect, one algorithm, what it may do and from where. Immutable; a change is a new version.

    Args:
        id: public, 1 to 128 of `A-Za-z0-9_-`.
        dialect: how its requests are signed, for example "tg1".
        material: what verifies them; it decides the algorithm.
        scopes: what it may do; exact names of the vocabulary.
        owner: who holds it. account: what it acts on; the owner where none is given.
        tier: names its quotas.
        networks: CIDR allow list; empty means from anywhere.
        state: only `active` and `retiring` keys verify.
        not_before, expires: ns UTC, or None.
        version: grows with each change.

    `principal` is who its requests are found to come from.

    Raises:
        ConfigError: naming the field and the cure.
    """

    id: str
    dialect: str
    material: Material
    scopes: Iterable[Scope]
    owner: str = ""
    account: str = ""
    tier: str = ""
    networks: Iterable[str] = ()
    state: KeyState = "active"
    not_before: int | None = None
    expires: int | None = None
    version: int = 1
    principal: Principal = field(init=False)

    def __post_init__(self) -> None:
        if not KEY_ID.fullmatch(self.id):
            raise ConfigError(f"key id {self.id!r}: use 1 to 128 of A-Z a-z 0-9 _ -")
        if isinstance(self.scopes, str) or isinstance(self.networks, str):
            raise ConfigError(f"key {self.id}: scopes and networks are collections, not a text")
        if self.state not in get_args(KeyState):
            raise ConfigError(
                f"key {self.id}: unknown state {self.state!r}; use one of {', '.join(get_args(KeyState))}"
            )
        principal = Principal(
            id=self.owner or self.id,
            key_id=self.id,
            account=self.account or self.owner or self.id,
            scopes=frozenset(self.scopes),
            networks=Networks(self.networks),
            tier=self.tier,
            expires=self.expires,
            version=self.version,
        )
        object.__setattr__(self, "principal", principal)

    @property
    def algorithm(self) -> str:
        """The one algorithm of this key, as its material has it."""
        return self.material.algorithm

    def usable(self, at: int) -> bool:
        """Tell whether the key verifies at a time (ns UTC): active or retiring, and inside its validity."""
        return (
            self.state in ("active", "retiring")
            and (self.not_before is None or self.not_before <= at)
            and (self.expires is None or at < self.expires)
        )

    def __repr__(self) -> str:
        return (
            f"KeyRecord(id={self.id!r}, dialect={self.dialect!r}, algorithm={self.algorithm!r}, state={self.state!r})"
        )
