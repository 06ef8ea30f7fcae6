"""Three nodes over one store, each a process that places orders: what a receipt promises, and how soon it comes."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from backends import redis_server
from halts.operators import operators, signed
from halts.orders import open_store

from tradeguard.core.drive import drive
from tradeguard.core.halt import Mode, Record
from tradeguard.halts.switch import Receipt, Switch, hold

NODES = ("a", "b", "c")
PATIENCE = 30.0


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The store that the nodes share."""
    if request.param == "sqlite":
        yield str(tmp_path / "state.db")
        return
    with redis_server.running(tmp_path / "redis") as server:
        yield server.url


@contextmanager
def running(folder: Path, store: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run the nodes, until the block ends."""
    script = Path(__file__).with_name("orders.py")
    nodes = [subprocess.Popen([sys.executable, script, folder, name, store], stdin=subprocess.PIPE) for name in NODES]
    try:
        yield nodes
    finally:
        for node in nodes:
            node.communicate(timeout=60)


def handed_on(folder: Path) -> dict[str, list[int]]:
    """When each node has handed orders on."""
    files = {name: folder / name for name in NODES}
    return {name: list(map(int, file.read_text().split())) if file.exists() else [] for name, file in files.items()}


def wait_for_orders(folder: Path) -> None:
    """Wait until every node goes on handing orders on."""
    before = {name: len(times) for name, times in handed_on(folder).items()}
    deadline = time.monotonic() + PATIENCE
    while any(len(times) <= before[name] for name, times in handed_on(folder).items()):
        assert time.monotonic() < deadline, "the nodes do nothing"
        time.sleep(0.01)


def change(switch: Switch, mode: Mode, *signers: str) -> tuple[Record, Receipt]:
    """Arm or lift, and wait for the receipt."""
    record = signed(drive(switch.propose("venue", mode)), *signers)
    drive(switch.put(record, actor="tests"))
    return record, drive(switch.wait(record, PATIENCE, hold))


def rounds(folder: Path, store: str, count: int) -> list[float]:
    """Halt and lift; return how long each node has gone on after the halt was stored, in seconds."""
    late: list[float] = []
    with closing(open_store(store)) as state, running(folder, store) as nodes:
        switch = Switch(state, operators())
        for _ in range(count):
            wait_for_orders(folder)
            armed = time.monotonic_ns()
            _, receipt = change(switch, Mode.NO_NEW, "olga")
            received = time.monotonic_ns()
            assert receipt.done, receipt
            assert len(receipt.obeyed) == len(NODES)
            assert all(ack.left == 0 <= ack.flights for ack in receipt.obeyed.values())
            time.sleep(0.05)  # time to do what they must not
            last = {name: times[-1] for name, times in handed_on(folder).items()}
            assert max(last.values()) < received, "an order was handed on after the receipt"
            late += [max(0, at - armed) / 1e9 for at in last.values()]
            _, receipt = change(switch, Mode.ACTIVE, "olga", "omar")
            assert receipt.done
        assert all(node.poll() is None for node in nodes)
    return late


def test_no_order_is_handed_on_after_the_receipt(tmp_path: Path, store: str) -> None:
    assert len(rounds(tmp_path, store, 3)) == 9


def test_a_node_that_hangs_is_named_by_the_receipt(tmp_path: Path, store: str) -> None:
    with closing(open_store(store)) as state, running(tmp_path, store) as nodes:
        wait_for_orders(tmp_path)
        nodes[1].send_signal(signal.SIGSTOP)
        try:
            switch = Switch(state, operators())
            record = signed(drive(switch.propose("venue", Mode.NO_NEW)), "olga")
            drive(switch.put(record, actor="tests"))
            receipt = drive(switch.wait(record, 2.0, hold))
        finally:
            nodes[1].send_signal(signal.SIGCONT)
        assert not receipt.done
        assert [f".{nodes[1].pid}." in name for name in receipt.silent] == [True]
        assert len(receipt.obeyed) == 2
        assert drive(switch.wait(record, PATIENCE, hold)).done


@pytest.mark.soak
def test_three_nodes_obey_within_100_ms(tmp_path: Path, store: str) -> None:
    late = sorted(rounds(tmp_path, store, 100))
    print(f"obeyed after: median {late[len(late) // 2]:.4f} s, p99 {late[len(late) * 99 // 100]:.4f} s")
    assert late[len(late) * 99 // 100] < 0.1
