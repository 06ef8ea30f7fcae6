"""Keys whose secret is sent along: found by name only, ended by a date, good for reads; and no secret is kept."""

import logging
import secrets
from collections.abc import Iterable
from typing import Any

import pytest
from conftest import Run
from support import BINA, NOW, OPERATIONS, SECOND, TRADER, StillClock, make_guard, make_keys, make_request, sign

from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.bearer import BEARER, Bearer, bearer_id
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.decision import Decision, Denial, Grant, Refused
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord, KeyState, key_number
from tradeguard.core.policy import Operations
from tradeguard.core.request import Request
from tradeguard.core.secret import Secret
from tradeguard.signing.bearer import BearerDigest
from tradeguard.signing.material import Hmac

TOKEN = b"tZ9-pq_0bYv7Kd3mWc5uRf1x"  # 24 characters
UNTIL = NOW + 30 * 86_400 * SECOND
MATERIAL = BearerDigest.of(TOKEN)
STATES: tuple[KeyState, ...] = ("pending", "suspended", "revoked", "compromised")


def keys(**change: Any) -> MemoryKeys:
    """The signers' keys, and one whose secret is sent along."""
    found = make_keys()
    fields: dict[str, Any] = {"id": "old", "dialect": BEARER, "material": MATERIAL, "scopes": {"orders:*"}}
    found.put_now(KeyRecord(**{**fields, **change}))
    return found


def guard(found: MemoryKeys | None = None, *, signing: bool = True, **given: Any) -> Guard:
    found = found or keys()
    parts = {name: given.pop(name) for name in ("state", "journal", "runtime", "operations") if name in given}
    bearer = Bearer(found, **{"until": UNTIL, **given})
    proofs: list[object] = [Signature(found), bearer] if signing else [bearer]
    return make_guard([Source(), *proofs, Freshness(), Network(), Scope(), Replay()], **parts)


def send(
    value: bytes = b"Bearer old." + TOKEN, method: str = "GET", target: bytes = b"/v1/orders", **other: Any
) -> Request:
    return make_request(method, target, headers=[(b"authorization", value)], **{"scheme": "https", **other})


def _code(decision: Decision) -> str:
    return "granted" if isinstance(decision, Grant) else decision.code


# --- rule 1: it ends -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("until", [None, 0, -1, True, 1.8e18, "2027-01-01"])
def test_without_an_end_date_it_cannot_be_built(until: Any) -> None:
    with pytest.raises(ConfigError, match="until when"):
        Bearer(keys(), until=until)


@pytest.mark.parametrize(("at", "code"), [(UNTIL - 1, "granted"), (UNTIL, "bearer.ended"), (UNTIL + 1, "bearer.ended")])
def test_behind_its_end_every_request_is_refused(run: Run, at: int, code: str) -> None:
    decision = run(guard(runtime=StillClock(at)).admit(send(arrived=at)))
    assert _code(decision) == code
    if isinstance(decision, Denial):
        assert (decision.status, decision.members["ended"]) == (403, "2026-12-18T11:06:40Z")


def test_its_end_is_no_news_for_strangers(run: Run) -> None:
    decision = run(guard(runtime=StillClock(UNTIL)).admit(send(b"Bearer old.wrong", arrived=UNTIL)))
    assert (decision.code, decision.public, dict(decision.members)) == ("bearer.wrong", "unauthorized", {})


def test_it_is_said_at_the_start_what_it_is_good_for_and_how_long(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tradeguard"):
        Bearer(keys(), until=UNTIL, accept="order")
        Bearer(keys(), until=UNTIL, accept="order", announce=False)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "until 2026-12-18T11:06:40Z, for order, public, read" in record.getMessage()


# --- rule 2: the lanes ---------------------------------------------------------------------------------------------

EVERY_LANE = [
    ("GET", b"/v1/time", "public"), ("GET", b"/v1/orders", "read"), ("POST", b"/v1/orders", "order"),
    ("DELETE", b"/v1/orders/7", "cancel"), ("POST", b"/v1/withdraw", "funds"), ("POST", b"/v1/keys", "admin"),
]  # fmt: skip
ROWS = {**OPERATIONS, "POST /v1/keys": {"scopes": "keys:admin", "lane": "admin"}}


@pytest.mark.parametrize(("method", "target", "lane"), EVERY_LANE)
@pytest.mark.parametrize("accept", [(), ("order",), ("cancel", "funds", "admin")])
def test_a_lane_beyond_read_is_refused_unless_it_is_named(
    run: Run, method: str, target: bytes, lane: str, accept: tuple[str, ...]
) -> None:
    found = keys(scopes={"orders:*", "funds:withdraw", "keys:admin"})
    guarded = guard(found, accept=accept, operations=Operations(ROWS))
    decision = run(guarded.admit(send(method=method, target=target)))
    assert _code(decision) == ("granted" if lane in {"public", "read", *accept} else "bearer.lane")
    if isinstance(decision, Denial):
        assert (decision.status, dict(decision.members)) == (403, {"lane": lane})


def test_a_lane_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'orders'; use some of admin, cancel"):
        Bearer(keys(), until=UNTIL, accept=("orders",))


def test_what_an_operator_accepts_with_a_lane_is_that_a_replay_is_carried_out(run: Run) -> None:
    """The guarantee is: none. This is why the lane must be named."""
    guarded = guard(accept=("order",))
    for _ in range(3):
        decision = run(guarded.admit(send(method="POST", body=b"a")))
        assert isinstance(decision, Grant)


def test_other_judges_still_decide(run: Run) -> None:
    assert _code(run(guard(keys(networks=["203.0.113.0/24"])).admit(send()))) == "network.outside"
    assert _code(run(guard(keys(scopes={"balances:read"})).admit(send()))) == "scope.missing"


def test_it_works_on_a_state_that_forgets_and_one_that_was_just_started(run: Run) -> None:
    assert _code(run(guard(state=Memory(since=NOW - 1), accept=("order",)).admit(send(method="POST")))) == "granted"


# --- rule 3: what is kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weak",
    ["", "a", "password", "1" * 38, "0123456789" * 3 + "01234567", "ab01" * 7, "0123456789abcdef" * 1, "A" * 64,
     "abc" * 30, pytest.param(secrets.token_urlsafe(32) + " ", id="random and a blank"), "Ä" * 40,
     "secret of 128 bits\n" * 3],
)  # fmt: skip
def test_a_secret_under_128_bits_is_refused_and_not_shown(weak: str) -> None:
    with pytest.raises(ConfigError, match="128") as raised:
        BearerDigest.of(weak)
    assert len(weak) < 4 or weak not in str(raised.value)


@pytest.mark.parametrize("make", [secrets.token_urlsafe, secrets.token_hex, lambda n: str(secrets.randbits(8 * n))])
def test_random_secrets_are_taken(make: Any) -> None:
    for _ in range(200):
        BearerDigest.of(make(32))
    BearerDigest.of(Secret(secrets.token_hex(16)))


def test_what_is_kept_is_a_digest_and_comes_back_from_a_store() -> None:
    kept = MATERIAL.reveal()
    assert (len(kept), TOKEN in kept) == (32, False)
    again = BearerDigest(kept)
    assert drive(again.verify(b"", TOKEN))
    assert not drive(again.verify(b"", TOKEN + b"x"))
    assert not drive(again.verify(b"", kept))  # what a thief of the table has is no secret
    assert again.fingerprint(b"salt") == MATERIAL.fingerprint(b"salt") != MATERIAL.fingerprint(b"pepper")
    assert again.fingerprint(b"salt") != Hmac(kept).fingerprint(b"salt")
    with pytest.raises(ConfigError, match="32 bytes"):
        BearerDigest(TOKEN)


def test_the_secret_and_its_digest_are_in_no_event(run: Run) -> None:
    journal = MemoryJournal()
    guarded = guard(accept=("order",), journal=journal)
    for request in (send(method="POST"), send(b"Bearer old.x" + TOKEN), send(b"Bearer " + TOKEN)):
        run(guarded.admit(request))
    text = repr(list(journal.events))
    assert TOKEN.decode() not in text
    assert MATERIAL.reveal().hex() not in text


# --- rule 4, and strangers -----------------------------------------------------------------------------------------

WRONG: list[tuple[str, bytes]] = [
    ("bearer.wrong", b"Bearer old." + TOKEN[:-1] + b"X"),
    ("bearer.wrong", b"Bearer nobody." + TOKEN),
    ("bearer.wrong", b"Bearer " + TOKEN),
    ("bearer.wrong", b"Bearer trader.0123456789abcdef0123456789abcdef"),  # the right secret of a key that signs
    ("bearer.field", b"Bearer "),
    ("bearer.field", b"Bearer old."),
    ("bearer.field", b"Bearer ." + TOKEN),
    ("bearer.field", b"Bearer old." + TOKEN + b"\xe4"),
    ("bearer.field", b"Bearer old.a b"),
    ("bearer.field", b"Bearer old." + b"a" * 600),
    ("proof.unclaimed", b"Basic b2xkOnBhc3N3b3Jk"),
    ("proof.unclaimed", b"Bearer"),
]


@pytest.mark.parametrize(("code", "value"), WRONG)
def test_strangers_are_refused_alike(run: Run, code: str, value: bytes) -> None:
    decision = run(guard().admit(send(value)))
    assert (decision.code, decision.face) == (code, Denial("signature.unknown").face)


@pytest.mark.parametrize("state", STATES)
def test_a_key_that_is_not_usable_is_a_stranger(run: Run, state: KeyState) -> None:
    decision = run(guard(keys(state=state)).admit(send()))
    assert (decision.code, decision.face) == ("bearer.unusable", Denial("signature.unknown").face)


@pytest.mark.parametrize("secret", [TOKEN, MATERIAL.reveal(), MATERIAL.reveal().hex().encode()])
def test_a_key_to_send_along_does_not_sign(run: Run, secret: bytes) -> None:
    """Neither with the secret that its holder has, nor with what a thief of the store has."""
    found = keys(material=BearerDigest.of(TOKEN), id="both")
    request = sign(type(TRADER)(TRADER.row, "both", secret))
    assert _code(run(guard(found).admit(request))) == "signature.mismatch"


@pytest.mark.parametrize("dialect", [BEARER, "tg1"])
def test_a_record_of_which_dialect_and_algorithm_do_not_fit_is_a_stranger(run: Run, dialect: str) -> None:
    material = Hmac(TOKEN) if dialect == BEARER else MATERIAL
    decision = run(guard(keys(dialect=dialect, material=material)).admit(send()))
    assert (decision.code, decision.face) == ("bearer.wrong", Denial("signature.unknown").face)
    assert decision.detail == "the key is not one to send along"


def test_the_work_is_the_same_for_any_key_or_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[bytes] = []
    verify = BearerDigest.verify

    async def counted(self: BearerDigest, message: bytes, signature: bytes) -> bool:
        done.append(signature)
        return await verify(self, message, signature)

    monkeypatch.setattr(BearerDigest, "verify", counted)
    for id in (b"old", b"nobody", b"trader"):
        done.clear()
        run(guard().admit(send(b"Bearer " + id + b"." + b"w" * 24)))
        assert done == [b"w" * 24]


def test_two_credentials_are_one_too_many(run: Run) -> None:
    headers = [*sign(TRADER).headers.raw, (b"authorization", b"Bearer old." + TOKEN)]
    assert (
        _code(run(guard().admit(make_request("GET", b"/v1/orders", headers=headers, scheme="https"))))
        == "proof.ambiguous"
    )
    twice = [(b"authorization", b"Bearer old." + TOKEN)] * 2
    assert (
        _code(run(guard().admit(make_request("GET", b"/v1/orders", headers=twice, scheme="https"))))
        == "request.repeated"
    )


def test_those_who_sign_are_not_held_to_the_end_date_or_the_lanes(run: Run) -> None:
    guarded = guard(runtime=StillClock(UNTIL + SECOND))
    request = sign(TRADER, "POST", at=UNTIL + SECOND, arrived=UNTIL + SECOND)
    assert _code(run(guarded.admit(request))) == "granted"


# --- what else is tried --------------------------------------------------------------------------------------------

VALUE = b"Bearer old." + TOKEN
SWAPPED = b"tgs_live_" + b"s" * 49


@pytest.mark.parametrize(
    "target",
    [b"/v1/orders?authorization=Bearer%20old." + TOKEN, b"/v1/orders?access_token=old." + TOKEN,
     b"/v1/orders?Authorization=" + TOKEN, b"/v1/orders?key=old&secret=" + TOKEN],
)  # fmt: skip
def test_in_the_query_it_is_none_and_it_is_not_on_record(run: Run, target: bytes) -> None:
    journal = MemoryJournal()
    request = make_request("GET", target, scheme="https")
    assert _code(run(guard(journal=journal).admit(request))) == "proof.unclaimed"
    assert TOKEN.decode() not in repr(list(journal.events))


@pytest.mark.parametrize("place", [b"cookie", b"x-api-key", b"proxy-authorization", b"tg-key"])
def test_in_another_field_it_is_none(run: Run, place: bytes) -> None:
    request = make_request("GET", b"/v1/orders", headers=[(place, b"old." + TOKEN)], scheme="https")
    assert _code(run(guard().admit(request))) in {"proof.unclaimed", "place.field"}


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("bearer.wrong", b"Bearer old." + TOKEN.swapcase()),
        ("bearer.wrong", b"Bearer OLD." + TOKEN),
        ("granted", b"BEARER old." + TOKEN),  # the scheme has no case (RFC 9110, 11.1)
        ("granted", b"Bearer   old." + TOKEN),
        ("bearer.field", b"Bearer old. " + TOKEN),
        ("bearer.field", b"Bearer old ." + TOKEN),
        ("bearer.field", VALUE + b", Bearer old." + TOKEN),
        ("bearer.field", VALUE + b","),
        ("proof.unclaimed", b"Bearer\told." + TOKEN),
        ("proof.unclaimed", b"Bearerold." + TOKEN),
        ("proof.unclaimed", b"old." + TOKEN),
        ("bearer.field", VALUE + b"\t"),
        ("frame.field", VALUE + b"\x00"),
        ("frame.field", VALUE + b"\r\nx: y"),
        ("bearer.field", VALUE + b"\x7f"),
        ("bearer.wrong", VALUE + b"A"),
        ("bearer.wrong", VALUE[:-1]),
        ("bearer.wrong", VALUE[:-1] + b"."),
    ],
)
def test_no_other_spelling_of_a_secret_passes(run: Run, code: str, value: bytes) -> None:
    assert _code(run(guard().admit(send(value)))) == code


def test_a_secret_in_the_place_of_the_id_is_not_on_record_and_not_looked_up(run: Run) -> None:
    journal = MemoryJournal()
    guarded = guard(keys(id="old"), journal=journal, header="X-Secret", key="X-Id")
    fields = [(b"x-id", SWAPPED), (b"x-secret", TOKEN)]
    assert _code(run(guarded.admit(_headers(*fields)))) == "bearer.field"
    assert SWAPPED.decode() not in repr(list(journal.events))


@pytest.mark.parametrize("value", [VALUE, b"Bearer nobody." + TOKEN, b"Bearer old." + b"w" * 24])
def test_over_plain_http_nobody_is_proved_and_all_hear_the_same(run: Run, value: bytes) -> None:
    journal = MemoryJournal()
    decision = run(guard(journal=journal).admit(send(value, scheme="http")))
    assert (decision.code, decision.status, dict(decision.members)) == ("bearer.plain", 403, {})
    assert TOKEN.decode() not in repr(list(journal.events))


@pytest.mark.parametrize("value", [VALUE + b"A", b"Bearer nobody." + TOKEN, b"Bearer ", b"bearer a b", b"Bearer old."])
def test_a_broken_one_never_falls_back_to_the_old_way(run: Run, value: bytes) -> None:
    """Also where it is the old way's own token, in the same field: name another field for ours then."""
    rows = Operations({"GET /v1/orders": {"scopes": "orders:read", "coexist": "2099-12-31"}})
    decision = run(guard(operations=rows).admit(send(value)))
    assert isinstance(decision, Denial)
    assert decision.face == Denial("signature.unknown").face
    old_way = run(guard(operations=rows, header="x-api-key").admit(send(value)))
    assert isinstance(old_way, Grant)
    assert old_way.coexists


def test_what_is_signed_may_come_over_plain_http(run: Run) -> None:
    assert _code(run(guard().admit(sign(TRADER)))) == "granted"


def test_the_secret_is_in_no_line_of_the_log(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for value in (VALUE, VALUE + b"A", b"Bearer " + TOKEN):
        for scheme in ("http", "https"):
            run(guard(until=NOW + SECOND).admit(send(value, scheme=scheme)))
    assert caplog.records
    assert TOKEN.decode() not in caplog.text


# --- where the secret stands ---------------------------------------------------------------------------------------


def _headers(*fields: tuple[bytes, bytes]) -> Request:
    return make_request("GET", b"/v1/orders", headers=fields, scheme="https")


@pytest.mark.parametrize(
    ("given", "fields", "code"),
    [
        ({"header": "X-Api-Key"}, [(b"x-api-key", b"old." + TOKEN)], "granted"),
        ({"header": "X-Api-Key"}, [(b"authorization", b"Bearer old." + TOKEN)], "proof.unclaimed"),
        ({"header": "X-Secret", "key": "X-Id"}, [(b"x-id", b"old"), (b"x-secret", TOKEN)], "granted"),
        ({"header": "X-Secret", "key": "X-Id"}, [(b"x-id", b"old")], "bearer.field"),
        ({"header": "X-Secret", "key": "X-Id"}, [(b"x-secret", TOKEN)], "bearer.field"),
        ({"header": "X-Secret", "key": "X-Id"}, [(b"x-id", b"o d"), (b"x-secret", TOKEN)], "bearer.field"),
        ({"header": "X-Secret", "key": "X-Id"}, [(b"x-id", b"old"), (b"x-secret", b"")], "bearer.field"),
        ({"key": "X-Id"}, [(b"x-id", b"old"), (b"authorization", b"bEARER  " + TOKEN)], "granted"),
    ],
)
def test_the_fields_are_those_of_the_venue(
    run: Run, given: dict[str, Any], fields: Iterable[tuple[bytes, bytes]], code: str
) -> None:
    assert _code(run(guard(**given).admit(_headers(*fields)))) == code


def test_a_secret_that_is_sent_alone_finds_its_key_by_its_digest(run: Run) -> None:
    found = keys(id=bearer_id(TOKEN))
    decision = run(guard(found).admit(send(b"Bearer " + TOKEN)))
    assert isinstance(decision, Grant)
    assert decision.principal is not None
    assert decision.principal.key_id == bearer_id(TOKEN)
    assert TOKEN.decode() not in bearer_id(TOKEN)


def test_a_bare_key_id_on_a_public_operation_is_ignored_and_a_wrong_secret_is_not(run: Run) -> None:
    guarded = guard(header="X-Secret", key="X-Id")
    bare = make_request(headers=[(b"x-id", b"old")])
    wrong = make_request(headers=[(b"x-id", b"old"), (b"x-secret", b"w" * 24)], scheme="https")
    assert _code(run(guarded.admit(bare))) == "granted"
    assert _code(run(guarded.admit(wrong))) == "bearer.wrong"


@pytest.mark.parametrize(
    ("given", "challenge"),
    [({}, 'TG1 realm="api", Bearer realm="api"'), ({"header": "x-api-key"}, 'TG1 realm="api", ApiKey realm="api"')],
)
def test_the_challenge_names_the_way(given: dict[str, Any], challenge: str) -> None:
    assert guard(**given).challenge == challenge


# --- the life of a key ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signing", [True, False])
def test_a_key_that_was_just_changed_is_refused_by_the_state(run: Run, signing: bool) -> None:
    state = Memory(since=1)
    guarded = guard(signing=signing, state=state)
    assert _code(run(guarded.admit(send()))) == "granted"
    run(state.set(key_number("old"), 1))
    assert _code(run(guarded.admit(send()))) == "signature.superseded"


def test_a_grant_does_not_outlive_its_key(run: Run) -> None:
    clock = StillClock()
    decision = run(guard(keys(expires=NOW + SECOND), runtime=clock).admit(send()))
    assert decision.recheck() is None
    clock.at = NOW + SECOND
    assert decision.recheck().code == "signature.expired"


def test_other_dialects_know_nothing_of_it(run: Run) -> None:
    request = sign(BINA, "GET", b"/v1/orders")
    check = Bearer(keys(), until=UNTIL)
    assert check.claim(request) is None
    assert run(check(request)) is None
    assert list(check.conditions(request)) == []
    with pytest.raises(Refused):
        check.claim(send(b"Bearer old."))
