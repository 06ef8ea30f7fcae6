"""Measure keys: look-ups, sealing, issue and import, and what a million of them cost a request.

    python benchmarks/keys.py [--keys 1000000] [--imported 200000] [--rounds 9]

Everything of one table is timed in the same run, in short bursts in random order; the figure is the fastest burst.
"""

import argparse
import asyncio
import io
import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import sealing

from tradeguard import CachedKeys, Hmac, Issuer, Journal, KeyRecord, LocalSealer, MemoryKeys, SealedKeys, SQLiteKeys
from tradeguard.core.drive import drive
from tradeguard.core.ports import Keys
from tradeguard.keys.bulk import import_lines
from tradeguard.keys.lines import Reading, read_lines
from tradeguard.secrets.master import load_master_keys, make_master_key

BATCH = 1_000


def open_store(folder: Path, name: str) -> SealedKeys:
    """Open a key store of its own in a folder; all of them share a master key."""
    master = folder / "master.key"
    if not master.exists():
        make_master_key(master)
    return SealedKeys(SQLiteKeys(folder / f"{name}.db", busy=5), LocalSealer(load_master_keys(f"file:{master}")))


def make_record(number: int) -> KeyRecord:
    """Return the record of a key that is fit to be stored."""
    secret = f"secret of key number {number}".encode()
    return KeyRecord(id=f"key-{number}", dialect="tg1", material=Hmac(secret), scopes={"orders:read"}, owner="acme")


def fill(store: SealedKeys, begin: int, end: int) -> None:
    """Store keys, by batches."""
    for first in range(begin, end, BATCH):
        drive(store.put([make_record(number) for number in range(first, min(first + BATCH, end))]))


def finding(keys: Keys, ids: list[str]) -> sealing.Work:
    """Return work that looks ids up, one after the other."""

    async def work(calls: int) -> None:
        find, count = keys.find, len(ids)
        for call in range(calls):
            if await find(ids[call % count]) is None:
                raise AssertionError(ids[call % count])

    return work


def time_issue(folder: Path, count: int = 500) -> float:
    """Return how many keys are issued in a minute, one after the other, each on the disk and on record."""
    issuer = Issuer(open_store(folder, "issued"), Journal(folder / "issued.jsonl"))
    began = time.perf_counter()
    for _ in range(count):
        drive(issuer.issue(actor="bench", owner="acme", scopes=["orders:read"]))
    return count / (time.perf_counter() - began) * 60


def time_import(folder: Path, store: SealedKeys, count: int) -> float:
    """Return the seconds for an import of a CSV file, from its first line to the last key on the disk."""
    rows = "".join(f"key-{n},secret of key number {n},acme,orders:read\n" for n in range(count))
    file = io.StringIO("id,secret,owner,scopes\n" + rows, newline="")
    issuer = Issuer(store, Journal(folder / "imported.jsonl"))
    began = time.perf_counter()
    report = drive(import_lines(issuer, read_lines(file, "csv", Reading(at=time.time_ns())), actor="bench"))
    assert report.imported == count, report.faults[:3]
    return time.perf_counter() - began


class Figures(NamedTuple):
    """What came out: µs per call by what was called, and the rest by its unit."""

    found: Mapping[str, float]
    sealing: Mapping[str, float]
    issued_per_minute: float
    import_seconds: float
    bytes_per_key: float


def measure(keys: int, imported: int, rounds: int) -> Figures:
    """Measure everything, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tradeguard-bench-") as name:
        folder = Path(name)
        few, many = open_store(folder, "few"), open_store(folder, "many")
        fill(few, 0, 10)
        issued, took = time_issue(folder), time_import(folder, many, imported)
        fill(many, imported, keys)
        size = (folder / "many.db").stat().st_size / keys
        ten, some = [f"key-{n}" for n in range(10)], [f"key-{n}" for n in random.sample(range(keys), 2_000)]
        hot = {
            "in a dict (MemoryKeys)": finding(MemoryKeys([make_record(n) for n in range(10)]), ten),
            "cached, of 10 keys": finding(CachedKeys(few), ten),
            "cached, of many keys": finding(CachedKeys(many), ten),
        }
        cold = {"in the store, of 10 keys": finding(few, ten), "in the store, of many keys": finding(many, some)}
        found = asyncio.run(sealing.time_all(hot, rounds, 20_000)) | asyncio.run(sealing.time_all(cold, rounds, 2_000))
        for store in (few, many):
            store.close()
    return Figures(found, asyncio.run(sealing.measure(rounds * 4, 1_000)), issued, took, size)


def report(keys: int, imported: int, rounds: int) -> list[str]:
    """Measure everything; return the lines of the section."""
    found, seal, issued, took, size = measure(keys, imported, rounds)
    plain, sealed = seal["AES-GCM encrypt"] + seal["AES-GCM decrypt"], seal["seal"] + seal["open"]
    added = found["cached, of 10 keys"] - found["in a dict (MemoryKeys)"]
    hot = found["cached, of many keys"] / found["cached, of 10 keys"]
    cold = found["in the store, of many keys"] / found["in the store, of 10 keys"]
    return [
        "",
        f"Many keys are {keys:,}, each {size:.0f} bytes in the file; asked for at random where it is the store.",
        "",
        "| keys | µs |",
        "|---|---|",
        *(f"| look-up {name} | {took:.2f} |" for name, took in found.items()),
        *(f"| {name}, 32 bytes | {took:.2f} |" for name, took in seal.items()),
        "",
        "| keys | measured | mark |",
        "|---|---|---|",
        f"| a cached look-up adds to a dict | {added:.2f} µs | 0.30 µs |",
        f"| cached look-up, many keys / 10 | {hot:.2f} | 1.10 |",
        f"| look-up in the store, many keys / 10 | {cold:.2f} | |",
        f"| seal + open | {sealed:.1f} µs | 15 µs |",
        f"| seal + open / AES-GCM | {sealed / plain:.1f} | |",
        f"| keys issued in a minute | {issued:,.0f} | 10,000 |",
        f"| import of {imported:,} keys | {took:.0f} s | 180 s for 200,000 |",
        "",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000, help="in the store of many keys")
    parser.add_argument("--imported", type=int, default=200_000, help="of them, how many are imported from a file")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds")
    given = parser.parse_args()
    print("\n".join(report(given.keys, given.imported, given.rounds)))


if __name__ == "__main__":
    main()
