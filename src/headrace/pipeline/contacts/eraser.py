"""The loop that forgets people, slice by slice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog

from headrace.observability.events import ERASURE_DONE, STORE_UNAVAILABLE
from headrace.store.contract.erasures import Erasure, ErasureStatus
from headrace.store.contract.events import StoreError
from headrace.store.contract.processing import ProcessingStore
from headrace.store.privacy.erasures import Erasures

#: One worker at a time has it; two would only do the work twice.
LEADERSHIP = "erasures"
LEADERSHIP_SECONDS = 15.0
#: Events of one transaction: a few milliseconds of write lock.
SLICE_MAX = 100
SLICE_SECONDS = 0.02
#: Between two looks for something to do.
IDLE_SECONDS = 0.2
ERROR_SECONDS = 1.0
#: Erasures that are worked at once, over all projects.
ERASURES_MAX = 100
#: Wiping files holds up all writing: it takes no more than this share of the time.
WIPING_SHARE = 0.05

_log = structlog.get_logger()


class ErasureReport(msgspec.Struct, frozen=True):
    """What one round did."""

    #: Erasures that go on.
    running: int
    #: Erasures that were finished.
    done: int


class Eraser:
    """Gives every running erasure a slice in turn; when none runs, wipes what they left.

    Args:
        duties: tells which worker erases.
        owner: name of this process, see `headrace.process_names`.
        clock_us: microseconds since 1970.
        monotonic_s: measures how long wiping takes.
    """

    def __init__(
        self,
        erasures: Erasures,
        duties: ProcessingStore,
        *,
        owner: str,
        clock_us: Callable[[], int],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._erasures = erasures
        self._leadership = duties
        self._owner = owner
        self._clock_us = clock_us
        self._monotonic_s = monotonic_s
        self._renew_at_us = 0
        self._wipe_at_s = 0.0

    async def run(self) -> None:
        """Erase until cancelled; an error is logged and waited out, never the end."""
        while True:
            try:
                report = await self.run_once()
            except StoreError as error:
                _log.warning(STORE_UNAVAILABLE, loop="eraser", error=str(error))
                await asyncio.sleep(ERROR_SECONDS)
            else:
                await asyncio.sleep(SLICE_SECONDS if report.running else IDLE_SECONDS)

    async def run_once(self) -> ErasureReport:
        """One slice of every running erasure, or the wiping of those that have none left.

        Raises:
            StoreError: the store cannot do it now; what is gone is counted.
        """
        found = await self._erasures.unfinished(ERASURES_MAX)
        if not found or not await self._is_leader():
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

    async def _is_leader(self) -> bool:
        now_us = self._clock_us()
        if now_us < self._renew_at_us:
            return True
        lease_us = int(LEADERSHIP_SECONDS * 1_000_000)
        if await self._leadership.acquire_leadership(LEADERSHIP, self._owner, lease_us) is None:
            return False
        self._renew_at_us = now_us + lease_us // 3
        return True
