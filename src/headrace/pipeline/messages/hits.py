"""The loop that judges hits on links and pixels once their burst is over."""

from __future__ import annotations

from collections.abc import Callable

from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.messages.feedback.engagement import Engagements

#: Hits of one transaction.
SLICE_MAX = 50
IDLE_SECONDS = 0.5
#: The pause doubles up to this while there is nothing to do.
IDLE_SECONDS_MAX = 4.0
ERROR_SECONDS = 1.0


class HitsSettled:
    """Judges slice by slice. With several workers, one of them judges each hit."""

    def __init__(self, engagements: Engagements, clock_us: Callable[[], int]) -> None:
        self._engagements = engagements
        self._clock_us = clock_us

    async def run(self) -> None:
        """Judge until cancelled."""
        options = LoopOptions(
            name="hits",
            pause_s=IDLE_SECONDS,
            idle_max_s=IDLE_SECONDS_MAX,
            error_s=ERROR_SECONDS,
        )
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        settled = await self._engagements.settle(self._clock_us(), SLICE_MAX)
        return None if settled < SLICE_MAX else 0.0
