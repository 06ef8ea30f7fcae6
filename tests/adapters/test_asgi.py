"""What is special about ASGI: scopes, lifespan, prefixes, rewritten addresses; on real servers where they matter."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters.wire import Host, running, send, signed
from support import HOME, OPERATIONS, TRADER, make_guard

from tradeguard import ASGI, ConfigError, Guard, MemoryJournal
from tradeguard.core.runtime import Loop


class Wire:
    """The server's side of one ASGI connection: what the application receives and sends."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages, self.sent = list(messages), list[dict[str, Any]]()

    async def receive(self) -> dict[str, Any]:
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def scope(method: str = "GET", path: str = "/v1/time", **other: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path}
    fields |= {"raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 50_000)}
    return {**fields, "headers": [(b"host", b"api.example")], **other}


async def handler(scope: Any, _receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": scope["tradeguard"].request_id.encode()})


def serve(app: ASGI, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    wire = Wire(*messages)
    asyncio.run(app(scope, wire.receive, wire.send))
    return wire.sent


def make_loop_guard(**other: Any) -> Guard:
    return make_guard(runtime=Loop(), **other)


@pytest.fixture(scope="module", params=["uvicorn-prefix", "hypercorn-prefix"])
def prefixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A server behind a proxy that strips /api; the clients sign what they send to the proxy."""
    with running(request.param, tmp_path_factory.mktemp("prefix")) as host:
        yield host


def test_behind_a_stripping_proxy_the_signed_target_is_prefix_and_received(prefixed: Host) -> None:
    outside = signed(prefixed, TRADER, "GET", b"/api/v1/orders?limit=1")
    assert send(prefixed, outside._replace(target=b"/v1/orders?limit=1")).status == 200
    inside = signed(prefixed, TRADER, "GET", b"/v1/orders?limit=1")
    assert send(prefixed, inside).status == 401


def test_a_mount_is_part_of_the_signed_target_and_not_of_the_map() -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = Starlette(routes=[Mount("/api", app=ASGI(handler, guard=make_loop_guard()))])
    wire = Wire()
    asyncio.run(app(scope(path="/api/v1/time"), wire.receive, wire.send))
    assert wire.sent[0]["status"] == 200


def test_an_address_that_the_server_rewrote_matches_no_list(tmp_path: Path) -> None:
    with running("uvicorn-h11", tmp_path) as host:  # which trusts X-Forwarded-For from loopback by default
        claimed = (("X-Forwarded-For", "203.0.113.9"),)
        reply = send(host, signed(host, HOME, "POST", b"/v1/orders", b"{}", b"application/json"), extra=claimed)
        assert (reply.status, reply.json["code"], reply.json["address"]) == (403, "network.outside", "unknown")
        assert host.events(reply.all("x-request-id")[0])[-1]["source"] == "203.0.113.9"


def test_a_rewritten_address_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    from tradeguard.adapters import edge

    edge._warn_rewritten.cache_clear()
    app = ASGI(handler, guard=make_loop_guard())
    for _ in range(3):
        serve(app, scope(client=("10.0.0.9", 0)))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "--no-proxy-headers" in caplog.text


def test_a_server_without_client_address_is_served() -> None:
    assert serve(ASGI(handler, guard=make_loop_guard()), scope(client=None))[0]["status"] == 200


def test_a_raw_path_that_the_server_does_not_give_is_spelled_canonically() -> None:
    from tradeguard.adapters.asgi import _locate

    assert _locate({"path": "/v1/é b:c", "query_string": b"a=1"}) == (b"/v1/%C3%A9%20b:c?a=1", "/v1/é b:c", "")


def test_over_tls_every_answer_says_hsts() -> None:
    app = ASGI(handler, guard=make_loop_guard())
    for path in ("/v1/time", "/v1/orders"):
        fields = dict(serve(app, scope(path=path, scheme="https"))[0]["headers"])
        assert fields[b"strict-transport-security"] == b"max-age=63072000"
        assert b"strict-transport-security" not in dict(serve(app, scope(path=path))[0]["headers"])


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
def test_a_refused_handshake_gets_the_whole_answer_where_the_server_can_send_one(extensions: dict[str, Any]) -> None:
    app = ASGI(handler, guard=make_loop_guard())
    asked = scope(type="websocket", scheme="ws", extensions=extensions)
    sent = serve(app, asked, {"type": "websocket.connect"})
    if extensions:
        assert [message["type"] for message in sent] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]
        assert sent[0]["status"] == 401
        assert json.loads(sent[1]["body"])["code"] == "unauthorized"
    else:
        assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


def test_a_websocket_without_a_configured_guard_is_refused() -> None:
    def broken() -> Guard:
        raise ConfigError("the map is wrong")

    asked = scope(type="websocket", extensions={"websocket.http.response": {}})
    sent = serve(ASGI(handler, guard=broken), asked, {"type": "websocket.connect"})
    assert (sent[0]["status"], json.loads(sent[1]["body"])["code"]) == (503, "answer.unconfigured")


def test_an_unknown_scope_type_does_not_reach_the_application() -> None:
    with pytest.raises(RuntimeError, match="lets nothing of it pass"):
        serve(ASGI(handler, guard=make_loop_guard()), {"type": "telnet"})


def broken() -> Guard:
    raise ConfigError("operation 'x': write it as METHOD /path")


def test_a_wrong_configuration_fails_the_start(caplog: pytest.LogCaptureFixture) -> None:
    sent = serve(ASGI(handler, guard=broken), {"type": "lifespan"}, {"type": "lifespan.startup"})
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "write it as METHOD /path" in sent[0]["message"]
    assert "nothing passes" in caplog.text


def test_a_wrong_configuration_without_lifespan_is_a_503(caplog: pytest.LogCaptureFixture) -> None:
    app = ASGI(handler, guard=broken)
    assert [serve(app, scope())[0]["status"] for _ in range(3)] == [503, 503, 503]
    assert json.loads(serve(app, scope())[1]["body"])["code"] == "answer.unconfigured"
    assert len(caplog.records) == 1


def test_a_wrong_configuration_stops_uvicorn(tmp_path: Path) -> None:
    code = "from tradeguard import ASGI, Guard\nasync def app(*_): ...\napp = ASGI(app, guard=lambda: Guard([]))\n"
    (tmp_path / "wrong.py").write_text(code)
    command = [sys.executable, "-m", "uvicorn", "--port", "0", "--app-dir", str(tmp_path), "wrong:app"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "Application startup failed" in done.stderr


def test_the_lifespan_of_the_application_runs_and_the_journal_is_flushed() -> None:
    flushed: list[str] = []

    class Flushed(MemoryJournal):
        def flush(self) -> None:
            flushed.append("flush")

    seen: list[str] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            kind = (await receive())["type"]
            seen.append(kind)
            await send({"type": f"{kind}.complete"})

    guarded = ASGI(app, guard=make_loop_guard(journal=Flushed()))
    sent = serve(guarded, {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    assert seen == ["lifespan.startup", "lifespan.shutdown"]
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert flushed == ["flush"]


def test_a_guard_serves_one_kind_of_host() -> None:
    from tradeguard import WSGI

    guard = make_guard(runtime=None)
    ASGI(handler, guard=guard)._build()
    with pytest.raises(ConfigError, match="one kind of host"):
        WSGI(lambda _environ, _start: [], guard=guard)


def test_a_cancelled_handler_has_an_outcome() -> None:
    journal = MemoryJournal()

    async def forever(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        wire = Wire()
        app = ASGI(forever, guard=make_loop_guard(journal=journal))
        task = asyncio.create_task(app(scope(), wire.receive, wire.send))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [(event.kind, event.detail) for event in journal.events] == [("outcome", "CancelledError")]


def test_a_client_that_goes_away_in_the_middle_of_its_body_is_refused() -> None:
    journal = MemoryJournal()
    app = ASGI(handler, guard=make_loop_guard(journal=journal))
    head = scope("POST", "/v1/echo", headers=[(b"host", b"h"), (b"content-length", b"4")])
    body = {"type": "http.request", "body": b"12", "more_body": True}
    assert serve(app, head, body, {"type": "http.disconnect"})[0]["status"] == 400
    assert journal.events[-1].code == "body.short"


def test_the_handler_can_read_on_for_the_disconnect() -> None:
    seen: list[str] = []

    async def reads(_scope: Any, receive: Any, send: Any) -> None:
        seen.extend([(await receive())["type"], (await receive())["type"]])
        await send({"type": "http.response.start", "status": 204})

    serve(ASGI(reads, guard=make_loop_guard()), scope(), {"type": "http.disconnect"})
    assert seen == ["http.request", "http.disconnect"]


def test_a_source_that_keeps_failing_is_turned_away_at_the_door() -> None:
    journal = MemoryJournal()
    app = ASGI(handler, guard=make_loop_guard(journal=journal))
    statuses = [serve(app, scope(path="/v1/orders"))[0]["status"] for _ in range(250)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    sent = serve(app, scope())
    assert int(dict(sent[0]["headers"])[b"retry-after"]) in (1, 2, 3)
    assert journal.counts["source.address"] == statuses.count(429) + 1


def test_http2_has_no_connection_field() -> None:
    app = ASGI(handler, guard=make_loop_guard())
    head = scope("POST", "/v1/orders", http_version="2", headers=[(b"host", b"h"), (b"content-length", b"9999999")])
    assert b"connection" not in dict(serve(app, head)[0]["headers"])
    head["http_version"] = "1.1"
    assert dict(serve(app, head)[0]["headers"])[b"connection"] == b"close"


def test_what_is_public_in_the_map_is_all_that_passes_unsigned() -> None:
    app = ASGI(handler, guard=make_loop_guard())
    for row in OPERATIONS:
        method, path = row.replace("{id}", "7").split()
        status = serve(app, scope(method, path))[0]["status"]
        assert (status == 200) == ("lane" in OPERATIONS[row] and OPERATIONS[row]["lane"] == "public")
