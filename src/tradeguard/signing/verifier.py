"""The verifier of a row: reads its fields, strictly and exactly once each, and composes what was signed.

Everything here depends on the bytes of the request alone. It refuses:

1.  a field that is missing, stands twice, or is not in its one canonical spelling;
2.  a signature of a length that no algorithm of the row has;
3.  a body on a method that has none, and whatever the guards of the row refuse: so no byte can be shifted from one
    signed part into another, and nothing that is not signed is carried;
4.  what clients of the dialect sign for another purpose than a request.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from tradeguard.core.credential import Claim, Window
from tradeguard.core.decision import Denial, Refused
from tradeguard.core.key import TOKEN, is_key_id
from tradeguard.core.request import Request
from tradeguard.signing.encoding import compile_spellings, decode_number
from tradeguard.signing.message import Facts, Pieces, compile_message
from tradeguard.signing.phrase import Phrase, compile_phrase, names_of
from tradeguard.signing.place import (
    FIELD,
    AuthParam,
    Field,
    Header,
    Parameter,
    read_authorization,
    refused,
)
from tradeguard.signing.quick import quick
from tradeguard.signing.row import Row
from tradeguard.signing.source import BOUNDARY, Sources, is_form
from tradeguard.signing.stamp import read_clock

NONCES: Final[Mapping[str, Callable[[bytes], object]]] = {
    "token": lambda text: 16 <= len(text) <= 64 and not text.translate(None, TOKEN),
    "uuid": re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch,
    "free": lambda text: 1 <= len(text) <= 64 and not text.translate(None, TOKEN),
}
"""Tell whether a text is a nonce, by its form; one that is the reading of a clock is what `read_clock` reads."""
_JSON: Final = b"application/json"
_EMPTY: Final = "nothing is signed: one signature would be good for all such requests"
_Get = Callable[[bytes], bytes | None]
_NOTHING: Final = Pieces()  # of a request that need not be taken apart
_make_facts = quick(Facts)


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


_make_signed = quick(Signed)


class Verifier:
    """Reads the requests of one dialect.

    Args:
        row: the dialect.
    """

    def __init__(self, row: Row) -> None:
        self.row = row
        self._compose = tuple(compile_message(message) for message in row.messages)
        self._decode = compile_spellings(row)
        self._in_header, self._signed_head = isinstance(row.key, Header), isinstance(row.signature, Header)
        self._signature, self._time = row.signature.name, row.time.name if row.time is not None else b""
        self._prefix = row.prefix.encode()
        self._make_claim = lru_cache(1_024)(self._claim_key)  # most requests come from keys that just sent another
        self._heads = frozenset(place.name for place in row.places if isinstance(place, Header) and place != row.key)
        self._key_mark, self._mark = b"&" + row.key.name + b"=", b"&" + row.signature.name + b"="
        self._sources = Sources(row)
        self._apart = self._sources.needed
        self._read_time, self._is_nonce = row.stamp.read, NONCES.get(row.form)
        self._size = row.stamp.size if row.exact else 0
        self._labels = {algorithm: algorithm.upper().encode() for algorithm in row.algorithms}
        self._typed = "content_type" in row.parts
        self._read_once = self._heads.union(
            [row.key.name] if self._in_header else [],
            [b"content-type"] if self._typed else [],
            names_of(row.passphrase) if row.passphrase is not None else [],
        )
        self._read_phrase = compile_phrase(row.passphrase) if row.passphrase is not None else None
        self._guards = tuple((guard.holds, guard.text) for guard in row.guards)
        self._letters = tuple((guard.literal, guard.text) for guard in row.guards if guard.literal is not None)
        self._random = row.nonce is not None and row.form in ("token", "uuid")

    def claim(self, request: Request) -> Claim | None:
        """Return the claim of this dialect, or None if the head carries none.

        Raises:
            Refused: the head carries parts of it, or one twice.
        """
        row, headers = self.row, request.headers
        if isinstance(row.key, Field):
            return self._claim_body(request)
        key = headers.one(row.key.name) if self._in_header else self._key_in_head(request)
        signed = self._signed_head and row.signature.name in headers
        if key is None:
            if signed and self._in_header:
                raise refused(row.key)
            return None
        return self._make_claim(key, not (signed or self._may_carry(request)))

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
            return self._key_mark in b"&" + request.target.partition(b"?")[2]
        return isinstance(key, Header) and key.name in request.headers

    def read(self, request: Request, claim: Claim, body: bytes) -> Signed:
        """Return what the request says was signed.

        Raises:
            Refused: rules 1 to 4.
        """
        row = self.row
        if body and request.method in row.bodyless:
            raise Refused(Denial(BOUNDARY, detail=f"a body on {request.method}"))
        head = request.headers.getter(self._read_once)
        pieces, get = self._sources.take(request, body) if self._apart else (_NOTHING, head)
        text = get(self._signature)
        found = self._decode(text) if text is not None else None
        if found is None:
            raise refused(row.signature)
        algorithm, signature = found
        nonce, rises = self._read_nonce(get) if row.nonce is not None else (b"", None)
        time, signed_at = b"", request.received if rises is None else rises
        if row.time is not None:
            time = get(self._time) or b""
            read = self._read_time(time)
            if read is None or (self._size and len(time) != self._size):
                raise refused(row.time)
            signed_at = read - row.lifetime
        width = get(row.width.name) if row.width is not None else None
        key = claim.key_id or self._key_in_body(get)
        said = (
            self._labels[algorithm],
            self._prefix + key.encode(),
            time,
            nonce,
            width or b"",
            request.method.encode(),
            request.authority,
            request.target,
            (head(b"content-type") or b"") if self._typed else b"",
            body,
        )
        facts = _make_facts(said + pieces)
        self._check(request, facts, get)
        message = self._compose[0](facts)
        if not message:
            raise Refused(Denial(BOUNDARY, detail=_EMPTY))
        return _make_signed((
            algorithm,
            message,
            signature,
            signed_at,
            nonce if self._random else None,
            row.window if width is None else self._window(width),
            key,
            rises,
            self._read_phrase(head) if self._read_phrase is not None else None,
            () if len(self._compose) == 1 else self._read_otherwise(message, facts),
        ))  # fmt: skip

    def _read_otherwise(self, message: bytes, facts: Facts) -> tuple[bytes, ...]:
        """Return the further readings of what was signed, where they differ."""
        return tuple(other for other in [compose(facts) for compose in self._compose[1:]] if other != message)

    def _claim_key(self, key: bytes, bare: bool) -> Claim:
        """Return the claim of a key id as it was sent.

        Raises:
            Refused: it is none; so nothing that is longer than a key id is ever kept.
        """
        id = key.removeprefix(self._prefix)
        if len(id) + len(self._prefix) != len(key) or not is_key_id(id):
            raise refused(self.row.key)
        return Claim(self.row.name, id.decode("ascii"), bare)

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
        if isinstance(key, AuthParam):
            value = request.headers.one(b"authorization")
            given = read_authorization(value, self.row.scheme) if value is not None else None
            if given is not None and key.name not in given:
                raise refused(key)
            return given[key.name] if given is not None else None
        _, mark, rest = (b"&" + request.target.partition(b"?")[2]).partition(self._key_mark)
        return rest.partition(b"&")[0] if mark else None  # `read` sees to it that it stands there once

    def _key_in_body(self, get: _Get) -> str:
        key = get(self.row.key.name) or b""
        if not is_key_id(key):
            raise refused(self.row.key)
        return key.decode("ascii")

    def _may_carry(self, request: Request) -> bool:
        """Tell whether a signature that is no header stands in the head, or perhaps in a body that is on its way."""
        row = self.row
        if isinstance(row.signature, Header):
            return False
        if not isinstance(row.signature, Parameter):
            return True
        in_body = "form" in row.parts and request.length != 0 and request.method not in row.bodyless
        return (in_body and is_form(request)) or self._mark in b"&" + request.target.partition(b"?")[2]

    def _read_nonce(self, get: _Get) -> tuple[bytes, int | None]:
        """Return the nonce as it was sent, and its value if it rises."""
        place = self.row.nonce
        assert place is not None
        nonce = get(place.name) or b""
        if self._is_nonce is not None:
            rises, legible = None, self._is_nonce(nonce)
        else:
            rises = read_clock(nonce)
            legible = rises is not None
        if not legible:
            raise refused(place)
        return nonce, rises

    def _check(self, request: Request, facts: Facts, get: _Get) -> None:
        """Hold a request against the guards of its row, and against what it says of itself."""
        row = self.row
        for holds, text in self._guards:
            if not holds(facts):
                raise Refused(Denial(BOUNDARY, detail=text))
        for literal, text in self._letters:
            if literal(facts) and not _is_literal(request):
                raise Refused(Denial(BOUNDARY, detail=text))
        if row.logins and request.prefix + request.path in row.logins:
            raise Refused(Denial(BOUNDARY, detail="what is signed for this path is a login"))
        for place, what in row.binds:
            if not _BINDS[what](get(place.name) or b"", facts):
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
