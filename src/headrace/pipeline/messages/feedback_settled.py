"""The loop that applies reports whose message was still being sent when they came."""

from __future__ import annotations

from collections.abc import Callable

from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.messages.feedback.notifications import Notifications

#: Reports of one transaction.
SLICE_MAX = 50
IDLE_SECONDS = 0.5
#: The pause doubles up to this while there is nothing to do.
IDLE_SECONDS_MAX = 4.0
ERROR_SECONDS = 1.0


class FeedbackSettled:
    """Applies slice by slice. With several workers, one of them applies each report."""

    def __init__(self, notifications: Notifications, clock_us: Callable[[], int]) -> None:
        self._notifications = notifications
        self._clock_us = clock_us

    async def run(self) -> None:
        """Apply until cancelled."""
        options = LoopOptions(
            name="feedback",
            pause_s=IDLE_SECONDS,
            idle_max_s=IDLE_SECONDS_MAX,
            error_s=ERROR_SECONDS,
        )
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        settled = await self._notifications.settle_waiting(self._clock_us(), SLICE_MAX)
        return None if settled < SLICE_MAX else 0.0
