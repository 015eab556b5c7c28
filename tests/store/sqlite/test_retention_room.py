"""Space that removed rows leave inside the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.store.contract.retention import DueEvent
from headrace.store.upkeep.sizes import EVENTS_OF_PART
from tests.support.events import new_event
from tests.support.places import SqlitePlace
from tests.support.retained import finished_event
from tests.support.session import StoreSession


@pytest.fixture
def session(tmp_path: Path) -> Iterator[StoreSession]:
    opened = StoreSession(SqlitePlace(tmp_path))
    yield opened
    opened.close()


def test_space_of_removed_rows_is_reused(session: StoreSession) -> None:
    event = finished_event(session, payload=f'{{"a": "{"x" * 500_000}"}}')
    retention = session.store.retention
    before = session.run(retention.growth()).reusable_bytes

    session.run(retention.remove_events(1, [DueEvent(event.lane, event.sequence, 500_000)]))

    after = session.run(retention.growth()).reusable_bytes
    assert after - before >= 450_000


@pytest.mark.parametrize("parts", [1, 5, 200])
def test_events_are_counted_by_their_parts(session: StoreSession, parts: int) -> None:
    session.accept(*(new_event(key=f"k{n}") for n in range(2 * parts)))
    place = session.place
    place.run_sql(
        "INSERT INTO event_parts (part, first_sequence) WITH RECURSIVE n (i) AS "
        "(SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i, i FROM n WHERE i <= ?",
        *(parts, parts),
    )
    place.run_sql(
        "UPDATE events SET part = 1 + (SELECT count(*) FROM events e "
        "WHERE e.sequence < events.sequence) % ?",
        parts,
    )
    space = session.run(session.store.retention.space_use())
    assert space is not None
    assert space.events_about == 2 * parts
    assert space.used_bytes + space.reusable_bytes > 0


def test_events_of_a_part_are_counted_by_an_index(session: StoreSession) -> None:
    plan = session.place.run_sql(f"EXPLAIN QUERY PLAN {EVENTS_OF_PART.sqlite}", 1)
    assert [row[3] for row in plan] == [
        "SEARCH events USING COVERING INDEX events_project (part=?)"
    ]
