"""No statement of retention walks a table that grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.identity import LANES
from headrace.store.postgres import retention
from tests.store.places import PostgresPlace
from tests.support.postgres_plans import explain

EVENTS = 20_000
_FILL = f"""
INSERT INTO events (lane, sequence, id, project_id, event, idempotency_key, occurred_us,
    received_us, source, payload)
SELECT i % {LANES}, i, md5(i::text)::uuid, 1 + i % 4, 'a.b', 'k' || i, i, i, 0, '{{}}'
FROM generate_series(1, {EVENTS}) AS i;
INSERT INTO outcomes (lane, sequence, project_id, status, attempts)
SELECT lane, sequence, project_id, 3, 1 FROM events;
INSERT INTO idempotency_keys SELECT sequence % {LANES}, id, lane, sequence FROM events;
INSERT INTO work (lane, sequence, project_id, queued_us)
SELECT lane, sequence, project_id, sequence FROM events WHERE sequence % 4 = 0;
INSERT INTO work_retries SELECT lane, sequence, project_id, sequence, 1, 0 FROM events
WHERE sequence % 10 = 0;
INSERT INTO key_repeats SELECT lane, sequence, 1, 0, NULL, NULL, false FROM events;
INSERT INTO processing_attempts SELECT lane, sequence, 1, 0, 0, 'c', 'e' FROM events;
INSERT INTO contact_conflicts
SELECT lane, sequence, 'email', sequence, project_id, 'a', 'b', 0 FROM events;
INSERT INTO deliveries (lane, number, id, project_id, sequence, subscriber_id, state, due_us,
    created_us)
SELECT lane, sequence, 'd' || sequence, project_id, sequence, 's' || project_id, 3, 0, 0
FROM events;
INSERT INTO delivery_attempts SELECT lane, number, 1, 0, 0 FROM deliveries;
INSERT INTO dead_letters (lane, number, id, project_id, sequence, event, kind, cause, error,
    attempts, first_failed_us, dead_lettered_us)
SELECT lane, sequence, 'l' || sequence, project_id, sequence, 'a.b', 'processing', 'c', 'e', 1, 0,
    sequence
FROM events;
ANALYZE
"""  # noqa: S608
ROWS = "'{1,2,3,4,5,6,7,8}', '{1,2,3,4,5,6,7,8}'"
HASH = "'{c4ca4238-a0b9-2382-0dcc-509a6f75849b}'"
STATEMENTS = {
    "find events": (retention.FIND_EVENTS, "1, 0, 500"),
    "finished": (retention.FINISHED, f"{ROWS}, 1"),
    "find deliveries": (retention.FIND_DELIVERIES, f"{ROWS}, 1001"),
    "find dead letters": (retention.FIND_DEAD_LETTERS, "1, 50, 64"),
    "attempts": (retention.REMOVE_ATTEMPTS, ROWS),
    "deliveries": (retention.REMOVE_DELIVERIES, ROWS),
    "dead letters": (retention.REMOVE_DEAD_LETTERS, ROWS),
    "dead letters of events": (retention.REMOVE_DEAD_LETTERS_OF_EVENTS, ROWS),
    "events": (retention.REMOVE_EVENTS, ROWS),
    "keys": (retention.REMOVE_KEYS, f"'{{1}}', {HASH}, '{{1}}'"),
    "newest": (retention.NEWEST, "1"),
    **{f"details {n}": (sql, ROWS) for n, sql in enumerate(retention.REMOVE_DETAILS)},
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPlace]:
    place = PostgresPlace(Path(tmp_path_factory.mktemp("place")))
    place.run_sql(_FILL)
    yield place
    place.remove()


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_rows_are_found_by_index(filled: PostgresPlace, name: str, mode: str) -> None:
    """With the values known, and as a prepared statement is planned in the long run."""
    steps = explain(filled.url, *STATEMENTS[name], mode)
    assert [step["Relation Name"] for step in steps if step["Node Type"] == "Seq Scan"] == []
    assert [step for step in steps if step.get("Index Name")]


def test_what_is_due_is_found_in_order_without_sorting(filled: PostgresPlace) -> None:
    steps = explain(filled.url, *STATEMENTS["find events"], "force_custom_plan")
    assert "Sort" not in {step["Node Type"] for step in steps}
    assert "events_project" in {step.get("Index Name") for step in steps}
