"""The journal's files as commands read them: the file and its rotated ones, their lines, the events in those."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tradeguard.cli.screen import Screen, Unusable
from tradeguard.core.event import Event
from tradeguard.keys.text import show_time

_HEAD: Final = b'{"kind":"'
_LONGEST: Final = 65_536  # bytes of a line; one of ours has less than 4,000
_LATEST: Final = 2**63  # ns UTC
_MS: Final = 1_000_000


@dataclass(slots=True)
class Record:
    """The journal on disk, read once from its oldest file to its newest; `skipped` lines are no lines of ours.

    Args:
        journal: the file; those of the same name and more, also .gz, are its rotated ones.
    """

    journal: Path
    files: list[str] = field(default_factory=list[str])
    skipped: int = 0

    def events(self, wanted: Callable[[bytes], bool]) -> Iterator[Event]:
        """Give the events of the lines that are wanted. Only those are parsed: journals are long.

        Args:
            wanted: looks at the bytes of a line.

        Raises:
            Unusable: there is no journal, or a file of it cannot be read.
        """
        for path in _files(self.journal):
            self.files.append(str(path))
            try:
                for line in _lines(path):
                    yield from self._take(line, wanted)
            except (OSError, EOFError) as error:
                raise Unusable(f"{path}: {getattr(error, 'strerror', None) or error}") from None

    def tell_skipped(self, screen: Screen) -> None:
        """Say how many lines were skipped, if any."""
        if self.skipped:
            screen.note(f"Note: {self.skipped} lines were skipped: torn, or not of this journal.")

    def _take(self, line: bytes, wanted: Callable[[bytes], bool]) -> Iterator[Event]:
        if not line.startswith(_HEAD) or not line.endswith(b"}\n"):
            self.skipped += line != b"\n"
            return
        if not wanted(line):
            return
        try:
            event = Event(**json.loads(line))
        except (ValueError, TypeError, RecursionError):
            self.skipped += 1
            return
        if _is_sound(event):
            yield event
        else:
            self.skipped += 1


def _is_sound(event: Event) -> bool:
    """Tell whether every field holds what such a field holds."""
    sound = type(event.kind) is str and type(event.at) is int and 0 <= event.at < _LATEST
    return sound and all(type(getattr(event, name)) is type(usual) for name, usual in Event._field_defaults.items())


def show_instant(at: int) -> str:
    """Write ns UTC with milliseconds."""
    return f"{show_time(at)[:-1]}.{at // _MS % 1000:03d}Z"


def _files(journal: Path) -> list[Path]:
    """Return the journal's file and the rotated ones, the oldest first."""
    if not journal.parent.is_dir():
        raise Unusable(f"{journal.parent} is no directory; name the journal with --journal")
    files = [path for path in journal.parent.iterdir() if path.name.startswith(journal.name) and path.is_file()]
    if not files:
        raise Unusable(f"there is no journal {journal}; name it with --journal")
    return sorted(files, key=lambda path: path.stat().st_mtime_ns)


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while line := file.readline(_LONGEST):
            yield line
