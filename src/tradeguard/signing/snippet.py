"""Snippets: programs that sign, in Python and JavaScript, filled in from a row; they need their language only.

A row of headers has one if its message is made of parts that a line of code can write; a row of parameters, if they are
signed in a query or a form. Rows that carry fields in JSON, in a payload or in Authorization have none.
"""

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final, NamedTuple

from tradeguard.signing.algorithm import HMACS
from tradeguard.signing.language import JAVASCRIPT, PYTHON, Language, can_write, write_message
from tradeguard.signing.row import Header, Parameter, Row
from tradeguard.signing.signer import Outgoing

_FILES: Final = files("tradeguard.signing").joinpath("snippets")


class _Made(NamedTuple):
    """What a program is made from."""

    row: Row
    algorithm: str
    request: Outgoing
    language: Language


def make_snippets(row: Row, request: Outgoing, scheme: str) -> dict[str, str]:
    """Return programs that send a request with an HMAC key, by language: python, javascript; none for some rows.

    Args:
        row: the dialect.
        request: what they send, unsigned.
        scheme: "http" or "https".
    """
    algorithm = next((name for name in row.algorithms if name in HMACS), "")
    shape = _find_shape(row)
    if not algorithm or not shape:
        return {}
    found: dict[str, str] = {}
    for language in (PYTHON, JAVASCRIPT):
        made = _Made(row, algorithm, request, language)
        known = _values(made, scheme) | _words(made)
        text = _FILES.joinpath(f"{shape}.{language.suffix}.txt").read_text("utf-8")
        text = re.sub(r"(?m)^ *@([a-z]+)@\n", lambda match, known=known: _block(match, known), text)  # type: ignore[misc]
        text = re.sub(r"@([a-z]+)@", lambda match, known=known: known[match[1]], text)  # type: ignore[misc]
        used = [name for name in language.modules if re.search(rf"(?<![\w-]){re.escape(name)}[.(]", text)]
        found[language.name] = text.replace("$modules$", ", ".join(used))
    return found


def _block(match: "re.Match[str]", known: Mapping[str, str]) -> str:
    """Return a line of its own, or nothing at all where it is empty."""
    return match[0].replace(f"@{match[1]}@", known[match[1]]) if known[match[1]] else ""


def _find_shape(row: Row) -> str:
    """Return which template expresses a row; empty for none."""
    parameters = {place for place in row.places if isinstance(place, Parameter)}
    plain = {place for place in row.places if isinstance(place, Header)} | parameters == set(row.places)
    if not plain or row.binds or not can_write(row.messages[0]):
        return ""
    if not parameters:
        return "headers"
    if not row.in_text or not isinstance(row.time, Parameter) or row.nonce is not None:
        return ""
    if not {*row.algorithms.values()} <= {"hex", "base64", "base64url"}:
        return ""
    if "form" not in row.parts:
        return "query"
    return "parameters" if {part.name for part in row.messages[0]} == {"query", "form"} else ""


def _values(made: _Made, scheme: str) -> dict[str, str]:
    """Return what stands alike in all languages."""
    row, request = made.row, made.request
    path, _, query = request.target.decode().partition("?")
    return {
        "host": request.authority,
        "scheme": scheme,
        "connection": "HTTPSConnection" if scheme == "https" else "HTTPConnection",
        "hash": made.algorithm.removeprefix("hmac-"),
        "encoding": "hex" if "hex" in row.algorithms[made.algorithm] else row.algorithms[made.algorithm],
        "key": row.key.name.decode(),
        "time": row.time.name.decode() if row.time is not None else "",
        "signature": row.signature.name.decode(),
        "bodyless": "".join(f'"{method}", ' for method in sorted(row.bodyless)).rstrip(
            " " if len(row.bodyless) == 1 else ", "
        ),
        "method": request.method,
        "target": request.target.decode(),
        "path": path,
        "parameters": query or ("" if _find_shape(row) == "query" else request.body.decode()),
    }


def _words(made: _Made) -> dict[str, str]:
    """Return what is spelled in the language."""
    row, language = made.row, made.language
    encoded = language.signature[row.algorithms[made.algorithm]]
    fields = {**_fields(made), row.signature.name.decode(): encoded} if not row.in_text else _fields(made)
    listed = ", ".join(f'"{name}": {value}' for name, value in fields.items())
    text, raw = write_message(row, made.algorithm, language)
    body = ""
    if made.request.body and _find_shape(row) != "parameters":
        body = repr(made.request.body) if language is PYTHON else json.dumps(made.request.body.decode())
        body = f', {body}, "{made.request.content_type.decode()}"'
    return {
        "text": text,
        "bytes": "text" if raw else language.encoded,
        "secret": language.secret[row.secret],
        "fields": language.listed.format(listed),
        "encode": encoded,
        "body": body,
        "when": _when(made),
        "now": language.now(row),
        "split": _split(made),
        "phrase": language.phrase if row.passphrase is not None else "",
        "environ": language.environ if row.passphrase is not None else "",
        "added": ", ".join(_added(made)),
    }


def _fields(made: _Made) -> dict[str, str]:
    """Return the header fields beside the signature, each with its code."""
    row, language = made.row, made.language
    values = {row.key: language.key(row)}
    values |= {row.time: "now"} if row.time is not None else {}
    values |= {row.nonce: "nonce"} if row.nonce is not None else {}
    values |= {place: f'"{value.decode()}"' for place, value in row.constants}
    if row.passphrase is not None:
        version = row.passphrase.version
        values |= {row.passphrase.place: language.phrased if version is not None else "PASSPHRASE"}
        values |= {version: '"2"'} if version is not None else {}
    return {place.name.decode(): code for place, code in values.items() if isinstance(place, Header)}


def _when(made: _Made) -> str:
    """Return the line that reads the clock and draws the nonce."""
    row, language = made.row, made.language
    made_of = {"now": language.now(row)} if row.time is not None else {}
    made_of |= {"nonce": language.nonces[row.form]} if row.nonce is not None else {}
    return language.assign(made_of)


def _split(made: _Made) -> str:
    """Return the line that takes a target apart, where parts of it are signed."""
    names = made.row.parts & {"path", "query", "text"}
    return made.language.split(made.row.mount) if names else ""


def _added(made: _Made) -> list[str]:
    """Return the parameters that a row of a query adds."""
    row, language = made.row, made.language
    fields = [(row.key, "KEY"), *((place, f'"{value.decode()}"') for place, value in row.constants)]
    fields.append((row.time or row.key, language.quoted.format("now")))
    return [f'"{place.name.decode()}=" + {code}' for place, code in fields if isinstance(place, Parameter)]
