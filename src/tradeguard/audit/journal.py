"""Journal: events as JSON lines in one file, appended by the thread that has them.

Guarantee: when `append` returns, the line has been handed to the operating system: it survives the death of the
process. With `sync=True` the ticket is done once the line is on the disk: it survives the death of the machine. Several
processes may append to one file. Where the disk is full or broken the ticket says so, and when it works again a `gap`
line counts what is missing.

What strangers cause has a byte budget of its own; beyond it their refusals are counted, and a `strangers` line says how
many of which kind.
"""

import json
import logging
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quote
from pathlib import Path
from typing import Final

from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.event import WRITTEN, Event, Written
from tradeguard.core.ports import Colour, Ticket

_LINE: Final = "{" + ",".join(f'"{name}":%s' for name in Event._fields) + "}\n"
_STRANGER_LINE: Final = 1024
_MINUTE: Final = 60_000_000_000
_log = logging.getLogger("tradeguard")


def encode(event: Event) -> bytes:
    """Return an event as one line of JSON, in ASCII."""
    kind, at, request_id, proven, status, *texts = event
    fields = (quote(kind), at, quote(request_id), "true" if proven else "false", status, *map(quote, texts))
    return (_LINE % fields).encode("ascii")


class Journal:
    """Appends events to a file.

    Args:
        path: the file; made with mode 0600 where it does not exist. Its folder must.
        sync: tickets wait for the disk; lines that wait together share one `fdatasync`.
        stranger_bytes: bytes per minute for what strangers cause, before it is only counted.

    Raises:
        ConfigError: the file cannot be opened for appending.
    """

    colour: Colour = "instant"

    def __init__(self, path: str | os.PathLike[str], *, sync: bool = False, stranger_bytes: int = 65_536) -> None:
        self.path = Path(path)
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"journal {self.path}: {error.strerror}; name a file in a folder that exists") from None
        self._lock = threading.Lock()
        self._torn, self._lost = _is_torn(self._file), 0
        self._stranger_bytes, self._left, self._latest, self._ends = stranger_bytes, stranger_bytes, 0, _MINUTE
        self._counts: Counter[str] = Counter()
        self._syncer = _Syncer(self._file) if sync else None
        renew = weakref.WeakMethod(self._renew)
        os.register_at_fork(after_in_child=lambda: (method := renew()) is not None and method())

    def append(self, event: Event, /) -> Ticket:
        """Write an event, or count it where it is a stranger's and the budget is spent."""
        line = encode(event)
        if not event.proven and len(line) > _STRANGER_LINE:
            line = encode(event._replace(path=event.path[:32], detail=event.detail[:32]))
        with self._lock:
            if event.at > self._latest:
                self._turn(event.at)
            if not event.proven:
                self._left -= len(line)
                if self._left < 0:
                    self._counts[event.code] += 1
                    return WRITTEN
            return self._write(line, event.at)

    def count(self, code: str, at: int, /) -> None:
        """Count a refusal of a stranger; written when its minute is over, or by `flush`."""
        with self._lock:
            self._turn(at)
            self._counts[code] += 1

    def flush(self) -> None:
        """Write out the counts."""
        with self._lock:
            self._write_counts(self._latest)

    def close(self) -> None:
        """Write out the counts and close the file."""
        self.flush()
        if self._syncer is not None:
            self._syncer.close()
        os.close(self._file)

    def _renew(self) -> None:
        """Begin anew in a forked child: a lock may have been held there, and threads do not come along."""
        self._lock = threading.Lock()
        if self._syncer is not None:
            self._syncer = _Syncer(self._file)

    def _turn(self, at: int) -> None:
        """Take note of the time; a new minute writes the counts of the last one, and gives strangers their bytes."""
        if at >= self._ends:
            self._write_counts(at)
            self._left, self._ends = self._stranger_bytes, (at // _MINUTE + 1) * _MINUTE
        self._latest = max(self._latest, at)

    def _write_counts(self, at: int) -> None:
        if self._counts:
            counts = json.dumps(self._counts, separators=(",", ":"))
            self._write(encode(Event("strangers", at, detail=counts)), at)
            if not self._lost:  # else they are tried again with the next minute
                self._counts.clear()

    def _write(self, line: bytes, at: int) -> Ticket:
        if self._torn or self._lost:
            gap = encode(Event("gap", at, detail=f"{self._lost} lines missing")) if self._lost else b""
            line = b"\n" * self._torn + gap + line
        try:
            if os.write(self._file, line) < len(line):
                self._torn = True
                raise OSError(28, "the disk took only a part of the line")
        except OSError as error:
            if not self._lost:
                _log.critical("journal %s: %s; orders are refused until it can be written", self.path, error)
            self._lost += 1
            return Written(BackendDown(f"journal {self.path}: {error.strerror}"))
        if self._lost:
            _log.warning("journal %s can be written again; %d lines are missing", self.path, self._lost)
        if self._torn or self._lost:
            self._torn, self._lost = False, 0
        return self._syncer.ticket() if self._syncer is not None else WRITTEN


class _Batch:
    """The shared ticket of the lines that one sync takes to the disk."""

    __slots__ = ("_callbacks", "_done", "_error", "_lock")

    def __init__(self) -> None:
        self._done, self._lock = threading.Event(), threading.Lock()
        self._callbacks: list[Callable[[], object]] = []
        self._error: BackendDown | None = None

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def then(self, callback: Callable[[], object], /) -> None:
        with self._lock:
            if not self.done:
                self._callbacks.append(callback)
                return
        callback()

    def wait(self) -> None:
        self._done.wait()
        if self._error is not None:
            raise self._error

    def finish(self, error: BackendDown | None) -> None:
        with self._lock:
            self._error = error
            self._done.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class _Syncer:
    """The thread that takes lines to the disk; started by the first ticket."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._wake = threading.Condition()
        self._batch: _Batch | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def ticket(self) -> Ticket:
        with self._wake:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tradeguard-journal", daemon=True)
                self._thread.start()
            if self._batch is None:
                self._batch = _Batch()
                self._wake.notify()
            return self._batch

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while self._batch is None and not self._closing:
                    self._wake.wait()
                batch, self._batch = self._batch, None
            if batch is None:
                return
            try:
                os.fdatasync(self._file)
            except OSError as error:
                batch.finish(BackendDown(f"journal: {error.strerror}"))
            else:
                batch.finish(None)


def _is_torn(file: int) -> bool:
    """Tell whether the file ends in the middle of a line: a process died, or the disk was full."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"
