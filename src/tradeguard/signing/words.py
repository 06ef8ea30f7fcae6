"""Words: a row as a customer reads it: its fields, the text that is signed, its times, what is refused beside."""

from collections.abc import Iterator, Mapping
from typing import Final

from tradeguard.signing.algorithm import HMACS
from tradeguard.signing.coinbase_advanced import CoinbaseAdvanced
from tradeguard.signing.guards import TYPED
from tradeguard.signing.lines import find_mark, group_parts, take_apart
from tradeguard.signing.markdown import numbered, table
from tradeguard.signing.message import FORM, Facts, Part, bare, in_one_line
from tradeguard.signing.place import AuthParam, Field, Header, Parameter, Payload, Place
from tradeguard.signing.row import REQUIRED_COVERAGE, Row

_BASE64: Final = "base64"
_SECOND: Final = 1_000_000_000
_UNITS: Final = {
    "s": "seconds since 1970-01-01 UTC, digits only",
    "s.": "seconds since 1970-01-01 UTC, digits only, with or without a fraction",
    "ms": "milliseconds since 1970-01-01 UTC, digits only",
    "us": "microseconds since 1970-01-01 UTC, digits only",
    "ns": "nanoseconds since 1970-01-01 UTC, digits only",
    "iso-ms": "UTC with milliseconds, as in `2026-11-18T14:13:20.000Z`",
    "iso-s": "UTC in seconds, as in `2026-11-18T14:13:20`, percent-encoded or not",
}
_GRAINS: Final = {1: "nanoseconds", 1_000: "microseconds", 1_000_000: "milliseconds", _SECOND: "seconds"}
_NONCES: Final = {
    "token": "16 to 64 of `A-Za-z0-9_-`, a new one for each attempt",
    "uuid": "a new UUID for each attempt, lower case",
    "free": "1 to 64 of `A-Za-z0-9_-`",
    "clock": "your clock as a number: seconds, milliseconds, microseconds or nanoseconds since 1970-01-01 UTC; it "
    "rises with each attempt, so keep to one of them",
}
_SPELLINGS: Final = {
    "hex": "lower-case hex",
    "upper-hex": "upper-case hex",
    "base64": "base64 (RFC 4648, 4)",
    "base64url": "unpadded base64url (RFC 4648, 5)",
    "hex-in-base64": "base64 (RFC 4648, 4) of the lower-case hex, not of the bytes",
}
_NOTHING: Final = "; nothing if there is none"
_PARTS: Final[Mapping[str, str]] = {
    "algorithm": "the algorithm: {labels}",
    "key": "the key id, as in `{key}`",
    "time": "the time, as in `{time}`",
    "nonce": "the nonce, as in `{nonce}`",
    "width": "the window, as in `{width}`",
    "method": "the method in upper case",
    "authority": "the host in lower case, and `:port` unless it is 443 for https or 80 for http; for us: `{authority}`",
    "target": "path, and `?` and query if there is one, exactly as on the request line",
    "path": "the path exactly as on the request line{below}",
    "query": "the query exactly as sent{less}",
    "text": "the body exactly as sent; the query, without its `?`, where there is no body",
    "content_type": "the Content-Type exactly as sent; {empty} if there is none",
    "body": f"the body exactly as sent{_NOTHING}",
    "form": "the form body exactly as sent{less}",
    "payload": "the header `{payload}` exactly as sent",
}
_HASHES: Final = {
    "sha256": "the 32 bytes of SHA-256 of {inner}",
    "sha512": "the 64 bytes of SHA-512 of {inner}",
    "sha256hex": "SHA-256 of {inner}, lower-case hex; also of an empty one",
    "sha512hex": "SHA-512 of {inner}, lower-case hex; also of an empty one",
}
_FORMS: Final = {
    "sorted": "its parameters sorted by name",
    "decoded": "its percent-encoding taken away, + as a space",
    "spaced": "+ written as %20",
}
_NO_FURTHER: Final = frozenset({"either", "decoded-once", "no-query", "no-body"})  # said elsewhere


def list_fields(row: Row) -> Iterator[tuple[str, ...]]:
    """Give each field: its name, where it stands, and what is in it."""
    yield "key", _where(row, row.key), f"`{row.prefix}` and the key id" if row.prefix else "the key id"
    if row.time is not None:
        until = "until when the request is good: " if row.lifetime else ""
        yield "time", _where(row, row.time), until + _UNITS[row.unit]
    if row.nonce is not None:
        yield "nonce", _where(row, row.nonce), _NONCES[row.form]
    if row.width is not None:
        unit, most = _GRAINS[row.stamp.grain], row.widest // row.stamp.grain
        yield "window", _where(row, row.width), f"optional: how old the request may be, in {unit}; at most {most}"
    if row.passphrase is not None:
        yield "passphrase", _where(row, row.passphrase.place), _passphrase(row)
    if row.payload is not None:
        yield (
            "payload",
            _where(row, row.payload),
            "base64 of a JSON object: the parameters of the request and the fields",
        )
    for place, what in row.binds:
        yield place.name.decode(), _where(row, place), _BINDS[what]
    for place, value in row.constants:
        yield place.name.decode(), _where(row, place), f"`{value.decode()}`"
    yield "signature", _where(row, row.signature), _spelling(row)


def tell_signed(row: Row, authority: str) -> Iterator[str]:
    """Say what is signed, part by part; and how the secret becomes a key, where that is not plain."""
    yield _signed(row, row.messages[0], authority)
    texts = (row.message,) if isinstance(row.message, str) else row.message
    if len(texts) > 1:
        others = ", ".join(f"`{in_one_line(text)}`" for text in texts[1:])
        yield f"Clients that write `{in_one_line(texts[0])}` otherwise are understood too, with {others}."
    if row.secret == _BASE64 and set(row.algorithms) & set(HMACS):
        yield "The secret is base64: the key of the HMAC is the bytes that it stands for, not its text."
    missing = sorted(REQUIRED_COVERAGE - row.coverage)
    if missing:
        yield f"The signature does not cover {' and '.join(missing)}: nothing but TLS protects them."
    yield from _refused(row)


def tell_time(row: Row) -> str:
    """Say when a message is accepted, and that it is once."""
    past, future = row.window.past / _SECOND, row.window.future / _SECOND
    if row.timeless:
        when = f"No time is signed: a request is refused if the very same was received within the last {past:g} s."
    elif row.lifetime:
        ahead = row.lifetime / _SECOND
        when = f"The time says until when the request is good, at most {ahead:g} s ahead (and {future:g} s for clocks)."
    else:
        when = (
            f"The {'nonce is the time, and' if row.time is None else 'time'} may lie up to {past:g} s before and "
            f"{future:g} s after the moment at which we have received the whole request."
        )
    return (
        f"{when} {_single(row)} Sign below whatever sends again. A retry that is signed anew is a new message: "
        "repeat an order only where the first attempt was refused with an error that says `executed`: no."
    )


def tell_token(row: CoinbaseAdvanced, authority: str, prefix: str) -> Iterator[str]:
    """Say what a token has in it, for the dialect that signs one instead of a text."""
    yield "Each request carries a JSON Web Token (RFC 7519) of its own in the header `authorization`, behind `Bearer `:"
    claims = (
        ("header", "`alg`", "`ES256` with a P-256 key, `EdDSA` with an Ed25519 key"),
        ("header", "`kid`", "the key id"),
        ("header", "`typ`", "`JWT`"),
        ("header", "`nonce`", _NONCES["token"]),
        ("claim", "`sub`", "the key id"),
        ("claim", "`iss`", "`cdp`"),
        ("claim", "`nbf`, `exp`", "seconds since 1970-01-01 UTC: now, and 120 seconds later"),
        ("claim", "`uri`", f"the method, a space, host and path, without the query: `GET {authority}{prefix}/...`"),
    )
    yield table(("part", "name", "value"), claims)
    missing = sorted(REQUIRED_COVERAGE - row.coverage)
    yield f"The signature does not cover {' and '.join(missing)}: nothing but TLS protects them."
    yield "A token is used once; an attempt that is sent again needs a new one. Use ccxt, as below, or Coinbase's SDK."


def _single(row: Row) -> str:
    if row.nonce is None or row.form == "free":
        return (
            "But for reads, a signed text is used once; an attempt that is sent again needs a new time and signature."
        )
    if row.form == "clock":
        return (
            f"A nonce is used once, and is among the {row.nonce_width} highest of its key; an attempt that is sent "
            "again needs a new nonce and signature."
        )
    return "A nonce is used once; an attempt that is sent again needs a new nonce, time and signature."


def _where(row: Row, place: Place) -> str:
    name = f"`{place.name.decode()}`"
    match place:
        case Header():
            return f"header {name}"
        case Parameter():
            return f"parameter {name}"
        case Field():
            return f"member {name} of the JSON body" + ("" if row.body == "json" else ", or parameter of the form")
        case AuthParam():
            return f"parameter {name} of header `authorization`, behind `{row.scheme.decode()} `"
        case Payload():
            return f"member {name} of the payload"


def _passphrase(row: Row) -> str:
    version = row.passphrase.version if row.passphrase is not None else None
    if version is None:
        return "the passphrase of the key, as it is"
    return (
        f"base64 of HMAC-SHA256 of the passphrase under the secret, with `2` or `3` in the header "
        f"`{version.name.decode()}`; the passphrase as it is with `1` there, or nothing"
    )


def _spelling(row: Row) -> str:
    spelt = list(dict.fromkeys(row.algorithms.values()))
    form = _SPELLINGS[spelt[0]]
    if len(spelt) > 1:
        names = {encoding: [name for name, one in row.algorithms.items() if one == encoding] for encoding in spelt}
        form = "; ".join(f"{_SPELLINGS[encoding]} with {' and '.join(of)}" for encoding, of in names.items())
    if not row.in_text:
        return form
    quoted = ", percent-encoded" if {"base64", "hex-in-base64"} & {*spelt} else ""
    return form + quoted + ("" if row.sorted else "; it comes last")


def _signed(row: Row, message: tuple[Part, ...], authority: str) -> str:
    mark = find_mark(message)
    bodyless = ", ".join(sorted(row.bodyless))
    if mark == b"&":
        return _parameters(row, message, authority, bodyless)
    lines = [_tell(row, group, authority) for group in group_parts(message)]
    if mark:
        end = "and one behind the last" if message[-1].text.endswith(b"\n") and message[-1].name == "literal" else ""
        lines = lines[:-1] if end else lines
        head = f"What is signed is {len(lines)} lines, joined by one newline (`0x0A`), {end or 'none at the end'}:"
    else:
        head = "What is signed is one text, these parts one behind the other with nothing between them:"
    rest = "" if not bodyless else f"\n\n{bodyless} have no body."
    return f"{head}\n\n{table(('line' if mark else 'part', 'content'), numbered(lines))}{rest}"


def _parameters(row: Row, message: tuple[Part, ...], authority: str, bodyless: str) -> str:
    lines = [_tell(row, (part,), authority) for part in message]
    order = " Parameters are sent in the order in which they were signed."
    if len(lines) == 1:
        return f"What is signed is {lines[0]}. All methods carry the parameters there.{order}"
    text = "What is signed is one of these, never both:\n\n" + "\n".join(f"* {line}" for line in lines)
    rest = f"{bodyless} carry the parameters in the query; other methods there or in a form body (`{FORM.decode()}`)."
    return f"{text}\n\n{rest}{order}"


def _tell(row: Row, group: tuple[Part, ...], authority: str) -> str:
    labelled = [part for part in group if part.name == "algorithm"]
    if labelled and len(labelled) + sum(part.name == "literal" for part in group) == len(group):
        facts = (Facts(algorithm=algorithm.upper().encode()) for algorithm in row.algorithms)
        texts = (take_apart((*group,), one) for one in facts)
        labels = " or ".join(f"`{b''.join(line.value for line in lines).decode()}`" for lines in texts)
        return f"the name of the algorithm: {labels}"
    return ", then ".join(_describe(row, part, authority) for part in group) or "nothing"


def _describe(row: Row, part: Part, authority: str) -> str:
    if part.name == "literal":
        return f"`{in_one_line(part.text.decode())}`"
    if part.parts:
        inner = ", then ".join(_describe(row, one, authority) for one in part.parts)
        inner = "the body" if [one.name for one in part.parts] == ["body"] else f"this, in one text: {inner}"
        return _HASHES[part.name].format(inner=inner)
    if part.argument:
        return _MEMBERS[part.name].format(name=part.argument)
    places = {name: getattr(row, name) for name in ("key", "time", "nonce", "width", "payload")}
    names = {name: place.name.decode() if place is not None else "" for name, place in places.items()}
    text = _PARTS[bare(part.name)].format(
        labels=" or ".join(f"`{algorithm.upper()}`" for algorithm in row.algorithms),
        authority=authority,
        less=f", without `&{row.signature.name.decode()}=...`" if row.in_text else "",
        empty="an empty line" if find_mark(row.messages[0]) else "nothing",
        below=f", without `{row.mount}` in front" if row.mount else "",
        **names,
    )
    if bare(part.name) != part.name:
        text = f"`{part.name[:1]}` and {text.removesuffix(_NOTHING)}{_NOTHING}"
    return "; ".join([text, *(_FORMS[form] for form in part.forms)])


def _refused(row: Row) -> Iterator[str]:
    """Say what is not taken, because it is not signed or could pass for another part."""
    rules = [guard.text for guard in row.guards if guard.name not in _NO_FURTHER]
    rules += ["there is no query"] if "query" not in row.coverage else []
    rules += [_BODIES[row.body]] if row.body in _BODIES and not (row.body == "form" and TYPED in row.guards) else []
    if rules:
        yield "So that nothing else can be read into what is signed, this holds for every request:"
        yield "\n".join(f"* {rule}" for rule in rules)


_BINDS: Final = {
    "path": "the path of the request",
    "tail": "the path of the request without its first `/`",
    "nonce": "the nonce once more",
}
_MEMBERS: Final = {
    "field": "the member `{name}` of the JSON body",
    "number": "the number `{name}` of the JSON body; nothing if there is none",
    "flat": "all that is in the member `{name}` of the JSON body: by name, each name and value, nothing between them",
}
_BODIES: Final = {
    "none": "there is no body",
    "form": "a body is a form",
    "repeat": "a body is empty, or repeats the members of the payload",
}
