"""No statement about conflicts, merges or erasures walks a table that grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.identity import LANES
from headrace.store.postgres import erased_events
from tests.store.places import PostgresPlace
from tests.support.postgres_plans import explain

EVENTS = 20_000
_FILL = f"""
INSERT INTO events (lane, sequence, id, project_id, event, contact_id, external_id, email,
    idempotency_key, occurred_us, received_us, source, payload)
SELECT i % {LANES}, i, gen_random_uuid(), 1 + i % 3, 'a.b', CASE WHEN i % 2 = 0 THEN 'c' || i END,
    'u' || i, 'p' || i, 'k' || i, 0, 0, 0, '{{}}' FROM generate_series(1, {EVENTS}) AS i;
INSERT INTO outcomes (lane, sequence, project_id, status, attempts, contact_id)
SELECT lane, sequence, project_id, 3, 1, 'c' || sequence % 2000 FROM events;
INSERT INTO deliveries (lane, number, id, project_id, sequence, subscriber_id, state, due_us,
    created_us) SELECT lane, sequence, sequence, project_id, sequence, 's', 3, 0, 0 FROM events;
INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id, alias)
SELECT lane, project_id, 'external_id', external_id, 'c' || sequence, sequence % 50 = 0
FROM events;
INSERT INTO contact_pairs (lane, low_id, high_id, id, number, project_id, contact_id,
    other_contact_id, events, external_id_count, email_count, last_event_id, first_us, last_us)
SELECT lane, 'c' || sequence, 'd' || sequence, 'p' || sequence, sequence, project_id, 'c', 'd', 1,
    1, 0, id, 0, 0
FROM events;
INSERT INTO merges (id, project_id, contact_id, other_contact_id, actor, created_us, snapshot)
SELECT sequence, project_id, 'c' || sequence, 'd' || sequence, 'a', 0, '{{}}' FROM events;
INSERT INTO erasures (id, project_id, contact_id, status, counts, actor, created_us)
SELECT sequence, project_id, 'c' || sequence, 'done', '{{}}', 'a', 0 FROM events;
INSERT INTO topic_subscriptions (lane, contact_id, topic_id, contact_number, is_subscribed,
    changed_us) SELECT lane, 'c' || sequence, 't', sequence, true, 0 FROM events;
INSERT INTO audience_members (lane, contact_id, audience_id, contact_number, entered_us)
SELECT lane, 'c' || sequence, 'a', sequence, 0 FROM events
"""  # noqa: S608
PLACES = "'{1,2,3}', '{257,258,259}'"
KEYS = "'{1,2}', '{1,1}', '{external_id,external_id}', '{u1,u2}'"
STATEMENTS = {
    "deliveries": (erased_events.DELIVERIES, PLACES),
    "keys": (erased_events.KEYS, PLACES),
    "running": (erased_events.RUNNING, ""),
    **{
        f"find by {name}": (sql, "1, '{c1,c2}', 1000000, 1000000, 1000000, 100")
        for name, sql in erased_events.FIND.items()
    },
    **{f"last by {name}": (sql, "1, 'c1', 0") for name, sql in erased_events.LAST.items()},
    **{f"remove {name}": (sql, PLACES) for name, sql in erased_events._DETAILS.items()},
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPlace]:
    place = PostgresPlace(Path(tmp_path_factory.mktemp("place")))
    place.run_sql(_FILL)
    place.run_sql("VACUUM ANALYZE")
    yield place
    place.remove()


def walked(steps: list[dict[str, Any]]) -> list[str]:
    return [step["Relation Name"] for step in steps if step["Node Type"] == "Seq Scan"]


#: Empty here, so the server reads them whole.
EMPTY = {"key_repeats", "processing_attempts", "contact_conflicts", "dead_letters", "work"}


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_rows_are_found_by_index(filled: PostgresPlace, name: str, mode: str) -> None:
    steps = explain(filled.url, *STATEMENTS[name], mode)
    assert set(walked(steps)) <= EMPTY
