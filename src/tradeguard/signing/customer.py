"""The venue's authentication page: how its customers sign, made from what the venue's guard was given.

What is signed and where it stands is read from the row, limits from the policy, refusals from the catalogue; the worked
example is signed by the signer of the row. So the page cannot say anything else than the guard does.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tradeguard.core.decision import UNAUTHORIZED, Entry
from tradeguard.core.frame import quote_path
from tradeguard.core.policy import Operation, Policy
from tradeguard.core.rate import Rate
from tradeguard.signing.markdown import block, numbered, table
from tradeguard.signing.material import ED25519, HMAC_SHA256
from tradeguard.signing.message import FORM, Facts, compile_digest, compile_message
from tradeguard.signing.rates import tell_rates
from tradeguard.signing.refusal import Refusal
from tradeguard.signing.row import REQUIRED_COVERAGE, Header, Parameter, Row
from tradeguard.signing.signer import Outgoing, Signer
from tradeguard.signing.snippet import make_snippets

EXAMPLE_KEY: Final = "example-key"
EXAMPLE_SECRET: Final = b"an example secret that opens nothing"
EXAMPLE_SEED: Final = bytes(range(32))
EXAMPLE_AT: Final = 1_795_000_000_000_000_000  # ns UTC
_NONCE: Final = b"bm90LXVzZWQtYmVmb3Jl"
_SECOND: Final = 1_000_000_000
_UNITS: Final = {1: "nanoseconds", 1_000: "microseconds", 1_000_000: "milliseconds", _SECOND: "seconds"}
_PARTS: Final[Mapping[str, str]] = {
    "label": "the name of the algorithm: {labels}",
    "key": "the key id, as in `{key}`",
    "time": "the time, as in `{time}`",
    "nonce": "the nonce, as in `{nonce}`",
    "method": "the method in upper case",
    "authority": "the host in lower case, and `:port` unless it is 443 for https or 80 for http; for us: `{authority}`",
    "target": "path, and `?` and query if there is one, exactly as on the request line",
    "content_type": "the Content-Type exactly as sent; an empty line if there is none",
    "body_sha256": "SHA-256 of the body, lower-case hex; also of an empty one",
    "query": "the query exactly as sent, without `&{signature}=...`",
    "form": "the form body exactly as sent, without `&{signature}=...`",
}
_KEYS: Final[Mapping[str, str]] = {
    HMAC_SHA256: f"the secret is the text `{EXAMPLE_SECRET.decode()}`, as bytes",
    ED25519: f"the private key (RFC 8032) is `{EXAMPLE_SEED.hex()}`, in hex",
}


class Venue(NamedTuple):
    """What the page is made from.

    `scheme`, `authority` and `prefix` are where the API is; `prefix` is the path it is mounted at, or empty. `sent` are
    the fields in which a key is sent along, and `until` its last day, where the venue takes that. `rates` are by the
    names of quotas, `tiers` the other rates of a tier by its name and theirs.
    """

    rows: Sequence[Row]
    policy: Policy
    operations: Sequence[Operation]
    catalogue: Iterable[Entry]
    authority: str
    scheme: str = "https"
    prefix: str = ""
    sent: str = ""
    until: str = ""
    rates: Mapping[str, Rate] = MappingProxyType({})
    tiers: Mapping[str, Mapping[str, str]] = MappingProxyType({})


def write_page(venue: Venue) -> str:
    """Return the page, as Markdown."""
    names = " or ".join(f"`{row.name}`" for row in venue.rows)
    how = [f"Requests are signed as {names} says."] if names else []
    how += [f"Until {venue.until} keys may be sent along instead."] if venue.sent and names else []
    blocks = [
        "# Authentication",
        " ".join([f"The API is at `{venue.scheme}://{venue.authority}{venue.prefix}`.", *how]),
        "A key has one dialect and one algorithm, which you were told with it. Nobody asks you for the secret.",
        *_sent(venue),
        *(block for row in venue.rows for block in _dialect(venue, row)),
        *_limits(venue.policy),
        *tell_rates(venue.rates, venue.tiers),
        *_operations(venue),
        *_errors(venue),
    ]
    return "\n\n".join(blocks) + "\n"


def _sent(venue: Venue) -> Iterator[str]:
    if venue.sent:
        yield "## Sending the key along: `bearer`"
        yield "A key of this dialect signs nothing. Each request carries it, over HTTPS only:"
        yield f"```text\n{venue.sent}\n```"
        yield (
            f"The last day of it is {venue.until} (UTC). Whoever sees one such request can act in your name, so keep "
            "it out of logs and URLs; a key that went over plain HTTP is to be replaced."
        )


def sign_example(venue: Venue, row: Row, algorithm: str) -> Outgoing:
    """Return the worked example: a request of this venue, signed with a key that opens nothing."""
    key = Ed25519PrivateKey.from_private_bytes(EXAMPLE_SEED) if algorithm == ED25519 else EXAMPLE_SECRET
    return Signer(row, EXAMPLE_KEY, key).sign(_example(venue, row), EXAMPLE_AT, _NONCE)


def _dialect(venue: Venue, row: Row) -> Iterator[str]:
    yield f"## Signing: `{row.name}`"
    yield table(("field", "where", "value"), _fields(row))
    yield _signed(venue, row)
    missing = sorted(REQUIRED_COVERAGE - row.coverage)
    if missing:
        yield f"The signature does not cover {' and '.join(missing)}: nothing but TLS protects them."
    yield _time(row)
    for algorithm in row.algorithms:
        yield from _worked(venue, row, algorithm)
    yield from _programs(venue, row)


def _fields(row: Row) -> Iterator[tuple[str, ...]]:
    unit = _UNITS.get(row.unit, f"units of {row.unit} ns")
    yield "key", _where(row.key), "the key id"
    yield "time", _where(row.time), f"{unit} since 1970-01-01 UTC, digits only"
    if row.nonce is not None:
        yield "nonce", _where(row.nonce), "16 to 64 of `A-Za-z0-9_-`, a new one for each attempt"
    if row.width is not None:
        most = row.widest // row.unit
        yield "window", _where(row.width), f"optional: how old the request may be, in {unit}; at most {most}"
    form = "unpadded base64url (RFC 4648, 5)" if row.encoding == "base64url" else "lower-case hex"
    last = "; it comes last" if isinstance(row.signature, Parameter) else ""
    yield "signature", _where(row.signature), form + last


def _where(place: Header | Parameter) -> str:
    return f"{'header' if isinstance(place, Header) else 'parameter'} `{place.name.decode()}`"


def _signed(venue: Venue, row: Row) -> str:
    labels = " or ".join(f"`{label.decode()}`" for label in row.algorithms.values())
    names = {
        name: place.name.decode() for name in ("key", "time", "nonce", "signature") if (place := getattr(row, name))
    }
    lines = [_PARTS[part].format(labels=labels, authority=venue.authority, **names) for part in row.message]
    bodyless = ", ".join(sorted(row.bodyless))
    if not row.separator:
        text = "What is signed is one of these, never both:\n\n" + "\n".join(f"* {line}" for line in lines)
        rest = (
            f"{bodyless} carry the parameters in the query; other methods there or in a form body (`{FORM.decode()}`)."
        )
        return f"{text}\n\n{rest} Parameters are sent in the order in which they were signed."
    head = f"What is signed is {len(lines)} lines, joined by one newline (`0x0A`), none at the end:"
    return f"{head}\n\n{table(('line', 'content'), numbered(lines))}\n\n{bodyless} have no body."


def _time(row: Row) -> str:
    past, future = row.window.past / _SECOND, row.window.future / _SECOND
    single = (
        "A nonce is used once; an attempt that is sent again needs a new nonce, time and signature."
        if row.nonce is not None
        else "But for reads, a signed text is used once; an attempt that is sent again needs a new time and signature."
    )
    return (
        f"The time may lie up to {past:g} s before and {future:g} s after the moment at which we have received the "
        f"whole request. {single} Sign below whatever sends again. A retry that is signed anew is a new message: "
        "repeat an order only where the first attempt was refused with an error that says `executed`: no."
    )


def _worked(venue: Venue, row: Row, algorithm: str) -> Iterator[str]:
    signed = sign_example(venue, row, algorithm)
    yield f"### Example: `{row.name}` with {algorithm}"
    yield f"The key id is `{EXAMPLE_KEY}`; {_KEYS[algorithm]}. It opens nothing. This text is signed:"
    yield block("text", _text(row, algorithm, signed))
    yield "And this is sent:"
    kind = [(b"Content-Type", signed.content_type)] if signed.content_type else []
    length = [(b"Content-Length", b"%d" % len(signed.body))] if signed.body else []
    fields = [(b"Host", signed.authority.encode()), *kind, *length, *signed.headers]
    head = [f"{signed.method} {signed.target.decode()} HTTP/1.1", *(f"{n.decode()}: {v.decode()}" for n, v in fields)]
    yield block("http", "\n".join([*head, "", signed.body.decode()] if signed.body else head))


def _text(row: Row, algorithm: str, signed: Outgoing) -> str:
    """Read the signed text off the signed request, as its reader should."""
    if isinstance(row.signature, Parameter):
        text = signed.body.decode() or signed.target.decode().partition("?")[2]
        return text.rpartition(f"&{row.signature.name.decode()}=")[0]
    fields = dict(signed.headers)
    time, nonce = (fields.get(place.name, b"") if place else b"" for place in (row.time, row.nonce))
    facts = Facts(
        row.algorithms[algorithm],
        fields[row.key.name],
        time,
        nonce,
        signed.method.encode(),
        signed.authority.encode(),
        signed.target,
        signed.content_type,
        compile_digest(row)(signed.body),
        b"",
        b"",
    )
    return compile_message(row)(facts).decode()


def _programs(venue: Venue, row: Row) -> Iterator[str]:
    request = _example(venue, row)
    yield f"### Programs: `{row.name}`"
    yield 'With curl, where tradeguard is installed (`pip install "tradeguard[cli]"`); the secret is in a file:'
    url = f"{venue.scheme}://{venue.authority}{request.target.decode()}"
    data = f" \\\n  --data '{request.body.decode()}'" if request.body else ""
    dialect = f" --dialect {row.name}" if row.name != "tg1" else ""
    yield block("sh", f"tradeguard sign curl {request.method} '{url}' \\\n  --key \"$API_KEY\"{dialect} "
                 f"--secret-file secret.txt{data} | sh")  # fmt: skip
    for language, program in make_snippets(row, request, venue.scheme).items():
        yield f"In {language}, with an HMAC key in `API_KEY` and `API_SECRET`:"
        yield block(language, program.rstrip())


def _example(venue: Venue, row: Row) -> Outgoing:
    """Return a request that this venue has: an order if there is one, else whatever is signed."""
    signed = [operation for operation in venue.operations if operation.lane != "public"]
    orders = [operation for operation in signed if operation.id.startswith("POST ") and operation.lane == "order"]
    method, _, path = (orders or signed)[0].id.partition(" ") if signed else ("GET", "", "/")
    segments = ["1" if segment[:1] in ("{", "*") and segment else segment for segment in path.split("/")]
    target = quote_path(venue.prefix + "/".join(segments))
    if method in row.bodyless or method == "OPTIONS":
        return Outgoing(method, venue.authority, target + b"?limit=10")
    if isinstance(row.signature, Parameter):
        return Outgoing(method, venue.authority, target, FORM, b"symbol=BTC-USD&side=buy&quantity=1")
    order = b'{"symbol":"BTC-USD","side":"buy","quantity":"1"}'
    return Outgoing(method, venue.authority, target, b"application/json", order)


def _limits(policy: Policy) -> Iterator[str]:
    yield "## Limits"
    rows = [
        ("path and query", f"{policy.target_bytes} bytes"),
        ("header fields", f"{policy.head_fields}, {policy.head_bytes} bytes in all"),
        ("body", f"{policy.body_bytes} bytes, whole within {policy.body_seconds:g} s; not compressed"),
    ]
    yield table(("what", "at most"), rows)
    yield (
        "A path has one spelling: encode everything but letters, digits and `-._~!$&'()*+,=:@`, and leave those as "
        "they are; no `//`, no dot segments. Redirects are not used: do not follow one with a signature."
    )


def _operations(venue: Venue) -> Iterator[str]:
    yield "## Operations"
    yield (
        "A key needs every scope of the row. `{name}` and `*` stand for one segment of the path, `**` for the rest; "
        "HEAD takes what GET takes."
    )
    rows = (
        (f"`{method}`", f"`{venue.prefix}{path}`", _scopes(operation), operation.lane, *_costs(venue, operation))
        for operation in venue.operations
        for method, _, path in (operation.id.partition(" "),)
    )
    yield table(("method", "path", "scopes", "lane", *(["costs"] if _shows_costs(venue) else [])), rows)


def _shows_costs(venue: Venue) -> bool:
    return any(operation.costs for operation in venue.operations) and bool(venue.rates)


def _costs(venue: Venue, operation: Operation) -> tuple[str, ...]:
    """Return what a request takes, where it is more than one unit of what counts it."""
    told = ((name, cost) for name, cost in operation.costs.items() if name in venue.rates)
    return (", ".join(f"{cost} of `{name}`" for name, cost in told),) if _shows_costs(venue) else ()


def _scopes(operation: Operation) -> str:
    return ", ".join(f"`{scope}`" for scope in sorted(operation.scopes)) or "none: public, a signature is not needed"


def _errors(venue: Venue) -> Iterator[str]:
    yield "## Errors"
    yield (
        "A refusal is `application/problem+json` (RFC 9457) with `code`, `detail`, `executed` and `request_id`; name "
        "the last one when you ask us. `executed` says whether the operation may have been carried out: never, or "
        "unknown: then look it up before you do anything else. Where `Retry-After` stands, wait that long and sign "
        "anew."
    )
    faces = {(entry.status, entry.public): entry for entry in venue.catalogue}
    entries = [entry for _, entry in sorted(faces.items())]
    rows = ((str(entry.status), f"`{entry.public}`", _executed(entry), entry.text) for entry in entries)
    yield table(("status", "code", "executed", "meaning"), rows)
    yield (
        f"`{UNAUTHORIZED}` is all that we say before a signature has proved who asks: compare the text that you sign "
        "with the example, byte by byte. `freshness.stale` and `freshness.early` carry our time (`server_time`, "
        "milliseconds) and how far yours is off (`offset_ms`). `replay.seen` carries the first request's id "
        "(`first_request_id`): look that one up instead of signing again."
    )
    for row in venue.rows:
        if row.refuse is not None:
            yield from _own_errors(row, row.refuse, entries)


def _own_errors(row: Row, refusal: Refusal, entries: Iterable[Entry]) -> Iterator[str]:
    """Say what clients of a dialect with refusals of its own get instead."""
    yield f"### Errors: `{row.name}`"
    yield (
        f"Requests of this dialect are refused in its own words (`{refusal.media_type}`). The field `tradeguard-code` "
        'has the name as above; the body has a `request_id` too, and `"executed": "unknown"` where that is so.'
    )
    said = ((entry, refusal.say((entry.public, entry.status, entry.text, entry.executed, None))) for entry in entries)
    rows = (
        (f"`{entry.public}`", str(status), f"`{json.dumps(dict(body))}`", _executed(entry))
        for entry, (body, status) in said
    )
    yield table(("name", "status", "body", "executed"), rows)


def _executed(entry: Entry) -> str:
    return "no" if entry.executed is False else "unknown"
