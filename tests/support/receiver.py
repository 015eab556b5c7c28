"""A store that commits events through the real commit queue, as a serving process does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from headrace.domain.events.event import FirstCopy, NewEvent
from headrace.domain.events.identity import IdentityType, lane_of
from headrace.domain.ids import EventIdGenerator
from headrace.pipeline.intake.commit_queue import CommitQueue
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError, StoreFailedError
from headrace.store.store import Store
from tests.support.events import new_event
from tests.support.places import Place

Outcome = FirstCopy | StoreError | None


class Receiver:
    """Created by `receiving`."""

    def __init__(self, store: Store, ids: EventIdGenerator) -> None:
        self.store = store
        self._loop = asyncio.get_running_loop()
        self._queue = CommitQueue(self._loop, store.wake, store.committers)
        self._ids = ids
        self.failures: list[StoreFailedError] = []
        store.start_committing(self._queue, self.failures.append)

    def event(self, identity: str, **changes: Any) -> NewEvent:
        """An event about an `external_id`, received now."""
        lane = lane_of(1, IdentityType.EXTERNAL_ID, identity)
        sequence, event_id = self._ids.next(lane)
        return new_event(sequence=sequence, id=event_id, external_id=identity, lane=lane, **changes)

    def send(self, event: NewEvent) -> asyncio.Future[Outcome]:
        """Put an event in; returns its outcome."""
        outcome: asyncio.Future[Outcome] = self._loop.create_future()
        self._queue.put(Pending(event, lambda pending: outcome.set_result(pending.outcome)))
        return outcome


@asynccontextmanager
async def receiving(place: Place) -> AsyncIterator[Receiver]:
    """Open the store of a place and commit what is put in, until the end of the block."""
    store = await place.open()
    try:
        receiver = Receiver(store, await store.event_ids())
        yield receiver
        assert receiver.failures == []
    finally:
        await store.close()
