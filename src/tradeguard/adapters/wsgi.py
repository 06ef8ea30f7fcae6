"""WSGI: Flask, Django and any other PEP 3333 application.

The signed target is prefix + received: the server's own raw target where it hands one on (`REQUEST_URI`, `RAW_URI`:
gunicorn, waitress, werkzeug, uwsgi), with `SCRIPT_NAME` in front where it lacks that. wsgiref hands none on, so the
target is rebuilt as `SCRIPT_NAME` + `PATH_INFO` in their one canonical spelling: letters, digits and `-._~!$&'()*+,=:@`
as themselves, all else as upper-case percent-encoded UTF-8. A client that encodes one of those cannot be verified
there; and a bare trailing `?` is lost.

A thread that waits for a body cannot be interrupted: the deadline is tested between chunks and after the last byte. The
server must bring the rest: a read timeout on its sockets (gunicorn --timeout, waitress channel_timeout).
"""

import io
import logging
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from tradeguard.adapters.answer import UNCONFIGURED, refuse, response_fields
from tradeguard.core.address import parse_address
from tradeguard.core.decision import Decision, Denial
from tradeguard.core.drive import drive
from tradeguard.core.guard import Guard
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.core.runtime import Threads, request_id
