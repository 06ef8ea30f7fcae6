"""Example: a request of a venue, signed with keys that open nothing; it is what the page for customers shows."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import quote_path
from tradeguard.core.policy import Operation
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.signing.algorithm import ED25519, HMACS, RSA_SHA256
from tradeguard.signing.guards import LITERAL
from tradeguard.signing.message import FORM, Facts
from tradeguard.signing.place import Field
from tradeguard.signing.row import Parameter, Row
from tradeguard.signing.sent import read_sent
from tradeguard.signing.signer import Outgoing, Signer

EXAMPLE_KEY: Final = "example-key"
EXAMPLE_SECRET: Final = b"an example secret that opens nothing"
EXAMPLE_PHRASE: Final = "an example passphrase"
EXAMPLE_SEED: Final = bytes(range(32))
EXAMPLE_AT: Final = 1_795_000_000_000_000_000  # ns UTC
_BASE64: Final = "base64"
_NONCES: Final = {
    "token": b"bm90LXVzZWQtYmVmb3Jl", "uuid": b"6f1f6e1c-0a49-4f6b-9d0e-1f2a3b4c5d6e", "free": b"example-1",
}  # fmt: skip
_RSA: Final = files("tradeguard.signing").joinpath("snippets", "example_rsa.pem")
_ORDER: Final = b'{"symbol":"BTC-USD","side":"buy","quantity":"1"}'
_PARAMETERS: Final = b"symbol=BTC-USD&side=buy&quantity=1"


class Site(NamedTuple):
    """Where an API is: `scheme` and `authority`, the path it is mounted at, or empty, and its operations."""

    authority: str
    scheme: str
    prefix: str
    operations: Sequence[Operation]


def example_secret(row: Row) -> bytes:
    """Return the secret of the example as a client of the row holds it."""
    return b64encode(EXAMPLE_SECRET) if row.secret == _BASE64 else EXAMPLE_SECRET


def tell_key(row: Row, algorithm: str) -> str:
    """Return the key of the example in words."""
    if algorithm == ED25519:
        return f"the private key (RFC 8032) is `{EXAMPLE_SEED.hex()}`, in hex"
    if algorithm == RSA_SHA256:
        return "the private key is the one below"
    text = example_secret(row).decode()
    return f"the secret is `{text}`" if row.secret == _BASE64 else f"the secret is the text `{text}`, as bytes"


def example_rsa() -> str:
    """Return the RSA key of the example, in PEM."""
    return _RSA.read_text("ascii").strip()


def make_example_signer(row: Row, algorithm: str) -> Signer:
    """Return the signer of the example.

    Raises:
        ConfigError: there is none for such keys.
    """
    phrase = EXAMPLE_PHRASE if row.passphrase is not None else None
    if algorithm in HMACS:
        return Signer(row, EXAMPLE_KEY, example_secret(row), phrase)
    key = load_pem_private_key(example_rsa().encode(), None)
    if algorithm == RSA_SHA256 and isinstance(key, RSAPrivateKey):
        return Signer(row, EXAMPLE_KEY, key, phrase)
    if algorithm == ED25519:
        return Signer(row, EXAMPLE_KEY, Ed25519PrivateKey.from_private_bytes(EXAMPLE_SEED), phrase)
    raise ConfigError(f"there is no example with {algorithm}")


def find_example(site: Site, row: Row) -> Outgoing | None:
    """Return a request that this venue has and the row can sign, unsigned: an order if there is one, else any."""
    signer = make_example_signer(row, next(iter(row.algorithms)))
    for request in _requests(site, row):
        try:
            signer.sign(request, EXAMPLE_AT, _NONCES.get(row.form))
        except ConfigError:  # this row cannot sign it; perhaps another operation
            continue
        return request
    return None


def sign_example(row: Row, request: Outgoing, algorithm: str) -> Outgoing:
    """Return the request with its credential."""
    return make_example_signer(row, algorithm).sign(request, EXAMPLE_AT, _NONCES.get(row.form))


def read_example(row: Row, signed: Outgoing, algorithm: str) -> Facts:
    """Return what is signed of a signed request, as its reader reads it."""
    kind = [(b"content-type", signed.content_type)] if signed.content_type else []
    request = Request(
        id="",
        method=signed.method,
        target=signed.target,
        path="",
        headers=Headers([(b"host", signed.authority.encode()), *kind, *signed.headers]),
        peer=Peer(),
        arrived=EXAMPLE_AT,
        body=signed.body,
    )
    return read_sent(row, request, signed.body).facts._replace(algorithm=algorithm.upper().encode())


def _requests(site: Site, row: Row) -> Iterator[Outgoing]:
    signed = [operation for operation in site.operations if operation.lane != "public"]
    orders = [operation for operation in signed if operation.id.startswith("POST ") and operation.lane == "order"]
    pairs = [operation.id.partition(" ") for operation in (*orders, *signed)] or [("GET", "", "/")]
    for method, _, path in pairs:
        if method in row.bodyless | {"OPTIONS"} and _needs_body(row):
            continue
        segments = ["1" if segment[:1] in ("{", "*") and segment else segment for segment in path.split("/")]
        target = quote_path(site.prefix + "/".join(segments))
        yield from _asked(site, row, method, target, "/".join(segments) == path)


def _asked(site: Site, row: Row, method: str, target: bytes, literal: bool) -> Iterator[Outgoing]:
    """Give a request of an operation; `literal`: its path is a plain one."""
    in_query = "query" in row.coverage and (literal or LITERAL not in row.guards)
    if method in row.bodyless or method == "OPTIONS" or (row.body == "none" and not row.in_text):
        yield Outgoing(method, site.authority, target + b"?limit=10" if in_query else target)
    elif row.body == "none":
        yield Outgoing(method, site.authority, target + b"?" + _PARAMETERS)
    elif row.body == "form" or ("form" in row.parts and isinstance(row.signature, Parameter)) or _is_posted(row):
        yield Outgoing(method, site.authority, target, FORM, _PARAMETERS)
    else:
        yield Outgoing(method, site.authority, target, b"application/json", _ORDER)


def _is_posted(row: Row) -> bool:
    """Tell whether fields stand among the parameters of a form."""
    return row.body != "json" and any(isinstance(place, Field) for place in row.places)


def _needs_body(row: Row) -> bool:
    return any(isinstance(place, Field) for place in row.places)
