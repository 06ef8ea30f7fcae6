"""WSGI: Flask, Django and any other PEP 3333 application.

The signed target is prefix + received: the server's own raw target where it hands one on (`REQUEST_URI`, `RAW_URI`:
gunicorn, waitress, werkzeug), with `SCRIPT_NAME` in front where it lacks that.

What wsgiref loses: it hands on no raw target, so that is rebuilt from `SCRIPT_NAME` + `PATH_INFO` in their canonical
spelling (letters, digits and `-._~!$&'()*+,=:@` as themselves, all else as upper-case percent-encoded UTF-8); a client
that spells it otherwise, or sends a bare trailing `?`, cannot be verified. It says `text/plain` where there is no
Content-Type, so `text/plain` is taken for none. Of two Content-Length or Content-Type fields it shows one.

A response that is given piece by piece is looked at again after each piece: whose key or halt ends in the meantime gets
the next one no more, and the server closes the connection, since the message is not complete. A piece that the
application waits for cannot be interrupted.

A thread that waits for a body cannot be interrupted: the deadline is tested between chunks and after the last byte. The
server must bring the rest: a timeout on its sockets (gunicorn --timeout, waitress channel_timeout). A server that reads
on after an early answer must close the connection or read the body away; an application may not send Connection.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from tradeguard.adapters.answer import Answer, phrase
from tradeguard.adapters.edge import Edge, meet, preflight, ready, refusal
from tradeguard.adapters.given import Config, open_guard
from tradeguard.adapters.passage import PASSAGE, Passage
from tradeguard.core.cors import Fields
from tradeguard.core.decision import Denial, Refused
from tradeguard.core.drive import drive
from tradeguard.core.frame import LENGTH, quote_path
from tradeguard.core.guard import Guard
from tradeguard.core.proxy import peer_named
from tradeguard.core.request import Headers, Request
from tradeguard.core.runtime import Threads, request_id

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_CHUNK: Final = 65_536


class WSGI:
    """Guards a WSGI application. The handler finds the `Grant` in `environ["tradeguard"]`.

    Args:
        app: the application.
        guard: the guard, or a function that builds it.
        config: instead of a guard, the configuration file to build it from; True for the one that is found
            (TRADEGUARD_CONFIG, else ./tradeguard.toml).

    Raises:
        ConfigError: while it is built, so that a wrong configuration stops the server.
    """

    def __init__(
        self, app: App, guard: Guard | Callable[[], Guard] | None = None, *, config: Config | None = None
    ) -> None:
        self.app = app
        self.guard = open_guard(guard, config, blocking=True)
        self.guard.bind(Threads())

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        guard, id = self.guard, request_id()
        if _has_passed(guard, environ):
            return self.app(environ, start_response)
        arrived, edge = guard.runtime.now(), _meet(guard, environ)
        denial = guard.door(edge.peer, arrived)
        if denial is not None:
            return _dressed(refusal(guard, denial, id), edge, environ, start_response)
        asked = preflight(guard, environ["REQUEST_METHOD"], edge, id)
        if asked is not None:
            return _answer(asked, asked.fields, environ, start_response)
        request = _request(guard, environ, id, edge, arrived)
        decision = drive(guard.admit(request))
        if isinstance(decision, Denial):
            return _dressed(refusal(guard, decision, id, request), edge, environ, start_response)
        own = ready(guard, request, decision)
        if own is not None:
            return _dressed(own, edge, environ, start_response)
        passage = Passage(guard, request, decision)
        environ["tradeguard"], environ[PASSAGE] = decision, passage
        _replay(environ, drive(request.body()))
        return _Response(self.app, passage, edge, environ, start_response)


class _Response:
    """The application's response, passed through as it comes; its end is the outcome."""

    def __init__(self, app: App, passage: Passage, edge: Edge, environ: Environ, start_response: StartResponse) -> None:
        self._passage, self._edge, self._start = passage, edge, start_response
        self._status, self._finished = 0, False
        try:
            self._chunks = app(environ, self._respond)
        except BaseException as error:
            self._finish(type(error).__name__)
            raise

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._chunks:
                yield chunk
                self._recheck()
        except Exception as error:
            self._finish(type(error).__name__)
            raise

    def _recheck(self) -> None:
        """End the response where its grant has ended, so that the server closes the connection in the middle of it."""
        if not self._finished:
            denial = self._passage.grant.recheck()
            if denial is not None:
                self._passage.denial = denial
                raise ConnectionAbortedError(f"the guard has cut this response off: {denial.public}")

    def close(self) -> None:
        """Called by the server at the end, or when the client has gone."""
        try:
            close = getattr(self._chunks, "close", None)
            if close is not None:
                close()
        finally:
            self._finish()

    def _respond(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
        self._status = int(status[:3])
        theirs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return self._start(status, _text(self._edge.dress(theirs, self._passage.request)), *exc_info)

    def _finish(self, detail: str = "") -> None:
        if not self._finished:
            self._finished = True
            self._passage.finish(self._status, detail)


def _has_passed(guard: Guard, environ: Environ) -> bool:
    passage: Passage | None = environ.get(PASSAGE)
    return passage is not None and passage.holds(guard, environ["REQUEST_METHOD"], _locate(environ)[0])


def _meet(guard: Guard, environ: Environ) -> Edge:
    peer = peer_named(environ.get("REMOTE_ADDR"))
    return meet(guard.policy, Headers(_fields(environ)), peer, environ["wsgi.url_scheme"])


def _request(guard: Guard, environ: Environ, id: str, edge: Edge, arrived: int) -> Request:
    target, path, prefix = _locate(environ)
    return Request(
        id=id,
        method=environ["REQUEST_METHOD"],
        target=target,
        path=path,
        prefix=prefix,
        scheme=edge.scheme,
        version=environ.get("SERVER_PROTOCOL", "HTTP/1.1").removeprefix("HTTP/"),
        headers=edge.headers,
        peer=edge.peer,
        arrived=arrived,
        body=guard.reader(_Input(environ).chunk, arrived),
    )


class _Input:
    """The server's input, read up to the announced length, or to the end where the server marks that (chunked)."""

    def __init__(self, environ: Environ) -> None:
        self._environ = environ
        self._left: int | None = None

    async def chunk(self) -> tuple[bytes, bool]:
        """Read on; the frame has approved of the length by now."""
        length = self._environ.get("CONTENT_LENGTH")
        if not length and not self._environ.get("wsgi.input_terminated"):
            raise Refused(Denial(LENGTH, detail="this server does not read chunked bodies"))
        if self._left is None:
            self._left = int(length) if length else -1
        data: bytes = self._environ["wsgi.input"].read(min(_CHUNK, self._left) if length else _CHUNK)
        self._left -= len(data)
        return data, bool(data) and self._left != 0


def _locate(environ: Environ) -> tuple[bytes, str, str]:
    """Return the signed target, the path as it is routed, and the prefix."""
    prefix, path = _decode(environ.get("SCRIPT_NAME", "")), _decode(environ.get("PATH_INFO", ""))
    raw: str | None = environ.get("REQUEST_URI") or environ.get("RAW_URI")
    if raw is None:
        query = environ.get("QUERY_STRING", "")
        return quote_path(prefix + path) + ("?" + query if query else "").encode("latin-1"), path, prefix
    target, front = raw.encode("latin-1", "replace"), quote_path(prefix)
    if prefix and not (target == front or target.startswith((front + b"/", front + b"?"))):
        target = front + target
    return target, path, prefix


def _decode(text: str) -> str:
    """Read a PEP 3333 text: the bytes of UTF-8, each as one latin-1 character."""
    return text.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


def _fields(environ: Environ) -> list[tuple[bytes, bytes]]:
    fields = [
        (name[5:].replace("_", "-").lower().encode("latin-1"), str(value).encode("latin-1", "replace"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    kind, length = environ.get("CONTENT_TYPE"), environ.get("CONTENT_LENGTH")
    if kind and not (kind == "text/plain" and (environ.get("SERVER_SOFTWARE") or "").startswith("WSGIServer/")):
        fields.append((b"content-type", kind.encode("latin-1", "replace")))
    if length:
        fields.append((b"content-length", length.encode("latin-1", "replace")))
    return fields


def _replay(environ: Environ, body: bytes) -> None:
    environ["wsgi.input"] = io.BytesIO(body)
    environ["wsgi.input_terminated"] = True
    if environ.pop("HTTP_TRANSFER_ENCODING", None) or environ.get("CONTENT_LENGTH"):
        environ["CONTENT_LENGTH"] = str(len(body))


def _dressed(answer: Answer, edge: Edge, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return _answer(answer, edge.dress_answer(answer), environ, start_response)


def _answer(answer: Answer, fields: Fields, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response(f"{answer.status} {phrase(answer.status)}", _text(fields))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]


def _text(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
