"""An open store that commits, for tests that are plain functions."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from headrace.domain.events.event import FirstCopy, NewEvent
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError, StoreFailedError
from headrace.store.store import Store
from tests.support.places import Place

T = TypeVar("T")
Outcome = FirstCopy | StoreError | None

ANSWER_SECONDS_MAX = 20.0


class Batches:
    """A commit source with the test's own batches, neither split nor joined."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[list[Pending]] = queue.SimpleQueue()
        self._settled: queue.SimpleQueue[list[Pending]] = queue.SimpleQueue()
        #: Called on the store's thread with each batch whose outcomes are set.
        self.on_settle: Callable[[list[Pending]], None] = lambda _: None

    def give(self, batch: list[Pending]) -> None:
        self._waiting.put(batch)

    def take(self, committer: int = 0) -> list[Pending]:
        # A test waits for one batch at a time: the first committer commits it.
        del committer
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return []

    def settle(self, batch: list[Pending]) -> None:
        self.on_settle(batch)
        self._settled.put(batch)

    def give_up(self, committer: int, error: StoreError) -> None:
        """Do nothing: no test here waits for outcomes during a stop."""

    def wait_settled(self) -> list[Pending]:
        return self._settled.get(timeout=ANSWER_SECONDS_MAX)


class StoreSession:
    """An open store of a place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.failures: list[StoreFailedError] = []
        self.batches = Batches()
        self._runner = asyncio.Runner()
        self.store: Store = self._runner.run(place.open())
        self.store.start_committing(self.batches, self.failures.append)
        self._open = True

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one coroutine of the store."""
        return self._runner.run(work)

    def accept(self, *events: NewEvent) -> list[Outcome]:
        """Commit events as one batch; returns their outcomes in the same order."""
        return self.run(self.accepted(*events))

    async def accepted(self, *events: NewEvent) -> list[Outcome]:
        """The same while something else runs on the loop."""
        batch = self.give(*events)
        settled = await self.settled()
        assert settled == batch
        return [pending.outcome for pending in settled]

    def give(self, *events: NewEvent) -> list[Pending]:
        """Submit events as one batch without waiting."""
        batch = [Pending(event, lambda _: None) for event in events]
        self.batches.give(batch)
        self.store.wake()
        return batch

    async def settled(self) -> list[Pending]:
        """Wait for a batch, whether the store works on a thread of its own or on this loop."""
        return await asyncio.to_thread(self.batches.wait_settled)

    def stored_ids(self) -> Sequence[bytes]:
        """Ids of all committed events in order of receipt."""
        return [row[0] for row in self.place.run_sql("SELECT id FROM events ORDER BY sequence")]

    def close(self) -> None:
        """Close the store; more than once is fine."""
        if self._open:
            self._runner.run(self.store.close())
            self.left()

    def left(self) -> None:
        """Note that the test has closed the store itself."""
        self._open = False
        self._runner.close()
