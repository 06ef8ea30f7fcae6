"""Recording a mix from the application as it was, and replaying it through the guard: what differs, and why.

Both ways of asking give every field of the answer but Date and the id of the request, which the guard adds.
"""

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from coexist.mix import Kind, Mix, Sent

from tradeguard.core.event import Event

_OWN = ("date", "server", "connection")  # of the server, not of the answer
_ID = "x-request-id"


class Answer(NamedTuple):
    """What came back, and the guard's id of the request."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: str
    request_id: str = ""

    @property
    def seen(self) -> tuple[Any, ...]:
        """What a customer sees of it."""
        return self.status, self.fields, self.body


Ask = Callable[[Sent], Answer]


class Exchange(NamedTuple):
    """A line of a recording: what was sent, and what the application answered before there was a guard."""

    sent: Sent
    before: Answer

    def encode(self) -> str:
        """Write the line."""
        return json.dumps([self.sent, self.before], separators=(",", ":"))

    @classmethod
    def decode(cls, line: str) -> "Exchange":
        """Read a line back."""
        sent, before = json.loads(line)
        sent[5] = tuple(map(tuple, sent[5]))
        before[1] = tuple(map(tuple, before[1]))
        return cls(Sent(*sent), Answer(*before))


def record(mix: Mix, size: int, ask: Ask, now: Callable[[], int]) -> Iterator[Exchange]:
    """Write a mix and ask the application that was there before; all that comes from one address has one time."""
    made = 0
    for group in mix.write(size):
        at, source = now(), mix.address(group[0])
        for sent in _render(mix, group, at, source):
            yield Exchange(sent, ask(sent))
            made += 1
    assert made >= size


def _render(mix: Mix, group: Iterable[Kind], at: int, source: str) -> Iterator[Sent]:
    for one in group:
        yield from mix.render(one, at, source)


def make_answer(status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes) -> Answer:
    """Return an answer without what is the server's own."""
    told = [(name.decode().lower(), value.decode()) for name, value in fields]
    ids = dict(told).get(_ID, "")
    kept = tuple(sorted(field for field in told if field[0] not in (*_OWN, _ID)))
    return Answer(status, kept, body.decode(), ids)


class InProcess:
    """Asks an ASGI application as a server does, without sockets.

    Args:
        app: the application.
        run: runs a coroutine on the loop of the test.
    """

    def __init__(self, app: Any, run: Callable[[Any], Any]) -> None:
        self._app, self._run = app, run

    def __call__(self, sent: Sent) -> Answer:
        """Send a request and return what was answered."""
        answer: Answer = self._run(self._ask(sent))
        return answer

    async def _ask(self, sent: Sent) -> Answer:
        path, _, query = sent.target.partition("?")
        messages: list[Any] = []
        bodies = iter([sent.body.encode()])
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": sent.method, "scheme": "http",
            "path": path.replace("%6F", "o"), "raw_path": path.encode(), "query_string": query.encode(),
            "root_path": "", "headers": [(name.encode(), value.encode()) for name, value in sent.headers],
            "client": (sent.source, 50_000), "server": ("127.0.0.1", 80), "state": {}, "extensions": {},
        }  # fmt: skip

        async def receive() -> Any:
            for body in bodies:
                return {"type": "http.request", "body": body, "more_body": False}
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            messages.append(message)

        await self._app(scope, receive, send)
        start, *parts = messages
        return make_answer(start["status"], start["headers"], b"".join(part.get("body", b"") for part in parts))


class OverWire:
    """Asks a server on loopback, every request over a connection of its own, from the address that it names."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, sent: Sent) -> Answer:
        """Send a request and return what was answered."""
        lines = [f"{sent.method} {sent.target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.headers)]
        data = "\r\n".join([*lines, "connection: close", "", sent.body]).encode()
        with socket.create_connection(("127.0.0.1", self._port), 20, (sent.source, 0)) as sock:
            sock.sendall(data)
            head, _, body = b"".join(iter(lambda: sock.recv(65_536), b"")).partition(b"\r\n\r\n")
        first, *fields = head.split(b"\r\n")
        pairs = (field.partition(b": ")[::2] for field in fields)
        return make_answer(int(first.split()[1]), pairs, body)


Reasons = dict[str, str]


def reason(event: Event | Mapping[str, Any]) -> tuple[str, str]:
    """Return the request of an event and why it came out so: the code of a refusal, or how it came in."""
    told = event if isinstance(event, Mapping) else event._asdict()
    if told["kind"] == "refused":
        return told["request_id"], told["code"]
    if told["dialect"] == "host":
        return told["request_id"], "vouched" if told["proven"] else "unvouched"
    return told["request_id"], "proved" if told["proven"] else "public"


def gather(events: Iterable[Event | Mapping[str, Any]], reasons: Reasons) -> None:
    """Take the reasons out of events; a refusal counts more than the outcome of having been refused."""
    for event in events:
        kind = event["kind"] if isinstance(event, Mapping) else event.kind
        if kind in ("refused", "outcome"):
            id, why = reason(event)
            reasons[id] = why if kind == "refused" else reasons.get(id, why)


class Row(NamedTuple):
    """A line of the table: a kind, both statuses, whether a customer sees any difference, and why it is so."""

    kind: str
    before: int
    after: int
    differs: bool
    why: str


class Comparison:
    """Counts what became of each kind of request.

    `done` counts what was answered as done (orders, cancellations, withdrawals): before, and behind the guard.
    """

    def __init__(self) -> None:
        self.rows: Counter[Row] = Counter()
        self.done = [0, 0]
        self.sample: dict[Row, tuple[Exchange, Answer]] = {}

    def add(self, exchange: Exchange, after: Answer, reasons: Reasons) -> None:
        """Compare two answers to one request."""
        sent, before = exchange
        why = reasons.get(after.request_id) or _code(after)
        row = Row(sent.kind, before.status, after.status, before.seen != after.seen, why)
        self.rows[row] += 1
        if sent.method in ("POST", "DELETE"):
            self.done[0] += before.status < 300
            self.done[1] += after.status < 300
        self.sample.setdefault(row, (exchange, after))

    def unexplained(self, expected: Mapping[str, tuple[int, int, str]]) -> list[str]:
        """Return what nobody expected: another outcome than the kind's, or a difference where none is due."""
        found = [self._tell(row) for row in self.rows if not _explained(row, expected)]
        seen = {row.kind for row in self.rows}
        return found + [f"nothing came of {kind!r}" for kind in sorted(set(expected) - seen)]

    def table(self) -> str:
        """Return the differences by what explains them, then what stayed as it was."""
        lines = [f"{'requests':>9}  {'before -> behind':<17} {'why':<20} sent"]
        for row in sorted(self.rows, key=lambda row: (not row.differs, row.why, row.kind)):
            change = f"{row.before} -> {row.after}" if row.differs else f"{row.before}, the same"
            lines.append(f"{self.rows[row]:>9,}  {change:<17} {row.why:<20} {row.kind}")
        differ = sum(times for row, times in self.rows.items() if row.differs)
        return "\n".join([*lines, f"{self.rows.total():,} requests, {differ:,} answered differently"])

    def _tell(self, row: Row) -> str:
        exchange, after = self.sample[row]
        return f"{self.rows[row]} times: {row}\n  {exchange.sent}\n  before {exchange.before}\n  behind {after}"


def _explained(row: Row, expected: Mapping[str, tuple[int, int, str]]) -> bool:
    if expected.get(row.kind) != (row.before, row.after, row.why):
        return False
    granted = row.why in ("vouched", "unvouched", "proved", "public")
    return row.differs == (row.before != row.after or not granted)  # a refusal of ours says more than a 404 did


def _code(answer: Answer) -> str:
    """The public code of a refusal that is on record as a number only."""
    return str(json.loads(answer.body).get("code", "")) if answer.status >= 400 else ""
