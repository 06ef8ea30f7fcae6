"""The journal: lines that survive the process, a byte budget for strangers, disks that fill up."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import NOW, SECOND

from tradeguard.audit.journal import Journal, encode
from tradeguard.core.errors import BackendDown, ConfigError
from tradeguard.core.event import WRITTEN, Event
from tradeguard.core.runtime import Loop, Threads

MINUTE = 60 * SECOND
INTENT = Event("intent", NOW, "ab" * 16, True, 0, "", "POST", "/v1/orders", "POST /v1/orders", "order", "trader")
STRANGER = Event("refused", NOW, "cd" * 16, False, 401, "signature.wrong", "POST", "/v1/orders")


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


@given(st.text(), st.text(), st.integers(0, 2**63), st.booleans())
def test_an_event_is_one_line_of_json_whatever_is_in_it(path: str, detail: str, at: int, proven: bool) -> None:
    event = INTENT._replace(path=path, detail=detail, at=at, proven=proven)
    line = encode(event)
    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    assert json.loads(line) == event._asdict()


def test_a_line_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    ticket = journal.append(INTENT)
    assert ticket.done
    assert lines(journal.path) == [INTENT._asdict()]
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_a_line_survives_the_death_of_the_process(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from tradeguard.audit.journal import Journal\n"
        "from tradeguard.core.event import Event\n"
        "Journal(sys.argv[1]).append(Event('intent', 1, proven=True))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "journal.jsonl"
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ.copy(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert [line["kind"] for line in lines(path)] == ["intent"]


@pytest.mark.parametrize("path", ["no/such/folder/journal.jsonl", "."])
def test_a_file_that_cannot_be_opened_is_a_configuration_error(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name a file in a folder that exists"):
        Journal(tmp_path / path)


def test_a_line_that_was_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"kind":"inte')
    Journal(path).append(INTENT)
    assert path.read_bytes().splitlines()[0] == b'{"kind":"inte'
    assert json.loads(path.read_bytes().splitlines()[1]) == INTENT._asdict()


def test_strangers_have_a_budget_and_are_counted_beyond_it(tmp_path: Path) -> None:
    size = len(encode(STRANGER))
    journal = Journal(tmp_path / "journal.jsonl", stranger_bytes=3 * size)
    for number in range(10):
        assert journal.append(STRANGER._replace(at=NOW + number)) is WRITTEN
    journal.count("source.address", NOW)
    assert len(lines(journal.path)) == 3
    assert journal.append(INTENT).done  # what is proved has no such limit
    journal.append(STRANGER._replace(at=NOW + MINUTE))
    kinds = [line["kind"] for line in lines(journal.path)]
    assert kinds == ["refused"] * 3 + ["intent", "strangers", "refused"]
    assert json.loads(lines(journal.path)[4]["detail"]) == {"signature.wrong": 7, "source.address": 1}


def test_counts_are_written_by_flush_and_close_and_only_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.count("source.pair", NOW)
    journal.flush()
    journal.flush()
    journal.count("source.pair", NOW)
    journal.close()
    assert [line["at"] for line in lines(journal.path)] == [NOW, NOW]
    assert [json.loads(line["detail"]) for line in lines(journal.path)] == [{"source.pair": 1}, {"source.pair": 1}]


def test_a_flood_at_the_door_alone_leaves_its_counts_minute_by_minute(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for second in range(121):
        journal.count("source.address", NOW // MINUTE * MINUTE + second * SECOND)
    assert [json.loads(line["detail"]) for line in lines(journal.path)] == [{"source.address": 60}] * 2


def test_counts_are_kept_while_the_disk_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.count("source.pair", NOW)
    with no_room_beyond(0):
        journal.flush()
    journal.flush()
    assert [line["kind"] for line in lines(journal.path)] == ["gap", "strangers"]
    assert json.loads(lines(journal.path)[1]["detail"]) == {"source.pair": 1}
    assert "can be written again" in caplog.text


def test_a_strangers_line_is_short_whatever_they_send(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(STRANGER._replace(path="\U0001f4a3" * 256, detail="\0" * 256, client_id="a" * 64, trace="b" * 64))
    assert len(journal.path.read_bytes()) <= 1024


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    threads = [threading.Thread(target=lambda: [journal.append(INTENT) for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines(journal.path) == [INTENT._asdict()] * 1600


def test_a_full_disk_is_said_by_the_ticket_and_counted_as_a_gap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(INTENT)
    with no_room_beyond(journal.path.stat().st_size + 40):  # room for a part of a line
        tickets = [journal.append(INTENT) for _ in range(3)]
        for ticket in tickets:
            with pytest.raises(BackendDown):
                ticket.wait()
    assert caplog.text.count("orders are refused until it can be written") == 1
    journal.append(INTENT).wait()
    journal.append(INTENT).wait()
    whole = [line for line in journal.path.read_bytes().splitlines() if line.endswith(b"}")]
    assert [json.loads(line)["kind"] for line in whole] == ["intent", "gap", "intent", "intent"]
    assert json.loads(whole[1])["detail"] == "3 lines missing"


def test_with_sync_a_ticket_is_done_after_the_disk_has_it(tmp_path: Path, run: Any) -> None:
    journal = Journal(tmp_path / "journal.jsonl", sync=True)
    runtime = Loop() if run.__module__.startswith("asyncio") else Threads()
    tickets = [journal.append(INTENT) for _ in range(20)]
    for ticket in tickets:
        run(runtime.wait(ticket))
        assert ticket.done
    journal.close()


def test_with_sync_lines_that_wait_together_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    real, held = os.fdatasync, threading.Event()

    def slow(file: int) -> None:
        syncs.append(file)
        held.wait(5)
        real(file)

    monkeypatch.setattr(os, "fdatasync", slow)
    journal = Journal(tmp_path / "journal.jsonl", sync=True)
    first = journal.append(INTENT)
    while not syncs:
        pass
    rest = [journal.append(INTENT) for _ in range(10)]
    assert not any(ticket.done for ticket in (first, *rest))
    held.set()
    for ticket in (first, *rest):
        ticket.wait()
    assert len(syncs) == 2
    journal.close()


def test_with_sync_a_disk_error_reaches_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_file: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    journal = Journal(tmp_path / "journal.jsonl", sync=True)
    with pytest.raises(BackendDown, match="Input/output error"):
        journal.append(INTENT).wait()
    journal.close()


def test_a_callback_comes_after_the_sync_or_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", sync=True)
    called = threading.Event()
    ticket = journal.append(INTENT)
    ticket.then(called.set)
    assert called.wait(5)
    seen: list[bool] = []
    ticket.then(lambda: seen.append(True))
    assert seen == [True]
    journal.close()


def test_a_forked_child_is_not_stopped_by_a_lock_that_was_held(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from tradeguard.audit.journal import Journal\n"
        "from tradeguard.core.event import Event\n"
        "journal = Journal(sys.argv[1])\n"
        "lock = journal._lock\n"
        "lock.acquire()\n"
        "child = os.fork()\n"
        "if child: lock.release()\n"
        "journal.append(Event('intent', 1, proven=True))\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
    path = tmp_path / "journal.jsonl"
    subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ.copy(), check=True, timeout=20)
    assert len(lines(path)) == 2


def test_a_forked_child_syncs_with_a_thread_of_its_own(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from tradeguard.audit.journal import Journal\n"
        "from tradeguard.core.event import Event\n"
        "journal = Journal(sys.argv[1], sync=True)\n"
        "journal.append(Event('intent', 1, proven=True)).wait()\n"
        "child = os.fork()\n"
        "journal.append(Event('intent', 2, proven=True)).wait()\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
    path = tmp_path / "journal.jsonl"
    subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ.copy(), check=True, timeout=20)
    assert sorted(line["at"] for line in lines(path)) == [1, 2, 2]
