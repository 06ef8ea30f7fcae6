"""The signed text of a row: read from its notation, and composed alike for the verifier and the signer.

A message is text with parts in braces, as a venue's documentation writes it down: `{time}{method}{target}{body}`.

    {algorithm} {key} {time} {nonce} {width}     fields of the credential, as they were sent; the algorithm in capitals
    {method} {authority} {content_type}          as they were sent; the authority is lower case, without a default port
    {target}                                     path and query as they were sent
    {path}                                       the path, below the row's mount where it has one
    {query} {form} {body}                        the query; the body, the first of them must be a form
    {text}                                       the body, or the query where there is none
    {?query} {#text} {&body} ...                 one of these three behind a mark; nothing where the part is empty
    {payload}                                    the header that the row's `payload` names
    {field(name)} {number(name)}                 a member of a JSON body, a word or a whole number
    {flat(params)}                               all that is in that member of a JSON body, sorted, names and values
    {sha256(a b)} {sha256hex(a b)}               a hash over other parts, and 'texts' between them; also sha512

The mark is one of ! # $ & * + , . / ; = ? @ ^ | ~ - and what cannot stand before the part is refused, see
`tradeguard.signing.shift`. A signature that stands in a query or a form is no part of it. A query may have another form
before it is signed: `{query:sorted}` sorts the parameters, `{query:decoded}` takes the percent-encoding away,
`{query:spaced}` writes + as %20.
"""

import hashlib
import json
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
_MARKS: Final = frozenset("!#$&*+,./;=?@^|~-")
_SPEC: Final = re.compile(r"([!#$&*+,./;=?@^|~-]?[a-z_0-9]+)(?::([a-z,]+))?(?:\(([^()]*)\))?")
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
            parts.append(Part("literal", _encode(piece)))
    return tuple(parts)


def flatten(parts: Iterable[Part]) -> Iterator[Part]:
    """Give all parts, those inside of hashes too."""
    for part in parts:
        yield part
        yield from flatten(part.parts)


def bare(name: str) -> str:
    """Return the name of a part without the mark that it may stand behind: `query` of `?query`."""
    return name[1:] if name[:1] in _MARKS else name


def write_part(part: Part) -> str:
    """Return the notation of a part, as `read_message` reads it."""
    return f"{{{_write_spec(part)}}}" if part.name != "literal" else part.text.decode()


def in_one_line(notation: str) -> str:
    """Return a notation as it can be shown: control characters, such as NUL, as TOML and JSON write them."""
    return notation.translate(_ESCAPES)


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
    pick: Callable[[Sequence[Any]], Any] = itemgetter(*places) if places else lambda _facts: ()
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
        return Part("literal", _encode(spec[1:-1]))
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
    known = name in _SIMPLE or (name[:1] in _MARKS and bare(name) in _OPTIONAL)
    if argument is not None or not known or not (not asked or bare(name) in _FORMED) or not set(asked) <= _FORMS.keys():
        raise ConfigError(f"{{{spec}}} cannot be signed; {_hint(name)}")
    return Part(name, forms=asked)


def _hint(name: str) -> str:
    """Return what the author of a message may have meant; a guess only where it is near enough not to mislead."""
    plain = name.lower()
    meant = _ELSEWHERE.get(plain.translate(_JOINED)) or ([plain] if plain in _SIMPLE and plain != name else [])
    if name in _HASHES:
        return f"say what it is over, such as {{{name}(body)}}"
    if bare(name) in _SIMPLE:
        forms = f"what has forms ({', '.join(_FORMS)}) is {_listed(_FORMED)}"
        return f"what can stand behind a mark is {_listed(_OPTIONAL)}, and {forms}"
    meant = meant or get_close_matches(plain, sorted({*_SIMPLE, *_HASHES}), 1, _NEAR)
    return f"did you mean {_listed(meant)}?" if meant else "the page on new venues lists what can"


def _listed(names: Iterable[str]) -> str:
    return " or ".join(f"{{{name}}}" for name in names)


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ConfigError("the message has half of a character in it (a surrogate)") from None


def _write_spec(part: Part) -> str:
    if part.name == "literal":
        return f"'{part.text.decode()}'"
    inner = " ".join(map(_write_spec, part.parts)) or part.argument
    return part.name + f":{','.join(part.forms)}" * bool(part.forms) + f"({inner})" * bool(inner)


def _compile(part: Part) -> Callable[[Facts], bytes]:
    name, text, forms, argument, parts = part
    made: dict[str, Callable[[Facts], bytes]] = {
        "literal": lambda _facts: text,
        "field": lambda facts: str(facts.document.get(argument, "")).encode(),
        "number": lambda facts: str(facts.document.get(argument, "")).encode(),
        "flat": lambda facts: flat(facts.document.get(argument) or {}).encode(),
        "text": lambda facts: facts.body or query_as(forms, facts.query),
    }
    if name in _HASHES:
        start, compose = _HASHES[name], compile_message(parts)
        if name.endswith("hex"):
            return lambda facts: start(compose(facts)).hexdigest().encode()
        return lambda facts: start(compose(facts)).digest()
    if name in made:
        return made[name]
    if bare(name) != name:
        return _mark(name[:1].encode(), part._replace(name=bare(name)))
    if forms:
        return lambda facts: query_as(forms, facts.query)
    return cast("Callable[[Facts], bytes]", itemgetter(Facts._fields.index(name)))


def _mark(mark: bytes, part: Part) -> Callable[[Facts], bytes]:
    """Return what composes a part behind a mark, or nothing where it is empty."""
    if part == Part("query"):
        return lambda facts: mark + facts.query if facts.query else b""
    compose = _compile(part)
    return lambda facts: mark + text if (text := compose(facts)) else b""


def _decode(query: bytes) -> bytes:
    return unquote_to_bytes(query.replace(b"+", b" ")) if _PERCENT in query or _PLUS in query else query


_FORMS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "sorted": lambda query: b"&".join(sorted(query.split(b"&"))),
    "decoded": _decode,
    "spaced": lambda query: query.replace(b"+", b"%20"),
}
_SIMPLE: Final = {*Facts._fields, "text"} - {"document"}
_OPTIONAL: Final = ("query", "body", "text")
_FORMED: Final = ("query", "text")
_NEAR: Final = 0.8  # how much of a name must be right
_ESCAPES: Final = {code: json.dumps(chr(code))[1:-1] for code in (*range(32), 127)}
_JOINED: Final = {ord("_"): None, ord("-"): None}
_TARGET: Final = ("target", "path")
_ELSEWHERE: Final = {  # what venues' documentation calls them, in small letters and as one word
    "host": ("authority",), "hostname": ("authority",), "domain": ("authority",),
    "uri": _TARGET, "url": _TARGET, "requesturi": _TARGET, "requestpath": _TARGET, "endpoint": _TARGET,
    "timestamp": ("time",), "ts": ("time",), "expires": ("time",), "expiry": ("time",), "verb": ("method",),
    "apikey": ("key",), "accesskey": ("key",), "recvwindow": ("width",), "window": ("width",),
    "querystring": ("query", "?query"), "params": ("query", "text"), "parameters": ("query", "text"),
    "data": ("body",), "requestbody": ("body",), "contenttype": ("content_type",),
}  # fmt: skip
