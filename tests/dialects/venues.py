"""How to make an unmodified ccxt client of a venue, and how to let it make the calls that `catalogue.py` has.

It runs in two interpreters: in the tests' own (today's ccxt), and by `beside.py` in the one beside it, whose ccxt is
old enough to know BitMEX. So it imports nothing of tradeguard.
"""

import asyncio
import base64
import copy
import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from dialects.catalogue import LATEST, OLD, TRICKY, VENUES, Venue
from requests.adapters import HTTPAdapter

__all__ = [
    "LATEST", "OLD", "TRICKY", "VECTORS", "VENUES", "Credentials", "Terminated", "Venue", "credentials_of", "make_ccxt",
    "outcome_of", "perform", "perform_async",
]  # fmt: skip
VECTORS = Path(__file__).parents[1] / "vectors" / "dialects"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A test key as a client holds it: `algorithm` is the row's name of it; `secret` is text, base64 text or PEM."""

    key_id: str
    secret: str
    passphrase: str = ""
    algorithm: str = "hmac-sha256"


def credentials_of(venue: str, algorithm: str = "") -> Credentials:
    """The test key of a venue; the same text every time. Without `algorithm`: its first."""
    row = VENUES[venue]
    algorithm = algorithm or row.algorithms[0]
    seed = hashlib.sha512(f"tradeguard test key of {venue}".encode())
    secret = seed.hexdigest()[:64] if row.secret == "text" else base64.b64encode(seed.digest()).decode()
    key_id = row.key_id if algorithm.startswith("hmac") else f"{row.key_id}-{algorithm}"
    if not algorithm.startswith("hmac"):
        keys = json.loads((VECTORS / "keys.json").read_text())["keys"]
        secret = keys[f"{venue} {algorithm}" if f"{venue} {algorithm}" in keys else algorithm]
    return Credentials(key_id=key_id, secret=secret, passphrase="test pass-phrase 1", algorithm=algorithm)


class Terminated(HTTPAdapter):
    """The TLS terminator before a venue: what the client asked of https:// goes to the same address by http."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        request.url = "http://" + str(request.url).removeprefix("https://")
        return super().send(request, *arguments, **options)


def _moved(urls: Any, base: str) -> Any:
    """ccxt's addresses with another scheme and host; their paths, which are signed, stay."""
    if isinstance(urls, Mapping):
        return {name: _moved(url, base) for name, url in urls.items()}
    return base + urlsplit(urls).path if isinstance(urls, str) else urls


def make_ccxt(
    venue: str, base_url: str, key_id: str, secret: str, passphrase: str = "", *, library: str = "ccxt", **options: Any
) -> Any:
    """An unmodified ccxt client of a venue that asks `base_url` (http://host:port) instead of the venue.

    Only data is set: addresses, credentials, no markets, no rate limit, and `options` of ccxt's constructor.
    `library` may be ccxt.async_support, but not for a venue that must be asked by https.
    """
    row = VENUES[venue]
    given = {"apiKey": key_id, "secret": secret, "password": passphrase, "enableRateLimit": False, **options}
    client = getattr(importlib.import_module(library), row.id)(given)
    base = base_url.replace("http://", "https://") if row.https else base_url
    client.urls["api"] = _moved(client.urls["api"], base)
    if "hostnames" in client.urls:  # HTX signs the host's name; a client keeps it apart from the address
        client.urls["hostnames"] = _hosts(client.urls["hostnames"], urlsplit(base).netloc)
        client.hostname = urlsplit(base).netloc
    client.options.update(row.options)
    client.set_markets([])
    if row.https:
        client.session.mount("https://", Terminated())
    return client


def _hosts(names: Any, host: str) -> Any:
    return {name: _hosts(value, host) for name, value in names.items()} if isinstance(names, Mapping) else host


def outcome_of(call: str, work: Callable[[], Any]) -> dict[str, Any]:
    """What came of a call: {call, raised: names of the exception's classes (its own first), text, value}."""
    try:
        value = work()
    except Exception as error:
        names = [kind.__name__ for kind in type(error).__mro__ if kind not in (BaseException, Exception, object)]
        return {"call": call, "raised": names or [type(error).__name__], "text": str(error), "value": None}
    return {
        "call": call,
        "raised": [],
        "text": "",
        "value": value if isinstance(value, dict | list | str) else str(value),
    }


def perform(
    venue: str, base_url: str, credentials: Credentials, calls: Iterable[str] = (), **options: Any
) -> list[Any]:
    """Make calls of a venue with the ccxt of this interpreter; what came of each. Without `calls`: all of them."""
    client = make_ccxt(venue, base_url, credentials.key_id, credentials.secret, credentials.passphrase, **options)
    outcomes: list[Any] = []
    for call in calls or VENUES[venue].calls:
        method, parameters = VENUES[venue].calls[call]
        outcomes.append(outcome_of(call, partial(getattr(client, method), copy.deepcopy(parameters))))
    client.session.close()
    return outcomes


def perform_async(venue: str, base_url: str, key: Credentials, calls: Iterable[str] = (), **options: Any) -> list[Any]:
    """The same with ccxt.async_support, which asks by aiohttp; not for a venue that must be asked by https."""
    client = make_ccxt(venue, base_url, key.key_id, key.secret, key.passphrase, library="ccxt.async_support", **options)
    outcomes: list[Any] = []
    with asyncio.Runner() as runner:
        for call in calls or VENUES[venue].calls:
            method, parameters = VENUES[venue].calls[call]
            made = getattr(client, method)(copy.deepcopy(parameters))
            outcomes.append(outcome_of(call, partial(runner.run, made)))
        runner.run(client.close())
    return outcomes
