"""Whatever comes of a real request by chance or by hand: it is read or refused, and what verifies says the same."""

from typing import Any
from urllib.parse import parse_qsl

import pytest
from dialects.captured import Capture, captures, material_of, request_of, row_of, verifies
from hypothesis import given, settings
from hypothesis import strategies as st

from tradeguard.core.decision import Refused
from tradeguard.core.drive import drive
from tradeguard.core.frame import check_frame
from tradeguard.core.policy import Policy
from tradeguard.core.request import Request
from tradeguard.signing.verifier import Signed, Verifier

VENUES = ("binance", "bybit", "mexc", "mexc-contract", "htx", "phemex", "gate", "deribit", "bitmex", "bitstamp")
CAPTURES = {venue: [capture for capture in captures() if capture["venue"] == venue] for venue in VENUES}
PIECES = [
    b"", b"\0", b"\n", b"\r", b" ", b"%", b"%2", b"%00", b"%0A", b"%20", b"%26", b"%2B", b"%30", b"%3D", b"%7B", b"%ff",
    b"+", b"&", b"&&", b"=", b"?", b"#", b"/", b"//", b"{", b"[", b"]", b'"', b"\\", b",", b";", b"0", b"-1",
    b"1795368800", b"1e400", b"NaN", b"null", b"\xe9", b"\xff\xfe", b"\xd9\xa1", b"&timestamp=1", b"&signature=",
    b"&Signature=AAAA", b"symbol", b"x" * 3000,
]  # fmt: skip
Texts = dict[str, bytes]


def texts_of(capture: Capture) -> Texts:
    """What of a capture is text that somebody could change."""
    request = request_of(capture)
    named = {name.decode(): request.headers.one(name) or b"" for name in request.headers.names}
    return {"method": request.method.encode(), "target": request.target, "body": drive(request.body()), **named}


def request_from(capture: Capture, texts: Texts) -> Request:
    """The capture with other texts."""
    fields = [(name.encode(), value) for name, value in texts.items() if name not in ("method", "target", "body")]
    method, target, body = texts["method"].decode("latin-1"), texts["target"], texts["body"]
    path = target.partition(b"?")[0].decode("latin-1")
    fields = [(name, b"%d" % len(body) if name == b"content-length" else value) for name, value in fields]
    return request_of(capture, method=method, target=target, body=body, headers=fields, path=path)


def meaning(texts: Texts, venue: str) -> Any:
    """What an application that trusts the guard sees: as much of it as the venue's signature covers."""
    path, _, query = texts["target"].partition(b"?")
    body = texts["body"]
    if venue in ("binance", "mexc"):
        pairs = sorted(parse_qsl((query or body).decode("latin-1"), keep_blank_values=True))
        return [pair for pair in pairs if pair[0] != "signature"]
    parameters = sorted(pair for pair in parse_qsl(query.decode("latin-1")) if pair[0] != "Signature")
    if venue in ("bybit", "mexc-contract"):
        return parameters, body
    if venue == "phemex":
        return path, parameters, body
    return texts["method"], path, parameters, b"" if venue == "htx" else body


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=100)
@given(data=st.data())
def test_a_changed_request_is_refused_or_says_the_same(venue: str, data: st.DataObject) -> None:
    capture = data.draw(st.sampled_from(CAPTURES[venue]))
    honest = texts_of(capture)
    texts = dict(honest)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(texts)))
        start = data.draw(st.integers(0, len(texts[name])))
        end = data.draw(st.integers(start, min(len(texts[name]), start + 12)))
        piece = data.draw(st.sampled_from(PIECES) | st.binary(max_size=4))
        if data.draw(st.booleans()):  # moved from another part instead of made up
            source = texts[data.draw(st.sampled_from(sorted(texts)))]
            cut = data.draw(st.integers(0, len(source)))
            piece = source[cut : cut + data.draw(st.integers(0, 20))]
        texts[name] = texts[name][:start] + piece + texts[name][end:]
    signed = read_or_refuse(capture, request_from(capture, texts))
    if signed is not None and verifies(material_of(capture), signed):
        assert meaning(texts, venue) == meaning(honest, venue)


def read_or_refuse(capture: Capture, request: Request) -> Signed | None:
    """What was signed; None where the request is refused or claims nothing. Nothing else may come of it."""
    verifier = Verifier(row_of(capture))
    try:
        check_frame(request, Policy())
        claim = verifier.claim(request)
        return verifier.read(request, claim, drive(request.body())) if claim is not None else None
    except Refused:
        return None


@pytest.mark.parametrize("venue", VENUES)
def test_the_captures_themselves_verify(venue: str) -> None:
    for capture in CAPTURES[venue]:
        signed = read_or_refuse(capture, request_from(capture, texts_of(capture)))
        assert signed is not None
        assert verifies(material_of(capture), signed)
