"""Quotas: who is counted how, what answers say, and that nobody gets one more than his share, whatever he tries."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

import http_sf
import pytest
from conftest import Run
from support import (
    HOME,
    MS,
    NOW,
    OPERATIONS,
    READER,
    SECOND,
    SECRET,
    TRADER,
    StillClock,
    make_checks,
    make_guard,
    make_keys,
    make_request,
    sign,
)  # fmt: skip

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.quota import Quotas
from tradeguard.core.conditions import NEVER, Charge, Outcome, Quota
from tradeguard.core.decision import Decision, Denial, Grant
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.rate import Rate
from tradeguard.core.request import Request
from tradeguard.signing.material import Hmac
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

MINUTE = 60 * SECOND
DESK = [Signer(TG1, f"desk{number}", SECRET + b"%d" % number) for number in range(3)]
"""Three keys of one account: the first is of tier maker."""


def desk_keys() -> MemoryKeys:
    return MemoryKeys([
        KeyRecord(id=signer.key_id, dialect="tg1", material=Hmac(SECRET + b"%d" % number), account="desk",
                  scopes={"orders:read", "orders:write", "orders:cancel"}, tier="" if number else "maker")
        for number, signer in enumerate(DESK)
    ])  # fmt: skip


class Venue:
    """A guard with quotas on a clock that a test moves; every request is signed afresh."""

    def __init__(self, quotas: Quotas, run: Run, *, keys: MemoryKeys | None = None, **other: Any) -> None:
        self.clock, self.run = StillClock(), run
        policy = Policy(tiers={"maker", "retail"})
        checks = [*make_checks(keys), quotas]
        self.guard: Guard = make_guard(checks, **{"runtime": self.clock, "policy": policy, **other})

    def ask(self, signer: Signer = TRADER, method: str = "GET", target: bytes = b"/v1/orders", **other: Any) -> Request:
        request = sign(signer, method, target, at=self.clock.at, arrived=self.clock.at, **other)
        self.decision: Decision = self.run(self.guard.admit(request))
        return request

    def passes(self, *about: Any, **other: Any) -> bool:
        request = self.ask(*about, **other)
        if isinstance(self.decision, Grant):
            self.guard.finish(request, 200)
            return True
        return False

    def count(self, amount: int, *about: Any, **other: Any) -> int:
        """How many of so many equal requests pass."""
        return sum(self.passes(*about, **other) for _ in range(amount))

    @property
    def denial(self) -> Denial:
        assert isinstance(self.decision, Denial)
        return self.decision


def fields_of(request: Request) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in request.fields}


# the law


def test_a_key_has_so_many_and_not_one_more(run: Run) -> None:
    venue = Venue(Quotas({"requests": "3/second;5/minute"}), run)
    assert venue.count(10) == 3
    venue.clock.at += SECOND
    assert venue.count(10) == 2
    venue.clock.at += MINUTE
    assert venue.count(10) == 3


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(6))
def test_no_rolling_window_ever_holds_more_than_its_limit_whatever_a_client_tries(seed: int, run: Run) -> None:
    """An adversary who looks for edges: bursts, saturation, waiting for what he is told, steps around bounds."""
    dice = random.Random(seed)
    amount, period = dice.choice([(5, 1), (20, 1), (30, 60), (1_001, 1)])
    unit = {1: "second", 60: "minute"}[period]
    clock, state = StillClock(), Memory(since=1)
    quotas = Quotas({"requests": Rate(f"{amount}/{unit}")})
    guard = make_guard([*make_checks(), quotas], runtime=clock, state=state)
    request = sign(TRADER, at=clock.at)
    assert isinstance(run(guard.admit(request)), Grant)
    [condition] = quotas.conditions(request)
    assert isinstance(condition, Quota)
    granted = [(clock.at, 1)]
    for _ in range(3_000):
        cost = dice.choice([1, 1, 1, 2, amount // 2 or 1, amount])
        outcome = run(state.commit([condition._replace(cost=cost)], clock.at, "r", None))
        if not outcome.failed:
            granted.append((outcome.time, cost))
        steps = [0, 1, 1_000, period * SECOND // 60, period * SECOND - 1, period * SECOND, dice.randrange(2 * SECOND)]
        told = max(0, outcome.ready - clock.at)
        clock.at += dice.choice([*steps, told, max(0, told - 1)])
    assert len(granted) > 100
    for start, _ in granted:
        assert sum(cost for at, cost in granted if start <= at < start + period * SECOND) <= amount


@pytest.mark.no_cover
@pytest.mark.parametrize("rate", ["3/second", "5/second;20/minute", "1200/minute"])
def test_who_obeys_retry_after_is_admitted_at_the_first_retry(rate: str, run: Run) -> None:
    venue = Venue(Quotas({"requests": rate}), run)
    refused = 0
    for _ in range(1_500):
        if not venue.passes():
            refused += 1
            wait = venue.denial.retry_after
            assert wait is not None
            assert venue.denial.members["retry_after_ms"] in range((wait - 1) * 1_000 + 1, wait * 1_000 + 1)
            venue.clock.at += wait * SECOND
            assert venue.passes()
        venue.clock.at += 7 * MS
    assert refused


def test_the_body_says_to_the_millisecond_when_there_is_room(run: Run) -> None:
    venue = Venue(Quotas({"requests": "3/second"}), run)
    assert venue.count(4) == 3
    wait = venue.denial.members["retry_after_ms"]
    assert isinstance(wait, int)
    venue.clock.at += (wait - 1) * MS
    assert not venue.passes()
    venue.clock.at += MS
    assert venue.passes()


def test_denied_requests_cost_nothing(run: Run) -> None:
    """A client that retries all the time gets its full share all the same."""
    venue = Venue(Quotas({"requests": "3/2 second"}), run)
    granted = 0
    for _ in range(80):
        granted += venue.passes()
        venue.clock.at += SECOND // 4
    assert granted == 30


def test_a_refusal_by_one_window_leaves_the_others_as_they_are(run: Run) -> None:
    venue = Venue(Quotas({"requests": "10/minute;3/day"}), run)
    venue.count(8)
    assert fields_of(venue.ask())["ratelimit"].startswith('"requests-1m";r=7;t=60, "requests-1d";r=0;')


def test_a_cost_that_does_not_fit_burns_nothing(run: Run) -> None:
    operations = {**OPERATIONS, "POST /v1/orders": {"scopes": "orders:write", "costs": {"weight": 10}},
                  "GET /v1/orders": {"scopes": "orders:read", "costs": {"weight": 5}}}  # fmt: skip
    venue = Venue(Quotas({"weight": "100/minute"}), run, operations=Operations(operations))
    assert venue.count(19) == 19  # 95
    assert not venue.passes(TRADER, "POST", b"/v1/orders")
    assert venue.passes()


# partitions


def test_routes_of_one_pattern_share_a_count(run: Run) -> None:
    venue = Venue(Quotas({"requests": "3/minute"}), run)
    assert sum(venue.passes(target=b"/v1/orders/%d" % n) for n in range(10)) == 3


def test_keys_do_not_share_a_count_and_cannot_use_up_each_others(run: Run) -> None:
    venue = Venue(Quotas({"requests": "3/minute"}), run)
    assert venue.count(10) == 3
    assert venue.count(10, READER) == 3


def test_keys_of_one_account_share_its_count(run: Run) -> None:
    venue = Venue(Quotas({"orders": Rate("4/minute", by="account")}), run, keys=desk_keys())
    assert [venue.count(3, signer) for signer in DESK] == [3, 1, 0]


def test_a_flood_of_other_keys_does_not_push_a_known_one_out(run: Run) -> None:
    keys = [Signer(TG1, f"k{number}", SECRET + b"%d" % number) for number in range(50)]
    records = [
        KeyRecord(id=signer.key_id, dialect="tg1", material=Hmac(SECRET + b"%d" % number), scopes={"orders:read"})
        for number, signer in enumerate(keys)
    ]
    state = Memory(since=1, meters=20)
    venue = Venue(Quotas({"requests": "2/minute"}), run, keys=MemoryKeys(records), state=state)
    assert venue.count(3, keys[0]) == 2
    assert [venue.count(1, signer) for signer in keys[1:]] == [1] * 19 + [0] * 30
    assert (venue.denial.code, venue.denial.status) == ("quota.full", 503)
    assert venue.count(3, keys[0]) == 0
    venue.clock.at += MINUTE
    assert [venue.count(1, signer) for signer in keys[30:]] == [1] * 20


def test_a_source_has_a_count_of_its_own_over_all_its_keys(run: Run) -> None:
    venue = Venue(Quotas({"requests": Rate("4/minute", by="source")}), run)
    assert venue.count(3, address="192.0.2.1") == 3
    assert venue.count(3, READER, address="192.0.2.1") == 1
    assert venue.count(3, READER, address="192.0.2.2") == 3
    assert venue.count(6, READER, address="2001:db8::1") == 4
    assert venue.count(6, READER, address="2001:db8::2") == 0  # one /64


def test_callers_without_a_known_source_share_one_count_and_are_never_skipped(run: Run) -> None:
    venue = Venue(Quotas({"requests": Rate("4/minute", by="source")}), run)
    assert venue.count(3, address=None) + venue.count(3, READER, address=None) == 4


def test_the_venue_has_a_count_for_all(run: Run) -> None:
    quotas = Quotas({"requests": "5/minute", "venue": Rate("10/minute", by="venue", cost=1)})
    venue = Venue(quotas, run)
    assert [venue.count(6, signer, address="203.0.113.1") for signer in (TRADER, READER)] == [5, 5]
    assert venue.count(1, HOME, "POST", b"/v1/orders", address="203.0.113.1") == 0
    assert venue.denial.members["violated-policies"] == ["venue-1m"]


def test_unknown_operations_count_as_attempts(run: Run) -> None:
    venue = Venue(Quotas({"attempts": Rate("3/minute", attempts=True)}), run)
    for _ in range(3):
        venue.ask(target=b"/v1/nothing")
        assert venue.denial.code == "guard.unmapped"
    assert not venue.passes()
    assert venue.denial.code == "quota.exceeded"


def test_attempts_count_what_is_refused_after_the_proof_and_others_do_not(run: Run) -> None:
    venue = Venue(Quotas({"requests": "9/minute", "attempts": Rate("6/minute", attempts=True)}), run)
    assert venue.count(4, READER, "POST", b"/v1/orders") == 0
    assert venue.denial.code == "scope.missing"
    assert venue.count(6, READER) == 2
    assert '"requests-1m";r=7' in fields_of(venue.ask(READER))["ratelimit"]


def test_a_bad_signature_in_a_keys_name_costs_it_nothing(run: Run) -> None:
    venue = Venue(Quotas({"attempts": Rate("3/minute", attempts=True)}), run)
    liar = Signer(TG1, "trader", b"not the secret of this key at all")
    for number in range(10):
        assert not venue.passes(liar, address=f"198.51.100.{number}")
    assert venue.count(4) == 3


# lanes, costs and tiers


def test_cancels_have_a_quota_of_their_own_that_orders_do_not_touch(run: Run) -> None:
    venue = Venue(Quotas({"requests": "2/minute"}), run)
    assert venue.count(5, TRADER, "POST", b"/v1/orders") == 2
    assert venue.count(205, TRADER, "DELETE", b"/v1/orders/1") == 200
    assert venue.denial.members["violated-policies"] == ["cancels-1s"]


def test_a_mass_cancel_has_its_reserve_where_its_row_names_one(run: Run) -> None:
    operations = {**OPERATIONS, "DELETE /v1/orders": {"scopes": "orders:cancel", "lane": "cancel",
                                                      "costs": {"cancels": 0, "mass": 1}}}  # fmt: skip
    cancels = Rate("2/minute", lanes=("cancel",))
    quotas = Quotas({"cancels": cancels, "mass": Rate("1/minute", lanes=("cancel",), cost=0)})
    venue = Venue(quotas, run, operations=Operations(operations))
    assert venue.count(3, TRADER, "DELETE", b"/v1/orders/1") == 2
    assert venue.count(3, TRADER, "DELETE", b"/v1/orders") == 1


def test_a_tier_and_an_override_change_what_a_key_may_do(run: Run) -> None:
    quotas = Quotas(
        {"requests": "2/minute"},
        tiers={"maker": {"requests": "4/minute"}, "retail": {"requests": "1/minute"}},
        overrides={"desk1": {"requests": "6/minute"}},
    )
    venue = Venue(quotas, run, keys=desk_keys())
    assert [venue.count(9, signer) for signer in DESK] == [4, 6, 2]


def test_a_policy_changes_without_a_restart_and_what_was_counted_stays(run: Run) -> None:
    venue = Venue(Quotas({"requests": "2/minute"}), run)
    assert venue.count(3) == 2
    guard = venue.guard
    checks = [*make_checks(), Quotas({"requests": "5/minute"})]
    guard.adopt(checks, operations=guard.operations, policy=guard.policy)
    assert venue.count(9) == 3


# answers


def test_every_answer_after_the_proof_says_what_is_left(run: Run) -> None:
    venue = Venue(Quotas({"requests": "10/second;100000/day", "venue": Rate("9000000/day", by="venue")}), run)
    fields = fields_of(venue.ask())
    policy = http_sf.parse(fields["ratelimit-policy"].encode(), tltype="list")
    left = http_sf.parse(fields["ratelimit"].encode(), tltype="list")
    assert policy == [("requests-1s", {"q": 10, "w": 1}), ("requests-1d", {"q": 100_000, "w": 86_400})]
    assert left == [("requests-1s", {"r": 9, "t": 1}), ("requests-1d", {"r": 99_999, "t": 86_900})]
    venue.ask(READER, "POST", b"/v1/orders")
    assert isinstance(venue.decision, Denial)


def test_a_refusal_names_all_windows_that_are_used_up_and_never_asks_to_come_sooner_than_they_allow(run: Run) -> None:
    venue = Venue(Quotas({"requests": "2/minute", "orders": Rate("2/hour", lanes=("order",))}), run)
    assert venue.count(2, TRADER, "POST", b"/v1/orders") == 2
    request = venue.ask(TRADER, "POST", b"/v1/orders")
    assert venue.denial.members["violated-policies"] == ["requests-1m", "orders-1h"]
    assert venue.denial.retry_after == 3_600
    left = http_sf.parse(fields_of(request)["ratelimit"].encode(), tltype="list")
    assert left == [("requests-1m", {"r": 0, "t": 60}), ("orders-1h", {"r": 0, "t": 3_600})]


def test_a_stranger_learns_nothing_of_any_quota(run: Run) -> None:
    venue = Venue(Quotas({"requests": "2/minute"}), run)
    request = venue.ask(Signer(TG1, "trader", b"not the secret of this key at all"))
    assert venue.denial.public == "unauthorized"
    assert request.fields == []


def test_counts_that_others_fill_are_not_shown(run: Run) -> None:
    quotas = Quotas(
        {"requests": "9/minute", "tiers": Rate("90/minute", by="tier"), "all": Rate("99/minute", by="venue")}
    )
    fields = fields_of(Venue(quotas, run).ask())
    assert '"requests-1m"' in fields["ratelimit"]
    assert "tiers" not in str(fields)
    assert "all-" not in str(fields)


def test_a_header_tells_what_is_used_as_binance_does(run: Run) -> None:
    quotas = Quotas({
        "weight": Rate("6000/minute", header="X-MBX-USED-WEIGHT"),
        "orders": Rate("100/10 seconds;200000/day", by="account", lanes=("order",), header="X-MBX-ORDER-COUNT"),
    })  # fmt: skip
    venue = Venue(quotas, run)
    venue.ask()
    fields = fields_of(venue.ask(TRADER, "POST", b"/v1/orders"))
    used = {name: value for name, value in fields.items() if name.startswith("x-mbx")}
    assert used == {"x-mbx-used-weight-1m": "2", "x-mbx-order-count-10s": "1", "x-mbx-order-count-1d": "1"}


# public operations


def test_a_public_operation_is_limited_by_source_on_this_node(run: Run) -> None:
    venue = Venue(Quotas({"public": Rate("3/minute", by="source", lanes=("public",))}), run)

    def anonymous(address: str | None) -> bool:
        request = make_request(arrived=venue.clock.at, address=address)
        venue.decision = run(venue.guard.admit(request))
        return isinstance(venue.decision, Grant)

    assert sum(anonymous("192.0.2.1") for _ in range(9)) == 3
    assert (venue.denial.code, venue.denial.retry_after) == ("quota.public", 20)
    assert sum(anonymous("192.0.2.2") for _ in range(9)) == 3
    assert sum(anonymous(None) for _ in range(9)) == 3
    venue.clock.at += 20 * SECOND
    assert sum(anonymous("192.0.2.1") for _ in range(9)) == 1


# what is given back, and what only watches


def test_a_quota_in_the_shadow_reports_and_never_refuses(run: Run) -> None:
    journal = MemoryJournal()
    venue = Venue(Quotas({"requests": Rate("2/minute", shadow=True)}), run, journal=journal)
    assert venue.count(4) == 4
    shades = [event for event in journal.events if event.kind == "shadow"]
    assert [(event.code, event.detail) for event in shades] == [("quota.exceeded", "shadow: requests-1m")] * 2


@pytest.mark.parametrize(("status", "passed"), [(200, 2), (399, 2), (400, 9), (503, 9), (0, 9)])
def test_what_only_counts_where_it_succeeds_is_given_back(status: int, passed: int, run: Run) -> None:
    venue = Venue(Quotas({"requests": Rate("2/minute", charge="success")}), run)
    granted = 0
    for _ in range(9):
        request = venue.ask()
        if isinstance(venue.decision, Grant):
            granted += 1
            venue.guard.finish(request, status)
    assert granted == passed


def test_a_fill_gives_an_order_back_once(run: Run) -> None:
    venue = Venue(Quotas({"orders": Rate("2/day", by="account", lanes=("order",))}), run)
    venue.ask(TRADER, "POST", b"/v1/orders")
    assert isinstance(venue.decision, Grant)
    receipt = venue.decision.receipt
    assert venue.count(2, TRADER, "POST", b"/v1/orders") == 1
    assert [run(venue.guard.refund(receipt, item)) for item in ("o-1", "o-1", "o-2")] == [True, False, False]
    assert venue.count(2, TRADER, "POST", b"/v1/orders") == 1


def test_a_refund_names_its_quota_and_takes_only_receipts(run: Run) -> None:
    venue = Venue(Quotas({"requests": "2/minute"}), run)
    venue.ask()
    assert isinstance(venue.decision, Grant)
    receipt = venue.decision.receipt
    assert not run(venue.guard.refund(receipt, "o-1"))
    assert run(venue.guard.refund(receipt, "o-1", quota="requests"))
    assert not run(venue.guard.refund("", "o-1"))
    for wrong in ("x", "[1]", "[[1,2,3,4,5]]", '[["k",[[1,0,0]],1,1,"r"]]', '[["k",[],1,1,"r"]]', "[" * 100_000):
        with pytest.raises(ConfigError, match="that is no receipt"):
            run(venue.guard.refund(wrong, "o-1"))


def test_place_and_cancel_loops_get_nothing_back(run: Run) -> None:
    venue = Venue(Quotas({"orders": Rate("3/minute", lanes=("order",))}), run)
    placed = 0
    for number in range(10):
        placed += venue.passes(TRADER, "POST", b"/v1/orders")
        assert venue.passes(TRADER, "DELETE", b"/v1/orders/%d" % number)
    assert placed == 3


# what is refused when it is built


def build(rates: Mapping[str, Rate | str], operations: Mapping[str, Any] | None = None, **other: Any) -> Guard:
    quotas = Quotas(rates, **other)
    policy = Policy(tiers=["maker"])
    return make_guard([*make_checks(), quotas], operations=Operations(operations or OPERATIONS), policy=policy)


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ({"rates": {}}, "name at least one rate"),
        ({"rates": {"Orders": "1/second"}}, "is no name of a quota"),
        ({"rates": {"a:b": "1/second"}}, "is no name of a quota"),
        ({"rates": {"orders": "1/secnd"}}, "is no rate"),
        ({"rates": {"orders": "1/second"}, "tiers": {"makr": {"orders": "2/second"}}}, "tier 'makr' is none"),
        ({"rates": {"orders": "1/second"}, "tiers": {"maker": {"order": "2/second"}}}, "'order', which is no quota"),
        ({"rates": {"orders": "1/second"}, "overrides": {"k": {"order": "2/second"}}}, "key 'k' names 'order'"),
        ({"rates": {"orders": "1/second"}, "tiers": {"maker": {"orders": "0/second"}}}, "is no rate"),
        (
            {"rates": {"all": Rate("9/second", by="venue"), "r": "1/second"}, "tiers": {"maker": {"all": "2/second"}}},
            "is the same for all",
        ),
        ({"rates": {"orders": "1/second"}, "operations": {"GET /a": {"scopes": "orders:read", "costs": {"x": 1}}}},
         "costs names 'x'"),
        ({"rates": {"orders": "5/second"}, "operations": {"GET /a": {"scopes": "orders:read", "costs": {"orders": 6}}}},
         "costs 6 of quota 'orders', which holds 5"),
        (
            {"rates": {"orders": "9/second"}, "tiers": {"maker": {"orders": "5/second"}},
             "operations": {"GET /a": {"scopes": "orders:read", "costs": {"orders": 6}}}},
            "which holds 5 at most",
        ),
    ],
)  # fmt: skip
def test_quotas_that_do_not_fit_are_refused_when_they_are_built(about: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        build(**about)


@pytest.mark.parametrize(
    ("own", "venue", "share", "fits"),
    [
        ("5/second", "10/second", 50, True),
        ("6/second", "10/second", 50, False),
        ("6/second", "10/second", 60, True),
        ("1/second", "100/minute", 50, False),
        ("1/second;50/minute", "100/minute", 50, True),
        ("100/day", "200/minute", 50, True),
    ],
)
def test_one_key_may_not_fill_more_than_its_share_of_what_all_have(
    own: str, venue: str, share: int, fits: bool
) -> None:
    rates: dict[str, Rate | str] = {"own": Rate(own), "all": Rate(venue, by="venue", share=share)}
    if fits:
        build(rates)
        return
    with pytest.raises(ConfigError, match="one key could fill"):
        build(rates)


@pytest.mark.parametrize(
    ("rates", "costs"),
    [
        ({}, {}),
        ({"own": Rate("1/minute", lanes=("read",))}, {}),
        ({"own": Rate("1/minute", shadow=True)}, {}),
        ({"own": Rate("1/minute", by="source")}, {}),
        ({"own": "1/minute"}, {"own": 0}),
        ({"own": "1/minute"}, {"all": 60}),
        ({"own": "1/minute", "b": Rate("40/minute", lanes=("order",)), "c": Rate("40/minute", lanes=("read",))},
         {"own": 0}),
    ],
    ids=["none", "another lane", "shadow", "by source", "costs nothing", "costs more", "two lanes together"],
)  # fmt: skip
def test_no_key_is_without_a_limit_under_a_venue_wide_one(rates: dict[str, Any], costs: dict[str, int]) -> None:
    operations = {
        "GET /a": {"scopes": "orders:read", "costs": {**costs}},
        "POST /a": {"scopes": "orders:write", "costs": {**costs}},
    }
    with pytest.raises(ConfigError, match="one key could fill"):
        build({**rates, "all": Rate("100/minute", by="venue")}, operations)


def test_a_tier_counts_where_its_share_is_too_large() -> None:
    rates: dict[str, Rate | str] = {"own": "1/second", "all": Rate("10/second", by="venue")}
    build(rates)
    with pytest.raises(ConfigError, match="one key could fill 6 of the 10"):
        build(rates, tiers={"maker": {"own": "6/second"}})


def test_the_mark_of_the_policy_is_that_of_its_rates_too() -> None:
    marks = [
        build({"own": Rate("5/second", lanes=lanes)}, **other).policy_mark  # type: ignore[arg-type]
        for lanes, other in (
            (("read", "order"), {}),
            (("order", "read"), {}),
            (("order",), {}),
            (("read", "order"), {"tiers": {"maker": {"own": "6/second"}}}),
            (("read", "order"), {"overrides": {"k": {"own": "6/second"}}}),
        )
    ]
    assert marks[0] == marks[1]
    assert len(set(marks)) == 4
    assert build({"own": "500/second"}).policy_mark != build({"own": "5/second"}).policy_mark


# stores that answer nonsense


class Nonsense(Memory):
    """A store whose answers fit no question."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(since=1)
        self.outcome = outcome

    async def commit(self, conditions: Iterable[Any], *about: Any, **other: Any) -> Outcome:
        await super().commit(conditions, *about, **other)
        return self.outcome


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome((Quota("other", (), 1),), NOW, "e", 1),
        Outcome((), NOW, "e", 1, usage={"requests:key:trader": ()}),
        Outcome((), NOW, "e", 1, usage={"requests:key:trader": None}),  # type: ignore[dict-item]
        Outcome(None, None, None, None),  # type: ignore[arg-type]
    ],
)
def test_a_store_that_answers_nonsense_gives_no_grant_and_no_exception(outcome: Outcome, run: Run) -> None:
    venue = Venue(Quotas({"requests": "2/minute"}), run, state=Nonsense(outcome))
    assert not venue.passes()
    assert venue.denial.status == 503


def test_a_quota_that_is_never_ready_has_no_time_to_come_back(run: Run) -> None:
    quotas = Quotas({"requests": "2/minute"})
    request = Venue(quotas, run).ask()
    [condition] = quotas.conditions(request)
    assert isinstance(condition, Quota)
    outcome = Outcome((condition,), NOW, "e", 1, ready=NEVER)
    assert quotas.denial(condition, outcome).retry_after is None


def test_charges_are_what_was_taken(run: Run) -> None:
    venue = Venue(Quotas({"requests": "2/minute"}), run, keys=make_keys())
    request = venue.ask()
    assert [(charge.quota.key, charge.request_id) for charge in request.charges] == [
        ("requests:key:trader", request.id)
    ]
    assert all(isinstance(charge, Charge) for charge in request.charges)
