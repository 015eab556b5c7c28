"""No statement of the worker scans the queue, events, contacts or finished rows.

An open snapshot keeps dead rows in the indexes. The cost of a claim is then measured by the pages
it reads, not by a clock.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from headrace.domain.events.identity import LANES
from headrace.store.engine.plans import BY_KEYS
from headrace.store.postgres import PostgresStore
from headrace.store.queues.postgres import claims, contact_lookup, lanes, rescue
from headrace.store.queues.postgres.queue_cursor import QueueCursor
from tests.support.places import PostgresPlace
from tests.support.postgres_plans import explain
from tests.support.queue import Queue, mark_only
from tests.support.session import StoreSession

EVENTS = 30_000
BATCH = 500
#: A claim that begins at the right position reads only its rows and their part of the index.
PAGES_MAX = 100
_EVENTS = f"""
INSERT INTO events (lane, sequence, id, project_id, event, external_id, occurred_us, received_us,
    source, payload)
SELECT i % {LANES}, i, md5(i::text)::uuid, 1 + i % 4, 'a.b', 'p' || i % 1000, i, i, 0, '{{}}'
FROM generate_series(1, {EVENTS}) AS i
"""
# Old, so that no transaction can still be in progress.
_WORK = """
INSERT INTO event_queue (lane, sequence, project_id, queued_us)
SELECT lane, sequence, project_id, sequence * 1000 FROM events
"""
_FILL = f"""
{_EVENTS};
{_WORK};
UPDATE event_queue SET owner = 'w', attempt = 1 WHERE sequence % 300 = 0;
INSERT INTO event_retries (lane, sequence, project_id, due_us, attempt, crashes)
SELECT lane, sequence + {EVENTS}, project_id, sequence, 1, 0 FROM events WHERE sequence % 3 = 0;
INSERT INTO event_states (lane, sequence, project_id, status, attempts)
SELECT lane, sequence, project_id, 3, 1 FROM events;
INSERT INTO contacts (lane, id, number, project_id, external_id, created_us, updated_us)
SELECT i % {LANES}, 'c' || i, i, 1, 'p' || i, 0, 0 FROM generate_series(1, {EVENTS}) AS i;
INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id)
SELECT lane, 1, 'external_id', external_id, id FROM contacts;
INSERT INTO processing_attempts
SELECT lane, sequence, n, 0, 0, 'c', 'e' FROM events, generate_series(1, 2) AS n
"""
MINE = "'{" + ",".join(str(lane) for lane in range(LANES // 2)) + "}'"
KEYS = "'{1,2,3,4,5,6,7,8}', '{1,2,3,4,5,6,7,8}'"
NAMES = "'{1,2}', '{1,1}', '{external_id,external_id}', '{p1,p2}'"
STATEMENTS = {
    "next": (claims.NEXT, f"{MINE}, 1, 1000000, 100"),
    "next from the head": (claims.NEXT, f"{MINE}, 1, 0, 100"),
    "parts": (claims.parts(3), f"{MINE}, '{{-1,1,3}}', '{{9,9,900000}}', '{{1,3,9}}'"),
    "read": (claims.READ, KEYS),
    "take": (claims.TAKE, f"{KEYS}, 'w'"),
    "drop": (claims.DROP, f"{KEYS}, '{{1,1,1,1,1,1,1,1}}', 'w'"),
    "retries due": (claims.RETRIES_DUE, f"{MINE}, 900, 64"),
    "retry": (claims.RETRY, KEYS),
    "held": (rescue.HELD, "'{1,2}', 100"),
    "give back": (lanes.GIVE_BACK, "'{1,2}', 'w'"),
    "owners of identifiers": (contact_lookup.OWNERS, NAMES),
    "contacts": (contact_lookup.CONTACTS, "'{1,2}', '{c1,c2}', TRUE"),
    "contacts locked": (contact_lookup.LOCK, "1, '{c1,c2}'"),
}
#: Found in the required order, so that a limit ends the scan.
ORDERED = {
    "next": "event_queue_order",
    "next from the head": "event_queue_order",
    "parts": "event_queue_order",
    "retries due": "event_retries_due",
}
MODES = ["force_custom_plan", "force_generic_plan"]
HOT = [sql for name, (sql, _) in STATEMENTS.items() if name != "owner of an identifier"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPlace]:
    place = PostgresPlace(Path(tmp_path_factory.mktemp("place")))
    place.run_sql(_FILL)
    place.run_sql("VACUUM ANALYZE")
    yield place
    place.remove()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    made.remove()


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("mode", MODES)
def test_rows_are_found_by_index(filled: PostgresPlace, name: str, mode: str) -> None:
    """With known values, and with the generic plan of a prepared statement."""
    steps = explain(filled.url, *STATEMENTS[name], mode)
    assert [step["Relation Name"] for step in steps if step["Node Type"] == "Seq Scan"] == []
    assert [step for step in steps if step.get("Index Name")]


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("mode", MODES)
def test_first_rows_are_found_without_sorting(filled: PostgresPlace, name: str, mode: str) -> None:
    steps = explain(filled.url, *STATEMENTS[name], mode)
    assert "Sort" not in {step["Node Type"] for step in steps}
    assert ORDERED[name] in {step.get("Index Name") for step in steps}


@pytest.mark.parametrize("sql", HOT)
def test_every_hot_statement_names_lanes(sql: str) -> None:
    assert "lane = " in sql


def test_a_plan_for_empty_tables_works_for_full_ones(place: PostgresPlace) -> None:
    """A prepared statement keeps its plan until the table is analyzed again."""

    async def plans() -> list[str]:
        connection = await asyncpg.connect(place.url)
        try:
            await connection.execute("SET plan_cache_mode = force_generic_plan")
            async with connection.transaction():
                await connection.execute(BY_KEYS.postgres)
                found = []
                for number, (sql, values) in enumerate(STATEMENTS.values()):
                    await connection.execute(f"PREPARE s{number} AS {sql}")
                    explained = f"EXPLAIN (FORMAT JSON) EXECUTE s{number} ({values})"
                    found.append(str(await connection.fetchval(explained)))
                return found
        finally:
            await connection.close()

    for plan in asyncio.run(plans()):
        assert '"Seq Scan"' not in plan
        assert '"Hash Join"' not in plan


def test_open_snapshot_does_not_slow_claims_down(place: PostgresPlace) -> None:
    """Rows done since cannot be vacuumed; a claim does not scan them again."""
    place.run_sql(_EVENTS)
    place.run_sql(_WORK)
    session = StoreSession(place)
    queue = Queue(session)
    store = session.store
    assert isinstance(store, PostgresStore)

    async def work() -> tuple[int, int]:
        asking = await store._database.dedicated_connection()
        holder = await store._database.dedicated_connection()
        async with holder.transaction(isolation="repeatable_read"):
            await holder.fetchval("SELECT count(*) FROM projects")
            batch = await queue.store.claim("a", BATCH)
            left = EVENTS - BATCH
            while left > BATCH:
                _, batch = await queue.store.process(
                    "a", batch, mark_only, BATCH, subscribers_version=0
                )
                left -= len(batch)
            cursor: QueueCursor = queue.store._cursors["a"]  # type: ignore[attr-defined]
            found = await pages(asking, cursor.bound_us(1)), await pages(asking, 0)
        await holder.close()
        await asking.close()
        return found

    async def pages(connection: Any, bound_us: int) -> int:
        """Pages that a claim in the queue of a project reads."""
        asked = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {claims.NEXT}"
        plan = await connection.fetchval(asked, [*range(LANES)], 1, bound_us, BATCH)
        return int(json.loads(plan)[0]["Plan"]["Shared Hit Blocks"])

    known, unknown = session.run(work())
    session.close()
    assert known < PAGES_MAX
    # All finished rows are before the cursor: otherwise this would prove nothing.
    assert unknown > 3 * known
