"""No list of contacts, topics or audiences scans a table that grows, whatever its filters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import apsw
import pytest

from headrace.domain.events.identity import IdentityType
from headrace.store.contacts.contact_lists import contact_rows
from headrace.store.contacts.contact_rows import COLUMNS
from headrace.store.contacts.identifiers import identifier
from headrace.store.contract.contacts import ContactFilter
from headrace.store.engine.sqlite.transaction import SqliteTransaction
from headrace.store.engine.transaction import drive
from headrace.store.migrations import migrations

FILTERS: dict[str, Any] = {
    "external_id": "x",
    "email": "x",
    "search": "x",
    "audience_id": "a",
    "topic_id": "chosen",
    "created_after_us": 1,
    "properties": (("a", "b"),),
}
#: Found by id: few, so they may be sorted.
BY_ID = "contacts USING INDEX sqlite_autoindex_contacts_1"
INDEXES = {
    "external_id": BY_ID,
    "email": BY_ID,
    "search": BY_ID,
    "audience_id": "m USING COVERING INDEX audience_members_audience",
    "topic_id": "s USING COVERING INDEX topic_subscriptions_topic",
}
_SCAN = re.compile(r"SCAN (?!\w+ (EXISTS )?VIRTUAL TABLE)")


@pytest.fixture(scope="module")
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    for step in migrations("sqlite"):
        connection.execute(step.sql)
    connection.execute("INSERT INTO audiences VALUES ('a', 1, 'a', '', 1, 1, NULL)")
    connection.execute(
        "INSERT INTO contacts (id, lane, project_id, external_id, email, created_us, updated_us) "
        "VALUES ('c', 1, 1, 'x', 'x', 1, 1)"
    )
    for kind in (IdentityType.EXTERNAL_ID, IdentityType.EMAIL):
        key = identifier(1, kind, "x")
        connection.execute("INSERT INTO contact_identifiers VALUES (?, ?, ?, ?, 'c', 0)", key)
    for topic_id, default in (("chosen", 0), ("default", 1)):
        connection.execute(
            "INSERT INTO topics VALUES (?1, 1, ?1, '', ?2, ?2, 1, NULL)", (topic_id, default)
        )
    yield connection
    connection.close()


def plan(connection: apsw.Connection, sql: str, values: Any) -> list[str]:
    return [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


def list_plans(connection: apsw.Connection, **wanted: Any) -> list[list[str]]:
    """Plans of all statements that one page runs."""
    statements: list[tuple[str, Any]] = []

    def collect(_cursor: apsw.Cursor, sql: str, values: Any) -> bool:
        statements.append((sql, values))
        return True

    connection.exec_trace = collect
    try:
        tx = SqliteTransaction(connection)
        drive(contact_rows(tx, COLUMNS, 1, ContactFilter(**wanted), before=7, limit=5))
    finally:
        connection.exec_trace = None
    return [plan(connection, sql, values) for sql, values in statements]


def assert_indexed(steps: list[str]) -> None:
    for step in steps:
        assert _SCAN.match(step) is None, steps
        assert "TEMP B-TREE" not in step or BY_ID in steps[0], steps


def test_every_combination_of_filters_is_served_by_an_index(connection: apsw.Connection) -> None:
    for topic_id in ("chosen", "default"):
        for size in range(len(FILTERS) + 1):
            for names in itertools.combinations(FILTERS, size):
                wanted = {name: FILTERS[name] for name in names}
                if "topic_id" in wanted:
                    wanted["topic_id"] = topic_id
                for steps in list_plans(connection, **wanted):
                    assert_indexed(steps)


@pytest.mark.parametrize("name", INDEXES)
def test_a_filter_is_served_by_its_own_index(connection: apsw.Connection, name: str) -> None:
    last = list_plans(connection, **{name: FILTERS[name]})[-1]
    assert last[0].startswith(f"SEARCH {INDEXES[name]}"), last


def test_the_most_selective_filter_chooses_the_index(connection: apsw.Connection) -> None:
    wanted = {name: FILTERS[name] for name in ("audience_id", "topic_id", "search")}
    assert list_plans(connection, **wanted)[-1][0].startswith(f"SEARCH {INDEXES['search']}")
    wanted["email"] = "x"
    assert list_plans(connection, **wanted)[-1][0].startswith(f"SEARCH {INDEXES['email']}")


def test_a_missing_index_would_be_noticed(connection: apsw.Connection) -> None:
    with pytest.raises(AssertionError):
        assert_indexed(plan(connection, "SELECT 1 FROM contacts WHERE properties = ''", ()))
