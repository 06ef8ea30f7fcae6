"""Trusted proxies: the first address from the right that is no proxy's; what a client writes changes nothing."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradeguard.core.address import parse_address
from tradeguard.core.errors import ConfigError
from tradeguard.core.proxy import Proxies, peer_named, wrote_peer
from tradeguard.core.request import Headers, Peer

TRUSTED = ["10.0.0.0/8", "2001:db8:ffff::/48"]
PLAIN = Proxies(header="x-forwarded-for", trusted=TRUSTED)
NAMED = Proxies(header="forwarded", trusted=TRUSTED)
PROXY = Peer(parse_address("10.0.0.1"))
FORWARDED = "forwarded"


def resolve(proxies: Proxies, *values: str, peer: Peer = PROXY, more: Iterable[tuple[bytes, bytes]] = ()) -> Peer:
    name = proxies.header.encode()
    headers = Headers([*((name, value.encode("latin-1")) for value in values), *more])
    return proxies.resolve(peer, "http", headers)[0]


def address(peer: Peer) -> str | None:
    return None if peer.address is None else peer.address.text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("1.1.1.1,203.0.113.9\t,\t10.0.0.2", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, ::ffff:10.0.0.2", "203.0.113.9"),
        ("203.0.113.9, 2001:db8:ffff::7", "203.0.113.9"),
        ("10.0.0.7", "10.0.0.7"),
        ("10.0.0.7, 10.0.0.2", "10.0.0.7"),
        (", ".join(["203.0.113.9", *["10.0.0.2"] * 31]), "203.0.113.9"),
        (", ".join(["203.0.113.9", *["10.0.0.2"] * 32]), None),
        ("", None),
        ("203.0.113.9,", None),
        ("203.0.113.9, , 10.0.0.2", None),
        ("203.0.113.9, unknown", None),
        ("203.0.113.9, _hidden", None),
        ("203.0.113.9, fe80::1%eth0", None),
        ("203.0.113.9, 010.0.0.2", None),
        ("203.0.113.9, 10.0.0", None),
        ("203.0.113.9, localhost", None),
        ("203.0.113.9:0x50", None),
        ("[203.0.113.9]:", None),
        ("203.0.113.9 10.0.0.2", None),
    ],
)
def test_x_forwarded_for_is_walked_from_the_right(value: str, found: str | None) -> None:
    assert address(resolve(PLAIN, value)) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=203.0.113.9;Proto=https;by=10.0.0.1", "203.0.113.9"),
        ('for="203.0.113.9:4711"', "203.0.113.9"),
        ('for="203.0.113.9:_p0rt"', "203.0.113.9"),
        ('for="[2001:db8::1]"', "2001:db8::1"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        (r'for="\2\0\3.0.113.9"', "203.0.113.9"),
        ("for=1.1.1.1, for=203.0.113.9, for=10.0.0.2", "203.0.113.9"),
        ("by=10.0.0.2; for=203.0.113.9", "203.0.113.9"),
        ('for=203.0.113.9;host="a, for=6.6.6.6"', "203.0.113.9"),
        (r'for=203.0.113.9;host="a, for=6.6.6.6;b=\"c"', "203.0.113.9"),
        ('for=203.0.113.9;host="a, for=6.6.6.6;b=";by="_x"', "203.0.113.9"),
        ('for=203.0.113.9;host="a,b,c", for=10.0.0.2;host="d,e"', "203.0.113.9"),
        ("for=unknown", None),
        ("for=_hidden", None),
        ('for="_hidden"', None),
        ("for=2001:db8::1", None),
        ('for="2001:db8::1"', None),
        ("for=203.0.113.9;for=1.1.1.1", None),
        ("for =203.0.113.9", None),
        ("for=203.0.113.9 by=x", None),
        ('for="203.0.113.9', None),
        ("proto=https", None),
        ("203.0.113.9", None),
        ("", None),
        ("for=203.0.113.9,", None),
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(value: str, found: str | None) -> None:
    assert address(resolve(NAMED, value)) == found


def test_repeated_fields_are_one_list_in_their_order() -> None:
    assert address(resolve(PLAIN, "203.0.113.9", "198.51.100.7", "10.0.0.2")) == "198.51.100.7"
    assert address(resolve(NAMED, "for=203.0.113.9", "for=198.51.100.7", "for=10.0.0.2")) == "198.51.100.7"


def test_the_other_header_counts_for_nothing() -> None:
    assert address(resolve(PLAIN, "203.0.113.9", more=[(b"forwarded", b"for=6.6.6.6")])) == "203.0.113.9"
    assert address(resolve(NAMED, more=[(b"x-forwarded-for", b"6.6.6.6"), (b"x-real-ip", b"6.6.6.6")])) is None


STRANGERS = [Peer(parse_address("192.0.2.1")), Peer(), Peer(unix=True), Peer(rewritten="10.0.0.1")]


@pytest.mark.parametrize("peer", STRANGERS)
def test_from_a_peer_that_is_not_trusted_the_header_is_ignored(peer: Peer) -> None:
    assert resolve(PLAIN, "203.0.113.9", peer=peer) == peer


def test_a_unix_socket_is_trusted_by_name() -> None:
    unix = Proxies(header="x-forwarded-for", trusted=["unix"])
    assert address(resolve(unix, "1.1.1.1, 203.0.113.9", peer=Peer(unix=True))) == "203.0.113.9"
    assert resolve(unix, "203.0.113.9", peer=PROXY) == PROXY
    assert resolve(unix, "203.0.113.9", peer=peer_named("fe80::1%eth0")) == Peer()


@pytest.mark.parametrize(
    ("name", "unix"),
    [(None, True), ("", True), ("localhost", True), ("127.0.0.1", False), ("fe80::1%2", False), ("testclient", False)],
)
def test_what_servers_call_the_peer_of_a_unix_socket(name: str | None, unix: bool) -> None:
    assert peer_named(name).unix is unix


@pytest.mark.parametrize("value", ["", "unknown", "203.0.113.9, _x", "garbage", "203.0.113.9, " + "10.0.0.2, " * 40])
def test_who_is_hidden_is_counted_against_the_proxy_and_against_nobody_else(value: str) -> None:
    found = resolve(PLAIN, value)
    assert (found.address, found.source) == (None, "via 10.0.0.1")
    assert PROXY.source != found.source
    assert resolve(Proxies(header="forwarded", trusted=["unix"]), peer=Peer(unix=True)).source == "via unix"


def test_a_proxy_with_ipv6_is_counted_by_its_subnet() -> None:
    assert resolve(PLAIN, "x", peer=Peer(parse_address("2001:db8:ffff::1"))).source == "via 2001:db8:ffff::/64"


def scheme_of(proxies: Proxies, *fields: tuple[bytes, bytes], peer: Peer = PROXY) -> str:
    return proxies.resolve(peer, "http", Headers(fields))[1]


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ([(b"x-forwarded-proto", b"https")], "https"),
        ([(b"x-forwarded-proto", b"HTTPS ")], "https"),
        ([(b"x-forwarded-proto", b"http")], "http"),
        ([(b"x-forwarded-proto", b"https, http")], "http"),
        ([(b"x-forwarded-proto", b"https"), (b"x-forwarded-proto", b"https")], "http"),
        ([(b"x-forwarded-proto", b"javascript")], "http"),
        ([(b"forwarded", b"for=1.1.1.1;proto=https")], "http"),
        ([], "http"),
    ],
)
def test_the_scheme_is_the_proxys_word(fields: list[tuple[bytes, bytes]], scheme: str) -> None:
    assert scheme_of(PLAIN, (b"x-forwarded-for", b"203.0.113.9"), *fields) == scheme
    stranger = Peer(parse_address("192.0.2.1"))
    assert scheme_of(PLAIN, (b"x-forwarded-for", b"203.0.113.9"), *fields, peer=stranger) == "http"


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        (b"for=203.0.113.9;proto=https", "https"),
        (b"for=203.0.113.9;proto=https, for=10.0.0.2;proto=http", "https"),
        (b"for=1.1.1.1;proto=https, for=203.0.113.9;proto=http", "http"),
        (b"for=1.1.1.1;proto=https, for=203.0.113.9", "http"),
        (b"for=203.0.113.9;proto=ftp", "http"),
    ],
)
def test_forwarded_says_the_scheme_in_the_clients_own_entry(value: bytes, scheme: str) -> None:
    assert scheme_of(NAMED, (b"forwarded", value), (b"x-forwarded-proto", b"https")) == scheme


ENTRY = st.sampled_from(["203.0.113.9", "2001:db8::9", "198.51.100.7"])
HOPS = st.lists(st.sampled_from(["10.0.0.2", "10.9.9.9"]), max_size=5)
JUNK = st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=60)
WRITTEN = st.lists(
    JUNK
    | st.sampled_from(
        ['for="', 'for="x', "for=10.0.0.2", "10.0.0.2", ",", 'host="a\\', ';"', "," * 9000, "x" * 9000, '"' * 9000]
    ),
    max_size=4,
).map(",".join)


@given(ENTRY, HOPS, WRITTEN)
def test_nothing_that_a_client_writes_in_front_changes_x_forwarded_for(
    client: str, hops: list[str], wrote: str
) -> None:
    honest = ", ".join([client, *hops])
    assert resolve(PLAIN, f"{wrote}, {honest}") == resolve(PLAIN, wrote, honest) == resolve(PLAIN, honest)
    assert address(resolve(PLAIN, honest)) == client


MORE = st.sampled_from(["", ";proto=https", ';host="a, for=6.6.6.6"', r';host="\", for=6.6.6.6"'])


@given(ENTRY, HOPS, WRITTEN, MORE)
def test_nothing_that_a_client_writes_in_front_changes_forwarded(
    client: str, hops: list[str], wrote: str, more: str
) -> None:
    node = f'"[{client}]:1"' if ":" in client else client
    honest = ", ".join([f"for={node}{more}", *(f"for={hop}{more}" for hop in hops)])
    assert resolve(NAMED, f"{wrote}, {honest}") == resolve(NAMED, wrote, honest) == resolve(NAMED, honest)
    assert address(resolve(NAMED, honest)) == client


@given(st.sampled_from([PLAIN, NAMED]), st.lists(JUNK, max_size=5))
def test_whatever_stands_there_is_a_peer(proxies: Proxies, values: list[str]) -> None:
    found = resolve(proxies, *values)
    assert found.source


@given(st.sampled_from([PLAIN, NAMED]), WRITTEN)
def test_nobody_can_be_counted_as_the_proxy_or_as_a_neighbour_behind_it(proxies: Proxies, wrote: str) -> None:
    for end in ("_x", "for=_x", "unknown"):
        assert resolve(proxies, f"{wrote}, {end}").source == "via 10.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"header": "x-real-ip"}, "header is x-forwarded-for or forwarded"),
        ({"header": "X-Forwarded-For"}, "header is"),
        ({"trusted": []}, "trusted is empty"),
        ({"trusted": "10.0.0.0/8"}, "is a list of networks"),
        ({"trusted": ["10.0.0.1/8"]}, "is no network"),
        ({"trusted": ["proxy.example"]}, "is no network"),
        ({"trusted": ["0.0.0.0/0"]}, "trusts everybody"),
        ({"trusted": ["unix", "::/0"]}, "trusts everybody"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_cure(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Proxies(**{"header": "forwarded", "trusted": TRUSTED, **arguments})


@pytest.mark.parametrize(
    ("value", "host", "port", "wrote"),
    [
        (b"", "203.0.113.9", 0, True),
        (b"203.0.113.9:4711", "203.0.113.9", 4711, True),
        (b"1.1.1.1, 203.0.113.9: +4_711 ", "203.0.113.9", 4711, True),
        (b"[2001:db8::1]:80", "2001:db8::1", 80, True),
        (b"203.0.113.9", "203.0.113.9", 4711, False),
        (b"203.0.113.9:4712", "203.0.113.9", 4711, False),
        (b"", "203.0.113.9", 4711, False),
    ],
)
def test_a_peer_that_a_server_took_from_the_header_is_recognised(
    value: bytes, host: str, port: int, wrote: bool
) -> None:
    assert wrote_peer(Headers([(b"x-forwarded-for", value)]), host, port) is wrote
