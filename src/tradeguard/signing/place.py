"""Places: where a field of a credential stands, and how it is read there: exactly once, and in one spelling."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast
from urllib.parse import unquote_to_bytes

from tradeguard.core.decision import Denial, Refused, register
from tradeguard.signing.encoding import decode_base64

FIELD = register(
    "place.field",
    unproven=True,
    hint="A field of the credential is missing, stands twice or is malformed; the detail names it.",
)
_SPACE: Final = " \t\r\n"  # what JSON takes for space
_BACKSLASH, _SQUARE, _PERCENT, _PLUS = b"\\[%+"  # as numbers, which `in` finds ten times faster than bytes
_AUTH_PARAM: Final = re.compile(rb'([a-z_]{1,32})=("?)([A-Za-z0-9_.:+/=-]{1,1024})\2')
MOST: Final = 1_000  # parameters of a query or a form: each of them is looked at before anything is proved
_DEEPEST: Final = 16  # levels of a JSON body that carries a credential
_LONGEST_NUMBER: Final = 40  # characters


class Decimal(str):
    """A JSON number with a fraction or an exponent, as it was written."""

    __slots__ = ()


class Header(NamedTuple):
    """A header field, by its lower-case name."""

    name: bytes


class Parameter(NamedTuple):
    """A parameter of the query; or of the form body, where the row signs the form."""

    name: bytes


class Field(NamedTuple):
    """A field of the body: a parameter of a form, or a member of a JSON object."""

    name: bytes


class AuthParam(NamedTuple):
    """A parameter of the Authorization field (RFC 9110, 11.4), under the row's scheme."""

    name: bytes


class Payload(NamedTuple):
    """A member of the JSON object that a header carries in base64; the row's `payload` names the header."""

    name: bytes


Place = Header | Parameter | Field | AuthParam | Payload
KINDS: Final[Mapping[str, type[Place]]] = {
    "header": Header, "parameter": Parameter, "field": Field, "auth": AuthParam, "payload": Payload,
}  # fmt: skip
"""Places by the word that describes them."""


def describe(place: Place) -> str:
    """Return a place in words, such as "header x-api-key"."""
    word = next(word for word, kind in KINDS.items() if type(place) is kind)
    return f"{word} {place.name.decode()}"


def refused(place: Place) -> Refused:
    """Return what to raise where a field is missing, stands twice or is malformed."""
    return Refused(Denial(FIELD, detail=place.name.decode()))


def pick(text: bytes, names: frozenset[bytes]) -> dict[bytes, bytes | None]:
    """Return the named parameters, each of which may stand once and in no other spelling.

    Raises:
        Refused: one stands twice, or its name is encoded; or there are more than 1,000 parameters.
    """
    found: dict[bytes, bytes | None] = {}
    parameters = text.split(b"&", MOST)
    if len(parameters) > MOST:
        raise Refused(Denial(FIELD, detail=f"more than {MOST} parameters"))
    for parameter in parameters:
        raw, _, value = parameter.partition(b"=")
        name = unquote_to_bytes(raw.replace(b"+", b" ")) if _PERCENT in raw or _PLUS in raw else raw
        if name in names:
            if name in found or name != raw:
                raise Refused(Denial(FIELD, detail=f"{name.decode()} stands twice or is encoded"))
            found[name] = value
    return found


def read_authorization(value: bytes, scheme: bytes) -> dict[bytes, bytes] | None:
    """Return the parameters of an Authorization field, or None where it is of another scheme.

    Raises:
        Refused: it is not `scheme name=value,name=value`, or one stands twice.
    """
    front, _, rest = value.partition(b" ")
    if front.lower() != scheme:
        return None
    found: dict[bytes, bytes] = {}
    for part in rest.split(b","):
        match = _AUTH_PARAM.fullmatch(part.strip(b" "))
        if match is None or match[1] in found:
            raise Refused(Denial(FIELD, detail="authorization"))
        found[match[1]] = match[3]
    return found


def read_json(text: bytes) -> dict[str, Any]:
    """Read a JSON object strictly: UTF-8 without a byte order mark, no member twice, no NaN, not deeper than 16.

    Raises:
        Refused: it is none.
    """
    value: Any = None
    if text[:1] == b"{":
        try:
            said = text.decode()
            found, end = _DECODER.raw_decode(said)
            value = None if said[end:].strip(_SPACE) else found
        except (ValueError, RecursionError):
            value = None
    flat = _SQUARE not in text and text.find(b"{", 1) < 0
    shallow = flat or text.count(b"{") + text.count(b"[") <= _DEEPEST
    if value is None or not (shallow or _depth(value) <= _DEEPEST) or not _is_text(text, value):
        raise Refused(Denial(FIELD, detail="a JSON object is expected"))
    return cast("dict[str, Any]", value)


def read_payload(text: bytes) -> dict[str, Any]:
    """Read a JSON object in canonical base64.

    Raises:
        Refused: it is none.
    """
    payload = decode_base64(text)
    if payload is None:
        raise Refused(Denial(FIELD, detail="the payload is not base64"))
    return read_json(payload)


def member(document: Mapping[str, Any], place: Place) -> bytes | None:
    """Return a member as text: strings and whole numbers only; None where it is absent.

    Raises:
        Refused: it is something else.
    """
    value = document.get(place.name.decode())
    if value is None:
        return None
    if type(value) is int:
        return b"%d" % value
    if not (isinstance(value, str) and value.isascii()):
        raise refused(place)
    return value.encode()


def read_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object, for a decoder.

    Raises:
        ValueError: one stands twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


def _never(text: str) -> Any:
    raise ValueError(text)


def _whole(text: str) -> int:
    return int(text) if len(text) <= _LONGEST_NUMBER else _never(text)


def _is_text(text: bytes, value: Any) -> bool:
    """Tell whether no escape in a JSON text is half of a character, which nothing can be written with."""
    try:
        return _BACKSLASH not in text or bool(json.dumps(value, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same, of one kind too: true is not 1, and "1.0" is not 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        members, others = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return members.keys() == others.keys() and all(same(members[name], others[name]) for name in members)
    if isinstance(one, list):
        items, more = cast("list[object]", one), cast("list[object]", other)
        return len(items) == len(more) and all(map(same, items, more))
    return bool(one == other)


def _depth(value: Any) -> int:
    """Return how deep a value is, without recursion: whoever sent it chose its depth."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            break
        inner: list[Any] = []
        for one in level:
            inner += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        level = inner
    return depth


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=read_members, parse_constant=_never, parse_int=_whole, parse_float=Decimal
)
