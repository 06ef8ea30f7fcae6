"""The frame: what may come in at all. Pure; it owns every rule on the form of a request.

1.  The method is `[A-Z]+`. TRACE and CONNECT never pass, and no header and no query or urlencoded form
    member changes the method.
2.  The target is origin-form: an absolute path and perhaps a query, in printable ASCII, within its length.
3.  The path is canonical: no `//`, no dot segment, no `;` or `\\` in any spelling, and nothing percent-encoded that
    could stand as itself (RFC 3986, 6.2.2.2), nor `/`, `%`, a brace (routers differ on them) or a control character.
    What was signed, what the map matches and what the host routes are the same text.
4.  The decoded path is prefix + the path that the host routes.
5.  Exactly one Host (RFC 9112, 3.2), without user information; the authority is its lower-case form without the
    default port.
6.  Content-Length or Transfer-Encoding, never both, neither twice (RFC 9112, 6.3). A request body is not encoded.
7.  Header names are tokens in lower case, values hold no CR, LF or NUL; their number and size are capped. What says
    how to read the request stands once.
"""

import re
import string
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.policy import Policy
from tradeguard.core.request import Request

_MALFORMED = "The request is malformed."
METHOD = register("frame.method", status=501, text="This method is not served.", hint="TRACE and CONNECT never pass.")
TOKEN = register("frame.token", status=400, text=_MALFORMED, hint="The method is not [A-Z]+.")
OVERRIDE = register(
    "frame.override",
    status=400,
    text="The method of a request cannot be overridden.",
    hint="A client or proxy sends X-HTTP-Method-Override or _method; remove it there.",
)
TARGET = register("frame.target", status=400, text=_MALFORMED, hint="The target is not /path?query in printable ASCII.")
LONG = register("frame.long", status=414, text="The target is too long.", hint="See Policy.target_bytes.")
PATH = register(
    "frame.path",
    status=400,
    text="The path is not in its canonical form.",
    hint="The client or a proxy encodes what needs no encoding, or sends //, dot segments, ; or \\; or a server or "
    "middleware in front changed the path without setting the prefix. The detail shows which.",
)
HOST = register("frame.host", status=400, text=_MALFORMED, hint="There must be exactly one valid Host.")
LENGTH = register(
    "frame.length",
    status=400,
    text=_MALFORMED,
    hint="Content-Length and Transfer-Encoding contradict each other: an attack, or a broken proxy.",
)
ENCODED = register(
    "frame.encoded",
    status=415,
    text="An encoded request body is not accepted.",
    hint="The client compresses its bodies (Content-Encoding); signatures are over plain bytes.",
)
FIELD = register(
    "frame.field",
    status=400,
    text=_MALFORMED,
    hint="A header name or value has a forbidden character, or stands twice.",
)
LARGE = register("frame.large", status=431, text="The header is too large.", hint="See Policy.head_bytes, head_fields.")
BODY = register("frame.body", status=413, text="The body is too large.", hint="See Policy.body_bytes.")

_TOKEN: Final = (string.ascii_lowercase + string.digits + "!#$%&'*+-.^_`|~").encode()
_CR, _LF, _NUL, _PERCENT = b"\r\n\0%"  # as numbers, which `in` finds ten times faster than bytes
_METHOD: Final = re.compile(r"[A-Z]{1,24}", re.ASCII)
_ONCE: Final = frozenset({b"host", b"content-length", b"content-type", b"content-encoding", b"transfer-encoding"})
_USUAL_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OVERRIDES: Final = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
_QUERY: Final = re.compile(rb"[!\"$-~]*")
_PLAIN: Final = re.compile(rb"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)*/?")
_ENCODED: Final = re.compile(rb"/(?:[A-Za-z0-9._~!$&'()*+,=:@/-]|%[0-9A-Fa-f]{2})*")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_NEVER_ESCAPED: Final = frozenset((string.ascii_letters + string.digits + "-._~/\\;%{}").encode()) | {*range(32), 127}
_CONTROL: Final = re.compile(r"[\x80-\x9f]")  # those beyond ASCII
_AUTHORITY: Final = re.compile(rb"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,253})(?::(0|[1-9][0-9]{0,4}))?")
_LONGEST_HOST: Final = 300  # longer than any that matches; what is remembered is small, whoever asks
_DEFAULT_PORT: Final = {"http": b"80", "https": b"443"}


def check_frame(request: Request, policy: Policy) -> None:
    """Hold a request against the rules above; fill in its authority and length.

    Raises:
        Refused: with 400, 413, 414, 415, 431 or 501.
    """
    _check_fields(request, policy)
    _check_method(request)
    _check_target(request, policy)
    request.authority = _authority((request.headers.one(b"host") or b"")[:_LONGEST_HOST], request.scheme)
    request.length = _length(request, policy)


def check_form(request: Request, body: bytes) -> None:
    """Rule 1 once the body is there: a form does not change the method either."""
    if _PERCENT in body or b"_method" in body:
        kind = request.headers.one(b"content-type") or b""
        if kind.lower().startswith(b"application/x-www-form-urlencoded"):
            _check_parameters(body)


def _check_fields(request: Request, policy: Policy) -> None:
    headers = request.headers
    if len(headers) > policy.head_fields:
        raise Refused(Denial(LARGE, detail=f"{len(headers)} fields"))
    for name in headers.repeated and _ONCE & headers.repeated.keys():
        raise Refused(Denial(HOST if name == b"host" else FIELD, detail=f"{name.decode()} stands twice"))
    names, values = headers.joined()
    if len(names) + len(values) > policy.head_bytes:
        raise Refused(Denial(LARGE, detail=f"{len(names) + len(values)} bytes"))
    if names.translate(None, _TOKEN) or b"" in headers or _CR in values or _LF in values or _NUL in values:
        raise Refused(Denial(FIELD))


def _check_method(request: Request) -> None:
    if request.method not in _USUAL_METHODS:
        if not _METHOD.fullmatch(request.method):
            raise Refused(Denial(TOKEN))
        if request.method in ("TRACE", "CONNECT"):
            raise Refused(Denial(METHOD))
    for name in _OVERRIDES & request.headers.names:
        raise Refused(Denial(OVERRIDE, detail=name.decode()))


def _check_target(request: Request, policy: Policy) -> None:
    if len(request.target) > policy.target_bytes:
        raise Refused(Denial(LONG, detail=f"{len(request.target)} bytes"))
    path, mark, query = request.target.partition(b"?")
    if path[:1] != b"/" or not _QUERY.fullmatch(query):
        raise Refused(Denial(TARGET))
    if canonical_path(path) != request.prefix + request.path:
        raise Refused(Denial(PATH, detail="the host routes another path than the one that was received"))
    if mark and (_PERCENT in query or b"_method" in query):
        _check_parameters(query)


def canonical_path(path: bytes) -> str:
    """Decode a raw path (rule 3).

    Raises:
        Refused: it is not canonical.
    """
    if path and _PLAIN.fullmatch(path):
        return path.decode("ascii")
    segments = path.split(b"/")
    if not _ENCODED.fullmatch(path) or b"" in segments[1:-1] or b"." in segments or b".." in segments:
        raise Refused(Denial(PATH, detail="an empty or dot segment, or a character that must be encoded"))
    for escape in _ESCAPE.finditer(path):
        if int(escape[1], 16) in _NEVER_ESCAPED:
            raise Refused(Denial(PATH, detail=f"{escape[0].decode()} is encoded and must not be"))
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise Refused(Denial(PATH, detail="not UTF-8")) from None
    if _CONTROL.search(decoded):
        raise Refused(Denial(PATH, detail="a control character"))
    return decoded


def quote_path(path: str) -> bytes:
    """Spell a decoded path canonically, for servers that do not hand on the raw one; nothing else is encoded."""
    return quote(path, safe="/!$&'()*+,=:@~", errors="surrogateescape").encode()


def _check_parameters(text: bytes) -> None:
    for parameter in text.split(b"&"):
        name = parameter.partition(b"=")[0]
        if name == b"_method" or (_PERCENT in name and unquote_to_bytes(name) == b"_method"):
            raise Refused(Denial(OVERRIDE, detail="_method"))


@lru_cache(256)
def _authority(host: bytes, scheme: str) -> bytes:
    match = _AUTHORITY.fullmatch(host.lower())
    if match is None or int(match[2] or 0) > 65_535:
        raise Refused(Denial(HOST))
    name, port = match.groups()
    return name if port is None or port == _DEFAULT_PORT.get(scheme) else match[0]


def _length(request: Request, policy: Policy) -> int | None:
    headers = request.headers
    declared, coding = headers.one(b"content-length"), headers.one(b"transfer-encoding")
    encoding = headers.one(b"content-encoding")
    if encoding is not None and encoding.strip(b" \t").lower() not in (b"", b"identity"):
        raise Refused(Denial(ENCODED))
    if declared is None:
        if coding is not None and coding.strip(b" \t").lower() != b"chunked":
            raise Refused(Denial(LENGTH, detail="an unknown transfer coding"))
        return None if coding is not None or not request.version.startswith("1") else 0
    if coding is not None or not (declared.isdigit() and len(declared) < 20):
        raise Refused(Denial(LENGTH))
    if int(declared) > policy.body_bytes:
        raise Refused(Denial(BODY, detail=f"{int(declared)} bytes announced"))
    return int(declared)
