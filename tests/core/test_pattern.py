"""Patterns of the map, held against all paths of a small world."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradeguard.core.pattern import beats, leaves_rest, rank, shape, tied, weigh

WORLD = [list(path) for size in range(1, 5) for path in product(["a", "b", ""], repeat=size)]
SEGMENTS = st.lists(st.sampled_from(["a", "b", "{x}", "*"]), max_size=2)
PATTERNS = st.builds(lambda head, last: [*head, last], SEGMENTS, st.sampled_from(["a", "{x}", "*", "**", ""]))


def takes(pattern: list[str], path: list[str]) -> bool:
    """What the map says of a pattern: a wild segment is not empty, and ** is everything after its slash."""
    head = pattern[:-1] if pattern[-1] == "**" else pattern
    if len(path) <= len(head) if pattern[-1] == "**" else len(path) != len(head):
        return False
    return all(have == want if rank(want) == 3 else have != "" for want, have in zip(head, path, strict=False))


@given(left=PATTERNS, right=PATTERNS)
def test_two_patterns_are_weighed_if_and_only_if_some_path_matches_both(left: list[str], right: list[str]) -> None:
    both = any(takes(left, path) and takes(right, path) for path in WORLD)
    assert (weigh(left, right) is not None) == both
    assert tied(left, right) == tied(right, left)
    if both:
        assert beats(left, right) or beats(right, left) or tied(left, right)


@given(left=PATTERNS, right=PATTERNS)
def test_a_rest_is_left_to_a_broader_pattern_that_takes_all_the_paths_with_an_empty_one(
    left: list[str], right: list[str]
) -> None:
    if leaves_rest(left, right):
        empty = [path for path in WORLD if len(path) == len(left) and path[-1] == "" and takes(left, path)]
        assert all(takes(right, path) and path[len(right) - 1 :] != [""] for path in empty)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (["v1", "**"], ["**"], True),
        (["v1", "{x}", "**"], ["*", "**"], True),
        (["**"], ["v1", "**"], False),
        (["{x}", "**"], ["*", "**"], False),
        (["v1", "**"], ["v2", "**"], False),
        (["v1", "{x}"], ["**"], False),
        (["v1", "**"], ["v1", "{x}"], False),
    ],
)
def test_which_pattern_gets_what_is_left_of_a_rest(left: list[str], right: list[str], expected: bool) -> None:
    assert leaves_rest(left, right) is expected


def test_a_shape_has_no_names() -> None:
    assert shape(["v1", "{id}", "*", "**"]) == ["v1", "{}", "*", "**"]
    assert [rank(segment) for segment in ("**", "*", "{id}", "v1", "")] == [0, 1, 2, 3, 3]
