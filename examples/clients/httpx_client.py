"""A client on httpx2 (or httpx): signs one request, sends it, prints the answer.

API_KEY=demo API_SECRET=... python examples/clients/httpx_client.py POST http://127.0.0.1:8000/orders '{"quantity": 1}'
"""

import os
import sys

import httpx2

from tradeguard import TG1, Signer
from tradeguard.clients.httpx import TradeguardAuth


class SigningTransport(httpx2.BaseTransport):
    """Signs below a transport that sends again by itself: `AnyRetryTransport(SigningTransport(auth))`.

    Args:
        auth: signs.
        below: sends.
    """

    def __init__(self, auth: TradeguardAuth, below: httpx2.BaseTransport | None = None) -> None:
        self._auth, self._below = auth, below or httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sign and send one attempt."""
        request.read()
        return self._below.handle_request(next(self._auth.auth_flow(request)))

    def close(self) -> None:
        """Close what sends."""
        self._below.close()


def main() -> int:
    """Sign, send, print."""
    method, url, text = sys.argv[1], sys.argv[2], "".join(sys.argv[3:4])
    signer = Signer(TG1, os.environ["API_KEY"], os.environ["API_SECRET"].encode())
    fields = {"content-type": "application/json"} if text else {}
    with httpx2.Client(auth=TradeguardAuth(signer)) as client:
        response = client.request(method, url, headers=fields, content=text or None)
    print(response.status_code)
    print(response.text)
    return 0 if response.is_success else 1


if __name__ == "__main__":
    sys.exit(main())
