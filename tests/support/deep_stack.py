"""Putting an event in near the end of the stack, where any call may raise RecursionError."""

from __future__ import annotations

import asyncio

from headrace.pipeline.intake.commit_queue import CommitQueue
from headrace.store.contract.commits import Pending
from headrace.store.store import Store
from tests.support.events import new_event

#: More frames than there are between a put and the deepest call in it.
FRAMES = 30
ANSWER_SECONDS_MAX = 10.0


async def check_commits_survive_broken_puts(store: Store) -> None:
    """Interrupt a put at every stack depth; each that succeeded must get its outcome."""
    queue = CommitQueue(asyncio.get_running_loop(), store.wake, store.committers)
    store.start_committing(queue, lambda _: None)
    answered = asyncio.Event()
    fit = _frames_that_fit()
    for left in (*range(FRAMES), fit):
        answered.clear()
        pending = Pending(new_event(), lambda _: answered.set())
        if _put_deep_down(queue, pending, fit - left):
            await asyncio.wait_for(answered.wait(), ANSWER_SECONDS_MAX)
    assert answered.is_set()


def _frames_that_fit() -> int:
    """Number of Python calls that the stack still has room for."""
    try:
        return 1 + _frames_that_fit()
    except RecursionError:
        return 0


def _put_deep_down(queue: CommitQueue, pending: Pending, frames: int) -> bool:
    """Put an event with this many frames above; False when the stack was too small."""
    try:
        if frames:
            return _put_deep_down(queue, pending, frames - 1)
        queue.put(pending)
    except RecursionError:
        return False
    return True
