"""`tradeguard explain`: a client's string-to-sign against the one that the server composes; no secret is needed."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import click

from tradeguard.cli.dialect import Dialect, read_key, with_dialect
from tradeguard.cli.options import FILE, with_json
from tradeguard.cli.screen import Screen, lay_out, plain
from tradeguard.cli.secret import BODY, read_held, read_public_key, read_small
from tradeguard.core.decision import CATALOGUE, Denial, Refused
from tradeguard.core.errors import ConfigError
from tradeguard.core.frame import canonical_path
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.core.secret import Secret
from tradeguard.signing.explain import Difference, Explanation, Verdict, verify
from tradeguard.signing.explain import explain as hold
from tradeguard.signing.material import HMACS, PAIRS, PublicKey, read_public
from tradeguard.signing.place import FIELD
from tradeguard.signing.private import find_public
from tradeguard.signing.row import Row

_AROUND: Final = 48  # characters shown before and behind a difference


@click.command("explain")
@click.argument("method")
@click.argument("url")
@click.option(
    "--text", type=FILE, help="A file with the client's string-to-sign. [default: none; the server's is shown]"
)
@with_dialect
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header as sent, also Host.")
@click.option("--data", help="The body, as text.")
@click.option("--data-file", type=FILE, help="A file with the body, byte for byte as sent.")
@click.option("--algorithm", type=click.Choice([*HMACS, *PAIRS]), help="Of the key. [default: as the signature says]")
@click.option("--secret-file", type=FILE, help="A file with the secret or private key, to verify the signature too.")
@click.option("--public-key", type=FILE, help="A file with the public key, instead.")
@with_json
def explain(screen: Screen, method: str, url: str, text: str | None, dialect: Dialect, **given: Any) -> None:
    """Find where a client's string-to-sign leaves the server's.

    METHOD, URL, headers and body are those of the request as it was sent. Exit code 0: nothing is wrong with it; 1:
    what is wrong is shown.
    """
    row = _as_row(dialect)
    request, key = _read_request(method, url, given), _read_key(given, row)
    explained, theirs = _hold(row, request, text, _algorithm(given, key, row))
    verdict = verify(row, request, explained, theirs, key) if key is not None else None
    screen.show(_describe(explained, verdict), _tell(row.name, explained, verdict, compared=text is not None))
    wrong = explained.difference or explained.refusals or explained.faults
    if wrong or (verdict is not None and not verdict.ours):
        raise click.exceptions.Exit(1)


def _as_row(dialect: Dialect) -> Row:
    if isinstance(dialect, Row):
        return dialect
    raise click.UsageError(
        f"dialect {dialect.name} signs tokens that say themselves what they are over; it has no text"
    )


def _hold(row: Row, request: Request, text: str | None, algorithm: str) -> tuple[Explanation, bytes]:
    """Hold the client's text against ours; without one, ours against itself."""
    theirs = read_small(text) if text is not None else hold(row, request, b"", algorithm).text
    return hold(row, request, theirs, algorithm), theirs


def _read_request(method: str, url: str, given: dict[str, Any]) -> Request:
    if given["data"] is not None and given["data_file"] is not None:
        raise click.UsageError("--data or --data-file, one of the two")
    body = given["data"].encode() if given["data"] is not None else b""
    body = read_small(given["data_file"], BODY) if given["data_file"] is not None else body
    scheme, authority, target = _split(url)
    fields = [_read_header(header) for header in given["headers"]]
    names = {name for name, _ in fields}
    usual = [(b"host", authority), *([(b"content-length", b"%d" % len(body))] if body else [])]
    path = ""
    with suppress(Refused):  # told with all else that is wrong
        path = canonical_path(target.partition(b"?")[0])
    return Request(
        id="",
        method=method,
        target=target,
        path=path,
        headers=Headers([*(field for field in usual if field[0] not in names), *fields]),
        peer=Peer(),
        arrived=0,
        body=body,
        scheme=scheme,
    )


def _split(url: str) -> tuple[str, bytes, bytes]:
    """Take a URL apart and spell nothing anew: whatever is odd in it is what we are here for."""
    with suppress(ValueError):
        place = urlsplit(url)
        if place.scheme in ("http", "https") and place.hostname:
            rest = url.partition("://")[2].partition("#")[0][len(place.netloc) :]
            return place.scheme, place.netloc.encode(), (rest if rest.startswith("/") else "/" + rest).encode()
    raise click.UsageError("the URL is http://host[:port]/path or https://host[:port]/path")


def _read_header(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"--header {text!r}: write 'Name: value'")
    return name.strip().lower().encode(), value.strip().encode()


def _read_key(given: dict[str, Any], row: Row) -> Secret | PublicKey | None:
    if given["secret_file"] is not None and given["public_key"] is not None:
        raise click.UsageError("--secret-file or --public-key, one of the two")
    if given["public_key"] is not None:
        return read_public(read_public_key(given["public_key"]))
    if given["secret_file"] is None:
        return None
    secret = read_held(given["secret_file"], False).secret
    try:
        key = read_key(secret, given["algorithm"], row)
        return key if isinstance(key, Secret) else find_public(key)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def _algorithm(given: dict[str, Any], key: Secret | PublicKey | None, row: Row) -> str:
    """Return the algorithm that was named, or that the key has; empty where only the text can tell."""
    known: str | None = given["algorithm"]
    found = known or ("" if key is None or isinstance(key, Secret) else key.algorithm)
    if found and found not in row.algorithms:
        raise click.UsageError(f"dialect {row.name} has no {found}; it has {', '.join(row.algorithms)}")
    return found


def _describe(explained: Explanation, verdict: Verdict | None) -> dict[str, Any]:
    found = explained.difference
    place = {} if found is None else {**found._asdict(), "ours": _text(found.ours), "theirs": _text(found.theirs)}
    return {
        "text": _text(explained.text),
        "message": explained.message,
        "lines": [{"part": part, "value": _text(value)} for part, value in explained.lines],
        "difference": place or None,
        "advice": list(explained.advice),
        "refusals": [{"code": denial.code, "detail": denial.detail} for denial in explained.refusals],
        "faults": list(explained.faults),
        "signature": verdict._asdict() if verdict is not None else None,
    }


def _tell(dialect: str, explained: Explanation, verdict: Verdict | None, *, compared: bool) -> Iterator[str]:
    yield f"What the server signs ({dialect}):"
    if len(explained.readings) > 1:
        yield f"  {plain(explained.message)}, the nearest of the {len(explained.readings)} texts that it takes"
    named = {f"{number} {part}": _text(value) or '""' for number, (part, value) in enumerate(explained.lines, 1)}
    yield from (f"  {line}" for line in lay_out({plain(name): plain(value) for name, value in named.items()}))
    if compared and explained.difference is None:
        yield "The client's text is the same, byte for byte."
    elif explained.difference is not None:
        yield from _point(explained.difference)
    yield from (f"* {advice}" for advice in explained.advice)
    yield from (line for denial in explained.refusals for line in _object(denial, told=bool(explained.faults)))
    yield from (f"* {fault}" for fault in explained.faults)
    if verdict is not None:
        yield _say(explained, verdict, compared=compared)
        yield from (f"* {advice}" for advice in verdict.advice if advice not in explained.faults)


def _point(found: Difference) -> Iterator[str]:
    """Show both lines where they part, with a caret below the first byte that differs."""
    yield f"First difference: line {found.line} ({plain(found.part)}), column {found.column}, byte {found.offset}"
    start = max(0, found.column - 1 - _AROUND)
    for name, line in (("server", found.ours), ("client", found.theirs)):
        dots = "..." if start else ""
        yield f"  {name}  {dots}{plain(_text(line[start : found.column + _AROUND]))}".rstrip()
    before = len(plain(_text(found.ours[start : found.column - 1]))) + (3 if start else 0)
    yield " " * (10 + before) + "^"


def _object(denial: Denial, *, told: bool) -> Iterator[str]:
    """Say what is refused, and in general why; not where the faults of the fields are told."""
    yield f"Refused before any signature is looked at: {denial.code}  {plain(denial.detail)}".rstrip()
    if not (told and denial.code == FIELD):
        yield f"* {CATALOGUE[denial.code].hint}"


def _say(explained: Explanation, verdict: Verdict, *, compared: bool) -> str:
    if not verdict.legible:
        return "There is no signature to verify."
    if verdict.ours and (explained.refusals or explained.faults):
        return "The signature is right, with this key. Mend what is told above."
    if verdict.ours:
        return "The signature verifies. If the request is refused all the same, look at its time, nonce and scopes."
    if verdict.theirs and explained.difference is None:
        return "The signature is over the right text, with this key, and in another spelling than the dialect has."
    whose = "the client's text, not the server's" if verdict.theirs else "neither text" if compared else "another text"
    return f"The signature does not verify: it is over {whose}."


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
