"""Probes whether commits succeed again while no events arrive."""

from __future__ import annotations

import asyncio

from headrace.pipeline.intake.commit_queue import CommitQueue
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.contract.errors import StoreError
from headrace.store.store import Store

EVERY_SECONDS = 1.0
TRIAL_SECONDS_MAX = 5.0


class CommitTrials:
    """Commits a trial once a second after a commit has failed, until one succeeds.

    A server that is not ready gets no events from its load balancer, so it would never learn that
    they can be stored again.
    """

    def __init__(self, store: Store, queue: CommitQueue) -> None:
        self._store = store
        self._queue = queue

    async def run(self) -> None:
        """Try until cancelled."""
        options = LoopOptions(name="commit_trials", pause_s=EVERY_SECONDS, pause_first=True)
        await Loop(self.run_once, options).run()

    async def run_once(self) -> None:
        """Commit a trial if the last commit failed and no queued event will show the state."""
        failure = self._queue.failure
        if failure is None or self._queue.unsettled:
            return
        try:
            async with asyncio.timeout(TRIAL_SECONDS_MAX):
                await self._store.try_commit()
        except (StoreError, TimeoutError):
            return
        if self._queue.failure is failure:
            self._queue.failure = None
