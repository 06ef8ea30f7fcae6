"""`tradeguard explain`: a client's string-to-sign against the one that the server composes; no secret is needed."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import click

from tradeguard.cli.options import FILE, with_json
from tradeguard.cli.screen import Screen, lay_out, plain
from tradeguard.cli.secret import make_private_key, read_public_key, read_secret, read_small
from tradeguard.core.decision import CATALOGUE, Denial, Refused
from tradeguard.core.frame import canonical_path
from tradeguard.core.request import Headers, Peer, Request
from tradeguard.core.secret import Secret
from tradeguard.signing.explain import Difference, Explanation, Verdict, verify
from tradeguard.signing.explain import explain as hold
from tradeguard.signing.material import ED25519, HMAC_SHA256, Ed25519
from tradeguard.signing.rows import ROWS

_AROUND: Final = 48  # characters shown before and behind a difference


@click.command("explain")
@click.argument("method")
@click.argument("url")
@click.option("--text", type=FILE, required=True, help="A file with the client's string-to-sign.")
@click.option("--dialect", type=click.Choice(list(ROWS)), default="tg1", show_default=True, help="How it is signed.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header as sent, also Host.")
@click.option("--data", help="The body, as text.")
@click.option("--data-file", type=FILE, help="A file with the body, byte for byte as sent.")
@click.option("--algorithm", type=click.Choice([HMAC_SHA256, ED25519]), help="Of the key. [default: as the text says]")
@click.option("--secret-file", type=FILE, help="A file with the secret or private key, to verify the signature too.")
@click.option("--public-key", type=FILE, help="A file with the public key, instead.")
@with_json
def explain(screen: Screen, method: str, url: str, text: str, dialect: str, **given: Any) -> None:
    """Find where a client's string-to-sign leaves the server's.

    METHOD, URL, headers and body are those of the request as it was sent. Exit code 0: nothing is wrong with it; 1:
    what is wrong is shown.
    """
    row, theirs = ROWS[dialect], read_small(text)
    request = _read_request(method, url, given)
    key = _read_key(given)
    explained = hold(row, request, theirs, _algorithm(given, key, dialect))
    verdict = verify(row, request, explained, theirs, key) if key is not None else None
    screen.show(_describe(explained, verdict), _tell(dialect, explained, verdict))
    if explained.difference or explained.refusals or (verdict is not None and not verdict.ours):
        raise click.exceptions.Exit(1)


def _read_request(method: str, url: str, given: dict[str, Any]) -> Request:
    if given["data"] is not None and given["data_file"] is not None:
        raise click.UsageError("--data or --data-file, one of the two")
    body = given["data"].encode() if given["data"] is not None else b""
    body = read_small(given["data_file"]) if given["data_file"] is not None else body
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


def _read_key(given: dict[str, Any]) -> Secret | Ed25519 | None:
    if given["secret_file"] is not None and given["public_key"] is not None:
        raise click.UsageError("--secret-file or --public-key, one of the two")
    if given["public_key"] is not None:
        return Ed25519(read_public_key(given["public_key"]))
    if given["secret_file"] is None:
        return None
    secret = read_secret(given["secret_file"], False)
    if given["algorithm"] == ED25519 or secret.startswith(b"-----BEGIN"):
        return Ed25519(make_private_key(secret).public_key().public_bytes_raw())
    return Secret(secret)


def _algorithm(given: dict[str, Any], key: Secret | Ed25519 | None, dialect: str) -> str:
    """Return the algorithm that was named, or that the key has; empty where only the text can tell."""
    known: str | None = given["algorithm"]
    found = known or (ED25519 if isinstance(key, Ed25519) else "")
    if found and found not in ROWS[dialect].algorithms:
        raise click.UsageError(f"dialect {dialect} has no {found}; it has {', '.join(ROWS[dialect].algorithms)}")
    return found


def _describe(explained: Explanation, verdict: Verdict | None) -> dict[str, Any]:
    found = explained.difference
    place = {} if found is None else {**found._asdict(), "ours": _text(found.ours), "theirs": _text(found.theirs)}
    return {
        "text": _text(explained.text),
        "lines": [{"part": part, "value": _text(value)} for part, value in explained.lines],
        "difference": place or None,
        "advice": list(explained.advice),
        "refusals": [{"code": denial.code, "detail": denial.detail} for denial in explained.refusals],
        "signature": verdict._asdict() if verdict is not None else None,
    }


def _tell(dialect: str, explained: Explanation, verdict: Verdict | None) -> Iterator[str]:
    yield f"What the server signs ({dialect}):"
    named = {f"{number} {part}": _text(value) or '""' for number, (part, value) in enumerate(explained.lines, 1)}
    yield from (f"  {line}" for line in lay_out({plain(name): plain(value) for name, value in named.items()}))
    if explained.difference is None:
        yield "The client's text is the same, byte for byte."
    else:
        yield from _point(explained.difference)
    yield from (f"* {advice}" for advice in explained.advice)
    yield from (line for denial in explained.refusals for line in _object(denial))
    if verdict is not None:
        yield _say(verdict)
        yield from (f"* {advice}" for advice in verdict.advice)


def _point(found: Difference) -> Iterator[str]:
    """Show both lines where they part, with a caret below the first byte that differs."""
    yield f"First difference: line {found.line} ({plain(found.part)}), column {found.column}, byte {found.offset}"
    start = max(0, found.column - 1 - _AROUND)
    for name, line in (("server", found.ours), ("client", found.theirs)):
        dots = "..." if start else ""
        yield f"  {name}  {dots}{plain(_text(line[start : found.column + _AROUND]))}".rstrip()
    before = len(plain(_text(found.ours[start : found.column - 1]))) + (3 if start else 0)
    yield " " * (10 + before) + "^"


def _object(denial: Denial) -> Iterator[str]:
    yield f"Refused before any signature is looked at: {denial.code}  {plain(denial.detail)}".rstrip()
    yield f"* {CATALOGUE[denial.code].hint}"


def _say(verdict: Verdict) -> str:
    if verdict.ours:
        return "The signature verifies. If the request is refused all the same, look at its time, nonce and scopes."
    whose = "the client's text, not the server's" if verdict.theirs else "neither text"
    return f"The signature does not verify: it is over {whose}."


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
