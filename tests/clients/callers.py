"""The four clients behind one call, so that one test holds for all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import aiohttp
import httpx
import httpx2
import requests
from yarl import URL

from tradeguard.clients.aiohttp import sign
from tradeguard.clients.httpx import TradeguardAuth as HttpxAuth
from tradeguard.clients.requests import TradeguardAuth as RequestsAuth
from tradeguard.signing.signer import Signer


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class Asked(NamedTuple):
    """One request; at most one of the bodies."""

    method: str
    url: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = {}
    json: Any = None
    form: Mapping[str, str] | None = None
    file: bytes | None = None
    stream: Sequence[bytes] | None = None
    content: bytes | None = None
    redirects: bool = False


Caller = Callable[[Signer, Asked], Reply]


def _httpx_words(asked: Asked, stream: Any) -> dict[str, Any]:
    words: dict[str, Any] = {"headers": dict(asked.headers), "follow_redirects": asked.redirects}
    words |= {"params": list(asked.query)} if asked.query else {}
    words |= {"json": asked.json} if asked.json is not None else {}
    words |= {"data": asked.form} if asked.form is not None else {}
    words |= {"files": {"file": ("a b.bin", asked.file)}} if asked.file is not None else {}
    words |= {"content": stream} if asked.stream is not None else {}
    return words | ({"content": asked.content} if asked.content is not None else {})


def _pieces(parts: Sequence[bytes]) -> Iterator[bytes]:
    yield from parts


async def _async_pieces(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def call_httpx(module: Any, signer: Signer, asked: Asked) -> Reply:
    """A client of httpx or httpx2."""
    with module.Client(auth=HttpxAuth(signer), trust_env=False) as client:
        words = _httpx_words(asked, _pieces(asked.stream or ()))
        response = client.request(asked.method, asked.url, **words)
        return Reply(response.status_code, response.content)


def call_httpx_async(module: Any, signer: Signer, asked: Asked) -> Reply:
    """An async client of httpx or httpx2."""

    async def call() -> Reply:
        async with module.AsyncClient(auth=HttpxAuth(signer), trust_env=False) as client:
            words = _httpx_words(asked, _async_pieces(asked.stream or ()))
            response = await client.request(asked.method, asked.url, **words)
            return Reply(response.status_code, response.content)

    return asyncio.run(call())


def call_requests(signer: Signer, asked: Asked) -> Reply:
    """A session of requests."""
    with requests.Session() as session:
        session.trust_env, session.auth = False, RequestsAuth(signer)
        data: Any = asked.content if asked.content is not None else asked.form
        response = session.request(
            asked.method,
            asked.url,
            params=list(asked.query),
            headers=dict(asked.headers),
            json=asked.json,
            data=_pieces(asked.stream) if asked.stream is not None else data,
            files=None if asked.file is None else {"file": ("a b.bin", asked.file)},
            allow_redirects=asked.redirects,
        )
        return Reply(response.status_code, response.content)


def call_aiohttp(signer: Signer, asked: Asked) -> Reply:
    """A session of aiohttp."""
    return asyncio.run(_call_aiohttp(signer, asked))


async def _call_aiohttp(signer: Signer, asked: Asked) -> Reply:
    data: Any = asked.content if asked.content is not None else asked.form
    if asked.file is not None:
        data = aiohttp.FormData()
        data.add_field("file", asked.file, filename="a b.bin")
    async with (
        aiohttp.ClientSession(middlewares=[sign(signer)]) as session,
        session.request(
            asked.method,
            URL(asked.url, encoded="%" in asked.url),
            params=list(asked.query),
            headers=dict(asked.headers),
            json=asked.json,
            data=_async_pieces(asked.stream) if asked.stream is not None else data,
            allow_redirects=asked.redirects,
        ) as response,
    ):
        return Reply(response.status, await response.read())


CALLERS: dict[str, Caller] = {
    "httpx": partial(call_httpx, httpx),
    "httpx-async": partial(call_httpx_async, httpx),
    "httpx2": partial(call_httpx, httpx2),
    "httpx2-async": partial(call_httpx_async, httpx2),
    "requests": call_requests,
    "aiohttp": call_aiohttp,
}
