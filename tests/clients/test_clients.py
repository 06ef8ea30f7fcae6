"""What all clients owe: what is signed is what goes out, whatever it is, and only to the venue."""

import base64
import json
import re
from typing import Any
from urllib.parse import parse_qsl

import pytest
from clients.callers import CALLERS, Asked, Caller
from clients.venue import METHODS, Places, Stranger
from support import BINA, EDWARD, TRADER

from tradeguard.core.errors import ConfigError
from tradeguard.signing.signer import Signer

QUERY = [
    ("q", "é€"),
    ("empty", ""),
    ("a", "1"),
    ("a", "2"),
    ("space", "a b"),
    ("plus", "a+b"),
    ("odd", "%2F&=#;?'\"~*"),
]
every_client = pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
every_key = pytest.mark.parametrize("signer", [TRADER, EDWARD, BINA], ids=["hmac", "ed25519", "binance"])
tg1 = pytest.mark.parametrize("signer", [TRADER, EDWARD], ids=["hmac", "ed25519"])


def ask(caller: Caller, signer: Signer, asked: Asked) -> Any:
    """Send a signed request that must be granted; return what the application saw."""
    reply = caller(signer, asked)
    assert reply.status == 200, reply.body
    seen = json.loads(reply.body or b"{}")
    assert asked.method == "HEAD" or seen["key"] == signer.key_id
    return {**seen, "body": base64.b64decode(seen.get("body", ""))}


@every_client
@every_key
@pytest.mark.parametrize("method", [*METHODS, "HEAD"])
def test_every_method_is_signed(venue: Places, caller: Caller, signer: Signer, method: str) -> None:
    seen = ask(caller, signer, Asked(method, f"{venue.v4}/v1/echo"))
    assert method == "HEAD" or seen["method"] == method


@every_client
@every_key
def test_every_query_is_signed_as_the_client_writes_it(venue: Places, caller: Caller, signer: Signer) -> None:
    seen = ask(caller, signer, Asked("GET", f"{venue.v4}/v1/echo", QUERY))
    assert parse_qsl(seen["query"], keep_blank_values=True)[: len(QUERY)] == QUERY


@every_client
@every_key
@pytest.mark.parametrize("query", ["?x=%e2%82%ac&y=a+b", "?flag", "?a=1#fragment", "?a=b=c&&d", "?q=a/b?c:d@e!$'()*,;"])
def test_a_query_in_the_url_is_signed_as_it_goes_out(venue: Places, caller: Caller, signer: Signer, query: str) -> None:
    seen = ask(caller, signer, Asked("GET", f"{venue.v4}/v1/echo{query}"))
    sent = parse_qsl(seen["query"], keep_blank_values=True)
    expected = parse_qsl(query[1:].partition("#")[0], keep_blank_values=True)
    assert sent[: len(expected)] == expected


@every_client
@every_key
def test_a_path_that_is_no_ascii_is_signed(venue: Places, caller: Caller, signer: Signer) -> None:
    assert ask(caller, signer, Asked("GET", f"{venue.v4}/v1/items/café €"))["path"] == "/v1/items/café €"


@every_client
@every_key
def test_no_path_at_all_is_the_root(venue: Places, caller: Caller, signer: Signer) -> None:
    assert ask(caller, signer, Asked("GET", venue.v4))["path"] == "/"


@every_client
@tg1
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_json_is_signed(venue: Places, caller: Caller, signer: Signer, method: str) -> None:
    order = {"symbol": "BTC-USD", "note": "é €", "price": "60000.10"}
    seen = ask(caller, signer, Asked(method, f"{venue.v4}/v1/echo?test=1", json=order))
    assert json.loads(seen["body"]) == order


@every_client
@every_key
def test_a_form_is_signed(venue: Places, caller: Caller, signer: Signer) -> None:
    form = {"symbol": "BTC-USD", "note": "é €", "plus": "a+b", "empty": ""}
    seen = ask(caller, signer, Asked("POST", f"{venue.v4}/v1/echo", form=form))
    assert dict(parse_qsl(seen["body"].decode(), keep_blank_values=True)).items() >= form.items()


@every_client
@tg1
def test_a_multipart_form_is_signed_with_its_boundary(venue: Places, caller: Caller, signer: Signer) -> None:
    seen = ask(caller, signer, Asked("POST", f"{venue.v4}/v1/echo", file=bytes(range(256))))
    assert bytes(range(256)) in seen["body"]
    boundary = re.search(r'boundary="?([^";]+)', seen["kind"])
    assert boundary is not None
    assert seen["body"].startswith(f"--{boundary[1]}".encode())


@every_client
@tg1
def test_a_stream_is_read_once_and_signed(venue: Places, caller: Caller, signer: Signer) -> None:
    parts = [b"one ", b"", "zwei €".encode(), bytes(100_000)]
    seen = ask(caller, signer, Asked("POST", f"{venue.v4}/v1/echo", stream=parts))
    assert seen["body"] == b"".join(parts)


@every_client
@tg1
@pytest.mark.parametrize("kind", ["text/plain", "application/json; charset=utf-8", ""])
def test_the_content_type_is_signed_as_it_is_sent(venue: Places, caller: Caller, signer: Signer, kind: str) -> None:
    fields = {"Content-Type": kind} if kind else {}
    seen = ask(caller, signer, Asked("POST", f"{venue.v4}/v1/echo", headers=fields, content=b"\xff\x00 bytes"))
    assert seen["body"] == b"\xff\x00 bytes"
    assert not kind or seen["kind"] == kind


@every_client
@every_key
def test_a_host_that_is_an_ipv6_address_is_signed(venue: Places, caller: Caller, signer: Signer) -> None:
    assert ask(caller, signer, Asked("GET", f"{venue.v6}/v1/echo", [("a", "1")]))["query"].startswith("a=1")


@every_client
@every_key
@pytest.mark.parametrize("host", ["API.Example", "api.example:80", "api.example:8443", "[2001:DB8::1]:80"])
def test_a_host_field_of_ones_own_is_signed_without_its_default_port(
    venue: Places, caller: Caller, signer: Signer, host: str
) -> None:
    ask(caller, signer, Asked("GET", f"{venue.v4}/v1/echo", headers={"Host": host}))


@every_client
@every_key
def test_a_retry_above_the_client_is_a_new_message(venue: Places, caller: Caller, signer: Signer) -> None:
    name = f"{id(caller)}-{signer.key_id}"
    asked = Asked("GET", f"{venue.v4}/v1/busy", [("once", name)])
    assert [caller(signer, asked).status for _ in range(2)] == [503, 200]


@every_client
def test_a_body_on_a_method_that_has_none_is_refused_by_the_venue(venue: Places, caller: Caller) -> None:
    assert caller(TRADER, Asked("DELETE", f"{venue.v4}/v1/echo", content=b"x")).status == 401


@every_client
def test_what_a_dialect_cannot_sign_is_said_before_it_is_sent(venue: Places, caller: Caller) -> None:
    with pytest.raises(ConfigError, match="signs a query or a form body"):
        caller(BINA, Asked("POST", f"{venue.v4}/v1/echo", json={"a": 1}))


CREDENTIAL = re.compile(rb"(?i)tg-(key|time|nonce|signature)|x-mbx-apikey|signature=|timestamp=")


@every_client
@every_key
@pytest.mark.parametrize("status", [302, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_never_carries_the_credential_to_another_host(
    venue: Places, stranger: Stranger, caller: Caller, signer: Signer, status: int, method: str
) -> None:
    asks = {"status": str(status), "to": f"{stranger.origin}/take"}
    form, query = (asks, []) if method == "POST" else (None, [*asks.items()])
    try:
        caller(signer, Asked(method, f"{venue.v4}/v1/away", query, form=form, redirects=True))
    except ConfigError as error:
        assert re.search("nothing is signed for|never with a redirect", str(error))  # clients differ
    else:
        assert b"/take HTTP/1.1" in stranger.heard
    assert not CREDENTIAL.search(stranger.heard), stranger.heard


@every_client
@every_key
def test_a_redirect_to_the_same_host_is_no_second_use(venue: Places, caller: Caller, signer: Signer) -> None:
    """It is signed afresh, or it goes without a credential; it never repeats one."""
    query = [("status", "307"), ("to", f"{venue.v4}/v1/echo?b=2")]
    reply = caller(signer, Asked("GET", f"{venue.v4}/v1/away", query, redirects=True))
    assert reply.status == (200 if caller is CALLERS["aiohttp"] else 401)
