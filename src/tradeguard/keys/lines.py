"""Lines: a file of keys, CSV or JSON, read one key at a time. What is wrong with a line is told without its secrets."""

import csv
import json
from binascii import unhexlify
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, Literal, NamedTuple, TextIO, cast

from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.core.key import KeyRecord, KeyState, Material
from tradeguard.keys.codec import make_restrictions
from tradeguard.keys.credentials import read_secret
from tradeguard.keys.kind import SPOKEN, KeyKind, find_kind
from tradeguard.keys.possession import check_possession
from tradeguard.keys.text import check_time, decode_base64, parse_time
from tradeguard.signing.bearer import BEARER, BEARER_SHA256, BearerDigest
from tradeguard.signing.dialect import Dialect
from tradeguard.signing.material import HMACS, PAIRS, Hmac, make_material

Format = Literal["csv", "jsonl"]
Decrypt = Callable[[bytes, Mapping[str, str]], bytes]
_LINE: Final = 65_536  # characters
_PEM: Final = "-----BEGIN"
_LISTS: Final = ("scopes", "roles", "networks")
_TEXTS: Final = ("owner", "account", "parent", "on_behalf_of", "label", "tier", "binding", "waiver", "reason")
_TIMES: Final = ("created", "not_before", "expires")
_OTHER: Final = (
    "id", "dialect", "algorithm", "secret", "secret_sha256", "encoding", "public_key", "proof", "passphrase",
    "passphrase_hmac", "permissions", "restrictions", "state",
)  # fmt: skip
COLUMNS: Final = frozenset({*_LISTS, *_TEXTS, *_TIMES, *_OTHER})
"""What a file of keys may say of a key."""


class Line(NamedTuple):
    """A line of the file: a record, or why there is none."""

    number: int
    record: KeyRecord | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How the lines of a file become records.

    Args:
        at: now, ns UTC; durations count from it.
        defaults: columns for lines that leave them empty, such as dialect or owner.
        permissions: the venue's own names of permissions, each with the scopes it stands for.
        decrypt: turns the secret as it stands in the file (its bytes, and the whole line) into the secret as the client
            has it.
        proven: take public keys without proof of possession; else they are imported as `pending`.
        rows: the dialects that keys may have.
    """

    at: int
    defaults: Mapping[str, str] = field(default_factory=dict[str, str])
    permissions: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    decrypt: Decrypt | None = None
    proven: bool = False
    rows: Mapping[str, Dialect] = field(default_factory=lambda: SPOKEN)

    def __post_init__(self) -> None:
        for name in self.defaults:
            _known(name)


def read_lines(file: TextIO, form: Format, reading: Reading) -> Iterator[Line]:
    """Read a file of keys, line by line.

    Args:
        file: CSV with a head line (opened with newline=""), or one JSON object a line.
        form: which of the two.
        reading: how.

    Raises:
        ConfigError: the head line names a column that there is not, or the file is no text.
    """
    rows = _read_csv(file) if form == "csv" else _read_json(file)
    for number, row in rows:
        if isinstance(row, str):
            yield Line(number, None, row)
            continue
        try:
            yield Line(number, _make_record(row, reading))
        except ConfigError as error:
            yield Line(number, None, str(error))


_Row = Mapping[str, Any] | str


def _read_csv(file: TextIO) -> Iterator[tuple[int, _Row]]:
    lines = _Lines(file)
    reader = csv.DictReader(lines, strict=True)
    try:
        names = list(reader.fieldnames or ())
    except csv.Error as error:
        raise ConfigError(f"the head line is no CSV: {error}") from None
    for name in names:
        _known(name)
    if len(set(names)) != len(names):
        raise ConfigError("the head line names a column twice")
    if "id" not in names:
        raise ConfigError("the head line names no column id; write for example: id,secret,owner,scopes")
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.number, f"no CSV: {error}"
            continue
        if None in row or None in row.values():
            yield lines.number, f"it has not {len(names)} columns as the head line"
        else:
            yield lines.number, row


def _read_json(file: TextIO) -> Iterator[tuple[int, _Row]]:
    for number, text in enumerate(_Lines(file), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            yield number, f"no JSON: {str(error).partition(':')[0]}"
            continue
        if not isinstance(row, dict):
            yield number, "no JSON object"
        else:
            yield number, cast("dict[str, Any]", row)


class _Lines:
    """The lines of a file, counted; a file without line ends is no file of keys."""

    def __init__(self, file: TextIO) -> None:
        self._file, self.number = file, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number += 1
        try:
            text = self._file.readline(_LINE + 1)
        except UnicodeDecodeError as error:
            raise ConfigError(f"line {self.number} or one after it is no UTF-8 text: {error.reason}") from None
        if not text:
            raise StopIteration
        if len(text) > _LINE or "\0" in text:
            raise ConfigError(f"line {self.number} is longer than {_LINE} characters, or binary: no file of keys")
        return text.removeprefix("\ufeff") if self.number == 1 else text  # spreadsheets put it at the beginning


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _known(name: str) -> None:
    if name not in COLUMNS:
        close = get_close_matches(name, COLUMNS, 1)
        if close:
            raise ConfigError(f"there is no column {name!r}; did you mean {close[0]}?")
        # not told by name: without a head line this may be a secret
        columns = ", ".join(sorted(COLUMNS))
        raise ConfigError(
            f"a column is none of {columns}; it is not told here, as it may be a secret without a head line"
        )


def _make_record(row: Mapping[str, Any], reading: Reading) -> KeyRecord:
    for name in row:
        _known(name)
    row = {**reading.defaults, **{name: value for name, value in row.items() if value not in ("", None, [])}}
    dialect = find_kind(_text(row, "dialect") or "tg1", reading.rows)
    material, proven = _read_material(row, reading, dialect)
    fields: dict[str, Any] = {name: _text(row, name) for name in _TEXTS if name in row}
    fields |= {name: _read_list(row, name) for name in _LISTS}
    fields |= {name: _read_time(row, name, reading.at) for name in _TIMES if name in row}
    fields["scopes"] = [*fields["scopes"], *_map_permissions(row, reading)]
    fields["restrictions"] = make_restrictions(_read_object(row, "restrictions"))
    state = _text(row, "state") or ("active" if proven else "pending")
    if state == "active" and not proven:
        raise ConfigError("a public key without proof of possession is imported as pending")
    # clients who send nothing but their secret know no id
    id = _text(row, "id") or (material.id if isinstance(material, BearerDigest) else "")
    blinded = _read_passphrase(row, material)
    dialect.check_passphrase(blinded, material.algorithm)
    fields |= {"passphrase": blinded, "state": cast("KeyState", state)}
    return KeyRecord(id=id, dialect=dialect.name, material=material, **fields)


def _read_material(row: Mapping[str, Any], reading: Reading, dialect: KeyKind) -> tuple[Material, bool]:
    """Return the material of a line, and whether its holder is known to possess it."""
    if dialect.name == BEARER:
        return _read_bearer(row, reading, dialect), True
    secret, public_key = _exact(row, "secret"), _read_public_key(row)
    if _text(row, "secret_sha256"):
        raise ConfigError("secret_sha256 is for the dialect bearer; what verifies signatures is the secret itself")
    if bool(secret) == (public_key is not None):
        raise ConfigError("a line has a secret or a public_key, one of the two")
    algorithm = dialect.choose(_text(row, "algorithm"), public_key)
    if (algorithm in PAIRS) == bool(secret):
        raise ConfigError(f"a key of {', '.join(HMACS)} has a secret, one of {', '.join(PAIRS)} a public_key")
    if secret and _text(row, "state") == "pending":
        raise ConfigError("only a public key waits for a proof of possession")
    material = make_material(algorithm, _read_secret(row, reading, dialect) if public_key is None else public_key)
    if proof := _text(row, "proof"):
        drive(check_possession(_text(row, "owner"), material, _decode(proof, "base64")))
    return material, bool(secret or proof or reading.proven)


def _read_public_key(row: Mapping[str, Any]) -> bytes | None:
    """Return a public key: PEM as it stands, else its bytes."""
    text = _text(row, "public_key")
    if text.startswith(_PEM):
        return text.encode()
    return _decode(text, _text(row, "encoding") or "base64") if text else None


def _read_passphrase(row: Mapping[str, Any], material: Material) -> str:
    """Return what is kept of a passphrase; it is not kept itself."""
    passphrase, blinded = _exact(row, "passphrase"), _text(row, "passphrase_hmac")
    if passphrase and blinded:
        raise ConfigError("a line has a passphrase or its passphrase_hmac, one of the two")
    if not passphrase:
        return blinded.lower()
    if not isinstance(material, Hmac):
        raise ConfigError("only keys with a secret have a passphrase beside it")
    return material.blind(passphrase.encode()).hex()


def _read_bearer(row: Mapping[str, Any], reading: Reading, dialect: KeyKind) -> BearerDigest:
    """Return what is kept of a secret that is sent along: its digest, or that of the secret."""
    digest = _text(row, "secret_sha256")
    if bool(digest) == bool(_exact(row, "secret")) or _text(row, "public_key") or _text(row, "proof"):
        raise ConfigError("a bearer key has a secret or its secret_sha256, one of the two")
    if _text(row, "algorithm") not in ("", BEARER_SHA256):
        raise ConfigError(f"the algorithm of the dialect {BEARER} is {BEARER_SHA256}")
    if _text(row, "state") == "pending":
        raise ConfigError("only a public key waits for a proof of possession")
    if not digest:
        secret = _read_secret(row, reading, dialect)
        if b"." in secret and not _text(row, "id"):
            raise ConfigError("a secret with a dot does not find its key alone; give the key an id, or issue a new one")
        return BearerDigest.of(secret)
    value = _decode(digest, _text(row, "encoding") or "hex")
    if len(value) != 32:
        raise ConfigError("secret_sha256 is the SHA-256 of the secret: 64 hex digits, or base64 with that encoding")
    return BearerDigest(value)


def _read_secret(row: Mapping[str, Any], reading: Reading, dialect: KeyKind) -> bytes:
    """Return the key of the HMAC: by its encoding, or what `decrypt` says, read as the dialect reads secrets."""
    text, encoding = _exact(row, "secret"), _text(row, "encoding")
    if reading.decrypt is None:
        return _decode(text, encoding or dialect.secret)
    value = _decode(text, encoding or "text")
    try:
        value = reading.decrypt(value, {name: str(item) for name, item in row.items()})
        if not isinstance(value, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - it is somebody else's code
            raise TypeError
    except Exception as error:  # the venue's own code; its words may hold the secret
        raise ConfigError(f"the secret cannot be decrypted: {type(error).__name__}") from None
    return read_secret(dialect, value)


def _decode(text: str, encoding: str) -> bytes:
    try:
        match encoding:
            case "text":
                return text.encode()
            case "hex":
                return unhexlify(text)
            case "base64":
                return decode_base64(text)
            case _:
                raise ConfigError("encoding is text, hex or base64")
    except ValueError:
        raise ConfigError(f"a secret or key is not in its encoding, {encoding}") from None


def _map_permissions(row: Mapping[str, Any], reading: Reading) -> list[str]:
    scopes: list[str] = []
    for name in _read_list(row, "permissions"):
        if name not in reading.permissions:
            raise ConfigError(f"permission {name!r} stands for nothing; name its scopes in the mapping")
        scopes += reading.permissions[name]
    return scopes


def _text(row: Mapping[str, Any], name: str) -> str:
    return _exact(row, name).strip()


def _exact(row: Mapping[str, Any], name: str) -> str:
    """Return a text as it stands: a secret may begin or end with a space."""
    value = row.get(name, "")
    if not isinstance(value, str):
        raise ConfigError(f"{name} is a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{name} holds half a character") from None
    return value


def _read_list(row: Mapping[str, Any], name: str) -> list[str]:
    """Read a JSON list of texts, or texts between spaces, commas and semicolons."""
    value = row.get(name, ())
    if isinstance(value, str):
        return value.replace(",", " ").replace(";", " ").split()
    items: list[Any] = list(cast("Iterable[Any]", value)) if isinstance(value, (list, tuple)) else [None]
    if not all(isinstance(item, str) for item in items):
        raise ConfigError(f"{name} is a list of texts")
    return items


def _read_time(row: Mapping[str, Any], name: str, at: int) -> int:
    value = row[name]
    return check_time(value) if type(value) is int else parse_time(_text(row, name), at)


def _read_object(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value: Any = row.get(name, {})
    if isinstance(value, str):
        try:
            value = json.loads(value, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise ConfigError(f"{name} is a JSON object")
    return cast("dict[str, Any]", value)
