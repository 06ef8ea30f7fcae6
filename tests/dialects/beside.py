"""The official SDKs, and what runs in the interpreter beside the tests: a job as JSON on stdin, outcomes on stdout.

Each function makes an unmodified client that asks `base` instead of the venue, and gives the calls it can make, under
the names that `venues.py` has for them. An SDK whose "tricky" is missing signs such text otherwise than it sends it.
"""

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dialects.venues import OLD, TRICKY, Credentials, Terminated, make_ccxt, outcome_of, perform

Calls = Mapping[str, Callable[[], Any]]
load: Callable[[str], Any] = importlib.import_module


def use_apart(package: str) -> None:
    """Take what stands in a folder of its own before what is installed: it would have broken others."""
    sys.path.insert(0, str(Path(sys.prefix, "apart", package)))


def python_binance(base: str, key: Credentials) -> Calls:
    """python-binance signs a text that is not encoded: what needs encoding does not verify, at Binance either."""
    secret = {"private_key": key.secret} if "PRIVATE KEY" in key.secret else {"api_secret": key.secret}
    client = load("binance.client").Client(key.key_id, **secret, ping=False)
    client.API_URL = f"{base}/api"
    order = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01",
        "price": "5",
    }
    return {
        "read": client.get_account,
        "query": lambda: client.get_open_orders(symbol="BTCUSDT"),
        "order": lambda: client.create_order(**order),
        "cancel": lambda: client.cancel_order(symbol="BTCUSDT", orderId=17),
    }


def binance_connector(base: str, key: Credentials) -> Calls:
    """The former official connector; everything goes in the query, of a POST too."""
    use_apart("binance-connector")
    asymmetric = "PRIVATE KEY" in key.secret
    secret = {"private_key": key.secret} if asymmetric else {"api_secret": key.secret}
    client = load("binance.spot").Spot(api_key=key.key_id, **secret, base_url=base)
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": 0.01, "price": 5}
    return {
        "query": lambda: client.get_open_orders(symbol="BTCUSDT"),
        "order": lambda: client.new_order(**order),
        "tricky": lambda: client.new_order(**order, newClientOrderId=TRICKY),
    }


def binance_sdk(base: str, key: Credentials) -> Calls:
    """The present official SDK."""
    secret = {"private_key": key.secret} if "PRIVATE KEY" in key.secret else {"api_secret": key.secret}
    told = load("binance_common.configuration").ConfigurationRestAPI(
        api_key=key.key_id, **secret, base_path=base, retries=0
    )
    client = load("binance_sdk_spot.spot").Spot(config_rest_api=told).rest_api
    order = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "time_in_force": "GTC",
        "quantity": 0.01,
        "price": 5.0,
    }
    return {
        "query": lambda: client.get_open_orders(symbol="BTCUSDT"),
        "order": lambda: client.new_order(**order),
        "tricky": lambda: client.new_order(**order, new_client_order_id=TRICKY),
    }


def pybit(base: str, key: Credentials) -> Calls:
    """Bybit's; its tricky GET goes out as it is, and requests then encodes it."""
    rsa = "PRIVATE KEY" in key.secret
    client = load("pybit.unified_trading").HTTP(api_key=key.key_id, api_secret=key.secret, rsa_authentication=rsa)
    client.endpoint = base
    order = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "5"}
    return {
        "query": lambda: client.get_open_orders(category="spot", symbol="BTCUSDT"),
        "order": lambda: client.place_order(**order),
        "tricky": lambda: client.place_order(**order, orderLinkId=TRICKY),
        "tricky-query": lambda: client.get_open_orders(category="spot", orderLinkId=TRICKY),
    }


def krakenex(base: str, key: Credentials) -> Calls:
    """The small one for Kraken."""
    client = load("krakenex").API(key.key_id, key.secret)
    client.uri = base
    order = {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "0.01", "price": "5"}
    return {
        "read": lambda: client.query_private("Balance"),
        "order": lambda: client.query_private("AddOrder", dict(order)),
        "tricky": lambda: client.query_private("AddOrder", {**order, "cl_ord_id": TRICKY}),
    }


def kraken_sdk(base: str, key: Credentials) -> Calls:
    """The large one for Kraken: forms, JSON, and a query beside a body."""
    client = load("kraken.spot").SpotClient(key=key.key_id, secret=key.secret, url=base)
    order = {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "0.01", "price": "5"}
    return {
        "order": lambda: client.request("POST", "/0/private/AddOrder", params=dict(order)),
        "tricky": lambda: client.request("POST", "/0/private/AddOrder", params={**order, "cl_ord_id": TRICKY}),
        "json": lambda: client.request("POST", "/0/private/AddOrderBatch", params={"orders": [order]}, do_json=True),
    }


def kraken_futures_sdk(base: str, key: Credentials) -> Calls:
    """Kraken Futures by the same author; it sends a Nonce."""
    client = load("kraken.base_api").FuturesClient(key=key.key_id, secret=key.secret, url=base)
    order = {"orderType": "lmt", "symbol": "PF_XBTUSD", "side": "buy", "size": "1", "limitPrice": "5"}
    where = "/derivatives/api/v3/"
    return {
        "query": lambda: client.request(
            "GET", f"{where}fills", query_params={"lastFillTime": "2026-01-01T00:00:00.000Z"}
        ),
        "order": lambda: client.request("POST", f"{where}sendorder", post_params=dict(order)),
        "tricky": lambda: client.request("POST", f"{where}sendorder", post_params={**order, "cliOrdId": TRICKY}),
    }


def coinbase(base: str, key: Credentials) -> Calls:
    """Coinbase Advanced's; it asks https only."""
    client = load("coinbase.rest").RESTClient(key.key_id, key.secret, base_url=base.removeprefix("http://"))
    client.session.mount("https://", Terminated())
    return {
        "query": lambda: client.list_orders(product_ids=["BTC-USDT", "ETH-USDT"]),
        "order": lambda: client.limit_order_gtc("tg-1", "BTC-USDT", "BUY", "0.01", "50000"),
        "tricky": lambda: client.limit_order_gtc(TRICKY, "BTC-USDT", "BUY", "0.01", "50000"),
    }


def kucoin(base: str, key: Credentials) -> Calls:
    """KuCoin's, with key version 3."""
    option = load("kucoin_universal_sdk.model.client_option").ClientOptionBuilder()
    transport = load("kucoin_universal_sdk.model.transport_option").TransportOptionBuilder().build()
    option.set_key(key.key_id).set_secret(key.secret).set_passphrase(key.passphrase).set_transport_option(transport)
    option.set_spot_endpoint(base).set_futures_endpoint(base).set_broker_endpoint(base)
    orders = (
        load("kucoin_universal_sdk.api").DefaultClient(option.build()).rest_service().get_spot_service().get_order_api()
    )
    model = load("kucoin_universal_sdk.generate.spot.order")
    order = {"clientOid": "tg-1", "side": "buy", "symbol": "BTC-USDT", "type": "limit", "price": "5", "size": "1"}
    return {
        "query": lambda: orders.get_open_orders(model.GetOpenOrdersReq.from_dict({"symbol": "BTC-USDT"})),
        "order": lambda: orders.add_order(model.AddOrderReq.from_dict(order)),
        "tricky": lambda: orders.add_order(model.AddOrderReq.from_dict({**order, "remark": TRICKY})),
        "tricky-query": lambda: orders.get_open_orders(model.GetOpenOrdersReq.from_dict({"symbol": TRICKY})),
    }


def kucoin_first(base: str, key: Credentials) -> Calls:
    """KuCoin's key version 1, which ccxt 4.5.20 sends when it is asked to: the passphrase goes in the clear."""
    client = make_ccxt("kucoin", base, key.key_id, key.secret, key.passphrase)
    order = {"clientOid": "tg-1", "symbol": "BTC-USDT", "side": "buy", "price": "5", "size": "1"}
    first = {"KC-API-KEY-VERSION": "1"}
    return {
        "order": lambda: client.request("orders", "private", "POST", dict(order), first),
        "query": lambda: client.request("orders", "private", "GET", {"symbol": "BTC-USDT"}, first),
    }


def gate(base: str, key: Credentials) -> Calls:
    """Gate's, made by a generator."""
    library = load("gate_api")
    told = library.Configuration(host=f"{base}/api/v4", key=key.key_id, secret=key.secret)
    spot = library.SpotApi(library.ApiClient(told))
    order = {"currency_pair": "BTC_USDT", "amount": "0.01", "price": "5", "side": "buy"}
    bare = {"_preload_content": False}  # the answer as it is: one body is no list and no order
    return {
        "query": lambda: spot.list_orders("BTC_USDT", "open", **bare),
        "order": lambda: spot.create_order(library.Order(**order), **bare),
        "tricky": lambda: spot.create_order(library.Order(**order, text="t-" + TRICKY), **bare),
        "tricky-query": lambda: spot.list_orders("BTC_USDT", TRICKY, **bare),
    }


def okx(base: str, key: Credentials) -> Calls:
    """python-okx; it signs a query as given, and httpx then encodes it."""
    client = load("okx.Trade").TradeAPI(key.key_id, key.secret, key.passphrase, flag="0", domain=base)
    order = {"instId": "BTC-USDT", "tdMode": "cash", "side": "buy", "ordType": "limit", "px": "5", "sz": "1"}
    return {
        "query": lambda: client.get_order_list(instId="BTC-USDT", limit="5"),
        "order": lambda: client.place_order(**order),
        "tricky": lambda: client.place_order(**order, clOrdId=TRICKY),
    }


def bitfinex(base: str, key: Credentials) -> Calls:
    """Bitfinex's; its nonce counts microseconds."""
    client = load("bfxapi").Client(key.key_id, key.secret, rest_host=f"{base}/v2").rest.auth
    return {
        "order": lambda: client.submit_order("LIMIT", "tBTCUSD", "0.01", 5),
        "tricky": lambda: client.submit_order("LIMIT", "tBTCUSD", "0.01", 5, meta={"note": TRICKY}),
    }


def pymexc_spot(base: str, key: Credentials) -> Calls:
    """MEXC spot; it signs %20 and sends +."""
    client = load("pymexc.spot").HTTP(api_key=key.key_id, api_secret=key.secret)
    client.base_url = base
    order = {"symbol": "BTCUSDT", "side": "BUY", "order_type": "LIMIT", "quantity": 0.01, "price": 5}
    return {
        "query": lambda: client.current_open_orders("BTCUSDT"),
        "order": lambda: client.order(**order),
        "tricky": lambda: client.order(**order, new_client_order_id=TRICKY),
    }


def pymexc_contract(base: str, key: Credentials) -> Calls:
    """MEXC contract, reads."""
    client = load("pymexc.futures").HTTP(api_key=key.key_id, api_secret=key.secret)
    client.base_url = base
    return {"read": client.assets, "query": lambda: client.open_orders(symbol="BTC_USDT", page_num=1, page_size=5)}


def bitmex(base: str, key: Credentials) -> Calls:
    """BitMEX's authenticator under bravado; the description it would fetch from the venue is given instead."""
    use_apart("bitmex")
    text = {"type": "string", "in": "formData"}
    order = [{"name": name, **text} for name in ("symbol", "side", "orderQty", "text")]
    asked = [{"name": "filter", "in": "query", "type": "string"}]
    answer = {"200": {"description": "well", "schema": {"type": "object"}}}
    form = ["application/x-www-form-urlencoded"]
    paths = {"/order": {
        "get": {"operationId": "ask", "tags": ["Order"], "parameters": asked, "responses": answer},
        "post": {"operationId": "new", "tags": ["Order"], "consumes": form, "parameters": order, "responses": answer},
    }}  # fmt: skip
    spec = {"swagger": "2.0", "info": {"title": "t", "version": "1"}, "basePath": "/api/v1",
            "produces": ["application/json"], "host": base.removeprefix("http://"), "schemes": ["http"],
            "paths": paths}  # fmt: skip
    http = load("bravado.requests_client").RequestsClient()
    http.authenticator = load("BitMEXAPIKeyAuthenticator").APIKeyAuthenticator(base, key.key_id, key.secret)
    client = load("bravado.client").SwaggerClient.from_spec(spec, http_client=http, config={"use_models": False}).Order
    return {
        "query": lambda: client.ask(filter='{"open": true}').result(),
        "order": lambda: client.new(symbol="XBTUSD", side="Buy", orderQty="100").result(),
        "tricky": lambda: client.new(symbol="XBTUSD", side="Buy", orderQty="100", text=TRICKY).result(),
    }


SDKS: Mapping[str, Callable[[str, Credentials], Calls]] = {
    "python-binance": python_binance, "binance-connector": binance_connector, "binance-sdk-spot": binance_sdk,
    "pybit": pybit, "krakenex": krakenex, "python-kraken-sdk spot": kraken_sdk, "coinbase-advanced-py": coinbase,
    "python-kraken-sdk futures": kraken_futures_sdk, "kucoin-universal-sdk": kucoin, "gate-api": gate,
    "python-okx": okx,
    "bitfinex-api-py": bitfinex, "pymexc spot": pymexc_spot, "pymexc contract": pymexc_contract, "bitmex": bitmex,
    f"{OLD} kucoin": kucoin_first,
}  # fmt: skip


def do(job: Mapping[str, Any]) -> list[Any]:
    """Make a job's calls, all of the SDK's where it names none."""
    key, base = Credentials(**job["credentials"]), str(job["base_url"])
    if job["client"] == OLD:
        return perform(job["venue"], base, key, job["calls"], **job["options"])
    calls = SDKS[job["client"]](base, key)
    return [outcome_of(name, calls[name]) for name in job["calls"] or calls]


if __name__ == "__main__":
    print("\n" + json.dumps(do(json.load(sys.stdin))))
