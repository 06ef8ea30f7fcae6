"""Proof: does the request carry a key's secret itself? For venues whose clients cannot sign yet, until a set day.

Nothing of the request is signed, so its coverage is empty: whoever reads one request can send any other in its sender's
name, and one that is sent again is carried out again. Therefore:

1.  it ends: without an end date it cannot be built, and behind it every request is refused; in its last 30 days the log
    says so, once;
2.  it is good for the lanes `public` and `read`, and for others only where the operator names them;
3.  what is kept is the SHA-256 of a secret of at least 128 bits (`BearerDigest`);
4.  a key is good for this or for signing, never for both;
5.  over plain HTTP it is refused, whoever sends it: it may have been read on the way.

It is judge too, for rules 1 and 2: both are told to those only who were proved.
"""

import logging
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from tradeguard.checks.signature import Signature
from tradeguard.core.address import Networks
from tradeguard.core.conditions import Condition, Outcome
from tradeguard.core.credential import Claim, Credential, Window
from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KEY_ID
from tradeguard.core.policy import LANES
from tradeguard.core.ports import Following, Keys, Port
from tradeguard.core.proxy import forwarded_by
from tradeguard.core.request import Request
from tradeguard.keys.format import plausible
from tradeguard.keys.text import show_time
from tradeguard.signing.bearer import BEARER, BEARER_SHA256, bearer_id, make_dummy

__all__ = ["BEARER", "BEARER_SHA256", "Bearer", "bearer_id"]

FIELD = register(
    "bearer.field",
    unproven=True,
    hint="The field that carries the secret, or the key id, is missing or malformed; the detail names it.",
)
WRONG = register(
    "bearer.wrong",
    unproven=True,
    hint="No bearer key has this id, or its secret is another; the detail says which.",
)
UNUSABLE = register(
    "bearer.unusable", unproven=True, hint="The secret is right, but the key is not active or outside its validity."
)
ENDED = register(
    "bearer.ended",
    status=403,
    text="Keys are no longer sent along here. Sign your requests.",
    hint="The end date of Bearer has passed. Issue a key that signs; see docs/signing.md.",
)
PLAIN = register(
    "bearer.plain",
    status=403,
    text="A key is never sent along over plain HTTP. Others may have read this one: use HTTPS, with a new key.",
    hint="The request came over HTTP, so rotate the key with --compromised. Where a proxy in front ends TLS, list it "
    "(docs/proxies.md) and let it say X-Forwarded-Proto.",
)
LANE = register(
    "bearer.lane",
    status=403,
    text="A key that is sent along may not do this. Sign the request with a key for signing.",
    hint="Bearer is good for reads. Issue a key that signs; or name the lane in Bearer(accept=...), knowing that "
    "nothing stops a replay there.",
)
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/=-]{1,512}")
_SCHEME: Final = b"bearer "
_WINDOW: Final = Window(past=5_000_000_000, future=0)  # how long the state may take; there is no signed time
_DAY: Final = 86_400_000_000_000
_SOON: Final = 30 * _DAY
_LOCAL: Final = Networks(["127.0.0.0/8", "::1/128"])
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)  # RFC 9110, 5.6.2
# browsers send a cookie by themselves; the others belong to the frame and to proxies
_NOT_FOR_KEYS: Final = frozenset({
    "cookie", "host", "connection", "content-length", "content-type", "transfer-encoding", "te", "trailer", "upgrade",
    "expect", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "via", "origin", "referer",
})  # fmt: skip
_log = logging.getLogger("tradeguard")


class Bearer:
    """Takes a secret that is sent along for a proof, until an end date.

    By default it reads `Authorization: Bearer <id>.<secret>`, and takes a secret without a dot for that of the key
    `bearer_id(secret)`.

    Args:
        keys: where key records are found; those with the dialect "bearer" and a `BearerDigest`.
        until: the end date, ns UTC.
        accept: lanes beyond `read` in which it is good, by name.
        header: the field that carries the secret, for example "x-api-key"; only in Authorization a scheme precedes it.
        key: the field that carries the key id, where it is one of its own.
        plain: for development: clients on this machine may come over plain HTTP, where no proxy stands in between.
        announce: say in the log what it is good for and how long; False where nothing is served.

    Raises:
        ConfigError: no end date, a lane that there is not, or a field that is no place for a key.
    """

    name = BEARER

    def __init__(
        self,
        keys: Keys,
        *,
        until: int | None = None,
        accept: Iterable[str] = (),
        header: str = "authorization",
        key: str = "",
        plain: bool = False,
        announce: bool = True,
    ) -> None:
        lanes = frozenset([accept] if isinstance(accept, str) else accept)
        if type(until) is not int or until <= 0:
            raise ConfigError(
                "Bearer: say until when keys may be sent along, ns UTC: until=...; it never lasts for ever"
            )
        if not lanes <= LANES:
            raise ConfigError(f"Bearer: accept names {min(lanes - LANES)!r}; use some of {', '.join(sorted(LANES))}")
        _check_fields(header, key)
        self.until, self.lanes, self.plain = until, lanes | {"public", "read"}, plain
        self.good_for, self.fields = ", ".join(sorted(self.lanes)), f"{header} {key}".lower()  # in the policy's mark
        self._keys, self._following = keys, keys if isinstance(keys, Following) else None
        self._life, self._dummy = Signature(keys), make_dummy()
        self._header, self._key = header.lower().encode(), key.lower().encode()
        self._said = set[str]()
        self.kinds = self._life.kinds
        self.ports: tuple[Port, ...] = (keys,)
        self.challenge = f'{"Bearer" if header.lower() == "authorization" else "ApiKey"} realm="api"'
        if announce:
            _log.warning(
                "keys may be sent along, unsigned, until %s, for %s: whoever reads one request can act as its sender, "
                "and what is sent again is carried out again. Move your clients to signing.",
                show_time(until), self.good_for,
            )  # fmt: skip

    def claim(self, request: Request, /) -> Claim | None:
        """Return the claim of the key whose secret is sent along, or None where none is.

        Raises:
            Refused: a field that is malformed or stands twice, or a secret that came over plain HTTP. That one depends
                on no key, so it is told to strangers, too.
        """
        found = self._read(request)
        if found is not None and found[1] and request.scheme != "https" and not self._is_development(request):
            raise Refused(Denial(PLAIN, detail=found[0]))
        return Claim(BEARER, found[0], bare=not found[1]) if found is not None else None

    async def prove(self, request: Request, claim: Claim, /) -> Denial | None:
        """Compare the secret; set credential and principal if it is the key's. The same work for any key or none."""
        found = self._read(request)
        if found is None or claim.bare:
            return Denial(FIELD, detail=self._header.decode())
        record = await self._keys.find(claim.key_id)
        if record is None or (record.dialect, record.algorithm) != (BEARER, BEARER_SHA256):
            await self._dummy.verify(b"", found[1])
            return Denial(WRONG, detail="no such key" if record is None else "the key is not one to send along")
        if not await record.material.verify(b"", found[1]):
            return Denial(WRONG, detail="another secret")
        if not record.usable(request.received):
            return Denial(UNUSABLE, detail=record.state)
        request.prove(_credential(request, record.id), record.principal)
        if self._following is not None:
            self._following.used(record, request.received)
        return None

    async def __call__(self, request: Request, /) -> Denial | None:
        """Return `bearer.ended` behind the end date, `bearer.lane` in a lane that was not named, or None."""
        credential, operation = request.credential, request.operation
        if credential is None or credential.dialect != BEARER:
            return None
        if request.received >= self.until:
            return Denial(ENDED, members={"ended": show_time(self.until)})
        self._warn_soon(request.received)
        if operation is None or operation.lane not in self.lanes:
            return Denial(LANE, members={"lane": operation.lane if operation is not None else ""})
        return None

    def conditions(self, request: Request, /) -> Iterable[Condition]:
        """Return the `Below` of the key's version, as `Signature` has it, for keys that were sent along."""
        credential = request.credential
        return () if credential is None or credential.dialect != BEARER else self._life.conditions(request)

    def denial(self, condition: Condition, outcome: Outcome, /) -> Denial:
        """Return `signature.superseded`."""
        return self._life.denial(condition, outcome)

    def recheck(self, request: Request, at: int, /) -> Denial | None:
        """Return `signature.expired` or `signature.revoked` if the key has ended since the proof."""
        return self._life.recheck(request, at)

    def _is_development(self, request: Request) -> bool:
        return self.plain and request.peer.address in _LOCAL and not forwarded_by(request.headers)

    def _warn_soon(self, at: int) -> None:
        if self.until - at <= _SOON and "soon" not in self._said:
            self._said.add("soon")
            _log.warning(
                "keys that are sent along are still in use, and refused from %s on, in %d days. Move these clients to "
                "signing; `tradeguard keys list` says which keys were used last. This is said once.",
                show_time(self.until), -((at - self.until) // _DAY),
            )  # fmt: skip

    def _read(self, request: Request) -> tuple[str, bytes] | None:
        """Return key id and secret, which is empty where only the id stands in the head."""
        value = request.headers.one(self._header)
        id = request.headers.one(self._key) if self._key else None
        if value is not None and self._header == b"authorization":
            value = value[len(_SCHEME) :].strip(b" ") if value[: len(_SCHEME)].lower() == _SCHEME else None
        if value is None and id is None:
            return None
        secret = value or b""
        if value is not None and not _TOKEN.fullmatch(value):
            raise Refused(Denial(FIELD, detail=self._header.decode()))
        if not self._key:
            front, dot, rest = secret.partition(b".")
            id, secret = (front, rest) if dot else (bearer_id(secret).encode(), secret)
        key_id = (id or b"").decode("latin-1")
        if not KEY_ID.fullmatch(key_id) or not plausible(key_id) or (value is not None and not secret):
            raise Refused(Denial(FIELD, detail="the key id"))
        return key_id, secret


def _check_fields(header: str, key: str) -> None:
    """Raise `ConfigError` where a field cannot carry a key, or both parts of it stand in one."""
    for name in (header, *([key] if key else [])):
        if not _FIELD_NAME.fullmatch(name) or name.lower() in _NOT_FOR_KEYS:
            raise ConfigError(f"Bearer: {name!r} is no place for a key; use authorization, or one like x-api-key")
    if header.lower() == key.lower():
        raise ConfigError("Bearer: key id and secret stand in two fields, or without key= in one, as <id>.<secret>")


def _credential(request: Request, key_id: str) -> Credential:
    """Return what was proved: nothing of the message. The digest is each request's own: none looks like another."""
    at, digest = request.received, sha256(request.id.encode()).digest()
    return Credential(BEARER, BEARER_SHA256, key_id, at, at + _WINDOW.past, None, digest, frozenset(), _WINDOW)
