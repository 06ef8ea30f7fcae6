"""Script: a Lua script in a file beside this one, and a call of it as it goes over the wire."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Final, NamedTuple

_HEAD: Final = "head.lua"


class Call(NamedTuple):
    """One run of a script, ready to be sent but for its first argument: which run of which server it is sent to."""

    script: "Script"
    keys: bytes
    arguments: bytes
    counts: tuple[int, int]

    def packed(self, run: bytes) -> bytes:
        """Return the EVALSHA."""
        return self._pack(b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % self.script.digest, run)

    def unabridged(self, run: bytes) -> bytes:
        """Return the EVAL, which also makes the script known, for a server that has answered that it is not."""
        return self._pack(b"$4\r\nEVAL\r\n" + bulk(self.script.source), run)

    def _pack(self, command: bytes, run: bytes) -> bytes:
        keys, arguments = self.counts
        amount = bulk(b"%d" % keys)
        return b"*%d\r\n%b%b%b%b%b" % (keys + arguments + 4, command, amount, self.keys, bulk(run), self.arguments)


class Script:
    """A script; several files are put together in their order.

    Args:
        source: the Lua text.
    """

    def __init__(self, source: str) -> None:
        self.source = source.encode()
        self.digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()  # what EVALSHA goes by

    def call(self, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Call:
        """Return a call of it."""
        return Call(self, _bulks(keys), _bulks(arguments), (len(keys), len(arguments)))


def read(*names: str) -> str:
    """Return the text of scripts of this folder, one after the other, behind the head that all of a state share."""
    folder = resources.files("tradeguard.backends.redis")
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in (_HEAD, *names))


def bulk(data: bytes) -> bytes:
    """Return bytes as RESP writes them: https://redis.io/docs/latest/develop/reference/protocol-spec/."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _bulks(data: Sequence[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(one), one) for one in data])
