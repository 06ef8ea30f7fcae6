"""The suites can fail: each is given something that breaks one promise, and must say so."""

from pathlib import Path

import pytest
from testing.page import run_pytest

from tradeguard.core.errors import ConfigError
from tradeguard.testing import HostConformance

HEAD = """
import asyncio, sqlite3
from tradeguard import Hmac, KeyRecord, LocalSealer, Memory, MemoryJournal, MemoryKeys
from tradeguard.core.event import Written
from tradeguard.core.secret import Secret
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.testing import *
from tradeguard.testing import (JournalConformance, KeyAdminConformance, KeysConformance, RoomConformance,
    SealerConformance, StateConformance)
KEY = KeyRecord(id="k-1", dialect="tg1", material=Hmac(b"k" * 32), scopes=["orders:read"])
SEALER = LocalSealer(MasterKeys([MasterKey(Secret(b"m" * 32))]))
"""
WRONG = {
    "a state that forgets": ("""
class Forgets(Memory):
    async def commit(self, conditions, at, request_id, seen, denied=False, reserve=False):
        return await Memory(since=1).commit(conditions, at, request_id, None, denied, reserve)
class TestIt(StateConformance):
    make = staticmethod(lambda **limits: Forgets(since=1, **limits))
""", "test_any_trace_means_what_the_model_says"),
    "a state that asks and then writes": ("""
class Races(Memory):
    colour = "async"
    async def commit(self, conditions, at, request_id, seen, denied=False, reserve=False):
        known = getattr(self, "known", {})
        self.known = known
        conditions = list(conditions)
        first = next((known[c.key] for c in conditions if getattr(c, "key", None) in known), None)
        await asyncio.sleep(0)
        outcome = await Memory(since=1).commit(conditions, at, request_id, None, denied, reserve)
        known.update({c.key: request_id for c in conditions if hasattr(c, "key")})
        return outcome._replace(first=first, failed=tuple(conditions) if first else ())
class TestIt(StateConformance):
    make = staticmethod(lambda **limits: Races(since=1, **limits))
""", "test_of_many_with_one_message_exactly_one_wins_and_the_others_hear_which"),
    "a state that evicts": ("""
class Evicts(Memory):
    async def commit(self, conditions, at, request_id, seen, denied=False, reserve=False):
        outcome = await super().commit(conditions, at, request_id, seen, denied, reserve)
        if outcome.full:
            self.__init__(since=1, capacity=100, per_key=100)
            return await super().commit(conditions, at, request_id, None, denied, reserve)
        return outcome
class TestIt(RoomConformance):
    make = staticmethod(lambda **limits: Evicts(since=1, **limits))
""", "test_a_full_table_never_forgets_what_lives"),
    "keys that put the half of it": ("""
class Halves(MemoryKeys):
    async def put(self, records):
        for record in records:
            self.put_now(record)
class TestIt(KeyAdminConformance):
    make = staticmethod(Halves)
""", "test_a_conflict_says_why_and_nothing_is_put"),
    "keys that tell no changes": ("""
class Silent(MemoryKeys):
    async def changes(self, mark):
        latest = await super().changes(None)
        return latest if mark is None else latest._replace(ids=())
class TestIt(KeyAdminConformance):
    make = staticmethod(Silent)
""", "test_who_follows_from_any_point_hears_of_every_change"),
    "keys found without case": ("""
class Folds(MemoryKeys):
    async def find(self, id):
        return await super().find(id.lower())
class TestIt(KeysConformance):
    known = "k-1"
    make = staticmethod(lambda: Folds([KEY]))
""", "test_an_id_in_another_case_does_not_find_it"),
    "keys found with a space": ("""
class Strips(MemoryKeys):
    async def find(self, id):
        return await super().find(id.rstrip())
class TestIt(KeysConformance):
    known = "k-1"
    make = staticmethod(lambda: Strips([KEY]))
""", "test_no_other_id_finds_it"),
    "a journal of lines": ("""
class Lines(MemoryJournal):
    def append(self, event):
        self.text = getattr(self, "text", "") + "|".join(map(str, event)) + "\\n"
        return Written()
def read(journal):
    from tradeguard.core.event import Event
    return [dict(zip(Event._fields, line.split("|"))) for line in journal.text.splitlines()]
class TestIt(JournalConformance):
    make, read = staticmethod(Lines), staticmethod(read)
""", "test_no_text_of_a_stranger_makes_two_events_of_one"),
    "a journal that raises": ("""
class Raises(MemoryJournal):
    def append(self, event):
        raise OSError("the disk is full")
class TestIt(JournalConformance):
    make, broken = staticmethod(MemoryJournal), staticmethod(Raises)
    read = staticmethod(lambda journal: [event._asdict() for event in journal.events])
""", "test_one_that_cannot_write_says_so_in_the_ticket_and_never_raises"),
    "a sealer that forgets the context": ("""
class Loose:
    colour = "instant"
    async def seal(self, secret, context):
        return await SEALER.seal(secret, b"")
    async def open(self, sealed, context):
        return await SEALER.open(sealed, b"")
class TestIt(SealerConformance):
    make = staticmethod(Loose)
""", "test_another_context_does_not_open_it"),
    "a host that hands on another body": ("""
import threading
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
from tradeguard import WSGI
from tradeguard.testing import HostConformance, site
class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
@contextmanager
def serve(folder):
    def app(environ, start_response):
        environ["wsgi.input"].read(1)
        return site.wsgi_app(environ, start_response)
    with make_server("127.0.0.1", 0, WSGI(app, guard=site.make_guard(folder)), Server) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()
class TestIt(HostConformance):
    serve = staticmethod(serve)
    loses = {"raw target", "question mark", "chunks", "deadline", "close"}
""", "test_a_body_arrives_untouched"),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of all of them."""
    names = " or ".join(test for _, test in WRONG.values())
    codes = [HEAD + code for code, _ in WRONG.values()]
    return run_pytest(tmp_path_factory.mktemp("wrong"), *codes, options=["-k", names]).stdout


@pytest.mark.parametrize("kind", WRONG)
def test_a_suite_finds(kind: str, said: str) -> None:
    number = list(WRONG).index(kind)
    assert f"FAILED test_{number}.py::TestIt::{WRONG[kind][1]}" in said, said


def test_an_unknown_loss_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no host loses 'raw targets'; it is one of absolute form, "):
        type("TestIt", (HostConformance,), {"loses": {"raw targets"}})


def test_a_suite_says_what_it_needs(tmp_path: Path) -> None:
    suites = ["StateConformance", "JournalConformance", "KeysConformance", "SealerConformance", "KeyTableConformance"]
    codes = [f"from tradeguard.testing import {suite}\nclass TestIt({suite}): pass\n" for suite in suites]
    said = run_pytest(tmp_path, *codes, options=["--tb=line"]).stdout
    for number in range(len(suites)):
        assert f"FAILED test_{number}.py::TestIt::" in said
    assert "NotImplementedError: make = staticmethod(lambda" in said
    assert " passed" not in said
