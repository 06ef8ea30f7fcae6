"""Bulk: many keys in from a file, and out to one, a line at a time.

The rules:

1.  A line is read strictly; one that is wrong is reported by its number with the reason, never with a secret.
2.  Lines go in by batches; a batch is stored as a whole or not at all. What is stored already is counted as present and
    left alone, so a run that was stopped is carried on by running it again.
3.  A line whose id or secret belongs to another key is reported; the rest of its batch goes in. So is one whose key no
    server would take: of a dialect whose keys must be held to networks, and without any. They cannot be added later.
4.  Nothing of the file is held but the batch, the ids, and 16 salted bytes of each secret, to find those that stand
    twice.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from tradeguard.core.errors import ConfigError, KeyConflict
from tradeguard.core.key import KeyRecord
from tradeguard.core.ports import KeyAdmin
from tradeguard.keys.codec import describe
from tradeguard.keys.issuer import Issuer
from tradeguard.keys.kind import find_kind
from tradeguard.keys.lines import Line

_FAULTS: Final = 10_000  # kept; the others are counted


class Fault(NamedTuple):
    """A line that is not imported, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class Report:
    """What an import came to: lines read, keys imported, keys that were there before, bad lines.

    `faults` are the first 10,000 bad lines.
    """

    read: int = 0
    imported: int = 0
    present: int = 0
    bad: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])

    def add_fault(self, line: int, reason: str) -> None:
        """Count a bad line, and keep why it is bad."""
        self.bad += 1
        if len(self.faults) < _FAULTS:
            self.faults.append(Fault(line, reason))


async def import_lines(
    issuer: Issuer,
    lines: Iterable[Line],
    *,
    actor: str,
    reason: str = "import",
    batch: int = 500,
    dry_run: bool = False,
    progress: Callable[[Report], object] = lambda _: None,
) -> Report:
    """Import keys (rules 1 to 4).

    Args:
        issuer: imports them.
        lines: from `read_lines`.
        actor: who imports them.
        reason: why; kept with each.
        batch: how many are stored in one step.
        dry_run: report what would be, and change nothing.
        progress: called after each batch.

    Raises:
        BackendDown: the store or the journal cannot take them now; run it again later.
    """
    if batch < 1:
        raise ConfigError("a batch has at least one key")
    report, seen, iterator = Report(), _Seen(), iter(lines)
    while chunk := list(islice(iterator, batch)):
        report.read += len(chunk)
        records: dict[int, KeyRecord] = {}
        for line in chunk:
            try:
                record = await _check_line(issuer, line, seen, actor)
            except ConfigError as error:
                report.add_fault(line.number, str(error))
            else:
                records |= {line.number: record} if record is not None else {}
                report.present += record is None
        if not dry_run:
            await _store(issuer, records, report, actor, reason)
        report.imported += len(records)
        progress(report)
    return report


async def export_records(keys: KeyAdmin, batch: int = 1000) -> AsyncIterator[dict[str, Any]]:
    """Return every key as plain fields, by id, without its secret; with `last_used` (ns UTC) where it was used."""
    after = ""
    while page := await keys.list(after, batch):
        uses = await keys.uses([record.id for record in page])
        for record in page:
            yield {**describe(record), "last_used": uses.get(record.id)}
        after = page[-1].id


class _Seen:
    """The ids and materials of a file so far, 16 salted bytes for each material."""

    def __init__(self) -> None:
        self._salt, self._lines = secrets.token_bytes(32), dict[bytes | str, int]()

    def check(self, record: KeyRecord) -> None:
        """Raise `KeyConflict` for an id or a material that a good line before has."""
        for name, what in self._names(record):
            if name in self._lines:
                raise KeyConflict(f"key {record.id}: line {self._lines[name]} has the same {what}")

    def add(self, number: int, record: KeyRecord) -> None:
        """Take note of a good line."""
        self._lines |= {name: number for name, _ in self._names(record)}

    def _names(self, record: KeyRecord) -> tuple[tuple[str | bytes, str], ...]:
        return (record.id, "id"), (record.material.fingerprint(self._salt), "secret")


async def _check_line(issuer: Issuer, line: Line, seen: _Seen, actor: str) -> KeyRecord | None:
    """Return the record of a line that is new and allowed; None for one that is stored already."""
    record = line.record
    if record is None:
        raise ConfigError(line.reason)
    seen.check(record)
    holder = await issuer.keys.holder(record.material)
    if holder == record.id:
        seen.add(line.number, record)
        return None
    if holder is not None:
        raise KeyConflict(f"key {record.id} has the secret of key {holder}")
    if await issuer.keys.find(record.id) is not None:
        raise KeyConflict(f"key {record.id} exists, with another secret")
    issuer.check_import(record, actor=actor)
    if not record.networks and find_kind(record.dialect, issuer.rows).bound:
        raise ConfigError(
            f"key {record.id}: dialect {record.dialect} leaves bodies or times unsigned, so servers refuse a key "
            "that is good from anywhere (signature.unbound); fill the column networks, such as 203.0.113.0/24"
        )
    seen.add(line.number, record)
    return record


async def _store(issuer: Issuer, records: dict[int, KeyRecord], report: Report, actor: str, reason: str) -> None:
    """Store a batch. Where one of them does not fit any more, go on one by one (rule 3)."""
    try:
        if records:
            await issuer.import_keys(list(records.values()), actor=actor, reason=reason)
    except ConfigError:
        for number, record in list(records.items()):
            try:
                await issuer.import_keys([record], actor=actor, reason=reason)
            except ConfigError as error:
                del records[number]
                report.add_fault(number, str(error))
