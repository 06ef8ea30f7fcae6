"""The verifier of a row: reads its fields, strictly and exactly once each, and composes what was signed.

Everything here depends on the bytes of the request alone. It refuses:

1.  a field that is missing, stands twice, or is not in its one canonical spelling;
2.  a signature of a length that no algorithm of the row has;
3.  a body on a method that has none; and where query and form are signed without a separator, both at once or a body
    that is not a form: so no byte can be shifted from one into the other.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from tradeguard.core.credential import Claim, Window
from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.key import KEY_ID
from tradeguard.core.request import Request
from tradeguard.signing.encoding import decode_base64url, decode_hex, decode_number
from tradeguard.signing.material import SIGNATURE_BYTES
from tradeguard.signing.message import FORM, Facts, compile_digest, compile_message
from tradeguard.signing.row import Header, Parameter, Row

FIELD = register(
    "verifier.field",
    unproven=True,
    hint="A field of the credential is missing, stands twice or is malformed; the detail names it.",
)
BOUNDARY = register(
    "verifier.boundary",
    unproven=True,
    hint="No body on GET, HEAD or DELETE; and a dialect that signs parameters takes a query or a form, not both.",
)
_NONCE: Final = re.compile(rb"[A-Za-z0-9_-]{16,64}")
_FIELD_BYTES: Final = 128  # longer is nothing that any row has


class Signed(NamedTuple):
    """What a request says was signed: not proved yet. `signed_at` is ns UTC."""

    algorithm: str
    message: bytes
    signature: bytes
    signed_at: int
    nonce: bytes | None
    window: Window


_Fields = tuple[bytes, bytes, bytes, bytes | None, bytes, bytes]  # time, nonce, signature, width, query, form


class Verifier:
    """Reads the requests of one dialect.

    Args:
        row: the dialect.
    """

    def __init__(self, row: Row) -> None:
        self.row, self.coverage = row, row.coverage
        self._compose, self._hash = compile_message(row), compile_digest(row)
        self._decode = decode_base64url if row.encoding == "base64url" else decode_hex
        self._algorithms = {SIGNATURE_BYTES[algorithm]: algorithm for algorithm in row.algorithms}
        self._in_headers = isinstance(row.signature, Header)
        parts = (row.time, row.nonce, row.signature)
        self._parts = frozenset(part.name for part in parts if isinstance(part, Header))
        self._names = frozenset(field.name for field in (row.time, row.signature, row.width) if field is not None)

    def claim(self, request: Request) -> Claim | None:
        """Return the claim of this dialect, or None if the head carries none.

        Raises:
            Refused: the head carries parts of it, or one twice.
        """
        headers, row = request.headers, self.row
        key = headers.one(row.key.name)
        signed = self._in_headers and row.signature.name in headers
        if key is None:
            if signed:
                raise _refused(row.key)
            return None
        key_id = key.decode("latin-1")
        if not KEY_ID.fullmatch(key_id):
            raise _refused(row.key)
        return Claim(row.name, key_id, not (signed or self._may_carry(request)))

    def check_absent(self, request: Request) -> None:
        """Raise `Refused` where the head carries a part of this dialect although it names no key: it is broken."""
        if self._parts & request.headers.names:
            raise _refused(self.row.key)

    def read(self, request: Request, claim: Claim, body: bytes) -> Signed:
        """Return what the request says was signed.

        Raises:
            Refused: rules 1 to 3.
        """
        row = self.row
        if body and request.method in row.bodyless:
            raise Refused(Denial(BOUNDARY, detail=f"a body on {request.method}"))
        fields = self._from_headers(request) if self._in_headers else self._from_text(request, body)
        time_text, nonce, signature_text, width, query, form = fields
        signature = self._decode(signature_text)
        algorithm = self._algorithms.get(len(signature)) if signature is not None else None
        if signature is None or algorithm is None:
            raise _refused(row.signature)
        time = decode_number(time_text)
        if time is None:
            raise _refused(row.time)
        facts = Facts(
            row.algorithms[algorithm],
            claim.key_id.encode(),
            time_text,
            nonce,
            request.method.encode(),
            request.authority,
            request.target,
            request.headers.one(b"content-type") or b"",
            self._hash(body),
            query,
            form,
        )
        message, single_use = self._compose(facts), nonce if row.nonce is not None else None
        return Signed(algorithm, message, signature, time * row.unit, single_use, self._window(width))

    def _may_carry(self, request: Request) -> bool:
        """A signature in a parameter: in the query, or perhaps in a body that has not arrived yet."""
        if self._in_headers:
            return False
        name, (_, _, query) = self.row.signature.name + b"=", request.target.partition(b"?")
        in_body = request.length != 0 and request.method not in self.row.bodyless and _is_form(request)
        return in_body or query.startswith(name) or b"&" + name in query

    def _from_headers(self, request: Request) -> _Fields:
        one, row = request.headers.one, self.row
        time, signature = one(row.time.name), one(row.signature.name)
        nonce = one(row.nonce.name) if row.nonce is not None else b""
        if time is None:
            raise _refused(row.time)
        if signature is None or len(signature) > _FIELD_BYTES:
            raise _refused(row.signature)
        if row.nonce is not None and (nonce is None or not _NONCE.fullmatch(nonce)):
            raise _refused(row.nonce)
        return time, nonce or b"", signature, None, b"", b""

    def _from_text(self, request: Request, body: bytes) -> _Fields:
        row, query = self.row, request.target.partition(b"?")[2]
        if body and (query or not _is_form(request)):
            raise Refused(Denial(BOUNDARY, detail="a query beside a body, or a body that is no form"))
        text, mark, signature = (body or query).rpartition(b"&" + row.signature.name + b"=")
        if not mark or len(signature) > _FIELD_BYTES:
            raise _refused(row.signature)
        values = _pick(text, self._names)
        if row.time.name not in values:
            raise _refused(row.time)
        if row.signature.name in values:
            raise _refused(row.signature)
        width = values.get(row.width.name) if row.width is not None else None
        return values[row.time.name], b"", signature, width, b"" if body else text, text if body else b""

    def _window(self, width: bytes | None) -> Window:
        row = self.row
        if width is None:
            return row.window
        past = (decode_number(width) or 0) * row.unit
        if not 0 < past <= row.widest:
            raise Refused(Denial(FIELD, detail=f"the window is not between 1 and {row.widest // row.unit}"))
        return Window(past, row.window.future)


def _is_form(request: Request) -> bool:
    kind = request.headers.one(b"content-type") or b""
    return kind.partition(b";")[0].strip().lower() == FORM


def _pick(text: bytes, names: frozenset[bytes]) -> dict[bytes, bytes]:
    """Return the named parameters, each of which may stand once and in no other spelling."""
    found: dict[bytes, bytes] = {}
    for parameter in text.split(b"&"):
        raw, _, value = parameter.partition(b"=")
        name = unquote_to_bytes(raw.replace(b"+", b" ")) if b"%" in raw or b"+" in raw else raw
        if name in names:
            if name in found or name != raw:
                raise Refused(Denial(FIELD, detail=f"{name.decode()} stands twice or is encoded"))
            found[name] = value
    return found


def _refused(field: Header | Parameter) -> Refused:
    return Refused(Denial(FIELD, detail=field.name.decode()))
