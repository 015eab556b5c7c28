"""Live feed of accepted events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from headrace.domain.events.event import NewEvent
from headrace.domain.ids import first_sequence_at
from headrace.store.contract.commits import Pending

#: Backlog of a slow watcher; past it, the oldest events are dropped and counted.
BACKLOG_MAX = 1000
#: Two processes agree about the time of the store to within this.
_CLOCK_SLACK_US = 50_000


class Watcher:
    """One reader of the live feed of a project."""

    def __init__(self, project_id: int) -> None:
        self.project_id = project_id
        self._events: deque[NewEvent] = deque()
        self._arrived = asyncio.Event()
        self._missed = 0

    def offer(self, event: NewEvent) -> None:
        """Add an event; drops the oldest when the reader is too slow."""
        if len(self._events) >= BACKLOG_MAX:
            self._events.popleft()
            self._missed += 1
        self._events.append(event)
        self._arrived.set()

    def wake(self) -> None:
        """End a wait before its time."""
        self._arrived.set()

    async def next(self, timeout_s: float) -> tuple[list[NewEvent], int]:
        """Wait for events; `(events, missed before them)`, both empty when none came in time."""
        try:
            await asyncio.wait_for(self._arrived.wait(), timeout_s)
        except TimeoutError:
            return [], 0
        self._arrived.clear()
        events, missed = list(self._events), self._missed
        self._events.clear()
        self._missed = 0
        return events, missed


class Followed:
    """A watched project, where other processes accept events too."""

    __slots__ = ("offered", "start")

    def __init__(self, start: int) -> None:
        #: First sequence that is for the watchers.
        self.start = start
        #: Sequences that were offered recently.
        self.offered: set[int] = set()

    def forget(self, up_to: int) -> None:
        """Forget sequences that cannot come again."""
        self.offered = {sequence for sequence in self.offered if sequence > up_to}


class LiveFeed:
    """Hands committed events to the watchers of their project.

    Args:
        clock_us: the clock of the store where other processes accept events too; then what is
            offered is remembered in `followed`, so that nothing is offered twice.
    """

    def __init__(self, clock_us: Callable[[], int] | None = None) -> None:
        self._watchers: set[Watcher] = set()
        self._clock_us = clock_us
        self.followed: dict[int, Followed] = {}

    def watch(self, project_id: int) -> Watcher:
        """Start watching; `Streams` limits how many do."""
        if self._clock_us is not None and project_id not in self.followed:
            start = first_sequence_at(self._clock_us() - _CLOCK_SLACK_US)
            self.followed[project_id] = Followed(start)
        watcher = Watcher(project_id)
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Stop watching."""
        self._watchers.discard(watcher)
        if all(other.project_id != watcher.project_id for other in self._watchers):
            self.followed.pop(watcher.project_id, None)

    def publish(self, batch: list[Pending]) -> None:
        """Offer what a commit stored; nearly free while nobody watches."""
        if not self._watchers:
            return
        for pending in batch:
            if pending.outcome is None:
                self.offer(pending.event)

    def offer(self, event: NewEvent) -> None:
        """Offer a stored event to the watchers of its project, unless they had it."""
        followed = self.followed.get(event.project_id)
        if followed is not None:
            if event.sequence in followed.offered:
                return
            followed.offered.add(event.sequence)
        for watcher in self._watchers:
            if watcher.project_id == event.project_id:
                watcher.offer(event)
