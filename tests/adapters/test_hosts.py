"""One suite that every host passes, on real servers and over real sockets."""

import contextlib
import hashlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from adapters.wire import Host, exchange, head, read_reply, running, send, signed
from support import EDWARD, HOME, READER, TRADER

from tradeguard.signing.encoding import encode_base64url
from tradeguard.signing.signer import Outgoing, Signer

ASYNC = ["uvicorn-h11", "uvicorn-httptools", "hypercorn", "aiohttp"]
THREADS = ["wsgiref", "waitress", "gunicorn"]
JSON = b"application/json"


@pytest.fixture(scope="module", params=[*ASYNC, *THREADS])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with running(request.param, tmp_path_factory.mktemp("host")) as host:
        yield host


def test_a_signed_request_reaches_the_handler_once(host: Host) -> None:
    reply = send(host, signed(host, TRADER, "GET", b"/v1/orders?symbol=BTC%20USD&limit=5"))
    assert reply.status == 200, reply
    assert (reply.json["key"], reply.json["path"]) == ("trader", "/v1/orders")
    assert reply.json["query"] == "symbol=BTC%20USD&limit=5"


def test_every_answer_carries_our_request_id_and_one_date(host: Host) -> None:
    for request in (signed(host, TRADER, "GET", b"/v1/orders"), Outgoing("GET", "", b"/v1/orders")):
        reply = send(host, request, extra=(("X-Request-Id", "from-the-client"),))
        [request_id] = reply.all("x-request-id")
        assert len(request_id) == 32
        assert len(reply.all("date")) == 1
        assert host.events(request_id)[-1]["client_id"] == "from-the-client"


def test_a_body_arrives_untouched(host: Host) -> None:
    body = bytes(range(256)) * 1000
    reply = send(host, signed(host, EDWARD, "POST", b"/v1/orders", body, b"application/octet-stream"))
    assert reply.status == 200, reply
    assert reply.json["body"] == hashlib.sha256(body).hexdigest()
    assert [event["kind"] for event in host.events(reply.all("x-request-id")[0])] == ["intent", "outcome"]


def test_a_chunked_body_is_verified_or_refused(host: Host) -> None:
    body = b'{"symbol":"BTC-USD"}' * 40
    reply = send(host, signed(host, TRADER, "POST", b"/v1/orders", body, JSON), chunked=True)
    if host.name == "wsgiref":  # hands chunked bodies on undecoded
        assert (reply.status, reply.json["code"]) == (400, "frame.length")
    else:
        assert reply.status == 200, reply
        assert reply.json["body"] == hashlib.sha256(body).hexdigest()
        if host.name in ("waitress", "gunicorn"):
            assert reply.json["length"] == str(len(body))


def test_a_stranger_gets_the_one_401(host: Host) -> None:
    unsigned = Outgoing("POST", "", b"/v1/orders", JSON, b"{}")
    unknown = signed(host, Signer(TRADER.row, "nobody", b"x" * 32), "POST", b"/v1/orders", b"{}", JSON)
    wrong = signed(host, Signer(TRADER.row, "trader", b"x" * 32), "POST", b"/v1/orders", b"{}", JSON)
    bodies = set()
    for request in (unsigned, unknown, wrong):
        reply = send(host, request)
        problem = reply.json
        assert (reply.status, problem["executed"], problem["status"]) == (401, False, 401)
        assert reply.all("content-type") == ["application/problem+json"]
        assert reply.all("x-content-type-options") == ["nosniff"]
        assert reply.all("cache-control") == ["no-store"]
        assert reply.all("www-authenticate") == ['TG1 realm="api", Binance realm="api"']
        assert reply.all("x-request-id") == [problem.pop("request_id")]
        bodies.add(json.dumps(problem))
    assert len(bodies) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"body": b'{"qty":"9"}'}, "signature.wrong"),
        ({"target": b"/v1/orders?limit=9"}, "signature.wrong"),
        ({"target": b"/v1/orders/7?limit=5"}, "signature.wrong"),
        ({"content_type": b"text/xml"}, "signature.wrong"),
        ({"method": "PUT"}, "signature.wrong"),
    ],
)
def test_what_is_signed_cannot_be_changed(host: Host, change: dict[str, Any], code: str) -> None:
    request = signed(host, TRADER, "POST", b"/v1/orders?limit=5", b'{"qty":"1"}', JSON)
    reply = send(host, request._replace(**change))
    assert (reply.status, reply.json["code"]) == (401, "unauthorized")
    assert host.events(reply.all("x-request-id")[0])[-1]["code"] == code


def test_a_replay_is_told_the_first_requests_id(host: Host) -> None:
    request = signed(host, TRADER, "POST", b"/v1/orders", b"{}", JSON)
    first, again = send(host, request), send(host, request)
    assert first.status == 200
    assert (again.status, again.json["code"], again.json["executed"]) == (409, "replay.seen", "unknown")
    assert again.json["first_request_id"] == first.all("x-request-id")[0]


def test_after_the_proof_a_refusal_helps(host: Host) -> None:
    reply = send(host, signed(host, READER, "POST", b"/v1/orders", b"{}", JSON))
    assert (reply.status, reply.json["code"], reply.json["scope"]) == (403, "scope.missing", "orders:write")
    reply = send(host, signed(host, HOME, "POST", b"/v1/orders", b"{}", JSON))
    assert (reply.status, reply.json["code"], reply.json["address"]) == (403, "network.outside", "127.0.0.1")
    reply = send(host, signed(host, TRADER, "GET", b"/v1/nothing"))
    assert (reply.status, reply.json["code"]) == (404, "guard.unmapped")


@pytest.mark.parametrize(
    "path", ["/v1/orders/a:b@c", "/v1/orders/a%20b", "/v1/orders/%C3%A9", "/v1/market/BTC-USD,ETH"]
)
def test_a_canonical_path_is_signed_as_it_is_sent(host: Host, path: str) -> None:
    assert send(host, signed(host, TRADER, "GET", path.encode())).status == 200


@pytest.mark.parametrize(
    "path",
    ["//v1/orders", "/v1//orders", "/v1/./orders", "/v1/../v1/orders", "/v1/%6Frders", "/v1/orders;x", "/v1/a%2Fb"],
)
def test_a_path_in_another_spelling_never_reaches_the_handler(host: Host, path: str) -> None:
    reply = send(host, signed(host, TRADER, "GET", path.encode()))
    assert reply.status in (400, 401, 404), reply
    if host.name != "wsgiref":  # which rebuilds the one canonical spelling, so that the signature fails instead
        assert reply.status == 400


def test_an_encoded_reserved_character_needs_the_raw_target(host: Host) -> None:
    reply = send(host, signed(host, TRADER, "GET", b"/v1/market/BTC%3AUSD"))
    assert reply.status == (401 if host.name == "wsgiref" else 200)


def test_a_bare_question_mark_is_lost_where_the_docs_say_so(host: Host) -> None:
    reply = send(host, signed(host, TRADER, "GET", b"/v1/orders?"))
    lost = host.name.startswith(("uvicorn", "wsgiref", "hypercorn"))
    assert reply.status == (401 if lost else 200)


@pytest.mark.parametrize(
    ("extra", "statuses"),
    [
        ((("Content-Encoding", "gzip"),), {415}),
        ((("X-HTTP-Method-Override", "DELETE"),), {400}),
        ((("Host", "evil.example"),), {400}),
        ((("TG-Nonce", "A" * 22),), {401}),
    ],
)
def test_heads_that_do_not_pass(host: Host, extra: tuple[tuple[str, str], ...], statuses: set[int]) -> None:
    reply = send(host, signed(host, TRADER, "POST", b"/v1/orders", b"{}", JSON), extra=extra)
    assert reply.status in statuses, reply


def test_length_and_coding_at_once_do_not_pass(host: Host) -> None:
    request = signed(host, TRADER, "POST", b"/v1/orders", b"0\r\n\r\n", JSON)
    reply = send(host, request, extra=(("Transfer-Encoding", "chunked"),))
    assert reply.status in (400, 401), reply


@pytest.mark.parametrize("method", ["TRACE", "post", "GE T"])
def test_methods_that_do_not_pass(host: Host, method: str) -> None:
    reply = send(host, signed(host, TRADER, method, b"/v1/orders"))
    assert reply.status in (400, 401, 405, 501), reply


def test_a_body_above_the_cap_is_refused_before_it_is_read(host: Host) -> None:
    request = signed(host, TRADER, "POST", b"/v1/orders", b"x" * 300_001, JSON)
    reply = send(host, request)
    assert (reply.status, reply.json["code"]) == (413, "frame.body")
    if host.name in ASYNC:
        assert reply.all("connection") == ["close"]


def test_a_chunked_body_above_the_cap_is_refused(host: Host) -> None:
    if host.name == "wsgiref":
        pytest.skip("wsgiref reads no chunked bodies")
    reply = send(host, signed(host, TRADER, "POST", b"/v1/orders", b"x" * 300_001, JSON), chunked=True)
    whole = host.name == "waitress"  # which reads a chunked body away and announces its length
    assert (reply.status, reply.json["code"]) == (413, "frame.body" if whole else "body.large")


def test_a_stream_goes_out_piece_by_piece(host: Host) -> None:
    request = signed(host, TRADER, "GET", b"/v1/stream")
    fields = [("Host", f"127.0.0.1:{host.port}"), *((n.decode(), v.decode()) for n, v in request.headers)]
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as sock:
        sock.sendall(head("GET", request.target, fields))
        seen = b""
        while b"0\n" not in seen.partition(b"\r\n\r\n")[2]:
            seen += sock.recv(4096)
        assert b"2\n" not in seen.partition(b"\r\n\r\n")[2]
        while b"trader" not in seen:
            seen += sock.recv(4096)


def test_a_failing_handler_is_the_hosts_500_and_an_outcome(host: Host) -> None:
    request = signed(host, TRADER, "GET", b"/v1/fail")
    reply = send(host, request)
    assert reply.status == 500
    line = [json.loads(text) for text in host.journal.read_text().splitlines()][-1]
    assert (line["kind"], line["detail"], line["operation"]) == ("outcome", "RuntimeError", "GET /v1/fail")


def test_a_public_operation_needs_no_key_but_a_signature_must_hold(host: Host) -> None:
    assert send(host, Outgoing("GET", "", b"/v1/time")).json["key"] is None
    assert send(host, Outgoing("GET", "", b"/v1/time"), extra=(("TG-Key", "trader"),)).json["key"] is None
    assert send(host, signed(host, TRADER, "GET", b"/v1/time")).json["key"] == "trader"
    wrong = signed(host, Signer(TRADER.row, "trader", b"x" * 32), "GET", b"/v1/time")
    assert send(host, wrong).status == 401


def test_head_follows_get(host: Host) -> None:
    request = signed(host, TRADER, "HEAD", b"/v1/orders")
    fields = [("Host", f"127.0.0.1:{host.port}"), *((n.decode(), v.decode()) for n, v in request.headers)]
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as sock:
        sock.sendall(head("HEAD", request.target, fields))
        assert b" 200 " in sock.recv(4096).partition(b"\r\n")[0]


def test_a_withheld_body_ends_at_the_deadline_for_known_and_unknown_keys(host: Host) -> None:
    if host.name in THREADS:
        pytest.skip(
            "a thread that waits cannot be interrupted; the server's timeout does this (docs: adapters/wsgi.py)"
        )
    answers = []
    for signer in (TRADER, Signer(TRADER.row, "nobody", b"x" * 32)):
        request = signed(host, signer, "POST", b"/v1/orders", b"{}", JSON)
        fields = [("Host", f"127.0.0.1:{host.port}"), ("Content-Type", "application/json"), ("Content-Length", "2")]
        fields += [(name.decode(), value.decode()) for name, value in request.headers]
        reply = exchange(host, head("POST", b"/v1/orders", fields) + b"{")
        answers.append((reply.status, reply.json["code"], reply.all("connection")))
    assert answers[0] == answers[1] == (408, "body.slow", ["close"])


def test_after_an_early_answer_the_rest_of_a_body_is_not_taken_for_a_request(host: Host) -> None:
    if host.name == "waitress":
        pytest.skip("waitress reads the whole body before the application sees anything")
    hidden = b"GET /v1/time HTTP/1.1\r\nHost: x\r\n\r\n"
    fields = [("Host", f"127.0.0.1:{host.port}"), ("Content-Length", "400000"), ("Content-Type", "text/plain")]
    with socket.create_connection(("127.0.0.1", host.port), timeout=5) as sock:
        sock.sendall(head("POST", b"/v1/orders", fields) + hidden)
        assert read_reply(sock).status == 413
        seen = b""
        with contextlib.suppress(OSError):
            sock.sendall(hidden)
            sock.settimeout(1.5)
            seen = sock.recv(4096)
        assert b" 200 " not in seen


@pytest.mark.parametrize("value", [b"\xff\xfe", b"\x01", b"a" * 9000, encode_base64url(b"z" * 32), b",", b'"'])
def test_any_bytes_in_a_credential_are_a_4xx(host: Host, value: bytes) -> None:
    for name in (b"TG-Key", b"TG-Time", b"TG-Nonce", b"TG-Signature", b"X-MBX-APIKEY", b"Host"):
        request = signed(host, TRADER, "GET", b"/v1/orders")
        lines = [b"GET /v1/orders HTTP/1.1", b"Connection: close"]
        fields = {b"host": b"127.0.0.1:%d" % host.port, **dict(request.headers), name.lower(): value}
        reply = exchange(host, b"\r\n".join([*lines, *(n + b": " + v for n, v in fields.items()), b"", b""]))
        assert 400 <= reply.status < 500, (name, reply)


@pytest.mark.parametrize("form", [b"http://%s/v1/orders", b"/v1/orders#part"], ids=["absolute-form", "fragment"])
def test_a_target_of_another_form_is_refused_or_taken_for_its_path(host: Host, form: bytes) -> None:
    target = form.replace(b"%s", b"127.0.0.1:%d" % host.port)
    as_path = send(host, signed(host, TRADER, "GET", b"/v1/orders")._replace(target=target))
    as_sent = send(host, signed(host, TRADER, "GET", target))
    if host.name == "uvicorn-httptools":  # hands on the path alone, so that the path is what can be signed
        assert (as_path.status, as_path.json["path"], as_sent.status) == (200, "/v1/orders", 401)
    else:
        code = "frame.path" if b"#" in target else "frame.target"
        if host.name == "wsgiref" and b"#" in target:
            code = "unauthorized"  # rebuilt as an encoded part of the path, which nobody signed
        assert (as_path.json["code"], as_sent.json["code"]) == (code, code)
