"""Counts attempts: for the metrics of this process, and for the counters in the store."""

from __future__ import annotations

import msgspec

from headrace.delivery.contract import Failed
from headrace.pipeline.delivering.results import Ended, outcome_of
from headrace.store.contract.delivery_counts import AttemptCounts
from headrace.store.deliveries.delivery_counts import DeliveryCounts


class DelivererStats(msgspec.Struct):
    """Counters since start."""

    delivered: int = 0
    failed: int = 0
    #: Attempts whose claim was lost meanwhile; another worker has made or makes another.
    stale: int = 0
    rescued: int = 0
    unroutable: int = 0


class AttemptCounter:
    """Adds up counts that are written every few seconds; a crash loses the unwritten ones."""

    def __init__(self, store: DeliveryCounts, stats: DelivererStats) -> None:
        self._store = store
        self._stats = stats
        self._unwritten = AttemptCounts()

    def observe(self, one: Ended, *, ours: bool) -> None:
        """Count an attempt; `ours`: whether this worker still held its claim by then."""
        seconds = one.outcome.duration_us / 1e6
        self._unwritten.observe(outcome_of(one, ours=ours), seconds)
        if not ours:
            self._stats.stale += 1
        elif isinstance(one.outcome, Failed):
            self._stats.failed += 1
        else:
            self._stats.delivered += 1

    async def write(self) -> None:
        """Write the counts since the last write.

        Raises:
            StoreError: they are kept for the next write.
        """
        if not self._unwritten.outcomes:
            return
        written, self._unwritten = self._unwritten, AttemptCounts()
        try:
            await self._store.add_counts(written)
        except BaseException:
            written.add(self._unwritten)
            self._unwritten = written
            raise
