"""No statement of retention or of the contacts list walks a table that grows."""

from __future__ import annotations

import re
from collections.abc import Iterator

import apsw
import pytest

from headrace.store.contract_contacts import ContactFilter
from headrace.store.migrations import migrations
from headrace.store.sqlite import retention
from headrace.store.sqlite.contact_lists import contact_query

STATEMENTS = {
    "find events": retention.FIND_EVENTS,
    "still finished": retention.STILL_FINISHED,
    "find deliveries": retention.FIND_DELIVERIES,
    "attempts": retention.REMOVE_ATTEMPTS,
    "deliveries": retention.REMOVE_DELIVERIES,
    "dead letters of events": retention.REMOVE_DEAD_LETTERS_OF_EVENTS,
    "events": retention.REMOVE_EVENTS,
    "dead letters": retention.REMOVE_DEAD_LETTERS,
    **{f"details {n}": statement for n, statement in enumerate(retention.REMOVE_DETAILS)},
}
_PARAMETERS = re.compile(r"\?\d")


@pytest.fixture(scope="module")
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    for step in migrations("sqlite"):
        connection.execute(step.sql)
    yield connection
    connection.close()


def plan(connection: apsw.Connection, sql: str, values: object = None) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]  # type: ignore[arg-type]


def walked(steps: list[str]) -> list[str]:
    """Steps that read a table from end to end, or sort what they read."""
    return [
        step
        for step in steps
        if "TEMP B-TREE" in step
        or ("SCAN" in step and not re.search(r"SCAN (j|json_each)\b", step))
    ]


@pytest.mark.parametrize("name", STATEMENTS)
def test_retention_finds_its_rows_by_index(connection: apsw.Connection, name: str) -> None:
    sql = STATEMENTS[name]
    values = (1,) * len(set(_PARAMETERS.findall(sql)))
    steps = plan(connection, sql, values)
    assert steps
    assert walked(steps) == []


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (ContactFilter(), "contacts_project"),
        (ContactFilter(external_id="x"), "contacts_external_id"),
        (ContactFilter(email="x"), "contacts_email"),
        (ContactFilter(external_id="x", email="y"), "contacts_external_id"),
        (ContactFilter(properties=(("a", "b"),)), "contacts_project"),
        (ContactFilter(created_after_us=1, created_before_us=2), "contacts_project"),
    ],
)
@pytest.mark.parametrize("before", [None, 7])
def test_the_list_of_contacts_goes_by_an_index(
    connection: apsw.Connection, wanted: ContactFilter, index: str, before: int | None
) -> None:
    query = contact_query(1, wanted, before)
    tests = " AND ".join([query.leading, *query.others])
    sql = f"SELECT * FROM contacts WHERE {tests} ORDER BY number DESC LIMIT 5"  # noqa: S608
    steps = plan(connection, sql, query.values | query.other_values)
    assert f"USING INDEX {index}" in steps[0]
    assert not [step for step in steps if "TEMP B-TREE" in step]
