"""Several workers write one catalog, which reads as one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.domain.upkeep.rollups import Tally
from headrace.pipeline.processing.processor import Processor
from headrace.pipeline.processing.rules_cache import RulesCache
from headrace.store.contract.catalog import DriftKind
from headrace.store.contract.rollups import Counted
from tests.support.cataloguing import EVENT
from tests.support.events import START_US, new_event
from tests.support.places import PostgresPlace
from tests.support.session import StoreSession

LEADERSHIP_US = 60_000_000


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def two(session: StoreSession) -> tuple[Processor, Processor]:
    """Two workers that hold half of the lanes each."""
    store = session.store
    rules = RulesCache(store.projects, store.processing)
    session.run(rules.refresh())
    workers = [_worker(session, rules, owner) for owner in ("a", "b")]
    for owner in ("a", "b", "a", "b"):
        session.run(store.processing.acquire_leadership("processing", owner, LEADERSHIP_US))
    return workers[0], workers[1]


def _worker(session: StoreSession, rules: RulesCache, owner: str) -> Processor:
    store = session.store
    return Processor(
        store.processing,
        rules,
        owner=owner,
        nudged=asyncio.Event(),
        clock_us=store.clock_us,
        rng=random.Random(1),
    )


def accept(session: StoreSession, payload: dict[str, Any], people: int = 40) -> None:
    """Events of enough people that both workers have some."""
    text = msgspec.json.encode(payload).decode()
    events = [new_event(external_id=f"u{n}", payload=text) for n in range(people)]
    assert session.accept(*events) == [None] * people


def process(session: StoreSession, *workers: Processor) -> None:
    for worker in workers:
        while session.run(worker.run_once()):
            pass


def test_counts_and_paths_add_up(session: StoreSession, two: tuple[Processor, Processor]) -> None:
    accept(session, {"a": 1})
    process(session, *two, *two)
    accept(session, {"a": "x", "b": 1})
    process(session, *two, *two)
    lanes = session.place.run_sql("SELECT DISTINCT lane FROM catalog_names WHERE event = ?", EVENT)
    entry = session.run(session.store.catalog.entry(1, EVENT))
    assert len(lanes) == 2
    assert entry is not None
    assert (entry.name.events, entry.name.inspected, entry.name.paths) == (80, 80, 2)
    assert [(path.path, path.present) for path in entry.paths] == [("a", 80), ("b", 40)]
    # Each change is reported once, though both have noticed it.
    assert sorted((d.kind, d.path) for d in entry.drift) == [
        (DriftKind.NEW_PATH, "b"),
        (DriftKind.NEW_TYPE, "a"),
    ]
    totals = session.run(session.store.catalog.totals(1))
    assert (totals.names, totals.failures) == (2, 0)


def test_names_known_to_one_worker_are_not_new_to_another(
    session: StoreSession, two: tuple[Processor, Processor]
) -> None:
    accept(session, {"a": 1})
    accept(session, {"a": 1, "b": 1})
    process(session, two[0])
    known = session.run(session.store.catalog.entry(1, EVENT))
    process(session, two[1])
    entry = session.run(session.store.catalog.entry(1, EVENT))
    assert known is not None
    assert entry is not None
    assert list(entry.drift) == list(known.drift)
    assert entry.name.events == 80


def test_counters_of_all_writers_add_up(
    session: StoreSession, two: tuple[Processor, Processor]
) -> None:
    accept(session, {})
    process(session, *two, *two)
    rows = session.run(session.store.rollups.read(1, 86_400, 0, 2**31 - 1))
    # One system event for each new person.
    assert sum(sum(row.tally.processing or ()) for row in rows) == 80


def test_writers_of_one_row_do_not_lose_anything(session: StoreSession) -> None:
    store = session.store

    async def many() -> None:
        await asyncio.gather(*(store.rollups.add(counted) for _ in range(20)))

    counted = _one_of_each()
    session.run(many())
    (row,) = session.run(store.rollups.read(1, 86_400, 0, 2**31 - 1))
    assert row.tally.counts[0] == 20


def _one_of_each() -> list[Counted]:
    tally = Tally()
    tally.counts[0] = 1
    tally.observe_accept(5)
    return [Counted(1, "", START_US, tally), Counted(2, "", START_US, tally)]
