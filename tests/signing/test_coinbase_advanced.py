"""The dialect of Coinbase Advanced Trade: its clients verify unmodified, and a token is good for its one request."""

import hmac
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from signing.coinbase_wire import Wire, make_certificate, recording
from support import NOW, SECOND, catalogue, make_guard, make_request

from tradeguard.backends.memory import MemoryKeys
from tradeguard.checks.freshness import Freshness
from tradeguard.checks.network import Network
from tradeguard.checks.replay import Replay
from tradeguard.checks.scope import Scope
from tradeguard.checks.signature import Signature
from tradeguard.checks.source import Source
from tradeguard.core.credential import Claim, Credential
from tradeguard.core.decision import UNAUTHORIZED, Denial, Refused
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import check_frame
from tradeguard.core.key import KeyRecord, Material
from tradeguard.core.policy import Operations, Policy
from tradeguard.core.request import Request
from tradeguard.signing.coinbase_advanced import COINBASE_ADVANCED
from tradeguard.signing.encoding import decode_base64url, encode_base64url
from tradeguard.signing.jwt import make_token
from tradeguard.signing.material import EcdsaP256, Ed25519
from tradeguard.signing.refusal import fill
from tradeguard.signing.signer import Outgoing
from tradeguard.signing.verifier import Signed

ccxt: Any = pytest.importorskip("ccxt")
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "coinbase_advanced.json").read_text())["tests"]
VERIFIER = COINBASE_ADVANCED.reader()
REFUSAL = COINBASE_ADVANCED.refuse
ID = "d2efa49a-369c-43d7-a60e-ae26e28853c2"
CURVE, EDWARD = ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()
SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PEM = (Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
KEYS: Mapping[str, tuple[ec.EllipticCurvePrivateKey | Ed25519PrivateKey, str, Material]] = {
    "ES256": (CURVE, CURVE.private_bytes(*PEM).decode(), EcdsaP256(CURVE.public_key().public_bytes(*SPKI))),
    "EdDSA": (
        EDWARD,
        b64encode(EDWARD.private_bytes_raw() + EDWARD.public_key().public_bytes_raw()).decode(),
        Ed25519(EDWARD.public_key().public_bytes_raw()),
    ),
}
MATERIAL = KEYS["EdDSA"][2]
ORDERS = b"/api/v3/brokerage/orders"
HEADER = {"kid": ID, "nonce": "0123456789abcdef0123456789abcdef"}
BEGIN = NOW // SECOND
URI = f"POST api.example{ORDERS.decode()}"
CLAIMS: Mapping[str, Any] = {"sub": ID, "iss": "cdp", "nbf": BEGIN, "exp": BEGIN + 120, "uri": URI}


def read(request: Request, body: bytes = b"") -> Signed | None:
    """What the request says was signed; None where it is none of this dialect."""
    check_frame(request, Policy())
    claim = VERIFIER.claim(request)
    if claim is None:
        VERIFIER.check_absent(request)
        return None
    assert claim.dialect == "coinbase-advanced"
    return VERIFIER.read(request, claim, body)


def judge(request: Request, body: bytes = b"", material: Material = MATERIAL) -> str:
    """`verified`, `wrong`, `unclaimed`, or code and detail of the refusal."""
    try:
        signed = read(request, body)
    except Refused as refused:
        assert refused.denial.public == UNAUTHORIZED
        return f"{refused.denial.code} {refused.denial.detail}"
    if signed is None:
        return "unclaimed"
    assert signed.algorithm in COINBASE_ADVANCED.algorithms
    same = signed.algorithm == material.algorithm  # what `Signature` asks before it verifies
    return "verified" if same and drive(material.verify(signed.message, signed.signature)) else "wrong"


def ask(token: bytes, method: str = "POST", target: bytes = ORDERS, **other: Any) -> Request:
    return make_request(
        method, target, headers=[(b"authorization", b"Bearer " + token)], **{"scheme": "https", **other}
    )


def make(header: Mapping[str, Any] | None = None, claims: Mapping[str, Any] | None = None) -> bytes:
    """A token with a right signature, whatever it says."""
    return make_token(
        "ed25519", HEADER if header is None else header, CLAIMS if claims is None else claims, EDWARD.sign
    )


def sign_raw(header: bytes, payload: bytes) -> bytes:
    """The same of any bytes."""
    signed = encode_base64url(header) + b"." + encode_base64url(payload)
    return signed + b"." + encode_base64url(EDWARD.sign(signed))


def replay(sent: Any, scheme: str) -> Request:
    """A recorded request as an adapter would hand it on."""
    headers = [(name.lower().encode(), value.encode()) for name, value in sent.headers]
    return make_request(sent.method, sent.target.encode(), headers=headers, scheme=scheme, arrived=sent.at)


def test_a_request_as_it_should_be_verifies() -> None:
    """The measure for the refusals below: each of them changes one thing of this."""
    signed = read(ask(make()))
    assert signed is not None
    assert signed.signed_at == NOW
    assert signed.nonce == HEADER["nonce"].encode()
    assert signed.window == (120 * SECOND, 5 * SECOND)
    assert signed.key_id == ID
    assert signed.message == make().rpartition(b".")[0]
    assert judge(ask(make())) == "verified"


@pytest.mark.parametrize("label", KEYS)
def test_the_signer_is_understood(label: str) -> None:
    private, _, material = KEYS[label]
    out = COINBASE_ADVANCED.make_signer(ID, private).sign(Outgoing("POST", "API.example", ORDERS + b"?a=1"), NOW + 1)
    request = make_request("POST", out.target, headers=out.headers, scheme="https")
    assert judge(request, material=material) == "verified"
    assert judge(request, material=KEYS["EdDSA" if label == "ES256" else "ES256"][2]) == "wrong"


def test_the_signer_takes_no_other_curve() -> None:
    with pytest.raises(ConfigError, match="use P-256"):
        COINBASE_ADVANCED.make_signer(ID, ec.generate_private_key(ec.SECP384R1()))


# Clients, unmodified


@pytest.mark.parametrize("sent", VECTORS, ids=lambda sent: f"{sent['act']} {sent['algorithm']}")
def test_what_coinbases_own_client_sends_verifies(sent: dict[str, Any]) -> None:
    public = sent["public"].encode()
    material = EcdsaP256(public) if sent["algorithm"] == "ecdsa-p256-sha256" else Ed25519(public)
    headers = [(name.lower().encode(), value.encode()) for name, value in sent["headers"]]
    request = make_request(sent["method"], sent["target"].encode(), headers=headers, scheme="https")
    assert judge(request, bytes.fromhex(sent["body"]), material) == "verified"
    signed = read(request, bytes.fromhex(sent["body"]))
    assert signed is not None
    assert 0 <= sent["at"] - signed.signed_at < 5 * SECOND


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("wire"))


def make_ccxt(wire: Wire, scheme: str, secret: str, id: str = ID) -> Any:
    client = ccxt.coinbase({"apiKey": id, "secret": secret, "enableRateLimit": False, "timeout": 10_000})
    client.urls["api"]["rest"] = f"{scheme}://{wire.authority}"
    return client


CALLS: Mapping[str, Callable[[Any], Any]] = {
    "GET": lambda client: client.v3PrivateGetBrokerageAccounts({"limit": 7, "cursor": "a b c/d~*'()é"}),
    "GET of version 2": lambda client: client.v2PrivateGetAccounts({"limit": 7}),
    "POST": lambda client: client.v3PrivatePostBrokerageOrders({"client_order_id": "a b c/d~*'()é"}),
    "PUT": lambda client: client.v3PrivatePutBrokeragePortfoliosPortfolioUuid({"portfolio_uuid": "u-1", "name": "n"}),
    "DELETE": lambda client: client.v3PrivateDeleteBrokeragePortfoliosPortfolioUuid({"portfolio_uuid": "u-1"}),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("label", KEYS)
def test_what_ccxt_sends_verifies(label: str, scheme: str, call: str, certificate: Path) -> None:
    with recording(certificate if scheme == "https" else None) as wire:
        client = make_ccxt(wire, scheme, KEYS[label][1])
        client.validateServerSsl = str(certificate)  # the one that is trusted
        CALLS[call](client)
    (sent,) = wire.sent
    assert judge(replay(sent, scheme), sent.body, KEYS[label][2]) == "verified"
    other = "http" if scheme == "https" else "https"
    assert (judge(replay(sent, other), sent.body, KEYS[label][2]) == "verified") is (scheme == "https")


@pytest.mark.parametrize("id", ["plain", "organizations/0f/apiKeys/1e", ID])
def test_ccxt_sends_a_jwt_whatever_the_name_of_the_key_is(id: str) -> None:
    """It goes by the form of the secret, so any id will do; one with a slash is none that a key can have here."""
    for _, secret, material in KEYS.values():
        with recording(None) as wire:
            CALLS["GET"](make_ccxt(wire, "http", secret, id))
        (sent,) = wire.sent
        expected = "coinbase_advanced.claim kid" if "/" in id else "verified"
        assert judge(replay(sent, "http"), sent.body, material) == expected


@pytest.mark.parametrize(
    ("code", "status", "raised"),
    [
        ("signature.unknown", 401, ccxt.AuthenticationError),
        ("signature.wrong", 401, ccxt.AuthenticationError),
        ("proof.unclaimed", 401, ccxt.AuthenticationError),
        ("jwt.malformed", 401, ccxt.AuthenticationError),
        ("coinbase_advanced.claim", 401, ccxt.AuthenticationError),
        ("coinbase_advanced.body", 401, ccxt.AuthenticationError),
        ("freshness.stale", 401, ccxt.InvalidNonce),
        ("freshness.early", 401, ccxt.InvalidNonce),
        ("replay.late", 401, ccxt.InvalidNonce),
        ("replay.seen", 409, ccxt.BadRequest),
        ("scope.missing", 403, ccxt.PermissionDenied),
        ("network.outside", 403, ccxt.PermissionDenied),
        ("source.pair", 429, ccxt.RateLimitExceeded),
        ("guard.unmapped", 404, ccxt.ExchangeError),
        ("frame.path", 400, ccxt.BadRequest),
        ("frame.body", 413, ccxt.BadRequest),
        ("frame.method", 501, ccxt.BadRequest),
        ("body.slow", 408, ccxt.RequestTimeout),
        ("outage.down", 503, ccxt.ExchangeNotAvailable),
        ("commit.unsure", 504, ccxt.RequestTimeout),
    ],
)
def test_what_ccxt_makes_of_a_refusal(code: str, status: int, raised: type[Exception]) -> None:
    """A replay must be none of those that bots try again (OperationFailed)."""
    assert code in catalogue()
    said = REFUSAL.say(Denial(code).face)
    assert said.status == status
    with recording(None) as wire:
        wire.status, wire.answer = said.status, json.dumps(said.body).encode()
        with pytest.raises(ccxt.BaseError) as error:
            CALLS["POST"](make_ccxt(wire, "http", KEYS["EdDSA"][1]))
    assert type(error.value) is raised
    assert len(wire.sent) == 1
    assert code != "replay.seen" or not isinstance(error.value, ccxt.OperationFailed)


def test_coinbases_own_client_knows_the_missing_scope() -> None:
    """It looks for these very characters (`rest_base.py`, handle_exception)."""
    said = REFUSAL.say(Denial("scope.missing").face)
    assert said.status == 403
    assert '"error_details":"Missing required scopes"' in json.dumps(said.body, separators=(",", ":"))


def test_ccxt_reads_the_clock() -> None:
    at = 1_709_005_034_333_444_555
    with recording(None) as wire:
        told = fill(COINBASE_ADVANCED.clock, at)
        wire.answer = json.dumps(told).encode()
        client = make_ccxt(wire, "http", KEYS["EdDSA"][1])
        assert client.fetch_time({"method": "v3PublicGetBrokerageTime"}) == 1_709_005_034_000
    old = {"iso": "2024-02-27T03:37:14Z", "epoch": 1_709_005_034}
    assert told == {"iso": old["iso"], "epochSeconds": "1709005034", "epochMillis": "1709005034333", "data": old}


# Attacks


def test_the_token_is_good_for_its_method_host_and_path_alone() -> None:
    """And, as the coverage says, for any query and body: where that matters the operator accepts it by name."""
    token = make()
    assert judge(ask(token, "DELETE")) == "coinbase_advanced.claim uri"
    assert judge(ask(token, "PUT")) == "coinbase_advanced.claim uri"
    for target in (ORDERS + b"/", ORDERS + b"/17", b"/API/v3/brokerage/orders", b"/", ORDERS + b"/batch_cancel"):
        assert judge(ask(token, target=target)) == "coinbase_advanced.claim uri"
    for host in (b"other.example", b"api.example:8443", b"api.example."):
        request = make_request("POST", ORDERS, headers=[(b"authorization", b"Bearer " + token), (b"host", host)])
        assert judge(request).startswith(("coinbase_advanced.claim uri", "frame.host"))
    assert judge(ask(token, target=ORDERS + b"?added=1"), b'{"side":"SELL"}') == "verified"
    assert frozenset({"method", "host", "path", "time", "nonce", "key"}) == COINBASE_ADVANCED.coverage
    assert VERIFIER.row is COINBASE_ADVANCED
    assert COINBASE_ADVANCED.bound is True


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_method_without_a_body_carries_none_but_the_empty_object(method: str) -> None:
    token = make(claims={**CLAIMS, "uri": f"{method} api.example/x"})
    assert judge(ask(token, method, b"/x")) == "verified"
    assert judge(ask(token, method, b"/x"), b"{}") == "verified"
    for body in (b"{ }", b'{"a":1}', b"[]", b"x" * 1_000):
        assert judge(ask(token, method, b"/x"), body) == f"coinbase_advanced.body {method}"


CHANGED_CLAIMS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "another's sub": ("sub", {"sub": "somebody"}),
    "sub as a list": ("sub", {"sub": [ID]}),
    "another issuer": ("iss", {"iss": "attacker"}),
    "issuers": ("iss", {"iss": ["cdp"]}),
    "another audience": ("aud", {"aud": ["bank"]}),
    "an audience more": ("aud", {"aud": ["cdp_service", "bank"]}),
    "an audience that is an object": ("aud", {"aud": {"cdp_service": 1}}),
    "nbf as text": ("nbf", {"nbf": "1795000000"}),
    "nbf true": ("nbf", {"nbf": True}),
    "nbf null": ("nbf", {"nbf": None}),
    "nbf negative": ("nbf", {"nbf": -1}),
    "nbf in ms": ("nbf", {"nbf": NOW // 1_000_000, "exp": NOW // 1_000_000 + 120}),
    "exp as text": ("exp", {"exp": "1795000120"}),
    "exp before nbf": ("exp", {"exp": BEGIN - 1}),
    "exp at nbf": ("exp", {"exp": BEGIN}),
    "exp too late": ("exp", {"exp": BEGIN + 122}),
    "exp for ever": ("exp", {"exp": 8_999_999_999}),
    "iat as text": ("iat", {"iat": "now"}),
    "uri of another method": ("uri", {"uri": "GET api.example/api/v3/brokerage/orders"}),
    "uri with a query": ("uri", {"uri": URI + "?a=1"}),
    "uri with https": ("uri", {"uri": "POST https://api.example/api/v3/brokerage/orders"}),
    "uri with http, though it came by https": ("uri", {"uri": "POST http://api.example/api/v3/brokerage/orders"}),
    "uri as a list": ("uri", {"uri": [URI]}),
    "uri empty": ("uri", {"uri": ""}),
    "uri and uris": ("uri", {"uris": [URI]}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED_CLAIMS)
def test_a_claim_that_does_not_fit_is_refused(name: str) -> None:
    claim, changed = CHANGED_CLAIMS[name]
    assert judge(ask(make(claims={**CLAIMS, **changed}))) == f"coinbase_advanced.claim {claim}"


@pytest.mark.parametrize("claim", ["sub", "iss", "nbf", "exp", "uri"])
def test_a_claim_that_is_missing_is_refused(claim: str) -> None:
    """A token without `uri` is what the WebSocket takes: over HTTP it would be good for anything."""
    claims = {name: value for name, value in CLAIMS.items() if name != claim}
    assert judge(ask(make(claims=claims))) == f"coinbase_advanced.claim {claim}"


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        ([URI], "verified"),
        ([URI, URI], "coinbase_advanced.claim uris"),
        ([URI, "GET api.example/"], "coinbase_advanced.claim uris"),
        ([], "coinbase_advanced.claim uris"),
        (URI, "coinbase_advanced.claim uris"),
        ({URI: 1}, "coinbase_advanced.claim uris"),
        ([[URI]], "coinbase_advanced.claim uri"),
        (None, "coinbase_advanced.claim uris"),
    ],
)
def test_uris_are_one(uris: object, expected: str) -> None:
    claims = {name: value for name, value in CLAIMS.items() if name != "uri"}
    assert judge(ask(make(claims={**claims, "uris": uris}))) == expected


@pytest.mark.parametrize("more", [{"aud": "cdp_service"}, {"aud": []}, {"iat": 1}, {"exp": BEGIN + 121}, {"x": None}])
def test_what_clients_may_add_is_fine(more: dict[str, Any]) -> None:
    assert judge(ask(make(claims={**CLAIMS, **more}))) == "verified"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"alg": "none"}, "jwt.header alg"),
        ({"alg": "HS256"}, "jwt.header alg"),
        ({"alg": "RS256"}, "jwt.header alg"),
        ({"alg": "ES256"}, "wrong"),
        ({"crit": ["nonce"]}, "jwt.header a member that is not taken"),
        ({"jwk": {"kty": "OKP"}}, "jwt.header a member that is not taken"),
        ({"kid": "somebody"}, "coinbase_advanced.claim sub"),
        ({"kid": "organizations/0f/apiKeys/1e"}, "coinbase_advanced.claim kid"),
        ({"kid": ""}, "coinbase_advanced.claim kid"),
        ({"kid": 7}, "coinbase_advanced.claim kid"),
        ({"nonce": "n" * 15}, "coinbase_advanced.claim nonce"),
        ({"nonce": "n" * 65}, "coinbase_advanced.claim nonce"),
        ({"nonce": "n" * 15 + "\n"}, "coinbase_advanced.claim nonce"),
        ({"nonce": "é" * 16}, "coinbase_advanced.claim nonce"),
        ({"nonce": 1234567890123456}, "coinbase_advanced.claim nonce"),
        ({"nonce": ["n" * 16]}, "coinbase_advanced.claim nonce"),
        ({"typ": "at+jwt"}, "jwt.header typ"),
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_is_refused(changed: dict[str, Any], expected: str) -> None:
    assert judge(ask(make({**HEADER, **changed}))) == expected


def test_the_token_is_the_one_that_was_claimed() -> None:
    request = ask(make(claims={**CLAIMS, "sub": "somebody"}))
    check_frame(request, Policy())
    with pytest.raises(Refused) as refused:
        VERIFIER.read(request, Claim("coinbase-advanced", "somebody"), b"")
    assert refused.value.denial.detail == "kid"


def test_another_keys_token_does_not_verify() -> None:
    """Both name the one key; the material is the other's."""
    assert judge(ask(make()), material=Ed25519(Ed25519PrivateKey.generate().public_key().public_bytes_raw())) == "wrong"


def test_the_public_key_is_no_secret() -> None:
    public = CURVE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    token = make_token("hmac-sha256", HEADER, CLAIMS, lambda signed: hmac.digest(public, signed, "sha256"))
    assert judge(ask(token), material=KEYS["ES256"][2]) == "jwt.header alg"


def _es256(change: Callable[[bytes], bytes]) -> bytes:
    return make_token("ecdsa-p256-sha256", HEADER, CLAIMS, lambda m: change(CURVE.sign(m, ec.ECDSA(SHA256()))))


def test_der_is_refused() -> None:
    assert judge(ask(_es256(lambda der: der)), material=KEYS["ES256"][2]) == "jwt.malformed signature"


def _raw(der: bytes) -> bytes:
    return b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(der))


def _turn(token: bytes) -> bytes:
    """The token with (r, n - s) in the place of (r, s)."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, _, signature = token.rpartition(b".")
    raw = decode_base64url(signature) or b""
    return head + b"." + encode_base64url(raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big"))


def test_both_forms_of_an_ecdsa_signature_are_one_message() -> None:
    """(r, s) and (r, n - s) both verify, and half of all honest ones are high. What is used once is what was signed."""
    one = _es256(_raw)
    tokens = (one, _turn(one))
    assert tokens[0] != tokens[1]
    assert [judge(ask(token), material=KEYS["ES256"][2]) for token in tokens] == ["verified"] * 2
    found = [read(ask(token)) for token in tokens]
    assert len({(sha256(signed.message).digest(), signed.nonce) for signed in found if signed is not None}) == 1


TEXT = json.dumps(CLAIMS).encode()
HEAD = json.dumps({"alg": "EdDSA", **HEADER}).encode()


NOT_STRICTLY: Mapping[str, tuple[bytes, str]] = {
    "kid twice": (sign_raw(HEAD[:-1] + b',"kid":"somebody"}', TEXT), "header"),
    "exp twice": (sign_raw(HEAD, TEXT[:-1] + b',"exp":1795000001}'), "payload"),
    "a fraction": (sign_raw(HEAD, TEXT.replace(b"1795000000,", b"1795000000.0,")), "payload"),
    "an exponent": (sign_raw(HEAD, TEXT.replace(b"1795000000,", b"1.795e9,")), "payload"),
    "5,000 digits": (sign_raw(HEAD, TEXT.replace(b"1795000000,", b"9" * 5_000 + b",")), "payload"),
    "NaN": (sign_raw(HEAD, TEXT.replace(b"1795000000,", b"NaN,")), "payload"),
    "arrays, nested": (sign_raw(HEAD, TEXT[:-1] + b',"x":' + b"[" * 2_000 + b"]" * 2_000 + b"}"), "payload"),
    "objects, nested": (sign_raw(HEAD[:-1] + b',"x":' + b'{"a":' * 900 + b"1" + b"}" * 901, TEXT), "header"),
    "an array": (sign_raw(HEAD, b"[" + TEXT + b"]"), "payload"),
    "padded": (make() + b"=", "signature"),
    "a space behind": (make() + b" ", "signature"),
    "long": (make() + b"A" * 8_192, "size"),
    "a header that is no JSON": (b"eyJhbGciOi.a.b", "header"),
    "a header that is no base64url": (b"eyJ\xff.a.b", "header"),
    "without a signature": (make().rpartition(b".")[0] + b".", "signature"),
}


@pytest.mark.parametrize("name", NOT_STRICTLY)
def test_a_token_that_is_not_strictly_one_is_refused(name: str) -> None:
    token, part = NOT_STRICTLY[name]
    assert judge(ask(token)) == f"jwt.malformed {part}"


def test_two_authorizations_are_none() -> None:
    field = (b"authorization", b"Bearer " + make())
    request = make_request("POST", ORDERS, headers=[field, field], scheme="https")
    assert judge(request) == "request.repeated authorization"


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer ann.c2VjcmV0c2VjcmV0c2VjcmV0",
        b"Bearer ann.secret.with-a-dot",
        b"Bearer " + make_token("ed25519", {"kid": ID}, CLAIMS, EDWARD.sign),
        b"Bearer " + make_token("ed25519", {"nonce": "n" * 16}, CLAIMS, EDWARD.sign),
        b"Bearer " + make() + b".more.parts",
        b"Bearer",
        b"Bearer ",
        b"Basic " + make(),
        b"Bearer\t" + make(),
        make(),
    ],
)
def test_what_is_anothers_is_not_claimed(value: bytes) -> None:
    """Keys that are sent along, and the tokens of a host's own sign-on: they have no `nonce`, and no meaning here."""
    assert judge(make_request("POST", ORDERS, headers=[(b"authorization", value)], scheme="https")) == "unclaimed"
    assert judge(make_request("POST", ORDERS, scheme="https")) == "unclaimed"


def test_the_scheme_is_known_in_any_case_and_the_dialect_by_its_looks() -> None:
    request = make_request("POST", ORDERS, headers=[(b"authorization", b"bEARER " + make())], scheme="https")
    assert judge(request) == "verified"
    assert VERIFIER.speaks(request) is True
    assert VERIFIER.speaks(ask(b"ann.secret")) is False
    assert VERIFIER.speaks(make_request()) is False


@pytest.mark.parametrize(
    ("late", "code"), [(-6, "freshness.early"), (-5, None), (0, None), (119, None), (120, "freshness.stale")]
)
def test_a_token_is_good_from_nbf_to_exp(late: int, code: str | None, run: Run) -> None:
    request = ask(make())
    signed = read(request)
    assert signed is not None
    request.received = NOW + late * SECOND
    digest, at, window = sha256(signed.message).digest(), signed.signed_at, signed.window
    proved = Credential(
        "coinbase-advanced",
        "ed25519",
        ID,
        at,
        at + window.past,
        signed.nonce,
        digest,
        VERIFIER.row.coverage,
        window,
    )
    request.prove(
        proved,
        KeyRecord(id=ID, dialect="coinbase-advanced", material=MATERIAL, scopes=()).principal,
    )  # fmt: skip
    denial = run(Freshness()(request))
    assert (denial and denial.code) == code


def test_a_guard_takes_a_token_once(run: Run) -> None:
    """Also where its signature has been turned into its other form; and a key that is good from anywhere is refused."""
    material = KEYS["ES256"][2]
    keys = MemoryKeys(
        [
            KeyRecord(id=id, dialect="coinbase-advanced", material=made, scopes={"orders:write"}, networks=networks)
            for id, made, networks in ((ID, material, ["127.0.0.1"]), ("open", MATERIAL, []))
        ]
    )
    signature = Signature(keys, dialects=(COINBASE_ADVANCED,), accept=("coinbase-advanced",))
    operations = Operations({f"POST {ORDERS.decode()}": "orders:write"})
    guard = make_guard([Source(), signature, Freshness(), Network(), Scope(), Replay()], operations=operations)

    def decide(token: bytes) -> str:
        decision = run(guard.admit(ask(token, body=b"{}")))
        return decision.code if isinstance(decision, Denial) else "granted"

    low = _es256(_raw)
    assert [decide(low), decide(low), decide(_turn(low))] == ["granted", "replay.seen", "replay.seen"]
    assert decide(_es256(lambda der: _raw(der)[::-1])) == "signature.wrong"
    assert decide(make()) == "signature.mismatch"
    assert decide(make({**HEADER, "kid": "nobody"}, {**CLAIMS, "sub": "nobody"})) == "signature.unknown"
    assert decide(make({**HEADER, "kid": "open"}, {**CLAIMS, "sub": "open"})) == "signature.unbound"
