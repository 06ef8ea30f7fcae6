"""What `Signature` does beyond the signature: passphrases, keys that must be held to networks, two claims at once."""

from base64 import b64encode
from typing import Any

import pytest
from conftest import Run
from support import NOW, SECRET, make_guard, make_request

from tradeguard.backends.memory import MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.core.decision import Decision, Denial, Grant
from tradeguard.core.key import KeyRecord
from tradeguard.core.policy import Operations
from tradeguard.core.request import Request
from tradeguard.signing.material import Hmac
from tradeguard.signing.row import Row
from tradeguard.signing.rows import CRYPTOCOM, HTX, KRAKEN_FUTURES, KUCOIN, MEXC_CONTRACT, OKX
from tradeguard.signing.signer import Outgoing, Signer

MATERIAL = Hmac(SECRET)
PHRASE = "correct horse battery"
OPERATIONS = Operations({
    "GET /orders": "orders:read",
    "POST /orders": "orders:write",
    "GET /open": {"lane": "public"},
    "POST /exchange/v1/private/create-order": "orders:write",
    "POST /exchange/v1/public/look": {"lane": "public"},
})  # fmt: skip


def _record(row: Row, **fields: Any) -> KeyRecord:
    given: dict[str, Any] = {"scopes": ["orders:read", "orders:write"], "material": MATERIAL, **fields}
    return KeyRecord(id="key", dialect=row.name, **given)


def _ask(run: Run, record: KeyRecord, request: Request, *rows: Row) -> Decision:
    names = [row.name for row in rows]
    signature = Signature(MemoryKeys([record]), dialects=rows, accept=names)
    guard = make_guard([signature, Freshness(), Scope(), Replay()], operations=OPERATIONS)
    decision: Decision = run(guard.admit(request))
    return decision


def _signed(row: Row, signer: Signer | None = None, out: Outgoing | None = None, **changed: Any) -> Request:
    signer = signer or Signer(row, "key", SECRET, PHRASE)
    sent = signer.sign(out or Outgoing("GET", "api.example", b"/orders"), NOW)
    changes = {name.replace("_", "-").encode(): value for name, value in changed.items()}
    fields = [(name, changes.get(name, value)) for name, value in sent.headers]
    fields += [(b"content-type", sent.content_type)] if sent.content_type else []
    kept = [(name, value) for name, value in fields if value is not None]
    return make_request(sent.method, sent.target, body=sent.body, headers=kept)


def _code(decision: Decision) -> str:
    return decision.code if isinstance(decision, Denial) else "granted"


@pytest.mark.parametrize("row", [OKX, KUCOIN], ids=["plain", "hashed"])
def test_the_passphrase_of_the_key_is_asked_for(row: Row, run: Run) -> None:
    record = _record(row, passphrase=MATERIAL.blind(PHRASE.encode()).hex())
    assert _code(_ask(run, record, _signed(row), row)) == "granted"
    wrong = Signer(row, "key", SECRET, "correct horse batterY")
    decision = _ask(run, record, _signed(row, wrong), row)
    assert isinstance(decision, Denial)
    assert (decision.code, decision.public, decision.status) == ("signature.passphrase", "unauthorized", 401)


@pytest.mark.parametrize("version", [b"1", None], ids=["version 1", "no version"])
def test_a_passphrase_of_the_first_version_is_sent_as_it_is(version: bytes | None, run: Run) -> None:
    record = _record(KUCOIN, passphrase=MATERIAL.blind(PHRASE.encode()).hex())
    request = _signed(KUCOIN, kc_api_key_version=version, kc_api_passphrase=PHRASE.encode())
    assert _code(_ask(run, record, request, KUCOIN)) == "granted"
    hashed = _signed(KUCOIN, kc_api_key_version=version)
    assert _code(_ask(run, record, hashed, KUCOIN)) == "signature.passphrase"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"ok_access_passphrase": None}, "place.field"),
        ({"ok_access_passphrase": b""}, "place.field"),
        ({"ok_access_passphrase": b"p" * 129}, "place.field"),
        ({"ok_access_passphrase": b"\xff\xfe"}, "signature.passphrase"),
    ],
    ids=["missing", "empty", "too long", "no text"],
)
def test_a_passphrase_that_is_none_is_refused(changed: dict[str, Any], code: str, run: Run) -> None:
    record = _record(OKX, passphrase=MATERIAL.blind(PHRASE.encode()).hex())
    assert _code(_ask(run, record, _signed(OKX, **changed), OKX)) == code


@pytest.mark.parametrize("value", [b"4", b"02", b"2.0", b"two", b""])
def test_a_version_that_there_is_not_is_refused(value: bytes, run: Run) -> None:
    record = _record(KUCOIN, passphrase=MATERIAL.blind(PHRASE.encode()).hex())
    assert _code(_ask(run, record, _signed(KUCOIN, kc_api_key_version=value), KUCOIN)) == "place.field"


def test_nobody_knows_the_passphrase_of_a_key_that_has_none(run: Run) -> None:
    """Not even who sends the HMAC of nothing."""
    assert _code(_ask(run, _record(OKX), _signed(OKX), OKX)) == "signature.passphrase"
    empty = Signer(KUCOIN, "key", SECRET, "")
    assert _code(_ask(run, _record(KUCOIN), _signed(KUCOIN, empty), KUCOIN)) == "signature.passphrase"


def test_a_passphrase_says_nothing_before_the_signature_holds(run: Run) -> None:
    """Who has the passphrase alone learns as little from an answer as who has neither."""
    record = _record(OKX, passphrase=MATERIAL.blind(PHRASE.encode()).hex())
    for phrase in (PHRASE, "another"):
        stranger = Signer(OKX, "key", b"another secret of 32 bytes, or so", phrase)
        assert _code(_ask(run, record, _signed(OKX, stranger), OKX)) == "signature.wrong"


@pytest.mark.parametrize(
    ("networks", "code"),
    [([], "signature.unbound"), (["127.0.0.0/8"], "granted")],
    ids=["anywhere", "held to networks"],
)
def test_a_key_of_a_dialect_that_leaves_bodies_unsigned_must_be_held_to_networks(
    networks: list[str], code: str, run: Run
) -> None:
    out = Outgoing("POST", "api.example", b"/orders", b"application/json", b'{"amount":"1"}')
    record = _record(HTX, networks=networks)
    decision = _ask(run, record, _signed(HTX, Signer(HTX, "key", SECRET), out), HTX)
    assert _code(decision) == code
    if isinstance(decision, Denial):
        assert (decision.status, decision.executed) == (403, False)


@pytest.mark.parametrize("row", [KRAKEN_FUTURES, MEXC_CONTRACT], ids=lambda row: row.name)
def test_two_dialects_that_name_the_key_alike_are_told_apart_by_what_is_signed(row: Row, run: Run) -> None:
    path = f"{row.mount}/orders".encode()
    operations = Operations({f"GET {row.mount}/orders": "orders:read"})
    secret, raw = SECRET, SECRET
    if row.secret == "base64":
        secret, raw = b64encode(SECRET), SECRET
    material = Hmac(raw, next(iter(row.algorithms)))
    record = _record(row, material=material)
    both = (KRAKEN_FUTURES, MEXC_CONTRACT)
    signature = Signature(MemoryKeys([record]), dialects=both, accept=[one.name for one in both])
    guard = make_guard([signature, Freshness(), Scope(), Replay()], operations=operations)
    request = _signed(row, Signer(row, "key", secret), Outgoing("GET", "api.example", path))
    assert isinstance(run(guard.admit(request)), Grant)


def test_the_key_in_a_body_is_found_and_a_public_body_is_nobodys_credential(run: Run) -> None:
    out = Outgoing("POST", "api.example", b"/exchange/v1/private/create-order", b"application/json", b'{"price":"1"}')
    request = _signed(CRYPTOCOM, Signer(CRYPTOCOM, "key", SECRET), out)
    assert isinstance(_ask(run, _record(CRYPTOCOM), request, CRYPTOCOM), Grant)
    assert request.claim is not None
    assert request.claim.key_id == "key"
    fields = [(b"content-type", b"application/json")]
    anybody = make_request("POST", b"/exchange/v1/public/look", body=b'{"a":1}', headers=fields)
    assert isinstance(_ask(run, _record(CRYPTOCOM), anybody, CRYPTOCOM), Grant)
    nobody = make_request("POST", b"/exchange/v1/private/create-order", body=b'{"a":1}', headers=fields)
    assert _code(_ask(run, _record(CRYPTOCOM), nobody, CRYPTOCOM)) in ("place.field", "source.boundary")
