"""Fuzz what is read of keys: a file of any bytes is lines or a ConfigError, a stored record is one or Tampered."""

import json
from io import BytesIO, TextIOWrapper

from harness import join, main, split

from tradeguard.core.errors import ConfigError, Tampered
from tradeguard.core.policy import Policy
from tradeguard.keys.codec import decode_record, encode_fields
from tradeguard.keys.lines import Line, Reading, read_lines

NOW = 1_795_000_000_000_000_000  # ns UTC
POLICY = Policy(roles={"desk": ["orders:read"]})
READING = Reading(at=NOW, defaults={"owner": "ann"}, permissions={"TRADE": ["orders:write"]})
SECRET = b"find-me-0123456789"
POINT = b"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, 7.1, test 1

# what it is ("csv", "jsonl" or "record"), then the file; or the fields and the material
CORPUS = [
    join(b"csv", b'id,secret,scopes,expires\r\nk,%b,orders:read,90d\r\nj,"a,b\n""c",,\r\n' % SECRET),
    join(
        b"csv",
        b"\xef\xbb\xbfid,secret,encoding,permissions\nk,%b,hex,TRADE\n" % SECRET.hex().encode(),
    ),
    join(b"csv", b"id,public_key,encoding,state\nk,%b,hex,pending\nk,%b,hex,active\n" % (POINT, POINT)),
    join(b"jsonl", b'{"id":"k","secret":"%b","restrictions":{"accounts":["a"],"day_notional":"1.5"}}\n' % SECRET),
    join(b"jsonl", b'{"id":"k","secret":"%b","expires":%d,"scopes":["a"]}\n\n[]\n{"id":' % (SECRET, NOW)),
    join(b"record", b'{"algorithm":"hmac-sha256","dialect":"tg1","id":"k","roles":["desk"],"version":3}', SECRET),
    join(
        b"record", b'{"algorithm":"ed25519","dialect":"tg1","id":"k","state":"active"}', bytes.fromhex(POINT.decode())
    ),
    join(b"record", b'{"algorithm":"hmac-sha256","id":"k","dialect":"tg1","restrictions":{"sides":["buy"]}}', SECRET),
]
TOKENS = [
    b'"', b'""', b"\r", b"\xef\xbb\xbf", b'{"a":', b"[" * 50, b"9" * 50, b"1e999", b'"\\ud800"', b'"order_notional":',
    b"NaN", b'"expires":', b'"networks":', b"null", b"base64", b"999999999w", b"\0", SECRET,
]  # fmt: skip


def fuzz_keys(data: bytes) -> str:
    """Return what became of the file, or of the record."""
    kind, content, *more = split(data, 2)
    if kind == b"record":
        return decode(content, b"".join(more))
    return read(content, csv=kind == b"csv")


def decode(fields: bytes, material: bytes) -> str:
    """Read a stored record; what is one can be stored again and is the same."""
    try:
        record = decode_record(fields, material, POLICY)
    except Tampered:
        return "tampered"
    assert record.usable(NOW) in (True, False)
    again = encode_fields(record)
    assert encode_fields(decode_record(again, material, POLICY)) == again, again
    return "record"


def read(content: bytes, *, csv: bool) -> str:
    """Read a file of keys; every line has a record or a reason, and a number of its own."""
    lines: list[Line] = []
    try:
        lines += read_lines(TextIOWrapper(BytesIO(content), "utf-8", newline=""), "csv" if csv else "jsonl", READING)
    except ConfigError:
        return "refused"
    assert len({line.number for line in lines}) == len(lines), lines
    for line in lines:
        assert (line.record is None) == bool(line.reason), line
        if line.record is not None:
            assert json.loads(encode_fields(line.record))["id"] == line.record.id
    return "keys" if any(line.record for line in lines) else "faults"


if __name__ == "__main__":
    main(fuzz_keys, CORPUS, TOKENS)
