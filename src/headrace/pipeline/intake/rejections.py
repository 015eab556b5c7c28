"""Records rejections without slowing down accepted requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import structlog

from headrace.observability.events import REJECTIONS_DROPPED
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.access.rejections import Rejections
from headrace.store.contract.errors import StoreError
from headrace.store.contract.rejections import Rejection

#: Rejections that may wait to be written. A flood repeats the same ones.
WAITING_MAX = 2000
FLUSH_SECONDS = 0.25
BATCH_MAX = 500
KEPT_US = 7 * 24 * 3600 * 1_000_000
KEPT_PER_PROJECT = 10_000
PRUNE_EVERY_FLUSHES = 40
#: Rejections of these are events that were sent and not accepted. Those of other routes are kept in
#: the same log, but say nothing about ingestion.
EVENT_ROUTES = frozenset({"POST /events", "POST /events/batch"})
PRUNED_AT_ONCE = 1000

_log = structlog.get_logger()


class RejectionLog:
    """Collects rejections and writes them a few times a second."""

    def __init__(self, store: Rejections, clock_us: Callable[[], int]) -> None:
        self._store = store
        self._clock_us = clock_us
        #: Called with the project of each rejected event, or request with events.
        self.on_added: Callable[[int], None] = lambda _: None
        self._waiting: deque[Rejection] = deque()
        self._flushes = 0
        self.dropped = 0

    def add(self, rejection: Rejection) -> None:
        """Queue a rejection; past the limit it is only counted."""
        if rejection.route in EVENT_ROUTES:
            self.on_added(rejection.project_id)
        if len(self._waiting) < WAITING_MAX:
            self._waiting.append(rejection)
        else:
            self.dropped += 1

    async def flush(self) -> None:
        """Write what waits; a failing store loses rejections, nothing else."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
            try:
                await self._store.add(batch)
            except StoreError as error:
                self.dropped += len(batch)
                _log.warning(REJECTIONS_DROPPED, count=len(batch), error=str(error))
                return

    async def prune(self) -> int:
        """Remove rejections past the age or count limit; returns how many."""
        try:
            return await self._store.prune(
                self._clock_us() - KEPT_US, KEPT_PER_PROJECT, PRUNED_AT_ONCE
            )
        except StoreError:
            return 0

    async def run(self) -> None:
        """Flush and prune until cancelled."""
        options = LoopOptions(name="rejections", pause_s=FLUSH_SECONDS, pause_first=True)
        await Loop(self._step, options).run()

    async def _step(self) -> None:
        if self._waiting:
            await self.flush()
        self._flushes += 1
        if self._flushes % PRUNE_EVERY_FLUSHES == 0:
            await self.prune()
