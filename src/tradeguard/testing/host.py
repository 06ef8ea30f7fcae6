"""HostConformance: what every host holds, over real sockets: it hands on what was sent, and nothing else passes.

The server runs the application of `site.py`, guarded, on loopback. Where a server does not hand on everything, the
class says so in `loses`, and the suite holds that nothing passes there which should not.
"""

import contextlib
import hashlib
import json
import re
import socket
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Final

from tradeguard.core.errors import ConfigError
from tradeguard.signing.encoding import encode_base64url
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Outgoing, Signer
from tradeguard.testing.site import Signers, make_signers
from tradeguard.testing.suite import pytest
from tradeguard.testing.wire import Host, exchange, head, read_reply, send, signed, wait_until_ready

JSON: Final = b"application/json"
LOSSES: Final = frozenset(
    {
        "raw target",
        "front slashes",
        "question mark",
        "chunks",
        "chunk sizes",
        "deadline",
        "close",
        "early answer",
        "absolute form",
    }
)


class HostConformance:
    """Holds a host against its promises.

    Set `serve` to a context manager that is given a folder, runs a server on loopback over the application of
    `tradeguard.testing.site` with the guard of `site.make_guard(folder)`, and gives its port.

    `loses` names what the server does not hand on or cannot do:

    raw target       the target as it was sent; it is rebuilt in its canonical spelling
    front slashes    the second slash of `//` at the front of a target
    question mark    a bare `?` at the end of a target
    chunks           chunked bodies
    chunk sizes      that a body came in chunks: it is read before the application sees the request
    deadline         it cannot interrupt who waits for a body
    close            an early answer cannot ask the server to close the connection
    early answer     it reads the whole body before it answers
    absolute form    scheme and host of an absolute target, and a fragment
    """

    loses: ClassVar[Collection[str]] = ()
    signers: ClassVar[Signers]

    def __init_subclass__(cls) -> None:
        unknown = sorted(set(cls.loses) - LOSSES)
        if unknown:
            raise ConfigError(f"{cls.__name__}: no host loses {unknown[0]!r}; it is one of {', '.join(sorted(LOSSES))}")

    @staticmethod
    def serve(folder: Path) -> AbstractContextManager[int]:
        """Run the server until the block ends; give its port."""
        raise NotImplementedError("serve = staticmethod(my_server), see docs/testing.md")

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
        """The running server."""
        folder = tmp_path_factory.mktemp("host")
        made = not hasattr(cls, "signers")
        if made:
            cls.signers = make_signers(folder)
        with cls.serve(folder) as port:
            host = Host(cls.__name__, port, folder / "audit.jsonl")
            wait_until_ready(host)
            yield host
        if made:
            del cls.signers

    def test_a_signed_request_reaches_the_handler_once(self, host: Host) -> None:
        """The handler sees key, path and query as they were signed."""
        reply = send(host, signed(host, self.signers.trader, "GET", b"/v1/orders?symbol=BTC%20USD&limit=5"))
        assert reply.status == 200, reply
        assert (reply.json["key"], reply.json["path"]) == ("trader", "/v1/orders")
        assert reply.json["query"] == "symbol=BTC%20USD&limit=5"

    def test_every_answer_carries_our_request_id_and_one_date(self, host: Host) -> None:
        """Granted or refused, X-Request-Id is the guard's own; the client's is only recorded."""
        for request in (signed(host, self.signers.trader, "GET", b"/v1/orders"), Outgoing("GET", "", b"/v1/orders")):
            reply = send(host, request, extra=(("X-Request-Id", "from-the-client"),))
            [request_id] = reply.all("x-request-id")
            assert len(request_id) == 32
            assert len(reply.all("date")) == 1
            assert host.events(request_id)[-1]["client_id"] == "from-the-client"

    def test_a_body_arrives_untouched(self, host: Host) -> None:
        """The handler reads the bytes that were signed, and the intent is on record before it."""
        body = bytes(range(256)) * 1000
        reply = send(host, signed(host, self.signers.edward, "POST", b"/v1/orders", body, b"application/octet-stream"))
        assert reply.status == 200, reply
        assert reply.json["body"] == hashlib.sha256(body).hexdigest()
        assert [event["kind"] for event in host.events(reply.all("x-request-id")[0])] == ["intent", "outcome"]

    def test_a_chunked_body_is_verified_or_refused(self, host: Host) -> None:
        """A body in chunks is put together and verified; a host that cannot refuses it with 400."""
        body = b'{"symbol":"BTC-USD"}' * 40
        reply = send(host, signed(host, self.signers.trader, "POST", b"/v1/orders", body, JSON), chunked=True)
        if "chunks" in self.loses:
            assert (reply.status, reply.json["code"]) == (400, "frame.length")
        else:
            assert reply.status == 200, reply
            assert reply.json["body"] == hashlib.sha256(body).hexdigest()
            assert reply.json["length"] in (None, str(len(body)))

    def test_a_stranger_gets_the_one_401(self, host: Host) -> None:
        """No credential, an unknown key and a wrong signature cannot be told apart."""
        unsigned = Outgoing("POST", "", b"/v1/orders", JSON, b"{}")
        unknown = signed(host, Signer(TG1, "nobody", b"x" * 32), "POST", b"/v1/orders", b"{}", JSON)
        wrong = signed(host, Signer(TG1, "trader", b"x" * 32), "POST", b"/v1/orders", b"{}", JSON)
        bodies = set[str]()
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
    def test_what_is_signed_cannot_be_changed(self, host: Host, change: dict[str, Any], code: str) -> None:
        """Method, target, content type and body of a signed request cannot be exchanged."""
        request = signed(host, self.signers.trader, "POST", b"/v1/orders?limit=5", b'{"qty":"1"}', JSON)
        reply = send(host, request._replace(**change))
        assert (reply.status, reply.json["code"]) == (401, "unauthorized")
        assert host.events(reply.all("x-request-id")[0])[-1]["code"] == code

    def test_a_replay_is_told_the_first_requests_id(self, host: Host) -> None:
        """A request that comes twice runs once; the second gets 409 and the id of the first."""
        request = signed(host, self.signers.trader, "POST", b"/v1/orders", b"{}", JSON)
        first, again = send(host, request), send(host, request)
        assert first.status == 200
        assert (again.status, again.json["code"], again.json["executed"]) == (409, "replay.seen", "unknown")
        assert again.json["first_request_id"] == first.all("x-request-id")[0]

    def test_after_the_proof_a_refusal_helps(self, host: Host) -> None:
        """Who has proved a key is told the missing scope, the address seen, or that nothing is there."""
        reply = send(host, signed(host, self.signers.reader, "POST", b"/v1/orders", b"{}", JSON))
        assert (reply.status, reply.json["code"], reply.json["scope"]) == (403, "scope.missing", "orders:write")
        reply = send(host, signed(host, self.signers.home, "POST", b"/v1/orders", b"{}", JSON))
        assert (reply.status, reply.json["code"], reply.json["address"]) == (403, "network.outside", "127.0.0.1")
        reply = send(host, signed(host, self.signers.trader, "GET", b"/v1/nothing"))
        assert (reply.status, reply.json["code"]) == (404, "guard.unmapped")

    def test_a_quota_is_told_with_every_answer_and_its_refusal_says_when_to_come_back(self, host: Host) -> None:
        """The RateLimit fields stand once on grants and on the 429, which has Retry-After and names the windows."""
        replies = [send(host, signed(host, self.signers.edward, "GET", b"/v1/limited")) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        for reply, left in zip(replies, (1, 0, 0), strict=True):
            [said] = reply.all("ratelimit")
            assert re.fullmatch(rf'"limited-1h";r={left};t=3(600|5\d\d)', said)
        assert [reply.all("ratelimit-policy") for reply in replies] == [['"limited-1h";q=2;w=3600']] * 3
        problem, [after] = replies[2].json, replies[2].all("retry-after")
        assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        assert (problem["violated-policies"], problem["executed"]) == (["limited-1h"], False)
        assert 3_500 < int(after) <= 3_600

    @pytest.mark.parametrize(
        "path", ["/v1/orders/a:b@c", "/v1/orders/a%20b", "/v1/orders/%C3%A9", "/v1/market/BTC-USD,ETH"]
    )
    def test_a_canonical_path_is_signed_as_it_is_sent(self, host: Host, path: str) -> None:
        """A path in its canonical spelling is granted, encoded characters included."""
        assert send(host, signed(host, self.signers.trader, "GET", path.encode())).status == 200

    @pytest.mark.parametrize(
        "path",
        ["//v1/orders", "/v1//orders", "/v1/./orders", "/v1/../v1/orders", "/v1/%6Frders", "/v1/orders;x", "/v1/a%2Fb"],
    )
    def test_a_path_in_another_spelling_never_reaches_the_handler(self, host: Host, path: str) -> None:
        """A second spelling of a path is refused, whatever the server makes of it."""
        reply = send(host, signed(host, self.signers.trader, "GET", path.encode()))
        assert reply.status in (400, 401, 404), reply
        folded = "front slashes" in self.loses and path.startswith("//")
        if "raw target" not in self.loses and not folded:  # else what is handed on was signed by nobody
            assert reply.status == 400

    def test_an_encoded_reserved_character_needs_the_raw_target(self, host: Host) -> None:
        """%3A is not `:`; only a host that rebuilds the target loses the difference, and refuses."""
        reply = send(host, signed(host, self.signers.trader, "GET", b"/v1/market/BTC%3AUSD"))
        assert reply.status == (401 if "raw target" in self.loses else 200)

    def test_a_bare_question_mark_is_lost_where_the_docs_say_so(self, host: Host) -> None:
        """A `?` without a query is part of what is signed, unless the server drops it."""
        reply = send(host, signed(host, self.signers.trader, "GET", b"/v1/orders?"))
        assert reply.status == (401 if "question mark" in self.loses else 200)

    @pytest.mark.parametrize(
        ("extra", "statuses"),
        [
            ((("Content-Encoding", "gzip"),), {415}),
            ((("X-HTTP-Method-Override", "DELETE"),), {400}),
            ((("Host", "evil.example"),), {400}),
            ((("TG-Nonce", "A" * 22),), {401}),
        ],
    )
    def test_heads_that_do_not_pass(self, host: Host, extra: tuple[tuple[str, str], ...], statuses: set[int]) -> None:
        """Content codings, method overrides, a second Host and a doubled credential are refused."""
        reply = send(host, signed(host, self.signers.trader, "POST", b"/v1/orders", b"{}", JSON), extra=extra)
        assert reply.status in statuses, reply

    def test_length_and_coding_at_once_do_not_pass(self, host: Host) -> None:
        """Content-Length beside Transfer-Encoding is refused: two readers could disagree about the end."""
        request = signed(host, self.signers.trader, "POST", b"/v1/orders", b"0\r\n\r\n", JSON)
        reply = send(host, request, extra=(("Transfer-Encoding", "chunked"),))
        assert reply.status in (400, 401), reply

    @pytest.mark.parametrize("method", ["TRACE", "post", "GE T"])
    def test_methods_that_do_not_pass(self, host: Host, method: str) -> None:
        """TRACE, lower case and what is no token never reach the handler."""
        reply = send(host, signed(host, self.signers.trader, method, b"/v1/orders"))
        assert reply.status in (400, 401, 405, 501), reply

    def test_a_body_above_the_cap_is_refused_before_it_is_read(self, host: Host) -> None:
        """A length above the limit is 413 from the head alone."""
        request = signed(host, self.signers.trader, "POST", b"/v1/orders", b"x" * 300_001, JSON)
        reply = send(host, request)
        assert (reply.status, reply.json["code"]) == (413, "frame.body")
        if "close" not in self.loses:
            assert reply.all("connection") == ["close"]

    def test_a_chunked_body_above_the_cap_is_refused(self, host: Host) -> None:
        """A body without a length is 413 as soon as it passes the limit."""
        if "chunks" in self.loses:
            pytest.skip("it reads no chunked bodies")
        reply = send(host, signed(host, self.signers.trader, "POST", b"/v1/orders", b"x" * 300_001, JSON), chunked=True)
        whole = "chunk sizes" in self.loses
        assert (reply.status, reply.json["code"]) == (413, "frame.body" if whole else "body.large")

    def test_a_stream_goes_out_piece_by_piece(self, host: Host) -> None:
        """The guard holds no part of a response back."""
        request = signed(host, self.signers.trader, "GET", b"/v1/stream")
        fields = [("Host", f"127.0.0.1:{host.port}"), *((n.decode(), v.decode()) for n, v in request.headers)]
        with socket.create_connection(("127.0.0.1", host.port), timeout=10) as sock:
            sock.sendall(head("GET", request.target, fields))
            seen = b""
            while b"0\n" not in seen.partition(b"\r\n\r\n")[2]:
                seen += sock.recv(4096)
            assert b"2\n" not in seen.partition(b"\r\n\r\n")[2]
            while b"trader" not in seen:
                seen += sock.recv(4096)

    def test_a_failing_handler_is_the_hosts_500_and_an_outcome(self, host: Host) -> None:
        """A handler's exception is the host's business, and on record."""
        request = signed(host, self.signers.trader, "GET", b"/v1/fail")
        reply = send(host, request)
        assert reply.status == 500
        outcome = host.outcome("GET /v1/fail")
        assert outcome["detail"] == "RuntimeError" or outcome["status"] == 500  # where a framework has caught it

    def test_a_public_operation_needs_no_key_but_a_signature_must_hold(self, host: Host) -> None:
        """A public row takes no key; a wrong signature there is refused all the same."""
        assert send(host, Outgoing("GET", "", b"/v1/time")).json["key"] is None
        assert send(host, Outgoing("GET", "", b"/v1/time"), extra=(("TG-Key", "trader"),)).json["key"] is None
        assert send(host, signed(host, self.signers.trader, "GET", b"/v1/time")).json["key"] == "trader"
        wrong = signed(host, Signer(TG1, "trader", b"x" * 32), "GET", b"/v1/time")
        assert send(host, wrong).status == 401

    def test_head_follows_get(self, host: Host) -> None:
        """HEAD is judged by the row of GET."""
        request = signed(host, self.signers.trader, "HEAD", b"/v1/orders")
        fields = [("Host", f"127.0.0.1:{host.port}"), *((n.decode(), v.decode()) for n, v in request.headers)]
        with socket.create_connection(("127.0.0.1", host.port), timeout=10) as sock:
            sock.sendall(head("HEAD", request.target, fields))
            assert b" 200 " in sock.recv(4096).partition(b"\r\n")[0]

    def test_a_withheld_body_ends_at_the_deadline_for_known_and_unknown_keys(self, host: Host) -> None:
        """A body that does not come is 408 at the deadline, and tells nothing about the key."""
        if "deadline" in self.loses:
            pytest.skip("a thread that waits cannot be interrupted; the server's timeout does this")
        answers: list[tuple[int, str, list[str]]] = []
        for signer in (self.signers.trader, Signer(TG1, "nobody", b"x" * 32)):
            request = signed(host, signer, "POST", b"/v1/orders", b"{}", JSON)
            fields = [("Host", f"127.0.0.1:{host.port}"), ("Content-Type", "application/json"), ("Content-Length", "2")]
            fields += [(name.decode(), value.decode()) for name, value in request.headers]
            reply = exchange(host, head("POST", b"/v1/orders", fields) + b"{")
            answers.append((reply.status, reply.json["code"], reply.all("connection")))
        assert answers[0] == answers[1] == (408, "body.slow", ["close"])

    def test_after_an_early_answer_the_rest_of_a_body_is_not_taken_for_a_request(self, host: Host) -> None:
        """What follows an early refusal is never read as the next request (smuggling)."""
        if "early answer" in self.loses:
            pytest.skip("it reads the whole body before the application sees anything")
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
    def test_any_bytes_in_a_credential_are_a_4xx(self, host: Host, value: bytes) -> None:
        """No value of a credential's field makes the server fail."""
        for name in (b"TG-Key", b"TG-Time", b"TG-Nonce", b"TG-Signature", b"X-MBX-APIKEY", b"Host"):
            request = signed(host, self.signers.trader, "GET", b"/v1/orders")
            lines = [b"GET /v1/orders HTTP/1.1", b"Connection: close"]
            fields = {b"host": b"127.0.0.1:%d" % host.port, **dict(request.headers), name.lower(): value}
            reply = exchange(host, b"\r\n".join([*lines, *(n + b": " + v for n, v in fields.items()), b"", b""]))
            assert 400 <= reply.status < 500, (name, reply)

    @pytest.mark.parametrize("form", [b"http://%s/v1/orders", b"/v1/orders#part"], ids=["absolute-form", "fragment"])
    def test_a_target_of_another_form_is_refused_or_taken_for_its_path(self, host: Host, form: bytes) -> None:
        """Absolute-form targets and fragments pass only where the server hands on their path alone."""
        target = form.replace(b"%s", b"127.0.0.1:%d" % host.port)
        as_path = send(host, signed(host, self.signers.trader, "GET", b"/v1/orders")._replace(target=target))
        as_sent = send(host, signed(host, self.signers.trader, "GET", target))
        if "absolute form" in self.loses:  # the path alone is handed on, so it is what can be signed
            assert (as_path.status, as_path.json["path"], as_sent.status) == (200, "/v1/orders", 401)
        else:
            code = "frame.path" if b"#" in target else "frame.target"
            if "raw target" in self.loses and b"#" in target:
                code = "unauthorized"  # rebuilt as an encoded part of the path, which nobody signed
            assert (as_path.json["code"], as_sent.json["code"]) == (code, code)
