"""A row as it is written down: what stands in TOML or JSON -> Row, and Row -> what stands there.

The keys are the fields of `tradeguard.signing.row.Row`, with their meaning and their defaults. A place is a table of
one key, such as `{ header = "X-ACME-KEY" }`; a duration is a text, such as "30s".
"""

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final, cast, get_args

from tradeguard.core.credential import Window
from tradeguard.core.errors import ConfigError
from tradeguard.signing.algorithm import HMACS, PAIRS
from tradeguard.signing.bearer import BEARER
from tradeguard.signing.coinbase_advanced import NAME as COINBASE
from tradeguard.signing.encoding import SPELLINGS, compile_spellings
from tradeguard.signing.place import KINDS, Place
from tradeguard.signing.refusal import Refusal, Said
from tradeguard.signing.row import Nonce, Passphrase, Row
from tradeguard.signing.rows import ROWS
from tradeguard.signing.stamp import STAMPS
from tradeguard.signing.table import (
    JSON,
    PRINTABLE,
    Fault,
    Kind,
    Member,
    Path,
    Wrong,
    as_table,
    choice,
    duration,
    either,
    listed,
    named,
    near,
    read_members,
    schema_of,
    struct,
    text,
    whole,
    wrong,
)

TAKEN: Final = (*ROWS, COINBASE, BEARER)
"""The names that a row of one's own cannot have."""
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_DAY: Final = 86_400_000_000_000
_HOUR: Final = _DAY // 24
_WIDEST_NONCE: Final = 4_096
_FIELD_NAME: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # RFC 9110, 5.6.2
_WORD: Final = r"[A-Za-z0-9_.\[\]-]+"
_OF_PLACES: Final = {  # a name that could never be found is refused
    "header": text(_FIELD_NAME, "the name of a header field", lambda name: name.lower().encode()),
    "parameter": text(_WORD, "the name of a parameter", str.encode),
    "field": text(_WORD, "the name of a field of the body", str.encode),
    "auth": text(r"[a-z_]{1,32}", "the name of a parameter of Authorization, in lower case", str.encode),
    "payload": text(_WORD, "the name of a member of the payload", str.encode),
}


class RowError(ConfigError):
    """A row that was written down is wrong. It carries every fault, each with the path of its key."""

    def __init__(self, name: str, faults: tuple[Fault, ...]) -> None:
        lines = [f"  {_dot(fault.path)}{': ' * bool(fault.path)}{fault.text}" for fault in faults]
        super().__init__("\n".join([f"dialect {_dot((name,))}: {len(faults)} fault{'s' * (len(faults) > 1)}", *lines]))
        self.faults = faults


def read_row(name: str, written: object) -> Row:
    """Return the row that a table describes.

    Args:
        name: of the dialect.
        written: the table, as TOML or JSON have it.

    Raises:
        RowError: everything that is wrong with it.
    """
    try:
        _check_name(name)
        values = read_members(_MEMBERS, written, ())
        return _build(name, values)
    except Wrong as error:
        raise RowError(name, error.faults) from None


def read_document(document: Mapping[str, Any]) -> dict[str, Row]:
    """Return the rows of a document of their own: `[dialects.acme]` as in the configuration, or one with its `name`.

    Raises:
        RowError: a row in it is wrong.
        ConfigError: there is none.
    """
    rows = document.get("dialects")
    if isinstance(rows, Mapping):
        return {name: read_row(name, row) for name, row in cast("Mapping[str, Any]", rows).items()}
    name = document.get("name")
    if not isinstance(name, str):
        raise ConfigError('it describes no dialect: write [dialects.acme] above it, or name = "acme" into it')
    return {name: read_row(name, {key: value for key, value in document.items() if key != "name"})}


def write_row(row: Row) -> dict[str, Any]:
    """Return what `read_row` makes the same row of; what is as by default is left out."""
    given = {field.name: (getattr(row, field.name), _default(field)) for field in fields(Row) if field.name in _MEMBERS}
    made = f'{row.name} realm="api"'
    return {
        name: _MEMBERS[name].kind.write(value)
        for name, (value, default) in given.items()
        if value != default and not (name == "challenge" and value == made)
    }


def row_schema() -> dict[str, Any]:
    """Return the JSON Schema of a row."""
    return schema_of(_MEMBERS)


def _check_name(name: str) -> None:
    if name in TAKEN:
        raise wrong((), "a built-in dialect has this name; take another")
    if not _NAME.fullmatch(name):
        raise wrong((), "a dialect is named by a to z, 0 to 9 and -, a letter first, at most 32")


def _build(name: str, values: Mapping[str, Any]) -> Row:
    try:
        row = Row(name=name, **values)
        compile_spellings(row)
    except ConfigError as error:
        raise wrong((), str(error).removeprefix(f"dialect {name}: ")) from None
    return row


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _place(*words: str) -> Kind:
    """Where a field stands: a table of one key."""
    example = f'{{ {words[0]} = "..." }}'

    def read(value: Any, path: Path) -> Place:
        table = as_table(value, path)
        if len(table) != 1:
            raise wrong(path, f"must be a table of one key, {' or '.join(words)}, such as {example}")
        [(word, name)] = table.items()
        if word not in words:
            said = "only a header will do" if words == ("header",) else f"must be {' or '.join(words)}"
            raise wrong((*path, word), said + near(word, words))
        return KINDS[word](_OF_PLACES[word].read(name, (*path, word)))

    def write(place: Place) -> dict[str, str]:
        return {_word(place): place.name.decode()}

    properties = {word: _OF_PLACES[word].schema for word in words}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return Kind(read, write, {**schema, "minProperties": 1, "maxProperties": 1})


def _placed(key: str, kind: Kind, *words: str) -> Kind:
    """A place with something beside it, as a pair."""
    place = _place(*words)

    def read(value: Any, path: Path) -> tuple[Place, Any]:
        table = dict(as_table(value, path))
        if key not in table:
            raise wrong((*path, key), "missing")
        beside = table.pop(key)
        return place.read(table, path), kind.read(beside, (*path, key))

    def write(pair: tuple[Place, Any]) -> dict[str, Any]:
        return {**place.write(pair[0]), key: kind.write(pair[1])}

    properties = {**place.schema["properties"], key: kind.schema}
    return Kind(read, write, {"type": "object", "properties": properties, "required": [key], "minProperties": 2})


def _word(place: Place) -> str:
    return next(word for word, kind in KINDS.items() if isinstance(place, kind))


def _read_body(value: Any, path: Path) -> Any:
    if not isinstance(value, (dict, list)):
        raise wrong(path, "must be a table or a list")
    return JSON.read(value, path)


def _dot(path: Path) -> str:
    return ".".join(part if isinstance(part, str) and part.isprintable() else json.dumps(part) for part in path)


_EVERYWHERE: Final = tuple(KINDS)
_LINE: Final = text(PRINTABLE, "a line of ASCII")
_TITLE: Final = text(r"[^\x00-\x1f\x7f]*", "a line")
_PATH: Final = text(r"/[!-~]*", "a path that begins with /")
_TEXT: Final = text()
_MESSAGE: Final = text(r"[^\ud800-\udfff]*", "a text in which no character is half of one (a surrogate)")
_METHODS: Final = listed(text(r"[A-Z]{1,24}", "a method in capitals"), frozenset)
_SAID: Final = struct(
    {
        "status": Member(whole(200, 599), "The status; that of the denial by default."),
        "body": Member(Kind(_read_body, JSON.write, {"type": ["object", "array"]}), "The body.", needed=True),
    },
    Said,
    lambda said: {"status": said.status or None, "body": said.body},
)
_STATUS: Final = text(r"[45][0-9]{2}", "a status, such as 403", int)
_REFUSE: Final = struct(
    {
        "media_type": Member(text(r"[!-~][ -~]*", "a media type"), "Of the body.", needed=True),
        "codes": Member(named(_LINE, _SAID), "By public code; one for `unauthorized` is needed.", needed=True),
        "statuses": Member(named(_STATUS, _SAID), "By status."),
        "unknown": Member(_SAID, "It may have been carried out.", needed=True),
        "rejected": Member(_SAID, "Everything else below 500.", needed=True),
        "down": Member(_SAID, "Everything else.", needed=True),
    },
    Refusal,
    lambda refusal: {
        name: getattr(refusal, name) for name in ("media_type", "codes", "statuses", "unknown", "rejected", "down")
    },
)
_WINDOW: Final = struct(
    {
        "past": Member(duration(_DAY), "Back: without a time how long a message is remembered.", needed=True),
        "future": Member(duration(_HOUR), "Ahead.", needed=True),
    },
    Window,
    Window._asdict,
)
_PHRASE_ALONE: Final = _place("header")


def _read_phrase(value: Any, path: Path) -> Passphrase:
    return Passphrase(place=_PHRASE_ALONE.read(value, path))


def _write_phrase(phrase: Passphrase) -> Any:
    return _PHRASE_ALONE.write(phrase.place)


def _take_phrase(phrase: Passphrase) -> dict[str, Any]:
    return {"place": phrase.place, "version": phrase.version}


def _has_version(value: object) -> bool:
    """Tell whether a passphrase is written with `place` and `version`, and not as a place alone."""
    if isinstance(value, Passphrase):
        return value.version is not None
    return isinstance(value, Mapping) and not value.keys().isdisjoint(("place", "version"))


_PASSPHRASE: Final = either(
    struct(
        {
            "place": Member(_place("header"), "Where it stands.", needed=True),
            "version": Member(_place("header"), "The header that says how it is sent."),
        },
        Passphrase,
        _take_phrase,
    ),
    Kind(_read_phrase, _write_phrase, _PHRASE_ALONE.schema),
    _has_version,
)
_MEMBERS: Final[Mapping[str, Member]] = {
    "title": Member(_TITLE, "As people call it."),
    "docs": Member(_TITLE, "Where the venue describes it."),
    "challenge": Member(_LINE, "As WWW-Authenticate says it; made from the name by default."),
    "algorithms": Member(
        named(choice(*HMACS, *PAIRS), choice(*SPELLINGS), 1),
        'The algorithms that a key may have, each with the spelling of its signature: `{ "hmac-sha256" = "hex" }`.',
        needed=True,
    ),
    "message": Member(
        either(listed(_MESSAGE, least=1), _MESSAGE, lambda value: isinstance(value, (list, tuple))),
        'The signed text, such as `"{time}{method}{target}{body}"`; or several, of which one must verify.',
        needed=True,
    ),
    "secret": Member(choice("text", "base64"), "How a client's secret becomes the HMAC key: as it stands, or decoded."),
    "key": Member(_place(*_EVERYWHERE), 'Where the key id is: `{ header = "X-ACME-KEY" }`.', needed=True),
    "prefix": Member(_LINE, "What stands before the key id."),
    "signature": Member(_place(*_EVERYWHERE), "Where the signature is.", needed=True),
    "time": Member(_place(*_EVERYWHERE), "Where the time is."),
    "nonce": Member(_place(*_EVERYWHERE), "Where the nonce is."),
    "unit": Member(choice(*STAMPS), "Of the time and of a client's window."),
    "window": Member(_WINDOW, 'How far the time may be off: `{ past = "5s", future = "1s" }`.', needed=True),
    "lifetime": Member(duration(_HOUR), "The time is when the message expires, at most so far ahead."),
    "form": Member(choice(*get_args(Nonce)), "Of the nonce: `clock` is a clock's reading that rises."),
    "nonce_width": Member(whole(1, _WIDEST_NONCE), "Of a nonce that rises: how many of the highest are kept apart."),
    "width": Member(_place("header", "parameter"), "Where a client may give its own past window."),
    "widest": Member(duration(_HOUR), "The cap of that."),
    "passphrase": Member(_PASSPHRASE, "Where a second secret is."),
    "scheme": Member(
        text(_FIELD_NAME, "a scheme of Authorization", lambda name: name.lower().encode()),
        "Of Authorization, for `auth`.",
    ),
    "payload": Member(_place("header"), "The header that carries a JSON object in base64, for `payload`."),
    "binds": Member(
        listed(_placed("is", choice("path", "tail", "nonce"), "parameter", "field", "auth", "payload")),
        'Fields that say the same as the request: `[{ payload = "request", is = "path" }]`.',
    ),
    "constants": Member(
        listed(_placed("value", text(PRINTABLE, "a line of ASCII", str.encode), *_EVERYWHERE)),
        'Further fields that clients send, for the signer: `[{ header = "X-ACME-VERSION", value = "2" }]`.',
    ),
    "mount": Member(
        text(r"(?:/[!->@-~]*)?", "a path that begins with /"),
        "Where the signed paths begin: they are signed without it, and without their slash where it ends in one.",
    ),
    "body": Member(choice("any", "json", "form", "both", "none", "repeat"), "What a body is."),
    "bodyless": Member(_METHODS, "Methods that carry no body."),
    "foreign": Member(
        listed(text(_WORD, "the name of a parameter", str.encode), frozenset), "Parameters that no request has."
    ),
    "logins": Member(listed(_PATH, frozenset), "Paths that no request has: what is signed for them is a login."),
    "refuse": Member(_REFUSE, "How a refusal looks; problem+json by default."),
    "clock": Member(named(_TEXT, JSON), "What the ready operation `time` answers."),
}
