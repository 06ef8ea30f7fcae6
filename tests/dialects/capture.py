"""Make the captures in tests/vectors/dialects again: `PYTHONPATH=tests python tests/dialects/capture.py [VENUE ...]`.

They are requests of unmodified clients, signed with test keys at the time of recording: a venue's file says what each
client sends, and it does not change until someone runs this. The asymmetric test keys are made once and then kept.
"""

import base64
import json
import sys
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from dialects.recorder import Answer, Recorded, recording
from dialects.sdk import CLIENTS, perform_with
from dialects.venues import VECTORS, VENUES, credentials_of

NOTE = "TEST keys: made for these vectors, published here, of no use anywhere else."


def make_keys() -> dict[str, str]:
    """Private keys by algorithm, as PEM; Coinbase has Ed25519 as base64 of seed and public key."""
    pem = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    edward = ed25519.Ed25519PrivateKey.generate()
    curve = ec.generate_private_key(ec.SECP256R1())
    return {
        "rsa-pkcs1-sha256": rsa.generate_private_key(65537, 2048).private_bytes(*pem).decode(),
        "ed25519": edward.private_bytes(*pem).decode(),
        "ecdsa-p256-sha256": curve.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        ).decode(),
        "coinbase-advanced ed25519": base64.b64encode(
            edward.private_bytes_raw() + edward.public_key().public_bytes_raw()
        ).decode(),
    }


def record(venue: str) -> Iterable[dict[str, Any]]:
    """A venue's requests, client by client and call by call, each beside the key it was signed with."""
    for client in CLIENTS:
        for algorithm, calls in client.tries(venue):
            key = credentials_of(venue, algorithm)
            with recording(Answer(200, VENUES[venue].fine.encode())) as recorder:
                outcomes = perform_with(client.name, venue, recorder.url, key, calls)
            made = [outcome["call"] for outcome in outcomes]
            if len(made) != len(recorder.requests):
                raise AssertionError(f"{client.name} at {venue}: {len(recorder.requests)} requests for {outcomes}")
            about = {"venue": venue, "client": f"{client.name} {client.version()}", "algorithm": key.algorithm}
            for call, request in zip(made, recorder.requests, strict=True):
                yield {**about, "call": call, "key_id": key.key_id, "secret": key.secret,
                       "passphrase": key.passphrase, **wire_of(request)}  # fmt: skip


def wire_of(request: Recorded) -> dict[str, Any]:
    """A recorded request as it stands in a file of captures."""
    return {
        "at": request.at,
        "method": request.method,
        "target": request.target,
        "headers": [list(header) for header in request.headers],
        "body": base64.b64encode(request.body).decode(),
        "text": request.body.decode(errors="replace"),
    }


def main(names: list[str]) -> None:
    """Write the file of each venue named, or of all."""
    VECTORS.mkdir(exist_ok=True)
    keys = VECTORS / "keys.json"
    if not keys.exists():
        keys.write_text(json.dumps({"note": NOTE, "keys": make_keys()}, indent=1) + "\n")
    for venue in names or VENUES:
        made = list(record(venue))
        (VECTORS / f"{venue}.json").write_text(json.dumps({"note": NOTE, "requests": made}, indent=1) + "\n")
        print(f"{venue}: {len(made)} requests of {len({one['client'] for one in made})} clients")


if __name__ == "__main__":
    main(sys.argv[1:])
