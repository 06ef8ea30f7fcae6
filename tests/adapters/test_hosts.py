"""Every host passes the suite that hosts of others pass, on real servers and over real sockets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from adapters.wire import running
from support import EDWARD, HOME, READER, TRADER

from tradeguard.testing import HostConformance
from tradeguard.testing.site import Signers

SIGNERS = Signers(TRADER, READER, HOME, EDWARD)
THREADS = {"deadline", "close"}


class Ours(HostConformance):
    """A server of hosts.py, by its name there."""

    name: ClassVar[str]
    signers = SIGNERS

    @classmethod
    @contextmanager
    def serve(cls, folder: Path) -> Iterator[int]:
        with running(cls.name, folder) as host:
            yield host.port


class TestUvicornH11(Ours):
    name = "uvicorn-h11"
    loses = frozenset({"question mark"})


class TestUvicornHttptools(Ours):
    name = "uvicorn-httptools"
    loses = frozenset({"question mark", "absolute form"})


class TestHypercorn(Ours):
    name = "hypercorn"
    loses = frozenset({"question mark"})


class TestAiohttp(Ours):
    name = "aiohttp"


class TestGranian(Ours):
    name = "granian"
    loses = frozenset({"question mark", "absolute form"})


class TestGranianThreads(Ours):
    name = "granian-wsgi"
    loses = THREADS | {"raw target", "question mark", "absolute form"}


class TestWsgiref(Ours):
    name = "wsgiref"
    loses = THREADS | {"raw target", "question mark", "chunks"}


class TestWaitress(Ours):
    name = "waitress"
    loses = THREADS | {"chunk sizes", "early answer"}


class TestGunicorn(Ours):
    name = "gunicorn"
    loses = THREADS


class TestFlask(Ours):
    name = "flask"
    loses = THREADS | {"front slashes"}


class TestDjango(Ours):
    name = "django"
    loses = THREADS | {"raw target", "question mark", "chunks"}


class TestDjangoAsync(Ours):
    name = "django-uvicorn"
    loses = frozenset({"question mark", "deadline", "early answer"})  # Django reads the body before any middleware
