"""Notices of arrivals between processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.store.engine.postgres.database import PoolOptions
from headrace.store.postgres import open_store
from headrace.store.queues.postgres.processing import UNNOTIFIED_SECONDS
from tests.support.events import new_event
from tests.support.places import PostgresPlace
from tests.support.session import StoreSession


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def session(place: PostgresPlace) -> Iterator[StoreSession]:
    opened = StoreSession(place)
    yield opened
    opened.close()


def test_a_worker_elsewhere_learns_of_events(session: StoreSession, place: PostgresPlace) -> None:
    async def scenario() -> None:
        elsewhere = await open_store(place.url, PoolOptions())
        arrived = asyncio.Event()
        listening = asyncio.create_task(elsewhere.listen(arrived.set))
        try:
            async with asyncio.timeout(20):
                # Once it listens, it says so itself: events may have arrived before.
                await arrived.wait()
                arrived.clear()
                await asyncio.to_thread(session.accept, new_event())
                await arrived.wait()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await elsewhere.close()

    asyncio.run(scenario())


def test_a_worker_behind_a_pooler_polls_more_often(place: PostgresPlace) -> None:
    async def scenario() -> None:
        store = await open_store(place.url, PoolOptions(statements_kept=0))
        assert store.processing.pace.poll_seconds_max == UNNOTIFIED_SECONDS
        await store.close()

    asyncio.run(scenario())
