"""The loop that starts runs of automations and advances them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from headrace.observability.events import AUTOMATION_FAILED, LEADERSHIP_ACQUIRED
from headrace.pipeline.leadership import Leadership
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.automations.work import LEADERSHIP, TIMERS_MAX, AutomationWork
from headrace.store.contract.automations import Worked
from headrace.store.contract.errors import StoreError
from headrace.store.contract.processing import ProcessingStore

LEADERSHIP_SECONDS = 15.0
#: Seconds between two polls while nothing is due: an event of another worker waits so long.
IDLE_SECONDS = 0.2
#: The same while another worker leads.
STANDBY_SECONDS = 1.0
ERROR_SECONDS = 1.0

_log = structlog.get_logger()


class RunnerStats(msgspec.Struct):
    """Counters since start."""

    started: int = 0
    failed: int = 0


class AutomationRunner:
    """Applies events of the inbox, then advances runs that are due, and repeats.

    Events come first: a timer waits for events that were received before it was due.

    Args:
        duties: decides which worker leads. One worker applies events and timers of all contacts, so
            an event and a timer can never advance a run at the same time.
        owner: name of this process, see `headrace.process_names`.
        clock_us: microseconds since 1970.
    """

    def __init__(
        self,
        work: AutomationWork,
        duties: ProcessingStore,
        *,
        owner: str,
        clock_us: Callable[[], int],
    ) -> None:
        self.stats = RunnerStats()
        #: Called when messages may have been queued.
        self.on_worked: Callable[[], None] = lambda: None
        self._work = work
        self._owner = owner
        self._clock_us = clock_us
        self._leadership = Leadership(
            duties.acquire_leadership,
            LEADERSHIP,
            owner=owner,
            lease_s=LEADERSHIP_SECONDS,
            clock_us=clock_us,
        )
        self._epoch: int | None = None
        options = LoopOptions(
            name="automations", pause_s=STANDBY_SECONDS, error_s=ERROR_SECONDS, survives_faults=True
        )
        self._loop = Loop(self._step, options)

    def wake(self) -> None:
        """Events may be in the inbox."""
        self._loop.wake()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._loop.run()

    async def _step(self) -> float | None:
        try:
            if not await self._leads():
                return None
            return 0.0 if await self.run_once() else await self._pause()
        except StoreError:
            self._leadership.doubt()
            raise

    async def _pause(self) -> float:
        next_us = (await self._work.due()).next_us
        if next_us is None:
            return IDLE_SECONDS
        return min(max(next_us - self._clock_us(), 0) / 1_000_000, IDLE_SECONDS)

    async def _leads(self) -> bool:
        epoch = await self._leadership.epoch()
        if epoch is not None and epoch != self._epoch:
            _log.info(LEADERSHIP_ACQUIRED, task=LEADERSHIP, epoch=epoch)
        self._epoch = epoch
        return epoch is not None

    async def run_once(self) -> bool:
        """One batch of events and one of timers; returns whether more may be due at once.

        Raises:
            LeadershipLostError: another worker leads.
            StoreError: the store is unavailable; nothing of the last batch was changed.
        """
        # Usually nothing is due: then the write lock of SQLite is not taken.
        due, now_us = await self._work.due(), self._clock_us()
        events = timers = tasks = Worked()
        if due.has_tasks:
            tasks = await self._work.work_tasks(self._owner)
        if due.event_us is not None and due.event_us <= now_us:
            events = await self._work.work_events(self._owner)
        # A run that an event has made due waits for the next round.
        if due.run_us is not None and due.run_us <= now_us:
            timers = await self._work.work_timers(self._owner)
        failed = events.failed + timers.failed + tasks.failed
        self.stats.started += events.started
        self.stats.failed += failed
        if failed:
            _log.warning(AUTOMATION_FAILED, inputs=failed)
        if events.events or timers.timers or tasks.timers:
            self.on_worked()
        return bool(events.events) or bool(tasks.timers) or timers.timers == TIMERS_MAX
