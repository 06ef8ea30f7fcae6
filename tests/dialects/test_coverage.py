"""What each signature covers, by mutation: that part of a real request is changed, and it verifies or it does not.

A cell is "signed" where the signature breaks, "guarded" where only a rule of the dialect refuses the change (and the
signature alone would not), "open" where it verifies, and "none" where a dialect has no such field. What a row says of
itself must be that, cell by cell.
"""

import json
import random
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from dialects.attacks import BY_NAME, NAMES, Sample, captured, carrier, samples, signed

from tradeguard.core.decision import Refused
from tradeguard.core.drive import drive
from tradeguard.core.frame import check_frame
from tradeguard.core.policy import Policy
from tradeguard.signing.coverage import PARTS, survey
from tradeguard.signing.dialect import Dialect, Reader, make_reader
from tradeguard.signing.message import flatten
from tradeguard.signing.row import AuthParam, Field, Header, Parameter, Payload, Place, Row

OPEN = {
    "binance": "method path host key", "bitfinex": "method host key", "bitget": "host key", "bitmex": "host key",
    "bitvavo": "host key", "bybit": "method host path", "coinbase-exchange": "host key", "cryptocom": "method host",
    "deribit": "host key", "gate": "host key", "gemini": "method host key", "htx": "body", "kraken": "method host key",
    "kraken-futures": "method host key", "kraken-futures-bare": "method host key", "kucoin": "host key",
    "mexc": "method path host key", "mexc-contract": "method path host", "okx": "host key", "phemex": "method host key",
    "tg1": "", "bitstamp": "", "coinbase-advanced": "query body",
}  # fmt: skip
"""By dialect: the parts that whoever holds one signed request can change."""


def bare(dialect: Dialect) -> Dialect:
    """The same dialect without its guards and without methods that carry no body."""
    if not isinstance(dialect, Row):
        return dialect
    row = replace(dialect, bodyless=frozenset())
    object.__setattr__(row, "guards", ())
    return row


READERS = {name: make_reader(dialect) for name, dialect in BY_NAME.items()}
BARE = {name: make_reader(bare(dialect)) for name, dialect in BY_NAME.items()}


def verifies(reader: Reader, sample: Sample) -> bool:
    """Whether a request passes reader and key; frame and forms of fields count, freshness and replay do not."""
    request = sample.request()
    try:
        check_frame(request, Policy())
        claim = reader.claim(request)
        signed = reader.read(request, claim, sample.body) if claim is not None and not claim.bare else None
    except Refused:
        return False
    if signed is None:
        return False
    return any(drive(sample.material.verify(text, signed.signature)) for text in (signed.message, *signed.others))


# --- one change a part ---------------------------------------------------------------------------------------------


def change(sample: Sample, part: str) -> Iterator[Sample]:
    """The same request with this part changed, in one way and another; what is a field of the row stays in its form."""
    path, mark, query = sample.target.partition(b"?")
    if part == "method":
        yield sample._replace(
            method={"GET": "HEAD", "POST": "PUT", "PUT": "POST", "PATCH": "PUT"}.get(sample.method, "POST")
        )
    elif part == "host":
        yield sample.having(b"host", b"other.example")
    elif part == "path":
        yield sample._replace(target=(path[:-1] + b"x/" if path.endswith(b"/") else path + b"x") + mark + query)
    elif part == "query":
        yield sample._replace(target=path + b"?zz=1" + (b"&" if query else b"") + query)
    elif part == "body":
        yield from change_body(sample)
    else:
        place = place_of(sample.dialect, part)
        if place is not None:
            yield replace_field(sample, place, next_value(field_of(sample, place)))


def place_of(dialect: Dialect, part: str) -> Place | None:
    """Where time, nonce or key stand; a nonce that is a clock's reading is the time as well."""
    if not isinstance(dialect, Row):
        return None
    return dialect.nonce if part == "time" and dialect.form == "clock" else getattr(dialect, part)


def change_body(sample: Sample) -> Iterator[Sample]:
    """Another member, another parameter, or a body where there is none."""
    if sample.method in ("GET", "HEAD"):
        return
    if sample.body[:1] == b"{":
        yield sample._replace(body=json.dumps({**json.loads(sample.body), "zz": "1"}).encode())
    elif sample.body:
        yield sample._replace(body=sample.body[:-1] + b', "9"]' if sample.body[:1] == b"[" else b"zz=1&" + sample.body)
    elif sample.method == "POST":
        yield sample._replace(body=b'{"zz":"1"}').having(b"content-type", b"application/json")


def next_value(value: bytes) -> bytes:
    """Another value of the same form: the last figure or letter that can be another is."""
    for place in range(len(value) - 1, -1, -1):
        if value[place : place + 1].isdigit():
            return value[:place] + b"%d" % ((int(value[place : place + 1]) + 1) % 10) + value[place + 1 :]
    return value[:-1] + (b"x" if value[-1:] != b"x" else b"y")


def field_of(sample: Sample, place: Place) -> bytes:
    """What stands in a place."""
    _, _, query = sample.target.partition(b"?")
    if isinstance(place, Header):
        return sample.field(place.name)
    if isinstance(place, AuthParam):
        return dict(pair.split(b"=", 1) for pair in sample.field(b"authorization").partition(b" ")[2].split(b","))[
            place.name
        ]
    if isinstance(place, Payload):
        return str(json.loads(b64decode(payload_of(sample)))[place.name.decode()]).encode()
    text = query if isinstance(place, Parameter) and place.name + b"=" in query else sample.body
    if text[:1] == b"{":
        return str(json.loads(text)[place.name.decode()]).encode()
    return dict(pair.partition(b"=")[::2] for pair in text.split(b"&"))[place.name]


def payload_of(sample: Sample) -> bytes:
    assert isinstance(sample.dialect, Row)
    assert sample.dialect.payload is not None
    return sample.field(sample.dialect.payload.name)


def replace_field(sample: Sample, place: Place, value: bytes) -> Sample:
    """The request with another value in a place."""
    old = field_of(sample, place)
    if isinstance(place, Header):
        return sample.having(place.name, value)
    if isinstance(place, AuthParam):
        field = sample.field(b"authorization").replace(place.name + b"=" + old, place.name + b"=" + value)
        return sample.having(b"authorization", field)
    if isinstance(place, Payload):
        carried = b64decode(payload_of(sample)).replace(old, value)
        assert isinstance(sample.dialect, Row)
        assert sample.dialect.payload is not None
        return sample.having(sample.dialect.payload.name, b64encode(carried))
    name = place.name
    if isinstance(place, Field) and sample.body[:1] == b"{":
        document = json.loads(sample.body)
        document[name.decode()] = type(document[name.decode()])(value.decode())
        return sample._replace(body=json.dumps(document).encode())
    if name + b"=" + old in sample.body:
        return sample._replace(body=sample.body.replace(name + b"=" + old, name + b"=" + value))
    return sample._replace(target=sample.target.replace(name + b"=" + old, name + b"=" + value))


def outcome(sample: Sample, part: str) -> set[str]:
    """What came of changing a part."""
    found: set[str] = set()
    for changed in change(sample, part):
        assert changed != sample
        name = sample.dialect.name
        if verifies(READERS[name], changed):
            found.add("open")
        else:
            found.add("guarded" if verifies(BARE[name], changed) else "signed")
    return found


def cells(dialect: Dialect) -> dict[str, str]:
    """What of a dialect is signed, guarded, open or none: of all its requests, whichever is worst."""
    found: dict[str, str] = {}
    for part in PARTS:
        seen = set[str]().union(*(outcome(one, part) for one in samples() if one.dialect is dialect))
        found[part] = next((word for word in ("open", "guarded", "signed") if word in seen), "none")
    return found


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_unchanged_it_verifies(sample: Sample) -> None:
    assert verifies(READERS[sample.dialect.name], sample)
    assert verifies(BARE[sample.dialect.name], sample)


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_part_verifies_exactly_where_the_row_says_that_it_is_not_covered(name: str) -> None:
    dialect = BY_NAME[name]
    if not isinstance(dialect, Row):
        return
    found = cells(dialect)
    assert {part for part in PARTS if found[part] == "open"} == set(OPEN[name].split())
    for part in PARTS:
        covered = part in dialect.coverage
        assert (found[part] in ("signed", "guarded")) if covered else (found[part] != "signed"), (part, found)
        assert survey(dialect).coverage[part] == covered
    print(f"{name:20}", " ".join(f"{found[part]:8}" for part in PARTS))


def test_every_row_has_every_cell_tried() -> None:
    """A cell without a change is one that the dialect has no field for."""
    for name in NAMES:
        dialect = BY_NAME[name]
        missing = {part for part, word in cells(dialect).items() if word == "none"}
        if isinstance(dialect, Row):
            absent = {part for part in ("time", "nonce") if place_of(dialect, part) is None}
            assert missing == absent, (name, missing)


@pytest.mark.parametrize(
    "sample", [one for one in samples() if not isinstance(one.dialect, Row)], ids=lambda one: one.name
)
@pytest.mark.parametrize("part", ["method", "host", "path", "query", "body"])
def test_the_token_of_coinbase_advanced_is_good_for_its_uri_and_for_any_query_and_body(
    sample: Sample, part: str
) -> None:
    for changed in change(sample, part):
        assert verifies(READERS["coinbase-advanced"], changed) == (part in OPEN["coinbase-advanced"].split())


@pytest.mark.parametrize(
    "sample", [one for one in samples() if not isinstance(one.dialect, Row)], ids=lambda one: one.name
)
def test_no_byte_of_a_token_can_be_another(sample: Sample) -> None:
    """Time, nonce and key stand inside it."""
    token = sample.field(b"authorization")
    for place in range(len(b"Bearer "), len(token)):
        other = b"B" if token[place : place + 1] == b"A" else b"A"
        changed = sample.having(b"authorization", token[:place] + other + token[place + 1 :])
        assert not verifies(READERS["coinbase-advanced"], changed), place


# --- any byte ------------------------------------------------------------------------------------------------------


def said(sample: Sample) -> dict[str, Any]:
    """What a request says in the parts that its row covers: equal for two spellings of one thing."""
    row = sample.dialect
    assert isinstance(row, Row)
    path, _, query = sample.target.partition(b"?")
    forms = {form for message in row.messages for part in flatten(message) for form in part.forms}
    signature = b"&" + row.signature.name + b"=" if isinstance(row.signature, Parameter) else None
    if signature is not None:
        query = without(query, signature)
    parts: dict[str, Any] = {"path": path, "query": spelt(query, forms), "method": sample.method}
    parts["host"] = sample.field(b"host").lower()
    parts["body"] = without(sample.body, signature) if signature is not None else sample.body
    if "flat" in row.parts:
        document = json.loads(sample.body)
        parts["body"] = {name: plain(value) for name, value in document.items() if name != row.signature.name.decode()}
    if row.body == "repeat":
        parts["body"] = json.loads(b64decode(payload_of(sample)))
    for what in ("key", "time", "nonce"):
        place = getattr(row, what)
        parts[what] = field_of(sample, place) if place is not None else None
    return {part: value for part, value in parts.items() if part in row.coverage}


def without(text: bytes, signature: bytes) -> bytes:
    """Parameters without the signature."""
    head, mark, tail = (b"&" + text).partition(signature)
    return head + (b"&" + tail.partition(b"&")[2] if mark and b"&" in tail else b"")


def spelt(query: bytes, forms: set[str]) -> Any:
    """A query with one spelling for all that its row takes for one."""
    pieces = list(query.split(b"&"))
    if "decoded" in forms:
        pieces = [unquote_to_bytes(piece.replace(b"+", b" ")) for piece in pieces]
    if "spaced" in forms:
        pieces = [piece.replace(b"+", b"%20") for piece in pieces]
    return sorted(pieces) if "sorted" in forms else pieces


def plain(value: Any) -> Any:
    """A JSON value in which 1 and "1" are one: they are signed alike, and mean the same number."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else str(value)


def change_one_byte(sample: Sample, dice: random.Random) -> Sample:
    """The request with one byte of its target, its fields or its body replaced, left out or doubled."""
    names = [
        name for name, _ in sample.headers if name not in (b"user-agent", b"accept", b"connection", b"content-length")
    ]
    where = dice.choice([b"target", b"target", b"body", b"body", *names])
    old = {b"target": sample.target, b"body": sample.body}.get(where) or sample.field(where)
    if not old:
        return sample
    place = dice.randrange(len(old))
    new = dice.choice(
        [bytes([dice.randrange(33, 127)]), b"", old[place : place + 1] * 2, dice.choice([b"&", b"=", b"%", b"+", b"0"])]
    )
    text = old[:place] + new + old[place + 1 :]
    if where == b"target":
        return sample._replace(target=text)
    return sample._replace(body=text) if where == b"body" else sample.having(where, text)


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(BY_NAME[name], Row)])
def test_a_changed_byte_is_refused_unless_it_is_not_covered_or_means_the_same(name: str) -> None:
    dice, came = random.Random(name), Counter[str]()
    ours = [one for one in samples() if one.dialect is BY_NAME[name]]
    for _ in range(1_500):
        sample = dice.choice(ours)
        changed = change_one_byte(sample, dice)
        if changed == sample or not verifies(READERS[name], changed):
            came["refused"] += 1
            continue
        came["taken"] += 1
        assert said(changed) == said(sample), (sample, changed)
    assert came["refused"] > 300
    print(name, dict(came))


def test_the_changes_would_be_noticed_if_a_row_signed_less() -> None:
    """The measure of the above: a row that leaves its query out, as if by mistake."""
    okx = BY_NAME["okx"]
    assert isinstance(okx, Row)
    lax = replace(okx, message="{time}{method}{path}{body}")
    object.__setattr__(lax, "guards", ())
    sample = signed(okx, "read")._replace(target=b"/v1/orders")
    text = b"".join((sample.field(b"ok-access-timestamp"), b"GET/v1/orders"))
    mac = __import__("hmac").digest(b"a secret of thirty-two characters", text, "sha256")
    sample = sample.having(b"ok-access-sign", b64encode(mac))._replace(dialect=lax)
    assert verifies(make_reader(lax), sample)
    assert [verifies(make_reader(lax), changed) for changed in change(sample, "query")] == [True]
    assert carrier(lax, "time") == "header"
    assert captured()
