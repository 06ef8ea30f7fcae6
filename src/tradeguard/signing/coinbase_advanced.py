"""The dialect of Coinbase Advanced Trade: a JWT for each request. It fits no row, so reading and signing stand here.

Behind the door (`signing/jwt.py`), which sees to the token as such, this file holds the claims against the request:

1.  `kid` in the header and `sub` are the key id; `iss` is "cdp" or "coinbase-cloud"; `aud`, where it stands, names
    Coinbase's own services alone.
2.  `nbf` and `exp` are whole seconds, `exp` 1 to 121 after `nbf`: it is 120, and coinbase-advanced-py reads its clock
    twice. `nbf` is the signed time, and `exp` ends the window.
3.  `uri`, or `uris` with one entry, and never both, is the method, a space, the authority and the raw path of the
    request. ccxt cuts off "https://" alone; so over plain HTTP, and only there, "http://" may precede the authority.
4.  `nonce` in the header is 16 to 64 of `A-Za-z0-9_-`, and used once.
5.  GET, HEAD and DELETE carry no body, or `{}`, as coinbase-advanced-py sends with each of them.

**Query and body are not signed.** Whoever holds a token can send any other body with it, once, in its time, if he is
faster than its owner.

Sources: docs.cdp.coinbase.com, "API key authentication"; coinbase-advanced-py 1.8.4 (`jwt_generator.py`, an EdDSA token
with `uri`); ccxt 4.5.90 (`coinbase.py`, an EdDSA token with `uris` and `aud`).
"""

import re
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from tradeguard.core.credential import Claim, Window
from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KEY_ID
from tradeguard.core.request import Request
from tradeguard.signing.algorithm import ECDSA_P256_SHA256, ED25519
from tradeguard.signing.jwt import MEMBERS, looks_like_token, make_token, read_claims, read_header, read_token
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.signer import Outgoing
from tradeguard.signing.verifier import Signed

CLAIM = register(
    "coinbase_advanced.claim",
    unproven=True,
    hint="A claim of the token is missing, malformed or of another request; the detail names it. For uri, look at the "
    "Host that reaches this server: a proxy may have changed it.",
)
BODY = register(
    "coinbase_advanced.body",
    unproven=True,
    hint="A body on GET, HEAD or DELETE, which no token covers; only {} is let through, since Coinbase's SDK sends it.",
)
NAME: Final = "coinbase-advanced"
COVERAGE: Final = frozenset({"method", "host", "path", "time", "nonce", "key"})
_SECOND: Final = 1_000_000_000
_LIFE: Final = 120  # seconds
_WINDOW: Final = Window(past=_LIFE * _SECOND, future=5 * _SECOND)
_LATEST: Final = 9_000_000_000  # seconds; in the year 2255, and its ns still have 63 bits
_CLOCK: Final[Mapping[str, Any]] = {  # that of Advanced Trade, and inside of it that of the API before it
    "iso": "{iso-s}Z", "epochSeconds": "{s}", "epochMillis": "{ms}", "data": {"iso": "{iso-s}Z", "epoch": "$s"},
}  # fmt: skip
_ALGORITHMS: Final = {"ES256": ECDSA_P256_SHA256, "EdDSA": ED25519}
_MEMBERS: Final = MEMBERS | {"nonce"}
_MARKS: Final = frozenset({"alg", "kid", "nonce"})
_ISSUERS: Final = ("cdp", "coinbase-cloud")
_AUDIENCES: Final = frozenset({"cdp_service", "retail_rest_api_proxy"})
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)
_SCHEME: Final = b"bearer "
_BODYLESS: Final = frozenset({"GET", "HEAD", "DELETE"})
_NO_BODY: Final = (b"", b"{}")


def _says(status: int, error: str, text: str) -> Said:
    return Said({"error": error, "error_details": text, "message": text}, status)


_EXPIRED: Final = "request timestamp expired"
_STALE: Final = Said(
    # the last of them is where ccxt looks for this sentence
    {"error": "unknown", "error_details": _EXPIRED, "message": _EXPIRED, "error_description": _EXPIRED},
    401,
)
_LIMITED: Final = _says(0, "rate_limit_exceeded", "Too many requests.")
_REFUSAL: Final = Refusal(
    # Advanced Trade API, "Errors", and what ccxt (`coinbase.py`, exceptions) and coinbase-advanced-py make of them
    media_type="application/json",
    codes={
        "unauthorized": _says(401, "unauthorized", "Unauthorized"),
        "freshness.stale": _STALE,
        "freshness.early": _STALE,
        "replay.late": _STALE,
        "replay.seen": _says(
            0, "INVALID_ARGUMENT", "This token was used before. Look the order up; do not send it again."
        ),
        "scope.missing": _says(403, "PERMISSION_DENIED", "Missing required scopes"),
    },
    # without `error` clients go by the status, and 504 is the one that says no more than that no answer came
    unknown=Said({"message": "Timeout. It is not known whether this was carried out."}, 504),
    statuses={
        403: _says(0, "PERMISSION_DENIED", "Permission denied"),
        404: _says(0, "not_found", "Not found"),
        408: Said({"message": "Timeout waiting for the request."}),
        418: _LIMITED,
        429: _LIMITED,
        501: _says(0, "INVALID_ARGUMENT", "This operation is not supported."),
    },
    rejected=_says(0, "INVALID_ARGUMENT", "Invalid request."),
    down=Said({"message": "Service Unavailable."}),
)


class CoinbaseVerifier:
    """Reads the requests of this dialect; the same verbs as `Verifier`. `row` is the dialect."""

    def __init__(self, row: "CoinbaseAdvanced") -> None:
        self.row = row

    def claim(self, request: Request) -> Claim | None:
        """Return the claim, or None if the head carries no JWT, or one whose header has no `kid` and `nonce`.

        Those of a host's own sign-on have none of ours, and are not ours to refuse.

        Raises:
            Refused: a JWT that cannot be read, or a key id that nobody has; Authorization stands twice.
        """
        text = _find_token(request)
        if text is None or not looks_like_token(text):
            return None
        header = read_header(text)
        if not header.keys() >= _MARKS:
            return None
        key_id = header["kid"]
        if not isinstance(key_id, str) or not KEY_ID.fullmatch(key_id):
            raise _refused("kid")
        return Claim(NAME, key_id)

    def check_absent(self, request: Request) -> None:
        """Do nothing: a token is all there is of this dialect, and `claim` has refused a broken one."""

    def speaks(self, request: Request) -> bool:
        """Tell from the head alone whether its sender expects answers of this dialect; nothing is refused."""
        scheme, _, token = request.headers.note(b"authorization").encode("latin-1").partition(b" ")
        return scheme.lower() == _SCHEME.strip() and looks_like_token(token)

    def read(self, request: Request, claim: Claim, body: bytes) -> Signed:
        """Return what the request says was signed.

        Raises:
            Refused: rules 1 to 5, or those of the door.
        """
        if request.method in _BODYLESS and body not in _NO_BODY:
            raise Refused(Denial(BODY, detail=request.method))
        token = read_token(_find_token(request) or b"", _ALGORITHMS.keys(), _MEMBERS)
        nonce = token.header.get("nonce")
        if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
            raise _refused("nonce")
        if token.header.get("kid") != claim.key_id:
            raise _refused("kid")
        claims = read_claims(token)
        _check_names(claims, claim.key_id)
        _check_uri(claims, request)
        begin, life = _read_times(claims)
        window = Window(life * _SECOND, _WINDOW.future)
        return Signed(
            token.algorithm, token.signed, token.signature, begin * _SECOND, nonce.encode(), window, claim.key_id
        )


class CoinbaseSigner:
    """Signs requests with one key; the same verb as `Signer`.

    Args:
        key_id: names the key.
        key: the private key, ECDSA on P-256 or Ed25519.

    Raises:
        ConfigError: another curve.
    """

    def __init__(self, key_id: str, key: EllipticCurvePrivateKey | Ed25519PrivateKey) -> None:
        if isinstance(key, EllipticCurvePrivateKey) and not isinstance(key.curve, SECP256R1):
            raise ConfigError(f"dialect coinbase-advanced: the key is on {key.curve.name}; use P-256, or Ed25519")
        self.key_id, self._key = key_id, key
        self._algorithm = ED25519 if isinstance(key, Ed25519PrivateKey) else ECDSA_P256_SHA256

    def sign(self, request: Outgoing, at: int, nonce: bytes | None = None) -> Outgoing:
        """Return the request with its credential.

        Args:
            request: as it would go out unsigned; its query and body are not signed.
            at: the time, ns UTC.
            nonce: 16 to 64 of `A-Za-z0-9_-`; a random one by default.
        """
        begin = at // _SECOND
        path = request.target.partition(b"?")[0].decode("latin-1")
        claims = {
            "sub": self.key_id,
            "iss": "cdp",
            "nbf": begin,
            "exp": begin + _LIFE,
            "uri": f"{request.method} {request.authority.lower()}{path}",
        }
        header = {"kid": self.key_id, "nonce": nonce.decode("latin-1") if nonce else secrets.token_hex(16)}
        token = make_token(self._algorithm, header, claims, self._sign)
        return request._replace(headers=(*request.headers, (b"authorization", b"Bearer " + token)))

    def _sign(self, message: bytes) -> bytes:
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        r, s = decode_dss_signature(self._key.sign(message, ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class CoinbaseAdvanced:
    """The dialect, beside the rows: what operators and answers ask of one; see `tradeguard.signing.dialect`.

    `algorithms` are those that a key may have, each with the spelling of its signature; `coverage` the parts of a
    request that cannot be changed without breaking the signature. `bound` says that its keys must be held to networks,
    since bodies are not signed, and `nonce_width` that nonces do not rise. `window` is how far the signed time may
    usually be off, in ns: each token brings its own end along. `refuse` and `clock` are as those of a `Row`.
    """

    name: str = NAME
    title: str = "Coinbase Advanced Trade (JWT)"
    docs: str = "https://docs.cdp.coinbase.com/coinbase-app/authentication-authorization/api-key-authentication"
    challenge: str = 'Bearer realm="api"'
    algorithms: Mapping[str, str] = MappingProxyType({ECDSA_P256_SHA256: "base64url", ED25519: "base64url"})
    coverage: frozenset[str] = COVERAGE
    bound: bool = True
    nonce_width: int = 0
    window: Window = _WINDOW
    refuse: Refusal = _REFUSAL
    clock: Mapping[str, Any] = MappingProxyType(_CLOCK)

    def reader(self) -> CoinbaseVerifier:
        """Return what reads its requests."""
        return CoinbaseVerifier(self)

    def make_signer(self, key_id: str, key: EllipticCurvePrivateKey | Ed25519PrivateKey) -> CoinbaseSigner:
        """Return what signs with a key; see `CoinbaseSigner`."""
        return CoinbaseSigner(key_id, key)


COINBASE_ADVANCED: Final = CoinbaseAdvanced()
"""The one of its kind."""


def _find_token(request: Request) -> bytes | None:
    """Return what stands behind "Bearer" (RFC 6750, 2.1; the scheme in any case), or None."""
    value = request.headers.one(b"authorization")
    if value is None or value[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return value[len(_SCHEME) :]


def _check_names(claims: Mapping[str, Any], key_id: str) -> None:
    """Hold who says it, and to whom, against rule 1."""
    if claims.get("sub") != key_id:
        raise _refused("sub")
    if claims.get("iss") not in _ISSUERS:
        raise _refused("iss")
    audience = claims.get("aud", [])
    named = _as_list(audience)
    if not all(isinstance(name, str) and name in _AUDIENCES for name in ([audience] if named is None else named)):
        raise _refused("aud")


def _check_uri(claims: Mapping[str, Any], request: Request) -> None:
    """Hold the claim against the request (rule 3)."""
    if ("uri" in claims) == ("uris" in claims):
        raise _refused("uri")
    uris = [claims["uri"]] if "uri" in claims else _as_list(claims["uris"])
    if uris is None or len(uris) != 1:
        raise _refused("uris")
    place = (request.authority + request.target.partition(b"?")[0]).decode("latin-1")
    plain = request.scheme == "http" and uris[0] == f"{request.method} http://{place}"
    if not plain and uris[0] != f"{request.method} {place}":
        raise _refused("uri")


def _read_times(claims: Mapping[str, Any]) -> tuple[int, int]:
    """Return when the token begins and how long it lasts, in seconds (rule 2)."""
    for name in ("nbf", "exp", "iat"):
        value = claims.get(name, 0 if name == "iat" else None)
        if type(value) is not int or not 0 <= value <= _LATEST:
            raise _refused(name)
    life: int = claims["exp"] - claims["nbf"]
    if not 0 < life <= _LIFE + 1:
        raise _refused("exp")
    return claims["nbf"], life


def _as_list(value: object) -> list[object] | None:
    return cast("list[object]", value) if isinstance(value, list) else None


def _refused(claim: str) -> Refused:
    return Refused(Denial(CLAIM, detail=claim))
