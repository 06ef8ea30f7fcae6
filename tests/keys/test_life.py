"""The life of a key: a state machine that hypothesis walks through, and each rule of the module's head by itself."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any, get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from support import NOW, SECOND

from tradeguard.core.errors import ConfigError, KeyConflict
from tradeguard.core.key import KeyRecord, KeyState
from tradeguard.core.policy import Policy
from tradeguard.keys import life
from tradeguard.keys.life import DAY, ENDED, HOUR, TRANSITIONS, Verb
from tradeguard.signing.material import Hmac

STATES: tuple[KeyState, ...] = get_args(KeyState)
VERBS: tuple[Verb, ...] = get_args(Verb)
POLICY = Policy(roles={"desk": ["orders:read", "orders:write"]}, tiers=["gold"])
ALLOWED: set[tuple[Verb, KeyState, KeyState]] = {
    ("activate", "pending", "active"),
    ("suspend", "active", "suspended"),
    ("suspend", "retiring", "suspended"),
    ("resume", "suspended", "active"),
    ("retire", "active", "retiring"),
    *(("revoke", state, "revoked") for state in ("pending", "active", "retiring", "suspended")),
    *(("expire", state, "revoked") for state in ("pending", "active", "retiring", "suspended")),
    *(("compromise", state, "compromised") for state in ("pending", "active", "retiring", "suspended", "revoked")),
}  # written once more, by hand


def material(number: int) -> Hmac:
    return Hmac(b"%032d" % number)


def make(**fields: Any) -> KeyRecord:
    given: dict[str, Any] = {
        "id": "old", "dialect": "tg1", "material": material(1), "scopes": {"orders:read"}, "roles": {"desk"},
        "granted": {"orders:read", "orders:write"}, "owner": "ann", "networks": ["203.0.113.0/24"], "tier": "gold",
        "created": NOW - DAY,
    }  # fmt: skip
    return KeyRecord(**{**given, **fields})


def powers(record: KeyRecord) -> tuple[object, ...]:
    """All that says what a key may do, and from where."""
    principal = record.principal
    return (
        principal.scopes, frozenset(record.roles), principal.networks.cidrs, record.restrictions, record.tier,
        record.binding, record.owner, record.account, record.parent, record.on_behalf_of, record.dialect,
        record.algorithm,
    )  # fmt: skip


# rule 1: the table, whole


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_leads_where_the_rules_say_and_nowhere_else(verb: Verb, state: KeyState) -> None:
    record = make(state=state, version=3)
    ends = [after for name, before, after in ALLOWED if (name, before) == (verb, state)]
    if not ends:
        with pytest.raises(KeyConflict, match=f"key old is {state}; it cannot be {life._DONE[verb]}"):
            life.step(record, verb, at=NOW, actor="ops")
        return
    after = life.step(record, verb, at=NOW, actor="ops", reason="why")
    assert ([after.state], after.version, after.actor, after.reason) == (ends, 4, "ops", "why")
    assert powers(after) == powers(record)
    assert after.material is record.material
    assert (after.expires, after.successor, after.predecessor) == (None, "", "")


@pytest.mark.parametrize("verb", VERBS)
def test_an_ended_key_never_verifies_again(verb: Verb) -> None:
    for state in ENDED:
        after = TRANSITIONS[verb].get(state)
        assert after is None or after in ENDED


@pytest.mark.parametrize("verb", VERBS)
def test_somebody_is_named_for_every_change(verb: Verb) -> None:
    for state in STATES:
        with pytest.raises(ConfigError, match=r"key old: say who does this \(actor\)"):
            life.step(make(state=state), verb, at=NOW, actor="")


def test_somebody_is_named_for_a_rotation() -> None:
    with pytest.raises(ConfigError, match="say who does this"):
        life.rotate(make(), "new", material(2), at=NOW, actor="")


def test_a_change_without_a_reason_does_not_keep_the_last_one() -> None:
    assert life.step(make(reason="old reason"), "suspend", at=NOW, actor="ops").reason == ""


@pytest.mark.parametrize(("verb", "state"), [("resume", "suspended"), ("activate", "pending"), ("retire", "active")])
def test_an_expired_key_is_not_brought_back(verb: Verb, state: KeyState) -> None:
    assert life.step(make(state=state, expires=NOW + 1), verb, at=NOW, actor="ops")
    for expires in (NOW, NOW - 1):
        with pytest.raises(KeyConflict, match="key old has expired; issue a new one"):
            life.step(make(state=state, expires=expires), verb, at=NOW, actor="ops")


@pytest.mark.parametrize("state", STATES)
def test_an_end_changes_nothing_else_of_a_key(state: KeyState) -> None:
    record = make(state=state, version=3, expires=NOW + 2 * DAY)
    if state in ENDED:
        with pytest.raises(KeyConflict, match=f"key old is {state}, which is its end already"):
            life.shorten(record, NOW + DAY, at=NOW, actor="ops")
        return
    after = life.shorten(record, NOW + DAY, at=NOW, actor="ops", reason="why")
    assert (after.state, after.expires, after.version, after.actor, after.reason) == (state, NOW + DAY, 4, "ops", "why")
    assert powers(after) == powers(record)


@pytest.mark.parametrize(
    ("until", "error"),
    [(NOW - 1, ConfigError), (NOW, ConfigError), (NOW + DAY, ConfigError), (NOW + 3 * DAY, KeyConflict)],
)
def test_an_end_lies_ahead_behind_the_beginning_and_before_the_old_one(until: int, error: type[Exception]) -> None:
    record = make(not_before=NOW + DAY, expires=NOW + 3 * DAY)
    with pytest.raises(error, match="key old"):
        life.shorten(record, until, at=NOW, actor="ops")
    assert life.shorten(record, NOW + 3 * DAY - 1, at=NOW, actor="ops").expires == NOW + 3 * DAY - 1
    with pytest.raises(ConfigError, match=r"say who does this \(actor\)"):
        life.shorten(record, NOW + 2 * DAY, at=NOW, actor="")


@pytest.mark.parametrize("verb", ["suspend", "revoke", "expire", "compromise"])
def test_an_expired_key_can_still_be_ended(verb: Verb) -> None:
    assert life.step(make(expires=NOW - 1), verb, at=NOW, actor="ops").version == 2


def test_a_suspended_key_that_has_a_successor_is_retiring_when_it_comes_back() -> None:
    suspended = make(state="suspended", successor="new", expires=NOW + 1)
    assert life.step(suspended, "resume", at=NOW, actor="ops").state == "retiring"
    assert life.step(make(state="suspended"), "resume", at=NOW, actor="ops").state == "active"


def test_the_cure_is_named() -> None:
    with pytest.raises(KeyConflict, match="cannot be rotated; rotate its successor new"):
        life.step(make(state="retiring", successor="new"), "retire", at=NOW, actor="ops")
    with pytest.raises(KeyConflict, match=r"cannot be rotated$"):
        life.step(make(state="suspended"), "retire", at=NOW, actor="ops")
    for state in ENDED:
        with pytest.raises(KeyConflict, match="cannot be resumed; issue a new one"):
            life.step(make(state=state, successor="new"), "resume", at=NOW, actor="ops")


# rules 2 and 3: rotation


def test_a_rotation_retires_the_old_key_and_makes_one_that_may_do_the_same() -> None:
    old = make(account="acme", parent="p", on_behalf_of="b", label="bot", binding="spiffe://a", version=5)
    retiring, new = life.rotate(old, "new", material(2), at=NOW, actor="ops", reason="yearly")
    assert (retiring.id, retiring.state, retiring.successor, retiring.version) == ("old", "retiring", "new", 6)
    assert (new.id, new.state, new.predecessor, new.successor, new.version) == ("new", "active", "old", "", 1)
    assert powers(new) == powers(retiring) == powers(old)
    assert new.material is not old.material
    assert retiring.material is old.material
    assert (new.created, new.actor, new.reason, new.label) == (NOW, "ops", "yearly", "bot")
    assert (retiring.actor, retiring.reason) == ("ops", "yearly")


@pytest.mark.parametrize("overlap", [1, HOUR, DAY, 7 * DAY])
def test_in_the_overlap_both_verify_and_then_only_the_new_one(overlap: int) -> None:
    old, new = life.rotate(make(), "new", material(2), at=NOW, actor="ops", overlap=overlap)
    for at in (NOW, NOW + overlap - 1):
        assert old.usable(at)
        assert new.usable(at)
    assert not old.usable(NOW + overlap)
    assert new.usable(NOW + overlap)


def test_without_an_overlap_the_old_key_ends_with_the_rotation() -> None:
    old, new = life.rotate(make(), "new", material(2), at=NOW, actor="ops", overlap=0)
    assert (old.usable(NOW), new.usable(NOW)) == (False, True)


@pytest.mark.parametrize("overlap", [-1, 7 * DAY + 1])
def test_an_overlap_is_at_most_seven_days(overlap: int) -> None:
    with pytest.raises(ConfigError, match="an overlap is 0 to 7 days"):
        life.rotate(make(), "new", material(2), at=NOW, actor="ops", overlap=overlap)


def test_an_overlap_does_not_lengthen_a_life() -> None:
    old, _ = life.rotate(make(expires=NOW + HOUR), "new", material(2), at=NOW, actor="ops", overlap=DAY)
    assert old.expires == NOW + HOUR


@pytest.mark.parametrize(
    ("fields", "expires"),
    [
        ({"expires": None}, None),
        ({"created": NOW - 20 * DAY, "expires": NOW + 10 * DAY}, NOW + 30 * DAY),
        ({"created": NOW - 20 * DAY, "not_before": NOW - 5 * DAY, "expires": NOW + 10 * DAY}, NOW + 15 * DAY),
        ({"created": None, "expires": NOW + 10 * DAY}, NOW + 10 * DAY),
    ],
)
def test_a_successor_lives_as_long_as_the_old_key_was_made_for(fields: dict[str, Any], expires: int | None) -> None:
    _, new = life.rotate(make(**fields), "new", material(2), at=NOW, actor="ops")
    assert new.expires == expires


@pytest.mark.parametrize("state", sorted(set(STATES) - {"active"}))
def test_only_an_active_key_is_rotated(state: KeyState) -> None:
    with pytest.raises(KeyConflict, match="it cannot be rotated"):
        life.rotate(make(state=state), "new", material(2), at=NOW, actor="ops")


def test_an_expired_key_is_not_rotated() -> None:
    with pytest.raises(KeyConflict, match="has expired"):
        life.rotate(make(expires=NOW), "new", material(2), at=NOW, actor="ops")


def test_a_waiver_is_not_inherited() -> None:
    assert life.rotate(make(waiver="as agreed"), "new", material(2), at=NOW, actor="ops")[1].waiver == ""


def test_a_rotation_gives_no_power_before_its_time() -> None:
    old = make(not_before=NOW + DAY, expires=NOW + 10 * DAY)
    _, new = life.rotate(old, "new", material(2), at=NOW, actor="ops")
    assert (new.not_before, new.expires) == (NOW + DAY, NOW + 10 * DAY)
    assert not new.usable(NOW + DAY - 1)
    assert new.usable(NOW + DAY)


@pytest.mark.parametrize("begun", [NOW, NOW - DAY])
def test_of_a_key_that_has_begun_the_successor_begins_now(begun: int) -> None:
    _, new = life.rotate(make(not_before=begun, expires=NOW + 9 * DAY), "new", material(2), at=NOW, actor="ops")
    assert (new.not_before, new.expires) == (None, NOW + NOW + 9 * DAY - begun)


def test_a_compromised_key_ends_with_its_rotation() -> None:
    old, new = life.rotate(make(), "new", material(2), at=NOW, actor="ops", overlap=DAY, compromised=True)
    assert (old.state, old.successor, old.expires, old.version) == ("compromised", "new", None, 2)
    assert not old.usable(NOW)
    assert new.usable(NOW)


def test_a_day_is_a_day() -> None:
    assert (HOUR, DAY) == (3_600 * SECOND, 86_400 * SECOND)


# rules 4 and 5: what a new key may not be


WITHDRAW: dict[str, Any] = {"scopes": {"funds:withdraw"}, "roles": (), "granted": (), "expires": NOW + 90 * DAY}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"scopes": {"no:such"}}, "key old: unknown scope 'no:such'"),
        ({"roles": {"desk", "boss"}}, "key old: the policy has no role 'boss'"),
        ({"tier": "silver"}, "key old: the policy has no tier 'silver'"),
        ({"scopes": (), "roles": (), "granted": ()}, "it has no scope and no role"),
        ({"expires": NOW}, "it would end before it begins"),
        ({"expires": NOW - 1}, "it would end before it begins"),
        ({"not_before": NOW + DAY, "expires": NOW + DAY}, "it would end before it begins"),
        ({"scopes": {"funds:withdraw", "keys:admin"}}, "never on one key; issue two"),
        ({**WITHDRAW, "expires": None}, r"takes an end \(expires\)"),
        ({**WITHDRAW, "expires": None, "waiver": "as agreed"}, r"takes an end \(expires\)"),
        ({**WITHDRAW, "networks": ()}, r"takes an allow list \(networks\)"),
        ({**WITHDRAW, "expires": NOW + 90 * DAY + 1}, "at most 90 days away"),
        ({**WITHDRAW, "not_before": NOW + DAY, "expires": NOW + 91 * DAY + 1}, "at most 90 days away"),
        ({**WITHDRAW, "waiver": "as agreed", "scopes": {"funds:withdraw", "keys:admin"}}, "never on one key"),
    ],
)
def test_a_key_that_breaks_a_rule_is_not_made(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        life.check_new(make(**fields), POLICY, NOW)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"roles": (), "granted": ()},
        {"scopes": ()},
        {"tier": ""},
        {"expires": NOW + 1},
        {"not_before": NOW + DAY, "expires": NOW + DAY + 1},
        {"scopes": {"keys:admin"}, "expires": None},
        WITHDRAW,
        {**WITHDRAW, "not_before": NOW + DAY, "expires": NOW + 91 * DAY},
        {**WITHDRAW, "networks": (), "expires": NOW + 4000 * DAY, "waiver": "as agreed"},
    ],
)
def test_a_key_that_keeps_them_is_made(fields: dict[str, Any]) -> None:
    life.check_new(make(**fields), POLICY, NOW)


def test_a_scope_that_the_policy_declares_may_be_held() -> None:
    life.check_new(make(scopes={"algo:run"}), Policy(scopes=["algo:run"], roles=POLICY.roles, tiers=["gold"]), NOW)


@pytest.mark.parametrize("networks", [["0.0.0.0/0"], ["::/0"], ["203.0.113.0/24", "0.0.0.0/1"], ["::ffff:0:0/96"]])
def test_an_allow_list_of_everywhere_is_none(networks: list[str]) -> None:
    with pytest.raises(ConfigError, match="allow list"):
        life.check_new(make(**{**WITHDRAW, "networks": networks}), POLICY, NOW)


@pytest.mark.parametrize("network", ["10.0.0.0/8", "2001::/16", "::ffff:10.0.0.0/104"])
def test_the_widest_network_of_an_allow_list(network: str) -> None:
    life.check_new(make(**{**WITHDRAW, "networks": [network]}), POLICY, NOW)
    wider = str(ip_network(network).supernet())
    with pytest.raises(ConfigError, match="is no allow list for funds:withdraw; name smaller networks"):
        life.check_new(make(**{**WITHDRAW, "networks": [network, wider]}), POLICY, NOW)


def test_a_small_network_of_ipv6_is_an_allow_list() -> None:
    life.check_new(make(**{**WITHDRAW, "networks": ["2001:db8::/96", "2001:db8::1"]}), POLICY, NOW)


def test_a_wildcard_is_no_way_around_the_rules() -> None:
    policy = Policy(scopes=["keys:*", "funds:withdraw:fast"], tiers=["gold"])
    with pytest.raises(ConfigError, match="never on one key"):
        life.check_new(make(**{**WITHDRAW, "scopes": {"funds:withdraw", "keys:*"}}), policy, NOW)
    with pytest.raises(ConfigError, match=r"takes an end \(expires\)"):
        life.check_new(make(scopes={"funds:withdraw:fast"}, roles=(), granted=()), policy, NOW)


# the machine


class Lives(RuleBasedStateMachine):
    """Keys that are made, changed and ended in any order, while the clock runs; the store is a dict."""

    keys: Bundle[str] = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.at, self.made = NOW, 0
        self.records: dict[str, KeyRecord] = {}
        self.history: dict[str, list[KeyRecord]] = {}

    def new_id(self) -> str:
        self.made += 1
        return f"key{self.made}"

    def store(self, *records: KeyRecord) -> None:
        """As a store does it: version by version, all or none; and what holds for each step."""
        for record in records:
            before = self.records.get(record.id)
            assert record.version == (1 if before is None else before.version + 1)
            if before is not None:
                assert powers(record) == powers(before)
                assert record.material is before.material
                assert (before.state in ENDED) <= (record.state in ENDED)
                assert before.successor in ("", record.successor)
                assert before.expires is None or (record.expires is not None and record.expires <= before.expires)
        for record in records:
            self.records[record.id] = record
            self.history.setdefault(record.id, []).append(record)

    @rule(
        target=keys,
        state=st.sampled_from(["active", "active", "pending"]),
        days=st.one_of(st.none(), st.integers(1, 90)),
        wait=st.one_of(st.none(), st.integers(0, 5)),
    )
    def issue(self, state: KeyState, days: int | None, wait: int | None) -> str:
        begin = None if wait is None else self.at + wait * DAY
        expires = None if days is None else (begin or self.at) + days * DAY
        id = self.new_id()
        record = make(
            id=id, material=material(self.made), state=state, created=self.at, not_before=begin, expires=expires
        )
        life.check_new(record, POLICY, self.at)
        self.store(record)
        return id

    @rule(id=keys, verb=st.sampled_from([verb for verb in VERBS if verb != "retire"]))
    def step(self, id: str, verb: Verb) -> None:
        before = self.records[id]
        try:
            after = life.step(before, verb, at=self.at, actor="ops")
        except KeyConflict:
            expired = before.expires is not None and before.expires <= self.at
            assert before.state not in TRANSITIONS[verb] or (verb in ("resume", "activate") and expired)
            return
        self.store(after)
        if verb in ("suspend", "revoke", "compromise", "expire"):
            assert not after.usable(self.at)

    @rule(target=keys, id=keys, overlap=st.sampled_from([0, 1, HOUR, DAY, 7 * DAY]))
    def rotate(self, id: str, overlap: int) -> Any:
        old, new_id = self.records[id], self.new_id()
        try:
            retiring, new = life.rotate(old, new_id, material(self.made), at=self.at, actor="ops", overlap=overlap)
        except KeyConflict:
            expired = old.expires is not None and old.expires <= self.at
            assert old.state != "active" or expired
            return multiple()
        assert powers(new) == powers(old)
        assert retiring.usable(self.at) == (old.usable(self.at) and overlap > 0)
        assert not retiring.usable(self.at + overlap)
        assert new.expires is None or new.expires > self.at
        assert old.usable(self.at) or not new.usable(self.at)
        self.store(retiring, new)
        return new_id

    @rule(step=st.sampled_from([1, SECOND, HOUR, DAY, 30 * DAY]))
    def pass_time(self, step: int) -> None:
        self.at += step

    @invariant()
    def chains_have_one_way_forth_and_back(self) -> None:
        for record in self.records.values():
            if record.successor:
                assert self.records[record.successor].predecessor == record.id
            if record.predecessor:
                assert self.records[record.predecessor].successor == record.id
        heirs = [record.predecessor for record in self.records.values() if record.predecessor]
        assert len(heirs) == len(set(heirs))

    @invariant()
    def only_active_and_retiring_keys_inside_their_time_verify(self) -> None:
        for record in self.records.values():
            inside = (record.not_before or 0) <= self.at and (record.expires is None or self.at < record.expires)
            assert record.usable(self.at) == (record.state in ("active", "retiring") and inside)

    @invariant()
    def a_retiring_key_has_a_successor_and_an_end(self) -> None:
        for record in self.records.values():
            assert (record.state == "retiring") <= bool(record.successor and record.expires is not None)
            assert not (record.state == "active" and record.successor)

    @invariant()
    def versions_count_the_changes(self) -> None:
        for id, versions in self.history.items():
            assert [record.version for record in versions] == list(range(1, len(versions) + 1)), id


Lives.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestLives = Lives.TestCase


def test_a_record_with_a_field_of_its_own_version_is_replaced_not_changed() -> None:
    record = make()
    life.step(record, "suspend", at=NOW, actor="ops")
    assert (record.state, record.version) == ("active", 1)
    assert replace(record).version == 1
