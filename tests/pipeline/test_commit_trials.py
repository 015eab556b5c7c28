"""A server that cannot store events reports it, and detects by itself when it can again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import apsw
import pytest

from headrace.pipeline.intake import commit_trials
from headrace.pipeline.intake.commit_trials import CommitTrials
from headrace.store.contract.errors import StoreError
from headrace.store.engine.sqlite import connection
from headrace.store.queues.postgres import committer
from tests.support.accepting import accepting, locked_table, outcomes
from tests.support.places import Place, SqlitePlace


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "COMMIT_SECONDS_MAX", 0.3)
    monkeypatch.setattr(commit_trials, "TRIAL_SECONDS_MAX", 0.3)
    monkeypatch.setattr(connection, "BUSY_SECONDS_MAX", 0.1)


@contextlib.contextmanager
def locked_file(place: SqlitePlace) -> Iterator[None]:
    holder = apsw.Connection(str(place.path))
    holder.execute("BEGIN IMMEDIATE")
    yield
    holder.execute("ROLLBACK")
    holder.close()


@contextlib.asynccontextmanager
async def nothing_can_be_stored(place: Place) -> AsyncIterator[None]:
    """Another session holds the lock that each commit of events needs."""
    if isinstance(place, SqlitePlace):
        with locked_file(place):
            yield
        return
    async with locked_table(place):
        yield


def test_trial_commit_detects_recovery(any_place: Place) -> None:
    async def run() -> None:
        async with accepting(any_place) as (store, queue):
            trials = CommitTrials(store, queue)
            assert await outcomes(queue, 1) == [None]
            assert queue.problem() is None
            async with nothing_can_be_stored(any_place):
                [outcome] = await outcomes(queue, 1)
                assert isinstance(outcome, StoreError)
                assert queue.problem() is not None
                await trials.run_once()
                assert queue.problem() is not None
            await trials.run_once()
            assert queue.problem() is None
            assert await outcomes(queue, 1) == [None]

    asyncio.run(run())
    assert any_place.run_sql("SELECT count(*) FROM events") == [(2,)]
    assert any_place.run_sql("SELECT count(*) FROM event_queue") == [(2,)]
    assert any_place.run_sql("SELECT count(*) FROM meta WHERE name = 'trial'") == [(0,)]
