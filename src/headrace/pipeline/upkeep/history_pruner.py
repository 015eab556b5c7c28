"""The loop that removes small things past their time: counters, ended replays, the audit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from headrace.pipeline.loop import Loop, LoopOptions

EVERY_SECONDS = 30.0
#: Rows of one transaction, and the pause after one that was full.
ROWS_MAX = 200
PAUSE_SECONDS = 0.05

#: Removes at most so many of what is past its time at a moment; how many it removed.
Prune = Callable[[int, int], Awaitable[int]]


class HistoryPruner:
    """Removes in small transactions. Two processes that do it at once only do it twice.

    Args:
        prunes: what to call again for as long as it removes something.
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
        """Remove all that is due; how many rows.

        Raises:
            StoreError: the store cannot do it now.
        """
        total = 0
        for prune in self._prunes:
            while removed := await prune(self._clock_us(), ROWS_MAX):
                total += removed
                await self._pause(PAUSE_SECONDS)
        return total
