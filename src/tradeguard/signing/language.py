"""Language: how Python and JavaScript write the parts of a signed text; the snippets are made of it."""

import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tradeguard.signing.lines import find_mark, group_parts
from tradeguard.signing.message import Part, flatten
from tradeguard.signing.row import Row

_SIMPLE: Final = frozenset({
    "literal", "algorithm", "key", "time", "nonce", "width", "method", "authority", "target", "path", "query", "?query",
    "text", "content_type", "body", "form", "sha256", "sha512", "sha256hex", "sha512hex",
})  # fmt: skip
_RAW: Final = ("sha256", "sha512")


class Language(NamedTuple):
    """What a language writes for each part, `parts`, and for the steps around them."""

    name: str
    suffix: str
    modules: tuple[str, ...]
    parts: Mapping[str, str]
    forms: Mapping[str, str]
    hashed: str
    digest: Mapping[str, str]
    join: str
    concat: str
    encode: str
    signature: Mapping[str, str]
    secret: Mapping[str, str]
    encoded: str
    listed: str
    phrased: str
    phrase: str
    environ: str
    quoted: str
    nonces: Mapping[str, str]
    now: Callable[[Row], str]
    assign: Callable[[Mapping[str, str]], str]
    split: Callable[[str], str]

    def key(self, row: Row) -> str:
        """Return the key id as it is sent."""
        return f'"{row.prefix}" + KEY' if row.prefix else "KEY"


def can_write(message: tuple[Part, ...]) -> bool:
    """Tell whether all parts of a message can be written; bytes of a hash only where they are all there is."""
    parts = tuple(flatten(message))
    return {part.name for part in parts} <= _SIMPLE and not any(
        inner.name in _RAW for part in parts for inner in part.parts
    )


def write_message(row: Row, algorithm: str, language: Language) -> tuple[str, bool]:
    """Return the code that composes the signed text, and whether it makes bytes."""
    message = row.messages[0]
    raw = any(part.name in _RAW for part in message)
    groups = group_parts(message)
    codes = [_write_group(row, algorithm, language, group) for group in groups]
    if raw:
        codes = [
            code if group and group[0].name in _RAW else language.encode.format(code)
            for code, group in zip(codes, groups, strict=True)
        ]
        return (codes[0] if len(codes) == 1 else language.concat.format(", ".join(codes))), True
    if len(codes) == 1:
        return codes[0], False
    return language.join.format(mark="\\n" if find_mark(message) == b"\n" else "", parts=", ".join(codes)), False


def _write_group(row: Row, algorithm: str, language: Language, group: tuple[Part, ...]) -> str:
    if all(part.name in ("literal", "algorithm") for part in group):
        return json.dumps("".join(part.text.decode() or algorithm.upper() for part in group))
    return " + ".join(_write(row, algorithm, language, part) for part in group)


def _write(row: Row, algorithm: str, language: Language, part: Part) -> str:
    if part.name == "literal":
        return json.dumps(part.text.decode())
    if part.name == "algorithm":
        return f'"{algorithm.upper()}"'
    if part.name == "key":
        return language.key(row)
    if part.parts:
        if [one.name for one in part.parts] == ["body"]:
            inner = "body"
        else:
            inner = " + ".join(_write(row, algorithm, language, one) for one in part.parts)
            inner = language.encode.format(f"({inner})" if len(part.parts) > 1 else inner)
        kind = "hex" if part.name.endswith("hex") else "raw"
        return language.hashed.format(name=part.name.removesuffix("hex"), inner=inner) + language.digest[kind]
    query = "query"
    for form in part.forms:
        query = language.forms[form].format(query)
    return language.parts[part.name].format(query=query)


def _python_now(row: Row) -> str:
    if row.unit == "iso-s":
        return 'time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())'
    if row.unit == "iso-ms":
        return 'datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")'
    ahead = row.lifetime // 2 // row.stamp.grain
    return f"str(time.time_ns() // {row.stamp.grain}{f' + {ahead}' if ahead else ''})"


def _node_now(row: Row) -> str:
    if row.unit.startswith("iso"):
        return "new Date().toISOString()" + (".slice(0, 19)" if row.unit == "iso-s" else "")
    grain, ms = row.stamp.grain, 1_000_000
    ahead = row.lifetime // 2 // grain
    if grain == ms and not ahead:
        return "String(Date.now())"
    return f"String(BigInt(Date.now()) * {ms}n / {grain}n{f' + {ahead}n' if ahead else ''})"


def _python_assign(values: Mapping[str, str]) -> str:
    return f"{', '.join(values)} = {', '.join(values.values())}" if values else ""


def _node_assign(values: Mapping[str, str]) -> str:
    return f"const {', '.join(f'{name} = {code}' for name, code in values.items())};" if values else ""


def _python_split(mount: str) -> str:
    return 'path, _, query = target.partition("?")' + (f'; path = path.removeprefix("{mount}")' if mount else "")


def _node_split(mount: str) -> str:
    less = f".slice({len(mount)})" if mount else ""
    return f'const [path, query = ""] = target{less}.split("?");'


PYTHON: Final = Language(
    name="python",
    suffix="py",
    modules=("base64", "datetime", "hashlib", "hmac", "http.client", "os", "secrets", "time", "urllib.parse", "uuid"),
    parts={
        "time": "now", "nonce": "nonce", "width": '""', "method": "method", "authority": "HOST", "target": "target",
        "path": "path", "query": "{query}", "?query": '("?" + {query} if query else "")',
        "text": "(body.decode() or {query})", "content_type": "content_type", "body": "body.decode()",
        "form": "body.decode()",
    },
    forms={
        "decoded": "urllib.parse.unquote_plus({})", "sorted": '"&".join(sorted({}.split("&")))',
        "spaced": '{}.replace("+", "%20")',
    },
    hashed="hashlib.{name}({inner})",
    digest={"hex": ".hexdigest()", "raw": ".digest()"},
    join='"{mark}".join([{parts}])',
    concat='b"".join([{}])',
    encode="{}.encode()",
    signature={
        "hex": "mac.hex()", "base64": "base64.b64encode(mac).decode()",
        "base64url": 'base64.urlsafe_b64encode(mac).decode().rstrip("=")',
        "upper-hex": "mac.hex().upper()", "hex-in-base64": "base64.b64encode(mac.hex().encode()).decode()",
    },
    secret={"text": "SECRET.encode()", "base64": "base64.b64decode(SECRET)"},
    encoded="text.encode()",
    listed="{}",
    phrased='base64.b64encode(hmac.digest(SECRET.encode(), PASSPHRASE.encode(), "sha256")).decode()',
    phrase='PASSPHRASE = os.environ["API_PASSPHRASE"]',
    environ="",
    quoted='urllib.parse.quote({}, safe="")',
    nonces={
        "token": "secrets.token_urlsafe(16)", "free": "secrets.token_urlsafe(16)", "uuid": "str(uuid.uuid4())",
        "clock": "str(time.time_ns() // 1000000)",
    },
    now=_python_now,
    assign=_python_assign,
    split=_python_split,
)  # fmt: skip

JAVASCRIPT: Final = Language(
    name="javascript",
    suffix="mjs",
    modules=("createHash", "createHmac", "randomBytes", "randomUUID"),
    parts={
        "time": "now", "nonce": "nonce", "width": '""', "method": "method", "authority": "HOST", "target": "target",
        "path": "path", "query": "{query}", "?query": '(query && "?" + {query})', "text": "(body || {query})",
        "content_type": "contentType", "body": "body", "form": "body",
    },
    forms={
        "decoded": 'decodeURIComponent({}.replaceAll("+", " "))', "sorted": '{}.split("&").sort().join("&")',
        "spaced": '{}.replaceAll("+", "%20")',
    },
    hashed='createHash("{name}").update({inner})',
    digest={"hex": '.digest("hex")', "raw": ".digest()"},
    join='[{parts}].join("{mark}")',
    concat="Buffer.concat([{}])",
    encode="Buffer.from({})",
    signature={
        "hex": "signature", "base64": "signature", "base64url": "signature", "upper-hex": "signature.toUpperCase()",
        "hex-in-base64": 'Buffer.from(signature).toString("base64")',
    },
    secret={"text": "SECRET", "base64": 'Buffer.from(SECRET, "base64")'},
    encoded="text",
    listed=" {} ",
    phrased='createHmac("sha256", SECRET).update(PASSPHRASE).digest("base64")',
    phrase="",
    environ=", API_PASSPHRASE: PASSPHRASE",
    quoted="encodeURIComponent({})",
    nonces={
        "token": 'randomBytes(16).toString("base64url")', "free": 'randomBytes(16).toString("base64url")',
        "uuid": "randomUUID()", "clock": "String(Date.now())",
    },
    now=_node_now,
    assign=_node_assign,
    split=_node_split,
)  # fmt: skip
