"""The four conditions: each numbered rule at the head of core/conditions.py, held against the model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.core.conditions import Advance, Below, Condition, Limit, Model, Once, Outcome, Quota, by_rank

KEY, OTHER = ("trader", b"nonce"), ("trader", b"other")
SECOND, MINUTE = 1_000, 60_000  # the model counts in whatever unit it is given
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


def test_a_quota_has_room_up_to_its_limit_in_every_window() -> None:
    model = Model()
    assert [bool(settle(model, quota()).failed) for _ in range(5)] == [False, False, False, True, True]
    later = [bool(settle(model, quota(), at=100 + SECOND).failed) for _ in range(3)]
    assert later == [False, False, True]  # the second has room again, the minute holds 5


def test_usage_is_what_was_spent_after_the_commit() -> None:
    model = Model()
    assert settle(model, quota(2)).usage == {"orders": (2, 2)}
    assert settle(model, quota(2)).usage == {"orders": (2, 2)}  # refused: nothing spent
    assert settle(model, quota(1), at=100 + SECOND).usage == {"orders": (1, 3)}


@pytest.mark.parametrize(("at", "used"), [(100 + SECOND - 1, 1), (100 + SECOND, 0)])
def test_a_window_rolls(at: int, used: int) -> None:
    model = Model()
    settle(model, quota())
    assert settle(model, quota(0), at=at).usage["orders"][0] == used


def test_cost_zero_only_looks_even_where_nothing_is_left() -> None:
    model = Model()
    settle(model, quota(3))
    outcome = settle(model, quota(0))
    assert outcome.failed == ()
    assert outcome.usage == {"orders": (3, 3)}


def test_quotas_are_spent_all_or_none() -> None:
    model = Model()
    small, large = Quota("small", (Limit(1, SECOND),), 2), Quota("large", (Limit(9, SECOND),), 2)
    assert settle(model, large, small).failed == (small,)
    assert settle(model, large._replace(cost=0)).usage == {"large": (0,)}


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
    assert settle(model, quota(0)).usage == {"orders": (0, 0)}


@pytest.mark.parametrize("denied", [False, True])
def test_a_binding_quota_takes_effect_by_itself(denied: bool) -> None:
    model = Model()
    outcome = settle(model, quota(binding=True), Below(("halt",), 0), denied=denied)
    assert outcome.failed == (Below(("halt",), 0),)
    assert settle(model, quota(0)).usage == {"orders": (1, 1)}


def test_a_binding_quota_without_room_fails_and_takes_nothing() -> None:
    model = Model()
    assert settle(model, quota(4, binding=True)).failed == (quota(4, binding=True),)
    assert settle(model, quota(0)).usage == {"orders": (0, 0)}


def test_a_shadow_quota_never_fails_and_is_counted_apart() -> None:
    model = Model()
    shadow = quota(4, enforced=False)
    assert [settle(model, shadow).failed for _ in range(3)] == [(), (), ()]
    assert settle(model, quota(0, enforced=False)).usage == {"orders": (12, 12)}
    assert settle(model, quota(3)).failed == ()


def test_a_shadow_quota_is_not_counted_where_something_failed() -> None:
    model = Model()
    settle(model, quota(1, enforced=False), Below(("halt",), 0))
    assert settle(model, quota(0, enforced=False)).usage == {"orders": (0, 0)}


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
