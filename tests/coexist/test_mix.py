"""Old-style and signed traffic through `coexist`: every answer that differs from the one before has its explanation."""

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from coexist.mix import KINDS, Mix, Sent, expected, make_keys
from coexist.replay import Comparison, Exchange, InProcess, OverWire, Reasons, gather, record
from coexist.serve import EXAMPLES, make_customers

from tradeguard.backends.memory import Memory, MemoryJournal
from tradeguard.core.policy import Operations
from tradeguard.testing.still import StillClock, StillGuard

pytest.importorskip("fastapi")
STEP = 50_000_000  # ns from one request to the next
SEED = 20_260_331


@pytest.fixture
def rollout(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return import_module("rollout_app")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with closing(asyncio.new_event_loop()) as loop:
        yield loop


class Both:
    """The application before and behind the guard, in-process: called as a server calls it.

    Args:
        rollout: the example.
        loop: of the test.
        parts: of the guard, in place of those of the example.
    """

    def __init__(self, rollout: Any, loop: asyncio.AbstractEventLoop, **parts: Any) -> None:
        self.clock, self.journal, self._run = StillClock(0), MemoryJournal(), loop.run_until_complete
        model = rollout.make_guard(make_keys(), self.journal)
        usual = {"operations": model.operations, "state": Memory(since=1), "journal": self.journal}
        guard = StillGuard(parts.pop("checks", list(model.checks)), self.clock, **{**usual, **parts})
        self.old = rollout.make_app(make_customers(rollout))
        self.new = rollout.make_app(make_customers(rollout), guard)

    def record(self, file: Path, size: int) -> None:
        """Write a mix, and what the application answers that has no guard."""
        times = itertools.count(time.time_ns(), STEP)
        mix, ask = Mix(SEED, bursts=True), InProcess(self.old, self._run)
        with file.open("w") as lines:
            lines.writelines(each.encode() + "\n" for each in record(mix, size, ask, lambda: next(times)))

    def replay(self, file: Path) -> Comparison:
        """Send a recording through the guard, at the times that it was recorded."""
        ask, comparison = InProcess(self.new, self._run), Comparison()
        with file.open() as lines:
            for exchange in map(Exchange.decode, lines):
                self.clock.at, reasons = exchange.sent.at, Reasons()
                after = ask(exchange.sent)
                gather(self.journal.events, reasons)
                self.journal.events.clear()
                comparison.add(exchange, after, reasons)
        return comparison


@pytest.mark.parametrize("size", [2_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_every_difference_has_its_explanation(
    rollout: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path, size: int
) -> None:
    """In-process, on a still clock; the recording is a file."""
    both, file = Both(rollout, loop), tmp_path / "mix.jsonl"
    both.record(file, size)
    comparison = both.replay(file)
    print(comparison.table())  # pytest -rP shows it
    assert comparison.unexplained(expected()) == []
    assert comparison.rows.total() >= size
    assert comparison.done == [both.old.state.done.total(), both.new.state.done.total()]  # nothing behind our back


def weakened(rollout: Any, how: str) -> dict[str, Any]:
    """Parts of a guard that lets through what it must not."""
    model = rollout.make_guard(make_keys(), MemoryJournal())
    if how in ("Replay", "Scope"):
        return {"checks": [one for one in model.checks if type(one).__name__ != how], "without": [how.lower()]}
    row, coexist = how.split(" until ")
    rows = {**rollout.OPERATIONS, row: {"scopes": "balances:read", "coexist": coexist}}
    return {"operations": Operations(rows)}


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("Replay", "signed: and sent again, the second time"),
        ("Scope", "password: orders without the scope"),
        ("GET /balances until 2999-12-31", "password: on a moved operation"),
        ("GET /history until 2999-12-31", "password: after the last day"),
    ],
)
def test_a_guard_that_lets_through_what_it_must_not_is_found_out(
    rollout: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path, how: str, kind: str
) -> None:
    both, file = Both(rollout, loop, **weakened(rollout, how)), tmp_path / "mix.jsonl"
    both.record(file, 1)  # each kind once
    found = both.replay(file).unexplained(expected())
    assert any(f"kind={kind!r}" in line for line in found), found


@contextmanager
def serving(*words: str) -> Iterator[int]:
    """Run serve.py until the end of the block."""
    command = [sys.executable, str(Path(__file__).with_name("serve.py")), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the application did not start; its own words are above"
        yield int(line)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def settle(ask: OverWire) -> None:
    """Wait until its memory is old enough to answer what is signed."""
    mix = Mix(1, bursts=False)
    [signed] = [each for each in KINDS if each.name == "signed: reads"]
    for _ in range(100):
        [sent] = mix.render(signed, time.time_ns(), "127.0.0.1")
        if ask(sent).status == 200:
            return
        time.sleep(0.1)
    pytest.fail("the application answers nothing that is signed")


def test_the_same_over_a_real_server(tmp_path: Path) -> None:
    """Every request goes to both servers at once, since signatures do not keep; no bursts, since the clock goes on."""
    journal = tmp_path / "audit.jsonl"
    with serving() as old, serving(str(journal)) as new:
        before, behind = OverWire(old), OverWire(new)
        settle(behind)
        mix = Mix(SEED, bursts=False)
        pairs = [(each, behind(each.sent)) for each in record(mix, 2_000, before, time.time_ns)]
    reasons = Reasons()
    gather(map(json.loads, journal.read_text().splitlines()), reasons)
    comparison = Comparison()
    for exchange, after in pairs:
        comparison.add(exchange, after, reasons)
    print(comparison.table())
    bursts = {kind for kind in expected() if kind not in {row.kind for row in comparison.rows}}
    assert len(bursts) == 5
    assert comparison.unexplained({kind: why for kind, why in expected().items() if kind not in bursts}) == []


def changed(exchanges: Iterable[Exchange], **after: Any) -> list[str]:
    """What is unexplained of the first exchange if the guard had answered otherwise."""
    [exchange] = itertools.islice(exchanges, 1)
    comparison, answer = Comparison(), exchange.before._replace(request_id="1", **after)
    comparison.add(exchange, answer, {"1": "vouched"})
    one = {exchange.sent.kind: expected()[exchange.sent.kind]}
    return comparison.unexplained(one)


def test_a_difference_that_nobody_expects_is_told(rollout: Any, loop: asyncio.AbstractEventLoop) -> None:
    app = rollout.make_app(make_customers(rollout))
    ask = InProcess(app, loop.run_until_complete)
    mix = Mix(SEED, bursts=False)
    sent: list[Sent] = list(mix.render(KINDS[0], time.time_ns(), "127.0.0.1"))
    exchanges = [Exchange(one, ask(one)) for one in sent]
    assert changed(exchanges) == []
    assert changed(exchanges, status=403) != []
    assert changed(exchanges, body="{}") != []
    assert changed(exchanges, fields=()) != []
    assert Comparison().unexplained(expected()) == [f"nothing came of {kind!r}" for kind in sorted(expected())]


def test_the_page_of_the_rollout_tells_every_difference() -> None:
    page = (EXAMPLES.parent / "docs/howto/rollout.md").read_text().partition("### What your customers notice")[2]
    lines = [line for line in page.partition("\n## ")[0].splitlines() if line.startswith("|")]
    told = {(code, after) for line in lines for code in re.findall(r"`(\w+\.\w+)`", line) for after in numbers(line, 3)}
    differ = {(why, after) for before, after, why in expected().values() if "." in why and before != after}
    assert told == differ


def numbers(line: str, column: int) -> set[int]:
    return {int(number) for number in re.findall(r"\d{3}", line.split("|")[column])}


def test_a_recording_is_read_as_it_was_written(rollout: Any, loop: asyncio.AbstractEventLoop) -> None:
    ask = InProcess(rollout.make_app(make_customers(rollout)), loop.run_until_complete)
    exchanges = list(record(Mix(SEED, bursts=False), 10, ask, lambda: 1))
    assert [Exchange.decode(each.encode()) for each in exchanges] == exchanges
    assert Counter(each.sent.kind for each in exchanges).keys() >= {each.name for each in KINDS}
