"""The verifier of a row: reads its fields, strictly and exactly once each, and composes what was signed.

Everything here depends on the bytes of the request alone. It refuses:

1.  a field that is missing, stands twice, or is not in its one canonical spelling;
2.  a signature of a length that no algorithm of the row has;
3.  a body on a method that has none, and whatever the guards of the row refuse: so no byte can be shifted from one
    signed part into another, and nothing that is not signed is carried;
4.  what clients of the dialect sign for another purpose than a request.
"""

import re
import string
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from tradeguard.core.credential import Claim, Window
from tradeguard.core.decision import Denial, Refused
from tradeguard.core.key import KEY_ID
from tradeguard.core.request import Request
from tradeguard.signing.encoding import compile_spellings, decode_number
from tradeguard.signing.message import Facts, compile_message
from tradeguard.signing.phrase import Phrase, read_phrase
from tradeguard.signing.place import (
    FIELD,
    AuthParam,
    Field,
    Header,
    Parameter,
    read_authorization,
    refused,
)
from tradeguard.signing.row import Row
from tradeguard.signing.shift import LITERAL
from tradeguard.signing.source import BOUNDARY, NOTHING, Source, Sources, is_form
from tradeguard.signing.stamp import read_clock

_TOKEN: Final = (string.ascii_letters + string.digits + "_-").encode()
_NONCES: Final[Mapping[str, Callable[[bytes], object]]] = {
    "token": lambda text: 16 <= len(text) <= 64 and not text.translate(None, _TOKEN),
    "uuid": re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch,
    "free": lambda text: 1 <= len(text) <= 64 and not text.translate(None, _TOKEN),
    "clock": lambda text: 10 <= len(text) <= 19 and text.isdigit(),
}
_JSON: Final = b"application/json"
_LONGEST_KEY: Final = 128  # bytes of a key id, which are those of a token; see `KEY_ID`
_Get = Callable[[bytes], bytes | None]
_new: Final[Any] = vars(tuple)["__new__"]  # makes a NamedTuple in half the time that its class takes
_make_facts: Final[Callable[[tuple[Any, ...]], Facts]] = partial(_new, Facts)


class Signed(NamedTuple):
    """What a request says was signed: not proved yet.

    `signed_at` is ns UTC; `nonce` is there where it is random, `rises` where it is a clock's reading. `others` are
    further readings of what was signed. `key_id` is that of the claim, or of the body where the head has none.
    """

    algorithm: str
    message: bytes
    signature: bytes
    signed_at: int
    nonce: bytes | None
    window: Window
    key_id: str = ""
    rises: int | None = None
    phrase: Phrase | None = None
    others: tuple[bytes, ...] = ()


_make_signed: Final[Callable[[tuple[Any, ...]], Signed]] = partial(_new, Signed)


class Verifier:
    """Reads the requests of one dialect.

    Args:
        row: the dialect.
    """

    def __init__(self, row: Row) -> None:
        self.row, self.coverage = row, row.coverage
        self._compose = tuple(compile_message(message) for message in row.messages)
        self._decode = compile_spellings(row)
        heads = [place.name for place in row.places if isinstance(place, Header)]
        self._heads = frozenset(heads[1:] if isinstance(row.key, Header) else heads)
        self._sources = Sources(row)
        self._read_time, self._is_nonce = row.stamp.exact if row.exact else row.stamp.read, _NONCES[row.form]
        self._labels = {algorithm: algorithm.upper().encode() for algorithm in row.algorithms}
        self._typed = "content_type" in row.parts
        self._letters = LITERAL in row.guards
        self._random = row.nonce is not None and row.form in ("token", "uuid")

    def claim(self, request: Request) -> Claim | None:
        """Return the claim of this dialect, or None if the head carries none.

        Raises:
            Refused: the head carries parts of it, or one twice.
        """
        row = self.row
        if isinstance(row.key, Field):
            return self._claim_body(request)
        in_header = isinstance(row.key, Header)
        key = request.headers.one(row.key.name) if in_header else self._key_in_head(request)
        signed = row.signature.name in request.headers.names and isinstance(row.signature, Header)
        if key is None:
            if signed and in_header:
                raise refused(row.key)
            return None
        if row.prefix:
            prefix = row.prefix.encode()
            key = key[len(prefix) :] if key.startswith(prefix) else b""
        if not 0 < len(key) <= _LONGEST_KEY or key.translate(None, _TOKEN):
            raise refused(row.key)
        return Claim(row.name, key.decode("ascii"), not (signed or self._may_carry(request)))

    def check_absent(self, request: Request) -> None:
        """Raise `Refused` where the head carries a part of this dialect although it names no key: it is broken."""
        if self._heads & request.headers.names:
            raise refused(self.row.key)

    def speaks(self, request: Request) -> bool:
        """Tell from the head alone whether its sender expects answers of this dialect; nothing is refused."""
        key = self.row.key
        if isinstance(key, AuthParam):
            return request.headers.note(b"authorization").lower().startswith(self.row.scheme.decode() + " ")
        if isinstance(key, Parameter):
            query = b"&" + request.target.partition(b"?")[2]
            return b"&" + key.name + b"=" in query
        return isinstance(key, Header) and key.name in request.headers

    def read(self, request: Request, claim: Claim, body: bytes) -> Signed:
        """Return what the request says was signed.

        Raises:
            Refused: rules 1 to 4.
        """
        row = self.row
        if body and request.method in row.bodyless:
            raise Refused(Denial(BOUNDARY, detail=f"a body on {request.method}"))
        source = self._sources.take(request, body) if self._sources.needed else NOTHING
        get = source.values.get if self._sources.needed else request.headers.one
        text = get(row.signature.name)
        found = self._decode(text) if text is not None else None
        if found is None:
            raise refused(row.signature)
        algorithm, signature = found
        time, nonce, signed_at, rises = self._when(get, request.received)
        width = get(row.width.name) if row.width is not None else None
        key = claim.key_id or self._key_in_body(source)
        facts = _make_facts((
            self._labels[algorithm],
            (row.prefix + key).encode(),
            time,
            nonce,
            width or b"",
            request.method.encode(),
            request.authority,
            request.target,
            source.path,
            source.query,
            (request.headers.one(b"content-type") or b"") if self._typed else b"",
            body,
            source.form,
            source.payload,
            source.document,
        ))  # fmt: skip
        self._check(request, facts, source)
        message = self._compose[0](facts)
        others = () if len(self._compose) == 1 else self._others(message, facts)
        return _make_signed((
            algorithm,
            message,
            signature,
            signed_at,
            nonce if self._random else None,
            row.window if width is None else self._window(width),
            key,
            rises,
            read_phrase(row.passphrase, request.headers) if row.passphrase is not None else None,
            others,
        ))  # fmt: skip

    def _others(self, message: bytes, facts: Facts) -> tuple[bytes, ...]:
        """Return the further readings of what was signed, where they differ."""
        return tuple(other for other in [compose(facts) for compose in self._compose[1:]] if other != message)

    def _claim_body(self, request: Request) -> Claim | None:
        """Return a claim without a key id where all of the credential is in a body that has not arrived yet.

        A public operation takes JSON from anybody, so no body of one is taken for a credential.
        """
        if request.operation is not None and request.operation.lane == "public":
            return None
        kind = (request.headers.one(b"content-type") or b"").partition(b";")[0].strip().lower()
        in_body = request.length != 0 and request.method not in self.row.bodyless and kind == _JSON
        return Claim(self.row.name, "") if in_body else None

    def _key_in_head(self, request: Request) -> bytes | None:
        key = self.row.key
        if isinstance(key, Header):
            return request.headers.one(key.name)
        if isinstance(key, AuthParam):
            value = request.headers.one(b"authorization")
            given = read_authorization(value, self.row.scheme) if value is not None else None
            if given is not None and key.name not in given:
                raise refused(key)
            return given[key.name] if given is not None else None
        _, mark, rest = (b"&" + request.target.partition(b"?")[2]).partition(b"&" + key.name + b"=")
        return rest.partition(b"&")[0] if mark else None  # `read` sees to it that it stands there once

    def _key_in_body(self, source: Source) -> str:
        key = (source.values.get(self.row.key.name) or b"").decode("ascii")
        if not KEY_ID.fullmatch(key):
            raise refused(self.row.key)
        return key

    def _may_carry(self, request: Request) -> bool:
        """Tell whether a signature that is no header stands in the head, or perhaps in a body that is on its way."""
        row = self.row
        if isinstance(row.signature, Header):
            return False
        if not isinstance(row.signature, Parameter):
            return True
        name, (_, _, query) = row.signature.name + b"=", request.target.partition(b"?")
        in_body = "form" in row.parts and request.length != 0 and request.method not in row.bodyless
        return (in_body and is_form(request)) or query.startswith(name) or b"&" + name in query

    def _when(self, get: _Get, received: int) -> tuple[bytes, bytes, int, int | None]:
        """Return time and nonce as they were sent, when the message was made, and the value of a rising nonce."""
        row, time, nonce, signed_at, rises = self.row, b"", b"", received, None
        if row.nonce is not None:
            nonce = get(row.nonce.name) or b""
            if not self._is_nonce(nonce):
                raise refused(row.nonce)
            if row.form == "clock":
                rises = read_clock(nonce)
                if rises is None:
                    raise refused(row.nonce)
                signed_at = rises
        if row.time is not None:
            time = get(row.time.name) or b""
            read = self._read_time(time)
            if read is None:
                raise refused(row.time)
            signed_at = read - row.lifetime
        return time, nonce, signed_at, rises

    def _check(self, request: Request, facts: Facts, source: Source) -> None:
        """Hold a request against the guards of its row, and against what it says of itself."""
        row = self.row
        for guard in row.guards:
            if not guard.holds(facts):
                raise Refused(Denial(BOUNDARY, detail=guard.text))
        if self._letters and b"?" in facts.target and not _is_literal(request):
            raise Refused(Denial(BOUNDARY, detail=LITERAL.text))
        if row.logins and request.prefix + request.path in row.logins:
            raise Refused(Denial(BOUNDARY, detail="what is signed for this path is a login"))
        for place, what in row.binds:
            if not _BINDS[what](source.values.get(place.name) or b"", facts):
                raise refused(place)

    def _window(self, width: bytes) -> Window:
        row = self.row
        past = (decode_number(width) or 0) * row.stamp.grain
        if not 0 < past <= row.widest:
            raise Refused(Denial(FIELD, detail=f"the window is not between 1 and {row.widest // row.stamp.grain}"))
        return Window(past, row.window.future)


def _is_literal(request: Request) -> bool:
    operation = request.operation
    return operation is None or operation.id.partition(" ")[2] == request.prefix + request.path


_BINDS: Final[Mapping[str, Callable[[bytes, Facts], bool]]] = {
    "path": lambda value, facts: value == facts.path,
    "tail": lambda value, facts: value == facts.path[1:],
    "nonce": lambda value, facts: value == facts.nonce,
}
"""What a field may be bound to."""
