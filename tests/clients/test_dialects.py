"""Every dialect through every client: signed, sent, granted; and again, from what the caller gave."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import httpx
import httpx2
import pytest
import requests
from clients.callers import CALLERS, Asked, Caller
from clients.dialects import CASES, Box, Speaking, path_of

from tradeguard.clients.aiohttp import sign
from tradeguard.clients.httpx import TradeguardAuth as HttpxAuth
from tradeguard.clients.requests import TradeguardAuth as RequestsAuth
from tradeguard.signing.place import Field
from tradeguard.signing.row import Row

FORMS = ("binance", "bitstamp", "kraken-futures", "kraken-futures-bare")
ORDER = {"symbol": "BTC-USD", "note": "a b/é~*'()", "qty": "1.50"}
every_dialect = pytest.mark.parametrize(("row", "algorithm"), CASES, ids=lambda value: getattr(value, "name", value))
CLIENTS = {name: CALLERS[name] for name in ("httpx", "httpx2-async", "requests", "aiohttp")}
every_client = pytest.mark.parametrize("caller", CLIENTS.values(), ids=CLIENTS)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """A running server."""
    made = Box()
    yield made
    made.close()


def shaped(row: Any, **more: str) -> dict[str, Any]:
    """What the order is sent as."""
    order = {**ORDER, **more}
    if row.name == "mexc":
        return {"query": [*order.items()]}
    return {"form": order} if row.name in FORMS else {"json": order}


def order_in(row: Any, seen: dict[str, Any]) -> dict[str, Any]:
    """The order as the application got it, with the fields of the credential."""
    body = base64.b64decode(seen["body"])
    if row.name == "mexc":
        return dict(parse_qsl(seen["query"]))
    if row.name == "gemini":
        payload: dict[str, Any] = json.loads(base64.b64decode(seen["payload"]))
        return payload
    if row.name in FORMS:
        return dict(parse_qsl(body.decode()))
    found: dict[str, Any] = json.loads(body)
    return found["params"] if row.name == "cryptocom" else found


def can_get(row: Any) -> bool:
    """Whether a GET can carry the credential."""
    return not (isinstance(row, Row) and any(isinstance(place, Field) for place in row.places))


@every_client
@every_dialect
def test_an_order_is_signed_and_granted_and_a_second_one_too(
    box: Box, caller: Caller, row: Any, algorithm: str
) -> None:
    with box.speaking(row, algorithm) as speaking:
        for number in range(2):
            what = shaped(row, n=str(number))
            reply = caller(speaking.signer, Asked("POST", speaking.url + path_of(row), **what))
            assert reply.status == 200, reply.body
            assert order_in(row, json.loads(reply.body)).items() >= {**ORDER, "n": str(number)}.items()
            if row.name == "htx":  # it signs no bodies: two orders within its second are one
                wait(row)


@every_client
@every_dialect
def test_a_read_is_signed_and_granted(box: Box, caller: Caller, row: Any, algorithm: str) -> None:
    if not can_get(row):
        return
    with_query = "query" in row.coverage
    query = [("symbol", "BTC-USD"), ("limit", "10")] if with_query else []
    with box.speaking(row, algorithm) as speaking:
        reply = caller(speaking.signer, Asked("GET", speaking.url + path_of(row), query))
        assert reply.status == 200, reply.body
        assert json.loads(reply.body)["query"].startswith("symbol=BTC-USD&limit=10" if with_query else "")


# --- the same request again: it is signed from what the caller gave ---------------------------------------------------


def words(row: Any) -> dict[str, Any]:
    """What the order is, in the words of requests."""
    return {{"query": "params", "form": "data", "json": "json"}[name]: what for name, what in shaped(row).items()}


def wait(row: Any) -> None:
    """Until the clock of the dialect has gone on, where nothing else tells two equal messages apart."""
    grain = row.collision if isinstance(row, Row) and not row.timeless else 0
    time.sleep((grain + 5_000_000) / 1_000_000_000)


def is_again(row: Any) -> bool:
    """Whether one message can be sent twice at all: without a time two equal ones are one."""
    return not (isinstance(row, Row) and row.timeless)


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
@every_dialect
def test_a_request_of_httpx_is_signed_again_from_its_own_body(box: Box, module: Any, row: Any, algorithm: str) -> None:
    if not is_again(row):
        return
    with box.speaking(row, algorithm) as speaking, _open(module, speaking) as client:
        request = client.build_request("POST", f"{speaking.url}{path_of(row)}/busy", **words(row))
        statuses = []
        for pause in (0, 1):
            wait(row if pause else None)
            response = client.send(request)
            statuses.append(response.status_code)
            assert order_in(row, response.json()).items() >= ORDER.items()
        assert statuses == [503, 200]
        once_only(row, response.json())


def once_only(row: Any, seen: dict[str, Any]) -> None:
    """No attempt is inside of another."""
    text = seen["query"] + base64.b64decode(seen["body"]).decode() + base64.b64decode(seen["payload"]).decode()
    names = {place.name.decode() for place in row.places} if isinstance(row, Row) else set[str]()
    for name in names:
        assert text.count(f'"{name}":') <= 1
        assert f"&{text}".count(f"&{name}=") <= 1
    assert text.count("BTC-USD") == 1


def _open(module: Any, speaking: Speaking) -> Any:
    return module.Client(auth=HttpxAuth(speaking.signer), trust_env=False)


@every_dialect
def test_a_prepared_request_of_requests_is_signed_again_from_its_own_body(box: Box, row: Any, algorithm: str) -> None:
    if not is_again(row):
        return
    with box.speaking(row, algorithm) as speaking, requests.Session() as session:
        session.trust_env, auth = False, RequestsAuth(speaking.signer)
        prepared = session.prepare_request(requests.Request("POST", f"{speaking.url}{path_of(row)}/busy", **words(row)))
        statuses = []
        for pause in (0, 1):
            wait(row if pause else None)
            attempt = auth(prepared)
            attempt.prepare_content_length(attempt.body)
            response = session.send(attempt)
            statuses.append(response.status_code)
            assert order_in(row, response.json()).items() >= ORDER.items()
        assert statuses == [503, 200]
        once_only(row, response.json())


@every_dialect
def test_a_middleware_of_aiohttp_that_sends_again_is_signed_from_the_callers_body(
    box: Box, row: Any, algorithm: str
) -> None:
    if not is_again(row):
        return

    async def again(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        response = await handler(request)
        if response.status != 503:
            return response  # type: ignore[no-any-return]
        response.release()
        await asyncio.to_thread(wait, row)
        return await handler(request)  # type: ignore[no-any-return]

    async def ask(speaking: Speaking) -> tuple[int, dict[str, Any]]:
        async with (
            aiohttp.ClientSession(middlewares=[again, sign(speaking.signer)]) as session,
            session.post(f"{speaking.url}{path_of(row)}/busy", **words(row)) as response,
        ):
            return response.status, await response.json(content_type=None)

    with box.speaking(row, algorithm) as speaking:
        status, seen = asyncio.run(ask(speaking))
        assert status == 200, seen
        assert order_in(row, seen).items() >= ORDER.items()
        once_only(row, seen)
