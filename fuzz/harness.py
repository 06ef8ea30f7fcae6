"""What the fuzz targets share: a run by atheris, or by random mutation with the standard library alone.

A target takes bytes, returns a word for what came of them, and raises for whatever must never happen.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

Target = Callable[[bytes], str]
MARK = b"\x1e"  # ASCII record separator: between the records of one input
LONGEST = 4096  # bytes of an input


def join(*records: bytes) -> bytes:
    """Make one input of its records."""
    return MARK.join(records)


def split(data: bytes, least: int) -> list[bytes]:
    """Read the records of an input; missing ones are empty."""
    records = data.split(MARK)
    return records + [b""] * (least - len(records))


def pairs(records: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Read records two by two, as names and values."""
    return list(zip(records[::2], records[1::2], strict=False))


def main(target: Target, corpus: Sequence[bytes], tokens: Sequence[bytes] = ()) -> None:
    """Run a target: `--runs N --seed S` with the standard library, anything else goes to atheris.

    Args:
        target: takes one input.
        corpus: inputs that reach deep; the others are made from them.
        tokens: pieces of the format that chance would not find.
    """
    parser = argparse.ArgumentParser(add_help="--runs" in sys.argv)
    parser.add_argument("--runs", type=int, help="this many inputs, without atheris")
    parser.add_argument("--seed", type=int, default=0, help="of the dice, with --runs")
    options, _ = parser.parse_known_args()
    outcomes = Counter(target(entry) for entry in corpus)
    if options.runs is None:
        _run_atheris(target, corpus)
    for outcome, count in (
        outcomes + _run_alone(target, corpus, tokens, options.runs, Random(options.seed))
    ).most_common():
        print(f"{count:8} {outcome}")


def _run_atheris(target: Target, corpus: Sequence[bytes]) -> None:
    """Begin with the corpus, written to a new folder that libFuzzer reads."""
    try:
        import atheris  # noqa: PLC0415  # needed here alone, and seldom installed
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris, or run without it: --runs 20000 --seed 1")

    def one(data: bytes) -> None:
        target(data)

    atheris.instrument_all()
    folder = Path(tempfile.mkdtemp(prefix="corpus-"))
    for number, entry in enumerate(corpus):
        (folder / str(number)).write_bytes(entry)
    atheris.Setup([*sys.argv, str(folder)], one)
    atheris.Fuzz()


def _run_alone(
    target: Target, corpus: Sequence[bytes], tokens: Sequence[bytes], runs: int, dice: Random
) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for _ in range(runs):
        data = mutate(dice, corpus, tokens)
        try:
            outcomes[target(data)] += 1
        except BaseException:
            print(f"this input fails: {data!r}", file=sys.stderr)
            raise
    return outcomes


def mutate(dice: Random, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """Return an entry of the corpus with one to six blows."""
    data = dice.choice(corpus)
    for _ in range(dice.choice([1, 1, 2, 3, 6])):
        start = dice.randint(0, len(data))
        end = min(len(data), start + dice.choice([0, 1, 1, 2, 4, 16]))
        data = data[:start] + _piece(dice, data, corpus, tokens, start, end) + data[end:]
    return data[:LONGEST]


def _piece(dice: Random, data: bytes, corpus: Sequence[bytes], tokens: Sequence[bytes], start: int, end: int) -> bytes:
    """What is put in the place of data[start:end]."""
    other = dice.choice(corpus)
    choices = [
        b"",
        dice.randbytes(dice.choice([1, 1, 2, 8])),
        dice.choice([MARK, b"\0", b"\r\n", b"%", b"/", b"\xff", b"&", b"=", b"?"]),
        data[start:end] * 2,
        data[start:end].swapcase(),
        bytes(byte ^ 1 << dice.randrange(8) for byte in data[start:end]),
        other[dice.randint(0, len(other)) :][: dice.choice([4, 16, 64])],
        dice.choice(tokens) if tokens else b"",
        b"A" * dice.choice([10, 200, 4000]),
    ]
    return dice.choice(choices)
