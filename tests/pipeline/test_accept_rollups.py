"""Counters of accepted events: kept in memory, written periodically."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from headrace.domain.events.event import FirstCopy, Source
from headrace.domain.upkeep.rollups import DAY_S, MINUTE_S, Outcome, bucket_of
from headrace.pipeline.intake.rollups import MINUTE_US, WAITING_MAX, AcceptRollups
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreBusyError, StoreError
from headrace.store.contract.rollups import Counted
from headrace.store.upkeep.rollups import Rollups
from tests.support.events import START_US, new_event
from tests.support.places import Place
from tests.support.session import StoreSession


def pending(outcome: FirstCopy | StoreError | None = None, **fields: Any) -> Pending:
    found = Pending(new_event(**fields), lambda _: None)
    found.outcome = outcome
    return found


class Refusing:
    """A store whose writes fail until the test allows them."""

    def __init__(self) -> None:
        self.open = False
        self.taken: list[Counted] = []

    async def add(self, counted: Sequence[Counted]) -> None:
        if not self.open:
            raise StoreBusyError("full")
        self.taken += counted


def _rollups(store: Refusing) -> Rollups:
    """The rest of the store is not used."""
    return cast("Rollups", store)


@pytest.fixture
def session(any_place: Place) -> Iterator[StoreSession]:
    session = StoreSession(any_place)
    yield session
    session.close()


def test_outcomes_are_counted_by_source_with_their_latency(session: StoreSession) -> None:
    now_us = START_US + 4_000
    rollups = AcceptRollups(session.store.rollups, lambda: now_us)
    first = FirstCopy(b"", "order.completed", 0, mismatch=False)
    rollups.settled(
        [
            pending(),
            pending(source=Source.BATCH.value),
            pending(source=Source.IMPORT.value),
            pending(first),
            pending(StoreError("not stored")),
            pending(project_id=2),
        ]
    )
    rollups.rejected(2)
    session.run(rollups.flush())
    session.run(rollups.flush())
    rows = {p: session.run(session.store.rollups.read(p, DAY_S, 0, 2**31 - 1)) for p in (1, 2)}
    (one,), (two,) = rows[1], rows[2]
    assert one.tally.counts[:6] == [1, 1, 1, 0, 1, 0]
    assert two.tally.counts[:6] == [1, 0, 0, 0, 0, 1]
    assert one.tally.accept is not None
    assert one.tally.accept[bucket_of(4_000)] == 4


def test_minutes_are_kept_apart(session: StoreSession) -> None:
    now_us = START_US
    rollups = AcceptRollups(session.store.rollups, lambda: now_us)
    rollups.rejected(1)
    now_us += MINUTE_US
    rollups.rejected(1)
    session.run(rollups.flush())
    rows = session.run(session.store.rollups.read(1, MINUTE_S, 0, 2**31 - 1))
    assert [row.tally.count(Outcome.REJECTED) for row in rows] == [1, 1]


def test_unwritten_counts_wait() -> None:
    store = Refusing()
    rollups = AcceptRollups(_rollups(store), lambda: START_US)
    rollups.rejected(1)
    asyncio.run(rollups.flush())
    rollups.rejected(1)
    store.open = True
    asyncio.run(rollups.flush())
    (counted,) = store.taken
    assert counted.tally.count(Outcome.REJECTED) == 2


def test_waiting_counts_are_bounded() -> None:
    store = Refusing()
    rollups = AcceptRollups(_rollups(store), lambda: START_US)
    for project_id in range(WAITING_MAX + 7):
        rollups.rejected(project_id)
    assert rollups.dropped == 7
    store.open = True
    asyncio.run(rollups.flush())
    assert len(store.taken) == WAITING_MAX
