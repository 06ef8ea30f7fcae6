"""Sent: what a request carries, read leniently: the facts that the verifier signs, from whatever fields there are.

For the operator's tools only. Nothing here is refused, so nothing here decides.
"""

import json
import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from tradeguard.core.decision import Refused
from tradeguard.core.request import Request
from tradeguard.signing.message import Facts
from tradeguard.signing.place import AuthParam, Field, Header, Parameter, Payload, Place, read_json
from tradeguard.signing.row import Row

_AUTH_PARAM: Final = re.compile(rb'([A-Za-z0-9_-]+)\s*=\s*"?([^",\s]*)"?')


class Sent(NamedTuple):
    """What is in a request: its facts, its signature as it is spelt (empty where there is none), and its body.

    `fields` has for each place of the row all that stands there.
    """

    facts: Facts
    signature: bytes
    body: bytes
    fields: Mapping[Place, tuple[bytes, ...]]


def read_sent(row: Row, request: Request, body: bytes) -> Sent:
    """Return what a request carries under a row; what is missing is empty."""
    path, _, query = request.target.partition(b"?")
    path = path.removeprefix(row.mount.encode())
    in_body = bool(body) and "form" in row.parts
    text, signature = _cut(row, body if in_body else query)
    payload = request.headers.note(row.payload.name).encode("latin-1") if row.payload is not None else b""
    document = _read_document(body)
    carried = _Carried(row, request, text, body, document, _read_payload(payload))
    facts = Facts(
        key=carried.value(row.key),
        time=carried.value(row.time),
        nonce=carried.value(row.nonce),
        width=carried.value(row.width),
        method=request.method.encode(),
        authority=request.authority or request.headers.note(b"host").lower().encode("latin-1"),
        target=request.target,
        path=path,
        query=b"" if in_body else text,
        content_type=request.headers.note(b"content-type").encode("latin-1"),
        body=body,
        form=text if in_body else b"",
        payload=payload,
        document=document,
    )
    fields = {place: tuple(carried.values(place)) for place in _list_places(row)}
    if row.in_text:
        fields[row.signature] += (signature,) * bool(signature)
    return Sent(facts, signature if row.in_text else carried.value(row.signature), body, fields)


class _Carried(NamedTuple):
    """The places of a request, taken apart."""

    row: Row
    request: Request
    text: bytes
    body: bytes
    document: Mapping[str, Any]
    payload: Mapping[str, Any]

    def value(self, place: Place | None) -> bytes:
        """Return what stands in a place; of several the first."""
        return next(self.values(place), b"") if place is not None else b""

    def values(self, place: Place) -> Iterator[bytes]:
        """Give all that stands in a place."""
        match place:
            case Header(name):
                yield from (value for known, value in self.request.headers.raw if known == name)
            case Parameter(name):
                yield from _find(self.text, name)
            case Field(name):
                yield from _member(self.document, name) if name.decode() in self.document else _find(self.body, name)
            case AuthParam(name):
                field = self.request.headers.note(b"authorization").encode("latin-1")
                yield from (match[2] for match in _AUTH_PARAM.finditer(field) if match[1] == name)
            case Payload(name):
                yield from _member(self.payload, name)


def _cut(row: Row, text: bytes) -> tuple[bytes, bytes]:
    """Return the parameters without the signature, and the signature."""
    if not row.in_text:
        return text, b""
    mark = row.signature.name + b"="
    if row.sorted:
        parameters = text.split(b"&")
        found = next((parameter for parameter in parameters if parameter.startswith(mark)), None)
        rest = [parameter for parameter in parameters if parameter is not found]
        return b"&".join(rest), found[len(mark) :] if found is not None else b""
    signed, found, signature = text.rpartition(b"&" + mark)
    if found:
        return signed, signature
    return (b"", text[len(mark) :]) if text.startswith(mark) else (text, b"")


def _list_places(row: Row) -> Iterator[Place]:
    yield from row.places
    if row.passphrase is not None:
        yield row.passphrase.place


def _find(text: bytes, name: bytes) -> Iterator[bytes]:
    for parameter in text.split(b"&"):
        known, _, value = parameter.partition(b"=")
        if known == name:
            yield value


def _member(document: Mapping[str, Any], name: bytes) -> Iterator[bytes]:
    value = document.get(name.decode())
    if isinstance(value, str | int):
        yield str(value).encode()


def _read_document(text: bytes) -> Mapping[str, Any]:
    """Read a JSON object as the verifier does; one that it refuses as well as can be."""
    try:
        return read_json(text)
    except Refused:
        pass
    try:
        value: Any = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # halves of characters are none that anybody signs
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _read_payload(text: bytes) -> Mapping[str, Any]:
    try:
        return _read_document(b64decode(text))
    except Error:
        return {}
