"""Quotas in the file: every fault by its path, what holds for whom, and rates that change while counts stay."""

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from config.home import AHEAD, Home, Venue
from config.test_load import faults
from support import SECOND, TRADER, make_request, sign

from tradeguard import ConfigError, Denial, Policy
from tradeguard.checks.quota import CANCELS, Quotas
from tradeguard.config import build_guard, check, explain, load_settings, reload_guard
from tradeguard.config.quotas import make_quotas
from tradeguard.config.rules import make_policy
from tradeguard.config.sections import Quota
from tradeguard.core.decision import Decision
from tradeguard.core.drive import drive
from tradeguard.core.rate import Rate
from tradeguard.core.runtime import Threads

MAP = """
    [roles]
    trader = ["orders:read", "orders:write"]
    [operations]
    "GET /v1/time" = {lane = "public"}
    "GET /v1/orders" = "orders:read"
    "POST /v1/orders" = "orders:write"
    """
EVERYTHING = """
    [policy]
    tiers = ["iron"]
    [quotas.orders]
    rate = "10/second;1000/day"
    by = "account"
    lanes = ["order", "funds"]
    cost = 2
    burst = 5
    attempts = true
    shadow = true
    share = 40
    header = "X-MBX-ORDER-COUNT"
    [quotas.reads]
    rate = "5/second"
    lanes = ["read"]
    charge = "success"
    [quotas]
    requests = "20/second"
    [tiers.gold]
    orders = "100/second;5000/day"
    [overrides."somebody"]
    reads = "9/second"
    """


def made(home: Home) -> Quotas:
    [check] = make_quotas(load_settings(home.path, {}).settings)
    return check


def test_every_field_of_a_rate_can_be_said(home: Home) -> None:
    home.write(EVERYTHING)
    rates = made(home).rates
    own: dict[str, Any] = {
        "lanes": ("order", "funds"),
        "share": 40,
        "header": "X-MBX-ORDER-COUNT",
        "attempts": True,
        "shadow": True,
    }
    assert rates["orders"] == Rate("10/second;1000/day", by="account", cost=2, burst=5, **own)
    assert rates["reads"] == Rate("5/second", lanes=("read",), charge="success")
    assert (rates["requests"], rates["cancels"]) == (Rate("20/second"), CANCELS)
    assert {field.name for field in fields(Rate) if field.init} == {*Quota.model_fields, "text"} - {"rate"}


def test_a_tier_with_rates_needs_no_other_declaration(home: Home) -> None:
    home.write(EVERYTHING)
    assert make_policy(load_settings(home.path, {}).settings).tiers == {"iron", "gold"}
    home.write("")
    assert make_policy(load_settings(home.path, {}).settings) == Policy()


def test_all_faults_of_quotas_come_at_once_with_their_paths(home: Home) -> None:
    home.write("""
        [quotas]
        a = "10 a second"
        b = {rate = "10/second", by = "moon"}
        c = {rate = "0/second"}
        d = {}
        e = {rate = "1/second", lanes = ["order"], cost = 2}
        "Big One" = "10/second"
        g = {rate = "5/second", bursts = 4}
        h = 5
        i = {rate = "5/second", lanes = []}
        [tiers.gold]
        a = 10
        """)
    assert faults(home) == [
        "quotas.b.by: must be 'key', 'account', 'source', 'tier', 'operation' or 'venue'",
        'quotas.d.rate: missing; write rate = "10/second" or "10/second;100000/day"',
        "quotas.g.bursts: no such key; did you mean burst?",
        "quotas.h: must be a table",
        "quotas.i.lanes: must not be empty",
        "tiers.gold.a: must be a text",
    ]


def test_rules_of_quotas_tiers_overrides_and_costs_are_told_by_path(home: Home) -> None:
    home.write("""
        [quotas]
        a = "10 a second"
        c = {rate = "0/second"}
        e = {rate = "1/second", lanes = ["order"], cost = 2}
        "Big One" = "10/second"
        fine = "10/second"
        venue = {rate = "100/second", by = "venue", lanes = ["read"]}
        [tiers.gold]
        fine = "x"
        nope = "1/second"
        venue = "1000/second"
        a = "1/second"
        [overrides."k 1"]
        fine = "1/second;2/second"
        """)
    assert faults(home) == [
        'quotas.a.rate: \'10 a second\' is no rate; write it as "10/second" or "10/second;100000/day", each above 0',
        'quotas.c.rate: \'0/second\' is no rate; write it as "10/second" or "10/second;100000/day", each above 0',
        "quotas.e: cost is a number of units, 0 or more, that fits into its windows",
        "quotas.\"Big One\": 'Big One' is no name of a quota; use a to z, 0 to 9, _ and -, at most 32",
        'tiers.gold.fine: \'x\' is no rate; write it as "10/second" or "10/second;100000/day", each above 0',
        "tiers.gold.nope: names 'nope', which is no quota; there are fine, venue, cancels",
        "tiers.gold.venue: quota 'venue' is the same for all; it goes by venue",
        'overrides."k 1".fine: two windows of one length; keep the smaller',
    ]


def test_costs_and_shares_are_told_by_path(home: Home) -> None:
    home.write("""
        [quotas]
        fine = {rate = "10/second", lanes = ["read"]}
        venue = {rate = "100/second", by = "venue", lanes = ["order"]}
        desk = {rate = "15/second", by = "tier", lanes = ["read"]}
        [operations]
        "GET /a" = {scopes = "orders:read", costs = {fin = 2}}
        "GET /b" = {scopes = "orders:read", costs = {fine = 11}}
        "POST /c" = "orders:write"
        """)
    assert faults(home) == [
        "operations.\"GET /a\": costs names 'fin', which is no quota",
        "operations.\"GET /b\": costs 11 of quota 'fine', which holds 10 at most",
    ]
    home.write(
        home.path.read_text().partition(NETWORK_END)[2].replace("fin = 2", "fine = 2").replace("fine = 11", "desk = 2")
    )
    assert [line[:60].rstrip() for line in faults(home)] == [
        "quotas.venue: one key could fill all of the 100 of venue-1s,",
        "quotas.desk: one key could fill 20 of the 15 of desk-1s, whi",
    ]


NETWORK_END = 'topology = "direct"\n'


@pytest.mark.parametrize("section", ["tiers", "overrides"])
def test_rates_of_tiers_and_keys_need_a_quota(home: Home, section: str) -> None:
    home.write(f'[{section}.x]\nrequests = "1/second"\n')
    assert faults(home) == [
        f"{section}.x.requests: there is no quota that it could change; give the section quotas one"
    ]


def test_what_holds_for_each_tier_is_shown_with_its_origin(home: Home) -> None:
    home.write(EVERYTHING)
    rows = {row.key: (row.value, row.origin) for row in explain(load_settings(home.path, {}))}
    assert rows["quotas.orders.rate"] == ('"10/second;1000/day"', "file")
    assert rows["quotas.orders.burst"] == ("5", "file")
    assert rows["quotas.reads.burst"] == ("0", "default")
    assert rows["quotas.cancels.rate"] == (f'"{CANCELS.text}"', "default")
    assert rows["tiers.gold.orders"] == ('"100/second;5000/day"', "file")
    assert rows["tiers.gold.reads"] == ('"5/second"', "quotas.reads")
    assert rows["tiers.iron.orders"] == ('"10/second;1000/day"', "quotas.orders")
    assert rows["overrides.somebody.reads"] == ('"9/second"', "file")


def test_who_may_place_any_number_of_orders_is_found(home: Home) -> None:
    more = '[quotas]\nreads = {rate = "1/second", lanes = ["read"]}\n' + MAP.replace("    ", "")
    home.write(more)
    line = "quotas: none holds for POST /v1/orders: whoever has a key may place any number of orders"
    assert check(load_settings(home.path, {}), {}) == [line]
    home.write(more + '[quotas.orders]\nrate = "1/second"\nshadow = true\n')
    assert check(load_settings(home.path, {}), {}) == [line], "what only watches limits nobody"
    home.write(more + '[quotas.orders]\nrate = "1/second"\ncost = 0\n')
    assert check(load_settings(home.path, {}), {}) == [line], "what costs nothing limits nobody"
    home.write(more + '[quotas.orders]\nrate = "1/second"\n')
    assert check(load_settings(home.path, {}), {}) == []


def test_an_override_for_a_mistyped_key_is_found(home: Home) -> None:
    home.write(
        '[quotas]\nx = "1/second"\n[overrides]\ntg_live_key_0000000000000000000000 = {x = "2/second"}\n'
        'own = {x = "2/second"}\n'
    )
    [empty, line] = check(load_settings(home.path, {}), {})
    assert empty.startswith("operations: none")
    assert line == "overrides.tg_live_key_0000000000000000000000: no key has this id: its checksum is wrong"


class Running(Venue):
    """A venue with quotas, and the guard that runs there."""

    def __init__(self, folder: Path, quotas: str, state: str = "") -> None:
        self.state = state
        super().__init__(folder, state + quotas + MAP)
        self.guard = build_guard(self.path, {})
        self.guard.bind(Threads())
        while time.time_ns() < self.guard.state.since + SECOND - AHEAD + 10_000_000:
            time.sleep(0.001)  # memory refuses what was signed in its first second

    def change(self, quotas: str) -> None:
        """Adopt other quotas."""
        self.write(self.state + quotas + MAP)
        reload_guard(self.guard)

    def ask(self, times: int = 1) -> list[Decision]:
        """Send signed reads."""
        now = self.guard.runtime.now
        return [
            drive(self.guard.admit(sign(TRADER, "GET", b"/v1/orders", at=now() + AHEAD, arrived=now())))
            for _ in range(times)
        ]

    def passed(self, times: int) -> int:
        """Send so many signed reads; how many passed. The others were refused for want of room."""
        refused = [decision for decision in self.ask(times) if isinstance(decision, Denial)]
        assert {denial.code for denial in refused} <= {"quota.exceeded"}
        return times - len(refused)


STATES = ["", '[state]\nbackend = "memory"\n']


@pytest.mark.parametrize("state", STATES, ids=["sqlite", "memory"])
def test_a_reload_changes_rates_and_forgets_no_count(tmp_path: Path, state: str) -> None:
    tmp_path.chmod(0o700)
    venue = Running(tmp_path, '[quotas]\nrequests = "3/hour"\n', state)
    assert venue.passed(5) == 3
    venue.change('[quotas]\nrequests = "5/hour"\n')
    assert venue.passed(5) == 2
    venue.change('[quotas]\nrequests = "4/hour"\n')
    assert venue.passed(5) == 0
    venue.change('[quotas]\nrequests = "4/hour"\n[overrides.trader]\nrequests = "6/hour"\n')
    assert venue.passed(5) == 1
    venue.change("")
    assert venue.passed(5) == 5
    venue.guard.close()


def test_a_wrong_rate_keeps_the_old_ones(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    venue = Running(tmp_path, '[quotas]\nrequests = "2/hour"\n')
    with pytest.raises(ConfigError, match=r"quotas\.requests\.rate: 'many' is no rate"):
        venue.change('[quotas]\nrequests = "many"\n')
    assert venue.passed(3) == 2
    venue.guard.close()


def test_what_strangers_have_asked_for_is_remembered_over_a_reload(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    quotas = '[quotas]\nstrangers = {rate = "2/hour", by = "source", lanes = ["public"]}\n'
    venue = Running(tmp_path, quotas)

    def ask() -> Any:
        now = venue.guard.runtime.now()
        return drive(venue.guard.admit(make_request("GET", b"/v1/time", arrived=now)))

    assert [isinstance(ask(), Denial) for _ in range(2)] == [False, False]
    venue.change(quotas)
    denial = ask()
    assert (denial.code, denial.status) == ("quota.public", 429)
    venue.guard.close()
