"""`tradeguard keys import`: the keys of an existing venue, their ids and secrets unchanged."""

import csv
import io
import json
import os
import sys
import time
import tomllib
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TextIO, cast

import click

from tradeguard.cli.desk import open_desk, open_issuer
from tradeguard.cli.options import FILE, together, with_actor, with_config, with_dry_run, with_json
from tradeguard.cli.screen import Screen, Stop, Unusable, plain
from tradeguard.cli.secret import Held, read_held, read_passphrase, warn_if_open, with_secret
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.keys.bulk import Report, import_lines
from tradeguard.keys.issuer import Issuer
from tradeguard.keys.lines import Decrypt, Format, Reading, read_lines

_SHOWN: Final = 100  # faults that are shown to people
_SUFFIXES: Final[dict[str, Format]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
_SECRETS: Final = ("secret", "passphrase")
Progress = Callable[[Report], object]


class _Column(click.ParamType[tuple[str, str]]):
    name = "column=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Read a default; a secret is none."""
        column, equals, text = str(value).partition("=")
        if not equals:
            self.fail(f"{column!r}: write column=value", param, ctx)
        if column in _SECRETS:
            self.fail("a secret never stands on the command line; see --secret-file and --passphrase-file", param, ctx)
        return column, text


_with_source: Final = together(
    click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), required=False),
    click.option(
        "--format", "form", type=click.Choice(["csv", "jsonl"]), help="What FILE is. [default: by its suffix]"
    ),
    click.option("--id", help="Import this one key, without FILE; its secret comes by one of the ways below."),
)
_with_reading: Final = together(
    click.option("--mapping", type=FILE, help="A TOML file: the venue's permissions, each with its scopes."),
    click.option(
        "--default", "defaults", type=_Column(), multiple=True, metavar="COLUMN=VALUE",
        help="For lines that leave the column empty: dialect=binance. May be given again.",
    ),
    click.option("--decrypt", metavar="MODULE:FUNCTION", help="Your function from the column to the secret."),
    click.option("--without-proof", is_flag=True, help="Take public keys as active without proof of possession."),
)  # fmt: skip


@click.command("import")
@_with_source
@_with_reading
@with_dry_run
@click.option("--skip-bad", is_flag=True, help="Import the good lines although there are bad ones.")
@click.option("--faults", type=FILE, help="Write the bad lines' numbers and reasons to this file (CSV).")
@with_secret
@click.option("--passphrase-file", type=FILE, help="A file with the passphrase of --id, in dialects that have one.")
@with_actor
@with_config
@with_json
def keys_import(
    *,
    screen: Screen,
    config: str | None,
    file: str | None,
    form: Format | None,
    id: str | None,
    actor: str,
    reason: str,
    dry_run: bool,
    skip_bad: bool,
    faults: str | None,
    secret_file: str | None,
    secret_stdin: bool,
    passphrase_file: str | None,
    **how: Any,
) -> None:
    """Take over the keys of an existing venue: their ids and secrets go on working.

    FILE is CSV with a head line, or one JSON object a line; - is stdin. It is read twice: where a line is bad, nothing
    is imported and all bad lines are told. With --skip-bad the good ones go in. An import that was stopped is carried
    on by running it again.

    Columns: id, secret or public_key, encoding (text, hex, base64), passphrase or passphrase_hmac, proof, dialect,
    algorithm, owner, account, parent, on_behalf_of, label, tier, scopes, roles, permissions (as --mapping says),
    networks, restrictions, binding, state, created, not_before, expires, reason, waiver. Only id and one of secret and
    public_key must be there, and the passphrase in dialects that have one; of that only its HMAC is kept.

    With the dialect bearer (secrets that are sent along) secret_sha256, its digest, may stand for the secret, and an
    empty id is made from it, for clients that send nothing but the secret. A secret that can be guessed is refused.
    """
    reading = _make_reading(**how)
    once = skip_bad or dry_run
    with ExitStack() as opened:
        if (id is not None and file is not None) or (id is None and passphrase_file is not None):
            raise click.UsageError("FILE, or --id with --passphrase-file where it has one; one of the two")
        if id is not None:
            kind: Format = "jsonl"
            source = _one_line(id, read_held(secret_file, secret_stdin), passphrase_file)
        else:
            source = opened.enter_context(_open_file(file, screen))
            kind = form or _guess(file)
        if not once and not source.seekable():
            raise click.UsageError("a stream cannot be read twice: say --skip-bad or --dry-run")
        desk = opened.enter_context(open_desk(config, screen))
        intake = _Intake(opened.enter_context(open_issuer(desk)), kind, reading, actor, reason or "import")
        report = intake.run(source, dry_run=dry_run or not once)
        done = once and not dry_run
        if not once and not report.bad:
            source.seek(0)
            report, done = intake.run(source, dry_run=False), True
    if faults is not None:
        _write_faults(faults, report)
    _show(screen, report, done=done)
    if report.bad:
        raise click.exceptions.Exit(1)


class _Intake:
    """One import: how lines are read, and who imports them."""

    def __init__(self, issuer: Issuer, form: Format, reading: Reading, actor: str, reason: str) -> None:
        self._issuer, self._reading = issuer, replace(reading, rows=issuer.rows)
        self._form: Format = form
        self._actor, self._reason = actor, reason

    def run(self, source: TextIO, *, dry_run: bool) -> Report:
        """Read the whole file.

        Raises:
            Stop: it was interrupted, or the store cannot take more now; the text says how far it came.
        """
        latest = Report()

        def note(report: Report) -> None:
            nonlocal latest
            latest = report
            show(report)

        lines = read_lines(source, self._form, self._reading)
        try:
            with _progress(source, "Checking" if dry_run else "Importing") as show:
                work = import_lines(
                    self._issuer, lines, actor=self._actor, reason=self._reason, dry_run=dry_run, progress=note
                )
                return drive(work)
        except (KeyboardInterrupt, BackendDown) as error:
            why = "stopped" if isinstance(error, KeyboardInterrupt) else str(error)
            raise Stop(f"{why}; {_so_far(latest, dry_run)}") from None
        except ConfigError as error:
            raise Unusable(str(error)) from None


def _so_far(report: Report, dry_run: bool) -> str:
    if dry_run:
        return "nothing was imported yet"
    return (
        f"{report.read} lines were read and {report.imported} keys imported; run it again to carry on: "
        "what is stored already is left alone"
    )


@contextmanager
def _progress(source: TextIO, label: str) -> Generator[Progress]:
    """Show a bar on stderr, where that is a terminal and the file has an end that is known."""
    if not sys.stderr.isatty() or not source.seekable() or isinstance(source, io.StringIO):
        yield lambda _report: None
        return
    descriptor = source.fileno()
    size = os.fstat(descriptor).st_size
    with click.progressbar(length=size, label=label, file=sys.stderr) as bar:
        yield lambda _report: bar.update(os.lseek(descriptor, 0, os.SEEK_CUR) - bar.pos)


@contextmanager
def _open_file(file: str | None, screen: Screen) -> Generator[TextIO]:
    if file is None:
        raise click.UsageError("name a FILE, - for stdin, or one key with --id")
    if file == "-":
        if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise click.UsageError("stdin is closed")
        yield _Stream(sys.stdin.buffer, encoding="utf-8-sig", newline="")
        return
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror}") from None
    with open(descriptor, encoding="utf-8-sig", newline="") as opened:
        warn_if_open(descriptor, file, screen)
        yield opened


class _Stream(io.TextIOWrapper):
    """Stdin: even where it is a file, it is read once only."""

    def seekable(self) -> bool:
        """Never."""
        return False


def _one_line(id: str, held: Held, passphrase_file: str | None) -> TextIO:
    """Return a file of the one key that the command line describes."""
    passphrase = read_passphrase(passphrase_file) if passphrase_file is not None else held.passphrase or ""
    try:
        line = {"id": held.choose_id(id, "--id"), "secret": held.secret.decode(), "passphrase": passphrase}
        return io.StringIO(json.dumps(line) + "\n")
    except UnicodeDecodeError:
        raise click.UsageError("the secret is no text; import it from a file, with a column encoding") from None


def _make_reading(
    mapping: str | None, defaults: tuple[tuple[str, str], ...], decrypt: str | None, without_proof: bool
) -> Reading:
    try:
        return Reading(
            at=time.time_ns(),
            defaults=dict(defaults),
            permissions=_read_mapping(mapping) if mapping is not None else {},
            decrypt=_find_function(decrypt) if decrypt is not None else None,
            proven=without_proof,
        )
    except ConfigError as error:
        raise click.UsageError(f"--default: {error}") from None


def _read_mapping(path: str) -> dict[str, list[str]]:
    """Read a mapping of permissions: each name with a scope or a list of them."""
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise Unusable(f"--mapping {path}: {error.strerror}") from None
    except ValueError as error:
        raise Unusable(f"--mapping {path}: {error}") from None
    mapping: dict[str, list[str]] = {}
    for name, value in table.items():
        scopes: list[Any] = [*value] if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]
        if not all(isinstance(scope, str) for scope in scopes):
            raise Unusable(f'--mapping {path}: {name}: write {name} = ["orders:read", "orders:write"]')
        mapping[name] = scopes
    return mapping


def _find_function(name: str) -> Decrypt:
    module, _, attribute = name.partition(":")
    sys.path.append(os.getcwd())  # last, so that nothing here can stand in for something else
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise click.UsageError(f"--decrypt {name}: {error}; write module:function") from None
    if not callable(found):
        raise click.UsageError(f"--decrypt {name}: it is no function")
    return cast("Decrypt", found)


def _guess(file: str | None) -> Format:
    form = _SUFFIXES.get(Path(file or "").suffix)
    if form is None:
        raise click.UsageError("say --format csv or --format jsonl: the file's name does not")
    return form


def _write_faults(path: str, report: Report) -> None:
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("line", "reason"))
            writer.writerows(report.faults)
    except OSError as error:
        raise Stop(f"--faults {path}: {error.strerror}") from None


def _show(screen: Screen, report: Report, *, done: bool) -> None:
    faults = [fault._asdict() for fault in report.faults]
    document = {"read": report.read, "imported": report.imported if done else 0, "present": report.present}
    document |= {"bad": report.bad, "dry_run": not done}
    lines = [f"line {line}: {plain(reason)}" for line, reason in report.faults[:_SHOWN]]
    if report.bad > len(lines):
        lines.append(f"... and {report.bad - len(lines)} more bad lines; --faults FILE writes them down")
    present = f", there already: {report.present}" if report.present else ""
    verb = "imported" if done else "that could be imported"
    end = "" if done else " Nothing was imported."
    lines.append(f"lines read: {report.read}, keys {verb}: {report.imported}{present}, bad lines: {report.bad}.{end}")
    screen.show({**document, "faults": faults}, lines)
