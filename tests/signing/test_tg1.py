"""The `tg1` dialect, byte for byte: our vectors, made without tradeguard, against the verifier and the signer."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from conftest import Run
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support import MS, NOW, TRADER, make_guard, make_keys, make_request
from vectors.make_tg1 import make_vectors

from tradeguard.checks.signature import Signature
from tradeguard.core.decision import Decision, Denial, Grant
from tradeguard.core.frame import check_frame
from tradeguard.core.guard import Guard
from tradeguard.core.key import Material
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.request import Request
from tradeguard.signing.material import Ed25519, Hmac
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Outgoing, Signer
from tradeguard.signing.verifier import Verifier

FILE = json.loads((Path(__file__).parent.parent / "vectors" / "tg1.json").read_text())
VERIFIER = Verifier(TG1)
by_name = pytest.mark.parametrize("vector", FILE["tests"], ids=lambda vector: vector["name"])


def _material(key: Any) -> Material:
    return Hmac(bytes.fromhex(key["secret"])) if "secret" in key else Ed25519(bytes.fromhex(key["public"]))


def _signer(vector: Any) -> Signer:
    key = FILE["keys"][vector["key"]]
    secret = bytes.fromhex(key.get("secret", ""))
    return Signer(TG1, vector["key"], secret or Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key["private"])))


def _request(vector: Any) -> Request:
    headers = {
        b"host": vector["host"],
        b"tg-key": vector["key"],
        b"tg-time": str(vector["time_ms"]),
        b"tg-nonce": vector["nonce"],
        b"tg-signature": vector["signature"],
    }
    if vector["content_type"]:
        headers[b"content-type"] = vector["content_type"]
    body = bytes.fromhex(vector["body"])
    fields = [(name, value.encode()) for name, value in headers.items()] + [(b"content-length", b"%d" % len(body))]
    request = make_request(
        vector["method"],
        vector["target"].encode(),
        headers=fields,
        body=body,
        path=unquote(vector["target"].partition("?")[0]),
        scheme=vector["scheme"],
    )
    check_frame(request, Policy())
    return request


def test_the_file_is_what_the_independent_script_writes() -> None:
    assert make_vectors() == FILE
    covered = {(vector["method"], FILE["keys"][vector["key"]]["algorithm"]) for vector in FILE["tests"]}
    assert covered >= {(m, a) for m in ("GET", "POST", "DELETE") for a in ("hmac-sha256", "ed25519")}


@by_name
def test_the_verifier_composes_the_signed_text_and_the_signature_holds(vector: Any, run: Run) -> None:
    request = _request(vector)
    claim = VERIFIER.claim(request)
    assert claim is not None
    assert (claim.dialect, claim.key_id, claim.bare) == ("tg1", vector["key"], False)
    signed = VERIFIER.read(request, claim, bytes.fromhex(vector["body"]))
    assert signed.message.decode() == vector["signed_text"]
    assert request.authority.decode() == vector["authority"]
    assert (signed.signed_at, signed.nonce) == (vector["time_ms"] * MS, vector["nonce"].encode())
    key = FILE["keys"][vector["key"]]
    assert signed.algorithm == key["algorithm"]
    assert run(_material(key).verify(signed.message, signed.signature)) is True
    assert run(_material(key).verify(signed.message + b"\n", signed.signature)) is False


@by_name
def test_the_signer_makes_the_same_signature(vector: Any) -> None:
    content_type, body = vector["content_type"].encode(), bytes.fromhex(vector["body"])
    unsigned = Outgoing(vector["method"], vector["authority"], vector["target"].encode(), content_type, body)
    signed = _signer(vector).sign(unsigned, vector["time_ms"] * MS + 999_999, vector["nonce"].encode())
    assert signed == unsigned._replace(
        headers=(
            (b"tg-key", vector["key"].encode()),
            (b"tg-time", str(vector["time_ms"]).encode()),
            (b"tg-nonce", vector["nonce"].encode()),
            (b"tg-signature", vector["signature"].encode()),
        )
    )


@by_name
def test_the_body_is_hashed_as_it_is_sent(vector: Any) -> None:
    assert vector["signed_text"].endswith("\n" + vector["body_sha256"])
    assert vector["signed_text"].count("\n") == str(TG1.message).count("\n")


# --- shifting boundaries -------------------------------------------------------------------------------------------

EVERYTHING = Operations({f"{method} /**": "orders:write" for method in ("GET", "POST", "DELETE", "PUT")})
PARTS = ("key", "time", "nonce", "method", "authority", "target", "content_type", "body")
NEIGHBOURS = list(pairwise(PARTS))


def _proof_only() -> Guard:
    signature = Signature(make_keys())
    return make_guard([signature], operations=EVERYTHING, without=("freshness", "scope", "replay"))


def _captured() -> dict[str, bytes]:
    """A signed request by its parts; long enough everywhere to be shifted by several bytes."""
    body, kind, nonce = b"12345678 buy", b"text/plain", b"nonce-nonce-nonce-nonce"
    out = Outgoing("POST", "api.example", b"/v1/orders/1234?amount=10", kind, body)
    signed = dict(TRADER.sign(out, NOW, nonce).headers)
    return {
        "key": b"trader", "time": signed[b"tg-time"], "nonce": nonce, "method": b"POST", "authority": b"api.example",
        "target": out.target, "content_type": kind, "body": body, "signature": signed[b"tg-signature"],
    }  # fmt: skip


def _send(parts: dict[str, bytes], run: Run) -> Decision:
    headers = [
        (b"host", parts["authority"]), (b"tg-key", parts["key"]), (b"tg-time", parts["time"]),
        (b"tg-nonce", parts["nonce"]), (b"tg-signature", parts["signature"]), (b"content-type", parts["content_type"]),
    ]  # fmt: skip
    method, target = parts["method"].decode("latin-1"), parts["target"]
    decision: Decision = run(_proof_only().admit(make_request(method, target, body=parts["body"], headers=headers)))
    return decision


def test_the_capture_verifies_as_it_is(run: Run) -> None:
    assert isinstance(_send(_captured(), run), Grant)


@pytest.mark.parametrize("seam", [b"", b"\n"], ids=["shifted", "shifted with the separator"])
@pytest.mark.parametrize("forward", [True, False], ids=["forward", "backward"])
@pytest.mark.parametrize(("left", "right"), NEIGHBOURS, ids="-".join)
def test_no_k_bytes_shift_between_neighbours(left: str, right: str, forward: bool, seam: bytes, run: Run) -> None:
    """Also with the newline that stands between them, so that the signed text would stay the same."""
    captured = _captured()
    a, b = captured[left], captured[right]
    for k in range(1, len(a if forward else b) + 1):
        ahead, back = {left: a[:-k], right: a[-k:] + seam + b}, {left: a + seam + b[:k], right: b[k:]}
        decision = _send({**captured, **(ahead if forward else back)}, run)
        assert isinstance(decision, Denial)
        assert decision.status in (400, 401, 501)


@pytest.mark.parametrize(("left", "right"), NEIGHBOURS, ids="-".join)
def test_neighbours_do_not_change_places(left: str, right: str, run: Run) -> None:
    captured = _captured()
    swapped = {**captured, left: captured[right], right: captured[left]}
    assert isinstance(_send(swapped, run), Denial)
