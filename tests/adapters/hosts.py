"""Real servers on loopback, each with the same small guarded application; run as `python hosts.py <server> <journal>`.

The application reports what it saw, so that a test can tell what reached it. A server prints its port when it listens.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # support.py, when run as a script

from freeport import free_port
from support import OPERATIONS, make_keys

from tradeguard import ASGI, WSGI, Guard, Operations
from tradeguard.testing import site
from tradeguard.testing.site import asgi_app, report, wsgi_app

__all__ = ["ROWS", "SERVERS", "asgi_app", "make_guard", "report", "wsgi_app"]

ROWS = {**site.ROWS, **OPERATIONS, "POST /v1/twice": "orders:write"}


def make_guard(journal: str) -> Guard:
    """The guard that every server runs, with the keys of support.py: short body deadline, no barrier, many attacks."""
    guard = site.make_guard(Path(journal).parent, make_keys())
    guard.adopt(guard.checks, operations=Operations(ROWS), policy=guard.policy)
    return guard


def listen() -> socket.socket:
    """A listening socket on a free loopback port."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.set_inheritable(True)
    return sock


def announce(sock: socket.socket) -> None:
    """Tell the test where we listen."""
    print(sock.getsockname()[1], flush=True)


def run_uvicorn(journal: str, http: str, **settings: Any) -> None:
    """uvicorn, with its defaults but for what is given."""
    import uvicorn

    sock = listen()
    announce(sock)
    app = ASGI(asgi_app, guard=lambda: make_guard(journal))
    uvicorn.Server(uvicorn.Config(app, http=http, log_level="warning", **settings)).run(sockets=[sock])


def run_hypercorn(journal: str, **settings: Any) -> None:
    """hypercorn on asyncio."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    sock = listen()
    announce(sock)
    config = Config()
    config.bind = [f"fd://{sock.fileno()}"]
    for name, value in settings.items():
        setattr(config, name, value)
    app: Any = ASGI(asgi_app, guard=lambda: make_guard(journal))
    asyncio.run(serve(app, config, mode="asgi"))


def run_aiohttp(journal: str) -> None:
    """aiohttp's own server."""
    from adapters.aiohttp_app import make_app
    from aiohttp import web

    sock = listen()
    announce(sock)
    web.run_app(make_app(make_guard(journal)), sock=sock, print=None)


def run_wsgiref(journal: str) -> None:
    """The reference server, a thread per request."""
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Quiet) as server:
        server.set_app(WSGI(wsgi_app, guard=make_guard(journal)))
        announce(server.socket)
        server.serve_forever()


def run_waitress(journal: str) -> None:
    """waitress."""
    from waitress import serve

    sock = listen()
    announce(sock)
    serve(WSGI(wsgi_app, guard=make_guard(journal)), sockets=[sock], threads=4, ident=None)


def run_gunicorn(journal: str) -> None:
    """gunicorn, two threads in one worker; memory state knows no second one."""
    from gunicorn.app.base import BaseApplication

    sock = listen()
    announce(sock)
    os.environ["GUNICORN_FD"] = str(sock.fileno())

    class Server(BaseApplication):
        def load_config(self) -> None:
            self.cfg.set("bind", f"fd://{sock.fileno()}")
            self.cfg.set("worker_class", "gthread")
            self.cfg.set("threads", 4)
            self.cfg.set("loglevel", "error")
            self.cfg.set("keepalive", 5)
            self.cfg.set("control_socket_disable", True)

        def load(self) -> Any:
            return WSGI(wsgi_app, guard=make_guard(journal))

    Server().run()


def run_granian(journal: str, interface: Any) -> None:
    """granian, one worker; it finds its application by name."""
    from granian.log import LogLevels
    from granian.server import Server

    os.environ["JOURNAL"] = journal
    port = free_port()
    print(port, flush=True)
    Server(
        f"adapters.granian_apps:make_{interface}",
        "127.0.0.1",
        port,
        interface=interface,
        factory=True,
        log_level=LogLevels.error,
    ).serve()


def run_flask(journal: str) -> None:
    """Flask's own server (werkzeug), a thread per request, over a Flask application."""
    from adapters.framework_apps import make_flask
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, make_flask(make_guard(journal)), threaded=True)
    announce(server.socket)
    server.serve_forever()


def run_django(journal: str) -> None:
    """Django's own server (runserver), over a Django project with the middleware."""
    from adapters.framework_apps import make_django
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    make_django(make_guard(journal))
    with ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler) as server:
        server.set_app(get_wsgi_application())
        announce(server.socket)
        server.serve_forever()


def run_django_uvicorn(journal: str) -> None:
    """The same project under uvicorn."""
    import uvicorn
    from adapters.framework_apps import make_django
    from django.core.asgi import get_asgi_application

    make_django(make_guard(journal))
    sock = listen()
    announce(sock)
    config = uvicorn.Config(get_asgi_application(), http="h11", lifespan="off", log_level="warning")
    uvicorn.Server(config).run(sockets=[sock])


SERVERS: dict[str, Callable[[str], None]] = {
    "uvicorn-h11": lambda journal: run_uvicorn(journal, "h11"),
    "uvicorn-httptools": lambda journal: run_uvicorn(journal, "httptools"),
    "uvicorn-prefix": lambda journal: run_uvicorn(journal, "h11", root_path="/api"),
    "hypercorn": run_hypercorn,
    "hypercorn-prefix": lambda journal: run_hypercorn(journal, root_path="/api"),
    "aiohttp": run_aiohttp,
    "wsgiref": run_wsgiref,
    "waitress": run_waitress,
    "gunicorn": run_gunicorn,
    "granian": lambda journal: run_granian(journal, "asgi"),
    "granian-wsgi": lambda journal: run_granian(journal, "wsgi"),
    "flask": run_flask,
    "django": run_django,
    "django-uvicorn": run_django_uvicorn,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](sys.argv[2])
