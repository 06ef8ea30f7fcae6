"""Cross-origin requests: what a browser is told (Fetch, 3.2). Pure; it owns every rule of that.

1.  An origin is allowed by name, whole: scheme, host and port. `*` stands alone and never with credentials, and `null`
    is nobody's: every sandboxed page has it.
2.  A preflight is answered before any proof: browsers send none. What it says is the same for every path, whether there
    is an operation or not: the methods are all that occur in the map. So it tells nothing of the map but that.
3.  An origin or method that is not allowed gets an answer without any field of CORS.
4.  Every other answer to an allowed origin, refusals too, says who may read it, and which fields: ours and `expose`.
5.  Where settings are given, the guard alone speaks: what the application itself says on CORS is left out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from tradeguard.core.errors import ConfigError
from tradeguard.core.request import Headers

Fields = list[tuple[bytes, bytes]]
EXPOSED: Final = ("X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy", "Tradeguard-Code")
"""The fields of ours that a page may read."""
OURS: Final = b"access-control-"
"""How every response field of CORS begins."""
ANY: Final = "*"
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(?:\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([1-9][0-9]{0,4}))?", re.ASCII)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_DEFAULT_PORT: Final = {"http": "80", "https": "443"}
_LONGEST: Final = 86_400  # seconds; no browser remembers a preflight for longer
_ALWAYS: Final = frozenset({"GET", "HEAD", "POST"})  # which browsers allow whatever the answer says
_VARY: Final = (b"vary", b"Origin")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cors:
    """Which pages may call this service from a browser.

    Args:
        origins: such as "https://trade.example"; or "*" alone.
        headers: request fields that a page may send, such as "tg-signature"; Content-Type is one where it is named.
        expose: response fields that a page may read, beside X-Request-Id, Retry-After and the RateLimit fields.
        max_age: how long browsers may remember a preflight, in seconds.
        credentials: cookies and client certificates may be sent along; requests signed by tradeguard need neither.

    Raises:
        ConfigError: what is no origin or field name, or too much at once; the text has the cure.
    """

    origins: Iterable[str]
    headers: Iterable[str] = ()
    expose: Iterable[str] = ()
    max_age: int = 600
    credentials: bool = False
    _allowed: frozenset[bytes] = field(init=False, repr=False, compare=False)
    _common: tuple[tuple[bytes, bytes], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("origins", "headers", "expose"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ConfigError(f"cors: {name} is a list, not the text {value!r}")
            object.__setattr__(self, name, tuple(value))
        _check_origins(tuple(self.origins), credentials=self.credentials)
        for name in (*self.headers, *self.expose):
            if name == ANY or not _TOKEN.fullmatch(name):
                raise ConfigError(f"cors: {name!r} is no name of a field; name each one, such as 'content-type'")
        if type(self.max_age) is not int or not 0 <= self.max_age <= _LONGEST:
            raise ConfigError(f"cors: max_age is a whole number of seconds, 0 to {_LONGEST}, not {self.max_age!r}")
        object.__setattr__(self, "_allowed", frozenset(origin.encode() for origin in self.origins))
        object.__setattr__(self, "_common", self._shared())

    def fields(self, headers: Headers) -> Fields:
        """Return what every answer carries: for an allowed origin who may read it, for any other nothing of that."""
        origin = self._origin(headers)
        vary: Fields = [] if ANY.encode() in self._allowed else [_VARY]
        if origin is None:
            return vary
        exposed = ", ".join((*EXPOSED, *self.expose)).encode()
        return [*vary, *self._says(origin), (b"access-control-expose-headers", exposed)]

    def preflight(self, method: str, headers: Headers, methods: Iterable[str]) -> Fields | None:
        """Return the fields of the answer to a preflight; None where the request is none.

        Args:
            method: of the request.
            headers: of the request.
            methods: all that occur in the map.
        """
        asked = _one(headers, b"access-control-request-method")
        if method != "OPTIONS" or asked is None or b"origin" not in headers or _has_body(headers):
            return None
        origin, allowed = self._origin(headers), _ALWAYS | frozenset(methods)
        vary = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
        if origin is None or asked.decode("latin-1") not in allowed:
            return [vary]
        return [vary, *self._says(origin), (b"access-control-allow-methods", _listed(allowed)), *self._common]

    def _origin(self, headers: Headers) -> bytes | None:
        """Return the origin as the answer names it; None where it is not allowed."""
        origin = _one(headers, b"origin")
        if origin is None:
            return None
        return ANY.encode() if ANY.encode() in self._allowed else origin if origin in self._allowed else None

    def _says(self, origin: bytes) -> Fields:
        credentials = [(b"access-control-allow-credentials", b"true")] if self.credentials else []
        return [(b"access-control-allow-origin", origin), *credentials]

    def _shared(self) -> tuple[tuple[bytes, bytes], ...]:
        """What all answers to allowed preflights share."""
        age = (b"access-control-max-age", b"%d" % self.max_age)
        names = [(b"access-control-allow-headers", _listed(name.lower() for name in self.headers))] * bool(self.headers)
        return (age, *names)


def _check_origins(origins: tuple[str, ...], *, credentials: bool) -> None:
    if not origins:
        raise ConfigError("cors: origins is empty; name the pages that may call, or leave cors out")
    if ANY in origins:
        if credentials or len(origins) > 1:
            raise ConfigError('cors: "*" stands alone and without credentials; name the origins instead')
        return
    for origin in origins:
        match = _ORIGIN.fullmatch(origin)
        if match is None or int(match[2] or 1) > 65_535:
            raise ConfigError(
                f"cors: {origin!r} is no origin; write it as browsers do: 'https://trade.example', lower case, perhaps "
                "with a port, without a path or final slash"
            )
        if match[2] and match[2] == _DEFAULT_PORT.get(match[1]):
            raise ConfigError(f"cors: browsers leave the default port of {origin!r} out; leave it out")


def _one(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of a field that stands once."""
    values = [value for field, value in headers.raw if field == name]
    return values[0] if len(values) == 1 else None


def _has_body(headers: Headers) -> bool:
    return b"transfer-encoding" in headers or any(
        value.strip() != b"0" for name, value in headers.raw if name == b"content-length"
    )


def _listed(names: Iterable[str]) -> bytes:
    return ", ".join(sorted(names)).encode()
