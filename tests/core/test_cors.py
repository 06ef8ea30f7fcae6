"""CORS: who may read what, the same for every path, and nothing for those who are not named."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradeguard.core.cors import Cors, Fields
from tradeguard.core.errors import ConfigError
from tradeguard.core.request import Headers

PAGE = b"https://trade.example"
METHODS = {"GET", "DELETE"}
CORS = Cors(origins=[PAGE.decode()], headers=["TG-Signature", "content-type"], expose=["X-Own"])


def fields(cors: Cors, *origins: bytes) -> Fields:
    return cors.fields(Headers((b"origin", origin) for origin in origins))


def preflight(
    cors: Cors = CORS, *, origin: bytes = PAGE, asks: bytes = b"DELETE", more: Iterable[tuple[bytes, bytes]] = ()
) -> dict[bytes, bytes] | None:
    headers = Headers([(b"origin", origin), (b"access-control-request-method", asks), *more])
    found = cors.preflight("OPTIONS", headers, METHODS)
    return None if found is None else dict(found)


def test_an_allowed_page_may_read_the_answer_and_our_fields() -> None:
    assert fields(CORS, PAGE) == [
        (b"vary", b"Origin"),
        (b"access-control-allow-origin", PAGE),
        (
            b"access-control-expose-headers",
            b"X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, Tradeguard-Code, X-Own",
        ),
    ]


STRANGERS = [
    b"https://evil.example",
    b"http://trade.example",
    b"https://trade.example:8443",
    b"https://trade.example.evil",
    b"https://eviltrade.example",
    b"https://trade.example/",
    b"HTTPS://TRADE.EXAMPLE",
    b"null",
    b"*",
    b"",
]


@pytest.mark.parametrize("origin", STRANGERS)
def test_another_page_is_told_nothing(origin: bytes) -> None:
    assert fields(CORS, origin) == [(b"vary", b"Origin")]
    assert preflight(origin=origin) is not None
    assert [name for name in preflight(origin=origin) or {} if name != b"vary"] == []


def test_two_origins_are_none() -> None:
    assert fields(CORS, PAGE, PAGE) == [(b"vary", b"Origin")]


def test_a_preflight_is_told_what_the_settings_and_the_map_allow() -> None:
    assert preflight() == {
        b"vary": b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        b"access-control-allow-origin": PAGE,
        b"access-control-allow-methods": b"DELETE, GET, HEAD, POST",
        b"access-control-max-age": b"600",
        b"access-control-allow-headers": b"content-type, tg-signature",
    }


@pytest.mark.parametrize("asks", [b"PUT", b"delete", b"", b"DELETE, GET", b"TRACE"])
def test_a_method_that_is_nowhere_in_the_map_is_told_nothing(asks: bytes) -> None:
    assert list(preflight(asks=asks) or {}) == [b"vary"]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", [(b"origin", PAGE), (b"access-control-request-method", b"GET")]),
        ("OPTIONS", [(b"origin", PAGE)]),
        ("OPTIONS", [(b"access-control-request-method", b"GET")]),
        ("OPTIONS", [(b"origin", PAGE), (b"access-control-request-method", b"GET")] * 2),
        ("OPTIONS", [(b"origin", PAGE), (b"access-control-request-method", b"GET"), (b"content-length", b"1")]),
        ("OPTIONS", [(b"origin", PAGE), (b"access-control-request-method", b"GET"), (b"transfer-encoding", b"x")]),
    ],
)
def test_what_is_no_preflight_is_a_request_like_any_other(method: str, headers: list[tuple[bytes, bytes]]) -> None:
    assert CORS.preflight(method, Headers(headers), METHODS) is None


def test_an_announced_empty_body_is_none() -> None:
    assert preflight(more=[(b"content-length", b"0")]) is not None


def test_any_page_is_said_with_a_star_and_the_answer_varies_with_nothing() -> None:
    anybody = Cors(origins=["*"])
    assert fields(anybody, b"https://x.example")[0] == (b"access-control-allow-origin", b"*")
    assert fields(anybody) == []


def test_credentials_are_said_with_the_origin_by_name() -> None:
    cors = Cors(origins=[PAGE.decode()], credentials=True)
    assert (b"access-control-allow-credentials", b"true") in fields(cors, PAGE)
    assert fields(cors, b"https://evil.example") == [(b"vary", b"Origin")]
    assert preflight(cors, origin=PAGE)[b"access-control-allow-credentials"] == b"true"  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"origins": []}, "origins is empty"),
        ({"origins": "https://trade.example"}, "is a list"),
        ({"origins": ["*"], "credentials": True}, "without credentials"),
        ({"origins": ["*", "https://trade.example"]}, "stands alone"),
        ({"origins": ["null"]}, "is no origin"),
        ({"origins": ["https://trade.example/"]}, "is no origin"),
        ({"origins": ["https://Trade.example"]}, "is no origin"),
        ({"origins": ["https://*.example"]}, "is no origin"),
        ({"origins": ["trade.example"]}, "is no origin"),
        ({"origins": ["https://trade.example\r\nx: y"]}, "is no origin"),
        ({"origins": ["https://trade.example:99999"]}, "is no origin"),
        ({"origins": ["https://trade.example:443"]}, "default port"),
        ({"headers": ["*"]}, "is no name of a field"),
        ({"headers": ["a b"]}, "is no name of a field"),
        ({"expose": ["x\r\ny"]}, "is no name of a field"),
        ({"expose": "x"}, "is a list"),
        ({"max_age": -1}, "max_age"),
        ({"max_age": 86_401}, "max_age"),
        ({"max_age": True}, "max_age"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_cure(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Cors(**{"origins": [PAGE.decode()], **arguments})


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_no_bytes_but_the_named_origin_come_back(origin: bytes, asks: bytes) -> None:
    told = [*fields(CORS, origin), *(preflight(origin=origin, asks=asks) or {}).items()]
    assert all(origin != value for name, value in told if name != b"vary") or origin == PAGE
