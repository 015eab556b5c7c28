"""Accepted events as they happen, for whoever watches."""

from __future__ import annotations

import asyncio
from collections import deque

from headrace.domain.events import NewEvent
from headrace.store.contract import Pending

#: Events one slow watcher may fall behind before it loses the oldest and is told how many.
BACKLOG_MAX = 1000
#: Watchers of one process.
WATCHERS_MAX = 200


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


class LiveFeed:
    """Hands committed events to the watchers of their project."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    def watch(self, project_id: int) -> Watcher | None:
        """Start to watch; None when too many do."""
        if len(self._watchers) >= WATCHERS_MAX:
            return None
        watcher = Watcher(project_id)
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Stop to watch."""
        self._watchers.discard(watcher)

    def wake(self) -> None:
        """End all waits, so that the watchers see that the process stops."""
        for watcher in self._watchers:
            watcher.wake()

    def publish(self, batch: list[Pending]) -> None:
        """Offer what a commit stored; nearly free while nobody watches."""
        if not self._watchers:
            return
        for pending in batch:
            if pending.outcome is None:
                for watcher in self._watchers:
                    if watcher.project_id == pending.event.project_id:
                        watcher.offer(pending.event)
