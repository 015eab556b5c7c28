"""No statement about contacts, topics or audiences scans a table that grows."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from headrace.domain.events.identity import LANES
from headrace.store.contacts import contact_lists
from headrace.store.contacts.contact_rows import COLUMNS
from headrace.store.contract.contacts import ContactFilter
from headrace.store.engine.postgres.transaction import PostgresTransaction
from tests.support.places import PostgresPlace

CONTACTS = 30_000
_FILL = f"""
INSERT INTO contacts (lane, id, number, project_id, external_id, email, created_us, updated_us)
SELECT i % {LANES}, 'c' || i, i, 1 + i % 3, 'u' || i, 'p' || i || '@x.org', i, i
FROM generate_series(1, {CONTACTS}) AS i;
INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id)
SELECT lane, project_id, 'external_id', external_id, id FROM contacts
UNION ALL SELECT lane, project_id, 'email', email, id FROM contacts;
INSERT INTO audiences SELECT 'a' || i, 1, 'a' || i, '', i, i FROM generate_series(1, 300) AS i;
INSERT INTO topics SELECT 't' || i, 1, 't' || i, '', false, i, i FROM generate_series(1, 300) AS i;
INSERT INTO audience_members (lane, contact_id, audience_id, contact_number, entered_us)
SELECT lane, id, 'a' || number % 300, number, 0 FROM contacts;
INSERT INTO topic_subscriptions (lane, contact_id, topic_id, contact_number, is_subscribed,
    changed_us)
SELECT lane, id, 't' || number % 300, number, number % 2 = 0, 0 FROM contacts;
INSERT INTO topic_opt_outs SELECT lane, id, 0 FROM contacts WHERE number % 2 = 0
"""
FILTERS: dict[str, Any] = {
    "external_id": "u3",
    "email": "p3@x.org",
    "search": "u12",
    "audience_id": "a1",
    "topic_id": "t1",
    "created_after_us": 1,
    "properties": (("a", "b"),),
}
#: Small tables that may be scanned.
SMALL = {"audiences", "topics"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPlace]:
    place = PostgresPlace(Path(tmp_path_factory.mktemp("place")))
    place.run_sql(_FILL)
    place.run_sql("VACUUM ANALYZE")
    yield place
    place.remove()


def walked(steps: list[dict[str, Any]]) -> list[str]:
    return [
        step["Relation Name"]
        for step in steps
        if step["Node Type"] == "Seq Scan" and step["Relation Name"] not in SMALL
    ]


class Recorder:
    """A connection that records the plans of its statements."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.plans: list[list[dict[str, Any]]] = []

    async def fetch(self, sql: str, *values: Any) -> Any:
        await self._explain(sql, values)
        return await self._connection.fetch(sql, *values)

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        await self._explain(sql, values)
        return await self._connection.fetchrow(sql, *values)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        await self._explain(sql, values)
        return await self._connection.fetchval(sql, *values)

    async def _explain(self, sql: str, values: tuple[Any, ...]) -> None:
        text = await self._connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *values)
        self.plans.append(list(_steps(json.loads(text)[0]["Plan"])))


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _steps(child)


def test_every_combination_of_filters_is_served_by_an_index(filled: PostgresPlace) -> None:
    async def ask() -> None:
        connection = await asyncpg.connect(filled.url)
        try:
            for size in range(len(FILTERS) + 1):
                for names in itertools.combinations(FILTERS, size):
                    recorder = Recorder(connection)
                    wanted = ContactFilter(**{name: FILTERS[name] for name in names})
                    await contact_lists.contact_rows(
                        PostgresTransaction(recorder),  # type: ignore[arg-type]
                        COLUMNS,
                        1,
                        wanted,
                        before=20_000,
                        limit=50,
                    )
                    assert [walked(steps) for steps in recorder.plans if walked(steps)] == [], names
        finally:
            await connection.close()

    asyncio.run(ask())
