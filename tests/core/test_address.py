"""Addresses: read strictly, normalised once, matched as integers."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.core.address import Networks, parse_address
from tradeguard.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("::1", "::1"),
        ("64:ff9b::203.0.113.7", "64:ff9b::cb00:7107"),
    ],
)
def test_an_address_is_read_and_has_one_form(text: str, normal: str) -> None:
    assert str(parse_address(text)) == normal
    assert parse_address(text) == parse_address(normal)


NO_ADDRESSES = [
    *["", "localhost", "203.0.113", "203.0.113.256", "203.0.113.07", "0x7f.0.0.1", "2130706433", " 203.0.113.7"],
    *["203.0.113.7:80", "203.0.113.0/24", "[::1]", "::1%eth0", "fe80::1%1", "::ffff:203.0.113.7%1", "1::2::3"],
    *["unix:", "\x00", "٢.0.0.1"],
]


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_whatever_is_no_plain_address_is_none(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
    ],
)
def test_one_party_has_one_address_or_one_64(one: str, two: str, same: bool) -> None:
    left, right = parse_address(one), parse_address(two)
    assert left is not None
    assert right is not None
    assert (left.source == right.source) is same


@pytest.mark.parametrize(
    ("cidrs", "address", "inside"),
    [
        (["203.0.113.0/24"], "203.0.113.0", True),
        (["203.0.113.0/24"], "203.0.113.255", True),
        (["203.0.113.0/24"], "203.0.114.0", False),
        (["203.0.113.0/24"], "203.0.112.255", False),
        (["203.0.113.7"], "203.0.113.7", True),
        (["203.0.113.7/32"], "203.0.113.8", False),
        (["203.0.113.0/24"], "::ffff:203.0.113.9", True),
        (["::ffff:203.0.113.0/120"], "203.0.113.9", True),
        (["::ffff:203.0.113.0/120"], "::ffff:203.0.114.9", False),
        (["::ffff:0:0/96"], "198.51.100.1", True),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["::/0"], "203.0.113.7", False),
        (["::/0"], "2001:db8::1", True),
        (["2001:db8::/48"], "2001:db8:0:ffff::1", True),
        (["2001:db8::/48"], "2001:db8:1::", False),
        (["::cb00:7100/120"], "203.0.113.7", False),
        (["198.51.100.0/24", "2001:db8::/48"], "2001:db8::1", True),
        ([], "203.0.113.7", False),
    ],
)
def test_an_address_is_inside_or_outside(cidrs: list[str], address: str, inside: bool) -> None:
    assert (parse_address(address) in Networks(cidrs)) is inside


def test_an_unknown_address_is_in_no_network() -> None:
    assert None not in Networks(["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize(("cidrs", "restricts"), [([], False), (["203.0.113.0/24"], True)])
def test_an_empty_list_restricts_nothing(cidrs: list[str], restricts: bool) -> None:
    assert bool(Networks(cidrs)) is restricts


def test_a_list_shows_its_networks() -> None:
    assert repr(Networks(["203.0.113.0/24"])) == "Networks(['203.0.113.0/24'])"


@pytest.mark.parametrize(
    "cidr", ["", "office", "203.0.113.7/24", "203.0.113.0/33", "2001:db8::1/48", "203.0.113.0-9", "*"]
)
def test_an_entry_that_is_no_network_is_an_error_that_names_it_and_the_cure(cidr: str) -> None:
    with pytest.raises(ConfigError) as error:
        Networks(["203.0.113.0/24", cidr])
    assert f"{cidr!r} is no network" in str(error.value)
    assert "write it as 203.0.113.0/24 or 2001:db8::/48" in str(error.value)


V4 = st.integers(0, 2**32 - 1).map(lambda number: str(ip_address(number)))
V6 = st.integers(2**64, 2**128 - 1).map(lambda number: str(ip_address(number)))
CIDR = st.one_of(
    st.tuples(V4, st.integers(0, 32)).map(lambda pair: str(ip_network(f"{pair[0]}/{pair[1]}", strict=False))),
    st.tuples(V6, st.integers(0, 128)).map(lambda pair: str(ip_network(f"{pair[0]}/{pair[1]}", strict=False))),
)


@settings(max_examples=200, deadline=None)
@given(cidrs=st.lists(CIDR, max_size=4), address=V4 | V6)
def test_membership_is_that_of_the_standard_library(cidrs: list[str], address: str) -> None:
    expected = any(ip_address(address) in ip_network(cidr) for cidr in cidrs)
    assert (parse_address(address) in Networks(cidrs)) is expected


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or parse_address(str(address)) == address
