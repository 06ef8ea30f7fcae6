"""Suggested rows: what is guessed from method and name, that it loads as it stands, and that no guess opens a door."""

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.config.suggest import Suggestion, suggest, write_rows
from tradeguard.core.policy import Operations, Policy


def one(method: str, path: str, name: str = "", about: str = "") -> Suggestion:
    (row,) = suggest([(method, path, name, about)])
    return row


def load(text: str) -> dict[str, Any]:
    """What of the text is a map; the scopes of all its rows are known."""
    rows = tomllib.loads(text)
    Operations(rows).check_scopes(Policy().vocabulary)
    return rows


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/v1/orders", '{ scopes = "orders:read", lane = "read" }'),
        ("/v1/orders/cancel", '{ scopes = "to-be:named", lane = "read" }'),
        ("/v1/ticker", '{ scopes = "market:read", lane = "read" }'),
        ("/v1/admin/keys", '{ scopes = "keys:read", lane = "admin" }'),
        ("/ws", '{ scopes = "to-be:named", lane = "read" }'),
    ],
)
def test_no_websocket_is_taken_in_before_somebody_has_said_what_its_messages_do(path: str, value: str) -> None:
    row = one("WS", path)
    assert (row.row, row.value) == (f"WS {path}", value)
    assert "where they place orders it takes orders:write" in row.left_out
    assert load(write_rows([row])) == {}


ORDERS_CANCEL = '{ scopes = "orders:cancel", lane = "cancel" }'


@pytest.mark.parametrize(
    ("row", "name", "value"),
    [
        ("GET /v1/orders", "", '"orders:read"'),
        ("GET /v1/orders/{id}/status", "", '"orders:read"'),
        ("GET /v1/users/{user_id}/orders", "", '"orders:read"'),
        ("GET /v1/fills", "", '"orders:read"'),
        ("POST /v1/orders", "", '"orders:write"'),
        ("POST /v1/orders/market", "", '"orders:write"'),
        ("PUT /v1/orders/{id}", "", '"orders:write"'),
        ("POST /x", "placeOrder", '"orders:write"'),
        ("DELETE /v1/orders/{id}", "", ORDERS_CANCEL),
        ("DELETE /api/v3/openOrders", "", ORDERS_CANCEL),
        ("POST /v1/orders/{id}/cancel", "", ORDERS_CANCEL),
        ("POST /0/private/CancelAll", "", ORDERS_CANCEL),
        ("POST /v1/orders/cancel-replace", "", '["orders:cancel", "orders:write"]'),
        ("POST /api/v3/order/cancelReplace", "", '["orders:cancel", "orders:write"]'),
        ("POST /v1/withdrawals", "", '{ scopes = "funds:withdraw", lane = "funds" }'),
        ("POST /v1/withdrawals/{id}/cancel", "", '{ scopes = "funds:withdraw", lane = "funds" }'),
        ("GET /v1/withdrawals", "", '"balances:read"'),
        ("POST /v1/wallet/transfer", "", '{ scopes = "funds:transfer", lane = "funds" }'),
        ("POST /v1/deposits", "", '{ scopes = "funds:deposit", lane = "funds" }'),
        ("POST /v1/withdraw/whitelist", "", '{ scopes = "funds:address:write", lane = "funds" }'),
        ("GET /v1/balances", "", '"balances:read"'),
        ("GET /v1/positions", "", '"positions:read"'),
        ("GET /v1/account", "", '"account:read"'),
        ("GET /v1/orderbook", "", '"market:read"'),
        ("GET /v1/markets/{m}/trades", "", '"market:read"'),
        ("POST /v1/keys", "", '{ scopes = "keys:admin", lane = "admin" }'),
        ("DELETE /v1/api-keys/{id}", "", '{ scopes = "keys:admin", lane = "admin" }'),
        ("GET /admin/orders", "", '{ scopes = "users:admin", lane = "admin" }'),
        ("DELETE /admin/orders/{id}", "", '{ scopes = "users:admin", lane = "admin" }'),
        ("POST /v1/kill-switch", "", '{ scopes = "halt:set", lane = "admin" }'),
        ("GET /v1/something", "", '"account:read"'),
    ],
)
def test_a_row_is_guessed_by_method_and_words(row: str, name: str, value: str) -> None:
    method, _, path = row.partition(" ")
    guess = one(method, path, name)
    assert (guess.row, guess.value, guess.left_out) == (row, value, "")


@pytest.mark.parametrize(
    "row",
    [
        "POST /v1/something",
        "POST /v1/subscription/account/cancel",
        "GET /v1/orders/cancel",
        "PATCH /v1/account",
        "POST /v1/health",
        "DELETE /v1/orders/**",
        "POST /v1/withdraw/**",
    ],
)
def test_what_is_not_understood_is_left_out(row: str) -> None:
    guess = one(*row.split(" "))
    assert guess.left_out or guess.value == '"account:read"'
    if guess.row.startswith("GET"):
        assert "cancel" not in guess.value
    else:
        assert load(write_rows([guess])) == {}


@pytest.mark.parametrize("path", ["/health", "/healthz", "/v1/time", "/docs", "/openapi.json", "/redoc", "/v1/ticker"])
def test_nothing_is_made_public_but_in_a_comment(path: str) -> None:
    text = write_rows(suggest([("GET", path, "", "")]))
    assert f'# "GET {path}" = {{ lane = "public" }}  # review' in text
    assert all(asks == "market:read" for asks in load(text).values())


def test_a_row_taken_in_as_it_is_needs_a_scope_first() -> None:
    """Who takes the comment signs away does not hand something that changes the world to every reader."""
    text = write_rows(suggest([("POST", "/v1/something", "", "")]))
    taken_in = "\n".join(line.removeprefix("# ") for line in text.splitlines() if '"POST' in line)
    with pytest.raises(Exception, match="unknown scope"):
        load(taken_in)


def test_any_method_is_a_read_and_a_question() -> None:
    read, write = suggest([("*", "/v1/orders", "", "")])
    assert (read.row, read.left_out) == ("GET /v1/orders", "")
    assert "any method" in write.left_out


def test_rows_that_contradict_each_other_are_not_both_taken() -> None:
    text = write_rows(suggest([("GET", "/{a}/orders", "", ""), ("GET", "/balances/{b}", "", "")]))
    assert load(text) == {"GET /{a}/orders": "orders:read"}
    assert "match the same paths" in text


def test_what_others_wrote_stays_in_its_comment() -> None:
    evil = 'x\n"POST /v1/withdraw" = "market:read"\r\u2028\x00'
    text = write_rows(suggest([("GET", "/v1/orders", "", evil)]), [evil])
    assert load(text) == {"GET /v1/orders": "orders:read"}


def test_what_could_not_be_listed_is_said() -> None:
    assert write_rows([], ["/raw/**: no idea"]) == "# review: no row can be suggested for /raw/**: no idea\n"


SEGMENTS = st.sampled_from(
    ["orders", "{id}", "{x}", "*", "withdraw", "cancel", "health", "admin", "ticker", "v1", "ü", "keys", "trades"]
)
PATHS = st.builds(
    lambda parts, rest: "/" + "/".join([*dict.fromkeys(parts), *(["**"] if rest else [])]),
    st.lists(SEGMENTS, min_size=1, max_size=4),
    st.booleans(),
)
ROUTES = st.tuples(st.sampled_from(["GET", "POST", "DELETE", "*", "HEAD"]), PATHS, st.text(), st.text())


@settings(max_examples=100, deadline=None)
@given(st.lists(ROUTES, max_size=12))
def test_whatever_the_routes_the_rows_load(routes: list[tuple[str, str, str, str]]) -> None:
    rows = load(write_rows(suggest(routes)))
    assert not any(isinstance(asks, dict) and asks.get("lane") == "public" for asks in rows.values())


@pytest.mark.parametrize("size", [200])
def test_every_row_of_a_large_map_is_marked(size: int) -> None:
    text = write_rows(suggest(("GET", f"/v1/thing{number}/{{id}}", "", "") for number in range(size)))
    assert text.count("# review") == len(text.splitlines()) == size == len(load(text))
