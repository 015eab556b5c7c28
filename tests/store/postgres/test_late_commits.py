"""What a transaction that commits late can do to readers and removals beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from headrace.domain.events.event import NewEvent
from headrace.domain.events.identity import lane_of_key
from headrace.store.contract.commits import Pending
from headrace.store.contract.events import EventFilter
from headrace.store.contract.retention import DueEvent
from headrace.store.engine.postgres.database import prepare_connection
from headrace.store.queues.postgres.accept import insert_batch
from tests.support.events import START_US, new_event
from tests.support.places import PostgresPlace
from tests.support.retained import finished_event
from tests.support.session import StoreSession
from tests.support.waiting import wait_until

SECOND_US = 1_000_000
WAITS = (
    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.fixture(scope="module")
def place() -> Iterator[PostgresPlace]:
    made = PostgresPlace()
    yield made
    made.remove()


@pytest.fixture
def session(place: PostgresPlace) -> Iterator[StoreSession]:
    opened = StoreSession(place)
    yield opened
    opened.close()


@asynccontextmanager
async def open_transaction(place: PostgresPlace) -> AsyncIterator[tuple[Any, Any]]:
    """A connection with an open transaction, as another server process would hold it."""
    connection = await asyncpg.connect(place.url)
    await prepare_connection(connection)
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield connection, transaction
    finally:
        await connection.close()


async def waits(place: PostgresPlace) -> None:
    found = lambda: bool(place.run_sql(WAITS))  # noqa: E731 - a condition
    await asyncio.to_thread(wait_until, found, "a transaction waits for a lock")


def orphans(place: PostgresPlace) -> Any:
    """Notes of duplicates whose event is gone."""
    sql = (
        "SELECT r.sequence FROM duplicate_requests r WHERE NOT EXISTS "
        "(SELECT 1 FROM events e WHERE e.lane = r.lane AND e.sequence = r.sequence)"
    )
    return place.run_sql(sql)


async def remove(session: StoreSession, event: NewEvent) -> None:
    await session.store.retention.remove_events(1, [DueEvent(event.lane, event.sequence, 2)])


def test_duplicate_noted_while_its_event_is_removed_leaves_nothing(
    place: PostgresPlace, session: StoreSession
) -> None:
    """The duplicate is noted and not committed; then the removal begins."""
    first = finished_event(session, key="noted")
    repeat = Pending(new_event(key="noted"), lambda _: None)

    async def work() -> None:
        async with open_transaction(place) as (connection, transaction):
            outcomes, _ = await insert_batch(connection, [repeat], 0)
            assert outcomes != [None]
            removing = asyncio.create_task(remove(session, first))
            await waits(place)
            await transaction.commit()
            await removing

    session.run(work())
    assert place.run_sql("SELECT 1 FROM events WHERE sequence = ?", first.sequence) == []
    assert orphans(place) == []


def test_duplicate_of_an_event_that_is_being_removed_is_a_new_event(
    place: PostgresPlace, session: StoreSession
) -> None:
    """The other way round: the removal is not committed when the duplicate comes in."""
    first = finished_event(session, key="removed")

    async def work() -> Any:
        async with open_transaction(place) as (connection, transaction):
            hashed = first.idempotency_hash
            assert hashed is not None
            await connection.execute(
                "DELETE FROM recent_keys WHERE lane = $1 AND hash = $2", lane_of_key(hashed), hashed
            )
            await connection.execute("DELETE FROM events WHERE sequence = $1", first.sequence)
            accepting = asyncio.create_task(session.accepted(new_event(key="removed")))
            await waits(place)
            await transaction.commit()
            return await accepting

    assert session.run(work()) == [None]
    assert orphans(place) == []


def test_reader_by_time_of_receipt_finds_a_late_commit_in_the_documented_window(
    place: PostgresPlace, session: StoreSession
) -> None:
    """An event is refused when it is not stored 15 s after its receipt: see `docs/guarantees.md`.

    So a client that asks for the last 15 s again sees what became visible after a newer event.
    """
    late = new_event(key="late", received_us=START_US + SECOND_US)
    newer = new_event(key="newer", received_us=START_US + 2 * SECOND_US)

    def received_after(at_us: int) -> set[bytes]:
        wanted = EventFilter(received_after_us=at_us)
        page = session.run(session.store.events.list(1, wanted, before=None, limit=50))
        return {event.id for event in page.events}

    async def work() -> None:
        async with open_transaction(place) as (connection, transaction):
            await insert_batch(connection, [Pending(late, lambda _: None)], 0)
            assert await session.accepted(newer) == [None]
            await transaction.commit()

    session.run(work())
    assert late.id not in received_after(newer.received_us)
    assert {late.id, newer.id} <= received_after(newer.received_us - 15 * SECOND_US)
