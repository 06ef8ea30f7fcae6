"""What the demo throws at the example exchange: each attack with the answer that it must get."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import NamedTuple

from exchange import PREFIX, Client
from tg1_client import JSON, Answer, Wire, render

from tradeguard import TG1, Signer
from tradeguard.signing.message import FORM
from tradeguard.signing.signer import Outgoing

SECOND = 1_000_000_000
WINDOW = 5.0  # seconds that both dialects accept a signed time for
MEBIBYTE = 1_048_576
Case = tuple[str, str, bytes]


class Line(NamedTuple):
    """A line of the table. `expected` names one result, or several with ` | ` between them."""

    sent: str
    expected: str
    happened: str

    @property
    def holds(self) -> bool:
        """Whether what happened is what was expected."""
        return self.happened in self.expected.split(" | ")


class Party:
    """Whoever sends requests to the exchange, honest or not.

    `placed` counts the orders that it was told are placed, `forgotten` those of them that the book has lost; `refused`
    has the request ids of tradeguard's refusals.

    Args:
        port: where the exchange listens.
        clients: what the holders of keys were given.
    """

    def __init__(self, port: int, clients: Mapping[str, Client]) -> None:
        self.port, self.placed, self.forgotten = port, 0, 0
        self.clients = dict(clients)
        self.refused: list[str] = []
        self.authority = f"127.0.0.1:{port}"
        self._lock, self._prices = threading.Lock(), count(1)

    def signer(self, name: str) -> Signer:
        """Return the signer of a holder's key."""
        return self.clients[name].make_signer()

    def id_of(self, name: str) -> str:
        """Return the id of a holder's key; what no holder has stands for itself."""
        return self.clients[name].id if name in self.clients else name

    def forget_book(self) -> None:
        """Take note that the exchange was started anew: its book is in memory only."""
        self.forgotten = self.placed

    def unsigned(self, method: str, path: str, body: bytes = b"") -> Outgoing:
        """Return a request without a credential."""
        return Outgoing(method, self.authority, f"{PREFIX}{path}".encode(), JSON if body else b"", body)

    def sign(
        self, name: str, method: str, path: str, body: bytes = b"", *, late: float = 0.0, nonce: bytes | None = None
    ) -> Outgoing:
        """Return a signed request. `late` is the age of its signed time, in seconds."""
        at = time.time_ns() - int(late * SECOND)
        return self.signer(name).sign(self.unsigned(method, path, body), at, nonce)

    def order(self, name: str = "trader", *, late: float = 0.0, nonce: bytes | None = None) -> Outgoing:
        """Return a signed order; no two have the same price."""
        return self.sign(name, "POST", "/v1/orders", self.ticket(), late=late, nonce=nonce)

    def forge(self, name: str, method: str = "POST", path: str = "/v1/orders") -> bytes:
        """Return a request in the name of a key, signed with a secret that is not the key's."""
        request = self.unsigned(method, path, self.ticket() if method == "POST" else b"")
        return render(Signer(TG1, self.id_of(name), b"some secret or other").sign(request, time.time_ns()))

    def ticket(self) -> bytes:
        """Return the body of a small order."""
        price = next(self._prices)
        return b'{"symbol": "BTCUSDT", "side": "BUY", "price": "%d", "quantity": "0.0001"}' % price

    def send(self, data: bytes, wire: Wire | None = None) -> Answer:
        """Send bytes, on a connection of their own unless one is given."""
        if wire is not None:
            return self.note(data, wire.ask(data))
        with Wire(self.port) as own:
            return self.note(data, own.ask(data))

    def note(self, data: bytes, answer: Answer) -> Answer:
        """Keep count of an answer, and return it."""
        method, path, *_ = data.split(b" ", 2)
        with self._lock:
            if (
                answer.status in (200, 201)
                and method == b"POST"
                and path.partition(b"?")[0].endswith((b"/order", b"/orders"))
            ):
                self.placed += 1
            if answer.code:
                self.refused.append(answer.headers["x-request-id"])
        return answer

    def tell(self, sent: str, expected: str, data: bytes) -> Line:
        """Send bytes and return the line about it."""
        return Line(sent, expected, self.send(data).brief)


def tamper(party: Party) -> Iterator[Case]:
    """Change what was signed, or who signed it."""
    unauthorized = "401 unauthorized"
    order, swapped = party.order(), party.ticket()
    yield "an order, its body changed", unauthorized, render(order._replace(body=swapped))
    yield "an order, a query added", unauthorized, render(order._replace(target=order.target + b"?price=1"))
    yield "an order, its path changed to a withdrawal", unauthorized, _at(order, "/v1/withdraw")
    yield "an order, its method changed", unauthorized, render(order._replace(method="PUT"))
    yield "an order, its content type changed", unauthorized, render(order._replace(content_type=b"text/plain"))
    yield "an order, sent to another host", unauthorized, render(order, (b"host", b"other.example"))
    *fields, (name, signature) = order.headers
    padded = order._replace(headers=(*fields, (name, signature + b"=")))
    yield "an order, padding after its signature", unauthorized, render(padded)
    key = (b"tg-key", party.id_of("trader").encode())
    yield "an order, its key named twice", unauthorized, render(order, key)
    bare = party.unsigned("POST", "/v1/orders", swapped)
    yield "an order without a signature", unauthorized, render(bare)
    yield "an order with a key and no signature", unauthorized, render(bare, key)
    yield "an order, signed with another secret", unauthorized, party.forge("trader")
    yield "an order of an unknown key", unauthorized, party.forge("ghost")
    yield "an HMAC in the name of an Ed25519 key", unauthorized, party.forge("robot")
    yield "an order of an expired key", unauthorized, render(party.order("leaver"))
    yield "a path that does not exist, not signed", unauthorized, render(party.unsigned("GET", "/v1/secret"))
    yield "a path that does not exist, signed", "404 guard.unmapped", render(party.sign("trader", "GET", "/v1/secret"))


def mistime(party: Party) -> Iterator[Case]:
    """Sign too early or too late."""
    yield "an order signed 6 s ago", "401 freshness.stale", render(party.order(late=6))
    yield "an order signed 3 s ahead of time", "401 freshness.early", render(party.order(late=-3))


def overreach(party: Party) -> Iterator[Case]:
    """Ask for what the key may not do; then send the refused request once more."""
    order = render(party.order("reader"))
    yield "an order of a key that may only read", "403 scope.missing", order
    yield "... the refused order sent again", "409 replay.seen", order
    order = render(party.order("office"))
    yield "an order from outside the key's networks", "403 network.outside", order
    yield "... the refused order sent again", "409 replay.seen", order
    claimed = render(party.order("office"), (b"x-forwarded-for", b"203.0.113.7"))
    yield "... claiming an address inside them", "403 network.outside", claimed
    wish = b'{"asset": "USDT", "amount": "1000"}'
    yield "a withdrawal by the trader", "403 scope.missing", render(party.sign("trader", "POST", "/v1/withdraw", wish))


def malform(party: Party) -> Iterator[Case]:
    """Requests that mean one thing to the map and another to the router, or ask for unbounded work."""
    wish = b'{"asset": "USDT", "amount": "1000"}'
    for path in ("/v1/%77ithdraw", "//v1/withdraw", "/v1/orders/../withdraw", "/v1/withdraw;x"):
        yield f"POST {path}", "400 frame.path", render(party.sign("trader", "POST", path, wish))
    override = (b"x-http-method-override", b"DELETE")
    yield "X-HTTP-Method-Override: DELETE", "400 frame.override", render(party.order(), override)
    yield (
        "_method=DELETE in the query",
        "400 frame.override",
        render(party.sign("trader", "GET", "/v1/me?_method=DELETE")),
    )
    yield "TRACE", "501 frame.method", render(party.sign("trader", "TRACE", "/v1/orders"))
    yield "a gzip body", "415 frame.encoded", render(party.order(), (b"content-encoding", b"gzip"))
    announced = render(party.order()._replace(body=b""), (b"content-length", b"%d" % (2 * MEBIBYTE)))
    yield "2 MiB announced", "413 frame.body", announced
    chunk = b"%x\r\n%s" % (MEBIBYTE + 1, bytes(MEBIBYTE + 1))
    chunked = render(party.order()._replace(body=chunk), (b"transfer-encoding", b"chunked"))
    yield "1 MiB and a byte in a chunk, without end", "413 body.large", chunked
    yield "a target of 9 kB", "414 frame.long", render(party.sign("trader", "GET", "/v1/me?" + "x" * 9_000))
    large = render(party.sign("trader", "GET", "/v1/me"), (b"x-filler", b"x" * 33_000))
    yield "a header of 33 kB", "431 frame.large", large
    hosts = render(party.order(), (b"host", party.authority.encode()), (b"host", b"other.example"))
    yield "two Hosts", "400 frame.host | 400 server", hosts
    order = party.order()
    both = render(order, (b"content-length", b"%d" % len(order.body)), (b"transfer-encoding", b"chunked"))
    yield "Content-Length and Transfer-Encoding", "400 frame.length | 400 server", both


def bend(party: Party, captured: Outgoing) -> Iterator[Case]:
    """Reuse an order that ccxt has signed: the Binance dialect covers neither method nor path, so the guard must.

    The refusals have the shape that clients of Binance know, with our code in the field tradeguard-code.
    """
    path, body = captured.target, captured.body
    yield "ccxt's order sent again", "400 replay.seen", render(captured)
    yield "... its quantity changed", "401 unauthorized", render(captured._replace(body=body.replace(b"0.01", b"9.01")))
    yield "... moved from the body into the query", "400 replay.seen", render(_moved(captured, "POST"))
    yield "... as a cancellation", "400 replay.seen", render(_moved(captured, "DELETE"))
    yield "... a query added to the form", "401 unauthorized", render(captured._replace(target=path + b"?quantity=9"))
    for name, text in (("timestamp twice", "&timestamp=1"), ("a window of 61 s", "&recvWindow=61000")):
        sent = Outgoing(
            "POST", party.authority, path, FORM, b"symbol=BTCUSDT&side=SELL&price=1&quantity=1" + text.encode()
        )
        yield f"a signed order with {name}", "401 unauthorized", render(party.signer("bina").sign(sent, time.time_ns()))


def replay(party: Party) -> Iterator[Line]:
    """Send one signed order more than once."""
    nonce = b"only-once-0123456789"
    order = render(party.order(nonce=nonce))
    yield party.tell("a signed order", "201", order)
    yield party.tell("... sent again", "409 replay.seen", order)
    yield party.tell("... its nonce under another order", "409 replay.seen", render(party.order(nonce=nonce)))
    order = render(party.order())
    with ThreadPoolExecutor(20) as pool:
        answers = [answer.brief for answer in pool.map(party.send, [order] * 20)]
    happened = f"{answers.count('201')} x 201, {answers.count('409 replay.seen')} x 409"
    yield Line("one signed order on 20 connections at once", "1 x 201, 19 x 409", happened)


def guess(party: Party) -> Iterator[Line]:
    """Guess signatures until the source is turned away, for that key; the others from there go on."""
    with Wire(party.port) as wire:
        answers = [party.send(party.forge("guessed", "GET", "/v1/me"), wire) for _ in range(30)]
    yield Line("the last of 30 guesses at one key", "429 source.pair", answers[-1].brief)
    yield party.tell("the trader, from the same address", "200", render(party.sign("trader", "GET", "/v1/me")))


def hold_open(party: Party, note: Callable[[str], None], pause: Callable[[float], object]) -> Iterator[Line]:
    """Send copies of an order without their last byte, before the order itself; complete one, and hold the other."""
    order = render(party.order())
    with Wire(party.port) as soon, Wire(party.port) as later:
        soon.send(order[:-1])
        later.send(order[:-1])
        begun = time.monotonic()
        yield party.tell("a signed order, two copies held open meanwhile", "201", order)
        soon.send(order[-1:])
        yield Line("... the last byte of a copy, at once", "409 replay.seen", party.note(order, soon.answer()).brief)
        note(f"a copy of an order is held until its signed time is over ({WINDOW:.0f} s); the rest goes on meanwhile")
        pause(max(0.0, begun + WINDOW + 0.3 - time.monotonic()))
        answer = party.note(order, later.answer())
        yield Line("... a copy held open, its time over", "408 body.slow", answer.brief)


def _at(request: Outgoing, path: str) -> bytes:
    return render(request._replace(target=f"{PREFIX}{path}".encode()))


def _moved(captured: Outgoing, method: str) -> Outgoing:
    return captured._replace(method=method, target=captured.target + b"?" + captured.body, content_type=b"", body=b"")
