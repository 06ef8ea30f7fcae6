"""Table: values as TOML and JSON have them, each kind with how it is read, how it is written, and its JSON Schema.

Reading is strict and goes on after a fault, so that all of them are told at once, each with the path of its key.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, cast

from tradeguard.core.errors import ConfigError

Path = tuple[str | int, ...]
_DEEPEST: Final = 16
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8}|0)(ms|s|m|h|d)", re.ASCII)
_NS: Final = {"d": 86_400_000_000_000, "h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000}
PRINTABLE: Final = r"[ -~]*"
_STRING: Final = {"type": "string"}


class Fault(NamedTuple):
    """One thing that is wrong: the path of its key, and what to change."""

    path: Path
    text: str


class Wrong(Exception):
    """A value is not of its kind. It carries every fault in it."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(fault.text for fault in faults))
        self.faults = faults


class Kind(NamedTuple):
    """One kind of value.

    `read` takes what the file has and its path, and raises `Wrong`; `write` turns the value into that again; `schema`
    is its JSON Schema.
    """

    read: Callable[[Any, Path], Any]
    write: Callable[[Any], Any]
    schema: Mapping[str, Any]


class Member(NamedTuple):
    """One key of a table, and what it means. A key that may be left out has the default of what is built from it."""

    kind: Kind
    about: str
    needed: bool = False


def wrong(path: Path, text: str) -> Wrong:
    """Return what to raise where a value is not of its kind."""
    return Wrong(Fault(path, text))


def text(
    pattern: str = r"[^\x00]*", says: str = "a text without NUL (U+0000)", read: Callable[[str], Any] = str
) -> Kind:
    """A text of a pattern; `says` names what it should be, `read` what is made of it."""
    whole = re.compile(pattern)

    def check(value: Any, path: Path) -> Any:
        if not isinstance(value, str) or not whole.fullmatch(value):
            raise wrong(path, f"must be {says}")
        return read(value)

    def write(value: Any) -> str:
        return value.decode() if isinstance(value, bytes) else str(value)

    return Kind(check, write, {**_STRING, "pattern": f"^(?:{pattern})$"})


def choice(*names: str) -> Kind:
    """One of some words."""
    listed = ", ".join(f'"{name}"' for name in names)

    def read(value: Any, path: Path) -> str:
        if not isinstance(value, str) or value not in names:
            raise wrong(path, f"must be one of {listed}{near(str(value), names)}")
        return value

    return Kind(read, str, {"enum": list(names)})


def whole(least: int, most: int) -> Kind:
    """A whole number."""

    def read(value: Any, path: Path) -> int:
        if type(value) is not int or not least <= value <= most:
            raise wrong(path, f"must be a whole number from {least} to {most}")
        return value

    return Kind(read, int, {"type": "integer", "minimum": least, "maximum": most})


def duration(most: int) -> Kind:
    """A duration such as "30s", "500ms" or "5m", in ns, up to `most`."""

    def read(value: Any, path: Path) -> int:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None or int(match[1]) * _NS[match[2]] > most:
            raise wrong(path, f'must be a duration such as "30s", "500ms" or "5m", and at most {_write_duration(most)}')
        return int(match[1]) * _NS[match[2]]

    return Kind(read, _write_duration, {**_STRING, "pattern": f"^(?:{_DURATION.pattern})$"})


def listed(kind: Kind, of: Callable[[Iterable[Any]], Any] = tuple, least: int = 0) -> Kind:
    """A list of one kind; `of` makes of it what is kept."""

    def read(value: Any, path: Path) -> Any:
        if not isinstance(value, (list, tuple)) or len(cast("Sequence[Any]", value)) < least:
            raise wrong(path, "must be a list" + (", and not empty" if least else ""))
        return of(gather(lambda pair: kind.read(pair[1], (*path, pair[0])), enumerate(cast("Sequence[Any]", value))))

    def write(value: Iterable[Any]) -> list[Any]:
        items = sorted(value) if isinstance(value, frozenset) else value
        return [kind.write(item) for item in items]

    return Kind(read, write, {"type": "array", "items": kind.schema, "minItems": least})


def either(one: Kind, other: Kind, is_one: Callable[[Any], bool]) -> Kind:
    """One kind or another; `is_one` tells by what is written, and by what is kept, which it is."""

    def read(value: Any, path: Path) -> Any:
        return (one if is_one(value) else other).read(value, path)

    def write(value: Any) -> Any:
        return (one if is_one(value) else other).write(value)

    return Kind(read, write, {"anyOf": [one.schema, other.schema]})


def named(key: Kind, kind: Kind, least: int = 0) -> Kind:
    """A table whose keys are of one kind, and its values of another."""

    def read(value: Any, path: Path) -> dict[Any, Any]:
        table = as_table(value, path)
        if len(table) < least:
            raise wrong(path, "must not be empty")
        return dict(
            gather(
                lambda pair: (key.read(pair[0], (*path, pair[0])), kind.read(pair[1], (*path, pair[0]))),
                table.items(),
            )
        )

    def write(value: Mapping[Any, Any]) -> dict[str, Any]:
        return {key.write(name): kind.write(inner) for name, inner in value.items()}

    schema = {"type": "object", "propertyNames": key.schema, "additionalProperties": kind.schema}
    return Kind(read, write, schema)


def struct(members: Mapping[str, Member], build: Callable[..., Any], take: Callable[[Any], Mapping[str, Any]]) -> Kind:
    """A table of fixed keys.

    Args:
        members: its keys.
        build: makes of them what is kept.
        take: gives back the values of the keys; those that are None are not written.
    """

    def read(value: Any, path: Path) -> Any:
        given = read_members(members, value, path)
        try:
            return build(**given)
        except ConfigError as error:
            raise wrong(path, str(error)) from None

    def write(value: Any) -> dict[str, Any]:
        return {name: members[name].kind.write(inner) for name, inner in take(value).items() if inner is not None}

    return Kind(read, write, schema_of(members))


def read_members(members: Mapping[str, Member], value: Any, path: Path) -> dict[str, Any]:
    """Return the values of a table of fixed keys.

    Raises:
        Wrong: every key that is none of them, is missing, or has a value of another kind.
    """
    table = as_table(value, path)

    def one(name: str) -> tuple[str, Any]:
        if name not in members:
            raise wrong((*path, name), "no such key" + near(name, members))
        if name not in table:
            raise wrong((*path, name), f"missing; {members[name].about}")
        return name, members[name].kind.read(table[name], (*path, name))

    needed = [name for name, member in members.items() if member.needed and name not in table]
    return dict(gather(one, [*table, *needed]))


def schema_of(members: Mapping[str, Member]) -> dict[str, Any]:
    """Return the JSON Schema of a table of fixed keys."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {**member.kind.schema, "description": member.about} for name, member in members.items()},
        "required": [name for name, member in members.items() if member.needed],
    }


def _read_json(value: Any, path: Path) -> Any:
    _check_json(value, path, _DEEPEST)
    return value


def _check_json(value: Any, path: Path, depth: int) -> None:
    if isinstance(value, dict) and depth:
        for name, inner in cast("dict[str, Any]", value).items():
            _check_json(inner, (*path, name), depth - 1)
    elif isinstance(value, list) and depth:
        for place, inner in enumerate(cast("Sequence[Any]", value)):
            _check_json(inner, (*path, place), depth - 1)
    elif not (value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))):
        raise wrong(path, f"must be JSON: texts, numbers, lists and tables, at most {_DEEPEST} deep")


def _plain(value: Any) -> Any:
    """Return JSON in the types that it is read as."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in cast("Iterable[Any]", value)]
    return value


JSON: Final = Kind(_read_json, _plain, {})
"""Whatever JSON can say."""


def near(name: str, names: Iterable[str]) -> str:
    """Return a half sentence that names the nearest right name; empty where none is near."""
    found = get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def gather(read: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Read all items, also behind one that is wrong.

    Raises:
        Wrong: every fault of them.
    """
    values: list[Any] = []
    faults: list[Fault] = []
    for item in items:
        try:
            values.append(read(item))
        except Wrong as error:
            faults += error.faults
    if faults:
        raise Wrong(*faults)
    return values


def as_table(value: Any, path: Path) -> Mapping[str, Any]:
    """Return a table.

    Raises:
        Wrong: it is none.
    """
    if not isinstance(value, Mapping):
        raise wrong(path, "must be a table")
    return cast("Mapping[str, Any]", value)


def _write_duration(value: int) -> str:
    unit = next((unit for unit, size in _NS.items() if value and not value % size), "s")
    return f"{value // _NS[unit]}{unit}"
