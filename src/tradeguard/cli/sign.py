"""`tradeguard sign curl | sign possession | curl`: what a client does, with a real key."""

import json
import re
import shlex
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

import click
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tradeguard.cli.dialect import Dialect, read_key, with_dialect
from tradeguard.cli.options import FILE, together, with_json
from tradeguard.cli.screen import Screen, Stop, lay_out, plain
from tradeguard.cli.secret import (
    BODY,
    make_private_key,
    read_held,
    read_passphrase,
    read_small,
    with_key,
    with_secret,
)
from tradeguard.core.errors import ConfigError
from tradeguard.core.secret import Secret
from tradeguard.keys.possession import possession_text
from tradeguard.signing.coinbase_advanced import CoinbaseSigner
from tradeguard.signing.encoding import encode_base64url
from tradeguard.signing.material import ED25519, HMACS, PAIRS
from tradeguard.signing.message import FORM
from tradeguard.signing.private import PrivateKey, find_public, sign
from tradeguard.signing.row import Field, Row
from tradeguard.signing.signer import Outgoing, Signer

_PORTS: Final = {"http": 80, "https": 443}
_TIMEOUT: Final = 30.0  # seconds
_SECOND: Final = 1_000_000_000
_METHOD: Final = re.compile(r"[A-Za-z]{1,24}", re.ASCII)
_FIELD: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_OWN: Final = ("host", "content-length", "transfer-encoding")
_OURS: Final = ("tg_live_ed25519_", "tg_test_ed25519_")


class Asked(NamedTuple):
    """A request as the command line describes it. `file` is where its body is, if it is in one."""

    scheme: str
    request: Outgoing
    file: str | None


_with_request: Final = together(
    click.argument("method"),
    click.argument("url"),
    with_key,
    with_dialect,
    click.option(
        "--algorithm", type=click.Choice([*HMACS, *PAIRS]),
        help="What it signs with. [default: what its id or a PEM says, else the dialect's HMAC]",
    ),
    click.option("--passphrase-file", type=FILE, help="A file with the passphrase, for dialects that have one."),
    click.option("--data", help="The body, as text."),
    click.option("--data-file", type=FILE, help="A file with the body."),
    click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header. May be given again."),
    with_secret,
    with_json,
)  # fmt: skip


@click.command("curl")
@_with_request
def sign_curl(screen: Screen, **given: Any) -> None:
    """Print a curl command that sends a signed request.

    The signature is good for some seconds, and once. The secret is no part of it; a passphrase is, where the dialect
    sends one along. The secret file holds what the venue gave out: the text, a PEM, or what `keys new --secret-out`
    wrote. A body with a Content-Type other than the dialect's usual one (JSON or a form) takes --header.
    """
    asked, dialect = _read_request(**given), given["dialect"]
    signed = _sign(asked.request, dialect, given)
    words = _curl_words(asked, signed)
    seconds = dialect.window.past / _SECOND
    screen.show(_describe(asked, signed) | {"curl": words}, shlex.join(words))
    if not screen.as_json and sys.stdout.isatty():
        screen.note(f"Good for {seconds:g} s; pipe it into sh to send it at once.")


@click.command("curl")
@_with_request
def curl(screen: Screen, **given: Any) -> None:
    """Send a signed request and show the answer.

    Exit code 0: it was answered with a status below 400; 1: with another, or not at all. Redirects are not followed.
    """
    asked = _read_request(**given)
    signed = _sign(asked.request, given["dialect"], given)
    status, headers, body = _send(asked.scheme, signed)
    request_id = headers.get("x-request-id", "")
    document = {"status": status, "request_id": request_id, "headers": headers, "body": body.decode(errors="replace")}
    screen.show(document, _tell(status, request_id, headers, body))
    if status >= 400:
        raise click.exceptions.Exit(1)


@click.command("possession")
@click.option("--owner", required=True, help="Who will hold the key, as the venue calls them.")
@click.option("--private-key", type=FILE, required=True, help="A file: PEM, or 32 bytes in base64.")
@with_json
def sign_possession(screen: Screen, owner: str, private_key: str) -> None:
    """Prove the possession of a private key, of Ed25519, RSA or P-256.

    Prints a signature for `keys new --proof`, good for this owner only. The private key stays where it is.
    """
    key = make_private_key(read_small(private_key).strip())
    public_key = find_public(key).reveal()
    proof = encode_base64url(sign(key, possession_text(owner, public_key))).decode()
    screen.show({"owner": owner, "public_key": encode_base64url(public_key).decode(), "proof": proof}, proof)


def _read_request(
    method: str, url: str, data: str | None, data_file: str | None, headers: tuple[str, ...], dialect: Dialect, **_: Any
) -> Asked:
    if data is not None and data_file is not None:
        raise click.UsageError("--data or --data-file, one of the two")
    if not _METHOD.fullmatch(method):
        raise click.UsageError(f"{method!r} is no method; write GET or POST")
    place = _split(url)
    body = data.encode() if data is not None else read_small(data_file, BODY) if data_file is not None else b""
    fields = [_read_header(header) for header in headers]
    given = dict(fields).get(b"content-type")
    usual = FORM if _takes_forms(dialect) else b"application/json"
    content_type = given if given is not None else usual if body else b""
    rest = tuple(field for field in fields if field[0] != b"content-type")
    authority = place.netloc.lower().removesuffix(f":{_PORTS[place.scheme]}")
    target = (place.path or "/") + (f"?{place.query}" if "?" in url.partition("#")[0] else "")
    return Asked(
        place.scheme, Outgoing(method.upper(), authority, target.encode(), content_type, body, rest), data_file
    )


def _split(url: str) -> SplitResult:
    """Take a URL apart; whatever a client might spell anew before it sends it is refused."""
    if not url.isascii() or not url.isprintable() or any(char in ' "<>\\^`{|}' for char in url):
        raise click.UsageError("the URL has characters that must be percent-encoded")
    with suppress(ValueError):  # a port or an address that is none
        place = urlsplit(url)
        if place.scheme in _PORTS and place.hostname and "@" not in place.netloc and place.port != 0:
            return place
    raise click.UsageError("the URL is http://host[:port]/path or https://host[:port]/path")


def _read_header(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not colon or not _FIELD.fullmatch(name) or not (value.isascii() and value.isprintable()):
        raise click.UsageError(f"--header {text!r}: write 'Name: value'")
    if name.lower() in _OWN:
        raise click.UsageError(f"--header {name}: it follows from the URL and the body")
    return name.lower().encode(), value.strip().encode()


def _takes_forms(dialect: Dialect) -> bool:
    """Tell whether a body is a form unless something else is said."""
    if not isinstance(dialect, Row):
        return False
    return dialect.body == "form" or "form" in dialect.parts or (dialect.body != "json" and _in_body(dialect))


def _in_body(row: Row) -> bool:
    return any(isinstance(place, Field) for place in row.places)


def _sign(request: Outgoing, dialect: Dialect, given: dict[str, Any]) -> Outgoing:
    held = read_held(given["secret_file"], given["secret_stdin"])
    id = held.choose_id(given["key"])
    passphrase = held.passphrase if given["passphrase_file"] is None else read_passphrase(given["passphrase_file"])
    try:
        key = read_key(held.secret, given["algorithm"] or (ED25519 if id.startswith(_OURS) else None), dialect)
        return _make_signer(dialect, id, key, passphrase).sign(request, time.time_ns())
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def _make_signer(
    dialect: Dialect, id: str, key: Secret | PrivateKey, passphrase: str | None
) -> Signer | CoinbaseSigner:
    if not isinstance(dialect, Row):
        if isinstance(key, Secret | RSAPrivateKey):
            raise ConfigError(f"dialect {dialect.name} has {', '.join(dialect.algorithms)}; give a private key as PEM")
        return dialect.make_signer(id, key)
    if (dialect.passphrase is None) == (passphrase is not None):
        need = "has no passphrase; name the key's own with --dialect, or leave --passphrase-file out"
        need = need if passphrase else "has a passphrase: --passphrase-file"
        raise ConfigError(f"dialect {dialect.name} {need}")
    return Signer(dialect, id, key, passphrase)


def _fields(signed: Outgoing) -> dict[str, str]:
    kind = [(b"content-type", signed.content_type)] if signed.content_type else []
    return {name.decode(): value.decode() for name, value in (*kind, *signed.headers)}


def _describe(asked: Asked, signed: Outgoing) -> dict[str, Any]:
    url = f"{asked.scheme}://{signed.authority}{signed.target.decode()}"
    return {"method": signed.method, "url": url, "headers": _fields(signed)}


def _curl_words(asked: Asked, signed: Outgoing) -> list[str]:
    """Return the words of a curl command that sends exactly what was signed."""
    known = _describe(asked, signed)
    method = ["--head"] if signed.method == "HEAD" else ["--request", signed.method]
    words = ["curl", "--globoff", "--path-as-is", *method]
    for name, value in known["headers"].items():
        words += ["--header", f"{name}: {value}" if value else f"{name};"]
    if signed.body and not signed.content_type:
        words += ["--header", "content-type:"]  # curl would add one of its own
    if signed.body and asked.file is not None and signed.body == asked.request.body:
        words += ["--data-binary", f"@{asked.file}"]
    elif signed.body:
        words += ["--data-raw", signed.body.decode(errors="surrogateescape")]
    return [*words, known["url"]]


def _send(scheme: str, signed: Outgoing) -> tuple[int, dict[str, str], bytes]:
    kind = HTTPSConnection if scheme == "https" else HTTPConnection
    connection = kind(signed.authority, timeout=_TIMEOUT)
    try:
        connection.connect()
    except OSError as error:
        raise Stop(f"{scheme}://{signed.authority} cannot be reached: {error}") from None
    try:
        connection.putrequest(signed.method, signed.target.decode(), skip_host=True, skip_accept_encoding=True)
        connection.putheader("host", signed.authority)
        for name, value in _fields(signed).items():
            connection.putheader(name, value)
        if signed.body:
            connection.putheader("content-length", str(len(signed.body)))
        connection.endheaders(signed.body or None)
        answer: HTTPResponse = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read(BODY)
    except (OSError, HTTPException) as error:
        raise Stop(f"{scheme}://{signed.authority} gave no answer: {error}; look whether it was carried out") from None
    finally:
        connection.close()


def _tell(status: int, request_id: str, headers: dict[str, str], body: bytes) -> list[str]:
    head = f"HTTP {status}  request {plain(request_id) or '-'}"
    text = body.decode(errors="replace")
    if headers.get("content-type", "").startswith("application/problem+json"):
        with suppress(ValueError):
            problem: Any = json.loads(text)
            if isinstance(problem, dict):
                members = cast("dict[str, Any]", problem)
                return [head, *lay_out({plain(name): plain(str(value)) for name, value in members.items()})]
    return [head, *(plain(line) for line in text.splitlines())]
