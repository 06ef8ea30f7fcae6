"""Markdown: tables and blocks of the page for customers."""

from collections.abc import Iterable, Iterator, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a `|` in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def block(language: str, text: str) -> str:
    """Return text as it is to be typed."""
    return f"```{language}\n{text}\n```"


def numbered(lines: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Return lines as rows that begin with their number."""
    for number, line in enumerate(lines, 1):
        yield str(number), line


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
