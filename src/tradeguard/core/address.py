"""Network addresses: read strictly, normalised once, matched as integers."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tradeguard.core.errors import ConfigError

Address = IPv4Address | IPv6Address
_REMEMBERED = 4096  # parsed addresses kept; a fixed number, whoever connects


@lru_cache(_REMEMBERED)
def parse_address(text: str) -> Address | None:
    """Read an address; v4-mapped IPv6 becomes IPv4 (RFC 4291, 2.5.5.2). None for anything else, zone ids included."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    return None if address.scope_id else address.ipv4_mapped or address


@lru_cache(_REMEMBERED)
def source_of(address: Address) -> str:
    """Name the party behind an address: the address itself, or its /64 for IPv6 (one subscriber owns a whole /64)."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address) >> 64 << 64, 64)))


class Networks:
    """An allow list of networks. Empty means: from anywhere.

    Args:
        cidrs: IPv4 or IPv6 networks in CIDR form; host bits set are an error, v4-mapped networks become IPv4.

    Raises:
        ConfigError: naming the entry that is no network.
    """

    __slots__ = ("_ranges", "cidrs")

    def __init__(self, cidrs: Iterable[str] = ()) -> None:
        networks = [_parse_network(cidr) for cidr in cidrs]
        self.cidrs = tuple(str(network) for network in networks)
        self._ranges = tuple((n.version, int(n.network_address), int(n.broadcast_address)) for n in networks)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __contains__(self, address: Address | None) -> bool:
        if address is None:
            return False
        version, number = address.version, int(address)
        return any(version == v and low <= number <= high for v, low, high in self._ranges)

    def __repr__(self) -> str:
        return f"Networks({list(self.cidrs)})"


def _parse_network(cidr: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(cidr)
    except ValueError as error:
        raise ConfigError(f"{cidr!r} is no network: {error}; write it as 203.0.113.0/24 or 2001:db8::/48") from None
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network
