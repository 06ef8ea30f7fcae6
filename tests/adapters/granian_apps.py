"""The applications of hosts.py as granian loads them: by name, in a process of its own."""

import os
from typing import Any

from adapters.hosts import asgi_app, make_guard, wsgi_app

from tradeguard import ASGI, WSGI


def make_asgi() -> Any:
    """The guarded ASGI application."""
    return ASGI(asgi_app, guard=lambda: make_guard(os.environ["JOURNAL"]))


def make_wsgi() -> Any:
    """The guarded WSGI application."""
    return WSGI(wsgi_app, guard=make_guard(os.environ["JOURNAL"]))
