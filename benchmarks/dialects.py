"""Measure what it takes to verify one request of each dialect, beside the primitive and three peers.

    python benchmarks/dialects.py [--rounds 9]

A subject reads the claim, reads the fields, composes the signed text and verifies the signature: all that `Signature`
does but the look-up of the key; as there, the material is awaited in a coroutine that is already running. The request
is an order with a body (or a query, where that is what is signed) of 1 KiB, signed by the row's own signer. Everything
is timed in one run, in short bursts in random order; the figure is the fastest burst, and the ratio is to `hmac.digest`
of 1 KiB in the same run.
"""

import argparse
import hashlib
import hmac
import random
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, NamedTuple

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tradeguard.core.drive import drive
from tradeguard.core.key import Material
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.signing.algorithm import ED25519, HMACS, RSA_SHA256
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED, NAME
from tradeguard.signing.dialect import Reader
from tradeguard.signing.material import EcdsaP256, Ed25519, Hmac, Rsa
from tradeguard.signing.message import FORM
from tradeguard.signing.place import Field
from tradeguard.signing.row import Row
from tradeguard.signing.rows import ROWS
from tradeguard.signing.signer import Outgoing, Signer
from tradeguard.signing.source import Sources
from tradeguard.signing.verifier import Verifier

hawk: Any = import_module("mohawk")  # untyped
hms: Any = import_module("http_message_signatures")
SECRET = b"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # text, and base64 of 32 bytes
EDWARD, RIVEST = Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
CURVE = generate_private_key(SECP256R1())
NOW = time.time_ns()
BURST = 200


class Subject(NamedTuple):
    """What is timed: `burst` does it so many times."""

    name: str
    mark: str
    burst: Callable[[int], None]


def calls(name: str, call: Callable[[], object]) -> Subject:
    """A subject without a mark that is one call."""

    def burst(count: int) -> None:
        for _ in range(count):
            call()

    return Subject(name, "", burst)


def order(row: Row) -> Outgoing:
    """An order of about 1 KiB, in the shape that a row signs."""
    path = f"{row.mount}/private/create-order".encode()
    if row.body in ("form", "any") and (isinstance(row.nonce, Field) or "form" in row.parts or row.body == "form"):
        return Outgoing("POST", "api.example", path, FORM, b"symbol=BTCUSD&side=BUY&note=" + b"x" * 996)
    if row.body == "none" or "body" not in row.coverage:
        return Outgoing("POST", "api.example", path + b"?symbol=BTCUSD&side=BUY&note=" + b"x" * 996)
    body = b'{"symbol":"BTCUSD","side":"BUY","note":"' + b"x" * 984 + b'"}'
    return Outgoing("POST", "api.example", path, b"application/json", body)


def received(sent: Outgoing) -> Request:
    """What an adapter would make of it, behind the frame."""
    headers = [(b"host", sent.authority.encode()), (b"content-length", b"%d" % len(sent.body)), *sent.headers]
    headers += [(b"content-type", sent.content_type)] if sent.content_type else []
    path = sent.target.partition(b"?")[0].decode()
    request = Request(
        id="0" * 32, method=sent.method, target=sent.target, path=path, headers=Headers(headers), peer=Peer(),
        arrived=NOW, body=sent.body,
    )  # fmt: skip
    request.authority, request.length = sent.authority.encode(), len(sent.body)
    return request


def keys(row: Row, algorithm: str) -> tuple[Signer, Material]:
    """A client's signer, and what verifies it."""
    if algorithm == ED25519:
        return Signer(row, "key", EDWARD, "phrase"), Ed25519(EDWARD.public_key().public_bytes_raw())
    if algorithm == RSA_SHA256:
        der = RIVEST.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Signer(row, "key", RIVEST, "phrase"), Rsa(der)
    raw = b"0123456789abcdef0123456789abcdef" if row.secret == "base64" else SECRET
    return Signer(row, "key", SECRET, "phrase"), Hmac(raw, algorithm)


def subject(row: Row, algorithm: str) -> Subject:
    """Verifying one request of a row."""
    signer, material = keys(row, algorithm)
    mark = "primitive + 15 us" if algorithm not in HMACS else "8" if Sources(row).needed else "3"
    return verifying(f"{row.name} {algorithm}", mark, signer.sign(order(row), NOW), material, Verifier(row))


def tokens() -> Iterable[Subject]:
    """Verifying one request of Coinbase Advanced, with each of its algorithms."""
    out = Outgoing("POST", "api.example", b"/api/v3/brokerage/orders", b"application/json", b'{"side":"BUY"}')
    curve = CURVE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pairs = ((CURVE, EcdsaP256(curve)), (EDWARD, Ed25519(EDWARD.public_key().public_bytes_raw())))
    for key, material in pairs:
        sent, name = COINBASE_ADVANCED.make_signer("key", key).sign(out, NOW), f"{NAME} {material.algorithm}"
        yield verifying(name, "primitive + 15 us", sent, material, COINBASE_ADVANCED.reader())


def verifying(name: str, mark: str, sent: Outgoing, material: Material, verifier: Reader) -> Subject:
    """Verifying one request: claim, fields, signed text, signature."""
    request = received(sent)
    body = drive(request.body())

    async def verify(count: int) -> None:
        for _ in range(count):
            claim = verifier.claim(request)
            assert claim is not None
            signed = verifier.read(request, claim, body)
            assert await material.verify(signed.message, signed.signature)

    return Subject(name, mark, lambda count: drive(verify(count)))


def primitives() -> Iterable[Subject]:
    """The floors."""
    text = b"x" * 1024
    signature, edward = RIVEST.sign(text, padding.PKCS1v15(), SHA256()), EDWARD.sign(text)
    public, point = RIVEST.public_key(), EDWARD.public_key()
    yield calls("hmac.digest, 1 KiB", lambda: hmac.digest(SECRET, text, "sha256"))
    yield calls("hmac.digest, 1 KiB, SHA-512", lambda: hmac.digest(SECRET, text, "sha512"))
    yield calls("sha256, 1 KiB", lambda: hashlib.sha256(text).digest())
    yield calls("RSA-2048 verify", lambda: public.verify(signature, text, padding.PKCS1v15(), SHA256()))
    curve, hashed = CURVE.public_key(), ECDSA(SHA256())
    signed = CURVE.sign(text, hashed)
    yield calls("ECDSA P-256 verify", lambda: curve.verify(signed, text, hashed))
    yield calls("Ed25519 verify", lambda: point.verify(edward, text))


def peers() -> Iterable[Subject]:
    """What verifies signatures elsewhere: PyJWT, Hawk, HTTP Message Signatures."""
    secret = SECRET.decode()
    token = jwt.encode({"nbf": NOW // 10**9, "exp": NOW // 10**9 + 3600}, secret, "HS256")
    yield calls("PyJWT HS256", lambda: jwt.decode(token, secret, ["HS256"]))
    known = {"id": "key", "key": secret, "algorithm": "sha256"}

    def known_as(_id: str) -> dict[str, str]:
        return known

    def never_seen(*_: str) -> bool:
        return False

    url, body, kind = "https://api.example/v1/orders", "x" * 1024, "text/plain"
    sender = hawk.Sender(known, url, "POST", content=body, content_type=kind)
    yield calls(
        "mohawk",
        lambda: hawk.Receiver(
            known_as, sender.request_header, url, "POST", content=body, content_type=kind,
            accept_untrusted_content=False, seen_nonce=never_seen, timestamp_skew_in_seconds=3600,
        ),
    )  # fmt: skip
    yield http_signatures()


def http_signatures() -> Subject:
    """RFC 9421 with HMAC, by http-message-signatures."""

    def resolve(_self: object, _key_id: str) -> bytes:
        return SECRET

    known = {"resolve_public_key": resolve, "resolve_private_key": resolve}
    one = type("One", (hms.HTTPSignatureKeyResolver,), known)()

    message = requests.Request(
        "POST", "https://api.example/v1/orders", data="x" * 1024, headers={"Content-Type": "text/plain"}
    ).prepare()
    covered = ("@method", "@authority", "@target-uri")
    hms.HTTPMessageSigner(signature_algorithm=hms.algorithms.HMAC_SHA256, key_resolver=one).sign(
        message, key_id="key", covered_component_ids=covered
    )
    verifier = hms.HTTPMessageVerifier(signature_algorithm=hms.algorithms.HMAC_SHA256, key_resolver=one)
    return calls("http-message-signatures, without body", lambda: verifier.verify(message))


def subjects() -> list[Subject]:
    """All of them."""
    rows = [subject(row, algorithm) for row in ROWS.values() for algorithm in row.algorithms]
    return [*primitives(), *rows, *tokens(), *peers()]


def measure(rounds: int) -> list[tuple[Subject, float]]:
    """Time every subject in short bursts, in random order; return the fastest burst of each, in µs."""
    known = subjects()
    best = dict.fromkeys(range(len(known)), float("inf"))
    for _ in range(rounds):
        for place in random.sample(range(len(known)), len(known)):
            began = time.perf_counter()
            known[place].burst(BURST)
            best[place] = min(best[place], (time.perf_counter() - began) / BURST * 1e6)
    return [(subject, best[place]) for place, subject in enumerate(known)]


def report(rounds: int) -> list[str]:
    """Return the section of results.md."""
    found = measure(rounds)
    floor = found[0][1]
    lines = [
        "Each dialect: claim, fields, signed text and signature of one order of 1 KiB, without the look-up of the key.",
        f"The fastest of {rounds} bursts of {BURST}.",
        "",
        "| subject | µs | x hmac.digest 1 KiB | mark |",
        "|---|---:|---:|---|",
    ]
    lines += [f"| {one.name} | {took:.1f} | {took / floor:.2f} | {one.mark} |" for one, took in found]
    return [*lines, ""]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    print("\n".join(report(parser.parse_args().rounds)))
