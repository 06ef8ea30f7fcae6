"""Venues that the table does not list: their unmodified clients, and a row in TOML for each, as a new user writes it.

Every request is made by ccxt, asks a guarded application that is served, and is kept on the way there.
"""

import http.client
import importlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from dialects.hosting import HOSTED, RUNTIMES
from dialects.recorder import Answer, Recorded, Recorder, recording
from dialects.venues import TRICKY, Terminated, outcome_of

from tradeguard import Guard, Operations
from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Policy
from tradeguard.signing.material import Hmac
from tradeguard.signing.row import REQUIRED_COVERAGE, Header, Row
from tradeguard.signing.written import read_document

ccxt: Any = importlib.import_module("ccxt")
KEPT = 599  # what a request is answered that goes no further
KEY, SECRET, PHRASE = "further-venue-0123456789", "5c7d3a1e9b8f4e2d6a0c1b2d3e4f5a6b", "test pass-phrase 1"
ORDER = {"side": "buy", "price": "50000", "amount": "0.01"}
Call = tuple[str, Mapping[str, Any], str]


@dataclass(frozen=True, slots=True)
class Further:
    """A venue: a read with a query, or in a body where it reads by POST, and an order.

    Each is ccxt's implicit method, its parameters, and what it asks for. `fine` is an answer that ccxt takes for a
    success, `bare` a read without any parameter; `https` says that the address is signed with its scheme.
    """

    read: Call
    order: Call
    bare: Call | None = None
    fine: bytes = b"{}"
    https: bool = False

    @property
    def calls(self) -> tuple[Call, ...]:
        """All of them."""
        return self.read, self.order, *([self.bare] if self.bare is not None else [])


VENUES = {
    "bingx": Further(
        ("spotV1PrivateGetTradeQuery", {"symbol": "BTC-USDT", "orderId": "12"}, "GET /openApi/spot/v1/trade/query"),
        ("spotV1PrivatePostTradeOrder", {"symbol": "BTC-USDT", **ORDER}, "POST /openApi/spot/v1/trade/order"),
    ),
    "bitflyer": Further(
        ("privateGetGetchildorders", {"product_code": "BTC_JPY"}, "GET /v1/me/getchildorders"),
        ("privatePostSendchildorder", {"product_code": "BTC_JPY", **ORDER}, "POST /v1/me/sendchildorder"),
    ),
    "bithumb": Further(
        ("privatePostInfoBalance", {"currency": "BTC"}, "POST /info/balance"),
        ("privatePostTradePlace", {"order_currency": "BTC", "units": "1", "type": "bid"}, "POST /trade/place"),
    ),
    "blofin": Further(
        (
            "privateGetTradeOrdersAlgoPending",
            {"instId": "BTC-USDT", "limit": 5},
            "GET /api/v1/trade/orders-algo-pending",
        ),
        ("privatePostTradeOrder", {"instId": "BTC-USDT", **ORDER}, "POST /api/v1/trade/order"),
    ),
    "cex": Further(
        ("privatePostGetMyOrders", {"pair": "BTC-USD"}, "POST /api/spot/rest/get_my_orders"),
        ("privatePostDoMyNewOrder", {"pair": "BTC-USD", **ORDER}, "POST /api/spot/rest/do_my_new_order"),
    ),
    "coincheck": Further(
        (
            "privateGetExchangeOrdersTransactionsPagination",
            {"limit": "5"},
            "GET /api/exchange/orders/transactions_pagination",
        ),
        ("privatePostExchangeOrders", {"pair": "btc_jpy", **ORDER}, "POST /api/exchange/orders"),
        https=True,
    ),
    "deepcoin": Further(
        ("privateGetDeepcoinTradeOrdersHistory", {"instType": "SPOT"}, "GET /deepcoin/trade/orders-history"),
        ("privatePostDeepcoinTradeOrder", {"instId": "BTC-USDT", **ORDER}, "POST /deepcoin/trade/order"),
        fine=b'{"code": "0"}',
    ),
    "delta": Further(
        ("privateGetOrders", {"state": "open"}, "GET /v2/orders"),
        ("privatePostOrders", {"product_id": "27", **ORDER}, "POST /v2/orders"),
        ("privateGetWalletBalances", {}, "GET /v2/wallet/balances"),
    ),
    "foxbit": Further(
        ("v3PrivateGetOrders", {"market_symbol": "btcbrl"}, "GET /rest/v3/orders"),
        ("v3PrivatePostOrders", {"market_symbol": "btcbrl", **ORDER}, "POST /rest/v3/orders"),
    ),
    "hollaex": Further(
        ("privateGetOrders", {"symbol": "btc-usdt"}, "GET /v2/orders"),
        ("privatePostOrder", {"symbol": "btc-usdt", **ORDER}, "POST /v2/order"),
    ),
    "toobit": Further(
        ("privateGetApiV1SpotOrder", {"symbol": "BTCUSDT"}, "GET /api/v1/spot/order"),
        ("privatePostApiV1SpotOrder", {"symbol": "BTCUSDT", "side": "BUY", "quantity": "1"}, "POST /api/v1/spot/order"),
    ),
    "whitebit": Further(
        ("v4PrivatePostTradeAccountBalance", {"ticker": "BTC"}, "POST /api/v4/trade-account/balance"),
        ("v4PrivatePostOrderNew", {"market": "BTC_USDT", **ORDER}, "POST /api/v4/order/new"),
    ),
    "woo": Further(
        ("v3PrivateGetTradeOrders", {"symbol": "SPOT_BTC_USDT"}, "GET /v3/trade/orders"),
        ("v3PrivatePostTradeOrder", {"symbol": "SPOT_BTC_USDT", "type": "LIMIT", **ORDER}, "POST /v3/trade/order"),
    ),
    "xt": Further(
        ("privateSpotGetOpenOrder", {"symbol": "btc_usdt"}, "GET /v4/open-order"),
        ("privateSpotPostOrder", {"symbol": "btc_usdt", "side": "BUY", "quantity": "1"}, "POST /v4/order"),
        ("privateSpotGetBalances", {}, "GET /v4/balances"),
    ),
}


def read_venue(name: str) -> Row:
    """The row of a venue."""
    return read_document(tomllib.loads(Path(__file__).with_name("further").joinpath(f"{name}.toml").read_text()))[name]


def make_guard(name: str) -> Guard:
    """A guard that speaks the dialect of a venue alone, with one key."""
    row, venue = read_venue(name), VENUES[name]
    material = Hmac(SECRET.encode(), next(iter(row.algorithms)))
    key = KeyRecord(
        id=KEY,
        dialect=name,
        material=material,
        passphrase=material.blind(PHRASE.encode()).hex() if row.passphrase is not None else "",
        scopes=["orders:*"],
    )
    short = REQUIRED_COVERAGE - row.coverage
    signature = Signature(MemoryKeys([key]), dialects=(row,), accept=(name,) if short else ())
    operations = {call[2]: {"scopes": "orders:read", "lane": "read"} for call in venue.calls}
    return Guard(
        [signature, Freshness(), Network(), Scope(), Replay()],
        operations=Operations({**operations, venue.order[2]: {"scopes": "orders:write", "lane": "order"}}),
        state=Memory(since=1),
        journal=MemoryJournal(),
        policy=Policy(refusals=name),
        runtime=RUNTIMES["asgi"](),
    )


class Site:
    """A venue that is served: its unmodified client asks a proxy, which keeps what went over the wire."""

    def __init__(self, name: str, proxy: Recorder, upstream: str) -> None:
        self.name, self.venue, self.url, self.upstream = name, VENUES[name], proxy.url, upstream
        self.sent: list[tuple[Recorded, int]] = []
        self.keeps = False
        proxy.answer = self._forward

    def ask(self, call: Call, secret: str = SECRET, **more: Any) -> tuple[Recorded, int]:
        """Let the client make a call; what went out, and the status of the answer."""
        told = {"apiKey": KEY, "secret": secret, "password": PHRASE, "enableRateLimit": False}
        client = getattr(ccxt, self.name)(told)
        client.urls["api"] = _move(
            client.urls["api"], self.url.replace("http:", "https:" if self.venue.https else "http:")
        )
        client.session.mount("https://", Terminated())
        client.set_markets([])
        outcome = outcome_of(call[0], lambda: getattr(client, call[0])({**call[1], **more}))
        client.session.close()
        request, status = self.sent[-1]
        assert f"{request.method} {request.target.partition('?')[0]}" == call[2], outcome
        assert (status == 200) == (not outcome["raised"]), outcome
        return request, status

    def send(self, request: Recorded) -> Answer:
        """Send a request as it is, byte for byte."""
        line = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=10)
        line.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers:
            line.putheader(name, value.encode("latin-1"))
        line.endheaders(request.body or None)  # its length stands in the headers
        reply = line.getresponse()
        answer = Answer(reply.status, reply.read())
        line.close()
        return answer

    def _forward(self, request: Recorded) -> Answer:
        answer = Answer(KEPT) if self.keeps else self.send(request)
        self.sent.append((request, answer.status))
        return answer


def _move(urls: Any, base: str) -> Any:
    if isinstance(urls, Mapping):
        return {name: _move(url, base) for name, url in urls.items()}
    return base + urlsplit(urls).path if isinstance(urls, str) else urls


@pytest.fixture(scope="module")
def proxy() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


@pytest.fixture(params=sorted(VENUES))
def site(request: pytest.FixtureRequest, proxy: Recorder) -> Iterator[Site]:
    name: str = request.param
    with HOSTED["asgi"](make_guard(name), VENUES[name].fine) as upstream:
        yield Site(name, proxy, upstream)


def test_its_client_is_let_through(site: Site) -> None:
    for call in site.venue.calls:
        assert site.ask(call)[1] == 200, call


def test_its_client_sends_any_text(site: Site) -> None:
    for call in (site.venue.read, site.venue.order):
        request, status = site.ask(call, note=TRICKY)
        assert status == 200, request


def test_another_secret_is_refused(site: Site) -> None:
    for call in site.venue.calls:
        assert site.ask(call, secret=SECRET[::-1])[1] == 401


def test_an_order_is_taken_once(site: Site) -> None:
    request, status = site.ask(site.venue.order)
    assert status == 200
    assert site.send(request).status == 409


@pytest.mark.parametrize("call", ["read", "order"])
def test_what_was_caught_on_its_way_is_refused_in_every_other_form(site: Site, call: str) -> None:
    """It was never received before, so nothing but its signature speaks against it; as it is, it is taken."""
    site.keeps = True
    request, _ = site.ask(getattr(site.venue, call))
    changes = list(_change(request, read_venue(site.name)))
    assert len(changes) > 4
    told = {site.send(changed).status for changed in changes}
    assert told <= {400, 401, 404}, changes
    if 404 not in told:  # a path that is in no map, which uses the message up
        assert site.send(request).status == 200


def _change(request: Recorded, row: Row) -> Iterator[Recorded]:
    """The request with one part of it changed, or moved into another; not in what the row says it does not sign."""
    path, _, query = request.target.partition("?")
    yield replace(request, target=f"{path}?{query}&zz=1" if query else f"{path}?zz=1")
    yield _with_body(request, request.body + b"x")
    yield _with_body(request, request.body.replace(b"1", b"2") if b"1" in request.body else b'{"a":1}')
    if query:
        yield replace(request, target=path)
        yield replace(request, target=f"{path}?{query[1:]}")
        yield _with_body(replace(request, target=path), query.encode())
    if request.body and "form" not in row.parts:  # there a form and a query say the same
        yield _with_body(replace(request, target=f"{path}?{quote(request.body, safe='=&')}"), b"")
        yield _with_body(replace(request, target=f"{path}{quote(request.body[:1])}"), request.body[1:])
    if "method" in row.coverage:
        yield replace(request, method="PUT")
    if "path" in row.coverage:
        yield replace(request, target=request.target.replace(path, path + "1"))
    ours = {place.name.decode() for place in row.places if isinstance(place, Header)}
    for at, (name, value) in enumerate(request.headers):
        if name.lower() in ours:
            others = (*request.headers[:at], *request.headers[at + 1 :])
            yield replace(request, headers=others)
            yield replace(request, headers=(*request.headers, (name, value)))
            yield replace(request, headers=(*others, (name, _change_text(value))))


def _change_text(text: str) -> str:
    return text[:-3] + ("1" if text[-3] != "1" else "2") + text[-2:]


def _with_body(request: Recorded, body: bytes) -> Recorded:
    others = tuple((name, value) for name, value in request.headers if name.lower() != "content-length")
    return replace(request, body=body, headers=(*others, ("Content-Length", str(len(body)))))
