"""Lines: a signed text taken apart, each piece of it with a name: a line, a parameter, or a part of the message."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from tradeguard.signing.message import Facts, Part, bare, compile_message

_PARAMETERS: Final = frozenset({"query", "form"})


class Line(NamedTuple):
    """A piece of a signed text: its name, where it begins, and the one part of the message that it is, if so."""

    name: str
    start: int
    value: bytes
    part: Part | None


def find_mark(message: tuple[Part, ...]) -> bytes:
    """Return what stands between the pieces of a message: & between parameters, a newline, or nothing."""
    if {part.name for part in message} <= _PARAMETERS:
        return b"&"
    return b"\n" if any(part.name == "literal" and b"\n" in part.text for part in message) else b""


def take_apart(message: tuple[Part, ...], facts: Facts) -> tuple[Line, ...]:
    """Return the pieces of a composed text, in order: parameters where it is nothing else, lines where it has them."""
    mark = find_mark(message)
    if mark == b"&":
        return tuple(_by_parameter(message, compile_message(message)(facts)))
    groups = group_parts(message)
    lines: list[Line] = []
    start = 0
    for group in groups:
        value = compile_message(group)(facts)
        varying = [part for part in group if part.name != "literal"]
        name = " ".join(name_part(part) for part in varying) or "literal"
        lines.append(Line(name, start, value, varying[0] if len(varying) == 1 else None))
        start += len(value) + len(mark)
    return tuple(lines)


def name_part(part: Part) -> str:
    """Return what a part is called: a hash by what it is over."""
    if part.name == "algorithm":
        return "label"
    if part.parts:
        inner = [name_part(one) for one in part.parts if one.name != "literal"]
        return "_".join([*inner, part.name.removesuffix("hex")])
    return f"{part.name}({part.argument})" if part.argument else bare(part.name)


def group_parts(message: tuple[Part, ...]) -> list[tuple[Part, ...]]:
    """Return the parts of each line; of a message without lines each part."""
    if find_mark(message) != b"\n":
        return [(part,) for part in message]
    groups: list[list[Part]] = [[]]
    for part in message:
        if part.name != "literal":
            groups[-1].append(part)
            continue
        first, *others = part.text.split(b"\n")
        groups[-1] += [Part("literal", first)] if first else []
        groups += [[Part("literal", text)] if text else [] for text in others]
    return [tuple(group) for group in groups]


def _by_parameter(message: tuple[Part, ...], text: bytes) -> Iterator[Line]:
    start = 0
    for parameter in text.split(b"&"):
        name = parameter.partition(b"=")[0].decode("ascii", "backslashreplace")
        yield Line(name, start, parameter, message[0])
        start += len(parameter) + 1
