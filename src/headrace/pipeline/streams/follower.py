"""Brings what other processes accept to those who watch here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from headrace.domain.ids import first_sequence_at
from headrace.observability.events import STORE_UNAVAILABLE
from headrace.pipeline.streams.live import BACKLOG_MAX, LiveFeed
from headrace.store.contract.events import ArrivalStore, StoreError

POLL_SECONDS = 0.3
#: An event gets its sequence when it is received and can be read when it is committed; what takes
#: longer than this is not shown live.
OVERLAP_US = 5_000_000

_log = structlog.get_logger()


class LiveFollower:
    """Looks for new events of the projects that somebody watches; asks nothing while nobody does.

    Every look goes back over the last seconds, since commits do not come in the order of receipt.
    What was offered already is left out.
    """

    def __init__(self, arrivals: ArrivalStore, live: LiveFeed, clock_us: Callable[[], int]) -> None:
        self._arrivals = arrivals
        self._live = live
        self._clock_us = clock_us

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.run_once()
            except StoreError as error:
                _log.warning(STORE_UNAVAILABLE, loop="live", error=str(error))
            await asyncio.sleep(POLL_SECONDS)

    async def run_once(self) -> None:
        """Offer what has come since the last time."""
        horizon = first_sequence_at(self._clock_us() - OVERLAP_US)
        for project_id, followed in list(self._live.followed.items()):
            above = max(horizon, followed.start)
            followed.forget(above)
            arrived = await self._arrivals.arrived(project_id, above, followed.offered, BACKLOG_MAX)
            for event in arrived:
                self._live.offer(event)
