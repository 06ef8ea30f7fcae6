"""RSA and Ed25519 keys of the `binance` dialect: one text of a signature counts, and a public key is no secret."""

import hmac
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from dialects.captured import captures, material_of, read, request_of, row_of, verifies
from dialects.ours import HOST, SECRET, decide, guard_of, key_of, signed, signer_of
from dialects.venues import credentials_of
from support import FORM, NOW, PRIVATE

from tradeguard.signing.material import Ed25519, Rsa
from tradeguard.signing.rows import BINANCE
from tradeguard.signing.signer import Outgoing, Signer

HEAD = (b"x-mbx-apikey", key_of(BINANCE).encode())
_RSA = load_pem_private_key(credentials_of("binance", "rsa-pkcs1-sha256").secret.encode(), None)
assert isinstance(_RSA, RSAPrivateKey)
PUBLIC = _RSA.public_key()
SIGNERS = {"rsa": Signer(BINANCE, key_of(BINANCE), _RSA), "ed25519": Signer(BINANCE, key_of(BINANCE), PRIVATE)}
MATERIALS: Mapping[str, Rsa | Ed25519] = {
    "rsa": Rsa(PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    "ed25519": Ed25519(PRIVATE.public_key().public_bytes_raw()),
}


def order(kind: str, *, in_form: bool = False) -> Outgoing:
    """An order whose signature holds all of + / and =, found by trying times: each is a character in 64."""
    for at in range(NOW, NOW + 300_000_000, 1_000_000):
        unsigned = Outgoing("POST", HOST, b"/api/v3/order?side=BUY")
        if in_form:
            unsigned = Outgoing("POST", HOST, b"/api/v3/order", FORM, b"side=BUY")
        out = SIGNERS[kind].sign(unsigned, at)
        if all(escape in (out.body or out.target) for escape in (b"%2B", b"%2F", b"%3D")):
            return out
    raise AssertionError("no signature has all of them")


def respelt(out: Outgoing, old: bytes, new: bytes) -> Outgoing:
    """The order with its signature spelt in another way."""
    head, mark, signature = out.target.rpartition(b"&signature=")
    return out._replace(target=head + mark + signature.replace(old, new))


@pytest.mark.parametrize("in_form", [False, True])
@pytest.mark.parametrize("kind", SIGNERS)
def test_a_signature_of_a_key_pair_is_read_in_the_query_and_in_the_form(kind: str, in_form: bool) -> None:
    guard = guard_of(BINANCE, materials={"binance": MATERIALS[kind]})
    assert decide(guard, order(kind, in_form=in_form)) == "granted"


@pytest.mark.parametrize(
    ("old", "new"), [(b"%2B", b"%2b"), (b"%2F", b"%2f"), (b"%3D", b"%3d"), (b"%2F", b"/"), (b"%3D", b"=")]
)
@pytest.mark.parametrize("kind", SIGNERS)
def test_another_escape_is_the_same_signature_of_the_same_message(kind: str, old: bytes, new: bytes) -> None:
    """It verifies, since clients differ; and it is used up with the message, however it is spelt."""
    guard, out = guard_of(BINANCE, materials={"binance": MATERIALS[kind]}), order(kind)
    assert decide(guard, respelt(out, old, new)) == "granted"
    assert decide(guard, out) == "replay.seen"


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"%2B", b"+"), (b"%2B", b"%20"), (b"%2B", b"-"), (b"%2F", b"_"), (b"%3D", b""), (b"%3D", b"%3D%3D"),
     (b"%2B", b"%252B"), (b"%3D", b"%3D%0A"), (b"%2B", b"%2B "), (b"%2B", b"%u002B")],
)  # fmt: skip
@pytest.mark.parametrize("kind", SIGNERS)
def test_any_other_spelling_is_refused(kind: str, old: bytes, new: bytes) -> None:
    guard = guard_of(BINANCE, materials={"binance": MATERIALS[kind]})
    assert decide(guard, respelt(order(kind), old, new)) in ("place.field", "frame.target")


def test_the_unused_bits_of_base64_say_nothing_else() -> None:
    """Ed25519 has 64 bytes: two = at the end, and four bits of the last character that must be zero."""
    out = order("ed25519")
    signature = out.target.removesuffix(b"%3D%3D")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(signature[-1:]) + 1 :][:1]
    changed = out._replace(target=signature[:-1] + other + b"%3D%3D")
    guard = guard_of(BINANCE, materials={"binance": MATERIALS["ed25519"]})
    assert decide(guard, changed) == "place.field"


@pytest.mark.parametrize("kind", SIGNERS)
def test_an_hmac_under_the_public_key_is_not_the_key_s_signature(kind: str) -> None:
    public = PUBLIC if kind == "rsa" else PRIVATE.public_key()
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        MATERIALS[kind].reveal(),
    ]
    text = b"side=BUY&timestamp=%d" % (NOW // 1_000_000)
    guard = guard_of(BINANCE, materials={"binance": MATERIALS[kind]})
    for secret in forms:
        signature = hmac.digest(secret, text, "sha256").hex().encode()
        out = Outgoing("POST", HOST, b"/o?" + text + b"&signature=" + signature, headers=(HEAD,))
        assert decide(guard, out) == "signature.mismatch"


@pytest.mark.parametrize("kind", SIGNERS)
def test_nor_does_a_key_of_one_algorithm_verify_with_another(kind: str) -> None:
    assert decide(guard_of(BINANCE), order(kind)) == "signature.mismatch"
    for other in SIGNERS.keys() - {kind}:
        assert decide(guard_of(BINANCE, materials={"binance": MATERIALS[other]}), order(kind)) == "signature.mismatch"


@pytest.mark.parametrize("name", [b"apiKey", b"api%4Bey", b"%61piKey"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_what_is_signed_for_a_websocket_is_no_request(method: str, name: bytes) -> None:
    """session.logon signs `apiKey=..&timestamp=..`, which would be DELETE /openOrders for all symbols."""
    text = name + b"=" + key_of(BINANCE).encode() + b"&timestamp=%d" % (NOW // 1_000_000)
    signature = hmac.digest(SECRET, text, "sha256").hex().encode()
    target = b"/api/v3/openOrders?" + text + b"&signature=" + signature
    assert decide(guard_of(BINANCE), Outgoing(method, HOST, target, headers=(HEAD,))) == "place.field"


def test_python_binance_cancels_by_a_form_and_its_capture_verifies() -> None:
    (capture,) = [
        one for one in captures() if one["client"].startswith("python-binance") and one["call"] == "cancel"
    ]  # fmt: skip
    request = request_of(capture)
    assert (request.method, b"?" in request.target) == ("DELETE", False)
    assert verifies(material_of(capture), read(row_of(capture), request))


def test_a_form_on_delete_is_signed_like_any_other() -> None:
    out = signer_of(BINANCE).sign(Outgoing("DELETE", HOST, b"/api/v3/order", FORM, b"orderId=17"), NOW)
    # a signer of ours puts DELETE's parameters into the form only where there is one
    assert (out.target, out.body[:10]) == (b"/api/v3/order", b"orderId=17")
    guard = guard_of(BINANCE)
    assert decide(guard, out._replace(body=out.body.replace(b"17", b"18", 1))) == "signature.wrong"
    assert decide(guard, out._replace(content_type=b"application/json")) == "signature.missing"
    assert decide(guard, out._replace(target=b"/api/v3/order?symbol=X")) == "source.boundary"
    assert decide(guard, out) == "granted"


def test_a_body_on_get_is_refused() -> None:
    out = signed(BINANCE, "GET", b"/api/v3/order?a=1")
    assert decide(guard_of(BINANCE), out._replace(body=b"a=2", content_type=FORM)).endswith(".boundary")
