"""Policy and the operations map: every rule at the head of core/policy.py, and match() against a naive reference."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.core.errors import ConfigError
from tradeguard.core.policy import Operation, Operations, Policy
from tradeguard.core.principal import SCOPES

READ, WRITE = "orders:read", "orders:write"


def matched(rows: dict[str, Any], method: str, path: str) -> str | None:
    """The id of the row that takes a request."""
    operation = Operations(rows).match(method, path)
    return operation.id if operation is not None else None


# rule 1: the rows


@pytest.mark.parametrize(
    ("asks", "scopes"),
    [
        (READ, {READ}),
        ([READ, WRITE], {READ, WRITE}),
        ((READ,), {READ}),
        ({"scopes": READ}, {READ}),
        ({"scopes": [READ, WRITE], "lane": "order"}, {READ, WRITE}),
    ],
)
def test_a_row_asks_for_a_scope_a_list_or_a_table(asks: Any, scopes: set[str]) -> None:
    operation = Operations({"GET /v1/orders": asks}).match("GET", "/v1/orders")
    assert operation is not None
    assert operation.scopes == scopes


def test_a_table_says_lane_costs_and_assurance() -> None:
    table = {"scopes": "funds:withdraw", "lane": "funds", "costs": {"weight": 5}, "assurance": 2}
    operation = Operations({"POST /v1/withdraw": table}).match("POST", "/v1/withdraw")
    assert operation == Operation("POST /v1/withdraw", frozenset({"funds:withdraw"}), "funds", {"weight": 5}, 2)


def test_what_a_table_leaves_out_has_a_plain_default() -> None:
    operation = Operations({"GET /v1/time": {"lane": "public"}}).all[0]
    assert operation == Operation("GET /v1/time", frozenset(), "public", {}, 1)


def test_costs_do_not_change_with_the_table_they_came_from() -> None:
    costs = {"weight": 1}
    operation = Operations({"GET /v1/a": {"scopes": READ, "costs": costs}}).all[0]
    costs["weight"] = 99
    assert operation.costs == {"weight": 1}


WRONG_ROWS: list[tuple[str, Any, str]] = [
    ("/v1/orders", READ, "write it as METHOD /path"),
    ("get /v1/orders", READ, "write it as METHOD /path"),
    ("GET v1/orders", READ, "write it as METHOD /path"),
    ("GET  /v1/orders", READ, "write it as METHOD /path"),
    ("GET /v1/or ders", READ, "write it as METHOD /path"),
    ("GET /v1/orders\n", READ, "write it as METHOD /path"),
    ("TRACE /v1/orders", READ, "TRACE never passes"),
    ("CONNECT /v1/orders", READ, "CONNECT never passes"),
    ("GET /v1/{id}/{id}", READ, "a parameter stands twice"),
    ("GET /v1/**/orders", READ, "** stands for the rest of the path and comes last"),
    ("GET //v1", READ, "segment '' matches nothing"),
    ("GET /v1/./a", READ, "segment '.' matches nothing"),
    ("GET /v1/..", READ, "segment '..' matches nothing"),
    ("GET /v1/a%20b", READ, "use decoded text, {name}, * or a final **"),
    ("GET /v1/a;b", READ, "segment 'a;b' matches nothing"),
    ("GET /v1/a\\b", READ, "matches nothing"),
    ("GET /v1/{}", READ, "segment '{}' matches nothing"),
    ("GET /v1/{a-b}", READ, "segment '{a-b}' matches nothing"),
    ("GET /v1/x{id}", READ, "segment 'x{id}' matches nothing"),
    ("GET /v1/{id}.json", READ, "matches nothing"),
    ("GET /v1/a*", READ, "segment 'a*' matches nothing"),
    ("GET /v1/***", READ, "matches nothing"),
    ("GET /v1?a=1", READ, "matches nothing"),
    ("GET /v1#a", READ, "matches nothing"),
    ("GET /v1/orders", {"scope": READ}, "unknown key 'scope'; use answer, assurance, coexist, costs, lane, scopes"),
    (
        "GET /v1/orders",
        {"scopes": READ, "lane": "orders"},
        "unknown lane 'orders'; use one of admin, cancel, funds, order",
    ),
    ("GET /v1/orders", {}, "name the scopes it takes, or declare lane public"),
    ("GET /v1/orders", [], "name the scopes it takes, or declare lane public"),
    ("GET /v1/orders", {"scopes": READ, "lane": "public"}, "declare lane public and none"),
    ("GET /v1/orders", {"scopes": READ, "costs": {"weight": 1.5}}, "costs are whole numbers of units, 0 or more"),
    ("GET /v1/orders", {"scopes": READ, "costs": {"weight": -1}}, "costs are whole numbers of units, 0 or more"),
    ("GET /v1/orders", {"scopes": READ, "costs": {"weight": True}}, "costs are whole numbers of units, 0 or more"),
    ("GET /v1/orders", {"scopes": READ, "assurance": 0}, "assurance is a whole number, 1 or more"),
    ("GET /v1/orders", {"scopes": READ, "assurance": "2"}, "assurance is a whole number, 1 or more"),
]


@pytest.mark.parametrize(("row", "asks", "cure"), WRONG_ROWS)
def test_a_wrong_row_is_an_error_that_names_the_row_and_the_cure(row: str, asks: Any, cure: str) -> None:
    with pytest.raises(ConfigError) as error:
        Operations({row: asks})
    assert repr(row) in str(error.value)
    assert cure in str(error.value)


@pytest.mark.parametrize(
    "asks",
    [5, None, [5], {"scopes": 5}, {"scopes": [None]}, {"scopes": READ, "lane": ["order"]}, {"scopes": READ, "costs": 5},
     {"scopes": READ, "costs": "weight"}, {"scopes": READ, "costs": None}],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_an_error_that_names_the_row(asks: Any) -> None:
    with pytest.raises(ConfigError, match="GET /v1/orders"):
        Operations({"GET /v1/orders": asks}).check_scopes(SCOPES)


def test_an_undeclared_scope_is_an_error_that_names_the_operation() -> None:
    operations = Operations({"GET /v1/a": READ, "POST /v1/algo": "orders:write:algo"})
    with pytest.raises(
        ConfigError, match=r"operation 'POST /v1/algo': unknown scope 'orders:write:algo'; .*declare in policy.scopes"
    ):
        operations.check_scopes(Policy().vocabulary)
    operations.check_scopes(Policy(scopes=["orders:write:algo"]).vocabulary)


# rule 2: what the wildcards stand for


@pytest.mark.parametrize("wild", ["{name}", "*"])
@pytest.mark.parametrize(
    ("path", "hit"),
    [
        ("/v1/7/fills", True),
        ("/v1/a b/fills", True),
        ("/v1/{name}/fills", True),
        ("/v1/é/fills", True),
        ("/v1/fills", False),
        ("/v1//fills", False),
        ("/v1/7/8/fills", False),
        ("/v1/7/fills/", False),
        ("/v1/7/Fills", False),
    ],
)
def test_a_parameter_or_star_stands_for_one_whole_segment(wild: str, path: str, hit: bool) -> None:
    row = f"GET /v1/{wild}/fills"
    assert matched({row: READ}, "GET", path) == (row if hit else None)


@pytest.mark.parametrize("wild", ["{name}", "*"])
@pytest.mark.parametrize(("path", "hit"), [("/v1/7", True), ("/v1/", False), ("/v1", False), ("/v1/7/", False)])
def test_a_last_wildcard_does_not_stand_for_nothing(wild: str, path: str, hit: bool) -> None:
    assert (matched({f"GET /v1/{wild}": READ}, "GET", path) is not None) == hit


@pytest.mark.parametrize(
    ("path", "hit"),
    [
        ("/v1/", True),
        ("/v1/a", True),
        ("/v1/a/", True),
        ("/v1/a/b/c", True),
        ("/v1", False),
        ("/v10", False),
        ("/", False),
    ],
)
def test_a_double_star_stands_for_everything_after_its_slash(path: str, hit: bool) -> None:
    assert (matched({"GET /v1/**": READ}, "GET", path) is not None) == hit


@pytest.mark.parametrize("path", ["/", "/a", "/a/b/"])
def test_a_double_star_at_the_root_stands_for_everything(path: str) -> None:
    assert matched({"GET /**": READ}, "GET", path) == "GET /**"


def test_a_trailing_slash_is_a_path_of_its_own() -> None:
    rows = {"GET /v1/a": READ, "GET /v1/b/": READ, "GET /v1/{id}/": READ}
    assert matched(rows, "GET", "/v1/a") == "GET /v1/a"
    assert matched(rows, "GET", "/v1/a/") == "GET /v1/{id}/"
    assert matched(rows, "GET", "/v1/b/") == "GET /v1/b/"
    assert matched(rows, "GET", "/v1/b") is None


# rule 3: precedence and ties


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("/v1/orders/open", "GET /v1/orders/open"),
        ("/v1/orders/7", "GET /v1/orders/{id}"),
        ("/v1/orders/7/fills", "GET /v1/orders/{id}/fills"),
        ("/v1/orders/7/8", "GET /v1/orders/**"),
        ("/v1/orders/", "GET /v1/orders/"),
        ("/v1/trades/7", "GET /v1/{what}/**"),
        ("/v1/trades/7/8", "GET /v1/{what}/**"),
        ("/v1/trades", "GET /v1/**"),
        ("/v2", "GET /**"),
    ],
)
def test_the_stronger_row_wins_segment_by_segment(path: str, row: str) -> None:
    rows = [
        "GET /**",
        "GET /v1/**",
        "GET /v1/{what}/**",
        "GET /v1/orders/**",
        "GET /v1/orders/",
        "GET /v1/orders/*",
        "GET /v1/orders/{id}",
        "GET /v1/orders/{id}/fills",
        "GET /v1/orders/open",
    ]
    scopes = sorted(SCOPES)
    table = {name: scopes[i] for i, name in enumerate(rows)}
    assert matched(table, "GET", path) == row
    assert matched(dict(reversed(table.items())), "GET", path) == row


def test_a_stronger_row_that_does_not_take_the_whole_path_leaves_it_to_a_weaker_one() -> None:
    rows = {"GET /v1/a/b": READ, "GET /v1/{x}/c": WRITE, "GET /v1/a/b/c/d": READ}
    assert matched(rows, "GET", "/v1/a/c") == "GET /v1/{x}/c"
    assert matched(rows, "GET", "/v1/a/b/c") is None


TIES = [
    ("GET /v1/{a}", "GET /v1/{b}"),
    ("GET /v1/{a}/x", "GET /v1/y/{b}"),
    ("GET /v1/{a}/*", "GET /v1/*/{b}"),
    ("GET /v1/{a}/x", "GET /v1/y/**"),
    ("GET /v1/{a}/**", "GET /v1/*/x/y"),
    ("GET /{a}/**", "GET /{b}/**"),
]


@pytest.mark.parametrize(("one", "two"), TIES)
def test_a_tie_that_asks_for_different_things_is_an_error_that_names_both(one: str, two: str) -> None:
    for rows in ({one: READ, two: WRITE}, {two: READ, one: WRITE}):
        with pytest.raises(ConfigError, match="match the same paths and ask for different things") as error:
            Operations(rows)
        assert repr(one) in str(error.value)
        assert repr(two) in str(error.value)
    Operations({one: READ, two: READ})


@pytest.mark.parametrize("other", [{"lane": "admin"}, {"costs": {"weight": 2}}, {"assurance": 2}])
def test_lane_costs_and_assurance_count_as_different_things_too(other: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="ask for different things"):
        Operations({"GET /v1/{a}": READ, "GET /v1/{b}": {"scopes": READ, **other}})


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("GET /v1/{a}", "POST /v1/{b}"),
        ("GET /v1/{a}", "GET /v2/{a}"),
        ("GET /v1/{a}", "GET /v1/*"),
        ("GET /v1/{a}/x", "GET /v1/{b}/y"),
        ("GET /v1/{a}/", "GET /v1/{b}/{c}"),
        ("GET /v1/{a}", "GET /v1/{a}/{b}"),
        ("GET /v1/{a}", "GET /v1/**"),
        ("GET /v1/a/**", "GET /v1/{a}/**"),
        ("GET /v1/{a}", "GET /v1/{a}/**"),
    ],
)
def test_rows_that_cannot_meet_or_of_which_one_is_stronger_are_no_tie(one: str, two: str) -> None:
    assert len(Operations({one: READ, two: WRITE}).all) == 2
    assert len(Operations({two: WRITE, one: READ}).all) == 2


# rule 4: HEAD


def test_head_follows_get_where_it_has_no_row_of_its_own() -> None:
    rows = {"GET /v1/a": READ, "GET /v1/{id}": READ, "HEAD /v1/own": READ, "GET /v1/own": READ}
    assert matched(rows, "HEAD", "/v1/a") == "GET /v1/a"
    assert matched(rows, "HEAD", "/v1/7") == "GET /v1/{id}"
    assert matched(rows, "HEAD", "/v1/own") == "HEAD /v1/own"
    assert matched(rows, "GET", "/v1/own") == "GET /v1/own"
    assert matched(rows, "HEAD", "/v2") is None


@pytest.mark.parametrize(
    ("head", "get"),
    [
        ("HEAD /v1/**", "GET /v1/{id}"),
        ("HEAD /v1/**", "GET /v1/balances/{id}"),
        ("HEAD /v1/**", "GET /v1/a"),
        ("HEAD /**", "GET /v1/**"),
        ("HEAD /v1/*", "GET /v1/{id}"),
        ("HEAD /v1/{id}", "GET /v1/{name}"),
        ("HEAD /v1/a", "GET /v1/a"),
        ("HEAD /**", "GET /**"),
    ],
)
def test_a_row_for_head_that_meets_one_for_get_as_strong_or_stronger_asks_for_the_same(head: str, get: str) -> None:
    """Starlette, Flask, Django and aiohttp answer with the handler of GET, FastAPI with that of HEAD."""
    sentence = f"operations {re.escape(repr(head))} and {re.escape(repr(get))} .* which of them answers HEAD; drop"
    for rows in ({head: READ, get: WRITE}, {get: WRITE, head: READ}):
        with pytest.raises(ConfigError, match=sentence):
            Operations(rows)
    assert len(Operations({head: READ, get: READ}).all) == 2


@pytest.mark.parametrize(
    ("head", "get"),
    [
        ("HEAD /v1/a", "GET /v1/{id}"),
        ("HEAD /v1/{id}", "GET /v1/**"),
        ("HEAD /v1/a", "GET /v1/b"),
        ("HEAD /v1/{id}/", "GET /v1/{id}"),
        ("HEAD /v1/**", "GET /v1"),
    ],
)
def test_a_row_for_head_that_is_stronger_than_those_for_get_may_ask_for_something_else(head: str, get: str) -> None:
    assert len(Operations({head: WRITE, get: READ}).all) == 2


def test_get_does_not_follow_head_and_no_other_method_follows_anything() -> None:
    assert matched({"HEAD /v1/a": READ}, "GET", "/v1/a") is None
    assert matched({"GET /v1/a": READ}, "POST", "/v1/a") is None
    assert matched({"GET /v1/a": READ}, "OPTIONS", "/v1/a") is None


# rule 5: the empty rest


def test_a_double_star_takes_an_empty_rest() -> None:
    assert matched({"GET /v1/**": READ}, "GET", "/v1/") == "GET /v1/**"
    assert matched({"GET /**": READ}, "GET", "/") == "GET /**"
    assert matched({"GET /v1/**": READ}, "GET", "/v1") is None


@pytest.mark.parametrize(
    ("narrow", "broad", "path"),
    [
        ("/v1/**", "/**", "/v1/"),
        ("/v1/{id}/**", "/v1/**", "/v1/7/"),
        ("/v1/{id}/**", "/{version}/**", "/v1/7/"),
        ("/v1/*/**", "/*/**", "/v1/7/"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_empty_rest_that_a_broader_row_would_take_is_refused(
    narrow: str, broad: str, path: str, method: str
) -> None:
    """Django and Flask match no empty `path`, so there the broader route answers; the others answer with this one."""
    rows = {f"GET {narrow}": READ, f"GET {broad}": WRITE}
    for table in (rows, dict(reversed(rows.items()))):
        assert matched(table, method, path) is None
        assert matched(table, method, path + "a") == f"GET {narrow}"
        assert matched({**table, f"GET {narrow.removesuffix('**')}": WRITE}, method, path) is not None
    assert matched({f"GET {narrow}": READ, f"GET {broad}": READ}, method, path) == f"GET {narrow}"


def test_an_empty_rest_that_no_broader_row_would_take_is_matched() -> None:
    rows = {"GET /{x}/**": READ, "GET /*/**": WRITE, "POST /**": WRITE, "GET /v2/**": WRITE, "GET /{x}": WRITE}
    assert matched(rows, "GET", "/a/") == "GET /{x}/**"
    assert matched(rows, "GET", "/v2/") == "GET /v2/**"


def test_an_empty_rest_is_refused_to_head_where_the_broader_row_is_one_for_get() -> None:
    rows = {"HEAD /v1/**": WRITE, "GET /**": READ}
    assert matched(rows, "HEAD", "/v1/") is None
    assert matched(rows, "GET", "/v1/") == "GET /**"


# rule 6: lanes


@pytest.mark.parametrize(
    ("method", "lane"),
    [("GET", "read"), ("HEAD", "read"), ("POST", "order"), ("PUT", "order"), ("DELETE", "order"), ("PATCH", "order")],
)
def test_a_lane_follows_from_the_method(method: str, lane: str) -> None:
    assert Operations({f"{method} /v1/a": READ}).all[0].lane == lane


@pytest.mark.parametrize("lane", ["cancel", "funds", "admin", "public"])
def test_a_declared_lane_is_never_on_a_double_star(lane: str) -> None:
    asks = {"lane": lane} if lane == "public" else {"scopes": READ, "lane": lane}
    assert Operations({"DELETE /v1/{id}": asks}).all[0].lane == lane
    with pytest.raises(ConfigError, match=rf"operation 'DELETE /v1/\*\*': lane {lane} needs exact paths, never \*\*"):
        Operations({"DELETE /v1/**": asks})


@pytest.mark.parametrize("lane", ["read", "order"])
def test_a_plain_lane_may_be_on_a_double_star(lane: str) -> None:
    assert Operations({"GET /v1/**": {"scopes": READ, "lane": lane}}).all[0].lane == lane


# rule 7: everything else


@pytest.mark.parametrize(
    "path", ["", "/", "/v1", "/v1/orders/", "/V1/orders", "/v1/orders/7", "v1/orders", "/v1/orders?"]
)
def test_what_no_row_matches_has_no_operation(path: str) -> None:
    assert matched({"GET /v1/orders": READ, "GET /v1/b/{id}": READ}, "GET", path) is None


@pytest.mark.parametrize("path", ["v1", "v1/", "x/7", "v1/a/7"])
def test_a_path_without_a_slash_in_front_is_none(path: str) -> None:
    assert matched({"GET /**": READ}, "GET", path) is None
    assert matched({"GET /{id}": READ, "GET /a/{id}": READ}, "GET", path) is None


def test_an_empty_map_matches_nothing() -> None:
    assert Operations({}).match("GET", "/") is None


def test_all_lists_every_operation() -> None:
    rows = {"GET /v1/a": READ, "GET /v1/{id}": WRITE, "POST /**": WRITE}
    assert {operation.id for operation in Operations(rows).all} == set(rows)


# the map against a naive reference

SEGMENTS = ["a", "b", "é", "{x}", "*", "**", ""]
ROWS = st.tuples(st.sampled_from(["GET", "POST", "HEAD"]), st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4))
PATHS = st.lists(st.sampled_from(["a", "b", "é", "c", "{x}", ""]), min_size=1, max_size=5)


def write_row(method: str, segments: list[str]) -> str:
    named = [
        segment.replace("x", f"x{place}") if segment == "{x}" else segment for place, segment in enumerate(segments)
    ]
    return f"{method} /" + "/".join(named)


def build(rows: list[tuple[str, list[str]]]) -> tuple[Operations, dict[str, str]]:
    """A map of those rows that can stand together; each asks for a scope of its own."""
    kept: dict[str, str] = {}
    for place, (method, segments) in enumerate(rows):
        trial = {write_row(method, segments): f"scope{place}", **kept}
        try:
            Operations(trial)
        except ConfigError:
            continue
        kept = trial
    return Operations(kept), kept


def strength(row: str, path: str) -> tuple[int, ...] | None:
    """How strongly a row takes a path, segment by segment; None if it does not take it."""
    pattern, segments = row.partition(" ")[2].split("/")[1:], path.split("/")[1:]
    if pattern[-1] != "**" and len(pattern) != len(segments):
        return None
    if len(pattern) > len(segments):
        return None
    ranks: list[int] = []
    for want, have in zip(pattern, segments, strict=False):
        if want == "**":
            return (*ranks, 0)
        wild = {"*": 1}.get(want, 2 if want.startswith("{") else 0)
        if (wild and not have) or (not wild and want != have):
            return None
        ranks.append(wild or 3)
    return tuple(ranks)


def naive_match(rows: dict[str, str], method: str, path: str) -> str | None:
    methods = ("HEAD ", "GET ") if method == "HEAD" else (method + " ",)
    taken = {row: strength(row, path) for row in rows if row.startswith(methods)}
    found = {row: ranks for row, ranks in taken.items() if ranks is not None}
    best = max(found, key=lambda row: (found[row], row.startswith("HEAD "))) if found else None
    return None if best is not None and is_doubtful(best, list(found), path) else best


def is_doubtful(best: str, found: list[str], path: str) -> bool:
    """Tell whether nothing is left for the ** of the best row, and a broader one takes the path, too."""
    depth = best.count("/")
    empty = best.endswith("**") and path.endswith("/") and path.count("/") == depth
    return empty and any(row.endswith("**") and row.count("/") < depth for row in found)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(ROWS, max_size=8), paths=st.lists(PATHS, min_size=1, max_size=10))
def test_match_equals_trying_all_rows_and_taking_the_strongest(
    rows: list[tuple[str, list[str]]], paths: list[list[str]]
) -> None:
    operations, kept = build(rows)
    for segments in paths:
        path = "/" + "/".join(segments)
        for method in ("GET", "POST", "HEAD"):
            found = operations.match(method, path)
            assert (found.id if found is not None else None) == naive_match(kept, method, path)


@settings(max_examples=200, deadline=None)
@given(row=st.text(max_size=12) | st.text(max_size=10).map("GET /".__add__), path=st.text(max_size=10))
def test_any_text_is_a_row_or_an_error_and_any_path_has_an_answer(row: str, path: str) -> None:
    try:
        operations = Operations({row: READ})
    except ConfigError as error:
        assert repr(row) in str(error)
    else:
        assert operations.match("GET", path) in (None, *operations.all)


# policy


LIMITS = ["target_bytes", "head_bytes", "head_fields", "body_bytes", "body_seconds", "unproven_bytes"]


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_is_above_zero(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"policy: {name} must be above 0, not {value}"):
        Policy(**{name: value})  # type: ignore[arg-type]


def test_the_budget_of_unproven_bytes_holds_at_least_one_body() -> None:
    Policy(body_bytes=10, unproven_bytes=10)
    with pytest.raises(ConfigError, match="unproven_bytes must hold at least one body"):
        Policy(body_bytes=11, unproven_bytes=10)


def test_scopes_are_a_collection_not_a_text() -> None:
    with pytest.raises(ConfigError, match="scopes is a collection of names, not the text 'algo'"):
        Policy(scopes="algo")


def test_the_vocabulary_is_the_shared_one_and_what_the_policy_declares() -> None:
    assert Policy().vocabulary == SCOPES
    assert Policy(scopes=["orders:write:algo"]).vocabulary == SCOPES | {"orders:write:algo"}


def test_the_vocabulary_is_the_same_each_time_it_is_asked() -> None:
    policy = Policy(scopes=(name for name in ["orders:write:algo"]))
    assert policy.vocabulary == policy.vocabulary


# roles and tiers


def test_a_role_is_a_named_set_of_scopes() -> None:
    policy = Policy(scopes=["algo:run"], roles={"desk": (n for n in [READ, WRITE]), "bot": ["algo:run"], "none": []})
    assert policy.roles == {"desk": {READ, WRITE}, "bot": {"algo:run"}, "none": frozenset()}
    assert policy.scopes_of(["desk", "bot"]) == {READ, WRITE, "algo:run"}
    assert policy.scopes_of([]) == frozenset()


def test_a_role_that_there_is_not_gives_nothing() -> None:
    assert Policy(roles={"desk": [READ]}).scopes_of(["boss", "Desk", "desk"]) == {READ}


def test_a_role_cannot_be_changed_afterwards() -> None:
    given = {"desk": [READ]}
    policy = Policy(roles=given)
    given["desk"].append("keys:admin")
    assert policy.scopes_of(["desk"]) == {READ}
    with pytest.raises(TypeError):
        policy.roles["desk"] = frozenset({"keys:admin"})  # type: ignore[index]


@pytest.mark.parametrize(
    ("scopes", "why"),
    [
        (["no:such"], "role 'desk': unknown scope 'no:such'"),
        ("orders:read", "role 'desk': scopes is a collection of names"),
        ([READ, "funds:withdraw"], "role 'desk': funds:withdraw is given to keys by name, never by a role"),
        (["keys:admin"], "role 'desk': keys:admin is given to keys by name, never by a role"),
        (["keys:*"], "role 'desk': keys:admin is given to keys by name, never by a role"),
        (["keys:admin:own"], "role 'desk': keys:admin is given to keys by name, never by a role"),
        (["funds:withdraw:fast"], "role 'desk': funds:withdraw is given to keys by name, never by a role"),
    ],
)
def test_a_role_that_may_not_be_is_refused(scopes: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Policy(scopes=["keys:*", "keys:admin:own", "funds:withdraw:fast"], roles={"desk": scopes})


def test_tiers_are_names() -> None:
    assert Policy(tiers=(name for name in ["gold", "silver"])).tiers == {"gold", "silver"}
    with pytest.raises(ConfigError, match="policy: tiers is a collection of names, not the text 'gold'"):
        Policy(tiers="gold")


@pytest.mark.parametrize("value", [-1, 1.5, True, "500"])
def test_the_minimum_rate_is_a_whole_number_and_may_be_0(value: Any) -> None:
    assert Policy(body_bytes_per_second=0).body_bytes_per_second == 0
    with pytest.raises(ConfigError, match="body_bytes_per_second"):
        Policy(body_bytes_per_second=value)


HSTS = ["", "max-age=0", "max-age=63072000; includeSubDomains", "max-age=63072000; includeSubDomains; preload"]


@pytest.mark.parametrize("value", HSTS)
def test_hsts_says_for_how_long_and_whether_for_subdomains(value: str) -> None:
    assert Policy(hsts=value).hsts == value


@pytest.mark.parametrize(
    "value", ["max-age", "max-age=1; preload", "max-age=-1", "max-age=1;includeSubDomains", "max-age=1\r\nx: y", "on"]
)
def test_hsts_that_says_nothing_of_the_kind_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"policy: hsts is like"):
        Policy(hsts=value)
