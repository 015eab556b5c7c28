"""Brings events that other processes accept to the watchers of this one."""

from __future__ import annotations

from collections.abc import Callable

from headrace.domain.ids import first_sequence_at
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.streams.live import BACKLOG_MAX, LiveFeed
from headrace.store.contract.events import ArrivalStore

POLL_SECONDS = 0.3
#: An event gets its sequence when it is received and can be read when it is committed; what takes
#: longer than this is not shown live.
OVERLAP_US = 5_000_000


class LiveFollower:
    """Polls for new events of watched projects; idle while nobody watches.

    Every poll reads the last seconds again, since commits are not in the order of receipt. Events
    that were offered already are left out.
    """

    def __init__(self, arrivals: ArrivalStore, live: LiveFeed, clock_us: Callable[[], int]) -> None:
        self._arrivals = arrivals
        self._live = live
        self._clock_us = clock_us

    async def run(self) -> None:
        """Poll until cancelled."""
        options = LoopOptions(name="live", pause_s=POLL_SECONDS)
        await Loop(self.run_once, options).run()

    async def run_once(self) -> None:
        """Offer events committed since the last poll."""
        horizon = first_sequence_at(self._clock_us() - OVERLAP_US)
        for project_id, followed in list(self._live.followed.items()):
            above = max(horizon, followed.start)
            followed.forget(above)
            arrived = await self._arrivals.arrived(project_id, above, followed.offered, BACKLOG_MAX)
            for event in arrived:
                self._live.offer(event)
