"""The law of a lock-out: decay, delay, and the networks around a source."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import NOW, SECOND

from tradeguard.core.address import parse_address
from tradeguard.core.lockout import HALF_LIFE, LONGEST, count_at, level_of, networks_of, wait_for


@given(st.integers(1, 10**6), st.integers(0, 20 * HALF_LIFE))
def test_a_count_decays_by_half_in_its_half_life(count: int, after: int) -> None:
    level = level_of(float(count), NOW)
    assert count_at(level, NOW) == pytest.approx(count)
    assert count_at(level, NOW + HALF_LIFE) == pytest.approx(count / 2)
    assert count_at(level, NOW + after) == pytest.approx(count * 0.5 ** (after / HALF_LIFE))


@given(st.integers(-(2**62), 2**62), st.integers(0, 2**62))
def test_no_level_is_out_of_bounds(level: int, at: int) -> None:
    assert 0 <= count_at(level, at) <= 2**40
    assert 0 <= wait_for(count_at(level, at), 3, level) <= LONGEST * 6 // 5


@given(st.floats(0.1, 1000), st.floats(0.1, 1000), st.integers(0, 10 * HALF_LIFE), st.integers(0, 10 * HALF_LIFE))
def test_levels_order_counts_for_ever(one: float, other: float, when: int, later: int) -> None:
    first, second = level_of(one, NOW), level_of(other, NOW + when)
    at = NOW + when + later
    if first < second:
        assert count_at(first, at) <= count_at(second, at)


@pytest.mark.parametrize("dice", [0, 1, 32_768, 65_535, 65_536, 10**18, -5])
def test_three_failures_are_free_then_the_wait_doubles_to_a_quarter_of_an_hour(dice: int) -> None:
    for count in (0.0, 1.0, 2.9, 3.0, 3.000_000_001):
        assert wait_for(count, 3, dice) == 0
    for count, seconds in [(4, 2), (5, 4), (6, 8), (12, 512), (13, 900), (14, 900), (10**9, 900)]:
        wait = wait_for(float(count), 3, dice)
        assert seconds * SECOND * 4 // 5 <= wait <= seconds * SECOND * 6 // 5


def test_the_dice_reach_both_ends() -> None:
    waits = [wait_for(4.0, 3, dice) for dice in range(65_536)]
    assert (min(waits), max(waits)) == (2 * SECOND * 4 // 5, 2 * SECOND * 6 // 5)


@given(st.integers(0, 2**128 - 1) | st.integers(0, 2**16).map(lambda low: low << 64) | st.integers(0, 2**80))
def test_the_networks_of_an_ipv6_source_are_its_56_and_its_48(number: int) -> None:
    address = parse_address(str(IPv6Address(number)))
    assert address is not None
    if address.version == 4:
        return
    wide = networks_of(address.source)
    assert [factor for _, factor in wide] == [4, 16]
    for (text, _), length in zip(wide, (56, 48), strict=True):
        network = ip_network(text)
        assert network.prefixlen == length
        assert IPv6Address(number) in network


@given(st.integers(0, 2**32 - 1))
def test_the_network_of_an_ipv4_source_is_its_24(number: int) -> None:
    address = parse_address(str(IPv4Address(number)))
    assert address is not None
    [(text, factor)] = networks_of(address.source)
    assert ip_network(text).prefixlen == 24
    assert IPv4Address(number) in ip_network(text)
    assert factor == 16


@pytest.mark.parametrize("source", ["via 127.0.0.1", "via ::1", "", "unix", "unknown", "."])
def test_around_what_is_no_address_there_is_no_network(source: str) -> None:
    assert networks_of(source) == ()


@given(st.text(max_size=30))
def test_any_text_has_networks_or_none(source: str) -> None:
    if not source.endswith("::/64"):
        assert len(networks_of(source)) <= 1
