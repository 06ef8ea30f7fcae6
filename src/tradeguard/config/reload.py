"""Reloading: a running guard adopts the newer configuration whole, or keeps the one it has and says so."""

import logging
import os
import signal
import threading
from queue import SimpleQueue
from time import time_ns
from typing import Final

from tradeguard.config.build import FileGuard
from tradeguard.config.load import Loaded, load_settings
from tradeguard.config.settings import KEYS
from tradeguard.core.errors import ConfigError
from tradeguard.core.event import Event
from tradeguard.core.guard import Guard

_FIXED: Final = ("data", "master_key", "state", "keys", "journal")
_LONGEST: Final = 1_000  # characters of the detail of an event
_log = logging.getLogger("tradeguard")


def reload_guard(guard: Guard, path: str | os.PathLike[str] | None = None, *, actor: str = "") -> None:
    """Adopt what the configuration says now: operations, limits, roles, dialects; all of it, or nothing.

    Either way an event is recorded, `policy.adopted` or `policy.kept`. Requests in flight are decided by what they
    began with. Any thread may call this; on an event loop use `asyncio.to_thread`, since files are read.

    Args:
        guard: one that `build_guard` made.
        path: the file; the one that the guard was built from by default.
        actor: who asked for it, for the record.

    Raises:
        ConfigError: the new configuration is wrong, or changes what cannot change while running (`data`, `master_key`,
            `state`, `keys`, `journal`); the guard goes on with what it has.
    """
    if not isinstance(guard, FileGuard):
        raise ConfigError("this guard was not built from a file; call guard.adopt with what has changed")
    with guard.reloading:
        before = guard.policy_mark
        try:
            loaded = load_settings(path or guard.loaded.path, guard.environ)
            _check_fixed(guard.loaded, loaded)
            guard.follow(loaded)
        except ConfigError as error:
            _log.critical("the policy stays what it was: %s", error)
            _record(guard, "policy.kept", actor, str(error))
            raise
        _log.info("a new policy is in force: %s (before: %s)", guard.policy_mark, before)
        _record(guard, "policy.adopted", actor, f"{loaded.path}; before: {before}")


def reload_on_sighup(guard: Guard, path: str | os.PathLike[str] | None = None) -> None:
    """Reload whenever the process gets SIGHUP; a wrong configuration is logged and recorded, and changes nothing.

    Where the server owns SIGHUP (gunicorn), call `reload_guard` from an operation in the lane `admin` instead. Call
    this in every worker: threads do not survive a fork.

    Args:
        guard: one that `build_guard` made.
        path: the file; the one that the guard was built from by default.

    Raises:
        ConfigError: this is not the main thread, which is the one that Python lets handle signals.
    """
    asked: SimpleQueue[None] = SimpleQueue()
    try:
        # the signal may interrupt a thread that holds the journal's lock, so it only asks; `put` is made for that
        signal.signal(signal.SIGHUP, lambda _number, _frame: asked.put(None))
    except ValueError:
        raise ConfigError("call reload_on_sighup from the main thread: only that one handles signals") from None
    threading.Thread(target=_reload_when, args=(asked, guard, path), name="tradeguard-reload", daemon=True).start()


def _reload_when(asked: SimpleQueue[None], guard: Guard, path: str | os.PathLike[str] | None) -> None:
    while True:
        asked.get()
        try:
            reload_guard(guard, path, actor="SIGHUP")
        except ConfigError:
            continue  # logged and recorded
        except Exception:
            _log.exception("the reload failed")


def _check_fixed(old: Loaded, new: Loaded) -> None:
    """Refuse what cannot change while running, with every key that differs."""
    fixed = [key for section in _FIXED for key in KEYS if key.startswith(f"{section}.")]
    changed = [key for key in fixed if old.value(key) != new.value(key)]
    if changed:
        raise ConfigError(f"{', '.join(changed)} cannot change while running; restart to change it")


def _record(guard: FileGuard, code: str, actor: str, detail: str) -> None:
    try:
        at = guard.runtime.now()  # the clock that never steps back, where the guard has one
    except ConfigError:
        at = time_ns()
    event = Event("policy", at, proven=True, code=code, detail=detail[:_LONGEST], actor=actor, policy=guard.policy_mark)
    guard.journal.append(event)
