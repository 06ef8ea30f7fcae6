"""`tradeguard init`: a configuration, a data directory and a master key; all of it, or nothing."""

import json
import os
import re
import shlex
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import click

from tradeguard.backends.sqlite import SQLiteKeys
from tradeguard.cli.desk import own_environment
from tradeguard.cli.options import with_json
from tradeguard.cli.screen import Screen, Stop, Unusable, lay_out
from tradeguard.config import SAMPLE, json_schema
from tradeguard.config.suggest import suggest, write_rows
from tradeguard.core.drive import drive
from tradeguard.core.errors import ConfigError
from tradeguard.keys.sealed import SealedKeys
from tradeguard.secrets.master import load_master_keys, make_master_key
from tradeguard.secrets.sealer import LocalSealer

_NAME: Final = "tradeguard.toml"
_SCHEMA: Final = "tradeguard.schema.json"
_REFERENCE: Final = re.compile(r"(file|mount|env|systemd):.+")
_NO_PATH: Final = re.compile(r"[A-Za-z]+:")  # a reference with a typo: it must not become the name of a file
_OPERATIONS: Final = re.compile(r'^"[A-Z]+ /.*\n?', re.MULTILINE)
_SOURCE: Final = re.compile(r'^source = ".*"$', re.MULTILINE)


@click.command("init")
@click.argument("app", required=False)
@click.option("--openapi", type=click.Path(dir_okay=False), help="An OpenAPI file instead of the application.")
@click.option("--directory", type=click.Path(file_okay=False), default=".", show_default=True, help="Where to write.")
@click.option(
    "--master-key",
    metavar="PATH|REFERENCE",
    help="Where to make the master key, or where it is: file:/path, mount:/path, env:NAME or systemd:NAME. "
    "[default: ~/.config/tradeguard/<name of the directory>.key]",
)
@with_json
def init(screen: Screen, app: str | None, openapi: str | None, directory: str, master_key: str | None) -> None:
    """Write a configuration, a data directory and a master key.

    With APP (module:name as servers name it, or module:make()) or an OpenAPI file, the map is suggested from its
    routes: guesses by method and name, each marked for review. Without, it is that of an example.

    Nothing is overwritten. Keep a copy of the master key, apart from the data: without it no key can be used again.
    """
    folder = Path(directory).absolute()
    data, file = folder / "data", folder / _NAME
    new_key, source = _place(master_key, folder)
    if os.path.lexists(file):
        raise Stop(f"{file} exists; it is never overwritten. `tradeguard config check` looks it over")
    _check_master_key(new_key, source, data)
    text, noted = _write_sample(source, app, openapi)
    with ExitStack() as undo:
        try:
            _make_folder(folder, 0o755, undo)
            _make_folder(data, 0o700, undo)
            if new_key is not None:
                _make_folder(new_key.parent, 0o700, undo)
                make_master_key(new_key)
                undo.callback(_remove, new_key)
            if not os.path.lexists(folder / _SCHEMA):
                _write(folder / _SCHEMA, json.dumps(json_schema(), indent=2) + "\n", undo)
            _write(file, text, undo)
        except OSError as error:
            raise Stop(f"{error.filename or file}: {error.strerror}; nothing was left behind") from None
        undo.pop_all()
    made = {"config": str(file), "data": str(data), "master_key": source}
    for note in noted:
        screen.note(note)
    screen.show(made, _tell(file, data, source, made=new_key is not None, here=folder == Path.cwd()))


def _place(master_key: str | None, folder: Path) -> tuple[Path | None, str]:
    """Return where to make a master key (None: it is there already), and the reference to it."""
    if master_key is not None and _REFERENCE.fullmatch(master_key):
        return None, master_key
    if master_key is not None and _NO_PATH.match(master_key):
        raise Unusable(
            "--master-key: a reference is file:/path, mount:/path, env:NAME or systemd:NAME; where the path of a file "
            "has a colon, begin it with ./"
        )
    path = Path(master_key).absolute() if master_key is not None else _usual_place(folder)
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder / "data")):
        raise Unusable(f"{path} lies in the data directory, so a copy of that would open itself; name another path")
    return path, f"file:{path}"


def _usual_place(folder: Path) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", folder.resolve().name).lstrip(".") or "tradeguard"
    home = os.environ.get("XDG_CONFIG_HOME")
    try:
        settings = Path(home) if home else Path.home() / ".config"
    except RuntimeError:
        raise Unusable("this user has no home; say where to make the master key: --master-key PATH") from None
    return settings.absolute() / "tradeguard" / f"{name}.key"


def _check_master_key(new_key: Path | None, source: str, data: Path) -> None:
    """Refuse a master key that is not the one of the keys that are there.

    Raises:
        Stop: saying which one is needed.
    """
    if new_key is not None and os.path.lexists(new_key):
        raise Stop(f"{new_key} exists; to use it say --master-key file:{new_key}, to make another name another path")
    try:
        _hold_against(data / "keys.db", None if new_key is not None else source)
    except ConfigError as error:
        raise Stop(str(error)) from None


def _hold_against(database: Path, source: str | None) -> None:
    """Open what the database has sealed with the master key of a reference; None is a new key."""
    keys = SQLiteKeys(database) if os.path.lexists(database) else None
    with ExitStack() as opened:
        if keys is not None:
            opened.callback(keys.close)
        sealed = keys is not None and (drive(keys.keep("box")) or drive(keys.page("", 1)))
        if source is None and sealed:
            raise ConfigError(
                f"{database} was sealed under a master key that is not here, and no other opens it: restore the old "
                "one, and name it with --master-key file:/path"
            )
        if source is not None and (sealed or source.startswith("file:")):
            master_keys = load_master_keys(source, own_environment())
            if keys is not None and sealed:
                drive(SealedKeys(keys, LocalSealer(master_keys)).unlock())


def _make_folder(folder: Path, mode: int, undo: ExitStack) -> None:
    """Make a folder and those above it that are missing."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is no directory")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=mode)
        undo.callback(_remove, path)


def _write(path: Path, content: str, undo: ExitStack) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    undo.callback(_remove, path)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def _write_sample(source: str, app: str | None, openapi: str | None) -> tuple[str, list[str]]:
    """Return the configuration, and what has to be said about it."""
    text = _fill_in(source)
    if app is None and openapi is None:
        return text, []
    from tradeguard.cli.application import read_routes  # noqa: PLC0415 - where there is an application to look at
    from tradeguard.cli.routes import list_sockets  # noqa: PLC0415 - the same

    routes = read_routes(app, openapi)
    sockets = list_sockets(routes)
    suggestions = suggest([*routes.http, *sockets.http])
    unmapped = [f"{entry.where}: {entry.why}" for entry in [*routes.unmapped, *sockets.unmapped]]
    head, rows = _OPERATIONS.subn("", text)
    assert rows, "the sample has rows"
    held = sum(not suggestion.left_out for suggestion in suggestions)
    note = (
        f"Review [operations]: its {held} rows are guesses. {len(suggestions) - held + len(unmapped)} more stand in "
        "comments, and are refused."
    )
    return head + write_rows(suggestions, unmapped), [note]


def _fill_in(source: str) -> str:
    line = f"source = {json.dumps(source, ensure_ascii=False)}"
    text, times = _SOURCE.subn(lambda _: line, SAMPLE)
    assert times == 1, "the sample names one master key"
    return text


def _tell(file: Path, data: Path, source: str, *, made: bool, here: bool) -> list[str]:
    config = "" if here else f" --config {shlex.quote(str(file))}"
    return [
        *lay_out({"configuration": str(file), "data": str(data), "master key": source}),
        "",
        "The master key is new. Keep a copy of it, apart from the data." if made else "The master key was there.",
        "Next:",
        f"  tradeguard config check{config}",
        f"  tradeguard keys new --owner acme --role trader{config}",
    ]
