"""The loop that removes what has expired.

One sweep a minute. It goes from project to project, a page of events each in turn, and removes in
transactions of a few milliseconds with pauses between them, so that accepting and processing
hardly notice. Each sweep continues where the last one ended; now and then one starts over, for
events that were not finished when it passed them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec
import structlog

from headrace.domain.access.policies import Policies
from headrace.domain.upkeep.retention import (
    DAY_US,
    DOUBT_US,
    HOUR_US,
    SliceSize,
    first_clock,
    trusted_clock,
)
from headrace.observability.events import (
    RETENTION_CLOCK_DOUBTED,
    RETENTION_SWEPT,
    STORE_UNAVAILABLE,
)
from headrace.pipeline.leadership import AcquireLeadership, Leadership
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.access.projects import Projects
from headrace.store.contract.errors import StoreError
from headrace.store.contract.retention import DueEvent, Removed, RetentionState
from headrace.store.upkeep.retention import StoreRetention

SWEEP_EVERY_SECONDS = 60.0
#: A sweep that takes longer continues in the next one, after the state is saved.
SWEEP_SECONDS_MAX = 60.0
#: Sweeps between those that start over at the oldest event.
SWEEPS_BETWEEN_FULL = 15
#: Events read at a time.
PAGE = 500
#: How long one transaction should take, from requesting it to its commit on the disk. While others
#: keep the store busy it takes longer, and the slices become smaller.
SLICE_SECONDS = 0.004
#: Payload that one transaction removes: long ones free hundreds of pages each.
SLICE_PAYLOAD_BYTES = 1024 * 1024
#: Pause after a transaction, as a multiple of its length: the lock is free for that long.
PAUSE_TIMES = 9
#: The same while retention lags far behind: then catching up comes first.
PAUSE_TIMES_BEHIND = 3
BEHIND_US = 6 * HOUR_US
PAUSE_SECONDS_MIN = 0.005
#: Name of the leadership, and how long it holds without renewal.
LEADERSHIP = "retention"
LEADERSHIP_SECONDS = 60.0
STANDBY_SECONDS = 10.0
ERROR_SECONDS = 5.0
#: Including a full disk: the store has released its reserve, so the next attempt finds room for the
#: log of a deletion.
FAILURES = dict.fromkeys((StoreError, msgspec.MsgspecError, ValueError), STORE_UNAVAILABLE)

_log = structlog.get_logger()


class RetentionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the loop depends on besides the store."""

    #: Name of this process.
    owner: str
    acquire_leadership: AcquireLeadership
    clock_us: Callable[[], int]
    #: Seconds of a clock that nobody can set.
    monotonic_s: Callable[[], float] = time.monotonic
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep


class SweepReport(msgspec.Struct, kw_only=True):
    """What one sweep did."""

    events: int = 0
    dead_letters: int = 0
    rows: int = 0
    slices: int = 0
    #: In transactions, waiting for them included.
    seconds: float = 0.0
    #: See `RetentionState.lag_us`.
    lag_us: int = 0
    #: Whether it removed all that is due.
    finished: bool = True

    def add(self, removed: Removed, seconds: float) -> None:
        """Count a transaction."""
        self.events += removed.events
        self.dead_letters += removed.dead_letters
        self.rows += removed.rows
        self.seconds += seconds
        self.slices += 1


class _Place:
    """How far the sweep is in one project."""

    __slots__ = ("cutoff_us", "lag_us", "position", "project_id")

    def __init__(self, project_id: int, cutoff_us: int, position: int) -> None:
        self.project_id = project_id
        self.cutoff_us = cutoff_us
        self.position = position
        self.lag_us = 0


class EventRetention:
    """Sweeps; `state` has the all-time totals, for metrics."""

    def __init__(
        self, store: StoreRetention, projects: Projects, options: RetentionOptions
    ) -> None:
        self.state: RetentionState | None = None
        self._store = store
        self._projects = projects
        self._options = options
        self._slice = SliceSize(SLICE_SECONDS)
        self._positions: dict[int, int] = {}
        self._sweeps_until_full = 0
        self._ticked_at: float | None = None
        self._unsaved: SweepReport | None = None
        self._leadership = Leadership(
            options.acquire_leadership,
            LEADERSHIP,
            owner=options.owner,
            lease_s=LEADERSHIP_SECONDS,
            clock_us=lambda: round(options.monotonic_s() * 1_000_000),
        )

    async def run(self) -> None:
        """Sweep until cancelled; an error is logged and retried after a pause."""
        options = LoopOptions(
            name="retention",
            pause_s=SWEEP_EVERY_SECONDS,
            error_s=ERROR_SECONDS,
            failures=FAILURES,
        )
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        if not await self._is_leader():
            return STANDBY_SECONDS
        return None if (await self.run_once()).finished else PAUSE_SECONDS_MIN

    async def run_once(self) -> SweepReport:
        """Sweep all projects once, or for as long as a sweep may take.

        1. move retention's clock on; 2. remove dead letters past their time; 3. drop parts of
        the store that are past theirs as a whole; 4. remove other events past theirs, the projects
        taking turns; 5. save totals and clock.

        Raises:
            StoreError: something could not be read or removed. The next sweep that finishes counts
            what was removed.
        """
        clock_us, wall_us = await self._tick()
        report = self._unsaved = self._unsaved or SweepReport()
        report.finished, report.lag_us = True, 0
        deadline = self._options.monotonic_s() + SWEEP_SECONDS_MAX
        policies = (await self._projects.access()).policies
        for project_id, policy in policies.items():
            before_us = clock_us - policy.dead_letter_retention_days * DAY_US
            await self._remove_dead_letters(project_id, before_us, report, deadline)
        places = self._places(policies, clock_us)
        await self._drop_due(places, report, deadline)
        await self._remove_events(places, wall_us, report, deadline)
        report.lag_us += max(0, wall_us - clock_us)
        await self._save(report, clock_us, wall_us)
        self._unsaved = None
        return report

    async def _tick(self) -> tuple[int, int]:
        """Retention's clock and the wall clock."""
        wall_us, now_s = self._options.clock_us(), self._options.monotonic_s()
        state = self.state
        if state is None or self._ticked_at is None:
            # Totals in the store may have grown while another process was the leader.
            state = await self._store.state()
            self._ticked_at = now_s
        if state is None:
            newest_us = await self._store.newest_received_us()
            state = RetentionState(clock_us=first_clock(wall_us, newest_us))
        elapsed_us = int((now_s - self._ticked_at) * 1_000_000)
        clock_us = trusted_clock(state.clock_us, wall_us, elapsed_us)
        self._ticked_at = now_s
        self.state = msgspec.structs.replace(state, clock_us=clock_us)
        if wall_us - clock_us > DOUBT_US:
            _log.warning(RETENTION_CLOCK_DOUBTED, ahead_s=(wall_us - clock_us) // 1_000_000)
        return clock_us, wall_us

    def _places(self, policies: dict[int, Policies], clock_us: int) -> list[_Place]:
        if self._sweeps_until_full == 0:
            self._positions.clear()
            self._sweeps_until_full = SWEEPS_BETWEEN_FULL
        return [
            _Place(
                project_id,
                clock_us - policy.event_retention_days * DAY_US,
                self._positions.get(project_id, 0),
            )
            for project_id, policy in policies.items()
        ]

    async def _remove_dead_letters(
        self, project_id: int, before_us: int, report: SweepReport, deadline: float
    ) -> None:
        while self._options.monotonic_s() < deadline:
            started_s = self._options.monotonic_s()
            removed = await self._store.remove_dead_letters(project_id, before_us, self._slice.rows)
            if removed.dead_letters:
                report.add(removed, await self._rest(removed.dead_letters, started_s))
            if removed.complete:
                return
        report.finished = False

    async def _drop_due(
        self, places: Sequence[_Place], report: SweepReport, deadline: float
    ) -> None:
        before_us = {place.project_id: place.cutoff_us for place in places}
        while self._options.monotonic_s() < deadline:
            started_s = self._options.monotonic_s()
            removed = await self._store.drop_due(before_us)
            if removed.complete:
                return
            seconds = self._options.monotonic_s() - started_s
            report.add(removed, seconds)
            await self._options.pause(max(PAUSE_SECONDS_MIN, PAUSE_TIMES_BEHIND * seconds))
            await self._is_leader()
        report.finished = False

    async def _remove_events(
        self, places: Sequence[_Place], wall_us: int, report: SweepReport, deadline: float
    ) -> None:
        waiting = list(places)
        while waiting and self._options.monotonic_s() < deadline:
            waiting = [
                place for place in waiting if not await self._page(place, wall_us, report, deadline)
            ]
        if waiting:
            report.finished = False
            report.lag_us = max(place.lag_us for place in waiting)
        else:
            # Only a finished sweep counts, else a backlog would be restarted for ever.
            self._sweeps_until_full -= 1

    async def _page(
        self, place: _Place, wall_us: int, report: SweepReport, deadline: float
    ) -> bool:
        """Remove what is due on one page; returns whether the project is done."""
        page = await self._store.find_due(
            place.project_id, place.cutoff_us, wall_us, place.position, PAGE
        )
        if page.received_us is not None:
            place.lag_us = max(0, place.cutoff_us - page.received_us)
        waiting = list(page.due)
        while waiting:
            if self._options.monotonic_s() >= deadline:
                return False
            events = list(_slice_of(waiting, self._slice.rows))
            started_s = self._options.monotonic_s()
            removed = await self._store.remove_events(place.project_id, events)
            report.add(removed, await self._rest(len(events), started_s, place.lag_us))
            if removed.complete:
                del waiting[: len(events)]
        place.position = self._positions[place.project_id] = page.position
        return page.end

    async def _rest(self, rows: int, started_s: float, lag_us: int = 0) -> float:
        """Adapt the slice size and leave the store to others; returns its seconds."""
        seconds = self._options.monotonic_s() - started_s
        self._slice.observe(rows, seconds)
        times = PAUSE_TIMES if lag_us < BEHIND_US else PAUSE_TIMES_BEHIND
        await self._options.pause(max(PAUSE_SECONDS_MIN, times * seconds))
        await self._is_leader()
        return seconds

    async def _save(self, report: SweepReport, clock_us: int, wall_us: int) -> None:
        before = self.state or RetentionState(clock_us=clock_us)
        state = RetentionState(
            clock_us=clock_us,
            at_us=wall_us,
            events=before.events + report.events,
            dead_letters=before.dead_letters + report.dead_letters,
            rows=before.rows + report.rows,
            slices=before.slices + report.slices,
            seconds=before.seconds + report.seconds,
            lag_us=report.lag_us,
        )
        await self._store.save(state)
        self.state = state
        if report.rows:
            _log.info(
                RETENTION_SWEPT,
                events=report.events,
                rows=report.rows,
                seconds=round(report.seconds, 3),
                lag_s=report.lag_us // 1_000_000,
            )

    async def _is_leader(self) -> bool:
        """Keep or acquire leadership.

        Two that sweep at once only do the work twice, so losing it in mid-sweep needs no fencing.
        """
        held = await self._leadership.is_held()
        if not held:
            self._ticked_at = None
        return held


def _slice_of(due: Sequence[DueEvent], rows_max: int) -> Iterator[DueEvent]:
    """The first few, by rows and by payload, one at least."""
    payload_bytes = 0
    for number, event in enumerate(due):
        payload_bytes += event.payload_bytes
        if number and (number >= rows_max or payload_bytes > SLICE_PAYLOAD_BYTES):
            return
        yield event
