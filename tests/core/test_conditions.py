"""The four conditions: each numbered rule at the head of core/conditions.py, held against the model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.core.conditions import (
    NEVER,
    Advance,
    Below,
    Charge,
    Condition,
    Limit,
    Model,
    Once,
    Outcome,
    Quota,
    Use,
    by_rank,
)

KEY, OTHER = ("trader", b"nonce"), ("trader", b"other")
SECOND, MINUTE = 1_000_000, 60_000_000
NOW = 500_000
WINDOWS = (Limit(3, SECOND), Limit(5, MINUTE))


def settle(model: Model, *conditions: Condition, at: int = 100, id: str = "r", denied: bool = False) -> Outcome:
    """One commit of a node that has seen nothing yet."""
    return model.commit(conditions, at, id, None, denied)


# rule 1: time


def test_time_is_the_highest_seen_and_never_runs_backwards() -> None:
    model = Model()
    assert [settle(model, at=at).time for at in (100, 50, 200, 199)] == [100, 100, 200, 200]


def test_a_late_clock_does_not_revive_an_expired_message() -> None:
    model = Model()
    settle(model, at=500)
    assert settle(model, Once(KEY, 400), at=300).failed == (Once(KEY, 400),)


# rule 2: seen


@pytest.mark.parametrize(
    ("epoch", "version", "behind"), [("e", 1, False), ("e", 2, False), ("e", 3, True), ("f", 2, True), ("f", 0, True)]
)
def test_a_store_of_another_epoch_or_a_lower_version_is_behind(epoch: str, version: int, behind: bool) -> None:
    model = Model("e")
    model.set("halt", 1)
    model.set("halt", 0)
    assert model.commit([], 100, "r", (epoch, version)).behind is behind


def test_a_store_that_is_behind_settles_nothing() -> None:
    model = Model()
    outcome = model.commit([Once(KEY, 200), Below(("halt",), 0)], 100, "r", ("restored", 0))
    assert outcome.behind
    assert outcome.failed == ()
    assert settle(model, Once(KEY, 200)).failed == ()


# rule 3: Once


def test_a_message_is_accepted_once_and_the_first_request_is_named() -> None:
    model = Model()
    assert settle(model, Once(KEY, 200), id="first").failed == ()
    again = settle(model, Once(KEY, 200), id="second")
    assert again.failed == (Once(KEY, 200),)
    assert again.first == "first"
    assert settle(model, Once(OTHER, 200)).failed == ()


@pytest.mark.parametrize(("until", "failed"), [(101, False), (100, True), (99, True), (0, True)])
def test_a_message_whose_until_has_passed_is_refused_and_not_remembered(until: int, failed: bool) -> None:
    model = Model()
    outcome = settle(model, Once(KEY, until))
    assert bool(outcome.failed) is failed
    assert outcome.first is None
    assert bool(settle(model, Once(KEY, 300)).failed) is not failed


@pytest.mark.parametrize(("at", "failed"), [(199, True), (200, False), (201, False)])
def test_a_message_is_remembered_until_its_time_has_passed(at: int, failed: bool) -> None:
    model = Model()
    settle(model, Once(KEY, 200))
    assert bool(settle(model, Once(KEY, 300), at=at).failed) is failed


def test_once_binds_where_a_check_refused() -> None:
    model = Model()
    settle(model, Once(KEY, 200), denied=True, id="refused")
    assert settle(model, Once(KEY, 200)).first == "refused"


def test_once_binds_where_another_condition_fails() -> None:
    model = Model()
    model.set("halt", 2)
    assert settle(model, Once(KEY, 200), Below(("halt",), 1), id="halted").failed == (Below(("halt",), 1),)
    assert settle(model, Once(KEY, 200)).first == "halted"


# rule 4: Advance


@pytest.mark.parametrize(
    ("width", "values", "accepted"),
    [
        (1, [5, 6, 6, 5, 7], [True, True, False, False, True]),
        (1, [5, 100, 6], [True, True, False]),
        (3, [5, 9, 7, 6, 7, 8, 6], [True, True, True, True, False, True, False]),
        (3, [5, 5], [True, False]),
        (2, [10, 3, 2, 4, 11, 10], [True, True, False, True, True, False]),
    ],
)
def test_a_value_is_above_or_new_among_the_top(width: int, values: list[int], accepted: list[bool]) -> None:
    model = Model()
    assert [not settle(model, Advance(KEY, value, width)).failed for value in values] == accepted


def test_advance_binds_where_a_check_refused_or_another_condition_fails() -> None:
    model = Model()
    model.set("halt", 2)
    settle(model, Advance(KEY, 5), denied=True)
    assert settle(model, Advance(KEY, 5)).failed
    settle(model, Advance(KEY, 6), Below(("halt",), 1))
    assert settle(model, Advance(KEY, 6)).failed
    assert not settle(model, Advance(KEY, 7)).failed


# rule 5: Below


@pytest.mark.parametrize(
    ("stored", "value", "failed"), [(0, 1, False), (1, 1, True), (2, 1, True), (1, 2, False), (-1, 0, False)]
)
def test_a_stored_number_lies_below(stored: int, value: int, failed: bool) -> None:
    model = Model()
    model.set("halt", stored)
    assert bool(settle(model, Below(("halt",), value)).failed) is failed


def test_every_one_of_the_keys_lies_below() -> None:
    model = Model()
    model.set("halt:acme", 2)
    assert settle(model, Below(("halt", "halt:acme"), 2)).failed
    assert not settle(model, Below(("halt", "halt:other"), 2)).failed
    assert not settle(model, Below((), 0)).failed


def test_an_absent_number_counts_as_zero() -> None:
    assert not settle(Model(), Below(("halt",), 1)).failed
    assert settle(Model(), Below(("halt",), 0)).failed


@pytest.mark.parametrize(("at", "failed"), [(199, True), (200, False), (300, False)])
def test_an_expired_number_counts_as_zero(at: int, failed: bool) -> None:
    model = Model()
    model.set("ban", 5, until=200)
    assert bool(settle(model, Below(("ban",), 1), at=at).failed) is failed


def test_set_returns_the_version_that_outcomes_show() -> None:
    model = Model()
    assert [model.set("halt", 1), model.set("halt", 0), model.set("ban", 1)] == [1, 2, 3]
    assert settle(model).version == 3


# rule 6: Quota


def quota(cost: int = 1, **other: bool) -> Quota:
    return Quota("orders", WINDOWS, cost, **other)


def used(outcome: Outcome, key: str = "orders") -> tuple[int, ...]:
    """Units used in each window."""
    return tuple(use.used for use in outcome.usage[key])


def test_a_quota_has_room_up_to_its_limit_in_every_window() -> None:
    model = Model()
    assert [bool(settle(model, quota()).failed) for _ in range(5)] == [False, False, False, True, True]
    later = [bool(settle(model, quota(), at=2 * SECOND).failed) for _ in range(3)]
    assert later == [False, False, True]  # the second has room again, the minute holds 5


def test_usage_is_what_was_spent_after_the_commit() -> None:
    model = Model()
    assert used(settle(model, quota(2), at=NOW)) == (2, 2)
    assert used(settle(model, quota(2), at=NOW)) == (2, 2)  # refused: nothing spent
    assert used(settle(model, quota(1), at=NOW + SECOND)) == (1, 3)


@pytest.mark.parametrize(("at", "units"), [(NOW + SECOND - 1, 1), (NOW + SECOND, 0)])
def test_a_window_rolls(at: int, units: int) -> None:
    model = Model()
    settle(model, quota(), at=NOW)
    assert used(settle(model, quota(0), at=at))[0] == units


def test_cost_zero_only_looks_even_where_nothing_is_left() -> None:
    model = Model()
    settle(model, quota(3))
    outcome = settle(model, quota(0))
    assert outcome.failed == ()
    assert used(outcome) == (3, 3)


def test_quotas_are_spent_all_or_none() -> None:
    model = Model()
    small, large = Quota("small", (Limit(1, SECOND),), 2), Quota("large", (Limit(9, SECOND),), 2)
    assert settle(model, large, small).failed == (small,)
    assert used(settle(model, large._replace(cost=0)), "large") == (0,)


@pytest.mark.parametrize("reason", ["denied", "once", "advance", "below"])
def test_a_quota_is_not_spent_where_anything_failed_or_was_denied(reason: str) -> None:
    model = Model()
    settle(model, Once(KEY, 200), Advance(KEY, 5))
    others: dict[str, tuple[Condition, ...]] = {
        "denied": (),
        "once": (Once(KEY, 200),),
        "advance": (Advance(KEY, 5),),
        "below": (Below(("halt",), 0),),
    }
    settle(model, quota(), *others[reason], denied=reason == "denied")
    assert used(settle(model, quota(0))) == (0, 0)


@pytest.mark.parametrize("denied", [False, True])
def test_a_binding_quota_takes_effect_by_itself(denied: bool) -> None:
    model = Model()
    outcome = settle(model, quota(binding=True), Below(("halt",), 0), denied=denied)
    assert outcome.failed == (Below(("halt",), 0),)
    assert used(settle(model, quota(0))) == (1, 1)


def test_a_binding_quota_without_room_fails_and_takes_nothing() -> None:
    model = Model()
    assert settle(model, quota(4, binding=True)).failed == (quota(4, binding=True),)
    assert used(settle(model, quota(0))) == (0, 0)


def test_a_shadow_quota_never_fails_and_is_counted_apart() -> None:
    model = Model()
    shadow = quota(4, enforced=False)
    assert [settle(model, shadow).failed for _ in range(3)] == [(), (), ()]
    assert used(settle(model, quota(0, enforced=False))) == (12, 12)
    assert settle(model, quota(3)).failed == ()


def test_a_shadow_quota_is_not_counted_where_something_failed() -> None:
    model = Model()
    settle(model, quota(1, enforced=False), Below(("halt",), 0))
    assert used(settle(model, quota(0, enforced=False))) == (0, 0)


# rule 8: windows


@pytest.mark.parametrize(
    ("limit", "grain"),
    [
        (Limit(1_000, SECOND), 1_000),
        (Limit(1_001, 60_000_000_000), 1_000_000_000),
        (Limit(100_000, 86_400_000_000_000), 900_000_000_000),
        (Limit(1_001, 1_000_000), 17_000),
    ],
)
def test_a_window_is_exact_up_to_a_thousand_units_and_has_a_fixed_number_of_counts_above(
    limit: Limit, grain: int
) -> None:
    assert limit.grain == grain
    assert limit.edge(grain) == grain
    assert limit.edge(grain + 1) == 2 * grain


def test_large_windows_give_back_at_most_one_grain_late_and_never_early() -> None:
    model, limit = Model(), Limit(1_001, 60_000_000)
    big = Quota("big", (limit,), 1_001)
    settle(model, big, at=1)
    assert settle(model, big, at=60_000_001).failed
    assert settle(model, big, at=limit.grain + 60_000_000 - 1).failed
    assert not settle(model, big, at=limit.grain + 60_000_000).failed


def test_a_window_that_paces_takes_its_burst_at_once_and_refills_evenly() -> None:
    model, paced = Model(), Quota("paced", (Limit(10, SECOND, burst=3),), 1)
    assert [bool(settle(model, paced, at=NOW).failed) for _ in range(4)] == [False, False, False, True]
    assert [bool(settle(model, paced, at=NOW + SECOND // 10 - 1_000).failed) for _ in range(1)] == [True]
    assert [bool(settle(model, paced, at=NOW + SECOND // 10).failed) for _ in range(2)] == [False, True]
    assert [bool(settle(model, paced, at=NOW + SECOND).failed) for _ in range(4)] == [False, False, False, True]


def test_use_says_when_a_window_will_be_less_full() -> None:
    model = Model()
    assert settle(model, quota(0), at=NOW).usage["orders"] == (Use(0, 0), Use(0, 0))
    settle(model, quota(), at=NOW)
    after = settle(model, quota(), at=NOW + 5_000).usage["orders"]
    assert after == (Use(2, NOW + SECOND), Use(2, NOW + MINUTE))
    paced = settle(model, Quota("paced", (Limit(10, SECOND, burst=3),), 2), at=NOW + 5_000).usage["paced"]
    assert paced == (Use(2, NOW + 5_000 + SECOND // 10),)


def test_a_quota_that_is_asked_for_more_than_it_holds_is_never_ready() -> None:
    for limit in (Limit(3, SECOND), Limit(10, SECOND, burst=3)):
        outcome = settle(Model(), Quota("small", (limit,), 4))
        assert outcome.failed
        assert outcome.ready == NEVER


@pytest.mark.parametrize("cost", [1, 2])
def test_who_is_refused_and_comes_back_when_he_is_told_has_room_and_not_a_moment_before(cost: int) -> None:
    model = Model()
    for at in (NOW, NOW + 2_000, NOW + 4_000):
        settle(model, quota(), at=at)
    ready = settle(model, quota(cost), at=NOW + 6_000).ready
    assert ready == NOW + SECOND + 2_000 * (cost - 1)
    assert settle(model, quota(cost), at=ready - 1).failed
    assert not settle(model, quota(cost), at=ready).failed


def test_ready_is_when_the_last_of_all_failed_quotas_has_room() -> None:
    model = Model()
    small, large = Quota("small", (Limit(1, SECOND),), 1), Quota("large", (Limit(1, MINUTE),), 1)
    settle(model, small, large, at=NOW)
    assert settle(model, small, large, at=NOW).ready == NOW + MINUTE
    assert settle(model, at=NOW).ready == 0


def test_a_limit_that_changes_keeps_what_was_counted() -> None:
    model, old, new = Model(), (Limit(3, SECOND),), (Limit(5_000, SECOND),)
    settle(model, Quota("orders", old, 3), at=NOW)
    assert used(settle(model, Quota("orders", new, 1), at=NOW)) == (4,)
    assert settle(model, Quota("orders", old, 1), at=NOW).failed


# rule 9: refunds


def charge(model: Model, cost: int = 3, at: int = NOW) -> Charge:
    outcome = settle(model, quota(cost), at=at)
    assert not outcome.failed
    return Charge(quota(cost), outcome.time, "r")


def test_units_are_given_back_once_per_item() -> None:
    model = Model()
    taken = charge(model)
    assert [model.refund(taken, item, 1, NOW) for item in ("a", "a", "b")] == [True, False, True]
    assert used(settle(model, quota(0), at=NOW)) == (1, 1)


def test_never_more_is_given_back_than_was_taken() -> None:
    model = Model()
    taken = charge(model, 2)
    assert [model.refund(taken, f"{item}", units, NOW) for item, units in enumerate((3, 1, 2, 1, 1))] == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert used(settle(model, quota(0), at=NOW)) == (0, 0)


def test_what_does_not_count_any_more_is_not_given_back() -> None:
    model = Model()
    taken = charge(model, 1)
    charge(model, 1, at=NOW + SECOND)
    assert model.refund(taken, "a", 1, NOW + SECOND)
    assert used(settle(model, quota(0), at=NOW + SECOND)) == (1, 1)  # the second had rolled on; the minute had not
    assert not model.refund(taken, "b", 1, NOW + 2 * MINUTE)


def test_a_window_that_paces_gives_nothing_back() -> None:
    model, paced = Model(), Quota("paced", (Limit(10, SECOND, burst=3),), 3)
    settle(model, paced, at=NOW)
    model.refund(Charge(paced, NOW, "r"), "a", 3, NOW)
    assert used(settle(model, paced._replace(cost=0), at=NOW), "paced") == (3,)


# what operators read back


def test_a_look_shows_what_holds_under_a_prefix() -> None:
    model = Model("e")
    model.set("halt:venue", 1, record=b"signed")
    model.set("halt:acme", 2, until=50)
    model.set("ban:ann", 1)
    assert dict(model.look("halt:").numbers) == {"halt:venue": (1, None, b"signed"), "halt:acme": (2, 50, b"")}
    settle(model, at=50)
    assert set(model.look("halt:").numbers) == {"halt:venue"}
    assert model.look("")[1:] == (50, "e", 3)


# rule 7: the order of what failed


def test_what_failed_is_reported_by_rank() -> None:
    model = Model()
    once, advance, below = Once(KEY, 200), Advance(KEY, 5), Below(("halt",), 0)
    settle(model, once, advance)
    assert settle(model, quota(9), below, advance, once).failed == (advance, once, below, quota(9))
    assert settle(model, once, quota(9), advance, below).failed == (once, advance, below, quota(9))


@settings(max_examples=100, deadline=None)
@given(
    kinds=st.lists(st.sampled_from([Once(KEY, 1), Once(OTHER, 1), Advance(KEY, 1), Below((), 1), quota()]), max_size=6)
)
def test_by_rank_sorts_and_keeps_the_order_of_equals(kinds: list[Condition]) -> None:
    heavy = [c for c in kinds if isinstance(c, (Once, Advance))]
    middle = [c for c in kinds if isinstance(c, Below)]
    light = [c for c in kinds if isinstance(c, Quota)]
    assert by_rank(kinds) == (*heavy, *middle, *light)
