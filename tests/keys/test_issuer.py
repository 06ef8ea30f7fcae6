"""The issuer: every call has an actor and leaves an event; what cannot be recorded gives no power; nothing half done.

Over memory, and over cache, sealing and a file as a server has them.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from support import NOW, PRIVATE, SECRET, StillClock, make_guard, sign

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.conditions import Below
from tradeguard.core.decision import Denial
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError, KeyConflict
from tradeguard.core.event import Event, Written
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord, key_number
from tradeguard.core.policy import Policy
from tradeguard.core.ports import KeyAdmin
from tradeguard.core.secret import Secret
from tradeguard.keys.cache import CachedKeys
from tradeguard.keys.format import check_secret, plausible
from tradeguard.keys.issuer import Issued, Issuer
from tradeguard.keys.life import DAY, ENDED
from tradeguard.keys.possession import possession_text
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer
from tradeguard.signing.encoding import decode_base64url
from tradeguard.signing.material import Ed25519, Hmac
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

POLICY = Policy(roles={"desk": ["orders:read", "orders:write"]}, tiers=["gold"])
PUBLIC = PRIVATE.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
WITHDRAW: dict[str, Any] = {"scopes": ["funds:withdraw"], "networks": ["203.0.113.0/24"], "expires": NOW + 90 * DAY}


class Disk(MemoryJournal):
    """A journal whose disk is full from the event on that `full` counts down to, for `lost` events."""

    def __init__(self) -> None:
        super().__init__()
        self.full: int | None = None
        self.lost = 10**9

    def append(self, event: Event, /) -> Written:
        if self.full is not None:
            self.full -= 1
            if self.full < 0 and self.lost > 0:
                self.lost -= 1
                return Written(BackendDown("no space left on device"))
        return super().append(event)


class Broken:
    """A key store that fails as it is told to, before or after it has stored."""

    def __init__(self, keys: KeyAdmin) -> None:
        self.keys, self.colour = keys, keys.colour
        self.before: Exception | None = None
        self.after: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.keys, name)

    async def put(self, records: Sequence[KeyRecord], /) -> None:
        if self.before is not None:
            raise self.before
        await self.keys.put(records)
        if self.after is not None:
            raise self.after


@dataclass
class Office:
    """An issuer and what it works with."""

    keys: Any
    journal: Disk
    state: Memory
    clock: StillClock
    issuer: Issuer

    def codes(self) -> list[str]:
        return [event.code for event in self.journal.events]

    def stored(self) -> list[tuple[str, int, str]]:
        return [(record.id, record.version, record.state) for record in drive(self.keys.list())]

    def number(self, id: str) -> int:
        """The number that stops old versions of a key."""
        for value in range(1, 100):
            outcome = drive(self.state.commit([Below((key_number(id),), value)], NOW, "r", None))
            if not outcome.failed:
                return value - 1
        raise AssertionError


def office(keys: Any = None, policy: Policy = POLICY, **options: Any) -> Office:
    keys = MemoryKeys() if keys is None else keys
    journal, state, clock = Disk(), Memory(since=1), StillClock()
    issuer = Issuer(keys, journal, state=state, policy=policy, runtime=clock, policy_mark="mark", **options)
    return Office(keys, journal, state, clock, issuer)


@pytest.fixture(params=["memory", "sqlite"])
def o(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    """An office over memory, and over a cache of sealed keys in a file."""
    if request.param == "memory":
        yield office()
        return
    sealer = LocalSealer(MasterKeys([MasterKey(Secret(b"m" * 32))]))
    cache = CachedKeys(SealedKeys(SQLiteKeys(tmp_path / "keys.db", busy=5.0), sealer, policy=POLICY))
    yield office(cache)
    cache.close()


def issue(o: Office, **fields: Any) -> Issued:
    given: dict[str, Any] = {"actor": "ops", "owner": "ann", "scopes": ["orders:read"], **fields}
    return drive(o.issuer.issue(**given))


def prove(private: Ed25519PrivateKey, owner: str = "ann") -> bytes:
    return private.sign(possession_text(owner, private.public_key().public_bytes_raw()))


# issue


def test_a_key_is_issued_with_a_secret_that_its_record_verifies(o: Office, run: Run) -> None:
    issued = run(
        o.issuer.issue(actor="ops", owner="ann", scopes=["orders:read"], roles=["desk"], tier="gold", label="x")
    )
    record, secret, passphrase = issued
    assert passphrase is None
    assert plausible(record.id)
    assert record.id.startswith("tg_live_hmac_")
    assert check_secret(secret.reveal().decode())
    assert (record.owner, record.actor, record.created, record.version, record.state) == (
        "ann",
        "ops",
        NOW,
        1,
        "active",
    )
    stored = run(o.keys.find(record.id))
    assert stored.material.fingerprint(b"s") == Hmac(secret).fingerprint(b"s")
    assert stored.principal.scopes == {"orders:read", "orders:write"}
    assert stored.label == "x"


def test_a_pair_is_made_where_the_client_brings_no_key(o: Office, run: Run) -> None:
    record, secret, _ = run(o.issuer.issue(actor="ops", owner="ann", scopes=["orders:read"], algorithm="ed25519"))
    assert record.id.startswith("tg_live_ed25519_")
    private = Ed25519PrivateKey.from_private_bytes(decode_base64url(secret.reveal()) or b"")
    assert run(record.material.verify(b"text", private.sign(b"text")))


def test_a_key_of_the_client_takes_a_proof_and_has_no_secret_of_ours(o: Office, run: Run) -> None:
    given: dict[str, Any] = {"actor": "ops", "owner": "ann", "scopes": ["orders:read"], "algorithm": "ed25519"}
    record, secret, _ = run(o.issuer.issue(**given, public_key=PUBLIC, proof=prove(PRIVATE)))
    assert secret is None
    assert record.material.fingerprint(b"s") == Ed25519(PUBLIC).fingerprint(b"s")


@pytest.mark.parametrize("proof", [b"", b"x" * 64, prove(PRIVATE, "bob"), PRIVATE.sign(PUBLIC)])
def test_without_the_holders_proof_no_key_is_made(proof: bytes) -> None:
    o = office()
    with pytest.raises(ConfigError, match="the proof of possession does not hold"):
        issue(o, algorithm="ed25519", public_key=PUBLIC, proof=proof)
    assert (o.codes(), o.stored()) == ([], [])


def test_the_text_of_a_proof_names_owner_and_key() -> None:
    assert possession_text("ann", bytes(32)) == b"tradeguard proof of possession\nann\n" + b"A" * 43


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"actor": ""}, r"say who does this \(actor\)"),
        ({"owner": ""}, r"say who holds it \(owner\)"),
        ({"algorithm": "md5"}, "dialect tg1 has no md5; it has hmac-sha256, ed25519"),
        ({"public_key": PUBLIC, "algorithm": "hmac-sha256"}, "hmac-sha256 has a secret"),
        ({"public_key": PUBLIC, "dialect": "okx"}, "dialect okx has no ed25519; it has hmac-sha256"),
        ({"dialect": "binanc"}, "no dialect is called 'binanc'; did you mean binance?"),
        ({"dialect": "nothing-near"}, "no dialect is called 'nothing-near'; there are tg1, "),
        ({"passphrase": "x"}, "'passphrase' is not for a new key"),
        ({"scopes": []}, "it could do nothing"),
        ({"scopes": ["no:such"]}, "unknown scope 'no:such'"),
        ({"roles": ["boss"]}, "no role 'boss'"),
        ({"tier": "silver"}, "no tier 'silver'"),
        ({"expires": NOW}, "it would end before it begins"),
        ({**WITHDRAW, "networks": []}, "allow list"),
        ({**WITHDRAW, "expires": None}, "an end"),
        ({**WITHDRAW, "expires": NOW + 91 * DAY}, "at most 90 days"),
        ({**WITHDRAW, "scopes": ["funds:withdraw", "keys:admin"]}, "never on one key"),
        ({**WITHDRAW, "waiver": "as agreed", "expires": NOW + 4000 * DAY}, "'waiver' is not for a new key"),
        ({"state": "pending"}, "'state' is not for a new key"),
        ({"version": 7}, "'version' is not for a new key"),
        ({"granted": ["keys:admin"]}, "'granted' is not for a new key"),
        ({"successor": "x"}, "'successor' is not for a new key"),
        ({"predecessor": "x"}, "'predecessor' is not for a new key"),
        ({"created": 1}, "'created' is not for a new key"),
        ({"colour": "red"}, "'colour' is not for a new key"),
    ],
)
def test_what_the_policy_does_not_allow_is_neither_recorded_nor_stored(fields: dict[str, Any], why: str) -> None:
    o = office()
    with pytest.raises(ConfigError, match=why):
        issue(o, **fields)
    assert (o.codes(), o.stored()) == ([], [])


@pytest.mark.parametrize("role", ["funds:withdraw", "keys:admin"])
def test_the_great_powers_are_not_given_by_a_role(role: str) -> None:
    with pytest.raises(ConfigError, match="is given to keys by name, never by a role"):
        Policy(roles={"desk": [role]})


def test_a_withdrawal_key_is_issued_with_an_allow_list_and_an_end() -> None:
    assert issue(office(), **WITHDRAW).record.principal.scopes == {"funds:withdraw"}


def test_ids_and_secrets_of_test_keys_say_so() -> None:
    record, secret, _ = issue(office(env="test"))
    assert secret is not None
    assert (record.id[:12], secret.reveal()[:9]) == ("tg_test_hmac", b"tgs_test_")


# events


def test_every_call_leaves_its_event_with_actor_and_mark(o: Office, run: Run) -> None:
    async def work() -> list[tuple[str, str, str]]:
        a = (await o.issuer.issue(actor="ann", owner="o", scopes=["orders:read"], account="acme")).record.id
        await o.issuer.suspend(a, actor="bob", reason="odd")
        await o.issuer.resume(a, actor="cid", reason="fine")
        b = (await o.issuer.rotate(a, actor="dan", reason="yearly")).record.id
        await o.issuer.revoke(a, actor="eve", reason="done")
        await o.issuer.revoke(b, actor="fay", compromised=True, reason="seen on a wiki")
        c = (await o.issuer.issue(actor="gil", owner="o", scopes=["orders:read"], expires=o.clock.at + 1)).record.id
        o.clock.at += 1
        assert [record.id for record in await o.issuer.expire(actor="hal")] == [c]
        d = KeyRecord(
            id="d", dialect="tg1", material=Ed25519(PUBLIC), scopes={"orders:read"}, owner="o", state="pending"
        )
        await o.issuer.import_keys([d], actor="ina", reason="moved")
        await o.issuer.activate("d", actor="joe", proof=prove(PRIVATE, "o"))
        return [("issued", "ann", a), ("suspended", "bob", a), ("resumed", "cid", a), ("rotated", "dan", a),
                ("revoked", "eve", a), ("compromised", "fay", b), ("issued", "gil", c), ("expired", "hal", c),
                ("imported", "ina", "d"), ("activated", "joe", "d")]  # fmt: skip

    expected = run(work())
    assert [(event.code.removeprefix("keys."), event.actor, event.key_id) for event in o.journal.events] == expected
    assert {(event.kind, event.proven, event.policy, event.dialect) for event in o.journal.events} == {
        ("key", True, "mark", "tg1")
    }
    assert o.journal.events[0].account == "acme"
    assert "odd" in o.journal.events[1].detail


def test_an_event_names_what_was_given_and_never_a_secret() -> None:
    o = office()
    secret = issue(o, roles=["desk"], reason="new bot", scopes=["orders:cancel"]).secret
    imported = KeyRecord(
        id="w", dialect="tg1", material=Hmac(SECRET), scopes={"funds:withdraw"}, owner="bob", waiver="board of May",
        expires=NOW + 365 * DAY,
    )  # fmt: skip
    drive(o.issuer.import_keys([imported], actor="ops"))
    first, second = o.journal.events
    assert first.detail == "owner ann; orders:cancel orders:read orders:write; new bot"
    assert "waiver board of May" in second.detail
    assert secret is not None
    for hidden in (secret.reveal().decode(), SECRET.decode()):
        assert hidden not in str(o.journal.events)


def test_a_rotation_names_the_successor_in_its_event(o: Office) -> None:
    old = issue(o).record.id
    new = drive(o.issuer.rotate(old, actor="ops", reason="yearly")).record.id
    event = o.journal.events[-1]
    assert (event.key_id, event.detail) == (old, f"successor {new}; yearly")


Call = Callable[[Issuer, str], Coroutine[Any, Any, object]]
PENDING = KeyRecord(
    id="pending", dialect="tg1", material=Ed25519(PUBLIC), scopes={"orders:read"}, owner="ann", state="pending"
)
GIVES: dict[str, Call] = {
    "issue": lambda issuer, _: issuer.issue(actor="ops", owner="bob", scopes=["orders:read"]),
    "import": lambda issuer, _: issuer.import_keys([PENDING], actor="ops"),
    "rotate": lambda issuer, id: issuer.rotate(id, actor="ops"),
    "rotate compromised": lambda issuer, id: issuer.rotate(id, actor="ops", compromised=True),
    "resume": lambda issuer, _: issuer.resume("suspended", actor="ops"),
    "activate": lambda issuer, _: issuer.activate("waiting", actor="ops", proof=prove(OTHER)),
}
TAKES: dict[str, Call] = {
    "suspend": lambda issuer, id: issuer.suspend(id, actor="ops"),
    "revoke": lambda issuer, id: issuer.revoke(id, actor="ops"),
    "shorten": lambda issuer, id: issuer.shorten(id, NOW + DAY, actor="ops"),
    "compromise": lambda issuer, id: issuer.revoke(id, actor="ops", compromised=True),
    "expire": lambda issuer, _: issuer.expire(actor="ops"),
}


def prepare(o: Office) -> str:
    """One key in each state that the calls need; return the active one's id."""
    more: dict[str, Any] = {"dialect": "tg1", "scopes": {"orders:read"}, "owner": "ann"}
    waiting = KeyRecord(id="waiting", material=Ed25519(OTHER.public_key().public_bytes_raw()), state="pending", **more)
    suspended = KeyRecord(id="suspended", material=Hmac(b"s" * 16), **more)
    late = KeyRecord(id="late", material=Hmac(b"l" * 16), expires=NOW + 1, **more)
    drive(o.issuer.import_keys([waiting, suspended, late], actor="ops"))
    drive(o.issuer.suspend("suspended", actor="ops"))
    id = issue(o).record.id
    o.clock.at += 1
    o.journal.events.clear()
    return id


@pytest.mark.parametrize("call", [*GIVES.values(), *TAKES.values()], ids=[*GIVES, *TAKES])
def test_without_an_actor_nothing_is_done(o: Office, call: Call) -> None:
    id = prepare(o)
    before = o.stored()

    class Nobody:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **options: getattr(o.issuer, name)(*args, **{**options, "actor": ""})

    with pytest.raises(ConfigError, match="actor"):
        drive(call(Nobody(), id))  # type: ignore[arg-type]
    assert (o.codes(), o.stored()) == ([], before)


@pytest.mark.parametrize("call", GIVES.values(), ids=GIVES)
def test_what_cannot_be_recorded_gives_no_power(o: Office, call: Call, run: Run) -> None:
    id = prepare(o)
    before, numbers = o.stored(), {name: o.number(name) for name in (id, "suspended", "waiting")}
    o.journal.full = 0
    with pytest.raises(BackendDown, match="no space left"):
        run(call(o.issuer, id))
    assert o.stored() == before
    assert {name: o.number(name) for name in numbers} == numbers
    o.journal.full = None
    run(call(o.issuer, id))
    assert o.stored() != before


@pytest.mark.parametrize("call", TAKES.values(), ids=TAKES)
def test_what_cannot_be_recorded_still_takes_power_away(
    o: Office, call: Call, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    id = prepare(o)
    before = o.stored()
    o.journal.full = 0
    run(call(o.issuer, id))
    changed = [row for row in o.stored() if row not in before]
    assert len(changed) == 1
    stopped = changed[0][2] in ("suspended", "revoked", "compromised")
    assert stopped is (call is not TAKES["shorten"])
    assert o.number(changed[0][0]) == 1
    assert "is not on record: no space left on device" in caplog.text
    assert [entry.levelno for entry in caplog.records] == [logging.CRITICAL]


def test_of_an_import_every_key_is_on_record_or_none_is_stored() -> None:
    for lost in (0, 1, 2):
        o = office()
        o.journal.full, o.journal.lost = lost, 1
        more: dict[str, Any] = {"dialect": "tg1", "scopes": {"orders:read"}, "owner": "ann"}
        records = [KeyRecord(id=f"k{n}", material=Hmac(b"%016d" % n), **more) for n in range(3)]
        with pytest.raises(BackendDown):
            drive(o.issuer.import_keys(records, actor="ops"))
        assert o.stored() == []


def test_a_revocation_does_not_wait_for_the_disk() -> None:
    o = office()
    id = issue(o).record.id
    usable: list[bool] = []

    class Ticket(Written):
        def wait(self) -> None:
            usable.append(drive(o.keys.find(id)).usable(NOW) and o.number(id) < 1)

    class Slow(Disk):
        def append(self, event: Event, /) -> Written:
            super().append(event)
            return Ticket()

    slow = Issuer(o.keys, Slow(), state=o.state, policy=POLICY, runtime=o.clock)
    drive(slow.revoke(id, actor="ops"))
    assert usable == [False]


# failing stores


EVERY: dict[str, Call] = {**GIVES, **TAKES}


@pytest.mark.parametrize("error", [BackendDown("store down"), KeyConflict("changed"), ConfigError("cannot be kept")])
@pytest.mark.parametrize("call", EVERY.values(), ids=EVERY)
def test_a_store_that_fails_leaves_a_failed_event_and_nothing_half_done(call: Call, error: Exception) -> None:
    o = office(Broken(MemoryKeys()))
    id = prepare(o)
    before = o.stored()
    o.keys.before = error
    with pytest.raises(type(error), match=str(error)):
        drive(call(o.issuer, id))
    assert o.stored() == before
    done, *failed = o.codes()
    assert not done.endswith(".failed")
    assert set(failed) == {f"{done}.failed"}
    assert str(error) in o.journal.events[-1].detail
    assert o.journal.events[-1].actor == "ops"


@pytest.mark.parametrize("call", TAKES.values(), ids=TAKES)
def test_where_the_store_is_down_the_number_stops_the_key_all_the_same(call: Call) -> None:
    o = office(Broken(MemoryKeys()))
    id = prepare(o)
    o.keys.before = BackendDown("store down")
    with pytest.raises(BackendDown):
        drive(call(o.issuer, id))
    assert sorted(o.number(name) for name in (id, "late")) == [0, 1]


@pytest.mark.parametrize("call", TAKES.values(), ids=TAKES)
def test_where_the_state_is_down_the_record_is_changed_all_the_same(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    class Down(Memory):
        async def lift(self, _key: str, _value: int) -> int:
            raise BackendDown("state down")

    o = office()
    id = prepare(o)
    before = o.stored()
    issuer = Issuer(o.keys, o.journal, state=Down(since=1), policy=POLICY, runtime=o.clock)
    try:
        drive(call(issuer, id))
    except BackendDown as error:
        assert "state down" in str(error)
    assert len([row for row in o.stored() if row not in before]) == 1
    assert "state down" in caplog.text


def test_without_a_state_the_record_alone_is_changed() -> None:
    o = office()
    id = issue(o).record.id
    assert drive(Issuer(o.keys, o.journal, policy=POLICY).revoke(id, actor="ops")).state == "revoked"
    assert o.number(id) == 0


# numbers


def test_every_change_stops_the_versions_before_it(o: Office, run: Run) -> None:
    async def work() -> None:
        id = (await o.issuer.issue(actor="ops", owner="ann", scopes=["orders:read"])).record.id
        assert o.number(id) == 0
        for version, call in enumerate(("suspend", "resume", "suspend", "resume"), 1):
            record = await getattr(o.issuer, call)(id, actor="ops")
            assert (record.version, o.number(id)) == (version + 1, version)
        new = (await o.issuer.rotate(id, actor="ops")).record.id
        assert (o.number(id), o.number(new)) == (5, 0)
        await o.issuer.revoke(id, actor="ops")
        assert o.number(id) == 6

    run(work())


def test_a_slow_resumption_does_not_lower_the_number_of_a_later_revocation() -> None:
    o = office()
    id = issue(o).record.id
    drive(o.issuer.suspend(id, actor="ops"))

    class Overtaken(Broken):
        async def put(self, records: Sequence[KeyRecord], /) -> None:
            await self.keys.put(records)
            await o.issuer.revoke(id, actor="another")

    slow = Issuer(Overtaken(o.keys), o.journal, state=o.state, policy=POLICY, runtime=o.clock)
    drive(slow.resume(id, actor="ops"))
    assert o.stored() == [(id, 4, "revoked")]
    assert o.number(id) == 3


# rotation


def test_a_rotated_key_may_do_the_same_and_is_shown_once(o: Office, run: Run) -> None:
    old = issue(o, roles=["desk"], networks=["203.0.113.0/24"], tier="gold", label="bot").record
    new, secret, _ = run(o.issuer.rotate(old.id, actor="bob", overlap=DAY, reason="yearly"))
    assert new.principal.scopes == old.principal.scopes
    assert (tuple(new.networks), new.tier, new.label, new.predecessor) == (("203.0.113.0/24",), "gold", "bot", old.id)
    retiring = run(o.keys.find(old.id))
    assert (retiring.state, retiring.successor, retiring.expires) == ("retiring", new.id, NOW + DAY)
    assert run(o.keys.find(new.id)).material.fingerprint(b"s") == Hmac(secret).fingerprint(b"s")
    assert secret.reveal() != b""


def test_a_compromised_key_has_no_overlap(o: Office, run: Run) -> None:
    old = issue(o).record.id
    new = run(o.issuer.rotate(old, actor="ops", compromised=True)).record
    ended = run(o.keys.find(old))
    assert (ended.state, ended.successor, ended.usable(NOW)) == ("compromised", new.id, False)
    assert new.usable(NOW)
    assert o.number(old) == 1


@pytest.mark.parametrize("before", ["suspend", "revoke", "rotate", "pend", "expire"])
@pytest.mark.parametrize("compromised", [False, True])
def test_a_key_that_is_not_active_gets_no_successor(o: Office, before: str, compromised: bool) -> None:
    if before == "pend":
        drive(o.issuer.import_keys([PENDING], actor="ops"))
        id = "pending"
    else:
        id = issue(o, expires=NOW + DAY).record.id
        if before == "expire":
            o.clock.at += DAY
        else:
            drive(getattr(o.issuer, before)(id, actor="ops"))
    stored, codes = o.stored(), o.codes()
    with pytest.raises(KeyConflict):
        drive(o.issuer.rotate(id, actor="ops", compromised=compromised))
    assert (o.stored(), o.codes()) == (stored, codes)


def test_a_rotation_under_a_policy_without_the_role_is_refused_and_nothing_done(o: Office) -> None:
    id = issue(o, roles=["desk"]).record.id
    stored = o.stored()
    o.issuer.policy = Policy()
    with pytest.raises(ConfigError, match="no role 'desk'"):
        drive(o.issuer.rotate(id, actor="ops"))
    assert o.stored() == stored


def test_the_clients_own_new_key_takes_a_proof(o: Office, run: Run) -> None:
    old = issue(o, algorithm="ed25519", public_key=PUBLIC, proof=prove(PRIVATE)).record.id
    public = OTHER.public_key().public_bytes_raw()
    with pytest.raises(ConfigError, match="proof of possession"):
        run(o.issuer.rotate(old, actor="ops", public_key=public, proof=prove(OTHER, "bob")))
    record, secret, _ = run(o.issuer.rotate(old, actor="ops", public_key=public, proof=prove(OTHER)))
    assert secret is None
    assert record.material.fingerprint(b"s") == Ed25519(public).fingerprint(b"s")


def test_two_operators_who_rotate_at_once_make_one_successor(o: Office) -> None:
    id = issue(o).record.id
    winner: list[str] = []

    class Overtaken(Broken):
        async def put(self, records: Sequence[KeyRecord], /) -> None:
            if not winner:
                winner.append("")
                winner[0] = (await o.issuer.rotate(id, actor="the other")).record.id
            await self.keys.put(records)

    slow = Issuer(Overtaken(o.keys), o.journal, state=o.state, policy=POLICY, runtime=o.clock)
    with pytest.raises(KeyConflict, match="was changed meanwhile: version 2 is stored; look again"):
        drive(slow.rotate(id, actor="ops"))
    assert sorted(o.stored()) == sorted([(id, 2, "retiring"), (winner[0], 1, "active")])
    assert drive(o.keys.find(id)).successor == winner[0]
    assert o.codes()[-2:] == ["keys.rotated.failed"] * 2
    assert {event.actor for event in list(o.journal.events)[-2:]} == {"ops"}


def test_twenty_tasks_that_rotate_one_key_make_one_successor() -> None:
    class Yielding(Broken):
        async def find(self, id: str, /) -> KeyRecord | None:
            record = await self.keys.find(id)
            await asyncio.sleep(0)
            return record

    o = office(Yielding(MemoryKeys()))
    id = drive(Issuer(o.keys.keys, o.journal, runtime=o.clock).issue(actor="ops", owner="ann", scopes=["orders:read"]))

    async def work() -> list[object]:
        calls = [o.issuer.rotate(id.record.id, actor=f"ops{number}") for number in range(20)]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(work())
    assert [type(result) for result in results if not isinstance(result, Issued)] == [KeyConflict] * 19
    assert len(o.stored()) == 2


# import


def imported(id: str = "k", secret: bytes = SECRET, **fields: Any) -> KeyRecord:
    given: dict[str, Any] = {"dialect": "binance", "material": Hmac(secret), "scopes": {"orders:read"}, "owner": "bob"}
    return KeyRecord(id=id, **{**given, **fields})


def test_an_imported_key_keeps_id_secret_and_dialect(o: Office, run: Run) -> None:
    [record] = run(o.issuer.import_keys([imported(roles={"desk"}, created=5)], actor="ops", reason="moved"))
    stored = run(o.keys.find("k"))
    assert (stored.dialect, stored.created, stored.actor, stored.reason) == ("binance", 5, "ops", "moved")
    assert stored.material.fingerprint(b"s") == Hmac(SECRET).fingerprint(b"s")
    assert stored.principal.scopes == record.principal.scopes == {"orders:read", "orders:write"}


def test_an_import_keeps_the_reason_of_a_record_unless_it_has_one_itself() -> None:
    o = office()
    [own] = drive(o.issuer.import_keys([imported("a", b"a" * 16, reason="their own")], actor="ops"))
    [given] = drive(o.issuer.import_keys([imported("b", b"b" * 16, reason="their own")], actor="ops", reason="moved"))
    assert (own.reason, given.reason) == ("their own", "moved")


def test_an_import_of_nothing_is_nothing(run: Run) -> None:
    o = office()
    assert run(o.issuer.import_keys([], actor="ops")) == []
    assert o.codes() == []


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"state": "revoked"}, "import it as active or pending"),
        ({"state": "suspended"}, "import it as active or pending"),
        ({"state": "retiring"}, "import it as active or pending"),
        ({"version": 2}, "as version 1"),
        ({"owner": ""}, "owner"),
        ({"state": "pending"}, "only a public key waits"),
        ({"created": NOW + 1}, "created"),
        ({"created": -1}, "created"),
        ({"id": "tg_live_hmac_x"}, "begins as our own ids do"),
        ({"scopes": {"no:such"}}, "unknown scope"),
        (WITHDRAW | {"networks": ()}, "allow list"),
        ({"scopes": {"funds:withdraw"}, "waiver": "as agreed"}, "an end"),
        ({"scopes": {"funds:withdraw", "keys:admin"}, "waiver": "as agreed", "expires": NOW + DAY}, "never on one key"),
    ],
)
def test_one_key_that_breaks_a_rule_stops_the_whole_import(fields: dict[str, Any], why: str) -> None:
    o = office()
    with pytest.raises(ConfigError, match=why):
        drive(o.issuer.import_keys([imported("fine", b"f" * 16), imported(**fields)], actor="ops"))
    assert (o.codes(), o.stored()) == ([], [])


def test_a_waiver_comes_with_an_import_and_is_not_inherited(o: Office) -> None:
    waived = imported(scopes={"funds:withdraw"}, waiver="board of May", expires=NOW + 4000 * DAY)
    drive(o.issuer.import_keys([waived], actor="ops"))
    assert drive(o.keys.find("k")).waiver == "board of May"
    with pytest.raises(ConfigError, match="allow list"):
        drive(o.issuer.rotate("k", actor="ops"))


def test_a_taken_id_or_secret_stops_the_whole_import(o: Office) -> None:
    drive(o.issuer.import_keys([imported()], actor="ops"))
    for other in (imported("k", b"another secret.."), imported("twin"), imported("twin", SECRET + bytes(8))):
        with pytest.raises(KeyConflict):
            drive(o.issuer.import_keys([imported("fine", b"f" * 16), other], actor="ops"))
        assert o.stored() == [("k", 1, "active")]
    with pytest.raises(KeyConflict):
        drive(o.issuer.import_keys([imported("a", b"f" * 16), imported("b", b"f" * 16)], actor="ops"))


def test_a_pending_key_verifies_once_its_holder_has_proved_it(o: Office, run: Run) -> None:
    run(o.issuer.import_keys([PENDING], actor="ops"))
    assert not run(o.keys.find("pending")).usable(NOW)
    for proof in (b"", prove(PRIVATE, "bob"), prove(OTHER)):
        with pytest.raises(ConfigError, match="proof of possession"):
            run(o.issuer.activate("pending", actor="ops", proof=proof))
    assert run(o.issuer.activate("pending", actor="ops", proof=prove(PRIVATE))).state == "active"
    assert run(o.keys.find("pending")).usable(NOW)
    with pytest.raises(KeyConflict, match="it cannot be activated"):
        run(o.issuer.activate("pending", actor="ops", proof=prove(PRIVATE)))


def test_only_a_public_key_is_proved() -> None:
    o = office()
    id = issue(o).record.id
    with pytest.raises(ConfigError, match="only a public key takes a proof of possession"):
        drive(o.issuer.activate(id, actor="ops", proof=b""))


# expire and find


def test_keys_whose_time_is_over_are_ended_and_no_others(o: Office, run: Run) -> None:
    ids = [issue(o, expires=NOW + days * DAY).record.id for days in (1, 2, 3)]
    endless = issue(o).record.id
    drive(o.issuer.revoke(ids[0], actor="ops"))
    o.clock.at = NOW + 2 * DAY
    assert [record.id for record in run(o.issuer.expire(actor="ops"))] == [ids[1]]
    states = {id: state for id, _, state in o.stored()}
    assert states == {ids[0]: "revoked", ids[1]: "revoked", ids[2]: "active", endless: "active"}
    assert run(o.issuer.expire(actor="ops")) == []


def test_a_key_that_is_not_there_is_named_and_a_secret_is_not() -> None:
    o = office()
    with pytest.raises(ConfigError, match="there is no key 'nobody'; `tradeguard keys list` shows those there are"):
        drive(o.issuer.find("nobody"))
    secret = issue(o).secret
    assert secret is not None
    with pytest.raises(ConfigError) as error:
        drive(o.issuer.revoke(secret.reveal().decode(), actor="ops"))
    assert secret.reveal().decode() not in str(error.value)


# through a guard, in one process


def guard_over(o: Office) -> Guard:
    checks = [Signature(o.keys, (TG1,)), Freshness(), Scope(), Replay()]
    return make_guard(checks, state=o.state, runtime=o.clock)


def ask(guard: Guard, issued: Issued, run: Run) -> str:
    assert issued.secret is not None
    at = guard.runtime.now()
    decision = run(guard.admit(sign(Signer(TG1, issued.record.id, issued.secret.reveal()), at=at, arrived=at)))
    return decision.code if isinstance(decision, Denial) else "granted"


def test_what_the_issuer_does_the_next_request_meets(o: Office, run: Run) -> None:
    guard = guard_over(o)
    old = issue(o)
    id = old.record.id
    assert ask(guard, old, run) == "granted"
    drive(o.issuer.suspend(id, actor="ops"))
    assert ask(guard, old, run) == "signature.unusable"
    drive(o.issuer.resume(id, actor="ops"))
    assert ask(guard, old, run) == "granted"
    new = drive(o.issuer.rotate(id, actor="ops", overlap=DAY))
    assert [ask(guard, old, run), ask(guard, new, run)] == ["granted"] * 2
    o.clock.at += DAY - 1
    assert [ask(guard, old, run), ask(guard, new, run)] == ["granted"] * 2
    o.clock.at += 1
    assert [ask(guard, old, run), ask(guard, new, run)] == ["signature.unusable", "granted"]
    drive(o.issuer.revoke(new.record.id, actor="ops"))
    assert ask(guard, new, run) == "signature.unusable"


def test_a_revocation_in_the_middle_of_a_request_is_met_by_its_commit(o: Office, run: Run) -> None:
    """The record was read and the signature verified; then, before the commit, somebody revokes the key."""
    key = issue(o)

    class Meanwhile:
        async def __call__(self, _request: object, /) -> Denial | None:
            await o.issuer.revoke(key.record.id, actor="ops")
            return None

    checks = [Signature(o.keys, (TG1,)), Freshness(), Scope(), Replay(), Meanwhile()]
    guard = make_guard(checks, state=o.state, runtime=o.clock)
    assert ask(guard, key, run) == "signature.superseded"
    assert ask(guard, key, run) == "signature.unusable"


# the machine


class Deeds(RuleBasedStateMachine):
    """Any deeds in any order through an issuer whose journal and store fail at times."""

    keys: Bundle[str] = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.o = office(Broken(MemoryKeys()))
        self.verified: dict[str, bool] = {}

    def do(self, deed: Coroutine[Any, Any, Any], *, full: bool, down: bool) -> Any:
        o = self.o
        o.journal.full, o.keys.before = (0 if full else None), (BackendDown("down") if down else None)
        before, events = o.stored(), len(o.journal.events)
        try:
            return drive(deed)
        except BackendDown:
            assert o.stored() == before
            assert full or (down and o.journal.events[-1].code.endswith(".failed"))
        except ConfigError:
            assert o.stored() == before
            assert len(o.journal.events) == events
        finally:
            o.journal.full = o.keys.before = None

    @rule(target=keys, full=st.booleans(), down=st.booleans(), days=st.none() | st.integers(1, 5))
    def issue(self, full: bool, down: bool, days: int | None) -> Any:
        expires = None if days is None else self.o.clock.at + days * DAY
        deed = self.o.issuer.issue(actor="ops", owner="ann", scopes=["orders:read"], expires=expires)
        made = self.do(deed, full=full, down=down)
        return multiple() if made is None else made.record.id

    @rule(
        target=keys,
        id=keys,
        full=st.booleans(),
        down=st.booleans(),
        compromised=st.booleans(),
        overlap=st.integers(0, 7 * DAY),
    )
    def rotate(self, id: str, full: bool, down: bool, compromised: bool, overlap: int) -> Any:
        deed = self.o.issuer.rotate(id, actor="ops", overlap=overlap, compromised=compromised)
        made = self.do(deed, full=full, down=down)
        return multiple() if made is None else made.record.id

    @rule(id=keys, verb=st.sampled_from(["suspend", "resume", "revoke"]), full=st.booleans(), down=st.booleans())
    def change(self, id: str, verb: str, full: bool, down: bool) -> None:
        before = drive(self.o.keys.find(id))
        after = self.do(getattr(self.o.issuer, verb)(id, actor="ops"), full=full, down=down)
        if after is not None:
            assert not (verb == "resume" and full)
            assert (after.version, self.o.number(id)) == (before.version + 1, before.version)

    @rule(days=st.integers(0, 3))
    def pass_time(self, days: int) -> None:
        self.o.clock.at += days * DAY + 1
        drive(self.o.issuer.expire(actor="clock"))

    @invariant()
    def every_stored_version_is_on_record(self) -> None:
        records = drive(self.o.keys.list())
        made = sum(record.version for record in records)
        lost = 10**9 - self.o.journal.lost
        done = [event for event in self.o.journal.events if not event.code.endswith(".failed")]
        assert len(done) + lost + sum(bool(record.predecessor) for record in records) >= made

    @invariant()
    def no_number_stops_a_key_that_verifies_and_was_not_taken_from(self) -> None:
        for record in drive(self.o.keys.list()):
            assert self.o.number(record.id) <= record.version
            if record.state in ENDED:
                assert self.o.number(record.id) >= 1

    @invariant()
    def successors_and_predecessors_are_pairs(self) -> None:
        records = {record.id: record for record in drive(self.o.keys.list())}
        for record in records.values():
            assert not record.successor or records[record.successor].predecessor == record.id
            assert not record.predecessor or records[record.predecessor].successor == record.id


Deeds.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestDeeds = Deeds.TestCase
