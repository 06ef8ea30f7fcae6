"""requests: `session.auth = TradeguardAuth(signer)` signs when a request is prepared; redirects lose the credential.

urllib3's `Retry` repeats the same message below it: docs/clients.md has the adapter that signs each attempt.
"""

from functools import partial
from typing import Any

from tradeguard.clients.attempt import Attempts, Signs, read_all
from tradeguard.core.errors import ConfigError
from tradeguard.signing.signer import Outgoing

try:
    from requests import PreparedRequest, Response
    from requests.auth import AuthBase
    from urllib3.util import parse_url
except ImportError as error:
    raise ConfigError('signing with requests needs it: pip install "tradeguard[requests]"') from error


class TradeguardAuth(AuthBase):
    """Signs what a session sends.

    Args:
        signer: holds the key.
        origin: the only one that is signed for, such as "https://api.example"; None for that of the first request.
    """

    def __init__(self, signer: Signs, origin: str | None = None) -> None:
        self._attempts = Attempts(signer, origin)

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Sign one attempt.

        Raises:
            ConfigError: it goes to another origin, or the dialect cannot sign such a body.
        """
        url, body = parse_url(r.url or ""), read_all(r.body)  # spelled as urllib3 writes the request line
        host, kind = (read_all(r.headers.get(name)) for name in ("host", "content-type"))
        out = Outgoing(r.method or "GET", host.decode(), url.request_uri.encode(), kind, body)
        signed = self._attempts.sign(url.url, out, r)
        r.url = f"{url.scheme}://{url.netloc}{signed.target.decode()}"
        r.headers.update({name.decode(): value.decode() for name, value in signed.headers})
        if r.body is not None or signed.body != body:
            r.body = signed.body
            r.headers.pop("Transfer-Encoding", None)
            r.headers.pop("Content-Length", None)  # requests writes it anew
        if signed.content_type != kind:
            r.headers.pop("Content-Type", None)
            r.headers.update({"Content-Type": signed.content_type.decode()} if signed.content_type else {})
        forget = partial(_forget, signed=signed, body=body)
        r.register_hook("response", forget)  # type: ignore[no-untyped-call] # pyright: ignore[reportUnknownMemberType]
        return r


def _forget(response: Response, *, signed: Outgoing, body: bytes, **_other: Any) -> None:
    """Take the credential out of what a redirect is about to copy."""
    if response.is_redirect:
        sent = response.request
        for name, _ in signed.headers:
            sent.headers.pop(name.decode(), None)
        if sent.body is not None:
            sent.body = body
            sent.prepare_content_length(body)
