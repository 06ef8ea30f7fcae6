"""The attacks by their numbers: A on the design of a guard, S on request signing. Each is run against a whole guard.

Those that do not apply yet, because what they attack is not there yet:

| attack | what it is | where its test will be |
|---|---|---|
| A15 in part | bad requests fill the disk; the byte budget of strangers is tested with the journal | tests/audit |
| A18 in part | servers that buffer, inflate or reset; the caps and deadlines of the guard are here | tests/adapters |
| A23 in part, S35 | a forgotten login leaves a socket open, a repeated text opens one; messages are here | logins |
| A27 | a deleted or cut journal still verifies | audit chain |
| A29 | fingerprints of short secrets; those of signing keys are salted: tests/signing | TOTP, card numbers |
| S12 | a forward-auth subrequest shows the method and target of the gate itself | forward-auth gate |
| S17 in part, S19 in part | a Content-Digest that nobody compares, an empty list of components | RFC 9421 |
| S29 in part | nonce windows of monotonic nonces | dialects with monotonic nonces |
| S36 | a passphrase stored plain or compared with == | dialects with a passphrase |

Those that need a server or processes of their own are elsewhere: `ELSEWHERE`.

A6, S8, S20 and S21 are also held byte by byte in tests/signing, A3 in tests/checks/test_source.py, A4 against the real
routers in tests/adapters, A13 and A23 on every host there, A26 in tests/keys/test_sealed.py and tests/halts.
"""

import hashlib
import hmac
import json
import logging
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from adapters.live_hosts import Site, make_site
from adapters.test_live import hear_the_end
from adapters.test_live import run as serve
from aiohttp import WSMsgType
from conftest import Run
from core.test_commit import Node, Shared
from halts.operators import Venue, propose, put, signed
from support import (
    BINA,
    EDWARD,
    FORM,
    HOME,
    MS,
    NOW,
    PRIVATE,
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

from tradeguard.adapters.answer import refuse
from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.halt import Halt
from tradeguard.checks.quota import Quotas
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.conditions import Outcome
from tradeguard.core.decision import UNAUTHORIZED, Decision, Denial, Grant
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError, KeyConflict
from tradeguard.core.event import Event, Written
from tradeguard.core.frame import check_frame
from tradeguard.core.guard import Guard
from tradeguard.core.halt import Mode
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.ports import Colour
from tradeguard.core.rate import Rate
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.core.secret import Secret
from tradeguard.keys.cache import CachedKeys
from tradeguard.keys.issuer import Issuer
from tradeguard.keys.possession import possession_text
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import MasterKey, MasterKeys
from tradeguard.secrets.sealer import LocalSealer
from tradeguard.signing.encoding import decode_base64url
from tradeguard.signing.material import Ed25519, Hmac
from tradeguard.signing.rows import BINANCE, TG1
from tradeguard.signing.signer import Signer
from tradeguard.signing.verifier import Verifier

PAST = 5 * SECOND
ELSEWHERE = [
    ("A22", "backends/test_redis_loss.py", "test_a_cluster_without_its_slots_is_down_and_all_keys_share_one_slot"),
    ("A28", "adapters/test_workers.py", "test_a_second_worker_on_memory_is_never_served_in_silence"),
    ("A28", "backends/test_redis.py", "test_after_a_fork_no_process_reads_what_was_meant_for_another"),
]
"""Attacks that need a server or processes of their own, with their tests."""
Fields = list[tuple[bytes, bytes]]


def _ask(run: Run, guard: Guard, request: Request) -> str:
    """Return "granted", or the code of the refusal."""
    decision: Decision = run(guard.admit(request))
    return decision.code if isinstance(decision, Denial) else "granted"


def _refused(run: Run, request: Request, guard: Guard | None = None) -> Denial:
    decision: Decision = run((guard or make_guard()).admit(request))
    assert isinstance(decision, Denial)
    return decision


def _is_401(run: Run, request: Request, guard: Guard | None = None) -> bool:
    return _refused(run, request, guard).public == UNAUTHORIZED


def _fields(request: Request, **changed: bytes | None) -> Fields:
    """The header fields of a request, some of them replaced, added or (None) left out."""
    new = {name.replace("_", "-").encode(): value for name, value in changed.items()}
    kept = [(name, value) for name, value in request.headers.raw if name not in new and name != b"content-length"]
    return kept + [(name, value) for name, value in new.items() if value is not None]


def _resend(request: Request, **changed: Any) -> Request:
    """The captured request, sent again by somebody: the same but for `changed`, and without its body."""
    body = changed.pop("body", b"")
    other = {name: changed.pop(name) for name in ("arrived", "address") if name in changed}
    method, target = changed.pop("method", request.method), changed.pop("target", request.target)
    length = [(b"content-length", b"%d" % len(body))] if body else []
    return make_request(method, target, body=body, headers=[*_fields(request, **changed), *length], **other)


def _chunked(guard: Guard, request: Request, chunks: list[bytes], pause: Callable[[], None] = lambda: None) -> Request:
    """The head of a request whose body arrives in pieces, through the guard's own reader."""
    left = list(chunks)

    async def chunk() -> tuple[bytes, bool]:
        pause()
        return left.pop(0), bool(left)

    return Request(
        id=request.id,
        method=request.method,
        target=request.target,
        path=request.path,
        peer=request.peer,
        headers=Headers(_fields(request, transfer_encoding=b"chunked")),
        arrived=request.arrived,
        body=guard.reader(chunk, request.arrived),
    )


def _order(signer: Signer = TRADER, body: bytes = b'{"side":"buy"}', **other: Any) -> Request:
    return sign(signer, "POST", b"/v1/orders", body=body, content_type=b"application/json", **other)


# === A: attacks on the design ======================================================================================


@pytest.mark.parametrize("held", [PAST - 1, PAST, PAST + 60 * SECOND])
def test_a01_held_open_replay(held: int, run: Run) -> None:
    """A1: the head of a replay is sent in time, its last byte when the nonce has been forgotten."""
    clock = StillClock()
    guard = make_guard(runtime=clock)
    body = b'{"side":"buy"}'
    order = _order(body=body)
    assert _ask(run, guard, order) == "granted"

    def wait() -> None:
        clock.at = NOW + held

    policy_allows = make_guard(
        runtime=clock, policy=Policy(body_seconds=3600.0, body_bytes_per_second=0), state=guard.state
    )
    replay = _chunked(policy_allows, order, [body[:-1], body[-1:]], wait)
    assert _ask(run, policy_allows, replay) == ("replay.seen" if held < PAST else "freshness.stale")


def test_a01_an_expiry_that_has_passed_is_never_an_accept(run: Run) -> None:
    """A1: a store that remembers "until a time that is over" remembers nothing; so it must refuse."""
    guard = make_guard()
    later = NOW + 2 * PAST
    assert _ask(run, guard, sign(READER, at=later, arrived=later)) == "granted"
    assert _ask(run, guard, _order(at=NOW, arrived=NOW + PAST - 1)) == "replay.late"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: sign(TRADER, "POST", b"/v1/withdraw"), "scope.missing"),
        (lambda: sign(HOME, "POST", b"/v1/orders", address="198.51.100.1"), "network.outside"),
        (lambda: sign(TRADER, "POST", b"/v1/orders", at=NOW + 3 * SECOND), "freshness.early"),
    ],
    ids=["scope", "network", "early"],
)
def test_a02_a_refused_order_does_not_stay_alive(make: Callable[[], Request], why: str, run: Run) -> None:
    """A2: what was refused once is used up, also where the reason for the refusal has gone."""
    guard, request = make_guard(), make()
    assert _ask(run, guard, request) == why
    for arrived in (NOW, NOW + 3 * SECOND):
        guard.runtime.at = arrived  # type: ignore[attr-defined]
        again = _resend(request, address="203.0.113.1", arrived=arrived)
        assert _ask(run, guard, again) == "replay.seen"


def test_a03_a_lockout_meets_the_attacker_and_not_the_neighbour(run: Run) -> None:
    """A3: 1,000 bad signatures from behind a NAT: most of them cost no verification, and the neighbour is heard."""
    guard, forger = make_guard(), Signer(TG1, "trader", b"x" * 16)
    codes = [_ask(run, guard, sign(forger, address="198.51.100.1")) for _ in range(1_000)]
    assert codes.count("signature.wrong") <= 21
    assert codes.count("source.pair") >= 979
    assert _ask(run, guard, sign(READER, address="198.51.100.1")) == "granted"
    assert _ask(run, guard, sign(TRADER, address="198.51.100.2")) == "granted"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/v1/market/x%2Fsecret", "/v1/market/x/secret"),
        (b"//v1/orders", "//v1/orders"),
        (b"/v1//orders", "/v1//orders"),
        (b"/v1/%77ithdraw", "/v1/withdraw"),
        (b"/v1/orders/%2e%2e/withdraw", "/v1/orders/../withdraw"),
        (b"/v1/orders/../withdraw", "/v1/orders/../withdraw"),
        (b"/v1/./orders", "/v1/./orders"),
        (b"/v1/orders;x=1", "/v1/orders;x=1"),
        (b"/v1/orders%3Bx", "/v1/orders;x"),
        (b"/v1\\orders", "/v1\\orders"),
        (b"/v1%5Corders", "/v1\\orders"),
        (b"/v1/orders%00", "/v1/orders\0"),
        (b"/v1/orders%2500", "/v1/orders%00"),
        (b"/v1/orders/%FF", "/v1/orders/\udcff"),
        (b"/v1/orders", "/v1/withdraw"),
        (b"http://api.example/v1/orders", "/v1/orders"),
        (b"*", "*"),
    ],
)
def test_a04_a_path_that_map_and_router_could_read_differently(target: bytes, path: str, run: Run) -> None:
    """A4: each is signed properly, and refused as malformed before anybody is asked."""
    for method in ("GET", "POST"):
        assert _refused(run, sign(TRADER, method, target, path=path)).status == 400


def test_a04_overlapping_rows_that_ask_for_different_things_are_refused() -> None:
    """A4: two rows that match one path."""
    with pytest.raises(ConfigError, match="match the same paths"):
        Operations({"POST /v1/{what}/new": "orders:write", "POST /v1/orders/{what}": "orders:read"})


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "post", "Post", "PO ST", "", "POST\r\nX", "ΡOST"])
def test_a05_methods_that_never_reach_a_handler(method: str, run: Run) -> None:
    """A5: a view that does not look at its method would place the order."""
    request = _order()
    request.method = method
    assert _refused(run, request).status in (400, 401, 501)
    signed = sign(TRADER, "OPTIONS", b"/v1/orders")
    assert _ask(run, make_guard(), signed) == "guard.unmapped"


def test_a06_boundary_shift_between_id_and_body(run: Run) -> None:
    """A6: `DELETE /orders/1234` and `DELETE /orders/12` + body `34`; `?amount=10` and `?amount=1` + body `0`."""
    for signer in (TRADER, BINA):
        cancel = sign(signer, "DELETE", b"/v1/orders/1234")
        shifted = cancel.target.replace(b"1234", b"12")
        assert _is_401(run, _resend(cancel, target=shifted, body=b"34"))
        order = sign(signer, "POST", b"/v1/orders?amount=10")
        shifted = order.target.replace(b"amount=10", b"amount=1")
        assert _is_401(run, _resend(order, target=shifted, body=b"0", content_type=FORM))


def test_a06_boundary_shift_between_window_and_text(run: Run) -> None:
    """A6: window `5000` + text `category=x` as window `500` + text `0category=x`."""
    read = sign(BINA, "GET", b"/v1/orders?recvWindow=5000&category=x")
    assert _is_401(run, _resend(read, target=read.target.replace(b"5000&category", b"500&0category")))


def test_a07_a_text_that_two_dialects_read(run: Run) -> None:
    """A7: a `tg1` request can be signed so that its signed text is a valid `binance` form. The key has one dialect."""
    target = b"/v1/orders?x&timestamp=%d&y" % (NOW // MS)
    captured = sign(TRADER, "GET", target)
    claim = Verifier(TG1).claim(captured)
    assert claim is not None
    check_frame(captured, Policy())
    text = Verifier(TG1).read(captured, claim, b"").message
    mac = decode_base64url(captured.headers.one(b"tg-signature") or b"") or b""
    form = text + b"&signature=" + mac.hex().encode()

    def crossed(key: bytes) -> Request:
        headers = [(b"x-mbx-apikey", key), (b"content-type", FORM)]
        return make_request("POST", b"/v1/orders", body=form, headers=headers)

    assert _refused(run, crossed(b"trader")).code == "signature.mismatch"
    twin = KeyRecord(id="twin", dialect="binance", material=Hmac(SECRET), scopes={"orders:write"})
    keys = make_keys()
    with pytest.raises(ConfigError, match="has the secret of key trader"):
        keys.put_now(twin)
    checks = [Signature(MemoryKeys([twin]), dialects=(TG1, BINANCE), accept="binance"), Freshness(), Scope(), Replay()]
    assert _ask(run, make_guard(checks), crossed(b"twin")) == "granted"  # what the refusal above is for


@pytest.mark.parametrize("signer", [TRADER, EDWARD, BINA], ids=lambda signer: signer.key_id)
def test_a07_every_capture_offered_to_every_row(signer: Signer, run: Run) -> None:
    """A7: the same key id, time and signature under the field names of the other dialect."""
    captured = sign(signer, "GET", b"/v1/orders?a=1")
    key = signer.key_id.encode()
    if signer is BINA:
        mac = captured.target.rpartition(b"=")[2]
        for signature in (mac, b"A" * 43):
            fields = [
                (b"tg-key", key),
                (b"tg-time", b"%d" % (NOW // MS)),
                (b"tg-nonce", b"n" * 16),
                (b"tg-signature", signature),
            ]
            assert _is_401(run, make_request("GET", captured.target, headers=fields))
    else:
        raw = decode_base64url(captured.headers.one(b"tg-signature") or b"") or b""
        for signature in (raw.hex().encode(), raw[:32].hex().encode(), captured.headers.one(b"tg-signature") or b""):
            target = b"/v1/orders?a=1&timestamp=%d&signature=%s" % (NOW // MS, signature)
            assert _is_401(run, make_request("GET", target, headers=[(b"x-mbx-apikey", key)]))


def test_a08_a_replay_key_that_cannot_be_respelled(run: Run) -> None:
    """A8: padding, unused bits, capital hex, other alphabets: one signature, many texts, one of them accepted."""
    guard, order, legacy = make_guard(), _order(), sign(BINA, "POST", b"/v1/orders")
    assert _ask(run, guard, order) == _ask(run, guard, legacy) == "granted"
    signature = order.headers.one(b"tg-signature") or b""
    body = b'{"side":"buy"}'
    for text in (signature + b"=", signature[:-1] + bytes([signature[-1] + 1]), signature.swapcase(), b" " + signature):
        assert _ask(run, guard, _resend(order, body=body, tg_signature=text)) in ("place.field", "signature.wrong")
    text, mac = legacy.target[:-64], legacy.target[-64:]
    for spelled in (mac.upper(), mac[:-1] + b"%%%02x" % mac[-1], mac + b"&", mac + b"%20", b"0x" + mac):
        assert _ask(run, guard, _resend(legacy, target=text + spelled)) == "place.field"
    assert _ask(run, guard, _resend(order, body=body)) == _ask(run, guard, _resend(legacy)) == "replay.seen"


def test_a08_equal_reads_of_one_millisecond_are_honest(run: Run) -> None:
    """A8, the converse: two equal reads without a nonce."""
    guard, read = make_guard(), sign(BINA, "GET", b"/v1/orders")
    assert [_ask(run, guard, _resend(read)) for _ in range(5)] == ["granted"] * 5


def test_a09_bad_keys_are_refused_where_they_are_made() -> None:
    """A9: an empty or short secret, a point of small order, a secret given to a second, wider key."""
    for secret in (b"", b"\0" * 15, "short"):
        with pytest.raises(ConfigError):
            Hmac(secret)
    with pytest.raises(ConfigError):
        Ed25519(b"\1" + bytes(31))
    with pytest.raises(ConfigError, match="has the secret of key reader"):
        make_keys().put_now(KeyRecord(id="wide", dialect="tg1", material=Hmac(b"reader" * 5), scopes={"orders:*"}))


@pytest.mark.parametrize("padding", [1, 22], ids=["one zero", "to the block size"])
def test_a09_a_padded_secret_is_the_same_secret(padding: int) -> None:
    """A9: HMAC fills its key with zeros, so a secret with zeros behind it lifts the captures of the first key."""
    keys, secret = make_keys(), b"binance-secret" * 3 + bytes(padding)
    wide = KeyRecord(id="wide", dialect="binance", material=Hmac(secret), scopes={"funds:withdraw", "orders:*"})
    with pytest.raises(ConfigError, match="has the secret of key bina"):
        keys.put_now(wide)


def test_a10_lanes_cannot_be_widened(run: Run) -> None:
    """A10: the lanes of cancels, funds and administration are declared on exact rows, and funds are on record first."""
    for lane in ("cancel", "funds", "admin", "public"):
        with pytest.raises(ConfigError, match="exact paths"):
            Operations({"POST /v1/**": {"scopes": () if lane == "public" else "orders:cancel", "lane": lane}})
    journal = MemoryJournal()
    keys = MemoryKeys([KeyRecord(id="trader", dialect="tg1", material=Hmac(SECRET), scopes={"funds:withdraw"})])
    guard = make_guard(make_checks(keys), journal=journal)
    assert _ask(run, guard, sign(TRADER, "POST", b"/v1/withdraw")) == "granted"
    assert [(event.kind, event.lane) for event in journal.events] == [("intent", "funds")]


def test_a11_a_store_that_forgot_refuses_first(run: Run) -> None:
    """A11: the store is flushed or an old copy takes over while the node runs."""
    state = Memory(since=1)
    guard, order = make_guard(state=state), sign(TRADER, "POST", b"/v1/orders")
    assert _ask(run, guard, order) == "granted"
    vars(state).update(vars(Memory(since=1)))
    denial = _refused(run, sign(TRADER, "POST", b"/v1/orders"), guard)
    assert (denial.code, denial.status, denial.executed) == ("commit.behind", 503, False)
    denial = _refused(run, _resend(order), guard)
    assert (denial.code, denial.status, denial.executed) == ("commit.barrier", 503, "unknown")


class Failing(Memory):
    """State whose answer never comes."""

    def __init__(self, error: Exception) -> None:
        super().__init__(since=1)
        self.error = error

    async def commit(self, conditions: Any, *rest: Any, **more: Any) -> Outcome:
        await super().commit(conditions, *rest, **more)
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "executed"),
    [
        (BackendDown("no answer", unknown=True), "commit.unsure", "unknown"),
        (RuntimeError("a bug"), "commit.unsure", "unknown"),
        (BackendDown("no connection"), "outage.down", False),
    ],
    ids=["no answer", "a bug", "no connection"],
)
def test_a12_an_unknown_outcome_says_unknown(error: Exception, code: str, executed: object, run: Run) -> None:
    """A12: the commit is in doubt; a client that is told "not executed" would sign a second order."""
    denial = _refused(run, sign(TRADER, "POST", b"/v1/orders"), make_guard(state=Failing(error)))
    assert (denial.code, denial.status, denial.executed) == (code, 503, executed)


def test_a12_a_retry_is_led_to_the_first_request(run: Run) -> None:
    """A12: the handler failed with a 500 and the client retries: a constant 401 would make it sign again."""
    guard, order = make_guard(), sign(TRADER, "POST", b"/v1/orders")
    assert _ask(run, guard, order) == "granted"
    guard.finish(order, 500)
    denial = _refused(run, _resend(order), guard)
    answer = json.loads(refuse(denial, "0" * 32, challenge="").body)
    assert (answer["status"], answer["executed"], answer["first_request_id"]) == (409, "unknown", order.id)


def test_a12_a_retry_after_a_crash_is_not_told_that_nothing_happened(run: Run) -> None:
    """A12: the process died after the first copy was handed on; what the barrier refuses may have been executed."""
    order = sign(TRADER, "POST", b"/v1/orders")
    assert _ask(run, make_guard(), order) == "granted"
    restarted = make_guard(state=Memory(since=NOW + SECOND), runtime=StillClock(NOW + SECOND))
    denial = _refused(run, _resend(order, arrived=NOW + SECOND), restarted)
    assert (denial.code, denial.executed) == ("commit.barrier", "unknown")


def test_a13_a_grant_that_waited_is_asked_again(run: Run) -> None:
    """A13: an order stands in a queue while its key expires."""
    record = KeyRecord(id="trader", dialect="tg1", material=Hmac(SECRET), scopes={"orders:write"}, expires=NOW + SECOND)
    guard = make_guard(make_checks(MemoryKeys([record])))
    grant: Grant = run(guard.admit(sign(TRADER, "POST", b"/v1/orders")))
    assert grant.recheck() is None
    guard.runtime.at = NOW + SECOND  # type: ignore[attr-defined]
    denial = grant.recheck()
    assert denial is not None
    assert denial.code == "signature.expired"


def test_a13_a_grant_does_not_outlive_a_revocation(run: Run) -> None:
    """A13: an order stands in a queue while its key is revoked, here or on another node of the same store."""
    now = [10**12]
    for elsewhere in (False, True):
        store = make_keys()
        here, there = (CachedKeys(store, clock=lambda: now[0]) for _ in range(2))
        guard = make_guard([Signature(here), Freshness(), Scope(), Replay()])
        grant: Grant = run(guard.admit(sign(TRADER, "POST", b"/v1/orders")))
        assert grant.recheck() is None
        record = run(store.find("trader"))
        run((there if elsewhere else here).put([replace(record, state="revoked", version=2)]))
        now[0] += 250 * MS if elsewhere else 0
        denial = grant.recheck()
        assert denial is not None
        assert denial.code == "signature.revoked"


def test_a13_an_order_that_waited_while_a_halt_was_armed_is_not_handed_on() -> None:
    """A13: it stands in a pool; the receipt of the halt counts it, and it does not execute afterwards."""
    venue, order = Venue(), sign(TRADER, "POST", b"/v1/orders")
    guard = venue.guard()
    grant = drive(guard.admit(order))
    assert isinstance(grant, Grant)
    assert grant.recheck() is None
    record = signed(drive(venue.switch.propose("venue", Mode.NO_NEW)), "olga")
    drive(venue.switch.put(record, actor="olga"))
    drive(venue.halts.step())
    assert not drive(venue.switch.receipt(record)).done
    denial = grant.recheck()
    assert denial is not None
    assert denial.code == "halt.no_new"
    guard.finish(order, 503)
    drive(venue.halts.step())
    assert drive(venue.switch.receipt(record)).done


@pytest.mark.parametrize("name", ["hypercorn", "aiohttp"])
def test_a13_a_stream_does_not_outlive_its_key(name: str) -> None:
    """A13: it is open, and idle, when its key is revoked."""

    async def test(site: Site) -> None:
        socket, other = await site.open("/v1/echo"), await site.open("/v1/echo", READER)
        site.revoke()
        assert await hear_the_end(socket) == (1008, "signature.revoked")
        await other.send_str("still here")
        assert (await other.receive()).data == "still here"
        await other.close()

    serve(name, test)


class Full(MemoryJournal):
    """A journal whose disk is full."""

    def append(self, event: Event, /) -> Written:
        super().append(event)
        return Written(BackendDown("disk full"))


def test_a14_no_order_without_a_record(run: Run) -> None:
    """A14: the event comes before the handler, or the order does not."""
    journal = MemoryJournal()
    order = sign(TRADER, "POST", b"/v1/orders")
    assert _ask(run, make_guard(journal=journal), order) == "granted"
    assert [(event.kind, event.request_id) for event in journal.events] == [("intent", order.id)]
    assert _ask(run, make_guard(journal=Full()), sign(TRADER, "POST", b"/v1/orders")) == "record.unrecorded"
    for request in (sign(TRADER), sign(TRADER, "DELETE", b"/v1/orders/1")):
        assert _ask(run, make_guard(journal=Full()), request) == "granted"  # a trader can always reduce risk


def test_a15_what_a_stranger_causes_is_marked_and_small(run: Run) -> None:
    """A15: anonymous requests with large heads: their lines are marked as unproven and are short."""
    journal = MemoryJournal()
    guard = make_guard(journal=journal)
    headers = [(b"x-request-id", b"i" * 4_000), (b"traceparent", b"t" * 4_000), (b"tg-key", b"k" * 128)]
    for request in (
        make_request("GET", b"/v1/" + b"a" * 4_000, headers=headers),
        make_request("Q" * 4_000, headers=headers),
        make_request(
            "GET", b"/v1/orders", headers=[*headers, (b"tg-time", b"9" * 5_000), (b"tg-signature", b"A" * 9_000)]
        ),
    ):
        assert isinstance(run(guard.admit(request)), Denial)
    assert len(journal.events) == 3
    for event in journal.events:
        assert event.proven is False
        assert sum(len(str(part)) for part in event) < 1_024


def test_a16_a_replay_is_no_evidence_against_the_key(run: Run) -> None:
    """A16: somebody sends one logged request a thousand times; the key works on, here and elsewhere."""
    guard, order = make_guard(), sign(TRADER, "POST", b"/v1/orders")
    assert _ask(run, guard, order) == "granted"
    assert {_ask(run, guard, _resend(order, address="198.51.100.1")) for _ in range(1_000)} == {"replay.seen"}
    assert _ask(run, guard, sign(TRADER, address="198.51.100.1")) == "granted"
    assert _ask(run, guard, sign(TRADER)) == "granted"


class Noted:
    """Keys that note when they are asked."""

    colour: Colour = "instant"

    def __init__(self, log: list[str]) -> None:
        self.keys, self.log = make_keys(), log

    async def find(self, id: str, /) -> KeyRecord | None:
        self.log.append(f"find {id}")
        return await self.keys.find(id)


@pytest.mark.parametrize("key", ["trader", "nobody", "bina", "edward"])
def test_a17_a_held_body_is_no_oracle(key: str, run: Run) -> None:
    """A17: whoever is claimed, every byte of the body is awaited before the key is looked up."""
    log: list[str] = []
    guard = make_guard(make_checks(Noted(log)))  # type: ignore[arg-type]
    request = _chunked(guard, _order(Signer(TG1, key, SECRET)), [b"{", b"}"], lambda: log.append("chunk"))
    run(guard.admit(request))
    assert log == ["chunk", "chunk", f"find {key}"]


def test_a18_slow_large_and_encoded_bodies_end(run: Run) -> None:
    """A18: each within its limit, before any proof, and the bytes are given back."""
    clock = StillClock()
    guard = make_guard(runtime=clock, policy=Policy(body_bytes=1_000, body_seconds=10, unproven_bytes=1_500))

    def drip() -> None:
        clock.at += 4 * SECOND

    assert _ask(run, guard, _chunked(guard, _order(), [b"x"] * 4, drip)) == "body.slow"
    assert _ask(run, guard, _chunked(guard, _order(arrived=clock.at), [b"x" * 600] * 2)) == "body.large"
    assert _ask(run, guard, _resend(_order(), content_length=b"1001")) == "frame.body"
    assert _ask(run, guard, _resend(_order(), content_encoding=b"gzip", body=b"x")) == "frame.encoded"


def test_a18_the_budget_of_unproven_bytes_is_shared_and_given_back(run: Run) -> None:
    """A18: many bodies at once: what one request holds, another cannot have."""
    guard = make_guard(policy=Policy(body_bytes=1_000, unproven_bytes=1_000))
    pieces, codes = 0, list[str]()

    def meanwhile() -> None:
        nonlocal pieces
        pieces += 1
        if pieces == 2:  # the first 600 bytes are held
            codes.append(_ask(drive, guard, _chunked(guard, _order(), [b"y" * 600])))

    codes.append(_ask(run, guard, _chunked(guard, _order(), [b"x" * 600, b""], meanwhile)))
    codes.append(_ask(run, guard, _chunked(guard, _order(), [b"y" * 600])))
    assert codes == ["body.budget", "signature.wrong", "signature.wrong"]


def test_a19_cancels_pass_when_the_nonce_store_is_full(run: Run) -> None:
    """A19: a key has filled its room with orders and must be able to take them back."""
    guard = make_guard(state=Memory(since=1, capacity=100, per_key=50))
    codes = [_ask(run, guard, sign(TRADER, "POST", b"/v1/orders")) for _ in range(60)]
    assert codes.count("granted") == 45
    assert codes[-1] == "replay.full"
    assert [_ask(run, guard, sign(TRADER, "DELETE", b"/v1/orders/1")) for _ in range(5)] == ["granted"] * 5


def test_a19_cancels_have_a_rate_of_their_own_and_pass_a_halt() -> None:
    """A19: orders use up all there is, cancels flood, trading is halted: positions can be closed."""
    venue = Venue()
    quotas = Quotas({"orders": Rate("3/minute", lanes=["order"]), "cancels": Rate("4/minute", lanes=["cancel"])})
    checks = [*make_checks(venue.keys), Halt(venue.halts), quotas]
    guard = make_guard(checks, state=venue.state, runtime=venue.clock)

    def asked(times: int, method: str, target: bytes, signer: Signer = TRADER) -> list[str]:
        return [_ask(drive, guard, sign(signer, method, target)) for _ in range(times)]

    assert asked(4, "POST", b"/v1/orders") == ["granted"] * 3 + ["quota.exceeded"]
    assert asked(5, "DELETE", b"/v1/orders/1") == ["granted"] * 4 + ["quota.exceeded"]
    assert asked(9, "GET", b"/v1/orders") == ["granted"] * 9
    put(venue.state, signed(propose(), "olga"))
    assert asked(1, "POST", b"/v1/orders", EDWARD) == ["halt.no_new"]
    assert asked(4, "DELETE", b"/v1/orders/1", EDWARD) == ["granted"] * 4


def test_a19_one_operator_alone_does_not_stop_cancels() -> None:
    """A19: BLOCKED without an end takes two owners; one of them, or two keys of his, store nothing."""
    venue = Venue()
    guard = venue.guard()
    for signers in (("olga",), ("olga", "olga-2")):
        with pytest.raises(ConfigError):
            drive(venue.switch.put(signed(propose(mode=Mode.BLOCKED), *signers), actor="olga"))
    assert _ask(drive, guard, sign(TRADER, "DELETE", b"/v1/orders/1")) == "granted"
    drive(venue.switch.put(signed(propose(mode=Mode.BLOCKED), "olga", "omar"), actor="olga"))
    assert _ask(drive, guard, sign(TRADER, "DELETE", b"/v1/orders/1")) == "halt.blocked"


def test_a19_cancels_pass_while_the_store_is_lost(run: Run) -> None:
    """A19: each node settles reads and cancels by itself; what opens a position waits for the store."""
    node = Node(run, Shared())
    node.lose()
    assert node.ask("DELETE", b"/v1/orders/1") == node.ask("GET", b"/v1/orders") == ""
    assert node.ask("POST", b"/v1/orders") == "commit.lost"


def test_a20_place_and_cancel_gives_nothing_back_and_a_fill_does_once(run: Run) -> None:
    """A20: orders are placed and cancelled in a loop, and one fill is told again and again."""
    guard = make_guard([*make_checks(), Quotas({"orders": Rate("3/minute", lanes=["order"])})])
    grants: list[Grant] = []
    for number in range(10):
        decision = run(guard.admit(_order()))
        grants += [decision] if isinstance(decision, Grant) else []
        assert _ask(run, guard, sign(TRADER, "DELETE", b"/v1/orders/%d" % number)) == "granted"
    assert len(grants) == 3
    assert [run(guard.refund(grants[0].receipt, "o-1")) for _ in range(5)] == [True, False, False, False, False]
    assert [_ask(run, guard, _order()) for _ in range(2)] == ["granted", "quota.exceeded"]


def test_a21_no_key_uses_up_what_others_have_or_sees_what_they_do(run: Run) -> None:
    """A21: one key asks without end; its siblings are served, and RateLimit fields tell of one's own counts only."""
    rates: dict[str, Rate | str] = {"requests": "5/minute", "all": Rate("20/minute", by="venue")}
    guard = make_guard([*make_checks(), Quotas(rates)])
    assert [_ask(run, guard, sign(TRADER)) for _ in range(50)].count("granted") == 5
    last = sign(EDWARD)
    assert [_ask(run, guard, request) for request in [*(sign(EDWARD) for _ in range(4)), last]] == ["granted"] * 5
    told = dict(last.fields)[b"ratelimit"]
    assert b"requests" in told
    assert b"all" not in told


def test_a21_a_store_that_comes_and_goes_renews_no_shares(run: Run) -> None:
    """A21: three nodes lose the store three times; together they grant less than the quota of one window."""
    shared = Shared()
    nodes = [Node(run, shared, nodes=3, checks=[Quotas({"requests": "10/hour"})]) for _ in range(3)]
    granted = 0
    for _ in range(3):
        for node in nodes:
            node.lose()
            granted += sum(not node.ask() for _ in range(12))
        shared.lost = None
        for node in nodes:
            node.breaker.answered(node.clock.at)
    assert granted == 9


@pytest.mark.parametrize("name", ["hypercorn", "aiohttp"])
def test_a23_a_granted_handshake_carries_no_message_past_the_guard(name: str) -> None:
    """A23: each message is a request: on record before it is handed on, counted, refused once its key is revoked."""

    async def test(site: Site) -> None:
        socket = await site.open("/v1/trade")
        for text in ("buy", "sell"):
            await socket.send_str(text)
            assert (await socket.receive()).data == text
        assert len(await site.events("intent", 3)) == 3
        await socket.send_str("one too many")
        assert await _next(socket) == (1008, "quota.exceeded")
        other = await site.open("/v1/echo", READER)
        site.revoke("reader")
        await other.send_str("after the revocation")
        assert await _next(other) == (1008, "signature.revoked")

    serve(name, test, make_site([Quotas({"messages": Rate("2/hour", messages=True)})]))


async def _next(socket: Any) -> tuple[int, str]:
    """What comes next is the end: nothing was handed on."""
    message = await socket.receive()
    assert message.type is WSMsgType.CLOSE, message
    return message.data, message.extra


@pytest.mark.parametrize("signers", [(), ("olga",), ("olga", "olga-2"), ("olga", "trader")], ids="-".join)
def test_a26_a_writer_of_the_store_does_not_lift_a_halt(signers: tuple[str, ...]) -> None:
    """A26: whoever may write to the store puts a lift there without two owners' signatures, or erases the halt."""
    venue = Venue()
    guard = venue.guard()
    put(venue.state, signed(propose(), "olga"))
    assert venue.look()
    put(venue.state, signed(propose(mode=Mode.ACTIVE, number=NOW + 1), *signers))
    for erase in (False, True):
        if erase:
            drive(venue.state.set("halt:venue", 0))
        venue.look()
        assert _ask(drive, guard, sign(TRADER, "POST", b"/v1/orders")) == "halt.no_new"
    put(venue.state, signed(propose(mode=Mode.ACTIVE, number=NOW + 2), "olga", "omar"))
    venue.look()
    assert _ask(drive, guard, sign(TRADER, "POST", b"/v1/orders")) == "granted"


class StolenFile:
    """A file of sealed keys, a guard over it, and somebody who can write to the file past the library."""

    def __init__(self, path: Path) -> None:
        self.path, self.state = path, Memory(since=1)
        keys = [MasterKey(Secret(b"m" * 32))]
        self.keys = SealedKeys(SQLiteKeys(path, busy=5.0), LocalSealer(MasterKeys(keys)))
        self.issuer = Issuer(self.keys, MemoryJournal(), state=self.state, runtime=StillClock())
        self.guard = make_guard([Signature(self.keys), Freshness(), Scope(), Replay()], state=self.state)
        self.issued = drive(self.issuer.issue(actor="ops", owner="ann", scopes=["orders:read"]))

    def write(self, statement: str, *values: object) -> list[Any]:
        with sqlite3.connect(self.path) as database:
            rows = database.execute(statement, values).fetchall()
        database.close()
        return rows

    def request(self, method: str = "GET") -> Request:
        assert self.issued.secret is not None
        return sign(Signer(TG1, self.issued.record.id, self.issued.secret.reveal()), method, b"/v1/orders")


@pytest.fixture
def stolen(tmp_path: Path) -> Iterator[StolenFile]:
    made = StolenFile(tmp_path / "keys.db")
    yield made
    made.keys.close()


def test_a26_a_writer_of_the_database_does_not_widen_a_key(
    stolen: StolenFile, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A26: the row says in plain text what the key may do; whoever changes it makes the key unknown."""
    assert _ask(run, stolen.guard, stolen.request("POST")) == "scope.missing"
    [(fields,)] = stolen.write("SELECT fields FROM key")
    wider = fields.replace(b"orders:read", b"orders:write")
    assert wider != fields
    stolen.write("UPDATE key SET fields = ?", wider)
    assert _is_401(run, stolen.request("POST"), stolen.guard)
    assert _ask(run, stolen.guard, stolen.request()) == "signature.unknown"
    assert "is refused: its row was changed" in caplog.text
    stolen.write("UPDATE key SET fields = ?", fields)
    assert _ask(run, stolen.guard, stolen.request()) == "granted"


def test_a26_an_old_row_brought_back_is_refused(stolen: StolenFile, run: Run) -> None:
    """A26: the key was revoked, and its row of before is whole and verifies: the number in the state does not."""
    [row] = stolen.write("SELECT version, fields, sealed, mac FROM key")
    run(stolen.issuer.revoke(stolen.issued.record.id, actor="ops"))
    assert _ask(run, stolen.guard, stolen.request()) == "signature.unusable"
    stolen.write("UPDATE key SET version = ?, fields = ?, sealed = ?, mac = ?", *row)
    denial = _refused(run, stolen.request(), stolen.guard)
    assert (denial.code, denial.executed) == ("signature.superseded", False)


def test_a26_a_key_is_not_taken_over_by_another_ones_secret(stolen: StolenFile, run: Run) -> None:
    """A26: the holder of one key writes the sealed part of its row into the row of a wider one."""
    mine = stolen.issued
    wide = run(stolen.issuer.issue(actor="ops", owner="bob", scopes=["orders:write"])).record.id
    [(sealed,)] = stolen.write("SELECT sealed FROM key WHERE id = ?", mine.record.id)
    stolen.write("UPDATE key SET sealed = ? WHERE id = ?", sealed, wide)
    assert mine.secret is not None
    assert _is_401(run, sign(Signer(TG1, wide, mine.secret.reveal()), "POST", b"/v1/orders"), stolen.guard)


def test_a26_a_thief_of_the_file_finds_nothing_that_signs(stolen: StolenFile, tmp_path: Path) -> None:
    """A26: every byte of the files is searched for the secret, in the forms it is known by."""
    stolen.keys.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert stolen.issued.secret is not None
    secret = stolen.issued.secret.reveal()
    assert stolen.issued.record.id.encode() in content
    for form in (secret, secret[9:], secret.hex().encode(), hashlib.sha256(secret).digest()):
        assert form not in content


@pytest.mark.parametrize("padding", [0, 1])
def test_a09_a_secret_is_not_imported_under_a_second_key(stolen: StolenFile, padding: int) -> None:
    """A9: the captures of the first key would verify as the second, wider one's; also where both are sealed."""
    assert stolen.issued.secret is not None
    material = Hmac(stolen.issued.secret.reveal() + bytes(padding))
    wide = KeyRecord(id="wide", dialect="tg1", material=material, scopes={"orders:*"}, owner="eve")
    with pytest.raises(KeyConflict, match="has the secret of key"):
        drive(stolen.issuer.import_keys([wide], actor="eve"))
    assert drive(stolen.keys.find("wide")) is None


def test_a09_a_foreign_public_key_is_not_taken_without_proof(stolen: StolenFile) -> None:
    """A9: somebody registers another one's public key as a key of their own, and their captures with it."""
    public = PRIVATE.public_key().public_bytes_raw()
    copied = PRIVATE.sign(possession_text("ann", public))  # made by the holder, for the holder
    for proof in (b"", copied):
        with pytest.raises(ConfigError, match="the proof of possession does not hold"):
            drive(
                stolen.issuer.issue(
                    actor="ops", owner="eve", scopes=["orders:*"], algorithm="ed25519", public_key=public, proof=proof
                )
            )


def test_a_flood_of_made_up_keys_costs_no_key_its_place(run: Run) -> None:
    """Strangers fill what is remembered of unknown keys; who is known is found without asking the store."""
    store = make_keys()
    asked: list[str] = []

    class Noted(MemoryKeys):
        async def find(self, id: str, /) -> KeyRecord | None:
            asked.append(id)
            return await store.find(id)

    cache = CachedKeys(Noted(), clock=lambda: 10**12)
    guard = make_guard([Signature(cache), Freshness(), Scope(), Replay()])
    assert _ask(run, guard, sign(TRADER)) == "granted"
    for number in range(500):
        assert _ask(run, guard, sign(Signer(TG1, f"made-up-{number}", SECRET))) == "signature.unknown"
    for number in range(20_000):
        assert drive(cache.find(f"more-{number}")) is None
    assert len(cache) < 20_000
    asked.clear()
    assert _ask(run, guard, sign(TRADER)) == "granted"
    assert asked == []


@pytest.mark.parametrize("address", [None, "2001:db8::1%eth0", "unix:", "203.0.113.9, 198.51.100.1"])
def test_a24_an_unknown_address_matches_no_list(address: str | None, run: Run) -> None:
    """A24: a unix socket, a zone, a forwarding header that a server put in place of the address."""
    assert _ask(run, make_guard(), sign(HOME, "POST", b"/v1/orders", address=address)) == "network.outside"
    rewritten = sign(HOME, "POST", b"/v1/orders")
    rewritten.peer = Peer(None, rewritten="203.0.113.9")
    assert _ask(run, make_guard(), rewritten) == "network.outside"


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "x_real_ip", "cf_connecting_ip"])
def test_a24_no_forwarding_header_is_believed(header: str, run: Run) -> None:
    """A24: the client names its own address."""
    request = sign(HOME, "POST", b"/v1/orders")
    claimed = _resend(request, address="198.51.100.1", **{header: b"203.0.113.9"})
    assert _ask(run, make_guard(), claimed) == "network.outside"


@pytest.mark.parametrize("field", ["tg-key", "tg-time", "tg-nonce", "tg-signature"])
def test_a24_two_fields_joined_with_a_comma(field: str, run: Run) -> None:
    """A24: WSGI joins a field that stands twice into one."""
    request = sign(TRADER)
    value = request.headers.one(field.encode()) or b""
    for joined in (value + b"," + value, value + b", " + value):
        assert _is_401(run, _resend(request, **{field.replace("-", "_"): joined}))


def test_a25_no_guard_without_a_proof_and_no_second_principal(run: Run) -> None:
    """A25: a guard without Signature would grant everybody; a later check would change who is asking."""
    with pytest.raises(ConfigError, match="Signature"):
        make_guard([check for check in make_checks() if not isinstance(check, Signature)])

    class Usurper:
        name = "usurper"

        async def __call__(self, request: Request, /) -> Denial | None:
            assert request.credential is not None
            assert request.principal is not None
            request.prove(request.credential, request.principal._replace(account="another"))
            return None

    request = sign(TRADER)
    denial = _refused(run, request, make_guard([*make_checks(), Usurper()]))
    assert (denial.code, denial.status, denial.detail) == ("outage.fault", 503, "Usurper: AttributeError")
    assert request.principal is not None
    assert request.principal.account == "acme"


# === S: attacks on request signing =================================================================================


def _calls(work: Callable[[], object]) -> list[str]:
    """The built-in functions that some work calls, as the interpreter's profiler sees them."""
    names: list[str] = []

    def note(_frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            names.append(arg.__name__)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return names


def test_s01_signatures_are_compared_in_constant_time(run: Run) -> None:
    """S1: `==` on MACs. The comparison that the interpreter sees is hmac.compare_digest."""
    guard, request = make_guard(), sign(TRADER)
    calls = _calls(lambda: run(guard.admit(request)))
    assert calls.count("compare_digest") == 1
    assert "a2b_base64" in calls


def test_s02_a_signature_that_is_no_ascii_is_no_outage(run: Run) -> None:
    """S2: compare_digest raises a TypeError on such text."""
    for value in ("é".encode() * 16, b"\xff" * 43, "\u212a".encode() * 14 + b"A"):
        assert _is_401(run, _resend(sign(TRADER), tg_signature=value))
        assert _is_401(run, make_request("GET", b"/v1/orders", headers=[(b"tg-key", value)]))


@pytest.mark.parametrize("field", ["tg_time", "tg_signature", "tg_nonce"])
def test_s03_lenient_decoders(field: str, run: Run) -> None:
    """S3: many texts for one value are many replay keys."""
    guard = make_guard([Source(pair=99), *make_checks()[1:]])
    request = sign(TRADER, nonce=b"nonce-nonce-nonce-12")
    value = request.headers.one(field.replace("_", "-").encode()) or b""
    number = value.decode() if field == "tg_time" else ""
    spellings = [b" " + value, value + b" ", b"+" + value, value + b"=", b"0" + value, value + b"\t", value + b"!"]
    if number:
        spellings += [
            f"{int(number):_}".encode(), f"{number}.0".encode(), f"{int(number):e}".encode(), hex(int(number)).encode(),
            number.translate({48 + n: 0x660 + n for n in range(10)}).encode(),
        ]  # fmt: skip
    for spelled in spellings:
        assert _is_401(run, _resend(request, **{field: spelled}), guard)
    assert _ask(run, guard, request) == "granted"


def test_s04_folded_names_and_endless_digits(run: Run) -> None:
    """S4: the Kelvin sign lower-cases to k, and 5,000 digits raise in int()."""
    fields = [("tg-\u212aey".encode(), b"trader")]
    assert _refused(run, make_request("GET", b"/v1/orders", headers=fields)).status == 400
    assert _is_401(run, _resend(sign(TRADER), tg_time=b"1" * 5_000))
    for parameter in (b"timestamp", b"recvWindow"):
        target = b"/v1/orders?timestamp=1&%s=%s&signature=%s" % (parameter, b"1" * 5_000, b"a" * 64)
        assert _is_401(run, make_request("GET", target, headers=[(b"x-mbx-apikey", b"bina")]))


@pytest.mark.parametrize("name", [b"tg-key", b"tg-time", b"tg-nonce", b"tg-signature"])
@pytest.mark.parametrize("first", [True, False], ids=["the other first", "the other last"])
def test_s05_a_header_that_stands_twice(name: bytes, first: bool, run: Run) -> None:
    """S5: one reader takes the first, another the last."""
    request = sign(TRADER)
    other = (name, b"reader" if name == b"tg-key" else request.headers.one(name) or b"")
    fields = [*request.headers.raw]
    fields.insert(0 if first else len(fields), other)
    denial = _refused(run, make_request("GET", b"/v1/orders", headers=fields))
    assert (denial.code, denial.public) == ("request.repeated", UNAUTHORIZED)


@pytest.mark.parametrize("name", [b"host", b"content-length", b"content-type"])
def test_s05_a_field_of_the_frame_that_stands_twice_is_a_400(name: bytes, run: Run) -> None:
    """S5: two Hosts, two lengths, two types."""
    order = _order()
    value = order.headers.one(name) or b""
    request = make_request("POST", b"/v1/orders", body=b'{"side":"buy"}', headers=[*order.headers.raw, (name, value)])
    assert _refused(run, request).status == 400


@pytest.mark.parametrize("alias", [b"timestamp", b"%74imestamp", b"timestam%70", b"time%73tamp"])
@pytest.mark.parametrize("first", [True, False], ids=["the other first", "the other last"])
def test_s06_a_parameter_that_stands_twice(alias: bytes, first: bool, run: Run) -> None:
    """S6: signed by the client itself, so the signature is good; two readers would take two times."""
    extra = alias + b"=%d" % (NOW // MS - 1)
    honest = b"timestamp=%d" % (NOW // MS)
    text = extra + b"&" + honest if first else honest + b"&" + extra
    mac = hmac.digest(b"binance-secret" * 3, text, "sha256").hex().encode()
    target = b"/v1/orders?" + text + b"&signature=" + mac
    request = make_request("POST", target, headers=[(b"x-mbx-apikey", b"bina")])
    assert _refused(run, request).code == "place.field"


@pytest.mark.parametrize("extra", [b"&signature=1", b"&tg-signature=1", b"&Signature=x", b"&sign=1"])
def test_s07_a_signature_in_the_query_is_signed_like_everything(extra: bytes, run: Run) -> None:
    """S7: a parameter named like a signature is left out of what is signed, although the signature is in a header."""
    request = sign(TRADER, "GET", b"/v1/orders?a=1")
    assert _is_401(run, _resend(request, target=request.target + extra))
    assert _ask(run, make_guard(), sign(TRADER, "GET", b"/v1/orders?a=1" + extra)) == "granted"


@pytest.mark.parametrize(
    ("signed", "sent"), [(b"a=1%26b=2", b"a=1&b=2"), (b"a=1&b=2", b"a=1%26b=2"), (b"a=1", b"a%3D1")]
)
@pytest.mark.parametrize("signer", [TRADER, BINA], ids=lambda signer: signer.key_id)
def test_s08_a_decoded_query_has_no_collision(signed: bytes, sent: bytes, signer: Signer, run: Run) -> None:
    """S8: `a=1%26b=2` and `a=1&b=2` are two queries."""
    request = sign(signer, "GET", b"/v1/orders?" + signed)
    assert _is_401(run, _resend(request, target=request.target.replace(signed, sent)))


@pytest.mark.parametrize(
    "query", [b"a=~", b"a=%7E", b"a='", b"a=%27", b"a=x+y", b"a=x%20y", b"a=%2a*", b"a=%2F/", b"a=%e2%82%ac"]
)
@pytest.mark.parametrize("signer", [TRADER, EDWARD, BINA], ids=lambda signer: signer.key_id)
def test_s09_an_honest_spelling_passes_as_it_is_sent(query: bytes, signer: Signer, run: Run) -> None:
    """S9: clients encode differently; what is signed is what is sent."""
    assert _ask(run, make_guard(), sign(signer, "GET", b"/v1/orders?" + query)) == "granted"


def test_s10_the_raw_path_is_signed_and_the_decoded_one_is_routed(run: Run) -> None:
    """S10: servers hand on a decoded path; the signature is over the raw one."""
    request = sign(TRADER, "GET", b"/v1/orders/%E2%82%AC", path="/v1/orders/€")
    assert _ask(run, make_guard(), request) == "granted"
    lower = make_request("GET", b"/v1/orders/%e2%82%ac", headers=request.headers.raw, path="/v1/orders/€")
    assert _is_401(run, lower)


@pytest.mark.parametrize(
    ("signed", "prefix", "path", "code"),
    [
        (b"/api/v1/orders", "/api", "/v1/orders", "granted"),
        (b"/v1/orders", "/api", "/v1/orders", "frame.path"),
        (b"/api/v1/orders", "", "/v1/orders", "frame.path"),
        (b"/api/v1/orders", "", "/api/v1/orders", "guard.unmapped"),
    ],
)
def test_s11_a_mount_point_is_part_of_the_target(signed: bytes, prefix: str, path: str, code: str, run: Run) -> None:
    """S11: root_path and SCRIPT_NAME differ by server; the signed target has the prefix."""
    assert _ask(run, make_guard(), sign(TRADER, "GET", signed, prefix=prefix, path=path)) == code


def test_s13_the_body_is_read_once_and_kept(run: Run) -> None:
    """S13: the guard eats the body and the application hangs."""
    guard = make_guard()
    body = b'{"side":"buy"}'
    request = _chunked(guard, _order(body=body), [body[:3], body[3:]])
    assert _ask(run, guard, request) == "granted"
    assert run(request.body()) == body


@pytest.mark.parametrize(
    "spelled", [b'{"a": 1}', b'{ "a":1}', b'{"a":1.0}', b'{"a":1}\n', b'\xef\xbb\xbf{"a":1}', b'{"a":1,"a":1}']
)
def test_s14_the_body_is_signed_as_bytes(spelled: bytes, run: Run) -> None:
    """S14: what is equal as JSON is not equal; and odd spellings of honest clients pass."""
    assert _is_401(run, _resend(_order(body=b'{"a":1}'), body=spelled))
    assert _ask(run, make_guard(), _order(body=spelled)) == "granted"


@pytest.mark.parametrize("chunks", [[b'{"side":"sell"}'], [b'{"side":', b'"buy"}', b" "], [b""], [b'{"side":"buy"']])
def test_s15_a_chunked_body_is_signed_too(chunks: list[bytes], run: Run) -> None:
    """S15: a body without Content-Length taken as empty."""
    guard = make_guard()
    assert _is_401(run, _chunked(guard, _order(), chunks), guard)
    assert _ask(run, guard, _chunked(guard, _order(), [b'{"side"', b':"buy"}'])) == "granted"


def test_s16_a_credential_has_one_place(run: Run) -> None:
    """S16: a credential in the query while the gate looks at headers, and the other way round."""
    request, legacy = sign(TRADER), sign(BINA)
    query = b"&".join(name + b"=" + value for name, value in request.headers.raw if name.startswith(b"tg-"))
    assert _refused(run, make_request("GET", b"/v1/orders?" + query)).code == "proof.unclaimed"
    text = legacy.target.partition(b"?")[2]
    in_query = make_request("GET", b"/v1/orders?X-MBX-APIKEY=bina&x-mbx-apikey=bina&" + text)
    assert _refused(run, in_query).code == "proof.unclaimed"
    in_headers = [(name, value) for name, _, value in (p.partition(b"=") for p in text.split(b"&"))]
    moved = make_request("GET", b"/v1/orders", headers=[(b"x-mbx-apikey", b"bina"), *in_headers])
    assert _refused(run, moved).code == "signature.missing"


def test_s17_a_digest_that_the_client_sends_decides_nothing(run: Run) -> None:
    """S17: the digest of the signed body is announced, another body is sent."""
    order = _order()
    digest = hashlib.sha256(b'{"side":"buy"}').hexdigest().encode()
    for name in ("content_digest", "digest", "x_amz_content_sha256", "tg_body_sha256"):
        assert _is_401(run, _resend(order, body=b'{"side":"sell"}', **{name: digest}))


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"identity, gzip", b"x"])
def test_s18_an_encoded_body_is_refused(coding: bytes, run: Run) -> None:
    """S18: an intermediary changes the coding, or a server decodes it before the guard."""
    denial = _refused(run, _resend(_order(), body=b'{"side":"buy"}', content_encoding=coding))
    assert (denial.code, denial.status) == ("frame.encoded", 415)


def test_s19_a_row_that_signs_too_little_is_refused() -> None:
    """S19: a signature over nothing, or over too little."""
    with pytest.raises(ConfigError):
        replace(TG1, message="")
    for part in ("method", "target", "sha256hex(body)"):
        row = replace(TG1, message=str(TG1.message).replace(f"{{{part}}}", "-"))
        with pytest.raises(ConfigError, match="does not sign"):
            Signature(make_keys(), dialects=(row,))


def test_s20_values_are_bound_to_their_names(run: Run) -> None:
    """S20: two fields of equal form change their values."""
    nonce = b"1795000000000000"
    record = KeyRecord(id="1795000000000001", dialect="tg1", material=Hmac(SECRET), scopes={"orders:read"})
    guard = make_guard(make_checks(MemoryKeys([record])))
    request = sign(Signer(TG1, record.id, SECRET), nonce=nonce)
    key, time = (request.headers.one(name) or b"" for name in (b"tg-key", b"tg-time"))
    assert _is_401(run, _resend(request, tg_key=nonce, tg_nonce=key), guard)
    assert _is_401(run, _resend(request, tg_time=nonce, tg_nonce=time + b"000"), guard)
    assert _ask(run, guard, _resend(request)) == "granted"


def test_s21_nothing_concatenates_ambiguously(run: Run) -> None:
    """S21: a newline inside a signed part would end it."""
    order = sign(TRADER, "POST", b"/v1/orders", content_type=b"text/plain")
    assert _ask(run, make_guard(), _resend(order)) == "granted"
    for field in ("tg_key", "tg_nonce", "tg_time", "content_type"):
        value = order.headers.one(field.replace("_", "-").encode()) or b""
        assert _refused(run, _resend(order, **{field: value + b"\nPOST"})).status == 400
    for target in (b"/v1/orders\ntext/plain", b"/v1/orders?a\nb", b"/v1/orders%0Atext"):
        assert _refused(run, make_request("POST", target, headers=_fields(order))).status == 400


@pytest.mark.parametrize("header", ["x_http_method_override", "x_http_method", "x_method_override"])
@pytest.mark.parametrize("signer", [TRADER, BINA], ids=lambda signer: signer.key_id)
def test_s22_no_header_overrides_the_method(header: str, signer: Signer, run: Run) -> None:
    """S22: a signed read becomes a withdrawal behind the guard."""
    denial = _refused(run, _resend(sign(signer), **{header: b"POST"}))
    assert (denial.code, denial.status) == ("frame.override", 400)


@pytest.mark.parametrize("name", [b"_method", b"%5Fmethod", b"_%6Dethod"])
def test_s22_no_parameter_overrides_the_method(name: bytes, run: Run) -> None:
    """S22: `_method` in the query or in the form, signed by whoever holds the key."""
    in_query = sign(TRADER, "POST", b"/v1/orders?" + name + b"=DELETE")
    in_form = sign(TRADER, "POST", b"/v1/orders", body=b"a=1&" + name + b"=DELETE", content_type=FORM)
    for request in (in_query, in_form):
        assert _ask(run, make_guard(), request) == "frame.override"


@pytest.mark.parametrize(
    "target", [b"/v1/orders", b"/v1/orders?amount=2", b"/v1/orders?amount=1&amount=2", b"/v1/orders?"]
)
@pytest.mark.parametrize("signer", [TRADER, BINA], ids=lambda signer: signer.key_id)
def test_s23_the_query_is_signed(target: bytes, signer: Signer, run: Run) -> None:
    """S23: a query that is not part of the signed text."""
    request = sign(signer, "POST", b"/v1/orders?amount=1")
    rest = request.target[len(b"/v1/orders?amount=1") :]
    assert _is_401(run, _resend(request, target=target + rest))


def test_s24_a_public_key_is_no_secret(run: Run) -> None:
    """S24: the attacker signs with HMAC, and the public key as its secret; or sends no signature to speak of."""
    public = PRIVATE.public_key().public_bytes_raw()
    assert _refused(run, sign(Signer(TG1, "edward", public))).code == "signature.mismatch"
    assert _refused(run, sign(Signer(TG1, "trader", PRIVATE))).code == "signature.mismatch"
    for none in (b"", b"none", b"A", b"AA", b"AAAA"):
        assert _refused(run, _resend(sign(TRADER), tg_signature=none)).code == "place.field"


def test_s25_a_key_has_one_algorithm() -> None:
    """S25: one key id under two algorithms."""
    keys = make_keys()
    with pytest.raises(ConfigError, match="key edward exists"):
        keys.put_now(KeyRecord(id="edward", dialect="tg1", material=Hmac(SECRET + b"2"), scopes={"orders:*"}))


@pytest.mark.parametrize("at", [NOW // 1_000, NOW // MS, NOW * 1_000, NOW + 10 * 365 * 86_400 * SECOND, 0])
@pytest.mark.parametrize("signer", [TRADER, BINA], ids=lambda signer: signer.key_id)
def test_s26_a_time_in_another_unit_or_far_away(at: int, signer: Signer, run: Run) -> None:
    """S26: a capture that never expires."""
    assert _ask(run, make_guard(), sign(signer, at=at)) in ("freshness.stale", "freshness.early", "place.field")


@pytest.mark.parametrize(
    "width", [b"0", b"-1", b"60001", b"9999999999999", b"5000&recvWindow=5000", b"1_000", b"+5000", b"5e3"]
)
def test_s26_a_window_that_is_no_window(width: bytes, run: Run) -> None:
    """S26: huge, negative, nothing, twice; signed by whoever holds the key."""
    assert _refused(run, sign(BINA, "POST", b"/v1/orders?recvWindow=" + width)).code == "place.field"


def test_s27_no_guard_without_freshness_and_no_capture_a_day_later(run: Run) -> None:
    """S27: a captured request that is valid for ever."""
    with pytest.raises(ConfigError, match="freshness"):
        make_guard([check for check in make_checks() if not isinstance(check, Freshness)])
    for signer in (TRADER, EDWARD, BINA):
        clock = StillClock(NOW + 86_400 * SECOND)
        captured = _resend(sign(signer, "POST", b"/v1/orders"), arrived=clock.at)
        assert _ask(run, make_guard(runtime=clock), captured) == "freshness.stale"


@pytest.mark.parametrize("signer", [TRADER, BINA], ids=lambda signer: signer.key_id)
def test_s28_a_replay_after_a_restart(signer: Signer, run: Run) -> None:
    """S28: the nonces are gone; what was signed before the start, and up to the skew after it, is refused."""
    order = sign(signer, "POST", b"/v1/orders", at=NOW)
    assert _ask(run, make_guard(), order) == "granted"
    start = NOW + SECOND // 2
    clock = StillClock(start)
    guard = make_guard(state=Memory(since=start), runtime=clock)
    denial = _refused(run, _resend(order, arrived=start), guard)
    assert (denial.code, denial.status, denial.retry_after) == ("commit.barrier", 503, 1)
    ahead = sign(signer, "POST", b"/v1/orders", at=start + SECOND, arrived=start)
    assert _ask(run, guard, ahead) == "commit.barrier"  # signed by a clock 1 s ahead: possible before the crash too
    clock.at = start + SECOND + MS
    assert _ask(run, guard, sign(signer, "POST", b"/v1/orders", at=clock.at, arrived=clock.at)) == "granted"
    forged = sign(Signer(TG1, "trader", b"x" * 16), arrived=start)
    assert _is_401(run, forged, make_guard(state=Memory(since=start)))  # the barrier is behind the proof


def test_s28_a_replay_after_eviction(run: Run) -> None:
    """S28: a flood of the attacker's own messages does not push a victim's nonce out."""
    guard = make_guard(state=Memory(since=1, capacity=20, per_key=10))
    order = sign(TRADER, "POST", b"/v1/orders")
    assert _ask(run, guard, order) == "granted"
    for _ in range(100):
        _ask(run, guard, sign(READER))
    assert _ask(run, guard, _resend(order)) == "replay.seen"


def test_s28_a_race_of_replays() -> None:
    """S28: check, then insert: eight threads, many messages, each at the same time; each passes once."""
    guard, wins = make_guard(), []
    for _ in range(20):
        order, start = sign(TRADER, "POST", b"/v1/orders"), threading.Barrier(8)

        def send(order: Request = order, start: threading.Barrier = start) -> None:
            request = _resend(order)
            start.wait()
            if _ask(drive, guard, request) == "granted":
                wins.append(order.id)

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(wins) == len(set(wins)) == 20


def test_s29_honest_requests_out_of_order_pass(run: Run) -> None:
    """S29: a concurrent client is not locked out by the order in which its requests arrive."""
    guard = make_guard()
    requests = [sign(TRADER, "POST", b"/v1/orders", at=NOW - number * 100 * MS) for number in range(40)]
    assert [_ask(run, guard, request) for request in requests] == ["granted"] * 40


def test_s30_keys_cannot_be_enumerated(run: Run) -> None:
    """S30: unknown, revoked, expired, other algorithm, wrong MAC: one answer, byte by byte."""
    keys = make_keys()
    for name, more in (
        ("revoked", {"state": "revoked"}),
        ("expired", {"expires": NOW}),
        ("young", {"not_before": NOW + 1}),
    ):
        keys.put_now(
            KeyRecord(id=name, dialect="tg1", material=Hmac(name.encode() * 4), scopes={"orders:read"}, **more)
        )
    guard = make_guard(make_checks(keys))
    requests = [
        sign(Signer(TG1, name, name.encode() * 4))
        for name in ("revoked", "expired", "young", "nobody", "trader", "bina")
    ]
    requests += [sign(Signer(TG1, "edward", SECRET)), sign(Signer(TG1, "trader", PRIVATE))]
    answers = {refuse(_refused(run, r, guard), "0" * 32, challenge=guard.challenge).body for r in requests}
    assert len(answers) == 1
    assert json.loads(answers.pop())["code"] == UNAUTHORIZED


def test_s31_no_expected_mac_and_no_signed_text_leaves_the_guard(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """S31: an error text with the right MAC in it signs the attacker's request."""
    caplog.set_level(logging.DEBUG)
    journal = MemoryJournal()
    guard = make_guard(journal=journal)
    honest = sign(TRADER, "POST", b"/v1/orders?amount=7", nonce=b"n" * 20)
    expected = honest.headers.one(b"tg-signature") or b""
    denial = _refused(run, _resend(honest, tg_signature=b"A" * 43), guard)
    shown = repr(refuse(denial, "0" * 32, challenge=guard.challenge)) + repr(journal.events) + caplog.text
    shown += repr(denial) + denial.detail
    raw = decode_base64url(expected) or b""
    for secret in (expected.decode(), raw.hex(), "TG1-HMAC-SHA256", "amount=7", SECRET.decode()):
        assert secret not in shown


@pytest.mark.parametrize(
    "value",
    [b"", b",", b"=", b"Bearer", b"Hawk", b'id="x"', b"\x80", b"{}", b"[", b"%", b"\x01\x02", b"a" * 30_000],
    ids=lambda value: repr(value[:9]),
)
def test_s32_malformed_credentials_are_refused_and_nothing_else(value: bytes, run: Run) -> None:
    """S32: an exception of a parser becomes a 500, or a stranger becomes anonymous."""
    for name in (b"tg-key", b"tg-time", b"tg-nonce", b"tg-signature", b"x-mbx-apikey"):
        for request in (sign(TRADER), sign(TRADER, "GET", b"/v1/time")):
            denial = _refused(run, _resend(request, **{name.decode().replace("-", "_"): value}))
            assert denial.status == 401


def test_s33_a_flood_in_one_header_costs_nothing(run: Run) -> None:
    """S33: 20,000 signatures in one field: refused by its length, undecoded, and no key is looked up."""
    log: list[str] = []
    guard = make_guard([Source(), Signature(Noted(log)), Freshness(), Scope(), Replay()])
    flood = b" ".join([b"v1," + b"A" * 43] * 20_000)
    assert _refused(run, _resend(sign(TRADER), tg_signature=flood), guard).status == 431
    for long in (flood[:30_000], b"A" * 30_000):
        request, codes = _resend(sign(TRADER), tg_signature=long), list[str]()
        calls = _calls(lambda: codes.append(_ask(run, guard, request)))  # noqa: B023
        assert codes == ["place.field"]
        assert "a2b_base64" not in calls
    assert log == []


@pytest.mark.parametrize("header", ["x_forwarded_host", "forwarded", "x_original_host", "x_host"])
def test_s34_no_header_but_host_names_the_host(header: str, run: Run) -> None:
    """S34: a request signed for one host is sent to another, which is told the first one's name."""
    request = sign(TRADER)
    moved = _resend(request, host=b"other.example", **{header: b"api.example"})
    assert _is_401(run, moved)
    assert _ask(run, make_guard(), _resend(sign(TRADER), **{header: b"other.example"})) == "granted"
    for absolute in (b"http://api.example/v1/orders", b"https://api.example/v1/orders", b"//api.example/v1/orders"):
        assert _refused(run, _resend(request, target=absolute)).status == 400


def test_every_number_has_its_test_or_its_place_in_the_table() -> None:
    """The table at the head of this file is complete."""
    named = {name[5:8] for name in globals() if name.startswith(("test_a", "test_s")) and name[6:8].isdigit()}
    later = {"a27", "a29", "s12", "s35", "s36"}
    assert __doc__ is not None
    for number, path, name in ELSEWHERE:
        assert f"def {name}(" in (Path(__file__).parent / path).read_text(), number
        named.add(number.lower())
    expected = {f"a{number:02d}" for number in range(1, 30)} | {f"s{number:02d}" for number in range(1, 37)}
    assert named | later == expected
    assert not named & later
    assert all(number.upper().replace("0", "", number[1] == "0") in __doc__ for number in later)
