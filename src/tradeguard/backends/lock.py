"""Lock: a file that one process of a deployment holds, so that no two of them answer from memory at once.

Guarantee: of the processes that use one lock file on a local disk, at most one holds it; it is free when that process
ends, however it ends. Who takes it again learns whether another had it meanwhile. Do not remove the file: two processes
could then hold one each.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tradeguard.core.errors import BackendDown, ConfigError

if sys.platform != "win32":
    import fcntl

_NAP: Final = 0.02  # seconds between two tries
_CURE: Final = 'use SQLite for the state ([state] backend = "sqlite"), which processes may share, or run one worker'
_LOCAL: Final = "put it on a local disk (flock does not hold on NFS)"


class Lock:
    """An exclusive flock on a file. The file says which process has it, and how often it was taken.

    Args:
        path: the file; made with mode 0600 where it does not exist. Its folder must, on a local disk.
        patience: seconds to wait for a process that is about to end, as in a graceful reload.
        flock: the call of the system.

    Raises:
        ConfigError: another process holds it, or the file cannot be locked.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        patience: float = 2.0,
        flock: Callable[[int, int], object] | None = None,
    ) -> None:
        if sys.platform == "win32":
            raise ConfigError(f"lock {path}: this system has no flock; leave the lock out, and run one process")
        self.path, self._flock = Path(path).absolute(), flock or fcntl.flock
        self._file, self._pid, self._turn = -1, 0, 0
        self.since = 0
        deadline = time.monotonic() + patience
        while not self.take():
            if time.monotonic() >= deadline:
                raise ConfigError(self.holder())
            time.sleep(_NAP)
        self._check_exclusive()

    @property
    def held(self) -> bool:
        """Whether this process holds it; a child of the one that does, does not."""
        return self._file >= 0 and self._pid == os.getpid()

    def take(self) -> bool:
        """Take the lock if it is free; return whether this process has it.

        Where another process had it after this one (or its parent) last did, `since` is when this one took it, ns UTC.

        Raises:
            ConfigError: the file cannot be locked.
        """
        if self.held:
            return True
        self.release()
        file = self._open()
        if not self._lock(file) or not self._is_at_path(file):
            os.close(file)
            return False
        turn = self._read()[1]
        if self._turn not in (0, turn):
            self.since = time.time_ns()
        self._file, self._pid, self._turn = file, os.getpid(), turn + 1
        os.ftruncate(file, 0)
        os.pwrite(file, f"{self._pid} {self._turn}\n".encode("ascii"), 0)
        return True

    def claim(self) -> None:
        """Make sure that this process has it; waits for nobody.

        Raises:
            BackendDown: another process has it; or had it, and this one does not know what happened there.
        """
        if self.held:
            return
        since = self.since
        try:
            taken = self.take()
        except ConfigError as error:
            raise BackendDown(str(error)) from error
        if not taken:
            raise BackendDown(self.holder())
        if self.since != since:
            raise BackendDown(
                f"lock {self.path} was with another process; what that one did is not known", unknown=True
            )

    def release(self) -> None:
        """Let go of it, if this process has it."""
        if self._file >= 0:
            if self.held:
                self._flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = -1

    def holder(self) -> str:
        """Say who has it, and what to do."""
        return f"lock {self.path} is held by process {self._read()[0] or 'unknown'}; {_CURE}"

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"lock {self.path}: {error.strerror}; name a file in a folder that exists") from None

    def _lock(self, file: int) -> bool:
        try:
            self._flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            os.close(file)
            raise ConfigError(f"lock {self.path}: {error.strerror}; {_LOCAL}") from None
        return True

    def _is_at_path(self, file: int) -> bool:
        """Tell whether it is still the file at the path; a lock on one that was removed keeps nobody out."""
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False

    def _read(self) -> tuple[int, int]:
        """Return who had it last and how often it was taken; zeros where the file does not say."""
        try:
            pid, turn = self.path.read_text(encoding="ascii").split()
            return int(pid), int(turn)
        except (OSError, ValueError):
            return 0, 0

    def _check_exclusive(self) -> None:
        """Refuse a file system where locks are of processes, not of open files: there they end with any descriptor."""
        other = self._open()
        shared = self._lock(other)
        os.close(other)
        if shared:
            self.release()
            raise ConfigError(f"lock {self.path}: it can be taken twice; {_LOCAL}")
