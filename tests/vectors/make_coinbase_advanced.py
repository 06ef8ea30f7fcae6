"""Write coinbase_advanced.json: what Coinbase's own Python client sends, with keys made for it.

It needs an environment of its own, since coinbase-advanced-py wants an older `websockets` than the tests:

    python -m venv /tmp/coinbase && /tmp/coinbase/bin/pip install coinbase-advanced-py cryptography
    /tmp/coinbase/bin/python tests/vectors/make_coinbase_advanced.py > tests/vectors/coinbase_advanced.json
"""

import json
import os
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coinbase import __version__  # type: ignore[import-not-found, unused-ignore]  # installed as said above
from coinbase.rest import RESTClient  # type: ignore[import-not-found, unused-ignore]
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

sys.path.insert(0, str(Path(__file__).parents[1]))
from signing.coinbase_wire import make_certificate, recording

ACT: dict[str, Callable[[Any], Any]] = {
    "GET": lambda client: client.get_accounts(),
    "GET with a query": lambda client: client.get_products(limit=3, product_ids=["BTC-USD", "ETH-USD"]),
    "POST": lambda client: client.limit_order_gtc_buy("an-id", "BTC-USD", base_size="0.1", limit_price="10.5"),
    "POST, tricky": lambda client: client.create_portfolio("a b c/d~*'()é&=%"),
    "PUT": lambda client: client.edit_portfolio("b9d5b2ee-0000", "other"),
    "DELETE": lambda client: client.delete_portfolio("b9d5b2ee-0000"),
}


def make_requests(folder: Path) -> Iterator[dict[str, Any]]:
    """Do each act with each kind of key."""
    curve, edward = ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()
    pem = curve.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    raw = b64encode(edward.private_bytes_raw() + edward.public_key().public_bytes_raw()).decode()
    certificate = make_certificate(folder)
    os.environ["REQUESTS_CA_BUNDLE"] = str(certificate)
    for key, secret in ((curve, pem), (edward, raw)):
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for act, do in ACT.items():
            with recording(certificate) as wire:
                client = RESTClient("d2efa49a-369c-43d7-a60e-ae26e28853c2", secret, base_url=wire.authority)
                do(client)
            (sent,) = wire.sent
            yield {
                "act": act,
                "algorithm": "ed25519" if isinstance(key, Ed25519PrivateKey) else "ecdsa-p256-sha256",
                "key_id": client.api_key,
                "public": public,
                **sent._asdict(),
                "body": sent.body.hex(),
            }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        tests = list(make_requests(Path(folder)))
    json.dump({"client": f"coinbase-advanced-py {__version__.__version__}", "tests": tests}, sys.stdout, indent=1)
    print()
