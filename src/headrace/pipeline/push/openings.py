"""The loop that emits the events of openings once the tap is over."""

from __future__ import annotations

from collections.abc import Callable

from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.push.reports import Reports

#: Openings of one transaction.
SLICE_MAX = 50
IDLE_SECONDS = 0.5
#: The pause doubles up to this while there is nothing to do.
IDLE_SECONDS_MAX = 2.0
ERROR_SECONDS = 1.0


class Openings:
    """Emits slice by slice. With several workers, one of them emits each."""

    def __init__(self, reports: Reports, clock_us: Callable[[], int]) -> None:
        self._reports = reports
        self._clock_us = clock_us

    async def run(self) -> None:
        """Emit until cancelled."""
        options = LoopOptions(
            name="openings",
            pause_s=IDLE_SECONDS,
            idle_max_s=IDLE_SECONDS_MAX,
            error_s=ERROR_SECONDS,
        )
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        settled = await self._reports.settle(self._clock_us(), SLICE_MAX)
        return None if settled < SLICE_MAX else 0.0
