"""Row: one dialect as data. What it covers follows from what it signs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from tradeguard.core.credential import Window
from tradeguard.core.errors import ConfigError
from tradeguard.signing.material import SIGNATURE_BYTES
from tradeguard.signing.refusal import Refusal

REQUIRED_COVERAGE: Final = frozenset({"method", "path", "query", "body", "time"})
"""What a signature must cover unless the operator accepts a row by name."""

Part = Literal[
    "label", "key", "time", "nonce", "method", "authority", "target", "content_type", "body_sha256", "query", "form"
]
_COVERS: Final[Mapping[str, frozenset[str]]] = {
    "key": frozenset({"key"}),
    "time": frozenset({"time"}),
    "nonce": frozenset({"nonce"}),
    "method": frozenset({"method"}),
    "authority": frozenset({"host"}),
    "target": frozenset({"path", "query"}),
    "content_type": frozenset({"content-type"}),
    "body_sha256": frozenset({"body"}),
    "query": frozenset({"query"}),
    "form": frozenset({"body"}),
}


class Header(NamedTuple):
    """A header field, by its lower-case name."""

    name: bytes


class Parameter(NamedTuple):
    """A parameter of the query, or of the form body where there is one."""

    name: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One dialect: where its fields are and what is signed.

    Args:
        name: as key records and operators call it.
        challenge: as WWW-Authenticate says it.
        algorithms: the algorithms a key may have, each with its label in the signed text.
        key, time, nonce, signature: where the fields are. A signature in a parameter is the last one.
        encoding: of the signature.
        unit: of the time and the client's window, in ns.
        message: the signed parts in their order; `query` and `form` are without the signature.
        separator: between them. Parts without one must not be able to shift: `query` and `form` exclude each other.
        window: how far the signed time may be off, in ns.
        width: where a client may give its own past window. widest: its cap, in ns.
        bodyless: methods that carry no body.
        refuse: how a refusal looks to clients of this dialect; problem+json (RFC 9457) by default.
        clock: the member in which they expect the server's time, in `unit`; empty: they know none.

    Raises:
        ConfigError: the row contradicts itself.
    """

    name: str
    challenge: str
    algorithms: Mapping[str, bytes]
    key: Header
    time: Header | Parameter
    nonce: Header | None = None
    signature: Header | Parameter
    encoding: Literal["base64url", "hex"]
    unit: int
    message: tuple[Part, ...]
    separator: bytes
    window: Window
    width: Parameter | None = None
    widest: int = 0
    bodyless: frozenset[str] = frozenset()
    refuse: Refusal | None = None
    clock: str = ""

    def __post_init__(self) -> None:
        unknown = [*(set(self.message) - set(get_args(Part))), *(set(self.algorithms) - set(SIGNATURE_BYTES))]
        if unknown or len(self.message) < 2:
            raise ConfigError(f"dialect {self.name}: {unknown or 'a single part'} cannot be signed")
        if self.separator != b"\n" and (self.separator or set(self.message) != {"query", "form"}):
            raise ConfigError(f"dialect {self.name}: without a newline as separator parts could shift into each other")
        if self.nonce is not None and "nonce" not in self.message:
            raise ConfigError(f"dialect {self.name}: the nonce is not signed, so a replay could carry any")
        in_text = isinstance(self.signature, Parameter)
        signed_text = {"query", "form"} & set(self.message)
        if in_text != isinstance(self.time, Parameter) or signed_text != ({"query", "form"} if in_text else set()):
            raise ConfigError(
                f"dialect {self.name}: time and signature stand both in headers, or both in the signed text"
            )
        if self.width is not None and not in_text:
            raise ConfigError(f"dialect {self.name}: a client's window stands in the signed text")

    @property
    def coverage(self) -> frozenset[str]:
        """The parts of a request that cannot be changed without breaking the signature."""
        covered = frozenset[str]().union(*(_COVERS.get(part, frozenset()) for part in self.message))
        return covered | {"time"} if isinstance(self.time, Parameter) else covered
