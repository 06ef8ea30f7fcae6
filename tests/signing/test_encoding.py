"""One text for one value: every second spelling of a signature, a nonce or a number is refused."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradeguard.signing.encoding import (
    SPELLINGS,
    compile_spellings,
    decode_base64url,
    decode_hex,
    decode_number,
    encode_base64url,
    encode_hex,
)
from tradeguard.signing.row import Encoding
from tradeguard.signing.rows import TG1

FIVE_THOUSAND_DIGITS = b"1" * 5_000  # int() of str refuses these with a ValueError of its own (CPython's limit)


@given(st.sampled_from(sorted(SPELLINGS)), st.binary(min_size=1, max_size=80))
def test_a_signature_in_every_spelling_is_as_long_as_said_and_decodes_to_itself(name: str, value: bytes) -> None:
    spelling = SPELLINGS[name]
    text = spelling.encode(value)
    assert len(text) == spelling.length(len(value))
    assert spelling.decode(text) == value


@given(st.sampled_from(sorted(SPELLINGS)), st.binary(max_size=12) | st.text("aAfF09=wQ4Z+/-_", max_size=12))
def test_no_two_texts_are_one_signature(name: str, text: bytes | str) -> None:
    said = text.encode() if isinstance(text, str) else text
    value = SPELLINGS[name].decode(said)
    assert value is None or SPELLINGS[name].encode(value) == said


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("upper-hex", b"0a"), ("upper-hex", b"0Aa0"), ("upper-hex", b"A"), ("upper-hex", b""), ("upper-hex", b"0A\n"),
        ("hex-in-base64", base64.b64encode(b"0A")), ("hex-in-base64", base64.b64encode(b"0a0")),
        ("hex-in-base64", base64.b64encode(b"0a").rstrip(b"=")), ("hex-in-base64", b"MGF="),
        ("hex-in-base64", base64.b64encode(bytes(32))), ("hex-in-base64", b""), ("hex-in-base64", b"0a"),
        ("hex", b"0A"),
    ],
)  # fmt: skip
def test_another_spelling_of_a_signature_is_none(name: str, text: bytes) -> None:
    assert SPELLINGS[name].decode(text) is None


@pytest.mark.parametrize("name", ["upper-hex", "hex-in-base64"])
def test_a_row_has_signatures_in_that_spelling(name: Encoding) -> None:
    row = replace(TG1, name="mine", algorithms={"hmac-sha256": name})
    read = compile_spellings(row)
    assert read(SPELLINGS[name].encode(b"\xab" * 32)) == ("hmac-sha256", b"\xab" * 32)
    assert read(SPELLINGS["hex"].encode(b"\xab" * 32)) is None


@given(st.binary(min_size=1, max_size=80))
def test_what_is_encoded_decodes_to_itself(value: bytes) -> None:
    assert decode_base64url(encode_base64url(value)) == value
    assert decode_hex(encode_hex(value)) == value
    assert encode_base64url(value) == base64.urlsafe_b64encode(value).replace(b"=", b"")


@given(st.binary(max_size=12))
def test_no_two_texts_decode_to_one_value(text: bytes) -> None:
    for decode, encode in ((decode_base64url, encode_base64url), (decode_hex, encode_hex)):
        value = decode(text)
        assert value is None or encode(value) == text
    number = decode_number(text)
    assert number is None or str(number).encode() == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"YQ==", id="padding"),
        pytest.param(b"YR", id="unused bits that are not zero, of four"),
        pytest.param(b"YWJ", id="unused bits that are not zero, of two"),
        pytest.param(b"Y", id="a length that no value has"),
        pytest.param(b"+/+/", id="the standard alphabet"),
        pytest.param(b"YW I", id="a space inside"),
        pytest.param(b" YWI", id="a space before"),
        pytest.param(b"YWI\n", id="a newline after"),
        pytest.param(b"YW\r\nI", id="a folded line"),
        pytest.param(b"!!!!", id="junk that lenient decoders drop"),
        pytest.param(b"YWI\0", id="a NUL"),
        pytest.param("ＹＷＩ".encode(), id="full-width letters"),
        pytest.param(b"\xff\xfe\xff\xfe", id="bytes that are no text"),
    ],
)
def test_base64url_refuses(text: bytes) -> None:
    assert decode_base64url(text) is None


@pytest.mark.parametrize("unused", range(1, 16))
def test_every_nonzero_unused_bit_of_a_signature_is_refused(unused: int) -> None:
    """32 bytes leave two bits of the last character unused, 64 bytes leave four."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for size, bits in ((32, 2), (64, 4)):
        text = encode_base64url(bytes(size))
        assert decode_base64url(text) == bytes(size)
        if unused < 1 << bits:
            assert decode_base64url(text[:-1] + alphabet[unused : unused + 1]) is None


@pytest.mark.parametrize(
    "text", [b"", b"A0", b"aB", b"a", b"0x0a", b" 0a", b"0a\n", b"0 a0", b"0a_0a", b"g0", "٠a".encode()]
)
def test_hex_refuses(text: bytes) -> None:
    assert decode_hex(text) is None


@pytest.mark.parametrize(
    ("text", "number"), [(b"0", 0), (b"7", 7), (b"1795000000000", 1_795_000_000_000), (b"9" * 18, 10**18 - 1)]
)
def test_a_number_is_read(text: bytes, number: int) -> None:
    assert decode_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"+1",
        b"-1",
        b"-0",
        b"00",
        b"01",
        b"1_000",
        b" 12",
        b"12 ",
        b"1\n",
        b"\t1",
        b"1.0",
        b"1e3",
        b"0x1F",
        b"infinity",
        b"nan",
        "١٢٣".encode(),
        "１".encode(),
        "²".encode(),
        b"\xb2",
        b"1\0",
        b"1,1",
        b"1" * 19,
        FIVE_THOUSAND_DIGITS,
    ],
    ids=lambda text: f"{text[:12]!r}, {len(text)} bytes",
)
def test_a_number_is_refused(text: bytes) -> None:
    assert decode_number(text) is None
