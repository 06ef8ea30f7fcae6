"""Source: a request taken apart, as far as its dialect has fields in it or signs pieces of it.

Headers need no taking apart, so dialects whose fields are all headers and that sign the target as it came have none.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from tradeguard.core.decision import Denial, Refused, register
from tradeguard.core.request import Request
from tradeguard.signing.encoding import decode_number
from tradeguard.signing.message import FORM, Pieces, flatten
from tradeguard.signing.place import (
    FIELD,
    Field,
    Header,
    Parameter,
    Payload,
    member,
    pick,
    read_authorization,
    read_json,
    read_payload,
    refused,
    same,
)
from tradeguard.signing.row import Row

BOUNDARY = register(
    "source.boundary",
    unproven=True,
    hint="The request has a part that its dialect does not sign, or that could be taken for another part: a body on "
    "GET, HEAD or DELETE, a query beside a form. The detail says which rule of the dialect it breaks.",
)
_ABSENT: Final = object()
_WORD = re.compile(r"[A-Za-z/_-]{1,128}", re.ASCII)
_SPLIT = frozenset({"path", "query", "text", "form"})


class Sources:
    """Takes the requests of one dialect apart.

    `needed` says whether there is anything to take apart.

    Args:
        row: the dialect.
    """

    def __init__(self, row: Row) -> None:
        self.row = row
        self.needed = bool(
            row.parts & _SPLIT or row.mount or not all(isinstance(place, Header) for place in row.places)
        )
        self._parameters = frozenset(place.name for place in row.places if isinstance(place, Parameter)) | row.foreign
        self._foreign = row.foreign | frozenset([row.signature.name] if row.in_text else [])
        self._payloads = [place for place in row.places if isinstance(place, Payload)]
        self._carried = {place.name.decode() for place in self._payloads}
        self._named = {part.argument for message in row.messages for part in message if part.argument}
        self._named |= {place.name.decode() for place in row.places if isinstance(place, Field)}
        self._signed_members = [
            (part.argument, _MEMBERS[part.name]) for part in flatten(row.messages[0]) if part.argument
        ]
        self._heads = [place.name for place in row.places if isinstance(place, Header)]
        self._members = [place for place in row.places if isinstance(place, Field)]

    def take(self, request: Request, body: bytes) -> tuple[Pieces, Callable[[bytes], bytes | None]]:
        """Take a request apart, as far as the row needs it; return its pieces, and what gives a field by its name.

        Raises:
            Refused: a field or a part of it is malformed, or something is carried that is not signed.
        """
        row = self.row
        path, _, query = request.target.partition(b"?")
        if row.mount:
            path = self._below(path)
        form, payload = b"", b""
        document: Mapping[str, Any] = {}
        values: dict[bytes, bytes | None] = {name: request.headers.one(name) for name in self._heads}
        if "form" in row.parts:
            if body and (query or not is_form(request)):
                raise Refused(Denial(BOUNDARY, detail="a query beside a body, or a body that is no form"))
            form = body
        if self._parameters:
            signed, found = self._parameters_of(form or query)
            values |= found
            query, form = (b"", signed) if form else (signed, b"")
        if row.scheme:
            value = request.headers.one(b"authorization")
            values |= (read_authorization(value, row.scheme) if value is not None else None) or {}
        if self._members:
            document, found = self._body_of(request, body)
            values |= found
        if row.payload is not None:
            payload = request.headers.one(row.payload.name) or b""
            carried = read_payload(payload)
            if body:
                self._check_repeat(body, carried)
            for place in self._payloads:
                values[place.name] = member(carried, place)
        return Pieces(path, query, form, payload, document), values.get

    def _below(self, path: bytes) -> bytes:
        mount = self.row.mount.encode()
        if not path.startswith(mount.rstrip(b"/") + b"/"):
            raise Refused(Denial(BOUNDARY, detail=f"the path is not below {self.row.mount}"))
        return path[len(mount) :]

    def _parameters_of(self, text: bytes) -> tuple[bytes, dict[bytes, bytes | None]]:
        """Return the text without the signature, and the parameters that are fields."""
        row, mark = self.row, b"&" + self.row.signature.name + b"="
        signature = b""
        if row.in_text and row.sorted:
            before, _, after = (b"&" + text).partition(mark)
            signature, more, after = after.partition(b"&")
            text = (before + more + after)[1:]
        elif row.in_text:
            text, found, last = text.rpartition(mark)
            signature = last if found else b""
        values = pick(text, self._parameters)
        for name in self._foreign and self._foreign & values.keys():
            raise Refused(Denial(FIELD, detail=name.decode()))
        if row.in_text:
            values[row.signature.name] = signature
        return text, values

    def _body_of(self, request: Request, body: bytes) -> tuple[Mapping[str, Any], dict[bytes, bytes | None]]:
        """Return a JSON body and the fields in it; of a form the fields only."""
        if body[:1] != b"{" and self.row.body != "json":
            names = frozenset(place.name for place in self._members)
            return {}, pick(body, names) if is_form(request) else {}
        if is_form(request):
            raise Refused(Denial(BOUNDARY, detail="a JSON body that would be read as a form"))
        document = read_json(body)
        if "flat" in self.row.parts:
            self._check_members(document)
        return document, {place.name: member(document, place) for place in self._members}

    def _check_repeat(self, body: bytes, carried: Mapping[str, Any]) -> None:
        """Refuse a body that does not say what the signed payload says; the fields of the row need not be repeated."""
        said = read_json(body)
        for name in carried.keys() - said.keys() - self._carried:
            raise Refused(Denial(BOUNDARY, detail=f"the member {name[:32]!r} of the payload is not in the body"))
        for name, value in said.items():
            if name not in carried or not same(carried[name], value):
                raise Refused(Denial(BOUNDARY, detail=f"the member {name[:32]!r} of the body is not in the payload"))

    def _check_members(self, document: Mapping[str, Any]) -> None:
        """Refuse members that are not signed, and what cannot be signed for what it is."""
        for name in document.keys() - self._named:
            raise Refused(Denial(BOUNDARY, detail=f"the member {name[:32]!r} is not signed"))
        for name, holds in self._signed_members:
            if not holds(document.get(name, _ABSENT)):
                raise refused(Field(name.encode()))


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return value >= 0
    return isinstance(value, str) and decode_number(value.encode()) is not None


_MEMBERS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "number": _is_number,
    "field": lambda value: isinstance(value, str) and _WORD.fullmatch(value) is not None,
    "flat": lambda value: value is _ABSENT or isinstance(value, dict),
}
"""What a member must be to be signed for what it is, by the part that it is."""


def is_form(request: Request) -> bool:
    """Tell whether a body is said to be a form."""
    kind = request.headers.one(b"content-type") or b""
    return kind.partition(b";")[0].strip().lower() == FORM
