"""The venue's authentication page: how its customers sign, made from what the venue's guard was given.

What is signed and where it stands is read from the row, limits from the policy, refusals from the catalogue; the worked
example is signed by the signer of the row. So the page cannot say anything else than the guard does.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from tradeguard.core.decision import UNAUTHORIZED, Entry
from tradeguard.core.policy import Operation, Policy
from tradeguard.core.rate import Rate
from tradeguard.signing.algorithm import RSA_SHA256
from tradeguard.signing.coinbase_advanced import CoinbaseAdvanced
from tradeguard.signing.example import (
    EXAMPLE_AT,
    EXAMPLE_KEY,
    EXAMPLE_PHRASE,
    EXAMPLE_SECRET,
    EXAMPLE_SEED,
    Site,
    example_rsa,
    find_example,
    read_example,
    sign_example,
    tell_key,
)
from tradeguard.signing.lines import take_apart
from tradeguard.signing.markdown import block, table
from tradeguard.signing.message import Facts, compile_message
from tradeguard.signing.rates import tell_rates
from tradeguard.signing.refusal import Refusal
from tradeguard.signing.row import Row
from tradeguard.signing.signer import Outgoing
from tradeguard.signing.snippet import make_snippets
from tradeguard.signing.words import list_fields, tell_signed, tell_time, tell_token

__all__ = [
    "CCXT",
    "EXAMPLE_AT",
    "EXAMPLE_KEY",
    "EXAMPLE_PHRASE",
    "EXAMPLE_SECRET",
    "EXAMPLE_SEED",
    "Venue",
    "write_page",
]

CCXT: Final[Mapping[str, str]] = {
    "binance": "binance",
    "bitfinex": "bitfinex",
    "bitget": "bitget",
    "bitmex": "bitmex",
    "bitstamp": "bitstamp",
    "bitvavo": "bitvavo",
    "bybit": "bybit",
    "coinbase-advanced": "coinbase",
    "coinbase-exchange": "coinbaseexchange",
    "cryptocom": "cryptocom",
    "deribit": "deribit",
    "gate": "gate",
    "gemini": "gemini",
    "htx": "htx",
    "kraken": "kraken",
    "kraken-futures-bare": "krakenfutures",
    "kucoin": "kucoin",
    "mexc": "mexc",
    "mexc-contract": "mexc",
    "okx": "okx",
    "phemex": "phemex",
}
"""What ccxt calls the exchange of a dialect, where it carries it."""
_CARRIED: Final = {"bitmex": "4.5.20"}


class Venue(NamedTuple):
    """What the page is made from.

    `scheme`, `authority` and `prefix` are where the API is; `prefix` is the path it is mounted at, or empty. `sent` are
    the fields in which a key is sent along, and `until` its last day, where the venue takes that. `rates` are by the
    names of quotas, `tiers` the other rates of a tier by its name and theirs.
    """

    rows: Sequence[Row | CoinbaseAdvanced]
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


def _dialect(venue: Venue, row: Row | CoinbaseAdvanced) -> Iterator[str]:
    yield f"## Signing: `{row.name}`"
    if row.title and row.docs and not row.docs.startswith("docs/"):
        yield f"As {row.title} has it ({row.docs})."
    if isinstance(row, CoinbaseAdvanced):
        yield from tell_token(row, venue.authority, venue.prefix)
        yield from _ccxt(venue, row.name)
        return
    yield table(("field", "where", "value"), list_fields(row))
    yield from tell_signed(row, venue.authority)
    yield tell_time(row)
    site = Site(venue.authority, venue.scheme, venue.prefix, venue.operations)
    request = find_example(site, row)
    if request is None:
        yield "None of our operations can be signed in this dialect, so there is no example."
        return
    for algorithm in row.algorithms:
        yield from _worked(row, request, algorithm)
    yield from _programs(venue, row, request)


def _worked(row: Row, request: Outgoing, algorithm: str) -> Iterator[str]:
    signed = sign_example(row, request, algorithm)
    phrase = f"; the passphrase is `{EXAMPLE_PHRASE}`" if row.passphrase is not None else ""
    facts = read_example(row, signed, algorithm)
    text = compile_message(row.messages[0])(facts)
    yield f"### Example: `{row.name}` with {algorithm}"
    yield (
        f"The key id is `{EXAMPLE_KEY}`; {tell_key(row, algorithm)}{phrase}. It opens nothing. This "
        f"{'text is' if (text.isascii() and text.decode().isprintable()) or not _has_digest(row) else 'is'} signed:"
    )
    yield from _shown(row, facts, text)
    yield "And this is sent:"
    kind = [(b"Content-Type", signed.content_type)] if signed.content_type else []
    length = [(b"Content-Length", b"%d" % len(signed.body))] if signed.body else []
    fields = [(b"Host", signed.authority.encode()), *kind, *length, *signed.headers]
    head = [f"{signed.method} {signed.target.decode()} HTTP/1.1", *(f"{n.decode()}: {v.decode()}" for n, v in fields)]
    yield block("http", "\n".join([*head, "", signed.body.decode()] if signed.body else head))
    if algorithm == RSA_SHA256:
        yield "The private key of this example:"
        yield block("text", example_rsa())


def _has_digest(row: Row) -> bool:
    """Tell whether bytes of a hash stand in the signed text, so that it cannot be shown as it is."""
    return any(part.name in ("sha256", "sha512") for part in row.messages[0])


def _shown(row: Row, facts: Facts, text: bytes) -> Iterator[str]:
    if not _has_digest(row):
        yield block("text", text.decode())
        return
    lines: list[tuple[str, str]] = []
    for line in take_apart(row.messages[0], facts):
        digest = line.part is not None and line.part.name in ("sha256", "sha512")
        inner = compile_message(line.part.parts)(facts).decode() if digest and line.part is not None else ""
        lines += (
            [(f"hashed for {line.name}", inner), (f"{line.name}, in hex", line.value.hex())]
            if digest
            else [(line.name, line.value.decode())]
        )
    yield table(("part", "content"), ((name, f"`{value}`") for name, value in lines))


def _programs(venue: Venue, row: Row, request: Outgoing) -> Iterator[str]:
    yield f"### Programs: `{row.name}`"
    yield from _curl(venue, row, request)
    snippets = make_snippets(row, request, venue.scheme)
    for language, program in snippets.items():
        yield f"In {language}, with an HMAC key in `API_KEY` and `API_SECRET`{_phrase_variable(row)}:"
        yield block(language, program.rstrip())
    if not snippets:
        other = "ccxt, as below, or " if row.name in CCXT else ""
        yield f"No short program can sign this: use {other}the SDK of the venue that the dialect comes from."
    yield from _ccxt(venue, row.name)


def _phrase_variable(row: Row) -> str:
    return ", and the passphrase in `API_PASSPHRASE`" if row.passphrase is not None else ""


def _curl(venue: Venue, row: Row, request: Outgoing) -> Iterator[str]:
    yield 'With curl, where tradeguard is installed (`pip install "tradeguard[cli]"`); the secret is in a file:'
    url = f"{venue.scheme}://{venue.authority}{request.target.decode()}"
    data = f" \\\n  --data '{request.body.decode()}'" if request.body else ""
    dialect = f" --dialect {row.name}" if row.name != "tg1" else ""
    phrase = " --passphrase-file passphrase.txt" if row.passphrase is not None else ""
    yield block("sh", f"tradeguard sign curl {request.method} '{url}' \\\n  --key \"$API_KEY\"{dialect} "
                 f"--secret-file secret.txt{phrase}{data} | sh")  # fmt: skip


def _ccxt(venue: Venue, name: str) -> Iterator[str]:
    """Say how an unmodified ccxt is pointed at this venue, where it carries the exchange of the dialect."""
    if name not in CCXT:
        return
    last = f" Its version {_CARRIED[name]} still carries it." if name in _CARRIED else ""
    yield f"### ccxt: `{name}`"
    yield (
        f"An unmodified ccxt signs like this: it is its `{CCXT[name]}`.{last} Only its addresses are set to ours; the "
        "paths in them, which are signed, stay:"
    )
    yield block("python", _CCXT.format(id=CCXT[name], scheme=venue.scheme, authority=venue.authority))
    yield "Its calls of our operations work; those for which we have none are refused."


_CCXT: Final = """\
import os
from urllib.parse import urlsplit

import ccxt


def moved(urls):
    if isinstance(urls, dict):
        return {{name: moved(url) for name, url in urls.items()}}
    return "{scheme}://{authority}" + urlsplit(urls).path


def renamed(hosts):
    return {{name: renamed(host) for name, host in hosts.items()}} if isinstance(hosts, dict) else "{authority}"


key = {{"apiKey": os.environ["API_KEY"], "secret": os.environ["API_SECRET"]}}
exchange = ccxt.{id}({{**key, "password": os.environ.get("API_PASSPHRASE", "")}})
exchange.urls["api"] = moved(exchange.urls["api"])
if "hostnames" in exchange.urls:  # it signs the name of the host
    exchange.hostname, exchange.urls["hostnames"] = "{authority}", renamed(exchange.urls["hostnames"])"""


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


def _own_errors(row: Row | CoinbaseAdvanced, refusal: Refusal, entries: Iterable[Entry]) -> Iterator[str]:
    """Say what clients of a dialect with refusals of its own get instead."""
    more = 'the body has a `request_id` too, and `"executed": "unknown"` where that is so.'
    if not isinstance(refusal.codes[UNAUTHORIZED].body, Mapping):
        more = "`x-request-id` has the request's id, and `tradeguard-executed` says `unknown` where that is so."
    yield f"### Errors: `{row.name}`"
    yield (
        f"Requests of this dialect are refused in its own words (`{refusal.media_type}`). The field `tradeguard-code` "
        f"has the name as above; {more}"
    )
    said = ((entry, refusal.say((entry.public, entry.status, entry.text, entry.executed, None))) for entry in entries)
    rows = (
        (f"`{entry.public}`", str(status), f"`{json.dumps(_whole(body))}`", _executed(entry))
        for entry, (body, status) in said
    )
    yield table(("name", "status", "body", "executed"), rows)


def _whole(body: Mapping[str, Any] | Sequence[Any]) -> Any:
    return dict(body) if isinstance(body, Mapping) else list(body)


def _executed(entry: Entry) -> str:
    return "no" if entry.executed is False else "unknown"
