"""`python -m tests.histories --histories 200`: the long form; what fails is made short."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from tests.histories.run import run, shortened
from tests.histories.steps import Step, printed, random_history, read
from tests.histories.world import Difference
from tests.support.places import PLACES


def main() -> int:
    """Run; the exit status says whether anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument("--histories", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--steps", type=int, default=60, help="of each (default: 60)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--store", action="append", choices=tuple(PLACES), help="all, if left out")
    parser.add_argument("--replay", type=Path, help="a file with the steps of one history")
    options = parser.parse_args()
    kinds = options.store or list(PLACES)
    if options.replay:
        return _try("replay", read(options.replay.read_text("utf-8")), kinds)
    began = time.monotonic()
    for seed in range(options.seed, options.seed + options.histories):
        if _try(f"seed {seed}", random_history(seed, options.steps), kinds):
            return 1
    seconds = time.monotonic() - began
    steps = options.histories * options.steps
    _say(f"{options.histories} histories, {steps} steps on {len(kinds)} stores: all alike")
    _say(f"seed {options.seed}, {seconds:.0f} s")
    return 0


def _try(name: str, history: list[Step], kinds: list[str]) -> int:
    """Run a history; 1 when it fails, and what is left of it when it is made short."""
    try:
        run(history, kinds)
    except Difference as difference:
        _say(f"{name}: {difference}\nmaking it short ...")
    else:
        return 0
    short = shortened(history, kinds)
    _say(printed(short))
    try:
        run(short, kinds, look_every=1)
    except Difference as difference:
        _say(difference)
    return 1


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
