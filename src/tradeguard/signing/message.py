"""The signed text of a row: read from its notation, and composed alike for the verifier and the signer.

A message is text with parts in braces, as a venue's documentation writes it down: `{time}{method}{target}{body}`.

    {algorithm} {key} {time} {nonce} {width}     fields of the credential, as they were sent; the algorithm in capitals
    {method} {authority} {content_type}          as they were sent; the authority is lower case, without a default port
    {target}                                     path and query as they were sent
    {path}                                       the path, below the row's mount where it has one
    {query} {?query}                             the query, the second with its question mark where there is one
    {form} {body}                                the body; the first must be a form
    {text}                                       the body, or the query where there is none
    {payload}                                    the header that the row's `payload` names
    {field(name)} {number(name)}                 a member of a JSON body, a word or a whole number
    {flat(params)}                               all that is in that member of a JSON body, sorted, names and values
    {sha256(a b)} {sha256hex(a b)}               a hash over other parts, and 'texts' between them; also sha512

A signature that stands in a query or a form is no part of it. A query may have another form before it is signed:
`{query:sorted}` sorts the parameters, `{query:decoded}` takes the percent-encoding away, `{query:spaced}` writes + as
%20.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast
from urllib.parse import unquote_to_bytes

from tradeguard.core.errors import ConfigError

FORM: Final = b"application/x-www-form-urlencoded"
_PERCENT, _PLUS = b"%+"  # as numbers, which `in` finds ten times faster than bytes
_PART: Final = re.compile(r"\{([^{}]*)\}")
_SPEC: Final = re.compile(r"(\??[a-z_0-9]+)(?::([a-z,]+))?(?:\(([^()]*)\))?")
_HASHES: Final[Mapping[str, Callable[..., Any]]] = {
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "sha256hex": hashlib.sha256,
    "sha512hex": hashlib.sha512,
}


class Pieces(NamedTuple):
    """What a request is taken apart into; `query` and `form` without the signature, `document` a JSON body, read."""

    path: bytes = b""
    query: bytes = b""
    form: bytes = b""
    payload: bytes = b""
    document: Mapping[str, Any] = {}


class Facts(NamedTuple):
    """Everything a row may sign: what a request says as it stands, then the `Pieces` that it is taken apart into."""

    algorithm: bytes = b""
    key: bytes = b""
    time: bytes = b""
    nonce: bytes = b""
    width: bytes = b""
    method: bytes = b""
    authority: bytes = b""
    target: bytes = b""
    content_type: bytes = b""
    body: bytes = b""
    path: bytes = b""
    query: bytes = b""
    form: bytes = b""
    payload: bytes = b""
    document: Mapping[str, Any] = {}


class Part(NamedTuple):
    """One part of a message.

    `name` is "literal" for what stands between the braces, which is `text` then; for a hash `parts` are what it is
    over; `argument` names a member, and `forms` are those of a query.
    """

    name: str
    text: bytes = b""
    forms: tuple[str, ...] = ()
    argument: str = ""
    parts: "tuple[Part, ...]" = ()


def read_message(text: str) -> tuple[Part, ...]:
    """Return the parts of a message.

    Raises:
        ConfigError: what stands in braces is no part, naming it.
    """
    parts: list[Part] = []
    for place, piece in enumerate(_PART.split(text)):
        if place % 2:
            parts.append(_read_part(piece))
        elif piece:
            parts.append(Part("literal", piece.encode()))
    return tuple(parts)


def flatten(parts: Iterable[Part]) -> Iterator[Part]:
    """Give all parts, those inside of hashes too."""
    for part in parts:
        yield part
        yield from flatten(part.parts)


def compile_message(parts: tuple[Part, ...]) -> Callable[[Facts], bytes]:
    """Return the function that composes the signed text.

    It raises `Refused` nowhere: what a text must not hold, the row's guards have refused before.
    """
    if len(parts) == 1:
        return _compile(parts[0])
    template = b"".join(part.text.replace(b"%", b"%%") if part.name == "literal" else b"%b" for part in parts)
    computed: list[Callable[[Facts], bytes]] = []
    places: list[int] = []
    for part in parts:
        if part.name in Facts._fields and not part.forms:
            places.append(Facts._fields.index(part.name))
        elif part.name != "literal":
            places.append(len(Facts._fields) + len(computed))
            computed.append(_compile(part))
    pick = itemgetter(*places) if places else lambda _facts: ()
    if not computed:
        return lambda facts: template % pick(facts)
    return lambda facts: template % pick((*facts, *[get(facts) for get in computed]))


def query_as(forms: Iterable[str], query: bytes) -> bytes:
    """Return a query in other forms, applied in their order."""
    for form in forms:
        query = _FORMS[form](query)
    return query


def flat(value: Any) -> str:
    """Return all names and values of a JSON value in one text: members sorted by name, items in their order."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return "".join(name + flat(members[name]) for name in sorted(members))
    if isinstance(value, list):
        return "".join(flat(item) for item in cast("Sequence[Any]", value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _read_part(spec: str) -> Part:
    if spec[:1] == spec[-1:] == "'" and len(spec) > 2:
        return Part("literal", spec[1:-1].encode())
    match = _SPEC.fullmatch(spec)
    name, forms, argument = match.groups() if match is not None else (spec, None, None)
    asked = tuple(forms.split(",")) if forms else ()
    if name in _HASHES and argument:
        return Part(name, parts=tuple(_read_part(inner) for inner in argument.split()))
    if name == "flat" and argument not in (None, "params"):
        raise ConfigError(
            f"{{{spec}}} cannot be signed: only the names of {{flat(params)}} are known, see signing/plain.py"
        )
    if name in ("field", "number", "flat") and argument and not asked:
        return Part(name, argument=argument)
    takes_forms = name in ("query", "?query", "text") and set(asked) <= _FORMS.keys()
    if argument is not None or name not in _SIMPLE or (asked and not takes_forms):
        near = get_close_matches(name, sorted({*_SIMPLE, *_HASHES}), 1)
        hint = f"did you mean {{{near[0]}}}?" if near and near[0] != name else "the page on new venues lists what can"
        raise ConfigError(f"{{{spec}}} cannot be signed; {hint}")
    return Part(name, forms=asked)


def _compile(part: Part) -> Callable[[Facts], bytes]:
    name, text, forms, argument, parts = part
    made: dict[str, Callable[[Facts], bytes]] = {
        "literal": lambda _facts: text,
        "field": lambda facts: str(facts.document.get(argument, "")).encode(),
        "number": lambda facts: str(facts.document.get(argument, "")).encode(),
        "flat": lambda facts: flat(facts.document.get(argument) or {}).encode(),
        "?query": lambda facts: b"?" + query_as(forms, facts.query) if facts.query else b"",
        "text": lambda facts: facts.body or query_as(forms, facts.query),
    }
    if name in _HASHES:
        start, compose = _HASHES[name], compile_message(parts)
        if name.endswith("hex"):
            return lambda facts: start(compose(facts)).hexdigest().encode()
        return lambda facts: start(compose(facts)).digest()
    if name in made:
        return made[name]
    if forms:
        return lambda facts: query_as(forms, facts.query)
    return cast("Callable[[Facts], bytes]", itemgetter(Facts._fields.index(name)))


def _decode(query: bytes) -> bytes:
    return unquote_to_bytes(query.replace(b"+", b" ")) if _PERCENT in query or _PLUS in query else query


_FORMS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "sorted": lambda query: b"&".join(sorted(query.split(b"&"))),
    "decoded": _decode,
    "spaced": lambda query: query.replace(b"+", b"%20"),
}
_SIMPLE: Final = {*Facts._fields, "?query", "text"} - {"document"}
