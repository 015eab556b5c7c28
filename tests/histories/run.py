"""Runs histories on several stores, compares them, and makes one that fails short."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.histories.steps import Step
from tests.histories.world import Difference, World
from tests.support.places import PLACES

#: Where a disk does not hold up thousands of commits.
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory, not a guessable file
#: Everything is looked at after so many steps, and at the end.
LOOK_EVERY = 5


def run(history: Sequence[Step], kinds: Sequence[str], look_every: int = LOOK_EVERY) -> None:
    """Take all steps on each store.

    Raises:
        Difference: a store does not say what the oracle says, or the stores differ.
    """
    told = [transcript(history, kind, look_every) for kind in kinds]
    for kind, other in zip(kinds[1:], told[1:], strict=True):
        for number, (left, right) in enumerate(zip(told[0], other, strict=True)):
            if left != right:
                raise Difference(f"step {number}: {kinds[0]} {left}\n{kind} {right}")


def transcript(history: Sequence[Step], kind: str, look_every: int = LOOK_EVERY) -> list[Any]:
    """What came of each step, and what was seen in between, in labels."""
    room = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="headrace-history-", dir=room) as folder:
        place = PLACES[kind](Path(folder))
        world = World(place)
        found: list[Any] = []
        try:
            for number, step in enumerate(history, 1):
                try:
                    found.append(world.take(step))
                    if number % look_every == 0 or number == len(history):
                        found.append(world.check())
                except Difference as difference:
                    message = f"{kind}, step {number} ({step.kind}): {difference}"
                    raise Difference(message) from None
        finally:
            world.close()
            place.remove()
    return found


def shortened(history: list[Step], kinds: Sequence[str], tries: int = 400) -> list[Step]:
    """A history that fails too, with as many steps left out as some tries allow."""

    def fails(steps: list[Step]) -> bool:
        try:
            run(steps, kinds, look_every=1)
        except (Difference, AssertionError):
            return True
        return False

    size = max(1, len(history) // 2)
    while tries > 0:
        start, shorter = 0, False
        while start < len(history) and tries > 0:
            without = history[:start] + history[start + size :]
            tries -= 1
            if without and fails(without):
                history, shorter = without, True
            else:
                start += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2)
    return history
