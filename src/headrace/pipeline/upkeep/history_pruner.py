"""The loop that removes expired counters, ended replays and audit entries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from headrace.pipeline.loop import Loop, LoopOptions

EVERY_SECONDS = 30.0
#: Rows of one transaction, and the pause after one that was full.
ROWS_MAX = 200
PAUSE_SECONDS = 0.05

#: Removes rows that have expired at a time, up to a limit; returns how many.
Prune = Callable[[int, int], Awaitable[int]]


class HistoryPruner:
    """Removes in small transactions. It needs no leader: two at once only do the work twice.

    Args:
        prunes: each is called until it removes nothing.
    """

    def __init__(
        self,
        prunes: Sequence[Prune],
        clock_us: Callable[[], int],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._prunes = prunes
        self._clock_us = clock_us
        self._pause = pause

    async def run(self) -> None:
        """Prune until cancelled."""
        options = LoopOptions(name="pruning", pause_s=EVERY_SECONDS, pause_first=True)
        await Loop(self._step, options).run()

    async def _step(self) -> None:
        await self.run_once()

    async def run_once(self) -> int:
        """Remove all that is due; returns how many rows.

        Raises:
            StoreError: the store is unavailable.
        """
        total = 0
        for prune in self._prunes:
            while removed := await prune(self._clock_us(), ROWS_MAX):
                total += removed
                await self._pause(PAUSE_SECONDS)
        return total
