"""SignedClient: requests through the test client of a framework, each signed by the clock of the test."""

import json
from typing import Any, Final

from tradeguard.core.errors import ConfigError
from tradeguard.core.runtime import Clock
from tradeguard.signing.signer import Outgoing, Signer
from tradeguard.testing.loopback import only_here
from tradeguard.testing.still import StillClock

only_here()
AUTHORITY: Final = "testserver"
_JSON: Final = "application/json"
_NOTHING: Final = object()


class SignedClient:
    """Signs and sends requests.

    Args:
        client: the test client of Starlette (and FastAPI), of Flask (werkzeug), or of Django.
        signer: signs, unless a request brings its own; None sends unsigned.
        clock: tells the time that is signed.

    Raises:
        ConfigError: it is none of these clients.
    """

    def __init__(self, client: Any, signer: Signer | None, clock: StillClock | Clock) -> None:
        self.client, self.signer, self.clock = client, signer, clock
        names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(client).__mro__}
        senders = {"starlette.TestClient": self._send, "werkzeug.Client": self._open, "django.Client": self._generic}
        self._sender = next((send for name, send in senders.items() if name in names), self._refuse)
        if self._sender == self._refuse:
            self._refuse()

    def get(self, target: str, **other: Any) -> Any:
        """Send a GET; see `request`."""
        return self.request("GET", target, **other)

    def post(self, target: str, **other: Any) -> Any:
        """Send a POST; see `request`."""
        return self.request("POST", target, **other)

    def put(self, target: str, **other: Any) -> Any:
        """Send a PUT; see `request`."""
        return self.request("PUT", target, **other)

    def delete(self, target: str, **other: Any) -> Any:
        """Send a DELETE; see `request`."""
        return self.request("DELETE", target, **other)

    def request(
        self,
        method: str,
        target: str,
        *,
        json: Any = _NOTHING,
        body: bytes = b"",
        content_type: str = "",
        headers: dict[str, str] | None = None,
        **signing: Any,
    ) -> Any:
        """Send a request; return the response as the test client has it.

        Args:
            method: such as "POST".
            target: path and query, spelled as they go out.
            json: is sent as JSON, in place of a body.
            body: is sent as it is.
            content_type: of the body.
            headers: beside those of the signature.
            signing: `signer`, another than that of the client, or None for an unsigned request; `nonce`.
        """
        return self.send(self.sign(method, target, json=json, body=body, content_type=content_type, **signing), headers)

    def sign(
        self, method: str, target: str, *, json: Any = _NOTHING, body: bytes = b"", content_type: str = "",
        signer: Signer | object | None = _NOTHING, nonce: bytes | None = None,
    ) -> Outgoing:  # fmt: skip
        """Return the request as it would go out: to be sent later, twice, or with something changed (`_replace`)."""
        if json is not _NOTHING:
            body, content_type = _encode(json), content_type or _JSON
        signer = self.signer if signer is _NOTHING else signer
        outgoing = Outgoing(method, AUTHORITY, target.encode(), content_type.encode(), body)
        return signer.sign(outgoing, self.clock.now(), nonce) if isinstance(signer, Signer) else outgoing

    def send(self, request: Outgoing, headers: dict[str, str] | None = None) -> Any:
        """Send a request as it is."""
        fields = {**(headers or {}), **{name.decode(): value.decode() for name, value in request.headers}}
        return self._sender(request, fields)

    def _send(self, request: Outgoing, fields: dict[str, str]) -> Any:
        if request.content_type:
            fields["content-type"] = request.content_type.decode()
        url = f"http://{AUTHORITY}{request.target.decode()}"
        return self.client.request(request.method, url, content=request.body or None, headers=fields)

    def _open(self, request: Outgoing, fields: dict[str, str]) -> Any:
        kind = request.content_type.decode() or None
        return self.client.open(
            request.target.decode(), method=request.method, base_url=f"http://{AUTHORITY}", data=request.body,
            content_type=kind, headers=fields,
        )  # fmt: skip

    def _generic(self, request: Outgoing, fields: dict[str, str]) -> Any:
        kind = request.content_type.decode()
        fields.setdefault("Host", AUTHORITY)  # Django's client sends none
        return self.client.generic(request.method, request.target.decode(), request.body, kind, headers=fields)

    def _refuse(self, *_: Any) -> Any:
        raise ConfigError(f"{type(self.client).__qualname__}: give the test client of Starlette, Flask or Django")


def _encode(value: Any) -> bytes:
    return json.dumps(value).encode()
