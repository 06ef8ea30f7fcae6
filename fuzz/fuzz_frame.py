"""Fuzz the frame: any bytes pass, or are refused with 4xx or 501, and what passed is what it seems to be."""

from urllib.parse import unquote

from harness import join, main, pairs, split

from tradeguard.core.decision import Refused
from tradeguard.core.frame import canonical_path, check_form, check_frame, quote_path
from tradeguard.core.policy import Policy
from tradeguard.core.request import Headers, Peer, Request

POLICY = Policy(target_bytes=512, head_bytes=2048, head_fields=16, body_bytes=1000)
HOST = (b"host", b"api.example")
FORM = (b"content-type", b"application/x-www-form-urlencoded")

# method, target, path ("" stands for the decoded target), prefix, scheme and version, body, then names and values
CORPUS = [
    join(b"GET", b"/v1/orders", b"", b"", b"http 1.1", b"", *HOST),
    join(b"GET", b"/api/v1/a%20b/%C3%A9?a=1&%62=2", b"/v1/a b/\xc3\xa9", b"/api", b"https 2", b"", *HOST),
    join(b"POST", b"/v1/orders", b"", b"", b"https 1.1", b"side=buy&%70rice=1", *HOST, *FORM, b"content-length", b"18"),
    join(b"POST", b"/", b"", b"", b"http 1.0", b"_method=DELETE", b"host", b"[::1]:8080", *FORM),
    join(b"DELETE", b"/a/%5Bid%5D/.x/", b"", b"", b"http 3", b"", *HOST, b"transfer-encoding", b"chunked"),
    join(b"PUT", b"/!$&'()*+,=:@", b"", b"", b"http 1.1", b"", *HOST, b"content-encoding", b"identity"),
    join(b"TRACE", b"//x/../%2F%00;a\\b", b"", b"", b"http 1.1", b"", *HOST, *HOST),
    join(b"get", b"http://api.example/", b"/", b"", b"", b"", b"x-http-method-override", b"PUT"),
]
TOKENS = [
    b"%2F",
    b"%2e%2e",
    b"%5C",
    b"%00",
    b"%C0%AF",
    b"_method",
    b"%5Fmethod=",
    b"content-length",
    b"transfer-encoding",
]


def read(data: bytes) -> tuple[Request, bytes]:
    """Make a request of an input, and its body."""
    method, target, path, prefix, scheme, body, *fields = split(data, 6)
    kind, _, version = scheme.decode("latin-1").partition(" ")
    mount = prefix.decode("utf-8", "replace")
    whole = unquote(target.partition(b"?")[0].decode("latin-1"))
    request = Request(
        id="fuzz",
        method=method.decode("latin-1"),
        target=target,
        path=path.decode("utf-8", "replace") if path else whole.removeprefix(mount),
        prefix=mount,
        scheme=kind,
        version=version,
        headers=Headers(pairs(fields)),
        peer=Peer(),
        arrived=0,
        body=body,
    )
    return request, body


def fuzz_frame(data: bytes) -> str:
    """Return `passed`, or the code of the refusal."""
    request, body = read(data)
    try:
        check_frame(request, POLICY)
        check_form(request, body)
    except Refused as refused:
        status = refused.denial.status
        assert 400 <= status < 500 or status == 501, status
        return refused.denial.code
    decoded = request.prefix + request.path
    assert decoded.startswith("/")
    assert not {"", ".", ".."} & set(decoded.split("/")[1:-1])
    assert not set(decoded) & {*map(chr, range(32)), "\x7f", "\\", ";", "%"}
    assert canonical_path(quote_path(decoded)) == decoded
    assert request.method.isalpha()
    assert request.authority == request.authority.lower() != b""
    assert request.length is None or 0 <= request.length <= POLICY.body_bytes
    return "passed"


if __name__ == "__main__":
    main(fuzz_frame, CORPUS, TOKENS)
