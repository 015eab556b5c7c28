"""Space that removed rows leave inside the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.store.contract.retention import DueEvent
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
