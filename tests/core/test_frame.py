"""The frame: every rule at the head of core/frame.py, by what it lets pass and what it refuses."""

import string
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import FORM, make_request

from tradeguard.core.decision import Denial, Refused
from tradeguard.core.frame import canonical_path, check_form, check_frame, quote_path
from tradeguard.core.policy import Policy
from tradeguard.core.request import Request

POLICY = Policy(target_bytes=64, head_bytes=256, head_fields=6, body_bytes=1000)
Fields = list[tuple[bytes, bytes]]


def refusal(request: Request, policy: Policy = POLICY) -> Denial | None:
    """What the frame says: a denial, or None if the request passes."""
    try:
        check_frame(request, policy)
    except Refused as refused:
        return refused.denial
    return None


def code(request: Request) -> str | None:
    denial = refusal(request)
    return denial.code if denial is not None else None


def aimed(target: bytes) -> Request:
    """A request whose host routes exactly what was received."""
    return make_request(target=target, path=unquote(target.partition(b"?")[0].decode("latin-1")))


# rule 1: the method


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "Q", "A" * 24])
def test_a_method_in_capitals_passes(method: str) -> None:
    assert code(make_request(method)) is None


@pytest.mark.parametrize(
    "method", ["", "get", "Get", "GET ", " GET", "GET\n", "GET\0", "G-T", "G3T", "GÉT", "ＧＥＴ", "A" * 25]
)
def test_anything_else_is_no_method(method: str) -> None:
    denial = refusal(make_request(method))
    assert denial is not None
    assert (denial.code, denial.status) == ("frame.token", 400)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_trace_and_connect_never_pass(method: str) -> None:
    denial = refusal(make_request(method))
    assert denial is not None
    assert (denial.code, denial.status) == ("frame.method", 501)


@pytest.mark.parametrize("name", [b"x-http-method-override", b"x-http-method", b"x-method-override"])
@pytest.mark.parametrize("value", [b"DELETE", b""])
def test_no_header_overrides_the_method(name: bytes, value: bytes) -> None:
    denial = refusal(make_request("POST", headers=[(name, value)]))
    assert denial is not None
    assert (denial.code, denial.status) == ("frame.override", 400)


OVERRIDES = [b"_method=DELETE", b"a=1&_method=GET", b"_method", b"_method=", b"%5fmethod=PUT", b"a&%5Fm%65thod=PUT&b"]
HARMLESS = [
    b"",
    b"a=1",
    b"method=GET",
    b"x_method=GET",
    b"a=_method",
    b"_methods=1",
    b"%61=1",
    b"a%26_method=1",
    b"_Method=1",
]


@pytest.mark.parametrize("query", OVERRIDES)
def test_no_parameter_overrides_the_method(query: bytes) -> None:
    denial = refusal(aimed(b"/v1/time?" + query))
    assert denial is not None
    assert (denial.code, denial.status) == ("frame.override", 400)


@pytest.mark.parametrize("query", HARMLESS)
def test_a_parameter_of_another_name_passes(query: bytes) -> None:
    assert code(aimed(b"/v1/time?" + query)) is None


@pytest.mark.parametrize("body", OVERRIDES)
@pytest.mark.parametrize("kind", [FORM, FORM.upper(), FORM + b"; charset=utf-8"])
def test_no_form_member_overrides_the_method(body: bytes, kind: bytes) -> None:
    with pytest.raises(Refused) as refused:
        check_form(make_request("POST", body=body, headers=[(b"content-type", kind)]), body)
    assert (refused.value.denial.code, refused.value.denial.status) == ("frame.override", 400)


@pytest.mark.parametrize("body", HARMLESS)
def test_a_form_member_of_another_name_passes(body: bytes) -> None:
    check_form(make_request("POST", body=body, headers=[(b"content-type", FORM)]), body)


@pytest.mark.parametrize("headers", [[], [(b"content-type", b"application/json")], [(b"content-type", b"text/plain")]])
def test_a_body_that_is_no_form_is_not_read_as_one(headers: Fields) -> None:
    check_form(make_request("POST", body=b"_method=DELETE", headers=headers), b"_method=DELETE")


# rule 2: the target


@pytest.mark.parametrize(
    "target", [b"/", b"/v1/time", b"/v1/time?", b"/?a=1", b'/?!"$%&/:;<=>?@[\\]^_`{|}~', b"/?%zz", b"/??"]
)
def test_an_absolute_path_with_a_printable_query_passes(target: bytes) -> None:
    assert code(aimed(target)) is None


NO_TARGETS = [
    *[b"", b"*", b"?a=1", b"v1/time", b"http://api.example/v1", b"api.example:443", b"\\v1", b" /v1"],
    *[b"/v1?a b", b"/v1?a#b", b"/v1?\t", b"/v1?\x7f", b"/v1?\x00", b"/v1?\r\n", b"/v1?\xc3\xa9", b"/v1?\xff"],
]


@pytest.mark.parametrize("target", NO_TARGETS)
def test_any_other_form_of_target_is_refused(target: bytes) -> None:
    denial = refusal(aimed(target))
    assert denial is not None
    assert (denial.code, denial.status) == ("frame.target", 400)


def test_a_target_may_be_as_long_as_the_policy_says_and_no_longer() -> None:
    assert code(aimed(b"/" + b"a" * 63)) is None
    denial = refusal(aimed(b"/" + b"a" * 64))
    assert denial is not None
    assert (denial.code, denial.status, denial.detail) == ("frame.long", 414, "65 bytes")


# rule 3: the path

CANONICAL = {
    b"/": "/",
    b"/v1/orders": "/v1/orders",
    b"/v1/orders/": "/v1/orders/",
    b"/a.b/.well-known/...": "/a.b/.well-known/...",
    b"/~user/A-Z_0.9": "/~user/A-Z_0.9",
    b"/!$&'()*+,=:@": "/!$&'()*+,=:@",
    b"/a%20b": "/a b",
    b"/%C3%A9": "é",
    b"/%c3%a9": "é",
    b"/a%3Ab%40c%2B": "/a:b@c+",
    b"/%3F%23%5B%5D%22%3C%3E%5E%60%7C": '/?#[]"<>^`|',
    b"/%F0%9F%92%B0": "💰",
}
NOT_CANONICAL = [
    *[b"//", b"//v1", b"/v1//orders", b"/v1//", b"/.", b"/..", b"/./v1", b"/v1/.", b"/v1/..", b"/v1/../v2", b"/../v1"],
    *[
        b"/v1;a=1",
        b"/v1/;",
        b"/v1\\orders",
        b"/\\",
        b"/%3B",
        b"/%3b",
        b"/%5C",
        b"/%5c",
        b"/%2F",
        b"/%2f",
        b"/v1%2Forders",
    ],
    *[
        b"/%2e",
        b"/%2E%2E/v1",
        b"/v1/%2e%2e",
        b"/%25",
        b"/%252F",
        b"/%00",
        b"/%0a",
        b"/%0D%0A",
        b"/%09",
        b"/%1F",
        b"/%7F",
    ],
    *[b"/%77ithdraw", b"/%41", b"/%7a", b"/%30", b"/%2D", b"/%5F", b"/%7E", b"/a%2Eb"],
    *[b"/%", b"/%2", b"/%zz", b"/%C", b"/a%", b"/%%41", b"/% 41"],
    *[b"/a b", b'/"', b"/<", b"/>", b"/[", b"/]", b"/^", b"/`", b"/{", b"/|", b"/}", b"/#", b"/a#b"],
    *[b"/\x00", b"/\n", b"/a\n", b"/\r\n", b"/\t", b"/\x7f", b"/\xc3\xa9", b"/\xff", b"/\x80"],
    *[b"/%FF", b"/%80", b"/%C0%AF", b"/%C0%80", b"/%E0%80%AF", b"/%ED%A0%80", b"/%C3", b"/%F5%80%80%80"],
    *[b"", b"v1", b"%2Fv1"],
]


@pytest.mark.parametrize(("raw", "decoded"), CANONICAL.items())
def test_a_canonical_path_is_decoded(raw: bytes, decoded: str) -> None:
    decoded = decoded if decoded.startswith("/") else "/" + decoded
    assert canonical_path(raw) == decoded
    assert code(make_request(target=raw, path=decoded)) is None


@pytest.mark.parametrize("raw", NOT_CANONICAL)
def test_a_path_that_is_not_canonical_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused) as refused:
        canonical_path(raw)
    assert (refused.value.denial.code, refused.value.denial.status) == ("frame.path", 400)


@pytest.mark.parametrize(
    "byte", sorted({*range(33), 127} - {32} | {ord(c) for c in string.ascii_letters + "-._~/\\;%"})
)
def test_what_could_stand_as_itself_or_must_not_stand_is_never_encoded(byte: int) -> None:
    for spelling in (b"/a%%%02X", b"/a%%%02x"):
        with pytest.raises(Refused, match=r"frame\.path"):
            canonical_path(spelling % byte)


# rule 4: what the host routes


@pytest.mark.parametrize(
    ("target", "prefix", "path"),
    [
        (b"/v1/time", "", "/v1/time"),
        (b"/api/v1/time", "/api", "/v1/time"),
        (b"/api", "/api", ""),
        (b"/%C3%A9/v1", "/é", "/v1"),
        (b"/api/a%20b?x=%20", "/api", "/a b"),
    ],
)
def test_the_decoded_path_is_prefix_and_routed_path(target: bytes, prefix: str, path: str) -> None:
    assert code(make_request(target=target, prefix=prefix, path=path)) is None


@pytest.mark.parametrize(
    ("target", "prefix", "path"),
    [
        (b"/v1/time", "", "/v1/orders"),
        (b"/v1/time", "", "/v1/time/"),
        (b"/v1/time", "", "/V1/time"),
        (b"/v1/time", "/api", "/v1/time"),
        (b"/api/v1/time", "", "/v1/time"),
        (b"/a%20b", "", "/a%20b"),
        (b"/%C3%A9", "", "/e\u0301"),
        (b"/v1/time", "", ""),
    ],
)
def test_a_host_that_routes_another_path_is_refused(target: bytes, prefix: str, path: str) -> None:
    denial = refusal(make_request(target=target, prefix=prefix, path=path))
    assert denial is not None
    assert (denial.code, denial.status) == ("frame.path", 400)
    assert "another path" in denial.detail


# rule 5: the host


@pytest.mark.parametrize(
    ("host", "scheme", "authority"),
    [
        (b"api.example", "http", b"api.example"),
        (b"API.Example", "https", b"api.example"),
        (b"api.example:80", "http", b"api.example"),
        (b"api.example:443", "https", b"api.example"),
        (b"api.example:443", "http", b"api.example:443"),
        (b"api.example:80", "https", b"api.example:80"),
        (b"API.example:8080", "http", b"api.example:8080"),
        (b"127.0.0.1:8080", "http", b"127.0.0.1:8080"),
        (b"[::1]", "http", b"[::1]"),
        (b"[2001:DB8::1]:8443", "https", b"[2001:db8::1]:8443"),
        (b"_srv.api_1.example", "http", b"_srv.api_1.example"),
    ],
)
def test_the_authority_is_the_lower_case_host_without_the_default_port(
    host: bytes, scheme: str, authority: bytes
) -> None:
    request = make_request(headers=[(b"host", host)], scheme=scheme)
    assert code(request) is None
    assert request.authority == authority


NO_HOSTS = [
    *[b"", b"user@api.example", b"user:pw@api.example", b"api.example:", b"api.example:x", b"api.example:123456"],
    *[b" api.example", b"api example", b"api.example\t", b"a,b", b"a/b", b"a?b", b"a#b", b"a%41", b"[::1", b"::1"],
    *[b"[g::1]", b"[]", b"[::1]x", b"\xc3\xa9.example", b"a" * 254],
]


@pytest.mark.parametrize("host", NO_HOSTS)
def test_a_host_that_is_none_is_refused(host: bytes) -> None:
    denial = refusal(make_request(headers=[(b"host", host)]), Policy())
    assert denial is not None
    assert (denial.code, denial.status) == ("frame.host", 400)


def test_a_request_without_a_host_is_refused() -> None:
    request = make_request()
    request.headers = type(request.headers)([])
    assert code(request) == "frame.host"


# RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) ... more than one Host"; 6.3 for the length.
@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"host", [b"api.example", b"api.example"]),
        (b"host", [b"api.example", b"evil.example"]),
        (b"content-length", [b"5", b"5"]),
        (b"content-length", [b"5", b"6"]),
        (b"transfer-encoding", [b"chunked", b"chunked"]),
        (b"content-encoding", [b"identity", b"gzip"]),
    ],
)
def test_what_frames_a_message_stands_once(name: bytes, values: list[bytes]) -> None:
    denial = refusal(make_request("POST", headers=[(name, value) for value in values]))
    assert denial is not None
    assert denial.status == 400


# rule 6: the length


@pytest.mark.parametrize(
    ("headers", "version", "length"),
    [
        ([], "1.1", 0),
        ([], "1.0", 0),
        ([], "2", None),
        ([], "3", None),
        ([(b"content-length", b"0")], "1.1", 0),
        ([(b"content-length", b"17")], "1.1", 17),
        ([(b"content-length", b"0017")], "2", 17),
        ([(b"content-length", b"1000")], "1.1", 1000),
        ([(b"transfer-encoding", b"chunked")], "1.1", None),
        ([(b"transfer-encoding", b" Chunked ")], "1.1", None),
        ([(b"content-encoding", b"identity")], "1.1", 0),
        ([(b"content-encoding", b" Identity ")], "1.1", 0),
        ([(b"content-encoding", b"")], "1.1", 0),
    ],
)
def test_the_length_is_what_the_head_says(headers: Fields, version: str, length: int | None) -> None:
    request = make_request("POST", headers=headers, version=version)
    assert code(request) is None
    assert request.length == length


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], ("frame.length", 400)),
        ([(b"content-length", b"")], ("frame.length", 400)),
        ([(b"content-length", b"-1")], ("frame.length", 400)),
        ([(b"content-length", b"+5")], ("frame.length", 400)),
        ([(b"content-length", b" 5")], ("frame.length", 400)),
        ([(b"content-length", b"5, 5")], ("frame.length", 400)),
        ([(b"content-length", b"0x5")], ("frame.length", 400)),
        ([(b"content-length", b"5_0")], ("frame.length", 400)),
        ([(b"content-length", "٥".encode())], ("frame.length", 400)),
        ([(b"content-length", b"0" * 20)], ("frame.length", 400)),
        ([(b"transfer-encoding", b"gzip, chunked")], ("frame.length", 400)),
        ([(b"transfer-encoding", b"identity")], ("frame.length", 400)),
        ([(b"transfer-encoding", b"")], ("frame.length", 400)),
        ([(b"transfer-encoding", b"chunked, chunked")], ("frame.length", 400)),
        ([(b"transfer-encoding", b"\x0bchunked")], ("frame.length", 400)),
        ([(b"content-encoding", b"\x0bidentity")], ("frame.encoded", 415)),
        ([(b"content-encoding", b"gzip")], ("frame.encoded", 415)),
        ([(b"content-encoding", b"identity, gzip")], ("frame.encoded", 415)),
        ([(b"content-length", b"1001")], ("frame.body", 413)),
        ([(b"content-length", b"9" * 19)], ("frame.body", 413)),
    ],
)
def test_a_length_that_is_doubtful_is_refused(headers: Fields, expected: tuple[str, int]) -> None:
    denial = refusal(make_request("POST", headers=headers))
    assert denial is not None
    assert (denial.code, denial.status) == expected


# rule 7: the fields


@pytest.mark.parametrize("name", [b"x", b"x-a", b"a1", b"!#$%&'*+-.^_`|~"])
def test_a_field_name_is_a_token(name: bytes) -> None:
    assert code(make_request(headers=[(name, b"v")])) is None


@pytest.mark.parametrize(
    "name", [b"", b"X", b"Host", b"a b", b"a:", b"a\t", b"a\n", b"a\0", b"a/b", b"(a)", b'"', b"\xc3\xa9"]
)
def test_a_field_name_that_is_no_token_is_refused(name: bytes) -> None:
    denial = refusal(make_request(headers=[(name, b"v")]))
    assert denial is not None
    assert (denial.code, denial.status) == ("frame.field", 400)


@pytest.mark.parametrize("value", [b"", b"plain", b"a\tb", b"\xc3\xa9", b"\xff\x80", b"\x7f"])
def test_a_field_value_may_hold_other_bytes(value: bytes) -> None:
    assert code(make_request(headers=[(b"x-a", value)])) is None


@pytest.mark.parametrize("value", [b"\r", b"\n", b"\0", b"a\r\nb: c", b"a\n", b"\0a"])
@pytest.mark.parametrize("twice", [False, True])
def test_a_field_value_never_holds_cr_lf_or_nul(value: bytes, twice: bool) -> None:
    fields = [(b"x-a", value), (b"x-a", b"plain")] if twice else [(b"x-a", value)]
    denial = refusal(make_request(headers=fields))
    assert denial is not None
    assert (denial.code, denial.status) == ("frame.field", 400)


def test_the_number_of_fields_is_capped() -> None:
    assert code(make_request(headers=[(b"x-a", b"")] * 5)) is None
    denial = refusal(make_request(headers=[(b"x-a", b"")] * 6))
    assert denial is not None
    assert (denial.code, denial.status, denial.detail) == ("frame.large", 431, "7 fields")


@pytest.mark.parametrize("fields", [[(b"x-a", b"v" * 238)], [(b"x-a", b"v" * 119), (b"x-a", b"v" * 116)]])
def test_the_size_of_the_fields_is_capped_by_their_sum(fields: Fields) -> None:
    assert code(make_request(headers=fields)) is None  # host: api.example takes 15 of the 256 bytes
    denial = refusal(make_request(headers=[*fields[:-1], (fields[-1][0], fields[-1][1] + b"v")]))
    assert denial is not None
    assert (denial.code, denial.status, denial.detail) == ("frame.large", 431, "257 bytes")


# every rule at once

FIELD_NAMES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"host", b"content-length", b"transfer-encoding", b"content-encoding", b"x-http-method", b"x-a"]),
)
FIELDS = st.lists(st.tuples(FIELD_NAMES, st.binary(max_size=20)), max_size=8)
PIECES = [
    b"/",
    b"a",
    b"Z9",
    b"-._~",
    b".",
    b"..",
    b"!$&'()*+,=:@",
    b";",
    b"\\",
    b"%2F",
    b"%41",
    b"%20",
    b"%C3%A9",
    b"%c3%a9",
]
PIECES += [
    b"%2B",
    b"%3a",
    b"%3A",
    b"%7B",
    b"%00",
    b"%25",
    b"%E2%80%A8",
    b"%",
    b"\xff",
    b"%F0%9F%92%B0",
    b"//",
    b"?",
    b"#",
]
PATHS = st.lists(st.sampled_from(PIECES), max_size=8).map(lambda pieces: b"/" + b"".join(pieces))


@settings(max_examples=200, deadline=None)
@given(method=st.text(max_size=8), target=st.binary(max_size=40) | PATHS, headers=FIELDS, version=st.text(max_size=3))
@example(method="GET", target=b"/", headers=[], version="")
def test_any_bytes_pass_or_are_refused_and_nothing_else(
    method: str, target: bytes, headers: Fields, version: str
) -> None:
    request = make_request(method, target, headers=headers, version=version)
    denial = refusal(request)
    if denial is not None:
        assert 400 <= denial.status < 500 or denial.status == 501
    else:
        assert request.authority
        assert request.length is None or 0 <= request.length <= POLICY.body_bytes


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=60), kind=st.sampled_from([FORM, b"", b"\xff", b"text/plain"]))
def test_any_body_passes_or_is_refused_as_an_override(body: bytes, kind: bytes) -> None:
    try:
        check_form(make_request("POST", body=body, headers=[(b"content-type", kind)]), body)
    except Refused as refused:
        assert refused.denial.code == "frame.override"


def decoded_or_none(raw: bytes) -> str | None:
    try:
        return canonical_path(raw)
    except Refused:
        return None


def escape_all(raw: bytes) -> str:
    """The one spelling in which only unreserved characters and slashes stand as themselves, in upper-case hex."""
    return quote(unquote_to_bytes(raw), safe="/-._~")


@settings(max_examples=200, deadline=None)
@given(raw=PATHS)
def test_what_is_decoded_has_nothing_in_it_that_a_router_could_read_otherwise(raw: bytes) -> None:
    decoded = decoded_or_none(raw)
    if decoded is not None:
        assert decoded == unquote(raw.decode("ascii"), errors="strict")
        assert not set(decoded) & {*map(chr, range(32)), "\x7f", "\\", ";", "%"}
        assert not {"", ".", ".."} & set(decoded.split("/")[1:-1])
        assert decoded.rpartition("/")[2] not in (".", "..")


@settings(max_examples=200, deadline=None)
@given(raw=PATHS)
def test_accepted_spellings_of_one_path_differ_only_in_reserved_characters_and_the_case_of_hex(raw: bytes) -> None:
    """Undo just these two, and the raw path follows from the decoded one: unreserved characters have one spelling."""
    decoded = decoded_or_none(raw)
    if decoded is not None:
        reserved = raw.decode("ascii")
        for character in "!$&'()*+,=:@":
            reserved = reserved.replace(character, f"%{ord(character):02X}")
        spelled = "%".join([part[:2].upper() + part[2:] if i else part for i, part in enumerate(reserved.split("%"))])
        assert spelled == escape_all(raw) == quote(decoded, safe="/-._~")


@settings(max_examples=200, deadline=None)
@given(raw=PATHS)
def test_a_decoded_path_spelled_again_is_the_same_path(raw: bytes) -> None:
    decoded = decoded_or_none(raw)
    if decoded is not None:
        assert canonical_path(quote_path(decoded)) == decoded
