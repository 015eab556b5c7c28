"""The loop that erases people in small transactions."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import structlog

from headrace.observability.events import ERASURE_DONE
from headrace.pipeline.leadership import Leadership
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.contract.erasures import Erasure, ErasureStatus
from headrace.store.contract.processing import ProcessingStore
from headrace.store.privacy.erasures import Erasures

#: One worker at a time erases; two would only do the work twice.
LEADERSHIP = "erasures"
LEADERSHIP_SECONDS = 15.0
#: Events of one transaction: a few milliseconds of write lock.
SLICE_MAX = 100
SLICE_SECONDS = 0.02
#: Seconds between two polls while there is nothing to do.
IDLE_SECONDS = 0.2
#: The pause doubles up to this while there is nothing to do.
IDLE_SECONDS_MAX = 4.0
ERROR_SECONDS = 1.0
#: Erasures in progress at once, over all projects.
ERASURES_MAX = 100
#: Wiping files blocks all writes: it takes at most this share of the time.
WIPING_SHARE = 0.05

_log = structlog.get_logger()


class ErasureReport(msgspec.Struct, frozen=True):
    """What one round did."""

    #: Erasures still running.
    running: int
    #: Erasures finished.
    done: int


class Eraser:
    """Gives every running erasure a slice in turn; when none runs, wipes what they left.

    Args:
        leadership_store: decides which worker leads.
        owner: name of this process, see `headrace.process_names`.
        clock_us: microseconds since 1970.
        monotonic_s: measures how long wiping takes.
    """

    def __init__(
        self,
        erasures: Erasures,
        leadership_store: ProcessingStore,
        *,
        owner: str,
        clock_us: Callable[[], int],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._erasures = erasures
        self._leadership = Leadership(
            leadership_store.acquire_leadership,
            LEADERSHIP,
            owner=owner,
            lease_s=LEADERSHIP_SECONDS,
            clock_us=clock_us,
        )
        self._clock_us = clock_us
        self._monotonic_s = monotonic_s
        self._wipe_at_s = 0.0

    async def run(self) -> None:
        """Erase until cancelled."""
        options = LoopOptions(
            name="eraser",
            pause_s=IDLE_SECONDS,
            idle_max_s=IDLE_SECONDS_MAX,
            error_s=ERROR_SECONDS,
        )
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        return SLICE_SECONDS if (await self.run_once()).running else None

    async def run_once(self) -> ErasureReport:
        """One slice of every running erasure, or the wiping of those that have none left.

        Raises:
            StoreError: the store is unavailable; what was erased is counted.
        """
        found = await self._erasures.unfinished(ERASURES_MAX)
        if not found or not await self._leadership.is_held():
            return ErasureReport(0, 0)
        running = 0
        for erasure in found:
            if erasure.status is not ErasureStatus.WIPING:
                running += await self._erasures.advance(erasure.id, SLICE_MAX, self._clock_us())
        wiping = [e for e in found if e.status is ErasureStatus.WIPING]
        if running or not wiping:
            return ErasureReport(running or len(found), 0)
        return ErasureReport(0, await self._wipe(wiping))

    async def _wipe(self, wiping: list[Erasure]) -> int:
        started_s = self._monotonic_s()
        if started_s < self._wipe_at_s or not await self._erasures.wipe(self._clock_us()):
            return 0
        ended_s = self._monotonic_s()
        self._wipe_at_s = ended_s + (ended_s - started_s) / WIPING_SHARE
        for erasure in wiping:
            _log.info(ERASURE_DONE, erasure=erasure.id, rows=sum(erasure.counts.values()))
        return len(wiping)
