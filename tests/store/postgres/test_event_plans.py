"""Accepting and listing events scans no table that grows."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from headrace.domain.events.identity import LANES
from headrace.store.contract.events import EventFilter
from headrace.store.events.event_lists import contact_queries, list_query
from headrace.store.queues.postgres import accept, accept_at_once, arrivals, keys
from tests.support.events import START_US
from tests.support.places import PostgresPlace
from tests.support.postgres_plans import Step, explain, steps_of

EVENTS = 40_000
#: Events are in three projects; most are processed, the last hundreds wait.
_FILL = f"""
INSERT INTO events (lane, sequence, id, project_id, event, contact_id, external_id, email,
    idempotency_key, occurred_us, received_us, source, payload)
SELECT i % {LANES}, i, gen_random_uuid(), 1 + i % 3,
    CASE WHEN i % 500 = 0 THEN 'rare' ELSE 'order.' || i % 5 END, 'c' || i % 700,
    'u' || i % 1000, 'p' || i % 1000 || '@x.org', 'k' || i, {START_US} + i, {START_US} + i,
    CASE WHEN i % 50 = 0 THEN 2 ELSE 0 END, '{{}}'
FROM generate_series(1, {EVENTS}) AS i;
INSERT INTO recent_keys
SELECT sequence % {LANES}, md5(idempotency_key)::uuid, lane, sequence FROM events;
INSERT INTO sorted_keys
SELECT sequence % {LANES}, gen_random_uuid(), lane, sequence FROM events;
INSERT INTO event_states (lane, sequence, project_id, status, attempts, contact_id)
SELECT lane, sequence, project_id, CASE WHEN sequence % 100 = 0 THEN 4
    WHEN sequence % 77 = 0 THEN 2 ELSE 3 END, 1, contact_id
FROM events WHERE sequence <= {EVENTS} - 900;
INSERT INTO event_queue (lane, sequence, project_id, queued_us)
SELECT lane, sequence, project_id, received_us FROM events WHERE sequence > {EVENTS} - 900;
INSERT INTO deliveries (lane, number, id, project_id, sequence, subscriber_id, state, due_us,
    created_us)
SELECT lane, sequence, 'd' || sequence, project_id, sequence, 's' || sequence % 3,
    CASE WHEN sequence % 40 = 0 THEN 4 ELSE 3 END, 0, 0
FROM events WHERE sequence <= {EVENTS} - 900;
INSERT INTO duplicate_requests
SELECT lane, sequence, 1, received_us, NULL, NULL, false FROM events WHERE sequence % 3 = 0
"""
_KEY = "'00000000-0000-0000-0000-000000000001'"
_ROW = (
    f"'{{1}}', '{{{_KEY[1:-1]}}}', '{{1}}', '{{7}}', '{{a}}', '{{a}}', '{{a}}', '{{a}}', "
    "'{a}', '{a}', '{1}', '{1}', '{0}', '{a}', '{a}', '{a}'"
)
_PLACES = "'{1,2,3}', '{1,2,3}'"
_HASHES = f"'{{1,2}}', '{{{_KEY[1:-1]},{_KEY[1:-1]}}}'"
STATEMENTS = {
    "insert keys": (keys.INSERT_KEYS, f"{_HASHES}, '{{1,2}}', '{{1,2}}'"),
    "find sorted keys": (keys.FIND_SORTED, _HASHES),
    "move keys": (keys.MOVE_SLICE, f"1, {_KEY}, 100"),
    "insert events": (accept.INSERT_EVENTS, _ROW),
    "insert work": (accept.INSERT_WORK, f"{_PLACES}, '{{1,1,1}}', 0"),
    "insert at once": (
        accept_at_once.INSERT_AT_ONCE,
        f"{_ROW}, '{{1}}', '{{{_KEY[1:-1]}}}', 0",
    ),
    "hold recent keys": (keys.HOLD_KEYS[0], _HASHES),
    "hold sorted keys": (keys.HOLD_KEYS[1], _HASHES),
    "release recent keys": (keys.RELEASE_KEYS[0], _HASHES),
    "release sorted keys": (keys.RELEASE_KEYS[1], _HASHES),
    "find first": (accept.FIND_FIRST, _PLACES),
    "insert repeats": (
        accept.INSERT_REPEATS,
        "'{1}', '{1}', '{1}', '{1}', '{a}', '{a}', '{false}'",
    ),
    "arrived": (arrivals.ARRIVED, f"1, {EVENTS - 100}, '{{1,2,3}}', 1000"),
}
FILTERS: dict[str, Any] = {
    "external_id": "u7",
    "email": "p7@x.org",
    "contact_id": "c7",
    "status": 4,
    "source": 2,
    "delivery_status": 4,
    "event": "order.3",
    "received_after_us": START_US,
    "occurred_before_us": START_US + EVENTS,
}
_BEFORE = EVENTS - 1000
#: Always short: it has only waiting events.
SMALL = {"event_queue"}


@pytest.fixture(scope="module")
def filled() -> Iterator[PostgresPlace]:
    place = PostgresPlace()
    place.run_sql(_FILL)
    place.run_sql("VACUUM ANALYZE")
    yield place
    place.remove()


def walked(steps: list[Step]) -> list[str]:
    return [
        step["Relation Name"]
        for step in steps
        if step["Node Type"] == "Seq Scan" and step["Relation Name"] not in SMALL
    ]


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_rows_are_found_by_index(filled: PostgresPlace, name: str, mode: str) -> None:
    assert walked(explain(filled.url, *STATEMENTS[name], mode)) == []


def _statements(wanted: EventFilter) -> Iterator[tuple[str, list[Any]]]:
    """The statements of a list, with values."""
    queries = [list_query(1, wanted, _BEFORE, short_queue=True)]
    if wanted.contact_id is not None:
        queries = contact_queries(1, wanted, _BEFORE, wanted.contact_id)
    for query in queries:
        yield query.page(51, None).postgres, query.values
        if (floor := query.floor()) is not None:
            yield floor.postgres, query.values[: query.leading_values]


async def list_plans(place: PostgresPlace, *asked: EventFilter) -> list[tuple[str, list[Step]]]:
    """Statements of these lists with their plans."""
    connection = await asyncpg.connect(place.url)
    found = []
    try:
        for wanted in asked:
            for text, values in _statements(wanted):
                plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}", *values)
                found.append((text, list(steps_of(json.loads(plan)[0]["Plan"]))))
    finally:
        await connection.close()
    return found


def test_every_combination_of_filters_is_served_by_an_index(filled: PostgresPlace) -> None:
    asked = [
        EventFilter(**{name: FILTERS[name] for name in names})
        for size in range(len(FILTERS) + 1)
        for names in itertools.combinations(FILTERS, size)
    ]
    for text, steps in asyncio.run(list_plans(filled, *asked)):
        assert walked(steps) == [], text


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (EventFilter(), "events_project"),
        (EventFilter(external_id="u7"), "events_external_id"),
        (EventFilter(email="p7@x.org"), "events_email"),
        (EventFilter(source=2), "events_source"),
        (EventFilter(event="order.3"), "events_name"),
        (EventFilter(event="rare"), "events_name"),
        (EventFilter(status=4), "event_states_status"),
        (EventFilter(status=2), "event_states_status"),
    ],
)
def test_a_filter_is_served_by_its_own_index(
    filled: PostgresPlace, wanted: EventFilter, index: str
) -> None:
    for text, steps in asyncio.run(list_plans(filled, wanted)):
        assert index in {step.get("Index Name") for step in steps}, text


@pytest.mark.parametrize("others", [{}, {"event": "order.3"}, {"email": "p7@x.org", "status": 4}])
def test_events_of_a_contact_are_found_by_two_indexes(
    filled: PostgresPlace, others: dict[str, Any]
) -> None:
    plans = asyncio.run(list_plans(filled, EventFilter(contact_id="c7", **others)))
    indexes = [{step.get("Index Name") for step in steps} for _, steps in plans]
    half = len(plans) // 2
    assert all("event_states_contact" in found for found in indexes[:half]), plans
    assert all("events_contact_id" in found for found in indexes[half:]), plans


def test_waiting_events_are_found_from_the_queue(filled: PostgresPlace) -> None:
    for status in (0, 1):
        for text, steps in asyncio.run(list_plans(filled, EventFilter(status=status))):
            assert walked(steps) == [], text
            assert "event_queue" in {step.get("Relation Name") for step in steps}, text
