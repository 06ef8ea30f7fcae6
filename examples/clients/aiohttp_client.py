"""A client on aiohttp: signs each attempt of one request, sends it, prints the answer.

API_KEY=demo API_SECRET=... python examples/clients/aiohttp_client.py GET http://127.0.0.1:8000/orders
"""

import asyncio
import os
import sys

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from tradeguard import TG1, Signer
from tradeguard.clients.aiohttp import sign


async def again(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send a read up to three times while the venue is busy; what stands after it in `middlewares` runs each time."""
    for _ in range(2):
        response = await handler(request)
        if response.status != 503 or request.method != "GET":
            return response
        wait = float(response.headers.get("retry-after", "1"))
        response.release()
        await asyncio.sleep(wait)
    return await handler(request)


async def ask(method: str, url: str, text: str) -> tuple[int, str]:
    """Sign, send, read."""
    signer = Signer(TG1, os.environ["API_KEY"], os.environ["API_SECRET"].encode())
    fields = {"content-type": "application/json"} if text else {}
    async with aiohttp.ClientSession(middlewares=[again, sign(signer)]) as session:
        data = text.encode() or None
        async with session.request(method, url, headers=fields, data=data, allow_redirects=False) as response:
            return response.status, await response.text()


def main() -> int:
    """Print the answer."""
    status, text = asyncio.run(ask(sys.argv[1], sys.argv[2], "".join(sys.argv[3:4])))
    print(status)
    print(text)
    return 0 if status < 400 else 1


if __name__ == "__main__":
    sys.exit(main())
