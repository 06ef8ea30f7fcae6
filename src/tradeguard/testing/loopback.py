"""Loopback: every part of this package is for tests, and whoever loads one serves his own machine only from then on.

What can be known honestly: where this process listens (its own file descriptors), who a peer is, and whether a pytest
test is running.

1.  A process that listens on an address others can reach does not load the package.
2.  One that has loaded it turns every peer away whose address is not loopback, at the door of every guard that a host
    has bound; also a peer whose address is not known (a unix socket, a proxy).
3.  Inside a running pytest test any peer may be claimed, as long as the process listens on loopback only: a test client
    then claims it, nobody reaches in from outside.
"""

import logging
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from ipaddress import ip_address
from typing import Final

from tradeguard.core.address import Networks
from tradeguard.core.errors import ConfigError
from tradeguard.core.premises import close_premises
from tradeguard.core.request import Peer

_OWN: Final = Networks(["127.0.0.0/8", "::1/128"])
_log = logging.getLogger("tradeguard")


def open_listeners() -> list[str]:
    """Return where this process listens so that others can reach it: `address:port`."""
    return [f"{host}:{port}" for host, port in _listeners() if not _is_own(host)]


def _listeners() -> Iterator[tuple[str, int]]:
    """Find the TCP sockets that this process listens on, whoever opened them."""
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # closed meanwhile: one of them is the listing itself
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with closing(socket.socket(fileno=os.dup(int(name)))) as sock:
                    if sock.family in (socket.AF_INET, socket.AF_INET6) and _accepts(sock):
                        yield sock.getsockname()[:2]


def _accepts(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _is_own(host: str) -> bool:
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def admitted(peer: Peer) -> bool:
    """Tell whether a process with parts for tests may serve a peer."""
    return peer.address in _OWN or ("PYTEST_CURRENT_TEST" in os.environ and not open_listeners())


@cache
def only_here() -> None:
    """Serve this machine only, from now on; every file of this package says so when it is loaded.

    Raises:
        ConfigError: others are served already.
    """
    elsewhere = open_listeners()
    if elsewhere:
        raise ConfigError(
            f"tradeguard.testing is for tests, and this process serves {', '.join(elsewhere)}: "
            "take the import out of what runs in production, or listen on 127.0.0.1"
        )
    if "pytest" not in sys.modules:
        _log.warning("tradeguard.testing is loaded, so this process serves its own machine only")
    close_premises(admitted)
