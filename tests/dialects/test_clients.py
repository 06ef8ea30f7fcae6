"""The clients themselves, as they are installed today: each call goes out once, and is signed by the recipe."""

import os
import socket
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
from dialects.capture import wire_of
from dialects.oracle import verify
from dialects.recorder import Answer, Recorded, raised, recording
from dialects.sdk import BESIDE, CLIENTS, Client, perform_with
from dialects.venues import LATEST, VENUES, credentials_of, perform_async

TRIED = [(client, venue) for client in CLIENTS for venue in VENUES if any(client.tries(venue))]


def need(client: str) -> None:
    """Where `make` has not run, the environment of the SDKs may be missing; a CI machine has it."""
    if client != LATEST and not BESIDE.exists() and "CI" not in os.environ:
        pytest.skip(f"{BESIDE} is missing: make test")


def ask(perform: Callable[..., list[Any]], venue: str, algorithm: str, calls: Iterable[str] = ()) -> None:
    """Each call goes out once, in vain for nobody, and is signed by the venue's recipe."""
    key = credentials_of(venue, algorithm)
    with recording(Answer(200, VENUES[venue].fine.encode())) as recorder:
        outcomes = perform(venue, recorder.url, key, calls)
    assert [one for one in outcomes if one["raised"]] == []
    assert len(recorder.requests) == len(outcomes) > 0
    about = {"venue": venue, "algorithm": algorithm, "key_id": key.key_id, "secret": key.secret}
    for request in recorder.requests:
        assert verify({**about, "passphrase": key.passphrase, **wire_of(request)}), request


@pytest.mark.parametrize(("client", "venue"), TRIED, ids=[f"{client.name}-{venue}" for client, venue in TRIED])
def test_every_call_goes_out_once_and_is_signed_by_the_venue_s_recipe(client: Client, venue: str) -> None:
    need(client.name)
    for algorithm, _ in client.tries(venue):
        ask(partial(perform_with, client.name), venue, algorithm)


@pytest.mark.parametrize("venue", [name for name, row in VENUES.items() if row.client == LATEST and not row.https])
def test_so_is_every_call_of_the_asynchronous_ccxt(venue: str) -> None:
    # Of these two it gives aiohttp a query with spaces in it, as it is: which is no request line: no server reads it.
    broken = {"tricky-query"} if venue in ("bybit", "kucoin") else set[str]()
    ask(perform_async, venue, VENUES[venue].algorithms[0], [call for call in VENUES[venue].calls if call not in broken])


@pytest.mark.parametrize(
    ("venue", "status", "body", "error"),
    [
        ("okx", 401, b'{"code":"50113","msg":"Invalid Sign","data":[]}', "AuthenticationError"),
        ("kraken", 200, b'{"error":["EAPI:Invalid nonce"]}', "InvalidNonce"),
        ("bitmex", 401, b'{"error":{"message":"Invalid API Key.","name":"HTTPError"}}', "AuthenticationError"),
        ("gate", 503, b"", "ExchangeNotAvailable"),
    ],
)
def test_what_ccxt_makes_of_a_refusal(venue: str, status: int, body: bytes, error: str) -> None:
    need(VENUES[venue].client)
    outcome = raised(venue, status, body)
    assert error in outcome["raised"]
    assert outcome["raised"][-1] == "BaseError"


def test_an_answer_that_ccxt_takes_for_a_success_raises_nothing() -> None:
    assert raised("okx", 200, VENUES["okx"].fine.encode())["raised"] == []


RAW = b"POST //a/%7e?x=%2B HTTP/1.1\r\nhost: h\r\nB: 2 \r\nA: 1\r\nA: \xe9\r\n"
FIELDS = (("host", "h"), ("B", "2"), ("A", "1"), ("A", "\xe9"))


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 3\r\n\r\nabc", b"abc"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"\r\n", b""),
    ],
)
def test_the_recorder_keeps_a_request_as_it_came_and_says_what_it_was_told(framing: bytes, body: bytes) -> None:
    def script(request: Recorded) -> Answer:
        return Answer(599, request.method.encode(), (("X-Seen", str(len(recorder.requests))),))

    answers: list[bytes] = []
    with recording(script) as recorder:
        host, port = recorder.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as line, line.makefile("rb") as read:
            for _ in range(2):  # on one connection
                line.sendall(RAW + framing)
                answers.append(b"".join(iter(read.readline, b"\r\n")) + read.read(4))
    (first, _) = recorder.requests
    assert (first.method, first.target, first.headers[:4], first.body) == ("POST", "//a/%7e?x=%2B", FIELDS, body)
    assert [answer.split(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 599 Unknown"] * 2
    assert b"X-Seen: 2" in answers[1]
    assert answers[1].endswith(b"POST")


def test_a_made_key_is_the_same_text_every_time_and_no_two_venues_share_one() -> None:
    keys: dict[tuple[str, str], Any] = {(v, a): credentials_of(v, a) for v in VENUES for a in VENUES[v].algorithms}
    assert keys == {(v, a): credentials_of(v, a) for v, a in keys}
    secrets = [key.secret for (_, algorithm), key in keys.items() if algorithm.startswith("hmac")]
    assert len(set(secrets)) == len(secrets)
