"""Messages over a WebSocket: each passes the guard before the application receives it."""

import asyncio
from typing import Any

import pytest
from adapters.live_hosts import ASGI_SERVERS, PATIENCE, ROWS, SERVERS, Site, make_site, serving, until
from adapters.test_live import hear_the_end, run
from aiohttp import WSMsgType, WSServerHandshakeError
from support import READER, TRADER, make_guard, make_request

from tradeguard import ConfigError, Denial, Operations, Policy, Request
from tradeguard.adapters.live import Watch
from tradeguard.checks.connections import Connections
from tradeguard.checks.quota import Quotas
from tradeguard.core.drive import drive
from tradeguard.core.rate import Rate

EVERY_HOST = pytest.mark.parametrize("name", SERVERS)


class Judge:
    """A check of the operator's own: it hears every message, and refuses what a test tells it to."""

    name = "judge"

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes, str]] = []
        self.refuses = b"\0"

    async def __call__(self, request: Request, /) -> Denial | None:
        body = await request.body()
        if request.kind == "message" and request.operation is not None:
            self.heard.append((request.connection, body, request.operation.id))
            return Denial("judge.no", status=403) if body == self.refuses else None
        return None


async def say(socket: Any, text: str | bytes) -> Any:
    """Send a message and return what comes back."""
    await (socket.send_bytes(text) if isinstance(text, bytes) else socket.send_str(text))
    return await socket.receive()


@EVERY_HOST
def test_each_message_is_judged_as_a_request_of_its_row_and_a_refused_one_ends_the_socket(name: str) -> None:
    judge = Judge()

    async def test(site: Site) -> None:
        socket = await site.open("/v1/trade")
        [shaken] = await site.events("intent")
        assert (await say(socket, "one")).data == "one"
        assert (await say(socket, b"\x00\x01")).data == "2 bytes"
        judge.refuses = b"three"
        await socket.send_str("three")
        await socket.send_str("four")
        assert await hear_the_end(socket) == (1008, "judge.no")
        ids, row = shaken.request_id, "WS /v1/trade"
        assert judge.heard == [(ids, b"one", row), (ids, b"\x00\x01", row), (ids, b"three", row)]
        [refused] = await site.events("refused")
        assert (refused.code, refused.key_id, refused.operation) == ("judge.no", "trader", row)
        [outcome] = await site.events("outcome")
        assert (outcome.code, outcome.request_id) == ("judge.no", ids)

    run(name, test, make_site([judge]))


@EVERY_HOST
def test_a_message_in_a_lane_of_orders_is_on_record_before_it_is_handed_on(name: str) -> None:
    async def test(site: Site) -> None:
        socket = await site.open("/v1/trade")
        assert (await say(socket, "buy")).data == "buy"
        handshake, message = await site.events("intent", 2)
        assert message.detail == f"message over {handshake.request_id}"
        assert (message.key_id, message.account, message.lane) == ("trader", "acme", "order")
        assert message.request_id != handshake.request_id
        reading = await site.open("/v1/echo")
        assert (await say(reading, "look")).data == "look"
        assert len(await site.events("intent", 2)) == 2
        await socket.close()
        await reading.close()

    run(name, test)


@EVERY_HOST
def test_messages_have_a_rate_of_their_own_over_all_sockets_of_a_key(name: str) -> None:
    quotas = Quotas({"requests": "5/hour", "messages": Rate("4/hour", messages=True)})

    async def test(site: Site) -> None:
        one, two = await site.open("/v1/echo"), await site.open("/v1/echo")
        other = await site.open("/v1/echo", READER)
        for socket in (one, two, one, two):
            assert (await say(socket, "ping")).data == "ping"
        await one.send_str("one too many")
        assert await hear_the_end(one) == (1008, "quota.exceeded")
        await two.send_str("and another")
        assert await hear_the_end(two) == (1008, "quota.exceeded")
        assert (await say(other, "ping")).data == "ping"
        third = await site.open("/v1/echo")  # requests are counted apart
        await third.close()
        await other.close()

    run(name, test, make_site([quotas]))


@EVERY_HOST
def test_messages_of_a_public_socket_are_counted_by_source_on_this_node(name: str) -> None:
    rates = {"strangers": Rate("2/hour", by="source", lanes=["public"], messages=True)}

    async def test(site: Site) -> None:
        socket = await site.open("/v1/ticker", None)
        assert [(await say(socket, "x")).data for _ in range(2)] == ["x", "x"]
        await socket.send_str("x")
        assert await hear_the_end(socket) == (1008, "quota.public")
        again = await site.open("/v1/ticker", None)  # handshakes are no messages
        await again.close()

    run(name, test, make_site([Quotas(rates)]))


@EVERY_HOST
def test_a_message_that_is_too_large_ends_the_socket_with_its_own_code(name: str) -> None:
    async def test(site: Site) -> None:
        socket = await site.open("/v1/echo")
        assert (await say(socket, b"x" * 1_000)).data == "1000 bytes"
        await socket.send_bytes(b"x" * 1_001)
        assert await hear_the_end(socket) == (1009, "body.large")

    run(name, test, make_site(policy=Policy(body_bytes=1_000)))


@EVERY_HOST
def test_a_message_of_a_revoked_key_is_not_handed_on_even_between_two_looks(name: str) -> None:
    """A23: the message is rechecked itself; nobody waits for the watcher."""
    judge = Judge()

    async def test(site: Site) -> None:
        socket = await site.open("/v1/trade")
        site.revoke()
        await socket.send_str("buy")
        assert await hear_the_end(socket) == (1008, "signature.revoked")
        assert judge.heard == []

    run(name, test, make_site([judge]))


@EVERY_HOST
def test_connections_are_counted_and_given_back_when_they_close(name: str) -> None:
    async def test(site: Site) -> None:
        sockets = [await site.open("/v1/echo") for _ in range(2)]
        with pytest.raises(WSServerHandshakeError) as refused:
            await site.open("/v1/echo")
        assert refused.value.status == 429
        assert refused.value.headers is not None
        assert int(refused.value.headers["Retry-After"]) in range(1, 31)
        await sockets[0].close()
        await site.events("outcome")
        await (await site.open("/v1/echo")).close()
        await sockets[1].close()

    run(name, test, make_site([Connections(key=2)]))


def test_a_connection_whose_lease_is_not_renewed_is_closed() -> None:
    async def test(site: Site) -> None:
        socket, watch = await site.open("/v1/echo"), Watch.here()
        [stream] = watch.streams
        assert stream.lease is not None
        stream.lease._began -= 25_000_000_000  # as if the state had been lost for so long
        await watch.look()
        assert await hear_the_end(socket) == (1008, "live.lost")
        [event] = await site.events("outcome")
        assert event.code == "live.lost"

    run(SERVERS[0], test, make_site([Connections(key=2)]))


def test_a_lease_that_is_due_is_renewed_by_the_watcher() -> None:
    async def test(site: Site) -> None:
        socket, watch = await site.open("/v1/echo"), Watch.here()
        [stream] = watch.streams
        lease = stream.lease
        assert lease is not None
        lease._began -= 16_000_000_000
        began = lease._began
        await watch.look()
        await until(lambda: lease._began != began)
        assert (await say(socket, "still here")).data == "still here"
        await socket.close()

    run(SERVERS[0], test, make_site([Connections(key=2)]))


@pytest.mark.parametrize("name", ASGI_SERVERS)
def test_a_message_outlives_that_the_application_gives_up_waiting_for_it(name: str) -> None:
    """It was taken from the server while it was judged; the next `receive` has it."""
    judged, may = asyncio.Event(), asyncio.Event()

    class Slow:
        name = "slow"

        async def __call__(self, request: Request, /) -> Denial | None:
            if request.kind == "message":
                judged.set()
                await may.wait()
            return None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        await receive()
        await send({"type": "websocket.accept"})
        waiting = asyncio.create_task(receive())
        await judged.wait()
        waiting.cancel()
        may.set()
        message = await receive()
        await send({"type": "websocket.send", "text": "late " + message["text"]})
        await receive()

    async def main() -> None:
        async with asyncio.timeout(PATIENCE), serving(name, make_site([Slow()]), app) as site:
            socket = await site.open("/v1/echo")
            assert (await say(socket, "order")).data == "late order"
            await socket.close()

    asyncio.run(main())


@EVERY_HOST
def test_a_handshake_is_used_once(name: str) -> None:
    async def test(site: Site) -> None:
        fields = site.fields(TRADER, "/v1/echo")
        socket = await site.session.ws_connect(site.url("/v1/echo"), headers=fields)
        with pytest.raises(WSServerHandshakeError) as refused:
            await site.session.ws_connect(site.url("/v1/echo"), headers=fields)
        assert refused.value.status == 409
        assert (await say(socket, "x")).type is WSMsgType.TEXT
        await socket.close()

    rows = {"WS /v1/echo": {"scopes": "orders:read", "lane": "order"}}
    run(name, test, make_site(operations=Operations(rows)))


def test_no_request_is_by_the_method_of_a_handshake() -> None:
    """A23: `WS` is no method, so a plain request cannot be judged by the row of a WebSocket."""
    guard = make_guard(operations=Operations(ROWS))
    denial = drive(guard.admit(make_request("WS", b"/v1/ticker")))
    assert isinstance(denial, Denial)
    assert denial.code == "proof.unclaimed"


@pytest.mark.parametrize("wrong", [{"charge": "success"}, {"header": "X-USED"}])
def test_a_rate_of_messages_has_no_answer_to_go_with(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="messages have no answer"):
        Rate("1/second", messages=True, **wrong)
