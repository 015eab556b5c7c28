"""Counts accepted and rejected events, and response times.

Counted in memory on the event loop and written every few seconds in a transaction of its own, so
that ingest never waits for it. A crash loses a few seconds of counters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from headrace.domain.events.event import FirstCopy
from headrace.domain.upkeep.rollups import ACCEPTED, Outcome, Tally
from headrace.observability.events import STORE_UNAVAILABLE
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError
from headrace.store.contract.rollups import Counted
from headrace.store.upkeep.rollups import Rollups

FLUSH_SECONDS = 2.0
#: Minutes of projects that may wait while the store cannot be written to.
WAITING_MAX = 5_000
#: Rows of one transaction.
BATCH_MAX = 200
MINUTE_US = 60_000_000

_log = structlog.get_logger()


class AcceptRollups:
    """Adds up by project and minute.

    Args:
        clock_us: the clock of `received_us`.
    """

    def __init__(self, store: Rollups, clock_us: Callable[[], int]) -> None:
        self._store = store
        self._clock_us = clock_us
        self._waiting: dict[tuple[int, int], Tally] = {}
        self.dropped = 0

    def settled(self, batch: Sequence[Pending]) -> None:
        """Count a batch whose senders have their responses."""
        now_us = self._clock_us()
        for pending in batch:
            event, outcome = pending.event, pending.outcome
            if outcome is None:
                tally = self._tally(event.project_id, now_us)
                tally.counts[ACCEPTED + event.source] += 1
                tally.observe_accept(now_us - event.received_us)
            elif isinstance(outcome, FirstCopy):
                tally = self._tally(event.project_id, now_us)
                tally.counts[Outcome.DEDUPLICATED] += 1
                tally.observe_accept(now_us - event.received_us)

    def rejected(self, project_id: int) -> None:
        """Count a rejected request, or a rejected event of a batch."""
        self._tally(project_id, self._clock_us()).counts[Outcome.REJECTED] += 1

    def _tally(self, project_id: int, now_us: int) -> Tally:
        key = project_id, now_us // MINUTE_US
        tally = self._waiting.get(key)
        if tally is None:
            tally = Tally()
            if len(self._waiting) < WAITING_MAX:
                self._waiting[key] = tally
            else:
                self.dropped += 1
        return tally

    async def flush(self) -> None:
        """Write what waits; a store that cannot be written to keeps it waiting."""
        while self._waiting:
            batch = {key: self._waiting.pop(key) for key in [*self._waiting][:BATCH_MAX]}
            counted = [
                Counted(project_id, "", minute * MINUTE_US, tally)
                for (project_id, minute), tally in batch.items()
            ]
            try:
                await self._store.add(counted)
            except StoreError as error:
                _log.warning(STORE_UNAVAILABLE, loop="rollups", error=str(error))
                self._keep(batch)
                return

    def _keep(self, batch: dict[tuple[int, int], Tally]) -> None:
        for (project_id, minute), tally in batch.items():
            self._tally(project_id, minute * MINUTE_US).add(tally)

    async def run(self) -> None:
        """Flush until cancelled."""
        options = LoopOptions(name="rollups", pause_s=FLUSH_SECONDS, pause_first=True)
        await Loop(self.flush, options).run()
