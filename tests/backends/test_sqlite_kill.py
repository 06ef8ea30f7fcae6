"""Files of processes that are killed at any moment: they open, they are whole, and what was acknowledged is there."""

import os
import random
import signal
import sqlite3
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tradeguard.backends.sqlite import SQLiteKeys, SQLiteState
from tradeguard.backends.sqlite.migration import Migration, load
from tradeguard.core.conditions import Advance, Limit, Once, Quota
from tradeguard.core.drive import drive
from tradeguard.core.key import KeyRow

BATCH = 20
LONGEST = 0.03  # seconds until a writer is killed, from its start or from the first that it says
ROUNDS_PER_FILE = 50
FAR = 2**62
CHARGED = Quota("orders", (Limit(10**9, 2**60), Limit(1_000, 10_000)), 1)  # the second forgets ten steps later
PACED = Quota("paced", (Limit(1, 2**40, burst=8_000),), 1)


def migrations(kind: str, number: int) -> Sequence[Migration]:
    """What a library knows that is so many versions newer than this one."""
    own = load(kind)
    first = own[-1].number + 1
    script = (
        "CREATE TABLE extra_{0} (a INTEGER, b BLOB) STRICT;\n"
        "WITH RECURSIVE r (a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r WHERE a < 500)\n"
        "INSERT INTO extra_{0} SELECT a, randomblob(100) FROM r;\n"
    )
    return [*own, *(Migration(n, 1, script.format(n)) for n in range(first, first + number))]


def row(id: str, version: int) -> KeyRow:
    return KeyRow(id, version, id.encode(), f"{id} {version}".encode(), b"s" * 100, b"m" * 32)


class Files:
    """The two files of one folder, as a library of some version opens them."""

    def __init__(self, folder: Path, version: int) -> None:
        self.paths = folder / "keys.db", folder / "state.db"
        self.keys = SQLiteKeys(self.paths[0], busy=5, migrations=migrations("keys", version))
        self.state = SQLiteState(self.paths[1], busy=5, migrations=migrations("state", version))

    def close(self) -> None:
        self.keys.close()
        self.state.close()


@dataclass
class Acknowledged:
    """What writers were told is stored."""

    rows: dict[str, int] = field(default_factory=dict[str, int])  # version by id
    nonces: set[str] = field(default_factory=set[str])
    migrated: int = 0
    value: int = -1

    def note(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "rows":
            self.rows |= {id: int(version) for id, _, version in (one.partition("=") for one in rest.split())}
        elif kind == "nonce":
            self.nonces.add(rest)
        elif kind == "value":
            self.value = max(self.value, int(rest))
        else:
            self.migrated = int(rest)


def write(folder: Path, turn: int, known: dict[str, int], sink: int) -> None:
    """Put new rows, next versions, messages and values, and say so after each, until killed."""
    dice = random.Random(turn)
    files = Files(folder, turn)
    os.write(sink, f"migrated {turn}\n".encode())
    for step in count():
        new = [row(f"t{turn}s{step}n{number}", 1) for number in range(BATCH)]
        old = [row(id, known[id] + 1) for id in dice.sample(sorted(known), min(len(known), 5))]
        drive(files.keys.put(new + old))
        known |= {one.id: one.version for one in new + old}
        os.write(sink, f"rows {' '.join(f'{one.id}={one.version}' for one in new + old)}\n".encode())
        name, value = f"t{turn}s{step}", turn * 1_000_000 + step  # also above one that nobody was told of
        conditions = Once(("k", name.encode()), FAR), Advance(("k", b"top"), value), CHARGED, PACED
        outcome = drive(files.state.commit(conditions, 1_000 * value, name, None))
        assert not outcome.failed
        os.write(sink, f"nonce {name}\nvalue {value}\n".encode())


def kill_a_writer(folder: Path, turn: int, told: Acknowledged) -> None:
    """Start a writer, kill it, note what it was told. Every second one is killed only once it has opened its files."""
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            write(folder, turn, dict(told.rows), sink)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(1)  # it was not killed: an error
    os.close(sink)
    said = os.read(source, 65_536) if turn % 2 else b""
    assert bool(said) is bool(turn % 2)
    time.sleep(random.Random(-turn).uniform(0, LONGEST))
    os.kill(pid, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    with os.fdopen(source, "rb") as pipe:
        *lines, torn = (said + pipe.read()).decode().split("\n")
    assert torn == ""
    for line in lines:
        told.note(line)


def check(folder: Path, version: int, told: Acknowledged) -> None:
    """Open the files and hold them against what was acknowledged."""
    files = Files(folder, version)
    stored = {one.id: one for one in drive(files.keys.page("", 10**9))}
    assert {id: stored[id].version >= version for id, version in told.rows.items()} == dict.fromkeys(told.rows, True)
    assert all(one == row(one.id, one.version) for one in stored.values())
    batches = [id.rpartition("n")[0] for id in stored]
    assert {batches.count(batch) for batch in set(batches)} <= {BATCH}
    told.rows |= {id: one.version for id, one in stored.items()}
    for name in told.nonces:
        assert drive(files.state.commit([Once(("k", name.encode()), FAR)], 1, "again", None)).first == name
    looked = drive(files.state.commit([CHARGED._replace(cost=0), PACED._replace(cost=0)], 1, "look", None))
    spent = {looked.usage[quota.key][0].used for quota in (CHARGED, PACED)}
    assert spent == {len(files.state)}  # with each message its charge, or neither
    assert len(files.state) >= len(told.nonces)
    if told.value >= 0:
        assert drive(files.state.commit([Advance(("k", b"top"), told.value)], 1, "again", None)).failed
    files.close()
    check_counts(*files.paths, told)


def check_counts(keys: Path, state: Path, told: Acknowledged) -> None:
    for path in (keys, state):
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        schema, *_ = connection.execute("PRAGMA user_version").fetchone()
        assert schema > told.migrated
        assert connection.execute("SELECT max(number) FROM migration").fetchone() == (schema,)
        if path == state:
            counts = connection.execute(
                "SELECT (SELECT count(*) FROM once), (SELECT sum(nonces) FROM held), nonces FROM store"
            )
            real, owned, total = counts.fetchone()
            assert real == total == (owned or 0)
            torn = (
                "SELECT period FROM counter WHERE NOT paced AND held IS NOT "
                "(SELECT sum(units) FROM entry WHERE entry.meter = counter.meter AND entry.period = counter.period)"
            )
            assert connection.execute(torn).fetchall() == []
        connection.close()


def soak(folder: Path, kills: int) -> None:
    told = Acknowledged()
    for turn in range(kills):
        place, version = folder / str(turn // ROUNDS_PER_FILE), turn % ROUNDS_PER_FILE
        if not place.exists():
            place.mkdir()
            told = Acknowledged()
        kill_a_writer(place, version, told)
        check(place, max(0, version - version // 2 % 2), told)  # now by a library of its version, now by the one before


def test_twenty_killed_writers_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    soak(tmp_path, 20)


@pytest.mark.soak
def test_a_thousand_killed_writers_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    soak(tmp_path, 1000)
