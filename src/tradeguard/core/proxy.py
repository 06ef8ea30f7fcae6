"""Trusted proxies: who is at the other end where a proxy stands in between. Pure; it owns every rule of that.

1.  One header is read, the configured one, and only where the socket's peer is trusted; anybody else made it up.
2.  It is walked from the right, where the trusted proxy wrote. Trusted entries are skipped; the first other one is the
    client. What stands further left was written by the client or for him, and is never looked at.
3.  Where every entry is trusted the left-most is the client: it is what a trusted proxy saw.
4.  An entry on the way that is malformed, hidden (`unknown`, `_x`: RFC 7239, 6) or missing, or a way of more than 32
    entries, leaves the address unknown: it matches no allow list. Failures are then counted against "via" and the
    socket's address: who hides escapes no counting, and can be counted against nobody who does not hide.
5.  The scheme is the socket's, unless the same trusted peer says otherwise: the `proto` of the client's own entry
    (Forwarded), or the one X-Forwarded-Proto.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, NamedTuple, cast, get_args

from tradeguard.core.address import Address, Networks, parse_address
from tradeguard.core.errors import ConfigError
from tradeguard.core.request import Headers, Peer

Forwarding = Literal["x-forwarded-for", "forwarded"]
FORWARDING: Final[tuple[Forwarding, ...]] = get_args(Forwarding)
"""The headers that a proxy may tell the client's address in."""
UNIX: Final = "unix"
_NOBODY: Final = frozenset({"", "localhost"})  # how servers call the peer of a unix socket: waitress says localhost
_MOST: Final = 32  # entries
_LONGEST: Final = 8_192  # bytes of the header's end that are looked at
_PORT: Final = r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]{1,32}))?"
_NODE: Final = re.compile(rf"(?:\[([0-9A-Fa-f:.]{{2,45}})\]|([0-9.]{{7,15}})){_PORT}", re.ASCII)
_BARE: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}", re.ASCII)
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = re.compile(rf'({_WORD})=(?:({_WORD})|"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~])*)")', re.ASCII)
_ESCAPE: Final = re.compile(r"\\(.)", re.ASCII)
_SCHEMES: Final = ("http", "https")


class _Entry(NamedTuple):
    """What one proxy wrote: the address it saw, None where that is not said; and the scheme, where it is."""

    address: Address | None
    scheme: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxies:
    """The proxies that stand in front, and the one header that they write.

    Args:
        header: "x-forwarded-for" or "forwarded" (RFC 7239).
        trusted: networks of the proxies in CIDR form; "unix" for whoever reaches the server's unix socket.

    Raises:
        ConfigError: another header, no proxy, or what is no network; the text has the cure.
    """

    header: Forwarding
    trusted: Iterable[str]
    _networks: Networks = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.header not in FORWARDING:
            raise ConfigError(f"proxies: header is {' or '.join(FORWARDING)}, not {self.header!r}")
        if isinstance(self.trusted, str):
            raise ConfigError(f"proxies: trusted is a list of networks, not the text {self.trusted!r}")
        trusted = tuple(self.trusted)
        if not trusted:
            raise ConfigError('proxies: trusted is empty; list the networks of your proxies, or "unix"')
        networks = Networks(entry for entry in trusted if entry != UNIX)
        for cidr in networks.cidrs:
            if cidr.endswith("/0"):
                raise ConfigError(
                    f"proxies: {cidr} trusts everybody, so anybody could be anyone; list your proxies only"
                )
        object.__setattr__(self, "trusted", trusted)
        object.__setattr__(self, "_networks", networks)

    def trusts(self, peer: Peer) -> bool:
        """Tell whether a peer of the socket is one of the proxies."""
        return UNIX in self.trusted if peer.unix else peer.address in self._networks

    def resolve(self, peer: Peer, scheme: str, headers: Headers) -> tuple[Peer, str]:
        """Return the client and its scheme, as far as trusted proxies tell.

        Args:
            peer: who is at the other end of the socket.
            scheme: of the socket.
            headers: as received.
        """
        if not self.trusts(peer):
            return peer, scheme
        found = self._walk(headers)
        said = (found.scheme if found is not None else "") or self._proto(headers)
        if found is not None and found.address is not None:
            return Peer(found.address), said or scheme
        via = f"via {peer.source or UNIX}"
        return Peer(rewritten=via, via=via), said or scheme

    def _walk(self, headers: Headers) -> _Entry | None:
        name, last = self.header.encode(), None
        read = _read_forwarded if self.header == "forwarded" else _read_plain
        text = ",".join([value.decode("latin-1") for field, value in headers.raw if field == name])
        for place, entry in enumerate(read(text[-_LONGEST:], cut=len(text) > _LONGEST)):
            if place == _MOST or entry.address is None:
                return None
            last = entry
            if entry.address not in self._networks:
                break
        return last

    def _proto(self, headers: Headers) -> str:
        if self.header == "forwarded":
            return ""
        values = [value for name, value in headers.raw if name == b"x-forwarded-proto"]
        said = values[0].decode("latin-1").strip().lower() if len(values) == 1 else ""
        return said if said in _SCHEMES else ""


@lru_cache(4096)
def peer_named(name: str | None) -> Peer:
    """Return the peer that a server names: its address, or that it came by a unix socket."""
    return Peer(unix=True) if name is None or name in _NOBODY else Peer(parse_address(name))


def wrote_peer(headers: Headers, host: str, port: int) -> bool:
    """Tell whether a server took what it calls the peer from X-Forwarded-For: host and port stand there.

    Such a server (uvicorn, by default) says port 0 where the entry has none; that alone gives it away.
    """
    if port == 0:
        return True
    if b"x-forwarded-for" not in headers:
        return False
    values = [value for name, value in headers.raw if name == b"x-forwarded-for"]
    return any((host, port) == _split_port(entry) for value in values for entry in value.decode("latin-1").split(","))


def forwarded_by(headers: Headers) -> str:
    """Return the forwarding header that is there, or ""."""
    if b"x-forwarded-for" in headers:
        return "x-forwarded-for"
    return "forwarded" if b"forwarded" in headers else ""


def _split_port(entry: str) -> tuple[str, int]:
    """Split as such servers do: they leave it to `int`, which takes blanks, signs and underscores too."""
    host, _, port = entry.strip().rpartition(":")
    try:
        return host.removeprefix("[").removesuffix("]"), int(port)
    except ValueError:
        return "", 0


def _read_plain(text: str, *, cut: bool) -> Iterator[_Entry]:
    """Read X-Forwarded-For from the right."""
    more = True
    while more:
        text, comma, entry = text.rpartition(",")
        more = bool(comma)
        yield _Entry(_address(entry.strip(" \t")) if more or not cut else None)


def _read_forwarded(text: str, *, cut: bool) -> Iterator[_Entry]:
    """Read Forwarded from the right. A comma may stand in quotes: the shortest end that is whole is the last entry."""
    more = True
    while more:
        text, comma, entry = text.rpartition(",")
        while _ESCAPE.sub("", entry).count('"') % 2 and comma:
            text, comma, front = text.rpartition(",")
            entry = f"{front},{entry}"
        more = bool(comma)
        yield _parse_forwarded(entry.strip(" \t")) if more or not cut else _Entry(None)


def _parse_forwarded(entry: str) -> _Entry:
    pairs: dict[str, str] = {}
    while entry:
        pair = _PAIR.match(entry)
        if pair is None or pair[1].lower() in pairs:
            return _Entry(None)
        pairs[pair[1].lower()] = pair[2] if pair[2] is not None else _ESCAPE.sub(r"\1", pair[3])
        entry = entry[pair.end() :].lstrip(" \t")
        if entry and not entry.startswith(";"):
            return _Entry(None)
        entry = entry[1:].lstrip(" \t")
    scheme = pairs.get("proto", "").lower()
    return _Entry(_address(pairs.get("for", ""), bare=False), scheme if scheme in _SCHEMES else "")


def _address(node: str, *, bare: bool = True) -> Address | None:
    """Read a node: an address, perhaps with a port; None for `unknown`, `_x` and whatever else it is."""
    match = _NODE.fullmatch(node)
    if match is not None:
        return parse_address(cast("str", match[1] or match[2]))
    return parse_address(node) if bare and _BARE.fullmatch(node) else None
