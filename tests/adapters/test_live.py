"""What is open for longer than its request ends with its grant: on real servers, with real clients."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from adapters.live_hosts import PATIENCE, ROWS, SERVERS, Site, make_site, serving, until
from aiohttp import ClientPayloadError, WSMsgType
from support import READER, TRADER

from tradeguard import Operations
from tradeguard.adapters.live import EVERY, Stream, Watch


def run(name: str, test: Callable[[Site], Coroutine[Any, Any, None]], site: Site | None = None) -> None:
    """Run a test beside its server, and then see that nothing is left over."""

    async def main() -> None:
        async with asyncio.timeout(2 * PATIENCE):
            async with serving(name, site or make_site()) as served:
                await test(served)
            watch = Watch.here()
            assert watch.streams == set()
            await until(lambda: watch.is_idle)  # the timer runs out: then there is no watcher

    asyncio.run(main())


async def read_to_the_end(response: Any) -> None:
    """Read until the connection breaks off; a whole message is a failure."""
    with pytest.raises((ClientPayloadError, ConnectionError)):
        await response.content.read()
    response.close()


async def hear_the_end(socket: Any) -> tuple[int | None, str]:
    """Read until the close frame; return its code and reason."""
    while True:
        message = await socket.receive()
        if message.type is WSMsgType.CLOSE:
            return message.data, message.extra
        assert message.type is WSMsgType.TEXT, message


def test_open_streams_are_looked_at_four_times_a_second() -> None:
    assert EVERY <= 0.25


@pytest.mark.parametrize("path", ["/v1/idle", "/v1/busy", "/v1/deaf"])
@pytest.mark.parametrize("name", SERVERS)
def test_a_stream_of_a_revoked_key_is_cut_off_in_the_middle(name: str, path: str) -> None:
    async def test(site: Site) -> None:
        other, response = await site.get("/v1/busy", READER), await site.get(path)
        site.revoke()
        await read_to_the_end(response)
        [event] = await site.events("outcome")
        assert (event.code, event.status, event.key_id) == ("signature.revoked", 200, "trader")
        assert await other.content.readany()  # that of another key goes on
        other.close()
        await site.events("outcome", 2)

    run(name, test)


@pytest.mark.parametrize("path", ["/v1/echo", "/v1/push"])
@pytest.mark.parametrize("name", SERVERS)
def test_a_websocket_of_a_revoked_key_is_closed_with_the_public_code(name: str, path: str) -> None:
    async def test(site: Site) -> None:
        socket = await site.open(path)
        site.revoke()
        assert await hear_the_end(socket) == (1008, "signature.revoked")
        [event] = await site.events("outcome")
        assert (event.code, event.status, event.operation) == ("signature.revoked", 101, f"WS {path}")

    run(name, test)


@pytest.mark.parametrize("name", SERVERS)
def test_one_look_cuts_off_all_that_have_ended_and_nothing_else(name: str) -> None:
    """Whatever the clock says: the first look after the revocation ends them."""

    async def test(site: Site) -> None:
        sockets = [await site.open("/v1/echo") for _ in range(5)]
        others = [await site.open("/v1/echo", READER) for _ in range(5)]
        watch = Watch.here()
        assert len(watch.streams) == 10
        site.revoke()
        await watch.look()
        assert [stream.is_cut for stream in watch.streams].count(True) == 5
        assert [await hear_the_end(socket) for socket in sockets] == [(1008, "signature.revoked")] * 5
        for socket in others:
            await socket.send_str("still here")
            assert (await socket.receive()).data == "still here"
            await socket.close()
        await site.events("outcome", 10)

    run(name, test)


@pytest.mark.parametrize("name", SERVERS)
def test_there_is_one_watcher_however_much_is_open(name: str) -> None:
    async def test(site: Site) -> None:
        watch, before = Watch.here(), len(asyncio.all_tasks())
        sockets = [await site.open("/v1/echo") for _ in range(20)]
        async with asyncio.timeout(PATIENCE):
            for _ in range(100):
                assert len(watch._tasks) <= 1
                await asyncio.sleep(0)
        per_socket = (len(asyncio.all_tasks()) - before) / 20
        assert per_socket <= 4  # the server's own
        for socket in sockets:
            await socket.close()
        await site.events("outcome", 20)
        await until(lambda: watch.is_idle)

    run(name, test)


@pytest.mark.parametrize("name", SERVERS)
def test_nothing_is_left_of_streams_that_ended_by_themselves(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "aiohttp.server")  # what it says of a client that has gone would hold its frames

    async def test(site: Site) -> None:
        watch = Watch.here()
        for round in range(3):
            response = await site.get("/v1/busy")
            socket = await site.open("/v1/echo")
            assert len(watch.streams) == 2
            response.close()
            await socket.close()
            await site.events("outcome", 2 * round + 2)
        assert watch.streams == set()
        assert site.guard._record.flights == set()

        def is_left() -> bool:
            gc.collect()
            return any(isinstance(one, Stream) and one.passage.guard is site.guard for one in gc.get_objects())

        await until(lambda: not is_left())

    gc.freeze()  # only what comes from here on is looked through: there may be much from other tests
    try:
        run(name, test)
    finally:
        gc.unfreeze()


def test_an_unmapped_handshake_is_refused_and_a_row_for_get_takes_none() -> None:
    """A23: rows for GET and for a handshake are two things; neither stands for the other."""
    rows = {**ROWS, "GET /v1/echo": "orders:read"}
    del rows["WS /v1/echo"]

    async def test(site: Site) -> None:
        for path, signer in (("/v1/echo", TRADER), ("/v1/other", TRADER), ("/v1/push", None)):
            headers = {} if signer is None else site.fields(signer, path)
            upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
            headers |= {**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
            async with site.session.get(site.url(path), headers=headers) as response:
                assert response.status == (404 if signer else 401)
                assert (await response.json(content_type=None))["code"] in ("guard.unmapped", "unauthorized")

    for name in SERVERS:
        run(name, test, make_site(operations=Operations(rows)))
