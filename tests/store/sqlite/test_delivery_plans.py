"""No statement scans a queue of deliveries."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from headrace.store.queues.sqlite import delivery_claims
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession


@pytest.mark.parametrize("statement", [delivery_claims.DUE_QUEUES, delivery_claims.CLAIM])
def test_waiting_deliveries_are_found_by_index_alone(tmp_path: Path, statement: str) -> None:
    place = SqlitePlace(tmp_path)
    session = StoreSession(place)
    connection = apsw.Connection(str(place.path))
    names = ("subscriber_id", "project_id", "limit", "due_max", "now_us")
    values = dict.fromkeys(names, 0) if ":" in statement else (0,) * 6
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    connection.close()
    session.close()
    touching = [step for step in plan if "deliveries" in step or " d " in step]
    assert touching
    assert all(step.startswith("SEARCH") for step in touching)
