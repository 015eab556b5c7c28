"""The loop that removes expired counters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from headrace.domain.upkeep.rollups import DAY_S, Outcome, Tally
from headrace.pipeline.upkeep import history_pruner as pruning
from headrace.pipeline.upkeep.history_pruner import HistoryPruner
from headrace.store.contract.catalog import HOURS_KEPT
from headrace.store.contract.rollups import Counted
from tests.support.cataloguing import EVENT, Cataloguing
from tests.support.events import START_US
from tests.support.places import Place
from tests.support.session import StoreSession

DAY_US = DAY_S * 1_000_000


async def no_pause(seconds: float) -> None:
    del seconds
    await asyncio.sleep(0)


@pytest.fixture
def session(any_place: Place) -> Iterator[StoreSession]:
    session = StoreSession(any_place)
    yield session
    session.close()


def test_expired_rows_are_pruned(session: StoreSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "ROWS_MAX", 2)
    catalog = Cataloguing(session)
    for hour in range(5):
        catalog.sent({}, received_us=START_US + hour * 3_600_000_000)
    session.run(session.store.rollups.add(_minutes(5)))
    now_us = START_US + HOURS_KEPT // 24 * DAY_US + 2 * DAY_US
    prunes = (session.store.rollups.prune, session.store.catalog.prune)
    loop = HistoryPruner(prunes, lambda: now_us, no_pause)

    removed = session.run(loop.run_once())

    assert removed >= 10
    assert session.run(session.store.catalog.hours(1, [EVENT], 0, 2**31 - 1)) == []
    assert session.run(session.store.rollups.read(1, 60, 0, 2**31 - 1)) == []
    assert session.run(loop.run_once()) == 0


def _minutes(count: int) -> Sequence[Counted]:
    tally = Tally()
    tally.counts[Outcome.REJECTED] = 1
    return [Counted(1, "", START_US + minute * 60_000_000, tally) for minute in range(count)]
