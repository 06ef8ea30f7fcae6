"""KeyRecord: what we know of an API key. Material: its secret or public half, as something that verifies.

KeyRow is a record as a store keeps it; Mark and Changes are how somebody follows a store.
"""

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol, get_args, runtime_checkable

from tradeguard.core.address import Networks
from tradeguard.core.errors import ConfigError, KeyConflict
from tradeguard.core.principal import UNRESTRICTED, Principal, Restrictions, Scope, read_names

KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
TOKEN: Final = (string.ascii_letters + string.digits + "_-").encode()  # the bytes of a key id
KeyState = Literal["pending", "active", "retiring", "suspended", "revoked", "compromised"]
_BLINDED = re.compile(r"(?:[0-9a-f]{64})?", re.ASCII)
_BINDING = re.compile(r"(?:spki-sha256:[0-9a-f]{64}|spiffe://[!-~]{1,240})?", re.ASCII)
_SHAPES: Final = (
    ("binding", _BINDING, "spki-sha256:<64 hex digits> or spiffe://<id>"),
    ("passphrase", _BLINDED, "the 64 hex digits of Hmac.blind(passphrase)"),
)
_TEXTS: Final = (
    "dialect", "owner", "account", "parent", "on_behalf_of", "label", "tier", "binding", "passphrase", "predecessor",
    "successor", "waiver", "reason", "actor",
)  # fmt: skip
_LONGEST: Final = 256  # characters of such a text


def is_key_id(text: bytes) -> bool:
    """Tell whether bytes are a key id: what `KEY_ID` says of text, faster."""
    return 0 < len(text) <= 128 and not text.translate(None, TOKEN)


def key_number(id: str) -> str:
    """Return the name of the number (see `Below`) that holds the last version of a key that is no longer valid."""
    return f"key:{id}"


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


@runtime_checkable
class Storable(Protocol):
    """Material that a store can keep."""

    def reveal(self) -> bytes:
        """Return what is kept: the secret itself, or the public half."""
        ...


class KeyRow(NamedTuple):
    """A key record as a store keeps it, opaque to the store.

    `version` 1 is a new key, any other the successor of the version before it. `fingerprint` is unique over all rows.
    `fields` is the record without its material, `sealed` the material, `mac` what holds all of them together.
    """

    id: str
    version: int
    fingerprint: bytes
    fields: bytes
    sealed: bytes
    mac: bytes


class Mark(NamedTuple):
    """How far somebody has followed a store: the epoch of the store, and the number of its latest change."""

    epoch: str
    number: int


class Changes(NamedTuple):
    """What has changed since a mark: these ids, or anything (None)."""

    mark: Mark
    ids: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class KeyRecord:
    """An API key: one dialect, one algorithm, what it may do and from where. Immutable; a change is a new version.

    Args:
        id: public, 1 to 128 of `A-Za-z0-9_-`.
        dialect: how its requests are signed, for example "tg1".
        material: what verifies them; it decides the algorithm.
        scopes: what it may do; exact names of the vocabulary.
        roles: named sets of scopes, as the policy has them. granted: the scopes that they give; a store fills it in.
        owner: who holds it. account: what it acts on; the owner where none is given.
        parent: the account above a sub-account. on_behalf_of: for whom the owner acts.
        label: what the owner calls it.
        tier: names its quotas.
        networks: CIDR allow list; empty means from anywhere.
        restrictions: what it is held to beyond its scopes.
        passphrase: what is kept of one that clients send beside the signature: HMAC-SHA256 of it under the secret, 64
            hex digits; empty where the dialect has none.
        binding: the client certificate it is bound to: "spki-sha256:" and 64 hex digits, or a "spiffe://" id. Carried,
            not yet enforced.
        state: only `active` and `retiring` keys verify.
        created, not_before, expires: ns UTC, or None.
        predecessor, successor: ids, where it was rotated.
        waiver: why it may hold `funds:withdraw` without what that takes; empty for all but imported keys.
        reason, actor: why and by whom this version was made.
        version: grows by one with each change.

    `principal` is who its requests are found to come from.

    Raises:
        ConfigError: naming the field and the cure.
    """

    id: str
    dialect: str
    material: Material
    scopes: Iterable[Scope]
    roles: Iterable[str] = ()
    granted: Iterable[Scope] = ()
    owner: str = ""
    account: str = ""
    parent: str = ""
    on_behalf_of: str = ""
    label: str = ""
    tier: str = ""
    networks: Iterable[str] = ()
    restrictions: Restrictions = UNRESTRICTED
    passphrase: str = ""
    binding: str = ""
    state: KeyState = "active"
    created: int | None = None
    not_before: int | None = None
    expires: int | None = None
    predecessor: str = ""
    successor: str = ""
    waiver: str = ""
    reason: str = ""
    actor: str = ""
    version: int = 1
    principal: Principal = field(init=False)

    def __post_init__(self) -> None:
        if not KEY_ID.fullmatch(self.id):
            raise ConfigError(f"key id {self.id!r}: use 1 to 128 of A-Z a-z 0-9 _ -")
        for name in ("scopes", "roles", "granted", "networks"):
            names = read_names(getattr(self, name))
            if names is None:
                raise ConfigError(f"key {self.id}: {name} is a collection, not a text, and holds texts")
            object.__setattr__(self, name, names if name == "networks" else frozenset(names))
        self._check_texts()
        for name in ("created", "not_before", "expires", "version"):
            number = getattr(self, name)
            if type(number) is not int and (number is not None or name == "version"):
                raise ConfigError(f"key {self.id}: {name} is a whole number")
        if self.state not in get_args(KeyState):
            raise ConfigError(
                f"key {self.id}: unknown state {self.state!r}; use one of {', '.join(get_args(KeyState))}"
            )
        object.__setattr__(self, "principal", self._make_principal())

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

    def _check_texts(self) -> None:
        for name in _TEXTS:
            text = getattr(self, name)
            if not (isinstance(text, str) and len(text) <= _LONGEST and text.isprintable()):
                raise ConfigError(f"key {self.id}: {name} takes at most {_LONGEST} printable characters")
        for name, shape, cure in _SHAPES:
            if not shape.fullmatch(getattr(self, name)):
                raise ConfigError(f"key {self.id}: {name} is {cure}")

    def _make_principal(self) -> Principal:
        return Principal(
            id=self.owner or self.id,
            key_id=self.id,
            account=self.account or self.owner or self.id,
            scopes=frozenset(self.scopes) | frozenset(self.granted),
            networks=Networks(self.networks),
            tier=self.tier,
            expires=self.expires,
            version=self.version,
            on_behalf_of=self.on_behalf_of,
            roles=frozenset(self.roles),
            restrictions=self.restrictions,
        )

    def __repr__(self) -> str:
        return (
            f"KeyRecord(id={self.id!r}, dialect={self.dialect!r}, algorithm={self.algorithm!r}, state={self.state!r})"
        )


def check_next(record: KeyRecord, stored: KeyRecord | None, owner: str | None) -> None:
    """Hold a record against the stored one that it follows, and against the key that its material belongs to, if any.

    Raises:
        KeyConflict: the id or the material is taken, or the version before is not the stored one.
    """
    if owner not in (None, record.id):
        raise KeyConflict(f"key {record.id} has the secret of key {owner}: what one signed, the other would accept")
    if stored is None and record.version != 1:
        raise KeyConflict(f"key {record.id} is not known, so there is no version {record.version - 1} to follow")
    if stored is not None and record.version == 1:
        raise KeyConflict(f"key {record.id} exists; give the new one an id of its own")
    if stored is not None and owner is None:
        raise KeyConflict(f"key {record.id} keeps the secret that it was made with; rotate it instead")
    if stored is not None and stored.version != record.version - 1:
        raise KeyConflict(f"key {record.id} was changed meanwhile: version {stored.version} is stored; look again")
