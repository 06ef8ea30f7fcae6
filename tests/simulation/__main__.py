"""Play one run of the simulation again: `cd tests && python -m simulation --seed N --verbose`."""

import argparse
import logging
import sys

from simulation.oracle import Violation
from simulation.schedule import make_failures, play


def main() -> int:
    """Run the seeds that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="which run, or the first of several")
    parser.add_argument("--count", type=int, default=1, help="how many runs")
    parser.add_argument("--verbose", action="store_true", help="print the schedule and what happened")
    asked = parser.parse_args()
    logging.disable()
    broken = 0
    for seed in range(asked.seed, asked.seed + asked.count):
        try:
            run = play(seed)
        except Violation as violation:
            broken += 1
            print(f"seed {seed}: {violation}")
            if asked.verbose:
                raise
            continue
        oracle = run.venue.oracle
        print(f"seed {seed}: {len(run.failures)} failures, {oracle.grants} grants ({oracle.alone} by nodes alone), "
              f"{oracle.refusals} refusals; nothing broken")  # fmt: skip
        if asked.verbose:
            print(*make_failures(seed), "", *run.world.trace, sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
