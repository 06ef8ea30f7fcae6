"""Attempts: what all clients share. A request, signed afresh each time it goes out, and for one origin only.

1.  Time and nonce are made here, so an attempt that is signed again is a new message.
2.  A signer belongs to the first origin it signs for, unless one is given: nothing is signed for another, so a redirect
    does not carry a credential away.
3.  A dialect that signs parameters puts them last; those of an earlier attempt are taken out first.
"""

import re
import time
from typing import Any, Final
from urllib.parse import urlsplit

from tradeguard.core.errors import ConfigError
from tradeguard.signing.row import Parameter, Row
from tradeguard.signing.signer import Outgoing, Signer

_PORTS: Final = {"http": ":80", "https": ":443"}


class Attempts:
    """Signs what a client is about to send.

    Args:
        signer: holds the key.
        origin: such as "https://api.example"; None for that of the first request.

    Raises:
        ConfigError: the origin is none.
    """

    def __init__(self, signer: Signer, origin: str | None = None) -> None:
        self.row, self._signer = signer.row, signer
        self._origin = {} if origin is None else {"": _read_origin(origin)}
        self._earlier = _find_earlier(signer.row)

    def sign(self, url: str, request: Outgoing) -> Outgoing:
        """Return one attempt with its credential.

        Args:
            url: where it goes; only its origin counts.
            request: as it goes out. `authority` is the Host field, or empty where it follows from the URL.

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
        request = request._replace(authority=host)
        if self._earlier is not None:
            target, body = (self._earlier.sub(b"", text) for text in (request.target, request.body))
            request = request._replace(target=target, body=body)
        return self._signer.sign(request, time.time_ns())


def read_all(value: Any) -> bytes:
    """Return the bytes of a value that a client took: bytes, text, nothing, a file or an iterator; it is read once."""
    parts = value.read() if hasattr(value, "read") else value
    if isinstance(parts, str):
        return parts.encode()
    return parts if isinstance(parts, bytes) else b"".join(read_all(part) for part in parts or ())


def _find_earlier(row: Row) -> re.Pattern[bytes] | None:
    """Return what finds the credential that an earlier attempt left in a query or a form."""
    if not (isinstance(row.time, Parameter) and isinstance(row.signature, Parameter)):
        return None
    names = re.escape(row.time.name), re.escape(row.signature.name)
    return re.compile(rb"(?:\A|(?<=\?)|&)%s=[0-9]+&%s=[^&]*\Z" % names)


def _read_origin(url: str) -> str:
    place = urlsplit(url)
    scheme = place.scheme.lower().replace("ws", "http")  # a WebSocket begins as a request
    authority = place.netloc.rpartition("@")[2].lower()
    if scheme not in _PORTS or not authority:
        raise ConfigError(f"{scheme}://{authority} is no origin; write https://host or https://host:port")
    return f"{scheme}://{authority.removesuffix(_PORTS[scheme])}"
