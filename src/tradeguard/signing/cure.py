"""Cure: what the author of a row would write, if all clients of a venue do what the row does not say.

Only rows of one's own are written: for a dialect of the table nothing is said here, its clients are to follow it.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from tradeguard.core.errors import ConfigError
from tradeguard.signing.message import Part, write_part
from tradeguard.signing.row import Row
from tradeguard.signing.rows import ROWS

Changes = Mapping[str, Any]
"""Fields of a row, each with the value that would take the request; empty where no row could."""


def tell_cure(row: Row, changes: Changes) -> tuple[str, ...]:
    """Say how the row takes what a client did, or why no row can; nothing for a dialect of the table.

    Args:
        row: the dialect.
        changes: what would stand in it.
    """
    if not changes or row.name in ROWS:
        return ()
    said = " and ".join(f"{name} = {_write(value)}" for name, value in changes.items())
    try:
        replace(row, **changes)
    except ConfigError as error:
        why = str(error).removeprefix(f"dialect {row.name}: ")
        return (f"If the venue's clients all do this: a row cannot say {said} ({why}).",)
    return (f"If the venue's clients all do this, the row says {said}.",)


def write_message(parts: tuple[Part, ...]) -> str:
    """Return the notation of a message, as `read_message` reads it."""
    return "".join(map(write_part, parts))


def exchange(row: Row, message: tuple[Part, ...], other: tuple[Part, ...]) -> Changes:
    """Return the change that puts another message in the place of one of a row's."""
    text = write_message(other)
    if isinstance(row.message, str):
        return {"message": text}
    at = row.messages.index(message)
    return {"message": (*row.message[:at], text, *row.message[at + 1 :])}


def _write(value: object) -> str:
    """Write a value as TOML has it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_write, cast('tuple[object, ...]', value)))}]"
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        return f"{{ {', '.join(f'{_write(name)} = {_write(member)}' for name, member in members.items())} }}"
    return json.dumps(value, ensure_ascii=False)
