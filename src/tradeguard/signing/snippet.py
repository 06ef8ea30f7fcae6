"""Snippets: programs that sign, in Python and JavaScript, filled in from a row; they need their language only."""

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from tradeguard.signing.material import HMAC_SHA256
from tradeguard.signing.row import Header, Row
from tradeguard.signing.signer import Outgoing

_FILES: Final = files("tradeguard.signing").joinpath("snippets")
_MS: Final = 1_000_000
_PYTHON: Final[Mapping[str, str]] = {
    "key": "KEY", "time": "now", "nonce": "nonce", "method": "method", "authority": "HOST", "target": "target",
    "content_type": "content_type", "body_sha256": "hashlib.sha256(body).hexdigest()",
    "hex": "mac.hex()", "base64url": 'base64.urlsafe_b64encode(mac).decode().rstrip("=")',
}  # fmt: skip
_NODE: Final[Mapping[str, str]] = {
    "key": "KEY", "time": "now", "nonce": "nonce", "method": "method", "authority": "HOST", "target": "target",
    "content_type": "contentType", "body_sha256": 'createHash("sha256").update(body).digest("hex")',
    "hex": "signature", "base64url": "signature",
}  # fmt: skip


def make_snippets(row: Row, request: Outgoing, scheme: str) -> dict[str, str]:
    """Return programs that send a request with an HMAC key, by language: python, javascript.

    Args:
        row: the dialect.
        request: what they send, unsigned.
        scheme: "http" or "https".
    """
    if HMAC_SHA256 not in row.algorithms:
        return {}
    shape = "headers" if isinstance(row.time, Header) else "parameters"
    values = _values(row, request, scheme)
    found: dict[str, str] = {}
    for language, suffix, words in (("python", "py", _PYTHON), ("javascript", "mjs", _NODE)):
        known = values | _words(row, words, python=suffix == "py") | {"body": _body(request, python=suffix == "py")}
        text = _FILES.joinpath(f"{shape}.{suffix}.txt").read_text("utf-8")
        found[language] = re.sub(r"@([a-z]+)@", lambda match, known=known: known[match[1]], text)  # type: ignore[misc]
    return found


def _values(row: Row, request: Outgoing, scheme: str) -> dict[str, str]:
    """Return what stands alike in all languages."""
    target = request.target.decode()
    return {
        "host": request.authority,
        "scheme": scheme,
        "connection": "HTTPSConnection" if scheme == "https" else "HTTPConnection",
        "unit": str(row.unit),
        "now": "Date.now()" if row.unit == _MS else f"BigInt(Date.now()) * {_MS}n / {row.unit}n",
        "separator": row.separator.decode("unicode_escape").replace("\n", "\\n"),
        "encoding": row.encoding,
        "key": row.key.name.decode(),
        "time": row.time.name.decode(),
        "signature": row.signature.name.decode(),
        "bodyless": ", ".join(f'"{method}"' for method in sorted(row.bodyless)),
        "method": request.method,
        "target": target,
        "path": target.partition("?")[0],
        "parameters": target.partition("?")[2] or request.body.decode(),
    }


def _words(row: Row, words: Mapping[str, str], *, python: bool) -> dict[str, str]:
    """Return what is spelled in the language."""
    label = f'"{row.algorithms[HMAC_SHA256].decode()}"'
    fields = [(row.key, "KEY"), (row.time, "now"), (row.nonce, "nonce"), (row.signature, words[row.encoding])]
    listed = ", ".join(f'"{field.name.decode()}": {value}' for field, value in fields if field is not None)
    return {
        "parts": ", ".join({**words, "label": label}.get(part, '""') for part in row.message),
        "fields": listed if python else f" {listed} ",
        "encode": words[row.encoding],
    }


def _body(request: Outgoing, *, python: bool) -> str:
    if not request.body:
        return ""
    body = repr(request.body) if python else json.dumps(request.body.decode())
    return f', {body}, "{request.content_type.decode()}"'
