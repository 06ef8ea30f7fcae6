"""What is special about WSGI: environments, rebuilt targets, response ends."""

import io
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from support import TRADER, make_guard

from tradeguard import WSGI, ConfigError, MemoryJournal
from tradeguard.adapters.wsgi import _locate
from tradeguard.core.runtime import Threads
from tradeguard.signing.signer import Outgoing


def environ(method: str = "GET", path: str = "/v1/time", **other: Any) -> dict[str, Any]:
    fields = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", "SCRIPT_NAME": ""}
    fields |= {"SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "api.example"}
    return {**fields, "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), **other}


class Started:
    """A server's start_response."""

    def __init__(self) -> None:
        self.status, self.fields = 0, dict[str, str]()

    def __call__(self, status: str, fields: list[tuple[str, str]], _exc: Any = None) -> Callable[[bytes], object]:
        self.status, self.fields = int(status[:3]), {name.lower(): value for name, value in fields}
        return lambda data: data


def serve(app: Callable[..., Iterable[bytes]], journal: MemoryJournal, env: dict[str, Any]) -> tuple[Started, bytes]:
    start = Started()
    response: Any = WSGI(app, guard=make_guard(runtime=Threads(), journal=journal))(env, start)
    body = b"".join(response)
    if hasattr(response, "close"):
        response.close()
    return start, body


def hello(env: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [env["wsgi.input"].read() or env["tradeguard"].request_id.encode()]


@pytest.mark.parametrize(
    ("env", "target", "path", "prefix"),
    [
        ({"PATH_INFO": "/v1/x", "QUERY_STRING": "a=%20"}, b"/v1/x?a=%20", "/v1/x", ""),
        (
            {"PATH_INFO": "/v1/Ã© b"},
            "/v1/é b".encode().replace(b" ", b"%20").replace("é".encode(), b"%C3%A9"),
            "/v1/é b",
            "",
        ),
        ({"PATH_INFO": "/x", "SCRIPT_NAME": "/api"}, b"/api/x", "/x", "/api"),
        ({"PATH_INFO": "/x", "SCRIPT_NAME": "/api", "REQUEST_URI": "/api/x?b"}, b"/api/x?b", "/x", "/api"),
        ({"PATH_INFO": "/x", "SCRIPT_NAME": "/api", "RAW_URI": "/x?b"}, b"/api/x?b", "/x", "/api"),
        ({"PATH_INFO": "/apix", "SCRIPT_NAME": "/api", "RAW_URI": "/apix"}, b"/api/apix", "/apix", "/api"),
        ({"PATH_INFO": "/a:b", "RAW_URI": "/a%3Ab?"}, b"/a%3Ab?", "/a:b", ""),
    ],
)
def test_the_target_is_prefix_and_received(env: dict[str, Any], target: bytes, path: str, prefix: str) -> None:
    assert _locate(env) == (target, path, prefix)


def test_wsgirefs_text_plain_is_no_content_type() -> None:
    for software, status in (("WSGIServer/0.2 CPython/3.11", 200), ("other", 401), (None, 401)):
        out = TRADER.sign(Outgoing("GET", "api.example", b"/v1/orders"), time.time_ns())
        signed = {f"HTTP_{name.decode().upper().replace('-', '_')}": value.decode() for name, value in out.headers}
        env = environ(path="/v1/orders", CONTENT_TYPE="text/plain", SERVER_SOFTWARE=software, **signed)
        assert serve(hello, MemoryJournal(), env)[0].status == status


def test_a_body_is_read_to_its_length_and_replayed() -> None:
    env = environ("POST", "/v1/echo", CONTENT_LENGTH="5", **{"wsgi.input": io.BytesIO(b"hello and the next request")})
    start, body = serve(hello, MemoryJournal(), env)
    assert (start.status, body) == (200, b"hello")


def test_a_body_that_ends_early_is_refused() -> None:
    env = environ("POST", "/v1/echo", CONTENT_LENGTH="5", **{"wsgi.input": io.BytesIO(b"hel")})
    journal = MemoryJournal()
    assert serve(hello, journal, env)[0].status == 400
    assert journal.events[-1].code == "body.short"


def test_an_application_that_raises_has_an_outcome() -> None:
    def raises(_env: Any, _start: Any) -> list[bytes]:
        raise ValueError("no")

    journal = MemoryJournal()
    with pytest.raises(ValueError, match="no"):
        serve(raises, journal, environ())
    assert [(event.kind, event.status, event.detail) for event in journal.events] == [("outcome", 0, "ValueError")]


def test_a_response_that_breaks_off_has_one_outcome() -> None:
    def breaks(_env: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"a"
        raise ValueError("no")

    journal = MemoryJournal()
    with pytest.raises(ValueError, match="no"):
        serve(breaks, journal, environ())
    assert [(event.kind, event.status, event.detail) for event in journal.events] == [("outcome", 200, "ValueError")]


def test_the_response_of_the_application_is_closed() -> None:
    closed: list[bool] = []

    class Response:
        def __iter__(self) -> Any:
            return iter([b"x"])

        def close(self) -> None:
            closed.append(True)

    def app(_env: Any, start_response: Any) -> Any:
        start_response("200 OK", [("X-Request-Id", "theirs")])
        return Response()

    journal = MemoryJournal()
    start, body = serve(app, journal, environ())
    assert (body, closed, len(journal.events)) == (b"x", [True], 1)
    assert start.fields["x-request-id"] == journal.events[0].request_id


def test_a_wrong_configuration_stops_the_server() -> None:
    with pytest.raises(ConfigError, match="proves who is asking"):
        WSGI(hello, guard=lambda: make_guard([]))


def test_an_asynchronous_backend_is_refused_with_the_cure() -> None:
    class Remote(MemoryJournal):
        colour = "async"

    with pytest.raises(ConfigError, match=r"Remote is async and cannot wait in this host .*use a backend"):
        WSGI(hello, guard=make_guard(runtime=None, journal=Remote()))
