"""Attempts: what all clients share. A request, signed afresh each time it goes out, and for one origin only.

1.  Time and nonce are made here, so an attempt that is signed again is a new message.
2.  A signer belongs to the first origin it signs for, unless one is given: nothing is signed for another, so a redirect
    does not carry a credential away.
3.  An attempt is signed from what the caller gave: what an earlier attempt made of the same request is remembered, and
    put back first. Of a request that came another way, the parameters are taken out that a signer puts last.
"""

import re
import time
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from tradeguard.core.errors import ConfigError
from tradeguard.signing.row import Parameter, Row
from tradeguard.signing.signer import Outgoing

_PORTS: Final = {"http": ":80", "https": ":443"}


class Signs(Protocol):
    """What signs: a `Signer`, or that of a dialect which fits no row."""

    def sign(self, request: Outgoing, at: int, nonce: bytes | None = None) -> Outgoing:
        """Return the request with its credential."""
        ...


class Attempts:
    """Signs what a client is about to send.

    Args:
        signer: holds the key, in any dialect.
        origin: such as "https://api.example"; None for that of the first request.

    Raises:
        ConfigError: the origin is none.
    """

    def __init__(self, signer: Signs, origin: str | None = None) -> None:
        row = getattr(signer, "row", None)
        self.row, self._signer = row if isinstance(row, Row) else None, signer
        self._origin = {} if origin is None else {"": _read_origin(origin)}
        self._earlier = _find_earlier(self.row) if self.row is not None else None
        self._made: WeakKeyDictionary[Any, tuple[Outgoing, Outgoing]] = WeakKeyDictionary()

    def sign(self, url: str, request: Outgoing, of: object = None) -> Outgoing:
        """Return one attempt with its credential.

        Args:
            url: where it goes; only its origin counts.
            request: as it goes out. `authority` is the Host field, or empty where it follows from the URL.
            of: the client's own request: an attempt of the same one is signed from what it was at first.

        Raises:
            ConfigError: the URL has another origin than those before, or the dialect cannot sign such a body.
        """
        origin = _read_origin(url)
        mine = self._origin.setdefault("", origin)
        if origin != mine:
            raise ConfigError(
                f"this signer is for {mine}, so nothing is signed for {origin}; make one for each of them"
            )
        scheme, _, authority = origin.partition("://")
        host = request.authority.lower().removesuffix(_PORTS[scheme]) or authority
        request = self._restore(request._replace(authority=host), of)
        if self._earlier is not None:
            target, body = (self._earlier.sub(b"", text) for text in (request.target, request.body))
            request = request._replace(target=target, body=body)
        signed = self._signer.sign(request, time.time_ns())
        if of is not None:
            self._made[of] = signed, request
        return signed

    def _restore(self, request: Outgoing, of: object) -> Outgoing:
        """Return the request with what an earlier attempt made of it put back; what was changed since then stays."""
        if of is None or of not in self._made:
            return request
        signed, first = self._made[of]
        same = {
            name: getattr(first, name)
            for name in ("target", "content_type", "body")
            if getattr(request, name) == getattr(signed, name)
        }
        return request._replace(**same)


def read_all(value: Any) -> bytes:
    """Return the bytes of a value that a client took: bytes, text, nothing, a file or an iterator; it is read once."""
    parts = value.read() if hasattr(value, "read") else value
    if isinstance(parts, str):
        return parts.encode()
    return parts if isinstance(parts, bytes) else b"".join(read_all(part) for part in parts or ())


def _find_earlier(row: Row) -> re.Pattern[bytes] | None:
    """Return what finds the credential that an earlier attempt left in a query or a form: as the signer puts it."""
    if not row.in_text:
        return None
    places = (row.key, row.time, row.nonce, *(place for place, _ in (*row.binds, *row.constants)), row.signature)
    names = [re.escape(place.name) for place in places if isinstance(place, Parameter)]
    return re.compile(rb"(?:\A|(?<=\?)|&)" + b"&".join(b"%s=[^&?]*" % name for name in names) + rb"\Z")


def _read_origin(url: str) -> str:
    place = urlsplit(url)
    scheme = place.scheme.lower().replace("ws", "http")  # a WebSocket begins as a request
    authority = place.netloc.rpartition("@")[2].lower()
    if scheme not in _PORTS or not authority:
        raise ConfigError(f"{scheme}://{authority} is no origin; write https://host or https://host:port")
    return f"{scheme}://{authority.removesuffix(_PORTS[scheme])}"
