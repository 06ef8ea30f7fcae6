"""Thousands of simulated failures: every promise holds under each seed, and what is wrong on purpose is found.

One run again: `cd tests && python -m simulation --seed N --verbose`, or `pytest -k "seed-N-"`. The short run is 50
seeds; `make soak` has 1,000.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulation.defects import ALL
from simulation.oracle import Violation
from simulation.schedule import STRIKES, make_failures, play
from simulation.venue import Venue

SHORT, LONG = range(50), range(1_000)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nodes tell the log of every failure; there are thousands."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", SHORT, ids=lambda seed: f"seed-{seed}-")
def test_every_promise_holds_whatever_fails(seed: int) -> None:
    run = play(seed)
    assert run.failures
    assert run.venue.oracle.grants > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", LONG, ids=lambda seed: f"seed-{seed}-")
def test_every_promise_holds_whatever_fails_in_many_more_runs(seed: int) -> None:
    play(seed)


@pytest.mark.no_cover
@pytest.mark.parametrize(("make", "promise"), ALL, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_wrong_on_purpose_is_found_within_the_short_run(make: type[Venue], promise: str) -> None:
    found = set[str]()
    for seed in SHORT:
        try:
            play(seed, make)
        except Violation as violation:
            found.add(violation.promise)
        if promise in found:
            return
    pytest.fail(f"{make.__name__}: {make.__doc__} It breaks {promise}, and only {sorted(found)} was found")


def test_the_runs_fail_in_every_way_and_more_than_a_thousand_times() -> None:
    failures = [failure for seed in LONG for failure in make_failures(seed)]
    assert len(failures) > 1_000
    assert {failure.what for failure in failures} == set(STRIKES)
    assert {failure.what for seed in SHORT for failure in make_failures(seed)} == set(STRIKES)


def test_in_the_short_run_nodes_also_go_on_alone_and_orders_are_handed_on() -> None:
    oracles = [play(seed).venue.oracle for seed in range(10)]
    assert sum(oracle.alone for oracle in oracles) > 10
    assert sum(oracle.grants for oracle in oracles) > 500
    assert sum(oracle.orders for oracle in oracles) > 200


def test_a_run_is_the_same_whenever_and_wherever_it_is_played() -> None:
    """Also in another process, where texts have other hashes."""
    traces = set[bytes]()
    tests = Path(__file__).parents[1]
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        command = [sys.executable, "-m", "simulation", "--seed", "4", "--verbose"]
        done = subprocess.run(command, cwd=tests, env=environment, capture_output=True, timeout=120, check=True)
        traces.add(done.stdout)
    [trace] = traces
    assert trace.decode().split("\n", 2)[2].strip().endswith("\n".join(play(4).world.trace))


def test_a_broken_promise_is_told_with_its_seed_and_its_schedule() -> None:
    make, _ = ALL[0]
    with pytest.raises(Violation) as caught:
        play(0, make)
    text = str(caught.value)
    assert "python -m simulation --seed 0 --verbose" in text
    assert all(str(failure) in text for failure in make_failures(0))
