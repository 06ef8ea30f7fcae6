"""The lock of memory: one process of a deployment answers from it, whoever forks, ends or is killed."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import NOW, TRADER, StillClock, make_guard, sign

from tradeguard.backends.lock import Lock
from tradeguard.backends.memory import Memory
from tradeguard.core.conditions import Below, Once
from tradeguard.core.decision import Denial, Grant
from tradeguard.core.drive import drive
from tradeguard.core.errors import BackendDown, ConfigError

HOLD = """
import sys, time
from tradeguard.backends.memory import Memory
memory = Memory(lock=sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""
CURE = r'use SQLite for the state \(\[state\] backend = "sqlite"\), which processes may share, or run one worker'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.lock"


@pytest.fixture
def memory(path: Path) -> Iterator[Memory]:
    made = Memory(lock=path)
    yield made
    made.close()


def hold(path: Path) -> "subprocess.Popen[str]":
    """Start a process that holds the lock until its input ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder: "subprocess.Popen[str]") -> None:
    holder.communicate()


def use(memory: Memory, number: int) -> str:
    """Use a message; return what came of it."""
    try:
        outcome = drive(memory.commit([Once(("trader", b"%d" % number), NOW + 1)], NOW, "r", None))
    except BackendDown as error:
        return f"down, {'unknown' if error.unknown else 'known'}: {error}"
    return "seen" if outcome.failed else "accepted"


class Child:
    """A forked process that does one thing per line."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        asks, self._asks = os.pipe()
        self._answers, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._asks)
            while line := os.read(asks, 100).decode():
                os.write(answers, answer(line).encode())
            os._exit(0)
        os.close(asks)
        os.close(answers)

    def ask(self, line: str) -> str:
        os.write(self._asks, line.encode())
        return os.read(self._answers, 10_000).decode()

    def end(self) -> None:
        os.close(self._asks)
        os.close(self._answers)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


# two processes


def test_a_second_process_waits_and_then_names_the_first_and_the_cure(path: Path) -> None:
    holder = hold(path)
    before = time.monotonic()
    with pytest.raises(ConfigError, match=rf"is held by process {holder.pid}; {CURE}"):
        Memory(lock=path)
    assert time.monotonic() - before >= 2
    end(holder)
    Memory(lock=path).close()


def test_a_second_memory_of_one_process_is_refused_too(path: Path, memory: Memory) -> None:
    with pytest.raises(ConfigError, match=f"is held by process {os.getpid()}; "):
        Lock(path, patience=0)
    assert use(memory, 1) == "accepted"


def test_a_graceful_reload_hands_over(path: Path) -> None:
    holder = hold(path)
    ending = threading.Timer(0.3, end, [holder])
    ending.start()
    memory = Memory(lock=path)
    ending.join()
    assert use(memory, 1) == "accepted"
    memory.close()


def test_a_killed_process_leaves_it_free(path: Path) -> None:
    holder = hold(path)
    holder.send_signal(signal.SIGKILL)
    end(holder)
    lock = Lock(path, patience=0)
    assert lock.held
    lock.release()


def test_a_program_that_the_holder_starts_does_not_keep_it(path: Path, memory: Memory) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    memory.close()
    lock = Lock(path, patience=0)
    lock.release()
    sleeper.communicate()


# forks


@pytest.mark.parametrize("first", ["parent", "child"])
def test_after_a_fork_it_belongs_to_whoever_commits_first(memory: Memory, first: str) -> None:
    child = Child(lambda line: use(memory, int(line)))
    if first == "child":
        assert child.ask("1") == "accepted"
        assert use(memory, 1).startswith("down, known: lock")
        assert f"is held by process {child.pid}; use SQLite" in use(memory, 2)
        assert child.ask("1") == "seen"
    else:
        assert use(memory, 1) == "accepted"
        assert f"is held by process {os.getpid()}; use SQLite" in child.ask("1")
        assert child.ask("2").startswith("down, known: lock")
        assert use(memory, 1) == "seen"
    child.end()


def test_of_two_children_one_answers(memory: Memory) -> None:
    children = [Child(lambda line: use(memory, int(line))) for _ in range(2)]
    assert children[1].ask("1") == "accepted"
    assert f"is held by process {children[1].pid}" in children[0].ask("1")
    for child in children:
        child.end()


def test_what_the_parent_knew_its_child_knows(memory: Memory) -> None:
    use(memory, 1)
    since = memory.since
    child = Child(lambda line: f"{use(memory, int(line))} {memory.since == since}")
    assert child.ask("1") == "seen True"  # nobody else had it in between: no barrier
    child.end()


def test_who_takes_it_over_refuses_what_may_have_been_used_elsewhere(memory: Memory) -> None:
    child = Child(lambda line: use(memory, int(line)))
    assert child.ask("1") == "accepted"
    before = memory.since
    child.end()
    result = use(memory, 1)
    assert result.startswith("down, unknown: lock")
    assert result.endswith("was with another process; what that one did is not known")
    assert before < memory.since <= time.time_ns()
    assert use(memory, 2) == "accepted"


def test_a_guard_over_memory_that_was_taken_over_lets_no_message_in_twice(path: Path) -> None:
    at = time.time_ns()
    memory, clock = Memory(lock=path, since=1), StillClock(at)
    guard = make_guard(state=memory, runtime=clock)

    def admit(_line: str) -> str:
        again = sign(TRADER, "POST", b"/v1/orders", body=b"{}", at=at, nonce=b"n" * 16, arrived=at)
        decision = drive(guard.admit(again))
        return "granted" if isinstance(decision, Grant) else f"{decision.status} {decision.code}"

    child = Child(admit)
    assert child.ask("1") == "granted"
    child.end()
    assert admit("1") == "503 commit.unsure"
    assert admit("1") == "503 commit.barrier"
    memory.close()


def test_a_number_is_not_set_in_a_memory_that_nobody_asks(memory: Memory) -> None:
    child = Child(lambda line: use(memory, int(line)))
    child.ask("1")
    with pytest.raises(BackendDown, match=f"is held by process {child.pid}"):
        drive(memory.set("halt", 2))
    child.end()


@pytest.mark.no_cover  # a child forked while the thread is in a lock of coverage's own would wait for it for ever
def test_a_fork_waits_for_commits_of_other_threads(memory: Memory) -> None:
    stop, used = threading.Event(), [0]

    def commit() -> None:
        while not stop.is_set():
            assert use(memory, used[0]) == "accepted"
            used[0] += 1

    thread = threading.Thread(target=commit)
    thread.start()
    for _ in range(20):
        child = Child(lambda _line: str(memory._fence.lock.locked()))
        assert child.ask("?") == "False"
        child.end()
    stop.set()
    thread.join()
    assert len(memory) == used[0]


def test_a_fork_in_the_middle_of_a_commit_does_not_share_it(memory: Memory) -> None:
    with memory._fence.lock:  # as a signal handler that forks would find it
        child = Child(lambda line: use(memory, int(line)))
    assert f"is held by process {os.getpid()}" in child.ask("1")
    assert use(memory, 1) == "accepted"
    child.end()


# the file


def test_the_file_says_who_has_it_and_is_for_its_owner_only(path: Path, memory: Memory) -> None:
    assert path.read_text().split() == [str(os.getpid()), "1"]
    assert path.stat().st_mode & 0o777 == 0o600
    memory.close()
    assert use(memory, 1) == "accepted"
    assert path.read_text().split() == [str(os.getpid()), "2"]


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "-", "\x00" * 20])
def test_whatever_the_file_says_one_has_it(path: Path, text: str) -> None:
    path.write_text(text)
    lock = Lock(path)
    path.write_text(text)
    with pytest.raises(ConfigError, match="is held by process unknown"):
        Lock(path, patience=0)
    lock.release()


def test_a_file_that_was_changed_meanwhile_counts_as_held_by_another(path: Path, memory: Memory) -> None:
    memory.close()
    path.write_text("")
    assert use(memory, 1).startswith("down, unknown")
    assert use(memory, 1) == "accepted"


def test_a_file_that_was_removed_is_made_again(path: Path, memory: Memory) -> None:
    memory.close()
    path.unlink()
    assert use(memory, 1).startswith("down, unknown")
    assert use(memory, 1) == "accepted"


def test_a_lock_on_a_file_that_is_removed_at_that_moment_does_not_count(path: Path) -> None:
    removed = [False]

    def flock(file: int, how: int) -> None:
        fcntl.flock(file, how)
        if not removed[0]:
            removed[0] = True
            path.unlink()

    lock = Lock(path, flock=flock)
    with pytest.raises(ConfigError):
        Lock(path, patience=0)
    lock.release()


@pytest.mark.parametrize("name", ["missing/memory.lock", "."])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name a file in a folder that exists"):
        Memory(lock=tmp_path / name)


def test_a_file_that_cannot_be_opened_later_refuses(path: Path, memory: Memory) -> None:
    memory.close()
    path.unlink()
    path.mkdir()
    assert use(memory, 1).startswith("down, known: lock")


def test_a_disk_without_flock_is_refused(path: Path) -> None:
    def flock(_file: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with pytest.raises(ConfigError, match=r"No locks available; put it on a local disk \(flock does not hold on NFS\)"):
        Lock(path, flock=flock)


def test_a_disk_whose_locks_are_of_processes_is_refused(path: Path) -> None:
    """On NFS Linux turns flock into fcntl locks (flock(2)), which a second descriptor of one process does not meet."""

    def flock(file: int, how: int) -> None:
        fcntl.lockf(file, how)

    with pytest.raises(ConfigError, match="it can be taken twice; put it on a local disk"):
        Lock(path, flock=flock)


def test_numbers_are_kept_without_a_lock_too() -> None:
    memory = Memory(since=1)
    memory.close()
    drive(memory.set("halt", 1))
    assert drive(memory.commit([Below(("halt",), 1)], NOW, "r", None)).failed


def test_a_refusal_of_the_guard_names_the_cure_for_the_operator(path: Path) -> None:
    memory = Memory(lock=path, since=1)
    guard = make_guard(state=memory)
    child = Child(lambda line: use(memory, int(line)))
    child.ask("1")
    decision = drive(guard.admit(sign(TRADER, "GET", b"/v1/orders")))
    assert isinstance(decision, Denial)
    assert (decision.status, decision.code) == (503, "outage.down")
    child.end()
    memory.close()
