"""A port of this machine for a server that must be told one."""

import contextlib
import itertools
import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST, _LAST = 10_000, 32_767
_claims: list[socket.socket] = []


def free_port() -> int:
    """Return a port that nobody listens on, and that nobody else is told before this process has ended.

    The kernel never gives it to a client either: until the server listens, any connection of the machine might be
    given a port that the kernel chose. The claim is the UDP port of the same number, which the tests use for nothing.
    """
    for _ in itertools.repeat(None, 1_000):
        port = random.SystemRandom().randint(_FIRST, _last())
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError), socket.socket() as probe:
            claim.bind(("127.0.0.1", port))
            probe.bind(("127.0.0.1", port))
            _claims.append(claim)
            return port
        claim.close()
    raise AssertionError("no port is free")


def _last() -> int:
    """The last port below those that the kernel chooses from."""
    with contextlib.suppress(OSError):
        return max(int(_RANGE.read_text().split()[0]) - 1, _FIRST + 1_000)
    return _LAST
