"""The loop that judges hits on links and pixels once their burst is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from headrace.observability.events import STORE_UNAVAILABLE
from headrace.store.contract.events import StoreError
from headrace.store.messages.engagement import Engagements

#: Hits of one transaction.
SLICE_MAX = 50
IDLE_SECONDS = 0.5
ERROR_SECONDS = 1.0

_log = structlog.get_logger()


class HitsSettled:
    """Judges slice by slice. Of two workers that meet, one judges each hit."""

    def __init__(self, engagements: Engagements, clock_us: Callable[[], int]) -> None:
        self._engagements = engagements
        self._clock_us = clock_us

    async def run(self) -> None:
        """Judge until cancelled; an error is logged and waited out, never the end."""
        while True:
            try:
                settled = await self._engagements.settle(self._clock_us(), SLICE_MAX)
            except StoreError as error:
                _log.warning(STORE_UNAVAILABLE, loop="hits", error=str(error))
                await asyncio.sleep(ERROR_SECONDS)
            else:
                if settled < SLICE_MAX:
                    await asyncio.sleep(IDLE_SECONDS)
