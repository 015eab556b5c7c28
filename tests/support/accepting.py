"""An open store that commits events from a real queue, in the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from headrace.domain.events.event import FirstCopy
from headrace.pipeline.intake.commit_queue import CommitQueue
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError
from headrace.store.store import Store
from tests.support.events import new_event
from tests.support.places import Place

TEST_SECONDS_MAX = 20.0


@contextlib.asynccontextmanager
async def locked_table(place: Place) -> AsyncIterator[None]:
    """Lock the table of events on PostgreSQL, so that commits wait."""
    holder = await asyncpg.connect(place.url)
    async with holder.transaction():
        await holder.execute("LOCK TABLE events")
        yield
    await holder.close()


@contextlib.asynccontextmanager
async def accepting(place: Place) -> AsyncIterator[tuple[Store, CommitQueue]]:
    async with asyncio.timeout(TEST_SECONDS_MAX):
        store = await place.open()
        queue = CommitQueue(asyncio.get_running_loop(), store.wake, store.committers)
        store.start_committing(queue, lambda _: None)
        yield store, queue
        await store.close()


async def outcomes(queue: CommitQueue, count: int) -> list[FirstCopy | StoreError | None]:
    """Put this many events in at once; returns when the last has its outcome."""
    answered: list[FirstCopy | StoreError | None] = []
    done = asyncio.Event()

    def settle(pending: Pending) -> None:
        answered.append(pending.outcome)
        if len(answered) == count:
            done.set()

    for number in range(count):
        queue.put(Pending(new_event(external_id=f"customer-{number}"), settle))
    await done.wait()
    return answered
