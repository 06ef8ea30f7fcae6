"""Who signed this? One 401 and the same work before the proof; and each row covers what it says it covers."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import FrameType
from typing import Any, NamedTuple

import pytest
from conftest import Run
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support import (
    BINA,
    EDWARD,
    FORM,
    NOW,
    PRIVATE,
    SECOND,
    SECRET,
    TRADER,
    Bytes,
    StillClock,
    make_guard,
    make_keys,
    make_request,
    sign,
)  # fmt: skip

from tradeguard.adapters.answer import Answer, refuse
from tradeguard.backends.memory import Memory, MemoryJournal, MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.body import SLOW
from tradeguard.core.conditions import Below
from tradeguard.core.decision import UNAUTHORIZED, Decision, Denial, Grant, Refused
from tradeguard.core.errors import ConfigError
from tradeguard.core.guard import Guard
from tradeguard.core.key import KeyRecord, KeyState, key_number
from tradeguard.core.policy import Operations
from tradeguard.core.ports import Colour
from tradeguard.core.request import Request
from tradeguard.signing.material import Ed25519, Hmac
from tradeguard.signing.row import Field, Row
from tradeguard.signing.rows import BINANCE, CRYPTOCOM, TG1
from tradeguard.signing.signer import Outgoing, Signer

STATES: tuple[KeyState, ...] = ("pending", "suspended", "revoked", "compromised")
GONE = b"gone" * 8
NOBODY = Signer(TG1, "nobody", SECRET)
REVOKED = Signer(TG1, "revoked", GONE)
GONE_ED = Ed25519PrivateKey.from_private_bytes(b"\5" * 32)
REVOKED_ED = Signer(TG1, "revoked-ed", GONE_ED)
BINA_AS_TG1 = Signer(TG1, "bina", b"binance-secret" * 3)  # the right secret, in another dialect than the key's
PUBLIC = GONE_ED.public_key().public_bytes_raw()


class Watched:
    """The keys of the tests and one revoked pair; every look-up is noted in the order of things."""

    colour: Colour = "instant"

    def __init__(self, log: list[str] | None = None) -> None:
        self.keys, self.log = make_keys(), [] if log is None else log
        self.keys.put_now(
            KeyRecord(id="revoked", dialect="tg1", material=Hmac(GONE), scopes={"orders:read"}, state="revoked")
        )
        self.keys.put_now(
            KeyRecord(id="revoked-ed", dialect="tg1", material=Ed25519(PUBLIC), scopes={"orders:read"}, state="revoked")
        )

    async def find(self, id: str, /) -> KeyRecord | None:
        self.log.append("find")
        return await self.keys.find(id)


def _guard(keys: Any = None, rows: Iterable[Row] = (TG1, BINANCE), **other: Any) -> Guard:
    signature = Signature(keys or Watched(), dialects=rows, accept=("binance",) if BINANCE in rows else ())
    return make_guard([signature, Freshness(), Scope(), Replay()], **other)


def _change(request: Request, **headers: bytes | None) -> Request:
    """The same request with other header fields: `tg_key=b"x"` replaces, None leaves out."""
    changed = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    fields = [(n, v) for n, v in request.headers.raw if n not in changed and n != b"host"]
    fields += [(name, value) for name, value in changed.items() if value is not None]
    return make_request(request.method, request.target, headers=fields)


def _wrong(request: Request) -> Request:
    """The same request with a signature that is canonical and wrong."""
    signature = request.headers.one(b"tg-signature") or b""
    return _change(request, tg_signature=(b"B" if signature[:1] == b"A" else b"A") + signature[1:])


# --- building ------------------------------------------------------------------------------------------------------


def test_a_row_that_covers_too_little_is_refused_unless_it_is_accepted_by_name() -> None:
    keys = MemoryKeys()
    with pytest.raises(ConfigError, match=r'dialect binance does not sign method, path: .*accept = \["binance"\]'):
        Signature(keys, dialects=(TG1, BINANCE))
    with pytest.raises(ConfigError, match="binance"):
        Signature(keys, dialects=(TG1, BINANCE), accept=("tg1",))
    assert (
        Signature(keys, dialects=(TG1, BINANCE), accept="binance").challenge == 'TG1 realm="api", Binance realm="api"'
    )
    assert Signature(keys, dialects=(BINANCE,), accept=("binance",)).ports == (keys,)


@pytest.mark.parametrize(
    ("dialects", "accept", "why"),
    [((), (), "at least one"), ((TG1, TG1), (), "none twice"), ((TG1,), ("binance",), "'binance', which is none")],
)
def test_a_list_that_makes_no_sense_is_refused(dialects: tuple[Row, ...], accept: tuple[str, ...], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Signature(MemoryKeys(), dialects=dialects, accept=accept)


def test_one_dialect_alone_may_have_its_key_in_the_body() -> None:
    own = replace(CRYPTOCOM, name="own", key=Field(b"apiKey"))
    with pytest.raises(ConfigError, match="cryptocom and own have the key in the body"):
        Signature(MemoryKeys(), dialects=(CRYPTOCOM, own), accept=("cryptocom", "own"))


# --- dialects that are alike in the head: the key's record says which is meant -------------------------------------

OTHER_ORDER = replace(TG1, name="other-order", message="{time}\n{key}\n{nonce}\n" + str(TG1.message))
NONCELESS = replace(TG1, name="nonceless", message=str(TG1.message).replace("{nonce}", "-"), nonce=None)
ALIKE = (TG1, OTHER_ORDER, NONCELESS)


@pytest.mark.parametrize("first", ALIKE, ids=lambda row: row.name)
@pytest.mark.parametrize("row", ALIKE, ids=lambda row: row.name)
def test_the_record_says_which_of_the_dialects_is_meant_that_are_alike_in_the_head(
    row: Row, first: Row, run: Run
) -> None:
    keys = MemoryKeys([KeyRecord(id="k", dialect=row.name, material=Hmac(SECRET), scopes={"orders:*"})])
    guard = _guard(keys, rows=(first, *(other for other in ALIKE if other is not first)))
    for other in ALIKE:
        request = sign(Signer(other, "k", SECRET))
        decision = run(guard.admit(request))
        if other is not row:
            assert isinstance(decision, Denial)
            assert decision.code in ("signature.wrong", "signature.mismatch")
            continue
        assert isinstance(decision, Grant)
        assert request.credential is not None
        assert request.claim is not None
        assert request.credential.dialect == request.claim.dialect == row.name


@pytest.mark.parametrize("first", ALIKE, ids=lambda row: row.name)
def test_a_stranger_learns_nothing_from_dialects_that_are_alike(
    first: Row, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the key is, unknown or of any of them: the same answer, and a signature verified as often."""
    known = [KeyRecord(id=row.name, dialect=row.name, material=Hmac(row.name * 9), scopes=()) for row in ALIKE]
    guard = _guard(MemoryKeys(known), rows=(first, *(other for other in ALIKE if other is not first)))
    verified: list[Hmac] = []
    verify = Hmac.verify

    async def count(self: Hmac, message: bytes, signature: bytes) -> bool:
        verified.append(self)
        return await verify(self, message, signature)

    monkeypatch.setattr(Hmac, "verify", count)
    for sent in ALIKE:
        seen: list[tuple[Answer, int]] = []
        for id in ("unknown", *(row.name for row in ALIKE)):
            verified.clear()
            decision = run(guard.admit(sign(Signer(sent, id, b"wrong" * 9))))
            assert isinstance(decision, Denial)
            seen.append((refuse(decision, "0" * 32, challenge=guard.challenge), len(verified)))
        assert seen == [seen[0]] * 4
        assert seen[0][1] == 1


def test_what_none_of_the_dialects_can_read_is_refused_without_a_look_at_the_key(run: Run) -> None:
    keys = Watched()
    request = _change(sign(TRADER), tg_time=b"yesterday")
    decision = run(_guard(keys, rows=ALIKE).admit(request))
    assert isinstance(decision, Denial)
    assert decision.code == "place.field"
    assert keys.log == []


# --- what a signature covers: real signed requests, one part changed -----------------------------------------------


class Twins:
    """Two ids with one secret, which no real store of keys allows: so that only the key id changes."""

    colour: Colour = "instant"

    async def find(self, id: str, /) -> KeyRecord | None:
        signer = {"trader": TRADER, "trader2": TRADER, "bina": BINA, "bina2": BINA}[id]
        material = Hmac(SECRET if signer is TRADER else b"binance-secret" * 3)
        return KeyRecord(id=id, dialect=signer.row.name, material=material, scopes={"orders:write"})


class Parts(NamedTuple):
    method: str
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes

    def having(self, **headers: bytes) -> "Parts":
        more = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        return self._replace(headers={**self.headers, **more})

    def replacing(self, old: bytes, new: bytes) -> "Parts":
        assert old in self.target + self.body
        return self._replace(target=self.target.replace(old, new), body=self.body.replace(old, new))


def _capture(signer: Signer, method: str, target: bytes, body: bytes = b"", content_type: bytes = b"") -> Parts:
    out = signer.sign(Outgoing(method, "api.example", target, content_type, body), NOW)
    kind = {b"content-type": content_type} if content_type else {}
    return Parts(method, out.target, {**kind, **dict(out.headers)}, out.body)


TG_POST = _capture(TRADER, "POST", b"/v1/orders?x=1", b"amount=10", b"text/plain")
TG_GET = _capture(TRADER, "GET", b"/v1/orders?x=1")
BN_GET = _capture(BINA, "GET", b"/v1/orders?x=1")
BN_POST = _capture(BINA, "POST", b"/v1/orders", b"amount=10", FORM)
STAMP = b"timestamp=%d" % (NOW // 1_000_000)

CHANGES: list[tuple[str, str, Parts]] = [
    ("tg1", "method", TG_POST._replace(method="PUT")),
    ("tg1", "method", TG_GET._replace(method="HEAD")),
    ("tg1", "path", TG_POST._replace(target=b"/v1/order?x=1")),
    ("tg1", "path", TG_POST._replace(target=b"/v1/orders/?x=1")),
    ("tg1", "query", TG_POST._replace(target=b"/v1/orders?x=2")),
    ("tg1", "query", TG_POST._replace(target=b"/v1/orders?x=%31")),
    ("tg1", "query", TG_POST._replace(target=b"/v1/orders?x=1&")),
    ("tg1", "query", TG_POST._replace(target=b"/v1/orders")),
    ("tg1", "body", TG_POST._replace(body=b"amount=11")),
    ("tg1", "body", TG_POST._replace(body=b"amount=100")),
    ("tg1", "body", TG_POST._replace(body=b"")),
    ("tg1", "body", TG_GET._replace(body=b"x")),
    ("tg1", "time", TG_POST.having(tg_time=b"%d" % (NOW // 1_000_000 + 1))),
    ("tg1", "host", TG_POST.having(host=b"other.example")),
    ("tg1", "host", TG_POST.having(host=b"api.example:8080")),
    ("tg1", "content-type", TG_POST.having(content_type=b"application/json")),
    ("tg1", "content-type", TG_POST.having(content_type=b"Text/plain")),
    ("tg1", "content-type", TG_GET.having(content_type=b"text/plain")),
    ("tg1", "nonce", TG_POST.having(tg_nonce=b"another-nonce-altogether")),
    ("tg1", "key", TG_POST.having(tg_key=b"trader2")),
    ("binance", "method", BN_GET._replace(method="DELETE")),
    ("binance", "method", BN_GET._replace(method="POST")),
    ("binance", "method", BN_POST._replace(method="PUT")),
    ("binance", "path", BN_GET._replace(target=BN_GET.target.replace(b"/orders", b"/cancel"))),
    ("binance", "path", BN_POST._replace(target=b"/v1/withdraw")),
    ("binance", "query", BN_GET.replacing(b"x=1", b"x=2")),
    ("binance", "query", BN_GET.replacing(b"x=1", b"x=%31")),
    ("binance", "query", BN_GET.replacing(b"?x=1&", b"?")),
    ("binance", "query", BN_GET.replacing(b"?", b"?y=1&")),
    ("binance", "query", BN_GET._replace(target=BN_GET.target + b"&y=1")),
    ("binance", "query", BN_POST._replace(target=b"/v1/orders?y=1")),
    ("binance", "body", BN_POST.replacing(b"amount=10", b"amount=11")),
    ("binance", "body", BN_POST.replacing(b"amount=10", b"amount=100")),
    ("binance", "body", BN_POST._replace(body=b"")),
    ("binance", "body", BN_GET._replace(method="POST", body=b"amount=10").having(content_type=FORM)),
    ("binance", "time", BN_GET.replacing(STAMP, b"timestamp=%d" % (NOW // 1_000_000 + 1))),
    ("binance", "time", BN_POST.replacing(STAMP, b"timestamp=%d" % (NOW // 1_000_000 + 1))),
    ("binance", "host", BN_GET.having(host=b"other.example")),
    ("binance", "content-type", BN_POST.having(content_type=FORM + b"; charset=utf-8")),
    ("binance", "content-type", BN_GET.having(content_type=b"text/plain")),
    ("binance", "nonce", BN_GET.having(tg_nonce=b"another-nonce-altogether")),
    ("binance", "key", BN_GET.having(x_mbx_apikey=b"bina2")),
]
ROWS = {"tg1": TG1, "binance": BINANCE}


def _verifies(parts: Parts, run: Run) -> bool:
    methods = ("GET", "HEAD", "POST", "PUT", "DELETE")
    guard = make_guard(
        [Signature(Twins(), dialects=(TG1, BINANCE), accept=("binance",))],
        operations=Operations({f"{method} /**": "orders:write" for method in methods}),
        without=("freshness", "replay", "scope"),
    )
    decision = run(
        guard.admit(make_request(parts.method, parts.target, body=parts.body, headers=parts.headers.items()))
    )
    assert isinstance(decision, Grant) or decision.public == UNAUTHORIZED
    return isinstance(decision, Grant)


@pytest.mark.parametrize(
    "parts", [TG_POST, TG_GET, BN_GET, BN_POST], ids=["tg1 post", "tg1 get", "binance get", "binance post"]
)
def test_the_unchanged_capture_verifies(parts: Parts, run: Run) -> None:
    assert _verifies(parts, run)


@pytest.mark.parametrize(
    ("row", "part", "parts"), CHANGES, ids=[f"{n} {row} {part}" for n, (row, part, _) in enumerate(CHANGES)]
)
def test_a_changed_part_verifies_exactly_where_it_is_not_covered(row: str, part: str, parts: Parts, run: Run) -> None:
    assert _verifies(parts, run) == (part not in ROWS[row].coverage)


@pytest.mark.parametrize("row", ROWS)
def test_no_part_is_left_untried(row: str) -> None:
    assert {part for of, part, _ in CHANGES if of == row} == TG1.coverage


# --- the same work and the same face, whoever is claimed -----------------------------------------------------------


def _primitives(work: Callable[[], object]) -> Counter[str]:
    """Count the calls into the cryptographic libraries: the real functions, seen by the interpreter's profiler."""
    calls: Counter[str] = Counter()

    def note(_frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            home = getattr(arg, "__module__", None) or type(getattr(arg, "__self__", None)).__module__
            if home.startswith(("_hashlib", "_hmac", "_sha", "_blake", "cryptography")):
                calls[arg.__qualname__] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


HMAC_CASES = {
    "good": lambda: sign(TRADER),
    "unknown key": lambda: sign(NOBODY),
    "wrong signature": lambda: _wrong(sign(TRADER)),
    "wrong algorithm": lambda: _change(sign(TRADER), tg_key=b"edward"),
    "revoked": lambda: sign(REVOKED),
    "revoked and wrong": lambda: _wrong(sign(REVOKED)),
    "other dialect": lambda: sign(BINA_AS_TG1),
}
ED25519_CASES = {
    "good": lambda: sign(EDWARD),
    "unknown key": lambda: sign(Signer(TG1, "nobody", PRIVATE)),
    "wrong signature": lambda: _wrong(sign(EDWARD)),
    "wrong algorithm": lambda: _change(sign(EDWARD), tg_key=b"trader"),
    "revoked": lambda: sign(REVOKED_ED),
    "revoked and wrong": lambda: _wrong(sign(REVOKED_ED)),
    "other dialect": lambda: _change(sign(EDWARD), tg_key=b"bina"),
}
CODES = {
    "unknown key": "signature.unknown", "wrong signature": "signature.wrong", "wrong algorithm": "signature.mismatch",
    "revoked": "signature.unusable", "revoked and wrong": "signature.wrong", "other dialect": "signature.mismatch",
}  # fmt: skip


@pytest.mark.parametrize(
    ("cases", "primitive"),
    [(HMAC_CASES, "hmac_digest"), (ED25519_CASES, "Ed25519PublicKey.verify")],
    ids=["32 bytes: HMAC", "64 bytes: Ed25519"],
)
def test_the_same_calls_of_primitives_whoever_is_claimed(
    cases: dict[str, Callable[[], Request]], primitive: str, run: Run
) -> None:
    seen: dict[str, Counter[str]] = {}
    for name, make in cases.items():
        keys = Watched()
        guard, request = _guard(keys), make()
        decisions: list[Decision] = []
        seen[name] = _primitives(lambda: decisions.append(run(guard.admit(request))))  # noqa: B023
        seen[name]["find"] = len(keys.log)
        if name == "good":
            assert isinstance(decisions[0], Grant)
        else:
            assert isinstance(decisions[0], Denial)
            assert decisions[0].code == CODES[name]
    assert seen["good"][primitive] == 1
    assert seen["good"]["find"] == 1
    assert sum(seen["good"].values()) > 2  # the hashes of body and message are counted too
    assert all(calls == seen["good"] for calls in seen.values()), seen


def test_the_same_calls_of_primitives_for_binance(run: Run) -> None:
    seen: list[Counter[str]] = []
    good = sign(BINA)
    for target, key in (
        (good.target, b"bina"),
        (good.target, b"nobody"),
        (good.target, b"trader"),
        (good.target[:-64] + b"0" * 64, b"bina"),
    ):
        keys = Watched()
        guard, request = _guard(keys), make_request("GET", target, headers=[(b"x-mbx-apikey", key)])
        seen.append(_primitives(lambda: run(guard.admit(request))))  # noqa: B023
        seen[-1]["find"] = len(keys.log)
    assert seen[0]["hmac_digest"] == seen[0]["find"] == 1
    assert seen == [seen[0]] * 4


class Held(Bytes):
    """A body that never arrives: the deadline ends the wait."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(b"")
        self.log = log

    async def read(self, _declared: int | None) -> bytes:
        self.log.append("body")
        raise Refused(Denial(SLOW))


class Arriving(Held):
    async def read(self, _declared: int | None) -> bytes:
        self.log.append("body")
        return b"amount=10"


@pytest.mark.parametrize("signer", [TRADER, NOBODY, REVOKED, BINA_AS_TG1, EDWARD, REVOKED_ED], ids=lambda s: s.key_id)
def test_head_without_body_tells_nothing_about_the_key(signer: Signer, run: Run) -> None:
    """Known or not, the body is awaited before the key is looked up."""
    for reader, expected in ((Held, ["body"]), (Arriving, ["body", "find"])):
        log: list[str] = []
        signed = sign(signer, "POST", b"/v1/orders", body=b"amount=10")
        request = Request(
            id=signed.id, method=signed.method, target=signed.target, path=signed.path, headers=signed.headers,
            peer=signed.peer, arrived=signed.arrived, body=reader(log),
        )  # fmt: skip
        decision = run(_guard(Watched(log)).admit(request))
        assert log == expected
        if reader is Held:
            assert isinstance(decision, Denial)
            assert decision.code == "body.slow"


def _twice(request: Request, name: bytes) -> Request:
    fields = [*request.headers.raw, (name, request.headers.one(name) or b"")]
    return make_request(request.method, request.target, headers=[field for field in fields if field[0] != b"host"])


STRANGERS: dict[str, Callable[[], Request]] = {
    **{f"hmac, {name}": make for name, make in HMAC_CASES.items() if name != "good"},
    **{f"ed25519, {name}": make for name, make in ED25519_CASES.items() if name != "good"},
    "nothing at all": lambda: make_request("GET", b"/v1/orders"),
    "a bare key": lambda: make_request("GET", b"/v1/orders", headers=[(b"tg-key", b"trader")]),
    "a bare unknown key": lambda: make_request("GET", b"/v1/orders", headers=[(b"tg-key", b"nobody")]),
    "bare keys of two dialects": lambda: make_request(
        "GET", b"/v1/orders", headers=[(b"tg-key", b"trader"), (b"x-mbx-apikey", b"bina")]
    ),
    "a signature without a key": lambda: _change(sign(TRADER), tg_key=None),
    "a malformed key": lambda: _change(sign(TRADER), tg_key=b"tr\xe4der"),
    "no time": lambda: _change(sign(TRADER), tg_time=None),
    "a malformed time": lambda: _change(sign(TRADER), tg_time=b"+1"),
    "no nonce": lambda: _change(sign(TRADER), tg_nonce=None),
    "a short nonce": lambda: _change(sign(TRADER), tg_nonce=b"n"),
    "a padded signature": lambda: _change(sign(TRADER), tg_signature=b"A" * 43 + b"="),
    "two keys": lambda: _twice(sign(TRADER), b"tg-key"),
    "two times": lambda: _twice(sign(TRADER), b"tg-time"),
    "two nonces": lambda: _twice(sign(TRADER), b"tg-nonce"),
    "two signatures": lambda: _twice(sign(TRADER), b"tg-signature"),
    "two dialects": lambda: _change(sign(TRADER), x_mbx_apikey=b"bina"),
    "two dialects, both signed": lambda: _change(sign(TRADER, target=sign(BINA).target), x_mbx_apikey=b"bina"),
    "query and form": lambda: make_request(
        "POST", sign(BINA).target, body=b"a=1", headers=[(b"x-mbx-apikey", b"bina"), (b"content-type", FORM)]
    ),
    "an operation that there is not": lambda: _wrong(sign(TRADER, target=b"/v1/nowhere")),
    "a bad signature on a public operation": lambda: _wrong(sign(TRADER, target=b"/v1/time")),
}


@pytest.mark.parametrize("make", STRANGERS.values(), ids=STRANGERS.keys())
def test_every_refusal_before_the_proof_has_one_face(make: Callable[[], Request], run: Run) -> None:
    guard = _guard()
    decision = run(guard.admit(make()))
    assert isinstance(decision, Denial)
    answer: Answer = refuse(decision, "0" * 32, challenge=guard.challenge)
    reference = refuse(Denial("signature.unknown"), "0" * 32, challenge=guard.challenge)
    assert answer == reference
    assert answer.status == 401
    assert (b"www-authenticate", b'TG1 realm="api", Binance realm="api"') in answer.fields
    assert b"trader" not in answer.body
    assert b"nobody" not in answer.body


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nothing at all", "proof.unclaimed"),
        ("a bare key", "signature.missing"),
        ("bare keys of two dialects", "signature.missing"),
        ("two dialects", "signature.ambiguous"),
        ("two dialects, both signed", "signature.ambiguous"),
        ("two nonces", "request.repeated"),
        ("no nonce", "place.field"),
        ("query and form", "source.boundary"),
    ],
)
def test_the_operator_can_tell_them_apart(name: str, code: str, run: Run) -> None:
    journal = MemoryJournal()
    run(_guard(journal=journal).admit(STRANGERS[name]()))
    assert [(event.kind, event.code, event.proven) for event in journal.events] == [("refused", code, False)]


# --- public operations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"tg-key", b"trader")],
        [(b"tg-key", b"nobody")],
        [(b"x-mbx-apikey", b"bina")],
        [(b"tg-key", b"trader"), (b"x-mbx-apikey", b"bina")],
    ],
)
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_a_bare_key_on_a_public_operation_is_ignored(
    headers: list[tuple[bytes, bytes]], version: str, run: Run
) -> None:
    keys = Watched()
    decision = run(_guard(keys).admit(make_request("GET", b"/v1/time", headers=headers, version=version)))
    assert isinstance(decision, Grant)
    assert decision.principal is None
    assert keys.log == []


@pytest.mark.parametrize("signer", [TRADER, EDWARD, BINA], ids=lambda signer: signer.key_id)
def test_a_signature_on_a_public_operation_must_verify(signer: Signer, run: Run) -> None:
    good = run(_guard().admit(sign(signer, "GET", b"/v1/time")))
    assert isinstance(good, Grant)
    assert good.principal is not None
    assert good.principal.key_id == signer.key_id
    late = run(_guard().admit(sign(signer, "GET", b"/v1/time", at=NOW - 60 * SECOND)))
    assert isinstance(late, Denial)
    assert late.code == "freshness.stale"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(lambda: _wrong(sign(TRADER, target=b"/v1/time")), id="wrong"),
        pytest.param(lambda: sign(NOBODY, target=b"/v1/time"), id="unknown key"),
        pytest.param(lambda: _change(sign(TRADER, target=b"/v1/time"), tg_key=None), id="no key"),
        pytest.param(lambda: _change(sign(TRADER, target=b"/v1/time"), tg_time=None), id="no time"),
        pytest.param(
            lambda: _change(sign(TRADER, target=b"/v1/time"), x_mbx_apikey=b"bina"), id="a bare key beside it"
        ),
        pytest.param(lambda: sign(Signer(BINANCE, "bina", b"x" * 16), target=b"/v1/time"), id="wrong in the query"),
        pytest.param(
            lambda: sign(Signer(BINANCE, "bina", b"x" * 16), "POST", b"/v1/echo", body=b"a=1", content_type=FORM),
            id="wrong in the form",
        ),
    ],
)
def test_a_bad_signature_on_a_public_operation_is_refused(request_: Callable[[], Request], run: Run) -> None:
    decision = run(_guard().admit(request_()))
    assert isinstance(decision, Denial)
    assert decision.public == UNAUTHORIZED


# --- the state of a key --------------------------------------------------------------------------------------------


def _with(**fields: Any) -> Guard:
    record = KeyRecord(id="mine", dialect="tg1", material=Hmac(SECRET), scopes={"orders:read"}, **fields)
    return _guard(MemoryKeys([record]), rows=(TG1,))


MINE = Signer(TG1, "mine", SECRET)


@pytest.mark.parametrize("state", STATES)
def test_a_key_that_is_not_in_use_gets_the_one_401(state: KeyState, run: Run) -> None:
    guard = _with(state=state)
    decision = run(guard.admit(sign(MINE)))
    assert (decision.code, decision.public, decision.detail) == ("signature.unusable", UNAUTHORIZED, state)


@pytest.mark.parametrize(
    ("fields", "granted"),
    [
        ({"state": "active"}, True),
        ({"state": "retiring"}, True),
        ({"not_before": NOW}, True),
        ({"not_before": NOW + 1}, False),
        ({"expires": NOW}, False),
        ({"expires": NOW + 1}, True),
    ],
)
def test_a_key_is_used_in_its_states_and_inside_its_validity(fields: dict[str, Any], granted: bool, run: Run) -> None:
    assert isinstance(run(_with(**fields).admit(sign(MINE))), Grant) == granted


def test_a_grant_that_outlives_its_key_does_not_stand(run: Run) -> None:
    guard = _with(expires=NOW + SECOND)
    grant = run(guard.admit(sign(MINE)))
    assert grant.recheck() is None
    guard.runtime.at = NOW + SECOND - 1  # type: ignore[attr-defined]
    assert grant.recheck() is None
    guard.runtime.at = NOW + SECOND  # type: ignore[attr-defined]
    assert (grant.recheck().code, grant.recheck().status) == ("signature.expired", 403)


def test_a_key_without_an_end_is_never_too_old(run: Run) -> None:
    guard = _with()
    grant = run(guard.admit(sign(MINE)))
    guard.runtime.at = NOW * 2  # type: ignore[attr-defined]
    assert grant.recheck() is None


def test_the_credential_says_what_was_proved(run: Run) -> None:
    request = sign(EDWARD, "POST", b"/v1/orders", body=b"{}", nonce=b"n" * 20, at=NOW)
    assert isinstance(run(_guard().admit(request)), Grant)
    credential = request.credential
    assert credential is not None
    assert (credential.dialect, credential.algorithm, credential.key_id) == ("tg1", "ed25519", "edward")
    assert (credential.signed_at, credential.expires, credential.nonce) == (NOW, NOW + 5 * SECOND, b"n" * 20)
    assert credential.coverage == TG1.coverage
    with pytest.raises(AttributeError, match="write-once"):
        request.prove(credential, request.principal)  # type: ignore[arg-type]


# --- the key changes: conditions, recheck, following ---------------------------------------------------------------


class Follows:
    """Keys that note what they are told, and stand as the test says."""

    colour: Colour = "instant"

    def __init__(self) -> None:
        self.keys, self.uses, self.renewed, self.asked = (
            make_keys(),
            list[tuple[str, int]](),
            0,
            list[tuple[str, int]](),
        )
        self.up = True

    async def find(self, id: str, /) -> KeyRecord | None:
        return await self.keys.find(id)

    def stands(self, id: str, at: int, /) -> bool:
        self.asked.append((id, at))
        return self.up

    def used(self, record: KeyRecord, at: int, /) -> None:
        self.uses.append((record.id, at))

    def renew(self) -> None:
        self.renewed += 1


def test_it_asks_that_the_version_is_above_the_number_of_the_key(run: Run) -> None:
    check, request = Signature(Watched()), sign(TRADER)
    assert check.kinds == {Below}
    assert list(check.conditions(request)) == []  # nobody is proved yet
    assert isinstance(run(make_guard([check, Freshness(), Scope(), Replay()]).admit(request)), Grant)
    assert list(check.conditions(request)) == [Below(("key:trader",), 1)]


def test_an_unsigned_request_has_no_condition() -> None:
    assert list(Signature(Watched()).conditions(make_request("GET", b"/v1/time"))) == []


@pytest.mark.parametrize(
    ("version", "number", "passes"), [(1, 0, True), (2, 1, True), (1, 1, False), (2, 2, False), (2, 9, False)]
)
def test_a_key_passes_whose_version_is_above_the_number(version: int, number: int, passes: bool, run: Run) -> None:
    state = Memory(since=1)
    run(state.lift(key_number("mine"), number))
    decision = run(
        _guard(MemoryKeys([_mine()]) if version == 1 else _second(), rows=(TG1,), state=state).admit(sign(MINE))
    )
    assert isinstance(decision, Grant) == passes
    if isinstance(decision, Denial):
        face = (decision.code, decision.status, decision.executed, decision.retry_after)
        assert face == ("signature.superseded", 503, False, 1)


def _mine(**fields: Any) -> KeyRecord:
    return KeyRecord(id="mine", dialect="tg1", material=Hmac(SECRET), scopes={"orders:read"}, **fields)


def _second() -> MemoryKeys:
    return MemoryKeys([_mine(), _mine(version=2)])


def test_the_number_of_one_key_stops_no_other(run: Run) -> None:
    state = Memory(since=1)
    for id in ("trader", "min", "mine2", "mine:1", "MINE"):
        run(state.lift(key_number(id), 99))
    assert isinstance(run(_guard(MemoryKeys([_mine()]), rows=(TG1,), state=state).admit(sign(MINE))), Grant)


def test_a_superseded_key_makes_this_node_look_again(run: Run) -> None:
    keys, state = Follows(), Memory(since=1)
    guard = _guard(keys, state=state)
    assert isinstance(run(guard.admit(sign(TRADER))), Grant)
    assert keys.renewed == 0
    run(state.lift(key_number("trader"), 1))
    assert run(guard.admit(sign(TRADER))).code == "signature.superseded"
    assert keys.renewed == 1


def test_a_store_that_is_not_followed_is_not_told(run: Run) -> None:
    state = Memory(since=1)
    run(state.lift(key_number("trader"), 1))
    assert run(_guard(Watched(), state=state).admit(sign(TRADER))).code == "signature.superseded"


def test_a_use_is_noted_once_the_proof_holds_and_never_for_strangers(run: Run) -> None:
    keys = Follows()
    guard = _guard(keys)
    for request in (_wrong(sign(TRADER)), sign(NOBODY), sign(BINA_AS_TG1), sign(TRADER, target=b"/v1/nowhere")):
        run(guard.admit(request))
    assert keys.uses == [("trader", NOW)]  # the last one: who it was is proved, whatever was asked
    for state in STATES:
        mine = KeyRecord(
            id=state, dialect="tg1", material=Hmac(state.encode() * 4), scopes={"orders:read"}, state=state
        )
        keys.keys.put_now(mine)
        run(guard.admit(sign(Signer(TG1, state, state.encode() * 4))))
    assert len(keys.uses) == 1


def test_a_grant_is_looked_at_again_by_this_nodes_view(run: Run) -> None:
    keys = Follows()
    grant = run(_guard(keys).admit(sign(TRADER)))
    assert isinstance(grant, Grant)
    assert grant.recheck() is None
    assert keys.asked == [("trader", NOW)]
    keys.up = False
    denial = grant.recheck()
    assert denial is not None
    assert (denial.code, denial.status, denial.executed) == ("signature.revoked", 403, False)


@pytest.mark.parametrize("state", ["suspended", "revoked", "compromised"])
def test_a_grant_does_not_outlive_its_revocation(state: KeyState, run: Run) -> None:
    keys = MemoryKeys([_mine()])
    grant = run(_guard(keys, rows=(TG1,)).admit(sign(MINE)))
    assert grant.recheck() is None
    keys.put_now(_mine(state=state, version=2))
    assert grant.recheck().code == "signature.revoked"


def test_a_grant_of_a_key_that_was_rotated_stands_until_the_overlap_is_over(run: Run) -> None:
    keys, clock = MemoryKeys([_mine()]), StillClock()
    grant = run(_guard(keys, rows=(TG1,), runtime=clock).admit(sign(MINE)))
    keys.put_now(_mine(state="retiring", successor="new", expires=NOW + SECOND, version=2))
    assert grant.recheck() is None
    clock.at = NOW + SECOND
    assert grant.recheck().code == "signature.revoked"


def test_an_expiry_is_told_as_such_before_a_revocation(run: Run) -> None:
    keys, clock = Follows(), StillClock()
    keys.keys.put_now(
        KeyRecord(id="ends", dialect="tg1", material=Hmac(b"e" * 32), scopes={"orders:read"}, expires=NOW + 1)
    )
    grant = run(_guard(keys, runtime=clock).admit(sign(Signer(TG1, "ends", b"e" * 32))))
    clock.at, keys.up = NOW + 1, False
    assert grant.recheck().code == "signature.expired"


def test_over_a_store_that_is_not_followed_only_the_expiry_is_looked_at(run: Run) -> None:
    keys = Watched()
    grant = run(_guard(keys).admit(sign(TRADER)))
    keys.keys.put_now(replace(run(keys.keys.find("trader")), state="revoked", version=2))
    assert grant.recheck() is None
