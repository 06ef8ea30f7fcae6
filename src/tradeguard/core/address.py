"""Network addresses: read strictly, normalised once, matched as integers."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from tradeguard.core.errors import ConfigError

_REMEMBERED = 4096  # parsed addresses and networks kept; a fixed number, whoever connects
_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96 (RFC 4291, 2.5.5.2)


class Address(NamedTuple):
    """A network address. v4-mapped IPv6 is IPv4.

    `source` names the party behind it: the address itself, or its /64 for IPv6 (one subscriber owns a whole /64).
    """

    version: int
    number: int
    text: str
    source: str

    def __str__(self) -> str:
        return self.text


@lru_cache(_REMEMBERED)
def parse_address(text: str) -> Address | None:
    """Read an address; None for whatever is none, and for one with a zone id."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return None
        if address.ipv4_mapped is None:
            return Address(6, int(address), str(address), str(IPv6Network((int(address) >> 64 << 64, 64))))
        address = address.ipv4_mapped
    return Address(4, int(address), str(address), str(address))


class Networks:
    """An allow list of networks. Empty means: from anywhere.

    Args:
        cidrs: IPv4 or IPv6 networks in CIDR form; host bits set are an error, v4-mapped networks become IPv4.

    Raises:
        ConfigError: naming the entry that is no network.
    """

    __slots__ = ("_ranges", "cidrs")

    def __init__(self, cidrs: Iterable[str] = ()) -> None:
        self.cidrs = tuple(cidrs)
        self._ranges = tuple(_parse_range(cidr) for cidr in self.cidrs)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __contains__(self, address: Address | None) -> bool:
        if address is not None:
            for version, low, high in self._ranges:
                if version == address.version and low <= address.number <= high:
                    return True
        return False

    def __repr__(self) -> str:
        return f"Networks({list(self.cidrs)})"


@lru_cache(_REMEMBERED)
def _parse_range(cidr: str) -> tuple[int, int, int]:
    try:
        network = ip_network(str(cidr))
    except ValueError as error:
        raise ConfigError(f"{cidr!r} is no network: {error}; write it as 203.0.113.0/24 or 2001:db8::/48") from None
    low, high = int(network.network_address), int(network.broadcast_address)
    if network.version == 6 and low >> 32 == _MAPPED >> 32 and network.prefixlen >= 96:
        return 4, low - _MAPPED, high - _MAPPED
    return network.version, low, high
