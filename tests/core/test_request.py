"""Request, Headers and Peer: raw bytes untouched, one value or none, and what can be set once."""

import asyncio

import pytest
from support import NOW, Bytes, make_request

from tradeguard.core.address import Networks, parse_address
from tradeguard.core.credential import Credential, Window
from tradeguard.core.decision import Refused
from tradeguard.core.drive import drive
from tradeguard.core.principal import Principal
from tradeguard.core.request import Headers, Peer, Request

RAW = [(b"host", b"api.example"), (b"x-a", b"1"), (b"x-a", b"2"), (b"x-b", b"\xff")]


def make_credential() -> Credential:
    return Credential("tg1", "hmac-sha256", "k", NOW, NOW + 1, b"nonce", b"digest", frozenset(), Window(1, 1))


def make_principal() -> Principal:
    return Principal("k", "k", "acme", frozenset(), Networks())


def test_one_returns_a_field_that_stands_once_and_none_for_one_that_is_absent() -> None:
    headers = Headers(RAW)
    assert headers.one(b"host") == b"api.example"
    assert headers.one(b"x-b") == b"\xff"
    assert headers.one(b"x-c") is None
    assert headers.one(b"Host") is None


def test_one_refuses_a_field_that_stands_twice_and_names_it() -> None:
    with pytest.raises(Refused) as refused:
        Headers(RAW).one(b"x-a")
    denial = refused.value.denial
    assert (denial.code, denial.public, denial.status, denial.detail) == (
        "request.repeated",
        "unauthorized",
        401,
        "x-a",
    )


def test_a_field_that_stands_twice_with_the_same_value_is_refused_too() -> None:
    with pytest.raises(Refused):
        Headers([(b"x-a", b"1"), (b"x-a", b"1")]).one(b"x-a")


def test_repeated_counts_what_stands_more_than_once() -> None:
    assert Headers(RAW).repeated == {b"x-a": 2}
    assert Headers(RAW[:2]).repeated == {}


def test_note_is_text_for_the_log_whatever_the_bytes() -> None:
    headers = Headers(RAW)
    assert (headers.note(b"x-a"), headers.note(b"x-b"), headers.note(b"x-c")) == ("2", "\xff", "")


def test_headers_keep_the_order_and_the_bytes_of_what_was_received() -> None:
    assert Headers(iter(RAW)).raw == RAW
    assert len(Headers(RAW)) == 4
    assert b"x-a" in Headers(RAW)
    assert b"x-c" not in Headers(RAW)


@pytest.mark.parametrize("raw", [RAW, RAW[:2], []])
def test_all_names_and_all_values_are_joined_repeated_ones_included(raw: list[tuple[bytes, bytes]]) -> None:
    names, values = Headers(raw).joined()
    assert names == b"".join(name for name, _ in raw)
    assert values == b"".join(value for _, value in raw)


@pytest.mark.parametrize(
    ("address", "source"),
    [("203.0.113.7", "203.0.113.7"), ("::ffff:203.0.113.7", "203.0.113.7"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64")],
)
def test_the_source_of_a_peer_is_its_address_or_its_64(address: str, source: str) -> None:
    assert Peer(parse_address(address)).source == source


@pytest.mark.parametrize("peer", [Peer(), Peer(rewritten="203.0.113.7")])
def test_a_peer_without_an_address_has_no_source(peer: Peer) -> None:
    assert peer.source is None


def test_a_body_is_read_once_and_kept() -> None:
    reader = Bytes(b"abc")
    request = Request(
        id="1", method="POST", target=b"/", path="/", headers=Headers([]), peer=Peer(), arrived=NOW, body=reader
    )
    assert [drive(request.body()), drive(request.body())] == [b"abc", b"abc"]
    assert reader.reads == 1
    request.release()
    assert reader.released == 1


def test_a_request_may_bring_its_body_along() -> None:
    request = Request(
        id="1", method="POST", target=b"/", path="/", headers=Headers([]), peer=Peer(), arrived=NOW, body=b"abc"
    )
    assert asyncio.run(request.body()) == b"abc"
    request.release()
    assert not request.unread


@pytest.mark.parametrize(
    ("length", "read", "unread"), [(None, False, True), (3, False, True), (0, False, False), (3, True, False)]
)
def test_a_body_is_unread_until_it_was_read_unless_there_is_none(length: int | None, read: bool, unread: bool) -> None:
    request = make_request("POST", body=b"abc")
    request.length = length
    if read:
        drive(request.body())
    assert request.unread is unread


def test_credential_and_principal_are_set_once() -> None:
    request, credential, principal = make_request(), make_credential(), make_principal()
    assert request.credential is None
    assert request.principal is None
    request.prove(credential, principal)
    assert request.credential is credential
    assert request.principal is principal
    with pytest.raises(AttributeError, match="write-once"):
        request.prove(credential, principal)


@pytest.mark.parametrize("name", ["credential", "principal", "anything"])
def test_credential_and_principal_are_not_assigned_and_nothing_is_added(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(make_request(), name, make_principal())


def test_a_new_request_is_in_the_frame_and_received_when_it_arrived() -> None:
    request = make_request()
    assert (request.phase, request.received, request.authority, request.length) == ("frame", NOW, b"", None)
    assert (request.operation, request.claim, request.context) == (None, None, None)
