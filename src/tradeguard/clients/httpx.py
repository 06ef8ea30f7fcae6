"""httpx and httpx2: `Client(auth=TradeguardAuth(signer))`, for clients and async clients alike.

Redirects are followed below an `auth`, from a copy of the request: the credential stands where no copy takes it, in
`request.headers.raw`, and in a form that goes out once.
"""

from collections.abc import Generator
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tradeguard.clients.attempt import Attempts, Signs
from tradeguard.clients.outward import add_fields, make_body
from tradeguard.core.errors import ConfigError
from tradeguard.signing.signer import Outgoing

if TYPE_CHECKING:
    from httpx2 import Auth
else:
    _found = []
    for _name in ("httpx2", "httpx"):
        with suppress(ImportError):
            _found.append(import_module(_name).Auth)
    if not _found:
        raise ConfigError('signing with httpx needs it: pip install "tradeguard[httpx]"')
    Auth = type("Auth", tuple(dict.fromkeys(_found)), {})  # an auth of both, where both are installed


class TradeguardAuth(Auth):
    """Signs what a client of httpx or httpx2 sends.

    Args:
        signer: holds the key.
        origin: the only one that is signed for, such as "https://api.example"; None for that of the first request.
    """

    requires_request_body = True

    def __init__(self, signer: Signs, origin: str | None = None) -> None:
        self._attempts = Attempts(signer, origin)

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Sign one attempt.

        Raises:
            ConfigError: it goes to another origin, or the dialect cannot sign such a body.
        """
        host, kind = (request.headers.get(name, "") for name in ("host", "content-type"))
        target, content = request.url.raw_path, request.content
        out = Outgoing(request.method, host, target, kind.encode(request.headers.encoding), content)
        signed = self._attempts.sign(str(request.url), out, request)
        if signed.target != target:
            request.url = request.url.copy_with(raw_path=signed.target)
        if signed.body != content:
            request.stream = make_body(request.stream, signed.body)
            request.headers["content-length"] = str(len(signed.body))
            request.headers.pop("transfer-encoding", None)
        if signed.content_type != out.content_type:
            request.headers.pop("content-type", None)
            request.headers.update({"content-type": signed.content_type.decode()} if signed.content_type else {})
        request.headers = add_fields(request.headers, signed.headers)
        yield request
