"""The application that `init` and `operations check` look at: imported as servers do it, and never served."""

import asyncio
import importlib
import inspect
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout, suppress
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final

import click

from tradeguard.adapters.openapi import read_openapi
from tradeguard.adapters.routes import Routes, list_routes
from tradeguard.cli.screen import Unusable, plain
from tradeguard.config.look import only_look
from tradeguard.core.errors import ConfigError

_CURE: Final = "start this where the server is started, or set PYTHONPATH"


def read_routes(app: str | None, openapi: str | None) -> Routes:
    """List the routes of an application, or of an OpenAPI file.

    Raises:
        Unusable: neither or both are given, or it cannot be read.
    """
    if (app is None) == (openapi is None):
        raise click.UsageError("give APP (such as app:app), or --openapi FILE")
    if app is None:
        try:
            return read_openapi(Path(str(openapi)))
        except ConfigError as error:
            raise Unusable(str(error)) from None
    module, name, call = _split(app)
    _extend_path(module)
    with _their_code(app), redirect_stdout(sys.stderr), only_look():  # what it prints is no result of ours
        found = _find(importlib.import_module(module), name)
        return _list(app, _make(app, found) if call else found)


def _split(app: str) -> tuple[str, str, bool]:
    """Return module, name, and whether it is called."""
    module, _, name = app.partition(":")
    call, name = name.endswith("()"), name.removesuffix("()")
    if not module or not all(part.isidentifier() for part in name.split(".")):
        raise click.UsageError(f"APP is module:name, such as app:app, or module:make(), not {app!r}")
    if module.endswith(".py") or "/" in module:
        dotted = module.removesuffix(".py").strip("./").removeprefix("src/").replace("/", ".")
        raise click.UsageError(f"APP is module:name, and {module} is a file; say {dotted}:{app.partition(':')[2]}")
    return module, name, call


def _extend_path(module: str) -> None:
    """Search the working directory first, as servers do; and src, last, where nothing else has the module."""
    here, top = Path.cwd(), module.partition(".")[0]
    if "" not in sys.path and str(here) not in sys.path:
        sys.path.insert(0, str(here))
    importlib.invalidate_caches()
    with suppress(ValueError):  # it is imported already, by somebody who left no trace
        if find_spec(top) is None and any((here / "src" / name).exists() for name in (top, f"{top}.py")):
            sys.path.append(str(here / "src"))


@contextmanager
def _their_code(app: str) -> Generator[None]:
    """Run code that is not ours: whatever ends it is told in a sentence, with its line.

    Raises:
        Unusable: something has.
    """
    here = Path.cwd()
    try:
        yield
    except (Unusable, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit and the like too
        raise Unusable(f"{app} cannot be imported: {_tell(error, here)}{_cure(error, app)}") from None


def _tell(error: BaseException, here: Path) -> str:
    """Say what went wrong, and in which line of the application."""
    what = plain(f"{type(error).__name__}: {error}")
    if isinstance(error, SyntaxError):
        return plain(f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}")
    frames = [frame for frame in extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    own = [frame for frame in frames if frame.filename.startswith(str(here)) and "site-packages" not in frame.filename]
    shown = (own or frames)[-1:]
    return "".join(f"{plain(frame.filename)}, line {frame.lineno}: " for frame in shown) + what


def _is_theirs(file: str) -> bool:
    return file != __file__ and not file.startswith("<frozen") and file != importlib.__file__


def _cure(error: BaseException, app: str) -> str:
    module = app.partition(":")[0]
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return f"; {_CURE}"
    if isinstance(error, ConfigError) and "tradeguard init" in str(error):
        return "; it reads a configuration while it is imported: `tradeguard init` without APP writes one to begin with"
    return ""


def _find(found: Any, name: str) -> Any:
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            close = get_close_matches(part, [known for known in dir(found) if not known.startswith("_")], 1)
            raise AttributeError(f"{error}{f'; did you mean {close[0]}?' if close else ''}") from None
    return found


def _make(app: str, found: Any) -> object:
    """Call what makes the application; where it is a coroutine function, run it."""
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise Unusable(
            f"{app} cannot be called: {plain(str(error))}; leave () out where it is the application itself, else name "
            "a function that takes nothing"
        ) from None
    made = found()
    return asyncio.run(made) if inspect.iscoroutine(made) else made


def _list(app: str, found: object) -> Routes:
    try:
        return list_routes(found)
    except ConfigError as error:
        raise Unusable(f"{error}{_hint(app, found)}") from None


def _hint(app: str, found: Any) -> str:
    """Return what to say of a function that may make the application."""
    with suppress(TypeError, ValueError):
        if inspect.isroutine(found) and not app.endswith("()"):
            inspect.signature(found).bind()
            return f". If it is a function that makes the application, say {app}()"
    return ""
