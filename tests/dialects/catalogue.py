"""The venues as ccxt knows them: a table of a few calls of each, and of what answer ccxt takes for a success."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TRICKY = "a b c/d~*'()é"  # what an honest client may send; each library spells it differently
LATEST, OLD = (
    "ccxt",
    "ccxt-4.5.20",
)  # the old one is the last that knows BitMEX, and it lets one ask for KuCoin's version 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """A venue as ccxt knows it.

    Args:
        id: ccxt's own name.
        fine: the body of an answer that ccxt takes for a success.
        calls: name of a call -> ccxt's implicit method, and its parameters. Every venue has read, query, order, tricky,
            cancel; the order is what `raised` sends.
        secret: "text", or "base64" where the client decodes it.
        algorithms: those a key of the venue may have.
        options: of ccxt.
        https: ccxt signs the address without `https://`, so it must ask for https; a TLS terminator is put before it.
        key_id: the form of a key id.
    """

    id: str
    fine: str = "{}"
    calls: Mapping[str, tuple[str, Any]]
    secret: str = "text"
    algorithms: tuple[str, ...] = ("hmac-sha256",)
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    https: bool = False
    key_id: str = "tradeguard-test-key"
    client: str = LATEST


def _calls(read: Any, query: Any, order: Any, tricky: Mapping[str, Any], cancel: Any, **more: Any) -> dict[str, Any]:
    """The calls every venue has; `tricky` is the order with these parameters beside its own."""
    method, parameters = order
    both = {**parameters, **tricky}
    return {"read": read, "query": query, "order": order, "tricky": (method, both), "cancel": cancel, **more}


_BTC = {"symbol": "BTCUSDT"}
_LIMIT = {**_BTC, "side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": "50000"}
_SIZED = {"side": "buy", "price": "50000", "size": "0.01"}
_OKX = {"instId": "BTC-USDT", "tdMode": "cash", "side": "buy", "ordType": "limit", "px": "50000", "sz": "0.01"}
_BYBIT = {"category": "spot", **_BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "50000"}
_HTX = {"account-id": "1", "symbol": "btcusdt", "type": "buy-limit", "amount": "0.01", "price": "50000"}
_PHEMEX = {"symbol": "sBTCUSDT", "side": "Buy", "ordType": "Limit", "qtyType": "ByBase", "baseQtyEv": 1, "priceEp": 5}
_CRYPTO = {"instrument_name": "BTC_USDT", "side": "BUY", "type": "LIMIT", "price": "50000", "quantity": "0.01"}
_COINBASE = {"product_id": "BTC-USDT", "side": "BUY", "client_order_id": "tg-1",
             "order_configuration": {"limit_limit_gtc": {"base_size": "0.01", "limit_price": "50000"}}}  # fmt: skip

VENUES: Mapping[str, Venue] = {
    "binance": Venue(
        id="binance", algorithms=("hmac-sha256", "rsa-pkcs1-sha256", "ed25519"),
        calls=_calls(
            ("private_get_account", {}), ("private_get_openorders", _BTC),
            ("private_post_order", {**_LIMIT, "timeInForce": "GTC"}), {"newClientOrderId": TRICKY},
            ("private_delete_order", {**_BTC, "orderId": "17"}),
        ),
    ),
    "coinbase-exchange": Venue(
        id="coinbaseexchange", secret="base64",
        calls=_calls(
            ("private_get_accounts", {}), ("private_get_orders", {"status": "open", "product_id": "BTC-USD"}),
            ("private_post_orders", {"product_id": "BTC-USD", **_SIZED}), {"client_oid": TRICKY},
            ("private_delete_orders_id", {"id": "17", "product_id": "BTC-USD"}),
            **{"tricky-query": ("private_get_orders", {"status": TRICKY})},
        ),
    ),
    "kraken": Venue(
        id="kraken", fine='{"error":[],"result":{}}', secret="base64", algorithms=("hmac-sha512",),
        calls=_calls(
            ("private_post_balance", {}), ("private_post_ledgers", {"asset": "XBT", "type": "trade"}),
            ("private_post_addorder", {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "0.01",
            "price": "5"}),
            {"cl_ord_id": TRICKY}, ("private_post_cancelorder", {"txid": "17"}),
            json=("private_post_cancelorderbatch", {"orders": ["17", TRICKY]}),
        ),
    ),
    "kraken-futures": Venue(
        id="krakenfutures", fine='{"result":"success"}', secret="base64", algorithms=("hmac-sha512",),
        calls=_calls(
            ("private_get_accounts", {}), ("private_get_fills", {"lastFillTime": "2026-01-01T00:00:00.000Z"}),
            ("private_post_sendorder", {"orderType": "lmt", "symbol": "PF_XBTUSD", **_SIZED}), {"cliOrdId": TRICKY},
            ("private_post_cancelorder", {"order_id": "17"}),
            batch=("private_post_batchorder", {"batchOrder": [{"order": "cancel", "order_id": TRICKY}]}),
        ),
    ),
    "okx": Venue(
        id="okx", fine='{"code":"0","msg":"","data":[]}',
        calls=_calls(
            ("private_get_account_balance", {}),
            ("private_get_trade_orders_pending", {"instId": "BTC-USDT", "limit": "5"}),
            ("private_post_trade_order", _OKX), {"clOrdId": TRICKY},
            ("private_post_trade_cancel_order", {"instId": "BTC-USDT", "ordId": "17"}),
            **{"tricky-query": ("private_get_trade_orders_pending", {"instId": TRICKY})},
        ),
    ),
    "bybit": Venue(
        id="bybit", fine='{"retCode":0,"retMsg":"OK","result":{}}', algorithms=("hmac-sha256", "rsa-pkcs1-sha256"),
        calls=_calls(
            ("private_get_v5_account_wallet_balance", {}),
            ("private_get_v5_order_realtime", {"category": "spot", **_BTC}),
            ("private_post_v5_order_create", _BYBIT), {"orderLinkId": TRICKY},
            ("private_post_v5_order_cancel", {"category": "spot", **_BTC, "orderId": "17"}),
            **{"tricky-query": ("private_get_v5_order_realtime", {"category": "spot", "orderLinkId": TRICKY})},
        ),
    ),
    "kucoin": Venue(
        id="kucoin", fine='{"code":"200000","data":{}}',
        calls=_calls(
            ("private_get_accounts", {}), ("private_get_orders", {"status": "active", "symbol": "BTC-USDT"}),
            ("private_post_orders", {"clientOid": "tg-1", "symbol": "BTC-USDT", **_SIZED}), {"remark": TRICKY},
            ("private_delete_orders_orderid", {"orderId": "17"}),
            **{
                "tricky-query": ("private_get_orders", {"symbol": TRICKY}),
                "cancel-all": ("private_delete_orders", {"symbol": "BTC-USDT"}),
            },
        ),
    ),
    "bitfinex": Venue(
        id="bitfinex", fine=f'[1,"on-req",null,null,[{",".join(["null"] * 32)}],null,"SUCCESS",""]',
        algorithms=("hmac-sha384",),
        calls=_calls(
            ("private_post_auth_r_wallets", {}),
            ("private_post_auth_r_orders_symbol", {"symbol": "tBTCUSD", "id": [17]}),
            ("private_post_auth_w_order_submit", {"type": "LIMIT", "symbol": "tBTCUSD", "amount": "0.01",
            "price": "50000"}),
            {"meta": {"note": TRICKY}}, ("private_post_auth_w_order_cancel", {"id": 17}),
        ),
    ),
    "bitstamp": Venue(
        id="bitstamp", https=True,
        calls=_calls(
            ("private_post_balance", {}), ("private_get_travel_rule_contacts", {}),
            ("private_post_buy_pair", {"pair": "btcusd", "amount": "0.01", "price": "50000"}),
            {"client_order_id": TRICKY},
            ("private_post_cancel_order", {"id": "17"}),
        ),
    ),
    "gate": Venue(
        id="gate", algorithms=("hmac-sha512",),
        calls=_calls(
            ("private_spot_get_accounts", {}),
            ("private_spot_get_orders", {"currency_pair": "BTC_USDT", "status": "open"}),
            ("private_spot_post_orders", {"currency_pair": "BTC_USDT", "amount": "0.01", "price": "50000",
            "side": "buy"}),
            {"text": "t-" + TRICKY},
            ("private_spot_delete_orders_order_id", {"order_id": "17", "currency_pair": "BTC_USDT"}),
            **{
                "tricky-query": ("private_spot_get_orders", {"currency_pair": "BTC_USDT", "status": TRICKY}),
                "patch": ("private_spot_patch_orders_order_id", {"order_id": "17", "amount": "0.01"}),
            },
        ),
    ),
    "htx": Venue(
        id="htx", fine='{"status":"ok","code":200,"data":[]}',
        calls=_calls(
            ("spot_private_get_v1_account_accounts", {}),
            ("spot_private_get_v1_order_openorders", {"symbol": "btcusdt"}),
            ("spot_private_post_v1_order_orders_place", _HTX), {"client-order-id": TRICKY},
            ("spot_private_post_v1_order_orders_order_id_submitcancel", {"order-id": "17"}),
            **{"tricky-query": ("spot_private_get_v1_order_openorders", {"symbol": TRICKY, "a-b": "1"})},
        ),
    ),
    "deribit": Venue(
        id="deribit", fine='{"jsonrpc":"2.0","result":{}}',
        calls=_calls(
            ("private_get_get_account_summaries", {}), ("private_get_get_open_orders_by_currency", {"currency": "BTC"}),
            ("private_get_buy", {"instrument_name": "BTC-PERPETUAL", "amount": 10, "type": "limit", "price": 50000}),
            {"label": TRICKY}, ("private_get_cancel", {"order_id": "17"}),
        ),
    ),
    "bitmex": Venue(
        id="bitmex", client=OLD,
        calls=_calls(
            ("private_get_user_margin", {}), ("private_get_order", {"filter": '{"open": true}', "count": 5}),
            ("private_post_order", {"symbol": "XBTUSD", "side": "Buy", "orderQty": 100, "price": 50000}),
            {"text": TRICKY},
            ("private_delete_order", {"orderID": "17"}),
            **{"tricky-query": ("private_get_order", {"symbol": TRICKY})},
        ),
    ),
    "gemini": Venue(
        id="gemini", key_id="account-tradeguard-test-key", algorithms=("hmac-sha384",),
        calls=_calls(
            ("private_post_v1_balances", {}), ("private_post_v1_mytrades", {"symbol": "btcusd"}),
            ("private_post_v1_order_new", {"symbol": "btcusd", "amount": "0.01", "price": "50000", "side": "buy"}),
            {"client_order_id": TRICKY}, ("private_post_v1_order_cancel", {"order_id": 17}),
        ),
    ),
    "bitget": Venue(
        id="bitget", fine='{"code":"00000","msg":"success","data":{}}',
        calls=_calls(
            ("private_spot_get_v2_spot_account_assets", {}),
            ("private_spot_get_v2_spot_trade_unfilled_orders", {**_BTC, "limit": "5", "idLessThan": "9"}),
            ("private_spot_post_v2_spot_trade_place_order", {**_BTC, "orderType": "limit", **_SIZED}),
            {"clientOid": TRICKY},
            ("private_spot_post_v2_spot_trade_cancel_order", {**_BTC, "orderId": "17"}),
            **{"tricky-query": ("private_spot_get_v2_spot_trade_unfilled_orders", {"symbol": TRICKY, "limit": "5"})},
        ),
    ),
    "mexc": Venue(
        id="mexc",
        calls=_calls(
            ("spot_private_get_account", {}), ("spot_private_get_openorders", _BTC),
            ("spot_private_post_order", _LIMIT),
            {"newClientOrderId": TRICKY}, ("spot_private_delete_order", {**_BTC, "orderId": "17"}),
        ),
    ),
    "mexc-contract": Venue(
        id="mexc", fine='{"success":true,"code":0,"data":{}}',
        calls=_calls(
            ("contract_private_get_account_assets", {}),
            ("contract_private_get_order_list_open_orders", {"page_size": 5, "page_num": 1}),
            ("contract_private_post_order_submit", {"symbol": "BTC_USDT", "price": 50000, "vol": 1, "side": 1,
            "type": 1}),
            {"externalOid": TRICKY}, ("contract_private_post_order_cancel", ["17"]),
            **{"tricky-query": ("contract_private_get_order_list_open_orders", {"symbol": TRICKY})},
        ),
    ),
    "cryptocom": Venue(
        id="cryptocom", fine='{"id":1,"code":0,"result":{}}',
        calls=_calls(
            ("v1_private_post_private_user_balance", {}), ("v1_private_post_private_get_open_orders", _CRYPTO),
            ("v1_private_post_private_create_order", _CRYPTO), {"client_oid": TRICKY},
            ("v1_private_post_private_cancel_order", {"order_id": "17"}),
            nested=(
                "v1_private_post_private_create_order_list",
                {"contingency_type": "LIST", "order_list": [_CRYPTO, {**_CRYPTO, "exec_inst": ["POST_ONLY"]}]},
            ),
        ),
    ),
    "phemex": Venue(
        id="phemex", fine='{"code":0,"msg":"","data":{}}',
        calls=_calls(
            ("private_get_spot_wallets", {}), ("private_get_spot_orders", {"symbol": "sBTCUSDT"}),
            ("private_post_spot_orders", _PHEMEX), {"text": TRICKY},
            ("private_delete_spot_orders", {"symbol": "sBTCUSDT", "orderID": "17"}),
            **{
                "tricky-query": ("private_get_spot_orders", {"symbol": TRICKY, "id": ["a", "b"]}),
                "put": ("private_put_spot_orders", {"symbol": "sBTCUSDT", "orderID": "17", "priceEp": 5}),
            },
        ),
    ),
    "bitvavo": Venue(
        id="bitvavo",
        calls=_calls(
            ("private_get_balance", {}), ("private_get_orders", {"market": "BTC-EUR", "limit": 5}),
            ("private_post_order", {"market": "BTC-EUR", "side": "buy", "orderType": "limit", "amount": "1",
            "price": "5"}),
            {"clientOrderId": TRICKY}, ("private_delete_order", {"market": "BTC-EUR", "orderId": "17"}),
            **{"tricky-query": ("private_get_orders", {"market": TRICKY})},
        ),
    ),
    "coinbase-advanced": Venue(
        id="coinbase", https=True, algorithms=("ecdsa-p256-sha256", "ed25519"),
        calls=_calls(
            ("v3_private_get_brokerage_accounts", {}),
            ("v3_private_get_brokerage_orders_historical_batch", {"product_ids": ["BTC-USDT", "ETH-USDT"]}),
            ("v3_private_post_brokerage_orders", _COINBASE), {"client_order_id": TRICKY},
            ("v3_private_post_brokerage_orders_batch_cancel", {"order_ids": ["17"]}),
        ),
    ),
}  # fmt: skip
