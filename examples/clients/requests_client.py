"""A client on requests: signs each attempt of one request, sends it, prints the answer.

API_KEY=demo API_SECRET=... python examples/clients/requests_client.py GET http://127.0.0.1:8000/orders
"""

import os
import sys
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from tradeguard import TG1, Signer
from tradeguard.clients.requests import TradeguardAuth


class SigningAdapter(HTTPAdapter):
    """Signs each attempt below the retries: mount it at the venue's origin, and leave `session.auth` alone.

    A signature makes a new message of an attempt, so the venue does not see that it is the same order: `retry` names
    the methods that may be sent twice (urllib3 leaves POST out), and must not be widened for orders.

    Args:
        auth: signs.
        retry: says when another attempt may follow; nothing else sends again.
    """

    def __init__(self, auth: TradeguardAuth, retry: Retry) -> None:
        super().__init__(max_retries=0)
        self._auth, self._retry = auth, retry

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request until it is answered, or may not be sent again."""
        retry = self._retry.new()
        while True:
            attempt = self._auth(request.copy())
            attempt.prepare_content_length(attempt.body)
            try:
                response = super().send(attempt, *args, **kwargs)
            except requests.ConnectionError as error:
                reason = getattr(error.args[0], "reason", error.args[0])
                retry = self._after(retry, request, error, error=reason)
                retry.sleep()
                continue
            waits = "retry-after" in response.headers
            if not retry.is_retry(request.method or "", response.status_code, waits):
                return response
            response.close()
            failure = requests.exceptions.RetryError(response=response, request=request)
            retry = self._after(retry, request, failure, response=response.raw)
            retry.sleep(response.raw)

    def _after(
        self, retry: Retry, request: requests.PreparedRequest, failure: requests.RequestException, **why: Any
    ) -> Retry:
        """Count an attempt; raise what requests raises where none may follow."""
        try:
            return retry.increment(request.method, request.url, **why)
        except HTTPError:
            raise failure from None


def main() -> int:
    """Sign, send, print."""
    method, url, text = sys.argv[1], sys.argv[2], "".join(sys.argv[3:4])
    place = urlsplit(url)
    origin = f"{place.scheme}://{place.netloc}"
    signer = Signer(TG1, os.environ["API_KEY"], os.environ["API_SECRET"].encode())
    fields = {"content-type": "application/json"} if text else {}
    with requests.Session() as session:
        session.mount(origin, SigningAdapter(TradeguardAuth(signer, origin), Retry(3, backoff_factor=0.2)))
        response = session.request(method, url, headers=fields, data=text.encode() or None)
    print(response.status_code)
    print(response.text)
    return 0 if response.ok else 1


if __name__ == "__main__":
    sys.exit(main())
