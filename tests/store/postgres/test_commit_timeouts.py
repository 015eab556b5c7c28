"""Commits that take too long on a working connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from headrace.pipeline.intake import commit_queue
from headrace.pipeline.intake.commit_queue import COMMIT_EVENTS_MAX, EVENTS_MAX
from headrace.store.contract.errors import StoreError
from headrace.store.queues.postgres import committer
from headrace.store.queues.postgres.committer import COMMITTERS
from tests.support.accepting import accepting, locked_table, outcomes
from tests.support.places import PostgresPlace


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresPlace]:
    monkeypatch.setattr(committer, "COMMIT_SECONDS_MAX", 0.3)
    made = PostgresPlace()
    yield made
    made.remove()


def test_waiting_events_fail_with_the_commit_that_timed_out(place: PostgresPlace) -> None:
    """They do not time out one by one, and none of them is stored later."""

    async def run() -> None:
        async with accepting(place) as (_, queue):
            async with locked_table(place):
                answered = await outcomes(queue, EVENTS_MAX - 1)
            assert all(isinstance(outcome, StoreError) for outcome in answered)
            assert queue.problem() is not None
            assert await outcomes(queue, 1) == [None]
            assert queue.problem() is None

    asyncio.run(run())
    [(stored,)] = place.run_sql("SELECT count(*) FROM events")
    # Only events that the committers had taken may be stored.
    assert stored <= 1 + COMMITTERS * COMMIT_EVENTS_MAX


def test_commit_times_out_before_the_events_that_wait_for_it() -> None:
    assert commit_queue.WAIT_SECONDS_MAX > committer.COMMIT_SECONDS_MAX
